//! Patches to words for what the image shows.

use super::{Encoding, Handle, sha256, shared, timed, words_of};
use crate::event::{Latency, Word};
use crate::model::manifest::{self, Manifest};
use crate::model::{Bundle, InputValues, Model, ModelError, Output};
use std::sync::Arc;

/// Names the content of images, upon an image trunk.
pub(in crate::session) struct SeenTrunk {
    same: Same,
    wanted: manifest::Seen,
    words: Vec<String>,
    model: Model,
    /// `None` where words have names alone.
    rows: Option<Model>,
    last: Option<Arc<Encoding>>,
}

/// What two bundles must share to share this trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Same {
    image: Handle,
    output: String,
    files: [String; 3],
    top: usize,
}

/// Words that were given, as rows, and what became of the others.
#[derive(Default)]
pub(in crate::session) struct GivenWords {
    /// `None` if no word is known.
    pub known: Option<Arc<Encoding>>,
    /// What the reader should know.
    pub note: Option<String>,
}

impl super::Trunks {
    /// What names the content of images, upon a loaded image trunk.
    ///
    /// # Errors
    /// A file that is missing or refused; rows for fewer words than there are.
    pub fn load_seen(
        &mut self,
        bundle: &Bundle,
        wanted: &manifest::Seen,
        image: Handle,
    ) -> Result<Handle, ModelError> {
        let threads = self.threads;
        let same = Same::of(&bundle.manifest, wanted, image);
        shared(
            &mut self.seen,
            |t| t.same == same,
            || {
                let model = Model::load(bundle, &wanted.file, threads)?;
                if model.arity() != 1 {
                    let what = format!("takes {} inputs, expected one", model.arity());
                    return Err(model.refused(what));
                }
                let words = words_of(bundle, &wanted.labels)?;
                let rows = match &wanted.rows {
                    Some(file) => {
                        let rows = Model::load(bundle, file, threads)?;
                        Some(rows.expect(&["ids"], &["rows"])?)
                    }
                    None => None,
                };
                let trunk = SeenTrunk {
                    same: same.clone(),
                    wanted: wanted.clone(),
                    model: model.expect_outputs(&["logits"])?,
                    words,
                    rows,
                    last: None,
                };
                // the last word's row is there only if every word's is
                trunk.row_of_each(&[trunk.words.len() - 1])?;
                Ok(trunk)
            },
        )
    }
}

impl Same {
    fn of(manifest: &Manifest, wanted: &manifest::Seen, image: Handle) -> Same {
        let rows = wanted.rows.as_deref().unwrap_or_default();
        Same {
            image,
            output: wanted.reads.output.clone(),
            files: [&wanted.file, &wanted.labels, rows].map(|f| sha256(manifest, f)),
            top: wanted.top,
        }
    }
}

impl SeenTrunk {
    /// Why an output that a head reads is not given.
    pub fn lacks(&self, output: &str) -> Option<ModelError> {
        match output {
            "scores" => None,
            "rows" if self.rows.is_some() => None,
            _ => {
                let rows = if self.rows.is_some() {
                    " and `rows`"
                } else {
                    ""
                };
                Some(self.model.refused(format!(
                    "a head reads `seen.{output}`, and the section `seen` gives `scores`{rows}"
                )))
            }
        }
    }

    pub fn forget(&mut self) {
        self.last = None;
    }

    /// The likeliest words for an image, of which these are the trunk's outputs: `scores`
    /// `[top]`, 0..1 each, falling, and `rows` `[top, width]`.
    ///
    /// # Errors
    /// A model that fails, or gives another number of logits than there are words.
    pub fn name(
        &mut self,
        image: &Encoding,
        latency: &mut Latency,
    ) -> Result<Arc<Encoding>, ModelError> {
        if let Some(known) = &self.last {
            return Ok(Arc::clone(known));
        }
        let output = &self.wanted.reads.output;
        let Some(read) = image.output(output) else {
            let what = format!("reads `image.{output}`, which the image trunk does not give");
            return Err(self.model.refused(what));
        };
        let encoding = timed(&mut latency.image, || {
            let outputs = self
                .model
                .run(&[(&read.dims, InputValues::Floats(&read.values))])?;
            let at = self.model.output("logits").unwrap_or(0);
            let logits = &outputs[at].values;
            if logits.len() != self.words.len() {
                return Err(self.model.refused(format!(
                    "gives {} logits, and {} names {} words",
                    logits.len(),
                    self.wanted.labels,
                    self.words.len()
                )));
            }
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
            order.truncate(self.wanted.top);
            let scores = order.iter().map(|at| 1.0 / (1.0 + (-logits[*at]).exp()));
            self.encoding(&order, scores.collect())
        })?;
        let encoding = Arc::new(encoding);
        self.last = Some(Arc::clone(&encoding));
        Ok(encoding)
    }

    /// The same of words that somebody else saw in the image, certain every one.
    ///
    /// # Errors
    /// A model that fails.
    pub fn given(&self, words: &[String]) -> Result<GivenWords, ModelError> {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for word in words.iter().map(|w| w.trim().to_lowercase()) {
            match self.words.iter().position(|w| *w == word) {
                Some(at) if known.contains(&at) => {}
                Some(at) => known.push(at),
                None => unknown.push(format!("`{word}`")),
            }
        }
        let mut given = GivenWords::default();
        if !unknown.is_empty() {
            given.note = Some(format!(
                "left out {}: no picture word that the model knows ({} knows {})",
                unknown.join(", "),
                self.wanted.labels,
                self.words.len()
            ));
        }
        known.truncate(self.wanted.top);
        if !known.is_empty() {
            let scores = vec![1.0; known.len()];
            given.known = Some(Arc::new(self.encoding(&known, scores)?));
        }
        Ok(given)
    }

    fn encoding(&self, order: &[usize], scores: Vec<f32>) -> Result<Encoding, ModelError> {
        let names = order.iter().map(|at| self.words[*at].clone());
        let words = names.zip(&scores).map(|(word, score)| Word {
            word,
            score: *score,
        });
        let words = words.collect();
        let scores = Output {
            dims: vec![order.len()],
            values: scores,
        };
        let mut outputs = vec![("scores".to_owned(), scores)];
        if let Some(rows) = self.row_of_each(order)? {
            outputs.push(("rows".to_owned(), rows));
        }
        Ok(Encoding {
            outputs,
            words,
            ..Encoding::default()
        })
    }

    fn row_of_each(&self, order: &[usize]) -> Result<Option<Output>, ModelError> {
        let Some(model) = &self.rows else {
            return Ok(None);
        };
        let ids: Vec<i64> = order.iter().map(|at| *at as i64).collect();
        let mut outputs = model.run(&[(&[ids.len()], InputValues::Ints(&ids))])?;
        let rows = outputs.swap_remove(model.output("rows").unwrap_or(0));
        match rows.dims.as_slice() {
            [n, _] if *n == ids.len() => Ok(Some(rows)),
            dims => Err(model.refused(format!(
                "gives rows of shape {dims:?} for {} ids",
                ids.len()
            ))),
        }
    }
}
