//! What a table teaches: its classes, its groups, and for each head the rows beneath its answers.

use super::logistic::Items;
use super::{Options, Stop};
use crate::Error;
use crate::app::eval::item::Columns;
use crate::app::eval::judge::{Material, Unjudged};
use crate::app::eval::table::{Labels, Row, Table, each_row};
use crate::app::eval::workers;
use crate::model::manifest::{Head, Manifest, Read, Trunk};
use crate::model::{Bundle, adapted};
use crate::session::{
    self, FaceSearch, Observation, ROWS, Scene, Session, Studied, Tasks, studied,
};
use std::collections::{BTreeMap, BTreeSet};

/// Items that a class must have: fewer could be read back from the weights, and teach nothing.
pub(super) const LEAST: usize = 10;
/// A recording whose loudest sample is below this holds nothing: -70 dB.
const SILENT: f32 = 3e-4;

/// The classes of the new heads.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Classes {
    /// In the order of the logits.
    pub names: Vec<String>,
    /// The place of each among the shipped ones; `None`: these are the shipped ones.
    pub places: Option<Vec<Option<usize>>>,
}

impl Classes {
    /// Those that are asked for, or that the table has: the shipped ones if it has no other.
    ///
    /// # Errors
    /// Fewer than two classes.
    fn of(options: &Options, manifest: &Manifest) -> Result<Classes, Error> {
        let shipped = &manifest.labels;
        let wanted = match &options.classes {
            Some(classes) => classes.clone(),
            None => found(options, manifest)?,
        };
        let set: BTreeSet<&String> = wanted.iter().collect();
        if set.len() < 2 {
            let only = wanted.first().map_or("no label", String::as_str);
            return Err(Error::Unfit(format!(
                "{}: there is one class only (`{only}`); a head needs two at least to tell apart",
                options.data.display()
            )));
        }
        let is_shipped = match &options.classes {
            Some(_) => set == shipped.iter().collect(),
            None => set.iter().all(|name| shipped.contains(name)),
        };
        if is_shipped {
            return Ok(Classes {
                names: shipped.clone(),
                places: None,
            });
        }
        let known = shipped.iter().filter(|name| set.contains(name));
        let new = set.iter().filter(|name| !shipped.contains(name));
        let names: Vec<String> = known.chain(new.copied()).cloned().collect();
        let place = |name: &String| shipped.iter().position(|s| s == name);
        Ok(Classes {
            places: Some(names.iter().map(place).collect()),
            names,
        })
    }

    /// How many of them the shipped heads know.
    pub fn known(&self) -> usize {
        match &self.places {
            None => self.names.len(),
            Some(places) => places.iter().flatten().count(),
        }
    }

    /// What the shipped head says of them: its calibrated logits, 0 for a class that it does not
    /// know, about the mean of all where there is such a class.
    fn prior(&self, logits: &[f32], temperature: f32) -> Vec<f64> {
        let logits: Vec<f64> = logits.iter().map(|l| f64::from(l / temperature)).collect();
        let Some(places) = &self.places else {
            return logits;
        };
        let mean = logits.iter().sum::<f64>() / logits.len().max(1) as f64;
        let of = |place: &Option<usize>| place.map_or(0.0, |at| logits[at] - mean);
        places.iter().map(of).collect()
    }
}

/// The labels of the table, renamed; the shipped ones of a table of votes.
fn found(options: &Options, manifest: &Manifest) -> Result<Vec<String>, Error> {
    let columns = Columns::of(manifest);
    let mut labels = BTreeSet::new();
    let mut has_labels = false;
    each_row(
        &options.data,
        |header| columns.check(header),
        |cells, _| {
            let label = cells.ok().and_then(|cells| cells.text("label"));
            has_labels |= label.is_some();
            labels.extend(label.map(|label| options.map.apply(&label)));
        },
    )?;
    match has_labels {
        true => Ok(labels.into_iter().collect()),
        false => Ok(manifest.labels.clone()),
    }
}

/// A head, and what the table teaches it.
#[derive(Debug, Clone)]
pub(super) struct Lesson {
    /// The head that is there.
    pub head: Head,
    /// Outputs of trunks whose mean rows it rests on, with their widths.
    pub parts: Vec<(Read, usize)>,
    /// The rows.
    pub items: Items,
    /// Which rows of the table these are.
    pub rows: Vec<usize>,
}

