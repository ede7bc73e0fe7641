//! The registry: every fusion operator, once. Documentation, tests, measurements, the command
//! line and the ONNX files of the recipe are made from this list and from nothing else.

use super::FusionError;
use super::operator::Operator;
use super::parameters::{Parameters, Stored, stored};
use super::shape::Sizes;
pub use super::table::CATALOGUE;

/// Bodies of the ONNX functions, in ONNX's text form, parted by empty lines: what each name of
/// the registry means in plain ONNX.
#[cfg(feature = "research")]
pub const FUNCTIONS: &str = include_str!("functions.onnxtxt");

/// The domain of the ONNX functions.
pub const DOMAIN: &str = "demeanor";

/// What the matrices of an operator are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f32; a memory bank in half floats.
    Float,
    /// Signed bytes with a scale per output; inputs of each product are quantised as they come.
    Int8,
}

impl Precision {
    /// Both.
    pub const ALL: [Precision; 2] = [Precision::Float, Precision::Int8];
}

/// Whether an operator has an int8 form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int8 {
    /// It has: the function of the same name that ends in `Int8`.
    Yes,
    /// It has not, for this reason.
    No(&'static str),
}

/// Content of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A matrix `[…, in]`, f32 or int8.
    Matrix,
    /// A matrix of stored rows `[rows, in]`, half floats or int8.
    HalfMatrix,
    /// f32 at every precision.
    Plain,
    /// Whole numbers from 0 to below the dimension that is named.
    Index(&'static str),
    /// 1 or −1, f32.
    Sign,
}

/// A weight.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    /// Name of the function's input.
    pub name: &'static str,
    /// Shape by letter.
    pub shape: &'static [&'static str],
    /// Content.
    pub kind: Kind,
}

/// An input or output: rows of f32.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Name in the function.
    pub name: &'static str,
    /// Rows and columns, or columns alone where there is one row.
    pub shape: &'static [&'static str],
    /// An input that may have no rows.
    pub optional: bool,
}

/// An attribute of the function.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Name.
    pub name: &'static str,
    /// Whole numbers only.
    pub whole: bool,
    /// Least value.
    pub least: f64,
    /// Greatest value.
    pub most: f64,
    /// Value where none is given.
    pub usual: f64,
    /// The letter of the shapes that it is, if it is one.
    pub letter: Option<char>,
}

/// What makes an operator of its weights.
type Build = fn(&Parameters<'_>) -> Result<Box<dyn Operator>, FusionError>;

/// An operator.
#[derive(Debug)]
pub struct Entry {
    /// Name of the ONNX function of domain [`DOMAIN`].
    pub name: &'static str,
    /// Name in words.
    pub title: &'static str,
    /// The file of `src/fusion` that it is in.
    pub family: &'static str,
    /// Definition.
    pub equation: &'static str,
    /// What it fuses.
    pub inputs: &'static [Port],
    /// What it has learnt or stored, in the function's order.
    pub weights: &'static [Weight],
    /// Attributes.
    pub settings: &'static [Setting],
    /// What it makes.
    pub outputs: &'static [Port],
    /// Multiply-accumulates of one call, by letter.
    pub macs: &'static str,
    /// Its int8 form.
    pub int8: Int8,
    /// When to use it.
    pub when: &'static str,
    /// What it costs.
    pub cost: &'static str,
    /// Sizes that heads use.
    pub usual: &'static [&'static [(char, usize)]],
    pub(super) build: Build,
}

impl Entry {
    /// Name of the ONNX function at a precision; `None` where there is none.
    #[must_use]
    pub fn function(&self, precision: Precision) -> Option<String> {
        match (precision, self.int8) {
            (Precision::Float, _) => Some(self.name.into()),
            (Precision::Int8, Int8::Yes) => Some(format!("{}Int8", self.name)),
            (Precision::Int8, Int8::No(_)) => None,
        }
    }

    /// The weights as a file holds them, in the function's order.
    #[must_use]
    pub fn stored(&self, precision: Precision) -> Vec<Stored> {
        self.weights
            .iter()
            .flat_map(|w| stored(w, precision))
            .collect()
    }

    /// Values of all weights at some sizes: parameters, and hashes or stored rows.
    #[must_use]
    pub fn parameters(&self, sizes: &Sizes) -> Option<usize> {
        let of = |w: &Weight| {
            sizes
                .values(w.shape)
                .map(|dims| dims.iter().product::<usize>())
        };
        self.weights.iter().map(of).sum()
    }

    /// Multiply-accumulates of one call at some sizes.
    #[must_use]
    pub fn macs(&self, sizes: &Sizes) -> Option<usize> {
        sizes.value(self.macs)
    }
}

/// The operator of an ONNX function's name, and its precision.
#[must_use]
pub fn find(function: &str) -> Option<(&'static Entry, Precision)> {
    let pairs = CATALOGUE
        .iter()
        .flat_map(|e| Precision::ALL.map(|p| (e, p)));
    let mut named = pairs.filter(|(e, p)| e.function(*p).is_some_and(|name| name == function));
    named.next()
}
