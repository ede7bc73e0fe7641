//! What this machine can do at best, and what the process holds.

use crate::kernels::int8::{
    Activation, COLUMNS, Codes, Linear, PackedWeights, Quant, padded_depth,
};
use crate::kernels::{self, Kernels, PANEL, PackedFloats, Rows};
use std::fs;
use std::time::{Duration, Instant};

/// Resident memory now, in kilobytes, where the system tells.
pub(crate) fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// The most that was resident.
pub(crate) fn peak_resident() -> Option<u64> {
    status("VmHWM:")
}

fn status(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|l| l.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Multiply-accumulates a second of the level's tile when all operands lie in the first
/// cache: what a model could reach at best, on one core.
pub(super) fn peak_macs() -> f64 {
    let kernels = kernels::active();
    peak_of(kernels).unwrap_or(0.0)
}

fn peak_of(kernels: &Kernels) -> Option<f64> {
    let (rows, k, n) = (8, 448, 48);
    let weights = PackedWeights::new(kernels.level(), &vec![1; k * n], k, n)?;
    let panels = n.div_ceil(COLUMNS);
    let job = Linear {
        weights: &weights,
        scales: &vec![[1.0; COLUMNS]; panels],
        bias: &vec![[0.0; COLUMNS]; panels],
        activation: Activation::Identity,
        residual: None,
    };
    let codes = vec![1; rows * padded_depth(k)];
    let a = Codes {
        bytes: &codes,
        rows,
        stride: padded_depth(k),
    };
    let quant = Quant {
        scale: 1.0,
        zero: 0,
    };
    let (mut init, mut out) = (Vec::new(), vec![0.0; rows * n]);
    let mut best = Duration::MAX;
    let end = Instant::now() + Duration::from_millis(100);
    while Instant::now() < end {
        let start = Instant::now();
        for _ in 0..50 {
            kernels.linear(a, quant, &job, &mut init, &mut out);
        }
        best = best.min(start.elapsed());
    }
    Some((50 * rows * k * n) as f64 / best.as_secs_f64())
}

/// Multiply-accumulates a second of floats when all operands lie in the first cache.
pub(super) fn peak_float_macs() -> f64 {
    let kernels = kernels::active();
    let (rows, k, n) = (8, 64, 64);
    let (a, b) = (vec![1.0; rows * k], vec![1.0; k * n]);
    let (a, b) = (Rows::of_whole(&a, k), Rows::of_whole(&b, n));
    let mut c = vec![0.0; rows * n];
    let seconds = best_of(|| {
        for _ in 0..100 {
            kernels.gemm(a, b, &mut c);
        }
    });
    (100 * rows * k * n) as f64 / seconds
}

/// Bytes a second at which a buffer of `bytes` is read again and again, from whichever cache
/// holds it or from memory: by a product that does next to nothing with what it reads.
pub(super) fn read_rate(bytes: usize) -> f64 {
    let kernels = kernels::active();
    let columns = 64;
    let outputs = (bytes / 4 / columns).next_multiple_of(PANEL).max(PANEL);
    let Some(weights) = PackedFloats::new(&vec![1.0; outputs * columns], columns, None) else {
        return f64::INFINITY;
    };
    let (x, mut out) = (vec![1.0; columns], vec![0.0; outputs]);
    let x = Rows::of_whole(&x, columns);
    let times = (1 << 20) / weights.bytes() + 1;
    let seconds = best_of(|| {
        for _ in 0..times {
            kernels.project(x, &weights, &mut out);
        }
    });
    (times * weights.bytes()) as f64 / seconds
}

/// The shortest time of `work`, of as many runs as 50 ms hold.
fn best_of(mut work: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    let end = Instant::now() + Duration::from_millis(50);
    while Instant::now() < end {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed());
    }
    best.as_secs_f64()
}
