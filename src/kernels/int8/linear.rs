//! Products of quantised rows with packed weights, and the passes around them.

use super::super::Rows;
use super::super::cache::caches;
use super::super::lanes::Lanes;
use super::pack::{COLUMNS, DEPTH, Line, PackedWeights, padded_depth};
use super::tile::{Block, Operands, Panels, Recode, Starts, Sums, Tile};
use super::{Codes, Quant, widen};

/// What follows a product, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x/2·(1 + erf(x/√2))`.
    Gelu,
}

/// `y = act(scale·(a·W) + bias) + residual`, float out.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// `[k, n]`.
    pub weights: &'a PackedWeights,
    /// Scale of each column's weights, padded to whole panels.
    pub scales: &'a [[f32; COLUMNS]],
    /// Bias of each column, padded to whole panels.
    pub bias: &'a [[f32; COLUMNS]],
    /// Between bias and residual.
    pub activation: Activation,
    /// `[rows, n]`, added last.
    pub residual: Option<&'a [f32]>,
}

/// Weights of a product with what belongs to their columns.
#[derive(Debug, Clone)]
pub struct Columns {
    /// `[k, n]`.
    pub weights: PackedWeights,
    /// Scale of each column's weights, padded to whole panels.
    pub scales: Vec<[f32; COLUMNS]>,
    /// Bias of each column, padded to whole panels.
    pub bias: Vec<[f32; COLUMNS]>,
}

impl Columns {
    /// The product with what follows it.
    #[must_use]
    pub fn job<'a>(&'a self, activation: Activation, residual: Option<&'a [f32]>) -> Linear<'a> {
        Linear {
            weights: &self.weights,
            scales: &self.scales,
            bias: &self.bias,
            activation,
            residual,
        }
    }
}

/// `y = clamp(round((a·W + bias)·multiplier) + zero, low, high)`, codes out.
#[derive(Clone, Copy, Debug)]
pub struct Requantise<'a> {
    /// `[k, n]`.
    pub weights: &'a PackedWeights,
    /// Input scale · weight scale / output scale of each column.
    pub multipliers: &'a [[f32; COLUMNS]],
    /// Bias of each column, in units of the sums.
    pub bias: &'a [[i32; COLUMNS]],
    /// Zero point of the output.
    pub zero: u8,
    /// Least and greatest output code: 0 and 255, or what an activation leaves.
    pub clamp: (u8, u8),
}

impl Linear<'_> {
    /// Whether the parts fit each other, and `rows` rows of output.
    pub(in crate::kernels) fn fits(&self, rows: usize) -> bool {
        let (panels, len) = (self.weights.panels(), rows * self.weights.n());
        self.scales.len() == panels
            && self.bias.len() == panels
            && self.residual.is_none_or(|r| r.len() == len)
    }
}

impl Requantise<'_> {
    /// Whether the parts fit each other.
    pub(in crate::kernels) fn fits(&self) -> bool {
        let panels = self.weights.panels();
        self.multipliers.len() == panels && self.bias.len() == panels
    }
}

/// The zero point as the level stores it.
#[inline(always)]
pub(super) fn stored_zero<L: Tile>(zero: u8) -> i32 {
    i32::from(zero) - if L::SIGNED { 128 } else { 0 }
}

/// What a level flips in a code.
#[inline(always)]
pub(super) fn flip<L: Tile>() -> u8 {
    if L::SIGNED { 0x80 } else { 0 }
}

/// Sums start where the zero point's share is already gone: `−zero·Σₖ w`.
#[inline(always)]
fn start_sums(init: &mut Vec<[i32; COLUMNS]>, zero: i32, weights: &PackedWeights) {
    init.clear();
    for sums in weights.sums() {
        init.push(sums.map(|sum| -zero * sum));
    }
}

/// How many panels to take next of `left`, without leaving a lone one behind.
#[inline(always)]
pub(super) fn next_panels<L: Tile>(left: usize) -> usize {
    if left > L::PANELS && left < 2 * L::PANELS {
        left.div_ceil(2)
    } else {
        left.min(L::PANELS)
    }
}

