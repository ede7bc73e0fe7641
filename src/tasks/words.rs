//! The text trunk: run once for the same words, whichever heads read its rows.

use super::timed;
use crate::event::Latency;
use crate::model::manifest::Role;
use crate::model::{Bundle, ModelError, TextModel};
use crate::text::Tokenizer;
use std::sync::{Arc, Mutex, PoisonError};

/// What the trunk makes of a text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TextRows {
    /// H_t, a row of [`WIDTH`](crate::fusion::WIDTH) a token; no history.
    pub rows: Vec<f32>,
    /// The trunk's last hidden state, `[tokens, width]`; no history. Empty if the file has none.
    pub hidden: Vec<f32>,
    /// Logits of the emotion head that belongs to the trunk.
    pub logits: Vec<f32>,
    /// The tokens, a row of each of the above; `[CLS]` first, `[SEP]` last.
    pub tokens: Vec<String>,
    /// The text was longer than the trunk takes, and was cut.
    pub truncated: bool,
}

impl TextRows {
    /// The rows that heads of other tasks than emotion read: the last hidden state, where the
    /// file gives it.
    pub fn for_heads(&self) -> &[f32] {
        if self.hidden.is_empty() {
            &self.rows
        } else {
            &self.hidden
        }
    }
}

/// Tokenizer and text encoder, shared by the heads of several tasks.
#[derive(Debug)]
pub struct TextTrunk {
    sha256: String,
    tokenizer: Tokenizer,
    model: TextModel,
    last: Mutex<Option<Remembered>>,
}

/// The text encoded last, by its ids and types.
#[derive(Debug)]
struct Remembered {
    ids: Vec<i64>,
    types: Vec<i64>,
    rows: Arc<TextRows>,
}

impl TextTrunk {
    /// Loads the bundle's text encoder and vocabulary.
    ///
    /// # Errors
    /// A file that is missing, refused, or claims more than it does.
    pub fn load(bundle: &Bundle) -> Result<Arc<TextTrunk>, ModelError> {
        Ok(Arc::new(TextTrunk {
            sha256: bundle.sha256(Role::Text).unwrap_or_default().to_owned(),
            tokenizer: tokenizer(bundle)?,
            model: TextModel::load(bundle)?,
            last: Mutex::new(None),
        }))
    }

    /// `trunk` if the bundle uses the very same file, or the bundle's own.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn shared(bundle: &Bundle, trunk: &Arc<TextTrunk>) -> Result<Arc<TextTrunk>, ModelError> {
        if bundle.sha256(Role::Text) == Some(trunk.sha256.as_str()) {
            return Ok(Arc::clone(trunk));
        }
        TextTrunk::load(bundle)
    }

    /// Encodes `text` after `history` (oldest first) in at most `max_tokens` tokens; `None`
    /// if it holds no word.
    ///
    /// # Errors
    /// A model that fails.
    pub fn encode(
        &self,
        text: &str,
        history: &[&str],
        max_tokens: usize,
        latency: &mut Latency,
    ) -> Result<Option<Arc<TextRows>>, ModelError> {
        let tokens = timed(&mut latency.tokens, || {
            self.tokenizer.encode(text, history, max_tokens)
        });
        // [CLS] and [SEP] alone are no words
        if tokens.text_len <= 2 {
            return Ok(None);
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last
            .as_ref()
            .filter(|l| l.ids == tokens.ids && l.types == tokens.types)
        {
            return Ok(Some(Arc::clone(&known.rows)));
        }
        let encoded = timed(&mut latency.text, || {
            self.model.encode(&tokens.ids, &tokens.types)
        })?;
        let own = |mut rows: Vec<f32>| {
            let width = rows.len() / tokens.ids.len();
            rows.truncate(tokens.text_len * width);
            rows
        };
        let rows = Arc::new(TextRows {
            rows: own(encoded.rows),
            hidden: own(encoded.hidden),
            logits: encoded.logits,
            tokens: tokens.pieces,
            truncated: tokens.truncated,
        });
        *last = Some(Remembered {
            ids: tokens.ids,
            types: tokens.types,
            rows: Arc::clone(&rows),
        });
        Ok(Some(rows))
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
