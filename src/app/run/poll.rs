//! The polling side of `run`: sound, words and pictures, each as they come.

use super::ear::Ear;
use super::eye::Eye;
use super::guard::{Guard, Wish};
use super::herald::Herald;
use super::worker::Work;
use super::{Shared, Sound, camera_name, name};
use crate::Error;
use crate::app::analyze::{segmenter, wait};
use crate::app::queue::Job;
use crate::board::profile::Profile;
use crate::board::thermal::Condition;
use crate::capture::camera::{CameraSpec, Frame};
use crate::capture::notices::Notices;
use crate::capture::text::{TextLine, TextSource, in_order, open_text};
use crate::capture::{CaptureError, Channel};
use crate::service::audit::Record;
use crate::service::metrics::{Counter, Machine};
use crate::service::progress::Stage;
use crate::signal::duration_of;
use crate::signal::segment::Segmenter;
use crate::tasks::pair::Pairing;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Pause between two polls that found nothing.
const IDLE: Duration = Duration::from_millis(10);
/// Pause between two times that the service is brought up to date.
const ACCOUNT: Duration = Duration::from_secs(1);

/// Where everything comes from.
pub(crate) struct Sources {
    pub sound: Sound,
    /// Which channel of the sound is heard.
    pub channel: Channel,
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

/// The sources, open while nobody asked for silence.
pub(super) struct Poller<'a> {
    sources: &'a Sources,
    profile: &'a Profile,
    shared: &'a Shared,
    herald: Herald<'a>,
    guard: Guard,
    /// The sources were opened; they are not before consent is given.
    begun: bool,
    ear: Option<Ear>,
    text: Option<Box<dyn TextSource>>,
    /// What has been told of the words.
    notices: Notices,
    eye: Option<Eye>,
    /// Words for sound that does not wait for them: all of them, read beforehand.
    script: VecDeque<TextLine>,
    sound: String,
    camera: String,
    segmenter: Segmenter,
    pairing: Pairing,
    heard: f64,
    opened: Instant,
    /// When the service was last brought up to date.
    accounted: Instant,
    failure: Option<Error>,
}

/// The other side is gone: nothing more will be answered.
struct Gone;

impl<'a> Poller<'a> {
    /// Opens every source, unless the guard keeps them closed. One that cannot be opened is
    /// told by [`Poller::poll`], which then closes the others.
    ///
    /// # Errors
    /// Settings of the segmenter that contradict each other.
    pub(super) fn open(
        sources: &'a Sources,
        profile: &'a Profile,
        shared: &'a Shared,
        herald: Herald<'a>,
        guard: Guard,
    ) -> Result<Self, Error> {
        let mut poller = Poller {
            sources,
            profile,
            shared,
            herald,
            guard,
            begun: false,
            ear: None,
            text: None,
            notices: Notices::default(),
            eye: None,
            script: VecDeque::new(),
            sound: name(&sources.sound),
            camera: camera_name(&sources.camera),
            segmenter: segmenter()?,
            pairing: Pairing::new(sources.patience),
            heard: 0.0,
            opened: Instant::now(),
            accounted: Instant::now(),
            failure: None,
        };
        let muted = poller.guard.is_muted();
        shared.metrics.mute(muted);
        if muted {
            poller.herald.record(Record::Mute { by: "start" });
        } else {
            poller.begin();
        }
        if poller.failure.is_none() {
            poller.herald.ready(status(muted));
        }
        Ok(poller)
    }

    fn begin(&mut self) {
        self.begun = true;
        self.opened = Instant::now();
        if let Err(e) = self.open_all() {
            self.fail("sources", e);
            self.close();
        }
    }

    fn open_all(&mut self) -> Result<(), Error> {
        self.ear = Ear::open(&self.sources.sound, self.sources.channel)?;
        let mut text = self.sources.words.then(|| open_text(Path::new("-")));
        // a recording plays faster than anyone types, so its words are read first
        let recorded = self.ear.as_ref().is_some_and(Ear::is_recorded);
        if let Some(mut lines) = text.take_if(|_| recorded) {
            let mut script = Vec::new();
            while let Some(line) = wait(lines.as_mut())? {
                script.push(line);
            }
            in_order(&mut script);
            self.script = script.into();
            if let Some((state, detail)) = self.notices.text(&lines.report(), Instant::now()) {
                self.herald.say("text", state, detail);
            }
        }
        self.text = text;
        self.eye = Eye::open(&self.sources.camera, self.sources.every)?;
        Ok(())
    }

