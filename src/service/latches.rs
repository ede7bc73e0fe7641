//! Who keeps the sources closed: whoever stands in front of the device, or somebody far away.
//!
//! Each has a latch of their own, and nothing is captured unless both are open. A wish from
//! afar sets or clears the remote latch alone: it can never undo a person's press, nor give
//! the consent that a press gives.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Whose latch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latch {
    /// That of the people in front of the device: the button, or SIGUSR1.
    Person,
    /// That of whoever reaches it over an output.
    Remote,
}

impl Latch {
    /// Its name as the source of a state, and in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Latch::Person => "button",
            Latch::Remote => "remote",
        }
    }
}

/// Which latches are closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latches {
    /// A press, or consent that nobody gave yet.
    pub person: bool,
    /// A wish from afar.
    pub remote: bool,
}

impl Latches {
    /// Whether either keeps the sources closed.
    pub fn is_muted(self) -> bool {
        self.person || self.remote
    }

    /// Who keeps them closed: of `person` and `remote`.
    pub fn closed_by(self) -> Vec<&'static str> {
        let all = [(self.person, "person"), (self.remote, "remote")];
        let closed = all.into_iter().filter(|(is_closed, _)| *is_closed);
        closed.map(|(_, name)| name).collect()
    }
}

/// What can be seen of the capture from afar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shown {
    /// As the lamp is lit: sources are open, or may be at any moment.
    pub is_capturing: bool,
    /// Who keeps them closed.
    pub latches: Latches,
}

/// The remote latch as far as it reaches: a wish on its way in, what came of it on its way out.
#[derive(Debug, Default)]
pub struct Remote {
    mutes: AtomicBool,
    /// How often the dialogue was to be forgotten.
    forgets: AtomicU64,
    shown: Mutex<Shown>,
    changed: Condvar,
}

impl Remote {
    /// Wishes the latch closed or open; the same wish twice is one.
    pub fn wish(&self, mutes: bool) {
        self.mutes.store(mutes, Ordering::Release);
    }

    /// What was wished last.
    pub fn wished(&self) -> bool {
        self.mutes.load(Ordering::Acquire)
    }

    /// Wishes that the dialogue so far is forgotten.
    pub fn wish_forgotten(&self) {
        self.forgets.fetch_add(1, Ordering::AcqRel);
    }

    /// How often that was wished.
    pub fn forgets(&self) -> u64 {
        self.forgets.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows how things are.
    pub fn show(&self, now: Shown) {
        let mut shown = self.lock();
        if *shown != now {
            *shown = now;
            self.changed.notify_all();
        }
    }

    /// How things are.
    pub fn shown(&self) -> Shown {
        *self.lock()
    }

    /// Waits until the remote latch is as it was wished, for up to `patience`; how things are then.
    pub fn obeyed(&self, patience: Duration) -> Shown {
        let wished = self.wished();
        let differs = |shown: &mut Shown| shown.latches.remote != wished;
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), patience, differs);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_seen_once_it_was_obeyed_and_waited_for_no_longer_than_that() {
        let remote = Remote::default();
        remote.wish(true);
        let short = Duration::from_millis(5);
        assert!(!remote.obeyed(short).latches.remote);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| remote.obeyed(Duration::from_secs(60)));
            let mut now = Shown::default();
            now.latches.remote = remote.wished();
            remote.show(now);
            let seen = waiting.join().unwrap();
            assert_eq!(seen.latches.closed_by(), ["remote"]);
            assert!(seen.latches.is_muted() && !seen.is_capturing);
        });
    }
}
