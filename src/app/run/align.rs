//! Sound and words in time: utterances are cut, and each gets its words.

use crate::Error;
use crate::app::analyze::segmenter;
use crate::capture::AudioChunk;
use crate::capture::text::TextLine;
use crate::signal::duration_of;
use crate::signal::segment::{Segmenter, Utterance};
use crate::tasks::pair::{Pair, Pairing};
use std::collections::VecDeque;
use std::time::Instant;

/// What was said.
pub struct Said {
    /// Sound, words or both.
    pub pair: Pair,
    /// Which utterance of the run it is; words alone are none.
    pub number: Option<u64>,
    /// Stream time at which it is complete.
    pub at: f64,
}

/// What somebody is saying, so far.
pub struct Saying {
    /// The sound.
    pub utterance: Utterance,
    /// Which utterance of the run it will be.
    pub number: u64,
}

/// Cuts sound into utterances and joins them with words.
pub struct Aligner {
    segmenter: Segmenter,
    pairing: Pairing,
    /// Seconds that an utterance waits for its words.
    patience: f64,
    /// Seconds of speech between two looks at an utterance that is not over; none without it.
    partial: Option<f64>,
    /// Utterances that were cut so far.
    cut: u64,
    /// Of these, those that were handed on, or forgotten.
    handed: u64,
    /// Of which utterance how many times `partial` was last told.
    told: (u64, u64),
    /// Words for sound that does not wait for them: all of them, read beforehand.
    script: VecDeque<TextLine>,
    /// Seconds of sound so far; `None` before the first.
    heard: Option<f64>,
    opened: Instant,
}

