//! The kernels once, for every SIMD level: safe code over [`Lanes`].

// An index runs over several small arrays at once, and closures would not be
// compiled for the level.
#![allow(clippy::needless_range_loop)]

use super::lanes::Lanes;
use super::{AttendScratch, BLOCK, Rows, scalar};

pub(super) use super::activations::{sigmoid, tanh};
pub(super) use super::float16::half_gemv;
pub(super) use super::panels::project;
pub(super) use super::simplex::{row_entmax15, row_sparsemax};

pub(super) use super::int8::{
    add_codes, attend, depthwise, dequantise, gelu, layer_norm, linear, quantise, range, requantise,
};

#[inline(always)]
pub(super) fn dot<L: Lanes>(lanes: L, a: &[f32], b: &[f32]) -> f32 {
    // Four independent sums hide the latency of the multiply-add.
    let (whole_a, rest_a) = L::chunks(a);
    let (whole_b, rest_b) = L::chunks(b);
    let (fours_a, tail_a) = whole_a.as_chunks::<4>();
    let (fours_b, tail_b) = whole_b.as_chunks::<4>();
    let mut sums = [lanes.splat(0.0); 4];
    for (a, b) in fours_a.iter().zip(fours_b) {
        for part in 0..4 {
            sums[part] = lanes.mul_add(lanes.load(&a[part]), lanes.load(&b[part]), sums[part]);
        }
    }
    for (a, b) in tail_a.iter().zip(tail_b) {
        sums[0] = lanes.mul_add(lanes.load(a), lanes.load(b), sums[0]);
    }
    let (a, b) = (
        lanes.load_padded(rest_a, 0.0),
        lanes.load_padded(rest_b, 0.0),
    );
    sums[1] = lanes.mul_add(a, b, sums[1]);
    let halves = (lanes.add(sums[0], sums[1]), lanes.add(sums[2], sums[3]));
    lanes.sum(lanes.add(halves.0, halves.1))
}

#[inline(always)]
pub(super) fn gemv<L: Lanes>(lanes: L, a: Rows<'_>, x: &[f32], y: &mut [f32]) {
    let x = Rows {
        data: x,
        rows: 1,
        cols: x.len(),
    };
    gemm_bt(lanes, a, x, y);
}

/// Dot products of `R` rows with `C` rows, each row loaded once per tile.
#[inline(always)]
fn dot_tile<L: Lanes, const R: usize, const C: usize>(
    lanes: L,
    a: [&[f32]; R],
    b: [&[f32]; C],
) -> [[f32; C]; R] {
    let steps = a[0].len() / L::LANES;
    let mut sums = [[lanes.splat(0.0); C]; R];
    let mut whole_a = [L::chunks(&[]).0; R];
    let mut whole_b = [L::chunks(&[]).0; C];
    for r in 0..R {
        whole_a[r] = &L::chunks(a[r]).0[..steps];
    }
    for c in 0..C {
        whole_b[c] = &L::chunks(b[c]).0[..steps];
    }
    for step in 0..steps {
        let mut columns = [lanes.splat(0.0); C];
        for c in 0..C {
            columns[c] = lanes.load(&whole_b[c][step]);
        }
        for r in 0..R {
            let row = lanes.load(&whole_a[r][step]);
            for c in 0..C {
                sums[r][c] = lanes.mul_add(row, columns[c], sums[r][c]);
            }
        }
    }
    finish_dot_tile(lanes, a, b, sums)
}

/// Adds what lies beyond the whole registers and sums the lanes.
#[inline(always)]
fn finish_dot_tile<L: Lanes, const R: usize, const C: usize>(
    lanes: L,
    a: [&[f32]; R],
    b: [&[f32]; C],
    mut sums: [[L::V; C]; R],
) -> [[f32; C]; R] {
    let mut dots = [[0.0; C]; R];
    let ragged = !a[0].len().is_multiple_of(L::LANES);
    for r in 0..R {
        for c in 0..C {
            if ragged {
                let row = lanes.load_padded(L::chunks(a[r]).1, 0.0);
                let column = lanes.load_padded(L::chunks(b[c]).1, 0.0);
                sums[r][c] = lanes.mul_add(row, column, sums[r][c]);
            }
            dots[r][c] = lanes.sum(sums[r][c]);
        }
    }
    dots
}

