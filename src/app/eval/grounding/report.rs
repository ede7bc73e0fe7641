//! The evaluation of boxes as a table for people and as one JSON object.

use super::super::metrics::{Tallied, figures_json, figures_line, resampled, round4};
use super::{Phrase, Phrases, Pointed, Prediction, Sides, Tally, iou};
use crate::model::Bundle;
use crate::session::Place;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

const FIGURES: [&str; 3] = ["a50", "a75", "miou"];

/// Everything a report is made of.
pub(super) struct Report<'a> {
    pub bundle: &'a Bundle,
    pub data: String,
    pub phrases: &'a Phrases,
    pub items: &'a [(Pointed, Prediction)],
}

/// Phrases that are pointed at, as the head's own threshold decides.
#[derive(Default)]
struct Absence {
    /// Phrases with a box, and how many of them are pointed at.
    boxed: usize,
    pointed: usize,
    /// Phrases without, and how many of them are left alone.
    without: usize,
    left: usize,
}

/// What a phrase gets.
type Found = Option<Place>;

impl Report<'_> {
    /// Whether any phrase has a box to find.
    pub fn judges(&self) -> bool {
        self.shipped(|_| true).iter().any(|t| t.n > 0)
    }

    /// A tally a picture, of those phrases with a box that are `wanted`.
    fn tallies(
        &self,
        wanted: impl Fn(&Phrase) -> bool,
        place: impl Fn(&Phrase, &Found) -> Option<Sides>,
    ) -> Vec<Tally> {
        let of = |(pointed, verdict): &(Pointed, Prediction)| {
            let mut tally = Tally::default();
            for (phrase, found) in pointed.phrases.iter().zip(&verdict.found) {
                if let Some(truth) = phrase.truth.filter(|_| wanted(phrase)) {
                    tally.push(place(phrase, found).map_or(0.0, |found| iou(found, truth)));
                }
            }
            tally
        };
        self.items.iter().map(of).collect()
    }

    fn shipped(&self, wanted: impl Fn(&Phrase) -> bool) -> Vec<Tally> {
        self.tallies(wanted, |_, found| found.map(|place| place.sides))
    }

    /// The mean box of each kind of phrase in this very table.
    fn means(&self) -> BTreeMap<&str, Sides> {
        let mut sums: BTreeMap<&str, (f32, Sides)> = BTreeMap::new();
        for phrase in self.items.iter().flat_map(|(pointed, _)| &pointed.phrases) {
            if let Some(truth) = phrase.truth {
                let (count, sum) = sums.entry(&phrase.kind).or_default();
                *count += 1.0;
                sum.iter_mut().zip(truth).for_each(|(s, x)| *s += x);
            }
        }
        let mean = |(kind, (count, sum)): (_, (f32, Sides))| (kind, sum.map(|s| s / count));
        sums.into_iter().map(mean).collect()
    }

    /// Answers that need no model.
    fn trivial(&self) -> [(&'static str, Vec<Tally>); 2] {
        let means = self.means();
        let mean = |phrase: &Phrase| means.get(phrase.kind.as_str()).copied();
        [
            (
                "the whole picture",
                self.tallies(|_| true, |_, _| Some([0.0, 0.0, 1.0, 1.0])),
            ),
            (
                "mean box of the kind, from this table",
                self.tallies(|_| true, |phrase, _| mean(phrase)),
            ),
        ]
    }

    fn kinds(&self) -> Vec<&str> {
        let phrases = self.items.iter().flat_map(|(pointed, _)| &pointed.phrases);
        let named = phrases.filter(|p| p.truth.is_some() && !p.kind.is_empty());
        let mut kinds: Vec<&str> = named.map(|p| p.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    fn absence(&self) -> Absence {
        let heads = self.bundle.manifest.heads.iter();
        let threshold = heads
            .filter(|h| h.kind == "boxes")
            .find_map(|h| h.threshold);
        let threshold = threshold.unwrap_or(0.5);
        let mut absence = Absence::default();
        for (pointed, verdict) in self.items {
            for (phrase, found) in pointed.phrases.iter().zip(&verdict.found) {
                let points = usize::from(found.is_some_and(|place| place.score >= threshold));
                match phrase.truth {
                    Some(_) => {
                        absence.boxed += 1;
                        absence.pointed += points;
                    }
                    None => {
                        absence.without += 1;
                        absence.left += 1 - points;
                    }
                }
            }
        }
        absence
    }

    fn compute_ms(&self) -> f64 {
        let total: f64 = self.items.iter().map(|(_, v)| v.millis).sum();
        total / self.items.len().max(1) as f64
    }

    /// One JSON object on one line.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let kinds = self.kinds().into_iter();
        let kinds: Map<String, Value> = kinds
            .map(|kind| {
                let of = self.shipped(|p| p.kind == kind);
                (kind.to_owned(), metrics_json(&of))
            })
            .collect();
        let row =
            |(name, of): (&str, Vec<Tally>)| json!({ "name": name, "metrics": metrics_json(&of) });
        let absence = self.absence();
        let report = json!({
            "task": super::TASK,
            "bundle": self.bundle.name(),
            "data": self.data,
            "pictures": self.items.len(),
            "n": absence.boxed,
            "skipped": self.phrases.skipped.total(),
            "metrics": metrics_json(&self.shipped(|_| true)),
            "kinds": kinds,
            "rows": self.trivial().into_iter().map(row).collect::<Vec<Value>>(),
            "absence": {
                "with_box": absence.boxed,
                "pointed_at": absence.pointed,
                "without_box": absence.without,
                "left_alone": absence.left,
            },
            "skipped_reasons": self.phrases.skipped.told("phrase"),
            "compute_ms": round4(self.compute_ms()),
        });
        writeln!(out, "{report}")?;
        out.flush()
    }

    /// Tables for a person.
    pub fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let absence = self.absence();
        writeln!(
            out,
            "{} on {}: bundle {}, n = {}, in {} pictures",
            super::TASK,
            self.data,
            self.bundle.name(),
            absence.boxed,
            self.items.len()
        )?;
        for reason in self.phrases.skipped.told("phrase") {
            writeln!(out, "skipped, {reason}")?;
        }
        if absence.boxed == 0 {
            return writeln!(out, "nothing to judge: no phrase has a box and its picture");
        }
        writeln!(
            out,
            "\n{:<40}{:>6}  {:<21}{:<21}mean IoU [95%]",
            "", "n", "A@0.5 [95%]", "A@0.75 [95%]"
        )?;
        write_line(out, "the bundle", &self.shipped(|_| true))?;
        for (name, of) in self.trivial() {
            write_line(out, name, &of)?;
        }
        writeln!(out)?;
        for kind in self.kinds() {
            write_line(out, kind, &self.shipped(|p| p.kind == kind))?;
        }
        writeln!(
            out,
            "\npointed at: {} of {} phrases with a box; left alone: {} of {} without",
            absence.pointed, absence.boxed, absence.left, absence.without
        )?;
        writeln!(out, "compute per picture: {:.2} ms", self.compute_ms())?;
        out.flush()
    }
}

fn metrics_json(pictures: &[Tally]) -> Value {
    let (sum, ends) = resampled(pictures);
    let mut object = figures_json(&FIGURES, sum.figures(), ends);
    object.insert("n".into(), json!(sum.n));
    Value::Object(object)
}

fn write_line(out: &mut impl Write, name: &str, pictures: &[Tally]) -> io::Result<()> {
    let (sum, ends) = resampled(pictures);
    let told = figures_line(sum.figures(), ends);
    writeln!(out, "{name:<40}{:>6}  {told}", sum.n)
}
