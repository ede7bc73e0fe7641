//! x86-64 AVX2 with FMA: eight f32 lanes.

use std::arch::x86_64::*;

use super::super::int8::{Block, COLUMNS, Depthwise, Line, Operands, Packing, Recode, Sums, Tile};
use super::super::lanes::Lanes;
use super::depthwise_words;

/// Proof that this CPU has AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct Avx2 {
    _private: (),
}

impl Avx2 {
    /// The token, if the CPU has the instructions.
    pub(in crate::kernels) fn new() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        has.then_some(Avx2 { _private: () })
    }

    /// The token without a check.
    ///
    /// # Safety
    /// The CPU must have AVX2 and FMA.
    #[inline(always)]
    pub(in crate::kernels) unsafe fn new_unchecked() -> Self {
        Avx2 { _private: () }
    }
}

impl Lanes for Avx2 {
    type V = __m256;

    const LANES: usize = 8;

    type Chunk = [f32; 8];

    #[inline(always)]
    fn chunks(src: &[f32]) -> (&[[f32; 8]], &[f32]) {
        src.as_chunks()
    }

    #[inline(always)]
    fn chunks_mut(dst: &mut [f32]) -> (&mut [[f32; 8]], &mut [f32]) {
        dst.as_chunks_mut()
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, src: &[f32; 8]) -> __m256 {
        // SAFETY: the token proves AVX2; `src` holds eight f32 and the load is
        // the unaligned one.
        unsafe { _mm256_loadu_ps(src.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, v: __m256, dst: &mut [f32; 8]) {
        // SAFETY: the token proves AVX2; `dst` holds eight f32 and the store is
        // the unaligned one.
        unsafe { _mm256_storeu_ps(dst.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the token proves FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn round(self, v: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
    }

    #[inline(always)]
    fn exp2_whole(self, n: __m256) -> __m256 {
        // SAFETY: the token proves AVX2. The exponent is put straight into bits
        // 23..31 of an IEEE single.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }

    #[inline(always)]
    fn keep_where_ge(self, v: __m256, x: __m256, limit: __m256) -> __m256 {
        // SAFETY: the token proves AVX2; the mask is all ones or zeros.
        unsafe { _mm256_and_ps(v, _mm256_cmp_ps::<_CMP_GE_OQ>(x, limit)) }
    }

    #[inline(always)]
    fn sum(self, v: __m256) -> f32 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }

    #[inline(always)]
    fn largest(self, v: __m256) -> f32 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }

    #[inline(always)]
    fn from_sums(self, sums: &[i32; COLUMNS], part: usize) -> __m256 {
        let eight: &[i32; 8] = &sums.as_chunks().0[part];
        // SAFETY: the token proves AVX2; `eight` holds eight i32 and the load is
        // the unaligned one.
        unsafe { _mm256_cvtepi32_ps(_mm256_loadu_si256(eight.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_codes(self, src: &[u8], flip: u8) -> __m256 {
        let eight: &[u8; 8] = &src.as_chunks().0[0];
        let flipped = u64::from_le_bytes(*eight) ^ (u64::from(flip) * 0x0101_0101_0101_0101);
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(flipped as i64))) }
    }

    #[inline(always)]
    fn store_codes(self, v: __m256, flip: u8, dst: &mut [u8]) {
        let eight: &mut [u8; 8] = &mut dst.as_chunks_mut().0[0];
        // SAFETY: the token proves AVX2.
        let bytes = unsafe {
            let whole = _mm256_cvtps_epi32(v);
            let (low, high) = (
                _mm256_castsi256_si128(whole),
                _mm256_extracti128_si256::<1>(whole),
            );
            let words = _mm_packus_epi32(low, high);
            _mm_cvtsi128_si64(_mm_packus_epi16(words, words)) as u64
        };
        *eight = (bytes ^ (u64::from(flip) * 0x0101_0101_0101_0101)).to_le_bytes();
    }
}

impl Tile for Avx2 {
    const ROWS: usize = 6;
    const PANELS: usize = 1;
    const SIGNED: bool = false;
    const WORDS: bool = true;
    const PACKING: Packing = Packing::Pairs;

    #[inline(always)]
    fn tile(self, block: &Block<'_>, out: &mut Sums) {
        // SAFETY: the token proves AVX2.
        unsafe { by_rows(block, End::Sums(out)) }
    }

    #[inline(always)]
    fn recode_tile(self, block: &Block<'_>, to: &Recode<'_>, _: &mut Sums, out: &mut [u8]) {
        // SAFETY: the token proves AVX2.
        unsafe { by_rows(block, End::Codes(to, out)) }
    }

    #[inline(always)]
    fn widen(self, bytes: &Line, words: &mut [Line; 2]) {
        let bytes = bytes.0.as_chunks::<16>().0;
        for (i, bytes) in bytes.iter().enumerate() {
            let half = &mut words[i / 2].0.as_chunks_mut::<32>().0[i % 2];
            // SAFETY: the token proves AVX2. Sixteen bytes and half of a line, which is aligned.
            unsafe {
                let wide = _mm256_cvtepi8_epi16(_mm_load_si128(bytes.as_ptr().cast()));
                _mm256_store_si256(half.as_mut_ptr().cast(), wide);
            }
        }
    }

    #[inline(always)]
    fn interleave(self, rows: [&[u8; COLUMNS]; 4], flip: u8, line: &mut Line) {
        // SAFETY: the token proves AVX2.
        unsafe { interleave_pairs(rows, flip, line) }
    }

    #[inline(always)]
    fn depthwise_row(self, codes: &[u8], taps: &[usize], job: &Depthwise<'_>, out: &mut [u8]) {
        // SAFETY: the token proves AVX2.
        unsafe { depthwise_words::row(codes, taps, job, out) }
    }
}

/// What the sums of row `r` start at.
#[inline]
#[target_feature(enable = "avx2")]
fn start(block: &Block<'_>, r: usize) -> [__m256i; 2] {
    let at = block.start(r, 0);
    // SAFETY: eight of sixteen i32 from 0 and from 8 on, unaligned loads.
    unsafe {
        [
            _mm256_loadu_si256(at.cast()),
            _mm256_loadu_si256(at.add(8).cast()),
        ]
    }
}

/// Where the sums of a tile go.
pub(super) enum End<'a> {
    Sums(&'a mut Sums),
    /// As codes, straight from the registers: what a tile of few groups gains most from.
    Codes(&'a Recode<'a>, &'a mut [u8]),
}

/// The sums of `R` rows and one panel to where they go.
#[inline]
#[target_feature(enable = "avx2")]
fn finish<const R: usize>(sums: &[[__m256i; 2]; R], end: End<'_>) {
    match end {
        End::Sums(out) => {
            for r in 0..R {
                let out = out[r][0].as_mut_ptr();
                for half in 0..2 {
                    // SAFETY: eight of sixteen i32 from 0 or 8 on, unaligned stores.
                    unsafe { _mm256_storeu_si256(out.add(half * 8).cast(), sums[r][half]) };
                }
            }
        }
        End::Codes(to, out) => {
            let to_codes = ToCodes::new(&to.multipliers[0], to.zero, to.clamp);
            for r in 0..R {
                let out: &mut [u8; COLUMNS] = &mut out[r * to.stride..].as_chunks_mut().0[0];
                to_codes.store(sums[r], out);
            }
        }
    }
}

/// What turns the sums of sixteen columns into codes.
pub(super) struct ToCodes {
    multipliers: [__m256; 2],
    zero: __m256i,
    low: __m128i,
    high: __m128i,
}

impl ToCodes {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(multipliers: &[f32; COLUMNS], zero: u8, clamp: (u8, u8)) -> ToCodes {
        let at = multipliers.as_ptr();
        ToCodes {
            // SAFETY: eight of sixteen f32 from 0 or 8 on, unaligned loads.
            multipliers: unsafe { [_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))] },
            zero: _mm256_set1_epi16(i16::from(zero)),
            low: _mm_set1_epi8(clamp.0 as i8),
            high: _mm_set1_epi8(clamp.1 as i8),
        }
    }

    /// `clamp(round(sums·multipliers) + zero, low, high)`: saturation stays beyond the limits.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn store(&self, sums: [__m256i; 2], out: &mut [u8; COLUMNS]) {
        let mut whole = sums;
        for half in 0..2 {
            let v = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[half]), self.multipliers[half]);
            // what is too high for an integer would become the least one, as what is too low does
            whole[half] = _mm256_cvtps_epi32(_mm256_min_ps(v, _mm256_set1_ps(1e6)));
        }
        // packing works on halves: 0-3 8-11 4-7 12-15, then put in order
        let words = _mm256_packs_epi32(whole[0], whole[1]);
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
        let words = _mm256_adds_epi16(words, self.zero);
        let (front, back) = (
            _mm256_castsi256_si128(words),
            _mm256_extracti128_si256::<1>(words),
        );
        let codes = _mm_packus_epi16(front, back);
        let codes = _mm_min_epu8(_mm_max_epu8(codes, self.low), self.high);
        // SAFETY: sixteen bytes, unaligned store.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), codes) };
    }
}

#[target_feature(enable = "avx2")]
fn by_rows(block: &Block<'_>, end: End<'_>) {
    match (block.operands(), block.rows()) {
        (Operands::Words, 1) => word_rows::<1, true>(block, end),
        (Operands::Words, 2) => word_rows::<2, true>(block, end),
        (Operands::Words, 3) => word_rows::<3, true>(block, end),
        (Operands::Words, 4) => word_rows::<4, true>(block, end),
        (Operands::Words, 5) => word_rows::<5, true>(block, end),
        (Operands::Words, _) => word_rows::<6, true>(block, end),
        (_, 1) => word_rows::<1, false>(block, end),
        (_, 2) => word_rows::<2, false>(block, end),
        (_, 3) => word_rows::<3, false>(block, end),
        (_, 4) => word_rows::<4, false>(block, end),
        (_, 5) => word_rows::<5, false>(block, end),
        (_, _) => word_rows::<6, false>(block, end),
    }
}

/// `R` rows of words by one panel, of words if `WIDE` and else of bytes, widened here: `vpmaddwd`
/// adds the products of a pair, exactly (sums of two products of bytes would leave i16), and each
/// lane of the sums is a column. Twelve registers of sums, two of weights, one of codes.
#[target_feature(enable = "avx2")]
fn word_rows<const R: usize, const WIDE: bool>(block: &Block<'_>, end: End<'_>) {
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
    let panel = block.panel(0).cast::<u8>();
    let pairs = if WIDE {
        block.depth()
    } else {
        2 * block.depth()
    };
    for pair in 0..pairs {
        // SAFETY: a panel has `depth` aligned lines of 64 bytes: sixteen pairs of words each, or
        // twice sixteen of bytes.
        let weights = unsafe {
            if WIDE {
                let line = panel.add(pair * 64).cast::<__m256i>();
                [_mm256_load_si256(line), _mm256_load_si256(line.add(1))]
            } else {
                let half = panel.add(pair * 32).cast::<__m128i>();
                [
                    _mm256_cvtepi8_epi16(_mm_load_si128(half)),
                    _mm256_cvtepi8_epi16(_mm_load_si128(half.add(1))),
                ]
            }
        };
        for r in 0..R {
            // SAFETY: a row has two words for every pair of the panel.
            let two = unsafe { rows[r].add(pair * 4).cast::<i32>().read_unaligned() };
            let codes = _mm256_set1_epi32(two);
            for half in 0..2 {
                let products = _mm256_madd_epi16(codes, weights[half]);
                sums[r][half] = _mm256_add_epi32(sums[r][half], products);
            }
        }
    }
    finish(&sums, end);
}

/// Four rows of sixteen bytes to sixteen pairs of the first two, then of the last two.
#[target_feature(enable = "avx2")]
fn interleave_pairs(rows: [&[u8; COLUMNS]; 4], flip: u8, line: &mut Line) {
    let flip = _mm_set1_epi8(flip as i8);
    // SAFETY: sixteen bytes each, unaligned loads.
    let [a, b, c, d] =
        rows.map(|r| _mm_xor_si128(unsafe { _mm_loadu_si128(r.as_ptr().cast()) }, flip));
    let parts = [
        _mm_unpacklo_epi8(a, b),
        _mm_unpackhi_epi8(a, b),
        _mm_unpacklo_epi8(c, d),
        _mm_unpackhi_epi8(c, d),
    ];
    for (i, part) in parts.into_iter().enumerate() {
        // SAFETY: a line is 64 aligned bytes.
        unsafe { _mm_store_si128(line.0.as_mut_ptr().cast::<__m128i>().add(i), part) };
    }
}

/// Four rows of sixteen bytes to sixteen groups of four.
#[target_feature(enable = "avx2")]
pub(super) fn interleave(rows: [&[u8; COLUMNS]; 4], flip: u8, line: &mut Line) {
    let flip = _mm_set1_epi8(flip as i8);
    // SAFETY: sixteen bytes each, unaligned loads.
    let [a, b, c, d] =
        rows.map(|r| _mm_xor_si128(unsafe { _mm_loadu_si128(r.as_ptr().cast()) }, flip));
    let (low, high) = (_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b));
    let (low2, high2) = (_mm_unpacklo_epi8(c, d), _mm_unpackhi_epi8(c, d));
    let parts = [
        _mm_unpacklo_epi16(low, low2),
        _mm_unpackhi_epi16(low, low2),
        _mm_unpacklo_epi16(high, high2),
        _mm_unpackhi_epi16(high, high2),
    ];
    for (i, part) in parts.into_iter().enumerate() {
        // SAFETY: a line is 64 aligned bytes.
        unsafe { _mm_store_si128(line.0.as_mut_ptr().cast::<__m128i>().add(i), part) };
    }
}

