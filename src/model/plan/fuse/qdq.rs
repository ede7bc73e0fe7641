//! The form that exporters write: floats between `QuantizeLinear` and `DequantizeLinear`, which
//! mean codes. Products and convolutions between them are planned as integers.
//!
//! A `DequantizeLinear` that others read too is no part of a group; it goes when nobody is left.
//! Signed codes are held as unsigned ones, 128 higher, and their zero point with them.

use super::chain::Chain;
use super::pictures::Convolution;
use super::{FusedOp, Matcher, fused};
use crate::kernels::int8::{Activation, PackedWeights, Quant};
use crate::model::plan::error::PlanError;
use crate::model::plan::graph::{Const, Node, Values};
use crate::model::plan::step::Kind;
use crate::model::plan::steps::{LinearStep, MaxCodes, Quantise, QuantiseImage, Rounded};
use std::collections::HashSet;
use tract_onnx::prelude::DatumType;

/// Weights behind a `DequantizeLinear`, as signed bytes around 0.
struct Weights<'a> {
    dims: &'a [usize],
    bytes: Vec<i8>,
    /// One, or one a column.
    scales: &'a Const,
}

impl<'a> Matcher<'a> {
    /// The codes that `value` is a `DequantizeLinear` of.
    pub(super) fn coded(&self, value: &str) -> Option<(&'a str, Quant)> {
        let (_, node) = self.graph.made_by(value, "DequantizeLinear")?;
        let codes = node.inputs.first()?;
        self.constant(codes).is_none().then_some(())?;
        Some((codes, self.graph.quant_of(node)?))
    }

    /// The node, and the `DequantizeLinear`s that nobody else reads.
    pub(super) fn with_coded(&self, at: usize) -> Vec<usize> {
        let node = self.node(at);
        let alone = |value: &String| {
            let (before, dequantise) = self.graph.made_by(value, "DequantizeLinear")?;
            let output = dequantise.outputs.first()?;
            let leaves = self.graph.outputs.contains(output);
            (self.graph.users(output).len() == 1 && !leaves).then_some(before)
        };
        let mut nodes: Vec<usize> = node.inputs.iter().filter_map(alone).collect();
        nodes.push(at);
        nodes
    }

    /// Whether `codes` are a picture's, as far as steps were matched.
    pub(super) fn is_picture(&self, codes: &str) -> bool {
        self.kind(codes) == Some(Kind::Image)
    }

