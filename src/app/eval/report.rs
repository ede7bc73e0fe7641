//! The evaluation as a table for people and as one JSON object.

use super::Judged;
use super::judge::Prediction;
use super::metrics::{self, Figure, Item, round4};
use crate::event::Modality;
use crate::model::Bundle;
use crate::model::manifest::Published;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// How a task's report is laid out.
#[derive(Debug)]
pub(super) struct ReportLayout {
    /// Name of the line about what ships.
    pub shipped: String,
    /// Names of the other systems, in the order of the manifest.
    pub systems: Vec<String>,
    /// Figures of a line, from left to right.
    pub figures: Vec<Figure>,
    /// Figures of others on other items, to stand beside ours.
    pub published: Option<Published>,
}

impl ReportLayout {
    /// Which F1 a published one stands beside.
    fn f1(&self) -> Figure {
        match self.figures.contains(&Figure::F1) {
            true => Figure::F1,
            false => Figure::WeightedF1,
        }
    }
}

/// Everything a report is made of.
pub(super) struct Report<'a> {
    /// How the task lays it out.
    pub form: ReportLayout,
    /// What was examined.
    pub bundle: &'a Bundle,
    /// Name of the table.
    pub data: String,
    /// Name of the training table, if one was compared.
    pub train: Option<String>,
    /// Rows left out, by label or reason.
    pub skipped: &'a BTreeMap<String, usize>,
    /// Rows without an answer, by reason.
    pub failures: &'a BTreeMap<&'static str, usize>,
    /// Rows with an answer.
    pub judged: &'a [Judged],
}

/// A named set of judged items.
struct Line {
    name: String,
    items: Vec<Item>,
}

/// Some of the judged items.
type Part<'a> = Vec<&'a Judged>;

impl Report<'_> {
    fn classes(&self) -> usize {
        self.bundle.manifest.labels.len()
    }

    fn skipped(&self) -> usize {
        self.skipped.values().sum()
    }

    fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    fn all(&self) -> Part<'_> {
        self.judged.iter().collect()
    }

    /// The items that the training table does not hold, if there is one and it holds some.
    fn unknown(&self) -> Option<Part<'_>> {
        self.train.as_ref()?;
        Some(self.judged.iter().filter(|j| !j.known.any()).collect())
    }

    /// The paper's rows, int8 and (with a reference) fp32 beside it.
    fn lines(&self, part: &Part) -> Vec<Line> {
        let mut lines = Vec::new();
        for system in &self.form.systems {
            lines.push(line(part, system.clone(), |j| score(&j.shipped, system)));
            let fp32 = |j: &Judged| j.reference.as_ref().and_then(|r| score(r, system));
            lines.push(line(part, format!("{system} (fp32)"), fp32));
        }
        let all = |j: &Judged| j.reference.as_ref().map(|r| r.shipped.clone());
        lines.push(line(part, format!("{} (fp32)", self.form.shipped), all));
        lines.retain(|line| !line.items.is_empty());
        lines
    }

    fn unsure(&self) -> f64 {
        let unsure = self.judged.iter().filter(|j| j.shipped.unsure);
        unsure.count() as f64 / self.judged.len().max(1) as f64
    }

    /// UA of each speaker, lowest first.
    fn speakers(&self) -> Vec<(String, f64, usize)> {
        let mut by: BTreeMap<&str, Part> = BTreeMap::new();
        for judged in self.judged {
            if let Some(speaker) = &judged.speaker {
                by.entry(speaker).or_default().push(judged);
            }
        }
        let ua = |part: &Part| metrics::metrics(&shipped(part), self.classes()).ua;
        let mut speakers: Vec<_> = by
            .iter()
            .map(|(name, part)| ((*name).to_owned(), ua(part), part.len()))
            .collect();
        speakers.sort_by(|a, b| a.1.total_cmp(&b.1));
        speakers
    }

    /// How many answers rest on what.
    fn modalities(&self) -> BTreeMap<Modality, usize> {
        let mut counts = BTreeMap::new();
        for judged in self.judged {
            *counts.entry(judged.shipped.modality).or_insert(0) += 1;
        }
        counts
    }

    /// Compute per second of sound, over the items that have sound.
    fn real_time_factor(&self) -> Option<f64> {
        let with_sound = self.judged.iter().filter(|j| j.shipped.seconds > 0.0);
        let (sound, compute) = with_sound.fold((0.0, 0.0), |(sound, compute), j| {
            let v = &j.shipped;
            (sound + v.seconds, compute + v.millis / 1e3)
        });
        (sound > 0.0).then(|| compute / sound)
    }

    /// Mean compute of an answer, in milliseconds; decoding of files is not counted.
    fn compute_ms(&self) -> Option<f64> {
        let total: f64 = self.judged.iter().map(|j| j.shipped.millis).sum();
        (!self.judged.is_empty()).then(|| total / self.judged.len() as f64)
    }
}

