//! LE-MER: angry, happy, sad or neutral from a voice and its words (SPEC §5).
//!
//! Each encoder runs at most once an utterance and carries a head of its own, so a missing
//! modality costs nothing and is answered by the head that was trained for it.

use super::timed;
use super::words::{TextRows, TextTrunk};
use crate::decision::{average, softmax};
use crate::event::{Explanation, Latency, Modality, Salient};
use crate::fusion::salient;
use crate::model::manifest::{Decision, Head, Inputs, Role, Task};
use crate::model::{Bundle, Encoded, Fused, FusionModel, ModelError, SpeechModel};
use crate::signal::mel::Mel;
use crate::signal::{SAMPLE_RATE, mel::HOP};
use std::sync::Arc;

/// Sound shorter than this has no answer; 0.1 s.
pub const MIN_SAMPLES: usize = SAMPLE_RATE as usize / 10;

/// Rows that `--explain` lists, of each modality.
const SALIENT: usize = 5;

/// Words with the dialogue before them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Words<'a> {
    /// What was said.
    pub text: &'a str,
    /// Earlier utterances, oldest first; the last five count.
    pub history: &'a [String],
}

/// What is known of one utterance. At least one modality, or there is no answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Input<'a> {
    /// 16 kHz mono, -1..1, finite.
    pub speech: Option<&'a [f32]>,
    /// The words.
    pub words: Option<Words<'a>>,
}

/// What the encoders made of an utterance.
#[derive(Debug, Clone, Default)]
pub struct Encodings {
    /// H_s and the speech-only logits.
    pub speech: Option<Encoded>,
    /// H_t (rows of the utterance alone, no history), its tokens and the text-only logits.
    pub text: Option<Arc<TextRows>>,
    /// Compute so far.
    pub latency: Latency,
}

/// Calibrated scores of one utterance.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Probabilities in the order of the labels; sum to 1.
    pub scores: Vec<f32>,
    /// What they rest on.
    pub modality: Modality,
    /// Compute, stage by stage.
    pub latency: Latency,
    /// The fusion head's G_t and G_s, when both modalities were there.
    pub fused: Option<Fused>,
}

impl Answer {
    /// The answer with a face beside it: `face` holds a probability a class, of a sum below 1
    /// by what the face gives to expressions that are no class here. Late fusion on
    /// probabilities: `p = (p_other + p_face) / (1 + Σ p_face)`.
    #[must_use]
    pub fn with_face(mut self, face: Option<&[f32]>) -> Answer {
        let Some(face) = face.filter(|f| f.len() == self.scores.len()) else {
            return self;
        };
        let share = 1.0 + face.iter().sum::<f32>();
        for (score, face) in self.scores.iter_mut().zip(face) {
            *score = (*score + face) / share;
        }
        self.modality.face = true;
        self
    }

    /// A face alone; `None` if it mostly shows what is no class here.
    #[must_use]
    pub fn of_face(face: &[f32]) -> Option<Answer> {
        let sum: f32 = face.iter().sum();
        (sum >= 0.5).then(|| Answer {
            scores: face.iter().map(|p| p / sum).collect(),
            modality: Modality {
                face: true,
                ..Modality::default()
            },
            latency: Latency::default(),
            fused: None,
        })
    }
}

/// The task, ready to answer.
pub struct Emotion {
    name: String,
    labels: Vec<String>,
    decision: Decision,
    max_samples: usize,
    max_tokens: usize,
    mel: Mel,
    speech: SpeechModel,
    text: Arc<TextTrunk>,
    fusion: FusionModel,
}

