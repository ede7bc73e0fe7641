//! Any rate from 4 kHz to 384 kHz to 16 kHz, as a stream.
//!
//! A Kaiser-windowed sinc in polyphase form: output sample `n` is the band-limited
//! value of the input at position `n · rate / 16000`, so the group delay is zero and
//! the result does not depend on how the input was cut into chunks (bit for bit).
//! Ratios with few phases (every common rate) use one filter per phase; the others
//! interpolate linearly between `MAX_PHASES` filters, whose error lies near -110 dB,
//! below the filter's own stop band.

use super::SAMPLE_RATE;

/// Lowest input rate in Hz.
pub const MIN_RATE: u32 = 4_000;
/// Highest input rate in Hz.
pub const MAX_RATE: u32 = 384_000;

/// Most filters in a table; 11.025 kHz needs all of them.
const MAX_PHASES: usize = 640;
/// Half the filter's length, in samples of the slower side.
const HALF_WIDTH: f64 = 56.0;
/// Where the filter is at -6 dB, as a part of the slower side's Nyquist frequency.
/// With the widths here the pass band ends near 0.9 and the stop band starts at 1.0.
const CUTOFF: f64 = 0.95;
/// Kaiser window shape for about 85 dB.
const KAISER_BETA: f64 = 8.4;

/// An input rate outside [`MIN_RATE`]`..=`[`MAX_RATE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sample rate {0} Hz cannot be converted; record at a rate between {MIN_RATE} and {MAX_RATE} Hz"
)]
pub struct UnsupportedRate(
    /// The refused rate in Hz.
    pub u32,
);

/// A streaming converter from one input rate to [`SAMPLE_RATE`].
///
/// `n` input samples become `ceil(n · 16000 / rate)` output samples once
/// [`flush`](Self::flush) has run.
#[derive(Debug, Clone)]
pub struct Resampler {
    /// Output phases per input sample: `16000 / gcd`.
    up: u64,
    /// Input phases per output sample: `rate / gcd`.
    down: u64,
    phases: usize,
    taps: usize,
    /// `phases + 1` filters of `taps` coefficients; the last closes the interpolation.
    table: Vec<f32>,
    /// Input samples still needed, beginning with `taps / 2 - 1` zeros before the stream.
    history: Vec<f32>,
    /// Position of the next output relative to the history's first centre, in `1 / up` samples.
    position: u64,
    received: u64,
    produced: u64,
}

impl Resampler {
    /// Builds the filter table for `rate` Hz.
    ///
    /// # Errors
    /// [`UnsupportedRate`] outside [`MIN_RATE`]`..=`[`MAX_RATE`].
    pub fn new(rate: u32) -> Result<Self, UnsupportedRate> {
        if !(MIN_RATE..=MAX_RATE).contains(&rate) {
            return Err(UnsupportedRate(rate));
        }
        let common = gcd(rate, SAMPLE_RATE);
        let (up, down) = (SAMPLE_RATE / common, rate / common);
        let phases = (up as usize).min(MAX_PHASES);
        // Seen from the input, the sinc is stretched when the output is the slower side.
        let scale = f64::from(rate.min(SAMPLE_RATE)) / f64::from(rate);
        // A multiple of 8 keeps the inner loop free of a remainder.
        let taps = (2.0 * HALF_WIDTH / scale).ceil() as usize / 8 * 8 + 8;
        let table = if up == down {
            Vec::new()
        } else {
            filters(phases, taps, scale)
        };
        let mut resampler = Self {
            up: u64::from(up),
            down: u64::from(down),
            phases,
            taps,
            table,
            history: Vec::new(),
            position: 0,
            received: 0,
            produced: 0,
        };
        resampler.reset();
        Ok(resampler)
    }

    /// Forgets the stream; the next sample is the first of a new one.
    pub fn reset(&mut self) {
        self.history.clear();
        self.history.resize(self.taps / 2 - 1, 0.0);
        self.position = 0;
        self.received = 0;
        self.produced = 0;
    }

    /// Appends to `out` every output sample that `input` makes computable.
    pub fn push(&mut self, input: &[f32], out: &mut Vec<f32>) {
        if self.up == self.down {
            out.extend_from_slice(input);
            return;
        }
        self.received += input.len() as u64;
        self.history.extend_from_slice(input);
        self.drain(u64::MAX, out);
    }

    /// Appends the samples that were waiting for more input, as if zeros followed,
    /// and gets ready for a new stream.
    pub fn flush(&mut self, out: &mut Vec<f32>) {
        if self.up != self.down {
            let total = (self.received * self.up).div_ceil(self.down);
            self.history.resize(self.history.len() + self.taps, 0.0);
            self.drain(total, out);
        }
        self.reset();
    }

    fn drain(&mut self, total: u64, out: &mut Vec<f32>) {
        while self.produced < total {
            let first = (self.position / self.up) as usize;
            let Some(window) = self.history.get(first..first + self.taps) else {
                break;
            };
            out.push(self.filtered(window, self.position % self.up));
            self.position += self.down;
            self.produced += 1;
        }
        let used = ((self.position / self.up) as usize).min(self.history.len());
        self.history.drain(..used);
        self.position -= used as u64 * self.up;
    }

    /// The value `phase / up` samples after the centre of `window`.
    fn filtered(&self, window: &[f32], phase: u64) -> f32 {
        let scaled = phase * self.phases as u64;
        let (index, rest) = ((scaled / self.up) as usize, scaled % self.up);
        let filter = |i: usize| &self.table[i * self.taps..(i + 1) * self.taps];
        let here = dot(window, filter(index));
        if rest == 0 {
            return here;
        }
        let next = dot(window, filter(index + 1));
        here + (next - here) * (rest as f32 / self.up as f32)
    }
}

/// `phases + 1` filters: filter `p` evaluates the signal `p / phases` samples after the
/// window's centre tap, which is tap `taps / 2 - 1`.
fn filters(phases: usize, taps: usize, scale: f64) -> Vec<f32> {
    let half = HALF_WIDTH / scale;
    let centre = (taps / 2 - 1) as f64;
    let mut table = Vec::with_capacity((phases + 1) * taps);
    for phase in 0..=phases {
        let offset = phase as f64 / phases as f64;
        let row: Vec<f64> = (0..taps)
            .map(|tap| windowed_sinc(tap as f64 - centre - offset, half, CUTOFF * scale))
            .collect();
        // Every phase gets the same gain at 0 Hz, or a constant would come out as a tone.
        let sum: f64 = row.iter().sum();
        table.extend(row.iter().map(|tap| (tap / sum) as f32));
    }
    table
}

/// The ideal low-pass at `cutoff` (1 = Nyquist) under a Kaiser window that ends at `half`.
fn windowed_sinc(x: f64, half: f64, cutoff: f64) -> f64 {
    let edge = x / half;
    if edge.abs() >= 1.0 {
        return 0.0;
    }
    let window = bessel_i0(KAISER_BETA * (1.0 - edge * edge).sqrt());
    let angle = std::f64::consts::PI * x * cutoff;
    let sinc = if angle == 0.0 {
        1.0
    } else {
        angle.sin() / angle
    };
    sinc * window
}

/// Modified Bessel function of the first kind and order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-17 {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

/// Eight running sums: the order of additions is fixed, so chunking cannot change a bit.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
