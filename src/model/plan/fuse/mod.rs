//! From nodes to steps: which groups of nodes are one operation of ours.
//!
//! Every matcher starts at the node that multiplies and looks both ways. A value within a
//! group may have no reader outside it. What no matcher takes is a single operation of ours
//! or a [`Foreign`] one.

mod chain;
mod dense;
mod pictures;
mod registry;
mod tables;
mod time;

use super::error::PlanError;
use super::foreign::Foreign;
use super::graph::{Graph, Node, Values};
use super::op::Op;
use super::step::{Kind, Step};
use super::steps::{self, Quantise};
use crate::kernels::Level;
use registry::{blocks, keeps_kind};
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, ModelProto, tensor_proto, type_proto};

/// Nodes that are one step, with the names of what it reads and makes.
pub(super) struct FusedOp {
    pub step: Box<dyn Step>,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub nodes: Vec<usize>,
    /// Why tract runs it; `None` for ours.
    pub why: Option<String>,
}

/// The steps of a graph, in an order in which they can run.
///
/// # Errors
/// What neither a step of ours nor a node of tract's can be.
pub(super) fn fuse(
    graph: &Graph,
    model: &ModelProto,
    level: Level,
) -> Result<Vec<FusedOp>, PlanError> {
    let inputs = model.graph.as_ref().map(input_kinds).transpose()?;
    let mut matcher = Matcher {
        graph,
        level,
        taken: vec![false; graph.nodes.len()],
        kinds: inputs.unwrap_or_default(),
        ops: Vec::new(),
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
    for at in 0..graph.nodes.len() {
        if !matcher.taken[at] {
            let op = match matcher.single(at)? {
                Some(op) => op,
                None => matcher.foreign(at)?,
            };
            matcher.take(vec![op])?;
        }
    }
    for output in &graph.outputs {
        if matcher.kind(output) != Some(Kind::Float) {
            return Err(PlanError::NotPlanned(format!(
                "output {output:?} is no f32"
            )));
        }
    }
    let mut ops = matcher.ops;
    // a group can run when the last of its nodes could
    ops.sort_by_key(|op| op.nodes.iter().max().copied());
    Ok(ops)
}

/// What the inputs are; only what steps hold as it is given.
fn input_kinds(graph: &GraphProto) -> Result<HashMap<String, Kind>, PlanError> {
    let kind = |input: &tract_onnx::pb::ValueInfoProto| {
        let value = input.r#type.as_ref().and_then(|t| t.value.as_ref());
        let Some(type_proto::Value::TensorType(tensor)) = value else {
            return Ok((input.name.clone(), Kind::Float));
        };
        let kind = match tensor_proto::DataType::try_from(tensor.elem_type) {
            Ok(tensor_proto::DataType::Float) => Kind::Float,
            Ok(tensor_proto::DataType::Int64) => Kind::Int,
            Ok(tensor_proto::DataType::Uint8) => Kind::Bytes,
            other => {
                let other = other.map_or("unknown", |t| t.as_str_name());
                return Err(PlanError::NotPlanned(format!(
                    "input {:?} is {other}",
                    input.name
                )));
            }
        };
        Ok((input.name.clone(), kind))
    };
    graph.input.iter().map(kind).collect()
}

/// A graph on its way to steps.
struct Matcher<'a> {
    graph: &'a Graph,
    level: Level,
    taken: Vec<bool>,
    /// Kind of every value made so far.
    kinds: HashMap<String, Kind>,
    ops: Vec<FusedOp>,
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
                let inherited = op.inputs.first().and_then(|i| self.kind(i));
                let kind = kind.or(inherited).unwrap_or(Kind::Foreign);
                self.kinds.insert(output.clone(), kind);
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
        let mut consts = Vec::new();
        for name in &node.inputs {
            if let Some(value) = self.graph.constant(name) {
                consts.push(value.to_proto(name));
            }
        }
        let op = node.proto.op_type.as_str();
        if !Foreign::knows(&node.proto) {
            return Err(PlanError::NotPlanned(format!("{op} is not known")));
        }
        let step = Foreign::new(node, consts, self.graph.opset, self.foreign_kind(node));
        let step = step.map_err(PlanError::NotPlanned)?;
        let inputs = step.values().to_vec();
        for input in &inputs {
            if !matches!(self.kind(input), Some(Kind::Float | Kind::Int)) {
                return Err(PlanError::NotPlanned(format!(
                    "node {} ({op}) reads {input:?}, which is neither float nor int64 here",
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

    /// What a node of tract's makes, as far as its operator tells.
    fn foreign_kind(&self, node: &Node) -> Kind {
        let first = node.inputs.first().and_then(|i| self.kind(i));
        let narrow = node.inputs.first().and_then(|i| self.constant(i));
        let narrow = narrow.is_some_and(|c| matches!(c.values, Values::I32(_)));
        match (node.proto.op_type.as_str(), node.int("to")) {
            ("Cast", Some(1)) => Kind::Float,
            ("Cast", Some(7)) | ("Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero", _) => {
                Kind::Int
            }
            ("Split", _) => first.unwrap_or(Kind::Foreign),
            (op, _) if keeps_kind(op) && node.outputs.len() == 1 && !narrow => {
                first.unwrap_or(Kind::Foreign)
            }
            _ => Kind::Foreign,
        }
    }
}

/// Weights `[n, channels, taps]` as rows `[taps·pixel, n]`, channels padded.
fn by_tap(weights: &[i8], (n, channels, taps): (usize, usize, usize), pixel: usize) -> Vec<i8> {
    let mut out = vec![0; taps * pixel * n];
    for (column, kernel) in weights.chunks_exact((channels * taps).max(1)).enumerate() {
        for (c, kernel) in kernel.chunks_exact(taps.max(1)).enumerate() {
            for (tap, w) in kernel.iter().enumerate() {
                out[(tap * pixel + c) * n + column] = *w;
            }
        }
    }
    out
}
