//! Crop and resample in one go: Pillow's `Image.resize(size, BILINEAR, box=crop)`.
//!
//! The filter is an antialiased triangle. With `s` source pixels per output pixel and
//! `r = max(s, 1)`, output `i` has its centre at `c = origin + (i + ½) s` and gives source
//! pixel `j` the weight `max(0, 1 − |j + ½ − c| / r)`, divided by the sum of them all; the
//! same for rows. Weights are 16-bit integers with a common scale.
//!
//! Rows come first, a row at a time into one buffer of 15-bit values, for they run along
//! memory: sums of whole rows, which compilers make vectors of. Columns follow on that one
//! row. Pillow does it the other way round and rounds to 8 bits in between, which is why the
//! two may differ by one.
//!
//! A crop may reach outside the picture: it lies on a black sheet that is as large as both.

use super::picture::{CHANNELS, Picture};

/// Largest coordinate of a crop, either way: beyond it `f32` is too coarse for pixels.
const MOST: f32 = 1e6;
/// Bits behind the point of a weight: 1 is the largest and must fit 16 bits.
const BITS: u32 = 14;
/// Bits behind the point of a value in the row buffer, so that 255 takes 15 bits.
const KEPT: u32 = 7;
/// Values of a row that are summed at a time: a few vector registers full.
const BLOCK: usize = 32;

/// A part of a picture, in pixels from its top left corner, which is (0, 0).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crop {
    x: f32,
    y: f32,
    width: f32,
    height: f32,
}

impl Crop {
    /// The rectangle from (`x`, `y`) on; parts outside of the picture are black. `None`
    /// unless all is finite and within ±1,000,000 and both sides are above 0.
    #[must_use]
    pub fn new(x: f32, y: f32, width: f32, height: f32) -> Option<Self> {
        let near = |value: f32| value.abs() <= MOST;
        let fits = near(x) && near(y) && near(x + width) && near(y + height);
        (fits && width > 0.0 && height > 0.0).then_some(Self {
            x,
            y,
            width,
            height,
        })
    }

    /// The whole picture.
    #[must_use]
    pub fn whole(picture: &Picture) -> Self {
        Self {
            x: 0.0,
            y: 0.0,
            width: picture.width() as f32,
            height: picture.height() as f32,
        }
    }

    /// The left edge.
    #[must_use]
    pub fn x(self) -> f32 {
        self.x
    }

    /// The upper edge.
    #[must_use]
    pub fn y(self) -> f32 {
        self.y
    }

    /// Columns, above 0.
    #[must_use]
    pub fn width(self) -> f32 {
        self.width
    }

    /// Rows, above 0.
    #[must_use]
    pub fn height(self) -> f32 {
        self.height
    }
}

/// Grey of a pixel: `(77 R + 150 G + 29 B + 128) >> 8`.
#[must_use]
pub fn grey([r, g, b]: [u8; 3]) -> u8 {
    let sum = 77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b) + 128;
    (sum >> 8) as u8
}

/// Resamples pictures; keeps its buffers, so that nothing is allocated once they have grown.
#[derive(Debug, Default)]
pub struct Resizer {
    rows: Taps,
    columns: Taps,
    /// The present output row before its columns are summed.
    line: Vec<i16>,
}

impl Resizer {
    /// One without buffers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `crop` of `picture` as `height` rows of `width` red-green-blue bytes: `out` becomes
    /// `[height, width, 3]`.
    pub fn rgb(
        &mut self,
        picture: &Picture,
        crop: Crop,
        width: u32,
        height: u32,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        out.reserve(width as usize * height as usize * CHANNELS);
        self.run(picture, crop, width, height, |pixel| {
            out.extend_from_slice(&pixel);
        });
    }

    /// As [`rgb`](Self::rgb), then made [`grey`]: `out` becomes `[height, width]`.
    pub fn grey(
        &mut self,
        picture: &Picture,
        crop: Crop,
        width: u32,
        height: u32,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        out.reserve(width as usize * height as usize);
        self.run(picture, crop, width, height, |pixel| out.push(grey(pixel)));
    }

    fn run(
        &mut self,
        picture: &Picture,
        crop: Crop,
        width: u32,
        height: u32,
        mut write: impl FnMut([u8; 3]),
    ) {
        self.columns
            .fill(crop.x, crop.width, picture.width(), width);
        self.rows
            .fill(crop.y, crop.height, picture.height(), height);
        // Only the columns that some output needs.
        let (first, last) = self.columns.reach();
        let row_bytes = picture.width() as usize * CHANNELS;
        self.line.clear();
        self.line.resize((last - first) * CHANNELS, 0);
        for (start, weights) in self.rows.iter() {
            let rows = Rows {
                bytes: picture.rgb().get(start * row_bytes..).unwrap_or_default(),
                length: row_bytes,
                weights,
            };
            rows.sum(first * CHANNELS, &mut self.line);
            for (start, weights) in self.columns.iter() {
                let from = start.saturating_sub(first) * CHANNELS;
                let pixels = self.line.get(from..).unwrap_or_default();
                write(sum_columns(pixels, weights));
            }
        }
    }
}

