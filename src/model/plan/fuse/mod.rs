//! From nodes to steps: which groups of nodes are one operation of ours.
//!
//! Every matcher starts at the node that multiplies and looks both ways. A value within a
//! group may have no reader outside it. What no matcher takes is a single operation of ours
//! or a [`Foreign`] one.

mod chain;
mod dense;
mod pictures;
mod qdq;
mod registry;
mod tables;
mod time;

use super::error::PlanError;
use super::foreign::Foreign;
use super::graph::Graph;
use super::op::Op;
use super::step::{Kind, Step};
use super::steps::{self, Quantise};
use crate::kernels::Level;
use crate::kernels::int8::PackedWeights;
use registry::blocks;
use std::cell::RefCell;
use std::collections::HashMap;
use tract_onnx::prelude::DatumType;

/// Nodes that are one step, with the names of what it reads and makes.
pub(super) struct FusedOp {
    pub step: Box<dyn Step>,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub nodes: Vec<usize>,
    /// Why tract runs it; `None` for ours.
    pub why: Option<String>,
}

/// The steps of a graph, in an order in which they can run, and what each output is.
///
/// # Errors
/// A node that neither a step of ours nor tract can run.
pub(super) fn fuse(graph: &Graph, level: Level) -> Result<(Vec<FusedOp>, Vec<Kind>), PlanError> {
    let kind = |name: &String| Ok((name.clone(), input_kind(graph, name)?));
    let inputs = graph.inputs.iter().map(kind);
    let mut matcher = Matcher {
        graph,
        level,
        taken: vec![false; graph.nodes.len()],
        kinds: inputs.collect::<Result<_, PlanError>>()?,
        ops: Vec::new(),
        packed: RefCell::default(),
    };
    for (anchor, block) in blocks() {
        for at in 0..graph.nodes.len() {
            if !matcher.taken[at]
                && graph.nodes[at].is(anchor)
                && let Some(ops) = block(&matcher, at)
            {
                matcher.take(ops)?;
            }
        }
    }
    matcher.quantise()?;
    matcher.drop_unread();
    matcher.quantise_fixed()?;
    matcher.drop_unread();
    for at in 0..graph.nodes.len() {
        if !matcher.taken[at] {
            let op = match matcher.single(at)? {
                Some(op) => op,
                None => matcher.foreign(at)?,
            };
            matcher.take(vec![op])?;
        }
    }
    let mut makes = Vec::with_capacity(graph.outputs.len());
    for output in &graph.outputs {
        let made = graph.constant(output).is_none();
        match matcher.kind(output) {
            Some(kind @ (Kind::Float | Kind::Int)) => makes.push(kind),
            Some(kind @ Kind::Foreign(_)) if made => makes.push(kind),
            _ => {
                return Err(PlanError::NotPlanned(format!(
                    "output {output:?} is of a type that no step makes"
                )));
            }
        }
    }
    let mut ops = matcher.ops;
    // a group can run when the last of its nodes could
    ops.sort_by_key(|op| op.nodes.iter().max().copied());
    Ok((ops, makes))
}

/// What an input of the graph is held as.
pub(super) fn input_kind(graph: &Graph, name: &str) -> Result<Kind, PlanError> {
    match graph.type_of(name) {
        Some(DatumType::U8) => Ok(Kind::Bytes),
        Some(other) => Ok(Kind::of(other)),
        None => Err(PlanError::NotPlanned(format!(
            "input {name:?} is of a type that is not known here"
        ))),
    }
}

/// A graph on its way to steps.
struct Matcher<'a> {
    graph: &'a Graph,
    level: Level,
    taken: Vec<bool>,
    /// Kind of every value made so far.
    kinds: HashMap<String, Kind>,
    ops: Vec<FusedOp>,
    /// Weights that several steps read, by name: they are packed once.
    packed: RefCell<HashMap<String, PackedWeights>>,
}

fn fused(step: impl Step + 'static, inputs: &[&str], output: &str, nodes: Vec<usize>) -> FusedOp {
    FusedOp {
        step: Box::new(step),
        inputs: inputs.iter().map(|n| (*n).to_owned()).collect(),
        outputs: vec![output.to_owned()],
        nodes,
        why: None,
    }
}

