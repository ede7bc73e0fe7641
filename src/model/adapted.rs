//! Writes the file of an adapted head: the shipped head's graph, and a linear map of the mean
//! rows beneath it added to its logits.
//!
//! Nothing but standard operators is added, so that the file runs wherever the shipped one does.

use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};

/// The version of ONNX's operators in files that are written from nothing.
const OPSET: i64 = 17;
/// Name of the output that holds the logits, and of what the shipped head says in its place.
const LOGITS: &str = "logits";
const SHIPPED: &str = "shipped_logits";

/// What is added to the shipped head's logits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Linear {
    /// `[width, classes]`, row-major.
    pub weights: Vec<f32>,
    /// One a class.
    pub bias: Vec<f32>,
    /// What the mean rows are about, `[width]`: integers are made of how far they are from it.
    pub centre: Vec<f32>,
    /// How the shipped logits count; `None` where they do not.
    pub prior: Option<Prior>,
    /// The product is one of integers, as the shipped file's are.
    pub int8: bool,
}

/// The shipped logits, as they count in the new head.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Prior {
    /// What they are multiplied by.
    pub share: f32,
    /// For each class its place among the shipped ones, if it is one; `None`: all are, in order.
    pub places: Option<Vec<Option<usize>>>,
}

/// An input of the linear map: the mean of a trunk's rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    /// The graph's input that holds the rows, by its place; `None`: a new one, of this name.
    pub input: Result<usize, String>,
    /// Numbers of a row.
    pub width: usize,
}

/// The shipped file with one more output: the numbers that its logits are a product of.
///
/// # Errors
/// A file whose logits are not such a product.
pub(crate) fn with_rows(onnx: &[u8], output: &str) -> Result<Vec<u8>, String> {
    let mut proto = read(onnx)?;
    let graph = proto.graph.as_mut().ok_or("holds no graph")?;
    let mut writer = Writer::new(graph, OPSET);
    let rows = writer.beneath()?;
    let flat = writer.shape(&[-1]);
    writer.node("Reshape", &[&rows, &flat], output, &[]);
    writer.graph.output.push(info(output, None));
    Ok(proto.encode_to_vec())
}

/// The file of an adapted head. `shipped` is the present head's file, and `None` where its logits
/// are an output of a trunk: then that is the first input. With no `rows` the map is of what the
/// shipped logits are a product of.
///
/// # Errors
/// A shipped file that is not an ONNX model, or has no logits.
pub(crate) fn head(
    shipped: Option<&[u8]>,
    rows: &[Rows],
    linear: &Linear,
) -> Result<Vec<u8>, String> {
    let mut proto = match shipped {
        Some(onnx) => read(onnx)?,
        None => empty(linear.prior.is_some()),
    };
    let opset = proto.opset_import.iter().find(|o| o.domain.is_empty());
    let opset = opset.map_or(OPSET, |o| o.version);
    let classes = linear.bias.len();
    let graph = proto.graph.as_mut().ok_or("holds no graph")?;
    let mut writer = Writer::new(graph, opset);
    let beneath = match rows.is_empty() {
        true => Some(writer.beneath()?),
        false => None,
    };
    writer.rename(LOGITS, SHIPPED);
    let (pooled, width) = match beneath {
        Some(rows) => {
            let width = linear.weights.len() / classes.max(1);
            let flat = writer.shape(&[1, width as i64]);
            (writer.made("Reshape", &[&rows, &flat], &[]), width)
        }
        None => writer.pooled(rows)?,
    };
    if linear.weights.len() != width * classes {
        return Err(format!(
            "has {width} numbers a row, and weights for another width"
        ));
    }
    let mut sum = match linear.int8 {
        true => writer.integer_product(&pooled, linear, width, classes),
        false => writer.product(&pooled, linear, width, classes),
    };
    if let Some(prior) = &linear.prior {
        let counted = writer.counted(prior, classes);
        sum = writer.made("Add", &[&sum, &counted], &[]);
    }
    let flat = writer.shape(&[classes as i64]);
    writer.node("Reshape", &[&sum, &flat], LOGITS, &[]);
    let outputs = &mut writer.graph.output;
    outputs.retain(|o| o.name != LOGITS);
    outputs.insert(0, info(LOGITS, Some(&[classes])));
    Ok(proto.encode_to_vec())
}

fn read(onnx: &[u8]) -> Result<ModelProto, String> {
    ModelProto::decode(onnx).map_err(|e| format!("is no ONNX file: {e}"))
}

