//! Bad input: a clear sentence, the right exit code, no panic, nothing earlier lost.

use crate::support::*;
use std::fs;

const TONE: usize = 16_000;

fn tone() -> Vec<f32> {
    (0..TONE).map(|i| 0.3 * (i as f32 * 0.07).sin()).collect()
}

#[test]
fn a_file_that_is_no_sound_is_named() {
    let folder = Folder::new();
    let text = folder.file("notes.wav", "this is not a recording");
    demeanor(&["analyze", &text]).is_error("notes.wav");
    let missing = folder.path("nowhere.wav");
    demeanor(&["analyze", missing.to_str().unwrap()]).is_error("nowhere.wav");
    let empty = folder.file("empty.wav", "");
    demeanor(&["analyze", &empty]).is_error("empty.wav");
}

#[test]
fn a_cut_file_says_so_and_answers_with_what_is_there() {
    let folder = Folder::new();
    let whole = fs::read(repo("tests/data/sample.wav")).unwrap();
    // the first utterance is there, the second is cut off
    let cut = folder.file("cut.wav", &whole[..whole.len() / 2]);
    let ran = demeanor(&["analyze", &cut]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!ran.events().is_empty());
    assert!(ran.err.contains("cut.wav"), "{}", ran.err);
    // a header and nothing else
    let header = folder.file("header.wav", &whole[..30]);
    demeanor(&["analyze", &header]).is_error("header.wav");
}

#[test]
fn no_samples_is_an_error_and_silence_is_no_answer() {
    let folder = Folder::new();
    let none = folder.file("none.wav", wav_i16(16_000, 1, &[]));
    demeanor(&["analyze", &none]).is_error("none.wav");
    let silence = folder.file("silence.wav", wav_i16(16_000, 1, &[0.0; 48_000]));
    let ran = demeanor(&["analyze", &silence]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    assert!(ran.err.contains("no speech"), "{}", ran.err);
}

#[test]
fn any_rate_and_width_gives_the_same_utterances() {
    let folder = Folder::new();
    let samples = sample();
    let files = [
        folder.file("16k.wav", wav_i16(16_000, 1, &samples)),
        folder.file("8k.wav", wav_i16(8_000, 1, &at_rate(&samples, 8_000))),
        folder.file(
            "96k.wav",
            wav_f32(96_000, 2, &stereo(&at_rate(&samples, 96_000))),
        ),
    ];
    let counts: Vec<usize> = files
        .iter()
        .map(|f| demeanor(&["analyze", f]).events().len())
        .collect();
    assert!(
        counts[0] >= 2 && counts.iter().all(|n| *n == counts[0]),
        "{counts:?}"
    );
}

#[test]
fn samples_that_are_no_numbers_are_refused() {
    let folder = Folder::new();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut samples = tone();
        samples[TONE / 2] = bad;
        let file = folder.file("nan.wav", wav_f32(16_000, 1, &samples));
        demeanor(&["analyze", &file]).is_error("nan.wav");
    }
}

