//! `demeanor eval`: what a bundle is worth on a labelled table.

mod duplicates;
mod emotion;
mod exam;
mod expression;
mod fusion;
mod metrics;
mod report;
mod sentiment;
mod table;
mod workers;

pub use table::LabelMap;
#[doc(hidden)]
pub use table::count_rows;

use crate::Error;
use crate::capture::{CaptureError, limits};
use crate::model::Bundle;
use crate::model::manifest::Task;
use crate::vision::{self, Picture};
use duplicates::Overlap;
use exam::{Exam, Unjudged, Verdict};
use report::Report;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use table::{Labels, Row, Table, Truth};

/// What to evaluate.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is asked.
    pub task: Task,
    /// The labelled table.
    pub data: PathBuf,
    /// A table that shaped the weights: items that recur in it are told apart.
    pub train: Option<PathBuf>,
    /// Bundle folder; the embedded one when `None`.
    pub models: Option<PathBuf>,
    /// The recipe's fp32 bundle, to stand beside int8.
    pub reference: Option<PathBuf>,
    /// Renames labels before they are looked up.
    pub map: LabelMap,
    /// One JSON object instead of a table.
    pub json: bool,
    /// Leaves the history out, to show what it is worth (emotion).
    pub no_history: bool,
    /// A folder of heads, one an operator of the fusion catalogue, instead of the bundle's own
    /// (sentiment).
    pub fusion: Option<PathBuf>,
    /// Finds the face first, instead of taking the whole picture for one (expression).
    pub detect: bool,
    /// Workers; all cores when `None`.
    pub threads: Option<usize>,
}

impl Options {
    /// `task` on the table `data`, everything else as it is without options.
    pub fn new(task: Task, data: PathBuf) -> Options {
        Options {
            task,
            data,
            train: None,
            models: None,
            reference: None,
            map: LabelMap::default(),
            json: false,
            no_history: false,
            fusion: None,
            detect: false,
            threads: None,
        }
    }
}

/// One item, answered by the shipped bundle and perhaps the reference.
struct Judged {
    truth: Truth,
    speaker: Option<String>,
    /// What of it stands in the training table too.
    known: Overlap,
    shipped: Verdict,
    reference: Option<Verdict>,
}

/// Evaluates and prints. `Ok(false)` when the table held nothing that could be judged.
///
/// # Errors
/// A table, bundle or output that cannot be used.
pub fn eval(options: &Options, out: &mut impl Write) -> Result<bool, Error> {
    match options.task {
        Task::Emotion => examine::<emotion::EmotionExam>(options, out),
        Task::Sentiment if options.fusion.is_some() => examine::<fusion::FusionExam>(options, out),
        Task::Sentiment => examine::<sentiment::SentimentExam>(options, out),
        Task::Expression => examine::<expression::ExpressionExam>(options, out),
    }
}

fn examine<E: Exam>(options: &Options, out: &mut impl Write) -> Result<bool, Error> {
    let bundle = Bundle::find(options.task, options.models.as_deref())?;
    let reference = match &options.reference {
        Some(dir) => Some(Bundle::find(options.task, Some(dir))?),
        None => None,
    };
    let labels = Labels {
        names: &bundle.manifest.labels,
        map: &options.map,
    };
    let table = Table::read::<E>(&options.data, labels)?;
    let known = match &options.train {
        Some(train) => duplicates::find::<E>(&table.rows, train, options.threads)?,
        None => vec![Overlap::default(); table.rows.len()],
    };
    let answers = judge_all::<E>(options, &bundle, reference.as_ref(), &table.rows)?;
    let (mut judged, mut failures) = (Vec::new(), BTreeMap::new());
    for ((row, known), answer) in table.rows.into_iter().zip(known).zip(answers) {
        match answer {
            Ok((shipped, reference)) => judged.push(Judged {
                truth: row.truth,
                speaker: row.speaker,
                known,
                shipped,
                reference,
            }),
            Err(reason) => {
                log::warn!("{}: {reason}", row.id);
                *failures.entry(reason.reason()).or_insert(0) += 1;
            }
        }
    }
    let report = Report {
        form: &E::FORM,
        bundle: &bundle,
        data: file_name(&options.data),
        train: options.train.as_deref().map(file_name),
        skipped: &table.skipped,
        failures: &failures,
        judged: &judged,
    };
    let printed = if options.json {
        report.write_json(out)
    } else {
        report.write_table(out)
    };
    printed.map_err(Error::Output)?;
    Ok(!judged.is_empty())
}

type Answer = Result<(Verdict, Option<Verdict>), Unjudged>;

/// Spreads the rows over the workers; each has models of its own, and holds the sound or the
/// picture of one row at a time.
fn judge_all<E: Exam>(
    options: &Options,
    bundle: &Bundle,
    reference: Option<&Bundle>,
    rows: &[Row<E::Question>],
) -> Result<Vec<Answer>, Error> {
    let load = || {
        let reference = reference.map(|bundle| E::load(bundle, options));
        Ok((E::load(bundle, options)?, reference.transpose()?))
    };
    let judge = |(shipped, reference): &mut (E, Option<E>), at: usize| {
        let question = &rows[at].question;
        let material = E::read(question)?;
        let verdict = shipped.judge(question, &material)?;
        let beside = reference.as_mut().map(|r| r.judge(question, &material));
        Ok((verdict, beside.transpose()?))
    };
    Ok(workers::spread(rows.len(), options.threads, load, judge)?)
}

/// The picture in a file.
fn picture(path: &Path) -> Result<Picture, CaptureError> {
    let name = path.display().to_string();
    let failed = |source| CaptureError::Open {
        name: name.clone(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    // what is longer arrives cut and is refused as such
    let limit = limits::MAX_PICTURE_BYTES as u64;
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    vision::decode(&bytes, &name)
}

/// A table's name as reports carry it: no path of this machine.
fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
