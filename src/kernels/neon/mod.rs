//! AArch64 Advanced SIMD: four f32 lanes.

use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vaddq_s32, vaddvq_f32, vandq_u32, vcgeq_f32, vcvtq_s32_f32,
    vdupq_n_f32, vdupq_n_s32, vfmaq_f32, vld1q_f32, vmaxq_f32, vmaxvq_f32, vmulq_f32,
    vreinterpretq_f32_s32, vreinterpretq_f32_u32, vreinterpretq_u32_f32, vrndnq_f32, vshlq_n_s32,
    vst1q_f32, vsubq_f32,
};

use super::lanes::Lanes;

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
}

entry_points!(Neon, "neon");
