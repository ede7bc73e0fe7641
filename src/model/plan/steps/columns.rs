//! Columns out of a table that a product reads too: a vocabulary that is stored once.

use super::embed::row;
use crate::kernels::int8::PackedWeights;
use crate::model::plan::step::{Fact, Io, Kind, Step};

/// Columns of signed bytes `[d, n]` with one scale each, as rows: floats `[ids, d]`. They are read
/// as the product packed them, for a vocabulary is most of a decoder's memory.
#[derive(Debug)]
pub struct EmbedColumns {
    pub table: PackedWeights,
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
        Ok(vec![Fact::new(Kind::Float, &[count, self.table.k()])])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (len, ids) = (io.made[0].count(), io.ints(0));
        let out = &mut io.outputs[0].floats[..len];
        for (id, out) in ids.iter().zip(out.chunks_exact_mut(self.table.k())) {
            let column = row(*id, self.scales.len())?;
            for (out, code) in out.iter_mut().zip(self.table.column(column)) {
                *out = f32::from(code) * self.scales[column];
            }
        }
        Ok(())
    }
}