/// What becomes of a tile: `block` begins at row and panel `at`; `sums` is a place for its sums.
trait Finish<L: Tile> {
    fn tile(&mut self, lanes: L, at: (usize, usize), block: &Block<'_>, sums: &mut Sums);
}

/// Memory that a product works in; grows to the largest one, then stays.
#[derive(Debug, Default)]
pub struct ProductScratch {
    /// Where the sums of each panel start.
    init: Vec<[i32; COLUMNS]>,
    /// Sums of the parts of rows that are done.
    partial: Vec<[i32; COLUMNS]>,
    /// A block of rows and a part of a panel in words, where the level wants words.
    rows: Vec<u8>,
    panel: Vec<Line>,
}

/// Weights of more bytes than this are in no cache of one core.
const STREAMED: usize = 1 << 20;

/// The pieces that a product is made in, so that what is read again and again is near: a part of
/// a panel in the first cache while a block of rows passes, the block in the second while the
/// panels pass. Weights come once for each block.
struct Pieces {
    /// Rows of a block.
    rows: usize,
    /// Lines of a part of a panel.
    lines: usize,
}

impl Pieces {
    /// For `rows` rows that meet panels of `depth` lines.
    fn of<L: Tile>(rows: usize, depth: usize) -> Pieces {
        let near = caches();
        let most_rows = (near.second / 4 / (depth * 4)).max(8 * L::ROWS);
        // a wide tile reads so little of each panel for a product that one panel is counted
        let most_lines = near.first * 3 / 4 / size_of::<Line>();
        Pieces {
            rows: even(rows, most_rows, L::ROWS),
            lines: if rows <= L::ROWS {
                depth
            } else {
                even(depth, most_lines, DEPTH / 2)
            },
        }
    }
}

/// The least multiple of `unit` of which as few pieces as of `most` make up `all`.
fn even(all: usize, most: usize, unit: usize) -> usize {
    let pieces = all.div_ceil(most);
    all.div_ceil(pieces).next_multiple_of(unit)
}

/// Every tile of `a·W`.
#[inline(always)]
fn product<L: Tile>(
    lanes: L,
    a: Codes<'_>,
    weights: &PackedWeights,
    scratch: &mut ProductScratch,
    finish: &mut impl Finish<L>,
) {
    let operands = Operands::of::<L>(a.rows);
    let pieces = Pieces::of::<L>(a.rows, weights.depth() * operands.lines());
    let mut wide = std::mem::take(&mut scratch.rows);
    let mut first = 0;
    while first < a.rows {
        let rows = Codes {
            bytes: a.from_row(first),
            rows: pieces.rows.min(a.rows - first),
            ..a
        };
        let block = if operands == Operands::Bytes {
            rows
        } else {
            widen::rows(rows, padded_depth(weights.k()), &mut wide)
        };
        block_by_panels(
            lanes,
            (first, block, operands),
            weights,
            pieces.lines,
            scratch,
            finish,
        );
        first += rows.rows;
    }
    scratch.rows = wide;
}

/// A block of rows, which are those from `first` on, by all panels in parts of `lines` lines.
#[inline(always)]
fn block_by_panels<L: Tile>(
    lanes: L,
    (first, rows, operands): (usize, Codes<'_>, Operands),
    weights: &PackedWeights,
    lines: usize,
    scratch: &mut ProductScratch,
    finish: &mut impl Finish<L>,
) {
    let mut sums: Sums = [[[0; COLUMNS]; 3]; 8];
    let (panels, depth) = (weights.panels(), weights.depth() * operands.lines());
    let ProductScratch {
        init,
        partial,
        panel: widened,
        ..
    } = scratch;
    // weights that come from memory, each for one row, come fastest as one stream
    let streamed = rows.rows == 1 && panels * depth * size_of::<Line>() > STREAMED;
    // tiles as even as they come: a low last one would cost almost as much as the others
    let high = rows.rows.div_ceil(rows.rows.div_ceil(L::ROWS));
    let mut panel = 0;
    while panel < panels {
        let wide = if streamed {
            1
        } else {
            next_panels::<L>(panels - panel)
        };
        if lines < depth {
            partial.resize(partial.len().max(rows.rows * wide), [0; COLUMNS]);
        }
        let mut from = 0;
        while from < depth {
            let deep = lines.min(depth - from);
            let packed = &weights.from_panel(panel)[from / operands.lines()..];
            let by = if operands == Operands::Words {
                widen::lines(lanes, &packed[..deep / 2], widened);
                Panels::new(widened, (wide, deep, deep), operands)
            } else {
                Panels::new(packed, (wide, depth, deep), operands)
            };
            let last = from + deep == depth;
            let mut row = 0;
            while row < rows.rows {
                let high = high.min(rows.rows - row);
                let starts = if from == 0 {
                    Starts::alike(&init[panel..])
                } else {
                    Starts {
                        places: &partial[row * wide..],
                        step: wide,
                    }
                };
                let a = &rows.from_row(row)[from * operands.row_bytes()..];
                let block = Block::new((a, rows.stride, high), &by, starts);
                if last {
                    finish.tile(lanes, (first + row, panel), &block, &mut sums);
                } else {
                    lanes.tile(&block, &mut sums);
                    for (r, sums) in sums[..high].iter().enumerate() {
                        partial[(row + r) * wide..][..wide].copy_from_slice(&sums[..wide]);
                    }
                }
                row += high;
            }
            from += deep;
        }
        panel += wide;
    }
}

/// Least and greatest of what was written.
#[derive(Clone, Copy)]
struct Range<V> {
    low: V,
    high: V,
}

impl<V: Copy> Range<V> {
    #[inline(always)]
    fn new<L: Lanes<V = V>>(lanes: L) -> Self {
        Range {
            low: lanes.splat(f32::INFINITY),
            high: lanes.splat(f32::NEG_INFINITY),
        }
    }

    #[inline(always)]
    fn see<L: Lanes<V = V>>(&mut self, lanes: L, v: V) {
        self.low = lanes.min(self.low, v);
        self.high = lanes.max(self.high, v);
    }

    #[inline(always)]
    fn ends<L: Lanes<V = V>>(self, lanes: L) -> (f32, f32) {
        let negated = lanes.sub(lanes.splat(0.0), self.low);
        (-lanes.largest(negated), lanes.largest(self.high))
    }
}

struct ToFloats<'a, L: Tile> {
    job: &'a Linear<'a>,
    scale: L::V,
    range: Range<L::V>,
    out: &'a mut [f32],
}

impl<L: Tile> ToFloats<'_, L> {
    /// A panel of a tile, one row after the other; all of its columns exist.
    #[inline(always)]
    fn whole(
        &mut self,
        lanes: L,
        (row, panel): (usize, usize),
        rows: usize,
        sums: &Sums,
        p: usize,
    ) {
        let n = self.job.weights.n();
        let (mut scales, mut biases) = ([self.scale; MOST_PARTS], [self.scale; MOST_PARTS]);
        for part in 0..COLUMNS / L::LANES {
            let scale = lanes.load(&L::chunks(&self.job.scales[panel]).0[part]);
            scales[part] = lanes.mul(scale, self.scale);
            biases[part] = lanes.load(&L::chunks(&self.job.bias[panel]).0[part]);
        }
        let mut at = row * n + panel * COLUMNS;
        for sums in &sums[..rows] {
            // sixteen at once: one check of the bounds for all registers of a row
            let Some(out) = self.out[at..].first_chunk_mut::<COLUMNS>() else {
                return;
            };
            let residual = match self.job.residual {
                Some(r) => r[at..].first_chunk::<COLUMNS>(),
                None => None,
            };
            let out = L::chunks_mut(out).0;
            for part in 0..COLUMNS / L::LANES {
                let v = lanes.from_sums(&sums[p], part);
                let v = activate(
                    lanes,
                    lanes.mul_add(v, scales[part], biases[part]),
                    self.job.activation,
                );
                let v = match residual {
                    Some(r) => lanes.add(v, lanes.load(&L::chunks(r).0[part])),
                    None => v,
                };
                self.range.see(lanes, v);
                lanes.store(v, &mut out[part]);
            }
            at += n;
        }
    }