    /// Polls until every source has ended, `stop` is raised, or the other side is gone. The
    /// lamp goes out behind the last source.
    ///
    /// # Errors
    /// The first source that failed for good; the others go on without it. A lamp or button
    /// that fails ends all of them.
    pub(super) fn poll(mut self, stop: &AtomicBool) -> Result<(), Error> {
        let guarded = self.poll_all(stop);
        if guarded.is_ok() {
            self.finish();
        }
        self.count();
        self.close();
        let machine = machine(self.profile);
        let Poller {
            guard,
            failure,
            mut herald,
            ..
        } = self;
        let has_lamp = guard.has_lamp();
        drop(guard);
        if has_lamp && guarded.is_ok() {
            herald.say("indicator", "off", "");
        }
        let reason = match (&guarded, &failure) {
            (Ok(()), None) if stop.load(Ordering::Relaxed) => "signal",
            (Ok(()), None) => "sources ended",
            _ => "fault",
        };
        herald.stop(reason, &machine);
        guarded.and(failure.map_or(Ok(()), Err))
    }

    fn poll_all(&mut self, stop: &AtomicBool) -> Result<(), Error> {
        while !stop.load(Ordering::Relaxed) && self.is_open() {
            match self.guard.tick(Instant::now()) {
                Ok(None) => {}
                Ok(Some(Wish::Mute)) => self.mute(),
                Ok(Some(Wish::Unmute)) => self.unmute(),
                Err(fault) => {
                    // nothing is read any more before anything else is done
                    self.close();
                    self.guard.fault(Instant::now());
                    self.herald.say("indicator", "failed", fault.to_string());
                    self.herald.record(Record::Fault {
                        part: "indicator",
                        what: "lamp or button cannot be reached",
                    });
                    return Err(fault.into());
                }
            }
            let Ok(any) = self.poll_once() else {
                return Ok(());
            };
            self.account();
            if !any {
                std::thread::sleep(IDLE);
            }
        }
        Ok(())
    }

    /// Looks at every source once. `Ok(true)` when there was something.
    fn poll_once(&mut self) -> Result<bool, Gone> {
        let heard = self.poll_audio().unwrap_or_else(|e| {
            // what was heard before the source failed is still answered
            self.fail("sound", e.into());
            self.ear = None;
            self.text = None;
            true
        });
        let read = self.poll_text().unwrap_or_else(|e| {
            self.fail("text", e.into());
            self.text = None;
            true
        });
        let seen = self.poll_camera().unwrap_or_else(|e| {
            self.fail("camera", e.into());
            self.eye = None;
            Ok(true)
        })?;
        self.hand_over(false)?;
        self.advance(heard, seen);
        Ok(heard || read || seen)
    }

    fn fail(&mut self, part: &'static str, error: Error) {
        let what = "it cannot be read any more";
        self.herald.record(Record::Fault { part, what });
        self.failure.get_or_insert(error);
    }

    /// Tells the watchdog what moved: a device that is waited for, or muted, does its work.
    fn advance(&self, heard: bool, seen: bool) {
        let (progress, muted) = (&self.shared.progress, self.guard.is_muted());
        progress.advance(Stage::Poll);
        match &self.ear {
            None if self.begun => progress.retire(Stage::Sound),
            Some(ear) if !(heard || muted || ear.waits()) => {}
            _ => progress.advance(Stage::Sound),
        }
        match &self.eye {
            None if self.begun => progress.retire(Stage::Camera),
            Some(eye) if !(seen || muted || eye.waits()) => {}
            _ => progress.advance(Stage::Camera),
        }
    }

    /// Brings the service up to date, once a second.
    fn account(&mut self) {
        if self.accounted.elapsed() < ACCOUNT {
            return;
        }
        self.accounted = Instant::now();
        self.count();
        let profile = self.profile;
        self.herald.tick(|| machine(profile));
    }

    fn count(&self) {
        let metrics = &self.shared.metrics;
        if let Some(ear) = &self.ear {
            let lost = ear.counters();
            metrics.set(Counter::Overruns, lost.xruns);
            metrics.set(Counter::SoundDropped, lost.dropped_frames);
            metrics.set(Counter::SoundRestarts, lost.reopened);
        }
        if let Some(eye) = &self.eye {
            let report = eye.report();
            metrics.set(Counter::PicturesDamaged, report.damaged);
            metrics.set(Counter::PicturesDropped, report.dropped);
            metrics.set(Counter::CameraRestarts, report.restarts);
            metrics.set(Counter::SkippedLooks, eye.left_out());
        }
    }

    /// Answers what was still waiting for its words.
    fn finish(&mut self) {
        self.end_utterance();
        // a closed queue is noticed where the answers go
        let _ = self.hand_over(true);
    }

    fn end_utterance(&mut self) {
        let last = self.segmenter.finish();
        last.into_iter().for_each(|u| self.pairing.utterance(u));
    }

    fn close(&mut self) {
        (self.ear, self.eye, self.text) = (None, None, None);
    }

    /// Closes the devices, and forgets what they gave and nobody has answered yet.
    fn mute(&mut self) {
        self.ear.iter_mut().for_each(Ear::mute);
        self.eye.iter_mut().for_each(Eye::mute);
        self.segmenter.finish();
        self.pairing = Pairing::new(self.sources.patience);
        self.shared.queue.forget(|work| {
            if matches!(work, Work::Looked(..)) {
                self.shared.looks.fetch_sub(1, Ordering::AcqRel);
            }
        });
        self.herald.record(Record::Mute { by: "button" });
        self.tell_sources(true);
    }

