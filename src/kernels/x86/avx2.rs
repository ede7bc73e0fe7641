//! x86-64 AVX2 with FMA: eight f32 lanes.

use std::arch::x86_64::*;

use super::super::int8::{Block, COLUMNS, Depthwise, Line, Sums, Tile};
use super::super::lanes::Lanes;

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
    const ROWS: usize = 2;
    const PANELS: usize = 1;
    const SIGNED: bool = false;

    #[inline(always)]
    fn tile(self, block: &Block<'_>, out: &mut Sums) {
        // SAFETY: the token proves AVX2.
        unsafe {
            match block.rows() {
                1 => rows::<1>(block, out),
                _ => rows::<2>(block, out),
            }
        }
    }

    #[inline(always)]
    fn interleave(self, rows: [&[u8; COLUMNS]; 4], flip: u8, line: &mut Line) {
        // SAFETY: the token proves AVX2.
        unsafe { interleave(rows, flip, line) }
    }

    #[inline(always)]
    fn depthwise_row(self, codes: &[u8], taps: &[usize], job: &Depthwise<'_>, out: &mut [u8]) {
        depthwise_row(self, codes, taps, job, out);
    }
}

/// `R` rows by one panel. Bytes are widened to 16 bits, as sums of two products of bytes
/// would leave i16; a register holds four columns by four values, which `vpmaddwd` adds in
/// pairs, and pairs are added at the end.
#[target_feature(enable = "avx2")]
fn rows<const R: usize>(block: &Block<'_>, out: &mut Sums) {
    let mut sums = [[_mm256_setzero_si256(); 4]; R];
    let mut rows = [block.row(0); R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = block.row(r);
    }
    let panel = block.panel(0);
    for group in 0..block.depth() {
        let mut codes = [_mm256_setzero_si256(); R];
        for r in 0..R {
            // SAFETY: a row has 4·depth bytes, and `group` is below depth.
            let four = unsafe { rows[r].add(group * 4).cast::<i32>().read_unaligned() };
            codes[r] = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
        }
        // SAFETY: a panel has `depth` lines of 64 bytes.
        let line = unsafe { panel.add(group).cast::<__m128i>() };
        for part in 0..4 {
            // SAFETY: the fourth 16 bytes end the line, which is 64-byte aligned.
            let weights = _mm256_cvtepi8_epi16(unsafe { _mm_load_si128(line.add(part)) });
            for r in 0..R {
                let pairs = _mm256_madd_epi16(codes[r], weights);
                sums[r][part] = _mm256_add_epi32(sums[r][part], pairs);
            }
        }
    }
    let init = block.init(0);
    for r in 0..R {
        for half in 0..2 {
            // 4 columns × 2 pairs, twice → 8 columns, in the order 0 1 4 5 2 3 6 7
            let mixed = _mm256_hadd_epi32(sums[r][half * 2], sums[r][half * 2 + 1]);
            let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(mixed);
            // SAFETY: eight of sixteen i32 from 0 or 8 on; unaligned accesses.
            unsafe {
                let start = _mm256_loadu_si256(init.as_ptr().add(half * 8).cast());
                let total = _mm256_add_epi32(ordered, start);
                _mm256_storeu_si256(out[r][0].as_mut_ptr().add(half * 8).cast(), total);
            }
        }
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

/// A row of a depthwise convolution, sixteen channels at a time.
#[inline(always)]
fn depthwise_row(lanes: Avx2, codes: &[u8], taps: &[usize], job: &Depthwise<'_>, out: &mut [u8]) {
    let panels = job.weights.sums.len();
    let zero_in = i32::from(job.zeros.0);
    for panel in 0..panels {
        let weights = &job.weights.panels[panel];
        let mut start = job.bias[panel];
        for c in 0..COLUMNS {
            start[c] -= zero_in * job.weights.sums[panel][c];
        }
        let multipliers = Avx2::chunks(&job.multipliers[panel]).0;
        for (pixel, out) in out.chunks_exact_mut(panels * COLUMNS).enumerate() {
            let mut sums = start;
            let from = pixel * job.step + panel * COLUMNS;
            // SAFETY: the token proves AVX2.
            unsafe { depthwise(&codes[from..], taps, weights, &mut sums) };
            let out = &mut out[panel * COLUMNS..][..COLUMNS];
            for part in 0..COLUMNS / Avx2::LANES {
                let v = lanes.mul(lanes.from_sums(&sums, part), lanes.load(&multipliers[part]));
                let out = &mut out[part * Avx2::LANES..][..Avx2::LANES];
                lanes.store_rounded(v, job.zeros.1, job.clamp, 0, out);
            }
        }
    }
}

/// Two taps at a time: their codes side by side in 16 bits, `vpmaddwd` adds the pair.
#[target_feature(enable = "avx2")]
fn depthwise(codes: &[u8], taps: &[usize], weights: &[[i16; COLUMNS]], sums: &mut [i32; COLUMNS]) {
    let load = |tap: usize| -> __m256i {
        let bytes: &[u8; COLUMNS] = &codes[tap..].as_chunks().0[0];
        // SAFETY: sixteen bytes, unaligned load.
        _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
    };
    let weight = |t: usize| -> __m256i {
        // SAFETY: sixteen i16, unaligned load.
        unsafe { _mm256_loadu_si256(weights[t].as_ptr().cast()) }
    };
    // lanes 0-3 and 8-11, then 4-7 and 12-15
    let mut low = _mm256_setzero_si256();
    let mut high = _mm256_setzero_si256();
    let mut t = 0;
    while t < taps.len() {
        let (x, w) = (load(taps[t]), weight(t));
        let (y, v) = if t + 1 < taps.len() {
            (load(taps[t + 1]), weight(t + 1))
        } else {
            (_mm256_setzero_si256(), _mm256_setzero_si256())
        };
        let pairs = _mm256_madd_epi16(_mm256_unpacklo_epi16(x, y), _mm256_unpacklo_epi16(w, v));
        low = _mm256_add_epi32(low, pairs);
        let pairs = _mm256_madd_epi16(_mm256_unpackhi_epi16(x, y), _mm256_unpackhi_epi16(w, v));
        high = _mm256_add_epi32(high, pairs);
        t += 2;
    }
    let first = _mm256_permute2x128_si256::<0x20>(low, high);
    let second = _mm256_permute2x128_si256::<0x31>(low, high);
    let out = sums.as_mut_ptr();
    // SAFETY: sixteen i32 in two halves, unaligned accesses.
    unsafe {
        let start = _mm256_loadu_si256(out.cast());
        _mm256_storeu_si256(out.cast(), _mm256_add_epi32(start, first));
        let start = _mm256_loadu_si256(out.add(8).cast());
        _mm256_storeu_si256(out.add(8).cast(), _mm256_add_epi32(start, second));
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
        // SAFETY: the caller's word.
        AvxVnni(unsafe { Avx2::new_unchecked() })
    }
}

same_lanes!(AvxVnni as Avx2);

impl Tile for AvxVnni {
    const ROWS: usize = 4;
    const PANELS: usize = 1;
    const SIGNED: bool = false;

    #[inline(always)]
    fn tile(self, block: &Block<'_>, out: &mut Sums) {
        // SAFETY: the token proves AVX-VNNI.
        unsafe {
            match block.rows() {
                1 => vnni_rows::<1>(block, out),
                2 => vnni_rows::<2>(block, out),
                3 => vnni_rows::<3>(block, out),
                _ => vnni_rows::<4>(block, out),
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

/// The 256-bit tile over `$dot`, which adds four byte products to each lane.
macro_rules! vnni_tile {
    ($name:ident, $features:literal, $dot:ident) => {
        /// `R` rows by one panel, a register for each half of it.
        #[target_feature(enable = $features)]
        fn $name<const R: usize>(block: &Block<'_>, out: &mut Sums) {
            let init = block.init(0).as_ptr();
            // SAFETY: eight of sixteen i32 from 0 and from 8 on, unaligned loads.
            let start = unsafe {
                [
                    _mm256_loadu_si256(init.cast()),
                    _mm256_loadu_si256(init.add(8).cast()),
                ]
            };
            let mut sums = [start; R];
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
            for r in 0..R {
                let out = out[r][0].as_mut_ptr();
                // SAFETY: eight of sixteen i32 from 0 and from 8 on, unaligned stores.
                unsafe {
                    _mm256_storeu_si256(out.cast(), sums[r][0]);
                    _mm256_storeu_si256(out.add(8).cast(), sums[r][1]);
                }
            }
        }
    };
}

vnni_tile!(vnni_rows, "avx2,avxvnni", _mm256_dpbusd_avx_epi32);

/// The AVX-VNNI tile in the other encoding of its one instruction, which machines with
/// AVX-512 can run: the same code is tested there.
#[cfg(test)]
mod tests {
    use super::super::super::int8::{PackedWeights, padded_depth};
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
        let block = Block::new(
            (&a, stride, 3),
            (packed.from_panel(0), packed.depth(), 1),
            &[[7; 16]],
        );
        let mut out: Sums = [[[0; COLUMNS]; 3]; 8];
        // SAFETY: the features were just found.
        unsafe { vnni_rows_512::<3>(&block, &mut out) };
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
