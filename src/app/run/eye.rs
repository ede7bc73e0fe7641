//! The camera's side of `run`: the newest frame wins, a look that would come too late is left
//! out and counted, and a press closes the camera.

use crate::capture::camera::{
    CameraSpec, CameraState, Frame, FrameReport, FrameSource, open_camera,
};
use crate::capture::{CaptureError, Source};
use crate::event::State;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A frame older than this is no longer what words are about, or whose face it is.
pub const FRESH: f64 = 2.0;
/// Looks left out are told at most this often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A source of frames with its cadence.
pub struct Eye {
    spec: CameraSpec,
    /// `None` while muted.
    source: Option<Box<dyn FrameSource>>,
    state: CameraState,
    /// When it was first opened: stream time 0.
    epoch: Instant,
    /// Stream time at which it was last opened.
    origin: Duration,
    /// Counts of the sources before this one.
    before: FrameReport,
    cadence: Cadence,
    /// Frames of a live source replace each other; all of a folder are looked at.
    live: bool,
    newest: Option<Arc<Frame>>,
    /// The newest frame was not looked at yet.
    unseen: bool,
}

/// What an [`Eye`] has to say after a poll.
#[derive(Debug, Default)]
pub struct Seen {
    /// There was a frame.
    pub any: bool,
    /// A frame whose turn it is.
    pub look: Option<Arc<Frame>>,
    /// The source has ended.
    pub ended: bool,
}

impl Eye {
    /// Opens a source; `every` is the least time between two looks. `None` without a source.
    ///
    /// # Errors
    /// As [`open_camera`].
    pub fn open(spec: &CameraSpec, every: Duration) -> Result<Option<Eye>, CaptureError> {
        let live = matches!(spec, CameraSpec::Device(_) | CameraSpec::Child(_));
        Ok(open_camera(spec)?.map(|source| Eye {
            spec: spec.clone(),
            state: source.state(),
            source: Some(source),
            epoch: Instant::now(),
            origin: Duration::ZERO,
            before: FrameReport::default(),
            cadence: Cadence::new(every),
            live,
            newest: None,
            unseen: false,
        }))
    }

    /// Closes a live source and forgets what it saw; pictures of a folder wait.
    pub fn mute(&mut self) {
        self.newest = None;
        self.unseen = false;
        if self.live {
            self.before = self.report();
            self.source = None;
        }
    }

    /// Ends [`mute`](Self::mute): opens a live source again.
    ///
    /// # Errors
    /// As [`Eye::open`].
    pub fn unmute(&mut self) -> Result<(), CaptureError> {
        if self.source.is_none() {
            self.source = open_camera(&self.spec)?;
            self.origin = self.epoch.elapsed();
            self.state = CameraState::Capturing;
        }
        Ok(())
    }

    /// Whether frames come whether or not anybody looks.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Fetches a frame; `pending` counts the looks that are not answered yet.
    ///
    /// # Errors
    /// The source's, when it failed for good.
    pub fn poll(&mut self, pending: &AtomicUsize, now: Instant) -> Result<Seen, CaptureError> {
        let mut seen = Seen::default();
        let Some(source) = &mut self.source else {
            return Ok(seen);
        };
        match source.poll() {
            Ok(Some(mut frame)) => {
                frame.at += self.origin;
                self.newest = Some(Arc::new(frame));
                self.unseen = true;
                seen.any = true;
            }
            Ok(None) => seen.ended = true,
            Err(nb::Error::WouldBlock) => {}
            Err(nb::Error::Other(error)) => return Err(error),
        }
        let due = !self.live || self.cadence.due(now, pending.load(Ordering::Acquire) > 0);
        if self.unseen && due {
            self.unseen = false;
            seen.look = self.newest.clone();
        }
        Ok(seen)
    }

    /// The newest frame, if it is not stale at `at` seconds since the source was opened.
    pub fn fresh(&self, at: f64) -> Option<Arc<Frame>> {
        let newest = self.newest.as_ref()?;
        let fresh = !self.live || at - newest.at.as_secs_f64() <= FRESH;
        fresh.then(|| Arc::clone(newest))
    }