    /// Opens what [`Poller::mute`] closed; with consent, for the first time.
    fn unmute(&mut self) {
        self.herald.record(Record::Unmute { by: "button" });
        self.tell_sources(false);
        if !self.begun {
            return self.begin();
        }
        self.ear.iter_mut().for_each(Ear::unmute);
        if let Some(Err(e)) = self.eye.as_mut().map(Eye::unmute) {
            self.fail("camera", e.into());
            self.eye = None;
        }
    }

    fn tell_sources(&mut self, muted: bool) {
        let (button, state) = match muted {
            true => ("muted", "muted"),
            false => ("unmuted", "capturing"),
        };
        self.shared.metrics.mute(muted);
        self.herald.status(status(muted));
        self.herald.say("button", button, "");
        for source in self.sources.names() {
            self.herald.source(&source, state, "");
        }
    }

    fn is_open(&self) -> bool {
        !self.begun || self.ear.is_some() || self.text.is_some() || self.eye.is_some()
    }

    fn is_live(&self) -> bool {
        matches!(self.sources.sound, Sound::Device(_))
    }

    /// Stream time: what was heard, or the clock when there is no sound.
    fn now(&self) -> f64 {
        if self.ear.is_some() || self.heard > 0.0 {
            self.heard
        } else {
            self.opened.elapsed().as_secs_f64()
        }
    }

    /// `Ok(true)` when there was something.
    fn poll_audio(&mut self) -> Result<bool, CaptureError> {
        let Some(ear) = self.ear.as_mut() else {
            return Ok(false);
        };
        let polled = ear.poll();
        if let Some((state, detail)) = ear.change() {
            self.herald.source(&self.sound, state, detail);
        }
        if let Some((state, detail)) = ear.notice(Instant::now()) {
            self.herald.say(&self.sound, state, detail);
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
                self.ear = None;
                self.end_utterance();
                Ok(true)
            }
            Err(nb::Error::WouldBlock) => Ok(false),
            Err(nb::Error::Other(e)) => Err(e),
        }
    }

    fn poll_text(&mut self) -> Result<bool, CaptureError> {
        let Some(text) = self.text.as_mut() else {
            return Ok(false);
        };
        let polled = text.poll();
        if let Some((state, detail)) = self.notices.text(&text.report(), Instant::now()) {
            self.herald.say("text", state, detail);
        }
        match polled {
            // what was said into other ears while muted is nobody's business
            Ok(Some(_)) if self.guard.is_muted() => Ok(true),
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
            Err(nb::Error::Other(e)) => Err(e),
        }
    }

    /// `Ok(Ok(true))` when there was something.
    fn poll_camera(&mut self) -> Result<Result<bool, Gone>, CaptureError> {
        let Some(eye) = self.eye.as_mut().filter(|_| !self.guard.is_muted()) else {
            return Ok(Ok(false));
        };
        let now = Instant::now();
        let seen = eye.poll(&self.shared.looks, now)?;
        if let Some((state, detail)) = eye.change() {
            self.herald.source(&self.camera, state, detail);
        }
        if let Some(detail) = eye.skipped(now) {
            self.herald.say(&self.camera, "skipped", detail);
        }
        let live = eye.is_live();
        if let Some(frame) = seen.look {
            let at = frame.at.as_secs_f64();
            self.shared.looks.fetch_add(1, Ordering::AcqRel);
            if self.push(Work::Looked(frame, at), live).is_err() {
                return Ok(Err(Gone));
            }
        }
        if seen.ended {
            self.eye = None;
        }
        Ok(Ok(seen.any || seen.ended))
    }

    /// Queues every pair that is complete.
    fn hand_over(&mut self, ended: bool) -> Result<(), Gone> {
        // without sound, or behind its end, nothing is left to wait for
        let ended = ended || (self.begun && self.ear.is_none());
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
            self.push(Work::Said(pair, now, frame), self.is_live())?;
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
    fn push(&self, work: Work, live: bool) -> Result<(), Gone> {
        match self.shared.queue.push(Job::Answer(work), live) {
            Err(_) => Err(Gone),
            Ok(None) => Ok(()),
            Ok(Some(Work::Looked(..))) => {
                self.shared.looks.fetch_sub(1, Ordering::AcqRel);
                Ok(())
            }
            Ok(Some(Work::Said(..))) => {
                let detail =
                    "answers take longer than people speak: the oldest utterance was not judged";
                self.shared.metrics.add(Counter::SkippedUtterances, 1);
                self.herald.say(&self.sound, "skipped", detail);
                Ok(())
            }
        }
    }
}

/// What the machine is like, for the metrics.
fn machine(profile: &Profile) -> Machine {
    let condition = Condition::read(profile.thermal_zone.as_deref());
    Machine {
        temperature: condition.temperature,
        throttled: condition.throttled(),
        ..Machine::of_process()
    }
}

/// For `systemctl status`.
fn status(muted: bool) -> &'static str {
    if muted { "muted" } else { "capturing" }
}