/// All that the table teaches.
pub(super) struct Lessons {
    pub classes: Classes,
    pub lessons: Vec<Lesson>,
    /// Rows of the table that could be used.
    pub used: usize,
    pub groups: usize,
    /// The column that the groups are of; `None`: each row stands for itself.
    pub grouped_by: Option<&'static str>,
    /// Rows that were left out, by label or reason.
    pub skipped: BTreeMap<String, usize>,
    /// The table.
    pub table: Vec<Row>,
}

/// Reads the table, and what the trunks make of its rows.
///
/// # Errors
/// A table or bundle that cannot be used; nothing that can be learnt from it, in a sentence.
pub(super) fn learn(options: &Options, bundle: &Bundle, stop: &Stop) -> Result<Lessons, Error> {
    let manifest = &bundle.manifest;
    let classes = Classes::of(options, manifest)?;
    let mut asked = manifest.clone();
    asked.labels.clone_from(&classes.names);
    let columns = Columns::of(&asked);
    let labels = Labels {
        names: &classes.names,
        map: &options.map,
    };
    let table = Table::read(&options.data, &columns, labels)?;
    let (grouped_by, groups) = groups(&table.rows);
    let mut lessons = Lessons {
        classes,
        lessons: Vec::new(),
        used: 0,
        groups: 0,
        grouped_by,
        skipped: table.skipped,
        table: table.rows,
    };
    let answers = study_all(options, bundle, &lessons.table, stop)?;
    stop.check()?;
    let mut used = BTreeSet::new();
    for (row, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(found) if found.is_empty() => {
                *lessons
                    .skipped
                    .entry("no input that a head reads".into())
                    .or_insert(0) += 1;
            }
            Ok(found) => {
                lessons.used += 1;
                used.insert(groups[row]);
                for studied in found {
                    lessons.add(manifest, row, groups[row], studied);
                }
            }
            Err(reason) => {
                log::warn!("{}: {reason}", lessons.table[row].id);
                let why = match &reason {
                    Unjudged::Empty(why) => why,
                    other => other.reason(),
                };
                *lessons.skipped.entry(why.into()).or_insert(0) += 1;
            }
        }
    }
    lessons.groups = used.len();
    Ok(lessons)
}

impl Lessons {
    fn add(&mut self, manifest: &Manifest, row: usize, group: usize, studied: Studied) {
        let Some(head) = manifest.head(&studied.head) else {
            return;
        };
        let at = self.lessons.iter().position(|l| l.head.name == head.name);
        let at = at.unwrap_or_else(|| {
            let parts = studied
                .parts
                .iter()
                .map(|(read, x)| (read.clone(), x.len()));
            let parts: Vec<(Read, usize)> = parts.collect();
            self.lessons.push(Lesson {
                head: head.clone(),
                items: Items {
                    width: parts.iter().map(|(_, width)| width).sum(),
                    classes: self.classes.names.len(),
                    ..Items::default()
                },
                parts,
                rows: Vec::new(),
            });
            self.lessons.len() - 1
        });
        let prior = self.classes.prior(&studied.logits, head.temperature);
        let lesson = &mut self.lessons[at];
        let items = &mut lesson.items;
        items.prior.extend(prior);
        items.rows.extend(studied.parts.iter().flat_map(|(_, x)| x));
        items.class.push(self.table[row].truth.class);
        items.group.push(group);
        lesson.rows.push(row);
    }

    /// Why a head cannot learn from these items.
    pub fn lacks(&self, lesson: &Lesson) -> Option<String> {
        let items = &lesson.items;
        let all: Vec<usize> = (0..items.class.len()).collect();
        let counts = items.counts(&all);
        let present = counts.iter().filter(|n| **n > 0).count();
        let needed = |n: usize| n > 0 || self.classes.places.is_some();
        for (class, count) in counts.iter().enumerate().filter(|(_, n)| needed(**n)) {
            let name = &self.classes.names[class];
            if *count < LEAST {
                let items = if *count == 1 { "item" } else { "items" };
                return Some(format!(
                    "class `{name}` has {count} {items}, and at least {LEAST} of each class are \
                     needed; record more, rename it with --map, or leave it out with --classes"
                ));
            }
            let of = all.iter().filter(|i| items.class[**i] == class);
            let groups: BTreeSet<usize> = of.map(|i| items.group[*i]).collect();
            if groups.len() < 2 {
                let column = self.grouped_by.unwrap_or("group");
                return Some(format!(
                    "class `{name}` stands in one {column} only, so that nobody could tell \
                     whether the class was learnt or the {column}; record it in two at least"
                ));
            }
        }
        (present < 2).then(|| {
            "all usable items are of one class; a head needs two at least to tell apart".into()
        })
    }
}