impl Emotion {
    /// Loads every model of the bundle.
    ///
    /// # Errors
    /// A file that is missing, refused, or claims more than it does.
    pub fn load(bundle: &Bundle) -> Result<Self, ModelError> {
        let manifest = &bundle.manifest;
        let Inputs::Emotion { speech, text } = &manifest.inputs else {
            return Err(bundle.answers_another(Task::Emotion));
        };
        Ok(Emotion {
            name: bundle.name(),
            labels: manifest.labels.clone(),
            decision: manifest.decision.clone(),
            max_samples: (speech.max_seconds * SAMPLE_RATE as f32) as usize,
            max_tokens: text.max_tokens,
            mel: Mel::new(),
            speech: SpeechModel::load(bundle)?,
            text: TextTrunk::load(bundle)?,
            fusion: FusionModel::load(bundle, Role::Fusion)?,
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

    /// The text trunk, for heads of other tasks that read its rows.
    pub fn text(&self) -> &Arc<TextTrunk> {
        &self.text
    }

    /// How scores become a decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Runs the encoders of whatever modality is there. Sound under [`MIN_SAMPLES`] and
    /// text without a word count as absent.
    ///
    /// # Errors
    /// A model that fails.
    pub fn encode(&mut self, input: &Input) -> Result<Encodings, ModelError> {
        let mut out = Encodings::default();
        if let Some(samples) = input.speech.filter(|s| s.len() >= MIN_SAMPLES) {
            out.speech = Some(self.encode_speech(samples, &mut out.latency)?);
        }
        if let Some(words) = input.words.filter(|w| !w.text.trim().is_empty()) {
            let history: Vec<&str> = words.history.iter().map(String::as_str).collect();
            let latency = &mut out.latency;
            out.text = self
                .text
                .encode(words.text, &history, self.max_tokens, latency)?;
        }
        Ok(out)
    }

    /// Answers with the best head for what was encoded; `None` without any modality.
    ///
    /// # Errors
    /// A model that fails.
    pub fn answer(&self, encodings: &Encodings) -> Result<Option<Answer>, ModelError> {
        let mut latency = encodings.latency;
        let (logits, head, fused) = match (&encodings.speech, &encodings.text) {
            (Some(speech), Some(text)) => {
                let fused = timed(&mut latency.fusion, || {
                    self.fusion.fuse(&text.rows, &speech.rows)
                })?;
                (fused.logits.clone(), Head::Fused, Some(fused))
            }
            (Some(speech), None) => (speech.logits.clone(), Head::Speech, None),
            (None, Some(text)) => (text.logits.clone(), Head::Text, None),
            (None, None) => return Ok(None),
        };
        let scores = softmax(&logits, self.decision.temperature(head));
        let modality = Modality {
            speech: encodings.speech.is_some(),
            text: encodings.text.is_some(),
            ..Modality::default()
        };
        Ok(Some(Answer {
            scores,
            modality,
            latency,
            fused,
        }))
    }

    /// Score fusion, ½(p_t + p_s): the simplest joint answer, kept as a yardstick.
    pub fn score_fusion(&self, speech: &Encoded, text: &TextRows) -> Vec<f32> {
        let t = |head| self.decision.temperature(head);
        average(
            &softmax(&speech.logits, t(Head::Speech)),
            &softmax(&text.logits, t(Head::Text)),
        )
    }

    /// The tokens and frames most similar to class `class`, for `--explain`. `start` is the
    /// utterance's stream time in seconds, `seconds` its length.
    ///
    /// # Errors
    /// A model that fails.
    pub fn explain(
        &self,
        encodings: &Encodings,
        answer: &Answer,
        class: usize,
        (start, seconds): (f64, f64),
    ) -> Result<Explanation, ModelError> {
        // G_t rests on the text rows alone and G_s on the speech rows alone, so one
        // modality may stand in for the other; only its own half is read below
        let alone = |rows: &[f32]| self.fusion.fuse(rows, rows);
        let similar = match (&answer.fused, &encodings.speech, &encodings.text) {
            (Some(fused), ..) => fused.clone(),
            (None, Some(speech), _) => alone(&speech.rows)?,
            (None, None, Some(text)) => alone(&text.rows)?,
            (None, None, None) => return Ok(Explanation::default()),
        };
        let mut explanation = Explanation::default();
        if let Some(text) = &encodings.text {
            explanation.tokens = salient_tokens(&similar.g_text, class, &text.tokens);
        }
        if encodings.speech.is_some() {
            explanation.frames = salient_frames(&similar.g_speech, class, start, seconds);
        }
        Ok(explanation)
    }

    /// Sound longer than the encoder takes is cut into equal windows: H_s is all their
    /// rows, the logits are their mean.
    fn encode_speech(
        &mut self,
        samples: &[f32],
        latency: &mut Latency,
    ) -> Result<Encoded, ModelError> {
        let windows = samples.len().div_ceil(self.max_samples).max(1);
        // a whole number of hops, so that no window loses a frame at its border
        let length = samples.len().div_ceil(windows).next_multiple_of(HOP);
        let mut all: Option<Encoded> = None;
        let mut count = 0.0;
        for window in samples.chunks(length).filter(|w| w.len() >= MIN_SAMPLES) {
            let mel = timed(&mut latency.mel, || self.mel.log_mel(window));
            let encoded = timed(&mut latency.speech, || {
                self.speech.encode(&mel.data, mel.frames)
            })?;
            count += 1.0;
            all = Some(match all {
                None => encoded,
                Some(before) => join(before, encoded, count),
            });
        }
        all.ok_or_else(|| ModelError::Run {
            name: "speech".into(),
            what: "got no sound".into(),
        })
    }
}

/// Running mean of the logits, rows one after the other; `count` includes `next`.
fn join(mut all: Encoded, next: Encoded, count: f32) -> Encoded {
    all.rows.extend(next.rows);
    for (mean, logit) in all.logits.iter_mut().zip(next.logits) {
        *mean += (logit - *mean) / count;
    }
    all
}

/// The strongest real tokens; `[CLS]` and `[SEP]` say nothing to a reader.
fn salient_tokens(g: &[f32], class: usize, tokens: &[String]) -> Vec<Salient> {
    let rows = salient(g, class, tokens.len());
    let real = rows
        .into_iter()
        .filter(|r| !tokens[r.index].starts_with('['));
    real.take(SALIENT)
        .map(|r| Salient::Token {
            token: tokens[r.index].clone(),
            similarity: r.similarity,
        })
        .collect()
}

fn salient_frames(g: &[f32], class: usize, start: f64, seconds: f64) -> Vec<Salient> {
    let frames = (g.len() / crate::fusion::CLASSES).max(1) as f64;
    let at = |index: usize| start + (index as f64 + 0.5) / frames * seconds;
    salient(g, class, SALIENT)
        .into_iter()
        .map(|r| Salient::Frame {
            at: at(r.index),
            similarity: r.similarity,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(scores: [f32; 4]) -> Answer {
        Answer {
            scores: scores.to_vec(),
            modality: Modality::default(),
            latency: Latency::default(),
            fused: None,
        }
    }

    #[test]
    fn a_face_counts_by_what_it_says_in_these_classes() {
        let words = [0.1, 0.6, 0.1, 0.2];
        let fused = said(words).with_face(Some(&[0.8, 0.0, 0.1, 0.1]));
        assert!((fused.scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((fused.scores[0] - 0.45).abs() < 1e-6 && fused.modality.face);
        // surprise says nothing about these four
        let surprised = said(words).with_face(Some(&[0.0; 4]));
        assert_eq!(surprised.scores, words);
        assert_eq!(said(words).with_face(None).scores, words);
    }

    #[test]
    fn a_face_alone_answers_if_it_shows_one_of_the_classes() {
        let happy = Answer::of_face(&[0.0, 0.6, 0.0, 0.2]).map(|a| a.scores);
        assert_eq!(happy.map(|s| s[1] > 0.74), Some(true));
        assert!(Answer::of_face(&[0.1, 0.1, 0.1, 0.1]).is_none());
    }
}
