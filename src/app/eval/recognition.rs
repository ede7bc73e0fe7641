//! Word error rate of a recogniser, on a table of recordings and what is said in them.

mod report;
mod words;

use super::counts::Counts;
use super::judge::{Unjudged, sound};
use super::metrics::Tallied;
use super::table::{Cells, Header, each_row};
use super::{Options, file_name, workers};
use crate::Error;
use crate::model::{Bundle, ModelError, bundles};
use crate::session::{Recogniser, Transcript, Verdict};
use report::Report;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What `--task` says; the bundle is no task of a session.
pub(super) const TASK: &str = "recognition";

/// A recording, and what is said in it: nothing where nobody speaks.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    line: u64,
    audio: PathBuf,
    said: Vec<String>,
    label: Option<String>,
}

/// What a table holds.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<Row>,
    /// Why rows were left out.
    skipped: Counts,
}

impl Table {
    /// Reads `id,audio,text` and perhaps `label`.
    fn read(path: &Path) -> Result<Table, Error> {
        let check = |header: &Header| match ["audio", "text"].iter().find(|c| !header.has(c)) {
            Some(column) => Err(format!(
                "has no column `{column}`; the first line must name id,audio,text"
            )),
            None => Ok(()),
        };
        let mut table = Table::default();
        each_row(path, check, |cells, line| match cells {
            Ok(cells) => table.take(cells, line),
            Err(reason) => table.skipped.add(reason, line),
        })?;
        Ok(table)
    }

    fn take(&mut self, cells: &Cells<'_>, line: u64) {
        match cells.path("audio") {
            Some(audio) => self.rows.push(Row {
                line,
                audio,
                said: words::of(&cells.text("text").unwrap_or_default()),
                label: cells.text("label"),
            }),
            None => self.skipped.add("there is no recording", line),
        }
    }
}

/// What was heard of a row, by the bundle and by its reference.
struct Heard {
    row: Row,
    shipped: Transcript,
    reference: Option<Transcript>,
}

/// Sums over rows in which somebody speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Tally {
    rows: usize,
    words: usize,
    errors: usize,
    exact: usize,
    none: usize,
}

impl Tally {
    fn of(said: &[String], heard: &Transcript) -> Tally {
        let errors = words::distance(said, &words::of(&heard.text));
        Tally {
            rows: 1,
            words: said.len(),
            errors,
            exact: usize::from(errors == 0),
            none: usize::from(matches!(
                heard.verdict,
                Verdict::NoWords | Verdict::NoSpeech
            )),
        }
    }
}

impl Tallied for Tally {
    fn add(&mut self, other: Tally) {
        self.rows += other.rows;
        self.words += other.words;
        self.errors += other.errors;
        self.exact += other.exact;
        self.none += other.none;
    }

    /// Word error rate, share of sentences without an error, share in which no word was heard.
    fn figures(self) -> [f64; 3] {
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        [
            share(self.errors, self.words),
            share(self.exact, self.rows),
            share(self.none, self.rows),
        ]
    }
}

/// The same rows by two recognisers.
#[derive(Debug, Clone, Copy, Default)]
struct Difference {
    words: usize,
    errors: i64,
}

impl Tallied for Difference {
    fn add(&mut self, other: Difference) {
        self.words += other.words;
        self.errors += other.errors;
    }

    /// The difference of word error rates; two figures are nothing.
    fn figures(self) -> [f64; 3] {
        [self.errors as f64 / self.words.max(1) as f64, 0.0, 0.0]
    }
}

/// Evaluates and prints. `Ok(false)` when the table held nothing that could be judged.
///
/// # Errors
/// A table, bundle or output that cannot be used.
pub(super) fn eval(options: &Options, out: &mut impl Write) -> Result<bool, Error> {
    fits(options)?;
    let shipped = bundle(options.models.as_deref())?;
    let reference = match &options.reference {
        Some(dir) => Some(bundle(Some(dir))?),
        None => None,
    };
    let mut table = Table::read(&options.data)?;
    let rows = std::mem::take(&mut table.rows);
    let load = || {
        let reference = reference.as_ref().map(|b| Recogniser::load(b, 1));
        Ok((Recogniser::load(&shipped, 1)?, reference.transpose()?))
    };
    let judge = |(ours, theirs): &mut (Recogniser, Option<Recogniser>), at: usize| {
        let samples = sound(&rows[at].audio)?.samples;
        let failed = |e: ModelError| Unjudged::Model(e.into());
        let heard = ours.transcribe(&samples).map_err(failed)?;
        let beside = theirs.as_mut().map(|r| r.transcribe(&samples));
        Ok((heard, beside.transpose().map_err(failed)?))
    };
    let answers: Vec<Result<_, Unjudged>> =
        workers::spread(rows.len(), options.threads, load, judge)?;
    let mut heard = Vec::new();
    for (row, answer) in rows.into_iter().zip(answers) {
        match answer {
            Ok((shipped, reference)) => heard.push(Heard {
                row,
                shipped,
                reference,
            }),
            Err(reason) => {
                log::warn!("{}: {reason}", row.audio.display());
                let what = format!("could not be judged ({})", reason.reason());
                table.skipped.add(what, row.line);
            }
        }
    }
    let report = Report {
        bundle: &shipped,
        data: file_name(&options.data),
        table: &table,
        heard: &heard,
    };
    let printed = match options.json {
        true => report.write_json(out),
        false => report.write_table(out),
    };
    printed.map_err(Error::Output)?;
    Ok(!heard.is_empty())
}

/// The recogniser in a folder; none is built in.
fn bundle(dir: Option<&Path>) -> Result<Bundle, Error> {
    let found = bundles(dir)?;
    let found = found.into_iter().find(|b| b.manifest.transcript.is_some());
    found.ok_or_else(|| ModelError::missing(TASK, dir).into())
}

/// Refuses an option that would be passed over.
fn fits(options: &Options) -> Result<(), Error> {
    let plain = Options {
        models: options.models.clone(),
        reference: options.reference.clone(),
        json: options.json,
        threads: options.threads,
        ..Options::new(TASK, options.data.clone())
    };
    match *options == plain {
        true => Ok(()),
        false => Err(Error::Usage(
            "--task recognition takes --data, --models, --reference, --threads and --json alone"
                .into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::resampled;
    use super::*;

    fn heard(text: &str) -> Transcript {
        Transcript {
            text: text.into(),
            verdict: match text.is_empty() {
                true => Verdict::NoWords,
                false => Verdict::Words,
            },
            ..Transcript::default()
        }
    }

    #[test]
    fn the_rate_is_of_words_not_of_sentences() {
        let tally = |said: &str, text: &str| Tally::of(&words::of(said), &heard(text));
        let parts = [
            tally(
                "Kids are talking by the door.",
                "kids are talking, by the door",
            ),
            tally("Dogs sit.", "Frogs sit down."),
            tally("Yes.", ""),
        ];
        let (sum, ends) = resampled(&parts);
        // one other word and one more of eight, and one that is missing
        let [rate, exact, none] = sum.figures();
        assert!((rate - 3.0 / 9.0).abs() < 1e-9, "{rate}");
        assert!((exact - 1.0 / 3.0).abs() < 1e-9 && (none - 1.0 / 3.0).abs() < 1e-9);
        assert!(ends[0][0] <= rate && rate <= ends[0][1]);
    }
}
