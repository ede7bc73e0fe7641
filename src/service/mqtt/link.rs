//! A connection to a broker: packets of the codec over a stream, each wait with an end.

use super::certificate::Certificate;
use super::fault::Fault;
use super::tls::Tls;
use crate::config::mqtt::{Broker, Version};
use crate::service::outbox::Letter;
use crate::service::tcp::{self, Unreached};
use bytes::Bytes;
use mqtt5_protocol::packet::connect::ConnectPacket;
use mqtt5_protocol::packet::disconnect::DisconnectPacket;
use mqtt5_protocol::packet::pingreq::PingReqPacket;
use mqtt5_protocol::packet::publish::PublishPacket;
use mqtt5_protocol::packet::subscribe::{SubscribePacket, TopicFilter};
use mqtt5_protocol::packet::subscribe_options::{RetainHandling, SubscriptionOptions};
use mqtt5_protocol::packet::{FixedHeader, MqttPacket, Packet, PacketType};
use mqtt5_protocol::{ConnectOptions, QoS, ReasonCode, WillMessage};
use rustix::event::{PollFd, PollFlags};
use std::io::{self, PipeReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// A broker that takes or says nothing for so long is given up.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The broker hears of us at least this often.
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Bytes of a packet that are read; what is longer is passed over.
const MOST_BYTES: usize = 4096;
/// Letters that wait for their acknowledgement.
const MOST_UNACKNOWLEDGED: u16 = 16;

/// What a connection runs over.
pub trait Stream: Send {
    /// What becomes readable.
    fn fd(&self) -> BorrowedFd<'_>;
    /// Adds what has come, once it is readable; `false` at the end.
    fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<bool>;
    /// Sends all of it.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// The certificate of the other side, where it has shown one.
    fn certificate(&self) -> Option<Certificate> {
        None
    }
}

impl Stream for TcpStream {
    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        let mut bytes = [0; MOST_BYTES];
        let n = self.read(&mut bytes)?;
        into.extend_from_slice(&bytes[..n]);
        Ok(n > 0)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }
}

/// How we present ourselves.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Name of the client.
    pub client_id: String,
    /// To log in with.
    pub user: Option<String>,
    /// Likewise.
    pub password: Option<String>,
    /// Topic and payload that the broker publishes when we are gone.
    pub will: Option<(String, String)>,
}

/// A connection that the broker accepted.
pub struct Link {
    stream: Box<dyn Stream>,
    broker: Broker,
    version: Version,
    inbox: Vec<u8>,
    /// Bytes of a packet that is passed over, which are still to come.
    skip: usize,
    last_id: u16,
    /// When something was sent last.
    pub sent: Instant,
    /// The broker hears of us at least this often.
    pub keep_alive: Duration,
    /// Letters that may wait for their acknowledgement.
    pub window: usize,
    /// Bytes of a packet that it takes.
    most: usize,
}

impl Link {
    /// Connects, logs in and waits until that is accepted.
    ///
    /// # Errors
    /// What is in the way.
    pub fn open(
        broker: &Broker,
        version: Version,
        identity: &Identity,
        tls: Option<&Tls>,
    ) -> Result<Link, Fault> {
        let mut link = Link::over(dial(broker, tls)?, broker.clone(), version);
        link.log_in(identity)?;
        Ok(link)
    }

    /// Nobody has logged in yet.
    fn over(stream: Box<dyn Stream>, broker: Broker, version: Version) -> Link {
        Link {
            stream,
            broker,
            version,
            inbox: Vec::new(),
            skip: 0,
            last_id: 0,
            sent: Instant::now(),
            keep_alive: KEEP_ALIVE,
            window: usize::from(MOST_UNACKNOWLEDGED),
            most: usize::MAX,
        }
    }

    fn log_in(&mut self, identity: &Identity) -> Result<(), Fault> {
        let mut options = ConnectOptions::new(&*identity.client_id);
        options.keep_alive = mqtt5_protocol::time::Duration::from_secs(KEEP_ALIVE.as_secs());
        options.username = identity.user.clone();
        options.password = identity.password.clone().map(String::into_bytes);
        options.properties.maximum_packet_size = Some(MOST_BYTES as u32);
        options.will = identity.will.as_ref().map(|(topic, payload)| {
            let will = WillMessage::new(&**topic, &**payload);
            will.with_qos(QoS::AtLeastOnce).with_retain(true)
        });
        let packet = match self.version {
            Version::V5 => ConnectPacket::new(options),
            Version::V311 => ConnectPacket::new_v311(options),
        };
        self.send(&packet)?;
        let accepted = match self.await_packet()? {
            Packet::ConnAck(accepted) => accepted,
            Packet::Disconnect(goodbye) => return Err(self.dismissed(goodbye.reason_code)),
            other => return Err(self.out_of_turn(&other)),
        };
        if accepted.reason_code != ReasonCode::Success {
            return Err(Fault::Rejected {
                broker: self.broker.clone(),
                reason: accepted.reason_code,
            });
        }
        let asked = accepted.properties.get_server_keep_alive();
        if let Some(seconds) = asked.filter(|seconds| *seconds > 0) {
            self.keep_alive = KEEP_ALIVE.min(Duration::from_secs(seconds.into()));
        }
        let window = accepted.receive_maximum().unwrap_or(u16::MAX).max(1);
        self.window = usize::from(window.min(MOST_UNACKNOWLEDGED));
        let most = accepted.maximum_packet_size();
        self.most = most.map_or(usize::MAX, |most| most as usize);
        Ok(())
    }

