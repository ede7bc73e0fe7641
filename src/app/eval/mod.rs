//! `demeanor eval`: what the shipped bundle is worth on a labelled table.

mod judge;
mod metrics;
mod report;
mod table;

pub use table::LabelMap;

use crate::Error;
use crate::model::manifest::Task;
use crate::model::{Bundle, ModelError};
use judge::{Judge, Unjudged, Verdict};
use report::Report;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use table::{Row, Table};

/// What to evaluate.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The labelled table.
    pub data: PathBuf,
    /// Bundle folder; the embedded one when `None`.
    pub models: Option<PathBuf>,
    /// The recipe's fp32 bundle, to stand beside int8.
    pub reference: Option<PathBuf>,
    /// Renames labels before they are looked up.
    pub map: LabelMap,
    /// One JSON object instead of a table.
    pub json: bool,
    /// Leaves the history out, to show what it is worth.
    pub no_history: bool,
    /// Workers; all cores when `None`.
    pub threads: Option<usize>,
}

/// One item, answered by the shipped bundle and perhaps the reference.
struct Judged {
    row: usize,
    seconds: f64,
    shipped: Verdict,
    reference: Option<Verdict>,
}

/// Evaluates and prints. `Ok(false)` when the table held nothing that could be judged.
///
/// # Errors
/// A table, bundle or output that cannot be used.
pub fn eval(options: &Options, out: &mut impl Write) -> Result<bool, Error> {
    let bundle = Bundle::find(Task::Emotion, options.models.as_deref())?;
    let reference = match &options.reference {
        Some(dir) => Some(Bundle::find(Task::Emotion, Some(dir))?),
        None => None,
    };
    let mut table = Table::read(&options.data, &bundle.manifest.labels, &options.map)?;
    if options.no_history {
        table.rows.iter_mut().for_each(|row| row.history.clear());
    }
    let (judged, failed) = judge_all(options, &bundle, reference.as_ref(), &table.rows)?;
    for (row, sentence) in &failed {
        log::warn!("{}: {sentence}", table.rows[*row].id);
    }
    let report = Report::new(&bundle, &options.data, &table, &judged, failed.len());
    let printed = if options.json {
        report.write_json(out)
    } else {
        report.write_table(out)
    };
    printed.map_err(Error::Output)?;
    Ok(!judged.is_empty())
}

type Failures = Vec<(usize, Unjudged)>;

/// Spreads the rows over the workers; each has models of its own, so none waits.
fn judge_all(
    options: &Options,
    bundle: &Bundle,
    reference: Option<&Bundle>,
    rows: &[Row],
) -> Result<(Vec<Judged>, Failures), Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = options.threads.unwrap_or(cores).clamp(1, rows.len().max(1));
    let (next, done) = (AtomicUsize::new(0), Mutex::new((Vec::new(), Vec::new())));
    let progress = Progress::new(rows.len());
    let work = || -> Result<(), ModelError> {
        let mut shipped = Judge::load(bundle)?;
        let mut reference = reference.map(Judge::load).transpose()?;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(row) = rows.get(index) else {
                return Ok(());
            };
            let judged = judge_row(&mut shipped, reference.as_mut(), row, index);
            let mut done = done.lock().unwrap_or_else(|e| e.into_inner());
            match judged {
                Ok(judged) => done.0.push(judged),
                Err(reason) => done.1.push((index, reason)),
            }
            progress.show(done.0.len() + done.1.len());
        }
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles
            .into_iter()
            .try_for_each(|h| h.join().unwrap_or(Ok(())))
    })?;
    progress.clear();
    let (mut judged, mut failed): (Vec<Judged>, Failures) =
        done.into_inner().unwrap_or_else(|e| e.into_inner());
    // in the table's order, whichever worker was faster
    judged.sort_by_key(|j| j.row);
    failed.sort_by_key(|f| f.0);
    Ok((judged, failed))
}

fn judge_row(
    shipped: &mut Judge,
    reference: Option<&mut Judge>,
    row: &Row,
    index: usize,
) -> Result<Judged, Unjudged> {
    let samples = row.audio.as_deref().map(judge::sound).transpose()?;
    let samples = samples.as_deref();
    Ok(Judged {
        row: index,
        seconds: samples.map_or(0.0, judge::seconds),
        shipped: shipped.judge(samples, row)?,
        reference: reference.map(|r| r.judge(samples, row)).transpose()?,
    })
}

/// One line on standard error, only where a person can see it.
struct Progress {
    total: usize,
    visible: bool,
}

impl Progress {
    fn new(total: usize) -> Progress {
        Progress {
            total,
            visible: std::io::stderr().is_terminal(),
        }
    }

    fn show(&self, done: usize) {
        if self.visible && (done.is_multiple_of(10) || done == self.total) {
            let filled = done * 30 / self.total.max(1);
            eprint!(
                "\r[{}{}] {done}/{}",
                "#".repeat(filled),
                ".".repeat(30 - filled),
                self.total
            );
        }
    }

    fn clear(&self) {
        if self.visible {
            eprint!("\r\x1b[K");
        }
    }
}

/// The table's name as reports carry it: no path of this machine.
fn data_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
