//! Products of floats, `[…, k]·[k, n]`: small heads that stay in f32.

use crate::kernels::{PackedFloats, Rows};
use crate::model::plan::op::{Op, Reading};
use crate::model::plan::step::{Fact, Io, Kind, Product, Step};

/// `MatMul` with constant weights, packed in panels.
#[derive(Debug)]
pub struct Product32(PackedFloats);

impl Product32 {
    pub fn read(op: &Op<'_>) -> Option<Reading> {
        if op.constant(1).is_none() {
            return op.floats(2).then(|| Reading::new(ValueProduct, &[0, 1]));
        }
        let weights = op.constant(1)?;
        let ([k, n], values) = (&weights.dims[..], weights.floats()?) else {
            return None;
        };
        // as the file has it, an output is a column; as the kernel takes it, a row
        let columns = (0..*n).flat_map(|o| values.iter().skip(o).step_by(*n).copied());
        let columns: Vec<f32> = columns.collect();
        let packed = PackedFloats::new(&columns, *k, None)?;
        op.is_float(0)
            .then(|| Reading::new(Product32(packed), &[0]))
    }
}

impl Step for Product32 {
    fn name(&self) -> &'static str {
        "f32 product"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Float)?;
        let mut dims = inputs[0].dims.clone();
        match dims.last_mut() {
            Some(last) if *last == self.0.k() => *last = self.0.n(),
            _ => return Err(format!("{dims:?} times [{}, {}]", self.0.k(), self.0.n())),
        }
        Ok(vec![Fact::new(Kind::Float, &dims)])
    }

    fn run(&self, mut io: Io<'_>) -> Result<(), String> {
        let (x, kernels) = (io.floats(0), io.kernels);
        let x = Rows::new(x, self.0.k()).map_err(|e| e.to_string())?;
        kernels.project(x, &self.0, io.out());
        Ok(())
    }

    fn product(&self) -> Product {
        Product::Float
    }

    fn weights(&self) -> usize {
        self.0.bytes()
    }

    fn macs(&self, inputs: &[&Fact]) -> u64 {
        (inputs[0].count() * self.0.n()) as u64
    }
}

/// `MatMul` of two values, `[…, m, k]·[…, k, n]` with the same axes in front: sums of rows, weighted
/// by other rows.
#[derive(Debug)]
struct ValueProduct;

impl Step for ValueProduct {
    fn name(&self) -> &'static str {
        "f32 product of values"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Float)?;
        inputs[1].expect(Kind::Float)?;
        match (&inputs[0].dims[..], &inputs[1].dims[..]) {
            ([front @ .., m, k], [same @ .., rows, n]) if k == rows && front == same => {
                let dims = [front, &[*m, *n]].concat();
                Ok(vec![Fact::new(Kind::Float, &dims)])
            }
            (a, b) => Err(format!("{a:?} times {b:?}")),
        }
    }

    fn run(&self, mut io: Io<'_>) -> Result<(), String> {
        let (weights, rows) = (io.floats(0), io.floats(1));
        let (k, n) = (io.facts[0].width(), io.made[0].width());
        let m = io.facts[0].dims.iter().rev().nth(1).copied().unwrap_or(0);
        if k == 0 || n == 0 || m == 0 {
            io.out().fill(0.0);
            return Ok(());
        }
        let sentence = |e: crate::kernels::ShapeError| e.to_string();
        let kernels = io.kernels;
        let out = io.out().chunks_exact_mut(m * n);
        let products = weights.chunks_exact(m * k).zip(rows.chunks_exact(k * n));
        for ((weights, rows), out) in products.zip(out) {
            let (a, b) = (Rows::new(weights, k), Rows::new(rows, n));
            kernels.gemm(a.map_err(sentence)?, b.map_err(sentence)?, out);
        }
        Ok(())
    }

    fn product(&self) -> Product {
        Product::Float
    }

    fn macs(&self, inputs: &[&Fact]) -> u64 {
        (inputs[0].count() * inputs[1].width()) as u64
    }
}
