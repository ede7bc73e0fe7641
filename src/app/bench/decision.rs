//! A whole decision: four seconds of sound, a picture and words to the events of every task, which
//! is what a user waits for.

use super::{Options, machine, timing};
use crate::Error;
use crate::event::Event;
use crate::kernels;
use crate::model::bundles;
use crate::session::{self, Observation, Scene, Session, Tasks};
use crate::signal::segment::Utterance;
use crate::vision::Picture;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

const WORDS: &str = "I told you twice that it would not work, and now look at what we have here!";

/// Measures it and prints it: the first one of a process, from reading the bundles on, and those
/// that follow, with the stages of one.
///
/// # Errors
/// A bundle that is refused or a model that fails.
pub(super) fn bench(options: &Options, out: &mut impl Write) -> Result<(), Error> {
    let sound = voice();
    let noise = |x: u32, y: u32| [(x * 7 + y) as u8, (x ^ y) as u8, (y * 5) as u8];
    let Some(picture) = Picture::from_fn(640, 480, noise) else {
        return Ok(());
    };
    let observed = Observation {
        source: "bench",
        utterance: Some(&sound),
        words: Some(WORDS),
        scene: Some(Scene {
            source: "bench",
            image: &picture,
            decode: None,
        }),
        ..Observation::default()
    };
    let start = Instant::now();
    let found = bundles(options.models.as_deref())?;
    let names: Vec<String> = found.iter().map(|b| b.manifest.task.clone()).collect();
    let mut session = Session::of(
        found,
        session::Options {
            tasks: Tasks::try_from(names.clone()).ok(),
            threads: options.threads,
            all_sounds: true,
            ..session::Options::default()
        },
    )?;
    let read = start.elapsed();
    let start = Instant::now();
    let mut answered = Ok(session.observe(&observed)?);
    let first = start.elapsed();
    let times = timing::sample(options.span(), || {
        session.restart();
        answered = session.observe(&observed);
        Ok(())
    })?;
    let decision = Decision {
        tasks: names,
        threads: options.threads,
        read,
        first,
        times,
        stages: stages(&answered?),
    };
    let printed = if options.json {
        writeln!(out, "{}", decision.json())
    } else {
        decision.print(out)
    };
    printed.and_then(|()| out.flush()).map_err(Error::Output)
}

struct Decision {
    tasks: Vec<String>,
    threads: usize,
    /// Reading the bundles and checking their hashes.
    read: Duration,
    /// The first decision, models loaded on the way.
    first: Duration,
    times: timing::Times,
    /// Milliseconds by stage, of the last decision.
    stages: BTreeMap<String, f64>,
}

fn millions(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Decision {
    fn json(&self) -> Value {
        let at = |share: f64| self.times.quantile(share);
        json!({
            "level": kernels::active().level().name(),
            "threads": self.threads,
            "tasks": self.tasks,
            "read_ms": millions(self.read),
            "first_ms": millions(self.first),
            "median_ns": at(0.5),
            "p95_ns": at(0.95),
            "p99_ns": at(0.99),
            "min_ns": at(0.0),
            "runs": self.times.runs(),
            "doubt": self.times.doubt(),
            "stages_ms": self.stages,
            "peak_rss_kb": machine::peak_resident(),
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let level = kernels::active().level();
        writeln!(out, "kernels {level}, threads {}", self.threads)?;
        writeln!(
            out,
            "4 s of sound, a 640x480 picture and 17 words: {}",
            self.tasks.join(", ")
        )?;
        let line = |out: &mut dyn Write, what: &str, ms: f64, more: &str| {
            writeln!(out, "{what:<28} {ms:>9.3} ms{more}")
        };
        line(out, "reading the bundles", millions(self.read), "")?;
        line(
            out,
            "the first decision",
            millions(self.first),
            ", models loaded on the way",
        )?;
        let ms = |share: f64| self.times.quantile(share) as f64 / 1e6;
        let more = format!(
            ", p95 {:.3}, p99 {:.3}, {} of them",
            ms(0.95),
            ms(0.99),
            self.times.runs()
        );
        line(out, "then, median", ms(0.5), &more)?;
        writeln!(out, "stages of the last, those that tasks share once:")?;
        let mut stages: Vec<_> = self.stages.iter().collect();
        stages.sort_by(|a, b| b.1.total_cmp(a.1));
        for (stage, took) in stages {
            line(out, &format!("  {stage}"), *took, "")?;
        }
        if let Some(kilobytes) = machine::peak_resident() {
            writeln!(out, "resident at most {:.0} MB", kilobytes as f64 / 1e3)?;
        }
        match self.times.doubt() {
            Some(doubt) => writeln!(out, "{doubt}; measure again when it is quiet"),
            None => Ok(()),
        }
    }
}

/// Four seconds of a made-up voice.
fn voice() -> Utterance {
    let sample = |i: u64| ((i * i) as f32 * 1e-6).sin() * (i as f32 * 0.01).sin() * 0.3;
    Utterance {
        start: Duration::ZERO,
        samples: (0..64_000).map(sample).collect(),
        gaps: Vec::new(),
        cut: false,
    }
}

/// Milliseconds of each stage: what several tasks share is counted once.
fn stages(events: &[Event]) -> BTreeMap<String, f64> {
    let mut stages = BTreeMap::new();
    for event in events {
        let Ok(Value::Object(latency)) = serde_json::to_value(event.latency) else {
            continue;
        };
        for (stage, took) in latency {
            let longest = stages.entry(stage).or_insert(0.0_f64);
            *longest = longest.max(took.as_f64().unwrap_or(0.0));
        }
    }
    stages
}
