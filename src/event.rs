//! What comes out: one event a line, schema `demeanor.event/1`.
//!
//! Fields are only ever added within a schema number; a consumer may ignore what it does
//! not know. Times are seconds of stream time (0 = first sample), latencies milliseconds
//! of compute. An event carries scores, never sound, words of others or identity.

mod aggregate;
mod evidence;
mod parts;
mod stamp;
mod state;

use serde::Serialize;
use serde_json::{Map, Value, json};

pub use aggregate::Aggregate;
pub use evidence::{Attention, Edge, Evidence, Explanation, Salient};
pub use parts::{Entity, Face, Gap, Latency, Neighbour, Recognised, Word};
pub use stamp::{Stamp, now};
pub use state::{State, StateChange};

/// Name and version of the event's layout.
pub const SCHEMA: &str = "demeanor.event/1";
/// The layout as JSON Schema (draft 2020-12).
pub const JSON_SCHEMA: &str = include_str!("event.schema.json");

/// Which inputs an answer rests on; at least one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Modality {
    /// A voice.
    pub speech: bool,
    /// Words.
    pub text: bool,
    /// A picture as a whole.
    pub image: bool,
    /// A face in a picture.
    pub face: bool,
}

impl Modality {
    /// What of this the other does not hold.
    #[must_use]
    pub fn without(self, other: &Modality) -> Modality {
        Modality {
            speech: self.speech && !other.speech,
            text: self.text && !other.text,
            image: self.image && !other.image,
            face: self.face && !other.face,
        }
    }

    /// The name used in events: `speech+text`, `image+text`, `face`, …
    pub fn name(self) -> String {
        let parts = [
            (self.speech, "speech"),
            (self.image, "image"),
            (self.text, "text"),
            (self.face, "face"),
        ];
        let there: Vec<&str> = parts.iter().filter(|p| p.0).map(|p| p.1).collect();
        there.join("+")
    }
}

impl Serialize for Modality {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

/// One answer about one observation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event {
    /// The task's name.
    pub task: String,
    /// The file or device.
    pub source: String,
    /// Start of the utterance in seconds; `None` for words without sound or time.
    pub start: Option<f64>,
    /// Its end in seconds.
    pub end: Option<f64>,
    /// Which utterance of the run it is about, from 1.
    pub utterance: Option<u64>,
    /// The utterance is not over: another answer with its number replaces this one.
    pub partial: bool,
    /// The chosen class, or `unsure`; where names are looked for, the kinds that were found, or
    /// `none`.
    pub label: String,
    /// Calibrated probability of every class, in the bundle's order; sums to 1, but for kinds of
    /// names, which do not exclude each other. Empty where there are no classes to tell apart.
    pub scores: Vec<(String, f32)>,
    /// The same after temporal smoothing, when it is on; the label then rests on these.
    pub smoothed: Option<Vec<(String, f32)>>,
    /// What the answer rests on.
    pub modality: Modality,
    /// `id@version` of the bundle.
    pub bundle: String,
    /// Compute, stage by stage.
    pub latency: Latency,
    /// Whose face, in an answer about one.
    pub face: Option<Face>,
    /// What the image shows, the likeliest first, where that counted.
    pub words: Vec<Word>,
    /// The words that were said, where a recogniser heard them and they counted.
    pub recognised: Option<Recognised>,
    /// Remembered items that decided it, the nearest first.
    pub neighbours: Vec<Neighbour>,
    /// Names in the words, in their order; `None` of a task that looks for none.
    pub entities: Option<Vec<Entity>>,
    /// Holes in the sound.
    pub gaps: Vec<Gap>,
    /// What the reader should know: a missing modality, a cut, clipping.
    pub notes: Vec<String>,
    /// Salient tokens and frames, when asked for.
    pub explain: Option<Explanation>,
    /// What it was made from, when asked for.
    pub evidence: Evidence,
}

