//! Operators of ours inside ONNX files: functions of the domain `demeanor`.
//!
//! The file carries the function's body in plain ONNX, so any runtime can check it; here
//! the call is mapped to the kernel, by name, and the body is never looked at. The names are
//! those of the [`CATALOGUE`].

use crate::fusion::catalogue::{DOMAIN, Port, find};
use crate::fusion::shape::{Sizes, letter};
use crate::fusion::{CATALOGUE, Data, Entry, Fusion, Precision, Rows, Scratch, Tensor as Given};
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::tract_data::half::slice::HalfFloatSliceExt;

/// tract's ONNX operators and ours.
pub(super) fn framework() -> Onnx {
    let mut onnx = tract_onnx::onnx();
    for entry in CATALOGUE {
        for precision in Precision::ALL {
            if let Some(name) = entry.function(precision) {
                onnx.op_register.0.insert(name, call);
            }
        }
    }
    onnx
}

/// Whether a node is a call of an operator of the catalogue.
pub(super) fn is_head(node: &NodeProto) -> bool {
    node.domain == DOMAIN && find(&node.op_type).is_some()
}

fn call(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let known = find(&node.op_type).filter(|_| node.domain == DOMAIN);
    let (entry, precision) = known.ok_or_else(|| {
        format_err!(
            "operator {} of an unknown domain {:?}",
            node.op_type,
            node.domain
        )
    })?;
    let mut settings = Vec::new();
    for setting in entry.settings {
        let given = if setting.whole {
            node.get_attr_opt::<i64>(setting.name)?.map(|v| v as f64)
        } else {
            node.get_attr_opt::<f32>(setting.name)?.map(f64::from)
        };
        settings.push((setting.name, given.unwrap_or(setting.usual)));
    }
    let call = Call {
        entry,
        precision,
        settings,
    };
    Ok((expand(call), vec![]))
}

/// A call as it stands in the file: the inputs, then the weights.
#[derive(Debug, Clone)]
struct Call {
    entry: &'static Entry,
    precision: Precision,
    settings: Vec<(&'static str, f64)>,
}

impl Call {
    fn weights(&self) -> usize {
        self.entry.stored(self.precision).len()
    }
}

impl Expansion for Call {
    fn name(&self) -> StaticName {
        "demeanor.Fusion".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.entry.outputs.len())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let ports = self.entry.inputs;
        check_input_arity(inputs, ports.len() + self.weights())?;
        check_output_arity(outputs, self.entry.outputs.len())?;
        for (port, output) in self.entry.outputs.iter().zip(outputs) {
            s.equals(&output.datum_type, f32::datum_type())?;
            s.equals(&output.rank, port.shape.len() as i64)?;
            for (axis, dim) in port.shape.iter().enumerate() {
                if let Ok(size) = dim.parse::<i64>() {
                    s.equals(&output.shape[axis], size.to_dim())?;
                } else if let Some((input, from)) = place_of(ports, dim) {
                    s.equals(&output.shape[axis], &inputs[input].shape[from])?;
                }
            }
        }
        Ok(())
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let (values, weights) = inputs.split_at(self.entry.inputs.len());
        let weights: Vec<Arc<Tensor>> = weights
            .iter()
            .map(|i| weight(target, *i))
            .collect::<TractResult<_>>()?;
        let given = weights
            .iter()
            .map(|t| given(t))
            .collect::<TractResult<_>>()?;
        let name = self.entry.function(self.precision).unwrap_or_default();
        let fusion = Fusion::new(&name, given, &self.settings)?;
        target.wire_node(prefix, FusionOp(Arc::new(fusion)), values)
    }
}

/// The input and axis whose size is this letter.
fn place_of(ports: &[Port], dim: &str) -> Option<(usize, usize)> {
    letter(dim)?;
    let axes = |(at, port): (usize, &Port)| {
        let axis = port.shape.iter().position(|d| *d == dim)?;
        Some((at, axis))
    };
    ports.iter().enumerate().find_map(axes)
}

