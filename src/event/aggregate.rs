//! Counts instead of answers, for those who may not look at persons.

use super::SCHEMA;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// How often a task gave each of its answers within a span, and nothing else of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aggregate {
    /// The task.
    pub of: String,
    /// Since when it was counted, by the machine's clock.
    pub from: Option<Timestamp>,
    /// Until when.
    pub until: Option<Timestamp>,
    /// How often each label was given: those of the bundle in their order, and `unsure`.
    pub counts: Vec<(String, u64)>,
}

impl Aggregate {
    /// How many answers were given.
    pub fn answers(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// The counts as one JSON object.
    pub fn to_json(&self) -> Value {
        let counts = self.counts.iter();
        let counts: Map<_, _> = counts.map(|(l, n)| (l.clone(), json!(n))).collect();
        // whole seconds: an answer that was counted last has no more of a time than the others
        let second = |at: Option<Timestamp>| json!(at.map(|at| format!("{at:.0}")));
        json!({
            "schema": SCHEMA,
            "task": "aggregate",
            "of": self.of,
            "from": second(self.from),
            "until": second(self.until),
            "answers": self.answers(),
            "counts": counts,
        })
    }
}
