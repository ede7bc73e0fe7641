//! Products with weights, and attention.

use super::chain::{Chain, Quantised};
use super::{FusedOp, Matcher, fused};
use crate::kernels::int8::{Activation, Columns, PackedWeights};
use crate::model::plan::graph::{Const, Node};
use crate::model::plan::steps::{self, Attend, DynamicProduct, LinearStep, Quantise};

impl<'a> Matcher<'a> {
    /// Weights of a `MatMulInteger`: signed bytes `[k, n]` without a zero point.
    pub(super) fn weights(&self, node: &Node) -> Option<&'a Const> {
        let zero = node.inputs.get(3).filter(|z| !z.is_empty());
        let free = zero.is_none_or(|z| {
            let ints = self.constant(z).and_then(Const::ints);
            ints.is_some_and(|v| v.iter().all(|x| *x == 0))
        });
        let weights = self.constant(node.inputs.get(1)?)?;
        let some = weights.bytes().is_some_and(|bytes| !bytes.is_empty());
        (free && some && weights.dims.len() == 2).then_some(weights)
    }

    /// The signed bytes `[k, n]` of a constant as products read them.
    pub(super) fn packed(&self, name: &str) -> Option<PackedWeights> {
        if let Some(known) = self.packed.borrow().get(name) {
            return Some(known.clone());
        }
        let constant = self.constant(name)?;
        let [k, n] = constant.dims[..] else {
            return None;
        };
        let packed = PackedWeights::new(self.level, constant.bytes()?, k, n)?;
        if self.graph.users(name).len() > 1 {
            let mut shared = self.packed.borrow_mut();
            shared.insert(name.to_owned(), packed.clone());
        }
        Some(packed)
    }

    pub(super) fn columns(
        &self,
        weights: PackedWeights,
        scales: &Const,
        bias: Option<&[f32]>,
    ) -> Option<Columns> {
        let n = weights.n();
        let scales = match scales.floats()? {
            [one] => vec![*one; n],
            many if many.len() == n => many.to_vec(),
            _ => return None,
        };
        let bias = bias.map_or_else(|| vec![0.0; n], <[f32]>::to_vec);
        Some(Columns {
            weights,
            scales: steps::panels(&scales, 0.0),
            bias: steps::panels(&bias, 0.0),
        })
    }

    /// A product with weights, its scales, bias, activation and residual.
    pub(super) fn linear(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        let input = self.quantised(node.inputs.first()?, node.inputs.get(2)?)?;
        let weights = self.weights(node)?;
        let n = weights.dims[1];
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
            columns: self.columns(self.packed(node.inputs.get(1)?)?, scales, bias)?,
            activation,
            residual: residual.is_some(),
        };
        let inputs: Vec<&str> = std::iter::once(input.codes).chain(residual).collect();
        Some(vec![fused(step, &inputs, chain.value, chain.nodes)])
    }

    /// `Add` of a value of the same shape, made elsewhere. Shapes are checked at layout, so
    /// only what looks like a residual is taken: a layer norm follows, or another sum.
    pub(super) fn residual(&self, chain: &mut Chain<'a>) -> Option<&'a str> {
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
    pub(super) fn heads(
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
    pub(super) fn quantise_heads(
        &self,
        q: Quantised<'a>,
        perm: [i64; 3],
    ) -> Option<(FusedOp, (usize, usize))> {
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
    pub(super) fn attention(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        if node.inputs.len() != 4 {
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
            .filter(|n| matches!(self.graph.softmax_axis(n), -1 | 2))?;
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
    pub(super) fn factor(&self, chain: &mut Chain<'a>) -> f32 {
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
    pub(super) fn product(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        if node.inputs.len() != 4 {
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
}
