//! From a source's own interleaved samples to 16 kHz mono, with an account of the level.

use std::time::Duration;

use super::CaptureError;
use super::channel::Channel;
use super::hearing::Hearing;
use super::mix::Mixer;
use crate::signal::duration_of;
use crate::signal::resample::{Resampler, UnsupportedRate};

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
    warned: bool,
}

/// A source that cannot be converted as it is asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error(transparent)]
    Rate(#[from] UnsupportedRate),
    #[error("it has {has} channels and no channel {asked}; name one of 0 to {}", .has - 1)]
    Channel { asked: u16, has: u16 },
    #[error("its only channel is the device's own voice, so nothing is left to hear")]
    Alone,
}

impl Unfit {
    /// As an error of the file or pipe `name`.
    pub(super) fn of(self, name: &str) -> CaptureError {
        let name = name.to_owned();
        match self {
            Unfit::Rate(source) => CaptureError::Rate { name, source },
            Unfit::Channel { asked, has } => CaptureError::NoChannel { name, asked, has },
            Unfit::Alone => CaptureError::NothingToHear { name },
        }
    }
}

impl Converter {
    /// Hears what `hearing` says of `channels`, which are not 0. `full_scale`: the least
    /// magnitude that the source cannot exceed.
    pub(super) fn new(
        rate: u32,
        channels: u16,
        full_scale: f32,
        hearing: Hearing,
    ) -> Result<Self, Unfit> {
        let heard = match hearing.channel {
            Channel::Number(number) => Some(number),
            Channel::Best | Channel::Mix => None,
        };
        let own = hearing.own.map(|own| own.number);
        if let Some(asked) = heard
            .into_iter()
            .chain(own)
            .find(|asked| *asked >= channels)
        {
            let has = channels;
            return Err(Unfit::Channel { asked, has });
        }
        if own.is_some() && (own == heard || channels == 1) {
            return Err(Unfit::Alone);
        }
        Ok(Self {
            rate,
            mixer: Mixer::new(hearing, usize::from(channels), rate),
            clipping: Clipping::new(usize::from(channels), full_scale),
            resampler: Resampler::new(rate)?,
            mono: Vec::new(),
            frames: 0,
            peak: 0.0,
            warned: false,
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

    /// Whether the device's own voice was in what was pushed since the last call.
    pub(super) fn own_voice(&mut self) -> bool {
        self.mixer.own_voice()
    }

    /// What is to be said of the mix, once; `name` is for the message.
    pub(super) fn warning(&mut self, name: &str) -> Option<String> {
        if self.warned || self.mixer.cancelled().is_zero() {
            return None;
        }
        self.warned = true;
        Some(format!(
            "{name}: its channels cancel each other in their mean, as with a reversed wire; hear \
             one of them with the channel `best` or a number from 0"
        ))
    }

    /// Refuses NaN and infinity: the first one's time and channel.
    pub(super) fn check_finite(&self, samples: &[f32], name: &str) -> Result<(), CaptureError> {
        let channels = self.mixer.channels();
        match samples.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(index) => Err(CaptureError::NotFinite {
                name: name.to_owned(),
                at: time_of(self.frames + (index / channels) as u64, self.rate),
                channel: index % channels,
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

/// Takes NaN and infinity as silence; returns how many there were. One glitch of a program
/// upstream must not end a live stream.
pub(super) fn silence_not_finite(samples: &mut [f32]) -> u64 {
    let mut count = 0;
    for x in samples.iter_mut().filter(|x| !x.is_finite()) {
        *x = 0.0;
        count += 1;
    }
    count
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
