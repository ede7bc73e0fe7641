//! One node: a step of ours, or tract's.

use super::{Fused, Fusion};
use crate::model::plan::foreign::Foreign;
use crate::model::plan::steps::{
    Binary, BinaryOp, CastInts, DequantiseImage, GatherInts, LayerNorm, QuantiseImage, Reduce,
    ShapeOf, SliceInts, Softmax, Tanh, Transpose, View,
};
use crate::model::plan::{Kind, Step};

impl<'a> Fusion<'a> {
    /// One node, one step of ours.
    pub(super) fn single(&self, at: usize) -> Option<Fused> {
        let node = self.node(at);
        if !node.proto.domain.is_empty() {
            return None;
        }
        let inputs: Vec<&str> = node.inputs.iter().map(String::as_str).collect();
        let (first, made) = (*inputs.first()?, node.outputs.first()?.as_str());
        let kind = self.kind(first);
        let float = kind == Some(Kind::Float);
        let one = |step: Box<dyn Step>, inputs: &[&str]| {
            Some(Fused {
                step,
                inputs: inputs.iter().map(|n| (*n).to_owned()).collect(),
                outputs: vec![made.to_owned()],
                nodes: vec![at],
                why: None,
            })
        };
        let op = match node.proto.op_type.as_str() {
            "Add" => Some(BinaryOp::Add),
            "Sub" => Some(BinaryOp::Sub),
            "Mul" => Some(BinaryOp::Mul),
            "Div" => Some(BinaryOp::Div),
            _ => None,
        };
        if let (Some(op), [a, b]) = (op, inputs.as_slice()) {
            let floats = float && self.kind(b) == Some(Kind::Float);
            return if floats {
                one(Box::new(Binary(op)), &[a, b])
            } else {
                None
            };
        }
        match node.proto.op_type.as_str() {
            "LayerNormalization" if float && inputs.len() == 3 && node.outputs.len() == 1 => {
                let (gamma, beta) = (self.constant(inputs[1])?, self.constant(inputs[2])?);
                let fits = node.int("axis").unwrap_or(-1) == -1
                    && gamma.dims.len() == 1
                    && gamma.dims == beta.dims;
                let step = LayerNorm {
                    gamma: gamma.floats()?.to_vec(),
                    beta: beta.floats()?.to_vec(),
                    epsilon: node.float("epsilon").unwrap_or(1e-5),
                };
                if fits {
                    one(Box::new(step), &[first])
                } else {
                    None
                }
            }
            "Tanh" if float => one(Box::new(Tanh), &[first]),
            "Softmax" if float && node.int("axis").unwrap_or(-1) == -1 => {
                one(Box::new(Softmax), &[first])
            }
            "ReduceSum" | "ReduceMean" if float => {
                let axes = match inputs.get(1) {
                    Some(axes) => self.constant(axes)?.ints()?,
                    None => node.ints("axes")?.to_vec(),
                };
                let [axis] = axes[..] else { return None };
                let step = Reduce {
                    axis,
                    keep: node.int("keepdims").unwrap_or(1) == 1,
                    mean: node.is("ReduceMean"),
                };
                one(Box::new(step), &[first])
            }
            "Transpose" if float => {
                let perm: Option<Vec<usize>> = node
                    .ints("perm")?
                    .iter()
                    .map(|p| usize::try_from(*p).ok())
                    .collect();
                one(Box::new(Transpose { perm: perm? }), &[first])
            }
            "Shape" if matches!(kind, Some(Kind::Float | Kind::Int)) => {
                let step = ShapeOf {
                    start: node.int("start").unwrap_or(0),
                    end: node.int("end"),
                };
                one(Box::new(step), &[first])
            }
            "Slice"
                if kind == Some(Kind::Int)
                    && inputs.len() == 3
                    && self.constant(first).is_some() =>
            {
                one(Box::new(SliceInts), &inputs)
            }
            "Gather"
                if self.constant(first).is_some_and(|c| c.dims.len() == 1)
                    && kind == Some(Kind::Int) =>
            {
                let index = *inputs.get(1)?;
                let table = self.constant(first)?.ints()?;
                let indexed = self.kind(index) == Some(Kind::Int);
                if indexed {
                    one(Box::new(GatherInts { table }), &[index])
                } else {
                    None
                }
            }
            "Cast" if kind == Some(Kind::Int) && node.int("to") == Some(1) => {
                one(Box::new(CastInts), &[first])
            }
            // what a constant becomes in another shape is tract's to say: it has no memory here
            "Identity" | "Reshape" | "Unsqueeze" | "Squeeze" | "Flatten"
                if self.constant(first).is_some() =>
            {
                None
            }
            "Identity" if float => one(Box::new(View::Identity), &[first]),
            "Reshape" if float => {
                let shape = self.constant(inputs.get(1)?)?.ints()?;
                one(Box::new(View::Reshape(shape)), &[first])
            }
            "Unsqueeze" if float => {
                let axes = self.constant(inputs.get(1)?)?.ints()?;
                one(Box::new(View::Unsqueeze(axes)), &[first])
            }
            "Squeeze" if float => {
                let axes = match inputs.get(1) {
                    Some(axes) => self.constant(axes)?.ints()?,
                    None => Vec::new(),
                };
                one(Box::new(View::Squeeze(axes)), &[first])
            }
            "Flatten" if float => one(
                Box::new(View::Flatten(node.int("axis").unwrap_or(1))),
                &[first],
            ),
            "QuantizeLinear" if float => {
                let quant = self.fixed(inputs.get(1)?, inputs.get(2)?)?;
                let pictures = self
                    .graph
                    .users(made)
                    .iter()
                    .all(|u| self.node(*u).is("QLinearConv"));
                if pictures {
                    one(Box::new(QuantiseImage(quant)), &[first])
                } else {
                    None
                }
            }
            "DequantizeLinear" if kind == Some(Kind::Image) => {
                let quant = self.fixed(inputs.get(1)?, inputs.get(2)?)?;
                one(Box::new(DequantiseImage(quant)), &[first])
            }
            _ => None,
        }
    }

