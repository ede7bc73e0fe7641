//! Calls of our own functions that read floats and hold byte weights.

use super::{Fused, Fusion};
use crate::fusion::Simplex;
use crate::fusion::text_guided::{
    FeedWeights, GuideWeights, Map, Norm, SelfUnit, SelfWeights, TextGuidedUnit,
};
use crate::model::plan::steps::Unit;

/// The domain of our functions.
const DOMAIN: &str = "demeanor";

impl<'a> Fusion<'a> {
    /// `TextGuidedUnit` with its variants, and `SelfUnit`.
    pub(super) fn unit(&self, at: usize) -> Option<Vec<Fused>> {
        let node = self.node(at);
        if node.proto.domain != DOMAIN {
            return None;
        }
        let pi = match node.proto.op_type.as_str() {
            "SelfUnit" => None,
            "TextGuidedUnit" => Some(Simplex::Entmax15),
            "TextGuidedUnitSparsemax" => Some(Simplex::Sparsemax),
            "TextGuidedUnitSoftmax" => Some(Simplex::Softmax),
            _ => return None,
        };
        let heads = usize::try_from(node.int("heads")?).ok()?;
        let read = if pi.is_some() { 2 } else { 1 };
        let mut weights = Weights {
            fusion: self,
            names: node.inputs.get(read..)?,
        };
        let own = SelfWeights {
            query_key_value: weights.map()?,
            out: weights.map()?,
            norm: weights.norm()?,
        };
        let step = match pi {
            None => {
                let unit = SelfUnit::new(heads, &own, &weights.feed()?).ok()?;
                Unit::Own(Box::new(unit))
            }
            Some(pi) => {
                let guide = GuideWeights {
                    query: weights.map()?,
                    key_value: weights.map()?,
                    out: weights.map()?,
                    norm: weights.norm()?,
                };
                let feed = weights.feed()?;
                let unit = TextGuidedUnit::new(heads, pi, &own, &guide, &feed).ok()?;
                Unit::Guided(Box::new(unit))
            }
        };
        let whole = weights.names.is_empty() && node.outputs.len() == read;
        whole.then(|| {
            vec![Fused {
                step: Box::new(step),
                inputs: node.inputs[..read].to_vec(),
                outputs: node.outputs.clone(),
                nodes: vec![at],
                why: None,
            }]
        })
    }
}

/// The constants of a call, taken one after the other.
struct Weights<'f, 'a> {
    fusion: &'f Fusion<'a>,
    names: &'f [String],
}

impl<'f, 'a> Weights<'f, 'a> {
    fn next(&mut self) -> Option<&'a crate::model::plan::graph::Const> {
        let (first, rest) = self.names.split_first()?;
        self.names = rest;
        self.fusion.constant(first)
    }

    fn map(&mut self) -> Option<Map<'a>> {
        Some(Map {
            weights: self.next()?.bytes()?,
            scale: self.next()?.floats()?,
            bias: self.next()?.floats()?,
        })
    }

    fn norm(&mut self) -> Option<Norm<'a>> {
        Some(Norm {
            gamma: self.next()?.floats()?,
            beta: self.next()?.floats()?,
        })
    }

    fn feed(&mut self) -> Option<FeedWeights<'a>> {
        Some(FeedWeights {
            up: self.map()?,
            down: self.map()?,
            norm: self.norm()?,
        })
    }
}
