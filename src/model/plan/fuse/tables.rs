//! Rows out of tables.

use super::chain::Chain;
use super::{FusedOp, Matcher, fused};
use crate::model::plan::steps::{Embed, EmbedColumns, Positions};

impl<'a> Matcher<'a> {
    /// What follows node `at`, which gathers codes of a table: they become floats, and each is
    /// multiplied by the scale of its id. The values so far, and the scales of all ids.
    fn scaled_rows(&self, at: usize, ids: &str) -> Option<(Chain<'a>, &'a [f32])> {
        let mut chain = Chain {
            value: self.node(at).outputs.first()?,
            nodes: vec![at],
        };
        self.next(&mut chain, "Cast")
            .filter(|n| n.int("to") == Some(1))?;
        let before = chain.value;
        let scales = self.next(&mut chain, "Mul")?.other(before)?;
        let (scales_at, gather) = self.graph.made_by(scales, "Gather")?;
        self.graph.only_user(scales, "Mul")?;
        chain.nodes.push(scales_at);
        let alike = gather.inputs.get(1)? == ids && gather.int("axis").unwrap_or(0) == 0;
        let scales = self.constant(gather.inputs.first()?)?.floats()?;
        alike.then_some((chain, scales))
    }

    /// Rows of a table of bytes, each with its scale.
    pub(super) fn embedding(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        let table = self.constant(node.inputs.first()?)?;
        if node.int("axis").unwrap_or(0) != 0 || table.dims.len() != 2 {
            return None;
        }
        let ids = node.inputs.get(1)?;
        let (chain, scales) = self.scaled_rows(at, ids)?;
        let fits = scales.len() == table.dims[0] && table.dims[1] > 0 && table.bytes().is_some();
        let step = Embed {
            table: self.graph.constant(node.inputs.first()?)?.clone(),
            scales: scales.to_vec(),
            width: table.dims[1],
        };
        fits.then(|| vec![fused(step, &[ids], chain.value, chain.nodes)])
    }

    /// Columns of a table of bytes, each with its scale, as rows: the vocabulary that a product
    /// gives the logits of.
    pub(super) fn columns_of_table(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        let name = node.inputs.first()?;
        let table = self.constant(name)?;
        let [width, columns] = table.dims[..] else {
            return None;
        };
        let ids = node.inputs.get(1)?;
        let (mut chain, scales) = self.scaled_rows(at, ids)?;
        let turned = self.next(&mut chain, "Transpose")?.ints("perm")? == [1, 0];
        let fits = turned
            && node.int("axis") == Some(1)
            && scales.len() == columns
            && width > 0
            && table.bytes().is_some();
        let step = EmbedColumns {
            table: self.packed(name)?,
            scales: scales.to_vec(),
        };
        fits.then(|| vec![fused(step, &[ids], chain.value, chain.nodes)])
    }

    /// The first rows of a table of bytes with one scale.
    pub(super) fn positions(&self, at: usize) -> Option<Vec<FusedOp>> {
        let node = self.node(at);
        let table = self.constant(node.inputs.first()?)?;
        if table.dims.len() != 2 || table.dims[1] == 0 || table.bytes().is_none() {
            return None;
        }
        let whole = |i: usize, wanted: i64| {
            let ints = self.constant(node.inputs.get(i)?)?.ints()?;
            (ints == [wanted]).then_some(())
        };
        whole(1, 0)?;
        if node.inputs.len() > 3 {
            whole(3, 0)?;
        }
        if node.inputs.len() > 4 {
            whole(4, 1)?;
        }
        let mut chain = Chain {
            value: node.outputs.first()?,
            nodes: vec![at],
        };
        self.next(&mut chain, "Cast")
            .filter(|n| n.int("to") == Some(1))?;
        let before = chain.value;
        let scale = self.next(&mut chain, "Mul")?.other(before)?;
        let step = Positions {
            table: self.graph.constant(node.inputs.first()?)?.clone(),
            scale: self.constant(scale)?.float()?,
            width: table.dims[1],
        };
        let end = node.inputs.get(2)?;
        Some(vec![fused(step, &[end], chain.value, chain.nodes)])
    }
}
