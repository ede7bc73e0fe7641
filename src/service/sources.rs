//! What every source is now, for outputs that tell how things are.

use crate::event::{State, StateChange};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sources whose state is kept.
const MOST_SOURCES: usize = 64;

/// The last state of every source, but of one: the output itself, which is told of when it is
/// back.
#[derive(Debug)]
pub struct Sources {
    own: &'static str,
    states: Mutex<BTreeMap<String, State>>,
}

impl Sources {
    /// None is known yet.
    pub fn without(own: &'static str) -> Sources {
        Sources {
            own,
            states: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A source is another than before.
    pub fn take(&self, change: &StateChange) {
        let mut states = self.lock();
        let is_known = states.contains_key(&change.source);
        let is_kept = is_known || states.len() < MOST_SOURCES;
        let is_standing = !(is_known && change.state.is_news());
        if change.source != self.own && is_kept && is_standing {
            states.insert(change.source.clone(), change.state);
        }
    }

    /// Each with its state.
    pub fn all(&self) -> BTreeMap<String, State> {
        self.lock().clone()
    }

    /// What is wrong, in words; `resting` are stages that make no progress.
    pub fn problem(&self, resting: &[&str]) -> Option<String> {
        if !resting.is_empty() {
            return Some(format!("no progress of {}", resting.join(" and ")));
        }
        let is_ill = |state: &State| matches!(state, State::Lost | State::Failed | State::Failing);
        let states = self.lock();
        let ill = states.iter().find(|(_, state)| is_ill(state));
        ill.map(|(source, state)| format!("{source}: {state}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_a_source_hide_nothing_of_what_it_is() {
        let sources = Sources::without("mqtt");
        let told = [
            State::Capturing,
            State::Skipped,
            State::Lost,
            State::Drifted,
            State::Warning,
        ];
        for state in told {
            sources.take(&StateChange::new("microphone", state, ""));
        }
        assert_eq!(sources.all()["microphone"], State::Lost);
        assert_eq!(sources.problem(&[]).as_deref(), Some("microphone: lost"));
        // of what was not known before they are all there is
        sources.take(&StateChange::new("emotion", State::Drifted, ""));
        assert_eq!(sources.all()["emotion"], State::Drifted);
        sources.take(&StateChange::new("mqtt", State::Failing, ""));
        assert!(!sources.all().contains_key("mqtt"));
    }
}
