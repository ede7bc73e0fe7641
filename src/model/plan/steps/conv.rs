//! Convolutions of codes, channels last.

use super::linear::linear;
use super::{WORTH_SHARING, by_rows, codes_len, image, in_parts, own, pixel};
use crate::kernels::int8::{
    Activation, COLUMNS, Codes, Columns, Depthwise, DepthwiseWeights, PackedWeights,
    ProductScratch, Quant, Requantise, flip, padded_depth,
};
use crate::model::plan::step::{Fact, Io, Kind, Product, Step};

/// Window, step and border of a convolution: height, then width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub size: (usize, usize),
    pub stride: (usize, usize),
    /// Above and left.
    pub before: (usize, usize),
    /// Below and right.
    pub after: (usize, usize),
}

impl Window {
    /// Height and width of what it makes of `h` by `w`.
    pub(super) fn made(&self, h: usize, w: usize) -> Option<(usize, usize)> {
        let along = |len: usize, before: usize, after: usize, size: usize, stride: usize| {
            Some((len + before + after).checked_sub(size)? / stride + 1)
        };
        let height = along(h, self.before.0, self.after.0, self.size.0, self.stride.0)?;
        Some((
            height,
            along(w, self.before.1, self.after.1, self.size.1, self.stride.1)?,
        ))
    }

    /// Every pixel by itself.
    fn is_pointwise(&self) -> bool {
        self.size == (1, 1)
            && self.stride == (1, 1)
            && self.before == (0, 0)
            && self.after == (0, 0)
    }
}

/// What follows the sums of a convolution.
#[derive(Debug)]
pub struct After {
    pub multipliers: Vec<[f32; COLUMNS]>,
    pub bias: Vec<[i32; COLUMNS]>,
    pub zero_in: u8,
    pub quant: Quant,
    pub clamp: (u8, u8),
}

/// A convolution of one group: codes to codes.
#[derive(Debug)]
pub struct Conv {
    /// `[taps·pixel, n]`.
    pub weights: PackedWeights,
    pub channels: usize,
    pub window: Window,
    pub after: After,
}

fn conv_facts(
    input: &Fact,
    channels: usize,
    made: usize,
    window: &Window,
) -> Result<Vec<Fact>, String> {
    input.expect(Kind::Image)?;
    let (c, h, w) = image(input)?;
    if c != channels {
        return Err(format!(
            "a picture of {c} channels meets weights for {channels}"
        ));
    }
    let (h, w) = window
        .made(h, w)
        .ok_or("the picture is smaller than the window")?;
    Ok(vec![Fact::new(Kind::Image, &[1, made, h, w])])
}

impl Conv {
    /// The windows of output row `y`, one after the other.
    fn gather(
        &self,
        x: &[u8],
        (h, w): (usize, usize),
        y: usize,
        made: usize,
        zero: u8,
        out: &mut [u8],
    ) {
        let Window {
            size,
            stride,
            before,
            ..
        } = self.window;
        let bytes = pixel(self.channels);
        let depth = padded_depth(size.0 * size.1 * bytes);
        for at in 0..made {
            let left = (at * stride.1) as isize - before.1 as isize;
            let (from, to) = (
                left.max(0) as usize,
                (left + size.1 as isize).clamp(0, w as isize) as usize,
            );
            let top = (y * stride.0) as isize - before.0 as isize;
            let inside = to - from.min(to) == size.1 && top >= 0 && top as usize + size.0 <= h;
            if !inside {
                out[at * depth..][..depth].fill(zero);
            }
            for ky in 0..size.0 {
                let top = top + ky as isize;
                if top < 0 || top as usize >= h || from >= to {
                    continue;
                }
                let source = (top as usize * w + from) * bytes;
                let place = at * depth + (ky * size.1 + (from as isize - left) as usize) * bytes;
                copy(&x[source..], &mut out[place..], (to - from) * bytes, inside);
            }
        }
    }
}

/// Copies `len` bytes. Short runs go as one block of sixteen where what follows may be
/// `spoilt`: later runs write over it, or weights of 0 read it.
#[inline(always)]
fn copy(from: &[u8], to: &mut [u8], len: usize, spoilt: bool) {
    match (from.first_chunk::<16>(), to.first_chunk_mut::<16>()) {
        (Some(from), Some(to)) if spoilt && len <= 16 => *to = *from,
        _ => to[..len].copy_from_slice(&from[..len]),
    }
}

impl Step for Conv {
    fn reads_pictures(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        if self.window.is_pointwise() {
            "int8 pointwise convolution"
        } else {
            "int8 convolution"
        }
    }