    /// The source's state in words, when it is another than last time.
    pub fn change(&mut self) -> Option<(State, String)> {
        let state = self.source.as_ref()?.state();
        if state == self.state {
            return None;
        }
        self.state = state;
        Some(match &self.state {
            CameraState::Capturing => (State::Capturing, self.losses()),
            CameraState::Waiting { reason, retry_in } => (
                State::Lost,
                format!("{reason}; trying again in {:.1} s", retry_in.as_secs_f64()),
            ),
            _ => (State::Ended, self.losses()),
        })
    }

    /// Looks left out since this was last told, if it is time to tell.
    pub fn skipped(&mut self, now: Instant) -> Option<String> {
        self.cadence.tell(now)
    }

    /// Whether it waits for its device, or for a press.
    pub fn waits(&self) -> bool {
        !self.live || self.source.is_none() || !matches!(self.state, CameraState::Capturing)
    }

    /// What is known so far.
    pub fn report(&self) -> FrameReport {
        let Some(source) = &self.source else {
            return self.before.clone();
        };
        let mut report = source.report();
        report.frames += self.before.frames;
        report.dropped += self.before.dropped;
        report.damaged += self.before.damaged;
        report.restarts += self.before.restarts;
        report
    }

    /// Looks left out so far.
    pub fn left_out(&self) -> u64 {
        self.cadence.left_out
    }

    /// What was lost so far, in words; empty when nothing.
    fn losses(&self) -> String {
        let report = self.report();
        if report.damaged == 0 && report.restarts == 0 {
            return String::new();
        }
        format!(
            "so far {} frames, {} damaged, opened again {} times",
            report.frames, report.damaged, report.restarts
        )
    }
}

/// When a look is due, and how many were not taken.
#[derive(Debug)]
struct Cadence {
    every: Duration,
    next: Option<Instant>,
    taken: u64,
    skipped: u64,
    /// All that were skipped; `skipped` begins anew when it is told.
    left_out: u64,
    told: Option<Instant>,
}

impl Cadence {
    fn new(every: Duration) -> Cadence {
        Cadence {
            every,
            next: None,
            taken: 0,
            skipped: 0,
            left_out: 0,
            told: None,
        }
    }

    /// Whether it is time; a turn that comes while the last look is unanswered is left out.
    fn due(&mut self, now: Instant, busy: bool) -> bool {
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        // turns do not pile up behind a pause
        self.next = Some(now + self.every);
        if busy {
            self.skipped += 1;
            self.left_out += 1;
        } else {
            self.taken += 1;
        }
        !busy
    }

    fn tell(&mut self, now: Instant) -> Option<String> {
        let told_lately = self
            .told
            .is_some_and(|t| now.saturating_duration_since(t) < TELL_EVERY);
        if self.skipped == 0 || told_lately {
            return None;
        }
        let sentence = format!(
            "{} of {} looks were left out: an answer takes longer than {:.1} s",
            self.skipped,
            self.skipped + self.taken,
            self.every.as_secs_f64()
        );
        (self.skipped, self.taken, self.told) = (0, 0, Some(now));
        Some(sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_at_their_cadence_and_never_pile_up() {
        let mut cadence = Cadence::new(Duration::from_secs(1));
        let start = Instant::now();
        let at = |s: f64| start + Duration::from_secs_f64(s);
        assert!(cadence.due(at(0.0), false));
        assert!(!cadence.due(at(0.9), false));
        assert!(cadence.due(at(1.0), false));
        // after a long pause there is one turn, not ten
        assert!(cadence.due(at(11.0), false));
        assert!(!cadence.due(at(11.5), false));
    }

    #[test]
    fn a_turn_that_comes_too_early_is_left_out_and_told() {
        let mut cadence = Cadence::new(Duration::from_secs(1));
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        assert!(cadence.due(at(0), false));
        assert!(cadence.tell(at(0)).is_none());
        for second in 1..4 {
            assert!(!cadence.due(at(second), true));
        }
        let told = cadence.tell(at(4)).unwrap_or_default();
        assert!(told.starts_with("3 of 4 looks were left out"), "{told}");
        assert!(!cadence.due(at(5), true));
        // not again within ten seconds
        assert!(cadence.tell(at(6)).is_none());
        assert!(
            cadence
                .tell(at(15))
                .is_some_and(|t| t.starts_with("1 of 1"))
        );
    }
}
