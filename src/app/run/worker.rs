//! The inferring side of `run`: answers until the queue is closed and empty.

use super::align::{Said, Saying};
use super::drift::Drift;
use super::{Calibrating, Shared, TELL_EVERY};
use crate::Error;
use crate::app::queue::Next;
use crate::capture::camera::Frame;
use crate::config::calibration::Usual;
use crate::config::outputs::Aggregate;
use crate::event::{Event, Faces, StateChange};
use crate::model::Bundle;
use crate::service::progress::Stage;
use crate::session::{self, Observation, Scene, Session};
use crate::sink::{Sink, Tally};
use crate::vision::{Picture, PictureError};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A worker without work says this often that it is alive.
const IDLE: Duration = Duration::from_secs(1);

/// An answer to be given.
pub enum Work {
    /// About sound and words, and what the camera saw when they were complete.
    Said(Said, Option<Arc<Frame>>),
    /// About what is not over yet.
    Saying(Saying),
    /// About a frame; its stream time.
    Looked(Arc<Frame>, f64),
}

/// The session of a run.
pub struct Worker {
    session: Session,
    /// The frame decoded last: a look, and what the camera saw when somebody spoke.
    decoded: Option<Decoded>,
    damaged: Damaged,
    /// Answers are counted as background, and not told.
    calibrating: Option<Arc<Calibrating>>,
    /// Answers are counted, and the counts are told.
    tally: Option<Tally>,
    drift: Drift,
}

/// Frames that cannot be decoded: a camera with a bad cable sends many.
#[derive(Default)]
struct Damaged {
    warned: Option<Instant>,
    withheld: u64,
}

impl Damaged {
    /// Warns now and then, and says how many warnings there would have been.
    fn warn(&mut self, error: &PictureError) {
        if self.warned.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            self.withheld += 1;
            return;
        }
        self.warned = Some(Instant::now());
        match std::mem::take(&mut self.withheld) {
            0 => log::warn!("{error}"),
            n => log::warn!("{error} ({n} frames before it could not be decoded either)"),
        }
    }
}

struct Decoded {
    frame: Arc<Frame>,
    image: Picture,
    /// Milliseconds.
    spent: f64,
}

impl Worker {
    /// Opens a session and has every task that could answer do so once: the first person waits
    /// no longer than the second, and a service is ready only when its models are.
    ///
    /// # Errors
    /// A bundle that is missing or refused, a model that fails.
    pub fn load(options: session::Options, camera: bool) -> Result<Worker, Error> {
        let mut session = Session::open(options)?;
        session.warm_up(camera)?;
        Ok(Worker {
            session,
            decoded: None,
            damaged: Damaged::default(),
            calibrating: None,
            tally: None,
            drift: Drift::new(Vec::new()),
        })
    }

    /// What is usual here, for those who want to know when it is so no more.
    pub fn watches(&mut self, usual: Vec<Usual>) {
        self.drift = Drift::new(usual);
    }

    /// From now on answers are counted as background, and not told.
    pub fn calibrates(&mut self, calibrating: Arc<Calibrating>) {
        self.calibrating = Some(calibrating);
    }

    /// From now on answers are counted, and the counts are told; no answer is told by itself.
    pub fn aggregates(&mut self, aggregate: &Aggregate) {
        let (window, at_least) = (aggregate.window(), aggregate.at_least.into());
        self.tally = Some(Tally::new(window, at_least, &self.labels(), Instant::now()));
    }

    /// `id@version` of every bundle that answers.
    pub fn bundles(&self) -> Vec<String> {
        let tasks = self.session.tasks();
        let named = tasks.iter().filter_map(|task| self.session.bundle(task));
        let mut names: Vec<String> = named.map(Bundle::name).collect();
        names.dedup();
        names.extend(self.session.recogniser().map(String::from));
        names
    }

    /// Tasks that may answer, with their labels.
    pub fn labels(&self) -> Vec<(String, Vec<String>)> {
        let tasks = self.session.tasks().into_iter();
        let labelled = tasks.map(|task| {
            let bundle = self.session.bundle(&task);
            let labels = bundle.map(|bundle| bundle.manifest.labels.clone());
            (task, labels.unwrap_or_default())
        });
        labelled.collect()
    }

