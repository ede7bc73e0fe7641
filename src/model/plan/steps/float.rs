//! The few float operations between products; none of them is worth a kernel.

use crate::kernels::int8::padded_depth;
use crate::model::plan::op::{Op, Reading};
use crate::model::plan::step::{Fact, Io, Kind, Product, Step};

/// An operation on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
}

/// Element by element, with ONNX's broadcasting.
#[derive(Debug)]
pub struct Binary(pub BinaryOp);

/// The shape that `a` and `b` are stretched to.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let of = |dims: &[usize], at: usize| (at + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank)
        .map(|at| match (of(a, at), of(b, at)) {
            (x, y) if x == y => Some(x),
            (1, x) | (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Where the row of `dims` that belongs to row `row` of `out` begins.
fn offset(dims: &[usize], out: &[usize], mut row: usize) -> usize {
    let mut at = 0;
    let mut stride = dims.last().copied().unwrap_or(1);
    for axis in (0..out.len().saturating_sub(1)).rev() {
        let index = row % out[axis];
        row /= out[axis];
        let Some(own) = (axis + dims.len()).checked_sub(out.len()) else {
            continue;
        };
        if dims[own] != 1 {
            at += index * stride;
        }
        stride *= dims[own];
    }
    at
}

impl BinaryOp {
    fn rows(self, a: &[f32], b: &[f32], out: &mut [f32]) {
        match self {
            BinaryOp::Add => zip(a, b, out, |x, y| x + y),
            BinaryOp::Sub => zip(a, b, out, |x, y| x - y),
            BinaryOp::Mul => zip(a, b, out, |x, y| x * y),
            BinaryOp::Div => zip(a, b, out, |x, y| x / y),
        }
    }
}

/// A row of one value goes with every value of the other.
fn zip(a: &[f32], b: &[f32], out: &mut [f32], of: impl Fn(f32, f32) -> f32) {
    match (a, b) {
        ([x], _) => out.iter_mut().zip(b).for_each(|(out, y)| *out = of(*x, *y)),
        (_, [y]) => out.iter_mut().zip(a).for_each(|(out, x)| *out = of(*x, *y)),
        _ => {
            for ((out, x), y) in out.iter_mut().zip(a).zip(b) {
                *out = of(*x, *y);
            }
        }
    }
}

impl Binary {
    pub fn read(op: &Op<'_>, with: BinaryOp) -> Option<Reading> {
        // old versions stretch by attributes
        let plain = op.floats(2) && op.node.proto.attribute.is_empty();
        plain.then(|| Reading::new(Binary(with), &[0, 1]))
    }
}

impl Step for Binary {
    fn name(&self) -> &'static str {
        match self.0 {
            BinaryOp::Add => "add",
            BinaryOp::Sub => "subtract",
            BinaryOp::Mul => "multiply",
            BinaryOp::Div => "divide",
        }
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Float)?;
        inputs[1].expect(Kind::Float)?;
        let dims = broadcast(&inputs[0].dims, &inputs[1].dims);
        let dims = dims.ok_or_else(|| {
            format!(
                "{:?} does not stretch to {:?}",
                inputs[0].dims, inputs[1].dims
            )
        })?;
        Ok(vec![Fact::new(Kind::Float, &dims)])
    }

    fn contradicts(&self, inputs: &[&Fact]) -> bool {
        broadcast(&inputs[0].dims, &inputs[1].dims).is_none()
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (a, b) = (io.floats(0), io.floats(1));
        let made = io.made[0];
        let out = &mut io.outputs[0].floats[..made.count()];
        if io.facts[0].dims == io.facts[1].dims {
            self.0.rows(a, b, out);
            return Ok(());
        }
        let (wide_a, wide_b) = (io.facts[0].width(), io.facts[1].width());
        for (row, out) in out.chunks_exact_mut(made.width().max(1)).enumerate() {
            let a = &a[offset(&io.facts[0].dims, &made.dims, row)..][..wide_a];
            let b = &b[offset(&io.facts[1].dims, &made.dims, row)..][..wide_b];
            self.0.rows(a, b, out);
        }
        Ok(())
    }
}

/// A function of every value by itself.
#[derive(Debug, Clone, Copy)]
pub enum Unary {
    Erf,
    Relu,
    Sigmoid,
    Tanh,
}

impl Unary {
    pub fn read(self, op: &Op<'_>) -> Option<Reading> {
        op.is_float(0).then(|| Reading::new(self, &[0]))
    }

    fn of(self, x: f32) -> f32 {
        match self {
            Unary::Erf => erf(x),
            Unary::Relu => x.max(0.0),
            Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Unary::Tanh => x.tanh(),
        }
    }
}

/// The error function within 2e-7: Abramowitz and Stegun, 7.1.26.
fn erf(x: f32) -> f32 {
    const A: [f32; 5] = [
        1.061_405_4,
        -1.453_152,
        1.421_413_8,
        -0.284_496_74,
        0.254_829_6,
    ];
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let sum = A.iter().fold(0.0, |sum, a| (sum + a) * t);
    (1.0 - sum * (-x * x).exp()).copysign(x)
}

impl Step for Unary {
    fn name(&self) -> &'static str {
        match self {
            Unary::Erf => "erf",
            Unary::Relu => "ReLU",
            Unary::Sigmoid => "sigmoid",
            Unary::Tanh => "tanh",
        }
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let len = io.made[0].count();
        let x = io.floats(0);
        for (out, x) in io.outputs[0].floats[..len].iter_mut().zip(x) {
            *out = self.of(*x);
        }
        Ok(())
    }
}

