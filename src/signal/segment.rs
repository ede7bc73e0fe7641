//! A stream of sound to utterances: what is said between two silences.
//!
//! Memory is bounded for an endless stream: at most one utterance of
//! [`SegmentConfig::max_length`] and the pre-roll are held. Lost sound is never spliced
//! over: a short gap is filled with silence, so that times inside the utterance stay true, a
//! long one ends the utterance, and either is recorded as a [`Gap`].

use std::ops::Range;
use std::time::Duration;

use super::vad::{FRAME, Vad, VadConfig};
use super::{duration_of, samples_in};
use crate::signal::AudioChunk;

/// Window in which the quietest point of a cut is sought: 30 ms.
const CUT_WINDOW: usize = 480;
/// Window whose power is the level of an utterance: 100 ms.
const LEVEL_WINDOW: usize = 1600;
/// Gaps recorded one by one; later ones are added to the last.
const MAX_GAPS: usize = 64;
/// Shortest allowed [`SegmentConfig::max_length`].
const MIN_MAX_LENGTH: Duration = Duration::from_secs(1);
/// Longest allowed [`SegmentConfig::max_length`]: it bounds the memory.
const MAX_MAX_LENGTH: Duration = Duration::from_secs(600);

/// When an utterance begins and ends.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentConfig {
    /// Sound kept from before the first voiced frame.
    pub pre_roll: Duration,
    /// Sound kept from after the last voiced frame.
    pub post_roll: Duration,
    /// Voiced time an utterance needs; less is a click or a cough.
    pub min_speech: Duration,
    /// Silence that ends an utterance.
    pub end_silence: Duration,
    /// Length at which an utterance is cut at its quietest recent point.
    pub max_length: Duration,
    /// Longest gap that is filled with silence; a longer one ends the utterance.
    pub max_gap: Duration,
    /// Thresholds of the voice activity detector.
    pub vad: VadConfig,
}

impl Default for SegmentConfig {
    fn default() -> Self {
        Self {
            pre_roll: Duration::from_millis(300),
            post_roll: Duration::from_millis(300),
            min_speech: Duration::from_millis(250),
            end_silence: Duration::from_millis(500),
            max_length: Duration::from_secs(8),
            max_gap: Duration::from_millis(250),
            vad: VadConfig::default(),
        }
    }
}

/// A segmentation that cannot work.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("segmentation: {what}")]
pub struct InvalidSegment {
    what: &'static str,
}

impl SegmentConfig {
    fn check(&self) -> Result<(), InvalidSegment> {
        let complain = |what| Err(InvalidSegment { what });
        if !(MIN_MAX_LENGTH..=MAX_MAX_LENGTH).contains(&self.max_length) {
            return complain("the longest utterance must last 1 to 600 seconds; set max_length so");
        }
        if self.pre_roll + self.end_silence > self.max_length / 2 {
            return complain(
                "pre-roll and end silence fill more than half of the longest utterance; shorten them",
            );
        }
        if self.end_silence.is_zero() {
            return complain(
                "the end silence is zero, so every pause ends an utterance; set it above 0",
            );
        }
        let VadConfig { enter, leave } = self.vad;
        if !(0.0 < leave && leave <= enter && enter < 1.0) {
            return complain(
                "the voice thresholds must satisfy 0 < leave <= enter < 1; correct them",
            );
        }
        Ok(())
    }
}

/// Sound that was lost inside an utterance, or that ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Where it lies, from the utterance's first sample.
    pub at: Duration,
    /// How much was lost; zero when unknown.
    pub length: Duration,
}

/// What was said between two silences.
#[derive(Debug, Clone, PartialEq)]
pub struct Utterance {
    /// Stream time of the first sample.
    pub start: Duration,
    /// 16 kHz mono, pre-roll and post-roll included.
    pub samples: Vec<f32>,
    /// Lost sound, in order; short gaps are silence inside `samples`.
    pub gaps: Vec<Gap>,
    /// Ended by the length limit, by a gap or by an interruption, not by a silence: the speaker
    /// went on.
    pub cut: bool,
}

