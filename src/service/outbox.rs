//! What waits for a broker or a bridge.
//!
//! Whoever tells something never waits. Events queue up to a bound, beyond which the oldest is
//! lost and counted; of what is retained only the newest of each topic is kept, and all of it is
//! told again after every connection.

use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Events that wait.
const MOST_EVENTS: usize = 256;
/// Topics that are retained. They come from the configuration and the bundles, and are a few.
const MOST_RETAINED: usize = 64;

/// Something to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter<P = String> {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: P,
    /// The broker keeps it for who comes later.
    pub retain: bool,
    /// Nobody is to be told later than this.
    pub expires: Option<Instant>,
}

/// Figures of an outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Letters that the broker has acknowledged, or the bridge taken.
    pub published: u64,
    /// Events that never reached it, as far as is known: pushed out, too old, unacknowledged.
    pub lost: u64,
    /// Connections that were accepted.
    pub connections: u64,
    /// There is a connection now.
    pub is_up: bool,
}

/// The queue of one broker; filled by many, emptied by one.
#[derive(Debug)]
pub struct Outbox<P = String> {
    inner: Mutex<Inner<P>>,
    changed: Condvar,
    /// Wakes whoever waits for the broker and for us at once.
    bell: PipeWriter,
    rung: PipeReader,
}

#[derive(Debug)]
struct Inner<P> {
    events: VecDeque<Letter<P>>,
    retained: Vec<Retained<P>>,
    /// Retained letters wait until then: many devices answer one question one after another.
    held: Option<Instant>,
    counts: Counts,
    is_rung: bool,
    is_closed: bool,
    is_done: bool,
}

#[derive(Debug)]
struct Retained<P> {
    letter: Letter<P>,
    is_due: bool,
}

impl<P: Clone> Inner<P> {
    fn next_retained(&mut self) -> Option<Letter<P>> {
        if self.held.is_some() {
            return None;
        }
        let due = self.retained.iter_mut().find(|r| r.is_due)?;
        due.is_due = false;
        Some(due.letter.clone())
    }

    fn next_event(&mut self, now: Instant) -> Option<Letter<P>> {
        while let Some(event) = self.events.pop_front() {
            if event.expires.is_none_or(|end| end > now) {
                return Some(event);
            }
            self.counts.lost += 1;
        }
        None
    }
}

