//! Worse copies of an item: a dark room, a dirty lens, a crowd behind the voice.
//!
//! Each copy is judged like the item itself and is a line of the report, so the fall from line
//! to line is what the room costs.

use super::judge::Material;
use crate::Error;
use crate::app::analyze::wait;
use crate::capture::{Channel, open_audio};
use crate::signal::SAMPLE_RATE;
use crate::vision::Picture;
use std::path::PathBuf;

/// Shortest noise that is mixed in, in samples: 1 s.
const LEAST_NOISE: usize = SAMPLE_RATE as usize;

/// A way in which an item gets worse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Degrade {
    /// Pixels times this, 0..1, as little light makes them; with noise of the sensor of two
    /// grey levels.
    Dark(f32),
    /// Blurred by a Gaussian of this many pixels.
    Blur(f32),
    /// Noise beside the voice, so many decibels below it (above it, if negative).
    Snr(f32),
}

impl Degrade {
    /// Reads `dark:0.25,blur:2,snr:-5`.
    ///
    /// # Errors
    /// A sentence that names what is no entry of such a list.
    pub fn parse(list: &str) -> Result<Vec<Degrade>, String> {
        list.split(',').map(Degrade::parse_one).collect()
    }

    fn parse_one(text: &str) -> Result<Degrade, String> {
        let wrong = || {
            format!(
                "`{text}` is none of dark:FACTOR (0.01 to 1), blur:PIXELS (0.1 to 20) and \
                 snr:DECIBELS (-20 to 40)"
            )
        };
        let (kind, value) = text.trim().split_once(':').ok_or_else(wrong)?;
        let value: f32 = value.parse().map_err(|_| wrong())?;
        match kind {
            "dark" if (0.01..=1.0).contains(&value) => Ok(Degrade::Dark(value)),
            "blur" if (0.1..=20.0).contains(&value) => Ok(Degrade::Blur(value)),
            "snr" if (-20.0..=40.0).contains(&value) => Ok(Degrade::Snr(value)),
            _ => Err(wrong()),
        }
    }

    /// Whether it makes images worse; else it is sound.
    pub fn is_of_images(&self) -> bool {
        !matches!(self, Degrade::Snr(_))
    }

    /// Name of its line in the report.
    pub fn name(self) -> String {
        match self {
            Degrade::Dark(factor) => format!("dark, x {factor}"),
            Degrade::Blur(pixels) => format!("blurred, {pixels} px"),
            Degrade::Snr(decibels) => format!("noise at {decibels} dB"),
        }
    }

    /// The worse copy of an item's material; `None` where there is nothing that it concerns.
    /// `item` chooses the noise, so that a run can be repeated.
    pub(super) fn apply(self, material: &Material, noise: &Noise, item: usize) -> Option<Material> {
        let mut worse = material.clone();
        match self {
            Degrade::Dark(factor) => {
                let image = worse.image.as_mut()?;
                darken(image, factor, item as u32);
            }
            Degrade::Blur(pixels) => worse.image = Some(blur(material.image.as_ref()?, pixels)?),
            Degrade::Snr(decibels) => {
                let utterance = worse.utterance.as_mut()?;
                noise.mix(&mut utterance.samples, decibels, item)?;
            }
        }
        Some(worse)
    }
}

fn darken(image: &mut Picture, factor: f32, seed: u32) {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    for byte in image.rgb_mut() {
        // xorshift: about two grey levels of noise, the same in every run
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let noise = (state >> 16 & 0xFF) as f32 / 255.0 - 0.5;
        *byte = (f32::from(*byte) * factor + noise * 7.0).clamp(0.0, 255.0) as u8;
    }
}

/// Rows, then columns; the border is continued. `None` of an image without pixels.
fn blur(image: &Picture, sigma: f32) -> Option<Picture> {
    let reach = (3.0 * sigma).ceil() as i64;
    let weight = |d: i64| (-0.5 * (d as f32 / sigma).powi(2)).exp();
    let taps: Vec<f32> = (-reach..=reach).map(weight).collect();
    let sum: f32 = taps.iter().sum();
    let (width, height) = (i64::from(image.width()), i64::from(image.height()));
    let pass = |source: &[f32], step: (i64, i64)| -> Vec<f32> {
        let mut out = Vec::with_capacity(source.len());
        for y in 0..height {
            for x in 0..width {
                for channel in 0..3 {
                    let tap = |(at, weight): (usize, &f32)| {
                        let d = at as i64 - reach;
                        let x = (x + d * step.0).clamp(0, width - 1);
                        let y = (y + d * step.1).clamp(0, height - 1);
                        source[((y * width + x) * 3 + channel) as usize] * weight
                    };
                    out.push(taps.iter().enumerate().map(tap).sum::<f32>() / sum);
                }
            }
        }
        out
    };
    let floats: Vec<f32> = image.rgb().iter().map(|b| f32::from(*b)).collect();
    let blurred = pass(&pass(&floats, (1, 0)), (0, 1));
    let bytes = blurred.iter().map(|v| v.round() as u8).collect();
    Picture::new(image.width(), image.height(), bytes)
}