impl Utterance {
    /// Length of the samples.
    #[must_use]
    pub fn duration(&self) -> Duration {
        duration_of(self.samples.len() as u64)
    }

    /// Level of its loudest 100 ms, in dB of full scale; -120 of silence.
    #[must_use]
    pub fn level(&self) -> f32 {
        let power = |part: &[f32]| part.iter().map(|x| x * x).sum::<f32>() / part.len() as f32;
        let loudest = self.samples.chunks(LEVEL_WINDOW).map(power);
        10.0 * loudest.fold(1e-12, f32::max).log10()
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    Idle,
    /// `voiced` frames heard; the last of them ends at `end` in the held samples. `is_sure` once
    /// they are too many for a click, and for as long as the speaker goes on.
    Speaking {
        voiced: usize,
        end: usize,
        is_sure: bool,
    },
}

/// The configuration in samples and frames.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    pre_roll: usize,
    post_roll: usize,
    min_voiced: usize,
    end_silence: usize,
    max_length: usize,
    max_gap: usize,
}

impl Sizes {
    fn of(config: &SegmentConfig) -> Self {
        Self {
            pre_roll: samples_in(config.pre_roll),
            // What lies between speech and the closing decision is all there is to keep.
            post_roll: samples_in(config.post_roll.min(config.end_silence)),
            min_voiced: samples_in(config.min_speech).div_ceil(FRAME),
            end_silence: samples_in(config.end_silence),
            max_length: samples_in(config.max_length),
            max_gap: samples_in(config.max_gap),
        }
    }
}

/// Cuts a stream into utterances.
pub struct Segmenter {
    sizes: Sizes,
    vad: Vad,
    state: State,
    /// Samples that do not fill a frame yet.
    pending: Vec<f32>,
    /// Idle: the pre-roll. Speaking: the utterance so far.
    held: Vec<f32>,
    /// Gaps by sample position in `held`.
    gaps: Vec<(usize, Duration)>,
    /// Stream time of the first sample since the last discontinuity.
    origin: Duration,
    /// Position of `held[0]`, counted from `origin`.
    held_at: u64,
    started: bool,
}

impl Segmenter {
    /// A segmenter that has heard nothing.
    ///
    /// # Errors
    /// [`InvalidSegment`] when the configuration contradicts itself.
    pub fn new(config: &SegmentConfig) -> Result<Self, InvalidSegment> {
        config.check()?;
        Ok(Self {
            sizes: Sizes::of(config),
            vad: Vad::new(config.vad),
            state: State::Idle,
            pending: Vec::with_capacity(FRAME),
            held: Vec::new(),
            gaps: Vec::new(),
            origin: Duration::ZERO,
            held_at: 0,
            started: false,
        })
    }

    /// Whether somebody is speaking right now (an indicator's business).
    #[must_use]
    pub fn is_speaking(&self) -> bool {
        matches!(self.state, State::Speaking { .. })
    }

    /// The same, but not of a click or a cough: true once there is an utterance worth it, and
    /// until the silence that ends what is said, through the cuts of a long one.
    #[must_use]
    pub fn hears_somebody(&self) -> bool {
        matches!(self.state, State::Speaking { is_sure: true, .. })
    }

    /// How long somebody has been speaking in the utterance under way; zero while nobody does.
    #[must_use]
    pub fn spoken(&self) -> Duration {
        match self.state {
            State::Idle => Duration::ZERO,
            State::Speaking { end, .. } => {
                duration_of(end.saturating_sub(self.sizes.pre_roll) as u64)
            }
        }
    }

    /// A copy of the utterance under way, as it would be if nothing more were said; `None` while
    /// there is none worth it. What will be cut stays the same.
    #[must_use]
    pub fn under_way(&self) -> Option<Utterance> {
        match self.state {
            State::Speaking { voiced, end, .. } if voiced >= self.sizes.min_voiced => {
                let keep = self.held.len().min(end + self.sizes.post_roll);
                Some(self.utterance(keep, false))
            }
            _ => None,
        }
    }

