//! Byte products without `sdot`: 16-bit products, added in pairs into 32 bits.

// An index runs over several small arrays at once.
#![allow(clippy::needless_range_loop)]

use std::arch::aarch64::*;

use super::super::int8::{Block, COLUMNS, Depthwise, Line, Sums, Tile};
use super::{Neon, depthwise};

impl Tile for Neon {
    const ROWS: usize = 2;
    const PANELS: usize = 1;
    const SIGNED: bool = true;

    #[inline(always)]
    fn tile(self, block: &Block<'_>, out: &mut Sums) {
        debug_assert_eq!((block.panels(), block.depth() % 4), (1, 0));
        // SAFETY: the token proves Advanced SIMD.
        unsafe {
            match block.rows() {
                1 => rows::<1>(block, out),
                _ => rows::<2>(block, out),
            }
        }
    }

    #[inline(always)]
    fn depthwise_row(self, codes: &[u8], taps: &[usize], job: &Depthwise<'_>, out: &mut [u8]) {
        depthwise::row(self, codes, taps, job, out);
    }

    #[inline(always)]
    fn interleave(self, rows: [&[u8; COLUMNS]; 4], flip: u8, line: &mut Line) {
        // SAFETY: the token proves Advanced SIMD.
        unsafe { interleave(rows, flip, line) }
    }
}

/// One or two (`R`) rows by one panel, eight registers of sums to a row, each of two columns by two
/// values' pairs.
///
/// The A57 and A72 multiply in one of their two vector pipes and do everything else that
/// is needed here in the other, so only the multiplications should count. A 16-bit lane
/// takes the products of two groups before it is added to the sums, which halves the
/// additions; but `x·w + y·v` reaches 2·128², one more than a lane holds, where
/// `x·w − y·v` stays within ±(128² + 128·127). So the second group's weights are
/// complemented: `−y·(−1 − v) = y·v + y`, and the sum of all such `y`, the same for every
/// column, is taken off at the end.
#[inline(never)] // called from several places, and `mca.py` looks for it
#[target_feature(enable = "neon")]
fn rows<const R: usize>(block: &Block<'_>, out: &mut Sums) {
    let mut sums = [[vdupq_n_s32(0); 8]; R];
    // of the first row in even lanes, of the last in odd ones
    let mut complemented = vdupq_n_s32(0);
    let mut rows = [block.row(0); R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = block.row(r);
    }
    let panel = block.panel(0).cast::<i8>();
    for step in 0..block.depth() / 2 {
        let (mut x, mut y) = ([vdupq_n_s8(0); R], [vdupq_n_s8(0); R]);
        for r in 0..R {
            // SAFETY: a row has 4·depth bytes, of which `step` takes whole eights.
            let eight = unsafe { vld1_s8(rows[r].add(step * 8).cast()) };
            let groups = vreinterpret_s32_s8(eight);
            x[r] = vreinterpretq_s8_s32(vdupq_lane_s32::<0>(groups));
            y[r] = vreinterpretq_s8_s32(vdupq_lane_s32::<1>(groups));
        }
        let (first, last) = (vreinterpretq_s32_s8(y[0]), vreinterpretq_s32_s8(y[R - 1]));
        let both = vreinterpretq_s8_s32(vzip1q_s32(first, last));
        complemented = vpadalq_s16(complemented, vpaddlq_s8(both));
        for part in 0..4 {
            // SAFETY: a panel has `depth` lines of 64 bytes, of which `step` takes whole twos.
            let (w, v) = unsafe {
                let line = panel.add(step * 128 + part * 16);
                (vld1q_s8(line), vmvnq_s8(vld1q_s8(line.add(64))))
            };
            for r in 0..R {
                let low = vmull_s8(vget_low_s8(x[r]), vget_low_s8(w));
                let low = vmlsl_s8(low, vget_low_s8(y[r]), vget_low_s8(v));
                let high = vmlsl_high_s8(vmull_high_s8(x[r], w), y[r], v);
                sums[r][2 * part] = vpadalq_s16(sums[r][2 * part], low);
                sums[r][2 * part + 1] = vpadalq_s16(sums[r][2 * part + 1], high);
            }
        }
    }
    let surplus = [
        vdupq_laneq_s32::<0>(complemented),
        vdupq_laneq_s32::<1>(complemented),
    ];
    for r in 0..R {
        let init = block.start(r, 0);
        for four in 0..4 {
            let columns = vpaddq_s32(sums[r][2 * four], sums[r][2 * four + 1]);
            let total = vsubq_s32(columns, surplus[r]);
            // SAFETY: the fourth four ends the sixteen i32.
            unsafe {
                let start = vld1q_s32(init.add(4 * four));
                vst1q_s32(
                    out[r][0].as_mut_ptr().add(4 * four),
                    vaddq_s32(total, start),
                );
            }
        }
    }
}

/// Four rows of sixteen bytes to sixteen groups of four.
#[target_feature(enable = "neon")]
fn interleave(rows: [&[u8; COLUMNS]; 4], flip: u8, line: &mut Line) {
    let flip = vdupq_n_u8(flip);
    // SAFETY: sixteen bytes each.
    let rows = rows.map(|row| unsafe { veorq_u8(vld1q_u8(row.as_ptr()), flip) });
    for (part, four) in fours(rows).into_iter().enumerate() {
        // SAFETY: the fourth sixteen bytes end the line.
        unsafe { vst1q_u8(line.0.as_mut_ptr().cast::<u8>().add(16 * part), four) };
    }
}

/// Byte `c` of each of four registers, side by side.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn fours([a, b, c, d]: [uint8x16_t; 4]) -> [uint8x16_t; 4] {
    let (ab, cd) = (
        vreinterpretq_u16_u8(vzip1q_u8(a, b)),
        vreinterpretq_u16_u8(vzip1q_u8(c, d)),
    );
    let (ab2, cd2) = (
        vreinterpretq_u16_u8(vzip2q_u8(a, b)),
        vreinterpretq_u16_u8(vzip2q_u8(c, d)),
    );
    [
        vreinterpretq_u8_u16(vzip1q_u16(ab, cd)),
        vreinterpretq_u8_u16(vzip2q_u16(ab, cd)),
        vreinterpretq_u8_u16(vzip1q_u16(ab2, cd2)),
        vreinterpretq_u8_u16(vzip2q_u16(ab2, cd2)),
    ]
}
