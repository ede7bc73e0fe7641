//! What the functions of the domain `demeanor` are: the operators of the catalogue, the units of
//! MVCN and the reader of MNER-QG, by name.

use super::catalogue::{Entry, Precision, Setting, find};
use super::heads::queried_spans::QueriedSpans;
use super::heads::text_guided::{self, Unit};
use super::parameters::Tensor;
use super::{Fusion, FusionError, Rows, Scratch, Simplex};
use std::fmt;

/// A function with its weights, ready to run; `[rows, columns]` are the sizes of its inputs.
pub trait Call: fmt::Debug + Send + Sync {
    /// Shapes of what it makes.
    ///
    /// # Errors
    /// Inputs of another number or shape, or without rows.
    fn shapes(&self, inputs: &[[usize; 2]]) -> Result<Vec<Vec<usize>>, FusionError>;

    /// Runs on `inputs` and replaces the content of `out`, one buffer for each output.
    ///
    /// # Errors
    /// As [`shapes`](Call::shapes), and values that are not finite.
    fn run(
        &self,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError>;

    /// Whether its products are of bytes.
    fn is_integer(&self) -> bool;

    /// Multiply-accumulates of a run.
    fn macs(&self, inputs: &[[usize; 2]]) -> u64;

    /// Whether it answers where an input has no rows; what it cannot do without it refuses itself.
    fn takes_nothing(&self) -> bool {
        false
    }

    /// Bytes that it works in, where they may outgrow inputs and outputs.
    fn scratch(&self, _inputs: &[[usize; 2]]) -> usize {
        0
    }
}

/// A function of the domain.
#[derive(Clone, Copy, Debug)]
pub enum Function {
    /// An operator of the catalogue.
    Catalogue(&'static Entry, Precision),
    /// A unit of MVCN; with a map of scores to weights, one that looks at a picture.
    Unit(Option<Simplex>),
    /// The spans of a sentence that stored queries ask for.
    QueriedSpans,
}

/// The function of this name, if there is one.
#[must_use]
pub fn function(name: &str) -> Option<Function> {
    Some(match name {
        "QueriedSpans" => Function::QueriedSpans,
        "SelfUnit" => Function::Unit(None),
        "TextGuidedUnit" => Function::Unit(Some(Simplex::Entmax15)),
        "TextGuidedUnitSparsemax" => Function::Unit(Some(Simplex::Sparsemax)),
        "TextGuidedUnitSoftmax" => Function::Unit(Some(Simplex::Softmax)),
        _ => {
            let (entry, precision) = find(name)?;
            Function::Catalogue(entry, precision)
        }
    })
}

impl Function {
    /// What a report calls it.
    #[must_use]
    pub fn title(self) -> String {
        match self {
            Function::Catalogue(entry, Precision::Float) => entry.title.into(),
            Function::Catalogue(entry, Precision::Int8) => format!("int8 {}", entry.title),
            Function::Unit(None) => "int8 self-attention unit".into(),
            Function::Unit(Some(_)) => "int8 text-guided unit".into(),
            Function::QueriedSpans => "int8 queried spans".into(),
        }
    }

    /// Inputs before the weights.
    #[must_use]
    pub fn inputs(self) -> usize {
        match self {
            Function::Catalogue(entry, _) => entry.inputs.len(),
            Function::Unit(pi) => 1 + usize::from(pi.is_some()),
            Function::QueriedSpans => 2,
        }
    }

    /// Outputs.
    #[must_use]
    pub fn outputs(self) -> usize {
        match self {
            Function::Catalogue(entry, _) => entry.outputs.len(),
            Function::Unit(_) => self.inputs(),
            Function::QueriedSpans => 4,
        }
    }

    /// Attributes.
    #[must_use]
    pub fn settings(self) -> &'static [Setting] {
        match self {
            Function::Catalogue(entry, _) => entry.settings,
            Function::Unit(_) => text_guided::SETTINGS,
            Function::QueriedSpans => &[],
        }
    }

    /// The function with its weights, in its order, and its settings by name.
    ///
    /// # Errors
    /// Weights that are missing, of another shape or type or not finite; a setting out of range.
    pub fn build(
        self,
        weights: Vec<Tensor<'_>>,
        settings: &[(&str, f64)],
    ) -> Result<Box<dyn Call>, FusionError> {
        let heads = || {
            let found = settings.iter().find(|(name, _)| *name == "heads");
            found.map_or(0, |(_, value)| *value as usize)
        };
        Ok(match self {
            Function::Catalogue(entry, precision) => {
                Box::new(Fusion::of(entry, precision, weights, settings)?)
            }
            Function::Unit(pi) => Box::new(Unit::new(heads(), pi, &weights)?),
            Function::QueriedSpans => Box::new(QueriedSpans::new(&weights)?),
        })
    }
}
