//! Fusion heads: what a voice and its words say together.
//!
//! Typed operators over the rows of the encoders, on the SIMD kernels of
//! [`kernels`](crate::kernels). One file per family:
//!
//! - [`label_guided`]: LE-MER's cross attention (A_r) and label attention (A_l).
//! - [`simplex`]: softmax, sparsemax and 1.5-entmax of rows, with masks.
//! - [`text_guided`]: MVCN's text-guided unit with sparse attention.

pub mod label_guided;
pub mod simplex;
pub mod text_guided;

use std::fmt;

pub use crate::kernels::{Rows, ShapeError};
pub use label_guided::{CrossAttentionFusion, LabelAttentionFusion, Workspace};
pub use simplex::Simplex;

/// Columns of the token and frame rows of the shipped encoders.
pub const WIDTH: usize = 192;

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

/// Why a fusion head cannot be made or cannot answer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum FusionError {
    /// A weight has not the number of values its shape asks for.
    Weight {
        /// Name of the weight, as in the ONNX function.
        name: &'static str,
        /// Values the shape asks for.
        wanted: usize,
        /// Values given.
        found: usize,
    },
    /// A weight holds an infinite or undefined value.
    WeightNotFinite {
        /// Name of the weight.
        name: &'static str,
    },
    /// The temperature is not a positive number.
    Temperature {
        /// The value given.
        value: f32,
    },
    /// The rows of a modality have not the width of the weights.
    Width {
        /// `text` or `speech`.
        modality: &'static str,
        /// Width of the weights.
        wanted: usize,
        /// Width of the rows.
        found: usize,
    },
    /// A modality has no row, so there is nothing to fuse.
    Empty {
        /// `text` or `speech`.
        modality: &'static str,
    },
    /// A modality's rows hold an infinite or undefined value.
    NotFinite {
        /// `text` or `speech`.
        modality: &'static str,
    },
    /// The heads do not share the width evenly.
    Heads {
        /// Heads.
        heads: usize,
        /// Columns of the rows.
        width: usize,
    },
    /// The rows are so large that scores or logits leave the range of f32.
    Overflow,
}

impl fmt::Display for FusionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FusionError::Weight {
                name,
                wanted,
                found,
            } => write!(
                f,
                "fusion weight {name} has {found} values where its shape asks for {wanted}; \
                 export the fusion model again"
            ),
            FusionError::WeightNotFinite { name } => write!(
                f,
                "fusion weight {name} holds an infinite or undefined value; \
                 restore the model file from its bundle"
            ),
            FusionError::Temperature { value } => write!(
                f,
                "the label attention's temperature is {value}; it must be a positive number"
            ),
            FusionError::Width {
                modality,
                wanted,
                found,
            } => write!(
                f,
                "the {modality} rows are {found} wide but the fusion weights {wanted}; \
                 use the encoders of the same bundle"
            ),
            FusionError::Empty { modality } => write!(
                f,
                "there are no {modality} rows to fuse; answer with the other modality's own head"
            ),
            FusionError::NotFinite { modality } => write!(
                f,
                "the {modality} encoder gave an infinite or undefined value; drop this utterance \
                 and check the input and the bundle"
            ),
            FusionError::Heads { heads, width } => write!(
                f,
                "{heads} heads cannot share rows of {width} evenly; export the fusion model again"
            ),
            FusionError::Overflow => write!(
                f,
                "the fusion of text and speech overflowed; drop this utterance and check that \
                 the encoders are of the same bundle"
            ),
        }
    }
}

impl std::error::Error for FusionError {}

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
