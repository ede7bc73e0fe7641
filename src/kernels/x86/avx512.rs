//! x86-64 AVX-512 with VNNI: sixteen f32 lanes, 64 byte products an instruction.

use std::arch::x86_64::*;

use super::super::int8::{Block, COLUMNS, Depthwise, Line, Recode, Sums, Tile};
use super::super::lanes::Lanes;
use super::avx2;

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
        unsafe { depthwise_row(codes, taps, job, out) }
    }

    #[inline(always)]
    fn interleave(self, rows: [&[u8; COLUMNS]; 4], flip: u8, line: &mut Line) {
        // SAFETY: AVX-512 includes AVX2.
        unsafe { avx2::interleave(rows, flip, line) }
    }

    #[inline(always)]
    fn depthwise(
        self,
        codes: &[u8],
        taps: &[usize],
        weights: &[[i16; COLUMNS]],
        sums: &mut [i32; COLUMNS],
    ) {
        // SAFETY: AVX-512 includes AVX2.
        unsafe { avx2::depthwise(codes, taps, weights, sums) }
    }
}

/// Where the sums of a tile go.
enum End<'a> {
    Sums(&'a mut Sums),
    /// As codes, straight from the registers: what a tile of few groups gains most from.
    Codes(&'a Recode<'a>, &'a mut [u8]),
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
        let start = unsafe { _mm512_loadu_si512(block.init(p).as_ptr().cast()) };
        for sums in &mut sums {
            sums[p] = start;
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

/// A row of a depthwise convolution: 64 channels at a time, then 32 and 16 in narrower registers,
/// which cost half as much here as wide ones half empty.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn depthwise_row(codes: &[u8], taps: &[usize], job: &Depthwise<'_>, out: &mut [u8]) {
    let channels = job.weights.sums.len() * COLUMNS;
    assert!(job.fits(codes.len(), taps, out.len()));
    let mut first = 0;
    while first < channels {
        let strip = Strip {
            codes,
            taps,
            job,
            channels,
            first,
        };
        first += match channels - first {
            64.. => strip.run::<__m512i>(out),
            32.. => strip.run::<__m256i>(out),
            _ => strip.run::<__m128i>(out),
        };
    }
}

/// Some channels of a row of a depthwise convolution: the bytes of four taps are interleaved,
/// `vpdpbusd` adds them, and packing back to bytes undoes the order.
struct Strip<'a> {
    codes: &'a [u8],
    taps: &'a [usize],
    job: &'a Depthwise<'a>,
    channels: usize,
    /// The first of them, a multiple of sixteen.
    first: usize,
}

impl Strip<'_> {
    /// All pixels of as many channels as `V` has bytes; how many these are.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn run<V: Register>(&self, out: &mut [u8]) -> usize {
        let ends = Ends::<V>::new(self.job, self.first / COLUMNS);
        match self.taps {
            [a, b, c, d, e, f, g, h, i] => {
                let columns = [[*a, *d, *g], [*b, *e, *h], [*c, *f, *i]];
                // a lone pixel leaves nothing to a next one
                match self.apart(&columns).filter(|_| out.len() > self.channels) {
                    Some(1) => self.rolled::<V, 1>(columns, &ends, out),
                    Some(2) => self.rolled::<V, 2>(columns, &ends, out),
                    _ => self.rolled::<V, 3>(columns, &ends, out),
                }
            }
            _ => self.by_quads(&ends, out),
        }
        V::BYTES
    }

    /// How many columns of the window a step goes on, if they are neighbours all the same way
    /// apart: then what one pixel has interleaved serves the next.
    fn apart(&self, [left, middle, right]: &[[usize; 3]; 3]) -> Option<usize> {
        let apart = middle[0].checked_sub(left[0])?;
        let even = (0..3).all(|r| left[r] + apart == middle[r] && middle[r] + apart == right[r]);
        let step = self.job.step.checked_div(apart)?;
        (even && step * apart == self.job.step).then_some(step)
    }

    /// Where the bytes of tap offset `tap` of `pixel` are.
    #[inline(always)]
    fn source(&self, tap: usize, pixel: usize) -> *const u8 {
        let at = self.first + tap + pixel * self.job.step;
        debug_assert!(at + COLUMNS <= self.codes.len());
        self.codes.as_ptr().wrapping_add(at)
    }

    /// Windows of three columns of three; a step of one or two columns leaves two columns or one
    /// to the next pixel, and `STEP` 3 none.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn rolled<V: Register, const STEP: usize>(
        &self,
        columns: [[usize; 3]; 3],
        ends: &Ends<V>,
        out: &mut [u8],
    ) {
        let lines = &self.job.weights.columns[self.first / WIDE];
        // SAFETY: the registers are of features that this function is compiled for; every tap of
        // every pixel has the bytes of all channels, as the row has asserted, and so has `out`.
        unsafe {
            let mut weights = [[V::zero(); 4]; 3];
            for (weights, lines) in weights.iter_mut().zip(lines) {
                *weights = V::load_lines(lines, self.first % WIDE);
            }
            let column = |which: usize, pixel: usize| {
                let [top, middle, bottom] = columns[which];
                let x = [
                    V::load(self.source(top, pixel)),
                    V::load(self.source(middle, pixel)),
                    V::load(self.source(bottom, pixel)),
                ];
                V::interleave(x, V::zero())
            };
            let add = |sums, fours, which: usize| V::dot(sums, fours, weights[which]);
            let (mut one, mut two, mut left) = (ends.start, ends.start, [V::zero(); 4]);
            if STEP == 1 {
                let middle = column(1, 0);
                one = add(add(ends.start, column(0, 0), 0), middle, 1);
                two = add(ends.start, middle, 0);
            } else if STEP == 2 {
                left = column(0, 0);
            }
            for (pixel, out) in out.chunks_exact_mut(self.channels).enumerate() {
                let right = column(2, pixel);
                let sums = match STEP {
                    1 => {
                        let sums = add(one, right, 2);
                        one = add(two, right, 1);
                        two = add(ends.start, right, 0);
                        sums
                    }
                    2 => {
                        let sums = add(add(ends.start, left, 0), column(1, pixel), 1);
                        left = right;
                        add(sums, right, 2)
                    }
                    _ => {
                        let sums = add(ends.start, column(0, pixel), 0);
                        add(add(sums, column(1, pixel), 1), right, 2)
                    }
                };
                ends.codes(sums).store(out.as_mut_ptr().add(self.first));
            }
        }
    }

    /// Windows of any taps, four at a time.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn by_quads<V: Register>(&self, ends: &Ends<V>, out: &mut [u8]) {
        let quads = &self.job.weights.quads[self.first / WIDE];
        for (pixel, out) in out.chunks_exact_mut(self.channels).enumerate() {
            let mut sums = ends.start;
            for (lines, taps) in quads.iter().zip(self.taps.chunks(4)) {
                // SAFETY: as in `rolled`.
                unsafe {
                    let mut x = [V::zero(); 4];
                    for (x, tap) in x.iter_mut().zip(taps) {
                        *x = V::load(self.source(*tap, pixel));
                    }
                    let [a, b, c, d] = x;
                    let fours = V::interleave([a, b, c], d);
                    sums = V::dot(sums, fours, V::load_lines(lines, self.first % WIDE));
                }
            }
            // SAFETY: as in `rolled`.
            unsafe { ends.codes(sums).store(out.as_mut_ptr().add(self.first)) };
        }
    }
}

