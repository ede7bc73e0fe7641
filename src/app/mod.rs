//! The sub-commands, one file each.

pub mod analyze;
pub mod answer;
pub mod bench;
pub mod devices;
pub mod eval;
pub mod fusion;
pub mod models;
mod queue;
pub mod run;