/// Recordings that are mixed in.
#[derive(Debug, Default)]
pub(super) struct Noise(Vec<Vec<f32>>);

impl Noise {
    /// Reads recordings of at least a second that are not silent.
    ///
    /// # Errors
    /// A file that cannot be read, or is too short or silent.
    pub fn read(files: &[PathBuf]) -> Result<Noise, Error> {
        let mut recordings = Vec::new();
        for path in files {
            let mut samples = Vec::new();
            let mut source = open_audio(path, Channel::default())?;
            while let Some(chunk) = wait(source.as_mut())? {
                samples.extend(chunk.samples);
            }
            if samples.len() < LEAST_NOISE || power(&samples) <= 0.0 {
                return Err(Error::Usage(format!(
                    "--noise {}: it is shorter than a second or silent; name another recording",
                    path.display()
                )));
            }
            recordings.push(samples);
        }
        Ok(Noise(recordings))
    }

    /// Adds noise at a ratio to the power of the samples; `None` without a recording, or to
    /// silence. What would clip is scaled down as a whole.
    fn mix(&self, samples: &mut [f32], decibels: f32, item: usize) -> Option<()> {
        let recording = self.0.get(item % self.0.len().max(1))?;
        let voice = power(samples);
        let from = item.wrapping_mul(7919) % recording.len();
        let noise: Vec<f32> = recording
            .iter()
            .cycle()
            .skip(from)
            .take(samples.len())
            .copied()
            .collect();
        let (voice, noise_power) = (Some(voice).filter(|p| *p > 0.0)?, power(&noise));
        let noise_power = Some(noise_power).filter(|p| *p > 0.0)?;
        let gain = (voice / noise_power / 10f32.powf(decibels / 10.0)).sqrt();
        for (sample, noise) in samples.iter_mut().zip(noise) {
            *sample += gain * noise;
        }
        let peak = samples.iter().fold(0.0f32, |peak, s| peak.max(s.abs()));
        if peak > 1.0 {
            samples.iter_mut().for_each(|s| *s /= peak);
        }
        Some(())
    }
}

/// Mean square.
fn power(samples: &[f32]) -> f32 {
    samples.iter().map(|s| s * s).sum::<f32>() / samples.len().max(1) as f32
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_mistakes_are_named() {
        let list = Degrade::parse("dark:0.25, blur:2,snr:-5").unwrap();
        let wanted = [Degrade::Dark(0.25), Degrade::Blur(2.0), Degrade::Snr(-5.0)];
        assert_eq!(list, wanted);
        for wrong in ["dim", "dark:2", "blur:x", "snr:99", "fog:1", ""] {
            let error = Degrade::parse(wrong).unwrap_err();
            assert!(error.contains("dark:FACTOR"), "{error}");
        }
    }

    #[test]
    fn noise_is_as_loud_as_asked() {
        let tone = |hz: f32, level: f32| -> Vec<f32> {
            let turns = |i: usize| i as f32 * hz / 16_000.0;
            let sample = |i| level * (turns(i) * std::f32::consts::TAU).sin();
            (0..32_000).map(sample).collect()
        };
        let noise = Noise(vec![tone(1000.0, 0.5)]);
        let clean = tone(100.0, 0.1);
        for decibels in [-5.0, 0.0, 10.0] {
            let mut mixed = clean.clone();
            noise.mix(&mut mixed, decibels, 3).unwrap();
            let added: Vec<f32> = mixed.iter().zip(&clean).map(|(m, c)| m - c).collect();
            let ratio = 10.0 * (power(&clean) / power(&added)).log10();
            assert!((ratio - decibels).abs() < 0.1, "{ratio} for {decibels}");
        }
        assert!(noise.mix(&mut [0.0; 100], 0.0, 0).is_none());
        assert!(Noise::default().mix(&mut [0.1; 100], 0.0, 0).is_none());
    }

    #[test]
    fn a_blur_keeps_the_light_and_loses_the_edge() {
        let edge = Picture::from_fn(40, 8, |x, _| [if x < 20 { 0 } else { 200 }; 3]).unwrap();
        let soft = blur(&edge, 2.0).unwrap();
        let mean = |p: &Picture| p.rgb().iter().map(|b| u32::from(*b)).sum::<u32>() as f32;
        assert!((mean(&soft) / mean(&edge) - 1.0).abs() < 0.02);
        let step = |p: &Picture| p.pixel(20, 4).unwrap()[0].abs_diff(p.pixel(19, 4).unwrap()[0]);
        assert!(step(&soft) < 50 && step(&edge) == 200);
    }

    #[test]
    fn a_dark_room_is_dark_and_the_same_again() {
        let mut once = Picture::from_fn(16, 16, |_, _| [200; 3]).unwrap();
        let mut again = once.clone();
        darken(&mut once, 0.1, 7);
        darken(&mut again, 0.1, 7);
        assert_eq!(once, again);
        assert!(once.rgb().iter().all(|b| (16..=24).contains(b)));
    }
}