/// Channels of a register of bytes, and of a block of weights.
const WIDE: usize = 4 * COLUMNS;

/// Where sums start and how they become codes, in the order that interleaving makes: register
/// `i` holds channels `4i..4i + 4` of each sixteen.
struct Ends<V> {
    start: [V; 4],
    multipliers: [V; 4],
    zero: V,
    low: V,
    high: V,
}

impl<V: Register> Ends<V> {
    /// The ends of the channels of `V::BYTES / 16` panels from `panel` on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn new(job: &Depthwise<'_>, panel: usize) -> Ends<V> {
        let zero_in = _mm_set1_epi32(i32::from(job.zeros.0));
        let mut start = [[_mm_setzero_si128(); 4]; 4];
        let mut multipliers = start;
        for p in 0..V::BYTES / COLUMNS {
            let bias = job.bias[panel + p].as_ptr();
            let sums = job.weights.sums[panel + p].as_ptr();
            let factors = job.multipliers[panel + p].as_ptr();
            for i in 0..4 {
                // SAFETY: four of sixteen values from 4i on, unaligned loads.
                unsafe {
                    let bias = _mm_loadu_si128(bias.add(4 * i).cast());
                    let sums = _mm_loadu_si128(sums.add(4 * i).cast());
                    start[i][p] = _mm_sub_epi32(bias, _mm_mullo_epi32(zero_in, sums));
                    multipliers[i][p] = _mm_loadu_si128(factors.add(4 * i).cast());
                }
            }
        }
        // SAFETY: the registers are of features that this function is compiled for.
        unsafe {
            Ends {
                start: [
                    V::join(start[0]),
                    V::join(start[1]),
                    V::join(start[2]),
                    V::join(start[3]),
                ],
                multipliers: [
                    V::join(multipliers[0]),
                    V::join(multipliers[1]),
                    V::join(multipliers[2]),
                    V::join(multipliers[3]),
                ],
                zero: V::splat_16(i16::from(job.zeros.1)),
                low: V::splat_8(job.clamp.0),
                high: V::splat_8(job.clamp.1),
            }
        }
    }

    /// Sums to codes, in the channels' own order.
    ///
    /// # Safety
    /// The CPU must have the features of `V`.
    #[inline(always)]
    unsafe fn codes(&self, sums: [V; 4]) -> V {
        let mut whole = sums;
        // SAFETY: the caller vouches for the features.
        unsafe {
            for (whole, multipliers) in whole.iter_mut().zip(self.multipliers) {
                *whole = V::scaled(*whole, multipliers);
            }
            V::pack(whole, self.zero, self.low, self.high)
        }
    }
}

