//! What comes out: one event a line, schema `demeanor.event/1`.
//!
//! Fields are only ever added within a schema number; a consumer may ignore what it does
//! not know. Times are seconds of stream time (0 = first sample), latencies milliseconds
//! of compute. An event carries scores, never sound, words of others or identity.

use crate::model::manifest::Trunk;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Name and version of the event's layout.
pub const SCHEMA: &str = "demeanor.event/1";
/// The layout as JSON Schema (draft 2020-12).
pub const JSON_SCHEMA: &str = include_str!("event.schema.json");

/// What is written beside an answer or a state: which, when and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Counts what this process writes, from 1, in order.
    pub seq: u64,
    /// UTC by the machine's clock; only of what is live.
    pub time: Option<Timestamp>,
    /// Which device; only of what is live.
    pub device: Option<Arc<str>>,
}

impl Stamp {
    /// The object with the stamp behind its `schema`.
    pub fn on(&self, mut object: Value) -> Value {
        if let Value::Object(fields) = &mut object {
            let device = self.device.as_deref().map(|device| json!(device));
            let time = self.time.map(|time| json!(format!("{time:.3}")));
            let stamps = [
                ("device", device),
                ("time", time),
                ("seq", Some(json!(self.seq))),
            ];
            for (name, value) in stamps {
                if let Some(value) = value {
                    fields.shift_insert(1, name.into(), value);
                }
            }
        }
        object
    }
}

/// The time by the machine's clock; `None` where it is set beyond the year 9999.
pub fn now() -> Option<Timestamp> {
    Timestamp::try_from(SystemTime::now()).ok()
}

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

/// Milliseconds of compute, stage by stage; a stage that did not run is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Sound to words, by the recogniser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recognise: Option<f64>,
    /// Resampled sound to log-mel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mel: Option<f64>,
    /// Speech encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speech: Option<f64>,
    /// Tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<f64>,
    /// Text encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<f64>,
    /// Fusion head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fusion: Option<f64>,
    /// Bytes of a camera or a file to pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode: Option<f64>,
    /// Crop, scale and quantise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<f64>,
    /// Image trunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<f64>,
    /// Face detector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detect: Option<f64>,
    /// Expression student.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<f64>,
}

impl Latency {
    /// Sum of all stages, in milliseconds.
    pub fn total(&self) -> f64 {
        let stages = [
            self.recognise,
            self.mel,
            self.speech,
            self.tokens,
            self.text,
            self.fusion,
            self.decode,
            self.resize,
            self.image,
            self.detect,
            self.expression,
        ];
        stages.iter().flatten().sum()
    }
}

/// A face in a picture. The number counts the faces of this session and means nothing
/// beyond it: nobody is recognised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Face {
    /// Number of the track in this session.
    pub id: u32,
    /// Left, top, width and height in pixels of the picture.
    pub place: [f32; 4],
    /// Probability that this is a face, 0..1.
    pub score: f32,
}

impl Face {
    fn to_json(self) -> Value {
        let place = self.place.map(|p| decimals(f64::from(p), 1));
        json!({ "id": self.id, "box": place, "score": decimals(f64::from(self.score), 3) })
    }
}

/// A word for what an image shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// The word.
    pub word: String,
    /// Probability that the image shows it, 0..1; words do not exclude each other.
    pub score: f32,
}

impl Word {
    fn to_json(&self) -> Value {
        json!({ "word": self.word, "score": decimals(f64::from(self.score), 4) })
    }
}

/// Words that a recogniser heard, upon which an answer rests.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognised {
    /// How certain they are, 0..1.
    pub confidence: f32,
    /// The words themselves, where they may be told.
    pub text: Option<String>,
}

impl Recognised {
    fn to_json(&self) -> Map<String, Value> {
        let mut words = Map::new();
        words.insert("from".into(), json!("recognised"));
        let confidence = decimals(f64::from(self.confidence), 4);
        words.insert("confidence".into(), json!(confidence));
        if let Some(text) = &self.text {
            words.insert("text".into(), json!(text));
        }
        words
    }
}

/// A remembered item that had a part in an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbour {
    /// Its number in the memory bank.
    pub id: u64,
    /// What it is.
    pub label: String,
    /// Squared distance of unit vectors, 0..4.
    pub distance: f32,
    /// Its part of the answer, 0..1; those of all that had a vote sum to 1.
    pub share: f32,
    /// Its text, where an operator supplies it.
    pub text: Option<String>,
}

