//! The evaluation of names as a table for people and as one JSON object.

use super::super::metrics::{Tallied, figures_json, figures_line, resampled, round4};
use super::{Marked, Name, Prediction, Tally, Tweet, Words, tallies};
use crate::model::Bundle;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

const FIGURES: [&str; 3] = ["precision", "recall", "f1"];

/// Everything a report is made of.
pub(super) struct Report<'a> {
    pub bundle: &'a Bundle,
    pub data: String,
    pub marked: &'a Marked,
    pub failures: &'a BTreeMap<&'static str, usize>,
    pub words: &'a Words,
    /// Texts, what was found in them, and what the reference found.
    pub items: &'a [(&'a Tweet, Prediction, Option<Vec<Name>>)],
}

/// A system's tallies, by text and type.
type Line = (String, Vec<Vec<Tally>>);

impl Report<'_> {
    fn kinds(&self) -> usize {
        self.bundle.manifest.labels.len()
    }

    fn shipped(&self) -> Vec<Vec<Tally>> {
        let kinds = self.kinds();
        let items = self.items.iter();
        items
            .map(|(tweet, v, _)| tallies(&tweet.marked, &v.shipped, kinds))
            .collect()
    }

    /// Every head on the texts that it could answer about, and the reference.
    fn lines(&self) -> Vec<Line> {
        let kinds = self.kinds();
        let mut lines: Vec<Line> = Vec::new();
        for head in &self.bundle.manifest.heads {
            let of = |(tweet, verdict, _): &(&Tweet, Prediction, _)| {
                let found = verdict.heads.iter().find(|(name, _)| *name == head.name)?;
                Some(tallies(&tweet.marked, &found.1, kinds))
            };
            lines.push((
                head.name.clone(),
                self.items.iter().filter_map(of).collect(),
            ));
        }
        let fp32 = |(tweet, _, found): &(&Tweet, _, Option<Vec<Name>>)| {
            Some(tallies(&tweet.marked, found.as_ref()?, kinds))
        };
        let fp32 = self.items.iter().filter_map(fp32).collect();
        lines.push(("every modality offered (fp32)".into(), fp32));
        lines.retain(|(_, texts)| !texts.is_empty());
        lines
    }

    fn beside_pictures(&self) -> usize {
        self.items
            .iter()
            .filter(|(_, v, _)| v.beside_picture)
            .count()
    }

    fn compute_ms(&self) -> f64 {
        let total: f64 = self.items.iter().map(|(_, v, _)| v.millis).sum();
        total / self.items.len().max(1) as f64
    }

    /// One JSON object on one line.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let manifest = &self.bundle.manifest;
        let shipped = self.shipped();
        let types = manifest.labels.iter().enumerate();
        let types: Map<String, Value> = types
            .map(|(kind, label)| (label.clone(), metrics_json(&of_kind(&shipped, kind))))
            .collect();
        let rows = self.lines().into_iter().map(
            |(name, texts)| json!({ "name": name, "metrics": metrics_json(&all_kinds(&texts)) }),
        );
        let mut report = json!({
            "task": manifest.task,
            "bundle": self.bundle.name(),
            "data": self.data,
            "n": self.items.len(),
            "skipped": self.marked.skipped.total(),
            "failed": self.failures.values().sum::<usize>(),
            "labels": manifest.labels,
            "metrics": metrics_json(&all_kinds(&shipped)),
            "types": types,
            "rows": rows.collect::<Vec<Value>>(),
            "skipped_reasons": self.marked.skipped.told("text"),
            "failed_reasons": self.failures,
            "notes": self.marked.odd.told("text"),
            "beside_pictures": self.beside_pictures(),
            "picture_words": {
                "tweets": self.words.tweets,
                "looked_up": self.words.looked_up,
                "unknown": self.words.unknown,
            },
            "compute_ms": round4(self.compute_ms()),
        });
        if let Some(published) = &manifest.eval.published {
            let row = |(name, p, r): &(String, f64, f64)| json!({ "name": name, "precision": p, "recall": r, "f1": round4(harmonic(*p, *r)) });
            let rows: Vec<Value> = published.rows.iter().map(row).collect();
            report["published"] = json!({ "on": published.on, "n": published.n, "rows": rows });
        }
        writeln!(out, "{report}")?;
        out.flush()
    }

    /// Tables for a person.
    pub fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let manifest = &self.bundle.manifest;
        let (task, n) = (&manifest.task, self.items.len());
        writeln!(
            out,
            "{task} on {}: bundle {}, n = {n}",
            self.data,
            self.bundle.name()
        )?;
        for reason in self.marked.skipped.told("text") {
            writeln!(out, "skipped, {reason}")?;
        }
        for note in self.marked.odd.told("text") {
            writeln!(out, "note, {note}")?;
        }
        for (reason, count) in self.failures {
            writeln!(
                out,
                "FAILED {count} texts ({reason}): not counted; RUST_LOG=warn lists them"
            )?;
        }
        if self.items.is_empty() {
            return writeln!(
                out,
                "nothing to judge: no text is marked with types of the bundle"
            );
        }
        writeln!(
            out,
            "\n{:<34}{:>6}{:>7}  {:<21}{:<21}F1 [95%]",
            "", "n", "names", "precision [95%]", "recall [95%]"
        )?;
        let shipped = self.shipped();
        write_line(out, "every modality offered (int8)", &all_kinds(&shipped))?;
        for (name, texts) in self.lines() {
            write_line(out, &name, &all_kinds(&texts))?;
        }
        writeln!(out)?;
        for (kind, label) in manifest.labels.iter().enumerate() {
            write_line(out, label, &of_kind(&shipped, kind))?;
        }
        if let Some(published) = &manifest.eval.published {
            writeln!(out, "\npublished, for orientation: {}", published.on)?;
            for (name, p, r) in &published.rows {
                let (n, f1) = (published.n, harmonic(*p, *r));
                writeln!(out, "{name:<34}{n:>6}{:>7}  {p:<21.4}{r:<21.4}{f1:.4}", "")?;
            }
        }
        writeln!(
            out,
            "\nanswers beside a picture or its words: {}",
            self.beside_pictures()
        )?;
        let words = self.words;
        if words.looked_up > 0 {
            writeln!(
                out,
                "picture words of {} texts: {} looked up, {} of them unknown to the bundle and left out",
                words.tweets, words.looked_up, words.unknown
            )?;
        }
        writeln!(out, "compute per item: {:.2} ms", self.compute_ms())?;
        out.flush()
    }
}