    /// Constant weights whose output channels lie along `axis`.
    fn coded_weights(&self, value: &str, axis: i64) -> Option<Weights<'a>> {
        let (_, node) = self.graph.made_by(value, "DequantizeLinear")?;
        let weights = self.constant(node.inputs.first()?)?;
        let scales = self.constant(node.inputs.get(1)?)?;
        let zeros = node.inputs.get(2).filter(|z| !z.is_empty());
        let zeros = match zeros {
            Some(zeros) => self.constant(zeros)?.ints()?,
            None => vec![0],
        };
        let (bytes, middle): (Vec<i8>, i64) = match &weights.values {
            Values::I8(bytes) => (bytes.clone(), 0),
            // around their zero point of 128 they are signed bytes
            Values::U8(bytes) => (bytes.iter().map(|b| (b ^ 0x80) as i8).collect(), 128),
            _ => return None,
        };
        let rank = weights.dims.len() as i64;
        let along = node.int("axis").unwrap_or(1).rem_euclid(rank.max(1));
        let many = scales.floats()?.len();
        let channels = *weights.dims.get(usize::try_from(axis).ok()?)?;
        let fits = zeros.iter().all(|z| *z == middle)
            && node.int("block_size").unwrap_or(0) == 0
            && (many == 1 || many == channels && along == axis)
            && scales.floats()?.iter().all(|s| *s > 0.0)
            && !bytes.is_empty();
        fits.then_some(Weights {
            dims: &weights.dims,
            bytes,
            scales,
        })
    }

    /// Constant floats, written as such or as codes; one a column of `n`.
    fn bias_of(&self, value: &str, n: usize) -> Option<Vec<f32>> {
        let floats = match self.constant(value) {
            Some(constant) => constant.floats()?.to_vec(),
            None => {
                let (_, node) = self.graph.made_by(value, "DequantizeLinear")?;
                let codes = self.constant(node.inputs.first()?)?.ints()?;
                let scales = self.constant(node.inputs.get(1)?)?.floats()?;
                let zero = node.inputs.get(2).filter(|z| !z.is_empty());
                let centred = match zero {
                    Some(zero) => self.constant(zero)?.ints()?.iter().all(|z| *z == 0),
                    None => true,
                };
                let scale = |at: usize| scales.get(if scales.len() == 1 { 0 } else { at });
                let floats = codes.iter().enumerate().map(|(at, code)| {
                    // as the standard multiplies: in float32
                    Some(*code as f32 * scale(at)?)
                });
                floats.collect::<Option<Vec<f32>>>().filter(|_| centred)?
            }
        };
        (floats.len() == n).then_some(floats)
    }

    /// `Conv` from codes to codes, with the `Relu` or `Clip` between.
    pub(super) fn coded_conv(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        let (codes, from) = self.coded(node.inputs.first()?)?;
        let weights = self.coded_weights(node.inputs.get(1)?, 0)?;
        let channels = *weights.dims.first()?;
        let bias = match node.inputs.get(2).filter(|b| !b.is_empty()) {
            Some(bias) => self.bias_of(bias, channels)?,
            None => vec![0.0; channels],
        };
        let scales = weights.scales.floats()?;
        let whole = |(channel, bias): (usize, &f32)| {
            let scale = scales.get(if scales.len() == 1 { 0 } else { channel })?;
            let code = (f64::from(*bias) / (f64::from(from.scale) * f64::from(*scale))).round();
            (code.abs() <= f64::from(i32::MAX)).then_some(code as i32)
        };
        let bias: Option<Vec<i32>> = bias.iter().enumerate().map(whole).collect();
        let mut chain = Chain {
            value: node.outputs.first()?,
            nodes: self.with_coded(at),
        };
        let (low, high) = self.limits(&mut chain);
        let (end, made, quant) = self.requantised(chain.value)?;
        chain.nodes.push(end);
        let code = |x: f32| {
            let code = (x / quant.scale).round_ties_even() + f32::from(quant.zero);
            code.clamp(0.0, 255.0) as u8
        };
        self.convolution(&Convolution {
            node,
            nodes: chain.nodes,
            codes,
            from,
            bytes: &weights.bytes,
            dims: weights.dims,
            scales,
            bias: bias?,
            quant,
            clamp: (code(low), code(high)),
            made,
        })
    }

    /// What a `Relu` or a `Clip` next keeps values within.
    fn limits(&self, chain: &mut Chain<'a>) -> (f32, f32) {
        let all = (f32::NEG_INFINITY, f32::INFINITY);
        if self.maybe(chain, "Relu", |_| true).is_some() {
            return (0.0, all.1);
        }
        let of = |node: &Node| -> Option<(f32, f32)> {
            let limit = |at: usize, name: &str, usual: f32| match node.inputs.get(at) {
                Some(input) if !input.is_empty() => self.constant(input)?.float(),
                _ => Some(node.float(name).unwrap_or(usual)),
            };
            Some((limit(1, "min", all.0)?, limit(2, "max", all.1)?))
        };
        let clip = self.maybe(chain, "Clip", |node| of(node).is_some_and(|(a, b)| a <= b));
        clip.and_then(of).unwrap_or(all)
    }

    /// `MatMul` or `Gemm` of codes and weights, with bias and `Relu`: floats.
    pub(super) fn coded_linear(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        let (codes, _) = self.coded(node.inputs.first()?)?;
        // rows come from floats, never from a picture
        let source = self.graph.made_by(codes, "QuantizeLinear");
        if source.is_none() || self.is_picture(codes) {
            return None;
        }
        let plain = |name: &str| node.float(name).is_none_or(|x| x == 1.0);
        let turned = node.int("transB").unwrap_or(0) != 0;
        if !plain("alpha") || !plain("beta") || node.int("transA").unwrap_or(0) != 0 {
            return None;
        }
        let weights = self.coded_weights(node.inputs.get(1)?, i64::from(!turned))?;
        let [rows, columns] = *weights.dims else {
            return None;
        };
        let (k, n) = if turned {
            (columns, rows)
        } else {
            (rows, columns)
        };
        let bytes: Vec<i8> = if turned {
            let at = |i: usize| weights.bytes[i % n * k + i / n];
            (0..k * n).map(at).collect()
        } else {
            weights.bytes
        };
        let mut chain = Chain {
            value: node.outputs.first()?,
            nodes: self.with_coded(at),
        };
        let bias = match node.inputs.get(2).filter(|b| !b.is_empty()) {
            Some(bias) => Some(self.bias_of(bias, n)?),
            None => {
                let value = chain.value;
                let of = |node: &Node| self.bias_of(node.other(value)?, n);
                self.maybe(&mut chain, "Add", |node| of(node).is_some())
                    .and_then(of)
            }
        };
        let activation = match self.maybe(&mut chain, "Relu", |_| true) {
            Some(_) => Activation::Relu,
            None => Activation::Identity,
        };
        let packed = PackedWeights::new(self.level, &bytes, k, n)?;
        let step = LinearStep {
            columns: self.columns(packed, weights.scales, bias.as_deref())?,
            activation,
            residual: false,
        };
        Some(vec![fused(step, &[codes], chain.value, chain.nodes)])
    }

    /// `MaxPool` between codes of one quantisation.
    pub(super) fn coded_max(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        let (codes, from) = self.coded(node.inputs.first()?)?;
        let (end, made, quant) = self.requantised(node.outputs.first()?)?;
        let window = self.max_window(node)?;
        (from == quant && self.is_picture(codes)).then(|| {
            let step = MaxCodes { window };
            let mut nodes = self.with_coded(at);
            nodes.push(end);
            vec![fused(step, &[codes], made, nodes)]
        })
    }

    /// Every `QuantizeLinear` of floats whose codes a step reads, and floats that are only rounded
    /// to codes and back.
    pub(super) fn quantise_fixed(&mut self) -> Result<(), PlanError> {
        for at in 0..self.graph.nodes.len() {
            let node = self.node(at);
            if self.taken[at] || !node.is("QuantizeLinear") || node.outputs.len() != 1 {
                continue;
            }
            let (source, codes) = (&node.inputs[0], &node.outputs[0]);
            let floats = self.graph.type_of(source) == Some(DatumType::F32);
            let Some(quant) = self.graph.quant_of(node).filter(|_| floats) else {
                continue;
            };
            let readers = || self.ops.iter().filter(|op| op.inputs.contains(codes));
            let pictures = readers().filter(|op| op.step.reads_pictures()).count();
            let rows = readers().count() - pictures;
            if pictures > 0 && rows > 0 {
                return Err(PlanError::not_planned(format!(
                    "node {} is read as a picture and as rows",
                    node.proto.name
                )));
            }
            if pictures > 0 {
                let step = QuantiseImage(quant);
                self.take(vec![fused(step, &[source], codes, vec![at])])?;
                continue;
            }
            for user in self.graph.users(codes) {
                let other = self.node(*user);
                let back =
                    other.is("DequantizeLinear") && self.graph.quant_of(other) == Some(quant);
                if back && !self.taken[*user] {
                    let op = fused(Rounded(quant), &[source], &other.outputs[0], vec![*user]);
                    self.take(vec![op])?;
                }
            }
            if rows > 0 {
                let step = Quantise { fixed: Some(quant) };
                self.take(vec![fused(step, &[source], codes, vec![at])])?;
            }
        }
        Ok(())
    }

    /// Nodes whose outputs nobody reads any more are done with.
    pub(super) fn drop_unread(&mut self) {
        let steps = self.ops.iter().flat_map(|op| &op.inputs);
        let read = steps.chain(&self.graph.outputs).map(String::as_str);
        let mut read: HashSet<&str> = read.collect();
        for at in (0..self.graph.nodes.len()).rev() {
            if self.taken[at] {
                continue;
            }
            let node = &self.graph.nodes[at];
            if node.outputs.iter().any(|o| read.contains(o.as_str())) {
                read.extend(node.inputs.iter().map(String::as_str));
            } else {
                self.taken[at] = true;
            }
        }
    }
}
