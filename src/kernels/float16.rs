//! Half floats (IEEE binary16) as storage: rows are widened as they are read.

// An index runs over several small arrays at once, and closures would not be compiled for
// the level.
#![allow(clippy::needless_range_loop)]

use super::BLOCK;
use super::lanes::Lanes;

/// A half float's value. Without its sign, shifted to where a float's exponent is, it is the
/// float 2¹¹² times too small: normal and subnormal alike. Not for infinities.
#[inline(always)]
fn widen(half: u16) -> f32 {
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(magnitude.to_bits() | u32::from(half & 0x8000) << 16)
}

/// Values of half floats, none of which may be infinite or undefined.
#[must_use]
pub fn to_floats(halves: &[u16]) -> Vec<f32> {
    halves.iter().map(|half| widen(*half)).collect()
}

/// The nearest half floats, ties to even; what is beyond ±65504 becomes infinite.
#[must_use]
pub fn of_floats(x: &[f32]) -> Vec<u16> {
    x.iter().map(|x| narrow(*x)).collect()
}

fn narrow(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16) as u16 & 0x8000;
    let size = f64::from(x.abs());
    if size.is_nan() {
        return sign | 0x7e00;
    }
    if size >= 65520.0 {
        return sign | 0x7c00;
    }
    // distance of neighbouring halves at this size: 2⁻²⁴ where they are subnormal
    let exponent = if size < 2.0_f64.powi(-14) {
        -14
    } else {
        size.log2().floor() as i32
    };
    let step = 2.0_f64.powi(exponent - 10);
    let steps = (size / step).round_ties_even() as u16;
    // a round-up to the next power of two carries into the exponent by itself
    sign | ((((exponent + 14) as u16) << 10) + steps)
}

/// Halves that are widened together.
const GROUP: usize = 16;

/// Sixteen half floats as floats, each 2¹¹² times too small. One loop of known length over
/// whole numbers, which the compiler turns into the level's own operations.
#[inline(always)]
fn widen_group(halves: &[u16; GROUP]) -> [f32; GROUP] {
    let mut wide = [0.0; GROUP];
    for i in 0..GROUP {
        // the sign spreads to the left; all of it but the first bit is taken off again
        let spread = i32::from(halves[i] as i16) << 13;
        wide[i] = f32::from_bits(spread as u32 & 0x8fff_e000);
    }
    wide
}

/// 2¹¹²: what widened halves lack.
const LACKING: f32 = f32::from_bits(0x7780_0000);

/// `R` rows from the start of `a` by `x`, of whole groups; `x` is 2¹¹² times too large.
#[inline(always)]
fn rows_by_vector<L: Lanes, const R: usize>(
    lanes: L,
    a: [&[[u16; GROUP]]; R],
    x: &[[f32; GROUP]],
) -> [f32; R] {
    let mut sums = [lanes.splat(0.0); R];
    for (group, x) in x.iter().enumerate() {
        let x = L::chunks(x).0;
        for r in 0..R {
            let wide = widen_group(&a[r][group]);
            let wide = L::chunks(&wide).0;
            for part in 0..GROUP / L::LANES {
                sums[r] = lanes.mul_add(lanes.load(&wide[part]), lanes.load(&x[part]), sums[r]);
            }
        }
    }
    let mut totals = [0.0; R];
    for r in 0..R {
        totals[r] = lanes.sum(sums[r]);
    }
    totals
}

#[inline(always)]
pub(super) fn half_gemv<L: Lanes>(
    lanes: L,
    a: &[u16],
    x: &[f32],
    scaled: &mut Vec<f32>,
    y: &mut [f32],
) {
    scaled.clear();
    scaled.extend(x.iter().map(|x| x * LACKING));
    let (groups, rest) = scaled.as_chunks::<GROUP>();
    let width = x.len().max(1);
    let tail = |row: &[u16]| -> f32 {
        let pairs = row[groups.len() * GROUP..].iter().zip(rest);
        pairs.map(|(half, x)| widen(*half) * (x / LACKING)).sum()
    };
    let (blocks, last) = y.as_chunks_mut::<BLOCK>();
    let (of_blocks, of_last) = a.split_at(blocks.len() * BLOCK * x.len());
    for (y, rows) in blocks.iter_mut().zip(of_blocks.chunks_exact(BLOCK * width)) {
        let mut groups_of = [rows.as_chunks().0; BLOCK];
        for r in 0..BLOCK {
            groups_of[r] = &rows[r * width..].as_chunks().0[..groups.len()];
        }
        *y = rows_by_vector::<L, BLOCK>(lanes, groups_of, groups);
        if !rest.is_empty() {
            for r in 0..BLOCK {
                y[r] += tail(&rows[r * width..][..width]);
            }
        }
    }
    for (y, row) in last.iter_mut().zip(of_last.chunks_exact(width)) {
        *y = rows_by_vector::<L, 1>(lanes, [row.as_chunks().0], groups)[0] + tail(row);
    }
}

/// Scalar reference.
pub(super) mod scalar {
    pub(in crate::kernels) fn half_gemv(
        a: &[u16],
        x: &[f32],
        _scaled: &mut Vec<f32>,
        y: &mut [f32],
    ) {
        for (row, y) in a.chunks_exact(x.len().max(1)).zip(y) {
            let products = row.iter().zip(x);
            let products = products.map(|(a, x)| f64::from(super::widen(*a)) * f64::from(*x));
            *y = products.sum::<f64>() as f32;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking
pub(super) mod properties {
    use super::super::Kernels;
    use super::super::properties::{close, exact, few, matrix, run, size, vector};
    use super::*;
    use proptest::prelude::*;

    pub(in crate::kernels) fn half_gemv(k: &Kernels) {
        let shapes = (few(), size()).prop_flat_map(|(r, c)| (matrix(r, c), vector(c)));
        run(shapes, |(a, x)| {
            let halves = of_floats(&a.data);
            let wide = to_floats(&halves);
            let mut y = vec![0.0; if x.is_empty() { 0 } else { a.rows }];
            k.half_gemv(&halves, &x, &mut Vec::new(), &mut y);
            for (row, y) in wide.chunks_exact(x.len().max(1)).zip(y) {
                close(
                    y,
                    exact(row.iter().copied(), x.iter().copied()),
                    x.len() + 1,
                )?;
            }
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_half_survives() {
        for half in (0..=u16::MAX).filter(|h| h & 0x7c00 != 0x7c00) {
            assert_eq!(narrow(widen(half)), half, "{half:04x}");
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_even() {
        for (x, half) in [
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65504.0, 0x7bff),
            (65519.9, 0x7bff),
            (65520.0, 0x7c00),
            (5.960_464_5e-8, 0x0001),
            (2.9e-8, 0x0000),
            (1.0 + 1.0 / 2048.0, 0x3c00),
            (1.0 + 3.0 / 2048.0, 0x3c02),
            (2.0 - 1.0 / 4096.0, 0x4000),
            (f32::NAN, 0x7e00),
        ] {
            assert_eq!(narrow(x), half, "{x}");
        }
    }
}