const NOTICE: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n\
    [decision]\nsmooth = 0\ntasks = [\"emotion\"]\n";

fn answers(ran: &Ran) -> usize {
    let events = ran.events();
    events.iter().filter(|e| e["task"] == "emotion").count()
}

/// The details of what `run` says of its sources in this state.
fn states(ran: &Ran, state: &str) -> Vec<String> {
    let events = ran.events();
    let told = events.iter().filter(|e| e["state"] == state);
    told.map(|e| e["detail"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn ten_thousand_bad_lines_leave_every_good_one_answered() {
    let folder = Folder::new();
    let config = folder.file("run.toml", NOTICE);
    let bad: [&[u8]; 7] = [
        b"{\"partial\" : \"you\"}",
        b"{\"text\": \"no",
        b"10.5 9 it was so close",
        b"th\xFFree",
        b"{",
        b"00:00:xx,400 --> 00:00:03,290",
        b"[00:00:05.000 --> 00:00:02.000] two",
    ];
    let mut input = Vec::new();
    for i in 0..10_000 {
        input.extend(bad[i % bad.len()]);
        input.push(b'\n');
        if i % 500 == 499 {
            input.extend(b"you left me alone and i cry\n");
        }
    }
    let args = [
        "run",
        "--config",
        &config,
        "--audio",
        "none",
        "--text-stdin",
    ];
    let ran = demeanor_with(&args, &input);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(answers(&ran), 20, "{}", ran.out);
    let told = states(&ran, "skipped");
    assert!(
        (2..10).contains(&told.len()),
        "told, and not without end: {told:?}"
    );
    assert!(
        told.iter().any(|t| t.contains("partial results")),
        "{told:?}"
    );
    assert!(
        told.iter().any(|t| t.contains("standard input, line ")),
        "{told:?}"
    );
}

#[test]
fn ten_thousand_samples_that_are_no_numbers_leave_a_live_stream_heard() {
    let folder = Folder::new();
    let config = folder.file("run.toml", NOTICE);
    let mut samples = sample();
    let args = ["run", "--config", &config, "--audio", "-"];
    let whole = demeanor_with(&args, &wav_f32(16_000, 1, &samples));
    // Where next to nothing is lost: at the quietest samples.
    let mut quietest: Vec<usize> = (0..samples.len()).collect();
    quietest.sort_by(|a, b| samples[*a].abs().total_cmp(&samples[*b].abs()));
    for (i, at) in quietest[..10_000].iter().enumerate() {
        samples[*at] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][i % 3];
    }
    let ran = demeanor_with(&args, &wav_f32(16_000, 1, &samples));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        answers(&whole) >= 2 && answers(&ran) == answers(&whole),
        "{}",
        ran.out
    );
    let told = states(&ran, "skipped");
    assert!(told.iter().any(|t| t.contains("no numbers")), "{told:?}");
}

#[test]
fn words_beside_a_recording_are_read_in_whatever_form_they_come() {
    let folder = Folder::new();
    let sound = folder.file("talk.wav", fs::read(repo("tests/data/sample.wav")).unwrap());
    let ours = fs::read_to_string(repo("tests/data/sample.txt")).unwrap();
    let (anger, grief) = (
        "I told you twice, stop it, I am so angry with you!",
        "I miss her so much, and the house is empty now.",
    );
    assert!(ours.contains(anger) && ours.contains(grief));
    let whisper = format!(
        "[00:00:00.400 --> 00:00:03.298]   {anger}\n[00:00:04.298 --> 00:00:09.027]   {grief}\n"
    );
    let srt = format!(
        "2\n00:00:04,298 --> 00:00:09,027\n{grief}\n\n1\n00:00:00,400 --> 00:00:03,298\n{anger}\n"
    );
    let scores = |name: &str, words: &str| {
        let path = folder.file(name, words);
        let ran = demeanor(&["analyze", &sound, "--json"]);
        fs::remove_file(path).unwrap();
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.err);
        let events = ran.events();
        assert!(
            events.iter().all(|e| e["modality"] == "speech+text"),
            "{name}: {}",
            ran.out
        );
        let scores = events.iter().map(|e| e["scores"].to_string());
        scores.collect::<Vec<_>>()
    };
    let expected = scores("talk.txt", &ours);
    assert_eq!(expected.len(), 2);
    for (name, words) in [
        ("talk.wav.txt", &whisper),
        ("talk.txt", &srt),
        ("talk.srt", &srt),
    ] {
        assert_eq!(scores(name, words), expected, "{name}");
    }
    let wrong = folder.file("talk.vtt", "WEBVTT\n\n00:01.000 --> later\nwords\n");
    demeanor(&["analyze", &sound]).is_error("talk.vtt, line 3: ");
    fs::remove_file(wrong).unwrap();
}

#[test]
fn wires_of_opposite_phase_are_heard_and_channels_can_be_named() {
    let folder = Folder::new();
    let samples: Vec<f32> = sample().iter().flat_map(|x| [*x, -*x]).collect();
    let file = folder.file("wires.wav", wav_i16(16_000, 2, &samples));
    let heard = demeanor(&["analyze", &file]);
    assert_eq!((heard.code, answers(&heard)), (Some(0), 2), "{}", heard.err);
    let named = demeanor(&["analyze", &file, "--channel", "0"]);
    let scores = |ran: &Ran| -> Vec<String> {
        let events = ran.events();
        events.iter().map(|e| e["scores"].to_string()).collect()
    };
    assert_eq!(scores(&named), scores(&heard));
    let mixed = demeanor(&["analyze", &file, "--channel", "mix"]);
    assert_eq!((mixed.code, answers(&mixed)), (Some(1), 0));
    assert!(mixed.err.contains("cancel each other"), "{}", mixed.err);
    demeanor(&["analyze", &file, "--channel", "2"]).is_error("no channel 2");
    demeanor(&["analyze", &file, "--channel", "left"]).is_error("`left` is no channel");
    // The same in a config, for a pipe.
    let config = folder.file("run.toml", format!("{NOTICE}[audio]\nchannel = 7\n"));
    let args = ["run", "--config", &config, "--audio", &file];
    demeanor(&args).is_error("no channel 7");
    let config = folder.file("mix.toml", format!("{NOTICE}[audio]\nchannel = \"mix\"\n"));
    let ran = demeanor(&["run", "--config", &config, "--audio", &file]);
    assert!(
        states(&ran, "warning")[0].contains("cancel each other"),
        "{}",
        ran.out
    );
}

#[test]
fn clipping_is_said_in_the_event() {
    let folder = Folder::new();
    let loud: Vec<f32> = sample()
        .iter()
        .map(|s| (s * 40.0).clamp(-1.0, 1.0))
        .collect();
    let file = folder.file("loud.wav", wav_i16(16_000, 1, &loud));
    let ran = demeanor(&["analyze", &file]);
    assert!(ran.out.contains("clipped"), "{}{}", ran.out, ran.err);
}

#[test]
fn ten_thousand_words_are_cut_and_that_is_said() {
    let text = "a very long story ".repeat(2500);
    let ran = demeanor(&["analyze", "--text", &text]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.out.contains("longer than the model takes"),
        "{}",
        ran.out
    );
}

#[test]
fn text_without_words_is_no_answer() {
    for text in ["", "   ", "\u{200b}\u{feff}"] {
        let ran = demeanor(&["analyze", "--text", text]);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(1), ""),
            "{text:?}: {}",
            ran.err
        );
    }
}

