//! Sound as it comes: pieces of one stream.

use std::time::Duration;

/// A piece of sound.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioChunk {
    /// Stream time of the first sample, lost sound included.
    pub start: Duration,
    /// 16 kHz mono, finite, in `[-1, 1]`.
    pub samples: Vec<f32>,
    /// Sound lost right before `start`; zero when it is unknown how much.
    pub gap: Option<Duration>,
    /// While it sounded, or just before, the device itself spoke: a channel of the source tells.
    pub own: bool,
}
