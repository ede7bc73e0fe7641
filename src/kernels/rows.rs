//! A matrix view: f32 rows, one after the other.

use std::fmt;

/// A row-major matrix of f32 over borrowed memory, shape checked.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// A buffer is not a whole number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeError {
    /// Values in the buffer.
    pub len: usize,
    /// Length of a row as asked for.
    pub cols: usize,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShapeError { len, cols } = self;
        write!(
            f,
            "a buffer of {len} values is no matrix with rows of {cols}; pass whole rows of at least one value"
        )
    }
}

impl std::error::Error for ShapeError {}

impl<'a> Rows<'a> {
    /// Views `data` as rows of `cols` values; no data are no rows.
    ///
    /// # Errors
    /// If `cols` is 0 or `data` ends within a row.
    pub fn new(data: &'a [f32], cols: usize) -> Result<Self, ShapeError> {
        let len = data.len();
        if cols == 0 || !len.is_multiple_of(cols) {
            return Err(ShapeError { len, cols });
        }
        Ok(Rows {
            data,
            rows: len / cols,
            cols,
        })
    }

    /// Views a buffer whose size the crate itself made a multiple of `cols`; a
    /// ragged end would be cut off.
    pub(crate) fn of_whole(data: &'a [f32], cols: usize) -> Self {
        debug_assert!(cols > 0 && data.len().is_multiple_of(cols));
        let rows = data.len() / cols.max(1);
        let data = &data[..rows * cols];
        Rows { data, rows, cols }
    }

    /// All values, row after row.
    #[must_use]
    pub fn data(&self) -> &'a [f32] {
        self.data
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns, the length of a row.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If `i ≥ rows`.
    #[must_use]
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Rows `first..end` as a matrix.
    ///
    /// # Panics
    /// If the range is not within the matrix.
    #[must_use]
    #[inline(always)]
    pub fn slice(&self, first: usize, end: usize) -> Rows<'a> {
        let data = &self.data[first * self.cols..end * self.cols];
        Rows {
            data,
            rows: end - first,
            cols: self.cols,
        }
    }
}

/// The largest absolute value, 0 of no values; infinite or NaN if any value is.
#[must_use]
pub fn largest_magnitude(values: &[f32]) -> f32 {
    // Without its sign the bit pattern of a float orders like its size, with
    // infinity and NaN on top; an integer maximum vectorises by itself.
    let magnitude = |v: &f32| v.to_bits() & 0x7fff_ffff;
    f32::from_bits(values.iter().map(magnitude).fold(0, u32::max))
}

/// Whether every value is finite: neither infinite nor NaN.
#[must_use]
pub fn all_finite(values: &[f32]) -> bool {
    largest_magnitude(values).is_finite()
}

/// Each row divided by its length; a zero row stays zero.
///
/// Computed in f64, so that neither huge nor denormal rows lose their direction.
#[must_use]
pub fn unit_rows(x: Rows<'_>) -> Vec<f32> {
    let mut unit = Vec::with_capacity(x.data.len());
    for i in 0..x.rows {
        let length = super::scalar::length(x.row(i));
        let scale = if length > 0.0 { length.recip() } else { 0.0 };
        unit.extend(x.row(i).iter().map(|v| (f64::from(*v) * scale) as f32));
    }
    unit
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;

    #[test]
    fn rows_are_whole() {
        let data = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let x = Rows::new(&data, 3).unwrap();
        assert_eq!((x.rows(), x.cols(), x.row(1)), (2, 3, &data[3..]));
        assert_eq!(Rows::new(&[], 5).unwrap().rows(), 0);
        assert_eq!(
            Rows::new(&data, 4).unwrap_err(),
            ShapeError { len: 6, cols: 4 }
        );
        let error = Rows::new(&[], 0).unwrap_err();
        assert!(error.to_string().contains("rows of 0"), "{error}");
    }

    #[test]
    fn magnitudes() {
        assert_eq!(largest_magnitude(&[]), 0.0);
        assert_eq!(largest_magnitude(&[1.0, -3.5, 2.0]), 3.5);
    }

    #[test]
    fn finiteness() {
        assert!(all_finite(&[]));
        assert!(all_finite(&[f32::MAX, f32::MIN, 1e-45, -0.0]));
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!all_finite(&[0.0, bad, 1.0]), "{bad}");
        }
    }

    #[test]
    fn unit_rows_keep_extreme_directions() {
        let data = [3e38, 3e38, 0.0, 1e-45, 0.0, 0.0];
        let unit = unit_rows(Rows::new(&data, 2).unwrap());
        let half = 0.5_f32.sqrt();
        assert_eq!(unit, [half, half, 0.0, 1.0, 0.0, 0.0]);
    }
}
