//! `demeanor adapt`: new classes and shipped ones, figures that are held out, and nothing half done.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::process::Stdio;

/// What people say when they greet, and when they ask for help: no shipped class.
pub(super) const GREETING: [&str; 12] = [
    "Good morning to you",
    "Hello there my friend",
    "Hi, nice to see you",
    "Good evening everybody",
    "Hello and welcome",
    "Hey, good to see you again",
    "Good afternoon, madam",
    "Hi everyone, hello",
    "Welcome, good morning",
    "Hello, how nice that you came",
    "Good day to all of you",
    "Hi there, good morning",
];
pub(super) const ASKING: [&str; 12] = [
    "Where do I find the station?",
    "Can somebody help me with this?",
    "How does this machine work?",
    "Which button do I press for a ticket?",
    "Could you tell me where the exit is?",
    "What do I have to pay for this?",
    "Please help me, where is the lift?",
    "How can I get a new card?",
    "Who can help me with my luggage?",
    "When does the next train leave?",
    "Can you show me the way to the office?",
    "Why does my card not work here?",
];

/// A table of words of both kinds by four people.
fn words(label: impl Fn(usize, &str) -> String) -> String {
    let mut table = String::from("id,text,label,group\n");
    for (kind, texts) in [("greets", GREETING), ("asks for help", ASKING)] {
        for (i, text) in texts.iter().enumerate() {
            let label = label(i, kind);
            table += &format!("{kind}{i},\"{text}\",{label},person {}\n", i % 4);
        }
    }
    table
}

