//! Sound and words in time: utterances are cut, and each gets its words.

use crate::Error;
use crate::app::analyze::segmenter;
use crate::capture::AudioChunk;
use crate::capture::text::TextLine;
use crate::signal::duration_of;
use crate::signal::segment::Segmenter;
use crate::tasks::pair::{Pair, Pairing};
use std::collections::VecDeque;
use std::time::Instant;

/// Cuts sound into utterances and joins them with words.
pub struct Aligner {
    segmenter: Segmenter,
    pairing: Pairing,
    /// Seconds that an utterance waits for its words.
    patience: f64,
    /// Words for sound that does not wait for them: all of them, read beforehand.
    script: VecDeque<TextLine>,
    /// Seconds of sound so far; `None` before the first.
    heard: Option<f64>,
    opened: Instant,
}

impl Aligner {
    /// Nothing heard yet; `patience` is how many seconds an utterance waits for its words.
    ///
    /// # Errors
    /// Settings of the segmenter that contradict each other.
    pub fn new(patience: f64) -> Result<Aligner, Error> {
        Ok(Aligner {
            segmenter: segmenter()?,
            pairing: Pairing::new(patience),
            patience,
            script: VecDeque::new(),
            heard: None,
            opened: Instant::now(),
        })
    }

    /// The sources are open now. `script` holds the words of a recording; `has_sound` says
    /// whose clock stream time is.
    pub fn begin(&mut self, script: VecDeque<TextLine>, has_sound: bool) {
        self.opened = Instant::now();
        self.script = script;
        self.heard = has_sound.then_some(0.0);
    }

    /// Stream time: what was heard, or the clock when there is no sound.
    pub fn now(&self) -> f64 {
        let elapsed = || self.opened.elapsed().as_secs_f64();
        self.heard.unwrap_or_else(elapsed)
    }

    /// Takes the next sound.
    pub fn hear(&mut self, chunk: &AudioChunk) {
        let end = chunk.start + duration_of(chunk.samples.len() as u64);
        self.heard = Some(end.as_secs_f64());
        for utterance in self.segmenter.push(chunk) {
            self.pairing.utterance(utterance);
        }
    }

    /// Sound that is not to be heard: time goes on, and the utterance under way ends before it.
    pub fn pass(&mut self, chunk: &AudioChunk) {
        let end = chunk.start + duration_of(chunk.samples.len() as u64);
        self.heard = Some(end.as_secs_f64());
        if let Some(utterance) = self.segmenter.interrupt() {
            self.pairing.utterance(utterance);
        }
    }

    /// Takes words that were said now, or when they say.
    pub fn read(&mut self, line: TextLine) {
        self.pairing.line(line, self.now());
    }

    /// The sound has ended: what was being said is an utterance.
    pub fn end_sound(&mut self) {
        // without any sound it was no clock
        self.heard = self.heard.filter(|heard| *heard > 0.0);
        if let Some(utterance) = self.segmenter.finish() {
            self.pairing.utterance(utterance);
        }
    }

    /// Words of a recording that is not played any further were never said.
    pub fn end_script(&mut self) {
        self.script.clear();
    }

    /// Forgets what was half said, and words that wait for their utterance.
    pub fn forget(&mut self) {
        self.segmenter.finish();
        self.pairing = Pairing::new(self.patience);
    }

    /// The next utterance with its words, or words alone. `ended`: no sound will come any
    /// more, so nothing is left to wait for.
    pub fn next(&mut self, ended: bool) -> Option<Pair> {
        let now = self.now();
        let is_due = |line: &TextLine| ended || line.start.is_none_or(|t| t.as_secs_f64() <= now);
        while let Some(line) = self.script.pop_front_if(|line| is_due(line)) {
            self.pairing.line(line, now);
        }
        let is_speaking = self.segmenter.is_speaking();
        self.pairing.next(now, is_speaking, ended)
    }
}
