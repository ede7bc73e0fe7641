//! A node as an operator reads it: its attributes, and what is known of its inputs.

use super::graph::{Const, Graph, Node};
use super::step::{Kind, Step};
use crate::kernels::int8::Quant;
use std::collections::HashMap;

/// A node of a graph, with the kinds of the values before it.
#[derive(Clone, Copy)]
pub(super) struct Op<'a> {
    pub graph: &'a Graph,
    pub node: &'a Node,
    pub kinds: &'a HashMap<String, Kind>,
}

/// A step, and which of the node's inputs it reads as values.
pub(super) struct Reading {
    pub step: Box<dyn Step>,
    pub inputs: Vec<usize>,
}

impl Reading {
    pub fn new(step: impl Step + 'static, inputs: &[usize]) -> Reading {
        Reading {
            step: Box::new(step),
            inputs: inputs.to_vec(),
        }
    }
}

impl<'a> Op<'a> {
    /// Name of input `i`; `None` if it is left out.
    pub fn input(&self, i: usize) -> Option<&'a str> {
        let name = self.node.inputs.get(i).map(String::as_str);
        name.filter(|name| !name.is_empty())
    }

    pub fn constant(&self, i: usize) -> Option<&'a Const> {
        self.graph.constant(self.input(i)?).map(|c| &**c)
    }

    /// Whole numbers of a constant input.
    pub fn ints(&self, i: usize) -> Option<Vec<i64>> {
        self.constant(i)?.ints()
    }

    pub fn kind(&self, i: usize) -> Option<Kind> {
        kind(self.graph, self.kinds, self.input(i)?)
    }

    /// Whether it has `n` inputs, all of them floats.
    pub fn floats(&self, n: usize) -> bool {
        self.node.inputs.len() == n && (0..n).all(|i| self.is_float(i))
    }

    pub fn is_float(&self, i: usize) -> bool {
        self.kind(i) == Some(Kind::Float)
    }

    /// Axes: an attribute at first, an input in later versions.
    pub fn axes(&self) -> Option<Vec<i64>> {
        match (self.input(1), self.node.ints("axes")) {
            (Some(_), _) => self.ints(1),
            (None, axes) => axes.map(<[i64]>::to_vec),
        }
    }

    /// Scale and zero point, inputs 1 and 2.
    pub fn quant(&self) -> Option<Quant> {
        self.graph.quant_of(self.node)
    }
}

/// What a value is made of, as far as that is known before any shape is.
pub(super) fn kind(graph: &Graph, kinds: &HashMap<String, Kind>, value: &str) -> Option<Kind> {
    match graph.constant(value) {
        Some(constant) if constant.floats().is_some() => Some(Kind::Float),
        Some(constant) if constant.is_index() => Some(Kind::Int),
        Some(constant) => constant.datum().map(Kind::Foreign),
        None => kinds.get(value).copied(),
    }
}
