//! Raw camera frames, luma and two colour differences, to RGB.
//!
//! ITU-R BT.601: with `Y' = (Y − 16) · 255/219`, `Cb' = (Cb − 128) · 255/224` and the same
//! for `Cr'` (limited range; full range, as JPEG has it, needs no such stretching),
//!
//! ```text
//! R = Y' + 1.402 Cr'      B = Y' + 1.772 Cb'
//! G = Y' − (0.114 · 1.772 / 0.587) Cb' − (0.299 · 1.402 / 0.587) Cr'
//! ```
//!
//! rounded to the nearest integer and clamped to `[0, 255]`. The arithmetic is integer and
//! the same on every machine. A colour sample covers its two or four pixels as it is.

use super::error::{MAX_PICTURE_PIXELS, MAX_PICTURE_SIDE};
use super::picture::{self, CHANNELS, Picture};

/// Which values the samples take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Range {
    /// Luma from 16 to 235, colour from 16 to 240: what cameras send.
    #[default]
    Limited,
    /// 0 to 255, as in JPEG.
    Full,
}

/// The layout of a raw frame: its size, and the bytes from one row to the next.
///
/// I420 (also called yuv420p) has a plane of luma, then planes of Cb and Cr of half the
/// width, height and stride, rounded up. YUYV (also YUY2) has one plane of `Y Cb Y Cr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    width: u32,
    height: u32,
    stride: u32,
}

impl Layout {
    /// `stride` counts the bytes of a row of the first plane, padding included. `None` when a
    /// side is 0 or beyond [`MAX_PICTURE_SIDE`], or a row is shorter than its pixels
    /// or more than four times as long.
    fn new(width: u32, height: u32, stride: u32, row: u32) -> Option<Self> {
        let sides = 1..=MAX_PICTURE_SIDE;
        let fits = sides.contains(&width)
            && sides.contains(&height)
            && u64::from(width) * u64::from(height) <= MAX_PICTURE_PIXELS
            && (row..=row.saturating_mul(4).max(256)).contains(&stride);
        fits.then_some(Self {
            width,
            height,
            stride,
        })
    }

    /// A layout of I420; `None` when a side is 0 or beyond [`MAX_PICTURE_SIDE`] or
    /// [`MAX_PICTURE_PIXELS`], or `stride` is less than `width` or beyond reason.
    #[must_use]
    pub fn i420(width: u32, height: u32, stride: u32) -> Option<Self> {
        Self::new(width, height, stride, width)
    }

    /// A layout of YUYV; `None` as for [`i420`](Self::i420), and when a row cannot hold its
    /// pairs of pixels.
    #[must_use]
    pub fn yuyv(width: u32, height: u32, stride: u32) -> Option<Self> {
        let row = width.checked_next_multiple_of(2)?.checked_mul(2)?;
        Self::new(width, height, stride, row)
    }

    /// Columns of pixels.
    #[must_use]
    pub fn width(self) -> u32 {
        self.width
    }

    /// Rows of pixels.
    #[must_use]
    pub fn height(self) -> u32 {
        self.height
    }

    /// Bytes from one row of the first plane to the next.
    #[must_use]
    pub fn stride(self) -> u32 {
        self.stride
    }

    /// Bytes of an I420 frame: `stride · height · 3/2` for even sides.
    #[must_use]
    pub fn i420_bytes(self) -> usize {
        let (stride, height) = (self.stride as usize, self.height as usize);
        stride * height + 2 * stride.div_ceil(2) * height.div_ceil(2)
    }

    /// Bytes of a YUYV frame.
    #[must_use]
    pub fn yuyv_bytes(self) -> usize {
        self.stride as usize * self.height as usize
    }
}

/// An I420 frame as a picture; `None` when `bytes` is shorter than
/// [`Layout::i420_bytes`].
#[must_use]
pub fn i420(bytes: &[u8], layout: Layout, range: Range) -> Option<Picture> {
    let bytes = bytes.get(..layout.i420_bytes())?;
    let stride = layout.stride as usize;
    let (luma, colour) = bytes.split_at(stride * layout.height as usize);
    let (cb, cr) = colour.split_at(colour.len() / 2);
    let half = stride.div_ceil(2);
    let weights = Weights::of(range);
    paint(layout, |y, row| {
        let luma = luma.get(y * stride..).unwrap_or_default();
        let cb = cb.get(y / 2 * half..).unwrap_or_default();
        let cr = cr.get(y / 2 * half..).unwrap_or_default();
        let (pairs, odd) = row.as_chunks_mut::<2>();
        let (lumas, _) = luma.as_chunks::<2>();
        for ((pair, luma), (cb, cr)) in pairs.iter_mut().zip(lumas).zip(cb.iter().zip(cr)) {
            *pair = weights.pair(*luma, *cb, *cr);
        }
        if let [last] = odd {
            let at = pairs.len();
            if let (Some(y), Some(cb), Some(cr)) = (luma.get(2 * at), cb.get(at), cr.get(at)) {
                [*last, _] = weights.pair([*y, *y], *cb, *cr);
            }
        }
    })
}

