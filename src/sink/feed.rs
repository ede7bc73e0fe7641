//! What was told last, for readers who come and go.
//!
//! One bounded store serves them all, and each reader has a place in it: nobody who tells
//! something waits for a reader, and no reader for another one. Whoever falls behind by more
//! than the store holds is told so, for the server to cut.

use super::{Content, Message, Receiver};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines that a reader may be behind.
const KEPT: usize = 256;
/// An answer older than this is told to nobody who comes later.
const FRESH: Duration = Duration::from_secs(60);
/// Sources whose last state is kept. They come from the configuration, and are a few.
const MOST_SOURCES: usize = 64;
/// Time that readers get for their last lines, at the end.
const GRACE: Duration = Duration::from_millis(300);

/// One message, as JSON with a line break at its end.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// Its JSON.
    pub text: Arc<str>,
    told: Instant,
    /// It holds until another one takes its place, however old it is.
    is_standing: bool,
}

impl Line {
    /// The JSON without the line break.
    pub fn json(&self) -> &str {
        self.text.trim_end()
    }

    fn is_fresh(&self) -> bool {
        self.told.elapsed() < FRESH
    }
}

/// What a reader is to do next.
#[derive(Debug)]
pub enum Next {
    /// To be told.
    Line(Line),
    /// Lines that were to be told are gone.
    Behind,
    /// Nothing came for as long as was waited.
    Idle,
    /// Nothing will come any more.
    Closed,
}

/// The store. It is closed when its [`Writer`](FeedWriter) is dropped.
#[derive(Debug)]
pub struct Feed {
    /// Words that people said may be told.
    words: bool,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<Line>,
    /// The last answer of each task.
    answers: BTreeMap<String, Line>,
    /// The last state of each source.
    states: BTreeMap<String, Line>,
    /// The number of the newest line.
    newest: u64,
    counts: Counts,
    is_closed: bool,
}

/// Figures of a feed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Readers now.
    pub readers: usize,
    /// Readers that were cut because they were slow.
    pub cut: u64,
    /// Readers that found no room.
    pub refused: u64,
    /// Messages that never came here.
    pub lost: u64,
}

impl Inner {
    /// The number of the oldest line that is held still, or of the next one.
    fn oldest(&self) -> u64 {
        self.lines.front().map_or(self.newest + 1, |line| line.seq)
    }
}

impl Feed {
    /// An empty store, and what fills it.
    pub fn new(words: bool) -> (Arc<Feed>, FeedWriter) {
        let feed = Arc::new(Feed {
            words,
            inner: Mutex::default(),
            changed: Condvar::new(),
        });
        (Arc::clone(&feed), FeedWriter(feed))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: &Message<'_>) {
        let mut json = message.to_json();
        if !self.words {
            hush(&mut json);
        }
        let seq = message.stamp.seq;
        let line = Line {
            seq,
            text: format!("{json}\n").into(),
            told: Instant::now(),
            is_standing: matches!(&message.content, Content::Aggregate(_)),
        };
        let mut inner = self.lock();
        inner.counts.lost += seq.saturating_sub(inner.newest + 1);
        inner.newest = seq;
        match &message.content {
            // it is replaced in a moment
            Content::Event(event) if event.partial => {}
            Content::Event(event) => {
                inner.answers.insert(event.task.clone(), line.clone());
            }
            Content::Faces(_) => {
                inner.answers.insert("faces".into(), line.clone());
            }
            Content::Aggregate(told) => {
                inner.answers.insert(told.of.clone(), line.clone());
            }
            Content::State(change) => {
                let is_known = inner.states.contains_key(&*change.source);
                let is_kept = is_known || inner.states.len() < MOST_SOURCES;
                if is_kept && !(is_known && change.state.is_news()) {
                    inner.states.insert(change.source.clone(), line.clone());
                }
            }
        }
        if inner.lines.len() == KEPT {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
        self.changed.notify_all();
    }

    /// The last state of every source, the oldest first.
    pub fn states(&self) -> Vec<Line> {
        sorted(self.lock().states.values())
    }

    /// The last answer of every task, with the task, unless it is too old; or its last counts.
    pub fn answers(&self) -> Vec<(String, Line)> {
        let inner = self.lock();
        let is_shown = |line: &Line| line.is_standing || line.is_fresh();
        let fresh = inner.answers.iter().filter(|(_, line)| is_shown(line));
        fresh
            .map(|(task, line)| (task.clone(), line.clone()))
            .collect()
    }

    /// Figures.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// A reader of all that comes from now on; `None` where there are `most` already.
    pub fn join(self: &Arc<Self>, most: usize) -> Option<Reader> {
        let mut inner = self.lock();
        if inner.counts.readers >= most || inner.is_closed {
            inner.counts.refused += 1;
            return None;
        }
        inner.counts.readers += 1;
        Some(Reader {
            states: sorted(inner.states.values()),
            place: inner.newest + 1,
            feed: Arc::clone(self),
        })
    }
}

fn sorted<'a>(lines: impl Iterator<Item = &'a Line>) -> Vec<Line> {
    let mut lines: Vec<Line> = lines.cloned().collect();
    lines.sort_by_key(|line| line.seq);
    lines
}

