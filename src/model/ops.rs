//! Operators of ours inside ONNX files: functions of the domain `demeanor`.
//!
//! The file carries the function's body in plain ONNX, so any runtime can check it; here
//! the call is mapped to the kernel, by name, and the body is never looked at.

use crate::fusion::{
    CLASSES, CrossAttentionFusion, FusionOutput, LabelAttentionFusion, Rows, WIDTH, Workspace,
};
use std::fmt;
use std::sync::Arc;
use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// tract's ONNX operators and ours.
pub(super) fn framework() -> Onnx {
    let mut onnx = tract_onnx::onnx();
    onnx.op_register
        .insert("CrossAttentionFusion", cross_attention);
    onnx.op_register
        .insert("LabelAttentionFusion", label_attention);
    onnx
}

/// Whether a node is one of these calls.
pub(super) fn is_head(node: &NodeProto) -> bool {
    let ours = ["CrossAttentionFusion", "LabelAttentionFusion"];
    node.domain == "demeanor" && ours.contains(&node.op_type.as_str())
}

type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

fn cross_attention(_: &ParsingContext, node: &NodeProto) -> Built {
    ours(node, Call { kind: Kind::Cross })
}

fn label_attention(_: &ParsingContext, node: &NodeProto) -> Built {
    let temperature = node.get_attr_opt("temperature")?.unwrap_or(0.2);
    ours(
        node,
        Call {
            kind: Kind::Label { temperature },
        },
    )
}

fn ours(node: &NodeProto, call: Call) -> Built {
    ensure!(
        node.domain == "demeanor",
        "operator {} of an unknown domain {:?}",
        node.op_type,
        node.domain
    );
    Ok((expand(call), vec![]))
}

/// Which attention a call uses.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A_r; weights: w, labels of text and speech, classifier, bias.
    Cross,
    /// A_l; weights: labels of text and speech, classifier, bias.
    Label { temperature: f32 },
}

impl Kind {
    fn weights(self) -> usize {
        match self {
            Kind::Cross => 5,
            Kind::Label { .. } => 4,
        }
    }
}

/// A call as it stands in the file: `text`, `speech`, then the weights.
#[derive(Debug, Clone, Copy)]
struct Call {
    kind: Kind,
}

impl Expansion for Call {
    fn name(&self) -> StaticName {
        "demeanor.Fusion".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(4)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2 + self.kind.weights())?;
        check_output_arity(outputs, 4)?;
        for output in outputs {
            s.equals(&output.datum_type, f32::datum_type())?;
        }
        s.equals(&outputs[0].rank, 1)?;
        s.equals(&outputs[0].shape[0], CLASSES.to_dim())?;
        s.equals(&outputs[1].rank, 2)?;
        s.equals(&outputs[1].shape[0], 0.to_dim())?;
        s.equals(&outputs[1].shape[1], 0.to_dim())?;
        for (input, output) in inputs.iter().zip(&outputs[2..]) {
            s.equals(&output.rank, 2)?;
            s.equals(&output.shape[0], &input.shape[0])?;
            s.equals(&output.shape[1], CLASSES.to_dim())?;
        }
        Ok(())
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let weights = inputs[2..]
            .iter()
            .map(|i| weight(target, *i))
            .collect::<TractResult<Vec<_>>>()?;
        let w: Vec<&[f32]> = weights
            .iter()
            .map(|t| t.try_as_plain_ram()?.as_slice::<f32>())
            .collect::<TractResult<_>>()?;
        let head = match self.kind {
            Kind::Cross => Head::Cross(CrossAttentionFusion::new(w[0], w[1], w[2], w[3], w[4])?),
            Kind::Label { temperature } => Head::Label(LabelAttentionFusion::new(
                w[0],
                w[1],
                w[2],
                w[3],
                temperature,
            )?),
        };
        target.wire_node(prefix, FusionOp(Arc::new(head)), &inputs[..2])
    }
}

fn weight(model: &TypedModel, outlet: OutletId) -> TractResult<Arc<Tensor>> {
    let fact = model.outlet_fact(outlet)?;
    fact.konst
        .clone()
        .ok_or_else(|| format_err!("a fusion weight is not constant"))
}

/// A kernel with its weights.
#[derive(Debug)]
enum Head {
    Cross(CrossAttentionFusion),
    Label(LabelAttentionFusion),
}

/// The call as it runs: two inputs, weights inside. The attention matrix is never made, as
/// nothing here reads it: that output is empty.
#[derive(Clone)]
pub(super) struct FusionOp(Arc<Head>);

/// The same call of the same file; tract asks before it merges nodes.
impl PartialEq for FusionOp {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for FusionOp {}

impl fmt::Debug for FusionOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self.0 {
            Head::Cross(_) => "CrossAttentionFusion",
            Head::Label(_) => "LabelAttentionFusion",
        })
    }
}

impl Op for FusionOp {
    fn name(&self) -> StaticName {
        format!("demeanor.{self:?}").into()
    }

    op_as_typed_op!();
}

impl EvalOp for FusionOp {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (text, speech) = args_2!(inputs);
        let text = text.try_as_plain_ram()?;
        let speech = speech.try_as_plain_ram()?;
        let text = Rows::new(text.as_slice::<f32>()?, WIDTH)?;
        let speech = Rows::new(speech.as_slice::<f32>()?, WIDTH)?;
        let (mut out, mut work) = (FusionOutput::default(), Workspace::default());
        match &*self.0 {
            Head::Cross(head) => head.run_into(text, speech, false, &mut work, &mut out)?,
            Head::Label(head) => head.run_into(text, speech, false, &mut work, &mut out)?,
        }
        let (n, m) = (text.rows(), speech.rows());
        Ok(tvec!(
            Tensor::from_shape(&[CLASSES], &out.logits)?.into_tvalue(),
            Tensor::zero::<f32>(&[0, 0])?.into_tvalue(),
            Tensor::from_shape(&[n, CLASSES], &out.g_text)?.into_tvalue(),
            Tensor::from_shape(&[m, CLASSES], &out.g_speech)?.into_tvalue(),
        ))
    }
}

impl TypedOp for FusionOp {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let (n, m) = (inputs[0].shape[0].clone(), inputs[1].shape[0].clone());
        let classes = CLASSES.to_dim();
        Ok(tvec!(
            f32::fact([classes.clone()]),
            f32::fact([0.to_dim(), 0.to_dim()]),
            f32::fact([n, classes.clone()]),
            f32::fact([m, classes]),
        ))
    }

    as_op!();
}
