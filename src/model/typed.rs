//! The models of the bundles, each with what it takes and gives.

use super::bundle::Bundle;
use super::load::{Interface, Output, Session};
use super::manifest::{Role, Task};
use super::plan::{Given, Placement};
use super::{Audit, ModelError};
use std::path::Path;

/// Width of the rows H_t and H_s that the encoders hand to the fusion head.
pub const WIDTH: usize = crate::fusion::WIDTH;

/// An encoder's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// H, rows × [`WIDTH`](crate::fusion::WIDTH), row-major.
    pub rows: Vec<f32>,
    /// Logits of the encoder's own head, [`CLASSES`](crate::fusion::CLASSES) of them.
    pub logits: Vec<f32>,
    /// The last hidden state, rows × its width; empty if the file does not give it.
    pub hidden: Vec<f32>,
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

/// Image trunk.
#[derive(Debug, Clone)]
pub struct ImageModel(Session);

/// A head of MVCN, for whichever modalities it reads.
#[derive(Debug, Clone)]
pub struct PictureHead {
    session: Session,
    reads: (bool, bool),
}

/// A head on pooled vectors of words and picture: a call of the fusion catalogue.
#[derive(Debug, Clone)]
pub struct PooledHead(Session);

/// Face detector.
#[derive(Debug, Clone)]
pub struct FaceModel(Session);

/// Expression of one face.
#[derive(Debug, Clone)]
pub struct ExpressionModel(Session);

impl SpeechModel {
    /// Loads the bundle's speech encoder.
    ///
    /// # Errors
    /// A file that is refused or claims more than it does.
    pub fn load(bundle: &Bundle) -> Result<Self, ModelError> {
        Session::load(bundle, Role::Speech, &[(&["mel"], &["frames", "logits"])]).map(Self)
    }

    /// `mel` is frames × 80 log-mel, row-major, at least one frame.
    ///
    /// # Errors
    /// The engine's, or an answer that is no number.
    pub fn encode(&self, mel: &[f32], frames: usize) -> Result<Encoded, ModelError> {
        let mel = (&[frames, 80][..], Given::Floats(mel));
        let [rows, logits] = self.0.floats(&[mel])?;
        Ok(Encoded {
            rows,
            logits,
            hidden: Vec::new(),
        })
    }
}

impl TextModel {
    /// Loads the bundle's text encoder.
    ///
    /// # Errors
    /// A file that is refused or claims more than it does.
    pub fn load(bundle: &Bundle) -> Result<Self, ModelError> {
        let interfaces: [Interface<'_>; 2] = [
            (&["ids", "types"], &["tokens", "logits"]),
            (&["ids", "types"], &["tokens", "logits", "hidden"]),
        ];
        Session::load(bundle, Role::Text, &interfaces).map(Self)
    }

    /// `ids` and `types` have one entry a token, at least one; `types` is 0 for the
    /// utterance and 1 for history.
    ///
    /// # Errors
    /// The engine's, or an answer that is no number.
    pub fn encode(&self, ids: &[i64], types: &[i64]) -> Result<Encoded, ModelError> {
        let (n, types_n) = ([ids.len()], [types.len()]);
        let inputs = [
            (&n[..], Given::Ints(ids)),
            (&types_n[..], Given::Ints(types)),
        ];
        let mut outputs = self.0.run(&inputs)?.into_iter().map(|o| o.values);
        let mut next = || outputs.next().unwrap_or_default();
        Ok(Encoded {
            rows: next(),
            logits: next(),
            hidden: next(),
        })
    }
}

impl FusionModel {
    /// Loads one of the bundle's fusion heads.
    ///
    /// # Errors
    /// A file that is refused.
    pub fn load(bundle: &Bundle, role: Role) -> Result<Self, ModelError> {
        let outputs = ["logits", "attention", "g_text", "g_speech"];
        Session::load(bundle, role, &[(&["text", "speech"], &outputs)]).map(Self)
    }

    /// `text` and `speech` are rows × [`WIDTH`](crate::fusion::WIDTH), row-major, at least one row each.
    ///
    /// # Errors
    /// The engine's, or an answer that is no number.
    pub fn fuse(&self, text: &[f32], speech: &[f32]) -> Result<Fused, ModelError> {
        let dims = [text, speech].map(|x| [x.len() / WIDTH, WIDTH]);
        let inputs = [
            (&dims[0][..], Given::Floats(text)),
            (&dims[1][..], Given::Floats(speech)),
        ];
        let [logits, _attention, g_text, g_speech] = self.0.floats(&inputs)?;
        Ok(Fused {
            logits,
            g_text,
            g_speech,
        })
    }
}

impl ImageModel {
    /// Loads the bundle's image trunk.
    ///
    /// # Errors
    /// A file that is refused or claims more than it does.
    pub fn load(bundle: &Bundle) -> Result<Self, ModelError> {
        Session::load(bundle, Role::Image, &[(&["pixels"], &["patches"])]).map(Self)
    }

    /// `rgb` is side × side × 3 bytes, row-major. Patches × width, row-major over the final map.
    ///
    /// # Errors
    /// The engine's, or an answer that is no number.
    pub fn patches(&self, rgb: &[u8], side: usize) -> Result<Output, ModelError> {
        let dims = [1, side, side, 3];
        let outputs = self.0.run(&[(&dims, Given::Bytes(rgb))])?;
        let first = outputs.into_iter().next();
        first.ok_or_else(|| self.0.failed("answered with nothing"))
    }
}

