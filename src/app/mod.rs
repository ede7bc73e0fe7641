//! The sub-commands, one file each.

pub mod adapt;
pub mod analyze;
pub mod annotate;
pub mod bench;
pub mod calibrate;
pub mod devices;
pub mod doctor;
pub mod eval;
mod files;
pub mod fusion;
pub mod models;
mod queue;
pub mod run;
pub mod transcribe;
