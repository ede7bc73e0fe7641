//! Shapes: what the dimensions alone determine, and values seen in another shape.

use crate::model::plan::op::{Op, Reading};
use crate::model::plan::step::{Fact, Io, Kind, Step};

/// `Shape`: known as soon as the shapes are.
#[derive(Debug)]
pub struct ShapeOf {
    pub start: i64,
    pub end: Option<i64>,
}

impl ShapeOf {
    pub fn read(op: &Op<'_>) -> Option<Reading> {
        let step = ShapeOf {
            start: op.node.int("start").unwrap_or(0),
            end: op.node.int("end"),
        };
        let shaped = matches!(op.kind(0), Some(Kind::Float | Kind::Int));
        shaped.then(|| Reading::new(step, &[0]))
    }
}

/// `at`, counted from the end if negative, within `0..=len`.
fn place(at: i64, len: usize) -> usize {
    let len = len as i64;
    let at = if at < 0 { at.saturating_add(len) } else { at };
    at.clamp(0, len) as usize
}

impl Step for ShapeOf {
    fn name(&self) -> &'static str {
        "shape"
    }

    fn takes_nothing(&self) -> bool {
        true
    }

    fn makes(&self) -> Option<Kind> {
        Some(Kind::Int)
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        let dims = &inputs[0].dims;
        let (start, end) = (
            place(self.start, dims.len()),
            place(self.end.unwrap_or(i64::MAX), dims.len()),
        );
        let known: Vec<i64> = dims[start..end.max(start)]
            .iter()
            .map(|d| *d as i64)
            .collect();
        Ok(vec![Fact::of_ints(known)])
    }

    fn run(&self, _: Io<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// `Slice` of a list of whole numbers that are known.
#[derive(Debug)]
pub struct SliceInts;

impl SliceInts {
    pub fn read(op: &Op<'_>) -> Option<Reading> {
        let fits = op.node.inputs.len() == 3 && op.constant(0)?.is_index();
        fits.then(|| Reading::new(SliceInts, &[0, 1, 2]))
    }
}

impl Step for SliceInts {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn makes(&self) -> Option<Kind> {
        Some(Kind::Int)
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        let one = |fact: &Fact| match fact.known.as_deref() {
            Some([one]) => Ok(*one),
            _ => Err("needs bounds that the shapes determine".to_string()),
        };
        let list = inputs[0]
            .known
            .as_ref()
            .ok_or("needs a list that the shapes determine")?;
        let (start, end) = (
            place(one(inputs[1])?, list.len()),
            place(one(inputs[2])?, list.len()),
        );
        let known = list[start..end.max(start)].to_vec();
        Ok(vec![Fact::of_ints(known)])
    }

    fn run(&self, _: Io<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// The same values in another shape.
#[derive(Debug)]
pub enum View {
    /// As it is.
    Identity,
    /// 0 keeps a dimension, −1 takes what is left.
    Reshape(Vec<i64>),
    /// Axes of the output that are 1.
    Unsqueeze(Vec<i64>),
    /// Axes of the input that are 1; none named, all of them.
    Squeeze(Vec<i64>),
    /// Two dimensions, parted at the axis.
    Flatten(i64),
}

impl View {
    pub fn identity(op: &Op<'_>) -> Option<Reading> {
        View::Identity.of(op)
    }

    pub fn reshape(op: &Op<'_>) -> Option<Reading> {
        // with `allowzero` a 0 is a size
        let copies = op.node.int("allowzero").unwrap_or(0) == 0;
        View::Reshape(op.ints(1)?).of(op).filter(|_| copies)
    }

    pub fn unsqueeze(op: &Op<'_>) -> Option<Reading> {
        View::Unsqueeze(op.axes()?).of(op)
    }

    pub fn squeeze(op: &Op<'_>) -> Option<Reading> {
        let all = op.input(1).is_none() && op.node.ints("axes").is_none();
        let axes = if all { Vec::new() } else { op.axes()? };
        View::Squeeze(axes).of(op)
    }

    pub fn flatten(op: &Op<'_>) -> Option<Reading> {
        View::Flatten(op.node.int("axis").unwrap_or(1)).of(op)
    }

    /// What a constant becomes in another shape is tract's to say: it has no memory here.
    fn of(self, op: &Op<'_>) -> Option<Reading> {
        let held = op.is_float(0) && op.constant(0).is_none();
        held.then(|| Reading::new(self, &[0]))
    }
}

impl View {
    fn dims(&self, dims: &[usize]) -> Option<Vec<usize>> {
        match self {
            View::Identity => Some(dims.to_vec()),
            View::Reshape(wanted) => reshape(dims, wanted),
            View::Unsqueeze(axes) => unsqueeze(dims, axes),
            View::Squeeze(axes) => {
                let drop: Vec<usize> = axes.iter().map(|a| place(*a, dims.len())).collect();
                let gone = |at: usize| dims[at] == 1 && (drop.is_empty() || drop.contains(&at));
                let kept = (0..dims.len()).filter(|at| !gone(*at));
                let fits = drop.iter().all(|at| dims.get(*at) == Some(&1));
                fits.then(|| kept.map(|at| dims[at]).collect())
            }
            View::Flatten(axis) => {
                let at = place(*axis, dims.len());
                Some(vec![
                    dims[..at].iter().product(),
                    dims[at..].iter().product(),
                ])
            }
        }
    }
}

fn reshape(dims: &[usize], wanted: &[i64]) -> Option<Vec<usize>> {
    let count: usize = dims.iter().product();
    let mut out = Vec::with_capacity(wanted.len());
    for (at, want) in wanted.iter().enumerate() {
        out.push(match want {
            0 => *dims.get(at)?,
            -1 => 1,
            other => usize::try_from(*other).ok()?,
        });
    }
    if let Some(free) = wanted.iter().position(|w| *w == -1) {
        let rest: usize = out.iter().try_fold(1_usize, |n, d| n.checked_mul(*d))?;
        out[free] = count.checked_div(rest)?;
    }
    let made = out.iter().try_fold(1_usize, |n, d| n.checked_mul(*d))?;
    (made == count).then_some(out)
}

fn unsqueeze(dims: &[usize], axes: &[i64]) -> Option<Vec<usize>> {
    let rank = dims.len() + axes.len();
    let places: Vec<usize> = axes.iter().map(|a| place(*a, rank)).collect();
    let mut rest = dims.iter();
    let out: Option<Vec<usize>> = (0..rank)
        .map(|at| {
            if places.contains(&at) {
                Some(1)
            } else {
                rest.next().copied()
            }
        })
        .collect();
    out.filter(|_| rest.next().is_none())
}

impl Step for View {
    fn name(&self) -> &'static str {
        "view"
    }

    fn makes(&self) -> Option<Kind> {
        None
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        if matches!(inputs[0].kind, Kind::Rows | Kind::Image) {
            inputs[0].expect(Kind::Float)?;
        }
        let dims = self.dims(&inputs[0].dims);
        let dims = dims.ok_or_else(|| format!("{self:?} does not fit {:?}", inputs[0].dims))?;
        Ok(vec![Fact {
            dims,
            ..inputs[0].clone()
        }])
    }

    fn run(&self, _: Io<'_>) -> Result<(), String> {
        Ok(())
    }

    fn is_view(&self) -> bool {
        true
    }
}
