//! From nodes to steps: which groups of nodes are one operation of ours.
//!
//! Every matcher starts at the node that multiplies and looks both ways. A value within a
//! group may have no reader outside it. What no matcher takes is a single operation of ours
//! or a [`Foreign`] one.

mod chain;
mod dense;
mod pictures;
mod single;
mod tables;
mod time;
mod units;

use super::graph::Graph;
use super::steps::{self, Quantise};
use super::{Kind, Step};
use crate::kernels::Level;
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, ModelProto, tensor_proto, type_proto};

/// A step with the names of what it reads and makes.
pub(super) struct Fused {
    pub step: Box<dyn Step>,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub nodes: Vec<usize>,
    pub why: Option<String>,
}

/// The steps of a graph, in an order in which they can run.
pub(super) fn fuse(graph: &Graph, model: &ModelProto, level: Level) -> Result<Vec<Fused>, String> {
    let proto = model.graph.as_ref().ok_or("holds no graph")?;
    let mut fusion = Fusion {
        graph,
        level,
        taken: vec![false; graph.nodes.len()],
        kinds: input_kinds(proto),
        parts: Vec::new(),
    };
    for matcher in matchers() {
        for at in 0..graph.nodes.len() {
            if !fusion.taken[at]
                && let Some(parts) = matcher(&fusion, at)
            {
                fusion.take(parts)?;
            }
        }
    }
    fusion.quantise()?;
    for at in 0..graph.nodes.len() {
        if !fusion.taken[at] {
            let part = match fusion.single(at) {
                Some(part) => part,
                None => fusion.foreign(at)?,
            };
            fusion.take(vec![part])?;
        }
    }
    let mut parts = fusion.parts;
    // a group can run when the last of its nodes could
    parts.sort_by_key(|part| part.nodes.iter().max().copied());
    Ok(parts)
}

type Matcher<'a> = fn(&Fusion<'a>, usize) -> Option<Vec<Fused>>;

/// In this order: a larger group before the smaller ones inside it.
fn matchers<'a>() -> [Matcher<'a>; 13] {
    [
        Fusion::attention,
        Fusion::conv1d,
        Fusion::linear,
        Fusion::product,
        Fusion::average,
        Fusion::embedding,
        Fusion::head_of_table,
        Fusion::add_codes,
        Fusion::pool_codes,
        Fusion::conv,
        Fusion::pixels,
        Fusion::max_codes,
        Fusion::unit,
    ]
}

fn input_kinds(graph: &GraphProto) -> HashMap<String, Kind> {
    let kind = |input: &tract_onnx::pb::ValueInfoProto| {
        let value = input.r#type.as_ref()?.value.as_ref()?;
        let type_proto::Value::TensorType(tensor) = value;
        Some(
            match tensor_proto::DataType::try_from(tensor.elem_type).ok()? {
                tensor_proto::DataType::Float => Kind::Float,
                tensor_proto::DataType::Int64 => Kind::Int,
                tensor_proto::DataType::Uint8 => Kind::Bytes,
                _ => Kind::Foreign,
            },
        )
    };
    let named = graph
        .input
        .iter()
        .map(|i| (i.name.clone(), kind(i).unwrap_or(Kind::Float)));
    named.collect()
}

struct Fusion<'a> {
    graph: &'a Graph,
    level: Level,
    taken: Vec<bool>,
    /// Kind of every value made so far.
    kinds: HashMap<String, Kind>,
    parts: Vec<Fused>,
}

fn fused(step: impl Step + 'static, inputs: &[&str], output: &str, nodes: Vec<usize>) -> Fused {
    Fused {
        step: Box::new(step),
        inputs: inputs.iter().map(|n| (*n).to_owned()).collect(),
        outputs: vec![output.to_owned()],
        nodes,
        why: None,
    }
}

impl Fusion<'_> {
    /// Takes parts into the plan, unless one of their nodes is taken already.
    fn take(&mut self, parts: Vec<Fused>) -> Result<(), String> {
        if parts
            .iter()
            .flat_map(|p| &p.nodes)
            .any(|at| self.taken[*at])
        {
            return Ok(());
        }
        for part in parts {
            if part.inputs.len() > steps::MOST {
                return Err("a node has too many inputs".into());
            }
            let kind = part.step.makes();
            for output in &part.outputs {
                let inherited = part.inputs.first().and_then(|i| self.kind(i));
                let kind = kind.or(inherited).unwrap_or(Kind::Foreign);
                self.kinds.insert(output.clone(), kind);
            }
            for at in &part.nodes {
                self.taken[*at] = true;
            }
            self.parts.push(part);
        }
        Ok(())
    }

    /// Every `DynamicQuantizeLinear` whose readers were all fused is a step of its own.
    fn quantise(&mut self) -> Result<(), String> {
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
                return Err(format!(
                    "node {} is read by fused and by other nodes",
                    node.proto.name
                ));
            }
            let source = node.inputs.first().ok_or("a node without inputs")?;
            let part = fused(
                Quantise { fixed: None },
                &[source],
                &node.outputs[0],
                vec![at],
            );
            self.take(vec![part])?;
        }
        Ok(())
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
