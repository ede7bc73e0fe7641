//! How long to wait before a broker or a bridge is tried again.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// The first wait is at most this long.
const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(45);
/// No wait is shorter.
const SHORTEST: Duration = Duration::from_millis(100);

/// Doubles with each failure, with full jitter: a thousand devices whose broker was restarted
/// do not come back in the same moment.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure.
    pub fn next(&mut self) -> Duration {
        let limit = LONGEST.min(FIRST * 2u32.saturating_pow(self.failures.min(10)));
        self.failures += 1;
        limit.mul_f64(chance()).max(SHORTEST)
    }

    /// It went well for a while.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A number in 0..1, another one each time, on every device.
pub fn chance() -> f64 {
    // the standard library seeds its hash maps from the system's random numbers
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest_and_differ() {
        let mut longest = [Duration::ZERO; 12];
        for _ in 0..200 {
            let mut backoff = Backoff::default();
            for (n, longest) in longest.iter_mut().enumerate() {
                let wait = backoff.next();
                let limit = FIRST * 2u32.pow(n as u32);
                assert!(wait >= SHORTEST && wait <= limit.min(LONGEST));
                *longest = wait.max(*longest);
            }
            backoff.reset();
            assert!(backoff.next() <= FIRST);
        }
        // of 200 waits the longest comes near its limit, unless they are all the same
        assert!(longest[0] > FIRST.mul_f64(0.8) && longest[11] > LONGEST.mul_f64(0.8));
    }
}