    /// Answers until the queue is closed and empty. `Ok(false)` when nothing was recognised.
    ///
    /// # Errors
    /// A model that fails, an output that went away.
    pub fn work(
        &mut self,
        shared: &Shared,
        sink: &mut dyn Sink,
        names: (&str, &str),
    ) -> Result<bool, Error> {
        let mut out = Outlet {
            sink,
            shared,
            tally: self.tally.take(),
            epoch: 0,
            answers: 0,
        };
        let mut forgets = shared.remote.forgets();
        loop {
            let next = shared.queue.pop(IDLE);
            out.tell_counts(false)?;
            let wished = shared.remote.forgets();
            if std::mem::replace(&mut forgets, wished) != wished {
                self.session.restart();
            }
            match next {
                Next::Closed => {
                    out.tell_counts(true)?;
                    return Ok(out.answers > 0);
                }
                Next::Idle => {}
                Next::State(change) => out.state(&change)?,
                Next::Work(work, epoch) => {
                    if out.epoch != epoch {
                        // what was said and seen before a press has no part in what comes after
                        self.session.restart();
                        self.decoded = None;
                        out.epoch = epoch;
                    }
                    match work {
                        Work::Said(said, frame) => {
                            self.said(&said, frame, &mut out, names)?;
                        }
                        Work::Saying(saying) => self.saying(&saying, &mut out, names.0)?,
                        Work::Looked(frame, at) => {
                            self.looked(frame, at, &mut out, names)?;
                        }
                    }
                }
            }
            shared.progress.advance(Stage::Worker);
        }
    }

    /// Answers about what somebody said, and what the camera saw then.
    fn said(
        &mut self,
        said: &Said,
        frame: Option<Arc<Frame>>,
        out: &mut Outlet<'_>,
        (heard, seen): (&str, &str),
    ) -> Result<(), Error> {
        let Said { pair, number, at } = said;
        // what the camera saw is asked for where there are words to it, and may be damaged
        let worded = pair.text.is_some() || self.session.recognises();
        let frame = frame.filter(|_| worded);
        if let Some(frame) = frame {
            self.decode(frame);
        } else {
            self.decoded = None;
        }
        let observed = Observation {
            source: heard,
            at: Some(Duration::from_secs_f64(at.max(0.0))),
            utterance: pair.utterance.as_ref(),
            words: pair.text.as_deref(),
            scene: self.decoded.as_ref().map(|d| d.scene(seen)),
            ..Observation::default()
        };
        let mut events = self.session.observe(&observed)?;
        if let Some(calibrating) = &self.calibrating {
            let distances = self.session.distances();
            calibrating.answered(&events, &distances, *at);
            calibrating.heard(pair.utterance.as_ref(), &self.session.gated(), *at);
            return Ok(());
        }
        events.iter_mut().for_each(|e| e.utterance = *number);
        out.events(&events)?;
        self.watch(&events, *at, out, (heard, seen))
    }

    /// Answers about what somebody is saying; the answer to the whole replaces it.
    fn saying(&mut self, saying: &Saying, out: &mut Outlet<'_>, heard: &str) -> Result<(), Error> {
        let observed = Observation {
            is_partial: true,
            ..Observation::of_utterance(heard, &saying.utterance)
        };
        let mut events = self.session.observe(&observed)?;
        for event in &mut events {
            event.utterance = Some(saying.number);
            event.partial = true;
        }
        out.events(&events)
    }

    /// Tells where answers are no longer like those before.
    fn watch(
        &mut self,
        events: &[Event],
        now: f64,
        out: &mut Outlet<'_>,
        names: (&str, &str),
    ) -> Result<(), Error> {
        // what moves with every answer tells of single ones, and a press ends what was heard before
        if out.tally.is_some() || out.is_stale() {
            return Ok(());
        }
        let distances = self.session.distances();
        let drift = &mut self.drift;
        let told = drift.observe(events, &distances, now, &self.session, names);
        out.shared.metrics.drift(self.drift.figures());
        for change in told {
            log::warn!("{}: {}: {}", change.source, change.state, change.detail);
            out.state(&change)?;
        }
        Ok(())
    }