/// Proof that this CPU has AVX2, FMA and AVX-VNNI.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernels) struct AvxVnni(Avx2);

impl AvxVnni {
    /// The token, if the CPU has the instructions.
    pub(in crate::kernels) fn new() -> Option<Self> {
        let base = Avx2::new()?;
        is_x86_feature_detected!("avxvnni").then_some(AvxVnni(base))
    }

    /// The token without a check.
    ///
    /// # Safety
    /// The CPU must have AVX2, FMA and AVX-VNNI.
    #[inline(always)]
    pub(in crate::kernels) unsafe fn new_unchecked() -> Self {
        // SAFETY: guaranteed by this function's contract.
        AvxVnni(unsafe { Avx2::new_unchecked() })
    }
}

same_lanes!(AvxVnni as Avx2);

impl Tile for AvxVnni {
    const ROWS: usize = 6;
    const PANELS: usize = 1;
    const SIGNED: bool = false;

    #[inline(always)]
    fn tile(self, block: &Block<'_>, out: &mut Sums) {
        // SAFETY: the token proves AVX-VNNI.
        unsafe { by_vnni_rows(block, End::Sums(out)) }
    }

    #[inline(always)]
    fn recode_tile(self, block: &Block<'_>, to: &Recode<'_>, _: &mut Sums, out: &mut [u8]) {
        // SAFETY: the token proves AVX-VNNI.
        unsafe { by_vnni_rows(block, End::Codes(to, out)) }
    }

