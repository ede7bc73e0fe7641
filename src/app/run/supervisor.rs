//! Who serves the lamp, the button and the signals, and ends the run.
//!
//! This thread never waits for anything but its next round: whatever blocks (a reader, a
//! disk, a model, a camera), a press and a signal are obeyed at once. What takes time is done
//! by others, who are asked whether they are done.

use super::Shared;
use super::gate::{CaptureGate, Turn};
use super::signals::Signals;
use super::switch::Position;
use crate::Error;
use crate::event::State;
use crate::service::Service;
use crate::service::audit::Record;
use crate::service::latches::{Latches, Shown};
use crate::service::metrics::Machine;
use crate::service::progress::Stage;
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Pause between two rounds.
const ROUND: Duration = Duration::from_millis(10);
/// A second signal leaves a camera so much time to close.
const CLOSING: Duration = Duration::from_millis(500);
/// A device that is open so long after a press is told in the log.
const SLOW: Duration = Duration::from_secs(1);

/// How long the end waits for each part.
#[derive(Debug, Clone, Copy)]
pub struct Grace {
    /// For a reader that takes nothing.
    pub output: Duration,
    /// For sources that do not close, and for the disk.
    pub others: Duration,
    /// For the answer that is being computed.
    pub answer: Duration,
}

impl Default for Grace {
    /// An answer may take a slow board several seconds; nothing else should.
    fn default() -> Self {
        Grace {
            output: Duration::from_secs(2),
            others: Duration::from_secs(2),
            answer: Duration::from_secs(30),
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// By itself or by one signal; whether something was recognised.
    Done(bool),
    /// By a second signal, which waits for no answer.
    Interrupted,
}

/// A thread, until its result is fetched.
struct Task<T> {
    handle: Option<JoinHandle<T>>,
    result: Option<thread::Result<T>>,
}

impl<T: Send + 'static> Task<T> {
    fn start(work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        Task {
            handle: Some(thread::spawn(work)),
            result: None,
        }
    }

    /// Whether it has ended; never waits for it.
    fn has_ended(&mut self) -> bool {
        if let Some(handle) = self.handle.take_if(|handle| handle.is_finished()) {
            self.result = Some(handle.join());
        }
        self.result.is_some()
    }
}

impl<T> Task<Result<T, Error>> {
    /// Whether it ended as it should not.
    fn has_failed(&self) -> bool {
        matches!(self.result, Some(Err(_) | Ok(Err(_))))
    }

    /// What it came to, if it ended. A panic is passed on.
    fn result(self) -> Result<Option<T>, Error> {
        match self.result {
            None => Ok(None),
            Some(Ok(result)) => result.map(Some),
            Some(Err(panic)) => resume_unwind(panic),
        }
    }
}

/// The threads that do what takes time.
struct Crew {
    capture: Task<Result<(), Error>>,
    infer: Task<Result<bool, Error>>,
    keep: Task<()>,
}

/// Serves lamp, button and signals.
pub struct Supervisor {
    shared: Arc<Shared>,
    /// `None` once everything is closed for good: the lamp is dark.
    gate: Option<CaptureGate>,
    service: Service,
    signals: Signals,
    /// How often the end was asked for.
    stops: u32,
    grace: Grace,
    /// The sources, as they are announced.
    names: Vec<String>,
    /// Everything that people are told beforehand is out.
    is_announced: bool,
    is_ready: bool,
    /// When a press came whose outcome was not told yet.
    muting: Option<Instant>,
    is_slow_told: bool,
}

impl Supervisor {
    /// Nothing happens before [`Supervisor::watch`].
    pub fn new(
        shared: Arc<Shared>,
        gate: CaptureGate,
        signals: Signals,
        names: Vec<String>,
        grace: Grace,
    ) -> Supervisor {
        Supervisor {
            shared,
            gate: Some(gate),
            service: Service::from_env(Instant::now()),
            signals,
            stops: 0,
            grace,
            names,
            is_announced: false,
            is_ready: false,
            muting: None,
            is_slow_told: false,
        }
    }

