//! From nodes to steps: which groups of nodes are one operation of ours.
//!
//! Every matcher starts at the node that multiplies and looks both ways. A value within a
//! group may have no reader outside it. What no matcher takes is a single operation of ours
//! or a [`Foreign`] one.

use super::foreign::Foreign;
use super::graph::{Const, Graph, Node};
use super::steps::{
    self, AddCodes, After, Attend, AveragePool1d, Binary, BinaryOp, CastInts, Columns, Conv,
    Conv1d, DepthwiseConv, DequantiseImage, DynamicProduct, Embed, GatherInts, LayerNorm,
    LinearStep, PoolCodes, Quantise, QuantiseImage, Reduce, ShapeOf, SliceInts, Softmax, TableHead,
    Tanh, Transpose, View, Window,
};
use super::{Kind, Step};
use crate::kernels::Level;
use crate::kernels::int8::{Activation, DepthwiseWeights, PackedWeights, Quant, padded_depth};
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
fn matchers<'a>() -> [Matcher<'a>; 10] {
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

/// A chain of nodes being followed from a value on.
struct Chain<'a> {
    value: &'a str,
    nodes: Vec<usize>,
}

/// A dynamically quantised value: the node, and what it quantises.
#[derive(Clone, Copy)]
struct Quantised<'a> {
    at: usize,
    source: &'a str,
    codes: &'a str,
    scale: &'a str,
}

/// `found` within rounding of `wanted`.
fn about(found: Option<f32>, wanted: f32) -> bool {
    found.is_some_and(|f| (f - wanted).abs() <= 1e-6 * wanted.abs())
}

impl<'a> Fusion<'a> {
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

    fn kind(&self, value: &str) -> Option<Kind> {
        if let Some(constant) = self.graph.constant(value) {
            return Some(match constant.floats() {
                Some(_) => Kind::Float,
                None if constant.bytes().is_some() => Kind::Foreign,
                None => Kind::Int,
            });
        }
        self.kinds.get(value).copied()
    }

