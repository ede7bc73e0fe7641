//! From a pair of sound and words to an event; what `analyze` and `run` share.

use crate::Error;
use crate::decision::{Smoother, choose, top};
use crate::event::{Event, Gap, Modality};
use crate::model::Bundle;
use crate::model::manifest::Task;
use crate::signal::segment::{self, Utterance};
use crate::tasks::emotion::{Answer, Emotion, Encodings, Input, Words};
use crate::tasks::pair::{Pair, span};
use crate::tasks::words::TextTrunk;
use crate::text::{History, HistoryLimits};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A share of clipped samples that a reader should know of.
const CLIPPING: f64 = 0.01;

/// Tasks that are to be answered; written as a list of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Tasks {
    /// From voice, words and faces.
    pub emotion: bool,
    /// From pictures with their words.
    pub sentiment: bool,
    /// From faces.
    pub expression: bool,
}

impl Tasks {
    /// All of them.
    pub const ALL: Tasks = Tasks {
        emotion: true,
        sentiment: true,
        expression: true,
    };
    /// What voice, words and faces express.
    pub const EMOTION: Tasks = Tasks {
        emotion: true,
        sentiment: false,
        expression: false,
    };
    /// What is there to be seen, and nothing inferred from it.
    pub const EXPRESSIONS: Tasks = Tasks {
        emotion: false,
        sentiment: false,
        expression: true,
    };

    /// Reads `emotion,sentiment`.
    ///
    /// # Errors
    /// A name that is no task, in a sentence.
    pub fn parse(text: &str) -> Result<Tasks, String> {
        let names: Vec<String> = text.split(',').map(String::from).collect();
        Tasks::try_from(names)
    }
}

impl TryFrom<Vec<String>> for Tasks {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Tasks, String> {
        let mut tasks = Tasks {
            emotion: false,
            sentiment: false,
            expression: false,
        };
        for name in &names {
            match name.trim() {
                "emotion" => tasks.emotion = true,
                "sentiment" => tasks.sentiment = true,
                "expression" => tasks.expression = true,
                other => {
                    let known = Task::ALL.map(Task::name).join(", ");
                    return Err(format!("`{other}` is no task; known are {known}"));
                }
            }
        }
        if names.is_empty() {
            return Err("no task is named".into());
        }
        Ok(tasks)
    }
}

/// How answers are to be given.
#[derive(Debug, Clone, PartialEq)]
pub struct Manner {
    /// Half-life of smoothing in seconds; 0 is off.
    pub smooth: f64,
    /// Overrides the bundle's own threshold.
    pub unsure_below: Option<f32>,
    /// Adds salient tokens and frames.
    pub explain: bool,
    /// Seconds of silence after which the dialogue is forgotten.
    pub forget: f64,
    /// Voice may be judged; off at work and at school.
    pub voice: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Manner {
            smooth: 0.0,
            unsure_below: None,
            explain: false,
            forget: 60.0,
            voice: true,
        }
    }
}

/// The task with everything that it remembers between utterances.
pub struct Answerer {
    emotion: Emotion,
    history: History,
    smoother: Smoother,
    manner: Manner,
    unsure_below: f32,
}

impl Answerer {
    /// Answers once about nothing, so that every model is warm and known to work.
    ///
    /// # Errors
    /// A model that fails.
    pub fn rehearse(&mut self) -> Result<(), Error> {
        Ok(self.emotion.rehearse().map(drop)?)
    }

    /// Loads the bundle that answers `emotion`, from `models` or from the binary.
    ///
    /// # Errors
    /// A bundle that is missing or refused.
    pub fn load(models: Option<&Path>, manner: Manner) -> Result<Self, Error> {
        let bundle = Bundle::find(Task::Emotion, models)?;
        let emotion = Emotion::load(&bundle)?;
        let mut answerer = Answerer {
            unsure_below: manner
                .unsure_below
                .unwrap_or(emotion.decision().unsure_below),
            emotion,
            history: History::new(HistoryLimits::default()),
            smoother: Smoother::new(manner.smooth),
            manner,
        };
        answerer.restart();
        Ok(answerer)
    }

    /// A new stream: the dialogue and the moving average start afresh.
    pub fn restart(&mut self) {
        let limits = HistoryLimits {
            silence: Duration::from_secs_f64(self.manner.forget),
            ..HistoryLimits::default()
        };
        self.history = History::new(limits);
        self.smoother = Smoother::new(self.manner.smooth);
    }

    /// Words said before the stream began.
    pub fn remember(&mut self, text: &str, at: f64) {
        self.history
            .push(text, Duration::from_secs_f64(at.max(0.0)));
    }

    /// The text trunk, for tasks that share it.
    pub fn text(&self) -> &Arc<TextTrunk> {
        self.emotion.text()
    }

