//! From ONNX bytes to something that runs.

use super::bundle::Bundle;
use super::manifest::{Precision, Role};
use super::{Audit, ModelError, ops};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::pb::ModelProto;
use tract_onnx::tract_hir::internal::*;

/// Width of the rows H_t and H_s that the encoders hand to the fusion head.
pub const WIDTH: usize = crate::fusion::WIDTH;

/// An encoder's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// H, rows × [`WIDTH`](crate::fusion::WIDTH), row-major.
    pub rows: Vec<f32>,
    /// Logits of the encoder's own head, [`CLASSES`](crate::fusion::CLASSES) of them.
    pub logits: Vec<f32>,
}

/// The fusion head's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Fused {
    /// Logits, [`CLASSES`](crate::fusion::CLASSES) of them.
    pub logits: Vec<f32>,
    /// G_t, tokens × classes, cosine similarity -1..1.
    pub g_text: Vec<f32>,
    /// G_s, frames × classes, cosine similarity -1..1.
    pub g_speech: Vec<f32>,
}

/// Speech encoder with its speech-only head.
#[derive(Debug, Clone)]
pub struct SpeechModel(Session);

/// Text encoder with its text-only head.
#[derive(Debug, Clone)]
pub struct TextModel(Session);

/// Fusion head.
#[derive(Debug, Clone)]
pub struct FusionModel(Session);

impl SpeechModel {
    /// Loads the bundle's speech encoder.
    ///
    /// # Errors
    /// A file that is refused or claims more than it does.
    pub fn load(bundle: &Bundle) -> Result<Self, ModelError> {
        Session::load(bundle, Role::Speech, &["mel"], &["frames", "logits"]).map(Self)
    }

    /// `mel` is frames × 80 log-mel, row-major, at least one frame.
    ///
    /// # Errors
    /// The engine's, or an answer that is no number.
    pub fn encode(&self, mel: &[f32], frames: usize) -> Result<Encoded, ModelError> {
        let mel = self.0.tensor(&[frames, 80], mel)?;
        let [rows, logits] = self.0.floats(tvec!(mel.into_tvalue()))?;
        Ok(Encoded { rows, logits })
    }

    /// What multiplies in it.
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }
}

impl TextModel {
    /// Loads the bundle's text encoder.
    ///
    /// # Errors
    /// A file that is refused or claims more than it does.
    pub fn load(bundle: &Bundle) -> Result<Self, ModelError> {
        Session::load(bundle, Role::Text, &["ids", "types"], &["tokens", "logits"]).map(Self)
    }

    /// `ids` and `types` have one entry a token, at least one; `types` is 0 for the
    /// utterance and 1 for history.
    ///
    /// # Errors
    /// The engine's, or an answer that is no number.
    pub fn encode(&self, ids: &[i64], types: &[i64]) -> Result<Encoded, ModelError> {
        let inputs = tvec!(tensor1(ids).into_tvalue(), tensor1(types).into_tvalue());
        let [rows, logits] = self.0.floats(inputs)?;
        Ok(Encoded { rows, logits })
    }

    /// What multiplies in it.
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }
}

impl FusionModel {
    /// Loads one of the bundle's fusion heads.
    ///
    /// # Errors
    /// A file that is refused.
    pub fn load(bundle: &Bundle, role: Role) -> Result<Self, ModelError> {
        let outputs = ["logits", "attention", "g_text", "g_speech"];
        Session::load(bundle, role, &["text", "speech"], &outputs).map(Self)
    }

    /// `text` and `speech` are rows × [`WIDTH`](crate::fusion::WIDTH), row-major, at least one row each.
    ///
    /// # Errors
    /// The engine's, or an answer that is no number.
    pub fn fuse(&self, text: &[f32], speech: &[f32]) -> Result<Fused, ModelError> {
        let rows = |x: &[f32]| self.0.tensor(&[x.len() / WIDTH, WIDTH], x);
        let inputs = tvec!(rows(text)?.into_tvalue(), rows(speech)?.into_tvalue());
        let [logits, _attention, g_text, g_speech] = self.0.floats(inputs)?;
        Ok(Fused {
            logits,
            g_text,
            g_speech,
        })
    }

    /// What multiplies in it.
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }
}

