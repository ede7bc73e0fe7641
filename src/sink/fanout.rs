//! One sink for many receivers.
//!
//! The first receiver, standard output, loses nothing: whoever tells something waits for it.
//! Each further one has a thread and a ring of its own. One that is slow, or hangs, loses its
//! own oldest messages, which are counted, and holds up nobody else.

use super::{Content, Message, Receiver, Sink};
use crate::event::{self, Aggregate, Event, Faces, Stamp, StateChange};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Messages that wait for a further receiver.
const RING: usize = 256;
/// Time that the further receivers get for what waits, at the end.
const GRACE: Duration = Duration::from_millis(500);

/// Stamps what comes out and tells it to all.
pub struct Fanout {
    first: Box<dyn Receiver>,
    others: Vec<Arc<Ring>>,
    seq: u64,
    /// Set where things happen now, and not in a recording.
    device: Option<Arc<str>>,
}

impl Fanout {
    /// Tells to `first` alone, which loses nothing.
    pub fn new(first: impl Receiver + 'static) -> Fanout {
        Fanout {
            first: Box::new(first),
            others: Vec::new(),
            seq: 0,
            device: None,
        }
    }

    /// What comes out is live, and of this device: it has a time of the day.
    pub fn live(mut self, device: &str) -> Fanout {
        self.device = Some(device.into());
        self
    }

    /// Tells to another one, too, who may lose messages. `name` is what the log calls it.
    pub fn also(mut self, name: &str, receiver: impl Receiver + 'static) -> Fanout {
        let ring = Arc::new(Ring {
            name: name.to_owned(),
            inner: Mutex::default(),
            changed: Condvar::new(),
        });
        let served = Arc::clone(&ring);
        thread::spawn(move || served.serve(receiver));
        self.others.push(ring);
        self
    }

    /// Messages that each further receiver has lost so far, with its name.
    #[cfg(test)]
    fn lost(&self) -> Vec<(String, u64)> {
        let of = |ring: &Arc<Ring>| (ring.name.clone(), ring.lock().lost);
        self.others.iter().map(of).collect()
    }

    fn tell(&mut self, content: Content<'_>) -> io::Result<()> {
        self.seq += 1;
        let time = match &content {
            Content::State(change) => change.time,
            Content::Event(_) | Content::Faces(_) | Content::Aggregate(_) => event::now(),
        };
        let message = Message {
            stamp: Stamp {
                seq: self.seq,
                time: time.filter(|_| self.device.is_some()),
                device: self.device.clone(),
            },
            content,
        };
        if !self.others.is_empty() {
            let shared = Arc::new(message.clone().into_owned());
            self.others.iter().for_each(|ring| ring.push(&shared));
        }
        self.first.take(&message)
    }
}

impl Sink for Fanout {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.tell(Content::Event(Cow::Borrowed(event)))
    }

    fn faces(&mut self, faces: &Faces) -> io::Result<()> {
        self.tell(Content::Faces(Cow::Borrowed(faces)))
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> io::Result<()> {
        self.tell(Content::Aggregate(Cow::Borrowed(aggregate)))
    }

    fn state(&mut self, change: &StateChange) -> io::Result<()> {
        self.tell(Content::State(Cow::Borrowed(change)))
    }
}

impl Drop for Fanout {
    /// Gives the further receivers a moment; one that hangs is left behind.
    fn drop(&mut self) {
        self.others.iter().for_each(|ring| ring.close());
        for ring in &self.others {
            ring.wait_served();
        }
    }
}

