//! `run`: capture, mute, outputs, service, hours.

#[path = "../support/mod.rs"]
mod support;

mod dds;
mod drift;
mod fleet;
mod mqtt;
mod mqtt_tls;
mod mute;
mod outputs;
mod outputs_docs;
mod privacy;
mod recogniser_run;
mod ros;
mod run;
mod service;
mod soak;
