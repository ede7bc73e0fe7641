//! Sound to features: resampling, log-mel spectra, voice activity and utterances.
//!
//! Everything here works on mono `f32` samples in `[-1, 1]`; everything after
//! [`resample`] works at [`SAMPLE_RATE`].

mod chunk;
pub mod mel;
pub mod resample;
pub mod segment;
pub mod vad;

pub use chunk::AudioChunk;
use std::time::Duration;

/// The one sample rate of every model, in Hz.
pub const SAMPLE_RATE: u32 = 16_000;

/// How long `samples` take at [`SAMPLE_RATE`].
#[must_use]
pub fn duration_of(samples: u64) -> Duration {
    let rate = u64::from(SAMPLE_RATE);
    // Split so that hours of samples cannot overflow the nanosecond product.
    Duration::from_secs(samples / rate)
        + Duration::from_nanos(samples % rate * 1_000_000_000 / rate)
}

/// How many whole samples at [`SAMPLE_RATE`] fit into `time`, saturating.
#[must_use]
pub fn samples_in(time: Duration) -> usize {
    let rate = u128::from(SAMPLE_RATE);
    // A duration made by `duration_of` was rounded down to nanoseconds: the half
    // sample added here makes the round trip exact.
    let samples = (time.as_nanos() * rate + 500_000_000) / 1_000_000_000;
    usize::try_from(samples).unwrap_or(usize::MAX)
}
