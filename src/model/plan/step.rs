//! A step of a plan, what it sees of a run, and what is known of its values beforehand.

use crate::fusion;
use crate::kernels::Kernels;
use crate::kernels::int8::{AttentionScratch, ProductScratch, Quant};
use std::fmt;
use tract_onnx::tract_hir::internal::{DatumType, Tensor};

/// What a value is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// f32, row-major.
    Float,
    /// i64, row-major.
    Int,
    /// Codes in rows padded to whole [`DEPTH`](kernels::int8::DEPTH)s: all dimensions but
    /// the last are rows.
    Rows,
    /// Codes `[1, c, h, w]`, channels last and padded; a row of the code of 0 follows.
    Image,
    /// u8 as they were given, row-major: what makes an [`Image`](Kind::Image) reads them, and tract.
    Bytes,
    /// A tensor of tract's, of a type that no step of ours reads.
    Foreign(DatumType),
}

impl Kind {
    /// How values of a type are held.
    pub fn of(of: DatumType) -> Kind {
        match of {
            DatumType::F32 => Kind::Float,
            DatumType::I64 => Kind::Int,
            other => Kind::Foreign(other),
        }
    }
}

/// Kind and shape of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fact {
    pub kind: Kind,
    pub dims: Vec<usize>,
    /// The content, where the shapes determine it.
    pub known: Option<Vec<i64>>,
}

impl Fact {
    pub fn new(kind: Kind, dims: &[usize]) -> Fact {
        Fact {
            kind,
            dims: dims.to_vec(),
            known: None,
        }
    }

    /// A list of whole numbers that the shapes determine.
    pub fn of_ints(known: Vec<i64>) -> Fact {
        Fact {
            kind: Kind::Int,
            dims: vec![known.len()],
            known: Some(known),
        }
    }

    /// Refuses a value of another kind.
    pub fn expect(&self, kind: Kind) -> Result<(), String> {
        if self.kind == kind {
            Ok(())
        } else {
            Err(format!("needs {kind:?}, got {:?}", self.kind))
        }
    }

    /// Values.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }

    /// The last dimension; 1 for a scalar.
    pub fn width(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// Rows of the last dimension.
    pub fn rows(&self) -> usize {
        let end = self.dims.len().saturating_sub(1);
        self.dims[..end].iter().product()
    }
}

/// The memory of a value.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub floats: Vec<f32>,
    pub ints: Vec<i64>,
    pub codes: Vec<u8>,
    pub foreign: Option<Tensor>,
    pub quant: Option<Quant>,
    /// Least and greatest of `floats`, where the step that wrote them knew.
    pub range: Option<(f32, f32)>,
}

/// Memory that steps work in.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub product: ProductScratch,
    pub attention: AttentionScratch,
    pub codes: Vec<u8>,
    pub fusion: fusion::Scratch,
}

/// What a step sees of a run.
pub(super) struct Io<'a> {
    pub inputs: &'a [&'a Buffer],
    pub facts: &'a [&'a Fact],
    pub outputs: &'a mut [Buffer],
    pub made: &'a [&'a Fact],
    pub scratch: &'a mut Scratch,
    pub kernels: &'static Kernels,
    /// Workers that share a large step.
    pub threads: usize,
}

impl<'a> Io<'a> {
    /// Floats of input `i`, free of the borrow of the outputs.
    pub fn floats(&self, i: usize) -> &'a [f32] {
        &self.inputs[i].floats[..self.facts[i].count()]
    }

    /// Output `i` as floats.
    pub fn out(&mut self) -> &mut [f32] {
        &mut self.outputs[0].floats[..self.made[0].count()]
    }
}

/// What a step multiplies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Product {
    None,
    Integer,
    Float,
}

/// An operation of a plan.
pub(super) trait Step: Send + Sync + fmt::Debug {
    /// The kernel's name.
    fn name(&self) -> &str;

    /// The kind of what it makes; `None` for that of its first input.
    fn makes(&self) -> Option<Kind> {
        Some(Kind::Float)
    }

    /// Kind and shape of what it makes: floats in the shape of its first input, unless it says
    /// otherwise.
    ///
    /// # Errors
    /// A sentence that says what does not fit, as of [`run`](Step::run).
    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Float)?;
        Ok(vec![Fact::new(Kind::Float, &inputs[0].dims)])
    }

    /// Whether inputs that do not fit contradict each other, so that no engine can run them.
    fn contradicts(&self, _: &[&Fact]) -> bool {
        false
    }

    /// Makes it. Shapes are those that [`facts`](Step::facts) saw.
    fn run(&self, io: Io<'_>) -> Result<(), String>;

    /// What it multiplies in.
    fn product(&self) -> Product {
        Product::None
    }

    /// Multiply-accumulates of a run.
    fn macs(&self, _inputs: &[&Fact]) -> u64 {
        0
    }

    /// Bytes of its own that every run reads: weights, but no table of which rows are looked up.
    fn weights(&self) -> usize {
        0
    }

    /// Bytes that it works in beside its inputs and outputs, where they may outgrow those.
    fn scratch(&self, _inputs: &[&Fact]) -> usize {
        0
    }

    /// Whether its inputs may hold no value at all: rows of which there are none.
    fn takes_nothing(&self) -> bool {
        false
    }

    /// Whether the codes that it reads are pictures'.
    fn reads_pictures(&self) -> bool {
        false
    }

    /// Whether the output is the first input in another shape: no code runs.
    fn is_view(&self) -> bool {
        false
    }
}
