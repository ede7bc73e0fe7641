//! An operator of the domain `demeanor` as one step.

use crate::fusion::catalogue::DOMAIN;
use crate::fusion::{self, Data, Rows, Tensor};
use crate::model::plan::error::PlanError;
use crate::model::plan::graph::{Const, Values};
use crate::model::plan::op::{Op, Reading};
use crate::model::plan::step::{Fact, Io, Kind, Product, Step};
use crate::model::plan::steps::MOST;

/// A call with its weights; its inputs are rows of floats.
#[derive(Debug)]
pub struct Call {
    call: Box<dyn fusion::Call>,
    name: String,
}

impl Call {
    /// `None` for what is no operator of ours, or is called in a way that only its body can
    /// answer: with weights that are computed, or without one of its outputs.
    ///
    /// # Errors
    /// Weights or settings that do not fit the operator.
    pub fn read(op: &Op<'_>) -> Result<Option<Reading>, PlanError> {
        let node = op.node;
        let Some(function) = fusion::function(&node.proto.op_type) else {
            return Ok(None);
        };
        let inputs = function.inputs();
        let values = 0..inputs.min(node.inputs.len());
        let weights = (inputs..node.inputs.len()).map(|i| Some(tensor(op.constant(i)?)));
        let Some(weights) = weights.collect::<Option<Option<Vec<_>>>>() else {
            return Ok(None);
        };
        let named = node.outputs.iter().all(|name| !name.is_empty());
        let fits = values.len() == inputs
            && node.outputs.len() == function.outputs()
            && named
            && values.clone().all(|i| op.is_float(i));
        if !fits {
            return Ok(None);
        }
        let broken = |what: String| {
            let name = &node.proto.op_type;
            PlanError::Broken(format!(
                "node {} ({DOMAIN}.{name}): {what}",
                node.proto.name
            ))
        };
        let weights =
            weights.ok_or_else(|| broken("a weight is of a type that it cannot have".into()))?;
        let mut settings = Vec::new();
        for setting in function.settings() {
            let given = node.attribute(setting.name);
            let given = given.map(|a| {
                if setting.whole {
                    a.i as f64
                } else {
                    f64::from(a.f)
                }
            });
            settings.push((setting.name, given.unwrap_or(setting.usual)));
        }
        let call = function
            .build(weights, &settings)
            .map_err(|e| broken(e.to_string()))?;
        let name = function.title();
        let values: Vec<usize> = values.collect();
        Ok(Some(Reading::new(Call { call, name }, &values)))
    }
}

/// A constant as operators take it.
fn tensor(constant: &Const) -> Option<Tensor<'_>> {
    let data = match &constant.values {
        Values::F32(x) => Data::F32(x),
        Values::F16(x) => Data::F16(x),
        Values::I8(x) => Data::I8(x),
        Values::I64(x) => Data::I64(x),
        Values::I32(_) | Values::U8(_) | Values::Other(_) => return None,
    };
    Some(Tensor {
        dims: constant.dims.clone(),
        data,
    })
}

fn sizes(facts: &[&Fact]) -> Vec<[usize; 2]> {
    facts.iter().map(|f| [f.rows(), f.width()]).collect()
}

impl Step for Call {
    fn name(&self) -> &str {
        &self.name
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        for fact in inputs {
            fact.expect(Kind::Float)?;
        }
        let shapes = self
            .call
            .shapes(&sizes(inputs))
            .map_err(|e| e.to_string())?;
        Ok(shapes
            .iter()
            .map(|dims| Fact::new(Kind::Float, dims))
            .collect())
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let mut rows = [Rows::of_whole(&[], 1); MOST];
        for (i, rows) in rows[..io.facts.len()].iter_mut().enumerate() {
            *rows = Rows::of_whole(io.floats(i), io.facts[i].width());
        }
        // an operator sets the length of what it makes; the memory is shared with longer values
        let mut made: [Vec<f32>; MOST] = Default::default();
        let mut lengths = [0; MOST];
        for (i, output) in io.outputs.iter_mut().enumerate() {
            made[i] = std::mem::take(&mut output.floats);
            lengths[i] = made[i].len();
        }
        let (inputs, outputs) = (&rows[..io.facts.len()], &mut made[..io.outputs.len()]);
        let done = self.call.run(inputs, &mut io.scratch.fusion, outputs);
        for (i, output) in io.outputs.iter_mut().enumerate() {
            output.floats = std::mem::take(&mut made[i]);
            output.floats.resize(lengths[i], 0.0);
        }
        done.map_err(|e| e.to_string())
    }

    fn product(&self) -> Product {
        if self.call.is_integer() {
            Product::Integer
        } else {
            Product::Float
        }
    }

    fn macs(&self, inputs: &[&Fact]) -> u64 {
        self.call.macs(&sizes(inputs))
    }

    fn takes_nothing(&self) -> bool {
        self.call.takes_nothing()
    }

    fn scratch(&self, inputs: &[&Fact]) -> usize {
        self.call.scratch(&sizes(inputs))
    }
}
