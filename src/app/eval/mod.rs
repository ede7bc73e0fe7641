//! `demeanor eval`: what a bundle is worth on a labelled table.

mod counts;
mod degrade;
mod duplicates;
mod entities;
mod grounding;
pub(super) mod item;
pub(super) mod judge;
pub(super) mod metrics;
mod recognition;
mod report;
pub(super) mod table;
pub(super) mod workers;

pub use degrade::Degrade;
pub use table::LabelMap;
#[doc(hidden)]
pub use table::count_rows;

use crate::Error;
use crate::capture::CaptureError;
use crate::model::manifest::{Manifest, Trunk};
use crate::model::{Bundle, ModelError, bundles};
use crate::vision::{self, Picture};
use degrade::Noise;
use duplicates::Overlap;
use item::Columns;
use judge::{CLEAR, Judge, Material, Prediction, Unjudged};
use metrics::Figure;
use report::{Report, ReportLayout};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use table::{Labels, Row, Table, Truth};

/// What to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Name of the task.
    pub task: String,
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
    /// Leaves the dialogue out, to show what it is worth.
    pub no_history: bool,
    /// A folder of heads, one an operator of the fusion catalogue, instead of the bundle's own:
    /// for tasks that read words and an image.
    pub fusion: Option<PathBuf>,
    /// Finds the face first, instead of taking the whole image for one.
    pub detect: bool,
    /// Worse copies of each item that are judged beside it.
    pub degrade: Vec<Degrade>,
    /// Where the pictures of texts lie that name none, `IMGID.jpg` each: for tasks that look for
    /// names.
    pub images: Option<PathBuf>,
    /// What others saw in pictures, instead of these: for tasks that look for names.
    pub picture_words: Option<PathBuf>,
    /// Recordings that are mixed in where `degrade` wants noise.
    pub noise: Vec<PathBuf>,
    /// A folder of memory banks instead of the bundle's own.
    pub bank: Option<PathBuf>,
    /// Workers; all cores when `None`.
    pub threads: Option<usize>,
}

