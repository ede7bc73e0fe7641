//! Which words belong to which utterance.
//!
//! Words come from elsewhere (a recogniser, a chat window, a subtitle file) at a pace of
//! their own. An utterance waits a moment for them, then goes without.

use crate::capture::text::TextLine;
use crate::signal::segment::Utterance;
use std::collections::VecDeque;

/// Lines kept at most while no utterance claims them: a flood of words has a bound.
const MAX_LINES: usize = 1024;

/// An utterance with its words; at least one of the two.
#[derive(Debug, Default)]
pub struct Pair {
    /// The sound.
    pub utterance: Option<Utterance>,
    /// The words, in the order they came.
    pub text: Option<String>,
}

/// A line with its place in the stream.
#[derive(Debug)]
struct Placed {
    start: f64,
    end: f64,
    text: String,
}

/// Joins the two streams by time.
#[derive(Debug)]
pub struct Pairing {
    wait: f64,
    utterances: VecDeque<Utterance>,
    lines: VecDeque<Placed>,
}

impl Pairing {
    /// `wait`: seconds that an utterance waits for its words.
    pub fn new(wait: f64) -> Self {
        Pairing {
            wait,
            utterances: VecDeque::new(),
            lines: VecDeque::new(),
        }
    }

    /// Adds an utterance; they come in order.
    pub fn utterance(&mut self, utterance: Utterance) {
        self.utterances.push_back(utterance);
    }

    /// Adds a line. Without a time of its own it belongs to `now` (stream seconds): to the
    /// utterance that is being spoken or has just ended.
    pub fn line(&mut self, line: TextLine, now: f64) {
        let start = line.start.map_or(now, |t| t.as_secs_f64());
        let end = line.end.map_or(start, |t| t.as_secs_f64()).max(start);
        let placed = Placed {
            start,
            end,
            text: line.text,
        };
        if self.lines.len() == MAX_LINES {
            log::warn!(
                "more than {MAX_LINES} lines of text without an utterance; the oldest is dropped"
            );
            self.lines.pop_front();
        }
        // Speakers overlap: a long line must not stand in the way of a short one within it.
        let at = self
            .lines
            .partition_point(|other| middle(other) <= middle(&placed));
        self.lines.insert(at, placed);
    }

    /// The next pair that is complete at stream time `now`; `speaking` says that an
    /// utterance is still open, `ended` that no more sound will come.
    pub fn next(&mut self, now: f64, speaking: bool, ended: bool) -> Option<Pair> {
        if let Some(first) = self.utterances.front() {
            let (start, end) = span(first);
            self.orphan(start)
                .map(Some)
                .unwrap_or_else(|| self.claim(now, end, ended))
        } else {
            let late = |line: &Placed| ended || (!speaking && now >= line.end + self.wait);
            let free = self.lines.front().is_some_and(late);
            free.then(|| self.lines.pop_front().map(alone)).flatten()
        }
    }

    /// A line that ended before the first waiting utterance began has no sound to wait for.
    fn orphan(&mut self, start: f64) -> Option<Pair> {
        let before = self
            .lines
            .front()
            .is_some_and(|line| line.end + self.wait < start);
        before.then(|| self.lines.pop_front().map(alone)).flatten()
    }

    fn claim(&mut self, now: f64, end: f64, ended: bool) -> Option<Pair> {
        let reach = self.reach(end);
        let has_words = self.lines.front().is_some_and(|line| middle(line) < reach);
        if !(has_words || ended || now >= end + self.wait) {
            return None;
        }
        let mut words: Vec<String> = Vec::new();
        while self.lines.front().is_some_and(|line| middle(line) < reach) {
            words.extend(self.lines.pop_front().map(|line| line.text));
        }
        let text = (!words.is_empty()).then(|| words.join(" "));
        Some(Pair {
            utterance: self.utterances.pop_front(),
            text,
        })
    }

    /// How far in time the first utterance's words may lie: `wait` after its end, but no
    /// further than half-way to the next one.
    fn reach(&self, end: f64) -> f64 {
        let next = self.utterances.get(1).map_or(f64::INFINITY, |u| span(u).0);
        (end + self.wait).min(end + (next - end).max(0.0) / 2.0)
    }
}

