//! Fusion heads: what a voice and its words say together.
//!
//! Typed operators over the rows of the encoders, on the SIMD kernels of
//! [`kernels`](crate::kernels). One file per family:
//!
//! - [`label_guided`]: LE-MER's cross attention (A_r) and label attention (A_l).
//! - [`simplex`]: softmax, sparsemax and 1.5-entmax of rows, with masks.
//! - [`text_guided`]: MVCN's text-guided unit with sparse attention.

mod additive;
mod bilinear;
pub mod catalogue;
mod compact;
mod cross;
pub mod draw;
mod gated;
mod given;
mod inner;
pub mod label_guided;
mod labelled;
mod memory;
mod mixing;
mod operator;
pub mod page;
mod projection;
mod reference;
pub mod shape;
pub mod simplex;
mod stages;
pub mod text_guided;

use std::fmt;

pub use crate::kernels::{Rows, ShapeError};
pub use additive::{Concat, Max, Sum};
pub use bilinear::{Bilinear, LowRank};
pub use catalogue::{CATALOGUE, Entry, Precision};
pub use compact::{CompactBilinear, signed_root_unit};
pub use cross::CrossAttention;
pub use gated::{Gate, Gated};
pub use given::{Data, Given, Stored, Tensor};
pub use inner::{InnerProduct, ProjectedInnerProduct};
pub use label_guided::{CrossAttentionFusion, LabelAttentionFusion, Workspace};
pub use memory::{MemoryBank, Neighbour};
pub use mixing::{Attention, Modulation};
pub use operator::{Fusion, Operator, Scratch};
pub use projection::{Projection, ProjectionScratch};
pub use simplex::Simplex;
pub use stages::{Early, Late, Middle};

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
    /// No operator of the catalogue has this name.
    Unknown,
    /// A weight is not there.
    Missing {
        /// Name of the weight.
        name: &'static str,
    },
    /// There are more weights than the operator has.
    TooMany {
        /// Name of the operator.
        name: &'static str,
    },
    /// A weight has another element type.
    Element {
        /// Name of the weight.
        name: &'static str,
        /// ONNX's name of the type it should have.
        wanted: &'static str,
    },
    /// A weight or input has another size than the others ask for.
    Shape {
        /// Name of the weight or input.
        name: &'static str,
        /// The axis; the number of axes if that is what disagrees.
        axis: usize,
        /// Size that the others ask for.
        wanted: usize,
        /// Size it has.
        found: usize,
    },
    /// Indices that point nowhere, or signs that are neither 1 nor −1.
    Content {
        /// Name of the weight.
        name: &'static str,
    },
    /// A setting is outside its range, or does not fit the weights.
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The value given.
        value: f32,
    },
    /// Another number of inputs than the operator takes.
    Inputs {
        /// Inputs it takes.
        wanted: usize,
        /// Inputs given.
        found: usize,
    },
    /// Every key is masked.
    AllMasked {
        /// Name of the mask.
        name: &'static str,
    },
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
            other => other.fmt_catalogue(f),
        }
    }
}

impl FusionError {
    /// What only operators of the catalogue run into.
    fn fmt_catalogue(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FusionError::Unknown => write!(
                f,
                "no fusion operator has this name; `demeanor fusion` lists them"
            ),
            FusionError::Missing { name } => write!(
                f,
                "the fusion weight {name} is missing; export the fusion model again"
            ),
            FusionError::TooMany { name } => write!(
                f,
                "{name} is given more weights than it has; export the fusion model again"
            ),
            FusionError::Element { name, wanted } => write!(
                f,
                "the fusion weight {name} is no tensor of {wanted}; export the fusion model again"
            ),
            FusionError::Shape {
                name,
                axis,
                wanted,
                found,
            } => write!(
                f,
                "{name} has size {found} on axis {axis} where the others ask for {wanted}; \
                 use weights and encoders that were trained together"
            ),
            FusionError::Content { name } => write!(
                f,
                "the fusion weight {name} holds an index out of range or a sign that is neither \
                 1 nor -1; restore the model file from its bundle"
            ),
            FusionError::Setting { name, value } => write!(
                f,
                "the setting {name} cannot be {value} here; export the fusion model again"
            ),
            FusionError::Inputs { wanted, found } => write!(
                f,
                "the fusion operator takes {wanted} inputs and was given {found}; pass one per \
                 input of its equation"
            ),
            FusionError::AllMasked { name } => write!(
                f,
                "{name} masks every key, so there is nothing to attend to; answer with the other \
                 modality's own head"
            ),
            _ => Ok(()),
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