/// Takes out the words that people said, and those of remembered items.
pub fn hush(json: &mut Value) {
    if let Some(Value::Object(explain)) = json.get_mut("explain") {
        explain.remove("tokens");
    }
    if let Some(Value::Object(recognised)) = json.get_mut("words") {
        recognised.remove("text");
    }
    for field in ["entities", "neighbours"] {
        let Some(Value::Array(items)) = json.get_mut(field) else {
            continue;
        };
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.shift_remove("text");
        }
    }
}

/// Fills a feed, and closes it at the end.
#[derive(Debug)]
pub struct FeedWriter(Arc<Feed>);

impl Receiver for FeedWriter {
    fn take(&mut self, message: &Message<'_>) -> io::Result<()> {
        self.0.push(message);
        Ok(())
    }
}

impl Drop for FeedWriter {
    /// Gives readers a moment for their last lines; one that hangs is left behind.
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.is_closed = true;
        self.0.changed.notify_all();
        let is_read = |inner: &mut Inner| inner.counts.readers > 0;
        let _ = self.0.changed.wait_timeout_while(inner, GRACE, is_read);
    }
}

/// A place in a feed.
#[derive(Debug)]
pub struct Reader {
    feed: Arc<Feed>,
    /// The last state of every source when it joined.
    states: Vec<Line>,
    /// The number of the next line.
    place: u64,
}

impl Reader {
    /// Goes back to the line behind number `seen`, as far as lines are held and are not too old.
    /// A number of another process's, which is beyond all of ours, goes back to the first one.
    pub fn rewind(&mut self, seen: u64) {
        let inner = self.feed.lock();
        let fresh = inner.lines.iter().find(|line| line.is_fresh());
        let first = fresh.map_or(inner.newest + 1, |line| line.seq);
        self.place = match seen {
            seen if seen > inner.newest => first,
            seen => first.max(seen + 1),
        };
    }

    /// The next line, waited for up to `patience`.
    pub fn next(&mut self, patience: Duration) -> Next {
        let place = self.place;
        let is_idle = |inner: &mut Inner| inner.newest < place && !inner.is_closed;
        let inner = self.feed.lock();
        let waited = self
            .feed
            .changed
            .wait_timeout_while(inner, patience, is_idle);
        let inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        if inner.newest < place {
            return if inner.is_closed {
                Next::Closed
            } else {
                Next::Idle
            };
        }
        let is_full = inner.lines.len() == KEPT;
        if is_full && inner.oldest() > place {
            return Next::Behind;
        }
        let at = inner.lines.partition_point(|line| line.seq < place);
        match inner.lines.get(at) {
            Some(line) => {
                self.place = line.seq + 1;
                Next::Line(line.clone())
            }
            None => Next::Idle,
        }
    }

    /// The server cuts this reader, for it is too slow.
    pub fn cut(self) {
        self.feed.lock().counts.cut += 1;
    }

    /// The last state of every source when it joined, the oldest first; told once.
    pub fn states(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.states)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.feed.lock().counts.readers -= 1;
        self.feed.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StateChange;
    use crate::event::{Entity, Event, Explanation, Faces, Neighbour, Salient, Stamp, State};
    use std::borrow::Cow;

    const NOW: Duration = Duration::ZERO;

    fn stamp(seq: u64) -> Stamp {
        Stamp {
            seq,
            ..Stamp::default()
        }
    }

    fn tell(writer: &mut FeedWriter, seq: u64) {
        let change = StateChange::new(format!("camera {}", seq % 3), State::Lost, "");
        let content = Content::State(Cow::Owned(change));
        let stamp = stamp(seq);
        writer.take(&Message { stamp, content }).unwrap();
    }

    fn here(reader: &mut Reader) -> Vec<u64> {
        let line = || match reader.next(NOW) {
            Next::Line(line) => Some(line.seq),
            _ => None,
        };
        std::iter::from_fn(line).collect()
    }

    #[test]
    fn each_reader_has_its_own_place_and_hears_of_all_states_before() {
        let (feed, mut writer) = Feed::new(false);
        let mut early = feed.join(9).unwrap();
        (1..=4).for_each(|seq| tell(&mut writer, seq));
        let mut late = feed.join(9).unwrap();
        tell(&mut writer, 5);
        let states = late.states();
        assert_eq!(states.iter().map(|l| l.seq).collect::<Vec<_>>(), [2, 3, 4]);
        assert!(here(&mut early).eq(&[1, 2, 3, 4, 5]) && here(&mut late).eq(&[5]));
        assert!(matches!(late.next(NOW), Next::Idle));
        drop(early);
        assert_eq!(feed.counts().readers, 1);
        let ending = std::thread::spawn(move || drop(writer));
        assert!(matches!(late.next(Duration::from_secs(60)), Next::Closed));
        drop(late);
        ending.join().unwrap();
        assert!(feed.join(9).is_none());
    }

