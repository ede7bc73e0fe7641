//! What stands in for V4L2 cameras in a build without the feature `v4l`.

use std::path::Path;

use super::Wish;
use crate::capture::camera::{CameraState, Frame, FrameReport, FrameSource, Patience};
use crate::capture::{CaptureError, Source};

/// A V4L2 camera, of which this build can have none: no value of this type exists.
#[derive(Debug)]
pub enum V4lSource {}

impl V4lSource {
    /// Always fails in this build.
    ///
    /// # Errors
    /// [`CaptureError::V4lNotBuilt`].
    pub fn open(path: &Path, _wish: Wish, _patience: Patience) -> Result<Self, CaptureError> {
        Err(CaptureError::V4lNotBuilt {
            name: path.display().to_string(),
        })
    }
}

impl Source for V4lSource {
    type Item = Frame;

    fn poll(&mut self) -> nb::Result<Option<Frame>, CaptureError> {
        match *self {}
    }
}

impl FrameSource for V4lSource {
    fn state(&self) -> CameraState {
        match *self {}
    }

    fn report(&self) -> FrameReport {
        match *self {}
    }
}

/// Always fails in this build.
///
/// # Errors
/// [`CaptureError::V4lNotBuilt`].
pub fn probe(path: &Path) -> Result<String, CaptureError> {
    Err(CaptureError::V4lNotBuilt {
        name: path.display().to_string(),
    })
}