fn harmonic(p: f64, r: f64) -> f64 {
    match p + r > 0.0 {
        true => 2.0 * p * r / (p + r),
        false => 0.0,
    }
}

fn all_kinds(texts: &[Vec<Tally>]) -> Vec<Tally> {
    let sum = |kinds: &Vec<Tally>| {
        let mut sum = Tally::default();
        kinds.iter().for_each(|t| sum.add(*t));
        sum
    };
    texts.iter().map(sum).collect()
}

fn of_kind(texts: &[Vec<Tally>], kind: usize) -> Vec<Tally> {
    texts.iter().map(|kinds| kinds[kind]).collect()
}

fn metrics_json(texts: &[Tally]) -> Value {
    let (sum, ends) = resampled(texts);
    let mut object = figures_json(&FIGURES, sum.figures(), ends);
    object.insert("n".into(), json!(texts.len()));
    object.insert("marked".into(), json!(sum.marked));
    object.insert("found".into(), json!(sum.found));
    Value::Object(object)
}

fn write_line(out: &mut impl Write, name: &str, texts: &[Tally]) -> io::Result<()> {
    let (sum, ends) = resampled(texts);
    let (marked, told) = (sum.marked, figures_line(sum.figures(), ends));
    writeln!(out, "{name:<34}{:>6}{marked:>7}  {told}", texts.len())
}
