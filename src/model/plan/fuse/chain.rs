//! What a matcher needs: following values from node to node.

use super::Matcher;
use crate::model::plan::graph::{Const, Node};
use crate::model::plan::op;
use crate::model::plan::step::Kind;

/// A chain of nodes being followed from a value on.
pub(super) struct Chain<'a> {
    pub value: &'a str,
    pub nodes: Vec<usize>,
}

/// A dynamically quantised value: the node, and what it quantises.
#[derive(Clone, Copy)]
pub(super) struct Quantised<'a> {
    pub at: usize,
    pub source: &'a str,
    pub codes: &'a str,
    pub scale: &'a str,
}

/// `found` within rounding of `wanted`.
fn about(found: Option<f32>, wanted: f32) -> bool {
    found.is_some_and(|f| (f - wanted).abs() <= 1e-6 * wanted.abs())
}

impl<'a> Matcher<'a> {
    pub(super) fn kind(&self, value: &str) -> Option<Kind> {
        op::kind(self.graph, &self.kinds, value)
    }

    pub(super) fn node(&self, at: usize) -> &'a Node {
        &self.graph.nodes[at]
    }

    pub(super) fn constant(&self, name: &str) -> Option<&'a Const> {
        self.graph.constant(name).map(|c| &**c)
    }

    /// The `DynamicQuantizeLinear` that makes `codes`, whose zero point must be `zero`.
    pub(super) fn quantised(&self, codes: &str, zero: &str) -> Option<Quantised<'a>> {
        let (at, node) = self.graph.made_by(codes, "DynamicQuantizeLinear")?;
        let [made, scale, its_zero] = node.outputs.as_slice() else {
            return None;
        };
        (made == codes && its_zero == zero).then_some(Quantised {
            at,
            source: node.inputs.first()?,
            codes: made,
            scale,
        })
    }

    /// The next node of a chain, an `op` that is the only reader of the last value.
    pub(super) fn next(&self, chain: &mut Chain<'a>, op: &str) -> Option<&'a Node> {
        let (at, node) = self.graph.only_user(chain.value, op)?;
        chain.nodes.push(at);
        chain.value = node.outputs.first()?;
        Some(node)
    }

    /// As [`next`](Self::next), where there need be none.
    pub(super) fn maybe(
        &self,
        chain: &mut Chain<'a>,
        op: &str,
        fits: impl Fn(&Node) -> bool,
    ) -> Option<&'a Node> {
        let (at, node) = self.graph.only_user(chain.value, op)?;
        if !fits(node) {
            return None;
        }
        chain.nodes.push(at);
        chain.value = node.outputs.first()?;
        Some(node)
    }

    /// Integer sums to floats: `Cast`, `Mul` by `scale·c`; returns `c`, or 1 for `scale` alone.
    pub(super) fn scaled(&self, chain: &mut Chain<'a>, scale: &str) -> Option<&'a Const> {
        self.next(chain, "Cast")
            .filter(|n| n.int("to") == Some(1))?;
        let before = chain.value;
        let factor = self.next(chain, "Mul")?.other(before)?;
        let (at, mul) = self.graph.made_by(factor, "Mul")?;
        let constant = self.constant(mul.other(scale)?)?;
        self.graph.only_user(factor, "Mul")?;
        chain.nodes.push(at);
        Some(constant)
    }

    /// Integer sums of two quantised values to floats: `Cast`, `Mul` by both scales.
    pub(super) fn scaled_by_both(&self, chain: &mut Chain<'a>, a: &str, b: &str) -> Option<()> {
        self.next(chain, "Cast")
            .filter(|n| n.int("to") == Some(1))?;
        let before = chain.value;
        let factor = self.next(chain, "Mul")?.other(before)?;
        let (at, mul) = self.graph.made_by(factor, "Mul")?;
        self.graph.only_user(factor, "Mul")?;
        chain.nodes.push(at);
        (mul.other(a)? == b).then_some(())
    }

    /// `Add` of a constant with one value a column.
    pub(super) fn bias(&self, chain: &mut Chain<'a>, n: usize) -> Option<&'a [f32]> {
        let value = chain.value;
        let of = |node: &Node| {
            let constant = self.constant(node.other(value)?)?;
            constant.floats().filter(|b| b.len() == n)
        };
        let node = self.maybe(chain, "Add", |node| of(node).is_some())?;
        let constant = self.constant(node.other(value)?)?;
        constant.floats()
    }

    /// `x/2·(1 + erf(x/√2))`, in the orders in which exporters write it.
    pub(super) fn gelu(&self, chain: &mut Chain<'a>) -> Option<()> {
        let x = chain.value;
        if self.graph.outputs.iter().any(|o| o == x) {
            return None;
        }
        let [one, two] = self.graph.users(x) else {
            return None;
        };
        let inner = [*one, *two]
            .into_iter()
            .find(|at| self.erf_argument(*at, x))?;
        let outer = if inner == *one { *two } else { *one };
        let mut nodes = vec![inner, outer];
        let mut erf = Chain {
            value: self.node(inner).outputs.first()?,
            nodes: Vec::new(),
        };
        self.next(&mut erf, "Erf")?;
        let before = erf.value;
        let add = self.next(&mut erf, "Add")?;
        let one = self.constant(add.other(before)?)?.float();
        let half = self.node(outer).is("Mul").then(|| self.node(outer))?;
        let end = if about(half.other(x).and_then(|c| self.constant(c)?.float()), 0.5) {
            // (x·½)·(erf + 1)
            let before = erf.value;
            let product = self.next(&mut erf, "Mul")?;
            (product.other(before)? == half.outputs.first()?).then_some(())?;
            self.graph.only_user(half.outputs.first()?, "Mul")?;
            erf.value
        } else {
            // (x·(erf + 1))·½
            (half.other(x)? == erf.value && self.graph.users(erf.value).len() == 1).then_some(())?;
            let value = half.outputs.first()?;
            let (at, last) = self.graph.only_user(value, "Mul")?;
            about(self.constant(last.other(value)?)?.float(), 0.5).then_some(())?;
            nodes.push(at);
            last.outputs.first()?
        };
        about(one, 1.0).then_some(())?;
        nodes.append(&mut erf.nodes);
        chain.nodes.append(&mut nodes);
        chain.value = end;
        Some(())
    }

    /// Whether a node makes `x/√2`.
    pub(super) fn erf_argument(&self, at: usize, x: &str) -> bool {
        let node = self.node(at);
        let constant = node.other(x).and_then(|c| self.constant(c)?.float());
        let root = std::f32::consts::SQRT_2;
        node.is("Mul") && about(constant, 1.0 / root)
            || node.is("Div") && node.inputs[0] == x && about(constant, root)
    }
}
