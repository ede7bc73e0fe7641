//! Whether the program is well, for probes: the same judgement as the watchdog's.

use super::progress::{Due, Progress, Stage, Watchdog};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A stage that has not moved for half of this is not well.
const ALLOWED: Duration = Duration::from_secs(30);
/// The supervisor looks a hundred times a second; one that did not for so long hangs itself.
const LOOKS: Duration = Duration::from_secs(5);

/// What the supervisor found when it looked last.
#[derive(Debug)]
pub struct Health(Mutex<Found>);

#[derive(Debug)]
struct Found {
    watchdog: Watchdog,
    resting: Vec<Stage>,
    looked: Instant,
}

impl Health {
    /// Well so far.
    pub fn new(now: Instant) -> Health {
        Health(Mutex::new(Found {
            watchdog: Watchdog::new(ALLOWED, now),
            resting: Vec::new(),
            looked: now,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether every stage moves; in every round of the supervisor.
    pub fn look(&self, progress: &Progress, now: Instant) {
        let mut found = self.lock();
        found.looked = now;
        match found.watchdog.due(progress, now) {
            Due::NotYet => {}
            Due::Feed => found.resting.clear(),
            Due::Resting(stages) => found.resting = stages,
        }
    }

    /// The names of what makes no progress.
    pub fn resting(&self, now: Instant) -> Vec<&'static str> {
        let found = self.lock();
        if now.saturating_duration_since(found.looked) > LOOKS {
            return vec!["supervisor"];
        }
        found.resting.iter().map(|stage| stage.name()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_hangs_is_named_until_it_moves_and_so_is_whoever_looks() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let progress = Progress::new([Stage::Poll, Stage::Worker]);
        let health = Health::new(start);
        progress.advance(Stage::Poll);
        health.look(&progress, at(10));
        assert!(health.resting(at(10)).is_empty());
        health.look(&progress, at(16));
        assert_eq!(health.resting(at(16)), ["worker"]);
        health.look(&progress, at(20));
        assert_eq!(health.resting(at(20)), ["worker"]);
        progress.advance(Stage::Worker);
        health.look(&progress, at(21));
        assert!(health.resting(at(21)).is_empty());
        assert_eq!(health.resting(at(27)), ["supervisor"]);
    }
}
