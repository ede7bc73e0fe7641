//! What `bench` prints.

use super::machine;
use super::timing::Times;
use crate::Error;
use crate::kernels;
use crate::model::Spent;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// One model or stage.
#[derive(Debug)]
pub(super) struct Measured {
    pub name: String,
    /// Size of the file; 0 for a stage.
    pub bytes: usize,
    pub load: Option<Duration>,
    pub first: Option<Duration>,
    /// Multiply-accumulates of a run; 0 where they are not known.
    pub macs: u64,
    pub arena: Option<usize>,
    pub times: Times,
    /// Kilobytes.
    pub rss: Option<u64>,
}

/// Everything measured, and the machine's own limit.
#[derive(Debug)]
pub(super) struct Report {
    threads: usize,
    peak: f64,
    pub measured: Vec<Measured>,
    peak_rss: Option<u64>,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Measured {
    /// GMAC/s at the median.
    fn rate(&self) -> f64 {
        self.macs as f64 / self.times.median().max(1) as f64
    }

    fn json(&self, peak: f64) -> Value {
        json!({
            "name": self.name,
            "bytes": self.bytes,
            "median_ns": self.times.median(),
            "p95_ns": self.times.quantile(0.95),
            "p99_ns": self.times.quantile(0.99),
            "min_ns": self.times.quantile(0.0),
            "runs": self.times.runs(),
            "outliers": self.times.outliers(),
            "doubt": self.times.doubt(),
            "macs": self.macs,
            "gmac_per_s": self.rate(),
            "share_of_peak": if peak > 0.0 { self.rate() * 1e9 / peak } else { 0.0 },
            "load_ms": self.load.map(ms),
            "first_ms": self.first.map(ms),
            "arena_bytes": self.arena,
            "rss_kb": self.rss,
        })
    }
}

impl Report {
    pub(super) fn new(threads: usize) -> Report {
        Report {
            threads,
            peak: machine::peak_macs(),
            measured: Vec::new(),
            peak_rss: None,
        }
    }

    pub(super) fn finish(&mut self) {
        self.peak_rss = machine::peak_resident();
    }

    pub(super) fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let models: Vec<Value> = self.measured.iter().map(|m| m.json(self.peak)).collect();
        let object = json!({
            "level": kernels::active().level().name(),
            "threads": self.threads,
            "peak_gmac_per_s": self.peak / 1e9,
            "peak_rss_kb": self.peak_rss,
            "models": models,
        });
        writeln!(out, "{object}")?;
        out.flush()
    }

    pub(super) fn table(
        &self,
        before: Option<&BTreeMap<String, f64>>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        writeln!(
            out,
            "kernels {}, threads {}; the tile alone reaches {:.0} GMAC/s on one core",
            kernels::active().level(),
            self.threads,
            self.peak / 1e9
        )?;
        writeln!(
            out,
            "{:<28} {:>9} {:>9} {:>9} {:>7} {:>6} {:>8} {:>8}",
            "", "median ms", "p95", "p99", "GMAC/s", "peak", "load ms", "first ms"
        )?;
        for m in &self.measured {
            self.line(m, before, out)?;
        }
        if let Some(kilobytes) = self.peak_rss {
            writeln!(out, "resident at most {:.0} MB", kilobytes as f64 / 1e3)?;
        }
        for m in &self.measured {
            if let Some(doubt) = m.times.doubt() {
                writeln!(out, "{}: {doubt}; measure again when it is quiet", m.name)?;
            }
        }
        out.flush()
    }

    fn line(
        &self,
        m: &Measured,
        before: Option<&BTreeMap<String, f64>>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let of = |share: f64| m.times.quantile(share) as f64 / 1e6;
        write!(
            out,
            "{:<28} {:>9.3} {:>9.3} {:>9.3}",
            m.name,
            of(0.5),
            of(0.95),
            of(0.99)
        )?;
        if m.macs > 0 {
            let share = m.rate() * 1e9 / self.peak.max(1.0) * 100.0;
            write!(out, " {:>7.1} {share:>5.0}%", m.rate())?;
        } else {
            write!(out, " {:>7} {:>6}", "", "")?;
        }
        for time in [m.load, m.first] {
            match time {
                Some(time) => write!(out, " {:>8.2}", ms(time))?,
                None => write!(out, " {:>8}", "")?,
            }
        }
        if let Some(ns) = before.and_then(|b| b.get(&m.name)) {
            let ratio = m.times.median() as f64 / ns;
            write!(out, "  {ratio:.2}x the time before")?;
        }
        writeln!(out)
    }
}

/// Median nanoseconds by name, of an earlier `--json`.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, f64>, Error> {
    let broken = |what: String| Error::Table {
        path: path.to_path_buf(),
        what: format!("{what}; give the output of `demeanor bench --json`"),
    };
    let text = fs::read_to_string(path).map_err(|e| broken(e.to_string()))?;
    let report: Value = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
    let models = report["models"]
        .as_array()
        .ok_or_else(|| broken("holds no models".into()))?;
    let pairs = models
        .iter()
        .filter_map(|m| Some((m["name"].as_str()?.to_owned(), m["median_ns"].as_f64()?)));
    Ok(pairs.collect())
}

/// Median time of each step over the runs, longest first.
pub(super) fn profile(name: &str, runs: &[Vec<Spent>], out: &mut impl Write) -> io::Result<()> {
    let steps = runs.first().map_or(0, Vec::len);
    if steps == 0 {
        return writeln!(
            out,
            "{name}: tract runs all of it; there are no steps of ours to time"
        );
    }
    let median = |at: usize| {
        let mut ns: Vec<u64> = runs.iter().map(|run| run[at].ns).collect();
        ns.sort_unstable();
        ns[ns.len() / 2]
    };
    let mut lines: Vec<(u64, &Spent)> = (0..steps).map(|at| (median(at), &runs[0][at])).collect();
    let total: u64 = lines.iter().map(|(ns, _)| ns).sum();
    let mut kernels: BTreeMap<&str, (u64, u64, usize)> = BTreeMap::new();
    for (ns, spent) in &lines {
        let sum = kernels.entry(&spent.kernel).or_default();
        *sum = (sum.0 + ns, sum.1 + spent.macs, sum.2 + 1);
    }
    let mut kernels: Vec<_> = kernels.into_iter().collect();
    kernels.sort_by_key(|(_, (ns, _, _))| std::cmp::Reverse(*ns));
    lines.sort_by_key(|(ns, _)| std::cmp::Reverse(*ns));
    writeln!(
        out,
        "{name}: {:.3} ms in {steps} steps, median of {} runs",
        total as f64 / 1e6,
        runs.len()
    )?;
    let share = |ns: u64| ns as f64 / total.max(1) as f64 * 100.0;
    for (kernel, (ns, macs, count)) in kernels {
        let rate = macs as f64 / ns.max(1) as f64;
        writeln!(
            out,
            "{:>8.1} µs {:>5.1}% {rate:>7.1} GMAC/s  {count} × {kernel}",
            ns as f64 / 1e3,
            share(ns)
        )?;
    }
    writeln!(out)?;
    for (ns, spent) in lines.iter().take(24) {
        let rate = spent.macs as f64 / (*ns).max(1) as f64;
        writeln!(
            out,
            "{:>8.1} µs {:>5.1}% {rate:>7.1} GMAC/s  {} ({})",
            *ns as f64 / 1e3,
            share(*ns),
            spent.kernel,
            spent.node
        )?;
    }
    out.flush()
}
