//! Depthwise convolution with AVX-512 VNNI.

use std::arch::x86_64::*;

use super::super::int8::{COLUMNS, Depthwise, Line};

/// A row of a depthwise convolution: 64 channels at a time, then 32 and 16 in narrower registers,
/// which cost half as much here as wide ones half empty.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn row(codes: &[u8], taps: &[usize], job: &Depthwise<'_>, out: &mut [u8]) {
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
                match self
                    .job
                    .apart(&columns)
                    .filter(|_| out.len() > self.channels)
                {
                    Some(1) => self.rolled::<V, 1>(columns, &ends, out),
                    Some(2) => self.rolled::<V, 2>(columns, &ends, out),
                    _ => self.rolled::<V, 3>(columns, &ends, out),
                }
            }
            _ => self.by_quads(&ends, out),
        }
        V::BYTES
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
pub(super) trait Register: Copy {
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
