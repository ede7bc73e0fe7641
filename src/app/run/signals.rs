//! Signals: a press without a button, and the wish that the run ends.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Raised when the end is asked for.
#[derive(Debug, Default)]
pub struct Signals {
    stop: Arc<AtomicBool>,
    /// The next signal ends the process at once, whatever it is doing.
    armed: Arc<AtomicBool>,
}

impl Signals {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on, so that what was heard is still
    /// answered and no camera is left running. SIGHUP stays ignored where it is, as under
    /// `nohup`.
    pub fn catch() -> Signals {
        let signals = Signals::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            let end = flag::register_conditional_shutdown(signal, 130, Arc::clone(&signals.armed));
            let caught = end.and_then(|_| flag::register(signal, Arc::clone(&signals.stop)));
            if let Err(e) = caught {
                log::warn!("signal {signal} cannot be caught ({e}); it ends the process at once");
            }
        }
        signals
    }

    /// Whether the end was asked for since the last time.
    pub fn stop(&self) -> bool {
        self.stop.swap(false, Ordering::AcqRel)
    }

    /// From now on a signal ends the process without any care.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Release);
    }

    /// Signals that this flag raises, in place of the system's.
    #[cfg(test)]
    pub fn of(stop: &Arc<AtomicBool>) -> Signals {
        Signals {
            stop: Arc::clone(stop),
            armed: Arc::default(),
        }
    }
}

/// Raised by SIGUSR1: a press of the button where there is none.
pub fn press_flag() -> Arc<AtomicBool> {
    let pressed = Arc::new(AtomicBool::new(false));
    if let Err(e) = flag::register(SIGUSR1, Arc::clone(&pressed)) {
        log::warn!("signal {SIGUSR1} cannot be caught ({e}); only the button mutes");
    }
    pressed
}

/// Whether whoever started us has this signal ignored.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
