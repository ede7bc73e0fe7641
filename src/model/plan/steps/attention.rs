//! Multi-head attention in one step.

use super::by_rows;
use crate::kernels::int8::{Attention, AttentionScratch, Codes};
use crate::model::plan::step::{Fact, Io, Kind, Product, Step};
use std::cell::RefCell;

thread_local! {
    /// A worker's own memory.
    static SCRATCH: RefCell<AttentionScratch> = RefCell::default();
}

/// `softmax(scale·Q·Kᵀ)·V` of codes `[n, heads·width]`, `[m, …]`, `[m, …]`: floats `[n, …]`.
#[derive(Debug)]
pub struct Attend {
    pub heads: usize,
    pub width: usize,
    pub scale: f32,
}

impl Step for Attend {
    fn name(&self) -> &'static str {
        "int8 attention"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        let columns = self.heads * self.width;
        for fact in inputs {
            fact.expect(Kind::Rows)?;
            if fact.dims.len() != 2 || fact.width() != columns {
                return Err(format!(
                    "{} heads of {} meet {:?}",
                    self.heads, self.width, fact.dims
                ));
            }
        }
        if inputs[1].rows() != inputs[2].rows() {
            return Err("keys and values differ in number".into());
        }
        Ok(vec![Fact::new(Kind::Float, &inputs[0].dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let job = Attention {
            heads: self.heads,
            width: self.width,
            scale: self.scale,
            q: io.rows(0)?,
            k: io.rows(1)?,
            v: io.rows(2)?,
        };
        let len = io.made[0].count();
        let out = &mut io.outputs[0].floats[..len];
        let (queries, quant) = job.q;
        let macs = 2 * job.k.0.rows * self.heads * self.width;
        if io.threads < 2 {
            io.kernels.attend(&job, &mut io.scratch.attention, out);
            return Ok(());
        }
        // every worker packs keys and values for itself: they are few beside the products
        let work = |first: usize, rows: usize, out: &mut [f32], _: &mut _| {
            let bytes = &queries.bytes[first * queries.stride..];
            let q = (
                Codes {
                    bytes,
                    rows,
                    ..queries
                },
                quant,
            );
            SCRATCH.with_borrow_mut(|scratch| {
                io.kernels.attend(&Attention { q, ..job }, scratch, out)
            });
        };
        by_rows(
            queries.rows,
            macs,
            io.threads,
            out,
            work,
            &mut io.scratch.product,
        );
        Ok(())
    }

    fn product(&self) -> Product {
        Product::Integer
    }

    fn macs(&self, inputs: &[&Fact]) -> u64 {
        (2 * inputs[0].count() * inputs[1].rows()) as u64
    }
}
