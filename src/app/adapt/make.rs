//! The adapted bundle: its manifest, files and card, written aside and put in place whole.

use super::choose::Adapted;
use super::lessons::{Classes, Lesson, Lessons, material, observation, session};
use super::logistic::log_softmax;
use super::report::{Comparison, Outcome, Told, interval};
use super::{Options, Stop};
use crate::Error;
use crate::app::eval::file_name;
use crate::app::eval::metrics::round4;
use crate::model::adapted::{self, Linear, Prior, Rows};
use crate::model::manifest::{Data, File, Manifest, Metric, Precision, Trunk};
use crate::model::{Bundle, Origin, bundles, sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Items on which a written head must say what the fitted one says.
const CHECKED: usize = 16;
/// How far its probabilities may be off on average: what rounding to 8 bits may cost.
const OFF: f64 = 0.05;

/// A bundle in memory, with its card.
pub(super) struct Made {
    pub bundle: Bundle,
    card: String,
}

/// Makes the bundle of those heads that were adapted.
///
/// # Errors
/// A shipped file that cannot be built upon; a head that came out another than it was fitted.
pub(super) fn make(
    options: &Options,
    source: &Bundle,
    lessons: &Lessons,
    outcomes: &[(&Lesson, Outcome)],
) -> Result<Made, Error> {
    let classes = &lessons.classes;
    let mut manifest = source.manifest.clone();
    let mut made = Vec::new();
    let mut taught = Vec::new();
    for (lesson, outcome) in outcomes {
        let Outcome::Adapted(comparison, adapted) = outcome else {
            continue;
        };
        let (name, onnx) = file(source, lesson, adapted, classes)?;
        let Some(head) = manifest
            .heads
            .iter_mut()
            .find(|h| h.name == lesson.head.name)
        else {
            continue;
        };
        head.file = Some(name.clone());
        head.temperature = adapted.choice.temperature as f32;
        // what it was before had been chosen for other answers
        head.threshold = None;
        if !builds_upon(lesson, classes) {
            head.reads.clear();
        }
        for (read, _) in &lesson.parts {
            if !head.reads.contains(read) && read.trunk != Trunk::Face {
                head.reads.push(read.clone());
            }
        }
        manifest.files.push(File {
            name: name.clone(),
            bundle: None,
            precision: precision(source, lesson),
            sha256: sha256(&onnx),
        });
        made.push((name, onnx));
        taught.push((*lesson, comparison.as_ref(), adapted));
    }
    about(&mut manifest, options, source, lessons, &taught);
    let card = card(&manifest, options, source, lessons, &taught);
    let bundle = source.derive(manifest, made)?;
    check(options, &bundle, lessons, &taught)?;
    Ok(Made { bundle, card })
}

type Taught<'a> = (&'a Lesson, &'a Comparison, &'a Adapted);

/// The new file of a head, and its name.
fn file(
    source: &Bundle,
    lesson: &Lesson,
    adapted: &Adapted,
    classes: &Classes,
) -> Result<(String, Vec<u8>), Error> {
    let items = &lesson.items;
    let mut weights = vec![0.0; items.width * items.classes];
    for class in 0..items.classes {
        for k in 0..items.width {
            let weight = adapted.head.weights[class * items.width + k];
            weights[k * items.classes + class] = weight as f32;
        }
    }
    let share = adapted.head.keep / f64::from(lesson.head.temperature);
    let linear = Linear {
        weights,
        bias: adapted.head.bias.iter().map(|b| *b as f32).collect(),
        centre: items.centre().iter().map(|x| *x as f32).collect(),
        prior: (classes.known() > 0).then(|| Prior {
            share: share as f32,
            places: classes.places.clone(),
        }),
        int8: precision(source, lesson) == Precision::Int8,
    };
    let face = is_face(lesson);
    let shipped = lesson.head.file.as_ref().and_then(|f| source.bytes(f));
    let shipped = shipped.filter(|_| builds_upon(lesson, classes));
    let input = |(read, width): &(crate::model::manifest::Read, usize)| Rows {
        input: match lesson.head.reads.iter().position(|r| r == read) {
            Some(at) if shipped.is_some() => Ok(at),
            _ => Err(read.output.clone()),
        },
        width: *width,
    };
    let rows: Vec<Rows> = match face {
        true => Vec::new(),
        false => lesson.parts.iter().map(input).collect(),
    };
    let onnx = adapted::head(shipped, &rows, &linear).map_err(|what| {
        let name = lesson.head.file.as_deref().unwrap_or(&lesson.head.name);
        Error::Unfit(format!("the file {name} {what}"))
    })?;
    let name: String = lesson
        .head
        .name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    Ok((format!("adapted-{name}.onnx"), onnx))
}

