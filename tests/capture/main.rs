#[path = "../support/mod.rs"]
mod support;

mod camera;
mod mic;
mod opus;
mod wav;