impl PictureHead {
    /// Loads one of the heads that read tokens, patches or both.
    ///
    /// # Errors
    /// A file that is refused or claims more than it does.
    pub fn load(bundle: &Bundle, role: Role) -> Result<Self, ModelError> {
        let (both, words, patches): (&[&str], &[&str], &[&str]) =
            (&["tokens", "patches"], &["tokens"], &["patches"]);
        let (plain, explained): (&[&str], &[&str]) = (&["logits"], &["logits", "attention"]);
        let interfaces: [Interface<'_>; 4] = [
            (both, explained),
            (both, plain),
            (words, plain),
            (patches, plain),
        ];
        let session = Session::load(bundle, role, &interfaces)?;
        Ok(PictureHead {
            reads: (session.reads("tokens"), session.reads("patches")),
            session,
        })
    }

    /// Logits, and for a text-guided head the attention, tokens × patches; both row-major.
    /// Modalities that the head does not read are left aside.
    ///
    /// # Errors
    /// The engine's, or an answer that is no number.
    pub fn answer(
        &self,
        tokens: (&[usize; 2], &[f32]),
        patches: (&[usize; 2], &[f32]),
    ) -> Result<(Vec<f32>, Vec<f32>), ModelError> {
        let tokens = (&tokens.0[..], Given::Floats(tokens.1));
        let patches = (&patches.0[..], Given::Floats(patches.1));
        let outputs = match self.reads {
            (true, true) => self.session.run(&[tokens, patches])?,
            (true, false) => self.session.run(&[tokens])?,
            _ => self.session.run(&[patches])?,
        };
        let mut outputs = outputs.into_iter().map(|o| o.values);
        let mut next = || outputs.next().unwrap_or_default();
        Ok((next(), next()))
    }
}

impl PooledHead {
    /// Reads a file with inputs u, v and output logits.
    ///
    /// # Errors
    /// A file that cannot be read or is refused.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let bytes = std::fs::read(path).map_err(|source| ModelError::Unreadable {
            path: path.to_path_buf(),
            source,
        })?;
        let name = path.display().to_string();
        Session::open(&name, &bytes, &[(&["u", "v"], &["logits"])]).map(Self)
    }

    /// Logits of a pair of vectors.
    ///
    /// # Errors
    /// The engine's, or an answer that is no number.
    pub fn logits(&self, u: &[f32], v: &[f32]) -> Result<Vec<f32>, ModelError> {
        let dims = [[1, u.len()], [1, v.len()]];
        let inputs = [
            (&dims[0][..], Given::Floats(u)),
            (&dims[1][..], Given::Floats(v)),
        ];
        let [logits] = self.0.floats(&inputs)?;
        Ok(logits)
    }
}

impl FaceModel {
    /// Loads the bundle's face detector.
    ///
    /// # Errors
    /// A file that is refused or claims more than it does.
    pub fn load(bundle: &Bundle) -> Result<Self, ModelError> {
        Session::load(bundle, Role::Face, &[(&["pixels"], &["boxes", "scores"])]).map(Self)
    }

    /// `rgb` is side × side × 3 bytes. Raw boxes, anchors × 4, and logits, one an anchor.
    ///
    /// # Errors
    /// The engine's, or an answer that is no number.
    pub fn detect(&self, rgb: &[u8], side: usize) -> Result<[Vec<f32>; 2], ModelError> {
        self.0.floats(&[(&[1, side, side, 3], Given::Bytes(rgb))])
    }
}

impl ExpressionModel {
    /// Loads the bundle's expression student.
    ///
    /// # Errors
    /// A file that is refused or claims more than it does.
    pub fn load(bundle: &Bundle) -> Result<Self, ModelError> {
        Session::load(bundle, Role::Expression, &[(&["pixels"], &["logits"])]).map(Self)
    }

    /// `grey` is side × side bytes; one logit a class.
    ///
    /// # Errors
    /// The engine's, or an answer that is no number.
    pub fn logits(&self, grey: &[u8], side: usize) -> Result<Vec<f32>, ModelError> {
        let [logits] = self
            .0
            .floats(&[(&[1, side, side, 1], Given::Bytes(grey))])?;
        Ok(logits)
    }
}

/// What is known of any loaded model.
pub trait Loaded {
    /// What multiplies in it.
    fn audit(&self) -> &Audit;

    /// Which node runs where.
    fn placed(&self) -> Vec<Placement>;
}

/// Loads the file of a bundle that plays `role`; `None` for a role that is no model.
///
/// # Errors
/// A file that is missing, refused, or claims more than it does.
pub fn load_role(bundle: &Bundle, role: Role) -> Result<Option<Box<dyn Loaded>>, ModelError> {
    Ok(Some(match role {
        Role::Vocab => return Ok(None),
        Role::Speech => Box::new(SpeechModel::load(bundle)?.0),
        Role::Text => Box::new(TextModel::load(bundle)?.0),
        Role::Fusion if bundle.manifest.task() == Task::Emotion => {
            Box::new(FusionModel::load(bundle, role)?.0)
        }
        Role::FusionAr | Role::FusionAl => Box::new(FusionModel::load(bundle, role)?.0),
        Role::Fusion | Role::FusionTgf | Role::FusionEqual | Role::TextHead | Role::ImageHead => {
            Box::new(PictureHead::load(bundle, role)?.session)
        }
        Role::Image => Box::new(ImageModel::load(bundle)?.0),
        Role::Face => Box::new(FaceModel::load(bundle)?.0),
        Role::Expression => Box::new(ExpressionModel::load(bundle)?.0),
    }))
}

impl Loaded for Session {
    fn audit(&self) -> &Audit {
        self.audit()
    }

    fn placed(&self) -> Vec<Placement> {
        self.placed()
    }
}