    /// Runs `capture` and `infer` in threads of their own, and a keeper of the ledger that
    /// asks for the `machine`; obeys lamp, button and signals until one of the two has ended or
    /// the end was asked for, and ends them all. `announce` tells what people have to know: no
    /// source is opened before that has been written.
    ///
    /// A panic of either thread is passed on once everything is closed. A thread that does
    /// not end in its grace is left behind.
    ///
    /// # Errors
    /// The inferring thread's, a lamp or button that failed, a source that failed, a part
    /// that did not end in its grace: the first of these.
    pub fn watch(
        mut self,
        announce: impl FnOnce(&mut CaptureGate) -> Result<(), Error>,
        machine: impl Fn() -> Machine + Send + 'static,
        capture: impl FnOnce() -> Result<(), Error> + Send + 'static,
        infer: impl FnOnce() -> Result<bool, Error> + Send + 'static,
    ) -> Result<Outcome, Error> {
        let shared = Arc::clone(&self.shared);
        let mut crew = Crew {
            capture: Task::start(capture),
            infer: Task::start(infer),
            keep: Task::start(move || {
                let tell = |told| shared.status.relay(told);
                shared.status.ledger.keep(&shared.metrics, machine, tell);
            }),
        };
        let mut guarded = self.gate.as_mut().map_or(Ok(()), announce);
        while guarded.is_ok() && self.stops == 0 {
            if crew.infer.has_ended() || crew.capture.has_ended() {
                break;
            }
            self.stops += u32::from(self.signals.stop());
            guarded = self.round();
            thread::sleep(ROUND);
        }
        if let Err(fault) = &guarded {
            self.gate.iter_mut().for_each(|g| g.fault(Instant::now()));
            let status = &self.shared.status;
            status.say("indicator", State::Failed, fault.to_string());
            status.record(Record::Fault {
                part: "indicator",
                what: "lamp or button cannot be reached",
            });
        }
        let ended = self.end(&mut crew, guarded.is_ok());
        if let Ok(Ended::Interrupted) = ended {
            return Ok(Outcome::Interrupted);
        }
        // a closed output explains why everything stopped, so it is told first
        let recognised = crew.infer.result()?;
        guarded?;
        crew.capture.result()?;
        ended?;
        Ok(Outcome::Done(recognised.unwrap_or_default()))
    }

    /// One round while the run goes on.
    fn round(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let in_use = self.shared.switch.is_in_use();
        let was_muted = self.is_muted();
        let turn = match &mut self.gate {
            Some(gate) => gate.tick(now, in_use)?,
            None => None,
        };
        if let Some(turn) = turn {
            self.tell_turn(turn);
            match (was_muted, self.is_muted()) {
                (false, true) => self.mute(now),
                (true, false) => self.unmute(),
                // the other latch keeps them closed
                _ => {}
            }
        }
        if !self.is_announced && self.is_told() {
            self.is_announced = true;
            self.turn();
        }
        self.tell_muted(now);
        self.show();
        let can_be_ready = self.shared.is_ready.load(Ordering::Relaxed) || self.is_muted();
        if self.is_announced && !self.is_ready && can_be_ready {
            self.is_ready = true;
            self.service.ready(self.word());
        }
        self.shared.health.look(&self.shared.progress, now);
        if let Some(told) = self.service.tick(&self.shared.progress, now) {
            let shared = Arc::clone(&self.shared);
            // the log may block, and this thread must not
            thread::spawn(move || shared.status.relay(told));
        }
        Ok(())
    }

    fn is_muted(&self) -> bool {
        self.gate.as_ref().is_some_and(CaptureGate::is_muted)
    }

    /// Shows those who are far away what the lamp shows here.
    fn show(&self) {
        let latches = self.gate.as_ref().map(CaptureGate::latches);
        let latches = latches.unwrap_or_default();
        let is_capturing = self.shared.switch.is_in_use()
            || self.gate.is_some() && self.is_announced && !latches.is_muted();
        self.shared.remote.show(Shown {
            is_capturing,
            latches,
        });
    }

