//! Life as a service: the manager is told the truth, capture is logged, numbers are kept.
//!
//! [`socket`], [`http`], [`mqtt`] and [`ros`] tell others what happens, where the configuration asks
//! for that.
//! [`progress`] knows whether every stage moves, [`notify`] tells the service manager so,
//! [`audit`] writes down when capture was on, and [`metrics`] counts. [`Service`] speaks to the
//! manager and never waits; the [`ledger`](ledger::Ledger) has a thread that waits for the disk.

pub mod audit;
mod backoff;
mod choice;
pub mod health;
pub mod http;
mod in_sight;
pub mod latches;
pub mod ledger;
pub mod metrics;
pub mod mqtt;
pub mod notify;
pub mod outbox;
mod pace;
pub mod progress;
mod regular;
pub mod ros;
#[cfg(test)]
mod scratch;
pub mod secret;
pub mod socket;
mod sources;
pub mod speaking;
mod tcp;
mod visits;
pub mod voice;

use crate::event::State;
use notify::Manager;
use progress::{Due, Progress, Watchdog};
use std::time::Instant;

/// A change that whoever runs the service should know of; told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// `audit`, `metrics` or `watchdog`.
    pub part: &'static str,
    /// Failing, recovered or resting.
    pub state: State,
    /// In words.
    pub detail: String,
}

impl Told {
    fn failing(part: &'static str, detail: String) -> Told {
        Told {
            part,
            state: State::Failing,
            detail,
        }
    }

    fn recovered(part: &'static str, detail: String) -> Told {
        Told {
            part,
            state: State::Recovered,
            detail,
        }
    }
}

/// The service manager, as far as there is one. Nothing here waits.
#[derive(Debug)]
pub struct Service {
    manager: Manager,
    watchdog: Option<Watchdog>,
}

impl Service {
    /// What the environment asks for.
    pub fn from_env(now: Instant) -> Service {
        let manager = Manager::from_env();
        let allowed = manager.watchdog();
        Service {
            manager,
            watchdog: allowed.map(|allowed| Watchdog::new(allowed, now)),
        }
    }

    /// Every model has answered once and every source is open: the manager may rely on us.
    pub fn ready(&mut self, status: &str) {
        self.manager.ready(status);
    }

    /// What `systemctl status` shows.
    pub fn status(&mut self, status: &str) {
        self.manager.status(status);
    }

    /// The service is on its way out.
    pub fn stopping(&mut self) {
        self.manager.stopping();
    }

    /// To be called in every round: feeds the watchdog if all stages have moved.
    pub fn tick(&mut self, progress: &Progress, now: Instant) -> Option<Told> {
        self.manager.retry();
        match self.watchdog.as_mut()?.due(progress, now) {
            Due::NotYet => None,
            Due::Feed => {
                self.manager.feed();
                None
            }
            Due::Resting(stages) => {
                let names: Vec<_> = stages.iter().map(|s| s.name()).collect();
                let detail = format!(
                    "no progress of {}; the service manager is not fed until there is",
                    names.join(" and ")
                );
                Some(Told {
                    part: "watchdog",
                    state: State::Resting,
                    detail,
                })
            }
        }
    }
}
