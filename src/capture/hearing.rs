//! What is heard of a source with several channels.

use super::Channel;
use std::time::Duration;

/// Which channel is heard, and which one tells what the device itself says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Hearing {
    /// The one to hear.
    pub channel: Channel,
    /// The loudspeaker's, where the source has one; it is never heard.
    pub own: Option<OwnChannel>,
}

/// The channel of the device's own loudspeaker, as microphone arrays with a loopback have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OwnChannel {
    /// Its number, from 0.
    pub number: u16,
    /// It sounds above this level, in dB of full scale.
    pub above: f32,
    /// For so long behind its last sound the room still rings with it.
    pub after: Duration,
}

impl From<Channel> for Hearing {
    fn from(channel: Channel) -> Hearing {
        Hearing { channel, own: None }
    }
}
