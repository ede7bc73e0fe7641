//! The hand-over from the threads that capture to the one that infers.
//!
//! Sound and words have room of their own, and looks at pictures have theirs: neither pushes
//! the other out. What somebody is still saying is offered beside them, and pushes out nothing.
//! What was captured carries the epoch in which it was; a press of the button ends an epoch, and
//! then nothing of it is taken any more, not even from a thread that was waiting for room.

use crate::event::StateChange;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Reports of state that wait for a reader. They are few, and a reader that stays away for
/// days shall not cost memory all the same.
const MOST_STATES: usize = 4096;

/// What work is about; each kind has its own room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Sound and words.
    Speech,
    /// Pictures.
    Looks,
    /// What is not over yet: one at most, and it gives way to speech.
    Partial,
}

/// What the inferring thread takes.
#[derive(Debug)]
pub enum Next<P> {
    /// Something to answer, captured in this epoch.
    Work(P, u64),
    /// A change of a source, to be reported in order.
    State(StateChange),
    /// Nothing yet.
    Idle,
    /// Nothing, and nothing will come.
    Closed,
}

/// What became of work that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits for its answer.
    Queued,
    /// So it does, and the oldest of its lane gave way.
    Evicting,
    /// Its epoch is over: it was dropped.
    Stale,
}

/// The other side is gone; nothing more will be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Bounded queue. A live source never waits: the oldest unanswered work of its lane gives way,
/// since a late answer about someone who left is worth less than one about who is there.
#[derive(Debug)]
pub struct Queue<P> {
    inner: Mutex<Inner<P>>,
    changed: Condvar,
    /// Unanswered work that a lane holds.
    capacity: usize,
}

#[derive(Debug)]
enum Job<P> {
    Work { lane: Lane, epoch: u64, work: P },
    State(StateChange),
}

impl<P> Job<P> {
    fn is_in(&self, wanted: Lane) -> bool {
        matches!(self, Job::Work { lane, .. } if *lane == wanted)
    }
}

#[derive(Debug)]
struct Inner<P> {
    jobs: VecDeque<Job<P>>,
    /// Work of an earlier epoch is no longer taken.
    epoch: u64,
    closed: bool,
    /// What the other side is busy with: nothing, a report, or work of a lane.
    taken: Option<Option<Lane>>,
}

impl<P> Inner<P> {
    fn is_full(&self, lane: Lane, capacity: usize) -> bool {
        self.jobs.iter().filter(|job| job.is_in(lane)).count() >= capacity
    }

    /// Drops the oldest job of a kind.
    fn drop_oldest(&mut self, is: impl Fn(&Job<P>) -> bool) {
        if let Some(oldest) = self.jobs.iter().position(is) {
            self.jobs.remove(oldest);
        }
    }
}

