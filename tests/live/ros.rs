//! `[ros]` of a real run: a bridge that holds each message to its ROS type hears faces, answers
//! and states; one that is away is told in a sentence, and costs nothing else.
//!
//! The bridge is `tests/live/ros/bridge.py`. Without Python and `tests/live/ros/requirements.txt` (in
//! `target/venv`, or by `DEMEANOR_PYTHON`) its part is not tested, unless `DEMEANOR_REQUIRE_ROS`
//! is set.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::*;
use broker::{Lines, Running, free_port};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::{ChildStdin, Command, Stdio};

/// What robots are made of here.
const ROS: &str = "tests/live/ros";
pub const CONFIG: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n\
    [device]\nname = \"door\"\n[audio]\nsource = \"none\"\n\
    [text]\nsource = \"stdin\"\nwait = 0.0\n[decision]\nexplain = true\n\
    tasks = [\"emotion\", \"expression\"]\n\
    [indicator]\nled = \"none\"\n[button]\nline = \"none\"\n";
pub const ALL: &str = "publish = [\"scores\", \"faces\", \"state\", \"health\"]\n";
pub const ANSWER: &str = "\"task\":\"emotion\"";

/// A program of `tests/live/ros`; `None`, with a word, where there is no Python with what it imports.
pub fn python(program: &str, imports: &str) -> Option<Command> {
    let own = repo("target/venv/bin/python").display().to_string();
    let python = std::env::var("DEMEANOR_PYTHON").unwrap_or(own);
    let has_packages = Command::new(&python)
        .args(["-c", &format!("import {imports}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let lacking = format!("there is no Python with {imports} ({ROS}/*.txt)");
    is_there(has_packages, &lacking).then(|| {
        let mut child = Command::new(&python);
        child.arg(repo(ROS).join(program));
        child
    })
}

/// The same; it says what is lacking, and that fails where `DEMEANOR_REQUIRE_ROS` is set.
pub fn is_there(is_there: bool, lacking: &str) -> bool {
    if !is_there {
        let is_required = std::env::var_os("DEMEANOR_REQUIRE_ROS").is_some();
        assert!(!is_required, "{lacking}");
        eprintln!("{lacking}: no message was held to its ROS type");
    }
    is_there
}

/// A bridge on a port; `None`, with a word, where there is none.
fn bridge(port: u16) -> Option<(Running, Lines)> {
    let mut child = python("bridge.py", "rosbags, websockets")?;
    child.arg(port.to_string());
    let mut child = Running(child.stdout(Stdio::piped()).spawn().unwrap());
    let lines = Lines::of(child.0.stdout.take().unwrap());
    lines.wait(&["ready"]);
    Some((child, lines))
}

/// A camera that sees a face.
pub fn camera() -> String {
    let picture = repo("tests/data/pictures/face.jpg");
    format!(
        "[camera]\ncommand = [\"sh\", \"-c\", \"while cat '{}'; do sleep 0.1; done\"]\n\
         every = 0.1\n",
        picture.display()
    )
}

/// A run that hears words, and tells them to a bridge.
fn run(folder: &Folder, port: u16, more: &str, publish: &str) -> (Running, ChildStdin, Lines) {
    let section = format!("bridge = \"ws://127.0.0.1:{port}\"\n{publish}");
    start(folder, more, &section)
}

/// A run that hears words, with that section `[ros]`.
pub fn start(folder: &Folder, more: &str, section: &str) -> (Running, ChildStdin, Lines) {
    start_with(folder, &format!("{CONFIG}{more}[ros]\n{section}"))
}

/// A run that hears sound instead: raw, once its header is written.
pub fn listen(folder: &Folder, section: &str) -> (Running, ChildStdin, Lines) {
    let config = CONFIG.replace("[audio]\nsource = \"none\"", "[audio]\nsource = \"-\"");
    let config = config.replace("source = \"stdin\"", "source = \"none\"");
    start_with(folder, &format!("{config}[ros]\n{section}"))
}

/// A run with that config.
pub fn start_with(folder: &Folder, config: &str) -> (Running, ChildStdin, Lines) {
    let config = folder.file("run.toml", config);
    let mut child = command(&["run", "--config", &config, "--json"]);
    let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let words = child.stdin.take().unwrap();
    let out = Lines::of(child.stdout.take().unwrap());
    (Running(child), words, out)
}

pub fn signal(child: &Running, name: &str) {
    let pid = child.0.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.unwrap().success());
}

/// Topic, type and message of a line; `NaN` is `null` here, as rosbridge itself tells it.
pub fn told(line: &str) -> (String, String, Value) {
    let mut words = line.splitn(3, ' ');
    let mut word = || words.next().unwrap().to_owned();
    let (topic, kind) = (word(), word());
    let message = serde_json::from_str(&word().replace("NaN", "null"));
    (
        topic,
        kind,
        message.unwrap_or_else(|e| panic!("{line}: {e}")),
    )
}

#[test]
fn a_robot_hears_of_faces_answers_and_states_each_as_its_type_asks() {
    let (folder, port) = (Folder::new(), free_port());
    let Some((_bridge, heard)) = bridge(port) else {
        return;
    };
    let (mut child, mut words, _out) = run(&folder, port, &camera(), ALL);

    let line = heard.wait(&["/expression hri_msgs/msg/Expression"]);
    let (topic, _, expression) = told(&line);
    let id = topic.split('/').nth(3).unwrap();
    assert!(id.starts_with('f') && id.chars().all(|c| c.is_ascii_alphanumeric()));
    assert!(line.contains("\"valence\": NaN") && line.contains("\"arousal\": NaN"));
    assert!(expression["confidence"].as_f64().is_some_and(|p| p > 0.1));
    assert!(expression["header"]["stamp"]["sec"].as_i64().unwrap() > 1_700_000_000);

    let line = heard.wait(&["/humans/faces/tracked hri_msgs/msg/IdsList", id]);
    assert_eq!(told(&line).2["ids"], serde_json::json!([id]));

    writeln!(words, "Bartholomew makes me very happy").unwrap();
    let line = heard.wait(&["/demeanor/events std_msgs/msg/String", "emotion", "text"]);
    let data = told(&line).2["data"].as_str().unwrap().to_owned();
    let event: Value = serde_json::from_str(&data).unwrap();
    assert_eq!(
        (&event["task"], &event["device"]),
        (&"emotion".into(), &"door".into())
    );
    assert!(
        event["scores"].is_object() && !data.to_lowercase().contains("barth"),
        "{data}"
    );

    let line = heard.wait(&[
        "/diagnostics diagnostic_msgs/msg/DiagnosticArray",
        "capturing",
    ]);
    let status = &told(&line).2["status"];
    let names: Vec<&str> = (0..2)
        .map(|n| status[n]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["demeanor door: capture", "demeanor door: machine"]);
    assert_eq!(
        (&status[0]["level"], &status[0]["hardware_id"]),
        (&0.into(), &"door".into())
    );

    signal(&child, "TERM");
    assert_eq!(child.exit_code(), Some(0));
    let rest = heard.until("left");
    // at the end nobody is in sight any more
    let tracked = |l: &&String| l.starts_with("/humans/faces/tracked");
    assert!(rest.iter().rfind(tracked).unwrap().contains("\"ids\": []"));
    assert!(!rest.iter().any(|l| l.contains("REFUSED")), "{rest:?}");
}

/// Seconds of the sample, as a pipe brings them; before the first its header, without a length.
fn seconds(of: std::ops::Range<f64>) -> Vec<u8> {
    let mut bytes = fs::read(repo("tests/data/sample.wav")).unwrap();
    bytes[4..8].fill(0xff);
    bytes[40..44].fill(0xff);
    let at = |seconds: f64| 44 + 2 * (seconds * 16_000.0) as usize;
    let from = if of.start == 0.0 { 0 } else { at(of.start) };
    bytes[from..at(of.end)].to_vec()
}

const TRACKED: &str = "/humans/voices/tracked hri_msgs/msg/IdsList";
const IS_SPEAKING: &str = "/humans/voices/anonymous_speaker/is_speaking std_msgs/msg/Bool";
const SPEAKS: [&str; 2] = [IS_SPEAKING, "true"];
const IS_SILENT: [&str; 2] = [IS_SPEAKING, "false"];
const NOBODY: [&str; 2] = [TRACKED, "\"ids\": []"];
const ANYBODY: [&str; 2] = [TRACKED, "[\"anonymous_speaker\"]"];

/// Somebody begins to speak, is no longer heard, goes on, is muted, and speaks again at the end.
pub fn hears_whether_somebody_speaks(
    (mut child, mut sound, out): (Running, ChildStdin, Lines),
    heard: &Lines,
) {
    out.wait(&["\"-\"", "\"capturing\""]);
    sound.write_all(&seconds(0.0..0.1)).unwrap();
    heard.wait(&ANYBODY);
    heard.wait(&IS_SILENT);
    // in the midst of the first sentence
    sound.write_all(&seconds(0.1..2.0)).unwrap();
    heard.wait(&SPEAKS);
    // the pipe hangs there, so that nobody knows any more
    heard.wait(&IS_SILENT);
    sound.write_all(&seconds(2.0..2.3)).unwrap();
    heard.wait(&SPEAKS);
    signal(&child, "USR1");
    heard.wait(&IS_SILENT);
    heard.wait(&NOBODY);
    out.wait(&["\"button\"", "\"muted\""]);
    // it is taken from the pipe, and heard by nobody
    sound.write_all(&seconds(0.1..2.3)).unwrap();
    // as it is told once a second
    for _ in 0..3 {
        let line = heard.wait(&["/humans/voices/"]);
        assert!(!SPEAKS.iter().all(|part| line.contains(part)), "{line}");
        assert!(!line.contains("[\"anonymous"), "{line}");
    }
    signal(&child, "USR1");
    heard.wait(&ANYBODY);
    sound.write_all(&seconds(0.1..2.3)).unwrap();
    heard.wait(&SPEAKS);
    signal(&child, "TERM");
    heard.wait(&IS_SILENT);
    heard.wait(&NOBODY);
    assert_eq!(child.exit_code(), Some(0));
    // standard output hears nothing of it
    assert!(!out.rest().iter().any(|line| line.contains("speak")));
}

#[test]
fn a_robot_hears_whether_somebody_speaks_while_they_do() {
    let (folder, port) = (Folder::new(), free_port());
    let Some((_bridge, heard)) = bridge(port) else {
        return;
    };
    let section = format!("bridge = \"ws://127.0.0.1:{port}\"\npublish = [\"voices\"]\n");
    hears_whether_somebody_speaks(listen(&folder, &section), &heard);
    let rest = heard.until("left");
    assert!(!rest.iter().any(|l| l.contains("REFUSED")), "{rest:?}");
}

#[test]
fn a_bridge_that_comes_late_hears_what_waited_once_and_only_what_was_asked_for() {
    let (folder, port) = (Folder::new(), free_port());
    let (mut child, mut words, out) = run(&folder, port, "", "");
    out.wait(&["\"ros\"", "\"failing\"", "nobody listens there"]);
    writeln!(words, "this makes me very happy").unwrap();
    let waited = event(&out.wait(&[ANSWER]))["seq"].clone();
    let Some((_bridge, heard)) = bridge(port) else {
        return;
    };
    out.wait(&["\"ros\"", "\"recovered\""]);
    writeln!(words, "I am so angry").unwrap();
    let last = event(&out.wait(&[ANSWER]))["seq"].clone();
    drop(words);
    assert_eq!(child.exit_code(), Some(0));
    let mut lines = heard.until("left");
    lines.pop();
    let mut numbers = Vec::new();
    for line in &lines {
        // no scores, faces or words, unasked
        for private in ["REFUSED", "/humans/", "scores", "token"] {
            assert!(!line.contains(private), "{line}");
        }
        let (topic, _, message) = told(line);
        if topic == "/demeanor/events" {
            let event: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
            numbers.push(event["seq"].clone());
        }
    }
    let once: BTreeSet<String> = numbers.iter().map(Value::to_string).collect();
    assert_eq!(once.len(), numbers.len(), "{numbers:?}");
    assert!(
        numbers.contains(&waited) && numbers.contains(&last),
        "{numbers:?}"
    );
}

#[test]
fn who_is_no_bridge_is_told_and_costs_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let folder = Folder::new();
    let (mut child, mut words, out) = run(&folder, port, "", "");
    out.wait(&["\"ros\"", "\"failing\"", "closed the connection"]);
    for _ in 0..3 {
        writeln!(words, "this makes me very happy").unwrap();
        out.wait(&[ANSWER]);
    }
    drop(words);
    assert_eq!(child.exit_code(), Some(0));

    let config = fs::read_to_string(folder.path("run.toml")).unwrap();
    let config = folder.file("doctor.toml", config.replace(&port.to_string(), "1"));
    let ran = demeanor(&["doctor", "--json", "--config", &config]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|c| c["name"] == "ros").unwrap();
    assert_eq!(check["verdict"], "failed");
    let finding = check["finding"].as_str().unwrap();
    assert!(
        finding.contains("check that the rosbridge runs"),
        "{finding}"
    );
}

#[cfg(not(feature = "ros2"))]
#[test]
fn a_domain_is_refused_by_a_program_without_dds() {
    let folder = Folder::new();
    let config = folder.file("run.toml", format!("{CONFIG}[ros]\ndomain = 0\n"));
    let sentence = "[ros] this program was built without DDS; build it with --features ros2";
    demeanor(&["run", "--config", &config]).is_error(sentence);
    let ran = demeanor(&["doctor", "--config", &config]);
    assert!(ran.out.contains("built without DDS"), "{}", ran.out);
}
