//! A node that nothing of ours matches, run by tract as a model of its own.

use super::LAYOUTS;
use super::error::PlanError;
use super::graph::{Graph, Node};
use super::step::{Fact, Io, Kind, Product, Step};
use super::steps::MOST;
use crate::model::tract;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, tensor_proto, tensor_shape_proto, type_proto,
};
use tract_onnx::tract_hir::internal::*;

/// One node, its constants, and a runnable model for each shape that it met.
pub(super) struct Foreign {
    node: NodeProto,
    /// Inputs that are values, by name, in the order of the step's inputs.
    values: Vec<String>,
    consts: Vec<TensorProto>,
    opset: i64,
    /// What each output is, by its place among those that have a name.
    kinds: Vec<Kind>,
    made: Mutex<HashMap<Inputs, Runnable>>,
}

/// Kind, shape and, where it is known, content of every input.
type Inputs = Vec<(Kind, Vec<usize>, Option<Vec<i64>>)>;

/// What tract runs, and what it makes.
type Runnable = (Arc<TypedSimplePlan>, Vec<Fact>);

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Foreign({})", self.node.op_type)
    }
}

impl Foreign {
    /// A node of the graph for tract.
    ///
    /// # Errors
    /// A node that tract cannot run by itself, and why.
    pub(super) fn of(graph: &Graph, at: usize) -> Result<Foreign, PlanError> {
        let node = &graph.nodes[at];
        let (name, op) = (&node.proto.name, &node.proto.op_type);
        let constants = node.inputs.iter().filter_map(|name| {
            let value = graph.constant(name)?;
            Some(value.to_proto(name))
        });
        let named = node.outputs.iter().filter(|o| !o.is_empty());
        let kinds = named.map(|o| graph.type_of(o).map(Kind::of));
        let Some(kinds) = kinds.collect::<Option<Vec<_>>>() else {
            return Err(PlanError::NotPlanned(format!(
                "node {name} ({op}) makes what is of no type known here"
            )));
        };
        if !Foreign::knows(&node.proto) {
            return Err(PlanError::NotPlanned(format!("{op} is not known")));
        }
        let step = Foreign::new(node, constants.collect(), graph.opset, kinds);
        step.map_err(PlanError::NotPlanned)
    }

    /// `consts` are the initializers among the node's inputs.
    fn new(
        node: &Node,
        consts: Vec<TensorProto>,
        opset: i64,
        kinds: Vec<Kind>,
    ) -> Result<Foreign, String> {
        let is_const = |name: &String| consts.iter().any(|c| c.name == *name);
        let mut values: Vec<String> = Vec::new();
        for input in &node.inputs {
            if !input.is_empty() && !is_const(input) && !values.contains(input) {
                values.push(input.clone());
            }
        }
        if values.len() > MOST || kinds.len() > MOST {
            return Err(format!(
                "node {} ({}) has {} inputs and {} outputs, a step has at most {MOST}",
                node.proto.name,
                node.proto.op_type,
                values.len(),
                kinds.len()
            ));
        }
        Ok(Foreign {
            node: node.proto.clone(),
            values,
            consts,
            opset,
            kinds,
            made: Mutex::new(HashMap::new()),
        })
    }

    /// Whether tract has an operator of this name.
    fn knows(node: &NodeProto) -> bool {
        let standard = node.domain.is_empty() || node.domain == "ai.onnx";
        standard && tract::knows(&node.op_type)
    }

    /// Names of the values it reads.
    pub(super) fn values(&self) -> &[String] {
        &self.values
    }

    fn model(&self, inputs: &[&Fact]) -> TractResult<Runnable> {
        let named = || self.node.output.iter().filter(|name| !name.is_empty());
        let outputs = named().map(|name| ValueInfoProto {
            name: name.clone(),
            ..ValueInfoProto::default()
        });
        let takes = self
            .values
            .iter()
            .zip(inputs)
            .map(|(name, fact)| value_info(name, fact));
        let proto = ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: self.opset,
            }],
            graph: Some(GraphProto {
                name: self.node.name.clone(),
                node: vec![self.node.clone()],
                initializer: self.consts.clone(),
                input: takes.collect(),
                output: outputs.collect(),
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        };
        let mut model = tract_onnx::onnx().model_for_proto_model(&proto)?;
        for (at, fact) in inputs.iter().enumerate() {
            let fact = match (&fact.known, fact.kind) {
                (Some(known), _) => InferenceFact::from(Tensor::from_shape(&fact.dims, known)?),
                (None, kind) => datum(kind)?.fact(&fact.dims).into(),
            };
            model.set_input_fact(at, fact)?;
        }
        let model = tract::optimised(model)?;
        let facts: Vec<Fact> = (0..self.kinds.len())
            .map(|at| {
                let fact = model.output_fact(at)?;
                let dims = fact
                    .shape
                    .as_concrete()
                    .context("has a shape that depends on its input")?;
                let kind = match fact.datum_type {
                    DatumType::TDim => Kind::Int,
                    other => Kind::of(other.unquantized()),
                };
                let wanted = self.kinds[at];
                ensure!(
                    kind == wanted,
                    "makes {kind:?} where {wanted:?} was expected"
                );
                Ok(Fact::new(kind, dims))
            })
            .collect::<TractResult<_>>()?;
        Ok((TypedSimplePlan::new(model)?, facts))
    }

    fn runnable(&self, inputs: &[&Fact]) -> Result<Runnable, String> {
        // what is known is a constant in the model that tract gets, so it counts as well
        let of = |f: &&Fact| (f.kind, f.dims.clone(), f.known.clone());
        let key: Inputs = inputs.iter().map(of).collect();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.get(&key) {
            return Ok(known.clone());
        }
        let runnable = self
            .model(inputs)
            .map_err(|e| format!("tract: {}", e.root_cause()))?;
        if made.len() >= LAYOUTS {
            made.clear();
        }
        made.insert(key, runnable.clone());
        Ok(runnable)
    }
}

