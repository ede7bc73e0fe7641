//! Scalar reference of the byte kernels, in plain Rust; codes are stored as they are.

use super::super::Rows;
use super::attention::{Attention, AttentionScratch};
use super::conv::Depthwise;
use super::linear::{Activation, Linear, ProductScratch, Requantise};
use super::pack::{COLUMNS, PackedWeights, padded_depth};
use super::{Codes, Quant};

/// `Σₖ (a[row][k] − zero)·w[k][c]`.
fn sum(a: Codes<'_>, row: usize, zero: u8, weights: &PackedWeights, c: usize) -> i32 {
    let codes = a.from_row(row).iter().take(weights.k()).enumerate();
    codes
        .map(|(k, code)| (i32::from(*code) - i32::from(zero)) * i32::from(weights.at(k, c)))
        .sum()
}

fn activate(v: f32, activation: Activation) -> f32 {
    match activation {
        Activation::Identity => v,
        Activation::Relu => v.max(0.0),
        Activation::Gelu => gelu_of(v),
    }
}

/// `x/2·(1 + erf(x/√2))`, erf by its Maclaurin series in f64.
fn gelu_of(v: f32) -> f32 {
    let x = f64::from(v) * std::f64::consts::FRAC_1_SQRT_2;
    if x.abs() > 4.5 {
        return if x > 0.0 { v } else { 0.0 };
    }
    let (mut term, mut total) = (x, x);
    for n in 1..100 {
        term *= -x * x / f64::from(n);
        total += term / f64::from(2 * n + 1);
    }
    let erf = total * std::f64::consts::FRAC_2_SQRT_PI;
    (f64::from(v) * 0.5 * (1.0 + erf)) as f32
}

pub(in crate::kernels) fn linear(
    a: Codes<'_>,
    q: Quant,
    job: &Linear<'_>,
    _scratch: &mut ProductScratch,
    out: &mut [f32],
) -> (f32, f32) {
    let n = job.weights.n();
    for (at, out) in out.iter_mut().enumerate() {
        let (row, c) = (at / n, at % n);
        let scale = job.scales[c / COLUMNS][c % COLUMNS] * q.scale;
        let bias = job.bias[c / COLUMNS][c % COLUMNS];
        let v = (sum(a, row, q.zero, job.weights, c) as f32).mul_add(scale, bias);
        *out = activate(v, job.activation) + job.residual.map_or(0.0, |r| r[at]);
    }
    range(out)
}

fn requantised(sum: i32, multiplier: f32, zero: u8, clamp: (u8, u8)) -> u8 {
    let v = (sum as f32 * multiplier).round_ties_even() + f32::from(zero);
    v.clamp(f32::from(clamp.0), f32::from(clamp.1)) as u8
}

pub(in crate::kernels) fn requantise(
    a: Codes<'_>,
    zero: u8,
    job: &Requantise<'_>,
    _scratch: &mut ProductScratch,
    out: &mut [u8],
) {
    let stride = padded_depth(job.weights.n());
    for (at, out) in out.iter_mut().enumerate() {
        let (row, c) = (at / stride, at % stride);
        let (panel, column) = (c / COLUMNS, c % COLUMNS);
        let product = if c < job.weights.n() {
            sum(a, row, zero, job.weights, c)
        } else {
            0
        };
        let sum = product + job.bias[panel][column];
        *out = requantised(sum, job.multipliers[panel][column], job.zero, job.clamp);
    }
}

pub(in crate::kernels) fn range(x: &[f32]) -> (f32, f32) {
    let ends = (f32::INFINITY, f32::NEG_INFINITY);
    x.iter()
        .fold(ends, |(low, high), v| (low.min(*v), high.max(*v)))
}

fn code(x: f32, inverse: f32, zero: u8) -> u8 {
    ((x * inverse).round_ties_even() + f32::from(zero)).clamp(0.0, 255.0) as u8
}