/// What waits for one receiver.
struct Ring {
    name: String,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    messages: VecDeque<Arc<Message<'static>>>,
    lost: u64,
    is_closed: bool,
    is_served: bool,
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: &Arc<Message<'static>>) {
        let mut inner = self.lock();
        if inner.messages.len() == RING {
            // what is replaced anyway gives way first
            let partial = inner.messages.iter().position(|m| m.is_partial());
            inner.messages.remove(partial.unwrap_or(0));
            inner.lost += 1;
        }
        inner.messages.push_back(Arc::clone(message));
        self.changed.notify_all();
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// The next message; `None` when all are told and no more will come.
    fn next(&self) -> Option<Arc<Message<'static>>> {
        let is_idle = |inner: &mut Inner| inner.messages.is_empty() && !inner.is_closed;
        let waited = self.changed.wait_while(self.lock(), is_idle);
        let mut inner = waited.unwrap_or_else(PoisonError::into_inner);
        inner.messages.pop_front()
    }

    /// Tells until the end. A message that is not taken is lost, which is said when it begins.
    fn serve(&self, mut receiver: impl Receiver) {
        let mut is_failing = false;
        while let Some(message) = self.next() {
            match receiver.take(&message) {
                Ok(()) => is_failing = false,
                Err(e) => {
                    self.lock().lost += 1;
                    if !std::mem::replace(&mut is_failing, true) {
                        log::warn!("{}: {e}; events are lost until it takes them", self.name);
                    }
                }
            }
        }
        // its end may take it a moment, too
        drop(receiver);
        self.lock().is_served = true;
        self.changed.notify_all();
    }

    fn wait_served(&self) {
        let is_busy = |inner: &mut Inner| !inner.is_served;
        let inner = self.lock();
        let _ = self.changed.wait_timeout_while(inner, GRACE, is_busy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::State;
    use crate::sink::{Format, Writer};
    use serde_json::Value;
    use std::io::{BufRead, BufReader};
    use std::time::Instant;

    /// A pipe as a receiver, and the lines that come out of it.
    fn piped() -> (impl Receiver, impl Iterator<Item = Value>) {
        let (reader, writer) = io::pipe().unwrap();
        let lines = BufReader::new(reader).lines().map_while(Result::ok);
        let parsed = lines.map(|line| serde_json::from_str(&line).unwrap());
        (Writer::new(writer, Format::Json), parsed)
    }

    fn change(n: u64) -> StateChange {
        StateChange::new(format!("camera {n}"), State::Lost, "x".repeat(200))
    }

    fn numbers(lines: impl Iterator<Item = Value>) -> Vec<u64> {
        lines.map(|line| line["seq"].as_u64().unwrap()).collect()
    }

    #[test]
    fn everybody_is_told_the_same_under_the_same_number() {
        let ((first, out), (other, copy)) = (piped(), piped());
        let mut fanout = Fanout::new(first).also("copy", other).live("door");
        fanout.state(&change(1)).unwrap();
        fanout.event(&Event::default()).unwrap();
        fanout.faces(&Faces::default()).unwrap();
        drop(fanout);
        let (out, copy): (Vec<_>, Vec<_>) = (out.collect(), copy.collect());
        assert_eq!(out, copy);
        for (n, line) in out.iter().enumerate() {
            assert_eq!(line["seq"], n + 1);
            assert_eq!(line["device"], "door");
            let time: jiff::Timestamp = line["time"].as_str().unwrap().parse().unwrap();
            assert!(jiff::Timestamp::now().duration_since(time).as_secs() < 60);
        }
    }

    #[test]
    fn what_is_not_live_has_no_time_of_the_day() {
        let (first, out) = piped();
        let mut fanout = Fanout::new(first);
        fanout.event(&Event::default()).unwrap();
        drop(fanout);
        let line = out.last().unwrap();
        assert_eq!(line["seq"], 1);
        assert!(line.get("time").is_none() && line.get("device").is_none());
    }

    #[test]
    fn who_does_not_read_loses_its_oldest_and_nobody_else_loses_any() {
        let ((first, out), (slow, unread)) = (piped(), piped());
        let reading = thread::spawn(move || numbers(out));
        let mut fanout = Fanout::new(first).also("slow", slow);
        // more than its pipe and its ring hold
        let told = 2000;
        for n in 0..told {
            fanout.state(&change(n)).unwrap();
        }
        let lost = fanout.lost();
        assert_eq!(lost[0].0, "slow");
        // its pipe is full, so the end does not wait for it
        let begun = Instant::now();
        drop(fanout);
        assert!(begun.elapsed() < GRACE + Duration::from_secs(5));
        assert_eq!(reading.join().unwrap(), (1..=told).collect::<Vec<_>>());
        let got = numbers(unread);
        assert!(lost[0].1 > 0);
        assert_eq!(got.len() as u64 + lost[0].1, told);
        // what it got last is what was told last
        assert_eq!(
            got[got.len() - RING..],
            ((told - RING as u64 + 1)..=told).collect::<Vec<_>>()
        );
        assert!(got.is_sorted());
    }

    #[test]
    fn what_is_replaced_anyway_gives_way_first() {
        let ring = Ring {
            name: "slow".into(),
            inner: Mutex::default(),
            changed: Condvar::new(),
        };
        for seq in 1..=(RING as u64 + 10) {
            let event = Event {
                partial: seq % 20 == 0,
                ..Event::default()
            };
            let stamp = Stamp {
                seq,
                ..Stamp::default()
            };
            let content = Content::Event(Cow::Owned(event));
            ring.push(&Arc::new(Message { stamp, content }));
        }
        let inner = ring.lock();
        let kept: Vec<u64> = inner.messages.iter().map(|m| m.stamp.seq).collect();
        let gone: Vec<u64> = (1..=(RING as u64 + 10))
            .filter(|seq| !kept.contains(seq))
            .collect();
        assert_eq!(inner.lost, 10);
        assert_eq!(gone, (1..=10).map(|n| 20 * n).collect::<Vec<_>>());
    }

    #[test]
    fn who_went_away_holds_up_nobody() {
        let ((first, out), (gone, reader)) = (piped(), piped());
        drop(reader);
        let mut fanout = Fanout::new(first).also("gone", gone);
        for n in 0..10 {
            fanout.state(&change(n)).unwrap();
        }
        let begun = Instant::now();
        while fanout.lost()[0].1 < 10 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(1));
        }
        drop(fanout);
        assert_eq!(numbers(out).len(), 10);
    }
}
