//! Who is told when something changes: readers of the events, and the audit log. Telling
//! never waits for either.

use super::worker::Work;
use crate::app::queue::Queue;
use crate::event::{State, StateChange};
use crate::service::Told;
use crate::service::audit::Record;
use crate::service::ledger::Ledger;
use std::sync::Arc;

/// Tells changes to all who should know.
pub struct StatusReporter {
    queue: Arc<Queue<Work>>,
    pub ledger: Ledger,
}

impl StatusReporter {
    /// Tells through `queue` and `ledger`.
    pub fn new(queue: Arc<Queue<Work>>, ledger: Ledger) -> Self {
        StatusReporter { queue, ledger }
    }

    /// To readers of the events alone.
    pub fn say(&self, source: &str, state: State, detail: impl Into<String>) {
        self.queue.tell(StateChange::new(source, state, detail));
    }

    /// A source is another than before: to all.
    pub fn source(&self, name: &str, state: State, detail: impl Into<String>) {
        self.say(name, state, detail);
        self.record(Record::Source { name, state });
    }

    /// To the audit log.
    pub fn record(&self, record: Record<'_>) {
        self.ledger.record(record);
    }

    /// A part of the service is another than before: to readers, and to the journal.
    pub fn relay(&self, told: Told) {
        let Told {
            part,
            state,
            detail,
        } = told;
        log::warn!("{part}: {state}: {detail}");
        self.say(part, state, detail);
    }
}