impl Neighbour {
    fn to_json(&self) -> Value {
        let mut neighbour = Map::new();
        // as text: many a reader of JSON keeps no more than 53 bits of a number
        neighbour.insert("id".into(), json!(self.id.to_string()));
        neighbour.insert("label".into(), json!(self.label));
        let distance = decimals(f64::from(self.distance), 4);
        neighbour.insert("distance".into(), json!(distance));
        let share = decimals(f64::from(self.share), 4);
        neighbour.insert("share".into(), json!(share));
        if let Some(text) = &self.text {
            neighbour.insert("text".into(), json!(text));
        }
        Value::Object(neighbour)
    }
}

/// A name in words.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    /// Its first character in the words as they were passed, in Unicode scalar values from 0.
    pub start: usize,
    /// The character behind its last.
    pub end: usize,
    /// What it names: a label of the bundle.
    pub kind: String,
    /// Probability that words of this kind are there times that of these, 0..1.
    pub score: f32,
    /// The words themselves, where they may be told.
    pub text: Option<String>,
    /// Where the image shows it: left, top, width and height in pixels, within the image.
    pub place: Option<[f32; 4]>,
}

impl Entity {
    fn to_json(&self) -> Value {
        let mut entity = Map::new();
        if let Some(text) = &self.text {
            entity.insert("text".into(), json!(text));
        }
        entity.insert("start".into(), json!(self.start));
        entity.insert("end".into(), json!(self.end));
        entity.insert("type".into(), json!(self.kind));
        entity.insert("score".into(), json!(decimals(f64::from(self.score), 4)));
        if let Some(place) = self.place {
            let place = place.map(|p| decimals(f64::from(p), 1));
            entity.insert("box".into(), json!(place));
        }
        Value::Object(entity)
    }
}

/// Samples that never arrived.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// Stream time of the hole, in seconds.
    pub at: f64,
    /// Its length, in seconds.
    pub seconds: f64,
}

impl Gap {
    fn to_json(self) -> Value {
        json!({ "at": milli(self.at), "seconds": milli(self.seconds) })
    }
}

/// A token or a stretch of sound that speaks for the chosen class.
#[derive(Debug, Clone, PartialEq)]
pub enum Salient {
    /// A piece of the text.
    Token {
        /// The piece as the tokenizer cut it.
        token: String,
        /// Cosine similarity G_t to the class's label embedding, -1..1.
        similarity: f32,
    },
    /// A stretch of the utterance.
    Frame {
        /// Seconds of stream time.
        at: f64,
        /// Cosine similarity G_s to the class's label embedding, -1..1.
        similarity: f32,
    },
}

/// Why: the rows of G_t and G_s that are most similar to the chosen class.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Explanation {
    /// Salient tokens, strongest first.
    pub tokens: Vec<Salient>,
    /// Salient frames, strongest first.
    pub frames: Vec<Salient>,
}

impl Explanation {
    fn to_json(&self) -> Value {
        let mut rows = Map::new();
        for (name, salient) in [("tokens", &self.tokens), ("frames", &self.frames)] {
            if !salient.is_empty() {
                let of: Vec<Value> = salient.iter().map(Salient::to_json).collect();
                rows.insert(name.into(), json!(of));
            }
        }
        Value::Object(rows)
    }
}

impl Salient {
    /// Three decimals: nobody reads more of a similarity or a time.
    fn to_json(&self) -> Value {
        let short = |x: f32| milli(f64::from(x));
        match self {
            Salient::Token { token, similarity } => {
                json!({ "token": token, "similarity": short(*similarity) })
            }
            Salient::Frame { at, similarity } => {
                json!({ "at": milli(*at), "similarity": short(*similarity) })
            }
        }
    }
}

/// Where the words looked in the image: `[tokens, patches]`, rows sum to 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attention {
    /// Weights, row-major; exact zeros where a token did not look.
    pub weights: Vec<f32>,
    /// Patches on a side of the image.
    pub side: usize,
}

/// What a word and a word for what the image shows have to do with an answer together.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// A word of the text, in lower case.
    pub word: String,
    /// What the image shows.
    pub shown: String,
    /// Its part of what passes between words and picture words, 0..1; the sum of all is 1.
    pub share: f32,
}

/// What an answer was made from: for pages and reports, never written out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// The words as the text trunk saw them; `[CLS]` first, `[SEP]` last.
    pub tokens: Vec<String>,
    /// Where the tokens looked.
    pub attention: Option<Attention>,
    /// The edges between words and picture words that weighed most, the heaviest first.
    pub edges: Vec<Edge>,
    /// Scores of every head that could answer, by its name.
    pub heads: Vec<(String, Vec<f32>)>,
    /// Names that every head found which could answer, by its name.
    pub entities: Vec<(String, Vec<Entity>)>,
    /// Mean row of each trunk that ran.
    pub pooled: Vec<(Trunk, Vec<f32>)>,
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
        event.insert("label".into(), json!(self.label));
        event.insert("scores".into(), scores_json(&self.scores));
        if let Some(smoothed) = &self.smoothed {
            event.insert("smoothed".into(), scores_json(smoothed));
        }
        event.insert("modality".into(), json!(self.modality));
        event.insert("bundle".into(), json!(self.bundle));
        event.insert("latency_ms".into(), latency_json(&self.latency));
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