/// `Softmax` over the last axis.
#[derive(Debug)]
pub struct Softmax;

impl Softmax {
    pub fn read(op: &Op<'_>) -> Option<Reading> {
        let last = op.graph.softmax_axis(op.node) == -1;
        (last && op.is_float(0)).then(|| Reading::new(Softmax, &[0]))
    }
}

impl Step for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Float)?;
        if inputs[0].width() == 0 {
            return Err("has nothing to weigh".into());
        }
        Ok(vec![Fact::new(Kind::Float, &inputs[0].dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let len = io.made[0].count();
        let out = &mut io.outputs[0].floats[..len];
        out.copy_from_slice(&io.inputs[0].floats[..len]);
        io.kernels.row_softmax(out, io.made[0].width());
        Ok(())
    }
}

/// Sum or mean over one axis.
#[derive(Debug)]
pub struct Reduce {
    pub axis: i64,
    pub keep: bool,
    pub mean: bool,
}

impl Reduce {
    pub fn read(op: &Op<'_>, mean: bool) -> Option<Reading> {
        let [axis] = op.axes()?[..] else { return None };
        let step = Reduce {
            axis,
            keep: op.node.int("keepdims").unwrap_or(1) == 1,
            mean,
        };
        op.is_float(0).then(|| Reading::new(step, &[0]))
    }

    fn axis(&self, rank: usize) -> Option<usize> {
        let at = if self.axis < 0 {
            self.axis + rank as i64
        } else {
            self.axis
        };
        usize::try_from(at).ok().filter(|at| *at < rank)
    }
}

impl Step for Reduce {
    fn name(&self) -> &'static str {
        if self.mean { "mean" } else { "sum" }
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Float)?;
        let mut dims = inputs[0].dims.clone();
        let axis = self.axis(dims.len()).ok_or("has no such axis")?;
        if dims[axis] == 0 {
            return Err("has nothing to add up".into());
        }
        if self.keep {
            dims[axis] = 1;
        } else {
            dims.remove(axis);
        }
        Ok(vec![Fact::new(Kind::Float, &dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let dims = &io.facts[0].dims;
        let axis = self.axis(dims.len()).ok_or("has no such axis")?;
        let inner: usize = dims[axis + 1..].iter().product();
        let x = io.floats(0);
        let share = if self.mean {
            1.0 / dims[axis] as f32
        } else {
            1.0
        };
        let out = &mut io.outputs[0].floats[..io.made[0].count()];
        for (out, block) in out
            .chunks_exact_mut(inner.max(1))
            .zip(x.chunks_exact(dims[axis] * inner))
        {
            if inner == 1 {
                out[0] = block.iter().sum::<f32>() * share;
                continue;
            }
            out.fill(0.0);
            for row in block.chunks_exact(inner) {
                for (sum, v) in out.iter_mut().zip(row) {
                    *sum += v;
                }
            }
            for v in out {
                *v *= share;
            }
        }
        Ok(())
    }
}

/// `Transpose` of a matrix, or of three axes.
#[derive(Debug)]
pub struct Transpose {
    pub perm: Vec<usize>,
}

impl Transpose {
    pub fn read(op: &Op<'_>) -> Option<Reading> {
        let perm = op.node.ints("perm")?.iter();
        let perm: Option<Vec<usize>> = perm.map(|p| usize::try_from(*p).ok()).collect();
        let step = Transpose { perm: perm? };
        op.is_float(0).then(|| Reading::new(step, &[0]))
    }
}

impl Step for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Float)?;
        let dims = &inputs[0].dims;
        let mut sorted = self.perm.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..dims.len()) {
            return Err(format!("the axes {:?} do not fit {dims:?}", self.perm));
        }
        let dims: Vec<usize> = self.perm.iter().map(|p| dims[*p]).collect();
        Ok(vec![Fact::new(Kind::Float, &dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (x, dims) = (io.floats(0), &io.facts[0].dims);
        let made = io.made[0];
        let stride = |axis: usize| -> usize { dims[axis + 1..].iter().product() };
        for (at, out) in io.outputs[0].floats[..made.count()].iter_mut().enumerate() {
            let (mut rest, mut from) = (at, 0);
            for (axis, dim) in made.dims.iter().enumerate().rev() {
                from += rest % dim * stride(self.perm[axis]);
                rest /= dim;
            }
            *out = x[from];
        }
        Ok(())
    }
}

/// `AveragePool` over time of rows `[t, d]` (the file's two transposes around it are part of
/// the step): width 3, stride 2, one row of padding that does not count.
#[derive(Debug)]
pub struct AveragePool1d {
    pub width: usize,
    pub stride: usize,
    pub pad: usize,
}

impl AveragePool1d {
    fn made(&self, rows: usize) -> Option<usize> {
        Some((rows + 2 * self.pad).checked_sub(self.width)? / self.stride + 1)
    }
}

impl Step for AveragePool1d {
    fn name(&self) -> &'static str {
        "average over time"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Float)?;
        let [rows, width] = inputs[0].dims[..] else {
            return Err(format!("needs rows, not {:?}", inputs[0].dims));
        };
        let made = self.made(rows).ok_or("is too short for its window")?;
        Ok(vec![Fact::new(Kind::Float, &[made, width])])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (x, rows, width) = (io.floats(0), io.facts[0].rows(), io.facts[0].width());
        let out = &mut io.outputs[0].floats[..io.made[0].count()];
        for (i, out) in out.chunks_exact_mut(width.max(1)).enumerate() {
            let first = (i * self.stride).saturating_sub(self.pad);
            let end = (i * self.stride + self.width - self.pad.min(i * self.stride + self.width))
                .min(rows);
            out.fill(0.0);
            for row in x[first * width..end * width].chunks_exact(width.max(1)) {
                for (sum, v) in out.iter_mut().zip(row) {
                    *sum += v;
                }
            }
            let share = 1.0 / (end - first).max(1) as f32;
            for v in out {
                *v *= share;
            }
        }
        Ok(())
    }
}