    /// A register of the last panel, some of whose columns may not exist.
    #[inline(always)]
    fn ragged(
        &mut self,
        lanes: L,
        place: (usize, usize),
        rows: usize,
        sums: &Sums,
        p: usize,
        part: usize,
    ) {
        let n = self.job.weights.n();
        let (row, panel) = place;
        let scale = lanes.mul(
            lanes.load(&L::chunks(&self.job.scales[panel]).0[part]),
            self.scale,
        );
        let bias = lanes.load(&L::chunks(&self.job.bias[panel]).0[part]);
        let first = panel * COLUMNS + part * L::LANES;
        for (r, sums) in sums[..rows].iter().enumerate() {
            let many = L::LANES.min(n - first);
            let place = (row + r) * n + first..(row + r) * n + first + many;
            let v = lanes.mul_add(lanes.from_sums(&sums[p], part), scale, bias);
            let v = activate(lanes, v, self.job.activation);
            let v = match self.job.residual {
                Some(r) => lanes.add(v, padded(lanes, &r[place.clone()], 0.0)),
                None => v,
            };
            let out = &mut self.out[place];
            if many == L::LANES {
                lanes.store(v, &mut L::chunks_mut(out).0[0]);
            } else {
                lanes.store_partial(v, out);
            }
            // the lanes beyond the row hold nothing that was written
            self.range.see(lanes, padded(lanes, out, out[0]));
        }
    }
}

