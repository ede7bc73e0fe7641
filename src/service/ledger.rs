//! What is kept on the disk: the audit log and the page of metrics.
//!
//! One thread [keeps](Ledger::keep) both and waits for the disk; whoever has something to
//! record does not.

use super::Told;
use super::audit::{Audit, Record};
use super::metrics::{Counter, Machine, Metrics, Page};
use super::regular;
use crate::Error;
use crate::config::Config;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The audit log and the file of metrics, as far as there are any.
#[derive(Debug)]
pub struct Ledger {
    audit: Option<Audit>,
    /// Where the metrics go, and how often.
    page: Option<(PathBuf, Duration)>,
    bell: Mutex<Bell>,
    rung: Condvar,
}

/// What the keeping thread is woken for.
#[derive(Debug, Default)]
struct Bell {
    /// There is a new record.
    is_rung: bool,
    /// Nothing more will come.
    has_ended: bool,
}

impl Ledger {
    /// What the configuration asks for.
    ///
    /// # Errors
    /// An audit log that cannot be opened: capture without the log that was asked for does
    /// not start. A file that is no regular one.
    pub fn open(config: &Config, now: Instant) -> Result<Ledger, Error> {
        let audit = config.audit.file.as_deref();
        let audit = audit.map(|file| Audit::open(file, now)).transpose()?;
        let page = config.metrics.file.as_deref();
        page.map_or(Ok(()), |file| regular::check(file, "[metrics] file"))?;
        let every = Duration::from_secs_f64(config.metrics.every.clamp(1.0, 3600.0));
        Ok(Ledger {
            audit,
            page: page.map(|file| (file.to_owned(), every)),
            bell: Mutex::default(),
            rung: Condvar::new(),
        })
    }

    fn bell(&self) -> MutexGuard<'_, Bell> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record to the audit log, where there is one. Never waits for the disk.
    pub fn record(&self, record: Record<'_>) {
        if let Some(audit) = &self.audit {
            audit.record(record, Instant::now());
            self.bell().is_rung = true;
            self.rung.notify_all();
        }
    }

    /// Whether the disk has answered for every record so far: taken it, or refused it.
    pub fn is_settled(&self) -> bool {
        self.audit.as_ref().is_none_or(Audit::is_settled)
    }

    /// Records that are not on the disk, as lines.
    pub fn unwritten(&self) -> String {
        self.audit
            .as_ref()
            .map(Audit::unwritten)
            .unwrap_or_default()
    }

    /// Ends [`Ledger::keep`], once the last record and the last figures are written.
    pub fn end(&self) {
        self.bell().has_ended = true;
        self.rung.notify_all();
    }

    /// Writes what is recorded, and now and then a page of `metrics` about `machine`, until
    /// the end. Changes of the disk's mind are told to `tell`.
    pub fn keep(&self, metrics: &Metrics, machine: impl Fn() -> Machine, tell: impl Fn(Told)) {
        let page = self.page.as_ref();
        let mut page = page.map(|(path, every)| Page::new(path, *every, Instant::now()));
        loop {
            let due = page.as_ref().map(Page::due);
            let retry = self.audit.as_ref().and_then(Audit::retry);
            let Bell { is_rung, has_ended } = self.wait(due.into_iter().chain(retry).min());
            let now = Instant::now();
            let is_due = |at: Option<Instant>| has_ended || at.is_some_and(|at| now >= at);
            if let Some(audit) = self.audit.as_ref().filter(|_| is_rung || is_due(retry)) {
                audit.write(now).into_iter().for_each(&tell);
                metrics.set(Counter::AuditFailures, audit.failures());
            }
            if let Some(page) = page.as_mut().filter(|page| is_due(Some(page.due()))) {
                let content = metrics.render(&machine(), now);
                page.write(&content, now).into_iter().for_each(&tell);
            }
            if has_ended {
                return;
            }
        }
    }

    /// Waits for the bell, or until it is time.
    fn wait(&self, until: Option<Instant>) -> Bell {
        let mut bell = self.bell();
        loop {
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            if bell.is_rung || bell.has_ended || left.is_some_and(|left| left.is_zero()) {
                return Bell {
                    is_rung: std::mem::take(&mut bell.is_rung),
                    has_ended: bell.has_ended,
                };
            }
            bell = match left {
                Some(left) => {
                    let waited = self.rung.wait_timeout(bell, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.rung.wait(bell);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::scratch::Folder;
    use std::fs;

    fn ledger(audit: Option<PathBuf>, metrics: Option<PathBuf>) -> Result<Ledger, Error> {
        let config = "[notice]\nacknowledged = true\npurpose = \"x\"\nsetting = \"public\"\n";
        let folder = Folder::new();
        let path = folder.0.join("run.toml");
        fs::write(&path, config).unwrap();
        let mut config = Config::read(&path).unwrap();
        (config.audit.file, config.metrics.file) = (audit, metrics);
        Ledger::open(&config, Instant::now())
    }

    #[test]
    fn records_and_the_last_figures_are_written_by_the_end() {
        let folder = Folder::new();
        let (log, prom) = (folder.0.join("a.jsonl"), folder.0.join("d.prom"));
        let ledger = ledger(Some(log.clone()), Some(prom.clone())).unwrap();
        let metrics = Metrics::new(Instant::now());
        std::thread::scope(|scope| {
            let keeping = scope.spawn(|| {
                ledger.keep(&metrics, Machine::default, |told| panic!("{told:?}"));
            });
            ledger.record(Record::Mute { by: "button" });
            while !ledger.is_settled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(fs::read_to_string(&log).unwrap().contains("\"mute\""));
            metrics.mute(true);
            ledger.record(Record::Stop { reason: "signal" });
            ledger.end();
            keeping.join().unwrap();
        });
        assert_eq!(ledger.unwritten(), "");
        assert!(fs::read_to_string(&log).unwrap().contains("\"stop\""));
        let page = fs::read_to_string(&prom).unwrap();
        assert!(page.contains("demeanor_muted 1"), "{page}");
    }

    #[test]
    fn a_device_node_is_refused_as_either_file() {
        let null = || Some(PathBuf::from("/dev/null"));
        for (audit, metrics, field) in [
            (null(), None, "[audit] file"),
            (None, null(), "[metrics] file"),
        ] {
            let error = ledger(audit, metrics).err().map(|e| e.to_string());
            let sentence = error.unwrap_or_default();
            assert!(
                sentence.contains("/dev/null: it is a device") && sentence.contains(field),
                "{sentence}"
            );
        }
    }
}
