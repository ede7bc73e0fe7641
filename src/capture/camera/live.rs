//! What keeps a live source alive: a thread that reads its device, keeps the newest frame,
//! and opens the device again when it is lost.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    CameraState, CaptureError, Frame, FrameData, FrameReport, FrameSource, Losses, Source,
};

/// Least time between two reads that brought frames, so that a source that floods us waits
/// in its pipe and does not take a whole core.
const PACE: Duration = Duration::from_millis(4);
/// Warnings that a report keeps.
const MOST_WARNINGS: usize = 16;

/// How long a live source is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Without a frame for this long it is taken for lost.
    pub stall: Duration,
    /// First wait before it is opened again.
    pub first_retry: Duration,
    /// Longest wait: each is twice the one before, up to this.
    pub last_retry: Duration,
    /// When it delivered frames for this long, waiting begins anew at the first wait.
    pub ran_well: Duration,
}

impl Default for Patience {
    /// 10 s for a frame (Jetson's Argus takes 5 to start), 0.5 s to 30 s between tries.
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(10),
            first_retry: Duration::from_millis(500),
            last_retry: Duration::from_secs(30),
            ran_well: Duration::from_secs(10),
        }
    }
}

/// Why a device cannot be had.
#[derive(Debug)]
pub(in crate::capture) enum Refusal {
    /// It may come back: the reason, without a full stop.
    Later(String),
    /// Trying again right away would be no use.
    Never(CaptureError),
}

/// What opens a device, again and again.
pub(in crate::capture) trait Opener: Send + 'static {
    /// The device while it is open; dropping it closes it.
    type Device: Device;

    fn open(&mut self) -> Result<Self::Device, Refusal>;
}

/// A device that is open.
pub(in crate::capture) trait Device: Send {
    /// What becomes readable when there is something to read.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// Reads what is there, without waiting.
    ///
    /// # Errors
    /// A sentence, without its full stop, that says why the device is lost.
    fn read(&mut self, out: &mut Outlet<'_>) -> Result<(), String>;
}

/// Where a device puts its frames.
pub(in crate::capture) struct Outlet<'a> {
    shared: &'a Shared,
    frames: u64,
    /// Since the last whole frame.
    damaged: u64,
    losses: Losses,
    last: Instant,
}

impl Outlet<'_> {
    /// A new frame: it takes the place of the one before.
    pub(in crate::capture) fn frame(&mut self, data: FrameData) {
        self.frames += 1;
        self.damaged = 0;
        self.last = Instant::now();
        let frame = Frame {
            at: self.shared.opened.elapsed(),
            name: Arc::clone(&self.shared.name),
            data,
        };
        let mut inner = self.shared.lock();
        if inner.newest.replace(frame).is_some() {
            inner.report.dropped += 1;
        }
    }

    /// Frames that were cut or damaged.
    pub(in crate::capture) fn damaged(&mut self, count: u64) {
        self.damaged += count;
        self.losses.add(count);
        self.losses
            .settle(&self.shared.name, &mut self.shared.lock().report);
    }

    /// Something odd, told once.
    pub(in crate::capture) fn warn(&mut self, warning: String) {
        let warnings = &mut self.shared.lock().report.warnings;
        if warnings.len() < MOST_WARNINGS && !warnings.contains(&warning) {
            log::warn!("{warning}");
            warnings.push(warning);
        }
    }
}

struct Inner {
    newest: Option<Frame>,
    state: CameraState,
    report: FrameReport,
}

/// What the thread and the poll have in common.
struct Shared {
    name: Arc<str>,
    opened: Instant,
    inner: Mutex<Inner>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A live source of frames. Polling it never waits; dropping it closes the device and waits
/// until it is closed.
pub(in crate::capture) struct Live {
    shared: Arc<Shared>,
    /// Dropped to stop the thread.
    wake: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    /// Opens the device and reads it in a thread of its own.
    ///
    /// # Errors
    /// The error of [`Refusal::Never`], when the device will never open.
    pub(in crate::capture) fn open<O: Opener>(
        name: Arc<str>,
        mut opener: O,
        patience: Patience,
    ) -> Result<Self, CaptureError> {
        let first = match opener.open() {
            Ok(device) => Ok(device),
            Err(Refusal::Later(reason)) => Err(reason),
            Err(Refusal::Never(error)) => return Err(error),
        };
        let (reader, wake) = io::pipe().map_err(|e| CaptureError::read(&name, e))?;
        let shared = Arc::new(Shared {
            name,
            opened: Instant::now(),
            inner: Mutex::new(Inner {
                newest: None,
                state: CameraState::Capturing,
                report: FrameReport::default(),
            }),
        });
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            wake: reader,
            patience,
        };
        Ok(Self {
            shared,
            wake: Some(wake),
            thread: Some(thread::spawn(move || keeper.keep(opener, first))),
        })
    }
}

