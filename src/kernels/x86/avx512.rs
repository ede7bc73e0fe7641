//! x86-64 AVX-512 with VNNI: sixteen f32 lanes, 64 byte products an instruction.

use std::arch::x86_64::*;

use super::super::int8::{Block, COLUMNS, Depthwise, Line, Recode, Sums, Tile};
use super::super::lanes::Lanes;
use super::avx2::{self, End};
use super::depthwise::{self, Register};

/// Proof that this CPU has AVX-512 F, BW, VL, DQ and VNNI.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct Avx512 {
    _private: (),
}

impl Avx512 {
    /// The token, if the CPU has the instructions.
    pub(in crate::kernels) fn new() -> Option<Self> {
        let has = avx2::Avx2::new().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni");
        has.then_some(Avx512 { _private: () })
    }

    /// The token without a check.
    ///
    /// # Safety
    /// The CPU must have AVX-512 F, BW, VL, DQ and VNNI.
    #[inline(always)]
    pub(in crate::kernels) unsafe fn new_unchecked() -> Self {
        Avx512 { _private: () }
    }
}

impl Lanes for Avx512 {
    type V = __m512;

    const LANES: usize = 16;

    type Chunk = [f32; 16];

    #[inline(always)]
    fn chunks(src: &[f32]) -> (&[[f32; 16]], &[f32]) {
        src.as_chunks()
    }

    #[inline(always)]
    fn chunks_mut(dst: &mut [f32]) -> (&mut [[f32; 16]], &mut [f32]) {
        dst.as_chunks_mut()
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, src: &[f32; 16]) -> __m512 {
        // SAFETY: the token proves AVX-512; `src` holds sixteen f32 and the load
        // is the unaligned one.
        unsafe { _mm512_loadu_ps(src.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, v: __m512, dst: &mut [f32; 16]) {
        // SAFETY: the token proves AVX-512; `dst` holds sixteen f32 and the store
        // is the unaligned one.
        unsafe { _mm512_storeu_ps(dst.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn round(self, v: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512; 0 keeps no fraction bits and rounds
        // to nearest even.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
    }

    #[inline(always)]
    fn exp2_whole(self, n: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512. The exponent is put straight into bits
        // 23..31 of an IEEE single.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }

    #[inline(always)]
    fn keep_where_ge(self, v: __m512, x: __m512, limit: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, limit), v) }
    }

    #[inline(always)]
    fn sum(self, v: __m512) -> f32 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_reduce_add_ps(v) }
    }

    #[inline(always)]
    fn largest(self, v: __m512) -> f32 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_reduce_max_ps(v) }
    }

    #[inline(always)]
    fn from_sums(self, sums: &[i32; COLUMNS], _part: usize) -> __m512 {
        // SAFETY: the token proves AVX-512; sixteen i32, unaligned load.
        unsafe { _mm512_cvtepi32_ps(_mm512_loadu_si512(sums.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_codes(self, src: &[u8], flip: u8) -> __m512 {
        let bytes: &[u8; 16] = &src.as_chunks().0[0];
        // SAFETY: the token proves AVX-512; sixteen bytes, unaligned load.
        unsafe {
            let codes = _mm_loadu_si128(bytes.as_ptr().cast());
            let flipped = _mm_xor_si128(codes, _mm_set1_epi8(flip as i8));
            _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(flipped))
        }
    }

    #[inline(always)]
    fn store_codes(self, v: __m512, flip: u8, dst: &mut [u8]) {
        let bytes: &mut [u8; 16] = &mut dst.as_chunks_mut().0[0];
        // SAFETY: the token proves AVX-512; sixteen bytes, unaligned store.
        unsafe {
            let codes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v));
            let flipped = _mm_xor_si128(codes, _mm_set1_epi8(flip as i8));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), flipped);
        }
    }
}

impl Tile for Avx512 {
    const ROWS: usize = 8;
    const PANELS: usize = 3;
    const SIGNED: bool = false;

    #[inline(always)]
    fn tile(self, block: &Block<'_>, out: &mut Sums) {
        // SAFETY: the token proves AVX-512 with VNNI.
        unsafe {
            match block.panels() {
                1 => by_rows::<1>(block, End::Sums(out)),
                2 => by_rows::<2>(block, End::Sums(out)),
                _ => by_rows::<3>(block, End::Sums(out)),
            }
        }
    }