    fn makes(&self) -> Option<Kind> {
        Some(Kind::Image)
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        conv_facts(inputs[0], self.channels, self.weights.n(), &self.window)
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (_, h, w) = image(io.facts[0])?;
        let (n, height, width) = image(io.made[0])?;
        let x = &io.inputs[0].codes[..codes_len(io.facts[0])];
        let out = &mut io.outputs[0].codes[..codes_len(io.made[0])];
        let (out, tail) = out.split_at_mut(height * width * pixel(n));
        let job = Requantise {
            weights: &self.weights,
            multipliers: &self.after.multipliers,
            bias: &self.after.bias,
            zero: self.after.quant.zero,
            clamp: self.after.clamp,
        };
        let (zero, scratch) = (self.after.zero_in, &mut io.scratch.product);
        let flipped = flip(io.kernels.level());
        if self.window.is_pointwise() && pixel(self.channels).is_multiple_of(COLUMNS) {
            let a = Codes {
                bytes: x,
                rows: h * w,
                stride: pixel(self.channels),
            };
            let work = |first: usize, rows: usize, out: &mut [u8], scratch: &mut ProductScratch| {
                let bytes = &a.bytes[first * a.stride..];
                io.kernels
                    .requantise(Codes { bytes, rows, ..a }, zero, &job, scratch, out);
            };
            let macs = self.weights.k() * self.weights.n();
            by_rows(a.rows, macs, io.threads, out, work, scratch);
        } else {
            let depth = padded_depth(self.weights.k());
            let macs = height * width * self.weights.k() * self.weights.n();
            let threads = if macs < WORTH_SHARING { 1 } else { io.threads };
            in_parts(out, (width * pixel(n), 1), threads, |first, lines| {
                own(|scratch, windows| {
                    windows.resize(width * depth, zero ^ flipped);
                    for (y, out) in lines.chunks_exact_mut(width * pixel(n)).enumerate() {
                        self.gather(x, (h, w), first + y, width, zero ^ flipped, windows);
                        let a = Codes {
                            bytes: windows,
                            rows: width,
                            stride: depth,
                        };
                        io.kernels.requantise(a, zero, &job, scratch, out);
                    }
                });
            });
        }
        tail.fill(self.after.quant.zero ^ flipped);
        io.outputs[0].quant = Some(self.after.quant);
        Ok(())
    }

    fn product(&self) -> Product {
        Product::Integer
    }

    /// The windows of one row.
    fn scratch(&self, inputs: &[&Fact]) -> usize {
        let pixels = image(inputs[0])
            .ok()
            .and_then(|(_, h, w)| self.window.made(h, w));
        let width = pixels.map_or(0, |(_, width)| width);
        width.saturating_mul(padded_depth(self.weights.k()))
    }

    fn weights(&self) -> usize {
        self.weights.bytes()
    }

    fn macs(&self, inputs: &[&Fact]) -> u64 {
        let pixels = image(inputs[0])
            .ok()
            .and_then(|(_, h, w)| self.window.made(h, w));
        let taps = self.window.size.0 * self.window.size.1 * self.channels;
        pixels.map_or(0, |(h, w)| (h * w * taps * self.weights.n()) as u64)
    }
}

/// A convolution of every channel with its own window.
#[derive(Debug)]
pub struct DepthwiseConv {
    pub weights: DepthwiseWeights,
    pub channels: usize,
    pub window: Window,
    pub after: After,
}

/// Most taps of a depthwise window.
pub const MAX_TAPS: usize = 25;

impl Step for DepthwiseConv {
    fn reads_pictures(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "int8 depthwise convolution"
    }

