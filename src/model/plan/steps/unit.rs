//! A unit of MVCN in one step.

use super::super::{Fact, Io, Kind, Product, Step};
use super::expect;
use crate::fusion::Rows;
use crate::fusion::text_guided::{SelfUnit, TextGuidedUnit};

/// A call of one of the functions that `fusion::text_guided` holds.
#[derive(Debug)]
pub(in super::super) enum Unit {
    /// `[n, d]` to `[n, d]`.
    Own(Box<SelfUnit>),
    /// `[n, d]`, `[p, d]` to `[n, d]`, `[n, p]`.
    Guided(Box<TextGuidedUnit>),
}

impl Unit {
    fn width(&self) -> usize {
        match self {
            Unit::Own(unit) => unit.width(),
            Unit::Guided(unit) => unit.width(),
        }
    }
}

impl Step for Unit {
    fn name(&self) -> &'static str {
        match self {
            Unit::Own(_) => "int8 self-attention unit",
            Unit::Guided(_) => "int8 text-guided unit",
        }
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        for fact in inputs {
            expect(fact, Kind::Float)?;
            if fact.dims.len() != 2 || fact.width() != self.width() || fact.rows() == 0 {
                return Err(format!("a unit of {} meets {:?}", self.width(), fact.dims));
            }
        }
        let made = Fact::new(Kind::Float, &inputs[0].dims);
        Ok(match (self, inputs) {
            (Unit::Guided(_), [x, patches]) => {
                vec![made, Fact::new(Kind::Float, &[x.rows(), patches.rows()])]
            }
            _ => vec![made],
        })
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let d = self.width();
        let x = Rows::of_whole(io.floats(0), d);
        let work = &mut io.scratch.unit;
        let done = match self {
            Unit::Own(unit) => unit.run_into(x, work, &mut io.outputs[0].floats[..x.data().len()]),
            Unit::Guided(unit) => {
                let patches = Rows::of_whole(&io.inputs[1].floats[..io.facts[1].count()], d);
                let (y, attention) = io.outputs.split_at_mut(1);
                let weights = x.rows() * patches.rows();
                unit.run_into(
                    x,
                    patches,
                    work,
                    &mut y[0].floats[..x.data().len()],
                    &mut attention[0].floats[..weights],
                )
            }
        };
        done.map_err(|e| e.to_string())
    }

    fn product(&self) -> Product {
        Product::Integer
    }

    fn macs(&self, inputs: &[&Fact]) -> u64 {
        match self {
            Unit::Own(unit) => unit.macs(inputs[0].rows()),
            Unit::Guided(unit) => unit.macs(inputs[0].rows(), inputs[1].rows()),
        }
    }
}
