//! MVCN: positive, neutral or negative from a picture and its words (SPEC §2).
//!
//! The trunks are shared with other tasks; the heads are small. What is missing is answered
//! by the head that was trained without it.

use super::timed;
use super::words::{TextRows, TextTrunk};
use crate::decision::softmax;
use crate::event::{Latency, Modality};
use crate::fusion::WIDTH;
use crate::model::manifest::{Decision, Head, Inputs, Role, Task};
use crate::model::{Bundle, ImageModel, ModelError, Output, PictureHead};
use crate::text::without_links;
use crate::vision::Picture;
use crate::vision::resize::{Crop, Resizer};
use std::sync::Arc;

/// What the trunks made of a picture and its words.
#[derive(Debug, Clone, Default)]
pub struct Encodings {
    /// Patches of the picture, `[p, c]`.
    pub patches: Option<Output>,
    /// The words.
    pub text: Option<Arc<TextRows>>,
    /// Compute so far.
    pub latency: Latency,
}

/// Where the words looked: `[tokens, patches]`, rows sum to 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attention {
    /// Weights, row-major; exact zeros where a token did not look.
    pub weights: Vec<f32>,
    /// Patches on a side of the picture.
    pub side: usize,
}

/// Calibrated scores of one picture with its words.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Probabilities in the order of the labels; sum to 1.
    pub scores: Vec<f32>,
    /// What they rest on.
    pub modality: Modality,
    /// Compute, stage by stage.
    pub latency: Latency,
    /// Of the text-guided head, when both were there.
    pub attention: Option<Attention>,
}

/// The task, ready to answer.
pub struct Sentiment {
    name: String,
    labels: Vec<String>,
    decision: Decision,
    side: u32,
    max_tokens: usize,
    resizer: Resizer,
    pixels: Vec<u8>,
    text: Arc<TextTrunk>,
    image: ImageModel,
    fused: PictureHead,
    text_head: PictureHead,
    image_head: PictureHead,
}

impl Sentiment {
    /// Loads every model of the bundle; the text trunk is `trunk` if it is the very same.
    ///
    /// # Errors
    /// A file that is missing, refused, or claims more than it does.
    pub fn load(bundle: &Bundle, trunk: Option<&Arc<TextTrunk>>) -> Result<Self, ModelError> {
        let manifest = &bundle.manifest;
        let Inputs::Sentiment { picture, text } = &manifest.inputs else {
            return Err(bundle.answers_another(Task::Sentiment));
        };
        Ok(Sentiment {
            name: bundle.name(),
            labels: manifest.labels.clone(),
            decision: manifest.decision.clone(),
            side: picture.side,
            max_tokens: text.max_tokens,
            resizer: Resizer::new(),
            pixels: Vec::new(),
            text: match trunk {
                Some(trunk) => TextTrunk::shared(bundle, trunk)?,
                None => TextTrunk::load(bundle)?,
            },
            image: ImageModel::load(bundle)?,
            fused: PictureHead::load(bundle, Role::Fusion)?,
            text_head: PictureHead::load(bundle, Role::TextHead)?,
            image_head: PictureHead::load(bundle, Role::ImageHead)?,
        })
    }

    /// `id@version` of the bundle.
    pub fn bundle(&self) -> &str {
        &self.name
    }

    /// Class names in the order of the scores.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// How scores become a decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Runs the trunks on whatever is there. Links are no words, and words without a letter or
    /// a sign that the vocabulary knows count as absent.
    ///
    /// # Errors
    /// A model that fails.
    pub fn encode(
        &mut self,
        picture: Option<&Picture>,
        words: Option<&str>,
    ) -> Result<Encodings, ModelError> {
        let mut out = Encodings::default();
        if let Some(picture) = picture {
            let whole = Crop::whole(picture);
            let side = self.side;
            timed(&mut out.latency.resize, || {
                self.resizer
                    .rgb(picture, whole, side, side, &mut self.pixels);
            });
            out.patches = Some(timed(&mut out.latency.image, || {
                self.image.patches(&self.pixels, side as usize)
            })?);
        }
        if let Some(words) = words {
            let words = without_links(words);
            out.text = self
                .text
                .encode(&words, &[], self.max_tokens, &mut out.latency)?;
        }
        Ok(out)
    }

    /// Answers with the best head for what was encoded; `None` with neither.
    ///
    /// # Errors
    /// A model that fails.
    pub fn answer(&self, encodings: &Encodings) -> Result<Option<Answer>, ModelError> {
        let (text, image) = (encodings.text.is_some(), encodings.patches.is_some());
        let (head, kind) = match (text, image) {
            (true, true) => (&self.fused, Head::Fused),
            (true, false) => (&self.text_head, Head::Text),
            (false, true) => (&self.image_head, Head::Image),
            (false, false) => return Ok(None),
        };
        let mut latency = encodings.latency;
        let (logits, weights) = timed(&mut latency.fusion, || ask(head, encodings))?;
        let patches = encodings.patches.as_ref().map_or(0, |p| p.dims[0]);
        Ok(Some(Answer {
            scores: softmax(&logits, self.decision.temperature(kind)),
            modality: Modality {
                text,
                image,
                ..Modality::default()
            },
            latency,
            attention: (kind == Head::Fused).then_some(Attention {
                weights,
                side: patches.isqrt(),
            }),
        }))
    }
}

/// Logits and attention of a head.
///
/// # Errors
/// A model that fails, or a modality that the head reads and that is not there.
pub fn ask(head: &PictureHead, encodings: &Encodings) -> Result<(Vec<f32>, Vec<f32>), ModelError> {
    let rows = encodings.text.as_deref();
    let (tokens, count) = rows.map_or((&[][..], 0), |t| (t.for_heads(), t.tokens.len()));
    let width = tokens.len().checked_div(count).unwrap_or(WIDTH);
    let (patches, dims) = match &encodings.patches {
        Some(p) => (
            p.values.as_slice(),
            [p.dims[0], p.dims.get(1).copied().unwrap_or(1)],
        ),
        None => (&[][..], [0, 1]),
    };
    head.answer((&[count, width], tokens), (&dims, patches))
}
