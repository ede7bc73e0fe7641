//! A session as a library's user meets it, and tasks that are nothing but a folder.

use crate::support::*;
use demeanor::{Observation, Session, SessionOptions, Tasks};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

fn sha256(path: &Path) -> String {
    let bytes = fs::read(path).expect("a file");
    let hash = Sha256::digest(bytes);
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

/// A fourth task: another head on emotion's text trunk, with classes of its own.
fn mood(folder: &Folder, edit: impl Fn(String) -> String) -> PathBuf {
    let dir = folder.path("mood");
    fs::create_dir_all(&dir).expect("a folder");
    let head = repo("models/sentiment/text-head.onnx");
    fs::copy(&head, dir.join("mood.onnx")).expect("copied");
    let file = |name: &str, bundle: &str, precision: &str, path: &Path| {
        let hash = sha256(path);
        format!(
            "[[file]]\nname = \"{name}\"\n{bundle}precision = \"{precision}\"\nsha256 = \"{hash}\"\n"
        )
    };
    let lender = "bundle = \"le-mer\"\n";
    let manifest = format!(
        r#"schema = 2
id = "toy"
task = "mood"
version = "0.1.0"
summary = "up or down"
licence = "none"
labels = ["up", "even", "down"]
[text]
file = "text.onnx"
vocab = "vocab.txt"
max_tokens = 32
history = 0
[[head]]
name = "words"
kind = "classes"
reads = ["text.hidden"]
file = "mood.onnx"
[decision]
unsure_below = 0.4
{}{}{}"#,
        file("mood.onnx", "", "int8", &head),
        file(
            "text.onnx",
            lender,
            "int8",
            &repo("models/emotion/text.onnx")
        ),
        file(
            "vocab.txt",
            lender,
            "none",
            &repo("models/emotion/vocab.txt")
        ),
    );
    fs::write(dir.join("manifest.toml"), edit(manifest)).expect("written");
    dir
}

fn options(models: &Path) -> SessionOptions {
    SessionOptions {
        models: Some(models.to_path_buf()),
        ..SessionOptions::default()
    }
}

#[test]
fn a_new_task_is_a_folder_and_nothing_else() {
    let folder = Folder::new();
    let dir = mood(&folder, |manifest| manifest);
    let mut session = Session::open(options(&dir)).expect("opened");
    assert_eq!(session.tasks(), ["mood"]);
    let words = "what a wonderful day, I love it";
    let events = session.observe(&Observation::of_words("chat", words));
    let events = events.expect("answered");
    assert_eq!(
        (events[0].task.as_str(), events[0].label.as_str()),
        ("mood", "up")
    );
    // and so do the commands
    let models = dir.to_str().expect("UTF-8");
    let ran = demeanor(&["analyze", "--text", words, "--models", models, "--json"]);
    let event = &ran.events()[0];
    assert_eq!(
        (&event["task"], &event["label"]),
        (&"mood".into(), &"up".into())
    );
    let table = folder.file(
        "t.csv",
        format!("text,label\n\"{words}\",up\nI hate this,down\n"),
    );
    let ran = demeanor(&[
        "eval", "--task", "mood", "--data", &table, "--models", models, "--json",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(ran.reports()[0]["n"], 2);
    let ran = demeanor(&["models", "--models", models]);
    assert!(ran.out.contains("task mood"), "{}", ran.out);
}

#[test]
fn a_head_says_from_when_on_its_answer_is_told() {
    let folder = Folder::new();
    let strict = "file = \"mood.onnx\"\nthreshold = 1.0\n[decision]";
    let dir = mood(&folder, |manifest| {
        manifest.replacen("file = \"mood.onnx\"\n[decision]", strict, 1)
    });
    let models = dir.to_str().expect("UTF-8");
    let words = "what a wonderful day, I love it";
    let said = ["analyze", "--text", words, "--models", models, "--json"];
    assert_eq!(demeanor(&said).events()[0]["label"], "unsure");
    // whoever asks for another threshold gets it
    let asked = [&said[..], &["--unsure-below", "0.4"]].concat();
    assert_eq!(demeanor(&asked).events()[0]["label"], "up");
    let table = folder.file("t.csv", format!("text,label\n\"{words}\",up\n"));
    let ran = demeanor(&[
        "eval", "--task", "mood", "--data", &table, "--models", models, "--json",
    ]);
    assert_eq!(ran.reports()[0]["unsure"], 1.0, "{}", ran.err);
}

#[test]
fn manifests_that_contradict_themselves_are_refused_by_name() {
    let folder = Folder::new();
    let gate = "[[head]]\nname = \"is it so\"\nkind = \"gate\"\nof = [\"words\"]\nlabels = [\"yes\", \"no\"]\n[decision]";
    let cases: [(&str, &str, &str); 10] = [
        ("[decision]", gate, "a gate reads what a trunk gives"),
        ("schema = 2", "schema = 1", "this build reads 2"),
        ("\"classes\"", "\"oracle\"", "this build knows classes"),
        ("text.hidden", "text.smell", "`text.smell`"),
        ("text.hidden", "speech.frames", "no section `speech`"),
        ("text.hidden", "hidden", "TRUNK.OUTPUT"),
        (
            "\"even\", ",
            "",
            "gives 3 logits, and the manifest names 2 classes",
        ),
        ("\"even\"", "\"up\"", "each once"),
        (
            "file = \"mood.onnx\"",
            "file = \"gloom.onnx\"",
            "no [[file]] lists",
        ),
        (
            "name = \"words\"",
            "name = \"words\"\nablation = true",
            "no head answers",
        ),
    ];
    for (from, to, word) in cases {
        let dir = mood(&folder, |manifest| manifest.replacen(from, to, 1));
        let args = [
            "analyze",
            "--text",
            "hello",
            "--models",
            dir.to_str().expect("UTF-8"),
        ];
        demeanor(&args).is_error(word);
    }
}

#[test]
fn a_trunk_that_is_not_there_as_the_head_knew_it_is_refused() {
    let folder = Folder::new();
    let hash = sha256(&repo("models/emotion/text.onnx"));
    let dir = mood(&folder, |manifest| manifest.replace(&hash, &"0".repeat(64)));
    let args = ["models", "--models", dir.to_str().expect("UTF-8")];
    demeanor(&args).is_error("text.onnx of bundle le-mer");
}

#[test]
fn words_are_remembered_for_as_long_as_the_manifest_says() {
    let mut session = Session::open(SessionOptions {
        tasks: Some(Tasks::parse("emotion").expect("a task")),
        ..SessionOptions::default()
    })
    .expect("opened");
    let scores = |session: &mut Session| {
        let events = session.observe(&Observation::of_words("chat", "We did it."));
        events.expect("answered")[0].scores.clone()
    };
    let alone = scores(&mut session);
    session.restart();
    session.remember("Oh no, this is terrible, I am so sad.");
    let after = scores(&mut session);
    assert_ne!(alone, after);
    session.restart();
    assert_eq!(alone, scores(&mut session));
}

#[test]
fn text_that_no_vocabulary_knows_is_no_words() {
    for text in ["😡😡😡", "ｗｉｄｅ", &"a".repeat(300)] {
        let ran = demeanor(&["analyze", "--text", text, "--tasks", "emotion,sentiment"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{text}");
        assert!(ran.err.contains("no word"), "{}", ran.err);
    }
    // one word that is known is enough
    let ran = demeanor(&["analyze", "--text", "😡 terrible", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn an_image_of_one_colour_is_unsure() {
    let folder = Folder::new();
    let path = folder.path("cap.png");
    let noise = |x: u32, y: u32| [(x * 7 + y) as u8 % 5, y as u8 % 4, (x ^ y) as u8 % 3];
    let black = demeanor::vision::Picture::from_fn(320, 240, noise).expect("an image");
    let mut encoder = png::Encoder::new(fs::File::create(&path).expect("a file"), 320, 240);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("written");
    writer.write_image_data(black.rgb()).expect("written");
    writer.finish().expect("written");
    let path = path.to_str().expect("UTF-8");
    let ran = demeanor(&["analyze", path, "--tasks", "sentiment", "--json"]);
    let event = &ran.events()[0];
    assert_eq!(event["label"], "unsure");
    assert!(
        event["notes"][0]
            .as_str()
            .expect("a note")
            .contains("one colour")
    );
    // words beside it are judged alone
    let ran = demeanor(&[
        "analyze",
        path,
        "--text",
        "I love it",
        "--tasks",
        "sentiment",
        "--json",
    ]);
    let event = &ran.events()[0];
    assert_eq!(
        (&event["modality"], &event["label"]),
        (&"text".into(), &"positive".into())
    );
}
