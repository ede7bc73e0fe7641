//! What each task answers, by a session and through the program.

#[path = "../support/mod.rs"]
mod support;

mod emotion;
mod entities;
mod pictures;
mod recogniser;
mod sarcasm;
mod session;
