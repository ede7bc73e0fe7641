//! A decoded picture.

use std::fmt;

/// Bytes of a pixel: red, green, blue.
pub(super) const CHANNELS: usize = 3;

/// 8-bit RGB pixels, row after row from the top left, with no padding; at least one pixel.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// A picture of these pixels; `None` unless both sides are at least 1 and `rgb` holds
    /// exactly `width · height · 3` bytes.
    #[must_use]
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Option<Self> {
        let wanted = size(width, height)?;
        (wanted > 0 && rgb.len() == wanted).then_some(Self { width, height, rgb })
    }

    /// A picture whose pixel at column `x` and row `y` is `pixel(x, y)`; `None` when a side
    /// is 0 or the bytes cannot be counted.
    pub fn from_fn(
        width: u32,
        height: u32,
        mut pixel: impl FnMut(u32, u32) -> [u8; 3],
    ) -> Option<Self> {
        let mut rgb = Vec::with_capacity(size(width, height)?);
        for y in 0..height {
            rgb.extend((0..width).flat_map(|x| pixel(x, y)));
        }
        Self::new(width, height, rgb)
    }

    /// Columns, at least 1.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows, at least 1.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All pixels: `height` rows of `width` red-green-blue triples.
    #[must_use]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The pixels themselves, to draw upon; the size stays.
    pub fn rgb_mut(&mut self) -> &mut [u8] {
        &mut self.rgb
    }

    /// The rows from top to bottom, each `width · 3` bytes.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.rgb.chunks_exact(self.width as usize * CHANNELS)
    }

    /// The pixel at column `x` and row `y`; `None` outside.
    #[must_use]
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        let at = (y as usize * self.width as usize + x as usize) * CHANNELS;
        let inside = x < self.width && y < self.height;
        inside.then(|| self.rgb.get(at..)?.first_chunk().copied())?
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} × {})", self.width, self.height)
    }
}

/// Bytes of so many pixels.
pub(super) fn size(width: u32, height: u32) -> Option<usize> {
    (width as usize)
        .checked_mul(height as usize)?
        .checked_mul(CHANNELS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_picture_can_be_made() {
        assert!(Picture::new(2, 1, vec![0; 6]).is_some());
        for (width, height, bytes) in [(2, 1, 5), (2, 1, 7), (0, 1, 0), (1, 0, 0), (0, 0, 0)] {
            assert!(Picture::new(width, height, vec![0; bytes]).is_none());
        }
        assert!(Picture::new(u32::MAX, u32::MAX, Vec::new()).is_none());
    }

    #[test]
    fn pixels_are_found_inside_only() {
        let picture = Picture::from_fn(3, 2, |x, y| [x as u8, y as u8, 9]).unwrap();
        assert_eq!(picture.pixel(2, 1), Some([2, 1, 9]));
        assert_eq!((picture.pixel(3, 0), picture.pixel(0, 2)), (None, None));
        assert_eq!(picture.rows().len(), 2);
    }
}
