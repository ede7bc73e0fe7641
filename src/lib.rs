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

pub mod app;
pub mod board;
pub mod capture;
pub mod cli;
pub mod config;
pub mod decision;
pub mod error;
pub mod event;
pub mod fusion;
pub mod kernels;
pub mod model;
pub mod service;
pub mod session;
pub mod signal;
pub mod sink;
pub mod tasks;
pub mod text;
pub mod vision;

pub use error::Error;
pub use event::Event;
pub use session::{Observation, Options as SessionOptions, Scene, Session, Tasks};
