//! The capturing side of `run`: sound, words and pictures, each as they come, while the
//! switch is on.

use super::align::Aligner;
use super::audio::AudioInput;
use super::own::OwnVoice;
use super::sources::Sources;
use super::switch::{Permit, Position, Switch};
use super::video::VideoInput;
use super::worker::Work;
use super::{Shared, TELL_EVERY};
use crate::Error;
use crate::app::queue::{Closed, Lane, Pushed};
use crate::capture::CaptureError;
use crate::capture::camera::Frame;
use crate::capture::notices::{News, Notice, Notices};
use crate::capture::text::{TextLine, TextSource, in_order, open_text};
use crate::event::State;
use crate::service::audit::Record;
use crate::service::metrics::Counter;
use crate::service::progress::Stage;
use crate::service::voice::Voice;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Pause between two polls that found nothing.
const IDLE: Duration = Duration::from_millis(10);
/// Pause between two times that what the sources lost is counted.
const ACCOUNT: Duration = Duration::from_secs(1);

/// Nobody speaks any more where no sound has come for so long, whatever became of its source.
const STALLED: Duration = Duration::from_secs(1);

/// The sources that are open, or muted.
#[derive(Default)]
struct Inputs {
    audio: Option<AudioInput>,
    text: Option<Box<dyn TextSource>>,
    video: Option<VideoInput>,
}

/// What a source had to say.
enum Polled<T> {
    /// Something.
    Item(T),
    /// Nothing yet.
    Nothing,
    /// It has ended.
    Ended,
}

impl<T> Polled<T> {
    fn of(polled: nb::Result<Option<T>, CaptureError>) -> Result<Polled<T>, CaptureError> {
        match polled {
            Ok(Some(item)) => Ok(Polled::Item(item)),
            Ok(None) => Ok(Polled::Ended),
            Err(nb::Error::WouldBlock) => Ok(Polled::Nothing),
            Err(nb::Error::Other(error)) => Err(error),
        }
    }
}

impl Inputs {
    fn have_ended(&self) -> bool {
        self.audio.is_none() && self.text.is_none() && self.video.is_none()
    }

    fn mute(&mut self) {
        self.audio.iter_mut().for_each(AudioInput::mute);
        self.video.iter_mut().for_each(VideoInput::mute);
    }

    fn unmute(&mut self, switch: &Arc<Switch>) {
        let muted = self.audio.iter_mut().filter(|audio| audio.is_muted());
        muted.for_each(|audio| audio.unmute(switch));
        self.video.iter_mut().for_each(VideoInput::unmute);
    }
}

/// Reads the sources and hands on what there is to answer.
pub struct Capture {
    sources: Sources,
    shared: Arc<Shared>,
    /// What events call the sound and the camera.
    names: (String, String),
    inputs: Inputs,
    aligner: Aligner,
    own: OwnVoice,
    /// The sources were opened; they are not before consent is given.
    has_begun: bool,
    /// In which all that is half heard was heard.
    epoch: u64,
    accounted: Instant,
    /// When sound came last.
    sounded: Instant,
    left_out: LeftOut,
    /// What has been told of the words.
    notices: Notices,
    failure: Option<Error>,
}

impl Capture {
    /// Nothing is opened before [`Capture::run`]. `partial`: seconds of speech after which it is
    /// answered so far.
    ///
    /// # Errors
    /// Settings of the segmenter that contradict each other.
    pub fn new(
        sources: Sources,
        own: OwnVoice,
        shared: Arc<Shared>,
        partial: Option<f64>,
    ) -> Result<Capture, Error> {
        let now = Instant::now();
        Ok(Capture {
            names: (sources.sound.name(), sources.camera_name()),
            aligner: Aligner::new(sources.patience, partial)?,
            own,
            sources,
            shared,
            inputs: Inputs::default(),
            has_begun: false,
            epoch: 0,
            accounted: now,
            sounded: now,
            left_out: LeftOut::default(),
            notices: Notices::default(),
            failure: None,
        })
    }

    /// Reads while the switch is on, until it is over, every source has ended, or the other
    /// side is gone.
    ///
    /// # Errors
    /// The first source that failed for good; the others go on without it.
    pub fn run(mut self) -> Result<(), Error> {
        // a closed queue is noticed where the answers go
        let _: Result<(), Closed> = self.read_all();
        self.shared.activity.hear(Voice::Unheard, self.epoch);
        self.count();
        let spoke = self.own.last_news();
        self.tell_own(State::Skipped, spoke);
        self.failure.map_or(Ok(()), Err)
    }