    fn makes(&self) -> Option<Kind> {
        Some(Kind::Image)
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        conv_facts(inputs[0], self.channels, self.channels, &self.window)
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (c, h, w) = image(io.facts[0])?;
        let (_, height, width) = image(io.made[0])?;
        let Window {
            size,
            stride,
            before,
            ..
        } = self.window;
        let bytes = pixel(c);
        let x = &io.inputs[0].codes[..codes_len(io.facts[0])];
        let out = &mut io.outputs[0].codes[..codes_len(io.made[0])];
        let (out, tail) = out.split_at_mut(height * width * bytes);
        let job = Depthwise {
            weights: &self.weights,
            multipliers: &self.after.multipliers,
            bias: &self.after.bias,
            zeros: (self.after.zero_in, self.after.quant.zero),
            clamp: self.after.clamp,
            step: stride.1 * bytes,
        };
        // outputs whose windows lie within the width
        let first = before.1.div_ceil(stride.1).min(width);
        let end = (w + before.1)
            .checked_sub(size.1)
            .map_or(0, |last| last / stride.1 + 1);
        let end = end.clamp(first, width);
        // what lies outside reads the row of zeros behind the picture
        let outside = h * w * bytes;
        let line = |y: usize, out: &mut [u8]| {
            let mut taps = [0; MAX_TAPS];
            let taps = &mut taps[..size.0 * size.1];
            let aim = |at: usize, taps: &mut [usize]| {
                for (t, tap) in taps.iter_mut().enumerate() {
                    let top = (y * stride.0 + t / size.1).wrapping_sub(before.0);
                    let left = (at * stride.1 + t % size.1).wrapping_sub(before.1);
                    *tap = match (top < h, left < w) {
                        (true, true) => (top * w + left) * bytes,
                        (false, true) => outside + left * bytes,
                        _ => outside,
                    };
                }
            };
            for at in (0..first).chain(end..width) {
                aim(at, taps);
                io.kernels
                    .depthwise(x, taps, &job, &mut out[at * bytes..][..bytes]);
            }
            if first < end {
                aim(first, taps);
                io.kernels
                    .depthwise(x, taps, &job, &mut out[first * bytes..end * bytes]);
            }
        };
        let macs = height * width * bytes * size.0 * size.1;
        let threads = if macs < WORTH_SHARING / 4 {
            1
        } else {
            io.threads
        };
        in_parts(out, (width * bytes, 1), threads, |first, lines| {
            for (y, out) in lines.chunks_exact_mut(width * bytes).enumerate() {
                line(first + y, out);
            }
        });
        tail.fill(self.after.quant.zero ^ flip(io.kernels.level()));
        io.outputs[0].quant = Some(self.after.quant);
        Ok(())
    }

    fn product(&self) -> Product {
        Product::Integer
    }

    fn weights(&self) -> usize {
        self.window.size.0 * self.window.size.1 * self.channels
    }

    fn macs(&self, inputs: &[&Fact]) -> u64 {
        let pixels = image(inputs[0])
            .ok()
            .and_then(|(_, h, w)| self.window.made(h, w));
        let taps = self.window.size.0 * self.window.size.1;
        pixels.map_or(0, |(h, w)| (h * w * taps * self.channels) as u64)
    }
}

/// `ConvInteger` over time with what follows it: rows of codes `[t, c]` to floats `[t', n]`.
///
/// Windows of neighbouring rows overlap in memory, so nothing is gathered.
#[derive(Debug)]
pub struct Conv1d {
    /// Weights `[taps·padded c, n]`.
    pub columns: Columns,
    pub channels: usize,
    pub taps: usize,
    pub stride: usize,
    pub pad: usize,
    pub activation: Activation,
}

impl Conv1d {
    fn made(&self, rows: usize) -> Option<usize> {
        Some((rows + 2 * self.pad).checked_sub(self.taps)? / self.stride + 1)
    }
}

impl Step for Conv1d {
    fn name(&self) -> &'static str {
        match self.activation {
            Activation::Gelu => "int8 convolution over time + bias + GELU",
            _ => "int8 convolution over time + bias",
        }
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Rows)?;
        let [rows, channels] = inputs[0].dims[..] else {
            return Err(format!("needs rows, not {:?}", inputs[0].dims));
        };
        if channels != self.channels {
            return Err(format!(
                "rows of {channels} meet weights for {}",
                self.channels
            ));
        }
        let made = self.made(rows).ok_or("is too short for its window")?;
        Ok(vec![Fact::new(
            Kind::Float,
            &[made, self.columns.weights.n()],
        )])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (codes, quant) = io.rows(0)?;
        let stride = codes.stride;
        let border = self.pad * stride;
        let windows = &mut io.scratch.codes;
        windows.clear();
        let zero = quant.zero ^ flip(io.kernels.level());
        windows.resize(border, zero);
        windows.extend_from_slice(codes.bytes);
        windows.resize(2 * border + codes.bytes.len(), zero);
        let a = Codes {
            bytes: windows,
            rows: io.made[0].rows(),
            stride: self.stride * stride,
        };
        let job = self.columns.job(self.activation, None);
        let len = io.made[0].count();
        let out = &mut io.outputs[0];
        let floats = &mut out.floats[..len];
        let range = linear(
            (io.kernels, io.threads),
            (a, quant),
            &job,
            &mut io.scratch.product,
            floats,
        );
        out.range = Some(range);
        Ok(())
    }

    fn product(&self) -> Product {
        Product::Integer
    }

    fn weights(&self) -> usize {
        self.columns.weights.bytes()
    }

    fn macs(&self, inputs: &[&Fact]) -> u64 {
        let rows = self.made(inputs[0].rows()).unwrap_or(0);
        (rows * self.taps * self.channels * self.columns.weights.n()) as u64
    }
}