    /// Takes the next chunk and returns the utterances that it completed.
    pub fn push(&mut self, chunk: &AudioChunk) -> Vec<Utterance> {
        let mut out = Vec::new();
        if !self.started {
            self.started = true;
            self.origin = chunk.start;
        } else if let Some(gap) = chunk.gap {
            self.bridge(gap, chunk.start, &mut out);
        }
        self.take(&chunk.samples, &mut out);
        out
    }

    /// Ends the stream: the utterance under way, if there is one worth it.
    pub fn finish(&mut self) -> Option<Utterance> {
        self.end(false)
    }

    /// What comes next is not for it: cuts the utterance under way, if there is one worth it, and
    /// begins anew with the next chunk.
    pub fn interrupt(&mut self) -> Option<Utterance> {
        self.end(true)
    }

    fn end(&mut self, cut: bool) -> Option<Utterance> {
        self.held.append(&mut self.pending);
        let last = self.close(cut);
        self.restart(Duration::ZERO);
        self.started = false;
        last
    }

    /// Fills a short gap; ends the utterance at a long one and starts anew behind it.
    fn bridge(&mut self, gap: Duration, resumed: Duration, out: &mut Vec<Utterance>) {
        self.note_gap(gap);
        let lost = samples_in(gap);
        if lost <= self.sizes.max_gap {
            self.take(&vec![0.0; lost], out);
            return;
        }
        self.held.append(&mut self.pending);
        out.extend(self.close(true));
        self.restart(resumed);
    }

    fn note_gap(&mut self, length: Duration) {
        let at = self.held.len() + self.pending.len();
        let full = self.gaps.len() >= MAX_GAPS;
        match self.gaps.last_mut() {
            Some(last) if full => last.1 += length,
            _ => self.gaps.push((at, length)),
        }
    }

    fn restart(&mut self, origin: Duration) {
        self.vad.reset();
        self.state = State::Idle;
        self.pending.clear();
        self.held.clear();
        self.gaps.clear();
        self.origin = origin;
        self.held_at = 0;
    }

    fn take(&mut self, mut samples: &[f32], out: &mut Vec<Utterance>) {
        while !samples.is_empty() {
            let wanted = (FRAME - self.pending.len()).min(samples.len());
            let (now, later) = samples.split_at(wanted);
            self.pending.extend_from_slice(now);
            samples = later;
            if let Some(frame) = self.pending.first_chunk::<FRAME>().copied() {
                self.pending.clear();
                out.extend(self.frame(&frame));
            }
        }
    }

    fn frame(&mut self, frame: &[f32; FRAME]) -> Option<Utterance> {
        let speech = self.vad.hears_speech(frame);
        self.held.extend_from_slice(frame);
        let len = self.held.len();
        match &mut self.state {
            State::Idle if speech => {
                self.state = State::Speaking {
                    voiced: 1,
                    end: len,
                    is_sure: self.sizes.min_voiced <= 1,
                };
                None
            }
            State::Idle => {
                self.drop_front(len.saturating_sub(self.sizes.pre_roll));
                None
            }
            State::Speaking {
                voiced,
                end,
                is_sure,
            } => {
                if speech {
                    *voiced += 1;
                    *end = len;
                    *is_sure |= *voiced >= self.sizes.min_voiced;
                }
                if len - *end >= self.sizes.end_silence {
                    self.close(false)
                } else if len >= self.sizes.max_length {
                    self.cut()
                } else {
                    None
                }
            }
        }
    }

    /// Ends the utterance under way behind its last voiced frame; `None` if too short.
    fn close(&mut self, cut: bool) -> Option<Utterance> {
        let State::Speaking { voiced, end, .. } = self.state else {
            return None;
        };
        self.state = State::Idle;
        // A stream that broke off keeps everything: the gap lies at its end.
        let keep = if cut {
            self.held.len()
        } else {
            self.held.len().min(end + self.sizes.post_roll)
        };
        let utterance = (voiced >= self.sizes.min_voiced).then(|| self.utterance(keep, cut));
        let idle_from = self.held.len().saturating_sub(self.sizes.pre_roll);
        self.drop_front(keep.max(idle_from));
        utterance
    }

