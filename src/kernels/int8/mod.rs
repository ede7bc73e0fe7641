//! Byte products: quantised rows, weights packed once, and what a level must offer.
//!
//! A tensor is held as codes, `x ≈ scale·(q − zero)` with `q` in 0..=255, and a
//! weight as a signed byte with one scale per output column. Sums are i32 and
//! exact; the level decides only how fast they come.
//!
//! Levels whose products take signed bytes on both sides (all of AArch64) store
//! a code as `q − 128` (its top bit flipped), which moves the zero point by as
//! much and changes no sum. Whoever holds [`Codes`] need not know.

// An index runs over several small arrays at once, and closures would not be compiled for
// the level.
#![allow(clippy::needless_range_loop)]

mod attention;
mod conv;
mod linear;
mod pack;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking
pub(super) mod properties;
pub(super) mod scalar;
mod tile;
mod widen;

pub(super) use attention::attend;
pub use attention::{Attention, AttentionScratch};
pub(super) use conv::depthwise;
pub use conv::{Depthwise, DepthwiseWeights};
pub use linear::{Activation, Columns, Linear, ProductScratch, Requantise};
pub(super) use linear::{
    add_codes, dequantise, gelu, layer_norm, linear, quantise, range, requantise,
};
pub use pack::{COLUMNS, DEPTH, PackedWeights, padded_depth};
pub(super) use pack::{Line, Packing};
#[cfg(target_arch = "x86_64")]
pub(super) use tile::Operands;
#[cfg(target_arch = "x86_64")]
pub(super) use tile::Recode;
pub(super) use tile::{Block, Sums, Tile};
#[cfg(all(test, target_arch = "x86_64"))]
pub(super) use tile::{Panels, Starts};

use super::Level;

/// Affine quantisation of a tensor: `x ≈ scale·(q − zero)`, `q` in 0..=255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quant {
    /// Distance between neighbouring codes; positive.
    pub scale: f32,
    /// The code of 0.
    pub zero: u8,
}

impl Quant {
    /// The quantisation of ONNX's `DynamicQuantizeLinear` for values in `low..=high`:
    /// the range is widened to hold 0, and 0 falls on a code.
    #[must_use]
    pub fn of_range(low: f32, high: f32) -> Quant {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = (high - low) / 255.0;
        if scale > 0.0 && scale.is_finite() {
            let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0) as u8;
            Quant { scale, zero }
        } else {
            // all zeros: any scale serves
            Quant {
                scale: 1.0,
                zero: 0,
            }
        }
    }
}

/// Rows of codes, as a level stores them; each row is padded to a whole number of
/// [`DEPTH`] bytes.
#[derive(Clone, Copy, Debug)]
pub struct Codes<'a> {
    /// The bytes, `stride` apart.
    pub bytes: &'a [u8],
    /// Rows.
    pub rows: usize,
    /// Bytes from one row to the next; rows may overlap (a convolution's windows do).
    pub stride: usize,
}

impl<'a> Codes<'a> {
    /// Row `i` and what follows it.
    #[inline(always)]
    #[allow(clippy::wrong_self_convention)] // "from row i on", no conversion
    pub(super) fn from_row(&self, i: usize) -> &'a [u8] {
        &self.bytes[i * self.stride..]
    }

    /// Whether each row has `depth` bytes.
    pub(super) fn hold(&self, depth: usize) -> bool {
        self.rows == 0
            || reach(self.rows, self.stride, depth).is_some_and(|end| end <= self.bytes.len())
    }
}

/// Where the last of `rows` (at least one) rows of `depth` bytes ends; `None` beyond all memory,
/// so that no caller's stride can wrap around to a place within it.
pub(super) fn reach(rows: usize, stride: usize, depth: usize) -> Option<usize> {
    (rows - 1).checked_mul(stride)?.checked_add(depth)
}

/// What a level flips in a code: nothing, or the top bit.
pub(crate) fn flip(level: Level) -> u8 {
    match level {
        Level::Neon | Level::NeonDot | Level::NeonI8mm => 0x80,
        _ => 0,
    }
}
