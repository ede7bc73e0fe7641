//! What adapting gave: figures before and after, on items that the heads had not seen.

use super::choose::Adapted;
use super::lessons::{Classes, Lesson, Lessons};
use crate::app::eval::metrics::{
    Confusion, RESAMPLES, SEED, SplitMix, from_confusion, middle, round4,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Fewer groups than this are not resampled; their items are.
const GROUPS: usize = 8;
/// Figures that are told, as `eval` calls them, in its order.
const FIGURES: [(&str, &str); 3] = [
    ("accuracy", "Acc [95%]"),
    ("ua", "UA [95%]"),
    ("macro_f1", "macro F1 [95%]"),
];
/// The one that decides: mean recall of the classes.
const UA: usize = 1;

/// A figure and its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Told {
    pub value: f64,
    pub ends: [f64; 2],
}

/// A head before and after.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    pub n: usize,
    /// In the order of [`FIGURES`].
    pub before: [Told; 3],
    pub after: [Told; 3],
    /// UA after less UA before, item by item.
    pub gain: Told,
    /// Whether whole groups were resampled.
    pub by_group: bool,
}

impl Comparison {
    /// Of what the shipped head said, and what heads said that had not seen the item's group.
    pub fn of(lesson: &Lesson, adapted: &Adapted, classes: &Classes) -> Comparison {
        let items = &lesson.items;
        let k = items.classes;
        let n = items.class.len();
        let mut draws: BTreeMap<usize, [Confusion; 2]> = BTreeMap::new();
        let groups: std::collections::BTreeSet<usize> = items.group.iter().copied().collect();
        let by_group = groups.len() >= GROUPS;
        let usual = usual(&items.counts(&(0..n).collect::<Vec<_>>()));
        for item in 0..n {
            let before = match classes.known() {
                0 => usual,
                _ => most(items.prior(item), |class| classes.knows(class)),
            };
            let after = most(&adapted.unseen[item], |_| true);
            let unit = if by_group { items.group[item] } else { item };
            let [b, a] = draws
                .entry(unit)
                .or_insert_with(|| [vec![vec![0; k]; k], vec![vec![0; k]; k]]);
            b[items.class[item]][before] += 1;
            a[items.class[item]][after] += 1;
        }
        let units: Vec<[Confusion; 2]> = draws.into_values().collect();
        let sum = |chosen: &mut dyn Iterator<Item = usize>| {
            let mut total = [vec![vec![0; k]; k], vec![vec![0; k]; k]];
            for unit in chosen {
                for (total, part) in total.iter_mut().zip(&units[unit]) {
                    let cells = total.iter_mut().flatten().zip(part.iter().flatten());
                    cells.for_each(|(a, b)| *a += b);
                }
            }
            total.map(|counts| from_confusion(&counts))
        };
        let [before, after] = sum(&mut (0..units.len()));
        let mut random = SplitMix(SEED);
        let mut drawn: [[Vec<f64>; 3]; 2] = Default::default();
        let mut gains = Vec::with_capacity(RESAMPLES);
        for _ in 0..RESAMPLES {
            let mut chosen = (0..units.len()).map(|_| random.below(units.len()));
            let figures = sum(&mut chosen);
            for (drawn, figures) in drawn.iter_mut().zip(figures) {
                for (drawn, figure) in drawn.iter_mut().zip(figures) {
                    drawn.push(figure);
                }
            }
            gains.push(figures[1][UA] - figures[0][UA]);
        }
        let [drawn_before, drawn_after] = drawn;
        let told = |values: [f64; 7], drawn: [Vec<f64>; 3]| {
            let mut values = values.into_iter();
            drawn.map(|draws| Told {
                value: values.next().unwrap_or(0.0),
                ends: middle(draws),
            })
        };
        Comparison {
            n,
            gain: Told {
                value: after[UA] - before[UA],
                ends: middle(gains),
            },
            before: told(before, drawn_before),
            after: told(after, drawn_after),
            by_group,
        }
    }

    /// Whether the gain is more than chance: its whole interval lies above nothing.
    pub fn is_better(&self) -> bool {
        self.gain.ends[0] > 0.0
    }

    /// The mean recall before and after.
    pub fn ua(&self) -> [Told; 2] {
        [self.before[UA], self.after[UA]]
    }
}

impl Classes {
    fn knows(&self, class: usize) -> bool {
        match &self.places {
            None => true,
            Some(places) => places[class].is_some(),
        }
    }
}

/// The class of the most items.
fn usual(counts: &[usize]) -> usize {
    let most = counts.iter().max();
    counts.iter().position(|n| Some(n) == most).unwrap_or(0)
}

/// The likeliest of the classes that are allowed, the first of equals.
fn most(values: &[f64], allowed: impl Fn(usize) -> bool) -> usize {
    let mut best = None;
    for (class, value) in values
        .iter()
        .enumerate()
        .filter(|(class, _)| allowed(*class))
    {
        if best.is_none_or(|(_, most)| *value > most) {
            best = Some((class, *value));
        }
    }
    best.map_or(0, |(class, _)| class)
}

/// What became of a head.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// Another stands in its place.
    Adapted(Box<Comparison>, Adapted),
    /// It could not be taught, for this reason.
    Untaught(String),
}

/// What the whole command gave.
pub(super) struct Report<'a> {
    pub task: &'a str,
    pub data: String,
    pub lessons: &'a Lessons,
    pub outcomes: &'a [(&'a Lesson, Outcome)],
    /// The bundle that was written, by its name, and where.
    pub written: Option<(String, String)>,
}

