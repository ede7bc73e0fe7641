//! `y = W·x + b` over rows, the part that most operators share: floats, or bytes with dynamic
//! quantisation of the rows.

use crate::kernels::int8::{
    Activation, COLUMNS, Codes, Linear, PackedWeights, ProductScratch, Quant, padded_depth,
};
use crate::kernels::{Kernels, Level, PackedFloats, Rows};

/// A linear map with its weights packed for one level.
#[derive(Clone, Debug)]
pub struct Projection(Weights);

#[derive(Clone, Debug)]
enum Weights {
    Float(PackedFloats),
    Int8 {
        packed: PackedWeights,
        scales: Vec<[f32; COLUMNS]>,
        bias: Vec<[f32; COLUMNS]>,
    },
}

/// Memory that an int8 projection works in.
#[derive(Debug, Default)]
pub struct ProjectionScratch {
    codes: Vec<u8>,
    product: ProductScratch,
    /// Of `codes`.
    quant: Option<Quant>,
}

impl ProjectionScratch {
    /// The one row of the last int8 projection as it was rounded, `width` values.
    pub(super) fn rounded(&self, kernels: &Kernels, width: usize, out: &mut Vec<f32>) {
        out.resize(width, 0.0);
        if let (Some(quant), Some(codes)) = (self.quant, self.codes.get(..width)) {
            kernels.dequantise(codes, quant, out);
        }
    }
}

fn panels(values: &[f32]) -> Vec<[f32; COLUMNS]> {
    let panel = |chunk: &[f32]| {
        let mut panel = [0.0; COLUMNS];
        panel[..chunk.len()].copy_from_slice(chunk);
        panel
    };
    values.chunks(COLUMNS).map(panel).collect()
}

impl Projection {
    /// Floats `[out, width]` with a bias `[out]` or none; `None` if the sizes disagree.
    #[must_use]
    pub fn float(w: &[f32], width: usize, bias: Option<&[f32]>) -> Option<Projection> {
        PackedFloats::new(w, width, bias).map(|packed| Projection(Weights::Float(packed)))
    }

    /// Bytes `[width, out]` with a scale `[out]`, and a bias `[out]` or none, for the kernels
    /// of a level; `None` if the sizes disagree.
    #[must_use]
    pub fn int8(
        level: Level,
        w: &[i8],
        width: usize,
        scale: &[f32],
        bias: Option<&[f32]>,
    ) -> Option<Projection> {
        let out = scale.len();
        let packed = PackedWeights::new(level, w, width, out)?;
        if bias.is_some_and(|b| b.len() != out) {
            return None;
        }
        let bias = bias.map_or_else(|| vec![[0.0; COLUMNS]; out.div_ceil(COLUMNS)], panels);
        let scales = panels(scale);
        Some(Projection(Weights::Int8 {
            packed,
            scales,
            bias,
        }))
    }

    /// Values of an output row.
    #[must_use]
    pub fn out(&self) -> usize {
        match &self.0 {
            Weights::Float(packed) => packed.n(),
            Weights::Int8 { packed, .. } => packed.n(),
        }
    }

    /// Bytes of weights that one pass over them reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Weights::Float(packed) => packed.bytes(),
            Weights::Int8 { packed, .. } => packed.bytes(),
        }
    }

    /// Weights of output `index`, without their scale where they are bytes.
    pub(super) fn column(&self, index: usize, out: &mut Vec<f32>) {
        out.clear();
        match &self.0 {
            Weights::Float(packed) => out.extend(packed.row(index)),
            Weights::Int8 { packed, .. } => out.extend(packed.column(index).map(f32::from)),
        }
    }

    /// `x` `[n, in]` to `out` `[n, out]`. In int8 all rows share one scale, that of ONNX's
    /// `DynamicQuantizeLinear`, so a row's answer depends a little on its neighbours.
    pub fn run(
        &self,
        kernels: &Kernels,
        x: Rows<'_>,
        work: &mut ProjectionScratch,
        out: &mut Vec<f32>,
    ) {
        let n = self.out();
        out.resize(x.rows() * n, 0.0);
        match &self.0 {
            Weights::Float(packed) => kernels.project(x, packed, out),
            Weights::Int8 {
                packed,
                scales,
                bias,
            } => {
                let (low, high) = kernels.range(x.data());
                let quant = Quant::of_range(low, high);
                work.quant = Some(quant);
                let stride = padded_depth(x.cols());
                work.codes.resize(x.rows() * stride, 0);
                kernels.quantise(x, quant, &mut work.codes);
                let codes = Codes {
                    bytes: &work.codes,
                    rows: x.rows(),
                    stride,
                };
                let job = Linear {
                    weights: packed,
                    scales,
                    bias,
                    activation: Activation::Identity,
                    residual: None,
                };
                kernels.linear(codes, quant, &job, &mut work.product, out);
            }
        }
    }
}
