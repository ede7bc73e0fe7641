//! From a source's own interleaved samples to 16 kHz mono, with an account of the level.

use std::time::Duration;

use super::CaptureError;
use crate::signal::duration_of;
use crate::signal::resample::{Resampler, UnsupportedRate};

/// Zeros after which a channel counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(1);
/// A change of the mix is spread over this time, or it would click.
const RAMP: Duration = Duration::from_millis(10);
/// Samples at full scale in a row that count as clipped; one alone is a mere peak.
const CLIP_RUN: u8 = 2;

/// Mixes, resamples and measures one stream.
pub(super) struct Converter {
    rate: u32,
    mixer: Mixer,
    clipping: Clipping,
    resampler: Resampler,
    mono: Vec<f32>,
    frames: u64,
    peak: f32,
}

impl Converter {
    /// `full_scale`: the least magnitude that the source cannot exceed.
    pub(super) fn new(rate: u32, channels: u16, full_scale: f32) -> Result<Self, UnsupportedRate> {
        Ok(Self {
            rate,
            mixer: Mixer::new(usize::from(channels), rate),
            clipping: Clipping::new(usize::from(channels), full_scale),
            resampler: Resampler::new(rate)?,
            mono: Vec::new(),
            frames: 0,
            peak: 0.0,
        })
    }

    /// Frames of the source taken so far.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// Time of the source taken so far.
    pub(super) fn elapsed(&self) -> Duration {
        time_of(self.frames, self.rate)
    }

    pub(super) fn peak(&self) -> f32 {
        self.peak
    }

    pub(super) fn clipped_fraction(&self) -> f64 {
        self.clipping.fraction()
    }

    /// Refuses NaN and infinity: the first one's time and channel.
    pub(super) fn check_finite(&self, samples: &[f32], name: &str) -> Result<(), CaptureError> {
        let channels = self.mixer.weights.len();
        match samples.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(index) => Err(CaptureError::NotFinite {
                name: name.to_owned(),
                at: time_of(self.frames + (index / channels) as u64, self.rate),
                channel: index % channels + 1,
            }),
        }
    }

    /// Converts whole frames of finite samples. Values beyond full scale are clamped, as any
    /// player would, and counted as clipped.
    pub(super) fn push(&mut self, interleaved: &mut [f32], out: &mut Vec<f32>) {
        for x in interleaved.iter_mut() {
            *x = x.clamp(-1.0, 1.0);
            self.peak = self.peak.max(x.abs());
        }
        self.clipping.count(interleaved);
        self.mono.clear();
        self.mixer.mix(interleaved, &mut self.mono);
        self.frames += self.mono.len() as u64;
        let from = out.len();
        self.resampler.push(&self.mono, out);
        clamp(&mut out[from..]);
    }

    /// What the resampler still held; the next sample begins a new stretch of sound.
    pub(super) fn flush(&mut self, out: &mut Vec<f32>) {
        let from = out.len();
        self.resampler.flush(out);
        clamp(&mut out[from..]);
    }
}

/// The resampler may overshoot full scale between samples.
fn clamp(samples: &mut [f32]) {
    for x in samples {
        *x = x.clamp(-1.0, 1.0);
    }
}

/// How long `frames` take at `rate`.
pub(super) fn time_of(frames: u64, rate: u32) -> Duration {
    let rate = u64::from(rate.max(1));
    Duration::from_secs(frames / rate) + Duration::from_nanos(frames % rate * 1_000_000_000 / rate)
}

/// Stream time at 16 kHz: samples delivered and samples lost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock(u64);

impl Clock {
    /// The time now, and moves on by `samples`.
    pub(super) fn advance(&mut self, samples: usize) -> Duration {
        let now = duration_of(self.0);
        self.0 += samples as u64;
        now
    }

    pub(super) fn now(self) -> Duration {
        duration_of(self.0)
    }
}

/// The mean of the channels that are alive.
///
/// A stereo device with one microphone gives one channel of zeros; a plain mean would halve
/// the voice. A channel is alive once it has been other than zero, until it has been exactly
/// zero for [`DEAD_AFTER`].
struct Mixer {
    weights: Vec<f32>,
    /// Frames of zeros at the end of what was heard; `None`: never alive.
    quiet: Vec<Option<u64>>,
    dead_after: u64,
    ramp: usize,
    settled: bool,
}

impl Mixer {
    fn new(channels: usize, rate: u32) -> Self {
        let frames = |time: Duration| (time.as_secs_f64() * f64::from(rate)) as u64;
        Self {
            weights: vec![1.0 / channels as f32; channels],
            quiet: vec![None; channels],
            dead_after: frames(DEAD_AFTER),
            ramp: frames(RAMP) as usize,
            settled: false,
        }
    }

