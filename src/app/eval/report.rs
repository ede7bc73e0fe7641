//! The evaluation as a table for people and as one JSON object.

use super::judge::{System, Verdict};
use super::metrics::{self, Item, round4};
use super::table::Table;
use super::{Judged, data_name};
use crate::event::Modality;
use crate::model::Bundle;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

/// Everything a report is made of.
pub struct Report<'a> {
    bundle: &'a Bundle,
    data: String,
    table: &'a Table,
    judged: &'a [Judged],
    failed: usize,
}

/// A named set of judged items.
struct Line {
    name: String,
    items: Vec<Item>,
}

impl<'a> Report<'a> {
    /// Gathers; computes nothing yet.
    pub fn new(
        bundle: &'a Bundle,
        data: &Path,
        table: &'a Table,
        judged: &'a [Judged],
        failed: usize,
    ) -> Report<'a> {
        Report {
            bundle,
            data: data_name(data),
            table,
            judged,
            failed,
        }
    }

    fn classes(&self) -> usize {
        self.bundle.manifest.labels.len()
    }

    fn skipped(&self) -> usize {
        self.table.skipped.values().sum()
    }

    fn shipped(&self) -> Vec<Item> {
        self.judged
            .iter()
            .map(|j| self.item(j, &j.shipped.shipped))
            .collect()
    }

    fn item(&self, judged: &Judged, scores: &[f32]) -> Item {
        Item {
            truth: self.table.rows[judged.row].truth,
            scores: scores.to_vec(),
        }
    }

    /// The paper's rows, int8 and (with a reference) fp32 beside it.
    fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        let systems = [
            System::TextOnly,
            System::SpeechOnly,
            System::ScoreFusion,
            System::ArOnly,
            System::AlOnly,
            System::Constraint,
        ];
        for system in systems {
            lines.push(self.line(system.name().into(), |j| score(&j.shipped, system)));
            let fp32 = |j: &Judged| j.reference.as_ref().and_then(|r| score(r, system));
            lines.push(self.line(format!("{} (fp32)", system.name()), fp32));
        }
        let all = |j: &Judged| j.reference.as_ref().map(|r| r.shipped.clone());
        lines.push(self.line("every modality offered (fp32)".into(), all));
        lines.retain(|line| !line.items.is_empty());
        lines
    }

    fn line(&self, name: String, scores: impl Fn(&Judged) -> Option<Vec<f32>>) -> Line {
        let items = self
            .judged
            .iter()
            .filter_map(|j| Some(self.item(j, &scores(j)?)))
            .collect();
        Line { name, items }
    }

    fn unsure(&self) -> f64 {
        let below = self.bundle.manifest.decision.unsure_below;
        let unsure = self
            .judged
            .iter()
            .filter(|j| crate::decision::choose(&j.shipped.shipped, below).is_none());
        unsure.count() as f64 / self.judged.len().max(1) as f64
    }

    /// Accuracy of each speaker, lowest first.
    fn speakers(&self) -> Vec<(String, f64, usize)> {
        let mut by: BTreeMap<&str, Vec<Item>> = BTreeMap::new();
        for judged in self.judged {
            if let Some(speaker) = &self.table.rows[judged.row].speaker {
                by.entry(speaker)
                    .or_default()
                    .push(self.item(judged, &judged.shipped.shipped));
            }
        }
        let ua = |items: &[Item]| metrics::metrics(items, self.classes()).ua;
        let mut speakers: Vec<_> = by
            .into_iter()
            .map(|(name, items)| (name.to_string(), ua(&items), items.len()))
            .collect();
        speakers.sort_by(|a, b| a.1.total_cmp(&b.1));
        speakers
    }

    fn modalities(&self) -> Map<String, Value> {
        let kinds: BTreeSet<Modality> = self.judged.iter().map(|j| j.shipped.modality).collect();
        let count = |m: Modality| {
            self.judged
                .iter()
                .filter(|j| j.shipped.modality == m)
                .count()
        };
        kinds
            .into_iter()
            .map(|m| (m.name().into(), json!(count(m))))
            .collect()
    }

    /// Compute per second of sound, over the items that have sound.
    fn real_time_factor(&self) -> Option<f64> {
        let with_sound: Vec<_> = self.judged.iter().filter(|j| j.seconds > 0.0).collect();
        let sound: f64 = with_sound.iter().map(|j| j.seconds).sum();
        let compute: f64 = with_sound.iter().map(|j| j.shipped.millis / 1e3).sum();
        (sound > 0.0).then(|| compute / sound)
    }

    /// One JSON object on one line.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let classes = self.classes();
        let items = self.shipped();
        let rows: Vec<Value> = self
            .lines()
            .iter()
            .map(|l| {
                json!({
                    "name": l.name,
                    "metrics": metrics::to_json(&l.items, classes),
                    "confusion": metrics::confusion(&l.items, classes),
                })
            })
            .collect();
        let speakers: Map<String, Value> = self
            .speakers()
            .into_iter()
            .map(|(name, ua, n)| (name, json!({ "ua": round4(ua), "n": n })))
            .collect();
        let report = json!({
            "task": self.bundle.manifest.task().name(),
            "bundle": self.bundle.name(),
            "data": self.data,
            "n": items.len(),
            "skipped": self.skipped(),
            "failed": self.failed,
            "labels": self.bundle.manifest.labels,
            "metrics": metrics::to_json(&items, classes),
            "rows": rows,
            "confusion": metrics::confusion(&items, classes),
            "skipped_labels": self.table.skipped,
            "modalities": self.modalities(),
            "unsure": round4(self.unsure()),
            "speakers": speakers,
            "real_time_factor": self.real_time_factor().map(round4),
        });
        writeln!(out, "{report}")?;
        out.flush()
    }

    /// Tables for a person.
    pub fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let items = self.shipped();
        let (task, name) = (self.bundle.manifest.task().name(), self.bundle.name());
        writeln!(
            out,
            "{task} on {}: bundle {name}, n = {}",
            self.data,
            items.len()
        )?;
        self.write_left_out(out)?;
        if items.is_empty() {
            return writeln!(
                out,
                "nothing to judge: no row has a label of the head and an input"
            );
        }
        writeln!(
            out,
            "\n{:<34}{:>6}  {:<21}{:<21}{:>8}{:>7}",
            "", "n", "WA [95%]", "UA [95%]", "macroF1", "ECE"
        )?;
        self.write_line(out, "every modality offered (int8)", &items)?;
        for line in self.lines() {
            self.write_line(out, &line.name, &line.items)?;
        }
        self.write_confusion(out, &items)?;
        self.write_tail(out)?;
        out.flush()
    }

    fn write_left_out(&self, out: &mut impl Write) -> io::Result<()> {
        if self.skipped() > 0 {
            let labels: Vec<String> = self
                .table
                .skipped
                .iter()
                .map(|(label, n)| format!("{label:?} {n}"))
                .collect();
            writeln!(
                out,
                "skipped {} rows with other labels: {}",
                self.skipped(),
                labels.join(", ")
            )?;
        }
        if self.failed > 0 {
            writeln!(
                out,
                "FAILED {} rows: no answer, not counted; RUST_LOG=warn lists them",
                self.failed
            )?;
        }
        Ok(())
    }

    fn write_line(&self, out: &mut impl Write, name: &str, items: &[Item]) -> io::Result<()> {
        let m = metrics::metrics(items, self.classes());
        let [accuracy, ua, ..] = metrics::intervals(items, self.classes());
        let with = |value: f64, [low, high]: [f64; 2]| format!("{value:.3} [{low:.3}, {high:.3}]");
        writeln!(
            out,
            "{name:<34}{:>6}  {:<21}{:<21}{:>8.3}{:>7.3}",
            items.len(),
            with(m.accuracy, accuracy),
            with(m.ua, ua),
            m.macro_f1,
            m.ece
        )
    }

    fn write_confusion(&self, out: &mut impl Write, items: &[Item]) -> io::Result<()> {
        let labels = &self.bundle.manifest.labels;
        write!(out, "\n{:<12}", "true \\ said")?;
        labels.iter().try_for_each(|l| write!(out, "{l:>9}"))?;
        writeln!(out, "{:>9}", "recall")?;
        for (label, row) in labels.iter().zip(metrics::confusion(items, self.classes())) {
            let total: usize = row.iter().sum();
            write!(out, "{label:<12}")?;
            row.iter().try_for_each(|n| write!(out, "{n:>9}"))?;
            let right = row[labels.iter().position(|l| l == label).unwrap_or(0)];
            writeln!(out, "{:>9.3}", right as f64 / total.max(1) as f64)?;
        }
        Ok(())
    }

    fn write_tail(&self, out: &mut impl Write) -> io::Result<()> {
        let below = self.bundle.manifest.decision.unsure_below;
        writeln!(
            out,
            "\nunsure (top score < {below}): {:.1}%",
            100.0 * self.unsure()
        )?;
        let speakers = self.speakers();
        if let (Some(worst), Some(best)) = (speakers.first(), speakers.last()) {
            let median = &speakers[speakers.len() / 2];
            writeln!(
                out,
                "UA by speaker ({}): worst {:.3} ({}), median {:.3}, best {:.3} ({})",
                speakers.len(),
                worst.1,
                worst.0,
                median.1,
                best.1,
                best.0
            )?;
        }
        if let Some(factor) = self.real_time_factor() {
            writeln!(out, "compute per second of sound: {factor:.4} s")?;
        }
        Ok(())
    }
}

fn score(verdict: &Verdict, system: System) -> Option<Vec<f32>> {
    verdict
        .systems
        .iter()
        .find(|(s, _)| *s == system)
        .map(|(_, scores)| scores.clone())
}
