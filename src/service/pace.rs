//! How fast somebody may speak to us.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Messages that are read within a second.
const MOST: usize = 50;

/// When messages came, of the last second.
#[derive(Debug, Default)]
pub struct Pace(VecDeque<Instant>);

impl Pace {
    /// A message came.
    pub fn count(&mut self, now: Instant) {
        self.0.push_back(now);
    }

    /// How long nothing more is read, for too much has come within a second.
    pub fn pause(&mut self, now: Instant) -> Duration {
        let second = Duration::from_secs(1);
        let is_past = |at: &Instant| now.saturating_duration_since(*at) >= second;
        while self.0.front().is_some_and(is_past) {
            self.0.pop_front();
        }
        match self.0.front() {
            Some(first) if self.0.len() >= MOST => (*first + second).saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_fifty_things_within_a_second_waits_for_its_end() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let at = |ms| start + Duration::from_millis(ms);
        for message in 0..MOST as u64 {
            assert_eq!(pace.pause(at(message)), Duration::ZERO);
            pace.count(at(message));
        }
        assert_eq!(pace.pause(at(200)), Duration::from_millis(800));
        assert_eq!(pace.pause(at(1000)), Duration::ZERO);
    }
}
