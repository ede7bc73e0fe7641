//! The sub-commands, one file each.

pub mod analyze;
pub mod annotate;
pub mod answer;
pub mod bench;
pub mod devices;
pub mod doctor;
pub mod eval;
pub mod fusion;
pub mod models;
pub mod pictures;
mod queue;
pub mod run;
