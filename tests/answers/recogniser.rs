//! A recogniser from its bundle to words, events and an evaluation: a toy that knows two sentences
//! (models/recipes/references/toy_recogniser.py), and the real one where `DEMEANOR_RECOGNISER`
//! names its folder.

use crate::support::*;
use demeanor::{Cut, Observation, Recogniser, Session, SessionOptions, Utterance, Verdict};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const RATE: usize = 16_000;

fn toy() -> PathBuf {
    repo("tests/data/toy_recogniser")
}

fn tone(hertz: f32, seconds: f32) -> Vec<f32> {
    let at = |i: usize| (i as f32 / RATE as f32 * hertz * std::f32::consts::TAU).sin() * 0.3;
    (0..(seconds * RATE as f32) as usize).map(at).collect()
}

/// The same noise each time: all heights alike.
fn noise(seconds: f32) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 * 0.2 - 0.1
    };
    (0..(seconds * RATE as f32) as usize)
        .map(|_| next())
        .collect()
}

/// A copy of the toy, with files changed and their hashes mended.
fn changed(folder: &Folder, change: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> PathBuf {
    let dir = folder.path("changed");
    fs::create_dir_all(&dir).expect("a folder");
    let mut manifest = fs::read_to_string(toy().join("manifest.toml")).expect("a manifest");
    let hash = |bytes: &[u8]| -> String {
        let digest = Sha256::digest(bytes);
        digest.iter().map(|b| format!("{b:02x}")).collect()
    };
    for name in ["encoder.onnx", "decoder.onnx", "vocab.txt"] {
        let bytes = fs::read(toy().join(name)).expect("a file");
        let mended = change(name, bytes.clone());
        manifest = manifest.replace(&hash(&bytes), &hash(&mended));
        fs::write(dir.join(name), mended).expect("written");
    }
    let manifest = change("manifest.toml", manifest.into_bytes());
    fs::write(dir.join("manifest.toml"), manifest).expect("written");
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_sentence_ends_though_the_decoder_would_begin_again() {
    let mut toy = Recogniser::open(&toy(), 1).expect("it opens");
    let heard = toy.transcribe(&tone(200.0, 2.0)).expect("it hears");
    assert_eq!((heard.text.as_str(), heard.cut), ("hello there.", None));
    assert_eq!((heard.verdict, heard.tokens), (Verdict::Words, 3));
    assert_eq!(heard.words(), Some("hello there."));
    assert!(
        heard.confidence > 0.9 && heard.no_speech < 0.01,
        "{heard:?}"
    );
    // what the decoder keeps of one sound is not left for the next, though it is as long
    let other = toy.transcribe(&tone(5000.0, 2.0)).expect("it hears");
    assert_eq!(other.text, "no");
    let again = toy.transcribe(&tone(200.0, 2.0)).expect("it hears");
    assert_eq!((&again.text, again.steps), (&heard.text, heard.steps));
    assert_eq!(again.confidence.to_bits(), heard.confidence.to_bits());
    assert!(heard.steps >= heard.tokens + 2 && heard.encoder < heard.spent);
}

#[test]
fn a_loop_is_cut_and_said() {
    let mut toy = Recogniser::open(&toy(), 1).expect("it opens");
    for seconds in [0.2, 2.0, 9.9] {
        let heard = toy.transcribe(&tone(5000.0, seconds)).expect("it hears");
        assert_eq!(
            (heard.text.as_str(), heard.cut),
            ("no", Some(Cut::Repeated))
        );
    }
}

#[test]
fn where_nobody_speaks_there_are_no_words() {
    let mut toy = Recogniser::open(&toy(), 1).expect("it opens");
    for silence in [
        noise(2.0),
        Vec::new(),
        vec![0.0; 100],
        vec![0.0; 10 * RATE],
        vec![0.25; RATE],
        vec![0.1; 1],
    ] {
        let heard = toy.transcribe(&silence).expect("it hears");
        assert_eq!(
            (heard.text.as_str(), heard.verdict),
            ("", Verdict::NoSpeech)
        );
        assert_eq!((heard.words(), heard.tokens), (None, 0));
        assert!(heard.no_speech > 0.9, "{heard:?}");
    }
}

#[test]
fn long_sound_is_heard_piece_by_piece() {
    let mut toy = Recogniser::open(&toy(), 2).expect("it opens");
    let heard = toy.transcribe(&tone(200.0, 25.0)).expect("it hears");
    assert_eq!(heard.text, "hello there. hello there. hello there.");
    assert_eq!(heard.tokens, 9);
}

#[test]
fn files_that_do_not_belong_together_are_refused_in_a_sentence() {
    let folder = Folder::new();
    let cut = |name: &str, bytes: Vec<u8>| match name {
        "vocab.txt" => bytes
            .splitn(5, |b| *b == b'\n')
            .take(4)
            .collect::<Vec<_>>()
            .join(&b'\n'),
        _ => bytes,
    };
    let sample = repo("tests/data/sample.wav");
    let refused = |dir: &Path, what: &str| {
        let args = ["transcribe", text(&sample), "--recogniser", text(dir)];
        demeanor(&args).is_error(what);
    };
    refused(&changed(&folder, cut), "vocab.txt holds 4");
    let other = |name: &str, bytes: Vec<u8>| match name {
        "encoder.onnx" => fs::read(repo("tests/data/toy_entities/words.onnx")).expect("a file"),
        _ => bytes,
    };
    refused(
        &changed(&folder, other),
        "takes inputs [\"patches\"], expected [\"mel\"]",
    );
    let renamed = |name: &str, bytes: Vec<u8>| match name {
        // the same length, so that the file stays a file
        "encoder.onnx" => replaced(&bytes, b"cross_value_0", b"other_value_0"),
        _ => bytes,
    };
    refused(&changed(&folder, renamed), "do not belong together");
    let beyond = |name: &str, bytes: Vec<u8>| match name {
        "manifest.toml" => replaced(&bytes, b"no_speech = 8", b"no_speech = 9"),
        _ => bytes,
    };
    refused(&changed(&folder, beyond), "the manifest names token 9");
    refused(&repo("models/emotion"), "recognises no words");
    refused(&folder.path("nowhere"), "nowhere");
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len().saturating_sub(from.len()) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    bytes
}

#[test]
fn a_recording_is_written_down_as_files_of_words_are_read() {
    let (sample, toy) = (repo("tests/data/sample.wav"), toy());
    let args = ["transcribe", text(&sample), "--recogniser", text(&toy)];
    let ran = demeanor(&args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.out);
    for line in lines {
        let mut parts = line.splitn(3, ' ');
        let mut time = || parts.next().and_then(|t| t.parse::<f64>().ok());
        let (start, end) = (time(), time());
        assert!(start < end && start >= Some(0.0), "{line}");
        assert_eq!(parts.next(), Some("hello there."));
    }
    let ran = demeanor(&[&args[..], &["--json"]].concat());
    for report in ran.reports() {
        assert_eq!(report["text"], json!("hello there."));
        assert_eq!(
            (&report["verdict"], &report["cut"]),
            (&json!("words"), &Value::Null)
        );
        assert!(report["confidence"].as_f64().is_some_and(|c| c > 0.5));
    }
    demeanor(&["transcribe", text(&sample)]).is_error("--recogniser");
    demeanor(&["transcribe", "--recogniser", text(&toy)]).is_error("FILE");
}

#[test]
fn events_say_that_words_are_recognised_and_tell_them_only_if_asked() {
    let folder = Folder::new();
    // no file of words beside it
    let sample = folder.path("alone.wav");
    fs::copy(repo("tests/data/sample.wav"), &sample).expect("copied");
    let toy = toy();
    let args = [
        "analyze",
        text(&sample),
        "--tasks",
        "emotion",
        "--all",
        "--json",
    ];
    let with = |more: &[&str]| {
        let ran = demeanor(&[&args[..], more].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.events()
    };
    let without = with(&[]);
    assert!(
        without
            .iter()
            .all(|e| e["words"].is_null() && e["modality"] == json!("speech"))
    );
    let heard = with(&["--recogniser", text(&toy)]);
    for event in &heard {
        assert_eq!(event["modality"], json!("speech+text"));
        assert_eq!(event["words"]["from"], json!("recognised"));
        assert!(
            event["words"]["confidence"]
                .as_f64()
                .is_some_and(|c| c > 0.5)
        );
        assert!(
            event["latency_ms"]["recognise"]
                .as_f64()
                .is_some_and(|ms| ms > 0.0)
        );
        assert!(!event.to_string().contains("hello"), "{event}");
    }
    let told = with(&["--recogniser", text(&toy), "--recognised-words"]);
    assert!(
        told.iter()
            .all(|e| e["words"]["text"] == json!("hello there."))
    );
    // who gives words is believed
    let typed = with(&["--recogniser", text(&toy), "--text", "I miss her so much."]);
    assert!(
        typed
            .iter()
            .all(|e| e["words"].is_null() && e["modality"] == json!("speech+text"))
    );
}

#[test]
fn a_session_hears_as_typed_words_would_say_and_no_voice_that_may_not_be_judged() {
    let options = SessionOptions {
        tasks: Some(demeanor::Tasks::parse("emotion").expect("a list")),
        recogniser: Some(toy()),
        all_sounds: true,
        ..SessionOptions::default()
    };
    let utterance = Utterance {
        start: Duration::ZERO,
        samples: tone(200.0, 2.0),
        gaps: Vec::new(),
        cut: false,
    };
    let observed = Observation::of_utterance("", &utterance);
    let mut session = Session::open(options.clone()).expect("it opens");
    assert!(session.recognises());
    let heard = session.observe(&observed).expect("it answers");
    assert!(heard[0].recognised.is_some());
    session.restart();
    let typed = session
        .observe(&observed.with_words("hello there."))
        .expect("it answers");
    assert_eq!(heard[0].scores, typed[0].scores);
    assert_eq!(typed[0].recognised, None);
    let silent = SessionOptions {
        voice: false,
        ..options
    };
    let mut session = Session::open(silent).expect("it opens");
    assert!(session.observe(&observed).expect("it answers").is_empty());
}

#[test]
fn uncertain_words_are_left_out_and_that_is_said() {
    let folder = Folder::new();
    let strict = |name: &str, bytes: Vec<u8>| match name {
        "manifest.toml" => replaced(&bytes, b"unsure_below = 0.5", b"unsure_below = 1.0"),
        _ => bytes,
    };
    let dir = changed(&folder, strict);
    let sample = folder.path("alone.wav");
    fs::copy(repo("tests/data/sample.wav"), &sample).expect("copied");
    let args = [
        "analyze",
        text(&sample),
        "--recogniser",
        text(&dir),
        "--all",
        "--json",
    ];
    for event in demeanor(&args).events() {
        assert_eq!(
            (&event["modality"], &event["words"]),
            (&json!("speech"), &Value::Null)
        );
        assert!(
            event["notes"].to_string().contains("too uncertain"),
            "{event}"
        );
        // what it took to hear them counts all the same
        let latency = &event["latency_ms"];
        let (heard, all) = (&latency["recognise"], &latency["total"]);
        assert!(
            heard.as_f64() > Some(0.0) && all.as_f64() > heard.as_f64(),
            "{event}"
        );
    }
    let ran = demeanor(&["transcribe", text(&sample), "--recogniser", text(&dir)]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.contains("doubtful"), "{}", ran.err);
}

#[test]
fn the_evaluation_counts_words_and_what_is_heard_where_nobody_speaks() {
    let folder = Folder::new();
    let table = folder.path("table.csv");
    let wav = |name: &str, samples: &[f32]| {
        fs::write(folder.path(name), wav_f32(RATE as u32, 1, samples)).expect("written");
    };
    wav("low.wav", &tone(200.0, 2.0));
    wav("noise.wav", &noise(2.0));
    let rows = "id,audio,text,label\n1,low.wav,Hello there!,calm\n2,low.wav,hello,calm\n\
                3,noise.wav,,\n4,gone.wav,hello,calm\n";
    fs::write(&table, rows).expect("written");
    let toy = toy();
    let args = [
        "eval",
        "--task",
        "recognition",
        "--data",
        text(&table),
        "--models",
        text(&toy),
    ];
    let ran = demeanor(&[&args[..], &["--json", "--reference", text(&toy)]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report = &ran.reports()[0];
    assert_eq!((&report["n"], &report["skipped"]), (&json!(2), &json!(1)));
    assert_eq!(report["metrics"]["wer"], json!(0.3333));
    assert_eq!(report["metrics"]["exact"], json!(0.5));
    assert_eq!(report["without_words"], json!({ "n": 1, "heard": 0 }));
    assert_eq!(report["labels"]["calm"]["n"], json!(2));
    assert_eq!(report["reference"]["difference"]["wer"], json!(0.0));
    let ran = demeanor(&args);
    assert!(
        ran.out
            .contains("nobody speaks in 1: words were heard in 0"),
        "{}",
        ran.out
    );
    demeanor(&[&args[..], &["--detect"]].concat()).is_error("--task recognition takes");
    demeanor(&args[..5]).is_error("no bundle answers `recognition`");
}

#[test]
fn the_real_recogniser_hears_what_is_said() {
    let Ok(dir) = std::env::var("DEMEANOR_RECOGNISER") else {
        eprintln!("DEMEANOR_RECOGNISER names no bundle: the real recogniser was not tried");
        return;
    };
    let sample = repo("tests/data/sample.wav");
    let ran = demeanor(&["transcribe", text(&sample), "--recogniser", &dir]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let said: Vec<String> = ran
        .out
        .to_lowercase()
        .split_whitespace()
        .map(String::from)
        .collect();
    for word in ["told", "twice,", "angry", "miss", "house", "empty"] {
        assert!(
            said.iter().any(|w| w.trim_matches('.') == word),
            "{word}: {}",
            ran.out
        );
    }
    let mut real = Recogniser::open(Path::new(&dir), 1).expect("it opens");
    for (name, sound) in [
        ("silence", vec![0.0; 4 * RATE]),
        ("noise", noise(4.0)),
        ("hum", tone(50.0, 4.0)),
        ("beep", tone(1000.0, 4.0)),
        (
            "clipped",
            tone(300.0, 4.0).iter().map(|x| x.signum()).collect(),
        ),
        (
            "a click",
            (0..4 * RATE)
                .map(|i| if i == RATE { 1.0 } else { 0.0 })
                .collect(),
        ),
    ] {
        let heard = real.transcribe(&sound).expect("it hears");
        assert_eq!(heard.words(), None, "{name}: {heard:?}");
    }
}
