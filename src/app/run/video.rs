//! The camera's side of `run`: the newest frame wins, a look that would come too late is left
//! out and counted, and a press closes the camera.

use super::TELL_EVERY;
use super::switch::{Permit, Position, Switch};
use crate::capture::camera::{
    CameraSpec, CameraState, Frame, FrameReport, FrameSource, open_camera,
};
use crate::capture::{CaptureError, Source};
use crate::event::State;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A frame older than this is no longer what words are about, or whose face it is.
pub const FRESH: f64 = 2.0;
/// A camera's keeper looks at the switch this often even if it was not woken.
const LOOK: Duration = Duration::from_secs(1);

/// A source of frames with its cadence.
pub struct VideoInput {
    source: Frames,
    state: CameraState,
    /// When it was first opened: stream time 0.
    start: Instant,
    cadence: Cadence,
    newest: Option<Arc<Frame>>,
    /// The newest frame was not looked at yet.
    unseen: bool,
    muted: bool,
}

enum Frames {
    /// A camera: its frames replace each other.
    Live(Arc<Slot>),
    /// Pictures of a file, a folder or a pipe: all of them are looked at.
    Pictures(Box<dyn FrameSource>),
}

/// What a [`VideoInput`] has to say after a poll.
#[derive(Debug, Default)]
pub struct VideoUpdate {
    /// There was a frame.
    pub any: bool,
    /// A frame whose turn it is.
    pub look: Option<Arc<Frame>>,
    /// The source has ended.
    pub ended: bool,
}

/// Where a camera is while it is open.
#[derive(Default)]
struct Slot(Mutex<CameraSlot>);

#[derive(Default)]
struct CameraSlot {
    camera: Option<OpenCamera>,
    /// It was opened once, or will never be.
    settled: bool,
    /// Why it will never open.
    refusal: Option<CaptureError>,
    /// Counts of the times before this one.
    before: FrameReport,
    /// Stream time at which it was last opened.
    origin: Duration,
}

struct OpenCamera {
    source: Box<dyn FrameSource>,
    /// Declared last, since it is given back behind the device.
    _permit: Permit,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, CameraSlot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CameraSlot {
    fn report(&self) -> FrameReport {
        let Some(camera) = &self.camera else {
            return self.before.clone();
        };
        let mut report = camera.source.report();
        report.frames += self.before.frames;
        report.dropped += self.before.dropped;
        report.damaged += self.before.damaged;
        report.restarts += self.before.restarts;
        report
    }
}

/// Opens and closes a camera as the switch stands, until the end. Neither can be hurried, so
/// nobody else waits for it.
fn keep(spec: &CameraSpec, switch: &Arc<Switch>, slot: &Slot, start: Instant) {
    let mut opened_in = 0;
    loop {
        let (position, epoch) = switch.read();
        // a press and the next one may both have come while it was being opened
        if position != Position::On || epoch != opened_in {
            close(slot);
        }
        match position {
            Position::On => open(spec, switch, slot, start),
            Position::Off => {}
            Position::Over => return,
        }
        opened_in = epoch;
        switch.wait((position, epoch), LOOK);
    }
}

fn close(slot: &Slot) {
    let mut content = slot.lock();
    content.before = content.report();
    let camera = content.camera.take();
    // the others may use the slot while it closes
    drop(content);
    drop(camera);
}

fn open(spec: &CameraSpec, switch: &Arc<Switch>, slot: &Slot, start: Instant) {
    let content = slot.lock();
    if content.camera.is_some() || content.refusal.is_some() {
        return;
    }
    drop(content);
    let Some(permit) = switch.permit() else {
        return;
    };
    let opened = open_camera(spec);
    let mut content = slot.lock();
    content.settled = true;
    content.origin = start.elapsed();
    match opened {
        Ok(source) => {
            content.camera = source.map(|source| OpenCamera {
                source,
                _permit: permit,
            });
        }
        Err(error) => content.refusal = Some(error),
    }
}

impl VideoInput {
    /// Opens a source; `every` is the least time between two looks. `None` without a source.
    /// A camera is opened, and closed as `switch` stands, by a thread of its own.
    ///
    /// # Errors
    /// As [`open_camera`]; of a camera, [`VideoInput::poll`] tells it.
    pub fn open(
        spec: &CameraSpec,
        every: Duration,
        switch: &Arc<Switch>,
    ) -> Result<Option<VideoInput>, CaptureError> {
        let start = Instant::now();
        let source = match spec {
            CameraSpec::None => return Ok(None),
            CameraSpec::Device(_) | CameraSpec::Child(_) => {
                let slot = Arc::new(Slot::default());
                let (spec, switch, kept) = (spec.clone(), Arc::clone(switch), Arc::clone(&slot));
                thread::spawn(move || keep(&spec, &switch, &kept, start));
                Frames::Live(slot)
            }
            CameraSpec::Pictures(_) => match open_camera(spec)? {
                Some(pictures) => Frames::Pictures(pictures),
                None => return Ok(None),
            },
        };
        Ok(Some(VideoInput {
            source,
            state: CameraState::Capturing,
            start,
            cadence: Cadence::new(every),
            newest: None,
            unseen: false,
            muted: false,
        }))
    }