impl Matcher<'_> {
    /// Takes steps into the plan, unless one of their nodes is taken already.
    fn take(&mut self, ops: Vec<FusedOp>) -> Result<(), PlanError> {
        if ops
            .iter()
            .flat_map(|op| &op.nodes)
            .any(|at| self.taken[*at])
        {
            return Ok(());
        }
        for op in ops {
            if op.inputs.len() > steps::MOST || op.outputs.len() > steps::MOST {
                return Err(PlanError::not_planned(
                    "a node has too many inputs or outputs",
                ));
            }
            let kind = op.step.makes();
            for output in &op.outputs {
                let kind = match op.why {
                    // what tract makes is of the type that the operator says
                    Some(_) => self.graph.type_of(output).map(Kind::of),
                    None => kind.or_else(|| self.kind(op.inputs.first()?)),
                };
                if let Some(kind) = kind {
                    self.kinds.insert(output.clone(), kind);
                }
            }
            for at in &op.nodes {
                self.taken[*at] = true;
            }
            self.ops.push(op);
        }
        Ok(())
    }

    /// Every `DynamicQuantizeLinear` whose readers were all fused is a step of its own.
    fn quantise(&mut self) -> Result<(), PlanError> {
        for at in 0..self.graph.nodes.len() {
            let node = self.node(at);
            if self.taken[at] || !node.is("DynamicQuantizeLinear") || node.outputs.len() != 3 {
                continue;
            }
            let users = node.outputs.iter().flat_map(|o| self.graph.users(o));
            let fused_users = users.clone().filter(|at| self.taken[**at]).count();
            if fused_users == 0 {
                continue;
            }
            if fused_users < users.count() {
                return Err(PlanError::NotPlanned(format!(
                    "node {} is read by fused and by other nodes",
                    node.proto.name
                )));
            }
            let Some(source) = node.inputs.first() else {
                return Err(PlanError::broken("has a node without inputs"));
            };
            let step = Quantise { fixed: None };
            let op = fused(step, &[source], &node.outputs[0], vec![at]);
            self.take(vec![op])?;
        }
        Ok(())
    }

    /// One node, one step of ours.
    fn single(&self, at: usize) -> Result<Option<FusedOp>, PlanError> {
        let node = self.node(at);
        let op = Op {
            graph: self.graph,
            node,
            kinds: &self.kinds,
        };
        let reading = registry::read(&op)?;
        Ok(reading.map(|reading| FusedOp {
            step: reading.step,
            inputs: reading
                .inputs
                .iter()
                .map(|i| node.inputs[*i].clone())
                .collect(),
            outputs: node.outputs.clone(),
            nodes: vec![at],
            why: None,
        }))
    }

    /// A node for tract.
    fn foreign(&self, at: usize) -> Result<FusedOp, PlanError> {
        let node = self.node(at);
        let op = node.proto.op_type.as_str();
        let step = Foreign::of(self.graph, at)?;
        let inputs = step.values().to_vec();
        for input in &inputs {
            if matches!(self.kind(input), None | Some(Kind::Rows | Kind::Image)) {
                return Err(PlanError::NotPlanned(format!(
                    "node {} ({op}) reads {input:?}, which is codes of ours here",
                    node.proto.name
                )));
            }
        }
        let outputs = node.outputs.iter().filter(|o| !o.is_empty());
        Ok(FusedOp {
            step: Box::new(step),
            inputs,
            outputs: outputs.cloned().collect(),
            nodes: vec![at],
            why: Some(format!("nothing of ours matches {op}")),
        })
    }
}

/// Columns that are turned together: each is read in order, and rows are written in runs.
const TOGETHER: usize = 16;

/// Weights `[n, channels, taps]` as rows `[taps·pixel, n]`, channels padded.
fn by_tap(weights: &[i8], (n, channels, taps): (usize, usize, usize), pixel: usize) -> Vec<i8> {
    let mut out = vec![0; taps * pixel * n];
    let kernel = channels * taps;
    for (first, columns) in weights.chunks(TOGETHER * kernel).enumerate() {
        for channel in 0..channels {
            for tap in 0..taps {
                let row = &mut out[(tap * pixel + channel) * n + first * TOGETHER..];
                for (out, column) in row.iter_mut().zip(columns.chunks_exact(kernel)) {
                    *out = column[channel * taps + tap];
                }
            }
        }
    }
    out
}
