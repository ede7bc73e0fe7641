//! Sound to rows.

use super::{Encoding, Handle, sha256, shared, timed};
use crate::event::Latency;
use crate::model::manifest;
use crate::model::{Bundle, InputValues, Model, ModelError, Output};
use crate::signal::SAMPLE_RATE;
use crate::signal::mel::{HOP, Mel, N_MELS};
use std::sync::Arc;

/// Sound shorter than this is no utterance; 0.1 s.
pub(in crate::session) const MIN_SAMPLES: usize = SAMPLE_RATE as usize / 10;

/// Sound to rows.
pub(in crate::session) struct SpeechTrunk {
    sha256: String,
    max_samples: usize,
    mel: Mel,
    model: Model,
    last: Option<Arc<Encoding>>,
}

impl super::Trunks {
    /// The encoder of a bundle's sound.
    ///
    /// # Errors
    /// A file that is missing or refused.
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
}

impl SpeechTrunk {
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Forgets what was encoded last.
    pub fn forget(&mut self) {
        self.last = None;
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

#[cfg(test)]
mod tests {
    use super::*;

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