impl Options {
    /// `task` on the table `data`, everything else as it is without options.
    pub fn new(task: &str, data: PathBuf) -> Options {
        Options {
            task: task.into(),
            data,
            train: None,
            models: None,
            reference: None,
            map: LabelMap::default(),
            json: false,
            no_history: false,
            fusion: None,
            detect: false,
            degrade: Vec::new(),
            images: None,
            picture_words: None,
            noise: Vec::new(),
            bank: None,
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
    shipped: Prediction,
    reference: Option<Prediction>,
}

/// Evaluates and prints. `Ok(false)` when the table held nothing that could be judged.
///
/// # Errors
/// A table, bundle or output that cannot be used.
pub fn eval(options: &Options, out: &mut impl Write) -> Result<bool, Error> {
    if options.task == grounding::TASK {
        return grounding::eval(options, out);
    }
    if options.task == recognition::TASK {
        return recognition::eval(options, out);
    }
    let found = found(&options.task, options.models.as_deref())?;
    let bundle = bundle(&options.task, &found)?;
    let manifest = &bundle.manifest;
    fits(options, manifest)?;
    if names(manifest) {
        return entities::eval(options, &found, bundle, out);
    }
    let reference = match &options.reference {
        Some(dir) => Some(self::found(&options.task, Some(dir))?),
        None => None,
    };
    let labels = Labels {
        names: &manifest.labels,
        map: &options.map,
    };
    let columns = Columns::of(manifest);
    let table = Table::read(&options.data, &columns, labels)?;
    let known = match &options.train {
        Some(train) => duplicates::find(&table.rows, train, &columns, options.threads)?,
        None => vec![Overlap::default(); table.rows.len()],
    };
    let answers = judge_all(options, &found, reference.as_deref(), &table.rows)?;
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
        form: form(options, manifest)?,
        bundle,
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

/// The bundles in a folder or in the binary; one of them answers the task.
fn found(task: &str, dir: Option<&Path>) -> Result<Vec<Bundle>, Error> {
    let found = bundles(dir)?;
    if !found.iter().any(|b| b.manifest.task == task) {
        return Err(ModelError::missing(task, dir).into());
    }
    Ok(found)
}

fn bundle<'a>(task: &str, found: &'a [Bundle]) -> Result<&'a Bundle, Error> {
    let bundle = found.iter().find(|b| b.manifest.task == task);
    bundle.ok_or_else(|| ModelError::missing(task, None).into())
}

/// Whether a task looks for names.
fn names(manifest: &Manifest) -> bool {
    let mut answering = manifest.heads.iter().filter(|h| h.answers());
    answering.any(|h| h.kind == "spans")
}

/// Refuses an option that the task would pass over.
fn fits(options: &Options, manifest: &Manifest) -> Result<(), Error> {
    let reads = |trunk| manifest.reads(trunk);
    let history = manifest.text.as_ref().map_or(0, |t| t.history);
    let both = reads(Trunk::Text) && reads(Trunk::Image);
    let images = reads(Trunk::Image) || reads(Trunk::Face);
    let asks = |which: fn(&Degrade) -> bool| options.degrade.iter().any(which);
    if asks(|d| !d.is_of_images()) && options.noise.is_empty() {
        let what = "--degrade snr needs --noise FILE, a recording that is mixed in";
        return Err(Error::Usage(what.into()));
    }
    let names = names(manifest);
    let misplaced = [
        ("--train", options.train.is_some() && (!images || names)),
        ("--fusion", options.fusion.is_some() && (!both || names)),
        ("--degrade", !options.degrade.is_empty() && names),
        ("--images", options.images.is_some() && !names),
        ("--picture-words", options.picture_words.is_some() && !names),
        ("--detect", options.detect && !reads(Trunk::Face)),
        (
            "--bank",
            options.bank.is_some() && !manifest.heads.iter().any(|h| h.bank.is_some()),
        ),
        ("--no-history", options.no_history && history == 0),
        (
            "--degrade dark and blur",
            asks(Degrade::is_of_images) && !images,
        ),
        (
            "--degrade snr",
            asks(|d| !d.is_of_images()) && !reads(Trunk::Speech),
        ),
        (
            "--noise",
            !options.noise.is_empty() && !asks(|d| !d.is_of_images()),
        ),
    ];
    match misplaced.into_iter().find(|(_, wrong)| *wrong) {
        Some((option, _)) => Err(Error::Usage(format!(
            "{option} does nothing for --task {}",
            manifest.task
        ))),
        None => Ok(()),
    }
}

/// How the report is laid out.
fn form(options: &Options, manifest: &Manifest) -> Result<ReportLayout, Error> {
    let mut figures = Vec::new();
    for name in &manifest.eval.figures {
        let figure = Figure::parse(name);
        figures.push(figure.ok_or_else(|| {
            Error::Usage(format!(
                "the manifest of {} wants the figure `{name}`; known are accuracy, ua, macro_f1, weighted_f1, precision, recall, f1",
                manifest.id
            ))
        })?);
    }
    if figures.is_empty() {
        figures = vec![Figure::Accuracy, Figure::Ua, Figure::MacroF1];
    }
    let heads = manifest.heads.iter().filter(|h| h.judges());
    let mut systems: Vec<String> = heads.map(|h| h.name.clone()).collect();
    let mut shipped = "every modality offered";
    if systems.len() == 1 {
        // its one head is what ships
        systems.clear();
        shipped = &manifest.task;
    }
    if options.fusion.is_some() {
        systems = judge::functions();
        shipped = "as it ships, for comparison";
    }
    systems.push(CLEAR.into());
    systems.extend(options.degrade.iter().map(|d| d.name()));
    Ok(ReportLayout {
        shipped: shipped.into(),
        systems,
        figures,
        published: manifest
            .eval
            .published
            .clone()
            .filter(|_| options.fusion.is_none()),
    })
}

type Judgement = Result<(Prediction, Option<Prediction>), Unjudged>;

/// Spreads the rows over the workers; each has models of its own, and holds the sound or the
/// image of one row at a time.
fn judge_all(
    options: &Options,
    found: &[Bundle],
    reference: Option<&[Bundle]>,
    rows: &[Row],
) -> Result<Vec<Judgement>, Error> {
    let noise = Noise::read(&options.noise)?;
    let load = || {
        let reference = reference.map(|found| Judge::load(found, options));
        Ok((Judge::load(found, options)?, reference.transpose()?))
    };
    let judge = |(shipped, reference): &mut (Judge, Option<Judge>), at: usize| {
        let item = &rows[at].item;
        let material = Material::read(item)?;
        let mut verdict = shipped.judge(item, &material)?;
        for degrade in &options.degrade {
            if let Some(worse) = degrade.apply(&material, &noise, at) {
                // a face that is not found any more is no answer: its line has fewer items
                if let Ok(worse) = shipped.judge(item, &worse) {
                    verdict.systems.push((degrade.name(), worse.shipped));
                }
            }
        }
        let beside = reference.as_mut().map(|r| r.judge(item, &material));
        Ok((verdict, beside.transpose()?))
    };
    workers::spread(rows.len(), options.threads, load, judge)
}

/// The image in a file.
fn image(path: &Path) -> Result<Picture, CaptureError> {
    let name = path.display().to_string();
    let failed = |source| CaptureError::Open {
        name: name.clone(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    // what is longer arrives cut and is refused as such
    let limit = vision::MAX_PICTURE_BYTES as u64;
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(vision::decode(&bytes, &name)?)
}

/// A table's name as reports carry it: no path of this machine.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
