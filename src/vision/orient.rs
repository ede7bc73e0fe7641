//! How a picture was held: the eight orientations of EXIF.

use super::picture::{CHANNELS, Picture};

/// Where the first row and column of the stored pixels belong when the picture is seen
/// upright (EXIF 2.32, tag 0x0112).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Orientation {
    /// 1: as it is.
    #[default]
    Upright,
    /// 2: mirrored left to right.
    Mirrored,
    /// 3: upside down.
    Turned180,
    /// 4: mirrored top to bottom.
    Flipped,
    /// 5: mirrored along the main diagonal.
    Transposed,
    /// 6: to be turned a quarter clockwise.
    Turned90,
    /// 7: mirrored along the other diagonal.
    Transversed,
    /// 8: to be turned a quarter anticlockwise.
    Turned270,
}

impl Orientation {
    /// The orientation with this number in EXIF, 1 to 8.
    #[must_use]
    pub fn from_exif(value: u16) -> Option<Self> {
        Some(match value {
            1 => Self::Upright,
            2 => Self::Mirrored,
            3 => Self::Turned180,
            4 => Self::Flipped,
            5 => Self::Transposed,
            6 => Self::Turned90,
            7 => Self::Transversed,
            8 => Self::Turned270,
            _ => return None,
        })
    }

    /// The picture as it is to be seen: for the last four its sides are exchanged.
    #[must_use]
    pub fn apply(self, picture: Picture) -> Picture {
        let (w, h) = (picture.width() as isize, picture.height() as isize);
        // Where in the stored picture the pixel (x, y) of the upright one lies: an offset
        // and a step for each of x and y, in pixels.
        let last = w * h - 1;
        let (origin, step_x, step_y) = match self {
            Self::Upright => return picture,
            Self::Mirrored => (w - 1, -1, w),
            Self::Turned180 => (last, -1, -w),
            Self::Flipped => (last - (w - 1), 1, -w),
            Self::Transposed => (0, w, 1),
            Self::Turned90 => (last - (w - 1), -w, 1),
            Self::Transversed => (last, -w, -1),
            Self::Turned270 => (w - 1, w, -1),
        };
        let (new_width, new_height) = if self.exchanges() {
            (picture.height(), picture.width())
        } else {
            (picture.width(), picture.height())
        };
        let (pixels, _) = picture.rgb().as_chunks::<CHANNELS>();
        let upright = Picture::from_fn(new_width, new_height, |x, y| {
            let at = origin + step_x * x as isize + step_y * y as isize;
            pixels.get(at as usize).copied().unwrap_or_default()
        });
        upright.unwrap_or(picture)
    }

    /// Whether width and height change places.
    fn exchanges(self) -> bool {
        matches!(
            self,
            Self::Transposed | Self::Turned90 | Self::Transversed | Self::Turned270
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The letters of the rows, for pictures whose red is a letter.
    fn letters(picture: &Picture) -> Vec<String> {
        let row = |row: &[u8]| row.iter().step_by(CHANNELS).map(|b| *b as char).collect();
        picture.rows().map(row).collect()
    }

    #[test]
    fn every_orientation_is_undone() {
        let stored = Picture::from_fn(3, 2, |x, y| [b"abcdef"[(y * 3 + x) as usize], 0, 0]);
        for (value, upright) in [
            (1, &["abc", "def"][..]),
            (2, &["cba", "fed"]),
            (3, &["fed", "cba"]),
            (4, &["def", "abc"]),
            (5, &["ad", "be", "cf"]),
            (6, &["da", "eb", "fc"]),
            (7, &["fc", "eb", "da"]),
            (8, &["cf", "be", "ad"]),
        ] {
            let orientation = Orientation::from_exif(value).unwrap();
            assert_eq!(
                letters(&orientation.apply(stored.clone().unwrap())),
                upright
            );
        }
        assert_eq!(Orientation::from_exif(0), None);
        assert_eq!(Orientation::from_exif(9), None);
    }

    #[test]
    fn a_single_column_turns_into_a_row() {
        let column = Picture::from_fn(1, 3, |_, y| [b'a' + y as u8, 0, 0]).unwrap();
        assert_eq!(
            letters(&Orientation::Turned90.apply(column.clone())),
            ["cba"]
        );
        assert_eq!(
            letters(&Orientation::Turned180.apply(column)),
            ["c", "b", "a"]
        );
    }
}
