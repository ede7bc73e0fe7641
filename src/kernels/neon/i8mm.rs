//! Byte products by `smmla`: two rows by two columns by eight values an instruction.

// An index runs over several small arrays at once.
#![allow(clippy::needless_range_loop)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::int8::{Block, COLUMNS, Depthwise, Line, Packing, Sums, Tile};
use super::super::lanes::Lanes;
use super::NeonDot;

/// Proof that this CPU has Advanced SIMD, its dot products and its matrix products of bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct NeonI8mm(NeonDot);

impl NeonI8mm {
    /// The token, if the CPU has the instructions.
    pub(in crate::kernels) fn new() -> Option<Self> {
        let base = NeonDot::new()?;
        std::arch::is_aarch64_feature_detected!("i8mm").then_some(NeonI8mm(base))
    }

    /// The token without a check.
    ///
    /// # Safety
    /// The CPU must have Advanced SIMD, its dot products and its matrix products of bytes.
    #[inline(always)]
    pub(in crate::kernels) unsafe fn new_unchecked() -> Self {
        // SAFETY: guaranteed by this function's contract.
        NeonI8mm(unsafe { NeonDot::new_unchecked() })
    }
}

same_lanes!(NeonI8mm as NeonDot);

impl Tile for NeonI8mm {
    const ROWS: usize = 6;
    const PANELS: usize = 1;
    const SIGNED: bool = true;
    const PACKING: Packing = Packing::Eights;

    #[inline(always)]
    fn tile(self, block: &Block<'_>, out: &mut Sums) {
        debug_assert_eq!((block.panels(), block.depth() % 4), (1, 0));
        // SAFETY: the token proves the matrix products.
        unsafe {
            match block.rows() {
                1 | 2 => pairs::<1>(block, out),
                3 | 4 => pairs::<2>(block, out),
                _ => pairs::<3>(block, out),
            }
        }
    }

    #[inline(always)]
    fn depthwise_row(self, codes: &[u8], taps: &[usize], job: &Depthwise<'_>, out: &mut [u8]) {
        self.0.depthwise_row(codes, taps, job, out);
    }

    #[inline(always)]
    fn interleave(self, rows: [&[u8; COLUMNS]; 4], flip: u8, line: &mut Line) {
        self.0.interleave(rows, flip, line);
    }
}

/// `P` pairs of rows by one panel: `8·P` registers of sums, each of two rows by two
/// columns. A last row without a partner is its own.
#[inline(never)] // called from several places, and `mca.py` looks for it
#[target_feature(enable = "neon,i8mm")]
fn pairs<const P: usize>(block: &Block<'_>, out: &mut Sums) {
    let last = block.rows() - 1;
    let mut sums = [[vdupq_n_s32(0); 8]; P];
    let mut rows = [[block.row(0); 2]; P];
    for (p, pair) in rows.iter_mut().enumerate() {
        *pair = [block.row(2 * p), block.row(last.min(2 * p + 1))];
    }
    let panel = block.panel(0).cast::<i8>();
    for step in 0..block.depth() / 2 {
        let mut codes = [vdupq_n_s8(0); P];
        for p in 0..P {
            // SAFETY: a row has 4·depth bytes, of which `step` takes whole eights.
            codes[p] = unsafe {
                vcombine_s8(
                    vld1_s8(rows[p][0].add(step * 8).cast()),
                    vld1_s8(rows[p][1].add(step * 8).cast()),
                )
            };
        }
        for part in 0..8 {
            // SAFETY: a panel has `depth` lines of 64 bytes, of which `step` takes whole twos.
            let weights = unsafe { vld1q_s8(panel.add(step * 128 + part * 16)) };
            for p in 0..P {
                sums[p][part] = product(sums[p][part], codes[p], weights);
            }
        }
    }
    for p in 0..P {
        let starts = [0, 1].map(|r| block.start((2 * p + r).min(block.rows() - 1), 0));
        for four in 0..4 {
            let left = vreinterpretq_s64_s32(sums[p][2 * four]);
            let right = vreinterpretq_s64_s32(sums[p][2 * four + 1]);
            let upper = vreinterpretq_s32_s64(vzip1q_s64(left, right));
            let lower = vreinterpretq_s32_s64(vzip2q_s64(left, right));
            // SAFETY: the fourth four ends the sixteen i32. A lone last row's partner
            // is its equal, and goes into a row of `out` that nobody reads.
            unsafe {
                let start = starts.map(|start| vld1q_s32(start.add(4 * four)));
                let [first, second] = &mut out.as_chunks_mut().0[p];
                vst1q_s32(
                    first[0].as_mut_ptr().add(4 * four),
                    vaddq_s32(upper, start[0]),
                );
                vst1q_s32(
                    second[0].as_mut_ptr().add(4 * four),
                    vaddq_s32(lower, start[1]),
                );
            }
        }
    }
}

/// `sums + a·bᵀ` of 2×8 bytes each; the intrinsic is not stable yet.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn product(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the function is compiled for the instruction, which touches nothing but
    // its three registers.
    unsafe {
        asm!(
            "smmla {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

entry_points!(NeonI8mm, "neon,dotprod,i8mm");
