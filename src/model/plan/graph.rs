//! An ONNX graph as it was read: nodes, constants, and who uses what.

use super::error::PlanError;
use super::fold;
use super::types::{self, Types};
use crate::kernels::int8::Quant;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto,
};
use tract_onnx::prelude::DatumType;

/// The content of a constant.
#[derive(Debug, Clone)]
pub(super) enum Values {
    F32(Vec<f32>),
    /// Half floats, as their bits.
    F16(Vec<u16>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    I8(Vec<i8>),
    U8(Vec<u8>),
    /// What only tract reads: other types, and floats of which one is no number.
    Other(Box<TensorProto>),
}

/// An initializer.
#[derive(Debug, Clone)]
pub(super) struct Const {
    pub dims: Vec<usize>,
    pub values: Values,
}

impl Const {
    pub(super) fn floats(&self) -> Option<&[f32]> {
        match &self.values {
            Values::F32(v) => Some(v),
            _ => None,
        }
    }

    /// Whole numbers of any integer type.
    pub(super) fn ints(&self) -> Option<Vec<i64>> {
        match &self.values {
            Values::I64(v) => Some(v.clone()),
            Values::I32(v) => Some(v.iter().map(|x| i64::from(*x)).collect()),
            Values::I8(v) => Some(v.iter().map(|x| i64::from(*x)).collect()),
            Values::U8(v) => Some(v.iter().map(|x| i64::from(*x)).collect()),
            Values::F32(_) | Values::F16(_) | Values::Other(_) => None,
        }
    }

    /// The type of its values; `None` for one that tract has not.
    pub(super) fn datum(&self) -> Option<DatumType> {
        Some(match &self.values {
            Values::F32(_) => DatumType::F32,
            Values::F16(_) => DatumType::F16,
            Values::I64(_) => DatumType::I64,
            Values::I32(_) => DatumType::I32,
            Values::I8(_) => DatumType::I8,
            Values::U8(_) => DatumType::U8,
            Values::Other(proto) => return types::datum(proto.data_type),
        })
    }

    /// Whether it holds int64, as shapes and indices do.
    pub(super) fn is_index(&self) -> bool {
        matches!(self.values, Values::I64(_))
    }

    pub(super) fn bytes(&self) -> Option<&[i8]> {
        match &self.values {
            Values::I8(v) => Some(v),
            _ => None,
        }
    }

    /// The one float that it holds.
    pub(super) fn float(&self) -> Option<f32> {
        match self.floats()? {
            [one] => Some(*one),
            _ => None,
        }
    }
}

/// A node, with the name of what it reads and makes.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub proto: NodeProto,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
}

impl Node {
    pub(super) fn is(&self, op: &str) -> bool {
        self.proto.domain.is_empty() && self.proto.op_type == op
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name == name)
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name).map(|a| a.i)
    }

    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    pub(super) fn float(&self, name: &str) -> Option<f32> {
        self.attribute(name).map(|a| a.f)
    }

    /// The input that is not `value`, of two.
    pub(super) fn other<'a>(&'a self, value: &str) -> Option<&'a str> {
        match self.inputs.as_slice() {
            [a, b] if a == value => Some(b),
            [a, b] if b == value => Some(a),
            _ => None,
        }
    }
}

/// The whole graph.
#[derive(Debug, Clone)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    pub consts: HashMap<String, Arc<Const>>,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub opset: i64,
    producers: HashMap<String, usize>,
    users: HashMap<String, Vec<usize>>,
    types: Types,
}

