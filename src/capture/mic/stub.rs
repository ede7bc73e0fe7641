//! What stands in for the microphone in a build without the feature `mic`.

use super::{DeviceInfo, MicCounters, MicState, Presence};
use crate::capture::{AudioChunk, AudioReport, AudioSource, CaptureError, Hearing, Source};

/// A microphone, of which this build can have none: no value of this type exists.
#[derive(Debug)]
pub enum Mic {}

impl Mic {
    /// Always fails in this build.
    ///
    /// # Errors
    /// [`CaptureError::MicNotBuilt`].
    pub fn open(_device: Option<&str>, _hearing: impl Into<Hearing>) -> Result<Self, CaptureError> {
        Err(CaptureError::MicNotBuilt)
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> &MicState {
        match *self {}
    }

    /// What it has lost.
    #[must_use]
    pub fn counters(&self) -> MicCounters {
        match *self {}
    }

    /// What is wrong with its sound.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        match *self {}
    }

    /// Closes the device.
    pub fn pause(&mut self) {
        match *self {}
    }

    /// Opens it again.
    pub fn resume(&mut self) {
        match *self {}
    }
}

impl Source for Mic {
    type Item = AudioChunk;

    fn poll(&mut self) -> nb::Result<Option<AudioChunk>, CaptureError> {
        match *self {}
    }
}

impl AudioSource for Mic {
    fn report(&self) -> AudioReport {
        match *self {}
    }
}

/// Always fails in this build.
///
/// # Errors
/// [`CaptureError::MicNotBuilt`].
pub fn devices() -> Result<Vec<DeviceInfo>, CaptureError> {
    Err(CaptureError::MicNotBuilt)
}

/// Always fails in this build.
///
/// # Errors
/// [`CaptureError::MicNotBuilt`].
pub fn probe(_device: Option<&str>) -> Result<Presence, CaptureError> {
    Err(CaptureError::MicNotBuilt)
}