    fn read_all(&mut self) -> Result<(), Closed> {
        loop {
            let (position, epoch) = self.shared.switch.read();
            if epoch != self.epoch {
                // whatever was captured before the press is nobody's business
                self.epoch = epoch;
                self.inputs.mute();
                self.aligner.forget();
            }
            match position {
                Position::Over => return self.finish(),
                Position::On if !self.has_begun => self.begin(),
                Position::On => self.inputs.unmute(&self.shared.switch),
                Position::Off => {}
            }
            if self.has_begun && self.inputs.have_ended() {
                return self.hand_over(true);
            }
            let is_muted = position == Position::Off;
            let any = self.poll(is_muted)?;
            self.shared.activity.hear(self.voice(), self.epoch);
            self.account();
            if !any {
                std::thread::sleep(IDLE);
            }
        }
    }

    /// Whether somebody speaks now.
    fn voice(&self) -> Voice {
        let audio = self.inputs.audio.as_ref();
        if !audio.is_some_and(AudioInput::is_heard) {
            return Voice::Unheard;
        }
        match self.aligner.hears_somebody() && self.sounded.elapsed() < STALLED {
            true => Voice::Speaking,
            false => Voice::Silent,
        }
    }

    fn begin(&mut self) {
        // it may have been switched off again
        let Some(permit) = self.shared.switch.permit() else {
            return;
        };
        self.has_begun = true;
        if let Err(error) = self.open(permit) {
            self.fail_all(error);
        }
    }

    fn open(&mut self, permit: Permit) -> Result<(), CaptureError> {
        let (sources, switch) = (&self.sources, &self.shared.switch);
        self.inputs.audio = AudioInput::open(&sources.sound, sources.hearing, permit)?;
        self.inputs.video = VideoInput::open(&sources.camera, sources.every, switch)?;
        let script = self.open_text()?;
        self.aligner.begin(script, self.inputs.audio.is_some());
        Ok(())
    }

    /// Opens the words. A recording plays faster than anyone types, so its words are read
    /// first.
    fn open_text(&mut self) -> Result<VecDeque<TextLine>, CaptureError> {
        let mut script = Vec::new();
        if !self.sources.words {
            return Ok(script.into());
        }
        let mut text = open_text(Path::new("-"));
        let audio = self.inputs.audio.as_ref();
        if !audio.is_some_and(AudioInput::is_recorded) {
            self.inputs.text = Some(text);
            return Ok(script.into());
        }
        while self.shared.switch.read().0 != Position::Over {
            match Polled::of(text.poll())? {
                Polled::Item(line) => script.push(line),
                Polled::Nothing => std::thread::sleep(IDLE),
                Polled::Ended => break,
            }
        }
        in_order(&mut script);
        let notice = self.notices.text(&text.report(), Instant::now());
        self.tell("text", notice);
        Ok(script.into())
    }

    /// News of a source goes to who reads the events.
    fn tell(&self, source: &str, notice: Option<Notice>) {
        if let Some((news, detail)) = notice {
            let state = match news {
                News::Warning => State::Warning,
                News::Skipped => State::Skipped,
            };
            self.shared.status.say(source, state, detail);
        }
    }

    /// News of the device's own voice goes to who reads the events.
    fn tell_own(&self, state: State, detail: Option<String>) {
        if let Some(detail) = detail {
            self.shared.status.say(&self.names.0, state, detail);
        }
    }

    /// Looks at every source once. Whether there was something.
    fn poll(&mut self, is_muted: bool) -> Result<bool, Closed> {
        let heard = self.poll_audio().unwrap_or_else(|e| {
            // what was heard before the source failed is still answered
            self.fail("sound", e);
            (self.inputs.audio, self.inputs.text) = (None, None);
            true
        });
        let read = self.poll_text(is_muted).unwrap_or_else(|e| {
            self.fail("text", e);
            self.inputs.text = None;
            true
        });
        let look = self.poll_video().unwrap_or_else(|e| {
            self.fail_video(e);
            Polled::Ended
        });
        let seen = !matches!(look, Polled::Nothing);
        if let Polled::Item(Some(frame)) = look {
            let at = frame.at.as_secs_f64();
            let live = self.inputs.video.as_ref().is_some_and(VideoInput::is_live);
            self.push(Lane::Looks, Work::Looked(frame, at), live)?;
        }
        let is_over = self.has_begun && self.inputs.audio.is_none();
        self.hand_over(is_over)?;
        self.advance(heard, seen, is_muted);
        Ok(heard || read || seen)
    }

