//! A row of a depthwise convolution: sixteen channels of two pixels at a time.

// An index runs over several small arrays at once.
#![allow(clippy::needless_range_loop)]

use std::arch::aarch64::*;

use super::super::int8::{COLUMNS, Depthwise};
use super::Neon;

/// Sums of sixteen channels of two pixels.
pub(super) type Sums = [[int32x4_t; 4]; 2];

/// A level's way to add the products of all taps.
pub(super) trait Products: Copy {
    /// Adds to `sums` what each tap reads from the two pixels, times the weights of `panel`.
    ///
    /// # Safety
    /// Sixteen bytes must be readable at each of `pixels` plus each of `taps`.
    unsafe fn add_taps(
        self,
        job: &Depthwise<'_>,
        panel: usize,
        pixels: [*const i8; 2],
        taps: &[usize],
        sums: &mut Sums,
    );
}

impl Products for Neon {
    /// Codes are widened to the weights' 16 bits.
    #[inline(always)]
    unsafe fn add_taps(
        self,
        job: &Depthwise<'_>,
        panel: usize,
        pixels: [*const i8; 2],
        taps: &[usize],
        sums: &mut Sums,
    ) {
        for (tap, weights) in taps.iter().zip(&job.weights.panels[panel]) {
            let weights = weights.as_ptr();
            // SAFETY: sixteen i16 in two loads, sixteen codes by this function's contract, and the
            // token proves Advanced SIMD.
            unsafe {
                let (low, high) = (vld1q_s16(weights), vld1q_s16(weights.add(8)));
                for p in 0..2 {
                    let codes = vld1q_s8(pixels[p].add(*tap));
                    let (a, b) = (vmovl_s8(vget_low_s8(codes)), vmovl_high_s8(codes));
                    let sums = &mut sums[p];
                    sums[0] = vmlal_s16(sums[0], vget_low_s16(a), vget_low_s16(low));
                    sums[1] = vmlal_high_s16(sums[1], a, low);
                    sums[2] = vmlal_s16(sums[2], vget_low_s16(b), vget_low_s16(high));
                    sums[3] = vmlal_high_s16(sums[3], b, high);
                }
            }
        }
    }
}

/// Codes of the row's output pixels; a last pixel without a partner is its own.
#[inline(always)]
pub(super) fn row<P: Products>(
    products: P,
    codes: &[u8],
    taps: &[usize],
    job: &Depthwise<'_>,
    out: &mut [u8],
) {
    let channels = job.weights.sums.len() * COLUMNS;
    let pixels = out.len() / channels;
    let furthest = taps.iter().copied().max().unwrap_or(0);
    assert!(furthest <= codes.len());
    for panel in 0..job.weights.sums.len() {
        let finish = Finish::new(job, panel);
        let window = |pixel: usize| -> *const i8 {
            let from = pixel * job.step + panel * COLUMNS;
            codes[from..][..furthest + COLUMNS].as_ptr().cast()
        };
        for first in (0..pixels).step_by(2) {
            let pair = [first, (first + 1).min(pixels - 1)];
            let mut sums = [finish.start; 2];
            // SAFETY: a window reaches sixteen bytes beyond the furthest tap.
            unsafe {
                let windows = [window(pair[0]), window(pair[1])];
                products.add_taps(job, panel, windows, taps, &mut sums);
            }
            for p in 0..2 {
                let out = &mut out[pair[p] * channels + panel * COLUMNS..][..COLUMNS];
                finish.store(sums[p], out);
            }
        }
    }
}

/// What turns the sums of sixteen channels into codes.
struct Finish {
    start: [int32x4_t; 4],
    multipliers: [float32x4_t; 4],
    zero: int16x8_t,
    low: uint8x16_t,
    high: uint8x16_t,
}

impl Finish {
    #[inline(always)]
    fn new(job: &Depthwise<'_>, panel: usize) -> Finish {
        // codes are stored with their top bit flipped
        let zero_in = i32::from(job.zeros.0) - 128;
        let (bias, sums) = (&job.bias[panel], &job.weights.sums[panel]);
        let mut start = [0; COLUMNS];
        for c in 0..COLUMNS {
            start[c] = bias[c].wrapping_sub(zero_in * sums[c]);
        }
        let multipliers = job.multipliers[panel].as_ptr();
        let start = start.as_ptr();
        // SAFETY: every aarch64 has Advanced SIMD; the fourth four ends sixteen values.
        unsafe {
            Finish {
                start: [
                    vld1q_s32(start),
                    vld1q_s32(start.add(4)),
                    vld1q_s32(start.add(8)),
                    vld1q_s32(start.add(12)),
                ],
                multipliers: [
                    vld1q_f32(multipliers),
                    vld1q_f32(multipliers.add(4)),
                    vld1q_f32(multipliers.add(8)),
                    vld1q_f32(multipliers.add(12)),
                ],
                zero: vdupq_n_s16(i16::from(job.zeros.1)),
                low: vdupq_n_u8(job.clamp.0),
                high: vdupq_n_u8(job.clamp.1),
            }
        }
    }

    /// Narrowing saturates, and what saturates is beyond any code.
    #[inline(always)]
    fn store(&self, sums: [int32x4_t; 4], out: &mut [u8]) {
        let out: &mut [u8; COLUMNS] = &mut out.as_chunks_mut().0[0];
        let mut whole = sums;
        // SAFETY: every aarch64 has Advanced SIMD; `out` has sixteen bytes.
        unsafe {
            for i in 0..4 {
                let v = vmulq_f32(vcvtq_f32_s32(sums[i]), self.multipliers[i]);
                whole[i] = vcvtnq_s32_f32(v);
            }
            let left = vqmovn_high_s32(vqmovn_s32(whole[0]), whole[1]);
            let right = vqmovn_high_s32(vqmovn_s32(whole[2]), whole[3]);
            let left = vqmovun_s16(vqaddq_s16(left, self.zero));
            let codes = vqmovun_high_s16(left, vqaddq_s16(right, self.zero));
            let codes = vminq_u8(vmaxq_u8(codes, self.low), self.high);
            vst1q_u8(out.as_mut_ptr(), veorq_u8(codes, vdupq_n_u8(0x80)));
        }
    }
}
