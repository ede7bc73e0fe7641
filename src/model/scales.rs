//! `QuantizeLinear` and `DequantizeLinear` with a scale that is computed or given, written in
//! plain operators: tract takes them with constant scales alone, and without blocks. And half-float scales of
//! `QLinearMatMul`, which tract takes as float32.

use super::plan::types::{self, Types};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, tensor_shape_proto, type_proto,
};
use tract_onnx::prelude::DatumType;

/// Writes them out, where their types are known; anything else stays as it is.
pub(super) fn write_out(proto: &mut ModelProto) {
    let Some(graph) = proto.graph.as_mut() else {
        return;
    };
    if !graph
        .node
        .iter()
        .any(|n| QUANTISING.contains(&n.op_type.as_str()))
    {
        return;
    }
    let constants = graph.node.iter().filter(|n| n.op_type == "Constant");
    let mut constant: HashSet<String> = constants.flat_map(|n| n.output.clone()).collect();
    constant.extend(graph.initializer.iter().map(|t| t.name.clone()));
    let mut writing = Writing {
        types: types::of_graph(graph),
        sizes: sizes(graph),
        ranks: ranks(graph),
        constant,
        nodes: Vec::with_capacity(graph.node.len()),
        tensors: Vec::new(),
    };
    for node in std::mem::take(&mut graph.node) {
        writing.write(node);
    }
    graph.node = writing.nodes;
    graph.initializer.extend(writing.tensors);
}

const QUANTISING: [&str; 3] = ["QuantizeLinear", "DequantizeLinear", "QLinearMatMul"];

/// A whole number that is an attribute of the node.
fn number(node: &NodeProto, name: &str) -> Option<i64> {
    let attribute = node.attribute.iter().find(|a| a.name == name);
    attribute.map(|a| a.i)
}

/// How many values share a scale along the axis, where blocks have scales.
fn block(node: &NodeProto) -> Option<usize> {
    let size = usize::try_from(number(node, "block_size")?).ok()?;
    (size > 0).then_some(size)
}

/// An attribute of one whole number.
fn whole(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i,
        ..AttributeProto::default()
    }
}

/// Most values along an axis whose blocks have scales.
const LONGEST: usize = 1 << 20;

/// Shapes of inputs and constants that are fixed.
fn sizes(graph: &GraphProto) -> HashMap<String, Vec<usize>> {
    let size = |n: i64| usize::try_from(n).ok().filter(|n| *n <= LONGEST);
    let mut sizes = HashMap::new();
    for info in &graph.input {
        let value = info.r#type.as_ref().and_then(|t| t.value.as_ref());
        let Some(type_proto::Value::TensorType(tensor)) = value else {
            continue;
        };
        let fixed = |dim: &tensor_shape_proto::Dimension| match dim.value {
            Some(tensor_shape_proto::dimension::Value::DimValue(n)) => size(n),
            _ => None,
        };
        let dims = tensor.shape.as_ref().map(|s| s.dim.iter().map(fixed));
        if let Some(Some(dims)) = dims.map(|dims| dims.collect::<Option<Vec<_>>>()) {
            sizes.insert(info.name.clone(), dims);
        }
    }
    for tensor in &graph.initializer {
        let dims = tensor.dims.iter().map(|n| size(*n));
        if let Some(dims) = dims.collect::<Option<Vec<_>>>() {
            sizes.insert(tensor.name.clone(), dims);
        }
    }
    sizes
}

/// How many dimensions values have, as far as the file and simple operators tell.
fn ranks(graph: &GraphProto) -> HashMap<String, usize> {
    let mut ranks = HashMap::new();
    for info in &graph.input {
        let value = info.r#type.as_ref().and_then(|t| t.value.as_ref());
        if let Some(type_proto::Value::TensorType(tensor)) = value
            && let Some(shape) = &tensor.shape
        {
            ranks.insert(info.name.clone(), shape.dim.len());
        }
    }
    for tensor in &graph.initializer {
        ranks.insert(tensor.name.clone(), tensor.dims.len());
    }
    for node in &graph.node {
        let of = |name: &String| ranks.get(name).copied();
        let widest = || {
            node.input
                .iter()
                .map(of)
                .try_fold(0, |most, rank| Some(most.max(rank?)))
        };
        let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
        let rank = match node.op_type.as_str() {
            "DynamicQuantizeLinear" => {
                ranks.extend(node.output.iter().skip(1).map(|o| (o.clone(), 0)));
                node.input.first().and_then(|x| ranks.get(x).copied())
            }
            "Constant" => attribute("value").and_then(|a| Some(a.t.as_ref()?.dims.len())),
            "ReduceMax" | "ReduceMin" | "ReduceMean" | "ReduceSum" => {
                let all = node.input.len() == 1 && attribute("axes").is_none();
                let kept = attribute("keepdims").is_none_or(|a| a.i != 0);
                match (all, kept) {
                    (true, false) => Some(0),
                    (_, true) => node.input.first().and_then(of),
                    _ => None,
                }
            }
            "Abs" | "Add" | "Cast" | "Clip" | "Div" | "Identity" | "Max" | "Min" | "Mul"
            | "Neg" | "Round" | "Sub" => widest(),
            _ => None,
        };
        if let (Some(rank), Some(output)) = (rank, node.output.first()) {
            ranks.insert(output.clone(), rank);
        }
    }
    ranks
}

struct Writing {
    types: Types,
    /// Shapes of the inputs and constants that the file fixes, as far as scales need them.
    sizes: HashMap<String, Vec<usize>>,
    ranks: HashMap<String, usize>,
    constant: HashSet<String>,
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
}

