//! What can be wrong with a fusion head, its weights or its input.

use std::fmt;

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
