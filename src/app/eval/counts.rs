//! Reasons for which items of a table were left out.

use std::collections::BTreeMap;

/// Reasons, each with how often and in which line first.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<String, (usize, u64)>);

impl Counts {
    pub(super) fn add(&mut self, reason: impl Into<String>, line: u64) {
        self.0.entry(reason.into()).or_insert((0, line)).0 += 1;
    }

    pub(super) fn total(&self) -> usize {
        self.0.values().map(|(count, _)| count).sum()
    }

    /// `reason: 2 texts, the first at line 7`, where an item is a `text`.
    pub(super) fn told(&self, item: &str) -> Vec<String> {
        let told = self.0.iter().map(|(reason, (count, line))| match count {
            1 => format!("{reason}: 1 {item}, at line {line}"),
            _ => format!("{reason}: {count} {item}s, the first at line {line}"),
        });
        told.collect()
    }
}
