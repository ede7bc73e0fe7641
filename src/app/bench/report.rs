//! What `bench` prints.

use super::compare::Saved;
use super::conditions::Conditions;
use super::machine;
use super::timing::Times;
use super::unit::Unit;
use crate::board;
use crate::board::thermal::Condition;
use crate::kernels;
use crate::model::StepTiming;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
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
    /// Mean power while it ran, in W.
    pub watts: Option<f64>,
}

/// Everything measured, the machine's own limit and the state that it was in.
#[derive(Debug)]
pub(super) struct Report {
    threads: usize,
    unit: Unit,
    peak: f64,
    pub measured: Vec<Measured>,
    peak_rss: Option<u64>,
    zone: Option<String>,
    /// Before and after, the same until [`Report::finish`]; absent where instructions count.
    conditions: Option<Conditions>,
}

fn millions(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Measured {
    /// GMAC/s at the median, or multiply-accumulates by instruction.
    fn rate(&self) -> f64 {
        self.macs as f64 / self.times.median().max(1) as f64
    }

    /// Energy of a run at the median, in mJ.
    fn millijoules(&self) -> Option<f64> {
        self.watts.map(|w| w * self.times.median() as f64 / 1e6)
    }

    fn json(&self, peak: f64, unit: Unit) -> Value {
        let (key, million) = (unit.key(), unit.million_key());
        let at = |share: f64| json!(self.times.quantile(share));
        let share = self.rate() * 1e9 / peak.max(1.0);
        let mut object = json!({
            "name": self.name,
            "bytes": self.bytes,
            format!("median_{key}"): at(0.5),
            format!("p95_{key}"): at(0.95),
            format!("p99_{key}"): at(0.99),
            format!("min_{key}"): at(0.0),
            "runs": self.times.runs(),
            "outliers": self.times.outliers(),
            "doubt": self.times.doubt(),
            "macs": self.macs,
            unit.rate_key(): self.rate(),
            "share_of_peak": share,
            format!("load_{million}"): self.load.map(millions),
            format!("first_{million}"): self.first.map(millions),
            "arena_bytes": self.arena,
            "rss_kb": self.rss,
        });
        if let Some(watts) = self.watts {
            object["watts"] = json!(watts);
            object["millijoules"] = json!(self.millijoules());
        }
        object
    }
}

impl Report {
    pub(super) fn new(threads: usize, unit: Unit) -> Report {
        // this also warms the clock up, before its state is read
        let peak = machine::peak_macs();
        let zone = board::detect().and_then(|b| b.thermal_zone);
        let now = (unit == Unit::Time).then(|| Condition::read(zone.as_deref()));
        Report {
            threads,
            unit,
            peak,
            measured: Vec::new(),
            peak_rss: None,
            zone,
            conditions: now.map(|now| Conditions {
                before: now.clone(),
                after: now,
            }),
        }
    }

    pub(super) fn finish(&mut self) {
        if let Some(conditions) = &mut self.conditions {
            conditions.after = Condition::read(self.zone.as_deref());
        }
        self.peak_rss = machine::peak_resident();
    }

    pub(super) fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let of = |m: &Measured| m.json(self.peak, self.unit);
        let models: Vec<Value> = self.measured.iter().map(of).collect();
        let mut object = json!({
            "unit": self.unit.key(),
            "level": kernels::active().level().name(),
            "threads": self.threads,
            format!("peak_{}", self.unit.rate_key()): self.peak / 1e9,
            "peak_rss_kb": self.peak_rss,
            "models": models,
        });
        if let Some(conditions) = &self.conditions {
            object["before"] = json!(conditions.before);
            object["after"] = json!(conditions.after);
            object["doubts"] = json!(conditions.doubts());
        }
        writeln!(out, "{object}")?;
        out.flush()
    }

    pub(super) fn table(&self, before: Option<&Saved>, out: &mut impl Write) -> io::Result<()> {
        self.head(out)?;
        for m in &self.measured {
            self.line(m, before, out)?;
        }
        if let Some(kilobytes) = self.peak_rss {
            writeln!(out, "resident at most {:.0} MB", kilobytes as f64 / 1e3)?;
        }
        if let Some(conditions) = &self.conditions {
            conditions.print(out)?;
        }
        for m in &self.measured {
            if let Some(doubt) = m.times.doubt() {
                writeln!(out, "{}: {doubt}; measure again when it is quiet", m.name)?;
            }
        }
        out.flush()
    }

    /// Where power is known, there is a column of energy.
    fn powered(&self) -> bool {
        self.measured.iter().any(|m| m.watts.is_some())
    }

    fn head(&self, out: &mut impl Write) -> io::Result<()> {
        let rate = self.unit.rate();
        if self.unit == Unit::Instructions {
            writeln!(
                out,
                "millions of instructions (Minst), not times: of an emulator with -icount shift=0"
            )?;
        }
        writeln!(
            out,
            "kernels {}, threads {}; the tile alone reaches {:.*} {rate} on one core",
            kernels::active().level(),
            self.threads,
            self.unit.digits(),
            self.peak / 1e9,
        )?;
        let [median, load, first] = self.unit.heads();
        write!(
            out,
            "{:<28} {median:>9} {:>9} {:>9}{rate:>8} {:>6} {load:>8} {first:>8}",
            "", "p95", "p99", "peak"
        )?;
        writeln!(out, "{}", if self.powered() { "       mJ" } else { "" })
    }

    fn line(&self, m: &Measured, before: Option<&Saved>, out: &mut impl Write) -> io::Result<()> {
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
            let digits = self.unit.digits().max(1);
            write!(out, " {:>7.digits$} {share:>5.0}%", m.rate())?;
        } else {
            write!(out, " {:>7} {:>6}", "", "")?;
        }
        let mut cell = |value: Option<f64>| match value {
            Some(value) => write!(out, " {value:>8.2}"),
            None => write!(out, " {:>8}", ""),
        };
        cell(m.load.map(millions))?;
        cell(m.first.map(millions))?;
        if self.powered() {
            cell(m.millijoules())?;
        }
        if let Some(then) = before.and_then(|b| b.median(&m.name)) {
            let ratio = m.times.median() as f64 / then.max(1.0);
            write!(out, "  {ratio:.2}x {} before", self.unit.noun())?;
        }
        writeln!(out)
    }
}