    /// Asks for these topics; whether each was granted comes as a packet.
    ///
    /// # Errors
    /// The connection's.
    pub fn subscribe(&mut self, topics: &[String]) -> Result<(), Fault> {
        let id = self.next_id();
        let packet = match self.version {
            Version::V5 => SubscribePacket::new(id),
            Version::V311 => SubscribePacket::new_v311(id),
        };
        let options = SubscriptionOptions {
            qos: QoS::AtMostOnce,
            retain_handling: RetainHandling::DoNotSend,
            ..SubscriptionOptions::default()
        };
        let filters = topics
            .iter()
            .map(|t| TopicFilter::with_options(&**t, options));
        let packet = filters.fold(packet, SubscribePacket::add_filter_with_options);
        self.send(&packet)
    }

    /// Publishes a letter; its number comes back in an acknowledgement. `None` where it is too
    /// large for the broker.
    ///
    /// # Errors
    /// The connection's.
    pub fn publish(&mut self, letter: &Letter, now: Instant) -> Result<Option<u16>, Fault> {
        let payload = Bytes::copy_from_slice(letter.payload.as_bytes());
        let topic = &*letter.topic;
        let packet = match self.version {
            Version::V5 => PublishPacket::new(topic, payload, QoS::AtLeastOnce),
            Version::V311 => PublishPacket::new_v311(topic, payload, QoS::AtLeastOnce),
        };
        let id = self.next_id();
        let mut packet = packet.with_packet_id(id).with_retain(letter.retain);
        if self.version == Version::V5
            && let Some(expires) = letter.expires
        {
            let left = expires.saturating_duration_since(now).as_secs_f64().ceil();
            packet = packet.with_message_expiry_interval((left as u32).max(1));
        }
        // a header has five bytes at most
        if packet.body_encoded_size() + 5 > self.most {
            return Ok(None);
        }
        self.send(&packet).map(|()| Some(id))
    }

    /// The broker's certificate, by TLS.
    pub fn certificate(&self) -> Option<Certificate> {
        self.stream.certificate()
    }

    /// Says that we are there.
    ///
    /// # Errors
    /// The connection's.
    pub fn ping(&mut self) -> Result<(), Fault> {
        self.send(&PingReqPacket::default())
    }

    /// Says goodbye, so that the broker does not publish our will.
    ///
    /// # Errors
    /// The connection's.
    pub fn leave(&mut self) -> Result<(), Fault> {
        self.send(&DisconnectPacket::normal())
    }

