//! Where sound and pictures come from: files, streams, microphones, cameras.

#[path = "../support/mod.rs"]
mod support;

mod camera;
mod mic;
mod opus;
mod wav;