/// Time, work and bytes of a step, or of all of a kernel.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    ns: u64,
    macs: u64,
    bytes: u64,
}

impl Work {
    fn add(self, other: Work) -> Work {
        Work {
            ns: self.ns + other.ns,
            macs: self.macs + other.macs,
            bytes: self.bytes + other.bytes,
        }
    }

    /// What it took, its share of `total`, its rate, its bytes and how often each is multiplied.
    fn print(self, total: Work, unit: Unit, out: &mut impl Write) -> io::Result<()> {
        write!(
            out,
            "{:>8.1} {} {:>5.1}% {:>7.1} {} {:>8.1} kB {:>6.1} MAC/B",
            self.ns as f64 / 1e3,
            unit.thousand(),
            self.ns as f64 / total.ns.max(1) as f64 * 100.0,
            self.macs as f64 / self.ns.max(1) as f64,
            unit.rate(),
            self.bytes as f64 / 1e3,
            self.macs as f64 / self.bytes.max(1) as f64,
        )
    }
}

/// Median of each step over the runs, longest first.
pub(super) fn profile(
    name: &str,
    runs: &[Vec<StepTiming>],
    unit: Unit,
    out: &mut impl Write,
) -> io::Result<()> {
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
    let work = |at: usize| {
        let StepTiming { macs, bytes, .. } = runs[0][at];
        let ns = median(at);
        Work { ns, macs, bytes }
    };
    let mut lines: Vec<(Work, &StepTiming)> =
        (0..steps).map(|at| (work(at), &runs[0][at])).collect();
    let total = lines
        .iter()
        .fold(Work::default(), |sum, (w, _)| sum.add(*w));
    let mut kernels: BTreeMap<&str, (Work, usize)> = BTreeMap::new();
    for (work, step) in &lines {
        let (sum, count) = kernels.entry(&step.kernel).or_default();
        (*sum, *count) = (sum.add(*work), *count + 1);
    }
    let mut kernels: Vec<_> = kernels.into_iter().collect();
    kernels.sort_by_key(|(_, (work, _))| std::cmp::Reverse(work.ns));
    lines.sort_by_key(|(work, _)| std::cmp::Reverse(work.ns));
    writeln!(
        out,
        "{name}: {:.3} {} in {steps} steps, median of {} runs; {:.2} MB if each byte is moved once",
        total.ns as f64 / 1e6,
        unit.million(),
        runs.len(),
        total.bytes as f64 / 1e6,
    )?;
    for (kernel, (work, count)) in kernels {
        work.print(total, unit, out)?;
        writeln!(out, "  {count} × {kernel}")?;
    }
    writeln!(out)?;
    for (work, step) in lines.iter().take(24) {
        work.print(total, unit, out)?;
        writeln!(out, "  {} ({})", step.kernel, step.node)?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::bench::timing;

    fn report(unit: Unit, watts: Option<f64>) -> Report {
        let times = timing::sample(timing::Span::Runs(5), || Ok(())).expect("times");
        let measured = Measured {
            name: "net".into(),
            bytes: 1,
            load: Some(Duration::from_millis(2)),
            first: None,
            macs: 1000,
            arena: None,
            times,
            rss: None,
            watts,
        };
        let mut report = Report::new(1, unit);
        report.measured.push(measured);
        report
    }

    fn printed(report: &Report) -> (String, Value) {
        let (mut table, mut json) = (Vec::new(), Vec::new());
        report.table(None, &mut table).expect("written");
        report.json(&mut json).expect("written");
        let table = String::from_utf8(table).expect("text");
        (table, serde_json::from_slice(&json).expect("JSON"))
    }

    #[test]
    fn energy_is_power_by_time_where_power_is_known() {
        let (table, json) = printed(&report(Unit::Time, Some(2.0)));
        let (model, ns) = (&json["models"][0], json["models"][0]["median_ns"].as_f64());
        assert_eq!(model["millijoules"].as_f64(), ns.map(|ns| 2.0 * ns / 1e6));
        let head = table.lines().nth(1).unwrap_or_default();
        assert!(head.ends_with("first ms       mJ"), "{table}");
        let (table, json) = printed(&report(Unit::Time, None));
        assert!(json["models"][0].get("millijoules").is_none());
        assert!(!table.contains("mJ"), "{table}");
    }

    #[test]
    fn instructions_are_never_called_times() {
        let (table, json) = printed(&report(Unit::Instructions, None));
        for word in [" ms", "GMAC/s", "µs", "time before"] {
            assert!(!table.contains(word), "{word}: {table}");
        }
        assert!(
            table.contains("Minst") && table.contains("MAC/inst"),
            "{table}"
        );
        let text = json.to_string();
        for key in ["_ns", "_ms", "gmac_per_s", "\"before\"", "\"after\""] {
            assert!(!text.contains(key), "{key}: {text}");
        }
        assert_eq!(json["unit"], "instructions");
        assert!(json["models"][0]["median_instructions"].is_u64());
    }
}
