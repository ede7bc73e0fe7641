//! What is shown: how things are, and what was told last.

use crate::config::Notice;
use crate::config::outputs::Aggregate;
use crate::service::latches::Remote;
use crate::service::metrics::{self, Machine};
use crate::sink::feed::{Feed, Line};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Instant;

/// Everything that the page and its routes show.
pub struct Site {
    /// What people are told.
    pub notice: Notice,
    /// Which device this is.
    pub device: String,
    /// `id@version` of every bundle that answers.
    pub bundles: Vec<String>,
    /// Counts of answers are told instead of these.
    pub aggregate: Option<Aggregate>,
    /// The remote latch may be turned here.
    pub can_mute: bool,
    /// The remote latch, and how the capture is.
    pub remote: Arc<Remote>,
    /// What was told.
    pub feed: Arc<Feed>,
    /// Stages that make no progress, by name.
    pub resting: Box<dyn Fn() -> Vec<&'static str> + Send + Sync>,
    /// The page of metrics, in Prometheus' text format.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// What the machine is like.
    pub machine: Box<dyn Fn() -> Machine + Send + Sync>,
    /// When the program was started.
    pub started: Instant,
}

impl Site {
    /// How things are.
    pub(super) fn state(&self) -> Value {
        let shown = self.remote.shown();
        let machine = (self.machine)();
        let resting = (self.resting)();
        let sources = self.feed.states();
        let sources: Vec<Value> = sources.iter().filter_map(source).collect();
        let problem = match resting.is_empty() {
            true => None,
            false => Some(format!("no progress of {}", resting.join(" and "))),
        };
        json!({
            "device": self.device,
            "version": env!("CARGO_PKG_VERSION"),
            "setting": self.notice.setting.name(),
            "purpose": self.notice.purpose,
            "capturing": shown.is_capturing,
            "muted": shown.latches.is_muted(),
            "muted_by": shown.latches.closed_by(),
            "can_mute": self.can_mute,
            "problem": problem,
            "sources": sources,
            "bundles": self.bundles,
            "aggregate": self.aggregate.map(Aggregate::to_json),
            "temperature": machine.temperature,
            "throttled": machine.throttled,
            "uptime": self.started.elapsed().as_secs(),
        })
    }

    /// The last answer of each task, unless it is too old; or its last counts.
    pub(super) fn last(&self) -> Value {
        let answers = self.feed.answers().into_iter();
        let read = |(task, line): (String, Line)| Some((task, parse(&line)?));
        Value::Object(answers.filter_map(read).collect::<Map<_, _>>())
    }

    /// The media type of the figures, and the figures.
    pub(super) fn figures(&self, accept: &str) -> (&'static str, String) {
        let page = (self.metrics)();
        match accept.contains("application/openmetrics-text") {
            true => (
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                metrics::open_metrics(&page),
            ),
            false => ("text/plain; version=0.0.4; charset=utf-8", page),
        }
    }
}

fn parse(line: &Line) -> Option<Value> {
    serde_json::from_str(line.json()).ok()
}

/// What a state says of its source.
fn source(line: &Line) -> Option<Value> {
    let state = parse(line)?;
    let field = |name: &str| state.get(name).cloned().unwrap_or_default();
    Some(json!({
        "source": field("source"),
        "state": field("state"),
        "detail": field("detail"),
        "time": field("time"),
    }))
}