impl Aligner {
    /// Nothing heard yet; `patience` is how many seconds an utterance waits for its words,
    /// `partial` after how many it is told so far.
    ///
    /// # Errors
    /// Settings of the segmenter that contradict each other.
    pub fn new(patience: f64, partial: Option<f64>) -> Result<Aligner, Error> {
        Ok(Aligner {
            segmenter: segmenter()?,
            pairing: Pairing::new(patience),
            patience,
            partial,
            cut: 0,
            handed: 0,
            told: (0, 0),
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
            self.utterance(utterance);
        }
    }

    fn utterance(&mut self, utterance: Utterance) {
        self.cut += 1;
        self.pairing.utterance(utterance);
    }

    /// Sound that is not to be heard: time goes on, and the utterance under way ends before it.
    pub fn pass(&mut self, chunk: &AudioChunk) {
        let end = chunk.start + duration_of(chunk.samples.len() as u64);
        self.heard = Some(end.as_secs_f64());
        if let Some(utterance) = self.segmenter.interrupt() {
            self.utterance(utterance);
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
            self.utterance(utterance);
        }
    }

    /// Words of a recording that is not played any further were never said.
    pub fn end_script(&mut self) {
        self.script.clear();
    }

    /// Forgets what was half said, and words that wait for their utterance.
    pub fn forget(&mut self) {
        // what was told so far of it keeps its number
        self.cut += u64::from(self.segmenter.finish().is_some());
        self.handed = self.cut;
        self.pairing = Pairing::new(self.patience);
    }

    /// Whether somebody is speaking, and it is no click or cough.
    pub fn hears_somebody(&self) -> bool {
        self.segmenter.hears_somebody()
    }

    /// What somebody is saying, once for every so many seconds of it.
    pub fn saying(&mut self) -> Option<Saying> {
        let number = self.cut + 1;
        let times = (self.segmenter.spoken().as_secs_f64() / self.partial?) as u64;
        if times == 0 || (number, times) <= self.told {
            return None;
        }
        let utterance = self.segmenter.under_way()?;
        self.told = (number, times);
        Some(Saying { utterance, number })
    }

    /// The next utterance with its words, or words alone. `ended`: no sound will come any
    /// more, so nothing is left to wait for.
    pub fn next(&mut self, ended: bool) -> Option<Said> {
        let now = self.now();
        let is_due = |line: &TextLine| ended || line.start.is_none_or(|t| t.as_secs_f64() <= now);
        while let Some(line) = self.script.pop_front_if(|line| is_due(line)) {
            self.pairing.line(line, now);
        }
        let is_speaking = self.segmenter.is_speaking();
        let pair = self.pairing.next(now, is_speaking, ended)?;
        // they are handed on in the order in which they were cut
        self.handed += u64::from(pair.utterance.is_some());
        let number = pair.utterance.is_some().then_some(self.handed);
        Some(Said {
            pair,
            number,
            at: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::time::Duration;

    /// The sample: two sentences of some three seconds.
    fn sample() -> Vec<f32> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sample.wav");
        let bytes = std::fs::read(path).expect("the sample");
        let sample = |b: &[u8]| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0;
        bytes[44..].chunks_exact(2).map(sample).collect()
    }

    /// Hears everything, or `seconds` of it; what was told so far, and what in the end.
    fn hear(aligner: &mut Aligner, from: f64, seconds: f64) -> (Vec<Saying>, Vec<Said>) {
        let (mut so_far, mut told) = (Vec::new(), Vec::new());
        let samples = sample();
        let most = samples.len().min((seconds * 16_000.0) as usize);
        for (n, piece) in samples[..most].chunks(1600).enumerate() {
            aligner.hear(&AudioChunk {
                start: Duration::from_secs_f64(from + 0.1 * n as f64),
                samples: piece.to_vec(),
                gap: None,
                own: false,
            });
            told.extend(std::iter::from_fn(|| aligner.next(false)));
            so_far.extend(aligner.saying());
        }
        (so_far, told)
    }

    #[test]
    fn what_is_told_so_far_bears_the_number_of_what_it_becomes() {
        let mut aligner = Aligner::new(0.0, Some(1.0)).expect("a segmenter");
        aligner.begin(VecDeque::new(), true);
        let (so_far, mut told) = hear(&mut aligner, 0.0, f64::INFINITY);
        aligner.end_sound();
        told.extend(std::iter::from_fn(|| aligner.next(true)));
        let numbers: Vec<_> = told.iter().map(|said| said.number).collect();
        assert_eq!(numbers, [Some(1), Some(2)]);
        for said in told {
            let whole = said.pair.utterance.expect("sound");
            let of = |s: &&Saying| Some(s.number) == said.number;
            let parts: Vec<&Saying> = so_far.iter().filter(of).collect();
            assert!((2..=4).contains(&parts.len()), "{}", parts.len());
            let mut before = 0;
            for part in parts {
                let part = &part.utterance;
                assert_eq!(part.start, whole.start);
                // as far as speech goes, which is less than what is heard
                let last = part.samples.len() - 16_000 / 2;
                assert_eq!(part.samples[..last], whole.samples[..last]);
                assert!(part.samples.len() > before + 8_000);
                before = part.samples.len();
            }
        }
    }

    #[test]
    fn what_is_forgotten_keeps_its_number_to_itself() {
        let mut aligner = Aligner::new(0.0, Some(1.0)).expect("a segmenter");
        aligner.begin(VecDeque::new(), true);
        let (so_far, told) = hear(&mut aligner, 0.0, 2.0);
        assert!(told.is_empty() && so_far.iter().all(|s| s.number == 1) && !so_far.is_empty());
        aligner.forget();
        let (so_far, told) = hear(&mut aligner, 2.0, f64::INFINITY);
        assert_eq!(told[0].number, Some(2));
        assert_eq!(so_far[0].number, 2);
    }

    #[test]
    fn unless_it_is_asked_for_nothing_is_told_so_far() {
        let mut aligner = Aligner::new(0.0, None).expect("a segmenter");
        aligner.begin(VecDeque::new(), true);
        assert!(hear(&mut aligner, 0.0, f64::INFINITY).0.is_empty());
    }
}