    /// Class names in the order of the scores.
    pub fn labels(&self) -> &[String] {
        self.emotion.labels()
    }

    /// Answers; `now` is the stream time of words without sound, `face` what a face adds: a
    /// probability a class, of a sum below 1 by what the face gives to other expressions.
    /// `None` when no modality holds anything to go by.
    ///
    /// Late fusion: the face's share counts once beside the other modalities' answer, which
    /// counts once, so `p = (p_other + p_face) / (1 + Σ p_face)`.
    ///
    /// # Errors
    /// A model that fails.
    pub fn answer(
        &mut self,
        source: &str,
        pair: &Pair,
        now: f64,
        face: Option<&[f32]>,
    ) -> Result<Option<Event>, Error> {
        let times = pair.utterance.as_ref().map(span);
        let at = times.map_or(now, |t| t.1);
        let clock = Duration::from_secs_f64(at.max(0.0));
        let history: Vec<String> = self
            .history
            .recall(clock)
            .into_iter()
            .map(String::from)
            .collect();
        let speech = pair.utterance.as_ref().filter(|_| self.manner.voice);
        let input = Input {
            speech: speech.map(|u| u.samples.as_slice()),
            words: pair.text.as_deref().map(|text| Words {
                text,
                history: &history,
            }),
        };
        let encodings = self.emotion.encode(&input)?;
        if let Some(text) = &pair.text {
            self.history.push(text, clock);
        }
        let answer = match self.emotion.answer(&encodings)? {
            Some(answer) => answer.with_face(face),
            None => match face.and_then(Answer::of_face) {
                Some(answer) => answer,
                None => return Ok(None),
            },
        };
        let smoothed = self.smoother.push(at, &answer.scores);
        let decisive = smoothed.as_deref().unwrap_or(&answer.scores);
        let label =
            choose(decisive, self.unsure_below).map_or("unsure", |i| &self.emotion.labels()[i]);
        let explain = match top(decisive).filter(|_| self.manner.explain) {
            Some(class) => {
                let (start, end) = times.unwrap_or((now, now));
                Some(
                    self.emotion
                        .explain(&encodings, &answer, class, (start, end - start))?,
                )
            }
            None => None,
        };
        Ok(Some(Event {
            task: Task::Emotion.name(),
            source: source.into(),
            start: times.map(|t| t.0),
            end: times.map(|t| t.1),
            label: label.into(),
            scores: labelled(self.labels(), &answer.scores),
            smoothed: smoothed.as_deref().map(|s| labelled(self.labels(), s)),
            modality: answer.modality,
            bundle: self.emotion.bundle().into(),
            latency: answer.latency,
            face: None,
            gaps: gaps(pair.utterance.as_ref()),
            notes: self.notes(pair, &encodings, answer.modality),
            explain,
        }))
    }

    fn notes(&self, pair: &Pair, encodings: &Encodings, on: Modality) -> Vec<String> {
        let mut notes = Vec::new();
        match (on.speech, on.text) {
            (true, false) => notes.push("no text: speech-only head".into()),
            (false, true) if !self.manner.voice => {
                notes.push("voice emotion is off in this setting: text-only head".into());
            }
            (false, true) => notes.push("no speech: text-only head".into()),
            _ => {}
        }
        if on.face {
            notes.push(
                "a face counts as much as all else together, by what it shows of these classes"
                    .into(),
            );
        }
        if encodings.text.as_ref().is_some_and(|t| t.truncated) {
            notes.push("text is longer than the model takes: its beginning was judged".into());
        }
        if let Some(utterance) = &pair.utterance {
            if utterance.cut {
                notes.push("utterance was cut at its maximum length".into());
            }
            let clipped = clipped_fraction(&utterance.samples);
            if clipped > CLIPPING {
                notes.push(format!(
                    "{:.0}% of the samples are clipped: lower the input level",
                    100.0 * clipped
                ));
            }
        }
        notes
    }
}

/// Scores with the names of their classes.
pub(super) fn labelled(labels: &[String], scores: &[f32]) -> Vec<(String, f32)> {
    labels.iter().cloned().zip(scores.iter().copied()).collect()
}

fn gaps(utterance: Option<&Utterance>) -> Vec<Gap> {
    let Some(utterance) = utterance else {
        return Vec::new();
    };
    let gap = |g: &segment::Gap| Gap {
        at: (utterance.start + g.at).as_secs_f64(),
        seconds: g.length.as_secs_f64(),
    };
    utterance.gaps.iter().map(gap).collect()
}

/// Share of samples at full scale.
fn clipped_fraction(samples: &[f32]) -> f64 {
    let clipped = samples.iter().filter(|s| s.abs() >= 0.999).count();
    clipped as f64 / samples.len().max(1) as f64
}