/// `R` rows of `A·Bᵀ` from row `i` on.
#[inline(always)]
fn gemm_bt_rows<L: Lanes, const R: usize>(
    lanes: L,
    a: Rows<'_>,
    i: usize,
    b: Rows<'_>,
    c: &mut [f32],
) {
    let mut rows = [a.row(i); R];
    for r in 1..R {
        rows[r] = a.row(i + r);
    }
    let n = b.rows();
    let pairs = n - n % 2;
    for j in (0..pairs).step_by(2) {
        let dots = dot_tile::<L, R, 2>(lanes, rows, [b.row(j), b.row(j + 1)]);
        for r in 0..R {
            c[(i + r) * n + j..][..2].copy_from_slice(&dots[r]);
        }
    }
    if pairs < n {
        let dots = dot_tile::<L, R, 1>(lanes, rows, [b.row(pairs)]);
        for r in 0..R {
            c[(i + r) * n + pairs] = dots[r][0];
        }
    }
}

#[inline(always)]
pub(super) fn gemm_bt<L: Lanes>(lanes: L, a: Rows<'_>, b: Rows<'_>, c: &mut [f32]) {
    let blocks = a.rows() - a.rows() % BLOCK;
    for i in (0..blocks).step_by(BLOCK) {
        gemm_bt_rows::<L, BLOCK>(lanes, a, i, b, c);
    }
    for i in blocks..a.rows() {
        gemm_bt_rows::<L, 1>(lanes, a, i, b, c);
    }
}

/// `R` rows by `C` registers of `A·B`, from column `j` on.
#[inline(always)]
fn gemm_tile<L: Lanes, const R: usize, const C: usize>(
    lanes: L,
    a: [&[f32]; R],
    b: Rows<'_>,
    j: usize,
) -> [[L::V; C]; R] {
    let mut sums = [[lanes.splat(0.0); C]; R];
    for k in 0..b.rows() {
        let chunks = L::chunks(&b.row(k)[j..j + C * L::LANES]).0;
        let mut columns = [lanes.splat(0.0); C];
        for c in 0..C {
            columns[c] = lanes.load(&chunks[c]);
        }
        for r in 0..R {
            let value = lanes.splat(a[r][k]);
            for c in 0..C {
                sums[r][c] = lanes.mul_add(value, columns[c], sums[r][c]);
            }
        }
    }
    sums
}

/// The last columns of `A·B`, fewer than a register.
#[inline(always)]
fn gemm_tail<L: Lanes>(lanes: L, a: &[f32], b: Rows<'_>, j: usize) -> L::V {
    let mut sum = lanes.splat(0.0);
    for k in 0..b.rows() {
        let columns = lanes.load_padded(&b.row(k)[j..], 0.0);
        sum = lanes.mul_add(lanes.splat(a[k]), columns, sum);
    }
    sum
}

/// Writes `R` rows by `C` registers at row `i`, column `j`.
#[inline(always)]
fn store_tile<L: Lanes, const R: usize, const C: usize>(
    lanes: L,
    tile: [[L::V; C]; R],
    c: &mut [f32],
    at: (usize, usize),
    n: usize,
) {
    for (r, row) in tile.into_iter().enumerate() {
        let first = (at.0 + r) * n + at.1;
        let chunks = L::chunks_mut(&mut c[first..first + C * L::LANES]).0;
        for (v, chunk) in row.into_iter().zip(chunks) {
            lanes.store(v, chunk);
        }
    }
}

/// `R` rows of `A·B` from row `i` on.
#[inline(always)]
fn gemm_rows<L: Lanes, const R: usize>(
    lanes: L,
    a: Rows<'_>,
    i: usize,
    b: Rows<'_>,
    c: &mut [f32],
) {
    let mut rows = [a.row(i); R];
    for r in 1..R {
        rows[r] = a.row(i + r);
    }
    let n = b.cols();
    let mut j = 0;
    while j + 2 * L::LANES <= n {
        let tile = gemm_tile::<L, R, 2>(lanes, rows, b, j);
        store_tile(lanes, tile, c, (i, j), n);
        j += 2 * L::LANES;
    }
    if j + L::LANES <= n {
        let tile = gemm_tile::<L, R, 1>(lanes, rows, b, j);
        store_tile(lanes, tile, c, (i, j), n);
        j += L::LANES;
    }
    if j < n {
        for (r, row) in rows.into_iter().enumerate() {
            let tail = gemm_tail(lanes, row, b, j);
            lanes.store_partial(tail, &mut c[(i + r) * n + j..(i + r + 1) * n]);
        }
    }
}

