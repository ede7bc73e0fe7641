//! What belongs together in time.

pub mod pair;
