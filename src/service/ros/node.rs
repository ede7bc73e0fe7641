//! A node in a domain of DDS, where the program was built with it (cargo feature `ros2`).

#[cfg(feature = "ros2")]
pub use with::Node;
#[cfg(not(feature = "ros2"))]
pub use without::Node;

/// Whether there can be one.
pub const IS_BUILT: bool = cfg!(feature = "ros2");

#[cfg(not(feature = "ros2"))]
mod without {
    use super::super::dds::Seen;
    use super::super::fault::Fault;
    use super::super::message::{Kind, Message};
    use crate::config::ros::Domain;
    use std::time::Instant;

    /// There is none.
    pub enum Node {}

    impl Node {
        /// Says so.
        ///
        /// # Errors
        /// Always.
        pub fn open(_: &Domain, _: &str, _: &[(&str, Kind)]) -> Result<Node, Fault> {
            Err(Fault::Absent)
        }

        pub fn publish(&mut self, _: &str, _: Message, _: Instant) -> Result<bool, Fault> {
            match *self {}
        }

        pub fn tidy(&mut self, _: Instant) {
            match *self {}
        }

        pub fn flush(&self) {
            match *self {}
        }

        pub fn close(self) {
            match self {}
        }

        pub fn opened(&self) -> usize {
            match *self {}
        }

        pub fn is_alive(&self) -> bool {
            match *self {}
        }

        pub fn seen(&self) -> Seen {
            match *self {}
        }
    }
}

#[cfg(feature = "ros2")]
mod with {
    use super::super::dds::Seen;
    use super::super::fault::Fault;
    use super::super::message::{Kind, Message};
    use super::super::report::is_ours;
    use super::super::topics::Topics;
    use crate::config::ros::Domain;
    use ros2_client::dds::rustdds::{DomainParticipantBuilder, GUID};
    use ros2_client::qos::{History, WhenFull};
    use ros2_client::{
        Context, MessageTypeName, Name, NodeName, NodeOptions, Publisher, QosProfile, WriteError,
    };
    use std::collections::BTreeSet;
    use std::fs;
    use std::net::{IpAddr, UdpSocket};
    use std::thread;
    use std::time::{Duration, Instant};

    /// Bytes of packets that wait to be read, of each socket.
    const WAITING: usize = 256 << 10;
    /// What the threads of a participant are called, as far as the system keeps it, and how many
    /// there are.
    const THREADS: (&str, usize) = ("RustDDS", 2);
    /// Messages of a topic that are kept while nobody reads it.
    const DEPTH: usize = 64;
    /// How long a message waits for room, where readers have not acknowledged the 8192 before it:
    /// that many are kept for them.
    const ROOM: Duration = Duration::from_millis(20);
    /// A topic on which there is no room for so long is given up, with the node: DDS cannot leave
    /// out a single reader.
    const PATIENCE: Duration = Duration::from_secs(30);
    /// Packets are on their way after this time.
    const SENT: Duration = Duration::from_millis(100);

    /// A topic that we speak on.
    struct Outlet {
        publisher: Publisher<Message>,
        /// Since when there is no room.
        refused: Option<Instant>,
    }

    /// A node that others see.
    pub struct Node {
        // dropped before the node that made them
        topics: Topics<Outlet>,
        node: ros2_client::Node,
        context: Context,
        domain: Domain,
        opened: usize,
    }

    impl Node {
        /// Opens sockets of that domain and announces itself, for `device`, and those topics.
        ///
        /// # Errors
        /// An address that is not this board's; what the system refuses.
        pub fn open(domain: &Domain, device: &str, topics: &[(&str, Kind)]) -> Result<Node, Fault> {
            let mut builder = DomainParticipantBuilder::new(domain.number)
                .socket_receive_buffer_size(WAITING)
                .socket_send_buffer_size(WAITING);
            if let Some(address) = domain.address {
                UdpSocket::bind((address, 0)).map_err(|e| Fault::elsewhere(domain, e))?;
                builder = builder.with_only_networks([IpAddr::V4(address)]);
            }
            let participant = builder.build().map_err(|e| Fault::unopened(domain, &e))?;
            let opened = Context::from_domain_participant(participant);
            let context = opened.map_err(|e| Fault::unopened(domain, &e))?;
            let name = NodeName::new("/", &name(device));
            let name = name.map_err(|e| Fault::unopened(domain, &e))?;
            // what would be asked or wished there, nobody is offered
            let options = NodeOptions::new()
                .enable_rosout(false)
                .start_parameter_services(false);
            let node = context.new_node(name, options);
            let mut node = Node {
                topics: Topics::default(),
                node: node.map_err(|e| Fault::unopened(domain, &e))?,
                context,
                domain: *domain,
                opened: 0,
            };
            let now = Instant::now();
            for (topic, kind) in topics {
                node.announce(topic, *kind, now)?;
            }
            Ok(node)
        }

