//! The main job on the bundled models and the bundled sample.

use crate::support::*;
use serde_json::Value;
use std::fs;

fn check(event: &Value) {
    assert_eq!(event["schema"], "demeanor.event/1");
    let scores = event["scores"].as_object().expect("scores");
    let labels: Vec<&String> = scores.keys().collect();
    assert_eq!(labels, ["angry", "happy", "sad", "neutral"]);
    let sum: f64 = scores.values().filter_map(Value::as_f64).sum();
    assert!((sum - 1.0).abs() < 2e-3, "{event}");
    let label = event["label"].as_str().expect("label");
    assert!(label == "unsure" || scores.contains_key(label), "{event}");
    assert!(
        event["latency_ms"]["total"]
            .as_f64()
            .is_some_and(|ms| ms > 0.0),
        "{event}"
    );
    assert!(
        event["bundle"].as_str().is_some_and(|b| b.contains('@')),
        "{event}"
    );
}

#[test]
fn the_sample_with_its_sidecar_gives_one_joint_event_an_utterance() {
    let sample = repo("tests/data/sample.wav");
    let ran = demeanor(&["analyze", sample.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let events = ran.events();
    assert_eq!(events.len(), 2, "{}", ran.out);
    events.iter().for_each(check);
    assert!(
        events.iter().all(|e| e["modality"] == "speech+text"),
        "{}",
        ran.out
    );
    let times: Vec<f64> = events
        .iter()
        .flat_map(|e| [e["start"].as_f64(), e["end"].as_f64()])
        .flatten()
        .collect();
    assert!(times.windows(2).all(|t| t[0] < t[1]), "{times:?}");
}

#[test]
fn without_words_the_speech_head_answers_and_says_so() {
    let folder = Folder::new();
    let alone = folder.file(
        "alone.wav",
        std::fs::read(repo("tests/data/sample.wav")).unwrap(),
    );
    let ran = demeanor(&["analyze", &alone]);
    for event in ran.events() {
        check(&event);
        assert_eq!(event["modality"], "speech");
        assert_eq!(event["notes"][0], "no text: speech-only head");
    }
}

/// The words alone are easy enough that a model that learned anything gets them right.
#[test]
fn plain_words_are_recognised() {
    let cases = [
        ("I hate you, this makes me furious!", "angry"),
        ("This is wonderful, I am so happy for you!", "happy"),
        ("I am so sad, I cried all night and I miss her.", "sad"),
        ("The meeting starts at ten in the second room.", "neutral"),
    ];
    for (text, label) in cases {
        let ran = demeanor(&["analyze", "--text", text]);
        let event = &ran.events()[0];
        check(event);
        assert_eq!(event["modality"], "text");
        let scores = event["scores"].as_object().unwrap();
        let best = scores
            .iter()
            .max_by(|a, b| a.1.as_f64().partial_cmp(&b.1.as_f64()).unwrap());
        assert_eq!(best.map(|b| b.0.as_str()), Some(label), "{text}: {event}");
    }
}

#[test]
fn what_is_said_in_sarcasm_is_not_happy_and_what_is_meant_is() {
    let label = |text: &str| demeanor(&["analyze", "--text", text]).events()[0]["label"].clone();
    let sarcastic = "Oh great, another delay. I just love waiting.";
    assert_ne!(label(sarcastic), "happy", "{sarcastic}");
    for sincere in [
        "Thank you so much, this is wonderful!",
        "What a lovely day at the beach with my kids!",
    ] {
        assert_eq!(label(sincere), "happy", "{sincere}");
    }
}

#[test]
fn explain_names_tokens_and_frames() {
    let sample = repo("tests/data/sample.wav");
    let ran = demeanor(&["analyze", "--explain", sample.to_str().unwrap()]);
    for event in ran.events() {
        let tokens = event["explain"]["tokens"].as_array().expect("tokens");
        let frames = event["explain"]["frames"].as_array().expect("frames");
        assert!(!tokens.is_empty() && !frames.is_empty(), "{event}");
        let (start, end) = (
            event["start"].as_f64().unwrap(),
            event["end"].as_f64().unwrap(),
        );
        for frame in frames {
            let at = frame["at"].as_f64().unwrap();
            assert!(start <= at && at <= end, "{event}");
        }
        for salient in tokens.iter().chain(frames) {
            assert!(
                salient["similarity"]
                    .as_f64()
                    .is_some_and(|s| (-1.001..=1.001).contains(&s))
            );
        }
    }
}

/// The joint head explains, though not all that it reads is there.
#[test]
fn half_of_an_utterance_is_explained_by_what_it_has() {
    let folder = Folder::new();
    let sample = fs::read(repo("tests/data/sample.wav")).unwrap();
    let voice = folder.file("voice.wav", sample);
    let halves = [
        (vec!["analyze", "--explain", &voice], "frames", "tokens"),
        (
            vec!["analyze", "--explain", "--text", "I miss her so much."],
            "tokens",
            "frames",
        ),
    ];
    for (args, there, missing) in halves {
        let ran = demeanor(&args);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        for event in ran.events() {
            let listed = |name: &str| event["explain"][name].as_array().map_or(0, Vec::len);
            assert!(listed(there) > 0 && listed(missing) == 0, "{event}");
        }
    }
}

#[test]
fn history_changes_the_answer_and_nothing_is_remembered_across_files() {
    let scores = |args: &[&str]| demeanor(args).events()[0]["scores"].clone();
    let alone = scores(&["analyze", "--text", "Yes."]);
    let after = scores(&[
        "analyze",
        "--text",
        "Yes.",
        "--history",
        "My mother died last night.",
    ]);
    assert_ne!(alone, after);
    assert_eq!(alone, scores(&["analyze", "--text", "Yes."]));
}

#[test]
fn a_high_threshold_is_unsure() {
    let ran = demeanor(&["analyze", "--text", "hm", "--unsure-below", "1"]);
    assert_eq!(ran.events()[0]["label"], "unsure");
}

#[test]
fn embedded_and_folder_bundles_answer_alike() {
    let embedded = demeanor(&["analyze", "--text", "what a day"]).events()[0]["scores"].clone();
    let models = repo("models");
    let folder = demeanor(&[
        "analyze",
        "--text",
        "what a day",
        "--models",
        models.to_str().unwrap(),
    ]);
    assert_eq!(embedded, folder.events()[0]["scores"], "{}", folder.err);
}

#[test]
fn the_shipped_encoders_multiply_integers_only() {
    let ran = demeanor(&["models"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for file in ["speech.onnx", "text.onnx"] {
        let line = ran
            .out
            .lines()
            .find(|l| l.contains(file))
            .unwrap_or_default();
        assert!(
            line.contains(" 0 float") && !line.contains(" 0 integer"),
            "{line}"
        );
    }
}

/// A telephone: two tones that beat, on for two seconds in three.
fn ringing() -> Vec<f32> {
    let tone = |at: f32, hz: f32| (at * hz * std::f32::consts::TAU).sin();
    (0..16_000 * 6)
        .map(|i| i as f32 / 16_000.0)
        .map(|at| match at % 3.0 < 2.0 {
            true => 0.25 * (tone(at, 440.0) + tone(at, 480.0)) * (0.6 + 0.4 * tone(at, 20.0)),
            false => 0.0,
        })
        .collect()
}

#[test]
fn a_telephone_is_not_sad() {
    let folder = Folder::new();
    let bytes = wav_i16(16_000, 1, &ringing());
    let path = folder.file("ring.wav", bytes);
    let ran = demeanor(&["analyze", &path, "--json"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    // with words it is the words that count
    let ran = demeanor(&["analyze", &path, "--text", "I am so happy", "--json"]);
    let event = &ran.events()[0];
    assert_eq!(event["modality"], "text", "{}", ran.out);
    // asked for, it is judged, and the event says what it was taken for
    let ran = demeanor(&["analyze", &path, "--all", "--json"]);
    for event in ran.events() {
        let notes = event["notes"].to_string();
        assert!(notes.contains("nobody seems to speak"), "{notes}");
    }
}
