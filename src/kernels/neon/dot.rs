//! Byte products by `sdot`: sixteen an instruction.

// An index runs over several small arrays at once.
#![allow(clippy::needless_range_loop)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::int8::{Block, COLUMNS, Depthwise, Line, Sums, Tile};
use super::super::lanes::Lanes;
use super::Neon;
use super::depthwise::{self, Products};
use super::tile::fours;

/// Proof that this CPU has Advanced SIMD and its dot products.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct NeonDot(Neon);

impl NeonDot {
    /// The token, if the CPU has the instructions.
    pub(in crate::kernels) fn new() -> Option<Self> {
        let base = Neon::new()?;
        std::arch::is_aarch64_feature_detected!("dotprod").then_some(NeonDot(base))
    }

    /// The token without a check.
    ///
    /// # Safety
    /// The CPU must have Advanced SIMD and its dot products.
    #[inline(always)]
    pub(in crate::kernels) unsafe fn new_unchecked() -> Self {
        // SAFETY: guaranteed by this function's contract.
        NeonDot(unsafe { Neon::new_unchecked() })
    }
}

same_lanes!(NeonDot as Neon);

impl Tile for NeonDot {
    const ROWS: usize = 6;
    const PANELS: usize = 1;
    const SIGNED: bool = true;

    #[inline(always)]
    fn tile(self, block: &Block<'_>, out: &mut Sums) {
        debug_assert_eq!((block.panels(), block.depth() % 4), (1, 0));
        // SAFETY: the token proves the dot products.
        unsafe {
            match block.rows() {
                1 => rows::<1>(block, out),
                2 => rows::<2>(block, out),
                3 => rows::<3>(block, out),
                4 => rows::<4>(block, out),
                5 => rows::<5>(block, out),
                _ => rows::<6>(block, out),
            }
        }
    }

    #[inline(always)]
    fn depthwise_row(self, codes: &[u8], taps: &[usize], job: &Depthwise<'_>, out: &mut [u8]) {
        depthwise::row(self, codes, taps, job, out);
    }

    #[inline(always)]
    fn interleave(self, rows: [&[u8; COLUMNS]; 4], flip: u8, line: &mut Line) {
        self.0.interleave(rows, flip, line);
    }
}

/// `R` rows by one panel: `4·R` registers of sums, `R` of codes, the rest for weights.
#[inline(never)] // called from several places, and `mca.py` looks for it
#[target_feature(enable = "neon,dotprod")]
fn rows<const R: usize>(block: &Block<'_>, out: &mut Sums) {
    let mut sums = [start(block, 0); R];
    if !block.starts_alike() {
        for r in 1..R {
            sums[r] = start(block, r);
        }
    }
    let mut rows = [block.row(0); R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = block.row(r);
    }
    let panel = block.panel(0).cast::<i8>();
    for step in 0..block.depth() / 4 {
        let mut codes = [vdupq_n_s8(0); R];
        for r in 0..R {
            // SAFETY: a row has 4·depth bytes, of which `step` takes whole sixteens.
            codes[r] = unsafe { vld1q_s8(rows[r].add(step * 16).cast()) };
        }
        // SAFETY: a panel has `depth` lines of 64 bytes, of which `step` takes whole fours;
        // each group takes one.
        unsafe {
            let lines = panel.add(step * 256);
            group::<R, 0>(&mut sums, codes, lines);
            group::<R, 1>(&mut sums, codes, lines.add(64));
            group::<R, 2>(&mut sums, codes, lines.add(128));
            group::<R, 3>(&mut sums, codes, lines.add(192));
        }
    }
    for r in 0..R {
        for part in 0..4 {
            // SAFETY: the fourth four ends the sixteen i32.
            unsafe { vst1q_s32(out[r][0].as_mut_ptr().add(4 * part), sums[r][part]) };
        }
    }
}

/// What the sums of row `r` start at.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn start(block: &Block<'_>, r: usize) -> [int32x4_t; 4] {
    let at = block.start(r, 0);
    // SAFETY: sixteen i32 in four loads.
    unsafe {
        [
            vld1q_s32(at),
            vld1q_s32(at.add(4)),
            vld1q_s32(at.add(8)),
            vld1q_s32(at.add(12)),
        ]
    }
}

/// Adds group `G` of sixteen codes, by the line of weights at `line`.
///
/// # Safety
/// 64 bytes must be readable at `line`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn group<const R: usize, const G: usize>(
    sums: &mut [[int32x4_t; 4]; R],
    codes: [int8x16_t; R],
    line: *const i8,
) {
    for part in 0..4 {
        // SAFETY: the fourth sixteen bytes end the line of 64.
        let weights = unsafe { vld1q_s8(line.add(part * 16)) };
        for r in 0..R {
            sums[r][part] = dot::<G>(sums[r][part], weights, codes[r]);
        }
    }
}

/// To each lane of `sums` its four products of `weights` by group `G` of `codes`; the
/// intrinsic is not stable yet.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<const G: usize>(mut sums: int32x4_t, weights: int8x16_t, codes: int8x16_t) -> int32x4_t {
    // SAFETY: the function is compiled for the instruction, which touches nothing but
    // its three registers.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {codes:v}.4b[{group}]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            codes = in(vreg) codes,
            group = const G,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

impl Products for NeonDot {
    /// Four taps at a time, their bytes interleaved. Taps that the last four lack have weights
    /// of 0, so that any tap will do.
    #[inline(always)]
    unsafe fn add_taps(
        self,
        job: &Depthwise<'_>,
        panel: usize,
        pixels: [*const i8; 2],
        taps: &[usize],
        sums: &mut depthwise::Sums,
    ) {
        let lines = &job.weights.quads[panel / 4];
        let at = panel % 4 * 16;
        let (quads, rest) = taps.as_chunks::<4>();
        // SAFETY: the token proves the dot products, and the caller vouches for each tap.
        unsafe {
            for (taps, lines) in quads.iter().zip(lines) {
                four_taps(pixels, *taps, lines, at, sums);
            }
            if let ([first, more @ ..], Some(lines)) = (rest, lines.get(quads.len())) {
                let (second, third) = (more.first().unwrap_or(first), more.get(1));
                let taps = [*first, *second, *third.unwrap_or(first), *first];
                four_taps(pixels, taps, lines, at, sums);
            }
        }
    }
}

/// Adds the products of four taps of two pixels; their weights are sixteen bytes of each
/// line, from `at` on.
///
/// # Safety
/// Sixteen bytes must be readable at each of `pixels` plus each of `taps`, and at `at` of a
/// line.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn four_taps(
    pixels: [*const i8; 2],
    taps: [usize; 4],
    lines: &[Line; 4],
    at: usize,
    sums: &mut depthwise::Sums,
) {
    for p in 0..2 {
        // SAFETY: guaranteed by this function's contract.
        let codes = taps.map(|tap| unsafe { vld1q_u8(pixels[p].add(tap).cast()) });
        for (part, codes) in fours(codes).into_iter().enumerate() {
            // SAFETY: guaranteed by this function's contract.
            let weights = unsafe { vld1q_s8(lines[part].0.as_ptr().add(at)) };
            sums[p][part] = dot_lanes(sums[p][part], weights, vreinterpretq_s8_u8(codes));
        }
    }
}

/// To each lane of `sums` its four products of `a` by `b`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot_lanes(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: as in `dot`.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

entry_points!(NeonDot, "neon,dotprod");