/// What a source, the lamp, the button or a part of the service is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The notice: visitors or customers.
    Public,
    /// The notice: people who agreed to take part.
    Research,
    /// The notice: care, for medical reasons.
    Medical,
    /// The notice: safety reasons.
    Safety,
    /// The notice: employees; voices and faces are not judged.
    Workplace,
    /// The notice: pupils or students; voices and faces are not judged.
    Education,
    /// The lamp is lit.
    On,
    /// The lamp blinks: muted.
    Blinking,
    /// The lamp is dark: the run is over.
    Off,
    /// A source is read, or about to be.
    Capturing,
    /// A source is closed, or a press of the button closed it.
    Muted,
    /// A press of the button opened the sources.
    Unmuted,
    /// A source went away and is tried again.
    Lost,
    /// A source gives nothing more.
    Ended,
    /// A source or the lamp failed for good.
    Failed,
    /// Work was left out, since answers came too slowly; or what came was damaged.
    Skipped,
    /// Something is wrong with what a source brings, and it goes on.
    Warning,
    /// The audit log or the metrics cannot be written.
    Failing,
    /// They are written again.
    Recovered,
    /// A stage makes no progress; the service manager is not fed.
    Resting,
    /// Answers are no longer like those before, by more than chance.
    Drifted,
    /// They are again.
    Back,
}

impl State {
    /// Every state.
    pub const ALL: [State; 22] = [
        State::Public,
        State::Research,
        State::Medical,
        State::Safety,
        State::Workplace,
        State::Education,
        State::On,
        State::Blinking,
        State::Off,
        State::Capturing,
        State::Muted,
        State::Unmuted,
        State::Lost,
        State::Ended,
        State::Failed,
        State::Skipped,
        State::Warning,
        State::Failing,
        State::Recovered,
        State::Resting,
        State::Drifted,
        State::Back,
    ];

    /// The word used in events and in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            State::Public => "public",
            State::Research => "research",
            State::Medical => "medical",
            State::Safety => "safety",
            State::Workplace => "workplace",
            State::Education => "education",
            State::On => "on",
            State::Blinking => "blinking",
            State::Off => "off",
            State::Capturing => "capturing",
            State::Muted => "muted",
            State::Unmuted => "unmuted",
            State::Lost => "lost",
            State::Ended => "ended",
            State::Failed => "failed",
            State::Skipped => "skipped",
            State::Warning => "warning",
            State::Failing => "failing",
            State::Recovered => "recovered",
            State::Resting => "resting",
            State::Drifted => "drifted",
            State::Back => "back",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for State {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A change of a source: it went away, came back, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The file or device, or `notice`, `indicator`, `button`, `audit`, `metrics`, `watchdog`.
    pub source: String,
    /// What it is now.
    pub state: State,
    /// In words; may be empty.
    pub detail: String,
    /// When it came to be so, which may be long before a reader hears of it.
    pub time: Option<Timestamp>,
}

impl StateChange {
    /// A change of `source` that has just come.
    pub fn new(source: impl Into<String>, state: State, detail: impl Into<String>) -> StateChange {
        StateChange {
            source: source.into(),
            state,
            detail: detail.into(),
            time: now(),
        }
    }

    /// The change as one JSON object; `schema` is the events'.
    pub fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "task": "state",
            "source": self.source,
            "state": self.state,
            "detail": self.detail,
        })
    }
}

fn scores_json(scores: &[(String, f32)]) -> Value {
    let entries = scores
        .iter()
        .map(|(label, p)| (label.clone(), json!(decimals(f64::from(*p), 4))));
    Value::Object(entries.collect())
}

fn latency_json(latency: &Latency) -> Value {
    let mut value = json!(latency);
    if let Value::Object(stages) = &mut value {
        stages
            .values_mut()
            .for_each(|v| *v = json!(v.as_f64().map(milli)));
        stages.insert("total".into(), json!(milli(latency.total())));
    }
    value
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

    #[test]
    fn a_stamp_stands_behind_the_schema() {
        let stamp = Stamp {
            seq: 7,
            time: "2026-11-26T17:05:48.123456Z".parse().ok(),
            device: Some("door".into()),
        };
        let text = stamp.on(Faces::default().to_json()).to_string();
        let begins = "{\"schema\":\"demeanor.event/1\",\"seq\":7,\
                      \"time\":\"2026-11-26T17:05:48.123Z\",\"device\":\"door\",\"task\":\"faces\"";
        assert!(text.starts_with(begins), "{text}");
    }
}
