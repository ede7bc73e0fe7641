//! Log-mel spectra in Whisper's frame layout, peak-referenced per utterance.
//!
//! Windows of 400 samples (25 ms, periodic Hann) every 160 samples (10 ms), reflected by
//! 200 samples at both ends; 80 Slaney filters from 0 to 8000 Hz over the power spectrum;
//! `x = log10(max(p, 1e-10))`, then relative to the utterance's own peak `m`:
//! `y = (max(x, m - 8) - m) / 4 + 1.5`. A louder or softer recording of the same utterance
//! gives the same features: gain is the microphone's business, not the model's.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::SAMPLE_RATE;

/// Window length in samples (25 ms).
pub const N_FFT: usize = 400;
/// Distance of neighbouring frames in samples (10 ms).
pub const HOP: usize = 160;
/// Mel bands per frame.
pub const N_MELS: usize = 80;

/// Bins of the power spectrum.
const BINS: usize = N_FFT / 2 + 1;
/// Reflected samples at each end, so that frame `t` is centred on sample `t · HOP`.
const PAD: usize = N_FFT / 2;
/// Power below which the logarithm stops.
const POWER_FLOOR: f32 = 1e-10;
/// Decades kept below the utterance's peak.
const DYNAMIC_RANGE: f32 = 8.0;

/// One utterance's features.
#[derive(Debug, Clone, PartialEq)]
pub struct MelFrames {
    /// `[frames, 80]` row-major, every value in `[-0.5, 1.5]`.
    pub data: Vec<f32>,
    /// Number of rows: `floor(samples / 160)`.
    pub frames: usize,
}

/// One triangular filter: its first bin and its weights from there on.
#[derive(Debug, Clone)]
struct Band {
    first: usize,
    weights: Vec<f32>,
}

/// The planned transform with its window and filterbank; reuse it for every utterance.
pub struct Mel {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    bands: Vec<Band>,
    frame: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl Default for Mel {
    fn default() -> Self {
        Self::new()
    }
}

impl Mel {
    /// Plans the 400-point transform and computes window and filterbank.
    #[must_use]
    pub fn new() -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(N_FFT);
        Self {
            window: periodic_hann(),
            bands: filterbank(),
            frame: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            fft,
        }
    }

    /// Features of one utterance of 16 kHz mono samples.
    ///
    /// Fewer than 201 samples are padded with zeros to 400 first (a reflection needs
    /// 200 neighbours), so the shortest clip still gives two frames. Samples must be finite:
    /// the sources in `capture` refuse any other.
    pub fn log_mel(&mut self, samples: &[f32]) -> MelFrames {
        if samples.len() <= PAD {
            let mut padded = samples.to_vec();
            padded.resize(N_FFT, 0.0);
            return self.log_mel(&padded);
        }
        let frames = samples.len() / HOP;
        let mut data = Vec::with_capacity(frames * N_MELS);
        for frame in 0..frames {
            self.push_frame(samples, frame, &mut data);
        }
        peak_reference(&mut data);
        MelFrames { data, frames }
    }

    /// Appends the 80 log powers of one frame.
    fn push_frame(&mut self, samples: &[f32], frame: usize, data: &mut Vec<f32>) {
        let start = frame * HOP;
        for (i, (slot, weight)) in self.frame.iter_mut().zip(&self.window).enumerate() {
            *slot = samples[reflect(start + i, samples.len())] * weight;
        }
        let planned =
            self.fft
                .process_with_scratch(&mut self.frame, &mut self.spectrum, &mut self.scratch);
        debug_assert!(planned.is_ok(), "the buffers come from the plan itself");
        for band in &self.bands {
            let bins = &self.spectrum[band.first..band.first + band.weights.len()];
            let power: f32 = bins
                .iter()
                .zip(&band.weights)
                .map(|(c, w)| c.norm_sqr() * w)
                .sum();
            data.push(power.max(POWER_FLOOR).log10());
        }
    }
}

/// The sample under padded position `i`: reflection without repeating the edge.
fn reflect(i: usize, len: usize) -> usize {
    if i < PAD {
        PAD - i
    } else if i - PAD < len {
        i - PAD
    } else {
        2 * (len - 1) - (i - PAD)
    }
}

/// Clamps to the dynamic range below the peak and scales; see the module's formula.
fn peak_reference(data: &mut [f32]) {
    let peak = data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for x in data {
        *x = (x.max(peak - DYNAMIC_RANGE) - peak) / 4.0 + 1.5;
    }
}

/// Hann over `N_FFT` samples of a period of `N_FFT`, as `torch.hann_window` gives it.
fn periodic_hann() -> Vec<f32> {
    let step = std::f64::consts::TAU / N_FFT as f64;
    (0..N_FFT)
        .map(|i| (0.5 - 0.5 * (step * i as f64).cos()) as f32)
        .collect()
}

/// `librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)`: Slaney scale, Slaney norm.
fn filterbank() -> Vec<Band> {
    let top = hz_to_mel(f64::from(SAMPLE_RATE) / 2.0);
    let edge = |i: usize| mel_to_hz(top * i as f64 / (N_MELS + 1) as f64);
    (0..N_MELS)
        .map(|m| triangle(edge(m), edge(m + 1), edge(m + 2)))
        .collect()
}

/// A triangle over the bins, of unit area in Hz.
fn triangle(low: f64, centre: f64, high: f64) -> Band {
    let norm = 2.0 / (high - low);
    let weight = |bin: usize| {
        let hz = bin as f64 * f64::from(SAMPLE_RATE) / N_FFT as f64;
        let rising = (hz - low) / (centre - low);
        let falling = (high - hz) / (high - centre);
        (rising.min(falling).max(0.0) * norm) as f32
    };
    let first = (0..BINS).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
    let weights = (first..BINS).map(weight).take_while(|&w| w > 0.0).collect();
    Band { first, weights }
}

/// Slaney's scale: linear to 1 kHz, logarithmic above.
const LINEAR_STEP: f64 = 200.0 / 3.0;
const LOG_START_HZ: f64 = 1000.0;
const LOG_START_MEL: f64 = LOG_START_HZ / LINEAR_STEP;

fn log_step() -> f64 {
    6.4f64.ln() / 27.0
}

fn hz_to_mel(hz: f64) -> f64 {
    if hz < LOG_START_HZ {
        hz / LINEAR_STEP
    } else {
        LOG_START_MEL + (hz / LOG_START_HZ).ln() / log_step()
    }
}

fn mel_to_hz(mel: f64) -> f64 {
    if mel < LOG_START_MEL {
        mel * LINEAR_STEP
    } else {
        LOG_START_HZ * (log_step() * (mel - LOG_START_MEL)).exp()
    }
}
