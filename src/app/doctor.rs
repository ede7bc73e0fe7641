//! `demeanor doctor`: whether this machine can do what is asked of it, before anybody relies
//! on it.
//!
//! Nothing is captured and no lamp is lit: devices are opened as far as asking what they are.
//! An updater such as RAUC or Mender takes the exit status for its health check.

mod devices;
mod files;
mod machine;
mod models;

use crate::Error;
use crate::board;
use crate::capture::camera::CameraSpec;
use crate::config::Config;
use serde::Serialize;
use serde_json::json;
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;

/// Name and version of the layout of `--json`.
const SCHEMA: &str = "demeanor.doctor/1";

/// What to look at.
#[derive(Debug, Default)]
pub struct Options {
    /// The config of `run`; without it nothing names devices and files.
    pub config: Option<PathBuf>,
    /// Board profile; found out when `None`.
    pub board: Option<String>,
    /// Bundle folder; the embedded one when `None`.
    pub models: Option<PathBuf>,
    /// One JSON object.
    pub json: bool,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Finding {
    /// As it should be.
    Ok,
    /// There is nothing to check.
    Skipped,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work.
    Failed,
}

impl Finding {
    fn mark(self) -> &'static str {
        match self {
            Finding::Ok => "ok",
            Finding::Skipped => "-",
            Finding::Warning => "warn",
            Finding::Failed => "FAIL",
        }
    }
}

/// A check with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    name: String,
    verdict: Finding,
    /// What was found, and what to do if it is not well.
    finding: String,
}

impl Check {
    fn new(name: &str, verdict: Finding, finding: impl Display) -> Check {
        let finding = finding.to_string();
        Check {
            name: name.into(),
            verdict,
            finding,
        }
    }

    fn ok(name: &str, finding: impl Display) -> Check {
        Check::new(name, Finding::Ok, finding)
    }

    fn skipped(name: &str, why: impl Display) -> Check {
        Check::new(name, Finding::Skipped, why)
    }

    fn warning(name: &str, finding: impl Display) -> Check {
        Check::new(name, Finding::Warning, finding)
    }

    fn failed(name: &str, finding: impl Display) -> Check {
        Check::new(name, Finding::Failed, finding)
    }
}

/// What was checked so far; each line is out before the next check begins, so that one that
/// hangs is seen.
struct Report<'a, W> {
    out: &'a mut W,
    json: bool,
    checks: Vec<Check>,
}

impl<W: Write> Report<'_, W> {
    fn add(&mut self, check: Check) -> Result<(), Error> {
        if !self.json {
            let (mark, name) = (check.verdict.mark(), &check.name);
            writeln!(self.out, "{mark:<5} {name:<10}  {}", check.finding)
                .and_then(|()| self.out.flush())
                .map_err(Error::Output)?;
        }
        self.checks.push(check);
        Ok(())
    }

    fn count(&self, verdict: Finding) -> usize {
        self.checks.iter().filter(|c| c.verdict == verdict).count()
    }

    /// The JSON object, and whether all is well.
    fn finish(self, board: &str) -> Result<bool, Error> {
        let failed = self.count(Finding::Failed);
        if self.json {
            let report = json!({
                "schema": SCHEMA,
                "version": env!("CARGO_PKG_VERSION"),
                "board": board,
                "healthy": failed == 0,
                "checks": self.checks,
            });
            writeln!(self.out, "{report:#}")
                .and_then(|()| self.out.flush())
                .map_err(Error::Output)?;
        }
        if failed == 0 {
            Ok(true)
        } else {
            Err(Error::Unhealthy { failed })
        }
    }
}

/// Checks the machine and prints one line a check.
///
/// # Errors
/// [`Error::Unhealthy`] when a check failed; a board that is not known; an output that cannot be
/// written.
pub fn doctor(options: &Options, out: &mut impl Write) -> Result<bool, Error> {
    let board = board::choose(options.board.as_deref())?;
    let mut report = Report {
        out,
        json: options.json,
        checks: Vec::new(),
    };
    report.add(machine::board(&board, options.board.is_some()))?;
    report.add(machine::cpu(&board))?;
    let (notice, config) = files::notice(options.config.as_deref());
    report.add(notice)?;
    let config: Option<&Config> = config.as_ref();
    let sources = match config.map(|c| devices::sources(c, &board)).transpose() {
        Ok(sources) => sources,
        Err(check) => {
            report.add(check)?;
            None
        }
    };
    report.add(devices::sound(sources.as_ref()))?;
    report.add(devices::camera(sources.as_ref()))?;
    report.add(devices::indicator(config, &board))?;
    report.add(devices::button(config, &board))?;
    report.add(devices::calibration(config, sources.as_ref()))?;
    // without a config any task may be asked for
    let looks = sources.is_none_or(|s| s.camera != CameraSpec::None);
    let tasks = config.and_then(|c| c.decision.tasks.as_ref());
    let models = options.models.as_deref();
    report.add(models::bundles(models))?;
    let loaded = models::try_each(models, tasks, looks, &mut report)?;
    let heard = match config.and_then(|c| c.text.recogniser.as_deref()) {
        Some(dir) => {
            let (check, recogniser) = models::recogniser(dir);
            report.add(check)?;
            recogniser
        }
        None => None,
    };
    report.add(machine::memory(&board))?;
    // what is measured above is what `run` holds
    drop((loaded, heard));
    report.add(machine::thermal(&board))?;
    report.add(files::audit(config))?;
    report.add(files::metrics(config))?;
    report.add(files::socket(config))?;
    files::own_voice(config)
        .map(|check| report.add(check))
        .transpose()?;
    report.add(files::http(config))?;
    report.add(files::mqtt(config))?;
    report.add(files::ros(config))?;
    report.finish(&board.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(checks: &[Check], json: bool) -> (Result<bool, Error>, String) {
        let mut out = Vec::new();
        let mut report = Report {
            out: &mut out,
            json,
            checks: Vec::new(),
        };
        checks
            .iter()
            .for_each(|c| report.add(c.clone()).expect("written"));
        let finished = report.finish("rpi4");
        (finished, String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn warnings_are_healthy_and_failures_are_not() {
        let fine = [
            Check::ok("cpu", "a"),
            Check::skipped("sound", "b"),
            Check::warning("memory", "c"),
        ];
        let (healthy, text) = report(&fine, false);
        assert!(matches!(healthy, Ok(true)));
        assert_eq!(
            text,
            "ok    cpu         a\n-     sound       b\nwarn  memory      c\n"
        );
        let mut ill = fine.to_vec();
        ill.push(Check::failed("notice", "d"));
        let (unhealthy, text) = report(&ill, true);
        assert!(matches!(unhealthy, Err(Error::Unhealthy { failed: 1 })));
        let object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(object["healthy"], false);
        assert_eq!(object["checks"][3]["verdict"], "failed");
    }
}
