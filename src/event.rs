//! What comes out: one event a line, schema `demeanor.event/1`.
//!
//! Fields are only ever added within a schema number; a consumer may ignore what it does
//! not know. Times are seconds of stream time (0 = first sample), latencies milliseconds
//! of compute. An event carries scores, never sound, words of others or identity.

use crate::model::manifest::Trunk;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fmt;

/// Name and version of the event's layout.
pub const SCHEMA: &str = "demeanor.event/1";

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

/// Samples that never arrived.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gap {
    /// Stream time of the hole, in seconds.
    pub at: f64,
    /// Its length, in seconds.
    pub seconds: f64,
}

/// A token or a stretch of sound that speaks for the chosen class.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
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
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// Salient tokens, strongest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<Salient>,
    /// Salient frames, strongest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<Salient>,
}

impl Explanation {
    /// Three decimals: nobody reads more of a similarity or a time.
    fn rounded(&self) -> Explanation {
        let short = |x: f32| milli(f64::from(x)) as f32;
        let row = |salient: &Salient| match salient {
            Salient::Token { token, similarity } => Salient::Token {
                token: token.clone(),
                similarity: short(*similarity),
            },
            Salient::Frame { at, similarity } => Salient::Frame {
                at: milli(*at),
                similarity: short(*similarity),
            },
        };
        Explanation {
            tokens: self.tokens.iter().map(row).collect(),
            frames: self.frames.iter().map(row).collect(),
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

/// What an answer was made from: for pages and reports, never written out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// The words as the text trunk saw them; `[CLS]` first, `[SEP]` last.
    pub tokens: Vec<String>,
    /// Where the tokens looked.
    pub attention: Option<Attention>,
    /// Scores of every head that could answer, by its name.
    pub heads: Vec<(String, Vec<f32>)>,
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
    /// The chosen class, or `unsure`.
    pub label: String,
    /// Calibrated probability of every class, in the bundle's order; sums to 1.
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
        event.insert("gaps".into(), json!(self.gaps));
        event.insert("notes".into(), json!(self.notes));
        if let Some(explain) = &self.explain {
            event.insert("explain".into(), json!(explain.rounded()));
        }
        Value::Object(event)
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
    /// Work was left out, since answers came too slowly.
    Skipped,
    /// The audit log or the metrics cannot be written.
    Failing,
    /// They are written again.
    Recovered,
    /// A stage makes no progress; the service manager is not fed.
    Resting,
}

impl State {
    /// Every state.
    pub const ALL: [State; 19] = [
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
        State::Failing,
        State::Recovered,
        State::Resting,
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
            State::Failing => "failing",
            State::Recovered => "recovered",
            State::Resting => "resting",
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
}

impl StateChange {
    /// A change of `source`.
    pub fn new(source: impl Into<String>, state: State, detail: impl Into<String>) -> StateChange {
        StateChange {
            source: source.into(),
            state,
            detail: detail.into(),
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