/// JSON.
impl Report<'_> {
    /// One JSON object on one line.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let mut report = Map::new();
        let mut put = |key: &str, value: Value| report.insert(key.into(), value);
        put("task", json!(&self.bundle.manifest.task));
        put("bundle", json!(self.bundle.name()));
        put("data", json!(self.data));
        put("n", json!(self.judged.len()));
        put("skipped", json!(self.skipped()));
        put("failed", json!(self.failed()));
        put("labels", json!(self.bundle.manifest.labels));
        self.figures_json(&self.all(), &mut put);
        put("skipped_labels", json!(self.skipped));
        put("failed_reasons", json!(self.failures));
        let modalities = self.modalities().into_iter();
        let modalities: Map<String, Value> =
            modalities.map(|(m, n)| (m.name(), json!(n))).collect();
        put("modalities", Value::Object(modalities));
        put("unsure", json!(round4(self.unsure())));
        let speakers = self.speakers().into_iter();
        let speakers: Map<String, Value> = speakers
            .map(|(name, ua, n)| (name, json!({ "ua": round4(ua), "n": n })))
            .collect();
        put("speakers", Value::Object(speakers));
        put(
            "real_time_factor",
            json!(self.real_time_factor().map(round4)),
        );
        put("compute_ms", json!(self.compute_ms().map(round4)));
        if let (Some(train), Some(unknown)) = (&self.train, self.unknown()) {
            put("duplicates", self.duplicates_json(train));
            let mut rest = Map::new();
            rest.insert("n".into(), json!(unknown.len()));
            self.figures_json(&unknown, &mut |key, value| rest.insert(key.into(), value));
            put("without_duplicates", Value::Object(rest));
        }
        if let Some(published) = &self.form.published {
            put("published", published_json(published, self.form.f1()));
        }
        writeln!(out, "{}", Value::Object(report))?;
        out.flush()
    }

    /// `metrics`, `rows` and `confusion` of a part.
    fn figures_json(&self, part: &Part, put: &mut dyn FnMut(&str, Value) -> Option<Value>) {
        let (items, classes) = (shipped(part), self.classes());
        let row = |l: &Line| {
            json!({
                "name": l.name,
                "metrics": metrics::to_json(&l.items, classes),
                "confusion": metrics::confusion(&l.items, classes),
            })
        };
        let rows: Vec<Value> = self.lines(part).iter().map(row).collect();
        put("metrics", metrics::to_json(&items, classes));
        put("rows", json!(rows));
        put("confusion", json!(metrics::confusion(&items, classes)));
    }

    fn duplicates_json(&self, train: &str) -> Value {
        let [text, picture, either] = self.duplicates();
        json!({ "train": train, "text": text, "picture": picture, "either": either })
    }

    /// Items that recur in the training table: by text, by picture, by either.
    fn duplicates(&self) -> [usize; 3] {
        let known = || self.judged.iter().map(|j| j.known);
        [
            known().filter(|k| k.text).count(),
            known().filter(|k| k.picture).count(),
            known().filter(|k| k.any()).count(),
        ]
    }
}