    /// Looks at a frame for faces.
    fn looked(
        &mut self,
        frame: Arc<Frame>,
        at: f64,
        out: &mut Outlet<'_>,
        (heard, source): (&str, &str),
    ) -> Result<(), Error> {
        self.decode(frame);
        let Some(decoded) = &self.decoded else {
            return Ok(());
        };
        let observed = Observation {
            source,
            at: Some(Duration::from_secs_f64(at.max(0.0))),
            scene: Some(decoded.scene(source)),
            ..Observation::default()
        };
        let events = self.session.observe(&observed)?;
        if let Some(calibrating) = &self.calibrating {
            let distances = self.session.distances();
            calibrating.answered(&events, &distances, at);
            calibrating.looked(&self.session.gated(), at);
            return Ok(());
        }
        if let Some(faces) = self.session.faces_change() {
            out.faces(&faces)?;
        }
        out.events(&events)?;
        self.watch(&events, at, out, (heard, source))
    }

    /// Decodes a frame, unless it is the one decoded last; a damaged one is told and left.
    fn decode(&mut self, frame: Arc<Frame>) {
        let known = self.decoded.as_ref();
        if known.is_some_and(|d| Arc::ptr_eq(&d.frame, &frame)) {
            return;
        }
        // two large images at once would take more than a small board has
        self.decoded = None;
        let start = Instant::now();
        self.decoded = match frame.decode() {
            Ok(image) => Some(Decoded {
                frame,
                image,
                spent: start.elapsed().as_secs_f64() * 1e3,
            }),
            Err(e) => {
                self.damaged.warn(&e);
                None
            }
        };
    }
}

impl Decoded {
    fn scene<'a>(&'a self, source: &'a str) -> Scene<'a> {
        Scene {
            source,
            image: &self.image,
            decode: Some(self.spent),
        }
    }
}

/// Where answers go: they are written and counted, unless a press came meanwhile.
struct Outlet<'a> {
    sink: &'a mut dyn Sink,
    shared: &'a Shared,
    /// Counts answers, where none is told by itself.
    tally: Option<Tally>,
    /// In which that was captured which is being answered.
    epoch: u64,
    answers: u64,
}

impl Outlet<'_> {
    fn events(&mut self, events: &[Event]) -> Result<(), Error> {
        for event in events {
            if self.is_stale() {
                return Ok(());
            }
            // what is replaced is no answer to be counted
            if !event.partial {
                self.answers += 1;
                self.shared.metrics.observe(event);
            }
            match &mut self.tally {
                Some(tally) => tally.count(event),
                None => self.write(|sink| sink.event(event))?,
            }
        }
        Ok(())
    }

    /// Who came and went is told of persons, and not where counts are.
    fn faces(&mut self, faces: &Faces) -> Result<(), Error> {
        match self.tally.is_some() || self.is_stale() {
            true => Ok(()),
            false => self.write(|sink| sink.faces(faces)),
        }
    }

    /// Whether a press came since that was captured which is being answered.
    fn is_stale(&self) -> bool {
        self.shared.switch.epoch() != self.epoch
    }

    /// Tells counts, where it is time.
    fn tell_counts(&mut self, is_over: bool) -> Result<(), Error> {
        let tally = self.tally.as_mut();
        let due = tally.map(|tally| tally.due(Instant::now(), is_over));
        for aggregate in due.into_iter().flatten() {
            self.shared.metrics.reveal(&aggregate.of);
            self.write(|sink| sink.aggregate(&aggregate))?;
        }
        Ok(())
    }

    fn state(&mut self, change: &StateChange) -> Result<(), Error> {
        self.write(|sink| sink.state(change))
    }

    /// Writes, and lets others see for how long that has lasted.
    fn write(&mut self, write: impl FnOnce(&mut dyn Sink) -> io::Result<()>) -> Result<(), Error> {
        self.shared.writing.begin();
        let written = write(self.sink);
        self.shared.writing.end();
        written.map_err(Error::Output)
    }
}
