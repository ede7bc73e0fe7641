//! Life as a service: the manager is told the truth, capture is logged, numbers are kept.
//!
//! [`progress`] knows whether every stage moves, [`notify`] tells the service manager so,
//! [`audit`] writes down when capture was on, and [`metrics`] counts. [`Service`] holds what
//! speaks to the outside; whoever polls the sources asks it once a round.

pub mod audit;
pub mod metrics;
pub mod notify;
pub mod progress;
#[cfg(test)]
mod scratch;

use crate::Error;
use crate::config::Config;
use crate::event::State;
use audit::{Audit, Record};
use metrics::{Counter, Machine, Metrics, Page};
use notify::Manager;
use progress::{Due, Progress, Watchdog};
use std::time::{Duration, Instant};

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

/// The service manager, the audit log and the file of metrics, as far as there are any.
#[derive(Debug)]
pub struct Service<'a> {
    progress: &'a Progress,
    metrics: &'a Metrics,
    manager: Manager,
    watchdog: Option<Watchdog>,
    audit: Option<Audit>,
    page: Option<Page>,
}

impl<'a> Service<'a> {
    /// What the configuration and the environment ask for.
    ///
    /// # Errors
    /// An audit log that cannot be opened: capture without the log that was asked for does
    /// not start.
    pub fn open(
        config: &Config,
        progress: &'a Progress,
        metrics: &'a Metrics,
        now: Instant,
    ) -> Result<Service<'a>, Error> {
        let audit = config.audit.file.as_deref();
        let audit = audit.map(|file| Audit::open(file, now)).transpose()?;
        let every = Duration::from_secs_f64(config.metrics.every.clamp(1.0, 3600.0));
        let page = config.metrics.file.as_deref();
        let page = page.map(|file| Page::new(file, every, now));
        let manager = Manager::from_env();
        Ok(Service {
            progress,
            metrics,
            watchdog: manager
                .watchdog()
                .map(|allowed| Watchdog::new(allowed, now)),
            manager,
            audit,
            page,
        })
    }

    /// Every model has answered once and every source is open: the manager may rely on us.
    pub fn ready(&mut self, status: &str) {
        self.manager.ready(status);
    }

    /// What `systemctl status` shows.
    pub fn status(&mut self, status: &str) {
        self.manager.status(status);
    }

    /// Writes to the audit log, where there is one.
    pub fn record(&mut self, record: Record<'_>, now: Instant) -> Option<Told> {
        let audit = self.audit.as_mut()?;
        let told = audit.record(record, now);
        self.metrics.set(Counter::AuditFailures, audit.failures());
        told
    }

    /// To be called in every round of the polling loop: feeds the watchdog if all stages have
    /// moved, writes what waits, and now and then a page of metrics about `machine`.
    pub fn tick(&mut self, machine: impl FnOnce() -> Machine, now: Instant) -> Vec<Told> {
        let mut told = Vec::new();
        told.extend(self.watch(now));
        if let Some(audit) = &mut self.audit {
            told.extend(audit.tick(now));
            self.metrics.set(Counter::AuditFailures, audit.failures());
        }
        if let Some(page) = self.page.as_mut().filter(|page| page.is_due(now)) {
            told.extend(page.write(&self.metrics.render(&machine(), now), now));
        }
        told
    }

    /// The end: tells the manager, and leaves the last figures and the last record.
    pub fn stop(&mut self, reason: &'static str, machine: &Machine, now: Instant) -> Vec<Told> {
        self.manager.stopping();
        let mut told = Vec::new();
        told.extend(self.record(Record::Stop { reason }, now));
        // the last place left: the journal
        let waiting = self.audit.as_ref().map(Audit::waiting).unwrap_or_default();
        for line in waiting.lines() {
            log::warn!("not in the audit log: {line}");
        }
        if let Some(page) = &mut self.page {
            told.extend(page.write(&self.metrics.render(machine, now), now));
        }
        told
    }

    fn watch(&mut self, now: Instant) -> Option<Told> {
        match self.watchdog.as_mut()?.due(self.progress, now) {
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
