//! # demeanor
//!
//! Recognises emotion from a voice, its words and a face, sentiment from an image and its
//! words, and the expression of faces, on ARM boards: int8 distilled students, run by tract
//! and SIMD kernels of our own. No cloud; no sound and no frame ever leaves the board.
//!
//! A [`Session`] takes an [`Observation`] (an utterance, words, an image, or several of them
//! that belong together) and gives an [`Event`] for each task that has what its heads read:
//!
//! ```
//! use demeanor::{Observation, Session, SessionOptions, vision};
//!
//! let image = vision::Picture::from_fn(320, 240, |x, y| [x as u8, y as u8, 90]);
//! let image = image.expect("it has pixels");
//! let mut session = Session::open(SessionOptions::default())?;
//! let observed = Observation::of_image("photo", &image).with_words("What a lovely day!");
//! for event in session.observe(&observed)? {
//!     println!("{}: {} {:?}", event.task, event.label, event.scores);
//! }
//! # Ok::<(), demeanor::Error>(())
//! ```
//!
//! `examples/` has a recording, an image with words and a live dialogue. Tasks are data: a
//! folder with a manifest (see [`model::manifest`]) is a task, and no Rust.
//!
#![doc = include_str!("ARCHITECTURE.md")]
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
pub use event::{Event, Explanation, Face, Faces, Latency, Modality, Recognised};
pub use model::{Bundle, ModelError, bundles};
pub use program::main;
pub use session::{
    Cut, FaceSearch, Observation, Options as SessionOptions, Recogniser, Scene, Session, Tasks,
    Transcript, Verdict,
};
pub use signal::AudioChunk;
pub use signal::segment::{SegmentConfig, Segmenter, Utterance};
pub use vision::Picture;

/// What the project's own tests reach inside for.
#[doc(hidden)]
pub mod testing {
    pub use crate::app::annotate::{Page, annotate, check};
    pub use crate::app::eval::count_rows;
    pub use crate::config::Config;

    /// What `run` speaks to a broker by: a load of many boards needs no models for each.
    pub mod fleet {
        pub use crate::config::mqtt::Mqtt as Section;
        pub use crate::event::{State, StateChange};
        pub use crate::service::latches::{Latches, Remote, Shown};
        pub use crate::service::metrics::Machine;
        pub use crate::service::mqtt::{About, Mqtt, Report, Reporter};
        pub use crate::sink::{Fanout, Sink};
    }
}