    #[inline(always)]
    fn depthwise_row(self, codes: &[u8], taps: &[usize], job: &Depthwise<'_>, out: &mut [u8]) {
        self.0.depthwise_row(codes, taps, job, out);
    }

    #[inline(always)]
    fn interleave(self, rows: [&[u8; COLUMNS]; 4], flip: u8, line: &mut Line) {
        // SAFETY: AVX-VNNI comes with AVX2.
        unsafe { interleave(rows, flip, line) }
    }
}

/// The 256-bit tile over `$dot`, which adds four byte products to each lane.
macro_rules! vnni_tile {
    ($name:ident, $features:literal, $dot:ident) => {
        /// `R` rows by one panel, a register for each half of it.
        #[target_feature(enable = $features)]
        fn $name<const R: usize>(block: &Block<'_>, end: End<'_>) {
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
            let panel = block.panel(0);
            for group in 0..block.depth() {
                // SAFETY: a panel has `depth` aligned lines of 64 bytes.
                let weights = unsafe {
                    let line = panel.add(group).cast::<__m256i>();
                    [_mm256_load_si256(line), _mm256_load_si256(line.add(1))]
                };
                for r in 0..R {
                    // SAFETY: a row has 4·depth bytes, and `group` is below depth.
                    let four = unsafe { rows[r].add(group * 4).cast::<i32>().read_unaligned() };
                    let codes = _mm256_set1_epi32(four);
                    for half in 0..2 {
                        sums[r][half] = $dot(sums[r][half], codes, weights[half]);
                    }
                }
            }
            finish(&sums, end);
        }
    };
}

