//! Topics that are open at the other side.

use super::report::{FACES, TRACKED};
use std::time::{Duration, Instant};

/// A topic on which nothing was said for so long is given back: its face has gone.
pub const RESTING: Duration = Duration::from_secs(10);
/// Topics at a time.
pub const MOST_TOPICS: usize = 128;

/// What is open, each with what the transport keeps of it.
#[derive(Debug)]
pub struct Topics<T>(Vec<Open<T>>);

#[derive(Debug)]
struct Open<T> {
    name: String,
    /// When something was said there last.
    said: Instant,
    kept: T,
}

impl<T> Default for Topics<T> {
    fn default() -> Topics<T> {
        Topics(Vec::new())
    }
}

impl<T> Topics<T> {
    /// A topic on which something is said now; `None` while it is not open.
    pub fn speak(&mut self, name: &str, now: Instant) -> Option<&mut T> {
        let open = self.0.iter_mut().find(|open| open.name == name)?;
        open.said = now;
        Some(&mut open.kept)
    }

    /// It is open from now on.
    pub fn add(&mut self, name: &str, kept: T, now: Instant) {
        self.0.push(Open {
            name: name.to_owned(),
            said: now,
            kept,
        });
    }

    /// Where no more fit, takes away the one on which nothing was said for longest.
    pub fn make_room(&mut self) -> Option<String> {
        let is_full = self.0.len() >= MOST_TOPICS;
        let oldest = (0..self.0.len()).min_by_key(|at| self.0[*at].said)?;
        is_full.then(|| self.0.swap_remove(oldest).name)
    }

    /// Takes away those of faces that have gone.
    pub fn clear_resting(&mut self, now: Instant) -> Vec<String> {
        let is_resting = |open: &mut Open<T>| {
            let is_of_face = open.name.starts_with(FACES) && open.name != TRACKED;
            is_of_face && now.saturating_duration_since(open.said) >= RESTING
        };
        let resting = self.0.extract_if(.., is_resting);
        resting.map(|open| open.name).collect()
    }
}