/// As many lanes as `src` holds, then `fill`.
#[inline(always)]
fn padded<L: Lanes>(lanes: L, src: &[f32], fill: f32) -> L::V {
    match L::chunks(src).0.first() {
        Some(whole) => lanes.load(whole),
        None => lanes.load_padded(src, fill),
    }
}

/// Most registers of a panel: sixteen columns in registers of four.
const MOST_PARTS: usize = 4;

impl<L: Tile> Finish<L> for ToFloats<'_, L> {
    #[inline(always)]
    fn tile(&mut self, lanes: L, (row, panel): (usize, usize), block: &Block<'_>, sums: &mut Sums) {
        lanes.tile(block, sums);
        let (n, rows) = (self.job.weights.n(), block.rows());
        for p in 0..block.panels() {
            let left = n - (panel + p) * COLUMNS;
            if left >= COLUMNS {
                self.whole(lanes, (row, panel + p), rows, sums, p);
                continue;
            }
            for part in 0..left.div_ceil(L::LANES) {
                self.ragged(lanes, (row, panel + p), rows, sums, p, part);
            }
        }
    }
}

#[inline(always)]
fn activate<L: Lanes>(lanes: L, v: L::V, activation: Activation) -> L::V {
    match activation {
        Activation::Identity => v,
        Activation::Relu => lanes.max(v, lanes.splat(0.0)),
        Activation::Gelu => gelu_lanes(lanes, v),
    }
}

/// `erf(h) = h·P(h²)`, |h| ≤ 3.2 (beyond, erf is ±1 within 6e-6): the minimax polynomial of
/// degree 19, within 3e-5 in f32. No division, and a hundredth of a code is not seen.
#[inline(always)]
fn gelu_lanes<L: Lanes>(lanes: L, v: L::V) -> L::V {
    const P: [f32; 10] = [
        -2.400_144_2e-9,
        1.419_194e-7,
        -3.739_919_7e-6,
        5.846_965e-5,
        -6.113_147e-4,
        4.584_248e-3,
        -2.581_477e-2,
        1.118_648_8e-1,
        -3.757_077e-1,
        1.128_325_8,
    ];
    let h = lanes.mul(v, lanes.splat(std::f32::consts::FRAC_1_SQRT_2));
    let h = lanes.min(lanes.max(h, lanes.splat(-3.2)), lanes.splat(3.2));
    let square = lanes.mul(h, h);
    let mut p = lanes.splat(P[0]);
    for c in &P[1..] {
        p = lanes.mul_add(p, square, lanes.splat(*c));
    }
    let half = lanes.mul(v, lanes.splat(0.5));
    lanes.mul_add(half, lanes.mul(h, p), half)
}

