//! What can be wrong with a broker, each in a sentence.

use crate::config::mqtt::Broker;
use crate::service::tcp::unreachable;
use mqtt5_protocol::ReasonCode;
use std::io;
use std::time::Duration;
use thiserror::Error;

/// Why there is no connection, or no longer.
#[derive(Debug, Error)]
pub enum Fault {
    /// Its name means nothing.
    #[error("{broker}: its name is not known ({source}); check [mqtt] broker and the network")]
    Unknown {
        /// Where it should be.
        broker: Broker,
        /// The resolver's word.
        source: io::Error,
    },
    /// Nobody is there.
    #[error("{broker}: {}", unreachable("broker", source))]
    Unreachable {
        /// Where it should be.
        broker: Broker,
        /// The system's word.
        source: io::Error,
    },
    /// TLS does not come about, or breaks.
    #[error("{broker}: {what}")]
    Tls {
        /// Who is there.
        broker: Broker,
        /// In words, with advice.
        what: String,
    },
    /// It does not want us.
    #[error("{broker}: {}", rejected(*reason))]
    Rejected {
        /// Who says so.
        broker: Broker,
        /// Why.
        reason: ReasonCode,
    },
    /// It says goodbye.
    #[error("{broker}: {}", dismissed(*reason))]
    Dismissed {
        /// Who says so.
        broker: Broker,
        /// Why.
        reason: ReasonCode,
    },
    /// It closed the connection without a word.
    #[error("{broker}: it closed the connection; its log says why")]
    Closed {
        /// Who did.
        broker: Broker,
    },
    /// It says nothing.
    #[error("{broker}: it has not answered for {} s; check that it is a broker, and that it is well", patience.as_secs())]
    Silent {
        /// Who is silent.
        broker: Broker,
        /// How long we waited.
        patience: Duration,
    },
    /// It says what makes no sense.
    #[error(
        "{broker}: what it sends is not MQTT {version} ({what}); check [mqtt] broker and version"
    )]
    Malformed {
        /// Who sends that.
        broker: Broker,
        /// What we speak.
        version: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

fn rejected(reason: ReasonCode) -> String {
    match reason {
        ReasonCode::UnsupportedProtocolVersion => {
            "it does not speak this version of MQTT; write version = \"3.1.1\" in [mqtt]".into()
        }
        ReasonCode::ClientIdentifierNotValid => {
            "it refuses the name of this client; write another client_id in [mqtt]".into()
        }
        ReasonCode::BadUsernameOrPassword => {
            "it refuses the user or the password; check user and password_file in [mqtt]".into()
        }
        ReasonCode::NotAuthorized | ReasonCode::Banned => {
            "it does not let us in; check user and password_file in [mqtt], and what it allows"
                .into()
        }
        ReasonCode::ServerUnavailable | ReasonCode::ServerBusy => "it is busy".into(),
        _ => format!("it refuses the connection ({reason:?})"),
    }
}

fn dismissed(reason: ReasonCode) -> String {
    match reason {
        ReasonCode::SessionTakenOver => {
            "another client took over our name; give each device a name of its own in [device]"
                .into()
        }
        ReasonCode::ServerShuttingDown => "it shuts down".into(),
        ReasonCode::KeepAliveTimeout => "it heard nothing of us for too long".into(),
        ReasonCode::PacketTooLarge => "what we sent is too large for it".into(),
        ReasonCode::Success => "it said goodbye".into(),
        _ => format!("it ended the connection ({reason:?})"),
    }
}