    /// Tells whose latch was turned, and when the other one makes that change nothing.
    fn tell_turn(&self, turn: Turn) {
        let status = &self.shared.status;
        let by = turn.latch.name();
        let (record, state) = match turn.mutes {
            true => (Record::Mute { by }, State::Muted),
            false => (Record::Unmute { by }, State::Unmuted),
        };
        status.record(record);
        let latches = self.gate.as_ref().map(CaptureGate::latches);
        let detail = match latches {
            Some(Latches { person: true, .. }) if by == "remote" => {
                "the button keeps the sources closed"
            }
            Some(Latches { remote: true, .. }) if by == "button" => {
                "a wish from afar keeps the sources closed"
            }
            _ => "",
        };
        status.say(by, state, detail);
    }

    /// For `systemctl status`.
    fn word(&self) -> &'static str {
        if self.is_muted() {
            "muted"
        } else {
            "capturing"
        }
    }

    /// Whether the announcement was written, and the disk has answered.
    fn is_told(&self) -> bool {
        self.shared.queue.is_done() && self.shared.status.ledger.is_settled()
    }

    /// Turns the switch as the button wants it.
    fn turn(&mut self) {
        let position = match self.is_muted() {
            true => Position::Off,
            false => Position::On,
        };
        let epoch = self.shared.switch.turn(position);
        self.shared.queue.forget_before(epoch);
        self.shared.activity.forget_before(epoch);
    }

    /// Has the devices closed, and forgets what they gave and nobody has answered yet.
    fn mute(&mut self, now: Instant) {
        self.turn();
        self.muting = Some(now);
        self.is_slow_told = false;
        self.shared.metrics.mute(true);
        self.service.status(self.word());
    }

    /// Tells that the sources are closed, once they are.
    fn tell_muted(&mut self, now: Instant) {
        let Some(since) = self.muting else { return };
        if !self.shared.switch.is_in_use() {
            self.muting = None;
            self.tell_sources(State::Muted);
        } else if !self.is_slow_told && now.saturating_duration_since(since) > SLOW {
            self.is_slow_told = true;
            thread::spawn(|| {
                log::warn!("a device does not close though that was asked for {SLOW:?} ago");
            });
        }
    }

    /// Has opened what [`Supervisor::mute`] closed; with consent, for the first time.
    fn unmute(&mut self) {
        self.muting = None;
        self.tell_sources(State::Capturing);
        self.shared.metrics.mute(false);
        self.service.status(self.word());
        if self.is_announced {
            self.turn();
        }
    }

    fn tell_sources(&self, state: State) {
        for name in &self.names {
            self.shared.status.source(name, state, "");
        }
    }

    /// Ends all: the devices at once, then what was captured is answered, within the grace.
    fn end(&mut self, crew: &mut Crew, is_guarded: bool) -> Result<Ended, Error> {
        let mut ending = Ending::begin(&self.shared);
        self.service.stopping();
        loop {
            let now = Instant::now();
            if self.stops > 0 || !is_guarded || crew.infer.has_failed() {
                ending.asked.get_or_insert(now);
            }
            let (captured, inferred) = (crew.capture.has_ended(), crew.infer.has_ended());
            self.tend_lamp(now, is_guarded);
            // whoever still captures though there is room is stuck
            let is_stuck = ending.is_late(now, self.grace) && self.shared.queue.is_done();
            let has_ended = captured || inferred;
            if self.gate.is_none() && (has_ended || ending.asked.is_some()) {
                // nothing is captured any more, whatever is still to be answered
                ending.close(&self.shared, now, || self.reason(crew, is_guarded));
            }
            let is_kept = crew.keep.has_ended() || ending.is_disk_late(now, self.grace);
            // readers hear of the disk's last word, too
            if self.gate.is_none() && (inferred || captured && is_kept || is_stuck) {
                self.shared.queue.close();
            }
            if captured && inferred && ending.closed.is_some() && is_kept {
                return Ok(Ended::All);
            }
            self.stops += u32::from(self.signals.stop());
            if self.stops > 1 {
                self.signals.arm();
                let since = *ending.hurried.get_or_insert(now);
                if self.gate.is_none() || now.saturating_duration_since(since) > CLOSING {
                    return Ok(Ended::Interrupted);
                }
            }
            ending.check(&self.shared, now, self.grace, captured, inferred)?;
            thread::sleep(ROUND);
        }
    }