    /// A node for tract.
    pub(super) fn foreign(&self, at: usize) -> Result<Fused, String> {
        let node = self.node(at);
        let among = |name: &&String| self.graph.constant(name).is_some();
        let mut consts = Vec::new();
        for name in node.inputs.iter().filter(among) {
            if let Some(value) = self.graph.constant(name) {
                consts.push(value.to_proto(name));
            }
        }
        let op = node.proto.op_type.as_str();
        let floats = node.inputs.first().and_then(|i| self.kind(i)) == Some(Kind::Float);
        let kind = if floats && FLOAT_OPS.contains(&op) {
            Kind::Float
        } else {
            Kind::Foreign
        };
        let step = Foreign::new(node, consts, self.graph.opset, kind)?;
        let inputs = step.values().to_vec();
        let codes = |name: &&String| {
            let kind = self.kind(name);
            matches!(kind, Some(Kind::Rows | Kind::Image | Kind::Bytes))
        };
        if let Some(input) = inputs.iter().find(codes) {
            return Err(format!(
                "node {} reads {input:?}, which is held as codes",
                node.proto.name
            ));
        }
        Ok(Fused {
            step: Box::new(step),
            inputs,
            outputs: node
                .outputs
                .iter()
                .filter(|o| !o.is_empty())
                .cloned()
                .collect(),
            nodes: vec![at],
            why: Some(format!("nothing of ours matches {}", node.proto.op_type)),
        })
    }
}

/// Standard operators that make floats of floats.
const FLOAT_OPS: [&str; 32] = [
    "Abs",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Conv",
    "ConvTranspose",
    "Elu",
    "Erf",
    "Exp",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LeakyRelu",
    "Log",
    "MatMul",
    "MaxPool",
    "Neg",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Relu",
    "Reshape",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Sqrt",
    "Squeeze",
    "Unsqueeze",
];