    /// Forgets what it saw. A camera is closed by its keeper; pictures of a folder wait.
    pub fn mute(&mut self) {
        self.newest = None;
        self.unseen = false;
        self.muted = true;
    }

    /// Ends [`mute`](Self::mute).
    pub fn unmute(&mut self) {
        if std::mem::take(&mut self.muted) {
            // opening it again is no change that has to be told
            self.state = CameraState::Capturing;
        }
    }

    /// Whether frames come whether or not anybody looks.
    pub fn is_live(&self) -> bool {
        matches!(self.source, Frames::Live(_))
    }

    /// Whether it was opened once.
    pub fn is_settled(&self) -> bool {
        match &self.source {
            Frames::Live(slot) => slot.lock().settled,
            Frames::Pictures(_) => true,
        }
    }

    /// Fetches a frame; `busy` says that a look is not answered yet.
    ///
    /// # Errors
    /// A source that failed for good.
    pub fn poll(&mut self, busy: bool, now: Instant) -> Result<VideoUpdate, CaptureError> {
        let mut seen = VideoUpdate::default();
        if self.muted {
            return Ok(seen);
        }
        match self.next() {
            Ok(Some(frame)) => {
                self.newest = Some(Arc::new(frame));
                self.unseen = true;
                seen.any = true;
            }
            Ok(None) => seen.ended = true,
            Err(nb::Error::WouldBlock) => {}
            Err(nb::Error::Other(error)) => return Err(error),
        }
        let due = !self.is_live() || self.cadence.due(now, busy);
        if self.unseen && due {
            self.unseen = false;
            seen.look = self.newest.clone();
        }
        Ok(seen)
    }

    fn next(&mut self) -> nb::Result<Option<Frame>, CaptureError> {
        let slot = match &mut self.source {
            Frames::Live(slot) => slot,
            Frames::Pictures(pictures) => return pictures.poll(),
        };
        let mut content = slot.lock();
        if let Some(refusal) = content.refusal.take() {
            return Err(nb::Error::Other(refusal));
        }
        let origin = content.origin;
        let Some(camera) = &mut content.camera else {
            return Err(nb::Error::WouldBlock);
        };
        let frame = camera.source.poll()?;
        Ok(frame.map(|mut frame| {
            frame.at += origin;
            frame
        }))
    }

    /// The newest frame, if it is not stale now.
    pub fn fresh(&self) -> Option<Arc<Frame>> {
        let newest = self.newest.as_ref()?;
        let age = self.start.elapsed().as_secs_f64() - newest.at.as_secs_f64();
        (!self.is_live() || age <= FRESH).then(|| Arc::clone(newest))
    }

    /// The source's state in words, when it is another than last time.
    pub fn change(&mut self) -> Option<(State, String)> {
        let state = self.present_state()?;
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

    /// What the source does; `None` while it is closed.
    fn present_state(&self) -> Option<CameraState> {
        match &self.source {
            Frames::Live(slot) => Some(slot.lock().camera.as_ref()?.source.state()),
            Frames::Pictures(pictures) => Some(pictures.state()),
        }
    }

    /// Looks left out since this was last told, if it is time to tell.
    pub fn skipped(&mut self, now: Instant) -> Option<String> {
        self.cadence.tell(now)
    }

    /// Whether it waits for its device, or for a press.
    pub fn waits(&self) -> bool {
        let reads = self.present_state() == Some(CameraState::Capturing);
        !self.is_live() || !reads
    }

    /// What is known so far.
    pub fn report(&self) -> FrameReport {
        match &self.source {
            Frames::Live(slot) => slot.lock().report(),
            Frames::Pictures(pictures) => pictures.report(),
        }
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
