//! What an answer may carry beside its scores, each part with its JSON.

use super::{decimals, milli};
use serde::Serialize;
use serde_json::{Map, Value, json};

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

    pub(super) fn to_json(self) -> Value {
        let mut value = json!(self);
        if let Value::Object(stages) = &mut value {
            for stage in stages.values_mut() {
                *stage = json!(stage.as_f64().map(milli));
            }
            stages.insert("total".into(), json!(milli(self.total())));
        }
        value
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
    /// Width and height of the picture, in pixels; never written out.
    pub picture: [f32; 2],
    /// Probability that this is a face, 0..1.
    pub score: f32,
}

impl Face {
    pub(super) fn to_json(self) -> Value {
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
    pub(super) fn to_json(&self) -> Value {
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
    pub(super) fn to_json(&self) -> Map<String, Value> {
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
    pub(super) fn to_json(&self) -> Value {
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
    pub(super) fn to_json(&self) -> Value {
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
    pub(super) fn to_json(self) -> Value {
        json!({ "at": milli(self.at), "seconds": milli(self.seconds) })
    }
}
