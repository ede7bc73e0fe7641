//! `[camera]`.

use crate::board::profile::{self, Format, Profile};
use crate::capture::CaptureError;
use crate::capture::camera::CameraSpec;
use crate::capture::child::{Command, Form};
use crate::vision::yuv::Layout;
use serde::Deserialize;
use std::time::Duration;

/// Where pictures come from: a source, or a command that writes frames.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Camera {
    /// A device such as `/dev/video0`, a file or folder of pictures, `-` for a stream of JPEGs
    /// on standard input, `board` for the board's own, or `none`.
    pub source: Option<String>,
    /// A program and its arguments, instead of a source; it writes frames to its standard
    /// output.
    pub command: Vec<String>,
    /// What the program writes.
    pub format: Format,
    /// Columns of its frames, where they are not JPEGs.
    pub width: u32,
    /// Rows of its frames.
    pub height: u32,
    /// Bytes from one row to the next; the width when left out.
    pub stride: Option<u32>,
    /// Least seconds between two looks at the faces; the board's cadence when left out.
    pub every: Option<f64>,
}

impl Default for Camera {
    fn default() -> Self {
        Camera {
            source: None,
            command: Vec::new(),
            format: Format::Mjpeg,
            width: 640,
            height: 480,
            stride: None,
            every: None,
        }
    }
}

impl From<profile::Camera> for Camera {
    fn from(camera: profile::Camera) -> Self {
        Camera {
            source: camera.source,
            command: camera.command,
            format: camera.format,
            width: camera.width,
            height: camera.height,
            stride: camera.stride,
            every: Some(camera.every),
        }
    }
}

impl Camera {
    /// What is to be opened; `board` is the camera of the board's profile.
    ///
    /// # Errors
    /// A command without a program, frames of an impossible size, or a board without a camera.
    pub fn spec(&self, board: &Profile) -> Result<CameraSpec, CaptureError> {
        if self.command.is_empty() {
            return match self.source.as_deref().unwrap_or("none") {
                "board" => Camera::of(board)?.spec(board),
                source => CameraSpec::parse(source),
            };
        }
        let form = match self.format {
            Format::Mjpeg => Form::Mjpeg,
            Format::I420 => Form::I420(self.layout()?),
        };
        Command::new(&self.command, form).map(CameraSpec::Child)
    }

    /// The camera of a board's profile.
    ///
    /// # Errors
    /// A profile that names none.
    pub fn of(board: &Profile) -> Result<Camera, CaptureError> {
        let none = || CaptureError::Camera {
            name: "board".into(),
            what: format!("the profile of {} names no camera", board.name),
            advice: "name the board with --board, or the camera's source or command in [camera]",
        };
        board.camera.clone().map(Camera::from).ok_or_else(none)
    }

    fn layout(&self) -> Result<Layout, CaptureError> {
        let stride = self.stride.unwrap_or(self.width);
        let layout = Layout::i420(self.width, self.height, stride);
        layout.ok_or_else(|| CaptureError::Camera {
            name: "camera".into(),
            what: format!(
                "no frame is {} × {} with rows of {stride} bytes",
                self.width, self.height
            ),
            advice: "check width, height and stride in the config's [camera]",
        })
    }

    /// Least time between two looks.
    pub fn every(&self, board: &Profile) -> Duration {
        let boards = board.camera.as_ref().map(|camera| camera.every);
        let every = self.every.or(boards).unwrap_or(0.5);
        Duration::from_secs_f64(every.clamp(0.0, 3600.0))
    }
}
