//! # demeanor
//!
//! Recognises emotion from a voice, its words and a face, sentiment from a picture and its
//! words, and the expression of faces, on ARM boards: int8 distilled students, run by tract
//! and SIMD kernels of our own. No cloud; no sound and no frame ever leaves the board.
//!
//! ```text
//! Source -> Utterance, Frame -> Features -> Trunk (int8) -> Fusion head -> Decision -> Event
//! ```
//!
//! Each arrow is a module's border and a plain data type; nothing flows back.
//! [`capture`] brings sound, words and frames, [`signal`] makes utterances and log-mels of
//! them, [`vision`] pixels and faces, [`text`] token ids; [`model`] runs the trunks,
//! [`fusion`] joins them on [`kernels`], [`tasks`] know what is asked, [`decision`]
//! calibrates and smooths, and an [`event::Event`] comes out.

#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

mod app;
pub mod board;
pub mod capture;
mod cli;
mod config;
pub mod decision;
pub mod error;
pub mod event;
pub mod fusion;
pub mod kernels;
pub mod model;
mod program;
mod service;
pub mod session;
pub mod signal;
mod sink;
pub mod tasks;
pub mod text;
pub mod vision;

pub use capture::{Channel, Source, camera::Frame, open_audio};
pub use error::Error;
pub use event::{Event, Explanation, Face, Faces, Latency, Modality};
pub use model::{Bundle, ModelError, bundles};
pub use program::main;
pub use session::{FaceSearch, Observation, Options as SessionOptions, Scene, Session, Tasks};
pub use signal::AudioChunk;
pub use signal::segment::{SegmentConfig, Segmenter, Utterance};
pub use vision::Picture;

/// What the project's own tests reach inside for.
#[doc(hidden)]
pub mod testing {
    pub use crate::app::annotate::{Page, annotate, check};
    pub use crate::app::eval::count_rows;
    pub use crate::config::Config;
}
