//! The bundles, and one inference of each task on sound, words and pixels that are made up.

use super::{Check, Report};
use crate::Error;
use crate::app::answer::Tasks;
use crate::event::Latency;
use crate::model::manifest::Task;
use crate::model::{Bundle, ModelError, Origin};
use crate::signal::SAMPLE_RATE;
use crate::tasks::emotion::{Emotion, Input, Words};
use crate::tasks::expression::Expression;
use crate::tasks::sentiment::Sentiment;
use crate::tasks::words::TextTrunk;
use crate::vision::Picture;
use crate::vision::resize::Crop;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Seconds of made-up sound.
const SECONDS: f64 = 4.0;
const WORDS: &str = "I told you twice that it would not work, and now look at this!";

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

fn emotion(models: Option<&Path>) -> Result<Trial<Emotion>, ModelError> {
    let start = Instant::now();
    let mut task = Emotion::load(&Bundle::find(Task::Emotion, models)?)?;
    let load = milliseconds(start);
    let count = (SECONDS * f64::from(SAMPLE_RATE)) as usize;
    let voice: Vec<f32> = (0..count)
        .map(|i| (i as f32 * 0.05).sin() * (i as f32 * 0.001).sin() * 0.3)
        .collect();
    let input = Input {
        speech: Some(&voice),
        words: Some(Words {
            text: WORDS,
            history: &[],
        }),
    };
    let (answer, spent) = twice(|| {
        let encodings = task.encode(&input)?;
        task.answer(&encodings)
    })?;
    Ok(Trial {
        task,
        load,
        of: format!("{SECONDS} s of sound and words"),
        scores: answer.map(|a| a.scores).unwrap_or_default(),
        spent,
    })
}

/// A frame of a camera that sees nothing.
fn picture(bundle: &Bundle) -> Result<Picture, ModelError> {
    let shade = |x: u32, y: u32| [(x * 7 + y) as u8, (x ^ y) as u8, (y * 5) as u8];
    Picture::from_fn(640, 480, shade).ok_or_else(|| ModelError::Run {
        name: bundle.name(),
        what: "no picture of 640 × 480 can be made".into(),
    })
}

fn sentiment(
    models: Option<&Path>,
    trunk: Option<&Arc<TextTrunk>>,
) -> Result<Trial<Sentiment>, ModelError> {
    let start = Instant::now();
    let bundle = Bundle::find(Task::Sentiment, models)?;
    let mut task = Sentiment::load(&bundle, trunk)?;
    let load = milliseconds(start);
    let picture = picture(&bundle)?;
    let (answer, spent) = twice(|| {
        let encodings = task.encode(Some(&picture), Some(WORDS))?;
        task.answer(&encodings)
    })?;
    Ok(Trial {
        task,
        load,
        of: "a picture with words".into(),
        scores: answer.map(|a| a.scores).unwrap_or_default(),
        spent,
    })
}

fn expression(models: Option<&Path>) -> Result<Trial<Expression>, ModelError> {
    let start = Instant::now();
    let bundle = Bundle::find(Task::Expression, models)?;
    let mut task = Expression::load(&bundle)?;
    let load = milliseconds(start);
    let picture = picture(&bundle)?;
    let (scores, spent) = twice(|| {
        let mut latency = Latency::default();
        task.detect(&picture, &mut latency)?;
        // no face is in it: the whole picture is taken for one
        task.of_crop(&picture, Crop::whole(&picture), &mut latency)
    })?;
    Ok(Trial {
        task,
        load,
        of: "a picture, searched for faces, and one face".into(),
        scores,
        spent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::Verdict;

    fn trial(scores: &[f32], spent: f64) -> Trial<()> {
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
        let verdict = |scores: &[f32]| judged("emotion", &trial(scores, 1.0)).verdict;
        assert_eq!(verdict(&[0.25, 0.75]), Verdict::Ok);
        for wrong in [&[][..], &[0.5], &[f32::NAN, 1.0], &[-0.5, 1.5], &[1.0, 1.0]] {
            assert_eq!(verdict(wrong), Verdict::Failed, "{wrong:?}");
        }
        let slow = judged("emotion", &trial(&[1.0], 5000.0));
        assert_eq!(slow.verdict, Verdict::Warning);
    }
}
