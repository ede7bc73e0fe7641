//! States and answers for a broker, and wishes from it.
//!
//! One thread speaks to the broker and waits for it; whoever tells something leaves it in the
//! [`outbox`](super::outbox) and goes on. Packets are those of `mqtt5-protocol`, a codec without a runtime: what
//! no client crate has (the oldest gives way, back-off with jitter, nothing told twice) stands here.

mod certificate;
mod discovery;
mod fault;
mod link;
mod report;
mod tls;
mod topics;

pub use certificate::Certificate;
pub use fault::Fault;
pub use report::{About, Report, Reporter};

use super::backoff::chance;
use super::outbox::Letter;
use super::pace::Pace;
use super::visits::Visits;
use super::{Told, secret};
use crate::Error;
use crate::config::mqtt::{Broker, Mqtt as Config, Version};
use crate::service::latches::Remote;
use link::{Identity, Link, PATIENCE};
use mqtt5_protocol::QoS;
use mqtt5_protocol::packet::Packet;
use mqtt5_protocol::packet::publish::PublishPacket;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tls::Tls;
use topics::Wish;

/// How often states are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Devices that are asked together answer within this time.
const JITTER: Duration = Duration::from_secs(2);

/// A broker, and how we present ourselves to it. Nobody has connected yet.
#[derive(Debug)]
pub struct Mqtt {
    broker: Broker,
    version: Version,
    identity: Identity,
    tls: Option<Tls>,
    can_mute: bool,
}

impl Mqtt {
    /// Reads the password and the certificates.
    ///
    /// # Errors
    /// A file that cannot be read, that others may read, or that holds something else; TLS that
    /// this program was built without.
    pub fn open(config: &Config, device: &str) -> Result<Mqtt, Error> {
        let failed = |what: String| Error::Listen(format!("[mqtt] {what}"));
        let password = config.password_file.as_deref().map(|path| {
            let named = |what| failed(format!("password_file {}: {what}", path.display()));
            secret::read(path).map_err(named)
        });
        let tls = config.broker.tls.then(|| Tls::open(config));
        let topics = topics::Topics::new(config, device);
        let client_id = config.client_id.clone();
        Ok(Mqtt {
            broker: config.broker.clone(),
            version: config.version,
            identity: Identity {
                client_id: client_id.unwrap_or_else(|| format!("demeanor-{}", topics.id)),
                user: config.user.clone(),
                password: password.transpose()?,
                will: Some((topics.own("availability"), "offline".into())),
            },
            tls: tls.transpose().map_err(failed)?,
            can_mute: config.mute,
        })
    }

    /// Of the certificates that the section names, the one that counts of each file.
    pub fn certificates(&self) -> &[Certificate] {
        self.tls.as_ref().map_or(&[], Tls::certificates)
    }

    /// Connects once, as another client than the one that may be connected, and leaves again;
    /// the broker's certificate, by TLS.
    ///
    /// # Errors
    /// What is in the way.
    pub fn knock(&self) -> Result<Option<Certificate>, Fault> {
        let mut identity = self.identity.clone();
        identity.client_id.push_str("-doctor");
        identity.will = None;
        let mut link = Link::open(&self.broker, self.version, &identity, self.tls.as_ref())?;
        let shown = link.certificate();
        link.leave().map(|()| shown)
    }

    /// Tells the broker what the report says, in a thread of its own, until that is closed.
    /// `tell` hears when the broker is lost, and when it is back.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn serve(
        self,
        report: Arc<Report>,
        remote: Arc<Remote>,
        tell: impl Fn(Told) + Send + 'static,
    ) -> io::Result<()> {
        let client = Client {
            mqtt: self,
            report,
            remote,
            health: None,
            pace: Pace::default(),
        };
        thread::Builder::new()
            .name("mqtt".into())
            .spawn(move || client.run(tell))?;
        Ok(())
    }
}

/// Speaks to one broker.
struct Client {
    mqtt: Mqtt,
    report: Arc<Report>,
    remote: Arc<Remote>,
    /// When the machine's health was told last.
    health: Option<Instant>,
    /// When messages came, of the last second.
    pace: Pace,
}

impl Client {
    /// Connects, again and again, until the report is closed.
    fn run(mut self, tell: impl Fn(Told)) {
        let report = Arc::clone(&self.report);
        Visits::new("mqtt", tell).repeat(&report.outbox, |visits| self.visit(visits));
    }

    /// One connection, until the report is closed.
    fn visit(&mut self, visits: &mut Visits<impl Fn(Told)>) -> Result<(), Fault> {
        let Mqtt {
            broker,
            version,
            identity,
            tls,
            ..
        } = &self.mqtt;
        let mut link = Link::open(broker, *version, identity, tls.as_ref())?;
        let wishes = self.report.topics.wishes();
        if !wishes.is_empty() {
            link.subscribe(&wishes)?;
        }
        self.report.outbox.set_up(true);
        self.report.outbox.repeat();
        log::info!("mqtt: connected to {broker}");
        let mut visit = Visit {
            link,
            sent: VecDeque::new(),
            pinged: None,
        };
        let served = self.serve(&mut visit, visits);
        let events = visit.sent.iter().filter(|sent| sent.is_event).count();
        self.report.outbox.count_lost(events);
        served
    }