/// Whether the shipped head is a part of the new one: where it knows a class, and where the rows
/// come from within it.
fn builds_upon(lesson: &Lesson, classes: &Classes) -> bool {
    classes.known() > 0 || is_face(lesson)
}

fn is_face(lesson: &Lesson) -> bool {
    lesson.head.reads[0].trunk == Trunk::Face
}

/// What the products of an adapted head are computed in: as its shipped file's.
fn precision(source: &Bundle, lesson: &Lesson) -> Precision {
    let file = lesson
        .head
        .file
        .as_ref()
        .and_then(|f| source.manifest.file(f));
    file.map_or(Precision::F32, |f| f.precision)
}

/// Everything of the manifest that is another than the source's.
fn about(
    manifest: &mut Manifest,
    options: &Options,
    source: &Bundle,
    lessons: &Lessons,
    taught: &[Taught<'_>],
) {
    let classes = &lessons.classes;
    let data = file_name(&options.data);
    let is_taught = |name: &str| taught.iter().any(|(lesson, _, _)| lesson.head.name == name);
    let same = classes.places.is_none();
    manifest
        .heads
        .retain(|h| !h.ablation && (is_taught(&h.name) || same || !h.answers()));
    let left: Vec<String> = manifest.heads.iter().map(|h| h.name.clone()).collect();
    manifest
        .heads
        .retain(|h| h.of.iter().all(|name| left.contains(name)));
    // a gate before nothing would have its trunk run for nothing
    let answering = manifest.heads.iter().filter(|h| h.answers());
    let read: BTreeSet<Trunk> = answering.flat_map(|h| manifest.trunks(h)).collect();
    manifest
        .heads
        .retain(|h| h.answers() || h.reads.iter().all(|r| read.contains(&r.trunk)));
    // what a shipped head explains are its own classes
    if !same {
        manifest.heads.iter_mut().for_each(|h| h.explain.clear());
        manifest.late = None;
        manifest.labels.clone_from(&classes.names);
    }
    for trunk in Trunk::ALL {
        if !manifest.reads(trunk) {
            match trunk {
                Trunk::Speech => manifest.speech = None,
                Trunk::Text => manifest.text = None,
                Trunk::Image => manifest.image = None,
                Trunk::Seen => manifest.seen = None,
                Trunk::Face => manifest.face = None,
                Trunk::Beside => {}
            }
        }
    }
    let used = used(manifest);
    manifest.files.retain(|f| used.contains(&f.name));
    if source.origin == Origin::Embedded && !options.whole {
        for file in manifest.files.iter_mut() {
            let known = source.manifest.file(&file.name);
            if known.is_some_and(|k| k.sha256 == file.sha256) && file.bundle.is_none() {
                file.bundle = Some(source.manifest.id.clone());
            }
        }
    } else if options.whole {
        manifest.files.iter_mut().for_each(|f| f.bundle = None);
    }
    let made = manifest
        .files
        .iter()
        .filter(|f| f.name.starts_with("adapted-"));
    let digest: Vec<&str> = made.map(|f| &f.sha256[..8]).collect();
    manifest.version = format!("{}+{}", source.manifest.version, digest.join("."));
    manifest.id = format!("{}-adapted", source.manifest.id);
    manifest.summary = format!(
        "{}, adapted from {} on {data}: {} items{}",
        manifest.task,
        source.name(),
        lessons.used,
        match lessons.grouped_by {
            Some(_) => format!(" of {} groups", lessons.groups),
            None => String::new(),
        }
    );
    manifest.eval.published = None;
    manifest.metrics = taught
        .iter()
        .flat_map(|(lesson, comparison, _)| {
            let [before, after] = comparison.ua();
            let metric = |what: &str, told: Told| Metric {
                name: "ua".into(),
                on: format!("{data}, {}, cross-validated: {what}", lesson.head.name),
                value: round4(told.value),
                ci95: told.ends.map(round4),
                n: comparison.n,
            };
            [metric("before", before), metric("adapted", after)]
        })
        .collect();
    manifest.data.push(Data {
        name: format!("{data} ({} items; {})", lessons.used, names(taught)),
        licence: "as its owner says".into(),
    });
}

fn names(taught: &[Taught<'_>]) -> String {
    let names: Vec<&str> = taught
        .iter()
        .map(|(l, _, _)| l.head.name.as_str())
        .collect();
    names.join(", ")
}

/// Files that sections and heads name.
fn used(manifest: &Manifest) -> Vec<String> {
    let mut used = Vec::new();
    used.extend(manifest.speech.iter().map(|s| s.file.clone()));
    used.extend(
        manifest
            .text
            .iter()
            .flat_map(|t| [t.file.clone(), t.vocab.clone()]),
    );
    used.extend(manifest.image.iter().map(|i| i.file.clone()));
    used.extend(manifest.face.iter().map(|f| f.file.clone()));
    if let Some(seen) = &manifest.seen {
        used.extend([seen.file.clone(), seen.labels.clone()]);
        used.extend(seen.rows.clone());
    }
    for head in &manifest.heads {
        used.extend(head.file.iter().chain(&head.bank).cloned());
    }
    used
}

/// The written head says what the fitted one says: on a few items, by the whole way from file to
/// answer.
fn check(
    options: &Options,
    bundle: &Bundle,
    lessons: &Lessons,
    taught: &[Taught<'_>],
) -> Result<(), Error> {
    let mut session = session(options, bundle)?;
    for (lesson, _, adapted) in taught {
        let count = lesson.rows.len();
        let (mut off, mut compared) = (0.0, 0);
        for item in (0..count).step_by((count / CHECKED).max(1)) {
            let row = &lessons.table[lesson.rows[item]];
            let Ok(material) = material(row) else {
                continue;
            };
            session.restart();
            row.item.history.iter().for_each(|h| session.remember(h));
            let events = session.observe(&observation(row, &material))?;
            let Some(event) = events.into_iter().next() else {
                continue;
            };
            let heads = &event.evidence.heads;
            let told = heads.iter().find(|(name, _)| *name == lesson.head.name);
            let told: Vec<f32> = match told {
                Some((_, scores)) => scores.clone(),
                None => event.scores.iter().map(|(_, p)| *p).collect(),
            };
            let mut wanted = adapted.head.logits(&lesson.items, item);
            wanted
                .iter_mut()
                .for_each(|l| *l /= adapted.choice.temperature);
            log_softmax(&mut wanted, 0);
            let apart = told
                .iter()
                .zip(&wanted)
                .map(|(a, b)| (f64::from(*a) - b).abs());
            off += apart.fold(0.0, f64::max);
            compared += 1;
        }
        log::info!(
            "{}: written and fitted head differ by {:.4} on average",
            lesson.head.name,
            off / f64::from(compared.max(1))
        );
        if off > OFF * f64::from(compared) {
            return Err(Error::Unfit(format!(
                "the adapted head `{}` answers otherwise than it was fitted (by {:.2} on average); \
                 nothing was written, report this",
                lesson.head.name,
                off / f64::from(compared.max(1))
            )));
        }
    }
    Ok(())
}

fn card(
    manifest: &Manifest,
    options: &Options,
    source: &Bundle,
    lessons: &Lessons,
    taught: &[Taught<'_>],
) -> String {
    let mut card = String::new();
    let _ = writeln!(card, "# {} {}\n", manifest.id, manifest.version);
    let _ = writeln!(
        card,
        "Made by `demeanor adapt` from {} and {}: {} items{}.\n",
        source.name(),
        file_name(&options.data),
        lessons.used,
        match lessons.grouped_by {
            Some(column) => format!(" of {} groups (column `{column}`)", lessons.groups),
            None => ", each taken for independent of the others".into(),
        }
    );
    let _ = writeln!(
        card,
        "The trunks are those of {}, unchanged. Adapted heads are its own with a linear map of the \
         mean rows added to their logits. How strongly the map was held back, and the temperature, \
         were chosen by cross-validation over groups; the figures come from an outer \
         cross-validation, so that no head judged a group that it had learnt from. Brackets are 95% \
         bootstrap intervals over {}.\n",
        source.name(),
        match taught.first() {
            Some((_, comparison, _)) if comparison.by_group => "groups",
            _ => "items",
        }
    );
    card.push_str("| head | n | UA before | UA adapted | gained |\n|---|---|---|---|---|\n");
    for (lesson, comparison, _) in taught {
        let [before, after] = comparison.ua();
        let _ = writeln!(
            card,
            "| {} | {} | {} | {} | {} |",
            lesson.head.name,
            comparison.n,
            interval(&before),
            interval(&after),
            interval(&comparison.gain)
        );
    }
    let before = match lessons.classes.known() {
        0 => "Before is the commonest class: the shipped heads know none of these.",
        n if n < lessons.classes.names.len() => {
            "Before is the shipped head, which does not know all of these classes."
        }
        _ => "Before is the shipped head.",
    };
    let _ = writeln!(card, "\n{before}\n\n## Items");
    if let Some((lesson, _, _)) = taught.iter().max_by_key(|(l, _, _)| l.rows.len()) {
        let all: Vec<usize> = (0..lesson.rows.len()).collect();
        let counts = lesson.items.counts(&all);
        for (name, count) in lessons.classes.names.iter().zip(counts) {
            let _ = writeln!(card, "- {name}: {count}");
        }
    }
    let _ = writeln!(
        card,
        "\nThe bundle holds weights alone, learnt from at least ten items a class: no recording, \
         picture, word or row of any item.\n\n## Terms\n{}; the adapted heads: as the owner of {} \
         says.",
        source.manifest.licence,
        file_name(&options.data)
    );
    card
}

impl Made {
    /// Puts the bundle at `out`, whole or not at all.
    ///
    /// # Errors
    /// A place that is taken or cannot be written; a wish to stop.
    pub fn write(&self, out: &Path, stop: &Stop) -> Result<(), Error> {
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let parent = match out.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let aside = parent.join(format!(".{name}.partial"));
        let written = self.write_aside(&aside, stop).and_then(|()| {
            fs::rename(&aside, out).map_err(|source| failed(out, source))?;
            // so that a loss of power after this does not undo it
            let folder = fs::File::open(&parent).and_then(|f| f.sync_all());
            folder.map_err(|source| failed(&parent, source))
        });
        if written.is_err() {
            // what cannot be removed either is told by the error that is given
            let _ = fs::remove_dir_all(&aside);
        }
        written
    }

    fn write_aside(&self, aside: &Path, stop: &Stop) -> Result<(), Error> {
        if aside.exists() {
            fs::remove_dir_all(aside).map_err(|source| failed(aside, source))?;
        }
        fs::create_dir_all(aside).map_err(|source| failed(aside, source))?;
        let manifest = self.bundle.manifest.to_toml();
        let text = [
            ("manifest.toml", manifest.as_bytes()),
            ("CARD.md", self.card.as_bytes()),
        ];
        let own = self.bundle.own_files();
        let own = own.map(|f| {
            (
                f.name.as_str(),
                self.bundle.bytes(&f.name).unwrap_or_default(),
            )
        });
        for (name, bytes) in own.chain(text) {
            stop.check()?;
            let path = aside.join(name);
            let mut file = fs::File::create(&path).map_err(|source| failed(&path, source))?;
            let done = file.write_all(bytes).and_then(|()| file.sync_all());
            done.map_err(|source| failed(&path, source))?;
        }
        // what was written is what will be read
        bundles(Some(aside))?;
        stop.check()
    }
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::File {
        path: path.into(),
        doing: "written",
        source,
    }
}