    /// A source that never opened stops all of them; one that fails on the way does not.
    fn fail_video(&mut self, error: CaptureError) {
        if self.shared.is_ready.load(Ordering::Relaxed) {
            self.fail("camera", error);
            self.inputs.video = None;
        } else {
            self.fail_all(error);
        }
    }

    fn fail_all(&mut self, error: CaptureError) {
        self.fail("sources", error);
        self.inputs = Inputs::default();
    }

    fn fail(&mut self, part: &'static str, error: CaptureError) {
        let what = "it cannot be read any more";
        self.shared.status.record(Record::Fault { part, what });
        self.failure.get_or_insert(error.into());
    }

    /// Tells the watchdog what moved: a device that is waited for, or muted, does its work.
    fn advance(&self, heard: bool, seen: bool, is_muted: bool) {
        let (progress, inputs) = (&self.shared.progress, &self.inputs);
        progress.advance(Stage::Poll);
        match &inputs.audio {
            None if self.has_begun => progress.retire(Stage::Sound),
            Some(audio) if !(heard || is_muted || audio.waits()) => {}
            _ => progress.advance(Stage::Sound),
        }
        match &inputs.video {
            None if self.has_begun => progress.retire(Stage::Camera),
            Some(video) if !(seen || is_muted || video.waits()) => {}
            _ => progress.advance(Stage::Camera),
        }
        let is_settled = inputs.video.as_ref().is_none_or(VideoInput::is_settled);
        if self.has_begun && is_settled && self.failure.is_none() {
            self.shared.is_ready.store(true, Ordering::Relaxed);
        }
    }

    /// Counts what was lost, once a second.
    fn account(&mut self) {
        if self.accounted.elapsed() >= ACCOUNT {
            self.accounted = Instant::now();
            self.count();
        }
    }

    fn count(&self) {
        let metrics = &self.shared.metrics;
        metrics.set(Counter::OwnVoice, self.own.total().as_secs());
        if let Some(audio) = &self.inputs.audio {
            let lost = audio.counters();
            metrics.set(Counter::Overruns, lost.xruns);
            metrics.set(Counter::SoundDropped, lost.dropped_frames);
            metrics.set(Counter::SoundRestarts, lost.reopened);
        }
        if let Some(video) = &self.inputs.video {
            let report = video.report();
            metrics.set(Counter::PicturesDamaged, report.damaged);
            metrics.set(Counter::PicturesDropped, report.dropped);
            metrics.set(Counter::CameraRestarts, report.restarts);
            metrics.set(Counter::SkippedLooks, video.left_out());
        }
    }

    /// Closes the sources, then answers what was still waiting for its end or its words.
    fn finish(&mut self) -> Result<(), Closed> {
        self.count();
        let frame = self.frame();
        self.inputs = Inputs::default();
        self.aligner.end_sound();
        self.aligner.end_script();
        self.hand_over_with(frame, true)
    }

    fn poll_audio(&mut self) -> Result<bool, CaptureError> {
        let now = Instant::now();
        self.own.look(now);
        let warning = self.own.warning();
        self.tell_own(State::Warning, warning);
        let Some(audio) = &mut self.inputs.audio else {
            return Ok(false);
        };
        let polled = audio.poll();
        if let Some((state, detail)) = audio.change() {
            self.shared.status.source(&self.names.0, state, detail);
        }
        let notice = audio.notice(now);
        self.tell(&self.names.0, notice);
        match Polled::of(polled)? {
            Polled::Nothing => return Ok(false),
            Polled::Item(chunk) if self.own.covers(&chunk, now) => {
                self.aligner.pass(&chunk);
                let deaf = self.own.deafness();
                self.tell_own(State::Warning, deaf);
            }
            Polled::Item(chunk) => {
                self.aligner.hear(&chunk);
                self.sounded = now;
                let spoke = self.own.news(now);
                self.tell_own(State::Skipped, spoke);
            }
            Polled::Ended => {
                self.inputs.audio = None;
                self.aligner.end_sound();
            }
        }
        Ok(true)
    }