    #[inline(always)]
    fn recode_tile(self, block: &Block<'_>, to: &Recode<'_>, _: &mut Sums, out: &mut [u8]) {
        // SAFETY: the token proves AVX-512 with VNNI.
        unsafe {
            match block.panels() {
                1 => by_rows::<1>(block, End::Codes(to, out)),
                2 => by_rows::<2>(block, End::Codes(to, out)),
                _ => by_rows::<3>(block, End::Codes(to, out)),
            }
        }
    }

    #[inline(always)]
    fn store_rounded(self, v: __m512, zero: u8, (low, high): (u8, u8), flip: u8, dst: &mut [u8]) {
        let bytes: &mut [u8; 16] = &mut dst.as_chunks_mut().0[0];
        // SAFETY: the token proves AVX-512; the conversion rounds to nearest even, and what is
        // too low for it becomes the least integer. Sixteen bytes, unaligned store.
        unsafe {
            let v = _mm512_min_ps(v, _mm512_set1_ps(1e6));
            let codes = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(i32::from(zero)));
            let codes = _mm512_max_epi32(codes, _mm512_set1_epi32(i32::from(low)));
            let codes = _mm512_min_epi32(codes, _mm512_set1_epi32(i32::from(high)));
            let bytes_of = _mm_xor_si128(_mm512_cvtepi32_epi8(codes), _mm_set1_epi8(flip as i8));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), bytes_of);
        }
    }

    #[inline(always)]
    fn exp2_code(self, x: __m512) -> __m512 {
        const P: [f32; 4] = [
            EXP2[3] * 255.0,
            EXP2[2] * 255.0,
            EXP2[1] * 255.0,
            EXP2[0] * 255.0,
        ];
        // SAFETY: the token proves AVX-512. 1 keeps no fraction bits and rounds down; scaling
        // takes the whole part itself and underflows to 0.
        unsafe {
            let r = _mm512_reduce_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(x);
            let mut p = _mm512_set1_ps(P[0]);
            for c in &P[1..] {
                p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(*c));
            }
            _mm512_scalef_ps(p, x)
        }
    }

    #[inline(always)]
    fn depthwise_row(self, codes: &[u8], taps: &[usize], job: &Depthwise<'_>, out: &mut [u8]) {
        // SAFETY: the token proves AVX-512 with VNNI.
        unsafe { depthwise::row(codes, taps, job, out) }
    }

    #[inline(always)]
    fn interleave(self, rows: [&[u8; COLUMNS]; 4], flip: u8, line: &mut Line) {
        // SAFETY: AVX-512 includes AVX2.
        unsafe { avx2::interleave(rows, flip, line) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn by_rows<const P: usize>(block: &Block<'_>, end: End<'_>) {
    match block.rows() {
        1 => tile::<1, P>(block, end),
        2 => tile::<2, P>(block, end),
        3 => tile::<3, P>(block, end),
        4 => tile::<4, P>(block, end),
        5 => tile::<5, P>(block, end),
        6 => tile::<6, P>(block, end),
        7 => tile::<7, P>(block, end),
        _ => tile::<8, P>(block, end),
    }
}

/// `R` rows by `P` panels: `R·P` sums, `P` registers of weights and one of codes.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile<const R: usize, const P: usize>(block: &Block<'_>, end: End<'_>) {
    let mut sums = [[_mm512_setzero_si512(); P]; R];
    let mut panels = [block.panel(0); P];
    for p in 0..P {
        panels[p] = block.panel(p);
        // SAFETY: sixteen i32, unaligned load.
        let start = unsafe { _mm512_loadu_si512(block.start(0, p).cast()) };
        for sums in &mut sums {
            sums[p] = start;
        }
    }
    if !block.starts_alike() {
        for r in 1..R {
            for p in 0..P {
                // SAFETY: sixteen i32, unaligned load.
                sums[r][p] = unsafe { _mm512_loadu_si512(block.start(r, p).cast()) };
            }
        }
    }
    let mut rows = [block.row(0); R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = block.row(r);
    }
    for group in 0..block.depth() {
        let mut weights = [_mm512_setzero_si512(); P];
        for p in 0..P {
            // SAFETY: a panel has `depth` lines of 64 aligned bytes.
            weights[p] = unsafe { _mm512_load_si512(panels[p].add(group).cast()) };
        }
        for r in 0..R {
            // SAFETY: a row has 4·depth bytes, and `group` is below depth.
            let four = unsafe { rows[r].add(group * 4).cast::<i32>().read_unaligned() };
            let codes = _mm512_set1_epi32(four);
            for p in 0..P {
                sums[r][p] = _mm512_dpbusd_epi32(sums[r][p], codes, weights[p]);
            }
        }
    }
    match end {
        End::Codes(to, out) if may_overflow::<P>(to) => store_codes::<R, P, true>(&sums, to, out),
        End::Codes(to, out) => store_codes::<R, P, false>(&sums, to, out),
        End::Sums(out) => {
            for r in 0..R {
                for p in 0..P {
                    // SAFETY: sixteen i32, unaligned store.
                    unsafe { _mm512_storeu_si512(out[r][p].as_mut_ptr().cast(), sums[r][p]) };
                }
            }
        }
    }
}

/// Whether a sum times its multiplier may be no i32. Multipliers are well below 1 in practice.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn may_overflow<const P: usize>(to: &Recode<'_>) -> bool {
    let mut any = 0;
    for multipliers in &to.multipliers[..P] {
        // SAFETY: sixteen f32, unaligned load.
        let size = _mm512_abs_ps(unsafe { _mm512_loadu_ps(multipliers.as_ptr()) });
        any |= _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(size, _mm512_set1_ps(1.0));
    }
    any != 0
}