impl Event {
    /// The event as one JSON object.
    pub fn to_json(&self) -> Value {
        let mut event = Map::new();
        event.insert("schema".into(), json!(SCHEMA));
        event.insert("task".into(), json!(self.task));
        event.insert("source".into(), json!(self.source));
        event.insert("start".into(), json!(self.start.map(milli)));
        event.insert("end".into(), json!(self.end.map(milli)));
        if let Some(utterance) = self.utterance {
            event.insert("utterance".into(), json!(utterance));
        }
        if self.partial {
            event.insert("partial".into(), json!(true));
        }
        event.insert("label".into(), json!(self.label));
        event.insert("scores".into(), scores_json(&self.scores));
        if let Some(smoothed) = &self.smoothed {
            event.insert("smoothed".into(), scores_json(smoothed));
        }
        event.insert("modality".into(), json!(self.modality));
        event.insert("bundle".into(), json!(self.bundle));
        event.insert("latency_ms".into(), self.latency.to_json());
        if let Some(face) = &self.face {
            event.insert("face".into(), face.to_json());
        }
        let shown: Vec<Value> = self.words.iter().map(Word::to_json).collect();
        if let Some(recognised) = &self.recognised {
            let mut words = recognised.to_json();
            if !shown.is_empty() {
                words.insert("shown".into(), json!(shown));
            }
            event.insert("words".into(), Value::Object(words));
        } else if !shown.is_empty() {
            event.insert("words".into(), json!(shown));
        }
        if !self.neighbours.is_empty() {
            let near: Vec<Value> = self.neighbours.iter().map(Neighbour::to_json).collect();
            event.insert("neighbours".into(), json!(near));
        }
        if let Some(entities) = &self.entities {
            let entities: Vec<Value> = entities.iter().map(Entity::to_json).collect();
            event.insert("entities".into(), json!(entities));
        }
        let gaps: Vec<Value> = self.gaps.iter().map(|gap| gap.to_json()).collect();
        event.insert("gaps".into(), json!(gaps));
        event.insert("notes".into(), json!(self.notes));
        if let Some(explain) = &self.explain {
            event.insert("explain".into(), explain.to_json());
        }
        Value::Object(event)
    }
}

/// Somebody came into sight, or went out of it. Nobody is recognised: the numbers are those of
/// [`Face::id`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faces {
    /// The file or device.
    pub source: String,
    /// Stream time in seconds; `None` for an image without one.
    pub at: Option<f64>,
    /// Faces that are in sight now.
    pub ids: Vec<u32>,
    /// Those that have just come.
    pub came: Vec<u32>,
    /// Those that have just gone.
    pub left: Vec<u32>,
}

impl Faces {
    /// The change as one JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "task": "faces",
            "source": self.source,
            "start": self.at.map(milli),
            "count": self.ids.len(),
            "ids": self.ids,
            "change": { "came": self.came, "left": self.left },
        })
    }
}

fn scores_json(scores: &[(String, f32)]) -> Value {
    let entries = scores
        .iter()
        .map(|(label, p)| (label.clone(), json!(decimals(f64::from(*p), 4))));
    Value::Object(entries.collect())
}

/// Three decimals: milliseconds of a second, microseconds of a millisecond.
fn milli(value: f64) -> f64 {
    decimals(value, 3)
}

fn decimals(value: f64, places: i32) -> f64 {
    let unit = 10f64.powi(places);
    (value * unit).round() / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimals_that_mean_something() {
        let event = Event {
            start: Some(0.1 + 0.2),
            gaps: vec![Gap {
                at: 1.0 / 3.0,
                seconds: 0.1 + 0.2,
            }],
            explain: Some(Explanation {
                tokens: vec![Salient::Token {
                    token: "x".into(),
                    similarity: 0.527,
                }],
                frames: vec![Salient::Frame {
                    at: 2.0 / 3.0,
                    similarity: -0.1,
                }],
            }),
            ..Event::default()
        };
        let text = event.to_json().to_string();
        for part in [
            "\"start\":0.3,",
            "{\"at\":0.333,\"seconds\":0.3}",
            "{\"token\":\"x\",\"similarity\":0.527}",
            "{\"at\":0.667,\"similarity\":-0.1}",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
