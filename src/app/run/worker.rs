//! The inferring side of `run`: answers until the queue is closed and empty.

use super::Shared;
use crate::Error;
use crate::app::queue::{Job, Next};
use crate::capture::camera::Frame;
use crate::event::Event;
use crate::service::metrics::Metrics;
use crate::service::progress::Stage;
use crate::session::{self, Observation, Scene, Session};
use crate::sink::Sink;
use crate::tasks::pair::Pair;
use crate::vision::Picture;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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

/// The session of a run.
pub struct Worker {
    session: Session,
    /// The frame decoded last: a look, and what the camera saw when somebody spoke.
    decoded: Option<Decoded>,
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
        })
    }

    /// Answers until the queue is closed and empty, and counts down the looks.
    ///
    /// # Errors
    /// A model that fails, an output that went away.
    pub fn work(
        &mut self,
        shared: &Shared,
        sink: &mut dyn Sink,
        names: (&str, &str),
    ) -> Result<bool, Error> {
        let mut recognised = false;
        let mut out = Outlet {
            sink,
            metrics: &shared.metrics,
        };
        loop {
            match shared.queue.pop(IDLE) {
                Next::Closed => return Ok(recognised),
                Next::Idle => {}
                Next::Job(Job::State(change)) => out.sink.state(&change).map_err(Error::Output)?,
                Next::Job(Job::Answer(Work::Said(pair, now, frame))) => {
                    recognised |= self.said(&pair, now, frame, &mut out, names)?;
                }
                Next::Job(Job::Answer(Work::Looked(frame, at))) => {
                    let looked = self.looked(frame, at, &mut out, names.1);
                    shared.looks.fetch_sub(1, Ordering::Release);
                    recognised |= looked?;
                }
            }
            shared.progress.advance(Stage::Worker);
        }
    }

    /// Answers about what somebody said, and what the camera saw then.
    fn said(
        &mut self,
        pair: &Pair,
        now: f64,
        frame: Option<Arc<Frame>>,
        out: &mut Outlet<'_>,
        (heard, seen): (&str, &str),
    ) -> Result<bool, Error> {
        // what the camera saw is asked for where there are words to it, and may be damaged
        let frame = frame.filter(|_| pair.text.is_some());
        if let Some(frame) = frame {
            self.decode(frame);
        } else {
            self.decoded = None;
        }
        let observed = Observation {
            source: heard,
            at: Some(Duration::from_secs_f64(now.max(0.0))),
            utterance: pair.utterance.as_ref(),
            words: pair.text.as_deref(),
            scene: self.decoded.as_ref().map(|d| d.scene(seen)),
        };
        out.events(&self.session.observe(&observed)?)
    }

    /// Looks at a frame for faces.
    fn looked(
        &mut self,
        frame: Arc<Frame>,
        at: f64,
        out: &mut Outlet<'_>,
        source: &str,
    ) -> Result<bool, Error> {
        self.decode(frame);
        let Some(decoded) = &self.decoded else {
            return Ok(false);
        };
        let observed = Observation {
            source,
            at: Some(Duration::from_secs_f64(at.max(0.0))),
            scene: Some(decoded.scene(source)),
            ..Observation::default()
        };
        out.events(&self.session.observe(&observed)?)
    }

    /// Decodes a frame, unless it is the one decoded last; a damaged one is told and left.
    fn decode(&mut self, frame: Arc<Frame>) {
        let known = self.decoded.as_ref();
        if known.is_some_and(|d| Arc::ptr_eq(&d.frame, &frame)) {
            return;
        }
        let start = Instant::now();
        self.decoded = match frame.decode() {
            Ok(image) => Some(Decoded {
                frame,
                image,
                spent: start.elapsed().as_secs_f64() * 1e3,
            }),
            Err(e) => {
                log::warn!("{e}");
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

/// Where answers go: they are written and counted.
struct Outlet<'a> {
    sink: &'a mut dyn Sink,
    metrics: &'a Metrics,
}

impl Outlet<'_> {
    /// Whether there was any.
    fn events(&mut self, events: &[Event]) -> Result<bool, Error> {
        for event in events {
            self.metrics.observe(event);
            self.sink.event(event).map_err(Error::Output)?;
        }
        Ok(!events.is_empty())
    }
}