/// The sums as codes. Four rows are packed together, for their bytes fill a register. `LIMIT`
/// keeps what is too high for the conversion to i32 from becoming the least.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store_codes<const R: usize, const P: usize, const LIMIT: bool>(
    sums: &[[__m512i; P]; R],
    to: &Recode<'_>,
    out: &mut [u8],
) {
    assert!(to.multipliers.len() >= P && out.len() >= (R - 1) * to.stride + P * COLUMNS);
    // packing takes four columns of each row in turn
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let zero = _mm512_set1_epi16(i16::from(to.zero));
    let low = _mm512_set1_epi8(to.clamp.0 as i8);
    let high = _mm512_set1_epi8(to.clamp.1 as i8);
    for p in 0..P {
        // SAFETY: sixteen f32, unaligned load.
        let multipliers = unsafe { _mm512_loadu_ps(to.multipliers[p].as_ptr()) };
        for first in (0..R).step_by(4) {
            let mut whole = [_mm512_setzero_si512(); 4];
            for (j, whole) in whole.iter_mut().enumerate() {
                let v = _mm512_cvtepi32_ps(sums[(first + j).min(R - 1)][p]);
                let mut v = _mm512_mul_ps(v, multipliers);
                if LIMIT {
                    v = _mm512_min_ps(v, _mm512_set1_ps(1e6));
                }
                *whole = _mm512_cvtps_epi32(v);
            }
            // SAFETY: this function is compiled for what packing needs.
            let bytes = unsafe { Register::pack(whole, zero, low, high) };
            let bytes = _mm512_permutexvar_epi32(order, bytes);
            let rows = [
                _mm512_castsi512_si128(bytes),
                _mm512_extracti32x4_epi32::<1>(bytes),
                _mm512_extracti32x4_epi32::<2>(bytes),
                _mm512_extracti32x4_epi32::<3>(bytes),
            ];
            for j in 0..4.min(R - first) {
                let at = (first + j) * to.stride + p * COLUMNS;
                // SAFETY: sixteen bytes, which the assertion has found within `out`.
                unsafe { _mm_storeu_si128(out.as_mut_ptr().add(at).cast(), rows[j]) };
            }
        }
    }
}

/// `2^r` for `r` in 0..1: the minimax polynomial of degree 3, lowest coefficient first.
const EXP2: [f32; 4] = [0.999_925_2, 0.695_833_54, 0.226_067_14, 0.078_024_545];

entry_points!(
    Avx512,
    "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
);