    fn poll_text(&mut self, is_muted: bool) -> Result<bool, CaptureError> {
        let Some(text) = &mut self.inputs.text else {
            return Ok(false);
        };
        let polled = text.poll();
        let notice = self.notices.text(&text.report(), Instant::now());
        self.tell("text", notice);
        match Polled::of(polled)? {
            Polled::Nothing => return Ok(false),
            // what was said into other ears while muted is nobody's business
            Polled::Item(_) if is_muted => {}
            Polled::Item(line) => self.aligner.read(line),
            Polled::Ended => self.inputs.text = None,
        }
        Ok(true)
    }

    /// A frame, and whether it is its turn to be looked at.
    fn poll_video(&mut self) -> Result<Polled<Option<Arc<Frame>>>, CaptureError> {
        let Some(video) = &mut self.inputs.video else {
            return Ok(Polled::Nothing);
        };
        let now = Instant::now();
        let seen = video.poll(self.shared.queue.is_busy(Lane::Looks), now)?;
        if let Some((state, detail)) = video.change() {
            self.shared.status.source(&self.names.1, state, detail);
        }
        if let Some(detail) = video.skipped(now) {
            let status = &self.shared.status;
            status.say(&self.names.1, State::Skipped, detail);
        }
        if seen.ended {
            self.inputs.video = None;
            return Ok(Polled::Ended);
        }
        Ok(match seen.any || seen.look.is_some() {
            true => Polled::Item(seen.look),
            false => Polled::Nothing,
        })
    }

    /// Queues every pair that is complete.
    fn hand_over(&mut self, ended: bool) -> Result<(), Closed> {
        self.hand_over_with(self.frame(), ended)
    }

    fn hand_over_with(&mut self, frame: Option<Arc<Frame>>, ended: bool) -> Result<(), Closed> {
        while let Some(said) = self.aligner.next(ended) {
            let work = Work::Said(said, frame.clone());
            self.push(Lane::Speech, work, self.sources.is_sound_live())?;
        }
        // behind what is over, which it gives way to
        if let Some(saying) = self.aligner.saying() {
            self.shared.queue.offer(Work::Saying(saying), self.epoch);
        }
        Ok(())
    }

    /// What the camera sees now.
    fn frame(&self) -> Option<Arc<Frame>> {
        self.inputs.video.as_ref().and_then(VideoInput::fresh)
    }

    /// Queues something to answer; when a live source finds its lane full, the oldest gives
    /// way, and that is told.
    fn push(&mut self, lane: Lane, work: Work, live: bool) -> Result<(), Closed> {
        let pushed = self.shared.queue.push(lane, work, self.epoch, live)?;
        if (lane, pushed) == (Lane::Speech, Pushed::Evicting) {
            self.shared.metrics.add(Counter::SkippedUtterances, 1);
            if let Some(detail) = self.left_out.count(Instant::now()) {
                let status = &self.shared.status;
                status.say(&self.names.0, State::Skipped, detail);
            }
        }
        Ok(())
    }
}

/// Utterances that were not judged; told now and then.
#[derive(Debug, Default)]
struct LeftOut {
    since_told: u64,
    told: Option<Instant>,
}

impl LeftOut {
    /// One more; what to say, if it is time.
    fn count(&mut self, now: Instant) -> Option<String> {
        self.since_told += 1;
        let told_lately = self
            .told
            .is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY);
        if told_lately {
            return None;
        }
        self.told = Some(now);
        let count = std::mem::take(&mut self.since_told);
        let utterances = match count {
            1 => "the oldest utterance was".to_owned(),
            n => format!("the {n} oldest utterances were"),
        };
        Some(format!(
            "answers take longer than people speak: {utterances} not judged"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_told_at_once_and_then_summed_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut left_out = LeftOut::default();
        let first = left_out.count(at(0)).unwrap_or_default();
        assert!(first.ends_with("the oldest utterance was not judged"));
        assert_eq!([left_out.count(at(1)), left_out.count(at(9))], [None, None]);
        let later = left_out.count(at(11)).unwrap_or_default();
        assert!(later.ends_with("the 3 oldest utterances were not judged"));
    }
}
