//! Rows of a table, spread over the cores.

use crate::Error;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `work` on every index below `count`, in the order of the indices whichever worker was
/// faster. Each of the `threads` workers (all cores when `None`) has a state of its own that
/// `start` makes, so none waits for another.
///
/// # Errors
/// The first error of `start`.
pub(in crate::app) fn spread<S, T: Send>(
    count: usize,
    threads: Option<usize>,
    start: impl Fn() -> Result<S, Error> + Sync,
    work: impl Fn(&mut S, usize) -> T + Sync,
) -> Result<Vec<T>, Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = threads.unwrap_or(cores).clamp(1, count.max(1));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
    let progress = Progress::new(count);
    let worker = || -> Result<(), Error> {
        let mut state = start()?;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(());
            }
            let result = work(&mut state, index);
            let mut done = done.lock().unwrap_or_else(|e| e.into_inner());
            done.push((index, result));
            progress.show(done.len());
        }
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        handles.into_iter().try_for_each(|handle| {
            // a row must not be lost in silence
            let outcome = handle.join();
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    progress.clear();
    let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// One line on standard error, only where a person can see it.
struct Progress {
    total: usize,
    visible: bool,
}

impl Progress {
    fn new(total: usize) -> Progress {
        Progress {
            total,
            visible: std::io::stderr().is_terminal(),
        }
    }

    fn show(&self, done: usize) {
        if self.visible && (done.is_multiple_of(10) || done == self.total) {
            let filled = done * 30 / self.total.max(1);
            eprint!(
                "\r[{}{}] {done}/{}",
                "#".repeat(filled),
                ".".repeat(30 - filled),
                self.total
            );
        }
    }

    fn clear(&self) {
        if self.visible {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_rows() {
        for threads in [1, 3] {
            let squares = spread(50, Some(threads), || Ok(2), |power, i| i.pow(*power));
            let wanted: Vec<usize> = (0..50).map(|i| i * i).collect();
            assert!(squares.is_ok_and(|squares| squares == wanted));
        }
        assert!(spread(0, None, || Ok(()), |_, i| i).is_ok_and(|none| none.is_empty()));
    }
}
