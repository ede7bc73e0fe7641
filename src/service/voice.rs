//! Whether somebody speaks, for outputs that show it while they do: a robot that turns its head.
//!
//! It is no event, has no number, and passes by whatever waits for its answer: only what is now
//! counts, and it is told from the thread that hears it. Nothing of what was said goes with it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is heard now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Voice {
    /// Nothing: no microphone is open, it is away, or it is muted.
    #[default]
    Unheard,
    /// Nobody speaks.
    Silent,
    /// Somebody does.
    Speaking,
}

/// Somebody who shows it, and waits for nothing.
type Watcher = Box<dyn Fn(Voice) + Send>;

/// Whether somebody speaks now; those who show it are told when that changes.
#[derive(Default)]
pub struct VoiceActivity(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    voice: Voice,
    /// What was heard in an earlier one is void.
    epoch: u64,
    watchers: Vec<Watcher>,
}

impl Inner {
    fn change(&mut self, voice: Voice) {
        if std::mem::replace(&mut self.voice, voice) != voice {
            self.watchers.iter().for_each(|watcher| watcher(voice));
        }
    }
}

impl VoiceActivity {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has somebody told of what is heard, now and on every change. Whoever hears waits for them.
    pub fn watch(&self, watcher: impl Fn(Voice) + Send + 'static) {
        let mut inner = self.lock();
        watcher(inner.voice);
        inner.watchers.push(Box::new(watcher));
    }

    /// This is heard now, in `epoch`.
    pub fn hear(&self, voice: Voice, epoch: u64) {
        let mut inner = self.lock();
        if epoch >= inner.epoch {
            inner.change(voice);
        }
    }

    /// Begins an epoch with a press: nothing is heard, not even what a thread that does not know
    /// of it yet hears still.
    pub fn forget_before(&self, epoch: u64) {
        let mut inner = self.lock();
        if epoch > inner.epoch {
            inner.epoch = epoch;
            inner.change(Voice::Unheard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn changes_are_told_and_a_press_ends_what_was_heard_before_it() {
        let activity = VoiceActivity::default();
        let (tell, told) = mpsc::channel();
        activity.watch(move |voice| tell.send(voice).unwrap());
        for voice in [Voice::Silent, Voice::Silent, Voice::Speaking] {
            activity.hear(voice, 0);
        }
        activity.forget_before(0);
        activity.forget_before(1);
        // by whoever has not seen the press
        activity.hear(Voice::Speaking, 0);
        activity.hear(Voice::Silent, 1);
        let told: Vec<Voice> = told.try_iter().collect();
        use Voice::{Silent, Speaking, Unheard};
        assert_eq!(told, [Unheard, Silent, Speaking, Unheard, Silent]);
    }
}
