//! ONNX files written node by node.

use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::*;

/// A model being written, node by node.
pub struct Writer {
    pub graph: GraphProto,
    pub functions: Vec<FunctionProto>,
    opset: i64,
}

impl Default for Writer {
    fn default() -> Self {
        Writer {
            graph: GraphProto::default(),
            functions: Vec::new(),
            opset: 17,
        }
    }
}

impl Writer {
    pub fn input(mut self, name: &str, dims: &[usize]) -> Self {
        self.graph.input.push(info(name, dims));
        self
    }

    /// Floats `[name of the dimension, width]`.
    pub fn rows(mut self, name: &str, rows: &str, width: usize) -> Self {
        let mut made = info(name, &[1, width]);
        if let Some(type_proto::Value::TensorType(tensor)) =
            made.r#type.as_mut().and_then(|t| t.value.as_mut())
            && let Some(shape) = &mut tensor.shape
        {
            let free = tensor_shape_proto::dimension::Value::DimParam(rows.into());
            shape.dim[0].value = Some(free);
        }
        self.graph.input.push(made);
        self
    }

    pub fn typed(mut self, name: &str, dims: &[usize], kind: DataType) -> Self {
        let mut made = info(name, dims);
        if let Some(type_proto::Value::TensorType(tensor)) =
            made.r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            tensor.elem_type = kind as i32;
        }
        self.graph.input.push(made);
        self
    }

    pub fn opset(mut self, version: i64) -> Self {
        self.opset = version;
        self
    }

    pub fn floats(mut self, name: &str, dims: &[usize], values: &[f32]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph
            .initializer
            .push(tensor(name, dims, DataType::Float, raw));
        self
    }

    pub fn bytes(mut self, name: &str, dims: &[usize], values: &[i8]) -> Self {
        let raw = values.iter().map(|v| *v as u8).collect();
        self.graph
            .initializer
            .push(tensor(name, dims, DataType::Int8, raw));
        self
    }

    pub fn code(mut self, name: &str, value: u8) -> Self {
        self.graph
            .initializer
            .push(tensor(name, &[], DataType::Uint8, vec![value]));
        self
    }

    pub fn ints(mut self, name: &str, values: &[i32]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph
            .initializer
            .push(tensor(name, &[values.len()], DataType::Int32, raw));
        self
    }

    pub fn longs(mut self, name: &str, values: &[i64]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph
            .initializer
            .push(tensor(name, &[values.len()], DataType::Int64, raw));
        self
    }

    pub fn node(
        mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        ints: &[(&str, &[i64])],
    ) -> Self {
        let attribute = |(name, values): &(&str, &[i64])| AttributeProto {
            name: (*name).into(),
            r#type: match values {
                [_] if ["group", "to", "axis", "keepdims", "transB"].contains(name) => {
                    attribute_proto::AttributeType::Int as i32
                }
                _ => attribute_proto::AttributeType::Ints as i32,
            },
            i: values[0],
            ints: values.to_vec(),
            ..AttributeProto::default()
        };
        self.graph.node.push(NodeProto {
            name: output.into(),
            op_type: op.into(),
            input: inputs.iter().map(|i| (*i).into()).collect(),
            output: vec![output.into()],
            attribute: ints.iter().map(attribute).collect(),
            ..NodeProto::default()
        });
        self
    }

    /// A node of several outputs, without attributes.
    pub fn nodes(mut self, op: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        self.graph.node.push(NodeProto {
            name: outputs[0].into(),
            op_type: op.into(),
            input: inputs.iter().map(|i| (*i).into()).collect(),
            output: outputs.iter().map(|o| (*o).into()).collect(),
            ..NodeProto::default()
        });
        self
    }

    pub fn finish(self, output: &str) -> Vec<u8> {
        self.finish_all(&[output])
    }

    pub fn finish_all(mut self, outputs: &[&str]) -> Vec<u8> {
        let named = outputs.iter().map(|name| ValueInfoProto {
            name: (*name).into(),
            ..ValueInfoProto::default()
        });
        self.graph.output.extend(named);
        let domains = [("", self.opset), ("demeanor", 1)];
        let model = ModelProto {
            ir_version: 8,
            opset_import: domains
                .map(|(domain, version)| OperatorSetIdProto {
                    domain: domain.into(),
                    version,
                })
                .to_vec(),
            graph: Some(self.graph),
            functions: self.functions,
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }
}

pub fn tensor(name: &str, dims: &[usize], kind: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.iter().map(|d| *d as i64).collect(),
        data_type: kind as i32,
        raw_data,
        ..TensorProto::default()
    }
}

pub fn info(name: &str, dims: &[usize]) -> ValueInfoProto {
    let dim = |d: &usize| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(*d as i64)),
        ..Default::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(TensorShapeProto {
            dim: dims.iter().map(dim).collect(),
        }),
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
