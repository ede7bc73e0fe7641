//! Trunks: the encoders that run before the heads, each at most once an observation.
//!
//! Two bundles that use the very same file, by its hash, share one trunk.

mod seen;

pub(super) use seen::SeenTrunk;

use super::{Distance, Gated};
use crate::event::{Latency, Word};
use crate::kernels::{self, Rows};
use crate::model::manifest::{self, Manifest};
use crate::model::{Bundle, InputValues, Model, ModelError, Output};
use crate::signal::SAMPLE_RATE;
use crate::signal::mel::{HOP, Mel, N_MELS};
use crate::text::{Tokenizer, without_links};
use crate::vision::Picture;
use crate::vision::faces::{self, Found, Rect};
use crate::vision::resize::{Crop, Resizer};
use crate::vision::track::Tracker;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Sound shorter than this is no utterance; 0.1 s.
pub(super) const MIN_SAMPLES: usize = SAMPLE_RATE as usize / 10;
/// Grey levels between which nine tenths of a blank image's pixels lie.
const BLANK: u8 = 8;
/// Print on a plain ground, in parts of a hundred of the image's pixels: at least as much is
/// ground, and at most as much is the inside of something broader than strokes are. Held
/// against the photographs of posts, 1 in 200 is such a page, a drawing in lines, or black.
const GROUND: usize = 75;
const SOLID: usize = 2;
/// Grey levels from its middle that the ground spans, and from which on a pixel is none of it.
const OF_GROUND: u8 = 4;
const OFF_GROUND: u8 = 24;
/// A pixel is inside something when as many around it on each side are off the ground too.
const INSIDE: usize = 2;

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
        self.speech.iter_mut().for_each(|t| t.last = None);
        self.image.iter_mut().for_each(|t| t.last = None);
        self.seen.iter_mut().for_each(SeenTrunk::forget);
        self.face.iter_mut().for_each(FaceTrunk::forget);
    }

    /// Another stream: no face is taken for one of before.
    pub fn restart(&mut self) {
        self.face.iter_mut().for_each(|t| t.tracker.forget());
    }

    pub fn load_speech(
        &mut self,
        bundle: &Bundle,
        wanted: &manifest::Speech,
    ) -> Result<Handle, ModelError> {
        let threads = self.threads;
        let sha256 = sha256(&bundle.manifest, &wanted.file);
        let max_samples = (wanted.max_seconds * SAMPLE_RATE as f32) as usize;
        let same = |t: &SpeechTrunk| t.sha256 == sha256 && t.max_samples == max_samples;
        shared(&mut self.speech, same, || {
            Ok(SpeechTrunk {
                max_samples,
                mel: Mel::new(),
                model: Model::load(bundle, &wanted.file, threads)?.expect(&["mel"], &[])?,
                last: None,
                sha256: sha256.clone(),
            })
        })
    }

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

    pub fn load_image(
        &mut self,
        bundle: &Bundle,
        wanted: &manifest::Image,
    ) -> Result<Handle, ModelError> {
        let threads = self.threads;
        let sha256 = sha256(&bundle.manifest, &wanted.file);
        let same = |t: &ImageTrunk| t.sha256 == sha256 && t.side == wanted.side;
        shared(&mut self.image, same, || {
            Ok(ImageTrunk {
                side: wanted.side,
                resizer: Resizer::new(),
                pixels: Vec::new(),
                model: Model::load(bundle, &wanted.file, threads)?.expect(&["pixels"], &[])?,
                last: None,
                sha256: sha256.clone(),
            })
        })
    }

    pub fn load_face(
        &mut self,
        bundle: &Bundle,
        wanted: &manifest::Face,
    ) -> Result<Handle, ModelError> {
        let threads = self.threads;
        let sha256 = sha256(&bundle.manifest, &wanted.file);
        let same = |t: &FaceTrunk| t.sha256 == sha256 && t.wanted == *wanted;
        shared(&mut self.face, same, || {
            let model = Model::load(bundle, &wanted.file, threads)?;
            Ok(FaceTrunk {
                wanted: wanted.clone(),
                resizer: Resizer::new(),
                pixels: Vec::new(),
                model: model.expect(&["pixels"], &["boxes", "scores"])?,
                tracker: Tracker::default(),
                last: None,
                numbered: None,
                sha256: sha256.clone(),
            })
        })
    }

    /// Numbers of the faces in sight; `None` without a detector.
    pub fn in_sight(&self) -> Option<Vec<u32>> {
        self.face.first().map(|t| t.tracker.ids())
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

/// Sound to rows.
pub(super) struct SpeechTrunk {
    sha256: String,
    max_samples: usize,
    mel: Mel,
    model: Model,
    last: Option<Arc<Encoding>>,
}

impl SpeechTrunk {
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Rows of at least [`MIN_SAMPLES`]. Sound longer than the encoder takes is cut into equal
    /// windows: outputs with a row a frame are put one after the other, others are averaged.
    ///
    /// # Errors
    /// A model that fails.
    pub fn encode(
        &mut self,
        samples: &[f32],
        latency: &mut Latency,
    ) -> Result<Arc<Encoding>, ModelError> {
        if let Some(known) = &self.last {
            return Ok(Arc::clone(known));
        }
        let windows = samples.len().div_ceil(self.max_samples).max(1);
        // a whole number of hops, so that no window loses a frame at its border
        let length = samples.len().div_ceil(windows).next_multiple_of(HOP);
        let mut joined: Vec<Output> = Vec::new();
        let mut count = 0.0;
        for window in samples.chunks(length).filter(|w| w.len() >= MIN_SAMPLES) {
            let mel = timed(&mut latency.mel, || self.mel.log_mel(window));
            let dims = [mel.frames, N_MELS];
            let encoded = timed(&mut latency.speech, || {
                self.model.run(&[(&dims, InputValues::Floats(&mel.data))])
            })?;
            count += 1.0;
            if joined.is_empty() {
                joined = encoded;
                continue;
            }
            for (all, next) in joined.iter_mut().zip(encoded) {
                join(all, next, count);
            }
        }
        let encoding = Arc::new(Encoding::of(&self.model, joined));
        self.last = Some(Arc::clone(&encoding));
        Ok(encoding)
    }
}

/// Rows one after the other, vectors as their running mean; `count` includes `next`.
fn join(all: &mut Output, next: Output, count: f32) {
    if all.dims.len() > 1 {
        all.values.extend(next.values);
        all.dims[0] += next.dims[0];
        return;
    }
    for (mean, value) in all.values.iter_mut().zip(next.values) {
        *mean += (value - *mean) / count;
    }
}

/// Words to rows.
pub(super) struct TextTrunk {
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

/// An image as a whole to patches.
pub(super) struct ImageTrunk {
    sha256: String,
    side: u32,
    resizer: Resizer,
    pixels: Vec<u8>,
    model: Model,
    last: Option<Option<Arc<Encoding>>>,
}

impl ImageTrunk {
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Patches of the whole image, squeezed to a square; `None` of an image of one colour, as a
    /// covered lens gives it.
    ///
    /// # Errors
    /// A model that fails.
    pub fn encode(
        &mut self,
        image: &Picture,
        latency: &mut Latency,
    ) -> Result<Option<Arc<Encoding>>, ModelError> {
        if let Some(known) = &self.last {
            return Ok(known.clone());
        }
        let side = self.side;
        timed(&mut latency.resize, || {
            let whole = Crop::whole(image);
            self.resizer.rgb(image, whole, side, side, &mut self.pixels);
        });
        let mut encoding = None;
        if !is_blank(&self.pixels) {
            let dims = [1, side as usize, side as usize, 3];
            let outputs = timed(&mut latency.image, || {
                self.model.run(&[(&dims, InputValues::Bytes(&self.pixels))])
            })?;
            encoding = Some(Arc::new(Encoding::of(&self.model, outputs)));
        }
        self.last = Some(encoding.clone());
        Ok(encoding)
    }

    /// Whether the image that was encoded last shows nothing but print or lines.
    pub fn shows_print(&self) -> bool {
        is_print(&self.pixels, self.side as usize)
    }
}

/// Whether a square image is print or a drawing in lines on a plain ground, and no view of
/// anything: most of it one grey, and next to nothing of the rest broader than a stroke.
fn is_print(rgb: &[u8], side: usize) -> bool {
    let greys: Vec<u8> = rgb
        .as_chunks::<3>()
        .0
        .iter()
        .map(|pixel| crate::vision::resize::grey(*pixel))
        .collect();
    let near = |middle: u8| {
        greys
            .iter()
            .filter(move |g| g.abs_diff(middle) <= OF_GROUND)
    };
    let ground = (0..=u8::MAX).map(|middle| (near(middle).count(), middle));
    let Some((share, middle)) = ground.max() else {
        return false;
    };
    if greys.is_empty() || share * 100 < greys.len() * GROUND {
        return false;
    }
    let is_off = |x: usize, y: usize| {
        let grey = greys.get(y * side + x);
        grey.is_some_and(|g| g.abs_diff(middle) > OFF_GROUND)
    };
    let around = |at: usize| at - INSIDE..=at + INSIDE;
    let inner = INSIDE..side.saturating_sub(INSIDE);
    let places = inner
        .clone()
        .flat_map(|y| inner.clone().map(move |x| (x, y)));
    let solid = places.filter(|(x, y)| around(*y).all(|y| around(*x).all(|x| is_off(x, y))));
    solid.count() * 100 <= greys.len() * SOLID
}

/// Whether nine tenths of the pixels are as good as one grey.
fn is_blank(rgb: &[u8]) -> bool {
    let mut counts = [0usize; 256];
    for pixel in rgb.as_chunks::<3>().0 {
        counts[usize::from(crate::vision::resize::grey(*pixel))] += 1;
    }
    let total: usize = counts.iter().sum();
    let level = |share: usize| {
        let mut below = 0;
        counts.iter().position(|n| {
            below += n;
            below * 100 >= total * share
        })
    };
    match (level(5), level(95)) {
        (Some(dark), Some(bright)) => bright - dark < usize::from(BLANK),
        _ => true,
    }
}

/// An image to faces.
pub(super) struct FaceTrunk {
    sha256: String,
    wanted: manifest::Face,
    resizer: Resizer,
    pixels: Vec<u8>,
    model: Model,
    tracker: Tracker,
    last: Option<Arc<Vec<Found>>>,
    /// Places that got their numbers already, and these.
    numbered: Option<(Vec<Rect>, Vec<u32>)>,
}

impl FaceTrunk {
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What the detector takes for faces of an image, most certain first.
    ///
    /// # Errors
    /// A model that fails.
    pub fn find(
        &mut self,
        image: &Picture,
        latency: &mut Latency,
    ) -> Result<Arc<Vec<Found>>, ModelError> {
        if let Some(known) = &self.last {
            return Ok(Arc::clone(known));
        }
        let found = Arc::new(self.detect(image, latency)?);
        self.last = Some(Arc::clone(&found));
        Ok(found)
    }

    /// The numbers in this session of an image's faces, which stand at `places`; asked again
    /// about the same ones, the same numbers.
    pub fn number(&mut self, places: Vec<Rect>) -> Vec<u32> {
        if let Some((known, ids)) = &self.numbered
            && *known == places
        {
            return ids.clone();
        }
        let ids = self.tracker.update(&places);
        self.numbered = Some((places, ids.clone()));
        ids
    }

    fn forget(&mut self) {
        self.last = None;
        self.numbered = None;
    }

    /// Whether a number is still that of a face in sight.
    pub fn follows(&self, id: u32) -> bool {
        self.tracker.follows(id)
    }

    fn detect(&mut self, image: &Picture, latency: &mut Latency) -> Result<Vec<Found>, ModelError> {
        let side = self.wanted.side;
        let Some(seen) = faces::square(image) else {
            return Ok(Vec::new());
        };
        timed(&mut latency.resize, || {
            self.resizer.rgb(image, seen, side, side, &mut self.pixels);
        });
        let dims = [1, side as usize, side as usize, 3];
        let outputs = timed(&mut latency.detect, || {
            self.model.run(&[(&dims, InputValues::Bytes(&self.pixels))])
        })?;
        let of = |name| {
            let at = self.model.output(name);
            at.map_or(&[][..], |at| outputs[at].values.as_slice())
        };
        let least = self.wanted.min_score;
        Ok(faces::faces(
            of("boxes"),
            of("scores"),
            side as usize,
            seen,
            least,
        ))
    }

    /// What a head sees of a face: grey pixels, `crop_side` × `crop_side`; `None` of a box
    /// without extent.
    pub fn crop(&mut self, image: &Picture, face: &Found, latency: &mut Latency) -> Option<&[u8]> {
        let (scale, shift) = (self.wanted.crop_scale, self.wanted.crop_shift);
        let crop = faces::close_up(&face.place, scale, shift)?;
        Some(self.grey(image, crop, latency))
    }

    /// The same of an image that is one face.
    pub fn whole(&mut self, image: &Picture, latency: &mut Latency) -> &[u8] {
        self.grey(image, Crop::whole(image), latency)
    }

    fn grey(&mut self, image: &Picture, crop: Crop, latency: &mut Latency) -> &[u8] {
        let side = self.wanted.crop_side;
        timed(&mut latency.resize, || {
            self.resizer.grey(image, crop, side, side, &mut self.pixels);
        });
        &self.pixels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_covered_lens_is_blank_and_a_dim_room_is_not() {
        let noise = |i: usize| (i * 7 % 5) as u8;
        let covered: Vec<u8> = (0..3 * 400).map(noise).collect();
        assert!(is_blank(&covered));
        let dim: Vec<u8> = (0..3 * 400).map(|i| (i / 60) as u8).collect();
        assert!(!is_blank(&dim));
        assert!(is_blank(&[]));
    }

    #[test]
    fn print_and_lines_are_told_from_what_has_a_body() {
        let side = 96;
        let made = |ink: &dyn Fn(usize, usize) -> bool, ground: u8| -> Vec<u8> {
            let places = (0..side * side).map(|at| (at % side, at / side));
            let grey = |(x, y)| if ink(x, y) { 255 - ground } else { ground };
            places.flat_map(|place| [grey(place); 3]).collect()
        };
        let strokes = |x: usize, y: usize| (y / 12).is_multiple_of(2) && x % 8 < 2;
        let body = |x: usize, y: usize| x.abs_diff(48) < 16 && y.abs_diff(48) < 16;
        for ground in [0, 30, 255] {
            assert!(is_print(&made(&strokes, ground), side), "{ground}");
            assert!(!is_print(&made(&body, ground), side), "{ground}");
        }
        // a view has no ground of one grey
        let view: Vec<u8> = (0..3 * side * side).map(|i| (i / 3 % 251) as u8).collect();
        assert!(!is_print(&view, side));
        assert!(!is_print(&[], side));
    }

    #[test]
    fn rows_are_joined_and_vectors_averaged() {
        let output = |dims: &[usize], values: &[f32]| Output {
            dims: dims.to_vec(),
            values: values.to_vec(),
        };
        let mut rows = output(&[1, 2], &[1.0, 2.0]);
        join(&mut rows, output(&[2, 2], &[3.0, 4.0, 5.0, 6.0]), 2.0);
        assert_eq!(rows, output(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let mut mean = output(&[2], &[1.0, 3.0]);
        join(&mut mean, output(&[2], &[3.0, 5.0]), 2.0);
        assert_eq!(mean.values, [2.0, 4.0]);
    }
}
