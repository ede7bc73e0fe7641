//! Columns out of a table that a product reads too: a vocabulary that is stored once.

use super::embed::row;
use crate::model::plan::graph::Const;
use crate::model::plan::step::{Fact, Io, Kind, Step};
use std::sync::Arc;

/// Columns of signed bytes `[d, n]` with one scale each, as rows: floats `[ids, d]`.
#[derive(Debug)]
pub struct EmbedColumns {
    pub table: Arc<Const>,
    pub scales: Vec<f32>,
}

impl Step for EmbedColumns {
    fn name(&self) -> &'static str {
        "int8 embedding (columns)"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Int)?;
        let [count] = inputs[0].dims[..] else {
            return Err(format!("needs a list of ids, not {:?}", inputs[0].dims));
        };
        Ok(vec![Fact::new(Kind::Float, &[count, self.table.dims[0]])])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (len, ids) = (io.made[0].count(), io.ints(0));
        let table = self.table.bytes().ok_or("the table is no int8")?;
        let columns = self.scales.len();
        let out = &mut io.outputs[0].floats[..len];
        for (id, out) in ids.iter().zip(out.chunks_exact_mut(self.table.dims[0])) {
            let column = row(*id, columns)?;
            let codes = table[column..].iter().step_by(columns);
            for (out, code) in out.iter_mut().zip(codes) {
                *out = f32::from(*code) * self.scales[column];
            }
        }
        Ok(())
    }
}
