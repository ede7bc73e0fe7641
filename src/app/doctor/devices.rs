//! Microphone, camera, lamp and button: there, and permitted to us.

use super::Check;
use crate::Error;
use crate::app::run::{self, Sound, Sources};
use crate::board::profile::{Line, Profile};
use crate::board::{BoardError, pins};
use crate::capture::camera::CameraSpec;
use crate::capture::{CaptureError, mic, v4l};
use crate::config::calibration::Calibration;
use crate::config::{Config, Wired};
use rustix::fs::{Access, access};
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Whose lines `run` holds, in the kernel's list.
const OURS: &str = "demeanor";
const NO_CONFIG: &str = "no --config names one";

/// Where `run` would listen and look; the check that failed when it would not start.
pub(super) fn sources(config: &Config, board: &Profile) -> Result<Sources, Check> {
    let options = run::Options::default();
    run::sources(&options, config, board).map_err(|e| Check::failed("sources", e))
}

pub(super) fn sound(sources: Option<&Sources>) -> Check {
    let name = "sound";
    let Some(sources) = sources else {
        return Check::skipped(name, NO_CONFIG);
    };
    match &sources.sound {
        Sound::None => Check::skipped(name, "none is configured"),
        Sound::File(path) => readable(name, path),
        Sound::Device(device) => microphone(name, device),
    }
}

fn microphone(name: &'static str, device: &str) -> Check {
    // `default` is the host's choice, no device of that name
    match mic::probe(Some(device).filter(|d| *d != "default")) {
        Ok(found) if found.busy => {
            let finding = "somebody records from it now; that is well if it is demeanor";
            Check::warning(name, format!("{}: {finding}", found.device.id))
        }
        Ok(found) => Check::ok(name, format!("{}: {}", found.device.id, found.device.name)),
        Err(e) => Check::failed(name, e),
    }
}

pub(super) fn camera(sources: Option<&Sources>) -> Check {
    let name = "camera";
    let Some(sources) = sources else {
        return Check::skipped(name, NO_CONFIG);
    };
    match &sources.camera {
        CameraSpec::None => Check::skipped(name, "none is configured"),
        CameraSpec::Pictures(path) => readable(name, path),
        CameraSpec::Device(path) => outcome(
            name,
            v4l::probe(path).map(|form| format!("{} sends {form}", path.display())),
        ),
        CameraSpec::Child(command) => outcome(name, program(command.program())),
    }
}

/// Whether what was measured of the place still holds.
pub(super) fn calibration(config: Option<&Config>, sources: Option<&Sources>) -> Check {
    let name = "place";
    let (Some(config), Some(sources)) = (config, sources) else {
        return Check::skipped(name, NO_CONFIG);
    };
    let Some(made) = &config.calibration else {
        return Check::skipped(
            name,
            "not calibrated; `demeanor calibrate` measures its background",
        );
    };
    let (microphone, camera) = sources.devices();
    let faults = made.faults(&microphone, &camera, jiff::Timestamp::now());
    match faults.is_empty() {
        true => Check::ok(name, measured(made)),
        false => Check::warning(name, faults.join("; ")),
    }
}

/// What was measured of the place, and when.
fn measured(made: &Calibration) -> String {
    let background = match made.background_date() {
        Some(date) => format!("calibrated {date}, {} minutes", made.minutes),
        None => "its background was not measured".into(),
    };
    let usual = made.usual_date();
    let usual = usual.map(|date| format!("; what is usual of the answers was measured {date}"));
    background + &usual.unwrap_or_default()
}

/// Whether a program can be started.
fn program(word: &str) -> Result<String, CaptureError> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    if word.contains('/') {
        places = vec![PathBuf::new()];
    }
    let runs = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    let found = places.iter().map(|p| p.join(word)).find(runs);
    found
        .map(|path| format!("{} can be started", path.display()))
        .ok_or_else(|| CaptureError::Camera {
            name: word.into(),
            what: "no such program can be started".into(),
            advice: "install it, or write its whole path into the config's [camera] command",
        })
}

/// A file, a folder, a pipe or standard input.
fn readable(name: &'static str, path: &Path) -> Check {
    let shown = path.display();
    if path == Path::new("-") {
        return Check::ok(name, "standard input");
    }
    match access(path, Access::READ_OK) {
        Ok(()) => Check::ok(name, format!("{shown} can be read")),
        Err(e) => Check::failed(
            name,
            format!("{shown}: {e}; check the path and whether it may be read"),
        ),
    }
}

/// Whether the lamp's line can be had. It is not lit.
pub(super) fn indicator(config: Option<&Config>, board: &Profile) -> Check {
    let wired = config.map(|c| &c.indicator.led);
    line(
        "indicator",
        "indicator.led",
        wired,
        board.indicator(),
        |line| pins::output(line, "demeanor doctor").map(drop),
    )
}

/// Whether the button's line can be had.
pub(super) fn button(config: Option<&Config>, board: &Profile) -> Check {
    let wired = config.map(|c| &c.button.line);
    line("button", "button.line", wired, board.button(), |line| {
        pins::input(line, "demeanor doctor").map(drop)
    })
}

fn line(
    name: &'static str,
    field: &str,
    wired: Option<&Wired>,
    board: Option<Line>,
    take: impl FnOnce(&Line) -> Result<(), BoardError>,
) -> Check {
    let Some(wired) = wired else {
        return Check::skipped(name, NO_CONFIG);
    };
    let line = match run::line(wired, board, field) {
        Ok(Some(line)) => line,
        Ok(None) => return Check::skipped(name, "none is wired"),
        Err(e) => return Check::failed(name, e),
    };
    let place = format!("line {} of {}", line.line, line.chip);
    match take(&line) {
        Ok(()) => Check::ok(name, format!("{place} can be had")),
        Err(BoardError::InUse { by, .. }) if by.starts_with(OURS) => {
            Check::ok(name, format!("{place} is held by the demeanor that runs"))
        }
        Err(e) => Check::failed(name, Error::from(e)),
    }
}

fn outcome(name: &'static str, found: Result<impl Display, CaptureError>) -> Check {
    match found {
        Ok(finding) => Check::ok(name, finding),
        Err(e) => Check::failed(name, e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::Finding;

    #[test]
    fn programs_are_looked_for_as_they_would_be_started() {
        assert!(program("sh").is_ok_and(|found| found.contains("/sh ")));
        assert!(program("/bin/sh").is_ok());
        let plain = std::env::temp_dir().join(format!("demeanor-plain-{}", std::process::id()));
        std::fs::write(&plain, "no program").expect("written");
        let found = program(&plain.display().to_string());
        std::fs::remove_file(plain).expect("removed");
        assert!(found.is_err());
        assert!(program("no-such-program-anywhere").is_err());
    }

    #[test]
    fn a_line_that_the_service_holds_is_well() {
        let chip = "c".to_owned();
        let wired = Wired::To(Line {
            chip: chip.clone(),
            line: 4,
            active_low: false,
            bias: Default::default(),
        });
        let held = |by: &str| {
            line("indicator", "indicator.led", Some(&wired), None, |_| {
                Err(BoardError::InUse {
                    chip: chip.clone(),
                    line: 4,
                    by: by.into(),
                })
            })
        };
        assert_eq!(held("demeanor indicator").verdict, Finding::Ok);
        let by_other = held("gpioset");
        assert_eq!(by_other.verdict, Finding::Failed);
        assert!(by_other.finding.contains("in use by gpioset; end that"));
    }
}