impl Report<'_> {
    /// For people.
    pub fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let lessons = self.lessons;
        let groups = match lessons.grouped_by {
            Some(column) => format!("{} groups (column {column})", lessons.groups),
            None => "no groups".into(),
        };
        writeln!(
            out,
            "adapt {}: {}, {} items, {groups}, classes {}",
            self.task,
            self.data,
            lessons.used,
            lessons.classes.names.join(", ")
        )?;
        if lessons.grouped_by.is_none() {
            writeln!(
                out,
                "  every row counts as independent: name who or where in a column `group`, or the \
                 figures are too kind"
            )?;
        }
        if !lessons.skipped.is_empty() {
            let told = lessons
                .skipped
                .iter()
                .map(|(why, n)| format!("\"{why}\" {n}"));
            let told: Vec<String> = told.collect();
            let count: usize = lessons.skipped.values().sum();
            writeln!(out, "  skipped {count} rows: {}", told.join(", "))?;
        }
        for (lesson, outcome) in self.outcomes {
            writeln!(out)?;
            match outcome {
                Outcome::Untaught(why) => {
                    writeln!(out, "{}: stays as it is; {why}", lesson.head.name)?;
                }
                Outcome::Adapted(comparison, adapted) => {
                    write_comparison(&lesson.head.name, comparison, adapted, lessons, out)?;
                }
            }
        }
        writeln!(out)?;
        match &self.written {
            Some((name, place)) => writeln!(
                out,
                "written: {name} in {place}; `--models {place}` runs it"
            )?,
            None => writeln!(
                out,
                "nothing written: no head is better than before by more than chance; record more, \
                 or of more people, or write it all the same with --force"
            )?,
        }
        out.flush()
    }

    /// One object.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let heads = self.outcomes.iter().map(|(lesson, outcome)| match outcome {
            Outcome::Untaught(why) => json!({ "name": lesson.head.name, "untaught": why }),
            Outcome::Adapted(comparison, adapted) => {
                let mut head = Map::new();
                head.insert("name".into(), json!(lesson.head.name));
                head.insert("n".into(), json!(comparison.n));
                head.insert("before".into(), figures(&comparison.before));
                head.insert("after".into(), figures(&comparison.after));
                let gain = &comparison.gain;
                head.insert(
                    "gain".into(),
                    json!({ "ua": round4(gain.value), "ci95": gain.ends.map(round4) }),
                );
                head.insert("better".into(), json!(comparison.is_better()));
                head.insert("strength".into(), json!(adapted.choice.strength));
                head.insert("keep".into(), json!(round4(adapted.head.keep)));
                head.insert(
                    "temperature".into(),
                    json!(round4(adapted.choice.temperature)),
                );
                Value::Object(head)
            }
        });
        let lessons = self.lessons;
        let object = json!({
            "task": self.task,
            "data": self.data,
            "items": lessons.used,
            "groups": lessons.grouped_by.map(|_| lessons.groups),
            "labels": lessons.classes.names,
            "skipped": lessons.skipped,
            "heads": heads.collect::<Vec<_>>(),
            "bundle": self.written.as_ref().map(|(name, _)| name),
        });
        writeln!(out, "{object}")?;
        out.flush()
    }
}

fn figures(told: &[Told; 3]) -> Value {
    let mut object = Map::new();
    let mut ends = Map::new();
    for ((key, _), told) in FIGURES.iter().zip(told) {
        object.insert((*key).into(), json!(round4(told.value)));
        ends.insert((*key).into(), json!(told.ends.map(round4)));
    }
    object.insert("ci95".into(), Value::Object(ends));
    Value::Object(object)
}

fn write_comparison(
    name: &str,
    comparison: &Comparison,
    adapted: &Adapted,
    lessons: &Lessons,
    out: &mut impl Write,
) -> io::Result<()> {
    write!(out, "{:<32} {:>5}", name, "n")?;
    for (_, heading) in FIGURES {
        write!(out, "  {heading:<21}")?;
    }
    writeln!(out)?;
    let known = lessons.classes.known();
    let before = match known {
        0 => "the commonest class".to_owned(),
        _ if known < lessons.classes.names.len() => format!("as shipped ({known} classes)"),
        _ => "as shipped".to_owned(),
    };
    for (line, told) in [
        (before.as_str(), &comparison.before),
        ("adapted", &comparison.after),
    ] {
        write!(out, "  {line:<30} {:>5}", comparison.n)?;
        for told in told {
            write!(out, "  {:<21}", interval(told))?;
        }
        writeln!(out)?;
    }
    let better = match comparison.is_better() {
        true => "more than chance",
        false => "no more than chance",
    };
    writeln!(out, "  UA gained {}: {better}", interval(&comparison.gain))?;
    let pull = match adapted.choice.strength {
        None => "the shipped head as it is".to_owned(),
        Some(strength) => format!(
            "pull towards the shipped head {strength}, {:.2} of its logits kept",
            adapted.head.keep
        ),
    };
    writeln!(
        out,
        "  {pull}, temperature {:.2}",
        adapted.choice.temperature
    )
}

/// `0.512 [0.470, 0.551]`
pub(super) fn interval(told: &Told) -> String {
    let [low, high] = told.ends;
    format!("{:.3} [{low:.3}, {high:.3}]", told.value)
}