/// A YUYV frame as a picture; `None` when `bytes` is shorter than [`Layout::yuyv_bytes`].
#[must_use]
pub fn yuyv(bytes: &[u8], layout: Layout, range: Range) -> Option<Picture> {
    let bytes = bytes.get(..layout.yuyv_bytes())?;
    let stride = layout.stride as usize;
    let weights = Weights::of(range);
    paint(layout, |y, row| {
        let (quads, _) = bytes.get(y * stride..).unwrap_or_default().as_chunks::<4>();
        for (pixels, &[y0, cb, y1, cr]) in row.chunks_mut(2).zip(quads) {
            let pair = weights.pair([y0, y1], cb, cr);
            for (pixel, colour) in pixels.iter_mut().zip(pair) {
                *pixel = colour;
            }
        }
    })
}

/// A picture whose every row, given by number, is filled by `fill`.
fn paint(layout: Layout, fill: impl Fn(usize, &mut [[u8; CHANNELS]])) -> Option<Picture> {
    let mut rgb = vec![0; picture::size(layout.width, layout.height)?];
    let (pixels, _) = rgb.as_chunks_mut::<CHANNELS>();
    for (y, row) in pixels.chunks_exact_mut(layout.width as usize).enumerate() {
        fill(y, row);
    }
    Picture::new(layout.width, layout.height, rgb)
}

/// Bits behind the point. 20 leave room for every sum in 32 bits.
const POINT: u32 = 20;

/// The equations' factors in fixed point.
struct Weights {
    black: i32,
    luma: i32,
    red_cr: i32,
    green_cb: i32,
    green_cr: i32,
    blue_cb: i32,
}

impl Weights {
    const fn of(range: Range) -> Self {
        let (black, luma, colour) = match range {
            Range::Limited => (16, 255.0 / 219.0, 255.0 / 224.0),
            Range::Full => (0, 1.0, 1.0),
        };
        Self {
            black,
            luma: fixed(luma),
            red_cr: fixed(1.402 * colour),
            green_cb: fixed(0.114 * 1.772 / 0.587 * colour),
            green_cr: fixed(0.299 * 1.402 / 0.587 * colour),
            blue_cb: fixed(1.772 * colour),
        }
    }

    /// Two neighbours that share their colour.
    #[inline]
    fn pair(&self, luma: [u8; 2], cb: u8, cr: u8) -> [[u8; CHANNELS]; 2] {
        let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
        let red = self.red_cr * cr;
        let green = -self.green_cb * cb - self.green_cr * cr;
        let blue = self.blue_cb * cb;
        luma.map(|y| {
            let y = (i32::from(y) - self.black) * self.luma + (1 << (POINT - 1));
            [red, green, blue].map(|colour| ((y + colour) >> POINT).clamp(0, 255) as u8)
        })
    }
}