vnni_tile!(vnni_rows, "avx2,avxvnni", _mm256_dpbusd_avx_epi32);

#[target_feature(enable = "avx2,avxvnni")]
fn by_vnni_rows(block: &Block<'_>, end: End<'_>) {
    match block.rows() {
        1 => vnni_rows::<1>(block, end),
        2 => vnni_rows::<2>(block, end),
        3 => vnni_rows::<3>(block, end),
        4 => vnni_rows::<4>(block, end),
        5 => vnni_rows::<5>(block, end),
        _ => vnni_rows::<6>(block, end),
    }
}

/// The AVX-VNNI tile in the other encoding of its one instruction, which machines with
/// AVX-512 can run: the same code is tested there.
#[cfg(test)]
mod tests {
    use super::super::super::int8::{PackedWeights, Panels, Starts, padded_depth};
    use super::*;
    use crate::kernels::Level;

    vnni_tile!(
        vnni_rows_512,
        "avx2,avx512vnni,avx512vl",
        _mm256_dpbusd_epi32
    );

    #[test]
    fn avx_vnni_tile_in_its_other_encoding() {
        let has = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vl");
        if !has {
            eprintln!("skipped: this CPU has no avx512vnni");
            return;
        }
        let (k, n) = (37, 16);
        let weights: Vec<i8> = (0..k * n).map(|i| (i * 89 % 255) as u8 as i8).collect();
        let packed = PackedWeights::new(Level::AvxVnni, &weights, k, n).unwrap_or_else(|| panic!());
        let stride = padded_depth(k);
        let a: Vec<u8> = (0..3 * stride).map(|i| (i * 57 % 256) as u8).collect();
        let sizes = (1, packed.depth(), packed.depth());
        let by = Panels::new(packed.from_panel(0), sizes, Operands::Bytes);
        let block = Block::new((&a, stride, 3), &by, Starts::alike(&[[7; 16]]));
        let mut out: Sums = [[[0; COLUMNS]; 3]; 8];
        // SAFETY: the features were just found.
        unsafe { vnni_rows_512::<3>(&block, End::Sums(&mut out)) };
        for r in 0..3 {
            for c in 0..n {
                let products =
                    (0..k).map(|i| i32::from(a[r * stride + i]) * i32::from(weights[i * n + c]));
                assert_eq!(out[r][0][c], 7 + products.sum::<i32>(), "{r} {c}");
            }
        }
    }
}

entry_points!(Avx2, "avx2,fma");

mod vnni {
    use super::AvxVnni;
    entry_points!(AvxVnni, "avx2,fma,avxvnni");
}
