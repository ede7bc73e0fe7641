//! Drift: another microphone is told, and what is as before is not.

use crate::support::*;
use serde_json::Value;
use std::fs;

const NOTICE: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n";

/// `n` utterances with pauses: pieces of the sample, faster and slower, louder and quieter.
fn talk(n: usize, first: usize) -> Vec<f32> {
    let samples = sample();
    let mut all = Vec::new();
    for i in first..first + n {
        let start = (0.1 + 0.037 * (i % 11) as f32) * samples.len() as f32;
        let part = &samples[start as usize..(start as usize + 20_000).min(samples.len())];
        let rate = 13_500 + 421 * (i * 5 % 13) as u32;
        let gain = 0.3 + 0.05 * (i * 3 % 10) as f32;
        all.extend(at_rate(part, rate).iter().map(|x| x * gain));
        all.extend([0.0; 12_800]);
    }
    all
}

fn drifts(events: &[Value]) -> Vec<(&str, &str, &str)> {
    events
        .iter()
        .filter(|e| e["state"] == "drifted" || e["state"] == "back")
        .filter_map(|e| {
            Some((
                e["source"].as_str()?,
                e["state"].as_str()?,
                e["detail"].as_str()?,
            ))
        })
        .collect()
}

/// A calibration of the background.
fn measured(audio: &str) -> String {
    format!(
        "{NOTICE}\n[calibration]\ndate = \"2026-01-27T00:00:00Z\"\nmicrophone = \"{audio}\"\n\
         camera = \"none\"\nminutes = 60.0\nfalse_answers = 1.0\nsounds = 0\nfaces = 0\n"
    )
}

/// A calibration of voices at this distance, too.
fn calibrated(audio: &str, mean: f64) -> String {
    let background = measured(audio);
    format!(
        "{background}[[calibration.usual]]\ntask = \"emotion\"\nof = \"speech\"\ndate = \"2026-11-27T00:00:00Z\"\nmean = {mean}\n\
         within = 0.3\nbetween = 0.05\nanswers = 300\n"
    )
}

#[test]
fn voices_that_are_others_than_at_calibration_are_told_and_the_same_ones_are_not() {
    if is_emulated() {
        eprintln!("not in an emulator, where a hundred utterances take minutes");
        return;
    }
    let folder = Folder::new();
    let page = folder.path("demeanor.prom").display().to_string();
    let audio = folder.file("microphone.wav", wav_i16(16_000, 1, &talk(30, 3)));
    let run = |calibration: &str| {
        let config = format!("{calibration}\n[metrics]\nfile = \"{page}\"\n");
        let config = folder.file("run.toml", config);
        let args = [
            "run", "--config", &config, "--audio", &audio, "--tasks", "emotion", "--json",
        ];
        let ran = demeanor(&args);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.events()
    };
    // people before a good microphone calibrated it (RAVDESS, as the emotion card has it); what
    // comes now is a voice that no person has
    let events = run(&calibrated(&audio, 0.09));
    let told = drifts(&events);
    assert_eq!(told.len(), 1, "{told:?}");
    let (source, state, detail) = told[0];
    assert_eq!((source, state), (audio.as_str(), "drifted"));
    for words in [
        "farther",
        "at calibration",
        "instead of 0.09",
        "another microphone, room or language?",
    ] {
        assert!(detail.contains(words), "{detail}");
    }
    let figures = fs::read_to_string(&page).expect("a page");
    let figure = |name: &str| -> f64 {
        let sample = format!("demeanor_{name}{{task=\"emotion\",of=\"speech\"}} ");
        let line = figures.lines().find_map(|line| line.strip_prefix(&sample));
        line.and_then(|value| value.parse().ok()).expect(&figures)
    };
    assert!(
        figure("drift") > 1.0 && figure("drift_usual") == 0.09,
        "{figures}"
    );
    // calibrated with this very voice, nothing is told
    let events = run(&calibrated(&audio, figure("drift_mean")));
    assert!(drifts(&events).is_empty());
    // nor where another microphone was calibrated: that says nothing of this one
    let events = run(&calibrated("another", -9.0));
    let told = drifts(&events);
    assert!(
        told.iter().all(|t| !t.2.contains("at calibration")),
        "{told:?}"
    );
}

#[test]
fn what_is_usual_is_measured_with_people_and_enough_of_their_answers() {
    if is_emulated() {
        eprintln!("not in an emulator, where a hundred utterances take minutes");
        return;
    }
    let folder = Folder::new();
    let config = folder.file("run.toml", NOTICE);
    let calibrate = |samples: &[f32]| {
        let audio = folder.file("microphone.wav", wav_i16(16_000, 1, samples));
        demeanor(&[
            "calibrate",
            "--config",
            &config,
            "--audio",
            &audio,
            "--people",
        ])
    };
    calibrate(&talk(6, 0)).is_error("fewer than 100 answers");
    assert_eq!(fs::read_to_string(&config).expect("it"), NOTICE);
    // a room that was measured before keeps its date, and what is usual has its own
    let audio = folder.path("microphone.wav").display().to_string();
    folder.file("run.toml", measured(&audio));
    let ran = calibrate(&talk(140, 0));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!ran.out.contains("angry"), "no answer is told: {}", ran.out);
    let text = fs::read_to_string(&config).expect("it");
    for field in [
        "[calibration]",
        "[[calibration.usual]]",
        "of = \"speech\"",
        "of = \"unsure\"",
    ] {
        assert!(text.contains(field), "{field}: {text}");
    }
    let dates = text.lines().filter(|line| line.starts_with("date = "));
    let old = dates.clone().filter(|line| line.contains("2026-01-27"));
    assert_eq!((dates.count(), old.count()), (3, 1), "{text}");
}
