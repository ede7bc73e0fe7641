//! USB cameras and others that speak V4L2 (feature `v4l`).
//!
//! The ioctls are made by `linuxvideo` 0.3.5 (0BSD; depends on `bitflags`, `libc`, `log` and
//! `uoctl`, a thin typed `ioctl` of the same author): safe outside, memory-mapped streaming,
//! and its structures are written out in Rust, so that no libclang, bindgen, kernel header
//! or C compiler is needed to build or cross-compile. Compared with it, `v4l` 0.14 runs
//! bindgen in its build script; `moq-v4l` 0.1, a fork of that without bindgen, and `v4l`
//! itself panic when a stream cannot be stopped, as on a camera that was pulled out; `rscam`
//! 0.5 is unmaintained by its author's own word; `linux-video` 0.1 stands still since 2023
//! and brings procedural macros. It is used in one small file and nowhere else.
//!
//! A camera is asked for MJPEG, or YUYV if it has none. It is lost when an ioctl fails or
//! nothing comes, closed, and opened again after a growing wait
//! ([`Patience`](super::camera::Patience)): pulled out and plugged in again it goes on.
//!
//! Without the feature, [`V4lSource::open`] fails with
//! [`CaptureError::V4lNotBuilt`](super::CaptureError::V4lNotBuilt).

#[cfg(feature = "v4l")]
mod device;
#[cfg(not(feature = "v4l"))]
mod stub;

#[cfg(feature = "v4l")]
pub use device::{V4lSource, probe};
#[cfg(not(feature = "v4l"))]
pub use stub::{V4lSource, probe};

/// The size to ask a camera for; it answers with the nearest that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Default for Wish {
    /// 640 × 480, which every camera has and is enough for faces across a room.
    fn default() -> Self {
        Self {
            width: 640,
            height: 480,
        }
    }
}