const fn fixed(factor: f64) -> i32 {
    (factor * (1 << POINT) as f64 + 0.5) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The module's equations in f64, not rounded.
    fn reference(y: u8, cb: u8, cr: u8, range: Range) -> [f64; 3] {
        let (y, cb, cr) = (f64::from(y), f64::from(cb) - 128.0, f64::from(cr) - 128.0);
        let (y, cb, cr) = match range {
            Range::Limited => (
                (y - 16.0) * 255.0 / 219.0,
                cb * 255.0 / 224.0,
                cr * 255.0 / 224.0,
            ),
            Range::Full => (y, cb, cr),
        };
        let red = y + 1.402 * cr;
        let blue = y + 1.772 * cb;
        // the green that makes 0.299 R + 0.587 G + 0.114 B the luma again
        let green = (y - 0.299 * red - 0.114 * blue) / 0.587;
        [red, green, blue].map(|value| value.clamp(0.0, 255.0))
    }

    #[test]
    fn every_colour_is_rounded_right() {
        for range in [Range::Limited, Range::Full] {
            let weights = Weights::of(range);
            for (y, cb) in (0..=255).flat_map(|y| (0..=255).map(move |cb| (y, cb))) {
                for cr in 0..=255 {
                    let [got, _] = weights.pair([y, y], cb, cr);
                    for (got, wanted) in got.into_iter().zip(reference(y, cb, cr, range)) {
                        let off = (f64::from(got) - wanted).abs();
                        assert!(off < 0.5005, "{y} {cb} {cr}: {got} for {wanted}");
                    }
                }
            }
        }
    }

    #[test]
    fn black_white_and_the_primaries() {
        let weights = Weights::of(Range::Limited);
        assert_eq!(weights.pair([16, 235], 128, 128), [[0; 3], [255; 3]]);
        // BT.601's own values of full red, green and blue (rounded, so within one)
        for (y, cb, cr, wanted) in [
            (81, 90, 240, [255, 0, 0]),
            (145, 54, 34, [0, 255, 0]),
            (41, 240, 110, [0, 0, 255]),
        ] {
            let [got, _] = weights.pair([y, y], cb, cr);
            for (got, wanted) in got.into_iter().zip(wanted) {
                assert!(i32::abs(i32::from(got) - wanted) <= 1, "{got} {wanted}");
            }
        }
    }

    /// A frame whose padding is 255, so that a row read too far shows.
    fn i420_frame(layout: Layout, sample: impl Fn(usize, usize, usize) -> u8) -> Vec<u8> {
        let (width, height) = (layout.width as usize, layout.height as usize);
        let stride = layout.stride as usize;
        let planes = [
            (width, height, stride),
            (width.div_ceil(2), height.div_ceil(2), stride.div_ceil(2)),
            (width.div_ceil(2), height.div_ceil(2), stride.div_ceil(2)),
        ];
        let mut frame = Vec::new();
        for (plane, (width, height, stride)) in planes.into_iter().enumerate() {
            for y in 0..height {
                frame.extend((0..width).map(|x| sample(plane, x, y)));
                frame.resize(frame.len() + stride - width, 255);
            }
        }
        frame
    }

    #[test]
    fn strides_and_odd_sides_are_kept_to() {
        for (width, height, stride) in [(4, 2, 4), (5, 3, 8), (1, 1, 1), (6, 5, 9), (48, 4, 64)] {
            let layout = Layout::i420(width, height, stride).unwrap();
            let sample = |plane: usize, x: usize, y: usize| (40 + plane * 60 + x * 3 + y * 7) as u8;
            let frame = i420_frame(layout, sample);
            assert_eq!(frame.len(), layout.i420_bytes());
            let picture = i420(&frame, layout, Range::Limited).unwrap();
            for (x, y) in (0..width).flat_map(|x| (0..height).map(move |y| (x, y))) {
                let (cx, cy) = (x as usize / 2, y as usize / 2);
                let luma = sample(0, x as usize, y as usize);
                let wanted = reference(luma, sample(1, cx, cy), sample(2, cx, cy), Range::Limited);
                let got = picture.pixel(x, y).unwrap();
                for (got, wanted) in got.into_iter().zip(wanted) {
                    assert!((f64::from(got) - wanted).abs() < 0.5005, "{x} {y}");
                }
            }
            assert!(i420(&frame[1..], layout, Range::Limited).is_none());
        }
    }

    #[test]
    fn yuyv_pairs_share_their_colour() {
        let layout = Layout::yuyv(3, 2, 10).unwrap();
        let frame = [
            [20, 100, 30, 140, 40, 110, 99, 150, 255, 255],
            [50, 120, 60, 160, 70, 130, 99, 170, 255, 255],
        ]
        .concat();
        let picture = yuyv(&frame, layout, Range::Full).unwrap();
        for (x, y, wanted) in [
            (0, 0, (20, 100, 140)),
            (1, 0, (30, 100, 140)),
            (2, 0, (40, 110, 150)),
            (1, 1, (60, 120, 160)),
            (2, 1, (70, 130, 170)),
        ] {
            let got = picture.pixel(x, y).unwrap();
            let wanted = reference(wanted.0, wanted.1, wanted.2, Range::Full);
            for (got, wanted) in got.into_iter().zip(wanted) {
                assert!((f64::from(got) - wanted).abs() < 0.5005, "{x} {y}");
            }
        }
        assert!(yuyv(&frame[1..], layout, Range::Full).is_none());
    }

    #[test]
    fn layouts_beyond_reason_are_refused() {
        assert!(Layout::i420(640, 480, 639).is_none());
        assert!(Layout::i420(0, 480, 640).is_none());
        assert!(Layout::i420(9000, 480, 9000).is_none());
        assert!(Layout::i420(640, 480, u32::MAX).is_none());
        assert!(Layout::yuyv(640, 480, 1279).is_none());
        assert_eq!(
            Layout::i420(640, 480, 640).map(Layout::i420_bytes),
            Some(460_800)
        );
    }
}
