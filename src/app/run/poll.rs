//! The polling side of `run`: sound, words and pictures, each as they come.

use super::eye::Eye;
use super::worker::Work;
use super::{Sound, camera_name, name};
use crate::Error;
use crate::app::analyze::{segmenter, wait};
use crate::app::queue::{Job, Queue};
use crate::capture::camera::{CameraSpec, Frame};
use crate::capture::mic::{Mic, MicState};
use crate::capture::text::{TextLine, open_text};
use crate::capture::{AudioChunk, AudioSource, CaptureError, Source, open_audio};
use crate::signal::duration_of;
use crate::signal::segment::Segmenter;
use crate::tasks::pair::Pairing;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Pause between two polls that found nothing.
const IDLE: Duration = Duration::from_millis(10);

/// Where everything comes from.
pub(super) struct Sources {
    pub sound: Sound,
    pub camera: CameraSpec,
    /// Least time between two looks at the camera.
    pub every: Duration,
    /// Words come from standard input.
    pub words: bool,
    /// Seconds that an utterance waits for its words.
    pub patience: f64,
}

impl Sources {
    /// What is announced before it is opened.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        if self.sound != Sound::None || self.camera == CameraSpec::None {
            names.push(name(&self.sound));
        }
        if self.camera != CameraSpec::None {
            names.push(camera_name(&self.camera));
        }
        names
    }
}

/// An open source of sound.
enum Audio {
    Live(Box<Mic>, MicState),
    File(Box<dyn AudioSource>),
}

impl Audio {
    fn open(sound: &Sound) -> Result<Option<Audio>, CaptureError> {
        Ok(match sound {
            Sound::Device(name) => {
                // `default` is the host's choice, no device of that name
                let mic = Mic::open(Some(name.as_str()).filter(|n| *n != "default"))?;
                let state = mic.state().clone();
                Some(Audio::Live(Box::new(mic), state))
            }
            Sound::File(path) => Some(Audio::File(open_audio(path)?)),
            Sound::None => None,
        })
    }

    fn poll(&mut self) -> nb::Result<Option<AudioChunk>, CaptureError> {
        match self {
            Audio::Live(mic, _) => mic.poll(),
            Audio::File(file) => file.poll(),
        }
    }

    /// The microphone's state in words, when it is another than last time.
    fn change(&mut self) -> Option<(&'static str, String)> {
        let Audio::Live(mic, last) = self else {
            return None;
        };
        if mic.state() == last {
            return None;
        }
        *last = mic.state().clone();
        Some(match last {
            MicState::Listening => ("listening", lost(mic)),
            MicState::Paused => ("muted", String::new()),
            MicState::Waiting { reason, retry_in } => (
                "lost",
                format!("{reason}; trying again in {:.1} s", retry_in.as_secs_f64()),
            ),
            _ => ("failed", String::new()),
        })
    }
}

/// What a microphone has lost so far, in words; empty when nothing.
fn lost(mic: &Mic) -> String {
    let counters = mic.counters();
    if counters == Default::default() {
        return String::new();
    }
    format!(
        "so far {} overruns, {} dropped frames, opened again {} times",
        counters.xruns, counters.dropped_frames, counters.reopened
    )
}

/// The open sources.
pub(super) struct Poller<'a> {
    audio: Option<Audio>,
    text: Option<Box<dyn Source<Item = TextLine> + Send>>,
    eye: Option<Eye>,
    /// Words for sound that does not wait for them: all of them, read beforehand.
    script: VecDeque<TextLine>,
    sound: String,
    camera: String,
    live: bool,
    segmenter: Segmenter,
    pairing: Pairing,
    heard: f64,
    opened: Instant,
    /// Looks that are not answered yet.
    looks: &'a AtomicUsize,
}

/// The other side is gone: nothing more will be answered.
struct Gone;

impl<'a> Poller<'a> {
    /// Opens every source.
    ///
    /// # Errors
    /// One that cannot be opened.
    pub(super) fn open(sources: &Sources, looks: &'a AtomicUsize) -> Result<Self, Error> {
        let audio = Audio::open(&sources.sound)?;
        let stdin = sources.words.then(|| open_text(Path::new("-")));
        let mut text = stdin.transpose()?;
        let mut script = VecDeque::new();
        // a recording plays faster than anyone types, so its words are read first
        if let (Some(Audio::File(_)), Some(mut lines)) = (
            &audio,
            text.take_if(|_| matches!(sources.sound, Sound::File(_))),
        ) {
            while let Some(line) = wait(lines.as_mut())? {
                script.push_back(line);
            }
        }
        Ok(Poller {
            live: matches!(sources.sound, Sound::Device(_)),
            eye: Eye::open(&sources.camera, sources.every)?,
            script,
            sound: name(&sources.sound),
            camera: camera_name(&sources.camera),
            audio,
            text,
            segmenter: segmenter()?,
            pairing: Pairing::new(sources.patience),
            heard: 0.0,
            opened: Instant::now(),
            looks,
        })
    }

