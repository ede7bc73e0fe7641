//! Mutated input: an answer or a sentence, never a panic, a hang or the machine's memory.

#[path = "../support/mod.rs"]
mod support;

mod image;
mod mutation;
mod sound;