/// Text.
impl Report<'_> {
    /// Tables for a person.
    pub fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let (task, name) = (&self.bundle.manifest.task, self.bundle.name());
        let n = self.judged.len();
        writeln!(out, "{task} on {}: bundle {name}, n = {n}", self.data)?;
        self.write_left_out(out)?;
        if self.judged.is_empty() {
            return writeln!(
                out,
                "nothing to judge: no row has a label of the head and an input"
            );
        }
        self.write_part(out, &self.all(), "")?;
        if let (Some(train), Some(unknown)) = (&self.train, self.unknown()) {
            self.write_unknown(out, train, &unknown)?;
        }
        if let Some(published) = &self.form.published {
            self.write_published(out, published)?;
        }
        self.write_tail(out)?;
        out.flush()
    }

    fn write_left_out(&self, out: &mut impl Write) -> io::Result<()> {
        if self.skipped() > 0 {
            let labels = counted(
                self.skipped
                    .iter()
                    .map(|(label, n)| (format!("{label:?}"), n)),
            );
            let n = self.skipped();
            writeln!(
                out,
                "skipped {n} rows without a class of the head: {labels}"
            )?;
        }
        if self.failed() > 0 {
            let reasons = counted(self.failures.iter());
            writeln!(
                out,
                "FAILED {} rows ({reasons}): no answer, not counted; RUST_LOG=warn lists them",
                self.failed()
            )?;
        }
        Ok(())
    }

    /// The lines and the confusion of a part, under `title`.
    fn write_part(&self, out: &mut impl Write, part: &Part, title: &str) -> io::Result<()> {
        let items = shipped(part);
        write!(out, "\n{title:<34}{:>6}  ", "n")?;
        for figure in &self.form.figures {
            write!(out, "{:<21}", figure.heading())?;
        }
        writeln!(out, "{:>7}", "ECE")?;
        self.write_line(out, &format!("{} (int8)", self.form.shipped), &items)?;
        for line in self.lines(part) {
            self.write_line(out, &line.name, &line.items)?;
        }
        self.write_confusion(out, &items)
    }

    fn write_line(&self, out: &mut impl Write, name: &str, items: &[Item]) -> io::Result<()> {
        let m = metrics::metrics(items, self.classes());
        let ends = metrics::intervals(items, self.classes());
        write!(out, "{name:<34}{:>6}  ", items.len())?;
        for figure in &self.form.figures {
            let (value, [low, high]) = (figure.of(&m), figure.interval(&ends));
            write!(out, "{:<21}", format!("{value:.3} [{low:.3}, {high:.3}]"))?;
        }
        writeln!(out, "{:>7.3}", m.ece)
    }

    fn write_confusion(&self, out: &mut impl Write, items: &[Item]) -> io::Result<()> {
        let labels = &self.bundle.manifest.labels;
        let width = labels.iter().map(|l| l.chars().count() + 2).max();
        let width = width.unwrap_or(0).max(9);
        write!(out, "\n{:<12}", "true \\ said")?;
        labels.iter().try_for_each(|l| write!(out, "{l:>width$}"))?;
        writeln!(out, "{:>9}", "recall")?;
        let rows = metrics::confusion(items, self.classes());
        for (at, (label, row)) in labels.iter().zip(rows).enumerate() {
            let total: usize = row.iter().sum();
            write!(out, "{label:<12}")?;
            row.iter().try_for_each(|n| write!(out, "{n:>width$}"))?;
            writeln!(out, "{:>9.3}", row[at] as f64 / total.max(1) as f64)?;
        }
        Ok(())
    }

    fn write_unknown(&self, out: &mut impl Write, train: &str, part: &Part) -> io::Result<()> {
        let [text, picture, either] = self.duplicates();
        writeln!(
            out,
            "\n{either} of {} items recur in {train} ({text} by their words, {picture} by their \
             pixels)",
            self.judged.len()
        )?;
        match (either, part.is_empty()) {
            (0, _) => Ok(()),
            (_, true) => writeln!(out, "nothing is left without them"),
            _ => self.write_part(out, part, "without them"),
        }
    }

    /// Others' figures in the same columns; a figure that they do not give is `-`.
    fn write_published(&self, out: &mut impl Write, published: &Published) -> io::Result<()> {
        writeln!(out, "\npublished, for orientation: {}", published.on)?;
        for (name, accuracy, f1) in &published.rows {
            let value = |figure: &Figure| match figure {
                Figure::Accuracy => format!("{:<21}", format!("{accuracy:.4}")),
                f if *f == self.form.f1() => format!("{:<21}", format!("{f1:.4}")),
                _ => format!("{:<21}", "-"),
            };
            let values: String = self.form.figures.iter().map(value).collect();
            writeln!(out, "{name:<34}{:>6}  {}", published.n, values.trim_end())?;
        }
        Ok(())
    }

    fn write_tail(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nunsure: {:.1}%", 100.0 * self.unsure())?;
        let modalities = self.modalities();
        if modalities.len() > 1 {
            let counts = counted(modalities.iter().map(|(m, n)| (m.name(), n)));
            writeln!(out, "answers by what they rest on: {counts}")?;
        }
        if let Some((cross, own)) = metrics::surprise(&shipped(&self.all())) {
            writeln!(
                out,
                "cross-entropy to the votes: {cross:.3} nats; that of the votes themselves is {own:.3}"
            )?;
        }
        self.write_speakers(out)?;
        match (self.real_time_factor(), self.compute_ms()) {
            (Some(factor), _) => writeln!(out, "compute per second of sound: {factor:.4} s"),
            (None, Some(ms)) => writeln!(out, "compute per item: {ms:.2} ms"),
            (None, None) => Ok(()),
        }
    }

    fn write_speakers(&self, out: &mut impl Write) -> io::Result<()> {
        let speakers = self.speakers();
        let (Some(worst), Some(best)) = (speakers.first(), speakers.last()) else {
            return Ok(());
        };
        writeln!(
            out,
            "UA by speaker ({}): worst {:.3} ({}), median {:.3}, best {:.3} ({})",
            speakers.len(),
            worst.1,
            worst.0,
            speakers[speakers.len() / 2].1,
            best.1,
            best.0
        )
    }
}

