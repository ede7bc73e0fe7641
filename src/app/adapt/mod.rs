//! `demeanor adapt`: heads that learn a place, its people and their own classes.
//!
//! The trunks stay as they are. A table of labelled items gives their rows, and each head that
//! answers is replaced by itself and a linear map of the mean rows, if that is better by more
//! than chance. What comes out is a bundle like any other.

mod choose;
mod lessons;
mod logistic;
mod make;
mod report;

use crate::Error;
use crate::app::eval::{LabelMap, file_name};
use crate::model::Bundle;
use crate::model::manifest::Manifest;
use crate::session::studied;
use lessons::{Lesson, Lessons};
use report::{Comparison, Outcome, Report};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What to adapt, and to what.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Name of the task.
    pub task: String,
    /// The labelled table.
    pub data: PathBuf,
    /// Where the bundle is put.
    pub out: PathBuf,
    /// Bundle folder to start from; the embedded one when `None`.
    pub models: Option<PathBuf>,
    /// The classes, in small letters; those of the table when `None`.
    pub classes: Option<Vec<String>>,
    /// Renames labels before they are looked up.
    pub map: LabelMap,
    /// Finds the face first, instead of taking the whole image for one.
    pub detect: bool,
    /// Copies the trunks too, so that the bundle needs no other.
    pub whole: bool,
    /// Writes what is no better, too.
    pub force: bool,
    /// Workers.
    pub threads: usize,
    /// One JSON object instead of a table.
    pub json: bool,
}

impl Options {
    /// `task` on the table `data`, into `out`; everything else as it is without options.
    pub fn new(task: &str, data: PathBuf, out: PathBuf) -> Options {
        Options {
            task: task.into(),
            data,
            out,
            models: None,
            classes: None,
            map: LabelMap::default(),
            detect: false,
            whole: false,
            force: false,
            threads: 1,
            json: false,
        }
    }
}

/// Whether somebody wants it to end: nothing half done is left behind.
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    fn new() -> Stop {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&asked)) {
                log::warn!("signals end it at once: {error}");
            }
        }
        Stop(asked)
    }

    fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), Error> {
        match self.is_asked() {
            true => Err(Error::Unfit("interrupted; nothing was written".into())),
            false => Ok(()),
        }
    }
}

/// Adapts, measures, prints, and writes what is better. `Ok(false)` when nothing is.
///
/// # Errors
/// A table, bundle or place that cannot be used; too little to learn from.
pub fn adapt(options: &Options, out: &mut impl Write) -> Result<bool, Error> {
    let stop = Stop::new();
    free(options)?;
    let source = Bundle::find(&options.task, options.models.as_deref())?;
    fits(options, &source.manifest)?;
    let lessons = lessons::learn(options, &source, &stop)?;
    let mut outcomes = Vec::new();
    for lesson in &lessons.lessons {
        stop.check()?;
        outcomes.push((lesson, outcome(lesson, &lessons)));
    }
    if let Some(why) = nothing(options, &lessons, &outcomes) {
        return Err(Error::Unfit(why));
    }
    let better = outcomes.iter().any(|(_, outcome)| is_better(outcome));
    if better && !options.force {
        for (lesson, outcome) in &mut outcomes {
            if matches!(outcome, Outcome::Adapted(..)) && !is_better(outcome) {
                let name = &lesson.head.name;
                log::warn!(
                    "{name} is no better than before by more than chance: it stays as it is"
                );
            }
        }
    }
    let mut written = None;
    if better || options.force {
        let kept: Vec<(&Lesson, Outcome)> = outcomes
            .iter()
            .filter(|(_, outcome)| options.force || is_better(outcome))
            .map(|(lesson, outcome)| (*lesson, outcome.clone()))
            .collect();
        let made = make::make(options, &source, &lessons, &kept)?;
        made.write(&options.out, &stop)?;
        written = Some((made.bundle.name(), options.out.display().to_string()));
    }
    let report = Report {
        task: &options.task,
        data: file_name(&options.data),
        lessons: &lessons,
        outcomes: &outcomes,
        written,
    };
    let printed = match options.json {
        true => report.write_json(out),
        false => report.write_table(out),
    };
    printed.map_err(Error::Output)?;
    Ok(report.written.is_some())
}

fn outcome(lesson: &Lesson, lessons: &Lessons) -> Outcome {
    match lessons.lacks(lesson) {
        Some(why) => Outcome::Untaught(why),
        None => {
            let adapted = choose::adapt(&lesson.items);
            let comparison = Comparison::of(lesson, &adapted, &lessons.classes);
            Outcome::Adapted(Box::new(comparison), adapted)
        }
    }
}

fn is_better(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Adapted(comparison, _) if comparison.is_better())
}

/// Why no head at all could be taught: what the one lacks that has the most items.
fn nothing(
    options: &Options,
    lessons: &Lessons,
    outcomes: &[(&Lesson, Outcome)],
) -> Option<String> {
    let data = options.data.display();
    if outcomes
        .iter()
        .any(|(_, o)| matches!(o, Outcome::Adapted(..)))
    {
        return None;
    }
    if lessons.table.is_empty() && lessons.skipped.is_empty() {
        return Some(format!(
            "{data}: holds no row; put a labelled item on each line"
        ));
    }
    let most = outcomes.iter().max_by_key(|(lesson, _)| lesson.rows.len());
    Some(match most {
        Some((_, Outcome::Untaught(why))) => format!("{data}: {why}"),
        _ => {
            let skipped: usize = lessons.skipped.values().sum();
            let reasons: Vec<&str> = lessons.skipped.keys().map(String::as_str).collect();
            format!(
                "{data}: no row can be learnt from ({skipped} were left out: {}); record them again, or see the messages above",
                reasons.join(", ")
            )
        }
    })
}

/// The place of the new bundle is free.
fn free(options: &Options) -> Result<(), Error> {
    let out = &options.out;
    let taken = match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => out.exists(),
    };
    match taken {
        true => Err(Error::Unfit(format!(
            "{}: is there already; name a folder that is not, or remove it",
            out.display()
        ))),
        false => Ok(()),
    }
}

/// Refuses a task that has no head to adapt.
fn fits(options: &Options, manifest: &Manifest) -> Result<(), Error> {
    if !manifest.heads.iter().any(studied) {
        return Err(Error::Unfit(format!(
            "task `{}` cannot be adapted: none of its heads tells classes apart by a trunk's rows",
            options.task
        )));
    }
    if options.detect && manifest.face.is_none() {
        let what = format!("--detect does nothing for --task {}", options.task);
        return Err(Error::Usage(what));
    }
    Ok(())
}
