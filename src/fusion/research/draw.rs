//! Weights and inputs made up by a formula, for tests and measurements: the same numbers on
//! every machine.

use crate::fusion::catalogue::{Entry, Kind, Precision, Weight};
use crate::fusion::parameters::{Data, Tensor};
use crate::fusion::shape::Sizes;
use crate::kernels::{Rows, float16, unit_rows};

/// Numbers of a 32-bit linear congruential generator, exact in f32.
#[derive(Clone, Debug)]
pub struct Draw(u32);

impl Draw {
    /// The generator that starts at `seed`.
    #[must_use]
    pub fn new(seed: u32) -> Draw {
        Draw(seed)
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 8
    }

    /// `count` numbers in `−limit..limit`.
    pub fn floats(&mut self, count: usize, limit: f32) -> Vec<f32> {
        let mut one = || (self.next() as f32 / (1 << 23) as f32 - 1.0) * limit;
        (0..count).map(|_| one()).collect()
    }

    /// `count` whole numbers below `below`.
    pub fn below(&mut self, count: usize, below: usize) -> Vec<i64> {
        // the low bits of the generator repeat soon
        let mut one = || ((u64::from(self.next()) * below as u64) >> 24) as i64;
        (0..count).map(|_| one()).collect()
    }
}

/// Content of a drawn weight.
#[derive(Clone, Debug)]
pub enum Content {
    /// f32.
    F32(Vec<f32>),
    /// Half floats.
    F16(Vec<u16>),
    /// Bytes.
    I8(Vec<i8>),
    /// Whole numbers.
    I64(Vec<i64>),
}

/// A drawn weight.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// Name.
    pub name: String,
    /// Shape.
    pub dims: Vec<usize>,
    /// Content.
    pub content: Content,
}

impl Drawn {
    /// A view of it.
    #[must_use]
    pub fn tensor(&self) -> Tensor<'_> {
        let data = match &self.content {
            Content::F32(x) => Data::F32(x),
            Content::F16(x) => Data::F16(x),
            Content::I8(x) => Data::I8(x),
            Content::I64(x) => Data::I64(x),
        };
        Tensor {
            dims: self.dims.clone(),
            data,
        }
    }
}

/// Weights of an operator at some sizes, in the function's order; `None` if a letter is
/// missing.
#[must_use]
pub fn weights(
    entry: &Entry,
    precision: Precision,
    sizes: &Sizes,
    draw: &mut Draw,
) -> Option<Vec<Drawn>> {
    let mut all = Vec::new();
    for weight in entry.weights {
        let dims = sizes.values(weight.shape)?;
        all.extend(one(weight, precision, dims, sizes, draw)?);
    }
    Some(all)
}

fn one(
    weight: &Weight,
    precision: Precision,
    dims: Vec<usize>,
    sizes: &Sizes,
    draw: &mut Draw,
) -> Option<Vec<Drawn>> {
    let count = dims.iter().product();
    let name = weight.name.to_string();
    let width = dims.last().copied()?;
    // outputs of order 1 for inputs of order 1
    let matrix = |draw: &mut Draw| draw.floats(count, (3.0 / width as f32).sqrt());
    let content = match (weight.kind, precision) {
        (Kind::Matrix, Precision::Int8) => return Some(bytes(weight, &matrix(draw), width)),
        (Kind::HalfMatrix, _) => {
            let rows = draw.floats(count, 1.0);
            let rows = unit_rows(Rows::of_whole(&rows, width));
            if precision == Precision::Int8 {
                return Some(bytes(weight, &rows, width));
            }
            Content::F16(float16::of_floats(&rows))
        }
        (Kind::Matrix, Precision::Float) => Content::F32(matrix(draw)),
        (Kind::Plain, _) => Content::F32(draw.floats(count, 0.5)),
        (Kind::Index(below), _) => Content::I64(draw.below(count, sizes.value(below)?)),
        (Kind::Sign, _) => {
            let signs = draw.below(count, 2).into_iter();
            Content::F32(signs.map(|s| if s == 0 { -1.0 } else { 1.0 }).collect())
        }
    };
    Some(vec![Drawn {
        name,
        dims,
        content,
    }])
}

/// Rows `[out, in]` as bytes `[in, out]`, and the scale of each.
#[must_use]
pub fn quantised(rows: &[f32], width: usize) -> (Vec<i8>, Vec<f32>) {
    let rows: Vec<&[f32]> = rows.chunks_exact(width.max(1)).collect();
    let scale = |row: &&[f32]| {
        let largest = row.iter().fold(0.0_f32, |top, v| top.max(v.abs()));
        if largest > 0.0 { largest / 127.0 } else { 1.0 }
    };
    let scales: Vec<f32> = rows.iter().map(scale).collect();
    let byte = |k: usize, o: usize| (rows[o][k] / scales[o]).round_ties_even() as i8;
    let column = |k: usize| (0..rows.len()).map(move |o| (k, o));
    let bytes = (0..width)
        .flat_map(column)
        .map(|(k, o)| byte(k, o))
        .collect();
    (bytes, scales)
}

fn bytes(weight: &Weight, rows: &[f32], width: usize) -> Vec<Drawn> {
    let (bytes, scales) = quantised(rows, width);
    let outputs = scales.len();
    vec![
        Drawn {
            name: weight.name.into(),
            dims: vec![width, outputs],
            content: Content::I8(bytes),
        },
        Drawn {
            name: format!("{}_scale", weight.name),
            dims: vec![outputs],
            content: Content::F32(scales),
        },
    ]
}

/// A drawn input.
#[derive(Clone, Debug)]
pub struct Input {
    /// Name.
    pub name: &'static str,
    /// Columns.
    pub cols: usize,
    /// Rows, one after the other.
    pub data: Vec<f32>,
}

impl Input {
    /// A view of it.
    #[must_use]
    pub fn rows(&self) -> Rows<'_> {
        Rows::of_whole(&self.data, self.cols)
    }
}

/// Inputs of an operator at some sizes; of a mask, about one in five is 0.
#[must_use]
pub fn inputs(entry: &Entry, sizes: &Sizes, draw: &mut Draw) -> Option<Vec<Input>> {
    let of = |port: &crate::fusion::catalogue::Port| {
        let dims = sizes.values(port.shape)?;
        let [rows, cols] = dims.try_into().ok()?;
        let data = if port.name == "keep" {
            let fifths = draw.below(rows * cols, 5);
            let mut keep: Vec<f32> = fifths.into_iter().map(|f| f32::from(f > 0)).collect();
            keep[0] = 1.0;
            keep
        } else {
            draw.floats(rows * cols, 1.5)
        };
        Some(Input {
            name: port.name,
            cols,
            data,
        })
    };
    entry.inputs.iter().map(of).collect()
}
