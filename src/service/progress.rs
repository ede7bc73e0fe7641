//! Whether every stage still moves, as the watchdog is to know it.
//!
//! A stage says [`Progress::advance`] whenever it did a round of its work. Waiting for a
//! device to come back, being muted and waking up to an empty queue are such rounds; being
//! stuck in a call is not. The service manager is fed only after every enabled stage has
//! advanced since the last time, so that a thread which pings for ever cannot hide one that
//! hangs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A part of `run` that can hang by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The loop that polls all sources.
    Poll,
    /// The microphone or the recording.
    Sound,
    /// The camera or the pictures.
    Camera,
    /// The thread that infers and writes events.
    Worker,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Stage; 4] = [Stage::Poll, Stage::Sound, Stage::Camera, Stage::Worker];

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Poll => "poll",
            Stage::Sound => "sound",
            Stage::Camera => "camera",
            Stage::Worker => "worker",
        }
    }
}

/// Rounds that each stage has done; shared between the threads.
#[derive(Debug, Default)]
pub struct Progress {
    rounds: [AtomicU64; Stage::ALL.len()],
    enabled: [AtomicBool; Stage::ALL.len()],
}

impl Progress {
    /// Nothing is expected of any stage but `enabled`.
    pub fn new(enabled: impl IntoIterator<Item = Stage>) -> Progress {
        let progress = Progress::default();
        for stage in enabled {
            progress.enabled[stage as usize].store(true, Ordering::Relaxed);
        }
        progress
    }

    /// The stage did a round of its work.
    pub fn advance(&self, stage: Stage) {
        self.rounds[stage as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The stage has ended for good, as a recording does: no more rounds are expected.
    pub fn retire(&self, stage: Stage) {
        self.enabled[stage as usize].store(false, Ordering::Relaxed);
    }

    /// Rounds that the stage has done so far.
    pub fn rounds_of(&self, stage: Stage) -> u64 {
        self.rounds[stage as usize].load(Ordering::Relaxed)
    }

    fn rounds(&self) -> [u64; Stage::ALL.len()] {
        Stage::ALL.map(|stage| self.rounds[stage as usize].load(Ordering::Relaxed))
    }

    /// The enabled stages that have not moved since `before`.
    fn resting(&self, before: &[u64; Stage::ALL.len()]) -> Vec<Stage> {
        let now = self.rounds();
        let rests = |stage: &Stage| {
            let at = *stage as usize;
            self.enabled[at].load(Ordering::Relaxed) && now[at] == before[at]
        };
        Stage::ALL.into_iter().filter(rests).collect()
    }
}

/// What [`Watchdog::due`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// It is too early, or a stage that rests was named already.
    NotYet,
    /// Every enabled stage has moved: feed the service manager.
    Feed,
    /// These stages have not moved for half of what the manager allows. Said once; when they
    /// do not move in the other half either, the manager ends the process.
    Resting(Vec<Stage>),
}

/// Decides when the service manager's watchdog is fed.
#[derive(Debug)]
pub struct Watchdog {
    every: Duration,
    fed: Instant,
    rounds: [u64; Stage::ALL.len()],
    named: bool,
}

impl Watchdog {
    /// `allowed` is what the manager allows between two feeds; half of it is aimed at.
    pub fn new(allowed: Duration, now: Instant) -> Watchdog {
        Watchdog {
            every: allowed / 2,
            fed: now,
            rounds: [0; Stage::ALL.len()],
            named: false,
        }
    }

    /// Whether to feed now. After [`Due::Feed`] every stage has to move again.
    pub fn due(&mut self, progress: &Progress, now: Instant) -> Due {
        if now.saturating_duration_since(self.fed) < self.every {
            return Due::NotYet;
        }
        let resting = progress.resting(&self.rounds);
        if resting.is_empty() {
            self.rounds = progress.rounds();
            self.fed = now;
            self.named = false;
            return Due::Feed;
        }
        if std::mem::replace(&mut self.named, true) {
            return Due::NotYet;
        }
        Due::Resting(resting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Duration = Duration::from_secs(30);

    fn clock() -> impl Fn(u64) -> Instant {
        let start = Instant::now();
        move |seconds| start + Duration::from_secs(seconds)
    }

    fn all_advance(progress: &Progress) {
        Stage::ALL.iter().for_each(|s| progress.advance(*s));
    }

    #[test]
    fn fed_at_half_the_time_and_only_after_all_have_moved_again() {
        let at = clock();
        let progress = Progress::new(Stage::ALL);
        let mut watchdog = Watchdog::new(ALLOWED, at(0));
        all_advance(&progress);
        assert_eq!(watchdog.due(&progress, at(14)), Due::NotYet);
        assert_eq!(watchdog.due(&progress, at(15)), Due::Feed);
        // what moved before the feed does not count for the next one
        assert_eq!(
            watchdog.due(&progress, at(30)),
            Due::Resting(Stage::ALL.to_vec())
        );
        all_advance(&progress);
        assert_eq!(watchdog.due(&progress, at(31)), Due::Feed);
        assert_eq!(watchdog.due(&progress, at(45)), Due::NotYet);
    }

    #[test]
    fn one_stage_that_hangs_is_named_once_and_starves_the_manager() {
        let at = clock();
        let progress = Progress::new(Stage::ALL);
        let mut watchdog = Watchdog::new(ALLOWED, at(0));
        for stuck in Stage::ALL {
            let mut said = Vec::new();
            for second in 0..1000 {
                let moving = Stage::ALL.into_iter().filter(|s| *s != stuck);
                moving.for_each(|s| progress.advance(s));
                let start = 10_000 * (stuck as u64 + 1);
                match watchdog.due(&progress, at(start + second)) {
                    Due::NotYet => {}
                    other => said.push(other),
                }
            }
            assert_eq!(said, [Due::Resting(vec![stuck])]);
            all_advance(&progress);
            assert_eq!(
                watchdog.due(&progress, at(10_000 * (stuck as u64 + 1) + 1000)),
                Due::Feed
            );
        }
    }

    #[test]
    fn nothing_is_expected_of_stages_that_are_off_or_have_ended() {
        let at = clock();
        let progress = Progress::new([Stage::Poll, Stage::Sound]);
        let mut watchdog = Watchdog::new(ALLOWED, at(0));
        progress.advance(Stage::Poll);
        assert_eq!(
            watchdog.due(&progress, at(20)),
            Due::Resting(vec![Stage::Sound])
        );
        progress.retire(Stage::Sound);
        assert_eq!(watchdog.due(&progress, at(21)), Due::Feed);
    }

    #[test]
    fn rounds_of_other_threads_are_seen() {
        let at = clock();
        let progress = Progress::new([Stage::Worker]);
        let mut watchdog = Watchdog::new(ALLOWED, at(0));
        std::thread::scope(|scope| {
            scope.spawn(|| progress.advance(Stage::Worker));
        });
        assert_eq!(watchdog.due(&progress, at(15)), Due::Feed);
    }
}