fn adapt(args: &[&str]) -> Ran {
    let mut all = vec!["adapt", "--task", "emotion"];
    all.extend(args);
    demeanor(&all)
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Nothing is at `out`, and nothing half done beside it.
fn is_untouched(folder: &Folder, out: &str) {
    assert!(!folder.path(out).exists());
    assert!(!folder.path(&format!(".{out}.partial")).exists());
}

#[test]
fn words_teach_classes_of_ones_own() {
    let folder = Folder::new();
    let table = folder.file("said.csv", words(|_, kind| kind.into()));
    let out = folder.path("bundle");
    let ran = adapt(&["--data", &table, "--out", text(&out), "--json"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let report: Value = serde_json::from_str(ran.out.trim()).expect("one object");
    assert_eq!(
        report["labels"],
        serde_json::json!(["asks for help", "greets"])
    );
    assert_eq!(
        (report["items"].as_u64(), report["groups"].as_u64()),
        (Some(24), Some(4))
    );
    let head = &report["heads"][0];
    // the shipped heads know none of these: the commonest class is what was there before
    assert_eq!(head["before"]["ua"], 0.5);
    assert!(head["after"]["ua"].as_f64() > Some(0.8), "{report}");
    assert!(head["better"] == true && head["gain"]["ci95"][0].as_f64() > Some(0.0));

    // weights alone: the trunks stay those of the binary, and there is no row of an item
    let mut names: Vec<String> = fs::read_dir(&out)
        .expect("a folder")
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["CARD.md", "adapted-text-only.onnx", "manifest.toml"]
    );
    let head = fs::read(out.join("adapted-text-only.onnx")).expect("the head");
    assert!(
        head.len() < 4 * (192 * 2 + 2) + 1000,
        "{} bytes",
        head.len()
    );
    let card = fs::read_to_string(out.join("CARD.md")).expect("the card");
    assert!(
        card.contains("UA before") && card.contains("- greets: 12"),
        "{card}"
    );
    assert!(
        !card.contains("station") && !card.contains("person 1"),
        "{card}"
    );

    // no trunk runs that only left-out heads read
    let manifest = fs::read_to_string(out.join("manifest.toml")).expect("it");
    assert!(!manifest.contains("[speech]"), "{manifest}");

    // it is a bundle like any other
    let models = ["--models", text(&out)];
    let ran = demeanor(&[&["models"][..], &models].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("adapted from le-mer@") && ran.out.contains("24 items of 4 groups"));
    let say = |words: &str| {
        let ran = demeanor(&[&["analyze", "--json", "--text", words][..], &models].concat());
        ran.events()[0]["label"]
            .as_str()
            .expect("a label")
            .to_owned()
    };
    assert_eq!(say("Good morning, nice to meet you"), "greets");
    assert_eq!(
        say("Can you tell me where the toilets are?"),
        "asks for help"
    );
    let args = ["eval", "--task", "emotion", "--data", &table, "--json"];
    let ran = demeanor(&[&args[..], &models].concat());
    let report: Value = serde_json::from_str(ran.out.trim()).expect(&ran.err);
    assert!(report["metrics"]["ua"].as_f64() > Some(0.9), "{report}");
    // what is there is not written over
    adapt(&["--data", &table, "--out", text(&out)]).is_error("is there already");
}

/// A voice of the sample, faster or slower by `pace`, from a place of it.
pub(super) fn voice(from: f32, pace: f32) -> Vec<f32> {
    let samples = sample();
    let start = (from * samples.len() as f32) as usize;
    let part = &samples[start..(start + 24_000).min(samples.len())];
    at_rate(part, (16_000.0 * pace) as u32)
}

/// Twenty recordings: a fast voice is happy here and a slow one is sad, whatever they say.
fn voices(folder: &Folder) -> String {
    let mut table = String::from("id,audio,label,group\n");
    for i in 0..24 {
        let (label, pace) = [("Happy", 0.6), ("SAD", 1.5)][i % 2];
        let name = format!("{i}.wav");
        let pace = pace + 0.01 * (i / 2) as f32;
        let samples = voice(0.03 * (i / 2) as f32, pace);
        folder.file(&name, wav_i16(16_000, 1, &samples));
        table += &format!("{i},{name},{label},day {}\n", i / 2 % 4);
    }
    folder.file("voices.csv", table)
}

#[test]
fn voices_teach_shipped_classes_and_the_whole_bundle_stands_alone() {
    let folder = Folder::new();
    let table = voices(&folder);
    let out = folder.path("here");
    let ran = adapt(&["--data", &table, "--out", text(&out), "--whole"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    for words in [
        "speech-only",
        "as shipped",
        "more than chance",
        "written: le-mer-adapted@",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    let manifest = fs::read_to_string(out.join("manifest.toml")).expect("the manifest");
    // the heads that nothing was learnt about are there as they were, and the gate too
    for name in ["text-only", "attention constraint", "is it speech"] {
        assert!(manifest.contains(name), "{name}: {manifest}");
    }
    assert!(!manifest.contains("bundle ="), "{manifest}");
    assert!(
        manifest.contains(r#"labels = ["angry", "happy", "sad", "neutral"]"#),
        "{manifest}"
    );
    let args = [
        "eval",
        "--task",
        "emotion",
        "--data",
        &table,
        "--json",
        "--models",
        text(&out),
    ];
    let report: Value = serde_json::from_str(demeanor(&args).out.trim()).expect("one object");
    assert!(report["metrics"]["ua"].as_f64() > Some(0.9), "{report}");
}

#[test]
fn what_is_no_better_is_not_written_unless_it_must_be() {
    let folder = Folder::new();
    // labels that no word tells
    let odd = |i: usize, kind: &str| {
        let other = (i * 7 + kind.len() * 3) % 5 < 2;
        if other {
            "greets".into()
        } else {
            "asks for help".to_owned()
        }
    };
    let table = folder.file("odd.csv", words(odd));
    let ran = adapt(&["--data", &table, "--out", text(&folder.path("no"))]);
    let forced = adapt(&[
        "--data",
        &table,
        "--out",
        text(&folder.path("yes")),
        "--force",
    ]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("no more than chance") && ran.out.contains("--force"),
        "{}",
        ran.out
    );
    is_untouched(&folder, "no");
    assert_eq!(forced.code, Some(0), "{}", forced.err);
    assert!(folder.path("yes/manifest.toml").is_file());
}

#[test]
fn what_teaches_nothing_is_a_sentence() {
    let folder = Folder::new();
    let out = folder.path("out");
    let table = |name: &str, table: String| folder.file(name, table);
    let plain = words(|_, kind| kind.into());
    let few: String = plain.lines().take(4).map(|l| format!("{l}\n")).collect();
    let silent = folder.file("silent.wav", wav_i16(16_000, 1, &[0.0; 32_000]));
    let silent = format!(
        "audio,label,group\n{}",
        (0..24)
            .map(|i| format!("{silent},{},{}\n", ["sad", "happy"][i % 2], i / 2))
            .collect::<String>()
    );
    for (name, content, sentence) in [
        (
            "one.csv",
            words(|_, _| "greets".into()),
            "one class only (`greets`)",
        ),
        (
            "group.csv",
            plain
                .replace("person 1", "person 0")
                .replace("person 2", "person 0")
                .replace("person 3", "person 0"),
            "in one group only",
        ),
        ("few.csv", few, "one class only"),
        (
            "typo.csv",
            words(|i, kind| if i == 3 { "gretes".into() } else { kind.into() }),
            "class `gretes` has 2 items",
        ),
        ("none.csv", "id,text,label\n".into(), "holds no row"),
        (
            "label.csv",
            "id,text\n1,hello\n".into(),
            "no column `label`",
        ),
    ] {
        let path = table(name, content);
        adapt(&["--data", &path, "--out", text(&out)]).is_error(sentence);
        is_untouched(&folder, "out");
    }
    let path = table("silent.csv", silent);
    let ran = adapt(&["--data", &path, "--out", text(&out)]);
    assert!(
        ran.code == Some(2)
            && ran
                .err
                .contains("(24 were left out: the recording is silent)"),
        "{}",
        ran.err
    );
    is_untouched(&folder, "out");
    let path = table("plain.csv", plain.clone());
    let args = [
        "adapt",
        "--task",
        "entities",
        "--data",
        &path,
        "--out",
        text(&out),
    ];
    demeanor(&args).is_error("cannot be adapted");
    // labels that differ in case are the same
    let mixed = table(
        "case.csv",
        words(|i, kind| {
            if i % 2 == 0 {
                kind.to_uppercase()
            } else {
                kind.into()
            }
        }),
    );
    assert_eq!(
        adapt(&["--data", &mixed, "--out", text(&out)]).code,
        Some(0)
    );
    // a bundle of another version
    let manifest = out.join("manifest.toml");
    let older = fs::read_to_string(&manifest)
        .expect("it")
        .replace("schema = 2", "schema = 1");
    fs::write(&manifest, older).expect("writable");
    let next = folder.path("next");
    adapt(&[
        "--data",
        &path,
        "--out",
        text(&next),
        "--models",
        text(&out),
    ])
    .is_error("`schema` is 1");
    is_untouched(&folder, "next");
}

#[test]
fn a_disk_that_takes_no_more_leaves_nothing_behind() {
    if is_emulated() {
        return;
    }
    let folder = Folder::new();
    let table = folder.file("said.csv", words(|_, kind| kind.into()));
    let out = folder.path("full");
    // files may not grow: what a full disk says, without filling one
    let script =
        "trap '' XFSZ; ulimit -f 0; exec \"$0\" adapt --task emotion --data \"$1\" --out \"$2\"";
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_demeanor"),
            &table,
            text(&out),
        ])
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .expect("sh");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("may be written"), "{err}");
    is_untouched(&folder, "full");
}

#[test]
fn who_interrupts_it_finds_nothing_half_done() {
    let folder = Folder::new();
    let mut table = String::from("audio,label,group\n");
    let samples = sample();
    let audio = folder.file("long.wav", wav_i16(16_000, 1, &samples));
    for i in 0..400 {
        table += &format!("{audio},{},{i}\n", ["sad", "happy"][i % 2]);
    }
    let table = folder.file("long.csv", table);
    let out = folder.path("out");
    let mut command = command(&[
        "adapt",
        "--task",
        "emotion",
        "--data",
        &table,
        "--out",
        text(&out),
    ]);
    let child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    // while it reads: before that its handlers may not be there
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let pid = child.id().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(killed.is_ok_and(|s| s.success()));
    let output = child.wait_with_output().expect("it ends");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("interrupted; nothing was written"), "{err}");
    is_untouched(&folder, "out");
}

#[test]
fn every_processor_level_writes_heads_that_say_the_same() {
    if is_emulated() {
        eprintln!("not in an emulator, where plain code takes minutes");
        return;
    }
    let folder = Folder::new();
    let table = folder.file("said.csv", words(|_, kind| kind.into()));
    let bundle = |level: Option<&str>, name: &str| {
        let out = folder.path(name);
        let mut command = command(&[
            "adapt",
            "--task",
            "emotion",
            "--data",
            &table,
            "--out",
            text(&out),
            "--json",
        ]);
        if let Some(level) = level {
            command.env("DEMEANOR_ISA", level);
        }
        let output = command.output().expect("it starts");
        let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
        (
            report["heads"].clone(),
            fs::read(out.join("adapted-text-only.onnx")).expect("the head"),
        )
    };
    let (best, head) = bundle(None, "best");
    let (again, same) = bundle(None, "again");
    assert_eq!((&best, &head), (&again, &same), "twice the same");
    let (scalar, _) = bundle(Some("scalar"), "scalar");
    // rows of another level differ in their last bits: what they teach is the same
    for field in ["n", "before", "after", "gain", "strength"] {
        assert_eq!(best[0][field], scalar[0][field], "{field}");
    }
}
