//! The type of every value of a graph, as ONNX's operators determine it from their inputs'.

use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto, tensor_proto::DataType, type_proto};
use tract_onnx::prelude::DatumType;

/// tract's type for ONNX's; `None` for one that tract has not.
pub(in crate::model) fn datum(kind: i32) -> Option<DatumType> {
    DatumType::try_from(DataType::try_from(kind).ok()?).ok()
}

/// Types of a graph's inputs; f32 where the file does not say.
fn of_inputs(graph: &GraphProto) -> HashMap<String, DatumType> {
    let mut types = HashMap::new();
    for input in &graph.input {
        let value = input.r#type.as_ref().and_then(|t| t.value.as_ref());
        let declared = match value {
            Some(type_proto::Value::TensorType(tensor)) => datum(tensor.elem_type),
            None => Some(DatumType::F32),
        };
        if let Some(declared) = declared {
            types.insert(input.name.clone(), declared);
        }
    }
    types
}

/// The types of a graph's values.
#[derive(Debug, Clone)]
pub(in crate::model) struct Types(HashMap<String, DatumType>);

impl Types {
    /// Those of the inputs; nodes follow, in their order.
    pub(super) fn new(graph: &GraphProto) -> Types {
        Types(of_inputs(graph))
    }

    /// Takes in what a node makes; `constant` tells the types of constants.
    pub(super) fn push(&mut self, node: &NodeProto, constant: impl Fn(&str) -> Option<DatumType>) {
        let made = made(node, |name| constant(name).or_else(|| self.of(name)));
        for (output, made) in node.output.iter().zip(made) {
            if let Some(made) = made {
                self.0.insert(output.clone(), made);
            }
        }
    }

    /// The type of a value that is no constant; `None` where its operator does not tell.
    pub(in crate::model) fn of(&self, value: &str) -> Option<DatumType> {
        self.0.get(value).copied()
    }
}

/// The types of all values, initializers among them.
pub(in crate::model) fn of_graph(graph: &GraphProto) -> Types {
    let mut types = Types::new(graph);
    for tensor in &graph.initializer {
        if let Some(of) = datum(tensor.data_type) {
            types.0.insert(tensor.name.clone(), of);
        }
    }
    for node in &graph.node {
        let tensor = node.attribute.iter().find_map(|a| a.t.as_ref());
        match (node.op_type.as_str(), tensor, node.output.first()) {
            ("Constant", Some(tensor), Some(output)) => {
                if let Some(of) = datum(tensor.data_type) {
                    types.0.insert(output.clone(), of);
                }
            }
            _ => types.push(node, |_| None),
        }
    }
    types
}

/// Operators that answer yes or no.
const BOOL: &str = "And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Xor";

/// Operators that make places or sizes.
const INDEX: &str = "ArgMax ArgMin NonMaxSuppression NonZero Shape Size";

/// Operators all of whose outputs are of the type of their first input.
const SAME: &str = "Abs Acos Acosh Add Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift \
    BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Celu Clip Compress Concat Conv ConvTranspose Cos \
    Cosh CumSum DFT DepthToSpace Div Einsum Elu Erf Exp Expand Flatten Floor GRU Gather GatherElements \
    GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample GroupNormalization \
    HardSigmoid HardSwish Hardmax Identity InstanceNormalization LRN LSTM LayerNormalization LeakyRelu \
    Log LogSoftmax LpNormalization MatMul Max Mean MeanVarianceNormalization Min Mish Mod Mul Neg PRelu \
    Pad Pow RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean \
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize RMSNormalization RotaryEmbedding \
    Round Scatter ScatterElements ScatterND Selu Shrink Sigmoid Sign Sin Sinh Slice Softmax Softplus \
    Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile Transpose \
    Trilu Unsqueeze";

fn is_one_of(list: &str, op: &str) -> bool {
    list.split_ascii_whitespace().any(|name| name == op)
}

/// The type of each output of a node, whose inputs are `of`; `None` where it is not known.
fn made(node: &NodeProto, of: impl Fn(&str) -> Option<DatumType>) -> Vec<Option<DatumType>> {
    use DatumType::{Bool, F32, I32, I64, U8};
    let input = |i: usize| {
        let name = node.input.get(i).filter(|name| !name.is_empty());
        name.and_then(|name| of(name))
    };
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
    let named = |name: &str| attribute(name).map(|a| datum(a.i as i32));
    let first = input(0);
    if node.domain == crate::fusion::catalogue::DOMAIN {
        return vec![Some(F32); node.output.len()];
    }
    if !node.domain.is_empty() && node.domain != "ai.onnx" {
        return vec![None; node.output.len()];
    }
    match node.op_type.as_str() {
        op if is_one_of(BOOL, op) => vec![Some(Bool)],
        op if is_one_of(INDEX, op) => vec![Some(I64)],
        op if is_one_of(SAME, op) => vec![first; node.output.len()],
        "Cast" => vec![named("to").flatten()],
        "CastLike" | "Where" => vec![input(1)],
        "OneHot" => vec![input(2)],
        "TopK" | "MaxPool" => vec![first, Some(I64)],
        "Dropout" => vec![first, Some(Bool)],
        "ConstantOfShape" => {
            let value = attribute("value").and_then(|a| a.t.as_ref());
            vec![value.map_or(Some(F32), |t| datum(t.data_type))]
        }
        "DequantizeLinear" => vec![input(1)],
        "QuantizeLinear" => match (node.input.get(2), named("output_dtype")) {
            (Some(zero), _) if !zero.is_empty() => vec![of(zero)],
            (_, Some(Some(said))) => vec![Some(said)],
            _ => vec![Some(U8)],
        },
        "DynamicQuantizeLinear" => vec![Some(U8), Some(F32), Some(U8)],
        "MatMulInteger" | "ConvInteger" => vec![Some(I32)],
        "QLinearConv" | "QLinearMatMul" => vec![input(7)],
        "EyeLike" | "RandomNormalLike" | "RandomUniformLike" => {
            vec![named("dtype").unwrap_or(first)]
        }
        "RandomNormal" | "RandomUniform" => vec![named("dtype").unwrap_or(Some(F32))],
        "Multinomial" => vec![named("dtype").unwrap_or(Some(I32))],
        _ => vec![None; node.output.len()],
    }
}
