//! `demeanor run`: nothing before the notice, words joined to sound, mute settings kept.

mod support;

use support::*;

const NOTICE: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n";

fn sample_path() -> String {
    repo("tests/data/sample.wav").to_str().unwrap().to_string()
}

fn answers(events: &[serde_json::Value]) -> Vec<&serde_json::Value> {
    events.iter().filter(|e| e["task"] == "emotion").collect()
}

#[test]
fn nothing_starts_without_a_notice() {
    let folder = Folder::new();
    let config = folder.file("run.toml", "[audio]\nsource = \"none\"\n");
    let ran = demeanor(&["run", "--config", &config, "--audio", &sample_path()]);
    ran.is_error("[notice]");
    assert!(ran.out.is_empty());
    demeanor(&["run"]).is_error("--config");
}

#[test]
fn capture_is_announced_before_the_first_answer() {
    let folder = Folder::new();
    let config = folder.file("run.toml", NOTICE);
    let ran = demeanor(&["run", "--config", &config, "--audio", &sample_path()]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let events = ran.events();
    assert_eq!(
        (events[0]["source"].as_str(), events[0]["state"].as_str()),
        (Some("notice"), Some("public"))
    );
    assert_eq!(events[1]["state"], "capturing");
    assert!(answers(&events).len() >= 2, "{}", ran.out);
    for event in answers(&events) {
        assert_eq!(event["modality"], "speech");
        assert!(event["smoothed"].is_object(), "smoothing is on by default");
    }
}

#[test]
fn timed_words_on_standard_input_join_their_utterance() {
    let folder = Folder::new();
    let config = folder.file("run.toml", NOTICE);
    let words = std::fs::read(repo("tests/data/sample.txt")).unwrap();
    let ran = demeanor_with(
        &[
            "run",
            "--config",
            &config,
            "--audio",
            &sample_path(),
            "--text-stdin",
        ],
        &words,
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let events = ran.events();
    let joint = answers(&events)
        .iter()
        .filter(|e| e["modality"] == "speech+text")
        .count();
    assert!(joint >= 2, "{}", ran.out);
}

#[test]
fn sound_comes_through_a_pipe() {
    let folder = Folder::new();
    let config = folder.file("run.toml", NOTICE);
    let sound = std::fs::read(sample_path()).unwrap();
    let ran = demeanor_with(&["run", "--config", &config, "--audio", "-"], &sound);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(answers(&ran.events()).len() >= 2, "{}", ran.out);
}

#[test]
fn at_work_the_voice_is_not_judged_and_words_are() {
    let folder = Folder::new();
    let config = folder.file("run.toml", NOTICE.replace("public", "workplace"));
    demeanor(&["run", "--config", &config, "--audio", &sample_path()]).is_error("--text-stdin");
    let args = [
        "run",
        "--config",
        &config,
        "--audio",
        &sample_path(),
        "--text-stdin",
    ];
    let ran = demeanor_with(&args, b"I am so happy today\n");
    let events = ran.events();
    let answers = answers(&events);
    assert_eq!(answers.len(), 1, "{}{}", ran.out, ran.err);
    assert_eq!(answers[0]["modality"], "text");
    assert!(answers[0]["start"].is_null());
}

#[test]
fn sources_that_exclude_each_other_are_explained() {
    let folder = Folder::new();
    let config = folder.file("run.toml", NOTICE);
    demeanor(&["run", "--config", &config, "--audio", "-", "--text-stdin"])
        .is_error("standard input");
    demeanor(&["run", "--config", &config, "--audio", "none"]).is_error("nothing to do");
    demeanor(&["run", "--config", &config, "--board", "toaster"]).is_error("toaster");
    let unknown = folder.file("unknown.toml", format!("{NOTICE}[audio]\nsauce = \"x\"\n"));
    demeanor(&["run", "--config", &unknown]).is_error("sauce");
}

#[test]
fn a_missing_microphone_is_one_sentence() {
    let folder = Folder::new();
    let config = folder.file("run.toml", NOTICE);
    let ran = demeanor(&["run", "--config", &config, "--audio", "no such microphone"]);
    // without the feature `mic` the sentence says how to get one
    ran.is_error("microphone");
}