/// A register of bytes: 64, 32 or 16 of them, with the same operations. They are called without
/// `map`, whose closures are not compiled for the level and leave calls behind.
trait Register: Copy {
    const BYTES: usize;

    /// Zeros. As the rest: the CPU must have AVX-512 F, BW, VL and VNNI.
    unsafe fn zero() -> Self;
    unsafe fn splat_8(x: u8) -> Self;
    unsafe fn splat_16(x: i16) -> Self;
    /// As many of the quarters as there is room for, side by side.
    unsafe fn join(quarters: [__m128i; 4]) -> Self;
    /// Bytes from `from` on, which must be there.
    unsafe fn load(from: *const u8) -> Self;
    /// Writes to the bytes from `to` on, which must be there.
    unsafe fn store(self, to: *mut u8);
    /// Four times `x[0][i], x[1][i], x[2][i], last[i]`, by fours of each sixteen.
    unsafe fn interleave(x: [Self; 3], last: Self) -> [Self; 4];
    /// `sums + fours·weights`.
    unsafe fn dot(sums: [Self; 4], fours: [Self; 4], weights: [Self; 4]) -> [Self; 4];
    /// `round(sums·multipliers)`, the latter floats.
    unsafe fn scaled(sums: Self, multipliers: Self) -> Self;
    /// `clamp(whole + zero, low, high)` as bytes: saturation stays beyond the limits.
    unsafe fn pack(whole: [Self; 4], zero: Self, low: Self, high: Self) -> Self;

    /// The bytes from `byte` on of four lines.
    #[inline(always)]
    unsafe fn load_lines(lines: &[Line; 4], byte: usize) -> [Self; 4] {
        debug_assert!(byte + Self::BYTES <= 64);
        // SAFETY: blocks of channels are powers of two in falling order, so none crosses a line.
        unsafe {
            [
                Self::load(lines[0].0.as_ptr().add(byte).cast()),
                Self::load(lines[1].0.as_ptr().add(byte).cast()),
                Self::load(lines[2].0.as_ptr().add(byte).cast()),
                Self::load(lines[3].0.as_ptr().add(byte).cast()),
            ]
        }
    }
}