/// The column that says what belongs together, and a number for each row.
fn groups(rows: &[Row]) -> (Option<&'static str>, Vec<usize>) {
    let named = |of: fn(&Row) -> &Option<String>| rows.iter().any(|r| of(r).is_some());
    let (column, of): (_, fn(&Row) -> &Option<String>) = if named(|r| &r.group) {
        ("group", |r| &r.group)
    } else if named(|r| &r.speaker) {
        ("speaker", |r| &r.speaker)
    } else {
        return (None, (0..rows.len()).collect());
    };
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let of_row = rows.iter().map(|row| {
        let name = of(row).as_deref().unwrap_or_default();
        let next = numbers.len();
        *numbers.entry(name).or_insert(next)
    });
    (Some(column), of_row.collect())
}

type Study = Result<Vec<Studied>, Unjudged>;

/// What the heads make of every row.
fn study_all(
    options: &Options,
    bundle: &Bundle,
    rows: &[Row],
    stop: &Stop,
) -> Result<Vec<Study>, Error> {
    let opened = opened(bundle)?;
    let load = || session(options, &opened);
    let study = |session: &mut Session, at: usize| -> Study {
        if stop.is_asked() {
            return Ok(Vec::new());
        }
        let material = material(&rows[at])?;
        session.restart();
        for utterance in &rows[at].item.history {
            session.remember(utterance);
        }
        let observed = observation(&rows[at], &material);
        session
            .study(&options.task, &observed)
            .map_err(Unjudged::Model)
    };
    workers::spread(rows.len(), Some(options.threads), load, study)
}

/// A session that answers the task of a bundle about every item.
pub(super) fn session(options: &Options, bundle: &Bundle) -> Result<Session, Error> {
    Session::of(
        vec![bundle.clone()],
        session::Options {
            tasks: Some(Tasks::parse(&options.task).map_err(Error::Usage)?),
            forget: 1e9,
            all_sounds: true,
            every_head: true,
            faces: match options.detect {
                true => FaceSearch::Find,
                false => FaceSearch::Whole,
            },
            ..session::Options::default()
        },
    )
}

/// What a row's files hold.
///
/// # Errors
/// A file that cannot be read; a recording of nothing.
pub(super) fn material(row: &Row) -> Result<Material, Unjudged> {
    let material = Material::read(&row.item)?;
    let silent = |samples: &[f32]| samples.iter().all(|x| x.abs() < SILENT);
    match &material.utterance {
        Some(utterance) if silent(&utterance.samples) => {
            Err(Unjudged::Empty("the recording is silent"))
        }
        _ => Ok(material),
    }
}

pub(super) fn observation<'a>(row: &'a Row, material: &'a Material) -> Observation<'a> {
    Observation {
        source: "",
        at: None,
        utterance: material.utterance.as_ref(),
        words: row.item.text.as_deref(),
        scene: material.image.as_ref().map(|image| Scene {
            source: "",
            image,
            decode: None,
        }),
        seen: &row.item.seen,
        is_partial: false,
    }
}

/// The bundle with heads that read faces opened, so that they give the rows beneath their logits.
fn opened(bundle: &Bundle) -> Result<Bundle, Error> {
    let mut made = Vec::new();
    for head in bundle.manifest.heads.iter().filter(|h| studied(h)) {
        if let (Some(file), Trunk::Face) = (&head.file, head.reads[0].trunk) {
            let shipped = bundle.bytes(file).unwrap_or_default();
            let onnx = adapted::with_rows(shipped, ROWS)
                .map_err(|what| Error::Unfit(format!("the file {file} {what}")))?;
            made.push((file.clone(), onnx));
        }
    }
    Ok(bundle.derive(bundle.manifest.clone(), made)?)
}
