//! The commands, and what they say of bad input.

#[path = "../support/mod.rs"]
mod support;

mod adapt;
mod adapt_joined;
mod adapt_pictures;
mod annotate;
mod bad_input;
mod bench;
mod calibrate;
mod doctor;
mod eval;
mod eval_pictures;
mod look;