/// A product of codes with codes, `[m, k]·[k, n]`: small, and once a run.
#[derive(Debug)]
pub struct DynamicProduct;

impl Step for DynamicProduct {
    fn name(&self) -> &'static str {
        "int8 product"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Rows)?;
        inputs[1].expect(Kind::Rows)?;
        match (&inputs[0].dims[..], &inputs[1].dims[..]) {
            ([m, k], [same, n]) if k == same => Ok(vec![Fact::new(Kind::Float, &[*m, *n])]),
            (a, b) => Err(format!("{a:?} times {b:?}")),
        }
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let ((a, qa), (b, qb)) = (io.rows(0)?, io.rows(1)?);
        let signed = crate::kernels::int8::flip(io.kernels.level());
        let code = |byte: u8, zero: u8| i32::from(byte ^ signed) - i32::from(zero);
        let (k, n) = (io.facts[0].width(), io.made[0].width());
        let scale = qa.scale * qb.scale;
        let out = &mut io.outputs[0].floats[..io.made[0].count()];
        for (row, out) in out.chunks_exact_mut(n.max(1)).enumerate() {
            let a = &a.bytes[row * a.stride..][..k];
            for (c, out) in out.iter_mut().enumerate() {
                let column = (0..k).map(|i| code(b.bytes[i * padded_depth(n) + c], qb.zero));
                let products = a.iter().zip(column).map(|(x, y)| code(*x, qa.zero) * y);
                *out = products.sum::<i32>() as f32 * scale;
            }
        }
        Ok(())
    }

    fn product(&self) -> Product {
        Product::Integer
    }

    fn macs(&self, inputs: &[&Fact]) -> u64 {
        (inputs[0].count() * inputs[1].width()) as u64
    }
}