impl Writing {
    fn write(&mut self, node: NodeProto) {
        let written = match node.op_type.as_str() {
            "QuantizeLinear" | "DequantizeLinear" if node.domain.is_empty() => {
                let scale = node.input.get(1);
                let computed = scale.is_some_and(|s| !self.constant.contains(s));
                (computed || block(&node).is_some()) && self.linear(&node).is_some()
            }
            "QLinearMatMul" if node.domain.is_empty() => self.halves(&node),
            _ => false,
        };
        if !written {
            self.nodes.push(node);
        }
    }

    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            name: output.into(),
            op_type: op.into(),
            input: inputs.iter().map(|i| (*i).into()).collect(),
            output: vec![output.into()],
            attribute: attributes,
            ..NodeProto::default()
        });
    }

    fn cast(&mut self, input: &str, output: &str, to: DataType) {
        let to = whole("to", to as i64);
        self.node("Cast", &[input], output, vec![to]);
    }

    fn floats(&mut self, name: String, value: f32) -> String {
        self.tensors.push(TensorProto {
            name: name.clone(),
            data_type: DataType::Float as i32,
            raw_data: value.to_le_bytes().to_vec(),
            ..TensorProto::default()
        });
        name
    }

    /// A scale or zero point as float32 that stretches along the node's axis. A list of them
    /// needs the rank of what they are for.
    fn beside(&mut self, name: &str, node: &NodeProto) -> Option<String> {
        let made = format!("{}.{name}.float", node.output[0]);
        self.cast(name, &made, DataType::Float);
        let rank = |name: &str| self.ranks.get(name).copied();
        if rank(name)? == 0 {
            return Some(made);
        }
        let of = rank(&node.input[0])?;
        let axis = number(node, "axis").unwrap_or(1);
        let axis = if axis < 0 { axis + of as i64 } else { axis };
        let behind = (of as i64 - 1).checked_sub(axis).filter(|n| *n >= 0)?;
        let (list, stretched) = (format!("{made}.list"), format!("{made}.along"));
        if let Some(block) = block(node) {
            // every scale as often as its block is long
            let size = *self
                .sizes
                .get(&node.input[0])?
                .get(usize::try_from(axis).ok()?)?;
            let places = (0..size).map(|at| (at / block) as i64).collect();
            self.longs(&list, places);
            self.node(
                "Gather",
                &[&made, &list],
                &stretched,
                vec![whole("axis", axis)],
            );
            return Some(stretched);
        }
        let mut sizes = vec![-1_i64];
        sizes.resize(behind as usize + 1, 1);
        self.longs(&list, sizes);
        self.node("Reshape", &[&made, &list], &stretched, Vec::new());
        Some(stretched)
    }

    fn longs(&mut self, name: &str, values: Vec<i64>) {
        self.tensors.push(TensorProto {
            name: name.into(),
            dims: vec![values.len() as i64],
            data_type: DataType::Int64 as i32,
            int64_data: values,
            ..TensorProto::default()
        });
    }

    /// The arithmetic of the standard: `(x − zero)·scale`, `clip(round(x/scale) + zero)`.
    fn linear(&mut self, node: &NodeProto) -> Option<()> {
        let (x, output) = (node.input.first()?, node.output.first()?);
        let made = self.types.of(output)?;
        let start = self.nodes.len();
        let mut write = || -> Option<()> {
            let of = |part: &str| format!("{output}.{part}");
            let zero = node.input.get(2).filter(|z| !z.is_empty());
            let scale = self.beside(&node.input[1], node)?;
            let zero = zero.map(|zero| self.beside(zero, node));
            let zero = match zero {
                Some(zero) => zero?,
                None => self.floats(of("zero"), 0.0),
            };
            self.cast(x, &of("float"), DataType::Float);
            if node.op_type == "DequantizeLinear" {
                let to = [
                    (DatumType::F32, DataType::Float),
                    (DatumType::F16, DataType::Float16),
                ];
                let (_, to) = to.into_iter().find(|(of, _)| *of == made)?;
                self.node("Sub", &[&of("float"), &zero], &of("shifted"), Vec::new());
                self.node("Mul", &[&of("shifted"), &scale], &of("scaled"), Vec::new());
                self.cast(&of("scaled"), output, to);
                return Some(());
            }
            let (to, low, high) = match made {
                DatumType::U8 => (DataType::Uint8, 0.0, 255.0),
                DatumType::I8 => (DataType::Int8, -128.0, 127.0),
                DatumType::U16 => (DataType::Uint16, 0.0, 65535.0),
                DatumType::I16 => (DataType::Int16, -32768.0, 32767.0),
                _ => return None,
            };
            let (low, high) = (self.floats(of("low"), low), self.floats(of("high"), high));
            self.node("Div", &[&of("float"), &scale], &of("scaled"), Vec::new());
            self.node("Round", &[&of("scaled")], &of("round"), Vec::new());
            self.node("Add", &[&of("round"), &zero], &of("shifted"), Vec::new());
            self.node(
                "Clip",
                &[&of("shifted"), &low, &high],
                &of("inside"),
                Vec::new(),
            );
            self.cast(&of("inside"), output, to);
            Some(())
        };
        let written = write();
        if written.is_none() {
            self.nodes.truncate(start);
        }
        written
    }

    /// Casts half-float scales; whether there were any.
    fn halves(&mut self, node: &NodeProto) -> bool {
        let mut node = node.clone();
        let mut any = false;
        let output = node.output.first().cloned().unwrap_or_default();
        for at in [1, 4, 6] {
            let Some(scale) = node.input.get_mut(at) else {
                return false;
            };
            if self.types.of(scale) == Some(DatumType::F16) {
                let float = format!("{output}.scale{at}");
                let half = std::mem::replace(scale, float.clone());
                self.cast(&half, &float, DataType::Float);
                any = true;
            }
        }
        if any {
            self.nodes.push(node);
        }
        any
    }
}
