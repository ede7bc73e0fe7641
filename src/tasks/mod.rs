//! Tasks: from one utterance to calibrated scores.

pub mod emotion;
pub mod pair;