/// A file without a node; its input are shipped logits, if those count.
fn empty(has_prior: bool) -> ModelProto {
    let mut graph = GraphProto {
        name: "adapted".into(),
        ..GraphProto::default()
    };
    if has_prior {
        graph.input.push(info(SHIPPED, None));
    }
    ModelProto {
        ir_version: 8,
        producer_name: "demeanor".into(),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// A graph that grows.
struct Writer<'a> {
    graph: &'a mut GraphProto,
    opset: i64,
    count: usize,
}

impl Writer<'_> {
    fn new(graph: &mut GraphProto, opset: i64) -> Writer<'_> {
        Writer {
            graph,
            opset,
            count: 0,
        }
    }

    /// A name that the graph does not have: shipped files have none with this beginning.
    fn fresh(&mut self) -> String {
        self.count += 1;
        format!("adapted_{}", self.count)
    }

    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: &[AttributeProto]) {
        self.nodes(op, inputs, &[output], attributes);
    }

    fn nodes(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[AttributeProto],
    ) {
        self.graph.node.push(NodeProto {
            name: outputs[0].into(),
            op_type: op.into(),
            input: inputs.iter().map(|i| (*i).into()).collect(),
            output: outputs.iter().map(|o| (*o).into()).collect(),
            attribute: attributes.to_vec(),
            ..NodeProto::default()
        });
    }

    /// A node, and the name of what it makes.
    fn made(&mut self, op: &str, inputs: &[&str], attributes: &[AttributeProto]) -> String {
        let output = self.fresh();
        self.node(op, inputs, &output, attributes);
        output
    }

    fn constant(&mut self, dims: &[usize], kind: DataType, raw_data: Vec<u8>) -> String {
        let name = self.fresh();
        self.graph.initializer.push(TensorProto {
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: kind as i32,
            name: name.clone(),
            raw_data,
            ..TensorProto::default()
        });
        name
    }

    fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(dims, DataType::Float, raw)
    }

    /// A shape, or a list of axes or places.
    fn shape(&mut self, sizes: &[i64]) -> String {
        let raw = sizes.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(&[sizes.len()], DataType::Int64, raw)
    }

    /// Gives a value another name, wherever it is made or read.
    fn rename(&mut self, from: &str, to: &str) {
        let names = self.graph.node.iter_mut();
        for name in names.flat_map(|n| n.input.iter_mut().chain(&mut n.output)) {
            if name == from {
                *name = to.into();
            }
        }
    }

    /// The float value that the last product before the logits multiplies.
    fn beneath(&self) -> Result<String, String> {
        let maker = |name: &str| {
            let mut nodes = self.graph.node.iter();
            nodes.find(|n| n.output.iter().any(|o| o == name))
        };
        let (mut name, mut product) = (LOGITS.to_owned(), false);
        for _ in 0..32 {
            let Some(node) = maker(&name) else {
                break;
            };
            match node.op_type.as_str() {
                "QuantizeLinear" | "DynamicQuantizeLinear" if product => {
                    return node.input.first().cloned().ok_or("is damaged".into());
                }
                "MatMul" | "Gemm" | "Conv" => {
                    return node.input.first().cloned().ok_or("is damaged".into());
                }
                "QLinearConv" | "QLinearMatMul" | "MatMulInteger" | "ConvInteger" => {
                    product = true;
                }
                _ => {}
            }
            name = node.input.first().cloned().unwrap_or_default();
        }
        Err("has logits that are no product of numbers of its own".into())
    }

    /// The mean rows, one after the other, as `[1, width]`, and the width.
    fn pooled(&mut self, rows: &[Rows]) -> Result<(String, usize), String> {
        let mut means = Vec::new();
        for rows in rows {
            let input = match &rows.input {
                Ok(at) => self.graph.input.get(*at).map(|i| i.name.clone()),
                Err(name) => {
                    let name = format!("adapted_{name}");
                    let mut made = info(&name, None);
                    set_shape(&mut made, &[None, Some(rows.width)]);
                    self.graph.input.push(made);
                    Some(name)
                }
            };
            let input = input.ok_or("has fewer inputs than its head reads")?;
            means.push(self.mean(&input));
        }
        let width = rows.iter().map(|r| r.width).sum();
        let names: Vec<&str> = means.iter().map(String::as_str).collect();
        match names.as_slice() {
            [only] => Ok(((*only).to_owned(), width)),
            several => Ok((self.made("Concat", several, &[int("axis", 1)]), width)),
        }
    }

    fn mean(&mut self, input: &str) -> String {
        // from version 18 on the axes are an input
        if self.opset < 18 {
            let attributes = [ints("axes", &[0]), int("keepdims", 1)];
            return self.made("ReduceMean", &[input], &attributes);
        }
        let axes = self.shape(&[0]);
        self.made("ReduceMean", &[input, &axes], &[int("keepdims", 1)])
    }

    fn product(&mut self, pooled: &str, linear: &Linear, width: usize, classes: usize) -> String {
        let weights = self.floats(&[width, classes], &linear.weights);
        let product = self.made("MatMul", &[pooled, &weights], &[]);
        let bias = self.floats(&[classes], &linear.bias);
        self.made("Add", &[&product, &bias], &[])
    }

    /// The product with weights of 8 bits, a scale a class, and codes of what the mean rows are apart
    /// from the centre, each number as it counts: what tells items apart is small beside what all
    /// of them share, and would be lost in the codes of that.
    fn integer_product(
        &mut self,
        pooled: &str,
        linear: &Linear,
        width: usize,
        classes: usize,
    ) -> String {
        let of_row = linear.weights.chunks_exact(classes.max(1));
        let counts = of_row.map(|row| row.iter().fold(0.0f32, |most, w| most.max(w.abs())));
        let counts: Vec<f32> = counts.collect();
        let mut weights = linear.weights.clone();
        let mut bias = linear.bias.clone();
        for ((row, count), centre) in weights
            .chunks_exact_mut(classes.max(1))
            .zip(&counts)
            .zip(&linear.centre)
        {
            for (weight, bias) in row.iter_mut().zip(&mut bias) {
                *bias += *weight * centre;
                *weight /= count.max(f32::MIN_POSITIVE);
            }
        }
        let mut codes = vec![0u8; width * classes];
        let mut scales = vec![1.0f32; classes];
        for (class, scale) in scales.iter_mut().enumerate() {
            let column = (0..width).map(|k| k * classes + class);
            let peak = column.clone().map(|at| weights[at].abs());
            let peak = peak.fold(0.0f32, f32::max);
            if peak > 0.0 {
                *scale = peak / 127.0;
            }
            for at in column {
                codes[at] = (weights[at] / *scale).round() as i8 as u8;
            }
        }
        let centre = self.floats(&[width], &linear.centre);
        let counts = self.floats(&[width], &counts);
        let apart = self.made("Sub", &[pooled, &centre], &[]);
        let apart = self.made("Mul", &[&apart, &counts], &[]);
        let (codes_of, scale, zero) = (self.fresh(), self.fresh(), self.fresh());
        let outputs = [codes_of.as_str(), scale.as_str(), zero.as_str()];
        self.nodes("DynamicQuantizeLinear", &[&apart], &outputs, &[]);
        let weights = self.constant(&[width, classes], DataType::Int8, codes);
        let sums = self.made("MatMulInteger", &[&codes_of, &weights, &zero], &[]);
        let to_float = [int("to", DataType::Float as i64)];
        let sums = self.made("Cast", &[&sums], &to_float);
        let scales = self.floats(&[classes], &scales);
        let scales = self.made("Mul", &[&scale, &scales], &[]);
        let product = self.made("Mul", &[&sums, &scales], &[]);
        let bias = self.floats(&[classes], &bias);
        self.made("Add", &[&product, &bias], &[])
    }

    /// The shipped logits as they count in the new ones.
    fn counted(&mut self, prior: &Prior, classes: usize) -> String {
        let Some(places) = &prior.places else {
            let share = self.floats(&[1], &[prior.share]);
            return self.made("Mul", &[SHIPPED, &share], &[]);
        };
        // about their mean, where a class that the shipped head does not know stands
        let mean = match self.opset < 18 {
            true => self.made(
                "ReduceMean",
                &[SHIPPED],
                &[ints("axes", &[0]), int("keepdims", 1)],
            ),
            false => self.mean(SHIPPED),
        };
        let about = self.made("Sub", &[SHIPPED, &mean], &[]);
        let at: Vec<i64> = places.iter().map(|p| p.unwrap_or(0) as i64).collect();
        let at = self.shape(&at);
        let chosen = self.made("Gather", &[&about, &at], &[int("axis", 0)]);
        let share = |known: &Option<usize>| known.map_or(0.0, |_| prior.share);
        let shares: Vec<f32> = places.iter().map(share).collect();
        let shares = self.floats(&[classes], &shares);
        self.made("Mul", &[&chosen, &shares], &[])
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

/// An input or output of floats; of a shape that the nodes decide where none is given.
fn info(name: &str, dims: Option<&[usize]>) -> ValueInfoProto {
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: None,
    };
    let mut info = ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    };
    if let Some(dims) = dims {
        let dims: Vec<Option<usize>> = dims.iter().map(|d| Some(*d)).collect();
        set_shape(&mut info, &dims);
    }
    info
}