fn weight(model: &TypedModel, outlet: OutletId) -> TractResult<Arc<Tensor>> {
    let fact = model.outlet_fact(outlet)?;
    fact.konst
        .clone()
        .ok_or_else(|| format_err!("a fusion weight is not constant"))
}

/// A constant of the file as the catalogue takes it.
fn given(tensor: &Tensor) -> TractResult<Given<'_>> {
    let plain = tensor.try_as_plain_ram()?;
    let data = match tensor.datum_type().unquantized() {
        DatumType::F32 => Data::F32(plain.as_slice::<f32>()?),
        DatumType::I8 => Data::I8(plain.as_slice::<i8>()?),
        DatumType::I64 => Data::I64(plain.as_slice::<i64>()?),
        DatumType::F16 => Data::F16(plain.as_slice::<f16>()?.reinterpret_cast()),
        other => bail!("a fusion weight is of type {other:?}"),
    };
    Ok(Given {
        dims: tensor.shape().to_vec(),
        data,
    })
}

/// The call as it runs: inputs alone, weights inside.
#[derive(Clone)]
pub(super) struct FusionOp(Arc<Fusion>);

/// The same call of the same file; tract asks before it merges nodes.
impl PartialEq for FusionOp {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for FusionOp {}

impl fmt::Debug for FusionOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.entry().function(self.0.precision());
        f.write_str(&name.unwrap_or_default())
    }
}

impl Op for FusionOp {
    fn name(&self) -> StaticName {
        format!("demeanor.{self:?}").into()
    }

    op_as_typed_op!();
}

thread_local! {
    /// Memory that calls work in, kept between them.
    static WORK: RefCell<(Scratch, Vec<Vec<f32>>)> = RefCell::default();
}

impl EvalOp for FusionOp {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let plain: Vec<_> = inputs
            .iter()
            .map(|t| Ok((t.try_as_plain_ram()?, *t.shape().last().unwrap_or(&1))))
            .collect::<TractResult<_>>()?;
        let rows: Vec<Rows<'_>> = plain
            .iter()
            .map(|(t, cols)| Ok(Rows::new(t.as_slice::<f32>()?, *cols)?))
            .collect::<TractResult<_>>()?;
        let mut sizes = self.0.sizes().clone();
        for (port, rows) in self.0.entry().inputs.iter().zip(&rows) {
            // what does not fit is told by the operator itself
            let _ = sizes.learn(port.shape, &[rows.rows(), rows.cols()]);
        }
        WORK.with_borrow_mut(|(work, out)| {
            self.0.run(&rows, work, out)?;
            let ports = self.0.entry().outputs.iter();
            let tensors = ports.zip(out).map(|(port, values)| {
                let shape = sizes.values(port.shape);
                let shape = shape.ok_or_else(|| format_err!("{} has no shape", port.name))?;
                Ok(Tensor::from_shape(&shape, values)?.into_tvalue())
            });
            tensors.collect()
        })
    }
}

impl TypedOp for FusionOp {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let entry = self.0.entry();
        let facts = entry.outputs.iter().map(|port| {
            let dims = port
                .shape
                .iter()
                .map(|dim| dim_of(dim, entry, self.0.sizes(), inputs));
            Ok(f32::fact(dims.collect::<TractResult<TVec<TDim>>>()?))
        });
        facts.collect()
    }

    as_op!();
}

/// A dimension of an output: known from the weights, or that of an input, or a sum of such.
fn dim_of(dim: &str, entry: &Entry, sizes: &Sizes, inputs: &[&TypedFact]) -> TractResult<TDim> {
    if let Some(size) = sizes.value(dim) {
        return Ok(size.to_dim());
    }
    let mut sum = 0.to_dim();
    for term in dim.split('+') {
        let place = place_of(entry.inputs, term);
        let (input, axis) = place.ok_or_else(|| format_err!("{dim} is of no input"))?;
        sum += inputs[input].shape[axis].clone();
    }
    Ok(sum)
}
