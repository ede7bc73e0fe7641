//! Parts of values, and values side by side: whole blocks are copied.

use crate::model::plan::op::{Op, Reading};
use crate::model::plan::step::{Fact, Io, Kind, Step};

/// `axis`, counted from the end if negative, of `rank`.
fn axis_of(axis: i64, rank: usize) -> Result<usize, String> {
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    let at = usize::try_from(at).ok().filter(|at| *at < rank);
    at.ok_or_else(|| "has no such axis".to_string())
}

/// Blocks along an axis: how many before it, its length, and the values of one.
fn blocks(dims: &[usize], axis: usize) -> (usize, usize, usize) {
    let before = dims[..axis].iter().product();
    (before, dims[axis], dims[axis + 1..].iter().product())
}

/// `Concat` of floats.
#[derive(Debug)]
pub struct Concat {
    axis: i64,
}

impl Concat {
    pub fn read(op: &Op<'_>) -> Option<Reading> {
        let inputs: Vec<usize> = (0..op.node.inputs.len()).collect();
        let axis = op.node.int("axis")?;
        op.floats(inputs.len())
            .then(|| Reading::new(Concat { axis }, &inputs))
    }
}

impl Step for Concat {
    fn name(&self) -> &str {
        "concat"
    }

    /// A cache begins without a row.
    fn takes_nothing(&self) -> bool {
        true
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        let mut dims = inputs[0].dims.clone();
        let axis = axis_of(self.axis, dims.len())?;
        for other in &inputs[1..] {
            other.expect(Kind::Float)?;
            let mut like = other.dims.clone();
            let along = like.get_mut(axis).ok_or("has no such axis")?;
            dims[axis] = dims[axis].saturating_add(std::mem::replace(along, dims[axis]));
            like[axis] = dims[axis];
            if like != dims {
                return Err(format!(
                    "{:?} does not go beside {:?}",
                    other.dims, inputs[0].dims
                ));
            }
        }
        inputs[0].expect(Kind::Float)?;
        Ok(vec![Fact::new(Kind::Float, &dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let axis = axis_of(self.axis, io.made[0].dims.len())?;
        let (before, _, _) = blocks(&io.made[0].dims, axis);
        let out = &mut io.outputs[0].floats[..io.made[0].count()];
        let mut rest = out;
        for block in 0..before {
            for (i, fact) in io.facts.iter().enumerate() {
                let (_, along, inner) = blocks(&fact.dims, axis);
                let len = along * inner;
                let from = &io.inputs[i].floats[block * len..][..len];
                let (to, behind) = rest.split_at_mut(len);
                to.copy_from_slice(from);
                rest = behind;
            }
        }
        Ok(())
    }
}

/// `Gather` or `Slice` of floats along one axis, at places that the file fixes.
#[derive(Debug)]
pub struct Select {
    axis: i64,
    places: Places,
}

#[derive(Debug)]
enum Places {
    /// A row, and its axis is gone; or rows.
    Rows(Vec<i64>, bool),
    /// From the first up to the second, as they lie within the axis.
    Range(i64, i64),
}

impl Select {
    pub fn gather(op: &Op<'_>) -> Option<Reading> {
        let index = op.constant(1).filter(|c| c.dims.len() < 2)?;
        let step = Select {
            axis: op.node.int("axis").unwrap_or(0),
            places: Places::Rows(index.ints()?, index.dims.is_empty()),
        };
        op.is_float(0).then(|| Reading::new(step, &[0]))
    }

    pub fn slice(op: &Op<'_>) -> Option<Reading> {
        let one = |i: usize| match op.ints(i)?[..] {
            [one] => Some(one),
            _ => None,
        };
        let steps = op.input(4).is_none() || one(4) == Some(1);
        let axis = match op.input(3) {
            Some(_) => one(3)?,
            None => 0,
        };
        let step = Select {
            axis,
            places: Places::Range(one(1)?, one(2)?),
        };
        (steps && op.is_float(0)).then(|| Reading::new(step, &[0]))
    }

    /// How many rows of an axis of `len`, and the first of a range.
    fn count(&self, len: usize) -> Result<(usize, usize), String> {
        match &self.places {
            Places::Rows(rows, _) => {
                for row in rows {
                    if *row < -(len as i64) || from_end(*row, len) >= len {
                        return Err(format!("row {row} is not among {len}"));
                    }
                }
                Ok((rows.len(), 0))
            }
            Places::Range(from, to) => {
                let (from, to) = (from_end(*from, len), from_end(*to, len));
                let from = from.min(len);
                Ok((to.min(len).saturating_sub(from), from))
            }
        }
    }
}

/// `at`, counted from the end if negative.
fn from_end(at: i64, len: usize) -> usize {
    let at = if at < 0 {
        at.saturating_add(len as i64)
    } else {
        at
    };
    usize::try_from(at).unwrap_or(0)
}

impl Step for Select {
    fn name(&self) -> &str {
        match self.places {
            Places::Rows(..) => "gather",
            Places::Range(..) => "slice",
        }
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Float)?;
        let mut dims = inputs[0].dims.clone();
        let axis = axis_of(self.axis, dims.len())?;
        dims[axis] = self.count(dims[axis])?.0;
        if matches!(self.places, Places::Rows(_, true)) {
            dims.remove(axis);
        }
        Ok(vec![Fact::new(Kind::Float, &dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let dims = &io.facts[0].dims;
        let axis = axis_of(self.axis, dims.len())?;
        let (before, len, inner) = blocks(dims, axis);
        let (count, first) = self.count(len)?;
        let x = io.floats(0);
        let mut rest = &mut io.outputs[0].floats[..io.made[0].count()];
        for block in 0..before {
            for i in 0..count {
                let row = match &self.places {
                    Places::Rows(rows, _) => from_end(rows[i], len),
                    Places::Range(..) => first + i,
                };
                let (to, behind) = rest.split_at_mut(inner);
                to.copy_from_slice(&x[(block * len + row) * inner..][..inner]);
                rest = behind;
            }
        }
        Ok(())
    }
}