    /// Polls until every source has ended, `stop` is raised, or the other side is gone.
    ///
    /// # Errors
    /// The first source that failed for good; the others go on without it.
    pub(super) fn poll(&mut self, queue: &Queue<Work>, stop: &AtomicBool) -> Result<(), Error> {
        let mut failure: Option<Error> = None;
        while !stop.load(Ordering::Relaxed) && self.is_open() {
            let heard = self.poll_audio(queue).unwrap_or_else(|e| {
                // what was heard before the source failed is still answered
                failure = failure.take().or(Some(e.into()));
                self.audio = None;
                self.text = None;
                true
            });
            let read = self.poll_text()?;
            let seen = self.poll_camera(queue).unwrap_or_else(|e| {
                failure = failure.take().or(Some(e.into()));
                self.eye = None;
                Ok(true)
            });
            let Ok(seen) = seen else { return Ok(()) };
            if self.hand_over(queue, false).is_err() {
                return Ok(());
            }
            if !heard && !read && !seen {
                std::thread::sleep(IDLE);
            }
        }
        self.segmenter
            .finish()
            .into_iter()
            .for_each(|u| self.pairing.utterance(u));
        // a closed queue is noticed where the answers go
        let _ = self.hand_over(queue, true);
        failure.map_or(Ok(()), Err)
    }

    fn is_open(&self) -> bool {
        self.audio.is_some() || self.text.is_some() || self.eye.is_some()
    }

    /// Stream time: what was heard, or the clock when there is no sound.
    fn now(&self) -> f64 {
        if self.audio.is_some() || self.heard > 0.0 {
            self.heard
        } else {
            self.opened.elapsed().as_secs_f64()
        }
    }

    /// `Ok(true)` when there was something.
    fn poll_audio(&mut self, queue: &Queue<Work>) -> Result<bool, CaptureError> {
        let Some(audio) = self.audio.as_mut() else {
            return Ok(false);
        };
        let polled = audio.poll();
        if let Some((state, detail)) = audio.change() {
            tell(queue, &self.sound, state, detail);
        }
        match polled {
            Ok(Some(chunk)) => {
                self.heard = (chunk.start + duration_of(chunk.samples.len() as u64)).as_secs_f64();
                self.segmenter
                    .push(&chunk)
                    .into_iter()
                    .for_each(|u| self.pairing.utterance(u));
                Ok(true)
            }
            Ok(None) => {
                self.audio = None;
                Ok(true)
            }
            Err(nb::Error::WouldBlock) => Ok(false),
            Err(nb::Error::Other(e)) => Err(e),
        }
    }

    fn poll_text(&mut self) -> Result<bool, Error> {
        let Some(text) = self.text.as_mut() else {
            return Ok(false);
        };
        match text.poll() {
            Ok(Some(line)) => {
                let now = self.now();
                self.pairing.line(line, now);
                Ok(true)
            }
            Ok(None) => {
                self.text = None;
                Ok(true)
            }
            Err(nb::Error::WouldBlock) => Ok(false),
            Err(nb::Error::Other(e)) => Err(e.into()),
        }
    }

    /// `Ok(Ok(true))` when there was something.
    fn poll_camera(&mut self, queue: &Queue<Work>) -> Result<Result<bool, Gone>, CaptureError> {
        let Some(eye) = self.eye.as_mut() else {
            return Ok(Ok(false));
        };
        let now = Instant::now();
        let seen = eye.poll(self.looks, now)?;
        if let Some((state, detail)) = eye.change() {
            tell(queue, &self.camera, state, detail);
        }
        if let Some(detail) = eye.skipped(now) {
            tell(queue, &self.camera, "skipped", detail);
        }
        let live = eye.is_live();
        if let Some(frame) = seen.look {
            let at = frame.at.as_secs_f64();
            self.looks.fetch_add(1, Ordering::AcqRel);
            if self.push(queue, Work::Looked(frame, at), live).is_err() {
                return Ok(Err(Gone));
            }
        }
        if seen.ended {
            self.eye = None;
        }
        Ok(Ok(seen.any || seen.ended))
    }

    /// Queues every pair that is complete.
    fn hand_over(&mut self, queue: &Queue<Work>, ended: bool) -> Result<(), Gone> {
        let now = self.now();
        let due = |line: &TextLine| ended || line.start.is_none_or(|t| t.as_secs_f64() <= now);
        while self.script.front().is_some_and(due) {
            self.script
                .pop_front()
                .into_iter()
                .for_each(|line| self.pairing.line(line, now));
        }
        while let Some(pair) = self.pairing.next(now, self.segmenter.is_speaking(), ended) {
            let frame = self.frame();
            self.push(queue, Work::Said(pair, now, frame), self.live)?;
        }
        Ok(())
    }

    /// What the camera sees now.
    fn frame(&self) -> Option<Arc<Frame>> {
        let at = self.opened.elapsed().as_secs_f64();
        self.eye.as_ref().and_then(|eye| eye.fresh(at))
    }

    /// Queues an answer to be given; when a live source finds the queue full, the oldest one
    /// gives way, and that is told.
    fn push(&self, queue: &Queue<Work>, work: Work, live: bool) -> Result<(), Gone> {
        match queue.push(Job::Answer(work), live) {
            Err(_) => Err(Gone),
            Ok(None) => Ok(()),
            Ok(Some(Work::Looked(..))) => {
                self.looks.fetch_sub(1, Ordering::AcqRel);
                Ok(())
            }
            Ok(Some(Work::Said(..))) => {
                let detail =
                    "answers take longer than people speak: the oldest utterance was not judged";
                tell(queue, &self.sound, "skipped", detail.into());
                Ok(())
            }
        }
    }
}

/// Reports a change of a source; a closed queue is noticed where the answers go.
fn tell(queue: &Queue<Work>, source: &str, state: &'static str, detail: String) {
    let source = source.to_owned();
    let job = Job::State {
        source,
        state,
        detail,
    };
    let _ = queue.push(job, true);
}
