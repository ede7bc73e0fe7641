//! A few workers that share large kernels: started once, asleep between jobs.
//!
//! There is no queue and no stealing. A job is one closure and a number of parts; the caller
//! takes part too, and returns when all parts are done.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;

/// Most workers, the caller among them.
pub const MAX_THREADS: usize = 8;

/// Turns of waiting before a worker sleeps: some tenths of a millisecond.
const AWAKE: usize = 1 << 13;

/// A job as the workers see it: its lifetime is forgotten, see [`Pool::run`].
type Job = &'static (dyn Fn(usize) + Sync);

struct Shared {
    /// The job, its number, and how many parts it has.
    job: Mutex<(Option<Job>, usize, usize)>,
    wake: Condvar,
    /// The job's number once more, for workers that wait awake.
    posted: AtomicUsize,
    /// The next part that nobody has taken.
    next: AtomicUsize,
    /// Parts that are not done.
    left: AtomicUsize,
    /// Workers that hold the job; grows only under the lock, while there is one.
    active: AtomicUsize,
    broke: AtomicBool,
}

struct Pool {
    shared: Arc<Shared>,
    /// One job at a time; a second caller works alone.
    busy: Mutex<()>,
}

/// Runs `work(0..parts)` on several workers, if there are any and none is busy.
///
/// # Panics
/// If a part does.
pub fn share(parts: usize, work: &(dyn Fn(usize) + Sync)) {
    static POOL: OnceLock<Pool> = OnceLock::new();
    if parts > 1 {
        let pool = POOL.get_or_init(|| Pool::new(MAX_THREADS.min(cores()) - 1));
        if let Ok(_alone) = pool.busy.try_lock() {
            return pool.run(parts, work);
        }
    }
    (0..parts).for_each(work);
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl Pool {
    fn new(workers: usize) -> Pool {
        let shared = Arc::new(Shared {
            job: Mutex::new((None, 0, 0)),
            wake: Condvar::new(),
            posted: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            broke: AtomicBool::new(false),
        });
        for worker in 0..workers {
            let shared = Arc::clone(&shared);
            let named = thread::Builder::new().name(format!("kernel-{worker}"));
            // without it the others do its share
            let _ = named.spawn(move || shared.serve());
        }
        Pool {
            shared,
            busy: Mutex::new(()),
        }
    }

    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        // SAFETY: only the lifetime changes. The job is taken away and every worker that holds
        // it (`active`) has let go of it before this function returns.
        let job = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Job>(work) };
        let shared = &*self.shared;
        {
            let mut posted = shared.job.lock().unwrap_or_else(PoisonError::into_inner);
            shared.left.store(parts, Ordering::Relaxed);
            shared.next.store(0, Ordering::Relaxed);
            shared.broke.store(false, Ordering::Relaxed);
            *posted = (Some(job), posted.1.wrapping_add(1), parts);
            shared.posted.store(posted.1, Ordering::Release);
        }
        shared.wake.notify_all();
        shared.take_parts(job, parts);
        // nobody is waited for longer than one part takes
        while shared.left.load(Ordering::Acquire) > 0 {
            std::hint::spin_loop();
        }
        shared.job.lock().unwrap_or_else(PoisonError::into_inner).0 = None;
        while shared.active.load(Ordering::Acquire) > 0 {
            std::hint::spin_loop();
        }
        assert!(
            !shared.broke.load(Ordering::Relaxed),
            "a part of a kernel broke"
        );
    }
}

impl Shared {
    /// Waits for jobs for ever.
    fn serve(&self) {
        let mut seen = 0;
        loop {
            self.wait_awake(seen);
            let mut posted = self.job.lock().unwrap_or_else(PoisonError::into_inner);
            while posted.1 == seen || posted.0.is_none() {
                posted = self
                    .wake
                    .wait(posted)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let (job, number, parts) = *posted;
            seen = number;
            self.active.fetch_add(1, Ordering::Relaxed);
            drop(posted);
            if let Some(job) = job {
                self.take_parts(job, parts);
            }
            self.active.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits a little for a job other than `seen`: a model's next step follows at once, and
    /// waking a sleeper takes longer than many a step.
    fn wait_awake(&self, seen: usize) {
        for _ in 0..AWAKE {
            if self.posted.load(Ordering::Acquire) != seen {
                return;
            }
            std::hint::spin_loop();
        }
    }

    fn take_parts(&self, job: Job, parts: usize) {
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return;
            }
            self.do_part(job, part);
        }
    }

    fn do_part(&self, job: Job, part: usize) {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(part)));
        if done.is_err() {
            self.broke.store(true, Ordering::Relaxed);
        }
        self.left.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once_whoever_takes_it() {
        for parts in [1, 2, 3, 8, 100] {
            for _ in 0..200 {
                let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                share(parts, &|part| {
                    counts[part].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn callers_beside_each_other_and_broken_parts() {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let sum = AtomicUsize::new(0);
                        share(7, &|part| {
                            sum.fetch_add(part, Ordering::Relaxed);
                        });
                        assert_eq!(sum.load(Ordering::Relaxed), 21);
                    }
                });
            }
        });
        let broken = || share(3, &|part| assert!(part != 1, "on purpose"));
        assert!(std::panic::catch_unwind(broken).is_err());
    }
}
