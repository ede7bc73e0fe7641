//! Pictures over time: what every source of frames has in common, and how one is opened.
//!
//! A frame stays as it came, JPEG or raw, until [`Frame::decode`]: a picture that nobody
//! looks at costs nothing. Live sources keep the newest frame alone and count those that
//! nobody fetched; files and pipes deliver every frame.

pub(super) mod framer;
pub(super) mod live;
mod losses;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use live::Patience;
pub(super) use losses::Losses;

use super::child::{ChildSource, Command};
use super::images::ImageSource;
use super::v4l::{self, V4lSource};
use super::{CaptureError, Source};
use crate::vision::yuv::{self, Layout, Range};
use crate::vision::{self, Picture, PictureError};

/// A picture that was captured and not yet decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When it was complete, since its source was opened.
    pub at: Duration,
    /// What messages call it: a file's path, or the camera's name.
    pub name: Arc<str>,
    /// The picture itself.
    pub data: FrameData,
}

impl Frame {
    /// The frame as a picture. Raw frames are taken for limited range, as cameras send them.
    ///
    /// # Errors
    /// As [`vision::decode`]; [`PictureError::Damaged`] when a raw frame is too short.
    pub fn decode(&self) -> Result<Picture, PictureError> {
        let short = || PictureError::damaged(&self.name, "the raw frame is shorter than its size");
        match &self.data {
            FrameData::Encoded(bytes) => vision::decode(bytes, &self.name),
            FrameData::I420 { layout, bytes } => {
                yuv::i420(bytes, *layout, Range::Limited).ok_or_else(short)
            }
            FrameData::Yuyv { layout, bytes } => {
                yuv::yuyv(bytes, *layout, Range::Limited).ok_or_else(short)
            }
        }
    }
}

/// The forms in which frames come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameData {
    /// A JPEG or PNG file's bytes.
    Encoded(Vec<u8>),
    /// Planes of luma, Cb and Cr: [`Layout::i420_bytes`] bytes.
    I420 {
        /// How the planes lie in `bytes`.
        layout: Layout,
        /// All three planes.
        bytes: Vec<u8>,
    },
    /// Luma and colour in turn: [`Layout::yuyv_bytes`] bytes.
    Yuyv {
        /// How the rows lie in `bytes`.
        layout: Layout,
        /// All rows.
        bytes: Vec<u8>,
    },
}

/// What a source of frames is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CameraState {
    /// It delivers frames, or is about to.
    Capturing,
    /// It is lost and will be opened again.
    Waiting {
        /// Why, in a sentence without a full stop.
        reason: String,
        /// The wait before the next try.
        retry_in: Duration,
    },
    /// It has ended; polling gives `Ok(None)`.
    Ended,
}

/// What is known about a source of frames so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrameReport {
    /// Frames delivered to whoever polls.
    pub frames: u64,
    /// Frames of a live source that were replaced by a newer one before they were fetched.
    pub dropped: u64,
    /// Frames that were cut or damaged and not delivered.
    pub damaged: u64,
    /// Files of a folder that are no pictures.
    pub skipped: u64,
    /// Times that a live source was opened again.
    pub restarts: u64,
    /// What was odd about the source. One sentence each.
    pub warnings: Vec<String>,
}

/// A source of frames that can account for itself.
pub trait FrameSource: Source<Item = Frame> + Send {
    /// What it is doing now.
    fn state(&self) -> CameraState;

    /// What is known so far.
    fn report(&self) -> FrameReport;
}

impl<S: FrameSource + ?Sized> FrameSource for Box<S> {
    fn state(&self) -> CameraState {
        (**self).state()
    }

    fn report(&self) -> FrameReport {
        (**self).report()
    }
}

/// Where frames come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraSpec {
    /// Nowhere: no pictures.
    None,
    /// A V4L2 device.
    Device(PathBuf),
    /// A program that writes frames.
    Child(Command),
    /// A file, a folder, a pipe, or `-` for standard input.
    Pictures(PathBuf),
}

impl CameraSpec {
    /// Understands `none`, `v4l:DEVICE`, a path under `/dev/video` or `/dev/v4l`, `-`, and
    /// the path of a file or folder. A command is no word: it comes from the config.
    ///
    /// # Errors
    /// [`CaptureError::Camera`] for a word that begins with `child:`.
    pub fn parse(word: &str) -> Result<Self, CaptureError> {
        if word.starts_with("child:") {
            return Err(CaptureError::Camera {
                name: word.to_owned(),
                what: "a command cannot be given as one word".to_owned(),
                advice: "put it into the config as a list of words, with the form of its frames",
            });
        }
        let device = word.strip_prefix("v4l:");
        let is_device = word.starts_with("/dev/video") || word.starts_with("/dev/v4l/");
        Ok(match device.or(is_device.then_some(word)) {
            Some(device) => Self::Device(device.into()),
            None if word == "none" => Self::None,
            None => Self::Pictures(word.into()),
        })
    }
}

/// Opens a source of frames; `None` for [`CameraSpec::None`].
///
/// # Errors
/// As [`V4lSource::open`], [`ChildSource::open`] and [`ImageSource::open`].
pub fn open_camera(spec: &CameraSpec) -> Result<Option<Box<dyn FrameSource>>, CaptureError> {
    let patience = Patience::default();
    Ok(match spec {
        CameraSpec::None => None,
        CameraSpec::Device(path) => {
            let source = V4lSource::open(path, v4l::Wish::default(), patience)?;
            Some(Box::new(source))
        }
        CameraSpec::Child(command) => Some(Box::new(ChildSource::open(command, patience)?)),
        CameraSpec::Pictures(path) => Some(Box::new(ImageSource::open(path)?)),
    })
}

/// What messages call a path.
pub(super) fn name_of(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}