/// Sizes, `None` of a free one.
fn set_shape(info: &mut ValueInfoProto, dims: &[Option<usize>]) {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |size: &Option<usize>| Dimension {
        value: Some(match size {
            Some(size) => Value::DimValue(*size as i64),
            None => Value::DimParam("rows".into()),
        }),
        ..Dimension::default()
    };
    let dim = dims.iter().map(dim).collect();
    if let Some(TypeProto {
        value: Some(type_proto::Value::TensorType(tensor)),
        ..
    }) = &mut info.r#type
    {
        tensor.shape = Some(TensorShapeProto { dim });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{InputValues, Model};

    fn linear(width: usize, classes: usize, int8: bool) -> Linear {
        Linear {
            weights: (0..width * classes)
                .map(|i| (i % 7) as f32 * 0.1 - 0.3)
                .collect(),
            bias: (0..classes).map(|i| i as f32).collect(),
            centre: vec![0.5; width],
            prior: None,
            int8,
        }
    }

    /// Logits that the linear map alone gives.
    fn alone(linear: &Linear, mean: &[f32]) -> Vec<f32> {
        let classes = linear.bias.len();
        let of = |class: usize| {
            let terms = mean.iter().enumerate();
            let terms = terms.map(|(k, x)| x * linear.weights[k * classes + class]);
            linear.bias[class] + terms.sum::<f32>()
        };
        (0..classes).map(of).collect()
    }

    #[test]
    fn a_head_from_nothing_maps_the_mean_rows() {
        for int8 in [false, true] {
            let linear = linear(4, 3, int8);
            let rows = [Rows {
                input: Err("rows".into()),
                width: 4,
            }];
            let onnx = head(None, &rows, &linear).unwrap();
            let model = Model::open("adapted", &onnx).unwrap();
            let given = [1.0, 2.0, -1.0, 0.5, 3.0, 0.0, 1.0, 0.5];
            let outputs = model
                .run(&[(&[2, 4], InputValues::Floats(&given))])
                .unwrap();
            let wanted = alone(&linear, &[2.0, 1.0, 0.0, 0.5]);
            assert_eq!(outputs[0].dims, [3]);
            for (a, b) in outputs[0].values.iter().zip(&wanted) {
                assert!((a - b).abs() < 0.02, "{int8}: {a} {b}");
            }
            assert_eq!(model.audit().float.is_empty(), int8);
        }
    }

    #[test]
    fn what_all_rows_share_does_not_drown_in_integers_what_tells_them_apart() {
        let mut linear = linear(4, 3, true);
        linear.centre = vec![0.1, -900.0, 0.2, 0.0];
        linear.weights[3..6].copy_from_slice(&[0.01, -0.01, 0.0]);
        let rows = [Rows {
            input: Err("rows".into()),
            width: 4,
        }];
        let onnx = head(None, &rows, &linear).unwrap();
        let model = Model::open("adapted", &onnx).unwrap();
        let given = [0.3, -880.0, 0.1, -0.2];
        let outputs = model
            .run(&[(&[1, 4], InputValues::Floats(&given))])
            .unwrap();
        for (a, b) in outputs[0].values.iter().zip(&alone(&linear, &given)) {
            assert!((a - b).abs() < 0.02, "{a} {b}");
        }
    }

    #[test]
    fn shipped_logits_count_for_the_classes_that_they_know() {
        let mut linear = linear(2, 3, false);
        let rows = [Rows {
            input: Err("rows".into()),
            width: 2,
        }];
        let ask = |linear: &Linear| {
            let onnx = head(None, &rows, linear).unwrap();
            let model = Model::open("adapted", &onnx).unwrap();
            let shipped = InputValues::Floats(&[1.0, 3.0, 8.0]);
            let given = [
                (&[3][..], shipped),
                (&[1, 2][..], InputValues::Floats(&[0.0, 0.0])),
            ];
            model.run(&given).unwrap().remove(0).values
        };
        linear.prior = Some(Prior {
            share: 0.5,
            places: None,
        });
        assert_eq!(ask(&linear), [0.5, 2.5, 6.0]);
        linear.prior = Some(Prior {
            share: 0.5,
            places: Some(vec![Some(2), None, Some(0)]),
        });
        // their mean is 4
        assert_eq!(ask(&linear), [2.0, 1.0, 0.5]);
    }

    #[test]
    fn what_is_no_model_is_refused() {
        assert!(with_rows(b"none", "rows").is_err());
        assert!(with_rows(&empty(false).encode_to_vec(), "rows").is_err());
        let rows = [Rows {
            input: Ok(3),
            width: 2,
        }];
        assert!(head(None, &rows, &linear(2, 3, false)).is_err());
    }
}