    /// Numbers are never 0.
    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    fn send(&mut self, packet: &impl MqttPacket) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        packet
            .encode(&mut bytes)
            .map_err(|e| self.malformed(format!("ours cannot be written: {e}")))?;
        self.sent = Instant::now();
        self.stream
            .send(&bytes)
            .map_err(|e| broken(&self.broker, e))
    }

    /// Waits until something has come, the bell rings, or for `patience`; whether something has.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&self, bell: Option<&PipeReader>, patience: Duration) -> Result<bool, Fault> {
        let mut polled = vec![PollFd::from_borrowed_fd(self.stream.fd(), PollFlags::IN)];
        polled.extend(bell.map(|bell| PollFd::new(bell, PollFlags::IN)));
        tcp::ready(&mut polled, patience).map_err(|e| broken(&self.broker, e))
    }

    /// Takes what has come.
    ///
    /// # Errors
    /// A connection that was closed or broke.
    pub fn receive(&mut self) -> Result<(), Fault> {
        match self.stream.receive(&mut self.inbox) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault::Closed {
                broker: self.broker.clone(),
            }),
            Err(e) => Err(broken(&self.broker, e)),
        }
    }

    /// The next packet that has come as a whole. Packets that are longer than any wish are
    /// passed over.
    ///
    /// # Errors
    /// One that makes no sense.
    pub fn next(&mut self) -> Result<Option<Packet>, Fault> {
        loop {
            let skipped = self.skip.min(self.inbox.len());
            self.inbox.drain(..skipped);
            self.skip -= skipped;
            let Some((kind, flags, length, head)) = self.header()? else {
                return Ok(None);
            };
            if kind == PacketType::Publish && length > MOST_BYTES {
                log::debug!(
                    "{}: a message of {length} bytes is passed over",
                    self.broker
                );
                self.skip = head + length;
                continue;
            }
            if length > MOST_BYTES {
                return Err(self.malformed(format!("a {kind:?} of {length} bytes")));
            }
            if self.inbox.len() < head + length {
                return Ok(None);
            }
            let body = Bytes::copy_from_slice(&self.inbox[head..head + length]);
            self.inbox.drain(..head + length);
            return self.decode(kind, flags, body).map(Some);
        }
    }

    /// Kind, flags, bytes of the body and bytes of the header, once all of the header is there.
    fn header(&self) -> Result<Option<(PacketType, u8, usize, usize)>, Fault> {
        let Some((&first, rest)) = self.inbox.split_first() else {
            return Ok(None);
        };
        let kind = PacketType::from_u8(first >> 4)
            .ok_or_else(|| self.malformed(format!("a packet of kind {}", first >> 4)))?;
        let mut length = 0;
        for (n, byte) in rest.iter().take(4).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * n);
            if byte & 0x80 == 0 {
                return Ok(Some((kind, first & 0x0f, length, n + 2)));
            }
        }
        match rest.len() {
            0..4 => Ok(None),
            _ => Err(self.malformed("a length of more than four bytes".into())),
        }
    }

    fn decode(&self, kind: PacketType, flags: u8, mut body: Bytes) -> Result<Packet, Fault> {
        let header = FixedHeader::new(kind, flags, body.len() as u32);
        let version = match self.version {
            Version::V311 => 4,
            Version::V5 => 5,
        };
        Packet::decode_from_body_with_version(kind, &header, &mut body, version)
            .map_err(|e| self.malformed(e.to_string()))
    }

    /// The next packet, waited for.
    fn await_packet(&mut self) -> Result<Packet, Fault> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(packet) = self.next()? {
                return Ok(packet);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.silent());
            }
            if self.wait(None, left)? {
                self.receive()?;
            }
        }
    }

    /// It says nothing.
    pub fn silent(&self) -> Fault {
        Fault::Silent {
            broker: self.broker.clone(),
            patience: PATIENCE,
        }
    }

    /// It says goodbye.
    pub fn dismissed(&self, reason: ReasonCode) -> Fault {
        Fault::Dismissed {
            broker: self.broker.clone(),
            reason,
        }
    }

    /// It says what no broker says now.
    pub fn out_of_turn(&self, packet: &Packet) -> Fault {
        self.malformed(format!("a {} out of turn", packet.packet_type_name()))
    }

    fn malformed(&self, what: String) -> Fault {
        Fault::Malformed {
            broker: self.broker.clone(),
            version: match self.version {
                Version::V311 => "3.1.1",
                Version::V5 => "5",
            },
            what,
        }
    }
}

/// A stream to a broker.
fn dial(broker: &Broker, tls: Option<&Tls>) -> Result<Box<dyn Stream>, Fault> {
    let connected = tcp::connect(&broker.host, broker.port, PATIENCE);
    let stream = connected.map_err(|unreached| match unreached {
        Unreached::Unknown(source) => Fault::Unknown {
            broker: broker.clone(),
            source,
        },
        Unreached::Refused(source) => Fault::Unreachable {
            broker: broker.clone(),
            source,
        },
    })?;
    secure(broker, stream, tls)
}

fn secure(broker: &Broker, stream: TcpStream, tls: Option<&Tls>) -> Result<Box<dyn Stream>, Fault> {
    // no wait without an end
    let set = stream
        .set_write_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
    set.map_err(|e| broken(broker, e))?;
    match tls {
        None => Ok(Box::new(stream)),
        Some(tls) => tls
            .connect(&broker.host, stream, Instant::now() + PATIENCE)
            .map_err(|e| broken(broker, e)),
    }
}

/// What a stream's error means.
fn broken(broker: &Broker, e: io::Error) -> Fault {
    let broker = broker.clone();
    if let Some(what) = Tls::explain(&broker.host, &e) {
        return Fault::Tls { broker, what };
    }
    match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Fault::Silent {
            broker,
            patience: PATIENCE,
        },
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::UnexpectedEof => Fault::Closed { broker },
        _ => Fault::Unreachable { broker, source: e },
    }
}

#[cfg(test)]
mod tests;
