//! `demeanor bench`: how long models and stages take here, and how much of the machine they use.

mod compare;
mod conditions;
mod decision;
#[cfg(feature = "research")]
mod fusion;
pub(crate) mod machine;
mod npy;
mod report;
mod stages;
mod timing;
mod unit;

pub use compare::Compare;
pub use unit::Unit;

use crate::Error;
use crate::app::models;
use crate::board::thermal::Meter;
use crate::model::{Array, Bundle, Dim, Element, InputInfo, MOST_BYTES, OnnxFile, Runner, bundles};
use compare::Saved;
use report::{Measured, Report};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use timing::Span;

/// What to measure.
#[derive(Debug)]
pub struct Options {
    /// ONNX files; none: the bundles and the stages around them.
    pub onnx: Vec<PathBuf>,
    /// Sizes of named dimensions.
    pub dims: Vec<(String, usize)>,
    /// Seconds of each measurement.
    pub seconds: f64,
    /// As many runs of each instead.
    pub runs: Option<usize>,
    /// Workers of the kernels.
    pub threads: usize,
    /// What runs the models.
    pub runner: Runner,
    /// Time of every step instead of statistics.
    pub profile: bool,
    /// `.npy` files for inputs of the one `--onnx`.
    pub inputs: Vec<(String, PathBuf)>,
    /// Folder for the outputs, as `.npy`.
    pub output: Option<PathBuf>,
    /// Bundles instead of the built-in ones.
    pub models: Option<PathBuf>,
    /// What to compare with.
    pub compare: Option<Compare>,
    /// What the figures are: instructions in an emulator that counts them.
    pub unit: Unit,
    /// Operators of the fusion catalogue instead of models.
    pub fusion: bool,
    /// A whole decision of every task instead of models.
    pub decision: bool,
    /// Only operators whose function's name holds this.
    pub operator: Option<String>,
    /// One JSON object.
    pub json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            onnx: Vec::new(),
            dims: Vec::new(),
            seconds: 1.0,
            runs: None,
            threads: 1,
            runner: Runner::Ours,
            profile: false,
            inputs: Vec::new(),
            output: None,
            models: None,
            compare: None,
            unit: Unit::Time,
            fusion: false,
            decision: false,
            operator: None,
            json: false,
        }
    }
}

impl Options {
    fn span(&self) -> Span {
        let time = || Span::Time(Duration::from_secs_f64(self.seconds));
        self.runs.map_or_else(time, Span::Runs)
    }
}

/// Measures and prints.
///
/// # Errors
/// A model that is refused, a file that cannot be read or written.
pub fn bench(options: &Options, out: &mut impl Write) -> Result<bool, Error> {
    if let Some(Compare::Files(before, after)) = &options.compare {
        return compare::files([before, after], options.json, out);
    }
    if options.fusion {
        #[cfg(feature = "research")]
        return fusion::bench(options, out);
        #[cfg(not(feature = "research"))]
        return Err(crate::app::fusion::left_out());
    }
    if options.decision {
        decision::bench(options, out)?;
        return Ok(true);
    }
    let before = match &options.compare {
        Some(Compare::With(path)) => Some(Saved::read(path)?.counts(options.unit)?),
        _ => None,
    };
    let found = if options.onnx.is_empty() {
        bundles(options.models.as_deref())?
    } else {
        Vec::new()
    };
    let models = every(options, &found);
    if options.profile {
        for model in &models {
            profile(model, options, out)?;
        }
        return Ok(true);
    }
    let mut report = Report::new(options.threads, options.unit);
    // all stay loaded, as they would in a program that uses them
    let mut loaded = Vec::new();
    for model in &models {
        let (measured, file) = measure(model, options)?;
        report.measured.push(measured);
        loaded.push(file);
    }
    if options.onnx.is_empty() {
        report.measured.extend(stages::measure(options)?);
    }
    report.finish();
    if options.json {
        report.json(out)
    } else {
        report.table(before.as_ref(), out)
    }
    .map_err(Error::Output)?;
    Ok(true)
}

/// A model to measure.
enum Model<'a> {
    File(&'a Path),
    Bundled { name: String, onnx: &'a [u8] },
}

impl Model<'_> {
    fn name(&self) -> String {
        match self {
            Model::File(path) => path.display().to_string(),
            Model::Bundled { name, .. } => name.clone(),
        }
    }

    fn open(&self, options: &Options) -> Result<OnnxFile, Error> {
        let runner = options.runner;
        let file = match self {
            Model::File(path) => models::open(path, runner, &options.dims)?,
            Model::Bundled { name, onnx } => OnnxFile::of_bytes(name, onnx, runner)?,
        };
        Ok(file.with_threads(options.threads))
    }

    fn bytes(&self) -> usize {
        match self {
            Model::File(path) => path.metadata().map_or(0, |m| m.len() as usize),
            Model::Bundled { onnx, .. } => onnx.len(),
        }
    }
}