/// A value's type, as tract wants it of a graph's inputs.
fn value_info(name: &str, fact: &Fact) -> ValueInfoProto {
    let kind = match fact.kind {
        Kind::Int => tensor_proto::DataType::Int64,
        // what the input is told to be right after
        _ => tensor_proto::DataType::Float,
    };
    let dim = |d: &usize| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(*d as i64)),
        ..Default::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: kind as i32,
        shape: Some(TensorShapeProto {
            dim: fact.dims.iter().map(dim).collect(),
        }),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// tract's type for a value that it can read.
fn datum(kind: Kind) -> TractResult<DatumType> {
    match kind {
        Kind::Float => Ok(DatumType::F32),
        Kind::Int => Ok(DatumType::I64),
        Kind::Bytes => Ok(DatumType::U8),
        Kind::Foreign(of) => Ok(of),
        Kind::Rows | Kind::Image => bail!("reads codes of ours"),
    }
}

fn tensor(fact: &Fact, io: &Io<'_>, at: usize) -> TractResult<Tensor> {
    let buffer = io.inputs[at];
    match (fact.kind, &fact.known) {
        (_, Some(known)) => Tensor::from_shape(&fact.dims, known),
        (Kind::Int, None) => Tensor::from_shape(&fact.dims, &buffer.ints[..fact.count()]),
        (Kind::Float, None) => Tensor::from_shape(&fact.dims, &buffer.floats[..fact.count()]),
        (Kind::Bytes, None) => Tensor::from_shape(&fact.dims, &buffer.codes[..fact.count()]),
        _ => buffer
            .foreign
            .clone()
            .context("reads a value that was not made"),
    }
}

impl Step for Foreign {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn makes(&self) -> Option<Kind> {
        self.kinds.first().copied()
    }

    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String> {
        Ok(self.runnable(inputs)?.1)
    }

    fn run(&self, io: Io<'_>) -> Result<(), String> {
        let (plan, facts) = self.runnable(io.facts)?;
        let run = || -> TractResult<TVec<TValue>> {
            let mut inputs = tvec!();
            for (at, fact) in io.facts.iter().enumerate() {
                inputs.push(tensor(fact, &io, at)?.into_tvalue());
            }
            plan.run(inputs)
        };
        let made = run().map_err(|e| format!("tract: {}", e.root_cause()))?;
        for ((value, fact), out) in made.into_iter().zip(&facts).zip(io.outputs.iter_mut()) {
            let mut fill = || -> TractResult<()> {
                match fact.kind {
                    Kind::Float => {
                        let values = value.try_as_plain_ram()?;
                        out.floats[..fact.count()].copy_from_slice(values.as_slice::<f32>()?);
                    }
                    Kind::Int => {
                        let cast = value.cast_to::<i64>()?;
                        let values = cast.try_as_plain_ram()?;
                        out.ints[..fact.count()].copy_from_slice(values.as_slice::<i64>()?);
                    }
                    Kind::Foreign(of) => {
                        let plain = value.cast_to_dt(of)?.into_owned();
                        out.foreign = Some(plain);
                    }
                    other => bail!("makes {other:?}"),
                }
                Ok(())
            };
            fill().map_err(|e| format!("tract: {}", e.root_cause()))?;
        }
        Ok(())
    }

    fn takes_nothing(&self) -> bool {
        true
    }

    fn product(&self) -> Product {
        match self.node.op_type.as_str() {
            "MatMul" | "Gemm" | "Conv" | "ConvTranspose" | "LSTM" | "GRU" | "RNN" | "Einsum" => {
                Product::Float
            }
            "MatMulInteger" | "ConvInteger" | "QLinearMatMul" | "QLinearConv" => Product::Integer,
            _ => Product::None,
        }
    }
}
