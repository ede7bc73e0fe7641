//! # demeanor
//!
//! Recognises emotion from a voice and its words on ARM boards: int8 distilled students,
//! run by tract and SIMD kernels of our own. No cloud; no sound ever leaves the board.
//!
//! ```text
//! Source -> Utterance -> Features -> Encoder (int8) -> Fusion head -> Decision -> Event
//! ```
//!
//! Each arrow is a module's border and a plain data type; nothing flows back.
//! [`capture`] brings sound and words, [`signal`] makes utterances and log-mels of them,
//! [`text`] makes token ids, [`model`] runs the encoders, [`fusion`] joins them on
//! [`kernels`], [`decision`] calibrates and smooths, and an [`event::Event`] comes out.

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
pub mod signal;
pub mod sink;
pub mod tasks;
pub mod text;
pub mod vision;

pub use error::Error;
