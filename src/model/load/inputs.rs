//! What a file takes: the name, dimensions and element of each input, as its graph declares them.

use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto};
use tract_onnx::pb::{tensor_proto::DataType, tensor_shape_proto::dimension, type_proto};

/// An input that a file wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputInfo {
    /// Name.
    pub name: String,
    /// Each dimension.
    pub dims: Vec<Dim>,
    /// Of what.
    pub element: Element,
}

/// A dimension of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Always this size.
    Fixed(usize),
    /// Free, under a name that may be empty.
    Free(String),
}

/// What an input is given as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// f32; half floats are made of it.
    Float,
    /// i64; other integers than u8, and booleans, are made of it.
    Int,
    /// u8.
    Byte,
    /// f64.
    Double,
}

impl Element {
    /// NumPy's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Element::Float => "float32",
            Element::Int => "int64",
            Element::Byte => "uint8",
            Element::Double => "float64",
        }
    }
}

/// An input of a graph.
pub(super) fn input_info(input: &ValueInfoProto) -> Result<InputInfo, String> {
    let (mut dims, mut element) = (Vec::new(), Element::Float);
    let value = input.r#type.as_ref().and_then(|t| t.value.as_ref());
    if let Some(type_proto::Value::TensorType(tensor)) = value {
        let kind = DataType::try_from(tensor.elem_type).unwrap_or(DataType::Undefined);
        element = match kind {
            DataType::Float | DataType::Float16 => Element::Float,
            DataType::Double => Element::Double,
            DataType::Uint8 => Element::Byte,
            DataType::Int64
            | DataType::Int32
            | DataType::Int16
            | DataType::Int8
            | DataType::Uint16
            | DataType::Uint32
            | DataType::Uint64
            | DataType::Bool => Element::Int,
            other => {
                return Err(format!(
                    "takes the input {:?} as {}; inputs are float16 to 64, integers or bool",
                    input.name,
                    other.as_str_name()
                ));
            }
        };
        for dim in tensor.shape.iter().flat_map(|s| &s.dim) {
            dims.push(match &dim.value {
                Some(dimension::Value::DimValue(n)) => match usize::try_from(*n) {
                    Ok(size) => Dim::Fixed(size),
                    Err(_) => Dim::Free(n.to_string()),
                },
                Some(dimension::Value::DimParam(name)) => Dim::Free(name.clone()),
                None => Dim::Free(String::new()),
            });
        }
    }
    Ok(InputInfo {
        name: input.name.clone(),
        dims,
        element,
    })
}

/// Gives free dimensions of the inputs their sizes.
pub(super) fn fix(proto: &mut ModelProto, sizes: &[(String, usize)]) {
    let Some(graph) = proto.graph.as_mut().filter(|_| !sizes.is_empty()) else {
        return;
    };
    // shapes noted along the way would go on naming what is now a number
    graph.value_info.clear();
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        let value = info.r#type.as_mut().and_then(|t| t.value.as_mut());
        let Some(type_proto::Value::TensorType(tensor)) = value else {
            continue;
        };
        for dim in tensor.shape.iter_mut().flat_map(|s| &mut s.dim) {
            if let Some(dimension::Value::DimParam(name)) = &dim.value
                && let Some((_, size)) = sizes.iter().find(|(named, _)| named == name)
            {
                dim.value = Some(dimension::Value::DimValue(*size as i64));
            }
        }
    }
}

/// Sizes that free dimensions are tried with.
const TRIED: [usize; 5] = [64, 1, 16, 8, 128];

/// Shapes of the inputs: as the file fixes them, or with every free dimension at one of a few
/// sizes. None where the rank of an input is not known.
pub(super) fn tried(graph: &GraphProto, inputs: &[InputInfo]) -> Vec<Vec<Vec<usize>>> {
    let shaped = |info: &ValueInfoProto| match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => tensor.shape.is_some(),
        None => false,
    };
    if !graph.input.iter().all(shaped) {
        return Vec::new();
    }
    let sized = |free: usize| -> Vec<Vec<usize>> {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Free(_) => free,
        };
        let shape = |input: &InputInfo| input.dims.iter().map(size).collect();
        inputs.iter().map(shape).collect()
    };
    let mut dims = inputs.iter().flat_map(|input| &input.dims);
    let free = dims.any(|dim| matches!(dim, Dim::Free(_)));
    let many = if free { TRIED.len() } else { 1 };
    TRIED[..many].iter().map(|size| sized(*size)).collect()
}
