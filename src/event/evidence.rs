//! Why an answer is what it is: what an event tells of it, and what pages and reports are made from.

use super::{Entity, milli};
use crate::model::manifest::Trunk;
use serde_json::{Map, Value, json};

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
    pub(super) fn to_json(&self) -> Value {
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
