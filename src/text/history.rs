//! What was said before: a short memory that is never written down.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// How much a [`History`] holds and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Utterances kept, the oldest being dropped first; 0 keeps none.
    pub utterances: usize,
    /// Longest utterance kept, in bytes of UTF-8. Of a longer one the end is
    /// kept, for the model's input is cut from the left as well.
    pub bytes: usize,
    /// A pause longer than this ends the conversation: everything is forgotten.
    pub silence: Duration,
}

impl Default for HistoryLimits {
    /// Five utterances of at most 2 KiB, forgotten after 60 s of silence.
    fn default() -> Self {
        HistoryLimits {
            utterances: 5,
            bytes: 2048,
            silence: Duration::from_secs(60),
        }
    }
}

/// The last few utterances of the present conversation, in memory only.
///
/// Times are readings of one monotonic clock, as a span since any fixed
/// moment. The type is on purpose neither serialisable nor cloneable, and its
/// `Debug` form shows no words.
pub struct History {
    limits: HistoryLimits,
    utterances: VecDeque<String>,
    last: Duration,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("limits", &self.limits)
            .field("utterances", &self.utterances.len())
            .finish_non_exhaustive()
    }
}

impl History {
    /// An empty history.
    #[must_use]
    pub fn new(limits: HistoryLimits) -> Self {
        History {
            limits,
            utterances: VecDeque::new(),
            last: Duration::ZERO,
        }
    }

    /// Remembers an utterance that ended at `now`; a blank one only counts as
    /// speech, so it keeps the conversation going and takes no place.
    pub fn push(&mut self, utterance: &str, now: Duration) {
        self.forget_if_silent(now);
        self.last = self.last.max(now);
        let utterance = tail(utterance.trim(), self.limits.bytes);
        if utterance.is_empty() || self.limits.utterances == 0 {
            return;
        }
        while self.utterances.len() >= self.limits.utterances {
            self.utterances.pop_front();
        }
        self.utterances.push_back(utterance.to_owned());
    }

    /// What was said before an utterance that begins at `now`, oldest first;
    /// the form [`Tokenizer::encode`](super::Tokenizer::encode) takes.
    pub fn recall(&mut self, now: Duration) -> Vec<&str> {
        self.forget_if_silent(now);
        self.utterances.iter().map(String::as_str).collect()
    }

    /// Number of utterances held at the last call.
    #[must_use]
    pub fn len(&self) -> usize {
        self.utterances.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.utterances.is_empty()
    }

    /// Forgets everything, e.g. when the mute button is pressed.
    pub fn clear(&mut self) {
        self.utterances.clear();
    }

    fn forget_if_silent(&mut self, now: Duration) {
        if now.saturating_sub(self.last) > self.limits.silence {
            self.clear();
        }
    }
}

/// The end of `text` in at most `limit` bytes, from the beginning of a word
/// where there is one, so that no half word reaches the tokenizer.
fn tail(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut start = text.len() - limit;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let end = &text[start..];
    let cut_inside_word = !text[..start].ends_with(char::is_whitespace);
    match end.find(char::is_whitespace) {
        Some(space) if cut_inside_word => end[space..].trim_start(),
        _ => end.trim_start(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn history() -> History {
        History::new(HistoryLimits::default())
    }

    #[test]
    fn keeps_the_last_five_oldest_first() {
        let mut history = history();
        for n in 0..7 {
            history.push(&n.to_string(), n * SECOND);
        }
        assert_eq!(history.recall(7 * SECOND), ["2", "3", "4", "5", "6"]);
    }

    #[test]
    fn forgets_after_a_silence_and_not_before() {
        let mut history = history();
        history.push("one", 10 * SECOND);
        assert_eq!(history.recall(70 * SECOND), ["one"]);
        assert!(
            history
                .recall(70 * SECOND + Duration::from_nanos(1))
                .is_empty()
        );
        assert!(
            history.is_empty(),
            "a later, earlier-looking clock must not bring it back"
        );
    }

    #[test]
    fn a_pause_before_a_push_starts_a_new_conversation() {
        let mut history = history();
        history.push("old", SECOND);
        history.push("new", 100 * SECOND);
        assert_eq!(history.recall(100 * SECOND), ["new"]);
    }

    #[test]
    fn a_clock_that_steps_back_forgets_nothing() {
        let mut history = history();
        history.push("one", 100 * SECOND);
        history.push("two", 50 * SECOND);
        assert_eq!(history.recall(90 * SECOND), ["one", "two"]);
    }

    #[test]
    fn blank_speech_takes_no_place_but_keeps_the_conversation() {
        let mut history = history();
        history.push("one", SECOND);
        history.push(" \n", 50 * SECOND);
        assert_eq!(history.recall(100 * SECOND), ["one"]);
    }

    #[test]
    fn long_utterances_keep_their_end_from_a_whole_word() {
        assert_eq!(tail("alpha beta gamma", 8), "gamma");
        assert_eq!(tail("alpha beta gamma", 10), "beta gamma");
        assert_eq!(tail("alpha beta gamma", 11), "beta gamma");
        assert_eq!(tail("ééééé", 5), "éé");
        assert_eq!(tail("abcdef", 0), "");
        let mut history = History::new(HistoryLimits {
            bytes: 8,
            ..HistoryLimits::default()
        });
        history.push("alpha beta gamma", SECOND);
        assert_eq!(history.recall(SECOND), ["gamma"]);
    }

    #[test]
    fn nothing_is_kept_when_the_ring_is_of_size_zero() {
        let mut history = History::new(HistoryLimits {
            utterances: 0,
            ..HistoryLimits::default()
        });
        history.push("one", SECOND);
        assert!(history.recall(SECOND).is_empty());
    }

    #[test]
    fn debug_shows_no_words() {
        let mut history = history();
        history.push("secret", SECOND);
        let shown = format!("{history:?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("utterances: 1"), "{shown}");
    }
}
