//! Mute and consent: a press closes the sources, the next one opens them.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod support;

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use support::*;

const NOTICE: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n";
/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that listens to its standard input.
struct Running {
    child: Child,
    sound: Option<ChildStdin>,
    events: Receiver<Value>,
    seen: Vec<Value>,
}

impl Running {
    fn start(config: &str) -> Running {
        let args = ["run", "--config", config, "--audio", "-"];
        let mut child = command(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, events) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).expect(&line));
            }
        });
        Running {
            sound: child.stdin.take(),
            child,
            events,
            seen: Vec::new(),
        }
    }

    /// SIGUSR1: a press of the button.
    fn press(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-USR1", &pid]).status();
        assert!(sent.unwrap().success());
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.sound.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Waits for an event and returns it.
    fn wait(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => {
                    self.seen.push(event.clone());
                    if is(&event) {
                        return event;
                    }
                }
                Err(_) => panic!("no {what} in {:#?}", self.seen),
            }
        }
    }

    fn state(&mut self, source: &str, state: &str) {
        self.wait(state, |e| e["source"] == source && e["state"] == state);
    }

    /// Events that are here by now.
    fn here(&mut self) -> Vec<Value> {
        self.events.try_iter().collect()
    }

    /// Ends the sound and the run; the events until then.
    fn end(mut self, code: i32) -> Vec<Value> {
        self.sound = None;
        assert_eq!(self.child.wait().unwrap().code(), Some(code));
        self.events.iter().collect()
    }
}

/// The sample, its header and its sound.
fn sample() -> (Vec<u8>, Vec<u8>) {
    let mut bytes = fs::read(repo("tests/data/sample.wav")).unwrap();
    // as a pipe has it: no length
    bytes[4..8].fill(0xff);
    bytes[40..44].fill(0xff);
    let sound = bytes.split_off(44);
    (bytes, sound)
}

fn is_answer(event: &Value) -> bool {
    event["task"] == "emotion"
}

#[test]
fn a_press_stops_listening_and_the_next_one_starts_it_again() {
    let folder = Folder::new();
    let mut run = Running::start(&folder.file("run.toml", NOTICE));
    let (header, sound) = sample();
    run.state("-", "capturing");
    run.hear(&header);
    run.hear(&sound);
    run.wait("answer", is_answer);

    run.press();
    run.state("button", "muted");
    run.state("-", "muted");
    // all of it is taken from the pipe, or this would block for ever
    for _ in 0..4 {
        run.hear(&sound);
    }
    std::thread::sleep(Duration::from_millis(500));
    let while_muted = run.here();
    assert!(while_muted.is_empty(), "{while_muted:#?}");

    run.press();
    run.state("button", "unmuted");
    run.state("-", "capturing");
    run.hear(&sound);
    let answer = run.wait("answer after mute", is_answer);
    // stream time went on while nobody listened
    let seconds = sound.len() as f64 / 32_000.0;
    assert!(
        answer["start"].as_f64().unwrap() > 3.0 * seconds,
        "{answer}"
    );
    run.end(0);
}

#[test]
fn half_a_sentence_before_the_press_is_never_answered() {
    let folder = Folder::new();
    let mut run = Running::start(&folder.file("run.toml", NOTICE));
    let (header, sound) = sample();
    run.state("-", "capturing");
    run.hear(&header);
    // two seconds into the first sentence
    run.hear(&sound[..64_000]);
    std::thread::sleep(Duration::from_millis(300));
    run.press();
    run.state("-", "muted");
    // nothing was recognised
    let rest = run.end(1);
    assert!(!rest.iter().any(is_answer), "{rest:#?}");
}

#[test]
fn with_consent_nothing_is_opened_before_the_press() {
    let folder = Folder::new();
    let config = format!("{NOTICE}[button]\nmeans = \"consent\"\n");
    let mut run = Running::start(&folder.file("run.toml", config));
    let (header, sound) = sample();
    run.state("-", "muted");
    run.hear(&header);
    run.hear(&sound[..32_000]);
    std::thread::sleep(Duration::from_millis(500));
    assert!(run.here().is_empty());
    run.press();
    run.state("button", "unmuted");
    run.state("-", "capturing");
    run.hear(&sound[32_000..]);
    run.hear(&sound);
    run.wait("answer", is_answer);
    run.end(0);
}

#[test]
fn a_wrong_line_is_explained() {
    let folder = Folder::new();
    for (led, named) in [
        ("\"lamp\"", "`lamp` is no GPIO line"),
        ("{ chip = \"x\" }", "line"),
        ("\"board\"", "profile names no line"),
    ] {
        let config = format!("{NOTICE}[indicator]\nled = {led}\n");
        let config = folder.file("run.toml", config);
        let args = [
            "run", "--config", &config, "--audio", "-", "--board", "host",
        ];
        demeanor(&args).is_error(named);
    }
}