macro_rules! register {
    ($register:ty, $bytes:literal, $join:expr, $zero:ident, $splat_8:ident, $splat_16:ident,
     $load:ident, $store:ident, $lo_8:ident, $hi_8:ident, $lo_16:ident, $hi_16:ident,
     $dot:ident, $float:ident, $cast:ident, $mul:ident, $round:ident,
     $packs_32:ident, $adds_16:ident, $packus_16:ident, $max_8:ident, $min_8:ident) => {
        // SAFETY, of every block: the caller vouches for the features and the memory.
        #[allow(clippy::undocumented_unsafe_blocks)] // said once for all
        #[allow(unused_unsafe)] // some joins are safe
        impl Register for $register {
            const BYTES: usize = $bytes;

            #[inline(always)]
            unsafe fn zero() -> Self {
                unsafe { $zero() }
            }

            #[inline(always)]
            unsafe fn splat_8(x: u8) -> Self {
                unsafe { $splat_8(x as i8) }
            }

            #[inline(always)]
            unsafe fn splat_16(x: i16) -> Self {
                unsafe { $splat_16(x) }
            }

            #[inline(always)]
            unsafe fn join(quarters: [__m128i; 4]) -> Self {
                unsafe { $join(quarters) }
            }

            #[inline(always)]
            unsafe fn load(from: *const u8) -> Self {
                unsafe { $load(from.cast()) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut u8) {
                unsafe { $store(to.cast(), self) }
            }

            #[inline(always)]
            unsafe fn interleave([a, b, c]: [Self; 3], d: Self) -> [Self; 4] {
                unsafe {
                    let (ab, cd) = ($lo_8(a, b), $lo_8(c, d));
                    let (ab2, cd2) = ($hi_8(a, b), $hi_8(c, d));
                    [
                        $lo_16(ab, cd),
                        $hi_16(ab, cd),
                        $lo_16(ab2, cd2),
                        $hi_16(ab2, cd2),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn dot(s: [Self; 4], x: [Self; 4], w: [Self; 4]) -> [Self; 4] {
                unsafe {
                    [
                        $dot(s[0], x[0], w[0]),
                        $dot(s[1], x[1], w[1]),
                        $dot(s[2], x[2], w[2]),
                        $dot(s[3], x[3], w[3]),
                    ]
                }
            }

            #[inline(always)]
            unsafe fn scaled(sums: Self, multipliers: Self) -> Self {
                unsafe { $round($mul($float(sums), $cast(multipliers))) }
            }

            #[inline(always)]
            unsafe fn pack(whole: [Self; 4], zero: Self, low: Self, high: Self) -> Self {
                unsafe {
                    let front = $adds_16($packs_32(whole[0], whole[1]), zero);
                    let back = $adds_16($packs_32(whole[2], whole[3]), zero);
                    $min_8($max_8($packus_16(front, back), low), high)
                }
            }
        }
    };
}

#[rustfmt::skip]
register!(__m512i, 64, joined,
    _mm512_setzero_si512, _mm512_set1_epi8, _mm512_set1_epi16, _mm512_loadu_si512, _mm512_storeu_si512,
    _mm512_unpacklo_epi8, _mm512_unpackhi_epi8, _mm512_unpacklo_epi16, _mm512_unpackhi_epi16,
    _mm512_dpbusd_epi32, _mm512_cvtepi32_ps, _mm512_castsi512_ps, _mm512_mul_ps, _mm512_cvtps_epi32,
    _mm512_packs_epi32, _mm512_adds_epi16, _mm512_packus_epi16, _mm512_max_epu8, _mm512_min_epu8);

#[rustfmt::skip]
register!(__m256i, 32, |q: [__m128i; 4]| _mm256_set_m128i(q[1], q[0]),
    _mm256_setzero_si256, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_loadu_si256, _mm256_storeu_si256,
    _mm256_unpacklo_epi8, _mm256_unpackhi_epi8, _mm256_unpacklo_epi16, _mm256_unpackhi_epi16,
    _mm256_dpbusd_epi32, _mm256_cvtepi32_ps, _mm256_castsi256_ps, _mm256_mul_ps, _mm256_cvtps_epi32,
    _mm256_packs_epi32, _mm256_adds_epi16, _mm256_packus_epi16, _mm256_max_epu8, _mm256_min_epu8);

#[rustfmt::skip]
register!(__m128i, 16, |q: [__m128i; 4]| q[0],
    _mm_setzero_si128, _mm_set1_epi8, _mm_set1_epi16, _mm_loadu_si128, _mm_storeu_si128,
    _mm_unpacklo_epi8, _mm_unpackhi_epi8, _mm_unpacklo_epi16, _mm_unpackhi_epi16,
    _mm_dpbusd_epi32, _mm_cvtepi32_ps, _mm_castsi128_ps, _mm_mul_ps, _mm_cvtps_epi32,
    _mm_packs_epi32, _mm_adds_epi16, _mm_packus_epi16, _mm_max_epu8, _mm_min_epu8);

/// Four quarters side by side.
#[inline]
#[target_feature(enable = "avx512f")]
fn joined(quarters: [__m128i; 4]) -> __m512i {
    let x = _mm512_castsi128_si512(quarters[0]);
    let x = _mm512_inserti32x4::<1>(x, quarters[1]);
    let x = _mm512_inserti32x4::<2>(x, quarters[2]);
    _mm512_inserti32x4::<3>(x, quarters[3])
}

entry_points!(
    Avx512,
    "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
);