impl Graph {
    /// Reads a model; initializers become constants.
    ///
    /// The bytes of initializers move out of the model: only what tract may need stays there.
    ///
    /// # Errors
    /// A broken file, and what only tract can hold.
    pub(super) fn read(model: &mut ModelProto) -> Result<Graph, PlanError> {
        check(model).map_err(PlanError::Broken)?;
        let opset = opset(model);
        let proto = model.graph.as_mut().ok_or_else(no_graph)?;
        let mut graph = Graph {
            nodes: Vec::with_capacity(proto.node.len()),
            consts: HashMap::new(),
            inputs: inputs(proto),
            outputs: proto.output.iter().map(|o| o.name.clone()).collect(),
            opset,
            producers: HashMap::new(),
            users: HashMap::new(),
            types: Types::new(proto),
        };
        for tensor in &mut proto.initializer {
            let value = constant(tensor)?;
            graph.consts.insert(tensor.name.clone(), Arc::new(value));
        }
        for node in &proto.node {
            graph.push(node)?;
        }
        Ok(graph)
    }

    fn push(&mut self, node: &NodeProto) -> Result<(), PlanError> {
        if node.attribute.iter().any(holds_graph) {
            // what the inner graph reads of the outer one is not seen here
            return Err(PlanError::NotPlanned(format!(
                "node {} ({}) holds a graph of its own",
                node.name, node.op_type
            )));
        }
        if node.op_type == "Constant" && node.domain.is_empty() {
            let value = node.attribute.iter().find_map(written).transpose()?;
            let value = value.ok_or_else(|| {
                PlanError::not_planned(format!("node {} is no tensor", node.name))
            })?;
            let [name] = node.output.as_slice() else {
                return Err(PlanError::broken("has a Constant without a name"));
            };
            self.consts.insert(name.clone(), Arc::new(value));
            return Ok(());
        }
        let at = self.nodes.len();
        for input in &node.input {
            let known = input.is_empty()
                || self.consts.contains_key(input)
                || self.producers.contains_key(input)
                || self.inputs.contains(input);
            if !known {
                return Err(PlanError::NotPlanned(format!(
                    "node {} reads {input:?}, which is made after it",
                    node.name
                )));
            }
        }
        let consts = &self.consts;
        self.types
            .push(node, |name| consts.get(name).and_then(|c| c.datum()));
        if let [output] = node.output.as_slice() {
            let constant = |name: &str| consts.get(name).map(|c| &**c);
            if let Some(folded) = fold::quantised(node, self.types.of(output), constant) {
                self.consts.insert(output.clone(), Arc::new(folded));
                return Ok(());
            }
        }
        for input in &node.input {
            self.users.entry(input.clone()).or_default().push(at);
        }
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            self.producers.insert(output.clone(), at);
        }
        self.nodes.push(Node {
            inputs: node.input.clone(),
            outputs: node.output.clone(),
            proto: node.clone(),
        });
        Ok(())
    }

    /// The type of a value; `None` where its operator does not tell.
    pub(super) fn type_of(&self, value: &str) -> Option<DatumType> {
        match self.constant(value) {
            Some(constant) => constant.datum(),
            None => self.types.of(value),
        }
    }

    pub(super) fn constant(&self, name: &str) -> Option<&Arc<Const>> {
        self.consts.get(name)
    }

    /// The axis of a `Softmax`; before version 13 it was the first of those that are taken as
    /// one, and 1 by default.
    pub(super) fn softmax_axis(&self, node: &Node) -> i64 {
        let usual = if self.opset < 13 { 1 } else { -1 };
        node.int("axis").unwrap_or(usual)
    }

    /// A constant scale and zero point of byte codes. Signed codes are held as unsigned ones, 128
    /// higher; without a zero point it is 0.
    pub(super) fn quant(&self, codes: &str, scale: &str, zero: &str) -> Option<Quant> {
        let scale = self.constant(scale)?.float().filter(|s| *s > 0.0)?;
        let zero = match (zero, self.type_of(codes)) {
            ("", Some(DatumType::U8)) => 0,
            ("", Some(DatumType::I8)) => 128,
            ("", _) => return None,
            (zero, _) => match &self.constant(zero)?.values {
                Values::U8(zero) => *zero.first()?,
                Values::I8(zero) => *zero.first()? as u8 ^ 0x80,
                _ => return None,
            },
        };
        Some(Quant { scale, zero })
    }

    /// The same of a `QuantizeLinear` or a `DequantizeLinear`.
    pub(super) fn quant_of(&self, node: &Node) -> Option<Quant> {
        let codes = match node.is("QuantizeLinear") {
            true => node.outputs.first()?,
            false => node.inputs.first()?,
        };
        let zero = node.inputs.get(2).map_or("", String::as_str);
        self.quant(codes, node.inputs.get(1)?, zero)
    }

    /// The node that makes `value`, with its place.
    pub(super) fn producer(&self, value: &str) -> Option<(usize, &Node)> {
        let at = *self.producers.get(value)?;
        Some((at, &self.nodes[at]))
    }

    /// The same, if it is an `op`.
    pub(super) fn made_by(&self, value: &str, op: &str) -> Option<(usize, &Node)> {
        self.producer(value).filter(|(_, node)| node.is(op))
    }

    /// Places of the nodes that read `value`; a node that reads it twice is there twice.
    pub(super) fn users(&self, value: &str) -> &[usize] {
        self.users.get(value).map_or(&[], Vec::as_slice)
    }

    /// The one reader of `value`, if it is an `op` and the value does not leave the graph.
    pub(super) fn only_user(&self, value: &str, op: &str) -> Option<(usize, &Node)> {
        match self.users(value) {
            [at] if !self.outputs.iter().any(|o| o == value) => {
                Some((*at, &self.nodes[*at])).filter(|(_, node)| node.is(op))
            }
            _ => None,
        }
    }
}

