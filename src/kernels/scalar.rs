//! Scalar reference: every kernel in plain Rust, written for reading.
//!
//! Long sums run in f64, so these are the more accurate side of every
//! comparison as well as the fallback on a CPU without a SIMD level.

use super::{AttendScratch, Rows};

pub(super) use super::activations::scalar::{sigmoid, tanh};
pub(super) use super::float16::scalar::half_gemv;
pub(super) use super::panels::scalar::project;
pub(super) use super::simplex::scalar::{row_entmax15, row_sparsemax};

pub(super) use super::int8::scalar::{
    add_codes, attend, depthwise, dequantise, gelu, layer_norm, linear, quantise, range, requantise,
};

/// `Σ aᵢ·bᵢ` in f64.
fn dot64(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

/// Euclidean length in f64, where no square of an f32 can overflow or vanish.
pub(super) fn length(x: &[f32]) -> f64 {
    dot64(x, x).sqrt()
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    dot64(a, b) as f32
}

pub(super) fn gemv(a: Rows<'_>, x: &[f32], y: &mut [f32]) {
    for (i, y) in y.iter_mut().enumerate() {
        *y = dot(a.row(i), x);
    }
}

pub(super) fn gemm(a: Rows<'_>, b: Rows<'_>, c: &mut [f32]) {
    for (at, c) in c.iter_mut().enumerate() {
        let (row, column) = (a.row(at / b.cols()), at % b.cols());
        let products = (0..b.rows()).map(|k| f64::from(row[k]) * f64::from(b.row(k)[column]));
        *c = products.sum::<f64>() as f32;
    }
}

pub(super) fn gemm_bt(a: Rows<'_>, b: Rows<'_>, c: &mut [f32]) {
    for (at, c) in c.iter_mut().enumerate() {
        *c = dot(a.row(at / b.rows()), b.row(at % b.rows()));
    }
}

pub(super) fn column_mean(x: Rows<'_>, mean: &mut [f32]) {
    for (column, mean) in mean.iter_mut().enumerate() {
        let sum: f64 = (0..x.rows()).map(|i| f64::from(x.row(i)[column])).sum();
        *mean = (sum / x.rows().max(1) as f64) as f32;
    }
}

pub(super) fn row_softmax(x: &mut [f32], cols: usize) {
    for row in x.chunks_exact_mut(cols.max(1)) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for v in row.iter_mut() {
            *v = (*v - largest).exp();
        }
        let sum: f64 = row.iter().map(|v| f64::from(*v)).sum();
        for v in row.iter_mut() {
            *v = (f64::from(*v) / sum) as f32;
        }
    }
}

pub(super) fn row_cosine(x: Rows<'_>, labels: Rows<'_>, out: &mut [f32]) {
    for (at, out) in out.iter_mut().enumerate() {
        *out = cosine(x.row(at / labels.rows()), labels.row(at % labels.rows()));
    }
}

/// Cosine of a row to a unit label; 0 for a zero row, which has no direction.
pub(super) fn cosine(x: &[f32], label: &[f32]) -> f32 {
    let length = length(x);
    if length == 0.0 {
        return 0.0;
    }
    (dot64(x, label) / length).clamp(-1.0, 1.0) as f32
}

pub(super) fn attend_mean(
    q: Rows<'_>,
    kv: Rows<'_>,
    mean: &mut [f32],
    scratch: &mut AttendScratch,
    weights: Option<&mut [f32]>,
) {
    let score = |i: usize, row: &mut [f32]| gemm_bt(q.slice(i, i + 1), kv, row);
    attend_by(q.rows(), score, kv, mean, scratch, weights);
}

pub(super) fn label_attend_mean(
    q: Rows<'_>,
    keys_t: Rows<'_>,
    values: Rows<'_>,
    mean: &mut [f32],
    scratch: &mut AttendScratch,
    weights: Option<&mut [f32]>,
) {
    let score = |i: usize, row: &mut [f32]| gemm(q.slice(i, i + 1), keys_t, row);
    attend_by(q.rows(), score, values, mean, scratch, weights);
}

/// `mean = (1/n)·Σᵢ softmax(scoreᵢ)·values`, the weights of one row at a time.
fn attend_by(
    n: usize,
    score: impl Fn(usize, &mut [f32]),
    values: Rows<'_>,
    mean: &mut [f32],
    scratch: &mut AttendScratch,
    mut weights: Option<&mut [f32]>,
) {
    let m = values.rows();
    let (row, column) = scratch.split(1, m);
    for i in 0..n {
        score(i, row);
        row_softmax(row, m);
        for (sum, weight) in column.iter_mut().zip(row.iter()) {
            *sum += weight / n as f32;
        }
        if let Some(weights) = weights.as_deref_mut() {
            weights[i * m..(i + 1) * m].copy_from_slice(row);
        }
    }
    let column = Rows {
        data: column,
        rows: 1,
        cols: m,
    };
    gemm(column, values, mean);
}