    /// The lamp goes out behind the last device. One that failed says so for as long.
    fn tend_lamp(&mut self, now: Instant, is_guarded: bool) {
        if self.shared.switch.is_in_use() {
            let gate = self.gate.as_mut().filter(|_| is_guarded);
            // a lamp that fails now has nothing left to stop
            let _ = gate.map(|gate| gate.tick(now, true));
            return;
        }
        let gate = self.gate.take();
        self.show();
        if gate.is_some_and(|gate| gate.has_lamp() && is_guarded) {
            self.shared.status.say("indicator", State::Off, "");
        }
    }

    /// Why the run ends, for the audit log.
    fn reason(&self, crew: &Crew, is_guarded: bool) -> &'static str {
        let reader_left = match &crew.infer.result {
            Some(Ok(Err(error))) => error.is_broken_pipe(),
            _ => false,
        };
        if reader_left {
            "reader gone"
        } else if !is_guarded || crew.infer.has_failed() || crew.capture.has_failed() {
            "fault"
        } else if self.stops > 0 {
            "signal"
        } else {
            "sources ended"
        }
    }
}

/// What the end came to.
enum Ended {
    /// Every part has ended.
    All,
    /// A second signal waits for no answer.
    Interrupted,
}

/// The end, as far as it has come.
struct Ending {
    /// When somebody asked for it, or something failed. Sources that ended by themselves leave
    /// a reader all the time that it takes.
    asked: Option<Instant>,
    /// When a second signal came.
    hurried: Option<Instant>,
    /// When everything was closed, and only answers are left.
    closed: Option<Instant>,
    /// Rounds of the inferring thread, and when it did the last.
    rounds: u64,
    moved: Instant,
}

impl Ending {
    fn begin(shared: &Shared) -> Ending {
        shared.switch.turn(Position::Over);
        Ending {
            asked: None,
            hurried: None,
            closed: None,
            rounds: shared.progress.rounds_of(Stage::Worker),
            moved: Instant::now(),
        }
    }

    fn is_late(&self, now: Instant, grace: Grace) -> bool {
        let waited = |since: Instant| now.saturating_duration_since(since) > grace.others;
        self.asked.is_some_and(waited)
    }

    fn is_disk_late(&self, now: Instant, grace: Grace) -> bool {
        let waited = |since: Instant| now.saturating_duration_since(since) > grace.others;
        self.closed.is_some_and(waited)
    }

    /// Everything that captured is closed: only answers are left.
    fn close(&mut self, shared: &Shared, now: Instant, reason: impl FnOnce() -> &'static str) {
        if self.closed.is_none() {
            self.closed = Some(now);
            shared.status.record(Record::Stop { reason: reason() });
            shared.status.ledger.end();
        }
    }

    /// Whether each part that has not ended still has time.
    fn check(
        &mut self,
        shared: &Shared,
        now: Instant,
        grace: Grace,
        captured: bool,
        inferred: bool,
    ) -> Result<(), Error> {
        let rounds = shared.progress.rounds_of(Stage::Worker);
        if rounds != self.rounds {
            (self.rounds, self.moved) = (rounds, now);
        }
        let Some(asked) = self.asked else {
            return Ok(());
        };
        let since = |start: Instant| now.saturating_duration_since(start.max(asked));
        if let Some(start) = shared.writing.since() {
            if since(start) > grace.output {
                let what = format!("nobody read it for {:?} at the end", grace.output);
                return Err(Error::Output(io::Error::new(io::ErrorKind::TimedOut, what)));
            }
        } else if !inferred && since(self.moved) > grace.answer {
            let what = format!("an answer was not ready after {:?}", grace.answer);
            return Err(Error::Unfinished(what));
        }
        let is_idle = inferred || shared.queue.is_done();
        if !captured && is_idle && since(asked) > 2 * grace.others {
            let what = format!("a source did not close within {:?}", 2 * grace.others);
            return Err(Error::Unfinished(what));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
