//! Fusion: what two modalities say together.
//!
//! Typed operators over pooled vectors or rows of the encoders, on the SIMD kernels of
//! [`kernels`](crate::kernels). Each is an entry of the [`catalogue`], the only list of them,
//! and a type that implements [`Operator`]; [`Fusion`] makes one from its weights and checks
//! what goes in and comes out. The heads that ship are in [`heads`], the other operators in
//! `operators`; a call of either by its ONNX name is a [`Function`]. One file per family:
//!
//! - `inner`: inner products.
//! - `additive`: concat, sum, max.
//! - `gated`: multiplicative, gating, LSTM-style.
//! - `mixing`: attention over modalities, modulation.
//! - `bilinear`: bilinear, bilinear gated, low-rank.
//! - `compact`: compact bilinear, by count sketch and Fourier transform.
//! - `stages`: early, middle and late fusion.
//! - `cross`: masked cross attention over softmax, sparsemax or 1.5-entmax.
//! - [`graph_matching`](heads::graph_matching): G2SAM's graphs of words and picture words.
//! - [`label_guided`](heads::label_guided): LE-MER's cross attention (A_r) and label attention (A_l).
//! - `memory`: the k nearest rows of a memory bank.
//! - [`simplex`]: softmax, sparsemax and 1.5-entmax of rows, with masks.
//! - [`queried_spans`](heads::queried_spans): MNER-QG's spans that stored queries ask for.
//! - [`text_guided`](heads::text_guided): MVCN's text-guided unit with sparse attention.
//!
#![doc = include_str!("CATALOGUE.md")]

mod call;
pub mod catalogue;
mod error;
pub mod heads;
mod operator;
mod operators;
mod parameters;
mod projection;
#[cfg(feature = "research")]
pub mod research;
pub mod shape;
pub mod simplex;
mod table;

pub use crate::kernels::{Rows, ShapeError};
pub use call::{Call, Function, function};
pub use catalogue::{CATALOGUE, Entry, Precision};
pub use error::FusionError;
pub use heads::graph_matching::GraphMatching;
pub use heads::label_guided::LabelGuided;
pub use operator::{Fusion, Operator, Scratch};
pub use operators::additive::{Concat, Max, Sum};
pub use operators::bilinear::{Bilinear, LowRank};
pub use operators::compact::{CompactBilinear, signed_root_unit};
pub use operators::cross::CrossAttention;
pub use operators::gated::{Gate, Gated};
pub use operators::inner::{InnerProduct, ProjectedInnerProduct};
pub use operators::memory::{MemoryBank, Neighbour};
pub use operators::mixing::{Attention, Modulation};
pub use operators::stages::{Early, Late, Middle};
pub use parameters::{Data, Parameters, Stored, Tensor};
pub use projection::{Projection, ProjectionScratch};
pub use simplex::Simplex;

/// Emotion classes, in the order angry, happy, sad, neutral.
pub const CLASSES: usize = 4;

/// What a fusion head answers for `n` tokens and `m` frames.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FusionOutput {
    /// One logit per class, [`CLASSES`] of them; finite.
    pub logits: Vec<f32>,
    /// `[n, m]`: how much each token attends to each frame; rows sum to 1.
    /// Empty if not asked for.
    pub attention: Vec<f32>,
    /// `[n, CLASSES]`: cosine of each token to each class's text label.
    pub g_text: Vec<f32>,
    /// `[m, CLASSES]`: cosine of each frame to each class's speech label.
    pub g_speech: Vec<f32>,
}

/// A row that speaks for a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SalientRow {
    /// Index of the token or frame.
    pub index: usize,
    /// Its cosine to the class's label, in `[-1, 1]`.
    pub similarity: f32,
}

/// The `top` rows of `g` (`[rows, CLASSES]`) most similar to `class`, the most
/// similar first and equals in their order; empty if there is no such class.
#[must_use]
pub fn salient(g: &[f32], class: usize, top: usize) -> Vec<SalientRow> {
    let similarities = g.chunks_exact(CLASSES).filter_map(|row| row.get(class));
    let mut rows: Vec<SalientRow> = similarities
        .enumerate()
        .map(|(index, &similarity)| SalientRow { index, similarity })
        .collect();
    rows.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    rows.truncate(top);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salient_rows_are_sorted_and_ties_stay_in_order() {
        let g: Vec<f32> = [0.1, 0.9, -0.5, 0.9, 0.3]
            .iter()
            .flat_map(|s| [0.0, *s, 0.0, 0.0])
            .collect();
        let indices = |top| {
            salient(&g, 1, top)
                .iter()
                .map(|r| r.index)
                .collect::<Vec<_>>()
        };
        assert_eq!(indices(9), [1, 3, 4, 0, 2]);
        assert_eq!(indices(2), [1, 3]);
        assert_eq!(salient(&g, 1, 1)[0].similarity, 0.9);
        assert_eq!(
            salient(&g, 2, 9)
                .iter()
                .map(|r| r.index)
                .collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
    }

    #[test]
    fn no_class_or_no_rows_are_no_salient_rows() {
        assert!(salient(&[0.0; 8], CLASSES, 3).is_empty());
        assert!(salient(&[], 0, 3).is_empty());
    }
}