impl Source for Live {
    type Item = Frame;

    fn poll(&mut self) -> nb::Result<Option<Frame>, CaptureError> {
        let mut inner = self.shared.lock();
        if let Some(frame) = inner.newest.take() {
            inner.report.frames += 1;
            return Ok(Some(frame));
        }
        // The thread goes on until it is stopped, unless it panicked.
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            inner.state = CameraState::Ended;
            return Ok(None);
        }
        Err(nb::Error::WouldBlock)
    }
}

impl FrameSource for Live {
    fn state(&self) -> CameraState {
        self.shared.lock().state.clone()
    }

    fn report(&self) -> FrameReport {
        self.shared.lock().report.clone()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; the device is closed either way.
            let _ = thread.join();
        }
    }
}

/// How reading a device ended.
enum Ended {
    /// We were asked to stop.
    Stopped,
    /// The device is lost, for this reason.
    Lost(String),
}

/// The thread's side.
struct Keeper {
    shared: Arc<Shared>,
    wake: PipeReader,
    patience: Patience,
}

impl Keeper {
    fn keep<O: Opener>(self, mut opener: O, mut device: Result<O::Device, String>) {
        let mut wait = self.patience.first_retry;
        loop {
            let reason = match device {
                Err(reason) => reason,
                Ok(mut open) => {
                    self.shared.lock().state = CameraState::Capturing;
                    let began = Instant::now();
                    let mut outlet = Outlet {
                        shared: &self.shared,
                        frames: 0,
                        damaged: 0,
                        losses: Losses::default(),
                        last: began,
                    };
                    let ended = self.watch(&mut open, &mut outlet);
                    if outlet.last.duration_since(began) >= self.patience.ran_well {
                        wait = self.patience.first_retry;
                    }
                    match ended {
                        Ended::Stopped => return,
                        Ended::Lost(reason) => {
                            // Closing may take a while; the reason is told before.
                            self.lose(&reason, wait);
                            reason
                        }
                    }
                }
            };
            self.lose(&reason, wait);
            log::warn!("{}: {reason}; next try in {wait:?}", self.shared.name);
            if self.stopped(wait) {
                return;
            }
            wait = (wait * 2).min(self.patience.last_retry);
            self.shared.lock().report.restarts += 1;
            device = opener.open().map_err(|refusal| match refusal {
                Refusal::Later(reason) => reason,
                Refusal::Never(error) => error.to_string(),
            });
        }
    }

    fn lose(&self, reason: &str, wait: Duration) {
        self.shared.lock().state = CameraState::Waiting {
            reason: reason.to_owned(),
            retry_in: wait,
        };
    }

    /// Reads the device until it is lost or we are to stop.
    fn watch(&self, device: &mut impl Device, outlet: &mut Outlet<'_>) -> Ended {
        loop {
            let left = self.patience.stall.saturating_sub(outlet.last.elapsed());
            if left.is_zero() {
                let stall = self.patience.stall;
                let whole = if outlet.damaged > 0 { "whole " } else { "" };
                return Ended::Lost(format!("it delivered no {whole}frame for {stall:?}"));
            }
            let (stop, ready) = self.wait(&device.descriptors(), left);
            if stop {
                return Ended::Stopped;
            }
            if !ready {
                continue;
            }
            let (frames, begun) = (outlet.frames, Instant::now());
            if let Err(reason) = device.read(outlet) {
                return Ended::Lost(reason);
            }
            let rest = PACE.saturating_sub(begun.elapsed());
            if outlet.frames > frames && !rest.is_zero() && self.stopped(rest) {
                return Ended::Stopped;
            }
        }
    }

    /// Waits for up to `most`; whether we are to stop, and whether the device has something.
    fn wait(&self, device: &[BorrowedFd<'_>], most: Duration) -> (bool, bool) {
        let begun = Instant::now();
        loop {
            let all = std::iter::once(self.wake.as_fd()).chain(device.iter().copied());
            let mut all: Vec<PollFd<'_>> = all
                .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
                .collect();
            let left = Timespec::try_from(most.saturating_sub(begun.elapsed()));
            match poll(&mut all, left.ok().as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                // It cannot fail otherwise, and if it did, waiting is all that could be done.
                Err(_) => return (false, true),
                Ok(_) => {
                    let mut happened = all.iter().map(|fd| !fd.revents().is_empty());
                    let stop = happened.next().unwrap_or(false);
                    return (stop, happened.any(|ready| ready));
                }
            }
        }
    }

    /// Waits for `time`; true as soon as we are to stop.
    fn stopped(&self, time: Duration) -> bool {
        self.wait(&[], time).0
    }
}

#[cfg(test)]
mod tests;