#[inline(always)]
pub(super) fn gemm<L: Lanes>(lanes: L, a: Rows<'_>, b: Rows<'_>, c: &mut [f32]) {
    let blocks = a.rows() - a.rows() % BLOCK;
    for i in (0..blocks).step_by(BLOCK) {
        gemm_rows::<L, BLOCK>(lanes, a, i, b, c);
    }
    for i in blocks..a.rows() {
        gemm_rows::<L, 1>(lanes, a, i, b, c);
    }
}

/// `sum += row`, element by element.
#[inline(always)]
fn accumulate<L: Lanes>(lanes: L, sum: &mut [f32], row: &[f32]) {
    let (sums, sums_rest) = L::chunks_mut(sum);
    let (rows, rows_rest) = L::chunks(row);
    for (sum, row) in sums.iter_mut().zip(rows) {
        lanes.store(lanes.add(lanes.load(sum), lanes.load(row)), sum);
    }
    for (sum, row) in sums_rest.iter_mut().zip(rows_rest) {
        *sum += row;
    }
}

/// `x *= factor`, element by element.
#[inline(always)]
fn scale<L: Lanes>(lanes: L, x: &mut [f32], factor: f32) {
    let (chunks, rest) = L::chunks_mut(x);
    let splat = lanes.splat(factor);
    for chunk in chunks {
        lanes.store(lanes.mul(lanes.load(chunk), splat), chunk);
    }
    for v in rest {
        *v *= factor;
    }
}

#[inline(always)]
pub(super) fn column_mean<L: Lanes>(lanes: L, x: Rows<'_>, mean: &mut [f32]) {
    mean.fill(0.0);
    for i in 0..x.rows() {
        accumulate(lanes, mean, x.row(i));
    }
    if x.rows() > 0 {
        scale(lanes, mean, 1.0 / x.rows() as f32);
    }
}

/// Below this `exp` is taken as 0; above it 2ⁿ stays a normal number.
const EXP_LOWEST: f32 = -87.0;

/// `eˣ` for `x ≤ 0`: within 1 ULP down to -87, exactly 0 below.
///
/// `x = n·ln 2 + r` with `|r| ≤ ln 2 / 2`, and `eʳ` by its Taylor polynomial
/// of degree 7, whose remainder is below 6e-9.
#[inline(always)]
pub(super) fn exp<L: Lanes>(lanes: L, x: L::V) -> L::V {
    // ln 2 in two parts: n·LN_2_HIGH is exact for |n| < 2¹⁵.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let lowest = lanes.splat(EXP_LOWEST);
    let clamped = lanes.max(x, lowest);
    let n = lanes.round(lanes.mul(clamped, lanes.splat(std::f32::consts::LOG2_E)));
    let r = lanes.mul_add(n, lanes.splat(-LN_2_HIGH), clamped);
    let r = lanes.mul_add(n, lanes.splat(-LN_2_LOW), r);
    let mut series = lanes.splat(1.0 / 5040.0);
    for factorial in [720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        series = lanes.mul_add(series, r, lanes.splat(1.0 / factorial));
    }
    lanes.keep_where_ge(lanes.mul(series, lanes.exp2_whole(n)), x, lowest)
}

/// A sum of registers that carries the rounding error along (Kahan), so that
/// the weights of a long row still add up to 1.
#[derive(Clone, Copy)]
struct Sum<V> {
    total: V,
    error: V,
}

impl<V: Copy> Sum<V> {
    #[inline(always)]
    fn add<L: Lanes<V = V>>(&mut self, lanes: L, v: V) {
        let v = lanes.sub(v, self.error);
        let total = lanes.add(self.total, v);
        self.error = lanes.sub(lanes.sub(total, self.total), v);
        self.total = total;
    }
}

#[inline(always)]
pub(super) fn largest<L: Lanes>(lanes: L, row: &[f32]) -> f32 {
    let (chunks, rest) = L::chunks(row);
    let mut top = lanes.load_padded(rest, f32::NEG_INFINITY);
    for chunk in chunks {
        top = lanes.max(top, lanes.load(chunk));
    }
    lanes.largest(top)
}

