//! What this machine can do at best, and what the process holds.

use crate::kernels::int8::{
    Activation, COLUMNS, Codes, Linear, PackedWeights, ProductScratch, Quant, padded_depth,
};
use crate::kernels::{self, Kernels};
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
    let (rows, k, n) = (48, 448, 48);
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
    let (mut scratch, mut out) = (ProductScratch::default(), vec![0.0; rows * n]);
    let mut best = Duration::MAX;
    let end = Instant::now() + Duration::from_millis(100);
    while Instant::now() < end {
        let start = Instant::now();
        for _ in 0..50 {
            kernels.linear(a, quant, &job, &mut scratch, &mut out);
        }
        best = best.min(start.elapsed());
    }
    Some((50 * rows * k * n) as f64 / best.as_secs_f64())
}
