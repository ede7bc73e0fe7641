//! Depthwise convolution with AVX2: sixteen channels at a time, in words of 16 bits.
//!
//! `vpmaddwd` adds the products of a pair, so two taps lie side by side. In a 3×3 window the top
//! and the middle of a column are such a pair and the bottom has one of its own: a column is
//! widened once and serves every pixel whose window it is in.

use std::arch::x86_64::*;

use super::super::int8::{COLUMNS, Depthwise};
use super::avx2::ToCodes;

/// A row of a depthwise convolution.
#[target_feature(enable = "avx2,fma")]
pub(super) fn row(codes: &[u8], taps: &[usize], job: &Depthwise<'_>, out: &mut [u8]) {
    assert!(job.fits(codes.len(), taps, out.len()));
    let channels = job.weights.sums.len() * COLUMNS;
    for panel in 0..job.weights.sums.len() {
        let strip = Strip::new(codes, job, panel, channels);
        match taps {
            [a, b, c, d, e, f, g, h, i] => {
                let columns = [[*a, *d, *g], [*b, *e, *h], [*c, *f, *i]];
                // a lone pixel leaves nothing to a next one
                match job.apart(&columns).filter(|_| out.len() > channels) {
                    Some(1) => strip.rolled::<1>(columns, out),
                    Some(2) => strip.rolled::<2>(columns, out),
                    _ => strip.rolled::<3>(columns, out),
                }
            }
            _ => strip.by_pairs(taps, out),
        }
    }
}

/// Sixteen channels of a row.
struct Strip<'a> {
    codes: &'a [u8],
    job: &'a Depthwise<'a>,
    panel: usize,
    channels: usize,
    start: [__m256i; 2],
    to_codes: ToCodes,
}

/// A column of a window, widened: pairs of its top and middle, and of its bottom and 0, of eight
/// channels each.
#[derive(Clone, Copy)]
struct Column {
    upper: [__m256i; 2],
    lower: [__m256i; 2],
}

impl<'a> Strip<'a> {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(codes: &'a [u8], job: &'a Depthwise<'a>, panel: usize, channels: usize) -> Self {
        let zero = _mm256_set1_epi32(i32::from(job.zeros.0));
        let mut start = [zero; 2];
        for (half, start) in start.iter_mut().enumerate() {
            let (bias, sums) = (job.bias[panel].as_ptr(), job.weights.sums[panel].as_ptr());
            // SAFETY: eight of sixteen i32 from 0 or 8 on, unaligned loads.
            let (bias, sums) = unsafe {
                (
                    _mm256_loadu_si256(bias.add(8 * half).cast()),
                    _mm256_loadu_si256(sums.add(8 * half).cast()),
                )
            };
            *start = _mm256_sub_epi32(bias, _mm256_mullo_epi32(zero, sums));
        }
        Strip {
            codes,
            job,
            panel,
            channels,
            start,
            to_codes: ToCodes::new(&job.multipliers[panel], job.zeros.1, job.clamp),
        }
    }

    /// The sixteen bytes of tap offset `tap` of `pixel`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(&self, tap: usize, pixel: usize) -> __m128i {
        let at = self.panel * COLUMNS + tap + pixel * self.job.step;
        debug_assert!(at + COLUMNS <= self.codes.len());
        // SAFETY: the row has made sure that every tap of every pixel has the bytes of all
        // channels; unaligned load.
        unsafe { _mm_loadu_si128(self.codes.as_ptr().add(at).cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn column(&self, [top, middle, bottom]: [usize; 3], pixel: usize) -> Column {
        let (top, middle) = (self.load(top, pixel), self.load(middle, pixel));
        let bottom = self.load(bottom, pixel);
        Column {
            upper: [
                _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(top, middle)),
                _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(top, middle)),
            ],
            lower: [
                _mm256_cvtepu8_epi32(bottom),
                _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(bottom, bottom)),
            ],
        }
    }

    /// `sums` and the products of a column that is `which` of its window.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(&self, sums: [__m256i; 2], column: Column, which: usize) -> [__m256i; 2] {
        let weights = &self.job.weights.words[self.panel][which];
        let mut sums = sums;
        for half in 0..2 {
            // SAFETY: eight pairs of words from 0 or 8 on, unaligned loads.
            let (upper, lower) = unsafe {
                (
                    _mm256_loadu_si256(weights[0].as_ptr().add(8 * half).cast()),
                    _mm256_loadu_si256(weights[1].as_ptr().add(8 * half).cast()),
                )
            };
            let products = _mm256_add_epi32(
                _mm256_madd_epi16(column.upper[half], upper),
                _mm256_madd_epi16(column.lower[half], lower),
            );
            sums[half] = _mm256_add_epi32(sums[half], products);
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(&self, sums: [__m256i; 2], out: &mut [u8]) {
        let out = &mut out[self.panel * COLUMNS..].as_chunks_mut().0[0];
        self.to_codes.store(sums, out);
    }

    /// Windows of three columns of three; a step of one or two columns leaves two columns or one
    /// to the next pixel, and `STEP` 3 none.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn rolled<const STEP: usize>(&self, columns: [[usize; 3]; 3], out: &mut [u8]) {
        let (mut one, mut two) = (self.start, self.start);
        let mut left = self.column(columns[0], 0);
        if STEP == 1 {
            let middle = self.column(columns[1], 0);
            one = self.add(self.add(self.start, left, 0), middle, 1);
            two = self.add(self.start, middle, 0);
        }
        for (pixel, out) in out.chunks_exact_mut(self.channels).enumerate() {
            let right = self.column(columns[2], pixel);
            let sums = match STEP {
                1 => {
                    let sums = self.add(one, right, 2);
                    one = self.add(two, right, 1);
                    two = self.add(self.start, right, 0);
                    sums
                }
                2 => {
                    let sums = self.add(self.start, left, 0);
                    let sums = self.add(sums, self.column(columns[1], pixel), 1);
                    left = right;
                    self.add(sums, right, 2)
                }
                _ => {
                    let sums = self.add(self.start, self.column(columns[0], pixel), 0);
                    let sums = self.add(sums, self.column(columns[1], pixel), 1);
                    self.add(sums, right, 2)
                }
            };
            self.store(sums, out);
        }
    }

    /// Windows of any taps, two at a time.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn by_pairs(&self, taps: &[usize], out: &mut [u8]) {
        let weights = &self.job.weights.pairs[self.panel];
        for (pixel, out) in out.chunks_exact_mut(self.channels).enumerate() {
            let mut sums = self.start;
            for (taps, weights) in taps.chunks(2).zip(weights) {
                let x = self.load(taps[0], pixel);
                // the weight of a second tap that is not there is 0
                let y = self.load(taps[taps.len() - 1], pixel);
                let pairs = [_mm_unpacklo_epi8(x, y), _mm_unpackhi_epi8(x, y)];
                for half in 0..2 {
                    let words = _mm256_cvtepu8_epi16(pairs[half]);
                    // SAFETY: eight pairs of words from 0 or 8 on, unaligned loads.
                    let weights =
                        unsafe { _mm256_loadu_si256(weights.as_ptr().add(8 * half).cast()) };
                    sums[half] = _mm256_add_epi32(sums[half], _mm256_madd_epi16(words, weights));
                }
            }
            self.store(sums, out);
        }
    }
}