/// `row = exp(row - top)`; returns the sum of the row.
#[inline(always)]
fn exp_row<L: Lanes>(lanes: L, row: &mut [f32], top: f32) -> f32 {
    let top = lanes.splat(top);
    let (chunks, rest) = L::chunks_mut(row);
    let zero = lanes.splat(0.0);
    let mut sum = Sum {
        total: zero,
        error: zero,
    };
    for chunk in chunks {
        let e = exp(lanes, lanes.sub(lanes.load(chunk), top));
        sum.add(lanes, e);
        lanes.store(e, chunk);
    }
    if !rest.is_empty() {
        let e = exp(
            lanes,
            lanes.sub(lanes.load_padded(rest, f32::NEG_INFINITY), top),
        );
        sum.add(lanes, e);
        lanes.store_partial(e, rest);
    }
    lanes.sum(sum.total)
}

#[inline(always)]
pub(super) fn row_softmax<L: Lanes>(lanes: L, x: &mut [f32], cols: usize) {
    for row in x.chunks_exact_mut(cols.max(1)) {
        let top = largest(lanes, row);
        let sum = exp_row(lanes, row, top);
        scale(lanes, row, 1.0 / sum);
    }
}

/// Squared lengths in this range keep every term that matters in f32.
const SAFE_SQUARES: std::ops::RangeInclusive<f32> = 1e-24..=1e30;

#[inline(always)]
pub(super) fn row_cosine<L: Lanes>(lanes: L, x: Rows<'_>, labels: Rows<'_>, out: &mut [f32]) {
    gemm_bt(lanes, x, labels, out);
    for (i, out) in out.chunks_exact_mut(labels.rows().max(1)).enumerate() {
        let row = x.row(i);
        let square = dot(lanes, row, row);
        if SAFE_SQUARES.contains(&square) {
            let inverse = 1.0 / square.sqrt();
            for cosine in out {
                *cosine = (*cosine * inverse).clamp(-1.0, 1.0);
            }
        } else {
            for (k, cosine) in out.iter_mut().enumerate() {
                *cosine = scalar::cosine(row, labels.row(k));
            }
        }
    }
}

#[inline(always)]
pub(super) fn attend_mean<L: Lanes>(
    lanes: L,
    q: Rows<'_>,
    kv: Rows<'_>,
    mean: &mut [f32],
    scratch: &mut AttendScratch,
    mut weights: Option<&mut [f32]>,
) {
    let m = kv.rows();
    let (scores, column) = scratch.split(BLOCK, m);
    for first in (0..q.rows()).step_by(BLOCK) {
        let block = q.slice(first, q.rows().min(first + BLOCK));
        let scores = &mut scores[..block.rows() * m];
        gemm_bt(lanes, block, kv, scores);
        weigh(lanes, scores, column, first, weights.as_deref_mut());
    }
    finish_mean(lanes, q.rows(), column, kv, mean);
}

#[inline(always)]
pub(super) fn label_attend_mean<L: Lanes>(
    lanes: L,
    q: Rows<'_>,
    keys_t: Rows<'_>,
    values: Rows<'_>,
    mean: &mut [f32],
    scratch: &mut AttendScratch,
    mut weights: Option<&mut [f32]>,
) {
    let m = values.rows();
    let (scores, column) = scratch.split(BLOCK, m);
    for first in (0..q.rows()).step_by(BLOCK) {
        let block = q.slice(first, q.rows().min(first + BLOCK));
        let scores = &mut scores[..block.rows() * m];
        gemm(lanes, block, keys_t, scores);
        weigh(lanes, scores, column, first, weights.as_deref_mut());
    }
    finish_mean(lanes, q.rows(), column, values, mean);
}

/// Turns a block of score rows into weights and adds them to the column sums.
#[inline(always)]
fn weigh<L: Lanes>(
    lanes: L,
    scores: &mut [f32],
    column: &mut [f32],
    first: usize,
    weights: Option<&mut [f32]>,
) {
    let m = column.len();
    row_softmax(lanes, scores, m);
    for row in scores.chunks_exact(m.max(1)) {
        accumulate(lanes, column, row);
    }
    if let Some(weights) = weights {
        weights[first * m..][..scores.len()].copy_from_slice(scores);
    }
}

/// `mean = (column sums / n)·values`.
#[inline(always)]
fn finish_mean<L: Lanes>(
    lanes: L,
    n: usize,
    column: &mut [f32],
    values: Rows<'_>,
    mean: &mut [f32],
) {
    if n > 0 {
        scale(lanes, column, 1.0 / n as f32);
    }
    let column = Rows {
        data: column,
        rows: 1,
        cols: values.rows(),
    };
    gemm(lanes, column, values, mean);
}
