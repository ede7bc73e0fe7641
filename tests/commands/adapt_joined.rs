//! `demeanor adapt` on items of two kinds: what neither a voice nor words, neither a picture nor
//! words tell alone, the head that reads both is taught.

use super::adapt::{ASKING, GREETING, voice};
use super::adapt_pictures::png;
use crate::support::*;
use serde_json::Value;
use std::fs;

/// An item of each of three kinds for each of these words; the first kind alone is `wanted`.
fn table(column: &str, wanted: &str, file: impl Fn(usize, bool) -> String) -> String {
    let mut table = format!("{column},text,label,group\n");
    for (i, (asking, greeting)) in ASKING.iter().zip(GREETING).enumerate() {
        for (first, words) in [(true, *asking), (false, *asking), (true, greeting)] {
            let is_wanted = first && words == *asking;
            let label = if is_wanted { wanted } else { "anything else" };
            let file = file(i, first);
            table += &format!("{file},\"{words}\",{label},person {}\n", i % 4);
        }
    }
    table
}

/// Adapts; the joined head must be better than before by more than chance, and than each alone.
fn adapt(task: &str, joined: &str, alone: [&str; 2], table: &str, out: &str) -> String {
    let args = [
        "adapt", "--task", task, "--data", table, "--out", out, "--json",
    ];
    let ran = demeanor(&args);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let report: Value = serde_json::from_str(ran.out.trim()).expect("one object");
    let head = |name: &str| {
        let heads = report["heads"].as_array().expect("heads");
        let found = heads.iter().find(|h| h["name"] == name).expect(name);
        assert_eq!(found["before"]["ua"], 0.5, "{report}");
        (found["after"]["ua"].as_f64(), found["better"] == true)
    };
    let (ua, is_better) = head(joined);
    assert!(is_better && ua > Some(0.9), "{report}");
    for name in alone {
        assert!(head(name).0 < ua.map(|ua| ua - 0.05), "{name}: {report}");
    }
    fs::read_to_string(format!("{out}/manifest.toml")).expect("the manifest")
}

fn label(args: &[&str], modality: &str) -> String {
    let ran = demeanor(&[&["analyze", "--json"], args].concat());
    let events = ran.events();
    let event = events.first().expect(&ran.err);
    assert_eq!(event["modality"], modality, "{event}");
    event["label"].as_str().expect("a label").to_owned()
}

#[test]
fn voices_and_words_teach_what_neither_tells_alone() {
    if is_emulated() {
        eprintln!("not in an emulator, where two dozen recordings take a minute");
        return;
    }
    let folder = Folder::new();
    let file = |i: usize, fast: bool| {
        let pace = if fast { 0.6 } else { 1.5 } + 0.01 * i as f32;
        let name = format!("{i}-{fast}.wav");
        folder.file(&name, wav_i16(16_000, 1, &voice(0.03 * i as f32, pace)));
        name
    };
    let data = folder.file("t.csv", table("audio", "hurried question", file));
    let out = folder.path("ours").display().to_string();
    let alone = ["text-only", "speech-only"];
    let manifest = adapt("emotion", "attention constraint", alone, &data, &out);
    assert!(
        manifest.contains(r#"reads = ["text.tokens", "speech.frames"]"#),
        "{manifest}"
    );
    // the same voice with other words
    let fast = folder.path("3-true.wav").display().to_string();
    let say = |words| label(&["--models", &out, "--text", words, &fast], "speech+text");
    assert_eq!(say("Where can I get a ticket?"), "hurried question");
    assert_eq!(say("Hello, good morning"), "anything else");
}

/// A meadow by day, or a town by night.
fn picture(i: usize, day: bool) -> Vec<u8> {
    let shift = i as u32;
    png(96, |x, y| {
        let grain = ((x * 13 + y * 29 + shift * 31) % 24) as u8;
        match (day, y < 40 + shift) {
            (true, true) => [90 + grain, 150 + grain, 225],
            (true, false) => [60 + grain, 130 + grain, 50],
            (false, true) => [8 + grain / 2, 8 + grain / 2, 25 + grain],
            (false, false) if (x / 9 + y / 11 + shift).is_multiple_of(3) => [235, 190 + grain, 90],
            (false, false) => [25 + grain, 22 + grain, 30],
        }
    })
}

#[test]
fn pictures_and_words_teach_what_neither_tells_alone() {
    if is_emulated() {
        eprintln!("not in an emulator, where two dozen pictures take a minute");
        return;
    }
    let folder = Folder::new();
    let file = |i: usize, day: bool| {
        let name = format!("{i}-{day}.png");
        folder.file(&name, picture(i, day));
        name
    };
    let data = folder.file("t.csv", table("image", "asked by day", file));
    let out = folder.path("ours").display().to_string();
    let alone = ["text-only", "image-only"];
    let manifest = adapt("sentiment", "late fusion", alone, &data, &out);
    assert!(
        manifest.contains(r#"reads = ["text.tokens", "image.patches"]"#),
        "{manifest}"
    );
    let day = folder.path("3-true.png").display().to_string();
    let args = |words| ["--tasks", "sentiment", "--models", &out, "--text", words];
    let say = |words| label(&[&args(words)[..], &[day.as_str()]].concat(), "image+text");
    assert_eq!(say("Where can I get a ticket?"), "asked by day");
    assert_eq!(say("Hello, good morning"), "anything else");
}