impl<P: Clone + PartialEq> Outbox<P> {
    /// An empty one.
    ///
    /// # Errors
    /// The system's, when it has no pipe left.
    pub fn new() -> io::Result<Outbox<P>> {
        let (rung, bell) = io::pipe()?;
        Ok(Outbox {
            inner: Mutex::new(Inner {
                events: VecDeque::new(),
                retained: Vec::new(),
                held: None,
                counts: Counts::default(),
                is_rung: false,
                is_closed: false,
                is_done: false,
            }),
            changed: Condvar::new(),
            bell,
            rung,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner<P>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever empties it, once until they look.
    fn ring(&self, inner: &mut Inner<P>) {
        self.changed.notify_all();
        if !std::mem::replace(&mut inner.is_rung, true) {
            // one byte at a time is in the pipe: this never waits
            let _ = (&self.bell).write_all(b"!");
        }
    }

    /// What becomes readable when there is something to do.
    pub fn bell(&self) -> &PipeReader {
        &self.rung
    }

    /// Whoever empties it looks now.
    pub fn answer_bell(&self) {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.is_rung) {
            let _ = (&self.rung).read_exact(&mut [0]);
        }
    }

    /// Adds an event; the oldest gives way.
    pub fn push(&self, letter: Letter<P>) {
        let mut inner = self.lock();
        if inner.is_closed {
            return;
        }
        if inner.events.len() == MOST_EVENTS {
            inner.events.pop_front();
            inner.counts.lost += 1;
        }
        inner.events.push_back(letter);
        self.ring(&mut inner);
    }

    /// Keeps what a topic holds now, and tells it unless it is what was told last.
    pub fn retain(&self, topic: &str, payload: P, expires: Option<Instant>) {
        let mut inner = self.lock();
        if inner.is_closed {
            return;
        }
        let letter = Letter {
            topic: topic.to_owned(),
            payload,
            retain: true,
            expires,
        };
        let is_full = inner.retained.len() == MOST_RETAINED;
        match inner.retained.iter().position(|r| r.letter.topic == topic) {
            Some(at) if inner.retained[at].letter == letter => return,
            // what changed last is told last: that the device has left comes after its last answers
            Some(at) => drop(inner.retained.remove(at)),
            None if is_full => return,
            None => {}
        }
        let is_due = true;
        inner.retained.push(Retained { letter, is_due });
        self.ring(&mut inner);
    }

    /// Everything that is retained is to be told again.
    pub fn repeat(&self) {
        self.repeat_where(|_| true);
    }

    /// So is what a topic holds.
    pub fn repeat_topic(&self, topic: &str) {
        self.repeat_where(|letter| letter.topic == topic);
    }

    fn repeat_where(&self, is: impl Fn(&Letter<P>) -> bool) {
        let mut inner = self.lock();
        let kept = inner.retained.iter_mut();
        kept.filter(|r| is(&r.letter)).for_each(|r| r.is_due = true);
    }

    /// What is retained waits for so long.
    pub fn hold(&self, pause: Duration, now: Instant) {
        self.lock().held = Some(now + pause);
    }

    /// What is to be published next. What is retained goes first, but at the end last: a device
    /// leaves after its last events.
    pub fn next(&self, now: Instant) -> Option<Letter<P>> {
        let mut inner = self.lock();
        inner.held = inner.held.filter(|held| *held > now && !inner.is_closed);
        if inner.is_closed {
            inner.next_event(now).or_else(|| inner.next_retained())
        } else {
            inner.next_retained().or_else(|| inner.next_event(now))
        }
    }

    /// Topics whose content has become too old; they hold nothing from now on.
    pub fn expire(&self, now: Instant) -> Vec<String> {
        let mut inner = self.lock();
        let is_old = |r: &mut Retained<P>| r.letter.expires.is_some_and(|end| end <= now);
        let old = inner.retained.extract_if(.., is_old);
        old.map(|r| r.letter.topic).collect()
    }

    /// Counts what the broker has acknowledged.
    pub fn count_published(&self) {
        self.lock().counts.published += 1;
    }

    /// Counts events of which nobody knows whether the broker has them. They are not sent again:
    /// nobody shall be told anything twice.
    pub fn count_lost(&self, n: usize) {
        self.lock().counts.lost += n as u64;
    }

    /// There is a connection, or no longer.
    pub fn set_up(&self, is_up: bool) {
        let mut inner = self.lock();
        inner.counts.is_up = is_up;
        inner.counts.connections += u64::from(is_up);
    }

    /// Figures.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Nothing will be added any more.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.is_closed = true;
        self.ring(&mut inner);
    }

    /// Whether that is so.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Waits for the end, for up to `pause`; whether it came.
    pub fn wait_closed(&self, pause: Duration) -> bool {
        let goes_on = |inner: &mut Inner<P>| !inner.is_closed;
        let waited = self.changed.wait_timeout_while(self.lock(), pause, goes_on);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_closed
    }

    /// Whoever empties it has come to an end.
    pub fn finish(&self) {
        self.lock().is_done = true;
        self.changed.notify_all();
    }

    /// Waits for that, for up to `grace`.
    pub fn wait_finished(&self, grace: Duration) {
        let is_busy = |inner: &mut Inner<P>| !inner.is_done;
        let _ = self.changed.wait_timeout_while(self.lock(), grace, is_busy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize, expires: Option<Instant>) -> Letter {
        Letter {
            topic: "event".into(),
            payload: n.to_string(),
            retain: false,
            expires,
        }
    }

    fn payloads(outbox: &Outbox, now: Instant) -> Vec<String> {
        let next = || outbox.next(now).map(|letter| letter.payload);
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn the_oldest_gives_way_and_is_counted() {
        let (outbox, now) = (Outbox::new().unwrap(), Instant::now());
        (0..MOST_EVENTS + 7).for_each(|n| outbox.push(event(n, None)));
        assert_eq!(outbox.counts().lost, 7);
        let got = payloads(&outbox, now);
        assert_eq!((got.len(), got[0].as_str()), (MOST_EVENTS, "7"));
    }

    #[test]
    fn nobody_is_told_what_is_too_old() {
        let (outbox, now) = (Outbox::new().unwrap(), Instant::now());
        let soon = Some(now + Duration::from_secs(30));
        outbox.push(event(1, soon));
        outbox.push(event(2, None));
        assert_eq!(payloads(&outbox, now + Duration::from_secs(31)), ["2"]);
        assert_eq!(outbox.counts().lost, 1);
        outbox.retain("emotion", "happy".into(), soon);
        assert_eq!(payloads(&outbox, now), ["happy"]);
        assert!(outbox.expire(now).is_empty());
        assert_eq!(outbox.expire(now + Duration::from_secs(31)), ["emotion"]);
        outbox.repeat();
        assert!(payloads(&outbox, now).is_empty());
    }

    #[test]
    fn of_what_is_retained_the_newest_is_told_once_and_again_after_a_connection() {
        let (outbox, now) = (Outbox::new().unwrap(), Instant::now());
        for payload in ["ON", "ON", "OFF", "OFF"] {
            outbox.retain("mute", payload.into(), None);
        }
        outbox.push(event(1, None));
        assert_eq!(payloads(&outbox, now), ["OFF", "1"]);
        outbox.retain("mute", "OFF".into(), None);
        assert!(payloads(&outbox, now).is_empty());
        outbox.repeat();
        assert_eq!(payloads(&outbox, now), ["OFF"]);
        outbox.repeat_topic("mute");
        outbox.hold(Duration::from_secs(2), now);
        assert!(payloads(&outbox, now).is_empty());
        assert_eq!(payloads(&outbox, now + Duration::from_secs(2)), ["OFF"]);
    }

    #[test]
    fn what_changed_last_is_told_last() {
        let outbox = Outbox::new().unwrap();
        let retain = |topic, payload: &str| outbox.retain(topic, payload.into(), None);
        retain("availability", "online");
        retain("counts", "3 happy");
        outbox.push(event(1, None));
        retain("availability", "offline");
        outbox.close();
        let told = payloads(&outbox, Instant::now());
        assert_eq!(told, ["1", "3 happy", "offline"]);
    }

    #[test]
    fn the_bell_is_rung_once_until_it_is_answered() {
        let outbox = Outbox::new().unwrap();
        // more than a pipe holds
        (0..100_000).for_each(|n| outbox.push(event(n, None)));
        outbox.answer_bell();
        // answered twice, it does not wait for a byte that never comes
        outbox.answer_bell();
        assert!(!outbox.wait_closed(Duration::ZERO));
        outbox.close();
        outbox.push(event(0, None));
        assert!(outbox.wait_closed(Duration::from_secs(60)));
        assert_eq!(payloads(&outbox, Instant::now()).len(), MOST_EVENTS);
    }
}