pub(in crate::kernels) fn quantise(x: Rows<'_>, q: Quant, out: &mut [u8]) {
    let inverse = 1.0 / q.scale;
    for (i, out) in out.chunks_exact_mut(padded_depth(x.cols())).enumerate() {
        out.fill(q.zero);
        for (out, v) in out.iter_mut().zip(x.row(i)) {
            *out = code(*v, inverse, q.zero);
        }
    }
}

fn value(code: u8, q: Quant) -> f32 {
    (f32::from(code) - f32::from(q.zero)) * q.scale
}

pub(in crate::kernels) fn dequantise(codes: &[u8], q: Quant, out: &mut [f32]) {
    for (out, code) in out.iter_mut().zip(codes) {
        *out = value(*code, q);
    }
}

pub(in crate::kernels) fn add_codes(
    (a, qa): (&[u8], Quant),
    (b, qb): (&[u8], Quant),
    q: Quant,
    out: &mut [u8],
) {
    let inverse = 1.0 / q.scale;
    for ((a, b), out) in a.iter().zip(b).zip(out) {
        let a = f32::from(*a) - f32::from(qa.zero);
        *out = code(a.mul_add(qa.scale, value(*b, qb)), inverse, q.zero);
    }
}

pub(in crate::kernels) fn gelu(x: &mut [f32]) {
    for v in x {
        *v = gelu_of(*v);
    }
}

pub(in crate::kernels) fn layer_norm(
    x: Rows<'_>,
    (gamma, beta): (&[f32], &[f32]),
    epsilon: f32,
    out: &mut [f32],
) -> (f32, f32) {
    let width = x.cols() as f64;
    for (i, out) in out.chunks_exact_mut(x.cols()).enumerate() {
        let row = x.row(i);
        let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / width;
        let squares = row
            .iter()
            .map(|v| (f64::from(*v) - mean).powi(2))
            .sum::<f64>();
        let inverse = (squares / width + f64::from(epsilon)).sqrt().recip();
        for (c, out) in out.iter_mut().enumerate() {
            let d = (f64::from(row[c]) - mean) * inverse;
            *out = (d * f64::from(gamma[c]) + f64::from(beta[c])) as f32;
        }
    }
    range(out)
}

pub(in crate::kernels) fn attend(
    job: &Attention<'_>,
    _scratch: &mut AttentionScratch,
    out: &mut [f32],
) {
    let of =
        |(codes, q): (Codes<'_>, Quant), row: usize, c: usize| value(codes.from_row(row)[c], q);
    for (at, out) in out.chunks_exact_mut(job.width).enumerate() {
        let (row, head) = (at / job.heads, at % job.heads * job.width);
        let score = |j: usize| -> f32 {
            let head = head..head + job.width;
            let products = head.map(|c| f64::from(of(job.q, row, c)) * f64::from(of(job.k, j, c)));
            (products.sum::<f64>() * f64::from(job.scale)) as f32
        };
        let mut weights: Vec<f32> = (0..job.k.0.rows).map(score).collect();
        let top = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for weight in &mut weights {
            *weight = ((*weight - top).exp() * 255.0).round_ties_even();
        }
        let total: f32 = weights.iter().sum();
        for (c, out) in out.iter_mut().enumerate() {
            let mixed = weights.iter().enumerate();
            let mixed = mixed.map(|(j, weight)| weight * of(job.v, j, head + c));
            *out = mixed.sum::<f32>() / total;
        }
    }
}

pub(in crate::kernels) fn depthwise(
    codes: &[u8],
    taps: &[usize],
    job: &Depthwise<'_>,
    out: &mut [u8],
) {
    let channels = job.weights.sums.len() * COLUMNS;
    for (at, out) in out.iter_mut().enumerate() {
        let (pixel, c) = (at / channels, at % channels);
        let (panel, column) = (c / COLUMNS, c % COLUMNS);
        let mut sum = job.bias[panel][column];
        for (t, tap) in taps.iter().enumerate() {
            let x = i32::from(codes[pixel * job.step + tap + c]) - i32::from(job.zeros.0);
            sum += x * i32::from(job.weights.panels[panel][t][column]);
        }
        *out = requantised(sum, job.multipliers[panel][column], job.zeros.1, job.clamp);
    }
}