fn alone(line: Placed) -> Pair {
    Pair {
        utterance: None,
        text: Some(line.text),
    }
}

fn middle(line: &Placed) -> f64 {
    0.5 * (line.start + line.end)
}

/// Start and end of an utterance in stream seconds.
pub fn span(utterance: &Utterance) -> (f64, f64) {
    let start = utterance.start.as_secs_f64();
    (start, start + utterance.duration().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn utterance(start: f64, seconds: f64) -> Utterance {
        Utterance {
            start: Duration::from_secs_f64(start),
            samples: vec![0.0; (seconds * 16_000.0) as usize],
            gaps: Vec::new(),
            cut: false,
        }
    }

    fn line(times: Option<(f64, f64)>, text: &str) -> TextLine {
        TextLine {
            start: times.map(|t| Duration::from_secs_f64(t.0)),
            end: times.map(|t| Duration::from_secs_f64(t.1)),
            text: text.into(),
        }
    }

    #[test]
    fn timed_lines_find_their_utterance() {
        let mut pairing = Pairing::new(1.0);
        pairing.line(line(Some((0.1, 0.9)), "one"), 0.0);
        pairing.line(line(Some((2.1, 2.4)), "two"), 0.0);
        pairing.line(line(Some((2.5, 2.9)), "three"), 0.0);
        pairing.utterance(utterance(0.0, 1.0));
        pairing.utterance(utterance(2.0, 1.0));
        let texts: Vec<_> = std::iter::from_fn(|| pairing.next(3.0, false, true))
            .map(|p| p.text)
            .collect();
        assert_eq!(texts, [Some("one".to_string()), Some("two three".into())]);
    }

    #[test]
    fn overlapping_lines_do_not_hold_each_other_up() {
        let mut pairing = Pairing::new(0.5);
        pairing.line(line(Some((0.0, 9.0)), "all along"), 0.0);
        pairing.line(line(Some((0.2, 0.8)), "first"), 0.0);
        pairing.line(line(Some((8.2, 8.8)), "last"), 0.0);
        pairing.utterance(utterance(0.0, 1.0));
        pairing.utterance(utterance(4.0, 1.0));
        pairing.utterance(utterance(8.0, 1.0));
        let texts: Vec<_> = std::iter::from_fn(|| pairing.next(9.0, false, true))
            .map(|p| p.text.unwrap_or_default())
            .collect();
        assert_eq!(texts, ["first", "all along", "last"]);
    }

    #[test]
    fn an_utterance_waits_and_then_goes_without_words() {
        let mut pairing = Pairing::new(1.0);
        pairing.utterance(utterance(0.0, 1.0));
        assert!(pairing.next(1.5, false, false).is_none());
        let pair = pairing.next(2.0, false, false);
        assert!(pair.is_some_and(|p| p.utterance.is_some() && p.text.is_none()));
    }

    #[test]
    fn an_untimed_line_belongs_to_the_utterance_just_ended() {
        let mut pairing = Pairing::new(1.0);
        pairing.utterance(utterance(0.0, 1.0));
        pairing.line(line(None, "late words"), 1.4);
        let pair = pairing.next(1.4, false, false);
        assert!(pair.is_some_and(|p| p.text.as_deref() == Some("late words")));
    }

    #[test]
    fn words_without_sound_go_alone_and_nothing_is_lost() {
        let mut pairing = Pairing::new(1.0);
        pairing.line(line(None, "typed"), 5.0);
        assert!(
            pairing.next(5.0, false, false).is_none(),
            "someone may be about to speak"
        );
        assert!(
            pairing.next(6.0, true, false).is_none(),
            "someone is speaking"
        );
        let pair = pairing.next(6.0, false, false);
        assert!(pair.is_some_and(|p| p.utterance.is_none() && p.text.as_deref() == Some("typed")));
        assert!(pairing.next(9.0, false, true).is_none());
    }

    #[test]
    fn a_flood_of_lines_is_bounded() {
        let mut pairing = Pairing::new(1.0);
        (0..5000).for_each(|i| pairing.line(line(None, "x"), f64::from(i)));
        assert_eq!(pairing.lines.len(), MAX_LINES);
    }
}
