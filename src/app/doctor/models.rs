//! The bundles, and one inference of each task on sound, words and pixels that are made up.

use super::{Check, Report};
use crate::Error;
use crate::app::answer::Tasks;
use crate::model::manifest::Task;
use crate::model::{Bundle, ModelError, Origin};
use crate::tasks::emotion::Emotion;
use crate::tasks::expression::Expression;
use crate::tasks::rehearse::SECONDS;
use crate::tasks::sentiment::Sentiment;
use crate::tasks::words::TextTrunk;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What was loaded, held so that its memory counts.
pub(super) type Loaded = (Option<Emotion>, Option<Sentiment>, Option<Expression>);

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

/// Loads and asks each of `tasks` once; those that look at pictures only if somebody `looks`.
pub(super) fn try_each<W: Write>(
    models: Option<&Path>,
    tasks: Tasks,
    looks: bool,
    report: &mut Report<'_, W>,
) -> Result<Loaded, Error> {
    let hears = tasks.emotion;
    let emotion = attempt(Task::Emotion, hears, true, report, || emotion(models))?;
    let trunk = emotion.as_ref().map(Emotion::text);
    let sentiment = attempt(Task::Sentiment, tasks.sentiment, looks, report, || {
        sentiment(models, trunk)
    })?;
    // emotion looks at faces too
    let faces = tasks.expression || tasks.emotion;
    let expression = attempt(Task::Expression, faces, looks, report, || {
        expression(models)
    })?;
    Ok((emotion, sentiment, expression))
}

/// A task that has answered twice; the second time counts.
struct Trial<T> {
    task: T,
    load: f64,
    of: String,
    scores: Vec<f32>,
    spent: f64,
}

fn attempt<T, W: Write>(
    task: Task,
    wanted: bool,
    has_input: bool,
    report: &mut Report<'_, W>,
    trial: impl FnOnce() -> Result<Trial<T>, ModelError>,
) -> Result<Option<T>, Error> {
    let name = task.name();
    if !wanted {
        report.add(Check::skipped(name, "switched off by [decision] tasks"))?;
        return Ok(None);
    }
    if !has_input {
        report.add(Check::skipped(name, "no camera is configured"))?;
        return Ok(None);
    }
    match trial() {
        Ok(trial) => {
            report.add(judged(name, &trial))?;
            Ok(Some(trial.task))
        }
        Err(e) => {
            report.add(Check::failed(name, e))?;
            Ok(None)
        }
    }
}

/// Whether the scores are probabilities, and came in time.
fn judged<T>(name: &'static str, trial: &Trial<T>) -> Check {
    let Trial {
        load, of, spent, ..
    } = trial;
    let sum: f32 = trial.scores.iter().sum();
    let each = trial.scores.iter().all(|p| (0.0..=1.0).contains(p));
    if !each || (sum - 1.0).abs() > 1e-3 {
        let finding = format!(
            "{of} gave {:?}, which are no probabilities; run again with DEMEANOR_ISA=scalar \
             and report both",
            trial.scores
        );
        return Check::failed(name, finding);
    }
    let finding = format!("{of} in {spent:.1} ms, loaded in {load:.0} ms");
    if *spent > SECONDS * 1e3 {
        return Check::warning(name, format!("{finding}: slower than people speak"));
    }
    Check::ok(name, finding)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Runs `ask` twice, and gives its answer and the time of the second run.
fn twice<R>(mut ask: impl FnMut() -> Result<R, ModelError>) -> Result<(R, f64), ModelError> {
    ask()?;
    let start = Instant::now();
    Ok((ask()?, milliseconds(start)))
}

/// Loads a task and asks it twice.
fn trial<T>(
    of: &str,
    load: impl FnOnce() -> Result<T, ModelError>,
    mut ask: impl FnMut(&mut T) -> Result<Vec<f32>, ModelError>,
) -> Result<Trial<T>, ModelError> {
    let start = Instant::now();
    let mut task = load()?;
    let load = milliseconds(start);
    let (scores, spent) = twice(|| ask(&mut task))?;
    Ok(Trial {
        task,
        load,
        of: of.into(),
        scores,
        spent,
    })
}

fn emotion(models: Option<&Path>) -> Result<Trial<Emotion>, ModelError> {
    let load = || Emotion::load(&Bundle::find(Task::Emotion, models)?);
    trial(
        &format!("{SECONDS} s of sound and words"),
        load,
        Emotion::rehearse,
    )
}

fn sentiment(
    models: Option<&Path>,
    trunk: Option<&Arc<TextTrunk>>,
) -> Result<Trial<Sentiment>, ModelError> {
    let load = || Sentiment::load(&Bundle::find(Task::Sentiment, models)?, trunk);
    trial("a picture with words", load, Sentiment::rehearse)
}

fn expression(models: Option<&Path>) -> Result<Trial<Expression>, ModelError> {
    let load = || Expression::load(&Bundle::find(Task::Expression, models)?);
    let of = "a picture, searched for faces, and one face";
    trial(of, load, Expression::rehearse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::Verdict;

    fn tried(scores: &[f32], spent: f64) -> Trial<()> {
        Trial {
            task: (),
            load: 1.0,
            of: "something".into(),
            scores: scores.to_vec(),
            spent,
        }
    }

    #[test]
    fn only_probabilities_are_well() {
        let verdict = |scores: &[f32]| judged("emotion", &tried(scores, 1.0)).verdict;
        assert_eq!(verdict(&[0.25, 0.75]), Verdict::Ok);
        for wrong in [&[][..], &[0.5], &[f32::NAN, 1.0], &[-0.5, 1.5], &[1.0, 1.0]] {
            assert_eq!(verdict(wrong), Verdict::Failed, "{wrong:?}");
        }
        let slow = judged("emotion", &tried(&[1.0], 5000.0));
        assert_eq!(slow.verdict, Verdict::Warning);
    }
}
