//! A connection to a rosbridge: its operations in JSON over a WebSocket, each wait with an end.

use super::fault::Fault;
use super::message::{Message, json};
use super::topics::Topics;
use crate::config::ros::Bridge;
use crate::service::tcp;
use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};
use std::io::{self, PipeReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Bytes, Message as Frame, WebSocket};

/// The bridge is asked at least this often whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Bytes of a message that are read.
const MOST_BYTES: usize = 64 << 10;

/// What a bridge says.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is there.
    Pong,
    /// It complains, in words.
    Complaint(String),
    /// Something else.
    Other,
}

/// An operation of rosbridge's protocol.
#[derive(Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Operation<'a> {
    Advertise {
        topic: &'a str,
        #[serde(rename = "type")]
        kind: String,
    },
    Publish {
        topic: &'a str,
        msg: &'a Message,
    },
    Unadvertise {
        topic: &'a str,
    },
}

/// What we read of what a bridge says.
#[derive(Deserialize)]
struct Said {
    op: String,
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: serde_json::Value,
}

/// A connection that the bridge accepted.
pub struct Link {
    socket: WebSocket<Stream>,
    bridge: Bridge,
    /// Topics that the bridge knows of.
    topics: Topics<()>,
    /// When it was asked last whether it is there.
    asked: Instant,
    /// Since when it owes an answer.
    owes: Option<Instant>,
    /// One that takes or says nothing for so long is given up.
    patience: Duration,
}

impl Link {
    /// Connects, and waits until the bridge agrees to speak by WebSocket. A bridge that takes or
    /// says nothing for as long as `patience` is given up.
    ///
    /// # Errors
    /// What is in the way.
    pub fn open(bridge: &Bridge, patience: Duration) -> Result<Link, Fault> {
        let connected = tcp::connect(&bridge.host, bridge.port, patience);
        let tcp = connected.map_err(|why| Fault::unreached(bridge, why))?;
        let broken = |error| Fault::of(bridge, error, patience);
        tcp.set_nonblocking(true).map_err(|e| broken(e.into()))?;
        let stream = Stream {
            tcp,
            end: Instant::now() + patience,
            waits: true,
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .max_message_size(Some(MOST_BYTES))
            .max_frame_size(Some(MOST_BYTES));
        let shaken =
            tungstenite::client::client_with_config(bridge.to_string(), stream, Some(config));
        let (mut socket, _) = shaken.map_err(|e| match e {
            HandshakeError::Failure(e) => broken(e),
            // it waits, and is never interrupted
            HandshakeError::Interrupted(_) => broken(timed_out()),
        })?;
        socket.get_mut().waits = false;
        Ok(Link {
            socket,
            bridge: bridge.clone(),
            topics: Topics::default(),
            asked: Instant::now(),
            owes: None,
            patience,
        })
    }

    fn send(&mut self, frame: Frame) -> Result<(), Fault> {
        self.socket.get_mut().end = Instant::now() + self.patience;
        let sent = self.socket.send(frame);
        sent.map_err(|e| self.broken(e))
    }

    fn operate(&mut self, operation: &Operation<'_>) -> Result<(), Fault> {
        let text = json(operation).map_err(|e| self.broken(io::Error::from(e).into()))?;
        self.send(Frame::text(text))
    }

    /// Publishes a message; its topic is announced before.
    ///
    /// # Errors
    /// The connection's.
    pub fn publish(&mut self, topic: &str, message: &Message, now: Instant) -> Result<(), Fault> {
        if self.topics.speak(topic, now).is_none() {
            if let Some(oldest) = self.topics.make_room() {
                self.give_back(&oldest)?;
            }
            let (package, name) = message.kind();
            let kind = format!("{package}/msg/{name}");
            self.operate(&Operation::Advertise { topic, kind })?;
            self.topics.add(topic, (), now);
        }
        self.operate(&Operation::Publish {
            topic,
            msg: message,
        })
    }

    /// Gives back topics of faces that have gone.
    ///
    /// # Errors
    /// The connection's.
    pub fn tidy(&mut self, now: Instant) -> Result<(), Fault> {
        let resting = self.topics.clear_resting(now);
        resting.iter().try_for_each(|topic| self.give_back(topic))
    }

    fn give_back(&mut self, topic: &str) -> Result<(), Fault> {
        self.operate(&Operation::Unadvertise { topic })
    }

    /// Asks the bridge whether it is there.
    ///
    /// # Errors
    /// The connection's.
    pub fn ask(&mut self, now: Instant) -> Result<(), Fault> {
        self.asked = now;
        self.owes.get_or_insert(now);
        self.send(Frame::Ping(Bytes::new()))
    }

    /// The same, where it was not asked for a while.
    ///
    /// # Errors
    /// A bridge that does not answer; the connection's.
    pub fn keep_alive(&mut self, now: Instant) -> Result<(), Fault> {
        let is_over = |since: Instant| now.saturating_duration_since(since) > self.patience;
        if self.owes.is_some_and(is_over) {
            return Err(self.silent());
        }
        match now.saturating_duration_since(self.asked) >= KEEP_ALIVE {
            true => self.ask(now),
            false => Ok(()),
        }
    }

    /// Waits until something has come, the bell rings, or for `patience`; whether something has.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&self, bell: Option<&PipeReader>, patience: Duration) -> Result<bool, Fault> {
        let tcp = &self.socket.get_ref().tcp;
        let mut polled = vec![PollFd::new(tcp, PollFlags::IN)];
        polled.extend(bell.map(|bell| PollFd::new(bell, PollFlags::IN)));
        tcp::ready(&mut polled, patience).map_err(|e| self.broken(e.into()))
    }

