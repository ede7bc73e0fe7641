//! An operator of the catalogue as an ONNX file: one call, its weights, and its body.

use super::functions;
use crate::fusion::catalogue::{DOMAIN, Entry, Port, Precision};
use crate::fusion::research::draw::{Content, Drawn};
use crate::fusion::shape::Sizes;
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_shape_proto, type_proto,
};

/// The file, as bytes. Inputs and outputs have the shapes of `sizes`, so that an engine that
/// knows no free dimensions can take it as well.
///
/// # Errors
/// A precision that the operator does not have; a letter without a size.
pub fn onnx(
    entry: &Entry,
    precision: Precision,
    sizes: &Sizes,
    weights: &[Drawn],
    settings: &[(&str, f64)],
) -> Result<Vec<u8>, String> {
    let name = entry.function(precision);
    let name = name.ok_or_else(|| format!("{} has no such precision", entry.name))?;
    let ports = |ports: &[Port]| -> Result<Vec<ValueInfoProto>, String> {
        let info = |port: &Port| {
            let dims = sizes.values(port.shape);
            let dims = dims.ok_or_else(|| format!("{} has no size", port.name))?;
            Ok(info(port.name, &dims))
        };
        ports.iter().map(info).collect()
    };
    let inputs = entry.inputs.iter().map(|port| port.name.to_string());
    let call = NodeProto {
        input: inputs
            .chain(weights.iter().map(|w| w.name.clone()))
            .collect(),
        output: entry.outputs.iter().map(|port| port.name.into()).collect(),
        name: name.clone(),
        op_type: name.clone(),
        domain: DOMAIN.into(),
        attribute: attributes(entry, settings),
        ..NodeProto::default()
    };
    let mut carried = Vec::new();
    functions::needed(&functions::catalogue()?, &name, &mut carried);
    let proto = ModelProto {
        ir_version: 8,
        producer_name: "demeanor".into(),
        opset_import: functions::opsets(),
        graph: Some(GraphProto {
            name,
            node: vec![call],
            initializer: weights.iter().map(tensor).collect(),
            input: ports(entry.inputs)?,
            output: ports(entry.outputs)?,
            ..GraphProto::default()
        }),
        functions: carried,
        ..ModelProto::default()
    };
    Ok(proto.encode_to_vec())
}

fn attributes(entry: &Entry, settings: &[(&str, f64)]) -> Vec<AttributeProto> {
    let of = |setting: &crate::fusion::catalogue::Setting| {
        let given = settings.iter().find(|(name, _)| *name == setting.name);
        let value = given.map_or(setting.usual, |(_, value)| *value);
        let mut attribute = AttributeProto {
            name: setting.name.into(),
            ..AttributeProto::default()
        };
        if setting.whole {
            attribute.i = value as i64;
            attribute.r#type = AttributeType::Int as i32;
        } else {
            attribute.f = value as f32;
            attribute.r#type = AttributeType::Float as i32;
        }
        attribute
    };
    entry.settings.iter().map(of).collect()
}

fn tensor(weight: &Drawn) -> TensorProto {
    let (data_type, raw_data): (DataType, Vec<u8>) = match &weight.content {
        Content::F32(x) => (
            DataType::Float,
            x.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        Content::F16(x) => (
            DataType::Float16,
            x.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        Content::I8(x) => (
            DataType::Int8,
            x.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        Content::I64(x) => (
            DataType::Int64,
            x.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
    };
    TensorProto {
        dims: weight.dims.iter().map(|d| *d as i64).collect(),
        data_type: data_type as i32,
        name: weight.name.clone(),
        raw_data,
        ..TensorProto::default()
    }
}

fn info(name: &str, dims: &[usize]) -> ValueInfoProto {
    let dim = |size: &usize| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(*size as i64)),
        ..Default::default()
    };
    let shape = Some(TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
    });
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape,
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