    fn mix(&mut self, interleaved: &[f32], mono: &mut Vec<f32>) {
        if self.weights.len() == 1 {
            mono.extend_from_slice(interleaved);
            return;
        }
        self.listen(interleaved);
        let target = self.target();
        let ramp = if self.settled { self.ramp } else { 0 };
        self.settled |= self.quiet.iter().any(Option::is_some);
        for (i, frame) in interleaved.chunks_exact(target.len()).enumerate() {
            let part = if i < ramp {
                i as f32 / ramp as f32
            } else {
                1.0
            };
            let weights = self.weights.iter().zip(&target);
            let sum = frame
                .iter()
                .zip(weights)
                .map(|(x, (old, new))| x * (old + (new - old) * part));
            mono.push(sum.sum());
        }
        self.weights = target;
    }

    /// Notes how long each channel has been zero.
    fn listen(&mut self, interleaved: &[f32]) {
        let channels = self.weights.len();
        let frames = interleaved.len() / channels;
        for (channel, quiet) in self.quiet.iter_mut().enumerate() {
            let samples = interleaved.iter().skip(channel).step_by(channels);
            let zeros = samples.rev().take_while(|x| **x == 0.0).count();
            if zeros < frames {
                *quiet = Some(zeros as u64);
            } else if let Some(before) = quiet {
                *before += zeros as u64;
            }
        }
    }

    fn target(&self) -> Vec<f32> {
        let alive = |quiet: &Option<u64>| quiet.is_some_and(|frames| frames < self.dead_after);
        let count = self.quiet.iter().filter(|q| alive(q)).count();
        if count == 0 {
            return self.weights.clone();
        }
        let weight = |q| if alive(q) { 1.0 / count as f32 } else { 0.0 };
        self.quiet.iter().map(weight).collect()
    }
}

/// Counts samples that sit in runs at full scale, per channel.
struct Clipping {
    full_scale: f32,
    runs: Vec<u8>,
    clipped: u64,
    total: u64,
}

impl Clipping {
    fn new(channels: usize, full_scale: f32) -> Self {
        Self {
            full_scale,
            runs: vec![0; channels],
            clipped: 0,
            total: 0,
        }
    }

    fn count(&mut self, interleaved: &[f32]) {
        self.total += interleaved.len() as u64;
        for frame in interleaved.chunks_exact(self.runs.len()) {
            for (x, run) in frame.iter().zip(&mut self.runs) {
                if x.abs() < self.full_scale {
                    *run = 0;
                    continue;
                }
                *run = run.saturating_add(1);
                // The run's first samples are counted when it becomes one.
                self.clipped += match (*run).cmp(&CLIP_RUN) {
                    std::cmp::Ordering::Less => 0,
                    std::cmp::Ordering::Equal => u64::from(CLIP_RUN),
                    std::cmp::Ordering::Greater => 1,
                };
            }
        }
    }

    fn fraction(&self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            self.clipped as f64 / self.total as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(channels: usize, frames: usize, sample: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let mut mixer = Mixer::new(channels, 16_000);
        let all: Vec<f32> = (0..frames)
            .flat_map(|i| (0..channels).map(move |c| (i, c)))
            .map(|(i, c)| sample(i, c))
            .collect();
        let mut mono = Vec::new();
        for block in all.chunks(channels * 1000) {
            mixer.mix(block, &mut mono);
        }
        mono
    }

    #[test]
    fn a_dead_channel_does_not_halve_the_level() {
        let mono = mixed(2, 5000, |_, c| if c == 0 { 0.5 } else { 0.0 });
        assert!(mono.iter().all(|x| *x == 0.5));
    }

    #[test]
    fn living_channels_are_averaged() {
        let mono = mixed(4, 3000, |_, c| [0.1, 0.2, 0.0, 0.6][c]);
        assert!(mono.iter().all(|x| (x - 0.3).abs() < 1e-6));
    }

    #[test]
    fn a_channel_that_dies_leaves_the_mix_without_a_click() {
        let mono = mixed(2, 40_000, |i, c| if c == 0 || i < 2000 { 0.5 } else { 0.0 });
        assert_eq!(mono[1000], 0.5);
        assert_eq!(mono[10_000], 0.25);
        assert_eq!(mono[30_000], 0.5);
        let jump = mono
            .windows(2)
            .skip(2001)
            .map(|w| (w[1] - w[0]).abs())
            .fold(0.0, f32::max);
        assert!(jump < 0.01, "a step of {jump}");
    }

    #[test]
    fn runs_at_full_scale_are_clipped_and_single_peaks_are_not() {
        let mut clipping = Clipping::new(1, 0.99);
        clipping.count(&[0.0, 1.0, 0.0, -1.0, -1.0, -1.0, 0.2, 1.0, 1.0, 0.0]);
        assert_eq!(clipping.clipped, 5);
        assert!((clipping.fraction() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn runs_are_followed_across_blocks_and_channels() {
        let mut clipping = Clipping::new(2, 0.99);
        clipping.count(&[1.0, 0.0]);
        clipping.count(&[1.0, 1.0]);
        assert_eq!(clipping.clipped, 2);
    }
}