fn published_json(published: &Published, f1_of: Figure) -> Value {
    let row = |(name, accuracy, f1): &(String, f64, f64)| json!({ "name": name, "accuracy": accuracy, f1_of.key(): f1 });
    let rows: Vec<Value> = published.rows.iter().map(row).collect();
    json!({ "on": published.on, "n": published.n, "rows": rows })
}

/// `name count, name count`
fn counted<'a, N: std::fmt::Display>(counts: impl Iterator<Item = (N, &'a usize)>) -> String {
    let parts: Vec<String> = counts.map(|(name, n)| format!("{name} {n}")).collect();
    parts.join(", ")
}

fn item(judged: &Judged, scores: &[f32]) -> Item {
    Item {
        truth: judged.truth.class,
        votes: judged.truth.votes.clone(),
        scores: scores.to_vec(),
    }
}

/// What ships, on a part.
fn shipped(part: &Part) -> Vec<Item> {
    let items = part.iter().map(|j| item(j, &j.shipped.shipped));
    items.collect()
}

fn line(part: &Part, name: String, scores: impl Fn(&Judged) -> Option<Vec<f32>>) -> Line {
    let items = part
        .iter()
        .filter_map(|j| Some(item(j, &scores(j)?)))
        .collect();
    Line { name, items }
}

fn score(verdict: &Prediction, system: &str) -> Option<Vec<f32>> {
    let found = verdict.systems.iter().find(|(name, _)| name == system);
    found.map(|(_, scores)| scores.clone())
}
