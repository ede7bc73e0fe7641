//! The label-guided heads as operators of the catalogue; they are [`label_guided`]'s.
//!
//! [`label_guided`]: super::label_guided

use super::given::Given;
use super::operator::{Operator, Scratch};
use super::{CrossAttentionFusion, FusionError, LabelAttentionFusion, Rows};
use crate::kernels::Kernels;

/// One of the two heads.
#[derive(Debug)]
pub(super) enum LabelGuided {
    Cross(CrossAttentionFusion),
    Label(LabelAttentionFusion),
}

impl LabelGuided {
    pub(super) fn cross(given: &Given<'_>) -> Result<Box<dyn Operator>, FusionError> {
        let head = CrossAttentionFusion::new(
            given.plain("w")?,
            given.plain("label_text")?,
            given.plain("label_speech")?,
            given.plain("classifier")?,
            given.plain("bias")?,
        )?;
        Ok(Box::new(LabelGuided::Cross(
            head.with_kernels(given.kernels),
        )))
    }

    pub(super) fn label(given: &Given<'_>) -> Result<Box<dyn Operator>, FusionError> {
        let head = LabelAttentionFusion::new(
            given.plain("label_text")?,
            given.plain("label_speech")?,
            given.plain("classifier")?,
            given.plain("bias")?,
            given.setting("temperature") as f32,
        )?;
        Ok(Box::new(LabelGuided::Label(
            head.with_kernels(given.kernels),
        )))
    }
}

impl Operator for LabelGuided {
    /// The attention matrix is never made, as nothing here reads it: that output stays empty.
    fn run(
        &self,
        _kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let (text, speech) = (inputs[0], inputs[1]);
        let (answer, label) = (&mut work.answer, &mut work.label_guided);
        match self {
            LabelGuided::Cross(head) => head.run_into(text, speech, false, label, answer)?,
            LabelGuided::Label(head) => head.run_into(text, speech, false, label, answer)?,
        }
        let parts = [
            &answer.logits,
            &answer.attention,
            &answer.g_text,
            &answer.g_speech,
        ];
        for (out, part) in out.iter_mut().zip(parts) {
            out.clear();
            out.extend_from_slice(part);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        match self {
            LabelGuided::Cross(head) => head.bytes(),
            LabelGuided::Label(head) => head.bytes(),
        }
    }
}
