//! Who is told when something changes: readers of the events, the audit log, the service
//! manager.

use super::worker::Work;
use crate::app::queue::{Job, Queue};
use crate::event::{State, StateChange};
use crate::service::audit::Record;
use crate::service::metrics::Machine;
use crate::service::{Service, Told};
use std::time::Instant;

/// Tells changes to all who should know.
pub struct Herald<'a> {
    queue: &'a Queue<Work>,
    service: Service<'a>,
}

impl<'a> Herald<'a> {
    /// Tells through `queue` and `service`.
    pub fn new(queue: &'a Queue<Work>, service: Service<'a>) -> Self {
        Herald { queue, service }
    }

    /// To readers of the events alone; a closed queue is noticed where the answers go.
    pub fn say(&self, source: &str, state: State, detail: impl Into<String>) {
        let change = StateChange::new(source, state, detail);
        let _ = self.queue.push(Job::State(change), true);
    }

    /// A source is another than before: to all.
    pub fn source(&mut self, name: &str, state: State, detail: impl Into<String>) {
        self.say(name, state, detail);
        self.record(Record::Source { name, state });
    }

    /// To the audit log.
    pub fn record(&mut self, record: Record<'_>) {
        let told = self.service.record(record, Instant::now());
        self.relay(told);
    }

    /// The sources are open and the models have answered.
    pub fn ready(&mut self, status: &str) {
        self.service.ready(status);
    }

    /// What `systemctl status` shows.
    pub fn status(&mut self, status: &str) {
        self.service.status(status);
    }

    /// A round of the polling loop is done.
    pub fn tick(&mut self, machine: impl FnOnce() -> Machine) {
        let told = self.service.tick(machine, Instant::now());
        self.relay(told);
    }

    /// The end.
    pub fn stop(&mut self, reason: &'static str, machine: &Machine) {
        let told = self.service.stop(reason, machine, Instant::now());
        self.relay(told);
    }

    fn relay(&self, told: impl IntoIterator<Item = Told>) {
        for Told {
            part,
            state,
            detail,
        } in told
        {
            log::warn!("{part}: {}: {detail}", state.name());
            self.say(part, state, detail);
        }
    }
}