#[test]
fn invalid_utf8_is_named_with_its_line() {
    let folder = Folder::new();
    let sound = folder.file("s.wav", fs::read(repo("tests/data/sample.wav")).unwrap());
    let words = folder.file("w.txt", b"good line\n\xff\xfe bad line\n");
    let ran = demeanor(&["analyze", &sound, "--words", &words]);
    ran.is_error("w.txt");
    assert!(ran.err.contains('2'), "the line: {}", ran.err);
}

#[test]
fn one_bad_file_does_not_lose_the_others() {
    let folder = Folder::new();
    let good = folder.file("good.wav", fs::read(repo("tests/data/sample.wav")).unwrap());
    let bad = folder.file("bad.wav", "no sound");
    let ran = demeanor(&["analyze", &good, &bad, &good]);
    assert_eq!(ran.code, Some(2));
    let one = demeanor(&["analyze", &good]).events().len();
    assert_eq!(ran.events().len(), 2 * one, "{}", ran.err);
    assert_eq!(ran.err.matches("bad.wav").count(), 1, "{}", ran.err);
    assert!(ran.err.contains("1 of 3 files failed"), "{}", ran.err);
    let alone = demeanor(&["analyze", &bad]);
    assert_eq!(alone.err.lines().count(), 1, "{}", alone.err);
    alone.is_error("bad.wav");
}

/// The shipped bundle, copied, so that it can be damaged.
fn bundle_copy(folder: &Folder) -> std::path::PathBuf {
    let to = folder.path("emotion");
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(repo("models/emotion")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to
}

#[test]
fn a_flipped_byte_in_a_model_is_refused_by_its_hash() {
    let folder = Folder::new();
    let dir = bundle_copy(&folder);
    let model = dir.join("speech.onnx");
    let mut bytes = fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&model, bytes).unwrap();
    let ran = demeanor(&[
        "analyze",
        "--text",
        "hello",
        "--models",
        dir.to_str().unwrap(),
    ]);
    ran.is_error("speech.onnx");
    assert!(ran.err.contains("SHA-256"), "{}", ran.err);
}

#[test]
fn a_manifest_with_an_unknown_field_is_refused_by_name() {
    let folder = Folder::new();
    let dir = bundle_copy(&folder);
    let path = dir.join("manifest.toml");
    let manifest = format!("colour = \"blue\"\n{}", fs::read_to_string(&path).unwrap());
    fs::write(&path, manifest).unwrap();
    demeanor(&["models", "--models", dir.to_str().unwrap()]).is_error("colour");
}

#[test]
fn a_range_that_nobody_can_have_measured_is_refused() {
    let folder = Folder::new();
    let dir = bundle_copy(&folder);
    let path = dir.join("manifest.toml");
    let manifest = fs::read_to_string(&path).unwrap();
    for (good, wrong) in [
        ("within = 0.2338", "within = -1.0"),
        ("mean = 0.3542", "mean = nan"),
    ] {
        let spoilt = manifest.replace(good, wrong);
        assert_ne!(spoilt, manifest);
        fs::write(&path, spoilt).unwrap();
        demeanor(&["models", "--models", dir.to_str().unwrap()]).is_error("`range` must hold");
    }
}

#[test]
fn a_folder_without_a_bundle_is_refused() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("empty")).unwrap();
    let empty = folder.path("empty");
    demeanor(&[
        "analyze",
        "--text",
        "hi",
        "--models",
        empty.to_str().unwrap(),
    ])
    .is_error("no bundle");
}

#[test]
fn the_command_line_is_explained() {
    demeanor(&["dance"]).is_error("`dance`");
    demeanor(&["analyze"]).is_error("FILE");
    let ran = demeanor(&["analyze", "--smooth", "much", "x.wav"]);
    ran.is_error("--smooth");
    assert!(ran.err.contains("--help"), "{}", ran.err);
}

#[test]
fn a_closed_standard_output_is_no_failure() {
    use std::process::Stdio;
    let sample = repo("tests/data/sample.wav");
    let mut command = command(&["analyze", sample.to_str().unwrap(), "--json"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // the reader goes away before the first event
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_said() {
    use std::process::Stdio;
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
        return;
    };
    let output = command(&["analyze", "--text", "hello there"])
        .stdout(Stdio::from(full))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("standard output"), "{err}");
}
