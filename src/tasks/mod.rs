//! Tasks: from one utterance or picture to calibrated scores.

pub mod emotion;
pub mod expression;
pub mod pair;
pub mod rehearse;
pub mod sentiment;
pub mod words;

use std::time::Instant;

/// Runs `work` and adds its milliseconds to `stage`.
fn timed<T>(stage: &mut Option<f64>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *stage = Some(stage.unwrap_or(0.0) + start.elapsed().as_secs_f64() * 1e3);
    result
}
