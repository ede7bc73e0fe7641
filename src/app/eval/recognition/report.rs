//! The evaluation of a recogniser as a table for people and as one JSON object.

use super::super::metrics::{figures_json, figures_line, resampled, round4};
use super::{Difference, Heard, Table, Tally};
use crate::model::Bundle;
use crate::session::{Cut, Transcript, Verdict};
use serde_json::{Map, Value, json};
use std::io::{self, Write};

const FIGURES: [&str; 3] = ["wer", "exact", "no_words"];

/// Everything a report is made of.
pub(super) struct Report<'a> {
    pub bundle: &'a Bundle,
    pub data: String,
    pub table: &'a Table,
    pub heard: &'a [Heard],
}

/// A line of the table: a name, and a tally a row.
type Line = (String, Vec<Tally>);

impl Report<'_> {
    /// Rows in which somebody speaks.
    fn spoken(&self) -> impl Iterator<Item = &Heard> {
        self.heard.iter().filter(|h| !h.row.said.is_empty())
    }

    fn tallies(&self, wanted: impl Fn(&Heard) -> bool) -> Vec<Tally> {
        let spoken = self.spoken().filter(|h| wanted(h));
        spoken.map(|h| Tally::of(&h.row.said, &h.shipped)).collect()
    }

    fn shipped(&self) -> Line {
        ("as it ships".into(), self.tallies(|_| true))
    }

    fn labels(&self) -> Vec<Line> {
        let mut labels: Vec<&String> = self.spoken().filter_map(|h| h.row.label.as_ref()).collect();
        labels.sort_unstable();
        labels.dedup();
        let line = |label: &String| {
            let tallies = self.tallies(|h| h.row.label.as_ref() == Some(label));
            (label.clone(), tallies)
        };
        labels.into_iter().map(line).collect()
    }

    /// The reference, and how much more the bundle errs on the same rows.
    fn reference(&self) -> Option<(Vec<Tally>, Vec<Difference>)> {
        let both = || {
            self.spoken()
                .filter_map(|h| Some((h, h.reference.as_ref()?)))
        };
        let tallies: Vec<Tally> = both().map(|(h, r)| Tally::of(&h.row.said, r)).collect();
        let differ = |(h, r): (&Heard, &Transcript)| {
            let errors = |t: &Transcript| Tally::of(&h.row.said, t).errors as i64;
            Difference {
                words: h.row.said.len(),
                errors: errors(&h.shipped) - errors(r),
            }
        };
        let differences = both().map(differ).collect();
        (!tallies.is_empty()).then_some((tallies, differences))
    }

    /// Rows in which nobody speaks, and in how many of them words were heard.
    fn silent(&self) -> (usize, usize) {
        let silent = self.heard.iter().filter(|h| h.row.said.is_empty());
        let invented = silent.clone().filter(|h| h.shipped.words().is_some());
        (silent.count(), invented.count())
    }

    fn count(&self, is: impl Fn(&Transcript) -> bool) -> usize {
        self.heard.iter().filter(|h| is(&h.shipped)).count()
    }

    fn cut(&self, why: Cut) -> usize {
        self.count(|t| t.cut == Some(why))
    }

    fn compute_ms(&self) -> f64 {
        let total: f64 = self.heard.iter().map(|h| h.shipped.spent).sum();
        total / self.heard.len().max(1) as f64
    }

    /// One JSON object on one line.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let labels: Map<String, Value> = self
            .labels()
            .into_iter()
            .map(|(label, of)| (label, metrics_json(&of)))
            .collect();
        let (silent, invented) = self.silent();
        let skipped = self.table.skipped.total();
        let mut report = json!({
            "task": super::TASK,
            "bundle": self.bundle.name(),
            "data": self.data,
            "n": self.spoken().count(),
            "skipped": skipped,
            "metrics": metrics_json(&self.shipped().1),
            "labels": labels,
            "without_words": { "n": silent, "heard": invented },
            "doubtful": self.count(|t| t.verdict == Verdict::Doubtful),
            "cut": { "repeated": self.cut(Cut::Repeated), "too_long": self.cut(Cut::TooLong) },
            "skipped_reasons": self.table.skipped.told("row"),
            "compute_ms": round4(self.compute_ms()),
        });
        if let Some((tallies, differences)) = self.reference() {
            let (sum, ends) = difference(&differences);
            report["reference"] = json!({
                "metrics": metrics_json(&tallies),
                "difference": { "wer": round4(sum), "ci95": ends.map(round4) },
            });
        }
        writeln!(out, "{report}")?;
        out.flush()
    }

    /// Tables for a person.
    pub fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let spoken = self.spoken().count();
        let words: usize = self.spoken().map(|h| h.row.said.len()).sum();
        writeln!(
            out,
            "{} on {}: bundle {}, n = {spoken}, {words} words",
            super::TASK,
            self.data,
            self.bundle.name()
        )?;
        for told in self.table.skipped.told("row") {
            writeln!(out, "  left out: {told}")?;
        }
        if spoken > 0 {
            self.write_rates(out)?;
        }
        let (silent, invented) = self.silent();
        if silent > 0 {
            writeln!(
                out,
                "\nnobody speaks in {silent}: words were heard in {invented}"
            )?;
        }
        writeln!(
            out,
            "\ndoubtful {}; cut for repetition {}, for length {}; {:.1} ms an item",
            self.count(|t| t.verdict == Verdict::Doubtful),
            self.cut(Cut::Repeated),
            self.cut(Cut::TooLong),
            self.compute_ms()
        )?;
        out.flush()
    }

    fn write_rates(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "\n{:<24}{:>6}  {:<21}{:<21}no words heard [95%]",
            "", "n", "word errors [95%]", "exact [95%]"
        )?;
        let mut lines = vec![self.shipped()];
        lines.append(&mut self.labels());
        let reference = self.reference();
        if let Some((tallies, _)) = &reference {
            lines.push(("fp32 reference".into(), tallies.clone()));
        }
        for (name, tallies) in lines {
            let (sum, ends) = resampled(&tallies);
            let figures = figures_line(super::Tallied::figures(sum), ends);
            writeln!(out, "{name:<24}{:>6}  {figures}", sum.rows)?;
        }
        if let Some((_, differences)) = reference {
            let (sum, [low, high]) = difference(&differences);
            writeln!(
                out,
                "word errors, int8 - fp32: {sum:+.3} [{low:+.3}, {high:+.3}]"
            )?;
        }
        Ok(())
    }
}

fn difference(parts: &[Difference]) -> (f64, [f64; 2]) {
    let (sum, ends) = resampled(parts);
    (super::Tallied::figures(sum)[0], ends[0])
}

fn metrics_json(tallies: &[Tally]) -> Value {
    let (sum, ends) = resampled(tallies);
    let mut object = figures_json(&FIGURES, super::Tallied::figures(sum), ends);
    object.insert("n".into(), json!(sum.rows));
    object.insert("words".into(), json!(sum.words));
    Value::Object(object)
}
