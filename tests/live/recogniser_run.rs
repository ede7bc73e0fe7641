//! A recogniser in a run, and sound that nobody would call speech: the toy of
//! `tests/data/toy_recogniser`, and the real one where `DEMEANOR_RECOGNISER` names its folder.

#![cfg(unix)]

use crate::support::*;
use demeanor::{Recogniser, Transcript};
use serde_json::{Value, json};
use slow::slow;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NOTICE: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n";
const RATE: usize = 16_000;

fn toy() -> PathBuf {
    repo("tests/data/toy_recogniser")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A run that hears the sample with the toy; `more` is added to `[text]`.
fn run_with_toy(more: &str, stdin: &[u8], args: &[&str]) -> Vec<Value> {
    let folder = Folder::new();
    let config = format!("{NOTICE}[text]\nrecogniser = {:?}\n{more}", toy());
    let config = folder.file("run.toml", config);
    let sample = repo("tests/data/sample.wav");
    let first = ["run", "--config", &config, "--audio", text(&sample)];
    let ran = demeanor_with(&[&first[..], args].concat(), stdin);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(more.contains("in_events") || !ran.err.contains("hello"));
    let events = ran.events().into_iter();
    let answers: Vec<Value> = events.filter(|e| e["task"] == "emotion").collect();
    assert!(answers.len() >= 2, "{}", ran.out);
    answers
}

#[test]
fn recognised_words_reach_the_answer_and_stay_in_memory() {
    let answers = run_with_toy("", b"", &[]);
    for answer in &answers {
        assert_eq!(answer["modality"], json!("speech+text"));
        let words = answer["words"].as_object().expect("it says whose words");
        assert_eq!(words["from"], json!("recognised"));
        assert!(words["confidence"].as_f64().is_some_and(|c| c > 0.5));
        assert_eq!(words.len(), 2, "{answer}");
        assert!(!answer.to_string().contains("hello"), "{answer}");
    }
    // the same sentence typed leads to the same answer
    let sample = repo("tests/data/sample.wav");
    let folder = Folder::new();
    let alone = folder.path("alone.wav");
    fs::copy(&sample, &alone).expect("copied");
    let lines = "0.1 3.4 hello there.\n4.0 8.8 hello there.\n";
    let words = folder.file("said.txt", lines);
    let typed = demeanor(&[
        "analyze",
        text(&alone),
        "--words",
        &words,
        "--tasks",
        "emotion",
        "--json",
    ]);
    assert_eq!(typed.code, Some(0), "{}", typed.err);
    let scores =
        |events: &[Value]| -> Vec<Value> { events.iter().map(|e| e["scores"].clone()).collect() };
    assert_eq!(scores(&answers), scores(&typed.events()));
}

#[test]
fn recognised_words_are_told_only_if_the_config_says_so() {
    for answer in run_with_toy("in_events = true\n", b"", &[]) {
        assert_eq!(answer["words"]["text"], json!("hello there."));
    }
}

#[test]
fn typed_words_win_over_recognised_ones() {
    let typed = fs::read(repo("tests/data/sample.txt")).expect("the words");
    for answer in run_with_toy("", &typed, &["--text-stdin"]) {
        assert_eq!(answer["modality"], json!("speech+text"));
        assert!(answer["words"].is_null(), "{answer}");
        assert!(answer["latency_ms"]["recognise"].is_null(), "{answer}");
    }
}

#[test]
fn a_press_while_words_are_recognised_mutes_and_they_are_never_answered() {
    let folder = Folder::new();
    let log = folder.path("audit.jsonl");
    let dir = slow(&folder);
    let mut alone = Recogniser::open(&dir, 1).expect("it opens");
    let heard = alone.transcribe(&sample()[..3 * RATE]).expect("it hears");
    assert!(heard.spent > 100.0, "it is not slow: {heard:?}");
    let config = format!("{NOTICE}[text]\nrecogniser = {dir:?}\n[audit]\nfile = {log:?}\n");
    let config = folder.file("run.toml", config);
    let mut child = command(&["run", "--config", &config, "--audio", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let flood = std::thread::spawn(move || {
        let mut sound = fs::read(repo("tests/data/sample.wav")).expect("the sample");
        // as a pipe has it: no length
        sound[4..8].fill(0xff);
        sound[40..44].fill(0xff);
        let samples = sound[44..].to_vec();
        while stdin.write_all(&sound).is_ok() {
            sound.clone_from(&samples);
        }
    });
    let pid = child.id().to_string();
    let signal = |name: &str| {
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.is_ok_and(|s| s.success()));
    };
    let out = BufReader::new(child.stdout.take().expect("piped"));
    let mut events = out.lines().map_while(Result::ok).map(|line| event(&line));
    let first = events.find(|e| e["task"] == "emotion").expect("an answer");
    assert_eq!(first["modality"], json!("speech"));
    assert!(
        first["notes"].to_string().contains("too uncertain"),
        "{first}"
    );
    // the next utterances wait already: one of them is being recognised
    signal("USR1");
    let begun = Instant::now();
    let muted = || fs::read_to_string(&log).is_ok_and(|l| l.contains("\"event\":\"mute\""));
    while !muted() {
        assert!(begun.elapsed() < soon(), "it listens still");
        std::thread::sleep(Duration::from_millis(2));
    }
    let told = |e: &Value| e["source"] == "button" && e["state"] == "muted";
    assert!(events.any(|e| told(&e)));
    std::thread::sleep(Duration::from_millis(500));
    signal("TERM");
    let after: Vec<Value> = events.filter(|e| e["task"] != "state").collect();
    assert!(after.is_empty(), "{after:#?}");
    assert!(child.wait().expect("it ends").success());
    flood.join().expect("written");
}

fn tones(parts: &[(f32, f32)], seconds: f32) -> Vec<f32> {
    let at = |i: usize| {
        let wave = |(hertz, height): &(f32, f32)| {
            (i as f32 / RATE as f32 * hertz * std::f32::consts::TAU).sin() * height
        };
        parts.iter().map(wave).sum::<f32>()
    };
    (0..(seconds * RATE as f32) as usize).map(at).collect()
}

/// A tune of chords, a note each quarter of a second.
fn tune() -> Vec<f32> {
    let notes = [262.0, 330.0, 392.0, 523.0, 440.0, 349.0, 294.0, 392.0];
    let chord = |hertz: &f32| {
        let parts = [
            (*hertz, 0.2),
            (hertz * 1.25, 0.1),
            (hertz * 1.5, 0.1),
            (hertz * 2.0, 0.05),
        ];
        tones(&parts, 0.25)
    };
    notes.iter().cycle().take(24).flat_map(chord).collect()
}

/// What holds of every answer, whatever the sound was.
fn is_sound(name: &str, seconds: f32, heard: &Transcript) {
    let shares = [heard.confidence, heard.no_speech];
    assert!(
        shares.iter().all(|x| (0.0..=1.0).contains(x)),
        "{name}: {heard:?}"
    );
    // a decoder that runs away is stopped by length, in every piece
    let most = 6.0 * seconds + 4.0 * (seconds / 5.0).ceil();
    assert!(
        heard.tokens as f32 <= most,
        "{name}: {} tokens",
        heard.tokens
    );
    let said = heard.text.to_lowercase();
    let words: Vec<&str> = said.split_whitespace().collect();
    let loops = words.chunks(3).collect::<Vec<_>>();
    let again = loops
        .windows(3)
        .filter(|w| w[0] == w[1] && w[1] == w[2])
        .count();
    // pieces of one recording may say the same, each of them once
    assert!(again <= (seconds / 5.0) as usize, "{name}: {said}");
}

fn hear(recogniser: &mut Recogniser) {
    let speech = sample();
    let word = &speech[RATE / 4..RATE];
    let clipped = |x: &f32| (x * 40.0).clamp(-1.0, 1.0);
    let both = speech
        .iter()
        .zip(speech.iter().skip(4 * RATE))
        .map(|(a, b)| a + b);
    for (name, sound) in [
        ("silence", vec![0.0; 3 * RATE]),
        ("a tune", tune()),
        (
            "ten minutes of one word",
            word.iter().copied().cycle().take(600 * RATE).collect(),
        ),
        (
            "clipped speech",
            speech[..4 * RATE].iter().map(clipped).collect(),
        ),
        (
            "a clipped tone",
            tones(&[(300.0, 50.0)], 3.0).iter().map(clipped).collect(),
        ),
        ("two voices at once", both.collect()),
        (
            "full scale, sign by sign",
            (0..RATE).map(|i| [1.0, -1.0][i % 2]).collect(),
        ),
    ] {
        let heard = recogniser.transcribe(&sound).expect("it hears");
        is_sound(name, sound.len() as f32 / RATE as f32, &heard);
        if name == "silence" {
            assert_eq!(heard.words(), None, "{name}: {heard:?}");
        }
    }
}

#[test]
fn sound_that_is_no_plain_speech_is_answered_within_bounds() {
    hear(&mut Recogniser::open(&toy(), 1).expect("it opens"));
}

#[test]
fn the_real_recogniser_stays_within_bounds_too() {
    let Ok(dir) = std::env::var("DEMEANOR_RECOGNISER") else {
        eprintln!("DEMEANOR_RECOGNISER names no bundle: the real recogniser was not tried");
        return;
    };
    let mut real = Recogniser::open(Path::new(&dir), 1).expect("it opens");
    hear(&mut real);
    let music = real.transcribe(&tune()).expect("it hears");
    assert_eq!(music.words(), None, "{music:?}");
}