    #[test]
    fn who_falls_behind_is_told_how_far_and_is_counted_when_cut() {
        let (feed, mut writer) = Feed::new(false);
        let mut reader = feed.join(1).unwrap();
        assert!(feed.join(1).is_none());
        (1..=KEPT as u64).for_each(|seq| tell(&mut writer, seq));
        assert!(matches!(reader.next(NOW), Next::Line(line) if line.seq == 1));
        (257..=260).for_each(|seq| tell(&mut writer, seq));
        assert!(matches!(reader.next(NOW), Next::Behind));
        reader.cut();
        let counts = Counts {
            cut: 1,
            refused: 1,
            ..Counts::default()
        };
        assert_eq!(feed.counts(), counts);
    }

    #[test]
    fn a_gap_in_the_numbers_is_counted_and_cuts_nobody() {
        let (feed, mut writer) = Feed::new(false);
        let mut reader = feed.join(1).unwrap();
        tell(&mut writer, 1);
        tell(&mut writer, 4);
        assert_eq!(here(&mut reader), [1, 4]);
        assert_eq!(feed.counts().lost, 2);
    }

    #[test]
    fn what_was_missed_is_replayed_by_its_number() {
        let (feed, mut writer) = Feed::new(false);
        (1..=9).for_each(|seq| tell(&mut writer, seq));
        let mut reader = feed.join(1).unwrap();
        reader.rewind(7);
        assert_eq!(here(&mut reader), [8, 9]);
        // of a process that had told more than this one
        reader.rewind(400);
        assert_eq!(here(&mut reader), (1..=9).collect::<Vec<_>>());
        reader.rewind(9);
        assert!(here(&mut reader).is_empty());
        // long ago, and some of it is gone
        (10..=300).for_each(|seq| tell(&mut writer, seq));
        reader.rewind(2);
        assert_eq!(here(&mut reader), (45..=300).collect::<Vec<_>>());
    }

    #[test]
    fn words_stay_here_unless_they_are_asked_for() {
        let secret = || String::from("Bartholomew");
        let event = Event {
            task: "entities".into(),
            entities: Some(vec![Entity {
                start: 0,
                end: 11,
                kind: "PER".into(),
                score: 0.5,
                text: Some(secret()),
                place: None,
            }]),
            neighbours: vec![Neighbour {
                id: 1,
                label: "x".into(),
                distance: 0.5,
                share: 1.0,
                text: Some(secret()),
            }],
            explain: Some(Explanation {
                tokens: vec![Salient::Token {
                    token: secret(),
                    similarity: 0.5,
                }],
                frames: vec![Salient::Frame {
                    at: 1.5,
                    similarity: 0.5,
                }],
            }),
            ..Event::default()
        };
        let text = |words: bool| {
            let (feed, mut writer) = Feed::new(words);
            let content = Content::Event(Cow::Borrowed(&event));
            let stamp = stamp(1);
            writer.take(&Message { stamp, content }).unwrap();
            let answers = feed.answers();
            assert_eq!(answers[0].0, "entities");
            answers[0].1.json().to_owned()
        };
        assert_eq!(text(true).matches("Bartholomew").count(), 3);
        let hushed = text(false);
        assert!(!hushed.contains("Bartholomew"), "{hushed}");
        assert!(
            hushed.contains("\"end\":11") && hushed.contains("\"at\":1.5"),
            "{hushed}"
        );
    }

    #[test]
    fn news_of_a_source_leave_its_state_standing() {
        let (feed, mut writer) = Feed::new(false);
        for (seq, state) in [
            (1, State::Capturing),
            (2, State::Skipped),
            (3, State::Drifted),
        ] {
            let change = StateChange::new("microphone", state, "");
            let content = Content::State(Cow::Owned(change));
            let stamp = stamp(seq);
            writer.take(&Message { stamp, content }).unwrap();
        }
        let standing: Vec<u64> = feed.states().iter().map(|line| line.seq).collect();
        assert_eq!(standing, [1]);
    }

    #[test]
    fn what_is_replaced_in_a_moment_is_no_last_answer() {
        let (feed, mut writer) = Feed::new(false);
        for (seq, partial) in [(1, false), (2, true)] {
            let event = Event {
                task: "emotion".into(),
                partial,
                ..Event::default()
            };
            let content = Content::Event(Cow::Owned(event));
            let stamp = stamp(seq);
            writer.take(&Message { stamp, content }).unwrap();
        }
        assert_eq!(feed.answers()[0].1.seq, 1);
    }

    #[test]
    fn faces_are_an_answer_too() {
        let (feed, mut writer) = Feed::new(false);
        let content = Content::Faces(Cow::Owned(Faces::default()));
        let stamp = stamp(1);
        writer.take(&Message { stamp, content }).unwrap();
        assert_eq!(feed.answers()[0].0, "faces");
    }
}
