#[path = "../support/mod.rs"]
mod support;

mod image;
mod mutation;
mod sound;
