//! LE-MER: angry, happy, sad or neutral from a voice and its words (SPEC §5).
//!
//! Each encoder runs at most once an utterance and carries a head of its own, so a missing
//! modality costs nothing and is answered by the head that was trained for it.

use crate::decision::{average, softmax};
use crate::event::{Explanation, Latency, Modality, Salient};
use crate::fusion::salient;
use crate::model::manifest::{Decision, Role};
use crate::model::{Bundle, Encoded, Fused, FusionModel, ModelError, SpeechModel, TextModel};
use crate::signal::mel::Mel;
use crate::signal::{SAMPLE_RATE, mel::HOP};
use crate::text::Tokenizer;
use std::time::Instant;

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
    /// H_t (rows of the utterance alone, no history) and the text-only logits.
    pub text: Option<Encoded>,
    /// The utterance's tokens, a row of H_t each.
    pub tokens: Vec<String>,
    /// The text was longer than the encoder takes, and was cut.
    pub truncated: bool,
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

/// The task, ready to answer.
pub struct Emotion {
    name: String,
    labels: Vec<String>,
    decision: Decision,
    max_samples: usize,
    max_tokens: usize,
    tokenizer: Tokenizer,
    mel: Mel,
    speech: SpeechModel,
    text: TextModel,
    fusion: FusionModel,
}

impl Emotion {
    /// Loads every model of the bundle.
    ///
    /// # Errors
    /// A file that is missing, refused, or claims more than it does.
    pub fn load(bundle: &Bundle) -> Result<Self, ModelError> {
        let manifest = &bundle.manifest;
        Ok(Emotion {
            name: bundle.name(),
            labels: manifest.labels.clone(),
            decision: manifest.decision.clone(),
            max_samples: (manifest.speech.max_seconds * SAMPLE_RATE as f32) as usize,
            max_tokens: manifest.text.max_tokens,
            tokenizer: tokenizer(bundle)?,
            mel: Mel::new(),
            speech: SpeechModel::load(bundle)?,
            text: TextModel::load(bundle)?,
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
            self.encode_text(words, &mut out)?;
        }
        Ok(out)
    }

    /// Answers with the best head for what was encoded; `None` without any modality.
    ///
    /// # Errors
    /// A model that fails.
    pub fn answer(&self, encodings: &Encodings) -> Result<Option<Answer>, ModelError> {
        let mut latency = encodings.latency;
        let t = &self.decision.temperature;
        let (scores, modality, fused) = match (&encodings.speech, &encodings.text) {
            (Some(speech), Some(text)) => {
                let fused = timed(&mut latency.fusion, || {
                    self.fusion.fuse(&text.rows, &speech.rows)
                })?;
                (
                    softmax(&fused.logits, t.fused),
                    Modality::SpeechText,
                    Some(fused),
                )
            }
            (Some(speech), None) => (softmax(&speech.logits, t.speech), Modality::Speech, None),
            (None, Some(text)) => (softmax(&text.logits, t.text), Modality::Text, None),
            (None, None) => return Ok(None),
        };
        Ok(Some(Answer {
            scores,
            modality,
            latency,
            fused,
        }))
    }

    /// Score fusion, ½(p_t + p_s): the simplest joint answer, kept as a yardstick.
    pub fn score_fusion(&self, speech: &Encoded, text: &Encoded) -> Vec<f32> {
        let t = &self.decision.temperature;
        average(
            &softmax(&speech.logits, t.speech),
            &softmax(&text.logits, t.text),
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
        let similar = match (&answer.fused, &encodings.speech, &encodings.text) {
            (Some(fused), ..) => fused.clone(),
            // G_t rests on the text rows alone and G_s on the speech rows alone, so one
            // modality may stand in for the other; only its own half is read below
            (None, Some(rows), _) | (None, None, Some(rows)) => {
                self.fusion.fuse(&rows.rows, &rows.rows)?
            }
            (None, None, None) => return Ok(Explanation::default()),
        };
        let mut explanation = Explanation::default();
        if encodings.text.is_some() {
            explanation.tokens = salient_tokens(&similar.g_text, class, &encodings.tokens);
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

    fn encode_text(&mut self, words: Words, out: &mut Encodings) -> Result<(), ModelError> {
        let history: Vec<&str> = words.history.iter().map(String::as_str).collect();
        let tokens = timed(&mut out.latency.tokens, || {
            self.tokenizer.encode(words.text, &history, self.max_tokens)
        });
        // [CLS] and [SEP] alone are no words
        if tokens.text_len <= 2 {
            return Ok(());
        }
        let mut encoded = timed(&mut out.latency.text, || {
            self.text.encode(&tokens.ids, &tokens.types)
        })?;
        encoded
            .rows
            .truncate(tokens.text_len * crate::fusion::WIDTH);
        out.tokens = tokens.pieces;
        out.truncated = tokens.truncated;
        out.text = Some(encoded);
        Ok(())
    }
}

fn tokenizer(bundle: &Bundle) -> Result<Tokenizer, ModelError> {
    let refused = |name: &str, what: String| ModelError::Refused {
        name: name.into(),
        what,
    };
    let (name, bytes) = bundle
        .bytes(Role::Vocab)
        .ok_or_else(|| refused("vocab", "is not in the bundle".into()))?;
    let text = std::str::from_utf8(bytes).map_err(|e| refused(name, e.to_string()))?;
    Tokenizer::from_vocab(text).map_err(|e| refused(name, e.to_string()))
}

/// Running mean of the logits, rows one after the other; `count` includes `next`.
fn join(mut all: Encoded, next: Encoded, count: f32) -> Encoded {
    all.rows.extend(next.rows);
    for (mean, logit) in all.logits.iter_mut().zip(next.logits) {
        *mean += (logit - *mean) / count;
    }
    all
}

/// Runs `work` and adds its milliseconds to `stage`.
fn timed<T>(stage: &mut Option<f64>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *stage = Some(stage.unwrap_or(0.0) + start.elapsed().as_secs_f64() * 1e3);
    result
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