    /// What has come as a whole; `None` where there is nothing more.
    ///
    /// # Errors
    /// A connection that was closed or broke; what makes no sense, or is too long.
    pub fn hear(&mut self) -> Result<Option<Heard>, Fault> {
        self.socket.get_mut().end = Instant::now() + self.patience;
        match self.socket.read() {
            Ok(Frame::Pong(_)) => {
                self.owes = None;
                Ok(Some(Heard::Pong))
            }
            Ok(Frame::Text(text)) => Ok(Some(understood(&text))),
            Ok(Frame::Close(_)) => Err(self.broken(tungstenite::Error::ConnectionClosed)),
            Ok(_) => Ok(Some(Heard::Other)),
            Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(self.broken(e)),
        }
    }

    /// Asks, and waits until it answers.
    ///
    /// # Errors
    /// A bridge that does not; the connection's.
    pub fn greet(&mut self) -> Result<(), Fault> {
        let end = Instant::now() + self.patience;
        self.ask(Instant::now())?;
        loop {
            while let Some(heard) = self.hear()? {
                if heard == Heard::Pong {
                    return Ok(());
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.silent());
            }
            self.wait(None, left)?;
        }
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// The connection's.
    pub fn leave(&mut self) -> Result<(), Fault> {
        let goodbye = None::<CloseFrame>;
        self.socket.get_mut().end = Instant::now() + self.patience;
        let left = self
            .socket
            .close(goodbye)
            .and_then(|()| self.socket.flush());
        match left {
            Ok(()) | Err(tungstenite::Error::ConnectionClosed) => Ok(()),
            Err(e) => Err(self.broken(e)),
        }
    }

    fn silent(&self) -> Fault {
        self.broken(timed_out())
    }

    fn broken(&self, error: tungstenite::Error) -> Fault {
        Fault::of(&self.bridge, error, self.patience)
    }
}

fn timed_out() -> tungstenite::Error {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

/// What a bridge says, as far as it concerns us.
fn understood(text: &str) -> Heard {
    match serde_json::from_str::<Said>(text) {
        Ok(said) if said.op == "status" && said.level.starts_with("err") => {
            let words = said.msg.as_str().map(str::to_owned);
            let words = words.unwrap_or_else(|| said.msg.to_string());
            let plain = words.chars().filter(|c| !c.is_control());
            Heard::Complaint(plain.take(200).collect())
        }
        _ => Heard::Other,
    }
}

/// A stream that is written to until `end`, and read until then while it waits.
#[derive(Debug)]
struct Stream {
    tcp: TcpStream,
    end: Instant,
    waits: bool,
}

impl Stream {
    /// Waits until it can be read or written.
    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        tcp::ready(&mut [PollFd::new(&self.tcp, flags)], left).map(drop)
    }
}

fn would_block<T>(tried: &io::Result<T>) -> bool {
    matches!(tried, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.tcp.read(into);
            if !(self.waits && would_block(&read)) {
                return read;
            }
            self.wait(PollFlags::IN)?;
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let written = self.tcp.write(bytes);
            if !would_block(&written) {
                return written;
            }
            self.wait(PollFlags::OUT)?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
