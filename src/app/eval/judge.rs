//! Runs every system of the paper's tables on one item.

use super::table::Row;
use crate::app::analyze::wait;
use crate::capture::{CaptureError, open_audio};
use crate::decision::softmax;
use crate::event::Modality;
use crate::model::manifest::{Head, Role};
use crate::model::{Bundle, Encoded, FusionModel, ModelError};
use crate::signal::{SAMPLE_RATE, segment};
use crate::tasks::emotion::{Emotion, Encodings, Input, Words};
use crate::tasks::words::TextRows;
use std::path::Path;

/// A row of the paper's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// The text encoder's own head.
    TextOnly,
    /// The speech encoder's own head.
    SpeechOnly,
    /// ½(p_t + p_s).
    ScoreFusion,
    /// Learned attention, trained without the constraint.
    ArOnly,
    /// Label attention alone.
    AlOnly,
    /// Learned attention trained with the constraint: what ships.
    Constraint,
}

impl System {
    /// The row's name.
    pub fn name(self) -> &'static str {
        match self {
            System::TextOnly => "text-only",
            System::SpeechOnly => "speech-only",
            System::ScoreFusion => "score fusion",
            System::ArOnly => "A_r only",
            System::AlOnly => "A_l only",
            System::Constraint => "attention constraint",
        }
    }
}

/// What one flavour (int8 or fp32) says of one item.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Calibrated scores with every modality that the item offers.
    pub shipped: Vec<f32>,
    /// What those rest on.
    pub modality: Modality,
    /// Scores of each system that the item's modalities allow.
    pub systems: Vec<(System, Vec<f32>)>,
    /// Compute of the shipped answer, in milliseconds.
    pub millis: f64,
}

/// An item that could not be judged, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Unjudged {
    /// Its sound.
    #[error(transparent)]
    Sound(#[from] CaptureError),
    /// A model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Nothing to go by.
    #[error("neither sound nor words; fill `audio` or `text`")]
    Empty,
}

/// A bundle with its ablations.
pub struct Judge {
    emotion: Emotion,
    ablations: Vec<(System, FusionModel)>,
}

impl Judge {
    /// Loads the bundle and the ablation heads that it carries.
    ///
    /// # Errors
    /// A bundle that is refused.
    pub fn load(bundle: &Bundle) -> Result<Judge, ModelError> {
        let roles = [
            (System::ArOnly, Role::FusionAr),
            (System::AlOnly, Role::FusionAl),
        ];
        let carried = roles
            .into_iter()
            .filter(|(_, role)| bundle.manifest.file(*role).is_some());
        let ablations = carried
            .map(|(system, role)| Ok((system, FusionModel::load(bundle, role)?)))
            .collect::<Result<_, ModelError>>()?;
        Ok(Judge {
            emotion: Emotion::load(bundle)?,
            ablations,
        })
    }

    /// Answers one item with every system that its modalities allow.
    ///
    /// # Errors
    /// An item without modality, or a model that fails.
    pub fn judge(&mut self, samples: Option<&[f32]>, row: &Row) -> Result<Verdict, Unjudged> {
        let words = row.text.as_deref().map(|text| Words {
            text,
            history: &row.history,
        });
        let encodings = self.emotion.encode(&Input {
            speech: samples,
            words,
        })?;
        let answer = self.emotion.answer(&encodings)?.ok_or(Unjudged::Empty)?;
        Ok(Verdict {
            systems: self.systems(&encodings, &answer.scores)?,
            shipped: answer.scores,
            modality: answer.modality,
            millis: answer.latency.total(),
        })
    }

    fn systems(
        &self,
        e: &Encodings,
        shipped: &[f32],
    ) -> Result<Vec<(System, Vec<f32>)>, ModelError> {
        let t = |head| self.emotion.decision().temperature(head);
        let mut systems = Vec::new();
        if let Some(text) = &e.text {
            systems.push((System::TextOnly, softmax(&text.logits, t(Head::Text))));
        }
        if let Some(speech) = &e.speech {
            systems.push((System::SpeechOnly, softmax(&speech.logits, t(Head::Speech))));
        }
        if let (Some(speech), Some(text)) = (&e.speech, &e.text) {
            systems.push((System::ScoreFusion, self.emotion.score_fusion(speech, text)));
            systems.extend(self.ablate(speech, text)?);
            systems.push((System::Constraint, shipped.to_vec()));
        }
        Ok(systems)
    }

    fn ablate(
        &self,
        speech: &Encoded,
        text: &TextRows,
    ) -> Result<Vec<(System, Vec<f32>)>, ModelError> {
        let temperature = self.emotion.decision().temperature(Head::Fused);
        let fuse = |(system, head): &(System, FusionModel)| {
            let fused = head.fuse(&text.rows, &speech.rows)?;
            Ok((*system, softmax(&fused.logits, temperature)))
        };
        self.ablations.iter().map(fuse).collect()
    }
}

/// The sound of an item, silence at both ends trimmed; all of it where no speech is
/// found, since every item of a labelled set must be answered.
///
/// # Errors
/// A file that cannot be read or decoded.
pub fn sound(path: &Path) -> Result<Vec<f32>, CaptureError> {
    let mut source = open_audio(path)?;
    let mut samples = Vec::new();
    while let Some(chunk) = wait(source.as_mut())? {
        samples.extend(chunk.samples);
    }
    match segment::trim(&samples) {
        Some(range) => Ok(samples[range].to_vec()),
        None => Ok(samples),
    }
}

/// Seconds of `samples`.
pub fn seconds(samples: &[f32]) -> f64 {
    samples.len() as f64 / f64::from(SAMPLE_RATE)
}
