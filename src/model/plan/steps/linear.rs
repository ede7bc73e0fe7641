//! Quantise, product with packed weights, layer norm.

use super::{WORTH_SHARING, by_rows, in_parts, passers, passing};
use crate::kernels::int8::{
    Activation, COLUMNS, Codes, Columns, Linear, ProductScratch, Quant, padded_depth,
};
use crate::kernels::{Kernels, Rows};
use crate::model::plan::op::{Op, Reading};
use crate::model::plan::step::{Fact, Io, Kind, Product, Step};
use std::sync::{Mutex, PoisonError};

/// Floats to rows of codes: `DynamicQuantizeLinear`, or `QuantizeLinear` with what it holds.
#[derive(Debug)]
pub struct Quantise {
    pub fixed: Option<Quant>,
}

impl Step for Quantise {
    fn name(&self) -> &'static str {
        match self.fixed {
            None => "quantise (dynamic)",
            Some(_) => "quantise",
        }
    }

    fn makes(&self) -> Option<Kind> {
        Some(Kind::Rows)
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Float)?;
        if inputs[0].width() == 0 {
            return Err("has nothing to quantise".into());
        }
        Ok(vec![Fact::new(Kind::Rows, &inputs[0].dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let x = io.floats(0);
        let quant = self.fixed.unwrap_or_else(|| {
            let (low, high) = io.inputs[0].range.unwrap_or_else(|| io.kernels.range(x));
            Quant::of_range(low, high)
        });
        let rows = Rows::of_whole(x, io.facts[0].width());
        let len = super::codes_len(io.made[0]);
        let (codes, padded) = (&mut io.outputs[0].codes[..len], padded_depth(rows.cols()));
        let threads = passers(len, io.threads);
        in_parts(codes, (padded, 1), threads, |first, codes| {
            let rows = rows.slice(first, first + codes.len() / padded);
            io.kernels.quantise(rows, quant, codes);
        });
        io.outputs[0].quant = Some(quant);
        Ok(())
    }
}

/// The product, its rows shared among the workers; returns the range of all that was written.
pub(super) fn linear(
    (kernels, threads): (&Kernels, usize),
    (codes, quant): (Codes<'_>, Quant),
    job: &Linear<'_>,
    scratch: &mut ProductScratch,
    out: &mut [f32],
) -> (f32, f32) {
    let (k, n) = (job.weights.k(), job.weights.n());
    let ends = Mutex::new((f32::INFINITY, f32::NEG_INFINITY));
    let work = |first: usize, rows: usize, out: &mut [f32], scratch: &mut ProductScratch| {
        let codes = Codes {
            bytes: &codes.bytes[first * codes.stride..],
            rows,
            stride: codes.stride,
        };
        let residual = job.residual.map(|r| &r[first * n..(first + rows) * n]);
        let job = Linear { residual, ..*job };
        let (low, high) = kernels.linear(codes, quant, &job, scratch, out);
        if let Ok(mut ends) = ends.lock() {
            *ends = (ends.0.min(low), ends.1.max(high));
        }
    };
    if codes.rows == 1 && threads > 1 && k * n >= WORTH_SHARING {
        // a row cannot be split, but its columns can
        in_parts(out, (1, COLUMNS), threads, |first, out| {
            let part = job
                .weights
                .part(first / COLUMNS, out.len().div_ceil(COLUMNS));
            let columns = first..first + out.len();
            let job = Linear {
                weights: &part,
                scales: &job.scales[first / COLUMNS..][..part.n().div_ceil(COLUMNS)],
                bias: &job.bias[first / COLUMNS..][..part.n().div_ceil(COLUMNS)],
                residual: job.residual.map(|r| &r[columns]),
                ..*job
            };
            let (low, high) =
                super::own(|scratch, _| kernels.linear(codes, quant, &job, scratch, out));
            if let Ok(mut ends) = ends.lock() {
                *ends = (ends.0.min(low), ends.1.max(high));
            }
        });
    } else {
        by_rows(codes.rows, k * n, threads, out, work, scratch);
    }
    ends.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Codes `[…, k]` times weights, scaled, with bias, activation and residual: floats `[…, n]`.
#[derive(Debug)]
pub struct LinearStep {
    pub columns: Columns,
    pub activation: Activation,
    pub residual: bool,
}

impl Step for LinearStep {
    fn name(&self) -> &'static str {
        match (self.activation, self.residual) {
            (Activation::Gelu, _) => "int8 linear + bias + GELU",
            (Activation::Relu, _) => "int8 linear + bias + ReLU",
            (Activation::Identity, true) => "int8 linear + bias + residual",
            (Activation::Identity, false) => "int8 linear + bias",
        }
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Rows)?;
        let (k, n) = (self.columns.weights.k(), self.columns.weights.n());
        if inputs[0].width() != k {
            return Err(format!("rows of {} meet weights of {k}", inputs[0].width()));
        }
        let mut dims = inputs[0].dims.clone();
        if let Some(last) = dims.last_mut() {
            *last = n;
        }
        if self.residual && (inputs[1].dims != dims || inputs[1].kind != Kind::Float) {
            return Err(format!("{:?} is added to {dims:?}", inputs[1].dims));
        }
        Ok(vec![Fact::new(Kind::Float, &dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (codes, quant) = io.rows(0)?;
        let residual = self.residual.then(|| io.floats(1));
        let job = self.columns.job(self.activation, residual);
        let len = io.made[0].count();
        let out = &mut io.outputs[0];
        let floats = &mut out.floats[..len];
        let range = linear(
            (io.kernels, io.threads),
            (codes, quant),
            &job,
            &mut io.scratch.product,
            floats,
        );
        out.range = Some(range);
        Ok(())
    }

    fn product(&self) -> Product {
        Product::Integer
    }

    fn weights(&self) -> usize {
        self.columns.weights.bytes()
    }

    fn macs(&self, inputs: &[&Fact]) -> u64 {
        (inputs[0].count() * self.columns.weights.n()) as u64
    }
}

/// `LayerNormalization` over the last axis.
#[derive(Debug)]
pub struct LayerNorm {
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    pub epsilon: f32,
}

impl LayerNorm {
    pub fn read(op: &Op<'_>) -> Option<Reading> {
        let (gamma, beta) = (op.constant(1)?, op.constant(2)?);
        let fits = op.is_float(0)
            && op.node.int("axis").unwrap_or(-1) == -1
            && gamma.dims.len() == 1
            && gamma.dims == beta.dims;
        let step = LayerNorm {
            gamma: gamma.floats()?.to_vec(),
            beta: beta.floats()?.to_vec(),
            epsilon: op.node.float("epsilon").unwrap_or(1e-5),
        };
        fits.then(|| Reading::new(step, &[0]))
    }
}

impl Step for LayerNorm {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Float)?;
        if inputs[0].width() != self.gamma.len() {
            return Err(format!(
                "rows of {} meet {} weights",
                inputs[0].width(),
                self.gamma.len()
            ));
        }
        Ok(vec![Fact::new(Kind::Float, &inputs[0].dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let rows = Rows::of_whole(io.floats(0), self.gamma.len());
        let len = io.made[0].count();
        let out = &mut io.outputs[0];
        let affine = (self.gamma.as_slice(), self.beta.as_slice());
        let (width, floats) = (rows.cols(), &mut out.floats[..len]);
        let range = passing(floats, width, io.threads, |first, floats| {
            let rows = rows.slice(first, first + floats.len() / width);
            io.kernels.layer_norm(rows, affine, self.epsilon, floats)
        });
        out.range = Some(range);
        Ok(())
    }
}