    fn node(&self, at: usize) -> &'a Node {
        &self.graph.nodes[at]
    }

    fn constant(&self, name: &str) -> Option<&'a Const> {
        self.graph.constant(name).map(|c| &**c)
    }

    /// The `DynamicQuantizeLinear` that makes `codes`, whose zero point must be `zero`.
    fn quantised(&self, codes: &str, zero: &str) -> Option<Quantised<'a>> {
        let (at, node) = self.graph.made_by(codes, "DynamicQuantizeLinear")?;
        let [made, scale, its_zero] = node.outputs.as_slice() else {
            return None;
        };
        (made == codes && its_zero == zero).then_some(Quantised {
            at,
            source: node.inputs.first()?,
            codes: made,
            scale,
        })
    }

    /// The next node of a chain, an `op` that is the only reader of the last value.
    fn next(&self, chain: &mut Chain<'a>, op: &str) -> Option<&'a Node> {
        let (at, node) = self.graph.only_user(chain.value, op)?;
        chain.nodes.push(at);
        chain.value = node.outputs.first()?;
        Some(node)
    }

    /// As [`next`](Self::next), where there need be none.
    fn maybe(
        &self,
        chain: &mut Chain<'a>,
        op: &str,
        fits: impl Fn(&Node) -> bool,
    ) -> Option<&'a Node> {
        let (at, node) = self.graph.only_user(chain.value, op)?;
        if !fits(node) {
            return None;
        }
        chain.nodes.push(at);
        chain.value = node.outputs.first()?;
        Some(node)
    }

    /// Integer sums to floats: `Cast`, `Mul` by `scale·c`; returns `c`, or 1 for `scale` alone.
    fn scaled(&self, chain: &mut Chain<'a>, scale: &str) -> Option<&'a Const> {
        self.next(chain, "Cast")
            .filter(|n| n.int("to") == Some(1))?;
        let before = chain.value;
        let factor = self.next(chain, "Mul")?.other(before)?;
        let (at, mul) = self.graph.made_by(factor, "Mul")?;
        let constant = self.constant(mul.other(scale)?)?;
        self.graph.only_user(factor, "Mul")?;
        chain.nodes.push(at);
        Some(constant)
    }

    /// Integer sums of two quantised values to floats: `Cast`, `Mul` by both scales.
    fn scaled_by_both(&self, chain: &mut Chain<'a>, a: &str, b: &str) -> Option<()> {
        self.next(chain, "Cast")
            .filter(|n| n.int("to") == Some(1))?;
        let before = chain.value;
        let factor = self.next(chain, "Mul")?.other(before)?;
        let (at, mul) = self.graph.made_by(factor, "Mul")?;
        self.graph.only_user(factor, "Mul")?;
        chain.nodes.push(at);
        (mul.other(a)? == b).then_some(())
    }

    /// `Add` of a constant with one value a column.
    fn bias(&self, chain: &mut Chain<'a>, n: usize) -> Option<&'a [f32]> {
        let value = chain.value;
        let of = |node: &Node| {
            let constant = self.constant(node.other(value)?)?;
            constant.floats().filter(|b| b.len() == n)
        };
        let node = self.maybe(chain, "Add", |node| of(node).is_some())?;
        let constant = self.constant(node.other(value)?)?;
        constant.floats()
    }

    /// `x/2·(1 + erf(x/√2))`, in the orders in which exporters write it.
    fn gelu(&self, chain: &mut Chain<'a>) -> Option<()> {
        let x = chain.value;
        if self.graph.outputs.iter().any(|o| o == x) {
            return None;
        }
        let [one, two] = self.graph.users(x) else {
            return None;
        };
        let inner = [*one, *two]
            .into_iter()
            .find(|at| self.erf_argument(*at, x))?;
        let outer = if inner == *one { *two } else { *one };
        let mut nodes = vec![inner, outer];
        let mut erf = Chain {
            value: self.node(inner).outputs.first()?,
            nodes: Vec::new(),
        };
        self.next(&mut erf, "Erf")?;
        let before = erf.value;
        let add = self.next(&mut erf, "Add")?;
        let one = self.constant(add.other(before)?)?.float();
        let half = self.node(outer).is("Mul").then(|| self.node(outer))?;
        let end = if about(half.other(x).and_then(|c| self.constant(c)?.float()), 0.5) {
            // (x·½)·(erf + 1)
            let before = erf.value;
            let product = self.next(&mut erf, "Mul")?;
            (product.other(before)? == half.outputs.first()?).then_some(())?;
            self.graph.only_user(half.outputs.first()?, "Mul")?;
            erf.value
        } else {
            // (x·(erf + 1))·½
            (half.other(x)? == erf.value && self.graph.users(erf.value).len() == 1).then_some(())?;
            let value = half.outputs.first()?;
            let (at, last) = self.graph.only_user(value, "Mul")?;
            about(self.constant(last.other(value)?)?.float(), 0.5).then_some(())?;
            nodes.push(at);
            last.outputs.first()?
        };
        about(one, 1.0).then_some(())?;
        nodes.append(&mut erf.nodes);
        chain.nodes.append(&mut nodes);
        chain.value = end;
        Some(())
    }

    /// Whether a node makes `x/√2`.
    fn erf_argument(&self, at: usize, x: &str) -> bool {
        let node = self.node(at);
        let constant = node.other(x).and_then(|c| self.constant(c)?.float());
        let root = std::f32::consts::SQRT_2;
        node.is("Mul") && about(constant, 1.0 / root)
            || node.is("Div") && node.inputs[0] == x && about(constant, root)
    }

    /// Weights of a `MatMulInteger`: signed bytes `[k, n]` without a zero point.
    fn weights(&self, node: &Node) -> Option<&'a Const> {
        let zero = node.inputs.get(3).filter(|z| !z.is_empty());
        let free = zero.is_none_or(|z| {
            let ints = self.constant(z).and_then(Const::ints);
            ints.is_some_and(|v| v.iter().all(|x| *x == 0))
        });
        let weights = self.constant(node.inputs.get(1)?)?;
        (free && weights.dims.len() == 2 && weights.bytes().is_some()).then_some(weights)
    }

    fn columns(
        &self,
        weights: &[i8],
        (k, n): (usize, usize),
        scales: &Const,
        bias: Option<&[f32]>,
    ) -> Option<Columns> {
        let scales = match scales.floats()? {
            [one] => vec![*one; n],
            many if many.len() == n => many.to_vec(),
            _ => return None,
        };
        let bias = bias.map_or_else(|| vec![0.0; n], <[f32]>::to_vec);
        Some(Columns {
            weights: PackedWeights::new(self.level, weights, k, n)?,
            scales: steps::panels(&scales, 0.0),
            bias: steps::panels(&bias, 0.0),
        })
    }

    /// A product with weights, its scales, bias, activation and residual.
    fn linear(&self, at: usize) -> Option<Vec<Fused>> {
        let node = self.node(at);
        if !node.is("MatMulInteger") {
            return None;
        }
        let input = self.quantised(node.inputs.first()?, node.inputs.get(2)?)?;
        let weights = self.weights(node)?;
        let (k, n) = (weights.dims[0], weights.dims[1]);
        let mut chain = Chain {
            value: node.outputs.first()?,
            nodes: vec![at],
        };
        let scales = self.scaled(&mut chain, input.scale)?;
        let bias = self.bias(&mut chain, n);
        let activation = match self.gelu(&mut chain) {
            Some(()) => Activation::Gelu,
            None => match self.maybe(&mut chain, "Relu", |_| true) {
                Some(_) => Activation::Relu,
                None => Activation::Identity,
            },
        };
        let residual = self.residual(&mut chain);
        let step = LinearStep {
            columns: self.columns(weights.bytes()?, (k, n), scales, bias)?,
            activation,
            residual: residual.is_some(),
        };
        let inputs: Vec<&str> = std::iter::once(input.codes).chain(residual).collect();
        Some(vec![fused(step, &inputs, chain.value, chain.nodes)])
    }

    /// `Add` of a value of the same shape, made elsewhere. Shapes are checked at layout, so
    /// only what looks like a residual is taken: a layer norm follows, or another sum.
    fn residual(&self, chain: &mut Chain<'a>) -> Option<&'a str> {
        let value = chain.value;
        let (_, add) = self.graph.only_user(value, "Add")?;
        let other = add.other(value)?;
        let is_sum = self.graph.made_by(other, "Add").is_some()
            || self.graph.made_by(other, "LayerNormalization").is_some()
            || self.graph.inputs.iter().any(|i| i == other);
        let fits = self.constant(other).is_none() && is_sum && other != value;
        let node = self.maybe(chain, "Add", |_| fits)?;
        node.other(value)
    }

    /// The rows `[n, heads·width]` behind `Transpose(Reshape(rows), perm)`.
    fn heads(
        &self,
        value: &'a str,
        perm: [i64; 3],
    ) -> Option<(&'a str, (usize, usize), [usize; 2])> {
        let (turned, transpose) = self.graph.made_by(value, "Transpose")?;
        let (shaped, reshape) = self.graph.made_by(transpose.inputs.first()?, "Reshape")?;
        let alone = self.graph.users(reshape.outputs.first()?).len() == 1
            && self.graph.users(value).len() == 1
            && transpose.ints("perm")? == perm;
        let shape = self.constant(reshape.inputs.get(1)?)?.ints()?;
        match shape.as_slice() {
            [0 | -1, heads, width] if alone && *heads > 0 && *width > 0 => {
                let source = reshape.inputs.first()?;
                Some((source, (*heads as usize, *width as usize), [shaped, turned]))
            }
            _ => None,
        }
    }

    /// Quantise, straight from the rows: codes do not care how they are ordered.
    fn quantise_heads(&self, q: Quantised<'a>, perm: [i64; 3]) -> Option<(Fused, (usize, usize))> {
        let (source, heads, mut nodes) = {
            let (source, heads, nodes) = self.heads(q.source, perm)?;
            (source, heads, nodes.to_vec())
        };
        nodes.push(q.at);
        Some((
            fused(Quantise { fixed: None }, &[source], q.codes, nodes),
            heads,
        ))
    }

    /// Scores, softmax and mix of quantised heads.
    fn attention(&self, at: usize) -> Option<Vec<Fused>> {
        let node = self.node(at);
        if !node.is("MatMulInteger") || node.inputs.len() != 4 {
            return None;
        }
        let q = self.quantised(&node.inputs[0], &node.inputs[2])?;
        let k = self.quantised(&node.inputs[1], &node.inputs[3])?;
        let (quantise_q, heads) = self.quantise_heads(q, [1, 0, 2])?;
        let (quantise_k, same) = self.quantise_heads(k, [1, 2, 0])?;
        let mut chain = Chain {
            value: node.outputs.first()?,
            nodes: vec![at],
        };
        self.scaled_by_both(&mut chain, q.scale, k.scale)?;
        let scale = self.factor(&mut chain);
        self.next(&mut chain, "Softmax")
            .filter(|n| matches!(n.int("axis"), None | Some(-1 | 2)))?;
        let (soft_at, soft) = self.graph.only_user(chain.value, "DynamicQuantizeLinear")?;
        let (mix_at, mix) = self
            .graph
            .only_user(soft.outputs.first()?, "MatMulInteger")?;
        if mix.inputs.len() != 4
            || mix.inputs[0] != soft.outputs[0]
            || mix.inputs[2] != soft.outputs[2]
        {
            return None;
        }
        chain.nodes.extend([soft_at, mix_at]);
        chain.value = mix.outputs.first()?;
        let v = self.quantised(&mix.inputs[1], &mix.inputs[3])?;
        let (quantise_v, again) = self.quantise_heads(v, [1, 0, 2])?;
        self.scaled_by_both(&mut chain, &soft.outputs[1], v.scale)?;
        self.next(&mut chain, "Transpose")
            .filter(|n| n.ints("perm") == Some(&[1, 0, 2]))?;
        let reshape = self.next(&mut chain, "Reshape")?;
        let shape = self.constant(reshape.inputs.get(1)?)?.ints()?;
        let columns = (heads.0 * heads.1) as i64;
        let fits = heads == same && heads == again && heads.1 <= 256 && scale > 0.0;
        if !fits || !matches!(shape.as_slice(), [0 | -1, c] if *c == columns || *c == -1) {
            return None;
        }
        let step = Attend {
            heads: heads.0,
            width: heads.1,
            scale,
        };
        let inputs = [q.codes, k.codes, v.codes];
        let attend = fused(step, &inputs, chain.value, chain.nodes);
        Some(vec![quantise_q, quantise_k, quantise_v, attend])
    }

    /// `Mul` or `Div` of the scores by a constant.
    fn factor(&self, chain: &mut Chain<'a>) -> f32 {
        let value = chain.value;
        let of = |node: &Node| node.other(value).and_then(|c| self.constant(c)?.float());
        if let Some(mul) = self.maybe(chain, "Mul", |n| of(n).is_some()) {
            return of(mul).unwrap_or(1.0);
        }
        match self.maybe(chain, "Div", |n| {
            n.inputs[0] == value && of(n).is_some_and(|d| d != 0.0)
        }) {
            Some(div) => 1.0 / of(div).unwrap_or(1.0),
            None => 1.0,
        }
    }

    /// A product of two quantised values.
    fn product(&self, at: usize) -> Option<Vec<Fused>> {
        let node = self.node(at);
        if !node.is("MatMulInteger") || node.inputs.len() != 4 {
            return None;
        }
        let a = self.quantised(&node.inputs[0], &node.inputs[2])?;
        let b = self.quantised(&node.inputs[1], &node.inputs[3])?;
        let mut chain = Chain {
            value: node.outputs.first()?,
            nodes: vec![at],
        };
        self.scaled_by_both(&mut chain, a.scale, b.scale)?;
        Some(vec![fused(
            DynamicProduct,
            &[a.codes, b.codes],
            chain.value,
            chain.nodes,
        )])
    }

    /// `[t, c]` behind `Unsqueeze(Transpose(rows))`.
    fn behind_time(&self, value: &'a str) -> Option<(&'a str, [usize; 2])> {
        let (lifted, unsqueeze) = self.graph.made_by(value, "Unsqueeze")?;
        let (turned, transpose) = self.graph.made_by(unsqueeze.inputs.first()?, "Transpose")?;
        let axes = self.constant(unsqueeze.inputs.get(1)?)?.ints()?;
        let alone = self.graph.users(value).len() == 1
            && self.graph.users(transpose.outputs.first()?).len() == 1
            && axes == [0]
            && transpose.ints("perm")? == [1, 0];
        alone.then_some((transpose.inputs.first()?.as_str(), [turned, lifted]))
    }

    /// `Transpose(Squeeze(value))`: back to rows.
    fn back_to_rows(&self, chain: &mut Chain<'a>) -> Option<()> {
        let squeeze = self.next(chain, "Squeeze")?;
        let axes = self.constant(squeeze.inputs.get(1)?)?.ints()?;
        let transpose = self.next(chain, "Transpose")?;
        (axes == [0] && transpose.ints("perm")? == [1, 0]).then_some(())
    }

    /// `ConvInteger` over time, from rows to rows.
    fn conv1d(&self, at: usize) -> Option<Vec<Fused>> {
        let node = self.node(at);
        if !node.is("ConvInteger") {
            return None;
        }
        let input = self.quantised(node.inputs.first()?, node.inputs.get(2)?)?;
        let weights = self.constant(node.inputs.get(1)?)?;
        let [n, channels, taps] = weights.dims[..] else {
            return None;
        };
        let [stride] = *node.ints("strides")? else {
            return None;
        };
        let [pad, end] = *node.ints("pads")? else {
            return None;
        };
        let plain = node.int("group").unwrap_or(1) == 1
            && node
                .ints("dilations")
                .is_none_or(|d| d.iter().all(|x| *x == 1))
            && pad == end
            && (0..taps as i64).contains(&pad)
            && stride > 0
            && node.inputs.get(3).is_none_or(String::is_empty);
        let (source, nodes) = self.behind_time(input.source)?;
        let mut chain = Chain {
            value: node.outputs.first()?,
            nodes: vec![at],
        };
        let scales = self.scaled(&mut chain, input.scale)?;
        let bias = self.bias(&mut chain, n);
        let activation = match self.gelu(&mut chain) {
            Some(()) => Activation::Gelu,
            None => Activation::Identity,
        };
        self.back_to_rows(&mut chain)?;
        if !plain || channels == 0 || n == 0 {
            return None;
        }
        let width = padded_depth(channels);
        let packed = by_tap(weights.bytes()?, (n, channels, taps), width);
        let step = Conv1d {
            columns: self.columns(&packed, (taps * width, n), scales, bias)?,
            channels,
            taps,
            stride: stride as usize,
            pad: pad as usize,
            activation,
        };
        let mut before = nodes.to_vec();
        before.push(input.at);
        let quantise = fused(Quantise { fixed: None }, &[source], input.codes, before);
        Some(vec![
            quantise,
            fused(step, &[input.codes], chain.value, chain.nodes),
        ])
    }

    /// `AveragePool` over time, from rows to rows.
    fn average(&self, at: usize) -> Option<Vec<Fused>> {
        let node = self.node(at);
        if !node.is("AveragePool") {
            return None;
        }
        let (source, before) = self.behind_time(node.inputs.first()?)?;
        let [width] = *node.ints("kernel_shape")? else {
            return None;
        };
        let [stride] = *node.ints("strides")? else {
            return None;
        };
        let [pad, end] = *node.ints("pads")? else {
            return None;
        };
        let plain = node.int("count_include_pad").unwrap_or(0) == 0
            && node.int("ceil_mode").unwrap_or(0) == 0
            && pad == end
            && (0..width).contains(&pad)
            && stride > 0;
        let mut chain = Chain {
            value: node.outputs.first()?,
            nodes: vec![before[0], before[1], at],
        };
        self.back_to_rows(&mut chain)?;
        let step = AveragePool1d {
            width: width as usize,
            stride: stride as usize,
            pad: pad as usize,
        };
        plain.then(|| vec![fused(step, &[source], chain.value, chain.nodes)])
    }

    /// Rows of a table of bytes, each with its scale.
    fn embedding(&self, at: usize) -> Option<Vec<Fused>> {
        let node = self.node(at);
        let table = self.constant(node.inputs.first()?)?;
        if !node.is("Gather") || node.int("axis").unwrap_or(0) != 0 || table.dims.len() != 2 {
            return None;
        }
        let ids = node.inputs.get(1)?;
        let mut chain = Chain {
            value: node.outputs.first()?,
            nodes: vec![at],
        };
        self.next(&mut chain, "Cast")
            .filter(|n| n.int("to") == Some(1))?;
        let before = chain.value;
        let scales = self.next(&mut chain, "Mul")?.other(before)?;
        let (scales_at, gather) = self.graph.made_by(scales, "Gather")?;
        self.graph.only_user(scales, "Mul")?;
        chain.nodes.push(scales_at);
        let scales = self.constant(gather.inputs.first()?)?.floats()?;
        let fits = gather.inputs.get(1)? == ids
            && gather.int("axis").unwrap_or(0) == 0
            && scales.len() == table.dims[0]
            && table.dims[1] > 0
            && table.bytes().is_some();
        let step = Embed {
            table: self.graph.constant(node.inputs.first()?)?.clone(),
            scales: scales.to_vec(),
            width: table.dims[1],
        };
        fits.then(|| vec![fused(step, &[ids], chain.value, chain.nodes)])
    }

    /// The first rows of a table of bytes with one scale.
    fn head_of_table(&self, at: usize) -> Option<Vec<Fused>> {
        let node = self.node(at);
        let table = self.constant(node.inputs.first()?)?;
        if !node.is("Slice")
            || table.dims.len() != 2
            || table.dims[1] == 0
            || table.bytes().is_none()
        {
            return None;
        }
        let whole = |i: usize, wanted: i64| {
            let ints = self.constant(node.inputs.get(i)?)?.ints()?;
            (ints == [wanted]).then_some(())
        };
        whole(1, 0)?;
        if node.inputs.len() > 3 {
            whole(3, 0)?;
        }
        if node.inputs.len() > 4 {
            whole(4, 1)?;
        }
        let mut chain = Chain {
            value: node.outputs.first()?,
            nodes: vec![at],
        };
        self.next(&mut chain, "Cast")
            .filter(|n| n.int("to") == Some(1))?;
        let before = chain.value;
        let scale = self.next(&mut chain, "Mul")?.other(before)?;
        let step = TableHead {
            table: self.graph.constant(node.inputs.first()?)?.clone(),
            scale: self.constant(scale)?.float()?,
            width: table.dims[1],
        };
        let end = node.inputs.get(2)?;
        Some(vec![fused(step, &[end], chain.value, chain.nodes)])
    }

    /// A constant scale and zero point of bytes without sign.
    fn fixed(&self, scale: &str, zero: &str) -> Option<Quant> {
        let scale = self.constant(scale)?.float().filter(|s| *s > 0.0)?;
        let zero = match self.constant(zero)? {
            Const {
                values: super::graph::Values::U8(v),
                ..
            } => *v.first()?,
            _ => return None,
        };
        Some(Quant { scale, zero })
    }

    /// Codes behind a `DequantizeLinear` that only this reads.
    fn dequantised(&self, value: &str) -> Option<(usize, &'a str, Quant)> {
        let (at, node) = self.graph.made_by(value, "DequantizeLinear")?;
        let quant = self.fixed(node.inputs.get(1)?, node.inputs.get(2)?)?;
        (self.graph.users(value).len() == 1).then_some((at, node.inputs.first()?, quant))
    }

    /// The `QuantizeLinear` that is the only reader of `value`.
    fn requantised(&self, value: &str) -> Option<(usize, &'a str, Quant)> {
        let (at, node) = self.graph.only_user(value, "QuantizeLinear")?;
        let quant = self.fixed(node.inputs.get(1)?, node.inputs.get(2)?)?;
        Some((at, node.outputs.first()?, quant))
    }

    fn add_codes(&self, at: usize) -> Option<Vec<Fused>> {
        let node = self.node(at);
        if !node.is("Add") {
            return None;
        }
        let (at_a, a, quant_a) = self.dequantised(node.inputs.first()?)?;
        let (at_b, b, quant_b) = self.dequantised(node.inputs.get(1)?)?;
        let (end, made, quant) = self.requantised(node.outputs.first()?)?;
        let step = AddCodes {
            inputs: (quant_a, quant_b),
            quant,
        };
        Some(vec![fused(step, &[a, b], made, vec![at_a, at_b, at, end])])
    }

    fn pool_codes(&self, at: usize) -> Option<Vec<Fused>> {
        let node = self.node(at);
        if !node.is("GlobalAveragePool") {
            return None;
        }
        let (before, codes, from) = self.dequantised(node.inputs.first()?)?;
        let (end, made, quant) = self.requantised(node.outputs.first()?)?;
        Some(vec![fused(
            PoolCodes { from, quant },
            &[codes],
            made,
            vec![before, at, end],
        )])
    }

    /// `QLinearConv`, of one group or depthwise.
    fn conv(&self, at: usize) -> Option<Vec<Fused>> {
        let node = self.node(at);
        if !node.is("QLinearConv") || node.inputs.len() < 8 {
            return None;
        }
        let from = self.fixed(&node.inputs[1], &node.inputs[2])?;
        let quant = self.fixed(&node.inputs[6], &node.inputs[7])?;
        let weights = self.constant(&node.inputs[3])?;
        let [n, per_group, high, wide] = weights.dims[..] else {
            return None;
        };
        let scales = self.constant(&node.inputs[4])?.floats()?;
        let zeros = self.constant(&node.inputs[5])?.ints()?;
        let bias = match node.inputs.get(8).filter(|b| !b.is_empty()) {
            Some(bias) => self.constant(bias)?.ints()?,
            None => vec![0; n],
        };
        let window = window(node, (high, wide))?;
        let scale_of = |c: usize| scales.get(if scales.len() == 1 { 0 } else { c });
        let multipliers: Option<Vec<f32>> = (0..n)
            .map(|c| Some(from.scale * scale_of(c)? / quant.scale))
            .collect();
        let bias: Option<Vec<i32>> = bias.iter().map(|b| i32::try_from(*b).ok()).collect();
        let bias = bias.filter(|b| b.len() == n)?;
        let after = After {
            multipliers: steps::panels(&multipliers?, 0.0),
            bias: steps::panels(&bias, 0),
            zero_in: from.zero,
            quant,
            clamp: (0, 255),
        };
        if n <= 4 || per_group == 0 || zeros.iter().any(|z| *z != 0) {
            return None;
        }
        let group = node.int("group").unwrap_or(1);
        let bytes = weights.bytes()?;
        let (codes, made) = (
            node.inputs.first()?.as_str(),
            node.outputs.first()?.as_str(),
        );
        if group == 1 {
            let pixel = steps::pixel(per_group);
            let packed = by_tap(bytes, (n, per_group, high * wide), pixel);
            let step = Conv {
                weights: PackedWeights::new(self.level, &packed, high * wide * pixel, n)?,
                channels: per_group,
                window,
                after,
            };
            return Some(vec![fused(step, &[codes], made, vec![at])]);
        }
        let depthwise = group == n as i64 && per_group == 1 && high * wide <= steps::MAX_TAPS;
        let step = DepthwiseConv {
            weights: DepthwiseWeights::new(bytes, n, high * wide)?,
            channels: n,
            window,
            after,
        };
        depthwise.then(|| vec![fused(step, &[codes], made, vec![at])])
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

    /// One node, one step of ours.
    fn single(&self, at: usize) -> Option<Fused> {
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
    fn foreign(&self, at: usize) -> Result<Fused, String> {
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
        let codes = |name: &&String| matches!(self.kind(name), Some(Kind::Rows | Kind::Image));
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

fn window(node: &Node, size: (usize, usize)) -> Option<Window> {
    let pair = |name: &str, at: usize, default: i64| {
        let value = node
            .ints(name)
            .map_or(Some(default), |v| v.get(at).copied())?;
        usize::try_from(value).ok().filter(|v| *v < 1 << 16)
    };
    let plain = node
        .ints("dilations")
        .is_none_or(|d| d.iter().all(|x| *x == 1))
        && node
            .attribute("auto_pad")
            .is_none_or(|a| a.s.is_empty() || a.s.as_slice() == b"NOTSET");
    let window = Window {
        size,
        stride: (pair("strides", 0, 1)?, pair("strides", 1, 1)?),
        before: (pair("pads", 0, 0)?, pair("pads", 1, 0)?),
        after: (pair("pads", 2, 0)?, pair("pads", 3, 0)?),
    };
    let sound = size.0 > 0 && size.1 > 0 && window.stride.0 > 0 && window.stride.1 > 0;
    let narrow = window.before.0 < size.0 && window.before.1 < size.1;
    (plain && sound && narrow).then_some(window)
}
