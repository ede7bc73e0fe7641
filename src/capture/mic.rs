//! The microphone (feature `mic`), behind one type that survives its device.
//!
//! The audio thread copies samples into a ring and counts what does not fit; everything
//! else happens in [`Mic`]'s poll. A device that is busy, unplugged or silent for
//! [`STALL`] is opened again after [`FIRST_RETRY`], then twice as long each time up to
//! [`LAST_RETRY`]; what was lost meanwhile is a gap in the stream's time.
//!
//! Without the feature, [`Mic::open`] and [`devices`] fail with
//! [`CaptureError::MicNotBuilt`](super::CaptureError::MicNotBuilt).

#[cfg(feature = "mic")]
mod device;
#[cfg(not(feature = "mic"))]
mod stub;

use std::time::Duration;

#[cfg(feature = "mic")]
pub use device::{Mic, devices, probe};
#[cfg(not(feature = "mic"))]
pub use stub::{Mic, devices, probe};

/// First wait before a lost device is tried again.
pub const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest wait between two tries.
pub const LAST_RETRY: Duration = Duration::from_secs(10);
/// A device that delivers nothing for this long is taken for lost: an unplugged microphone
/// often just goes silent.
pub const STALL: Duration = Duration::from_secs(2);

/// What a microphone is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MicState {
    /// The device is open and read.
    Listening,
    /// Muted: the device is closed.
    Paused,
    /// The device is lost or busy and will be tried again.
    Waiting {
        /// Why, in the device's words.
        reason: String,
        /// The wait before the next try.
        retry_in: Duration,
    },
    /// The device failed for good; polling reported why.
    Failed,
}

/// What a microphone has lost so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MicCounters {
    /// Overruns that the device reported.
    pub xruns: u64,
    /// Frames at the device's rate that did not fit into the ring: polled too seldom.
    pub dropped_frames: u64,
    /// Times the device was opened again after a loss.
    pub reopened: u64,
    /// Samples that were NaN or infinite, replaced by silence.
    pub not_finite: u64,
}

/// An input device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// What [`Mic::open`] takes to open exactly this device, such as `plughw:CARD=1,DEV=0`.
    pub id: String,
    /// A name for people.
    pub name: String,
}

/// An input device that was found and not recorded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Which.
    pub device: DeviceInfo,
    /// Another program records from it now.
    pub busy: bool,
}