/// A runnable model.
#[derive(Debug, Clone)]
struct Session {
    name: String,
    plan: Arc<TypedSimplePlan>,
    audit: Audit,
}

impl Session {
    fn load(
        bundle: &Bundle,
        role: Role,
        inputs: &[&str],
        outputs: &[&str],
    ) -> Result<Session, ModelError> {
        let missing = || ModelError::Refused {
            name: format!("{role:?}"),
            what: "is not in the bundle".into(),
        };
        let (name, onnx) = bundle.bytes(role).ok_or_else(missing)?;
        let refused = |what: String| ModelError::Refused {
            name: name.into(),
            what,
        };
        // tract answers malformed models with errors, and now and then with a panic
        let loaded = catch_unwind(AssertUnwindSafe(|| plan(onnx, inputs, outputs)));
        let loaded = loaded.unwrap_or_else(|_| Err(format_err!("the engine broke on it")));
        let (plan, audit) = loaded.map_err(|e| refused(sentence(&e)))?;
        let session = Session {
            name: name.into(),
            plan,
            audit,
        };
        let claim = bundle.manifest.file(role).map(|f| f.precision);
        session.check_claim(claim)
    }

    /// An int8 file holds no float product.
    fn check_claim(self, claim: Option<Precision>) -> Result<Session, ModelError> {
        match self.audit.first_float() {
            Some(first) if claim == Some(Precision::Int8) => Err(ModelError::NotInteger {
                name: self.name.clone(),
                float: self.audit.float.len() + self.audit.fused.len(),
                total: self.audit.total(),
                first: first.into(),
            }),
            _ => Ok(self),
        }
    }

    fn failed(&self, what: impl ToString) -> ModelError {
        ModelError::Run {
            name: self.name.clone(),
            what: what.to_string(),
        }
    }

    fn tensor(&self, shape: &[usize], data: &[f32]) -> Result<Tensor, ModelError> {
        Tensor::from_shape(shape, data).map_err(|e| self.failed(sentence(&e)))
    }

    /// Runs and hands out `N` float outputs; infinite or undefined numbers never leave.
    fn floats<const N: usize>(&self, inputs: TVec<TValue>) -> Result<[Vec<f32>; N], ModelError> {
        let run = || -> TractResult<Vec<Vec<f32>>> {
            let outputs = self.plan.run(inputs)?;
            outputs
                .iter()
                .map(|o| Ok(o.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()))
                .collect()
        };
        let outputs = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err(format_err!("the engine broke on it")))
            .map_err(|e| self.failed(sentence(&e)))?;
        if outputs.iter().flatten().any(|x| !x.is_finite()) {
            return Err(self.failed("answered with a number that is none"));
        }
        outputs
            .try_into()
            .map_err(|_| self.failed("answered with another number of outputs"))
    }
}

type Loaded = (Arc<TypedSimplePlan>, Audit);

fn plan(onnx: &[u8], inputs: &[&str], outputs: &[&str]) -> TractResult<Loaded> {
    let proto = decode(onnx)?;
    check_interface(&proto, inputs, outputs)?;
    let model = ops::framework().model_for_proto_model(&proto)?;
    // the engine has its own copy of the weights by now
    drop(proto);
    let model = model.into_typed()?.into_decluttered()?.into_optimized()?;
    let audit = Audit::of(&model)?;
    Ok((TypedSimplePlan::new(model)?, audit))
}

fn decode(onnx: &[u8]) -> TractResult<ModelProto> {
    <ModelProto as prost::Message>::decode(onnx).map_err(|e| format_err!("is no ONNX file ({e})"))
}

fn check_interface(proto: &ModelProto, inputs: &[&str], outputs: &[&str]) -> TractResult<()> {
    let graph = proto
        .graph
        .as_ref()
        .ok_or_else(|| format_err!("holds no graph"))?;
    let has: Vec<&str> = graph.input.iter().map(|i| i.name.as_str()).collect();
    ensure!(has == inputs, "takes inputs {has:?}, expected {inputs:?}");
    let has: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    ensure!(
        has == outputs,
        "gives outputs {has:?}, expected {outputs:?}"
    );
    Ok(())
}

/// The root of an error chain on one line, short enough to read.
fn sentence(error: &TractError) -> String {
    let root = error.root_cause().to_string();
    let line = root.lines().next().unwrap_or_default();
    line.chars().take(200).collect()
}
