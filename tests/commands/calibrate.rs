//! `demeanor calibrate`: a place's background sets the gates, and nothing of it is kept.

use crate::support::*;
use std::fs;

const NOTICE: &str = "# ours\n[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n\n\
                      [text]\nwait = 0.5 # seconds\n";

/// The events of a run of the sample with a config.
fn answers(config: &str, audio: &str) -> Vec<serde_json::Value> {
    let ran = demeanor(&["run", "--config", config, "--audio", audio, "--json"]);
    let events = ran.events().into_iter();
    events
        .filter(|e| e["type"] == "answer" || e["label"].is_string())
        .collect()
}

#[test]
fn what_was_background_is_not_judged_afterwards() {
    let folder = Folder::new();
    let config = folder.file("demeanor.toml", NOTICE);
    // a television that talks all day is the background here, and a quiet one
    let quiet: Vec<f32> = sample().iter().map(|x| x * 0.02).collect();
    let audio = folder.file("television.wav", wav_i16(16_000, 1, &quiet));
    let voiced = |events: Vec<serde_json::Value>| {
        events
            .iter()
            .filter(|e| e["modality"]["speech"] == true || e["modality"] == "speech")
            .count()
    };
    assert!(voiced(answers(&config, &audio)) > 0);
    let args = [
        "calibrate",
        "--config",
        &config,
        "--audio",
        &audio,
        "--false-answers",
        "0",
    ];
    let ran = demeanor(&args);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert!(!ran.out.contains("angry"), "no answer is told: {}", ran.out);
    let text = fs::read_to_string(&config).expect("it");
    assert!(text.starts_with(NOTICE.trim_end()), "{text}");
    for field in [
        "[calibration]",
        "date = ",
        "minutes = ",
        "sounds = 2",
        "speech = 0.",
    ] {
        assert!(text.contains(field), "{field}: {text}");
    }
    assert_eq!(voiced(answers(&config, &audio)), 0, "{text}");
    // twice is once
    let ran = demeanor(&args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let again = fs::read_to_string(&config).expect("it");
    assert_eq!(again.matches("[calibration]").count(), 1, "{again}");
    // what was made with another microphone does not hold here
    let other = folder.file("other.wav", wav_i16(16_000, 1, &sample()));
    let ran = demeanor(&["run", "--config", &config, "--audio", &other, "--json"]);
    assert!(
        ran.err.contains("television.wav") && ran.err.contains("calibrate"),
        "{}",
        ran.err
    );
    let ran = demeanor(&["doctor", "--config", &config]);
    assert!(ran.out.contains("place"), "{}", ran.out);
}

#[test]
fn what_cannot_be_measured_leaves_the_config_as_it_was() {
    let folder = Folder::new();
    let config = folder.file("demeanor.toml", NOTICE);
    let short = folder.file("short.wav", wav_i16(16_000, 1, &[0.0; 1600]));
    let ran = demeanor(&["calibrate", "--config", &config, "--audio", &short]);
    assert_eq!(ran.code, Some(2), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("stays as it is"), "{}", ran.err);
    assert_eq!(fs::read_to_string(&config).expect("it"), NOTICE);
    let unsigned = folder.file("unsigned.toml", NOTICE.replace("true", "false"));
    demeanor(&["calibrate", "--config", &unsigned, "--audio", &short]).is_error("people are told");
    let wrong = folder.file(
        "wrong.toml",
        format!("{NOTICE}[calibration]\ndate = \"yesterday\"\n"),
    );
    demeanor(&["run", "--config", &wrong, "--audio", &short])
        .is_error("missing field `microphone`");
}
