//! Does a graph multiply integers? Counts the products that are left after optimisation.
//!
//! A quantised file proves nothing: an engine may quietly compute it in float (tract does
//! so with QDQ graphs). What counts is the plan that will run.

use super::plan::{Plan, Product};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::matmul::optimized::OptMatMul;

/// What multiplies in a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Matrix products and convolutions accumulated in integers.
    pub integer: usize,
    /// Names of those accumulated in floats.
    pub float: Vec<String>,
}

impl Audit {
    /// Looks at every node of an optimised model.
    pub(super) fn of(model: &TypedModel) -> TractResult<Audit> {
        let mut audit = Audit::default();
        for node in model.nodes() {
            if let Some(accumulator) = accumulator(model, node)? {
                if accumulator.is_float() {
                    audit.float.push(node.name.clone());
                } else {
                    audit.integer += 1;
                }
            }
        }
        Ok(audit)
    }

    /// Looks at every step of a plan of ours.
    pub(super) fn of_plan(plan: &Plan) -> Audit {
        let mut audit = Audit::default();
        for (name, product) in plan.products() {
            match product {
                Product::Float => audit.float.push(name.to_owned()),
                _ => audit.integer += 1,
            }
        }
        audit
    }

    /// All products of the plan.
    pub fn total(&self) -> usize {
        self.integer + self.float.len()
    }

    /// The first float product, if any: an int8 file has none.
    pub fn first_float(&self) -> Option<&str> {
        self.float.first().map(String::as_str)
    }
}

/// The type a product accumulates in; `None` when the node is no product.
fn accumulator(model: &TypedModel, node: &TypedNode) -> TractResult<Option<DatumType>> {
    if let Some(op) = node.op_as::<OptMatMul>() {
        return Ok(op.mmm.first().map(|kernel| kernel.internal_type()));
    }
    if let Some(op) = node.op_as::<EinSum>() {
        return Ok(Some(op.operating_dt));
    }
    let convolves = node.op_is::<Conv>()
        || [
            "Deconv",
            "DepthWise",
            "SpatialConv",
            "GRU",
            "LSTM",
            "Scan",
            "BlockQuant",
        ]
        .iter()
        .any(|n| node.op.name().contains(n));
    if convolves {
        let fact = model.outlet_fact(OutletId::new(node.id, 0))?;
        return Ok(Some(fact.datum_type));
    }
    Ok(None)
}