impl<P> Queue<P> {
    /// Holds at most `capacity` unanswered jobs of each lane; reports of state are few and
    /// always fit.
    pub fn new(capacity: usize) -> Self {
        let inner = Inner {
            jobs: VecDeque::new(),
            epoch: 0,
            closed: false,
            taken: None,
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

    /// Adds a report. Never waits; a closed queue takes no more of them.
    pub fn tell(&self, change: StateChange) {
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
        let is_report = |job: &Job<P>| matches!(job, Job::State(_));
        if inner.jobs.iter().filter(|job| is_report(job)).count() >= MOST_STATES {
            inner.drop_oldest(is_report);
        }
        inner.jobs.push_back(Job::State(change));
        self.changed.notify_all();
    }

    /// Adds work that was captured in `epoch`. When its lane is full, a live source pushes the
    /// oldest one out; any other source waits, until the epoch is over.
    ///
    /// # Errors
    /// [`Closed`] when the other side is gone.
    pub fn push(&self, lane: Lane, work: P, epoch: u64, live: bool) -> Result<Pushed, Closed> {
        let mut inner = self.lock();
        let mut pushed = Pushed::Queued;
        while !inner.closed && epoch >= inner.epoch && inner.is_full(lane, self.capacity) {
            if live {
                inner.drop_oldest(|job| job.is_in(lane));
                pushed = Pushed::Evicting;
            } else {
                let waited = self.changed.wait(inner);
                inner = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
        if inner.closed {
            return Err(Closed);
        }
        if epoch < inner.epoch {
            return Ok(Pushed::Stale);
        }
        if lane == Lane::Speech {
            inner.drop_oldest(|job| job.is_in(Lane::Partial));
        }
        inner.jobs.push_back(Job::Work { lane, epoch, work });
        self.changed.notify_all();
        Ok(pushed)
    }

    /// Offers work about what is not over yet. It takes the place of what was offered before, waits
    /// for nobody, and is dropped where speech that is over waits for its answer.
    pub fn offer(&self, work: P, epoch: u64) {
        let mut inner = self.lock();
        let gives_way = inner.jobs.iter().any(|job| job.is_in(Lane::Speech));
        if inner.closed || epoch < inner.epoch || gives_way {
            return;
        }
        let lane = Lane::Partial;
        let job = Job::Work { lane, epoch, work };
        match inner.jobs.iter_mut().find(|job| job.is_in(lane)) {
            Some(older) => *older = job,
            None => inner.jobs.push_back(job),
        }
        self.changed.notify_all();
    }

    /// The next job; waits `patience` for one. The one before is done.
    pub fn pop(&self, patience: Duration) -> Next<P> {
        let mut inner = self.lock();
        inner.taken = None;
        if inner.jobs.is_empty() && !inner.closed {
            let waited = self.changed.wait_timeout(inner, patience);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let next = match inner.jobs.pop_front() {
            Some(Job::Work { lane, epoch, work }) => {
                inner.taken = Some(Some(lane));
                Next::Work(work, epoch)
            }
            Some(Job::State(change)) => {
                inner.taken = Some(None);
                Next::State(change)
            }
            None if inner.closed => Next::Closed,
            None => Next::Idle,
        };
        self.changed.notify_all();
        next
    }

    /// Whether work of this lane waits or is being done.
    pub fn is_busy(&self, lane: Lane) -> bool {
        let inner = self.lock();
        inner.taken == Some(Some(lane)) || inner.jobs.iter().any(|job| job.is_in(lane))
    }

    /// Whether everything was taken and done.
    pub fn is_done(&self) -> bool {
        let inner = self.lock();
        inner.jobs.is_empty() && inner.taken.is_none()
    }

    /// Begins an epoch: drops all work of earlier ones, and takes no more of it. Reports of
    /// state stay.
    pub fn forget_before(&self, epoch: u64) {
        let mut inner = self.lock();
        inner.epoch = epoch;
        inner
            .jobs
            .retain(|job| !matches!(job, Job::Work { epoch: of, .. } if *of < epoch));
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

    fn hear(queue: &Queue<u32>, n: u32) -> Result<Pushed, Closed> {
        queue.push(Lane::Speech, n, 0, true)
    }

    fn look(queue: &Queue<u32>, n: u32) -> Result<Pushed, Closed> {
        queue.push(Lane::Looks, n, 0, true)
    }

    /// All that is left in a closed queue.
    fn left(queue: &Queue<u32>) -> Vec<u32> {
        queue.close();
        let mut left = Vec::new();
        loop {
            match next(queue) {
                Next::Work(n, _) => left.push(n),
                Next::Closed => return left,
                Next::State(_) | Next::Idle => {}
            }
        }
    }

    #[test]
    fn a_live_source_pushes_the_oldest_answer_out_but_no_report() {
        let queue = Queue::new(2);
        queue.tell(StateChange::new("mic", State::Capturing, ""));
        assert_eq!(
            [hear(&queue, 1), hear(&queue, 2), hear(&queue, 3)],
            [Ok(Pushed::Queued), Ok(Pushed::Queued), Ok(Pushed::Evicting)]
        );
        queue.close();
        assert!(matches!(next(&queue), Next::State(_)));
        assert!(matches!(next(&queue), Next::Work(2, 0)));
        assert!(matches!(next(&queue), Next::Work(3, 0)));
        assert!(matches!(next(&queue), Next::Closed));
        assert_eq!(hear(&queue, 4), Err(Closed));
    }

    #[test]
    fn looks_push_out_looks_and_nothing_else() {
        let queue = Queue::new(2);
        assert_eq!(hear(&queue, 1), Ok(Pushed::Queued));
        for n in 10..20 {
            look(&queue, n).unwrap();
        }
        assert_eq!(hear(&queue, 2), Ok(Pushed::Queued));
        look(&queue, 20).unwrap();
        assert_eq!(left(&queue), [1, 19, 2, 20]);
    }

    #[test]
    fn what_is_not_over_gives_way_to_speech_and_the_newest_wins() {
        let queue = Queue::new(2);
        queue.offer(1, 0);
        look(&queue, 10).unwrap();
        queue.offer(2, 0);
        assert!(matches!(next(&queue), Next::Work(2, 0)));
        queue.offer(3, 0);
        assert_eq!(hear(&queue, 20), Ok(Pushed::Queued));
        queue.offer(4, 0);
        assert_eq!(hear(&queue, 21), Ok(Pushed::Queued));
        // nothing that was offered has taken anybody's room
        assert_eq!(left(&queue), [10, 20, 21]);
        queue.offer(5, 0);
        assert!(matches!(next(&queue), Next::Closed));
    }

    #[test]
    fn what_was_offered_before_a_press_is_forgotten() {
        let queue = Queue::new(2);
        queue.offer(1, 0);
        queue.forget_before(1);
        queue.offer(2, 0);
        assert!(left(&queue).is_empty());
    }

    #[test]
    fn what_is_forgotten_is_not_answered_and_its_epoch_comes_too_late() {
        let queue = Queue::new(4);
        hear(&queue, 1).unwrap();
        look(&queue, 2).unwrap();
        queue.tell(StateChange::new("button", State::Muted, ""));
        queue.forget_before(1);
        assert_eq!(hear(&queue, 3), Ok(Pushed::Stale));
        assert!(matches!(next(&queue), Next::State(_)));
        assert!(matches!(queue.pop(Duration::ZERO), Next::Idle));
        let pushed = queue.push(Lane::Speech, 4, 1, true);
        assert_eq!((pushed, left(&queue)), (Ok(Pushed::Queued), vec![4]));
    }

    #[test]
    fn whoever_waits_for_room_is_freed_by_the_end_of_its_epoch() {
        let queue = Queue::new(1);
        queue.push(Lane::Speech, 1, 0, false).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.push(Lane::Speech, 2, 0, false));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            queue.forget_before(1);
            assert_eq!(waiting.join().unwrap(), Ok(Pushed::Stale));
        });
        assert!(left(&queue).is_empty());
    }

    #[test]
    fn it_is_busy_until_the_next_job_is_asked_for() {
        let queue = Queue::new(2);
        assert!(queue.is_done() && !queue.is_busy(Lane::Looks));
        look(&queue, 1).unwrap();
        assert!(queue.is_busy(Lane::Looks) && !queue.is_busy(Lane::Speech));
        assert!(matches!(next(&queue), Next::Work(1, 0)));
        assert!(queue.is_busy(Lane::Looks) && !queue.is_done());
        assert!(matches!(queue.pop(Duration::ZERO), Next::Idle));
        assert!(queue.is_done() && !queue.is_busy(Lane::Looks));
    }

    #[test]
    fn reports_that_nobody_reads_are_bounded() {
        let queue: Queue<u32> = Queue::new(1);
        for n in 0..MOST_STATES + 10 {
            queue.tell(StateChange::new(n.to_string(), State::Lost, ""));
        }
        let Next::State(first) = next(&queue) else {
            panic!("a report")
        };
        assert_eq!(first.source, "10");
    }

    #[test]
    fn a_file_waits_and_loses_nothing() {
        let queue = Queue::new(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..100u32 {
                    let pushed = queue.push(Lane::Speech, n, 0, false);
                    assert_eq!(pushed, Ok(Pushed::Queued));
                }
                queue.close();
            });
            let mut got = Vec::new();
            loop {
                match next(&queue) {
                    Next::Work(n, _) => got.push(n),
                    Next::Closed => break,
                    Next::State(_) | Next::Idle => {}
                }
            }
            assert_eq!(got, (0..100).collect::<Vec<_>>());
        });
    }
}
