//! Rows out of tables, straight from int8.

use crate::model::plan::fold;
use crate::model::plan::graph::Const;
use crate::model::plan::op::{Op, Reading};
use crate::model::plan::step::{Fact, Io, Kind, Step};
use std::sync::Arc;

/// Rows of a table of signed bytes with one scale each: floats `[n, d]`.
#[derive(Debug)]
pub struct Embed {
    pub table: Arc<Const>,
    pub scales: Vec<f32>,
    pub width: usize,
}

impl Step for Embed {
    fn name(&self) -> &'static str {
        "int8 embedding"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Int)?;
        let mut dims = inputs[0].dims.clone();
        dims.push(self.width);
        Ok(vec![Fact::new(Kind::Float, &dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let len = io.made[0].count();
        let ids = io.ints(0);
        let table = self.table.bytes().ok_or("the table is no int8")?;
        let out = &mut io.outputs[0].floats[..len];
        for (id, out) in ids.iter().zip(out.chunks_exact_mut(self.width)) {
            let row = row(*id, self.scales.len())?;
            let codes = &table[row * self.width..][..self.width];
            let scale = self.scales[row];
            for (out, code) in out.iter_mut().zip(codes) {
                *out = f32::from(*code) * scale;
            }
        }
        Ok(())
    }
}

/// The row of `id`, where a negative one counts from the end.
pub(super) fn row(id: i64, rows: usize) -> Result<usize, String> {
    let from_end = if id < 0 { id + rows as i64 } else { id };
    let row = usize::try_from(from_end).ok().filter(|r| *r < rows);
    row.ok_or_else(|| format!("id {id} is not among {rows} rows"))
}

/// `table[ids]` of whole numbers.
#[derive(Debug)]
pub struct GatherInts {
    pub table: Vec<i64>,
}

impl GatherInts {
    pub fn read(op: &Op<'_>) -> Option<Reading> {
        let constant = op.constant(0).filter(|c| c.dims.len() == 1)?;
        let (table, made) = (constant.ints()?, op.node.outputs.first()?);
        // int32 becomes int64 here, which may only be looked up with
        let user = |at: &usize| &op.graph.nodes[*at];
        let mut users = op.graph.users(made).iter().map(user);
        let free = users.all(|n| n.is("Gather") && n.inputs.get(1) == Some(made));
        let indexed = op.kind(1) == Some(Kind::Int) && (constant.is_index() || free);
        indexed.then(|| Reading::new(GatherInts { table }, &[1]))
    }
}

impl Step for GatherInts {
    fn name(&self) -> &'static str {
        "lookup"
    }

    fn makes(&self) -> Option<Kind> {
        Some(Kind::Int)
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Int)?;
        Ok(vec![Fact::new(Kind::Int, &inputs[0].dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let count = io.made[0].count();
        for i in 0..count {
            let value = self.table[row(io.ints(0)[i], self.table.len())?];
            io.outputs[0].ints[i] = value;
        }
        Ok(())
    }
}

/// `table[ids]` of floats, whole rows of a table of any rank.
#[derive(Debug)]
pub struct GatherRows {
    table: Arc<Const>,
}

impl GatherRows {
    pub fn read(op: &Op<'_>) -> Option<Reading> {
        let table = Arc::clone(op.graph.constant(op.input(0)?)?);
        table.floats().filter(|_| !table.dims.is_empty())?;
        let rows = op.node.int("axis").unwrap_or(0) == 0 && op.kind(1) == Some(Kind::Int);
        rows.then(|| Reading::new(GatherRows { table }, &[1]))
    }
}

impl Step for GatherRows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Int)?;
        let dims = [&inputs[0].dims, &self.table.dims[1..]].concat();
        Ok(vec![Fact::new(Kind::Float, &dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let table = self.table.floats().ok_or("the table holds no floats")?;
        let width: usize = self.table.dims[1..].iter().product();
        let (len, ids) = (io.made[0].count(), io.ints(0));
        let out = &mut io.outputs[0].floats[..len];
        for (id, out) in ids.iter().zip(out.chunks_exact_mut(width.max(1))) {
            let row = row(*id, self.table.dims[0])?;
            out.copy_from_slice(&table[row * width..][..width]);
        }
        Ok(())
    }
}

/// The first rows of a table of signed bytes with one scale; the input says how many.
#[derive(Debug)]
pub struct Positions {
    pub table: Arc<Const>,
    pub scale: f32,
    pub width: usize,
}

impl Step for Positions {
    fn name(&self) -> &'static str {
        "int8 positions"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        let rows = match inputs[0].known.as_deref() {
            Some([rows]) => usize::try_from(*rows).unwrap_or(0),
            _ => return Err("needs a number of rows that the shapes determine".into()),
        };
        // a slice ends with its table
        let rows = rows.min(self.table.dims[0]);
        Ok(vec![Fact::new(Kind::Float, &[rows, self.width])])
    }

    fn run(&self, mut io: Io<'_>) -> Result<(), String> {
        let table = self.table.bytes().ok_or("the table is no int8")?;
        for (out, code) in io.out().iter_mut().zip(table) {
            *out = f32::from(*code) * self.scale;
        }
        Ok(())
    }
}

/// Floats that the file holds as codes.
#[derive(Debug)]
pub struct Written(Const);

impl Written {
    pub fn read(op: &Op<'_>) -> Option<Reading> {
        let constant = |name: &str| op.graph.constant(name).map(|c| &**c);
        let floats = fold::dequantised(&op.node.proto, constant)?;
        Some(Reading::new(Written(floats), &[]))
    }
}

impl Step for Written {
    fn name(&self) -> &'static str {
        "constant"
    }

    fn facts(&self, _: &[&Fact]) -> Result<Vec<Fact>, String> {
        Ok(vec![Fact::new(Kind::Float, &self.0.dims)])
    }

    fn run(&self, mut io: Io<'_>) -> Result<(), String> {
        let floats = self.0.floats().ok_or("the constant holds no floats")?;
        io.out().copy_from_slice(floats);
        Ok(())
    }
}

/// Whole numbers to floats.
#[derive(Debug)]
pub struct CastInts;

impl CastInts {
    pub fn read(op: &Op<'_>) -> Option<Reading> {
        let floats = op.node.int("to") == Some(1);
        (floats && op.kind(0) == Some(Kind::Int)).then(|| Reading::new(CastInts, &[0]))
    }
}

impl Step for CastInts {
    fn name(&self) -> &'static str {
        "to float"
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        inputs[0].expect(Kind::Int)?;
        Ok(vec![Fact::new(Kind::Float, &inputs[0].dims)])
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let count = io.made[0].count();
        for i in 0..count {
            io.outputs[0].floats[i] = io.ints(0)[i] as f32;
        }
        Ok(())
    }
}
