//! The inferring side of `run`: answers until the queue is closed and empty.

use super::Shared;
use super::video::FRESH;
use crate::Error;
use crate::app::answer::{Answerer, Manner, Tasks};
use crate::app::pictures::{Look, Pictures};
use crate::app::queue::Next;
use crate::capture::camera::Frame;
use crate::event::{Event, Face, StateChange};
use crate::service::progress::Stage;
use crate::sink::Sink;
use crate::tasks::pair::Pair;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A worker without work says this often that it is alive.
const IDLE: Duration = Duration::from_secs(1);

/// An answer to be given.
pub enum Work {
    /// About sound and words, complete at this stream time, and what the camera saw then.
    Said(Pair, f64, Option<Arc<Frame>>),
    /// About a frame; its stream time.
    Looked(Arc<Frame>, f64),
}

/// The models of the tasks that run.
pub struct Worker {
    answerer: Option<Answerer>,
    pictures: Option<Pictures>,
    /// When a face was last seen, what it adds to emotion, and which it was.
    face: Option<(f64, Vec<f32>, Face)>,
}

impl Worker {
    /// Loads the models of `tasks`, those that look at pictures only with a camera, and has each
    /// answer once: the first person waits no longer than the second, and a service is ready
    /// only when its models are.
    ///
    /// # Errors
    /// A bundle that is missing or refused, a model that fails.
    pub fn load(
        models: Option<&Path>,
        manner: &Manner,
        tasks: Tasks,
        camera: bool,
    ) -> Result<Worker, Error> {
        let answerer = || Answerer::load(models, manner.clone());
        let mut answerer = tasks.emotion.then(answerer).transpose()?;
        let trunk = answerer.as_ref().map(Answerer::text);
        let pictures = || Pictures::load(models, manner, tasks, trunk);
        let mut pictures = camera.then(pictures).transpose()?;
        answerer.as_mut().map_or(Ok(()), Answerer::rehearse)?;
        pictures.as_mut().map_or(Ok(()), Pictures::rehearse)?;
        Ok(Worker {
            answerer,
            pictures,
            face: None,
        })
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
            epoch: 0,
            answers: 0,
        };
        loop {
            match shared.queue.pop(IDLE) {
                Next::Closed => return Ok(out.answers > 0),
                Next::Idle => {}
                Next::State(change) => out.state(&change)?,
                Next::Work(work, epoch) => {
                    if out.epoch != epoch {
                        // nobody who was there before a press adds to an answer after it
                        self.face = None;
                        out.epoch = epoch;
                    }
                    match work {
                        Work::Said(pair, now, frame) => {
                            self.said(&pair, now, frame.as_deref(), &mut out, names)?;
                        }
                        Work::Looked(frame, at) => {
                            self.looked(&frame, at, &mut out, names.1)?;
                        }
                    }
                }
            }
            shared.progress.advance(Stage::Worker);
        }
    }

    fn said(
        &mut self,
        pair: &Pair,
        now: f64,
        frame: Option<&Frame>,
        out: &mut Outlet<'_>,
        (heard, seen): (&str, &str),
    ) -> Result<bool, Error> {
        let face = self.face.as_ref().filter(|f| now - f.0 <= FRESH);
        let mut any = false;
        if let Some(answerer) = &mut self.answerer {
            let share = face.map(|f| f.1.as_slice());
            if let Some(mut event) = answerer.answer(heard, pair, now, share)? {
                event.face = face.map(|f| f.2).filter(|_| event.modality.face);
                out.event(&event)?;
                any = true;
            }
        }
        let Some(words) = pair.text.as_deref() else {
            return Ok(any);
        };
        if let (Some(pictures), Some(frame)) = (&mut self.pictures, frame) {
            let start = Instant::now();
            // what the camera saw may be damaged; the words are still answered
            let picture = said_if_damaged(frame.decode());
            let decode = start.elapsed().as_secs_f64() * 1e3;
            let picture = picture.as_ref().map(|p| (p, decode));
            if let Some(felt) = pictures.sentiment(seen, picture, Some(words), Some(now))? {
                out.event(&felt.event)?;
                any = true;
            }
        }
        Ok(any)
    }

    fn looked(
        &mut self,
        frame: &Frame,
        at: f64,
        out: &mut Outlet<'_>,
        source: &str,
    ) -> Result<bool, Error> {
        let Some(pictures) = &mut self.pictures else {
            return Ok(false);
        };
        let start = Instant::now();
        let Some(picture) = said_if_damaged(frame.decode()) else {
            return Ok(false);
        };
        let decode = start.elapsed().as_secs_f64() * 1e3;
        let look = pictures.look(source, &picture, decode, Some(at))?;
        for event in &look.events {
            out.event(event)?;
        }
        self.remember(&look, at);
        Ok(!look.events.is_empty())
    }

    /// Keeps what the nearest face adds to the next answer about emotion.
    fn remember(&mut self, look: &Look, at: f64) {
        if let (Some(answerer), Some(pictures)) = (&self.answerer, &self.pictures)
            && let Some(nearest) = look.nearest()
            && let Some(share) = pictures.as_emotion(nearest, answerer.labels())
        {
            self.face = Some((at, share, nearest.face));
        }
    }
}

/// Where answers go: they are written and counted, unless a press came meanwhile.
struct Outlet<'a> {
    sink: &'a mut dyn Sink,
    shared: &'a Shared,
    /// In which that was captured which is being answered.
    epoch: u64,
    answers: u64,
}

impl Outlet<'_> {
    fn event(&mut self, event: &Event) -> Result<(), Error> {
        if self.shared.switch.epoch() != self.epoch {
            return Ok(());
        }
        self.answers += 1;
        self.shared.metrics.observe(event);
        self.write(|sink| sink.event(event))
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

/// The value, or a warning about why there is none.
fn said_if_damaged<T>(decoded: Result<T, crate::capture::CaptureError>) -> Option<T> {
    decoded.map_err(|e| log::warn!("{e}")).ok()
}
