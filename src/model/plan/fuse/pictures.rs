//! Pictures in codes: convolutions, sums and means between fixed quantisations.

use super::{FusedOp, Matcher, by_tap, fused};
use crate::kernels::int8::{DepthwiseWeights, PackedWeights, Quant};
use crate::model::plan::graph::Node;
use crate::model::plan::step::Kind;
use crate::model::plan::steps::{
    self, AddCodes, After, Conv, DepthwiseConv, MaxCodes, Pixels, PoolCodes, Window,
};

impl<'a> Matcher<'a> {
    /// The `QuantizeLinear` that is the only reader of `value`.
    pub(super) fn requantised(&self, value: &str) -> Option<(usize, &'a str, Quant)> {
        let (at, node) = self.graph.only_user(value, "QuantizeLinear")?;
        let quant = self.graph.quant_of(node)?;
        Some((at, node.outputs.first()?, quant))
    }

    pub(super) fn add_codes(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        let (a, quant_a) = self.coded(node.inputs.first()?)?;
        let (b, quant_b) = self.coded(node.inputs.get(1)?)?;
        let (end, made, quant) = self.requantised(node.outputs.first()?)?;
        let step = AddCodes {
            inputs: (quant_a, quant_b),
            quant,
        };
        let pictures = self.is_picture(a) || self.is_picture(b);
        let mut nodes = self.with_coded(at);
        nodes.push(end);
        pictures.then(|| vec![fused(step, &[a, b], made, nodes)])
    }

    pub(super) fn pool_codes(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        let (codes, from) = self.coded(node.inputs.first()?)?;
        let (end, made, quant) = self.requantised(node.outputs.first()?)?;
        let step = PoolCodes { from, quant };
        let mut nodes = self.with_coded(at);
        nodes.push(end);
        let pooled = || vec![fused(step, &[codes], made, nodes)];
        self.is_picture(codes).then(pooled)
    }

    /// `MaxPool` of codes: their order is that of the values.
    pub(super) fn max_codes(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        let (codes, made) = (node.inputs.first()?, node.outputs.first()?);
        let window = self.max_window(node)?;
        self.is_picture(codes).then(|| {
            let step = MaxCodes { window };
            vec![fused(step, &[codes.as_str()], made, vec![at])]
        })
    }

    /// The window of a `MaxPool` that needs no border.
    pub(super) fn max_window(&self, node: &Node) -> Option<Window> {
        let plain = node.outputs.len() == 1 && node.int("ceil_mode").unwrap_or(0) == 0;
        let size = node.ints("kernel_shape")?;
        let [high, wide] = *size else { return None };
        let size = (usize::try_from(high).ok()?, usize::try_from(wide).ok()?);
        let window = window(node, size)?;
        // a border would have to be the least of all values
        let inside = window.before == (0, 0) && window.after == (0, 0);
        (plain && inside).then_some(window)
    }

    /// Pixels as bytes, channels last, on their way to convolutions: their codes as they are.
    pub(super) fn pixels(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        let (given, made) = (node.inputs.first()?, node.outputs.first()?);
        let channels_first = node.ints("perm")? == [0, 3, 1, 2];
        if !channels_first || self.kind(given) != Some(Kind::Bytes) {
            return None;
        }
        let quant = |user: &usize| {
            let conv = Some(self.node(*user)).filter(|n| n.is("QLinearConv"))?;
            self.graph
                .quant(made, conv.inputs.get(1)?, conv.inputs.get(2)?)
        };
        let quants: Option<Vec<Quant>> = self.graph.users(made).iter().map(quant).collect();
        let quants = quants?;
        let quant = *quants.first()?;
        let alike = quants.iter().all(|q| *q == quant);
        alike.then(|| vec![fused(Pixels(quant), &[given.as_str()], made, vec![at])])
    }

    /// `QLinearConv`.
    pub(super) fn conv(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        if node.inputs.len() < 8 {
            return None;
        }
        let (codes, made) = (node.inputs.first()?, node.outputs.first()?);
        let from = self.graph.quant(codes, &node.inputs[1], &node.inputs[2])?;
        let quant = self.graph.quant(made, &node.inputs[6], &node.inputs[7])?;
        let weights = self.constant(&node.inputs[3])?;
        let zeros = self.constant(&node.inputs[5])?.ints()?;
        let bias = match node.inputs.get(8).filter(|b| !b.is_empty()) {
            Some(bias) => self.constant(bias)?.ints()?,
            None => vec![0; *weights.dims.first()?],
        };
        let bias: Option<Vec<i32>> = bias.iter().map(|b| i32::try_from(*b).ok()).collect();
        if zeros.iter().any(|z| *z != 0) {
            return None;
        }
        self.convolution(&Convolution {
            node,
            nodes: vec![at],
            codes,
            from,
            bytes: weights.bytes()?,
            dims: &weights.dims,
            scales: self.constant(&node.inputs[4])?.floats()?,
            bias: bias?,
            quant,
            clamp: (0, 255),
            made,
        })
    }

    /// A convolution of codes, of one group or depthwise.
    pub(super) fn convolution(&self, of: &Convolution<'_>) -> Option<Vec<FusedOp>> {
        let [n, per_group, high, wide] = of.dims[..] else {
            return None;
        };
        if n <= 4 || of.bytes.is_empty() || of.bias.len() != n {
            return None;
        }
        let window = window(of.node, (high, wide))?;
        let scale_of = |c: usize| of.scales.get(if of.scales.len() == 1 { 0 } else { c });
        let multipliers: Option<Vec<f32>> = (0..n)
            .map(|c| Some(of.from.scale * scale_of(c)? / of.quant.scale))
            .collect();
        let after = After {
            multipliers: steps::panels(&multipliers?, 0.0),
            bias: steps::panels(&of.bias, 0),
            zero_in: of.from.zero,
            quant: of.quant,
            clamp: of.clamp,
        };
        let group = of.node.int("group").unwrap_or(1);
        let nodes = of.nodes.clone();
        if group == 1 {
            let pixel = steps::pixel(per_group);
            let packed = by_tap(of.bytes, (n, per_group, high * wide), pixel);
            let step = Conv {
                weights: PackedWeights::new(self.level, &packed, high * wide * pixel, n)?,
                channels: per_group,
                window,
                after,
            };
            return Some(vec![fused(step, &[of.codes], of.made, nodes)]);
        }
        let depthwise = group == n as i64 && per_group == 1 && high * wide <= steps::MAX_TAPS;
        if !depthwise {
            return None;
        }
        let step = DepthwiseConv {
            weights: DepthwiseWeights::new(of.bytes, n, high * wide)?,
            channels: n,
            window,
            after,
        };
        Some(vec![fused(step, &[of.codes], of.made, nodes)])
    }
}

/// A convolution from codes to codes, however the file writes it.
pub(super) struct Convolution<'a> {
    /// The node with its strides, pads and groups.
    pub node: &'a Node,
    /// All nodes that it stands for.
    pub nodes: Vec<usize>,
    pub codes: &'a str,
    pub from: Quant,
    /// Signed weights around 0, `[n, channels of a group, height, width]`.
    pub bytes: &'a [i8],
    pub dims: &'a [usize],
    /// One, or one a channel.
    pub scales: &'a [f32],
    /// In products of a code and a weight.
    pub bias: Vec<i32>,
    pub quant: Quant,
    /// Codes that the output is kept within.
    pub clamp: (u8, u8),
    pub made: &'a str,
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