        fn announce(&mut self, topic: &str, kind: Kind, now: Instant) -> Result<(), Fault> {
            self.topics.make_room();
            let name = Name::parse(topic).map_err(|e| Fault::unopened(&self.domain, &e))?;
            let (package, message) = kind;
            let kind = MessageTypeName::new(package, message);
            let quality = QosProfile::publisher_default()
                .reliability_reliable(WhenFull::Wait(ROOM))
                .history(History::KeepLast { depth: DEPTH });
            let created = self
                .node
                .create_topic(&name, kind, &quality)
                .and_then(|topic| self.node.create_publisher(&topic, None));
            let publisher = created.map_err(|e| Fault::unopened(&self.domain, &e))?;
            let refused = None;
            self.topics.add(topic, Outlet { publisher, refused }, now);
            self.opened += 1;
            Ok(())
        }

        /// Tells a message to whoever reads the topic, which is announced before; whether there
        /// was room for it.
        ///
        /// # Errors
        /// Readers who hang; DDS's.
        pub fn publish(
            &mut self,
            topic: &str,
            message: Message,
            now: Instant,
        ) -> Result<bool, Fault> {
            if self.topics.speak(topic, now).is_none() {
                self.announce(topic, message.kind(), now)?;
            }
            let Some(outlet) = self.topics.speak(topic, now) else {
                return Ok(false);
            };
            let refused = match outlet.publisher.publish(message) {
                Ok(()) => {
                    outlet.refused = None;
                    return Ok(true);
                }
                Err(WriteError::WouldBlock { .. }) => *outlet.refused.get_or_insert(now),
                Err(e) => return Err(Fault::unopened(&self.domain, &e)),
            };
            match now.saturating_duration_since(refused) < PATIENCE {
                true => Ok(false),
                false => Err(Fault::Stuck {
                    domain: self.domain,
                    topic: topic.into(),
                    patience: PATIENCE,
                }),
            }
        }

        /// Gives back topics of faces that have gone.
        pub fn tidy(&mut self, now: Instant) {
            self.topics.clear_resting(now);
        }

        /// Waits until what was told is on its way.
        pub fn flush(&self) {
            thread::sleep(SENT);
        }

        /// Leaves the domain.
        pub fn close(self) {}

        /// Topics that were announced so far.
        pub fn opened(&self) -> usize {
            self.opened
        }

        /// Whether DDS's threads run: one that panics ends, and DDS does not tell.
        pub fn is_alive(&self) -> bool {
            let (name, most) = THREADS;
            running(name).is_none_or(|threads| threads >= most)
        }

        /// Who is there.
        pub fn seen(&self) -> Seen {
            let participant = self.context.domain_participant();
            let own = participant_of(ros2_client::dds::rustdds::RTPSEntity::guid(&participant));
            let (readers, writers) = (
                participant.discovered_readers(),
                participant.discovered_writers(),
            );
            let reading = readers.iter().map(|r| r.reader_proxy.remote_reader_guid);
            let writing = writers.iter().map(|w| w.writer_proxy.remote_writer_guid);
            let mut others: BTreeSet<_> = reading.chain(writing).map(participant_of).collect();
            others.remove(&own);
            let is_ours = |topic: &str| topic.strip_prefix("rt").is_some_and(is_ours);
            let readers = readers.iter().filter(|reader| {
                is_ours(reader.subscription_topic_data.topic_name())
                    && participant_of(reader.reader_proxy.remote_reader_guid) != own
            });
            Seen {
                others: others.len(),
                readers: readers.count(),
            }
        }
    }

    /// Whose reader or writer it is.
    fn participant_of(id: GUID) -> impl Ord {
        id.prefix
    }

    /// A name that ROS allows.
    fn name(device: &str) -> String {
        let plain: String = device
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(64)
            .collect();
        format!("demeanor_{plain}").trim_end_matches('_').to_owned()
    }

    /// Threads of this program whose names begin so; `None` where the system does not tell.
    fn running(name: &str) -> Option<usize> {
        let tasks = fs::read_dir("/proc/self/task").ok()?;
        let names =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        Some(names.filter(|thread| thread.starts_with(name)).count())
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::sync::mpsc;

        #[test]
        fn a_node_has_a_name_that_ros_allows() {
            for (device, expected) in [
                ("door", "demeanor_door"),
                ("Halle 2_ä__b-", "demeanor_Halle2b"),
                ("__", "demeanor"),
            ] {
                assert_eq!(name(device), expected);
                NodeName::new("/", &name(device)).unwrap();
            }
        }

        #[test]
        fn a_thread_that_has_ended_is_missed() {
            let named = "a test's thread";
            let (begin, begun) = mpsc::channel();
            let (end, ended) = mpsc::channel::<()>();
            let run = move || begin.send(()).map(|()| ended.recv());
            let thread = thread::Builder::new().name(named.into()).spawn(run);
            begun.recv().unwrap();
            assert_eq!(running(named), Some(1));
            drop(end);
            thread.unwrap().join().unwrap().unwrap().unwrap_err();
            // the system takes it off its list a moment later
            let mut looks = (0..1000).map(|_| thread::sleep(Duration::from_millis(10)));
            assert!(looks.any(|()| running(named) == Some(0)));
        }
    }
}