    /// Cuts an utterance that grew too long at the quietest point of its last quarter.
    fn cut(&mut self) -> Option<Utterance> {
        let State::Speaking {
            voiced,
            end,
            is_sure,
        } = self.state
        else {
            return None;
        };
        let len = self.held.len();
        let from = len - len / 4;
        let at = from + quietest(&self.held[from..]);
        let utterance = (voiced >= self.sizes.min_voiced).then(|| self.utterance(at, true));
        self.drop_front(at);
        // Voiced frames are not kept by place: what lies behind the cut is counted as voiced.
        let rest = end.saturating_sub(at);
        self.state = State::Speaking {
            voiced: voiced.min(rest / FRAME),
            end: rest,
            is_sure,
        };
        utterance
    }

    fn utterance(&self, keep: usize, cut: bool) -> Utterance {
        let gaps = self.gaps.iter().filter(|(at, _)| *at <= keep);
        Utterance {
            start: self.origin + duration_of(self.held_at),
            samples: self.held[..keep].to_vec(),
            gaps: gaps
                .map(|&(at, length)| Gap {
                    at: duration_of(at as u64),
                    length,
                })
                .collect(),
            cut,
        }
    }

    fn drop_front(&mut self, count: usize) {
        self.held.drain(..count);
        self.held_at += count as u64;
        self.gaps.retain_mut(|(at, _)| {
            let inside = *at >= count;
            *at = at.saturating_sub(count);
            inside
        });
    }
}

/// Centre of the window of 30 ms with the least energy.
fn quietest(samples: &[f32]) -> usize {
    let energy = |window: &[f32]| window.iter().map(|x| x * x).sum::<f32>();
    let best = samples
        .windows(CUT_WINDOW)
        .enumerate()
        .step_by(CUT_WINDOW / 3)
        .min_by(|(_, a), (_, b)| energy(a).total_cmp(&energy(b)));
    best.map_or(samples.len() / 2, |(start, _)| start + CUT_WINDOW / 2)
}

/// The part of a whole recording in which somebody speaks, with the default margins.
///
/// Runs of voice that together last less than [`SegmentConfig::min_speech`] before a
/// silence of [`SegmentConfig::end_silence`] do not count. `None`: no speech was found.
#[must_use]
pub fn trim(samples: &[f32]) -> Option<Range<usize>> {
    let config = SegmentConfig::default();
    let sizes = Sizes::of(&config);
    let spans = spans(samples, &config, &sizes);
    let (first, last) = (spans.first()?, spans.last()?);
    let start = first.start.saturating_sub(sizes.pre_roll);
    Some(start..samples.len().min(last.end + sizes.post_roll))
}

/// Voiced spans between silences, those that are long enough.
fn spans(samples: &[f32], config: &SegmentConfig, sizes: &Sizes) -> Vec<Range<usize>> {
    let mut vad = Vad::for_recording(config.vad, samples);
    let mut spans: Vec<(Range<usize>, usize)> = Vec::new();
    for (index, chunk) in samples.chunks(FRAME).enumerate() {
        let mut frame = [0.0; FRAME];
        frame[..chunk.len()].copy_from_slice(chunk);
        if !vad.hears_speech(&frame) {
            continue;
        }
        let (start, end) = (index * FRAME, index * FRAME + chunk.len());
        match spans.last_mut() {
            Some((span, voiced)) if start - span.end < sizes.end_silence => {
                span.end = end;
                *voiced += 1;
            }
            _ => spans.push((start..end, 1)),
        }
    }
    spans.retain(|(_, voiced)| *voiced >= sizes.min_voiced);
    spans.into_iter().map(|(span, _)| span).collect()
}