fn inputs(graph: &GraphProto) -> Vec<String> {
    let initial: Vec<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let names = graph.input.iter().map(|i| i.name.clone());
    names
        .filter(|name| !initial.contains(&name.as_str()))
        .collect()
}

impl Const {
    /// As tract reads it.
    pub(super) fn to_proto(&self, name: &str) -> TensorProto {
        use tensor_proto::DataType as T;
        let (kind, raw): (T, Vec<u8>) = match &self.values {
            Values::F32(v) => (T::Float, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Values::F16(v) => (T::Float16, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Values::I64(v) => (T::Int64, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Values::I32(v) => (T::Int32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Values::I8(v) => (T::Int8, v.iter().map(|x| *x as u8).collect()),
            Values::U8(v) => (T::Uint8, v.clone()),
            Values::Other(proto) => {
                return TensorProto {
                    name: name.to_owned(),
                    ..(**proto).clone()
                };
            }
        };
        TensorProto {
            name: name.to_owned(),
            dims: self.dims.iter().map(|d| *d as i64).collect(),
            data_type: kind as i32,
            raw_data: raw,
            ..TensorProto::default()
        }
    }
}

/// The value of a `Constant`, by the attribute that holds it.
fn written(attribute: &AttributeProto) -> Option<Result<Const, PlanError>> {
    let list = |len: usize, values: Values| Const {
        dims: vec![len],
        values,
    };
    let one = |values: Values| Const {
        dims: Vec::new(),
        values,
    };
    Some(Ok(match attribute.name.as_str() {
        "value" => return Some(constant(&mut attribute.t.clone()?)),
        "value_int" => one(Values::I64(vec![attribute.i])),
        "value_ints" => list(attribute.ints.len(), Values::I64(attribute.ints.clone())),
        "value_float" => one(Values::F32(vec![attribute.f])),
        "value_floats" => list(
            attribute.floats.len(),
            Values::F32(attribute.floats.clone()),
        ),
        _ => return None,
    }))
}

fn no_graph() -> PlanError {
    PlanError::broken("holds no graph")
}

/// The version of ONNX's own operators.
fn opset(model: &ModelProto) -> i64 {
    let standard = model
        .opset_import
        .iter()
        .find(|o| o.domain.is_empty() || o.domain == "ai.onnx");
    standard.map_or(13, |o| o.version)
}

fn holds_graph(attribute: &AttributeProto) -> bool {
    attribute.g.is_some() || !attribute.graphs.is_empty()
}

/// What no engine can run, looked for before any of them allocates or guesses.
///
/// # Errors
/// A sentence, without its full stop, that says what cannot run.
pub(in crate::model) fn check(model: &ModelProto) -> Result<(), String> {
    let graph = model.graph.as_ref().ok_or("holds no graph")?;
    let mut made: HashSet<&str> = graph.input.iter().map(|i| i.name.as_str()).collect();
    made.extend(graph.initializer.iter().map(|t| t.name.as_str()));
    let sparse = graph.sparse_initializer.iter();
    made.extend(sparse.filter_map(|t| Some(t.values.as_ref()?.name.as_str())));
    for node in &graph.node {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if !made.insert(output) {
                return Err(format!("makes {output:?} twice"));
            }
        }
    }
    for node in &graph.node {
        let mut inputs = node.input.iter().filter(|name| !name.is_empty());
        if let Some(input) = inputs.find(|name| !made.contains(name.as_str())) {
            return Err(format!(
                "node {} ({}) reads {input:?}, which nothing makes",
                node.name, node.op_type
            ));
        }
    }
    if graph.output.is_empty() {
        return Err("has no output".into());
    }
    if let Some(output) = graph
        .output
        .iter()
        .find(|o| !made.contains(o.name.as_str()))
    {
        return Err(format!(
            "has the output {:?}, which nothing makes",
            output.name
        ));
    }
    let within = graph.node.iter().flat_map(|n| &n.attribute);
    let tensors = graph.initializer.iter();
    for tensor in tensors.chain(within.filter_map(|a| a.t.as_ref())) {
        dims(tensor)?;
    }
    check_growth(graph)
}

/// Most values of a constant: what a damaged dimension may not ask for.
const MAX_VALUES: usize = 1 << 28;

/// The shape of a constant whose content lies in the file.
fn dims(tensor: &TensorProto) -> Result<Vec<usize>, String> {
    let broken = |what: &str| format!("constant {:?} {what}", tensor.name);
    let external = tensor_proto::DataLocation::External as i32;
    if !tensor.external_data.is_empty() || tensor.data_location == Some(external) {
        return Err(broken(
            "lies in another file, and a model is read from one: save it with its weights inside",
        ));
    }
    let mut len = 1_usize;
    let mut dims = Vec::with_capacity(tensor.dims.len());
    for dim in &tensor.dims {
        let dim = usize::try_from(*dim).map_err(|_| broken("has a negative dimension"))?;
        let product = len.checked_mul(dim).filter(|l| *l <= MAX_VALUES);
        len = product.ok_or_else(|| broken("is too large"))?;
        dims.push(dim);
    }
    Ok(dims)
}

/// Operators that make much of a few constants: engines work those out while they load, before
/// any shape can be looked at.
fn check_growth(graph: &GraphProto) -> Result<(), String> {
    let mut ints: HashMap<&str, Vec<i64>> = HashMap::new();
    let mut counts: HashMap<&str, f64> = HashMap::new();
    let attributes = graph.node.iter().filter(|n| n.op_type == "Constant");
    let constants = attributes.filter_map(|n| {
        let tensor = n.attribute.iter().find_map(|a| a.t.as_ref())?;
        Some((n.output.first()?.as_str(), tensor))
    });
    let initial = graph.initializer.iter().map(|t| (t.name.as_str(), t));
    for (name, tensor) in initial.chain(constants) {
        counts.insert(name, tensor.dims.iter().map(|d| *d as f64).product());
        if tensor.data_type == tensor_proto::DataType::Int64 as i32 && tensor.dims.len() <= 1 {
            let raw = of_raw(&tensor.raw_data, i64::from_le_bytes);
            let listed = tensor.int64_data.clone();
            ints.insert(name, if raw.is_empty() { listed } else { raw });
        }
    }
    for node in &graph.node {
        let list = |at: usize| node.input.get(at).and_then(|name| ints.get(name.as_str()));
        let product = |at: usize| Some(list(at)?.iter().map(|d| *d as f64).product::<f64>());
        let count = |at: usize| counts.get(node.input.get(at)?.as_str()).copied();
        let shape = node.attribute.iter().find(|a| a.name == "shape");
        let grown = match node.op_type.as_str() {
            "ConstantOfShape" => product(0),
            "Expand" => product(1).and_then(|p| Some(p.max(count(0)?))),
            "Tile" => product(1).and_then(|p| Some(p * count(0)?)),
            "OneHot" => product(1).and_then(|p| Some(p * count(0)?)),
            "Range" => match (list(0), list(1), list(2)) {
                (Some(from), Some(to), Some(step)) if !step.contains(&0) => {
                    let first = |v: &Vec<i64>| v.first().map(|x| *x as f64);
                    first(from)
                        .zip(first(to))
                        .zip(first(step))
                        .map(|((from, to), step)| (to - from) / step)
                }
                _ => None,
            },
            "RandomNormal" | "RandomUniform" => {
                shape.map(|s| s.ints.iter().map(|d| *d as f64).product())
            }
            _ => None,
        };
        let Some(grown) = grown else { continue };
        if grown > MAX_VALUES as f64 {
            return Err(format!(
                "node {} ({}) would make {grown:.0} values",
                node.name, node.op_type
            ));
        }
        if let Some(output) = node.output.first() {
            counts.insert(output, grown);
        }
    }
    Ok(())
}

fn constant(tensor: &mut TensorProto) -> Result<Const, PlanError> {
    let name = tensor.name.clone();
    let said = |what: &str| format!("constant {name:?} {what}");
    let dims = dims(tensor).map_err(PlanError::Broken)?;
    let len: usize = dims.iter().product();
    // taken, not copied: weights are most of a model
    let raw = std::mem::take(&mut tensor.raw_data);
    let kind = tensor_proto::DataType::try_from(tensor.data_type)
        .map_err(|_| PlanError::Broken(said("has an unknown type")))?;
    use tensor_proto::DataType as T;
    let values = match kind {
        T::Float if raw.is_empty() => Values::F32(tensor.float_data.clone()),
        T::Float => Values::F32(of_raw(&raw, f32::from_le_bytes)),
        T::Float16 if raw.is_empty() => {
            Values::F16(tensor.int32_data.iter().map(|x| *x as u16).collect())
        }
        T::Float16 => Values::F16(of_raw(&raw, u16::from_le_bytes)),
        T::Int64 if raw.is_empty() => Values::I64(tensor.int64_data.clone()),
        T::Int64 => Values::I64(of_raw(&raw, i64::from_le_bytes)),
        T::Int32 if raw.is_empty() => Values::I32(tensor.int32_data.clone()),
        T::Int32 => Values::I32(of_raw(&raw, i32::from_le_bytes)),
        T::Int8 if raw.is_empty() => {
            Values::I8(tensor.int32_data.iter().map(|x| *x as i8).collect())
        }
        T::Int8 => Values::I8(raw.into_iter().map(|b| b as i8).collect()),
        T::Uint8 if raw.is_empty() => {
            Values::U8(tensor.int32_data.iter().map(|x| *x as u8).collect())
        }
        T::Uint8 => Values::U8(raw),
        _ => {
            let proto = TensorProto {
                raw_data: raw,
                ..tensor.clone()
            };
            let values = Values::Other(Box::new(proto));
            return Ok(Const { dims, values });
        }
    };
    let found = match &values {
        Values::F32(v) => v.len(),
        Values::F16(v) => v.len(),
        Values::I64(v) => v.len(),
        Values::I32(v) => v.len(),
        Values::I8(v) => v.len(),
        Values::U8(v) => v.len(),
        Values::Other(_) => len,
    };
    if found != len {
        let what = format!("holds {found} values, its shape says {len}");
        return Err(PlanError::Broken(said(&what)));
    }
    let plain = Const { dims, values };
    match plain.floats() {
        // a mask's infinity is tract's to carry
        Some(floats) if !crate::kernels::all_finite(floats) => Ok(Const {
            values: Values::Other(Box::new(plain.to_proto(&name))),
            ..plain
        }),
        _ => Ok(plain),
    }
}

fn of_raw<T, const N: usize>(raw: &[u8], of: fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|b| of(*b)).collect()
}
