//! Heads: what reads the trunks' outputs and answers.
//!
//! Each kind is a file here and a row of [`KINDS`]; a manifest names it. A head knows nothing
//! of tasks.

pub(crate) mod boxes;
mod classes;
pub(super) mod distance;
mod mean;
mod neighbours;
pub(super) mod spans;
mod words;

use crate::event::Neighbour;
use crate::model::{Bundle, Input, ModelError, Output, manifest};
use std::path::Path;

/// The output, of a head's file or of a trunk, that holds a number a class; others are rows.
pub(super) const LOGITS: &str = "logits";

/// A head, loaded.
pub(super) trait Head: Send {
    /// Answers about what the manifest says it reads.
    ///
    /// # Errors
    /// A model that fails, or gives another number of scores than there are labels.
    fn answer(&self, given: &HeadInput<'_>) -> Result<Reply, ModelError>;

    /// Whether it gives an output of this name; those that a manifest wants explained must.
    fn gives(&self, output: &str) -> bool;
}

/// What a head reads.
#[derive(Default)]
pub(super) struct HeadInput<'a> {
    /// Outputs of trunks, in the order of `reads`.
    pub values: Vec<Input<'a>>,
    /// Answers of other heads, in the order of `of`.
    pub replies: Vec<&'a Reply>,
    /// What `boxes` looks for.
    pub queries: &'a [boxes::Query],
}

/// What a head answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reply {
    /// Calibrated probabilities in the order of the labels; sum to 1. Of words for an image,
    /// each word's own, falling; of spans, that each type occurs at all.
    pub scores: Vec<f32>,
    /// Of kind `classes`: what the scores were made of, before the temperature.
    pub logits: Vec<f32>,
    /// Everything else that its file gives, by name.
    pub outputs: Vec<(String, Output)>,
    /// What is remembered that decided it, the nearest first.
    pub neighbours: Vec<Neighbour>,
    /// Where in the image each query stands.
    pub places: Vec<boxes::Place>,
}

impl Reply {
    /// An output by its name.
    pub fn output(&self, name: &str) -> Option<&Output> {
        let found = self.outputs.iter().find(|(known, _)| known == name);
        found.map(|(_, output)| output)
    }
}

/// A kind of head: its name in manifests, and how one is loaded.
pub(super) struct Kind {
    pub name: &'static str,
    load: Load,
}

type Load = fn(&Bundle, &manifest::Head, Size<'_>) -> Result<Box<dyn Head>, ModelError>;

/// What a manifest does not say of a head itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size<'a> {
    /// Classes that it tells apart.
    pub classes: usize,
    /// Workers that share the large steps of its model.
    pub threads: usize,
    /// A folder of memory banks that are used instead of the bundle's own.
    pub bank: Option<&'a Path>,
}

/// Every kind of this build.
pub(super) static KINDS: &[Kind] = &[
    Kind {
        name: "classes",
        load: classes::load,
    },
    Kind {
        name: "mean",
        load: mean::load,
    },
    Kind {
        name: "neighbours",
        load: neighbours::load,
    },
    Kind {
        name: "words",
        load: words::load,
    },
    Kind {
        name: "spans",
        load: spans::load,
    },
    Kind {
        name: "boxes",
        load: boxes::load,
    },
    Kind {
        name: "distance",
        load: distance::load,
    },
    // what it decides is the session's to act on; what it says are classes
    Kind {
        name: "gate",
        load: classes::load,
    },
];

/// Loads a head of a bundle.
///
/// # Errors
/// A kind that this build does not know; a file that is refused.
pub(super) fn load(
    bundle: &Bundle,
    head: &manifest::Head,
    size: Size<'_>,
) -> Result<Box<dyn Head>, ModelError> {
    let kind = KINDS.iter().find(|k| k.name == head.kind).ok_or_else(|| {
        let known: Vec<&str> = KINDS.iter().map(|k| k.name).collect();
        ModelError::Refused {
            name: bundle.name(),
            what: format!(
                "its head `{}` is of kind `{}`, and this build knows {}",
                head.name,
                head.kind,
                known.join(", ")
            ),
        }
    })?;
    (kind.load)(bundle, head, size)
}
