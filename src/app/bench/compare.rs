//! Outputs of `bench --json`, beside each other or beside what was just measured.

use super::unit::Unit;
use crate::Error;
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What figures are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// What is measured now with an earlier `--json`.
    With(PathBuf),
    /// Two of them, without measuring: before and after.
    Files(PathBuf, PathBuf),
}

/// An earlier `--json`.
#[derive(Debug)]
pub(super) struct Saved {
    path: PathBuf,
    unit: Unit,
    level: String,
    threads: Option<u64>,
    /// Names and medians, in the file's order.
    medians: Vec<(String, f64)>,
}

impl Saved {
    pub(super) fn read(path: &Path) -> Result<Saved, Error> {
        let broken = |what: String| Error::Table {
            path: path.to_path_buf(),
            what: format!("{what}; give the output of `demeanor bench --json`"),
        };
        let text = fs::read_to_string(path).map_err(|e| broken(e.to_string()))?;
        let report: Value = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
        let models = report["models"].as_array();
        let models = models.ok_or_else(|| broken("holds no models".into()))?;
        // files from before there were instructions hold times
        let unit = match report["unit"].as_str() {
            None | Some("ns") => Unit::Time,
            Some("instructions") => Unit::Instructions,
            Some(other) => return Err(broken(format!("counts `{other}`"))),
        };
        let key = format!("median_{}", unit.key());
        let median = |m: &Value| Some((m["name"].as_str()?.to_owned(), m[&key].as_f64()?));
        Ok(Saved {
            path: path.to_path_buf(),
            unit,
            level: report["level"].as_str().unwrap_or("unknown").to_owned(),
            threads: report["threads"].as_u64(),
            medians: models.iter().filter_map(median).collect(),
        })
    }

    /// Refuses a file that counts something else.
    pub(super) fn counts(self, unit: Unit) -> Result<Saved, Error> {
        if self.unit == unit {
            return Ok(self);
        }
        Err(Error::Table {
            path: self.path,
            what: format!(
                "it counts {}, and the other counts {}: these cannot be compared; measure both \
                 alike, with or without --instructions",
                self.unit.key(),
                unit.key()
            ),
        })
    }

    pub(super) fn median(&self, name: &str) -> Option<f64> {
        let named = self.medians.iter().find(|(n, _)| n == name);
        named.map(|(_, median)| *median)
    }

    fn title(&self) -> String {
        let threads = self.threads.map_or("?".into(), |n| n.to_string());
        let (path, level) = (self.path.display(), &self.level);
        format!("{path}: kernels {level}, threads {threads}")
    }
}

/// A name and its medians before and after, where there are any.
type Row<'a> = (&'a str, Option<f64>, Option<f64>);

/// Reads two files and prints them beside each other.
pub(super) fn files(paths: [&Path; 2], as_json: bool, out: &mut impl Write) -> Result<bool, Error> {
    let before = Saved::read(paths[0])?;
    let after = Saved::read(paths[1])?.counts(before.unit)?;
    let of_before = before.medians.iter().map(|(name, _)| name.as_str());
    let only_after = after.medians.iter().map(|(name, _)| name.as_str());
    let only_after = only_after.filter(|name| before.median(name).is_none());
    let rows: Vec<Row<'_>> = of_before
        .chain(only_after)
        .map(|name| (name, before.median(name), after.median(name)))
        .collect();
    let printed = if as_json {
        json(&rows, before.unit, out)
    } else {
        table(&rows, &before, &after, out)
    };
    printed.map_err(Error::Output)?;
    Ok(true)
}

fn ratio(row: &Row<'_>) -> Option<f64> {
    Some(row.2? / row.1.filter(|before| *before > 0.0)?)
}

fn json(rows: &[Row<'_>], unit: Unit, out: &mut impl Write) -> io::Result<()> {
    let of = |row: &Row<'_>| {
        let (name, before, after) = row;
        json!({"name": name, "before": before, "after": after, "ratio": ratio(row)})
    };
    let models: Vec<Value> = rows.iter().map(of).collect();
    writeln!(out, "{}", json!({"unit": unit.key(), "models": models}))?;
    out.flush()
}

fn table(rows: &[Row<'_>], before: &Saved, after: &Saved, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "before {}\nafter  {}", before.title(), after.title())?;
    let (unit, what) = (before.unit.million(), before.unit.noun());
    writeln!(
        out,
        "{:<28} {:>12} {:>12}",
        "",
        format!("before {unit}"),
        format!("after {unit}")
    )?;
    for row in rows {
        let (name, before, after) = row;
        let cell = |median: &Option<f64>| median.map_or("".into(), |m| format!("{:.3}", m / 1e6));
        write!(out, "{name:<28} {:>12} {:>12}", cell(before), cell(after))?;
        match ratio(row) {
            Some(ratio) => writeln!(out, "  {ratio:.2}x {what} before")?,
            None => writeln!(out)?,
        }
    }
    out.flush()
}
