//! `demeanor calibrate`: listens and looks at a place in which nobody speaks to the device, and
//! sets what a voice and a face must be like there.

use super::run::{self, Calibrating};
use crate::Error;
use crate::config::Config;
use crate::config::calibration::{Calibration, Usual, Watched};
use crate::sink::Fanout;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What to listen to, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// As `run` has them; the config is written, too.
    pub run: run::Options,
    /// Minutes with open sources.
    pub minutes: f64,
    /// False answers an hour that are allowed.
    pub false_answers: f64,
    /// People use the device meanwhile: what is usual of its answers is measured, and no background.
    pub people: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            run: run::Options::default(),
            minutes: 10.0,
            false_answers: 1.0,
            people: false,
        }
    }
}

/// Runs with notice, lamp and mute as `run` does, tells no answer, and writes `[calibration]`
/// into the config.
///
/// # Errors
/// As `run`; nothing that was listened to; a config that cannot be written.
pub fn calibrate(options: &Options, sink: Fanout) -> Result<bool, Error> {
    let lasts = Duration::from_secs_f64(options.minutes * 60.0);
    let calibrating = Arc::new(Calibrating::new(
        lasts,
        options.false_answers,
        options.people,
    ));
    run::calibrate(&options.run, sink, &calibrating)
}

/// Writes what was measured into the config, and says it in a few lines on standard error.
///
/// # Errors
/// A config that cannot be read or written.
pub(super) fn write(config: &Path, made: &Calibration, people: bool) -> Result<(), Error> {
    let failed = |path: &Path, doing| {
        let path = path.to_path_buf();
        move |source| Error::File {
            path,
            doing,
            source,
        }
    };
    let text = fs::read_to_string(config).map_err(failed(config, "read"))?;
    let placed = made.place(&text);
    // what is written must be what `run` reads
    Config::parse(&placed).map_err(|what| Error::Config {
        path: config.into(),
        what,
    })?;
    let aside = aside(config);
    let written = fs::File::create(&aside)
        .and_then(|mut file| {
            file.write_all(placed.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .and_then(|()| fs::set_permissions(&aside, fs::metadata(config)?.permissions()))
        .and_then(|()| fs::rename(&aside, config));
    if written.is_err() {
        // what cannot be removed either is told by the error that is given
        let _ = fs::remove_file(&aside);
    }
    written.map_err(failed(config, "written"))?;
    let lines = match people {
        true => made.usual.iter().map(told).collect(),
        false => summary(made),
    };
    for line in lines {
        // standard output is for events; where nobody reads the other there is nobody to tell
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    Ok(())
}

fn aside(config: &Path) -> PathBuf {
    let name = config.file_name().unwrap_or_default().to_string_lossy();
    config.with_file_name(format!(".{name}.partial"))
}

/// What is usual, in a line.
fn told(usual: &Usual) -> String {
    let (task, answers) = (&usual.task, usual.answers);
    match usual.of {
        Watched::Unsure => {
            let share = 100.0 * usual.mean;
            format!("{task}: {share:.0}% of {answers} answers left open")
        }
        of => format!(
            "{task}: distance of {} {:.2} in {answers} answers",
            of.name(),
            usual.mean
        ),
    }
}

fn summary(made: &Calibration) -> Vec<String> {
    let mut lines = Vec::new();
    let share = |p: Option<f32>| p.map_or("the bundle's own".into(), |p| format!("{p:.2}"));
    lines.push(format!(
        "{} minutes: {} sounds that seemed speech, {} looks that seemed to show a face",
        made.minutes, made.sounds, made.faces
    ));
    lines.push(format!(
        "least probability of speech {}, of a face {}, level floor {}",
        share(made.speech),
        share(made.face),
        made.level
            .map_or("none".into(), |level| format!("{level:.0} dB"))
    ));
    // with none in so long a time, three in that time are the 95% bound
    let bound = 3.0 * 60.0 / made.minutes.max(0.1);
    if bound > made.false_answers {
        lines.push(format!(
            "so short a time rules out no less than {bound:.0} false answers an hour (95%): \
             calibrate longer to be surer"
        ));
    }
    lines
}
