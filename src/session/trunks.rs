//! Trunks: the encoders that run before the heads, each at most once an observation.
//!
//! Two bundles that use the very same file, by its hash, share one trunk.

mod face;
mod image;
mod seen;
mod speech;
mod text;

pub(super) use face::FaceTrunk;
pub(super) use image::ImageTrunk;
pub(super) use seen::SeenTrunk;
pub(super) use speech::{MIN_SAMPLES, SpeechTrunk};
pub(super) use text::TextTrunk;

use super::{Distance, Gated};
use crate::event::Word;
use crate::kernels::{self, Rows};
use crate::model::manifest::Manifest;
use crate::model::{Bundle, Model, ModelError, Output};
use std::ops::Range;
use std::time::Instant;

/// Milliseconds that `work` took, added to a stage.
pub(super) fn timed<T>(stage: &mut Option<f64>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *stage = Some(stage.unwrap_or(0.0) + start.elapsed().as_secs_f64() * 1e3);
    result
}

/// What a trunk made of its input.
#[derive(Debug, Default)]
pub(super) struct Encoding {
    outputs: Vec<(String, Output)>,
    /// Of words: the tokens, a row of the outputs each; `[CLS]` first, `[SEP]` last.
    pub tokens: Vec<String>,
    /// Their numbers in the vocabulary.
    pub ids: Vec<i64>,
    /// Bytes of the words behind each token; `None` of `[CLS]` and `[SEP]`.
    pub spans: Vec<Option<Range<usize>>>,
    /// Of an image: what it shows, the likeliest first; a row of the outputs each.
    pub words: Vec<Word>,
    /// The words were longer than the trunk takes, and were cut.
    pub truncated: bool,
}

impl Encoding {
    /// An output by the name that the file gives it.
    pub fn output(&self, name: &str) -> Option<&Output> {
        let found = self.outputs.iter().find(|(known, _)| known == name);
        found.map(|(_, output)| output)
    }

    /// The first output with rows, and its name.
    pub fn first_rows(&self) -> Option<(String, &Output)> {
        let mut rows = self.outputs.iter().filter(|(_, o)| o.dims.len() == 2);
        rows.next().map(|(name, output)| (name.clone(), output))
    }

    /// The mean of an output's rows; `None` of none.
    pub fn mean(&self, name: &str) -> Option<Vec<f32>> {
        let output = self.output(name)?;
        let rows = Rows::new(&output.values, *output.dims.last()?).ok()?;
        let mut mean = vec![0.0; rows.cols()];
        kernels::active().column_mean(rows, &mut mean);
        Some(mean)
    }

    fn of(model: &Model, outputs: Vec<Output>) -> Encoding {
        Encoding {
            outputs: model.outputs().iter().cloned().zip(outputs).collect(),
            ..Encoding::default()
        }
    }
}

/// A trunk of [`Trunks`], by its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle(usize);

/// Every trunk that is loaded.
pub(super) struct Trunks {
    threads: usize,
    /// What the gates said of this observation.
    pub gated: Vec<Gated>,
    /// How far it lies from what the trunks learnt from.
    pub distances: Vec<Distance>,
    speech: Vec<SpeechTrunk>,
    text: Vec<TextTrunk>,
    image: Vec<ImageTrunk>,
    seen: Vec<SeenTrunk>,
    face: Vec<FaceTrunk>,
}

impl Trunks {
    /// None yet; each model will have `threads` workers.
    pub fn new(threads: usize) -> Trunks {
        Trunks {
            threads,
            gated: Vec::new(),
            distances: Vec::new(),
            speech: Vec::new(),
            text: Vec::new(),
            image: Vec::new(),
            seen: Vec::new(),
            face: Vec::new(),
        }
    }

    /// Another observation: what was encoded of the last one is forgotten.
    pub fn next(&mut self) {
        self.gated.clear();
        self.distances.clear();
        self.speech.iter_mut().for_each(SpeechTrunk::forget);
        self.image.iter_mut().for_each(ImageTrunk::forget);
        self.seen.iter_mut().for_each(SeenTrunk::forget);
        self.face.iter_mut().for_each(FaceTrunk::forget);
    }

    /// Another stream: no face is taken for one of before.
    pub fn restart(&mut self) {
        self.face.iter_mut().for_each(FaceTrunk::restart);
    }

    /// Numbers of the faces in sight; `None` without a detector.
    pub fn in_sight(&self) -> Option<Vec<u32>> {
        self.face.first().map(FaceTrunk::in_sight)
    }

    pub fn speech(&mut self, at: Handle) -> &mut SpeechTrunk {
        &mut self.speech[at.0]
    }

    pub fn text(&mut self, at: Handle) -> &mut TextTrunk {
        &mut self.text[at.0]
    }

    pub fn image(&mut self, at: Handle) -> &mut ImageTrunk {
        &mut self.image[at.0]
    }

    pub fn seen(&mut self, at: Handle) -> &mut SeenTrunk {
        &mut self.seen[at.0]
    }

    pub fn face(&mut self, at: Handle) -> &mut FaceTrunk {
        &mut self.face[at.0]
    }
}

/// The place of a trunk that is `same`, or of the one that is loaded now.
fn shared<T>(
    trunks: &mut Vec<T>,
    same: impl Fn(&T) -> bool,
    load: impl FnOnce() -> Result<T, ModelError>,
) -> Result<Handle, ModelError> {
    if let Some(at) = trunks.iter().position(same) {
        return Ok(Handle(at));
    }
    trunks.push(load()?);
    Ok(Handle(trunks.len() - 1))
}

fn sha256(manifest: &Manifest, file: &str) -> String {
    let listed = manifest.file(file);
    listed.map_or(String::new(), |f| f.sha256.clone())
}

/// The lines of a file, a word each, at least one.
fn words_of(bundle: &Bundle, file: &str) -> Result<Vec<String>, ModelError> {
    let refused = |what: &str| ModelError::Refused {
        name: file.into(),
        what: what.into(),
    };
    let bytes = bundle.bytes(file);
    let bytes = bytes.ok_or_else(|| refused("is not in the bundle"))?;
    let text = std::str::from_utf8(bytes).map_err(|_| refused("is no UTF-8"))?;
    let words: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    match words.is_empty() || words.iter().any(String::is_empty) {
        true => Err(refused("must hold a word on every line")),
        false => Ok(words),
    }
}
