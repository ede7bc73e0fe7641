//! `demeanor models`: which bundles there are, verified, and what multiplies in them.

use crate::Error;
use crate::model::manifest::Role;
use crate::model::{Audit, Bundle, FusionModel, SpeechModel, TextModel, bundles};
use std::io::{self, Write};
use std::path::Path;

/// Loads every bundle in `dir` (or in the binary) and prints what it is.
///
/// # Errors
/// A bundle that is refused; the output's.
pub fn models(dir: Option<&Path>, out: &mut impl Write) -> Result<bool, Error> {
    let found = bundles(dir)?;
    for bundle in &found {
        let audits = audits(bundle)?;
        print(bundle, &audits, out).map_err(Error::Output)?;
    }
    Ok(!found.is_empty())
}

fn audits(bundle: &Bundle) -> Result<Vec<(Role, Audit)>, Error> {
    let mut audits = vec![
        (Role::Speech, SpeechModel::load(bundle)?.audit().clone()),
        (Role::Text, TextModel::load(bundle)?.audit().clone()),
    ];
    for role in [Role::Fusion, Role::FusionAr, Role::FusionAl] {
        if bundle.manifest.file(role).is_some() {
            audits.push((role, FusionModel::load(bundle, role)?.audit().clone()));
        }
    }
    Ok(audits)
}

fn print(bundle: &Bundle, audits: &[(Role, Audit)], out: &mut impl Write) -> io::Result<()> {
    let manifest = &bundle.manifest;
    writeln!(
        out,
        "{}  task {}  {:.1} MB",
        bundle.name(),
        manifest.task.name(),
        bundle.size() as f64 / 1e6
    )?;
    writeln!(out, "  {}", manifest.summary)?;
    writeln!(
        out,
        "  labels {}; licence {}",
        manifest.labels.join(", "),
        manifest.licence
    )?;
    for (role, audit) in audits {
        let Some((name, bytes)) = bundle.bytes(*role) else {
            continue;
        };
        writeln!(
            out,
            "  {name:<18} {:>6.2} MB  products: {} integer, {} float, {} ours",
            bytes.len() as f64 / 1e6,
            audit.integer,
            audit.float.len(),
            audit.fused.len()
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
