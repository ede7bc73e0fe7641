//! What a node can become, by domain and type: the one list of operators.
//!
//! [`blocks`] are groups of nodes that are one step, named after the node that a matcher starts
//! at; [`SINGLE`] are ONNX's own operators that are a step by themselves; those of the domain
//! `demeanor` are in [`fusion`](crate::fusion::function).

use super::{FusedOp, Matcher};
use crate::fusion::catalogue::DOMAIN;
use crate::model::plan::error::PlanError;
use crate::model::plan::op::{Op, Reading};
use crate::model::plan::steps::{
    Binary, BinaryOp, Call, CastInts, Concat, DequantiseImage, GatherInts, GatherRows, LayerNorm,
    Product32, Reduce, Select, ShapeOf, SliceInts, Softmax, Transpose, Unary, View, Written,
};

type Match<'a> = fn(&Matcher<'a>, usize) -> Option<Vec<FusedOp>>;

/// In this order: a larger group before the smaller ones inside it.
pub(super) fn blocks<'a>() -> [(&'static str, Match<'a>); 17] {
    [
        ("MatMulInteger", Matcher::attention),
        ("ConvInteger", Matcher::conv1d),
        ("MatMulInteger", Matcher::linear),
        ("MatMulInteger", Matcher::product),
        ("AveragePool", Matcher::average),
        ("Gather", Matcher::embedding),
        ("Gather", Matcher::columns_of_table),
        ("Slice", Matcher::positions),
        ("QLinearConv", Matcher::conv),
        ("Conv", Matcher::coded_conv),
        ("Transpose", Matcher::pixels),
        ("Add", Matcher::add_codes),
        ("MaxPool", Matcher::max_codes),
        ("MaxPool", Matcher::coded_max),
        ("GlobalAveragePool", Matcher::pool_codes),
        ("MatMul", Matcher::coded_linear),
        ("Gemm", Matcher::coded_linear),
    ]
}

type Read = fn(&Op<'_>) -> Option<Reading>;

const SINGLE: &[(&str, Read)] = &[
    ("Add", |op| Binary::read(op, BinaryOp::Add)),
    ("Cast", CastInts::read),
    ("DequantizeLinear", |op| {
        DequantiseImage::read(op).or_else(|| Written::read(op))
    }),
    ("Div", |op| Binary::read(op, BinaryOp::Div)),
    ("Erf", |op| Unary::Erf.read(op)),
    ("Flatten", View::flatten),
    ("Concat", Concat::read),
    ("Gather", |op| {
        let select = GatherInts::read(op).or_else(|| Select::gather(op));
        select.or_else(|| GatherRows::read(op))
    }),
    ("Identity", View::identity),
    ("LayerNormalization", LayerNorm::read),
    ("MatMul", Product32::read),
    ("Mul", |op| Binary::read(op, BinaryOp::Mul)),
    ("ReduceMean", |op| Reduce::read(op, true)),
    ("ReduceSum", |op| Reduce::read(op, false)),
    ("Relu", |op| Unary::Relu.read(op)),
    ("Reshape", View::reshape),
    ("Shape", ShapeOf::read),
    ("Sigmoid", |op| Unary::Sigmoid.read(op)),
    ("Slice", |op| {
        SliceInts::read(op).or_else(|| Select::slice(op))
    }),
    ("Softmax", Softmax::read),
    ("Squeeze", View::squeeze),
    ("Sub", |op| Binary::read(op, BinaryOp::Sub)),
    ("Tanh", |op| Unary::Tanh.read(op)),
    ("Transpose", Transpose::read),
    ("Unsqueeze", View::unsqueeze),
];

/// One node as one step of ours, `None` where it is tract's.
///
/// # Errors
/// An operator of the domain `demeanor` with weights that do not fit it.
pub(super) fn read(op: &Op<'_>) -> Result<Option<Reading>, PlanError> {
    let node = &op.node.proto;
    match node.domain.as_str() {
        "" | "ai.onnx" => {
            let known = SINGLE.iter().find(|(name, _)| *name == node.op_type);
            let alone = node.output.len() == 1;
            Ok(known.filter(|_| alone).and_then(|(_, read)| read(op)))
        }
        DOMAIN => Call::read(op),
        _ => Ok(None),
    }
}
