//! AArch64 Advanced SIMD: four f32 lanes, and byte products of three generations.

mod depthwise;
mod dot;
mod i8mm;
mod tile;

use std::arch::aarch64::*;

use super::int8::COLUMNS;
use super::lanes::Lanes;

pub(super) use dot::NeonDot;
pub(super) use i8mm::NeonI8mm;

/// Proof that this CPU has Advanced SIMD.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neon {
    _private: (),
}

impl Neon {
    /// The token, if the CPU has the instructions.
    pub(super) fn new() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon { _private: () })
    }

    /// The token without a check.
    ///
    /// # Safety
    /// The CPU must have Advanced SIMD.
    #[inline(always)]
    pub(super) unsafe fn new_unchecked() -> Self {
        Neon { _private: () }
    }
}

impl Lanes for Neon {
    type V = float32x4_t;

    const LANES: usize = 4;

    type Chunk = [f32; 4];

    #[inline(always)]
    fn chunks(src: &[f32]) -> (&[[f32; 4]], &[f32]) {
        src.as_chunks()
    }

    #[inline(always)]
    fn chunks_mut(dst: &mut [f32]) -> (&mut [[f32; 4]], &mut [f32]) {
        dst.as_chunks_mut()
    }

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        // SAFETY: the token proves Advanced SIMD.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    fn load(self, src: &[f32; 4]) -> float32x4_t {
        // SAFETY: the token proves Advanced SIMD; `src` holds four f32, and the
        // load needs no alignment beyond that of f32.
        unsafe { vld1q_f32(src.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, v: float32x4_t, dst: &mut [f32; 4]) {
        // SAFETY: the token proves Advanced SIMD; `dst` holds four f32, and the
        // store needs no alignment beyond that of f32.
        unsafe { vst1q_f32(dst.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the token proves Advanced SIMD.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the token proves Advanced SIMD.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the token proves Advanced SIMD.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the token proves Advanced SIMD.
        unsafe { vmaxq_f32(a, b) }
    }

    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: the token proves Advanced SIMD.
        unsafe { vminq_f32(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: the token proves Advanced SIMD.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn round(self, v: float32x4_t) -> float32x4_t {
        // SAFETY: the token proves Advanced SIMD.
        unsafe { vrndnq_f32(v) }
    }

    #[inline(always)]
    fn exp2_whole(self, n: float32x4_t) -> float32x4_t {
        // SAFETY: the token proves Advanced SIMD. The exponent is put straight
        // into bits 23..31 of an IEEE single.
        unsafe {
            let biased = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        }
    }

    #[inline(always)]
    fn keep_where_ge(self, v: float32x4_t, x: float32x4_t, limit: float32x4_t) -> float32x4_t {
        // SAFETY: the token proves Advanced SIMD; the mask is all ones or zeros.
        unsafe {
            let mask = vcgeq_f32(x, limit);
            vreinterpretq_f32_u32(vandq_u32(mask, vreinterpretq_u32_f32(v)))
        }
    }

    #[inline(always)]
    fn sum(self, v: float32x4_t) -> f32 {
        // SAFETY: the token proves Advanced SIMD.
        unsafe { vaddvq_f32(v) }
    }

    #[inline(always)]
    fn largest(self, v: float32x4_t) -> f32 {
        // SAFETY: the token proves Advanced SIMD.
        unsafe { vmaxvq_f32(v) }
    }

    #[inline(always)]
    fn from_sums(self, sums: &[i32; COLUMNS], part: usize) -> float32x4_t {
        let four: &[i32; 4] = &sums.as_chunks().0[part];
        // SAFETY: the token proves Advanced SIMD; `four` holds four i32, and the
        // load needs no alignment beyond that of i32.
        unsafe { vcvtq_f32_s32(vld1q_s32(four.as_ptr())) }
    }

    #[inline(always)]
    fn load_codes(self, src: &[u8], flip: u8) -> float32x4_t {
        let four: &[u8; 4] = &src.as_chunks().0[0];
        // SAFETY: the token proves Advanced SIMD.
        unsafe {
            let stored = vcreate_u8(u64::from(u32::from_le_bytes(*four)));
            let codes = vmovl_u8(veor_u8(stored, vdup_n_u8(flip)));
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(codes)))
        }
    }

    #[inline(always)]
    fn store_codes(self, v: float32x4_t, flip: u8, dst: &mut [u8]) {
        let four: &mut [u8; 4] = &mut dst.as_chunks_mut().0[0];
        // SAFETY: the token proves Advanced SIMD.
        let stored = unsafe {
            let words = vmovn_u32(vcvtq_u32_f32(v));
            let codes = vmovn_u16(vcombine_u16(words, words));
            vreinterpret_u32_u8(veor_u8(codes, vdup_n_u8(flip)))
        };
        // SAFETY: the token proves Advanced SIMD.
        *four = unsafe { vget_lane_u32::<0>(stored) }.to_le_bytes();
    }
}

entry_points!(Neon, "neon");
