//! What can be wrong with a bridge or a domain, each in a sentence.

use crate::config::ros::{Bridge, Domain};
use crate::service::tcp::{Unreached, unreachable};
use std::fmt::Display;
use std::io;
use std::time::Duration;
use thiserror::Error;
use tungstenite::error::ProtocolError;
use tungstenite::http::StatusCode;

/// Why there is no connection, or no longer.
#[derive(Debug, Error)]
pub enum Fault {
    /// Its name means nothing.
    #[error("{bridge}: its name is not known ({source}); check [ros] bridge and the network")]
    Unknown {
        /// Where it should be.
        bridge: Bridge,
        /// The resolver's word.
        source: io::Error,
    },
    /// Nobody is there.
    #[error("{bridge}: {}", unreachable("rosbridge", source))]
    Unreachable {
        /// Where it should be.
        bridge: Bridge,
        /// The system's word.
        source: io::Error,
    },
    /// Somebody is there, and wants no WebSocket.
    #[error("{bridge}: it answers {status} and is no rosbridge there; check [ros] bridge")]
    Rejected {
        /// Who says so.
        bridge: Bridge,
        /// Of HTTP.
        status: StatusCode,
    },
    /// It closed the connection.
    #[error("{bridge}: it closed the connection; its log says why")]
    Closed {
        /// Who did.
        bridge: Bridge,
    },
    /// It says nothing, or takes nothing.
    #[error("{bridge}: it has not answered for {} s; check that it is a rosbridge, and that it is well", patience.as_secs())]
    Silent {
        /// Who is silent.
        bridge: Bridge,
        /// How long we waited.
        patience: Duration,
    },
    /// It says what makes no sense, or too much of it.
    #[error("{bridge}: what it sends is no rosbridge's ({what}); check [ros] bridge")]
    Malformed {
        /// Who sends that.
        bridge: Bridge,
        /// What is wrong with it.
        what: String,
    },
    /// There is no DDS.
    #[error(
        "this program was built without DDS; build it with --features ros2, or write \
         bridge = \"ws://…\""
    )]
    Absent,
    /// The address is another machine's.
    #[cfg(feature = "ros2")]
    #[error("{domain}: this board has no such address ({source}); check [ros] address")]
    Elsewhere {
        /// Where it should be.
        domain: Domain,
        /// The system's word.
        source: io::Error,
    },
    /// There is no node, or it cannot go on.
    #[error(
        "{domain}: {what}; check the network, and that the unit allows it (PrivateNetwork, \
         RestrictAddressFamilies)"
    )]
    Unopened {
        /// Where it should be.
        domain: Domain,
        /// DDS's word.
        what: String,
    },
    /// Readers hang.
    #[cfg(feature = "ros2")]
    #[error(
        "{domain}: a reader of {topic} has taken nothing for {} s; see what hangs there",
        patience.as_secs()
    )]
    Stuck {
        /// Where they are.
        domain: Domain,
        /// What they read.
        topic: String,
        /// How long we waited.
        patience: Duration,
    },
    /// DDS itself failed.
    #[error("{domain}: DDS broke down; run with RUST_LOG=debug and report what it prints")]
    Broken {
        /// Where it was.
        domain: Domain,
    },
}

impl Fault {
    /// There is no connection.
    pub fn unreached(bridge: &Bridge, why: Unreached) -> Fault {
        let bridge = bridge.clone();
        match why {
            Unreached::Unknown(source) => Fault::Unknown { bridge, source },
            Unreached::Refused(source) => Fault::Unreachable { bridge, source },
        }
    }

    /// The system or DDS gives no node.
    pub fn unopened(domain: &Domain, error: &impl Display) -> Fault {
        Fault::Unopened {
            domain: *domain,
            what: error.to_string(),
        }
    }

    /// The address is another machine's.
    #[cfg(feature = "ros2")]
    pub fn elsewhere(domain: &Domain, source: io::Error) -> Fault {
        let domain = *domain;
        Fault::Elsewhere { domain, source }
    }

    /// DDS itself failed.
    pub fn broken(domain: &Domain) -> Fault {
        Fault::Broken { domain: *domain }
    }

    /// What an error of the connection means; `patience` is how long it was waited for.
    pub fn of(bridge: &Bridge, error: tungstenite::Error, patience: Duration) -> Fault {
        use tungstenite::Error;
        let bridge = bridge.clone();
        match error {
            Error::Io(e) => match e.kind() {
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                    Fault::Silent { bridge, patience }
                }
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::UnexpectedEof => Fault::Closed { bridge },
                _ => Fault::Unreachable { bridge, source: e },
            },
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(
                ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete,
            ) => Fault::Closed { bridge },
            Error::Http(answer) => Fault::Rejected {
                bridge,
                status: answer.status(),
            },
            other => Fault::Malformed {
                bridge,
                what: other.to_string(),
            },
        }
    }
}
