//! What can be wrong with a fusion head, its weights or its input.

/// Why a fusion head cannot be made or cannot answer.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FusionError {
    /// A weight has not the number of values its shape asks for.
    #[error(
        "fusion weight {name} has {found} values where its shape asks for {wanted}; export the \
         fusion model again"
    )]
    Weight {
        /// Name of the weight, as in the ONNX function.
        name: &'static str,
        /// Values the shape asks for.
        wanted: usize,
        /// Values given.
        found: usize,
    },
    /// A weight holds an infinite or undefined value.
    #[error(
        "fusion weight {name} holds an infinite or undefined value; restore the model file from \
         its bundle"
    )]
    WeightNotFinite {
        /// Name of the weight.
        name: &'static str,
    },
    /// The temperature is not a positive number.
    #[error("the label attention's temperature is {value}; it must be a positive number")]
    Temperature {
        /// The value given.
        value: f32,
    },
    /// The rows of a modality have not the width of the weights.
    #[error(
        "the {modality} rows are {found} wide but the fusion weights {wanted}; use the encoders \
         of the same bundle"
    )]
    Width {
        /// `text` or `speech`.
        modality: &'static str,
        /// Width of the weights.
        wanted: usize,
        /// Width of the rows.
        found: usize,
    },
    /// A modality has no row, so there is nothing to fuse.
    #[error("there are no {modality} rows to fuse; answer with the other modality's own head")]
    Empty {
        /// `text` or `speech`.
        modality: &'static str,
    },
    /// A modality's rows hold an infinite or undefined value.
    #[error(
        "the {modality} encoder gave an infinite or undefined value; drop this utterance and \
         check the input and the bundle"
    )]
    NotFinite {
        /// `text` or `speech`.
        modality: &'static str,
    },
    /// The heads do not share the width evenly.
    #[error("{heads} heads cannot share rows of {width} evenly; export the fusion model again")]
    Heads {
        /// Heads.
        heads: usize,
        /// Columns of the rows.
        width: usize,
    },
    /// The rows are so large that scores or logits leave the range of f32.
    #[error(
        "the fusion of text and speech overflowed; drop this utterance and check that the \
         encoders are of the same bundle"
    )]
    Overflow,
    /// No operator of the catalogue has this name.
    #[error("no fusion operator has this name; `demeanor fusion` lists them")]
    Unknown,
    /// A weight is not there.
    #[error("the fusion weight {name} is missing; export the fusion model again")]
    Missing {
        /// Name of the weight.
        name: &'static str,
    },
    /// There are more weights than the operator has.
    #[error("{name} is given more weights than it has; export the fusion model again")]
    TooMany {
        /// Name of the operator.
        name: &'static str,
    },
    /// A weight has another element type.
    #[error("the fusion weight {name} is no tensor of {wanted}; export the fusion model again")]
    Element {
        /// Name of the weight.
        name: &'static str,
        /// ONNX's name of the type it should have.
        wanted: &'static str,
    },
    /// A weight or input has another size than the others ask for.
    #[error(
        "{name} has size {found} on axis {axis} where the others ask for {wanted}; use weights \
         and encoders that were trained together"
    )]
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
    #[error(
        "the fusion weight {name} holds an index out of range or a sign that is neither 1 nor \
         -1; restore the model file from its bundle"
    )]
    Content {
        /// Name of the weight.
        name: &'static str,
    },
    /// A setting is outside its range, or does not fit the weights.
    #[error("the setting {name} cannot be {value} here; export the fusion model again")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The value given.
        value: f32,
    },
    /// Another number of inputs than the operator takes.
    #[error(
        "the fusion operator takes {wanted} inputs and was given {found}; pass one per input of \
         its equation"
    )]
    Inputs {
        /// Inputs it takes.
        wanted: usize,
        /// Inputs given.
        found: usize,
    },
    /// Every key is masked.
    #[error(
        "{name} masks every key, so there is nothing to attend to; answer with the other \
         modality's own head"
    )]
    AllMasked {
        /// Name of the mask.
        name: &'static str,
    },
}