/// Some rows that follow one another, and a weight for each.
#[derive(Clone, Copy)]
struct Rows<'a> {
    bytes: &'a [u8],
    /// Bytes of a row.
    length: usize,
    weights: &'a [i16],
}

impl Rows<'_> {
    /// `line[i] = Σ weights[r] · rows[r][skip + i]`, with [`KEPT`] bits behind the point.
    fn sum(self, skip: usize, line: &mut [i16]) {
        let length = line.len();
        let (blocks, rest) = line.as_chunks_mut::<BLOCK>();
        for (number, block) in blocks.iter_mut().enumerate() {
            *block = self.block(skip + number * BLOCK);
        }
        if rest.is_empty() {
            return;
        }
        // The last block again, as far to the right as it goes.
        if let Some(last) = line.last_chunk_mut::<BLOCK>() {
            *last = self.block(skip + length - BLOCK);
        } else {
            for (number, value) in line.iter_mut().enumerate() {
                [*value] = self.block(skip + number);
            }
        }
    }

    /// `N` of those sums from the byte `at` of every row. The width is fixed and the weights
    /// are widened inside of the loop so that sums stay in vector registers and products of
    /// 16-bit numbers are seen to be such.
    fn block<const N: usize>(self, at: usize) -> [i16; N] {
        let mut sums = [1 << (BITS - KEPT - 1); N];
        for (row, weight) in self.bytes.chunks_exact(self.length).zip(self.weights) {
            if let Some(row) = row.get(at..at + N) {
                for (sum, byte) in sums.iter_mut().zip(row) {
                    *sum += i32::from(*byte) * i32::from(*weight);
                }
            }
        }
        sums.map(|sum| (sum >> (BITS - KEPT)) as i16)
    }
}

/// The pixel `Σ weights[i] · pixels[i]`.
fn sum_columns(pixels: &[i16], weights: &[i16]) -> [u8; CHANNELS] {
    const SHIFT: u32 = BITS + KEPT;
    let mut sums = [1 << (SHIFT - 1); CHANNELS];
    let (pixels, _) = pixels.as_chunks::<CHANNELS>();
    for (pixel, weight) in pixels.iter().zip(weights) {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += i32::from(*value) * i32::from(*weight);
        }
    }
    sums.map(|sum| (sum >> SHIFT).clamp(0, 255) as u8)
}

/// The weights of one direction: for every output the first source pixel and the weights
/// from there on. Source pixels outside of the picture are left out, for they are black.
#[derive(Debug, Default)]
struct Taps {
    /// Start, and where the weights end in `weights`.
    spans: Vec<(usize, usize)>,
    weights: Vec<i16>,
    exact: Vec<f64>,
}

impl Taps {
    /// The taps of `outputs` pixels over `length` source pixels from `origin`, of a side of
    /// `side` pixels.
    fn fill(&mut self, origin: f32, length: f32, side: u32, outputs: u32) {
        let (origin, length) = (f64::from(origin), f64::from(length));
        let step = length / f64::from(outputs.max(1));
        let reach = step.max(1.0);
        // Where the black sheet begins and ends.
        let sheet = (
            origin.floor().min(0.0),
            (origin + length).ceil().max(side.into()),
        );
        self.spans.clear();
        self.weights.clear();
        for output in 0..outputs {
            let centre = origin + (f64::from(output) + 0.5) * step;
            let from = (centre - reach + 0.5).floor().max(sheet.0);
            let to = (centre + reach + 0.5).floor().min(sheet.1);
            self.span(from as i64, to as i64, centre, reach, side);
        }
    }

    /// The taps of one output: source pixels from `from` up to `to` on the sheet.
    fn span(&mut self, from: i64, to: i64, centre: f64, reach: f64, side: u32) {
        self.exact.clear();
        let weight = |pixel: i64| (1.0 - ((pixel as f64 + 0.5 - centre) / reach).abs()).max(0.0);
        self.exact.extend((from..to).map(weight));
        let total: f64 = self.exact.iter().sum();
        let scale = f64::from(1 << BITS) / total;
        let inside = 0..i64::from(side);
        let start = from.clamp(0, side.into());
        // What rounding leaves goes into the next weight, so that all of them add up.
        let (mut sum, mut given) = (0.0, 0);
        for (pixel, exact) in (from..to).zip(&self.exact) {
            sum += exact * scale;
            let weight = sum.round() as i32 - given;
            given += weight;
            if inside.contains(&pixel) {
                self.weights.push(weight.clamp(0, i16::MAX.into()) as i16);
            }
        }
        self.spans.push((start as usize, self.weights.len()));
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i16])> {
        let mut begin = 0;
        self.spans.iter().map(move |(start, end)| {
            let weights = self.weights.get(begin..*end).unwrap_or_default();
            begin = *end;
            (*start, weights)
        })
    }

    /// First source pixel that some output needs, and the one behind the last.
    fn reach(&self) -> (usize, usize) {
        let spans = || self.iter().filter(|(_, weights)| !weights.is_empty());
        let first = spans().map(|(start, _)| start).min().unwrap_or(0);
        let last = spans().map(|(start, weights)| start + weights.len()).max();
        (first, last.unwrap_or(first))
    }
}

#[cfg(test)]
mod tests;