    fn serve(
        &mut self,
        visit: &mut Visit,
        visits: &mut Visits<impl Fn(Told)>,
    ) -> Result<(), Fault> {
        let report = Arc::clone(&self.report);
        loop {
            let now = Instant::now();
            report.outbox.answer_bell();
            report.look();
            report.look_at_machine(&mut self.health, now);
            self.forget_old(visit, now)?;
            while visit.sent.len() < visit.link.window
                && let Some(letter) = report.outbox.next(now)
            {
                visit.publish(&letter, now)?;
            }
            if report.outbox.is_closed() && visit.sent.is_empty() {
                return visit.link.leave();
            }
            visit.keep_alive(now)?;
            let pause = self.pace.pause(now);
            if !pause.is_zero() {
                // a broker that says too much is heard later
                report.outbox.wait_closed(pause);
            } else if visit.link.wait(Some(report.outbox.bell()), LOOK)? {
                visit.link.receive()?;
            }
            while let Some(packet) = visit.link.next()? {
                visit.pinged = None;
                match packet {
                    Packet::PubAck(ack) => {
                        visit.acknowledged(ack.packet_id);
                        report.outbox.count_published();
                        visits.go_well(&self.mqtt.broker);
                    }
                    Packet::Publish(message) if message.qos == QoS::AtMostOnce => {
                        self.pace.count(Instant::now());
                        self.obey(&message);
                    }
                    Packet::SubAck(ack) if ack.reason_codes.iter().all(|c| c.is_success()) => {}
                    Packet::SubAck(_) => log::warn!(
                        "mqtt: {} does not let this device hear wishes; allow it to read its topics",
                        self.mqtt.broker
                    ),
                    Packet::PingResp => {}
                    Packet::Disconnect(goodbye) => {
                        return Err(visit.link.dismissed(goodbye.reason_code));
                    }
                    other => return Err(visit.link.out_of_turn(&other)),
                }
            }
        }
    }

    /// Tells that answers are too old, and has the broker forget them.
    fn forget_old(&self, visit: &mut Visit, now: Instant) -> Result<(), Fault> {
        for topic in self.report.outbox.expire(now) {
            let nothing = Letter {
                topic,
                payload: String::new(),
                retain: true,
                expires: None,
            };
            visit.publish(&nothing, now)?;
        }
        Ok(())
    }

    /// Does what somebody asks for. What was retained is old: a wish is for now.
    fn obey(&self, message: &PublishPacket) {
        let topic = &message.topic_name;
        let Some((wish, is_many)) = self.report.topics.wish(topic) else {
            return log::debug!("mqtt: nothing is asked for on {topic}");
        };
        if message.retain {
            return log::debug!("mqtt: a retained wish on {topic} is passed over");
        }
        if is_many {
            let pause = JITTER.mul_f64(chance());
            self.report.outbox.hold(pause, Instant::now());
        }
        match (wish, &message.payload[..]) {
            (Wish::Mute, b"ON") if self.mqtt.can_mute => self.remote.wish(true),
            (Wish::Mute, b"OFF") if self.mqtt.can_mute => self.remote.wish(false),
            (Wish::Mute, _) => log::debug!("mqtt: {topic} takes ON and OFF alone"),
            (Wish::Forget, _) => self.remote.wish_forgotten(),
            (Wish::Greet, b"online") => {
                let discovery = self.report.topics.discovery.as_deref();
                discovery
                    .iter()
                    .for_each(|topic| self.report.outbox.repeat_topic(topic));
            }
            (Wish::Greet, _) => {}
        }
    }
}

/// A connection, and what waits for its acknowledgement.
struct Visit {
    link: Link,
    sent: VecDeque<Sent>,
    /// Since when the broker owes an answer to a ping.
    pinged: Option<Instant>,
}

/// A letter that waits for its acknowledgement.
struct Sent {
    id: u16,
    at: Instant,
    is_event: bool,
}

impl Visit {
    fn publish(&mut self, letter: &Letter, now: Instant) -> Result<(), Fault> {
        match self.link.publish(letter, now)? {
            Some(id) => self.sent.push_back(Sent {
                id,
                at: now,
                is_event: !letter.retain,
            }),
            None => log::warn!("mqtt: {} is larger than the broker takes", letter.topic),
        }
        Ok(())
    }

    fn acknowledged(&mut self, id: u16) {
        self.sent.retain(|sent| sent.id != id);
    }

    /// Shows that we are there, and finds out whether the broker is.
    fn keep_alive(&mut self, now: Instant) -> Result<(), Fault> {
        let owed = self.sent.front().map(|sent| sent.at);
        let owed = owed.into_iter().chain(self.pinged).min();
        if owed.is_some_and(|since| now.saturating_duration_since(since) > PATIENCE) {
            return Err(self.link.silent());
        }
        let rested = now.saturating_duration_since(self.link.sent);
        if rested > self.link.keep_alive / 2 && self.pinged.is_none() {
            self.pinged = Some(now);
            self.link.ping()?;
        }
        Ok(())
    }
}