#[inline(always)]
pub(in crate::kernels) fn linear<L: Tile>(
    lanes: L,
    a: Codes<'_>,
    q: Quant,
    job: &Linear<'_>,
    scratch: &mut ProductScratch,
    out: &mut [f32],
) -> (f32, f32) {
    start_sums(&mut scratch.init, stored_zero::<L>(q.zero), job.weights);
    let mut finish = ToFloats::<L> {
        job,
        scale: lanes.splat(q.scale),
        range: Range::new(lanes),
        out,
    };
    product(lanes, a, job.weights, scratch, &mut finish);
    finish.range.ends(lanes)
}

struct ToCodes<'a> {
    job: &'a Requantise<'a>,
    out: &'a mut [u8],
    stride: usize,
}

impl<L: Tile> Finish<L> for ToCodes<'_> {
    #[inline(always)]
    fn tile(&mut self, lanes: L, (row, panel): (usize, usize), block: &Block<'_>, sums: &mut Sums) {
        let to = Recode {
            multipliers: &self.job.multipliers[panel..],
            zero: self.job.zero,
            clamp: self.job.clamp,
            stride: self.stride,
        };
        let out = &mut self.out[row * self.stride + panel * COLUMNS..];
        lanes.recode_tile(block, &to, sums, out);
    }
}

#[inline(always)]
pub(in crate::kernels) fn requantise<L: Tile>(
    lanes: L,
    a: Codes<'_>,
    zero: u8,
    job: &Requantise<'_>,
    scratch: &mut ProductScratch,
    out: &mut [u8],
) {
    start_sums(&mut scratch.init, stored_zero::<L>(zero), job.weights);
    for (start, bias) in scratch.init.iter_mut().zip(job.bias) {
        for (start, bias) in start.iter_mut().zip(bias) {
            *start = start.wrapping_add(*bias);
        }
    }
    let stride = job.weights.panels() * COLUMNS;
    let mut finish = ToCodes { job, out, stride };
    product(lanes, a, job.weights, scratch, &mut finish);
}

#[inline(always)]
pub(in crate::kernels) fn range<L: Tile>(lanes: L, x: &[f32]) -> (f32, f32) {
    let (chunks, rest) = L::chunks(x);
    let mut range = Range::new(lanes);
    for chunk in chunks {
        range.see(lanes, lanes.load(chunk));
    }
    if let Some(first) = rest.first() {
        range.see(lanes, lanes.load_padded(rest, *first));
    }
    range.ends(lanes)
}

#[inline(always)]
pub(in crate::kernels) fn quantise<L: Tile>(lanes: L, x: Rows<'_>, q: Quant, out: &mut [u8]) {
    let stride = padded_depth(x.cols());
    let inverse = lanes.splat(1.0 / q.scale);
    for (i, out) in out.chunks_exact_mut(stride).enumerate() {
        let (chunks, rest) = L::chunks(x.row(i));
        let (whole, tail) = out.split_at_mut(chunks.len() * L::LANES);
        for (chunk, out) in chunks.iter().zip(whole.chunks_exact_mut(L::LANES)) {
            let v = lanes.mul(lanes.load(chunk), inverse);
            lanes.store_rounded(v, q.zero, (0, 255), flip::<L>(), out);
        }
        if !rest.is_empty() {
            let v = lanes.mul(lanes.load_padded(rest, 0.0), inverse);
            lanes.store_rounded(v, q.zero, (0, 255), flip::<L>(), &mut tail[..L::LANES]);
        }
        tail[rest.len()..].fill(q.zero ^ flip::<L>());
    }
}

#[inline(always)]
pub(in crate::kernels) fn dequantise<L: Tile>(lanes: L, codes: &[u8], q: Quant, out: &mut [f32]) {
    let (scale, zero) = (lanes.splat(q.scale), lanes.splat(f32::from(q.zero)));
    let (whole, rest) = L::chunks_mut(out);
    let codes_of = codes.chunks_exact(L::LANES);
    for (chunk, codes) in whole.iter_mut().zip(codes_of) {
        let v = lanes.sub(lanes.load_codes(codes, flip::<L>()), zero);
        lanes.store(lanes.mul(v, scale), chunk);
    }
    let tail = &codes[codes.len() - rest.len()..];
    for (v, code) in rest.iter_mut().zip(tail) {
        *v = (f32::from(code ^ flip::<L>()) - f32::from(q.zero)) * q.scale;
    }
}

