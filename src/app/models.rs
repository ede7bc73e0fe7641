//! `demeanor models`: which bundles there are, verified, and what multiplies in them; or the same
//! of any ONNX file.

use crate::Error;
use crate::model::manifest::Precision;
use crate::model::{Audit, Bundle, Dim, InputInfo, Model, OnnxFile, Placement, Runner, bundles};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Which bundles, and how much about them.
#[derive(Debug, Default)]
pub struct Options {
    /// A bundle, or a folder of bundles, instead of the built-in ones.
    pub dir: Option<PathBuf>,
    /// Which node runs where.
    pub plan: bool,
    /// ONNX files instead of bundles.
    pub onnx: Vec<PathBuf>,
    /// Sizes of their named dimensions.
    pub dims: Vec<(String, usize)>,
}

/// Loads every bundle in the folder (or in the binary) and prints what it is.
///
/// # Errors
/// A bundle that is refused; an output that cannot be written.
pub fn models(options: &Options, out: &mut impl Write) -> Result<bool, Error> {
    if !options.onnx.is_empty() {
        for path in &options.onnx {
            file(path, options, out)?;
        }
        return Ok(true);
    }
    let found = bundles(options.dir.as_deref())?;
    for bundle in &found {
        let loaded = loaded(bundle)?;
        print(bundle, &loaded, out).map_err(Error::Output)?;
        if options.plan {
            for model in &loaded {
                print_plan(model, out).map_err(Error::Output)?;
            }
        }
    }
    Ok(!found.is_empty())
}

/// An ONNX file with sizes for its named dimensions.
///
/// # Errors
/// A file that is not there, which is no model that is broken; one that is refused.
pub(super) fn open(
    path: &Path,
    runner: Runner,
    sizes: &[(String, usize)],
) -> Result<OnnxFile, Error> {
    File::open(path).map_err(|source| Error::File {
        path: path.to_path_buf(),
        doing: "read",
        source,
    })?;
    Ok(OnnxFile::open_sized(path, runner, sizes)?)
}

/// Prints what an ONNX file takes, what multiplies in it and, if asked for, its plan.
fn file(path: &Path, options: &Options, out: &mut impl Write) -> Result<(), Error> {
    let onnx = open(path, Runner::Ours, &options.dims)?;
    let loaded = Loaded {
        file: path.display().to_string(),
        audit: onnx.audit().clone(),
        placed: onnx.placed(),
    };
    let inputs: Vec<String> = onnx.inputs().iter().map(shape).collect();
    let mut print = || -> io::Result<()> {
        writeln!(
            out,
            "{}  products: {} integer, {} float",
            loaded.file,
            loaded.audit.integer,
            loaded.audit.float.len()
        )?;
        writeln!(out, "  takes {}", inputs.join(", "))?;
        writeln!(out, "  gives {}", onnx.outputs().join(", "))?;
        if options.plan {
            print_plan(&loaded, out)?;
        }
        out.flush()
    };
    print().map_err(Error::Output)
}

/// `name float32 [1, N]`
fn shape(input: &InputInfo) -> String {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => size.to_string(),
        Dim::Free(name) if name.is_empty() => "?".to_string(),
        Dim::Free(name) => name.clone(),
    };
    let sizes: Vec<String> = input.dims.iter().map(size).collect();
    format!(
        "{} {} [{}]",
        input.name,
        input.element.name(),
        sizes.join(", ")
    )
}

/// A model of a bundle, loaded.
struct Loaded {
    file: String,
    audit: Audit,
    placed: Vec<Placement>,
}

fn loaded(bundle: &Bundle) -> Result<Vec<Loaded>, Error> {
    let mut models = Vec::new();
    for file in bundle
        .own_files()
        .filter(|f| f.precision != Precision::None)
    {
        let model = Model::load(bundle, &file.name, 1)?;
        models.push(Loaded {
            file: file.name.clone(),
            audit: model.audit().clone(),
            placed: model.placed(),
        });
    }
    Ok(models)
}

/// One line a step: the kernel, the nodes it stands for, and why tract runs it if it does.
fn print_plan(model: &Loaded, out: &mut impl Write) -> io::Result<()> {
    let name = &model.file;
    let nodes = |tract: bool| -> usize {
        let placed = model.placed.iter().filter(|p| p.tract.is_some() == tract);
        placed.map(|p| p.nodes.len()).sum()
    };
    writeln!(
        out,
        "  {name}: {} nodes in our kernels, {} in tract",
        nodes(false),
        nodes(true)
    )?;
    for placed in &model.placed {
        let why = placed
            .tract
            .as_ref()
            .map_or(String::new(), |why| format!("  ({why})"));
        writeln!(
            out,
            "    {:<44} {}{why}",
            placed.kernel,
            placed.nodes.join(" ")
        )?;
    }
    Ok(())
}

fn print(bundle: &Bundle, models: &[Loaded], out: &mut impl Write) -> io::Result<()> {
    let manifest = &bundle.manifest;
    writeln!(
        out,
        "{}  task {}  {:.1} MB",
        bundle.name(),
        manifest.task,
        bundle.size() as f64 / 1e6
    )?;
    writeln!(out, "  {}", manifest.summary)?;
    match manifest.labels.as_slice() {
        // a recogniser has words, no labels
        [] => writeln!(out, "  licence {}", manifest.licence)?,
        labels => writeln!(
            out,
            "  labels {}; licence {}",
            labels.join(", "),
            manifest.licence
        )?,
    }
    for Loaded { file, audit, .. } in models {
        let bytes = bundle.bytes(file).unwrap_or_default();
        writeln!(
            out,
            "  {file:<18} {:>6.2} MB  products: {} integer, {} float",
            bytes.len() as f64 / 1e6,
            audit.integer,
            audit.float.len()
        )?;
    }
    for metric in &manifest.metrics {
        let [low, high] = metric.ci95;
        writeln!(
            out,
            "  {} = {:.3} [{low:.3}, {high:.3}] on {}, n = {}",
            metric.name, metric.value, metric.on, metric.n
        )?;
    }
    out.flush()
}