/// The files that were named, or every model of the bundles.
fn every<'a>(options: &'a Options, found: &'a [Bundle]) -> Vec<Model<'a>> {
    let named = options.onnx.iter().map(|path| Model::File(path));
    let bundled = found.iter().flat_map(|bundle| {
        let files = bundle.own_files().filter(|f| f.name.ends_with(".onnx"));
        files.filter_map(|file| {
            let (name, onnx) = (&file.name, bundle.bytes(&file.name)?);
            let name = format!("{}/{name}", bundle.manifest.id);
            Some(Model::Bundled { name, onnx })
        })
    });
    named.chain(bundled).collect()
}

/// What the shipped models are measured at: 4 s of frames, a long utterance, one name of four pieces.
const USUAL: [(&str, usize); 4] = [("T", 400), ("N", 64), ("Q", 1), ("L", 4)];

fn size(dim: &Dim, options: &Options) -> usize {
    match dim {
        Dim::Fixed(size) => *size,
        Dim::Free(name) => {
            let given = options
                .dims
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, size)| *size);
            let usual = USUAL.iter().find(|(n, _)| n == name).map(|(_, size)| *size);
            given.or(usual).unwrap_or(64)
        }
    }
}

/// Input of the size that is wanted: zeros and ones, noise in −1..1, or noise of bytes.
fn content(wanted: &InputInfo, options: &Options) -> Result<Array, Error> {
    if let Some((_, path)) = options.inputs.iter().find(|(name, _)| *name == wanted.name) {
        return npy::read(path);
    }
    let dims: Vec<usize> = wanted.dims.iter().map(|d| size(d, options)).collect();
    let values = dims.iter().try_fold(1_usize, |n, d| n.checked_mul(*d));
    let count = values.filter(|n| *n <= MOST_BYTES / size_of::<i64>());
    let count = count.ok_or_else(|| {
        Error::Usage(format!(
            "input {} of shape {dims:?} takes more than {} GiB; choose smaller sizes with --dim \
             NAME=SIZE, or another model",
            wanted.name,
            MOST_BYTES >> 30
        ))
    })?;
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    });
    Ok(match wanted.element {
        Element::Float => Array::Floats(dims, noise.take(count).collect()),
        Element::Double => Array::Doubles(dims, noise.map(f64::from).take(count).collect()),
        Element::Int => Array::Ints(dims, (0..count).map(|i| (i % 2) as i64).collect()),
        Element::Byte => {
            let bytes = noise.map(|x| (x * 127.0 + 128.0) as u8);
            Array::Bytes(dims, bytes.take(count).collect())
        }
    })
}

fn contents(file: &OnnxFile, options: &Options) -> Result<Vec<Array>, Error> {
    file.inputs().iter().map(|w| content(w, options)).collect()
}

fn measure(model: &Model<'_>, options: &Options) -> Result<(Measured, OnnxFile), Error> {
    let start = Instant::now();
    let file = model.open(options)?;
    let load = start.elapsed();
    let inputs = contents(&file, options)?;
    let start = Instant::now();
    let outputs = file.answer(&inputs)?;
    let first = start.elapsed();
    if let Some(folder) = &options.output {
        write_outputs(folder, &file, &outputs)?;
    }
    let macs = file.profile(&inputs)?.iter().map(|s| s.macs).sum();
    let meter = Meter::start();
    let times = timing::sample(options.span(), || file.run_only(&inputs))?;
    let watts = meter.watts().filter(|_| options.unit == Unit::Time);
    let measured = Measured {
        name: model.name(),
        bytes: model.bytes(),
        load: Some(load),
        first: Some(first),
        macs,
        arena: file.arena_bytes(),
        times,
        rss: machine::resident(),
        watts,
    };
    Ok((measured, file))
}

fn write_outputs(folder: &Path, file: &OnnxFile, outputs: &[Array]) -> Result<(), Error> {
    let mut taken = Vec::new();
    for (name, output) in file.outputs().iter().zip(outputs) {
        let name = file_name(name, &taken);
        npy::write(&folder.join(format!("{name}.npy")), output)?;
        taken.push(name);
    }
    Ok(())
}

/// A file's name out of an output's, which is never a path and may hold anything; other than
/// those that are taken.
fn file_name(output: &str, taken: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let cleaned = output.chars().map(|c| if plain(c) { c } else { '_' });
    let name: String = cleaned.take(100).collect();
    let name = match name.trim_start_matches('.') {
        "" => "output".to_string(),
        rest => rest.to_string(),
    };
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    names
        .find(|name| !taken.iter().any(|t| t.eq_ignore_ascii_case(name)))
        .unwrap_or(name)
}

/// Median time of every step, longest first.
fn profile(model: &Model<'_>, options: &Options, out: &mut impl Write) -> Result<(), Error> {
    let file = model.open(options)?;
    let inputs = contents(&file, options)?;
    let start = Instant::now();
    let mut runs = vec![file.profile(&inputs)?];
    while !options.span().is_over(start, runs.len(), 1) {
        runs.push(file.profile(&inputs)?);
    }
    report::profile(&model.name(), &runs, options.unit, out).map_err(Error::Output)
}
