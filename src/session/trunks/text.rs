//! Words to rows.

use super::{Encoding, Handle, sha256, shared, timed};
use crate::event::Latency;
use crate::model::manifest;
use crate::model::{Bundle, InputValues, Model, ModelError};
use crate::text::{Tokenizer, without_links};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Words to rows.
pub(in crate::session) struct TextTrunk {
    sha256: [String; 2],
    shapes: bool,
    tokenizer: Tokenizer,
    model: Model,
    last: Option<(Ids, Arc<Encoding>)>,
}

/// What the encoder reads of words and of what stands beside them, and where the tokens stand in
/// the words.
#[derive(PartialEq)]
struct Ids {
    ids: Vec<i64>,
    types: Vec<i64>,
    spans: Vec<Option<Range<usize>>>,
}

impl super::Trunks {
    /// The encoder of a bundle's words.
    ///
    /// # Errors
    /// A file that is missing or refused.
    pub fn load_text(
        &mut self,
        bundle: &Bundle,
        wanted: &manifest::Text,
    ) -> Result<Handle, ModelError> {
        let threads = self.threads;
        let sha256 = [&wanted.file, &wanted.vocab].map(|f| sha256(&bundle.manifest, f));
        let same = |t: &TextTrunk| t.sha256 == sha256 && t.shapes == wanted.shapes;
        shared(&mut self.text, same, || {
            Ok(TextTrunk {
                shapes: wanted.shapes,
                tokenizer: tokenizer(bundle, &wanted.vocab)?,
                model: Model::load(bundle, &wanted.file, threads)?
                    .expect(&["ids", "types"], &[])?,
                last: None,
                sha256: sha256.clone(),
            })
        })
    }
}

impl TextTrunk {
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Numbers of the pieces of `words`, without `[CLS]` and `[SEP]`, `most` of them.
    pub fn pieces(&self, words: &str, most: usize) -> Vec<i64> {
        let ids = self.tokenizer.encode(words, &[], most + 2).ids;
        ids[1..ids.len() - 1].to_vec()
    }

    /// Rows of `words`, read beside other texts: what was said before, oldest first, or what an
    /// image shows. No row of those. `None` without a word that the vocabulary knows.
    ///
    /// # Errors
    /// A model that fails.
    pub fn encode(
        &mut self,
        words: &str,
        beside: &[&str],
        wanted: &manifest::Text,
        latency: &mut Latency,
    ) -> Result<Option<Arc<Encoding>>, ModelError> {
        let words = match wanted.strip_links {
            true => without_links(words),
            false => Cow::Borrowed(words),
        };
        let tokens = timed(&mut latency.tokens, || {
            let tokens = self.tokenizer.encode(&words, beside, wanted.max_tokens);
            match self.shapes {
                true => tokens.with_shapes(&words),
                false => tokens,
            }
        });
        if !tokens.knows_a_word() {
            return Ok(None);
        }
        let ids = Ids {
            ids: tokens.ids,
            types: tokens.types,
            spans: tokens.spans,
        };
        if let Some((_, known)) = self.last.as_ref().filter(|(last, _)| *last == ids) {
            return Ok(Some(Arc::clone(known)));
        }
        let count = ids.ids.len();
        let outputs = timed(&mut latency.text, || {
            let dims = [count];
            self.model.run(&[
                (&dims, InputValues::Ints(&ids.ids)),
                (&dims, InputValues::Ints(&ids.types)),
            ])
        })?;
        let mut encoding = Encoding::of(&self.model, outputs);
        for (_, output) in &mut encoding.outputs {
            if output.dims.len() == 2 && output.dims[0] == count {
                output.dims[0] = tokens.text_len;
                output.values.truncate(tokens.text_len * output.dims[1]);
            }
        }
        encoding.tokens = tokens.pieces;
        encoding.ids = ids.ids[..tokens.text_len].to_vec();
        encoding.spans.clone_from(&ids.spans);
        encoding.truncated = tokens.truncated;
        let encoding = Arc::new(encoding);
        self.last = Some((ids, Arc::clone(&encoding)));
        Ok(Some(encoding))
    }
}

fn tokenizer(bundle: &Bundle, file: &str) -> Result<Tokenizer, ModelError> {
    let refused = |what: String| ModelError::Refused {
        name: file.into(),
        what,
    };
    let bytes = bundle.bytes(file);
    let bytes = bytes.ok_or_else(|| refused("is not in the bundle".into()))?;
    let text = std::str::from_utf8(bytes).map_err(|e| refused(e.to_string()))?;
    Tokenizer::from_vocab(text).map_err(|e| refused(e.to_string()))
}
