//! The bundles, and one inference of each task on sound, words and pixels that are made up.

use super::{Check, Report};
use crate::Error;
use crate::model::manifest::Trunk;
use crate::model::{Bundle, Origin};
use crate::session::{self, Recogniser, Session, Tasks, Trial};
use crate::signal::SAMPLE_RATE;
use std::io::Write;
use std::path::Path;

/// Milliseconds that people speak before an answer is due: the sound that a task is tried on.
const SPEECH_MS: f64 = 4e3;

/// Hashes of all files of all bundles.
pub(super) fn bundles(models: Option<&Path>) -> Check {
    let name = "models";
    let verified = crate::model::bundles(models).and_then(|found| {
        found.iter().try_for_each(Bundle::verify)?;
        Ok(found)
    });
    match verified {
        Ok(found) if found.is_empty() => Check::failed(
            name,
            "no bundle is here; name a folder that holds one with --models",
        ),
        Ok(found) => {
            let names: Vec<String> = found.iter().map(Bundle::name).collect();
            let origin = match found[0].origin {
                Origin::Embedded => "built in".into(),
                Origin::Folder(_) => models.map_or(String::new(), |m| m.display().to_string()),
            };
            Check::ok(
                name,
                format!(
                    "{} are what their manifests say ({origin})",
                    names.join(", ")
                ),
            )
        }
        Err(e) => Check::failed(name, e),
    }
}

/// Loads and asks each task that a config wants; those that look at images only if somebody
/// `looks`. The session holds what `run` would hold.
pub(super) fn try_each<W: Write>(
    models: Option<&Path>,
    tasks: Option<&Tasks>,
    looks: bool,
    report: &mut Report<'_, W>,
) -> Result<Option<Session>, Error> {
    let opened = Session::open(session::Options {
        models: models.map(Path::to_path_buf),
        ..session::Options::default()
    });
    // a bundle that is refused was told before
    let Ok(mut session) = opened else {
        return Ok(None);
    };
    for task in session.tasks() {
        let exclusive = session
            .bundle(&task)
            .is_none_or(|b| b.manifest.is_exclusive());
        let reads = |trunk| {
            session
                .bundle(&task)
                .is_some_and(|b| b.manifest.reads(trunk))
        };
        let needs_camera = reads(Trunk::Image) || reads(Trunk::Face);
        let wanted = tasks.is_none_or(|t| t.has(&task)) || session.is_read(&task);
        report.add(match (wanted, looks || !needs_camera) {
            (false, _) => Check::skipped(&task, "switched off by [decision] tasks"),
            (true, false) => Check::skipped(&task, "no camera is configured"),
            (true, true) => match session.try_task(&task) {
                Ok(trial) => judged(&task, &trial, exclusive),
                Err(e) => Check::failed(&task, e),
            },
        })?;
    }
    for task in tasks.iter().flat_map(|t| t.names()) {
        if session.bundle(task).is_none() {
            let known = session.tasks().join(", ");
            let finding = format!("no bundle answers it; the tasks here are {known}");
            report.add(Check::failed(task, finding))?;
        }
    }
    Ok(Some(session))
}

/// Loads the recogniser in a folder and has it hear made-up sound, twice; the second time counts.
pub(super) fn recogniser(dir: &Path) -> (Check, Option<Recogniser>) {
    let name = "recogniser";
    let sound: Vec<f32> = (0..SAMPLE_RATE as usize * 4)
        .map(|i| (i as f32 * 0.05).sin() * (i as f32 * 0.001).sin() * 0.3)
        .collect();
    let tried = Recogniser::open(dir, 1).and_then(|mut recogniser| {
        recogniser.transcribe(&sound)?;
        let heard = recogniser.transcribe(&sound)?;
        Ok((recogniser, heard.spent))
    });
    match tried {
        Ok((recogniser, spent)) => {
            let finding = format!("{}: 4 s of sound in {spent:.1} ms", recogniser.bundle());
            let check = match spent > SPEECH_MS {
                true => Check::warning(name, format!("{finding}: slower than people speak")),
                false => Check::ok(name, finding),
            };
            (check, Some(recogniser))
        }
        Err(e) => (Check::failed(name, e), None),
    }
}

/// Whether the scores are probabilities, and came in time.
fn judged(name: &str, trial: &Trial, exclusive: bool) -> Check {
    let sum: f32 = trial.scores.iter().sum();
    let each = trial.scores.iter().all(|p| (0.0..=1.0).contains(p));
    if !each || exclusive && (sum - 1.0).abs() > 1e-3 {
        let finding = format!(
            "{} gave {:?}, which are no probabilities; run again with DEMEANOR_ISA=scalar \
             and report both",
            trial.about, trial.scores
        );
        return Check::failed(name, finding);
    }
    let finding = format!(
        "{} in {:.1} ms, loaded in {:.0} ms",
        trial.about, trial.spent, trial.load
    );
    if trial.spent > SPEECH_MS {
        return Check::warning(name, format!("{finding}: slower than people speak"));
    }
    Check::ok(name, finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::Finding;

    fn tried(scores: &[f32], spent: f64) -> Trial {
        Trial {
            about: "something".into(),
            load: 1.0,
            spent,
            scores: scores.to_vec(),
        }
    }

    #[test]
    fn only_probabilities_are_well() {
        let verdict = |scores: &[f32]| judged("emotion", &tried(scores, 1.0), true).verdict;
        assert_eq!(verdict(&[0.25, 0.75]), Finding::Ok);
        for wrong in [&[][..], &[0.5], &[f32::NAN, 1.0], &[-0.5, 1.5], &[1.0, 1.0]] {
            assert_eq!(verdict(wrong), Finding::Failed, "{wrong:?}");
        }
        let slow = judged("emotion", &tried(&[1.0], 5000.0), true);
        // names in words have scores each
        let own = judged("entities", &tried(&[0.2, 0.1], 1.0), false);
        assert_eq!(own.verdict, Finding::Ok);
        assert_eq!(slow.verdict, Finding::Warning);
    }
}