#[inline(always)]
pub(in crate::kernels) fn add_codes<L: Tile>(
    lanes: L,
    (a, qa): (&[u8], Quant),
    (b, qb): (&[u8], Quant),
    q: Quant,
    out: &mut [u8],
) {
    let (sa, sb) = (lanes.splat(qa.scale), lanes.splat(qb.scale));
    let (za, zb) = (
        lanes.splat(f32::from(qa.zero)),
        lanes.splat(f32::from(qb.zero)),
    );
    let inverse = lanes.splat(1.0 / q.scale);
    let codes = a.chunks_exact(L::LANES).zip(b.chunks_exact(L::LANES));
    for ((a, b), out) in codes.zip(out.chunks_exact_mut(L::LANES)) {
        let a = lanes.sub(lanes.load_codes(a, flip::<L>()), za);
        let b = lanes.sub(lanes.load_codes(b, flip::<L>()), zb);
        let sum = lanes.mul_add(a, sa, lanes.mul(b, sb));
        lanes.store_rounded(lanes.mul(sum, inverse), q.zero, (0, 255), flip::<L>(), out);
    }
}

#[inline(always)]
pub(in crate::kernels) fn gelu<L: Tile>(lanes: L, x: &mut [f32]) {
    let (chunks, rest) = L::chunks_mut(x);
    for chunk in chunks {
        lanes.store(gelu_lanes(lanes, lanes.load(chunk)), chunk);
    }
    if !rest.is_empty() {
        lanes.store_partial(gelu_lanes(lanes, lanes.load_padded(rest, 0.0)), rest);
    }
}

#[inline(always)]
pub(in crate::kernels) fn layer_norm<L: Tile>(
    lanes: L,
    x: Rows<'_>,
    (gamma, beta): (&[f32], &[f32]),
    epsilon: f32,
    out: &mut [f32],
) -> (f32, f32) {
    let mut range = Range::new(lanes);
    let width = x.cols() as f32;
    let (gammas, gamma_rest) = L::chunks(gamma);
    let (betas, beta_rest) = L::chunks(beta);
    for (i, out) in out.chunks_exact_mut(x.cols()).enumerate() {
        let (chunks, rest) = L::chunks(x.row(i));
        let mut sum = lanes.load_padded(rest, 0.0);
        for chunk in chunks {
            sum = lanes.add(sum, lanes.load(chunk));
        }
        let mean = lanes.sum(sum) / width;
        let splat = lanes.splat(mean);
        let tail = lanes.sub(lanes.load_padded(rest, mean), splat);
        let mut squares = lanes.mul(tail, tail);
        for chunk in chunks {
            let d = lanes.sub(lanes.load(chunk), splat);
            squares = lanes.mul_add(d, d, squares);
        }
        let inverse = 1.0 / (lanes.sum(squares) / width + epsilon).sqrt();
        let inverse = lanes.splat(inverse);
        let (outs, out_rest) = L::chunks_mut(out);
        for (((chunk, out), gamma), beta) in chunks.iter().zip(outs).zip(gammas).zip(betas) {
            let d = lanes.mul(lanes.sub(lanes.load(chunk), splat), inverse);
            let v = lanes.mul_add(d, lanes.load(gamma), lanes.load(beta));
            range.see(lanes, v);
            lanes.store(v, out);
        }
        if !rest.is_empty() {
            let d = lanes.mul(tail, inverse);
            let (gamma, beta) = (
                lanes.load_padded(gamma_rest, 0.0),
                lanes.load_padded(beta_rest, 0.0),
            );
            lanes.store_partial(lanes.mul_add(d, gamma, beta), out_rest);
            range.see(lanes, lanes.load_padded(out_rest, out_rest[0]));
        }
    }
    range.ends(lanes)
}
