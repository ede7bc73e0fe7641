//! The hand-over from the thread that polls the sources to the one that infers.

use crate::event::StateChange;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the polling thread hands over.
#[derive(Debug)]
pub enum Job<P> {
    /// Sound or words to answer.
    Answer(P),
    /// A change of a source, to be reported in order.
    State(StateChange),
}

/// Bounded queue. A live source never waits: the oldest unanswered job gives way, since a
/// late answer about someone who left is worth less than one about who is there.
#[derive(Debug)]
pub struct Queue<P> {
    inner: Mutex<Inner<P>>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct Inner<P> {
    jobs: VecDeque<Job<P>>,
    closed: bool,
}

impl<P> Inner<P> {
    fn answers(&self) -> usize {
        self.jobs
            .iter()
            .filter(|job| matches!(job, Job::Answer(_)))
            .count()
    }

    fn drop_oldest(&mut self) -> Option<P> {
        let oldest = self
            .jobs
            .iter()
            .position(|job| matches!(job, Job::Answer(_)))?;
        match self.jobs.remove(oldest) {
            Some(Job::Answer(dropped)) => Some(dropped),
            _ => None,
        }
    }
}

/// What [`Queue::pop`] found.
#[derive(Debug)]
pub enum Next<P> {
    /// Something to do.
    Job(Job<P>),
    /// Nothing yet.
    Idle,
    /// Nothing, and nothing will come.
    Closed,
}

/// The other side is gone; nothing more will be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl<P> Queue<P> {
    /// Holds at most `capacity` unanswered jobs; reports of state are few and always fit.
    pub fn new(capacity: usize) -> Self {
        let inner = Inner {
            jobs: VecDeque::new(),
            closed: false,
        };
        Queue {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            capacity,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<P>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job. When full, a live source pushes the oldest one out and gets it back;
    /// any other source waits.
    ///
    /// # Errors
    /// [`Closed`] when the other side is gone.
    pub fn push(&self, job: Job<P>, live: bool) -> Result<Option<P>, Closed> {
        let mut inner = self.lock();
        let mut dropped = None;
        if matches!(job, Job::Answer(_)) {
            while !live && !inner.closed && inner.answers() >= self.capacity {
                inner = self
                    .changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if inner.answers() >= self.capacity {
                dropped = inner.drop_oldest();
            }
        }
        if inner.closed {
            return Err(Closed);
        }
        inner.jobs.push_back(job);
        self.changed.notify_all();
        Ok(dropped)
    }

    /// The next job; waits `patience` for one.
    pub fn pop(&self, patience: Duration) -> Next<P> {
        let mut inner = self.lock();
        if inner.jobs.is_empty() && !inner.closed {
            let waited = self.changed.wait_timeout(inner, patience);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let Some(job) = inner.jobs.pop_front() else {
            return if inner.closed {
                Next::Closed
            } else {
                Next::Idle
            };
        };
        self.changed.notify_all();
        Next::Job(job)
    }

    /// Drops every unanswered job, each through `gone`; reports of state stay.
    pub fn forget(&self, mut gone: impl FnMut(P)) {
        let mut inner = self.lock();
        while let Some(job) = inner.drop_oldest() {
            gone(job);
        }
        self.changed.notify_all();
    }

    /// No more jobs; what is queued will still be answered.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::State;

    fn next(queue: &Queue<u32>) -> Next<u32> {
        queue.pop(Duration::from_secs(10))
    }

    fn answer(queue: &Queue<u32>, n: u32) -> Result<Option<u32>, Closed> {
        queue.push(Job::Answer(n), true)
    }

    #[test]
    fn a_live_source_pushes_the_oldest_answer_out_but_no_report() {
        let queue = Queue::new(2);
        let report = StateChange::new("mic", State::Capturing, "");
        assert_eq!(queue.push(Job::State(report), true), Ok(None));
        assert_eq!(
            [answer(&queue, 1), answer(&queue, 2), answer(&queue, 3)],
            [Ok(None), Ok(None), Ok(Some(1))]
        );
        queue.close();
        assert!(matches!(next(&queue), Next::Job(Job::State(_))));
        assert!(matches!(next(&queue), Next::Job(Job::Answer(2))));
        assert!(matches!(next(&queue), Next::Job(Job::Answer(3))));
        assert!(matches!(next(&queue), Next::Closed));
        assert_eq!(answer(&queue, 4), Err(Closed));
    }

    #[test]
    fn what_is_forgotten_is_not_answered() {
        let queue = Queue::new(4);
        assert_eq!([answer(&queue, 1), answer(&queue, 2)], [Ok(None), Ok(None)]);
        let report = StateChange::new("button", State::Muted, "");
        assert_eq!(queue.push(Job::State(report), true), Ok(None));
        let mut gone = Vec::new();
        queue.forget(|n| gone.push(n));
        assert_eq!(gone, [1, 2]);
        assert!(matches!(next(&queue), Next::Job(Job::State(_))));
        assert!(matches!(queue.pop(Duration::ZERO), Next::Idle));
    }

    #[test]
    fn a_file_waits_and_loses_nothing() {
        let queue = Queue::new(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..100u32).for_each(|n| assert_eq!(queue.push(Job::Answer(n), false), Ok(None)));
                queue.close();
            });
            let mut got = Vec::new();
            loop {
                match next(&queue) {
                    Next::Job(Job::Answer(n)) => got.push(n),
                    Next::Closed => break,
                    Next::Job(_) | Next::Idle => {}
                }
            }
            assert_eq!(got, (0..100).collect::<Vec<_>>());
        });
    }
}
