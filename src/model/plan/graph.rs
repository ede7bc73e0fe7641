//! An ONNX graph as it was read: nodes, constants, and who uses what.

use std::collections::HashMap;
use std::sync::Arc;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto,
};

/// Why a model is refused.
pub(super) type Refusal = String;

/// The content of a constant.
#[derive(Debug, Clone)]
pub(super) enum Values {
    F32(Vec<f32>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    I8(Vec<i8>),
    U8(Vec<u8>),
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
            Values::F32(_) => None,
        }
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
}

impl Graph {
    /// Reads a model; initializers become constants.
    ///
    /// The bytes of initializers move out of the model: only what tract may need stays there.
    pub(super) fn read(model: &mut ModelProto) -> Result<Graph, Refusal> {
        let proto = model.graph.as_mut().ok_or("holds no graph")?;
        let standard = model.opset_import.iter().find(|o| o.domain.is_empty());
        let mut graph = Graph {
            nodes: Vec::with_capacity(proto.node.len()),
            consts: HashMap::new(),
            inputs: inputs(proto),
            outputs: proto.output.iter().map(|o| o.name.clone()).collect(),
            opset: standard.map_or(13, |o| o.version),
            producers: HashMap::new(),
            users: HashMap::new(),
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

    fn push(&mut self, node: &NodeProto) -> Result<(), Refusal> {
        if node.op_type == "Constant" && node.domain.is_empty() {
            let tensor = node.attribute.iter().find_map(|a| a.t.as_ref());
            let tensor = tensor.ok_or("has a Constant without a tensor")?;
            let name = node.output.first().ok_or("has a Constant without a name")?;
            self.consts
                .insert(name.clone(), Arc::new(constant(&mut tensor.clone())?));
            return Ok(());
        }
        let at = self.nodes.len();
        for input in &node.input {
            let known = input.is_empty()
                || self.consts.contains_key(input)
                || self.producers.contains_key(input)
                || self.inputs.contains(input);
            if !known {
                return Err(format!(
                    "node {} reads {input:?}, which nothing makes before it",
                    node.name
                ));
            }
            self.users.entry(input.clone()).or_default().push(at);
        }
        for output in &node.output {
            if self.producers.insert(output.clone(), at).is_some() {
                return Err(format!("makes {output:?} twice"));
            }
        }
        self.nodes.push(Node {
            inputs: node.input.clone(),
            outputs: node.output.clone(),
            proto: node.clone(),
        });
        Ok(())
    }

    pub(super) fn constant(&self, name: &str) -> Option<&Arc<Const>> {
        self.consts.get(name)
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
            Values::I64(v) => (T::Int64, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Values::I32(v) => (T::Int32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Values::I8(v) => (T::Int8, v.iter().map(|x| *x as u8).collect()),
            Values::U8(v) => (T::Uint8, v.clone()),
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

/// Most values of a constant: what a damaged dimension may not ask for.
const MAX_VALUES: usize = 1 << 28;

fn constant(tensor: &mut TensorProto) -> Result<Const, Refusal> {
    let name = tensor.name.clone();
    let broken = |what: &str| format!("constant {name:?} {what}");
    let mut dims = Vec::with_capacity(tensor.dims.len());
    let mut len = 1_usize;
    for dim in &tensor.dims {
        let dim = usize::try_from(*dim).map_err(|_| broken("has a negative dimension"))?;
        let product = len.checked_mul(dim).filter(|l| *l <= MAX_VALUES);
        len = product.ok_or_else(|| broken("is too large"))?;
        dims.push(dim);
    }
    if !tensor.external_data.is_empty() {
        return Err(broken("lies in another file"));
    }
    // taken, not copied: weights are most of a model
    let raw = std::mem::take(&mut tensor.raw_data);
    let kind = tensor_proto::DataType::try_from(tensor.data_type)
        .map_err(|_| broken("has an unknown type"))?;
    use tensor_proto::DataType as T;
    let values = match kind {
        T::Float if raw.is_empty() => Values::F32(tensor.float_data.clone()),
        T::Float => Values::F32(of_raw(&raw, f32::from_le_bytes)),
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
        other => {
            return Err(broken(&format!(
                "has the type {other:?}, which the plan does not hold"
            )));
        }
    };
    let found = match &values {
        Values::F32(v) => v.len(),
        Values::I64(v) => v.len(),
        Values::I32(v) => v.len(),
        Values::I8(v) => v.len(),
        Values::U8(v) => v.len(),
    };
    let finite = match &values {
        Values::F32(v) => crate::kernels::all_finite(v),
        _ => true,
    };
    if found != len {
        return Err(broken(&format!(
            "holds {found} values, its shape says {len}"
        )));
    }
    if !finite {
        return Err(broken("holds a value that is no number"));
    }
    Ok(Const { dims, values })
}

fn of_raw<T, const N: usize>(raw: &[u8], of: fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|b| of(*b)).collect()
}
