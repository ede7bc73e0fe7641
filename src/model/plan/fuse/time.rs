//! Along time: convolution and average, from rows to rows.

use super::chain::Chain;
use super::{FusedOp, Matcher, by_tap, fused};
use crate::kernels::int8::{Activation, PackedWeights, padded_depth};
use crate::model::plan::steps::{AveragePool1d, Conv1d, Quantise};

impl<'a> Matcher<'a> {
    /// `[t, c]` behind `Unsqueeze(Transpose(rows))`.
    pub(super) fn behind_time(&self, value: &'a str) -> Option<(&'a str, [usize; 2])> {
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
    pub(super) fn back_to_rows(&self, chain: &mut Chain<'a>) -> Option<()> {
        let squeeze = self.next(chain, "Squeeze")?;
        let axes = self.constant(squeeze.inputs.get(1)?)?.ints()?;
        let transpose = self.next(chain, "Transpose")?;
        (axes == [0] && transpose.ints("perm")? == [1, 0]).then_some(())
    }

    /// `ConvInteger` over time, from rows to rows.
    pub(super) fn conv1d(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
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
        let weights = by_tap(weights.bytes()?, (n, channels, taps), width);
        let packed = PackedWeights::new(self.level, &weights, taps * width, n)?;
        let step = Conv1d {
            columns: self.columns(packed, scales, bias)?,
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
    pub(super) fn average(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
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
            && node
                .ints("dilations")
                .is_none_or(|d| d.iter().all(|x| *x == 1))
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
}
