//! `[mqtt]` of a real run: a real broker hears states and answers, and mutes; one that is none is
//! told in a sentence, and costs nothing else.
//!
//! Without mosquitto the broker's part is not tested, unless `DEMEANOR_REQUIRE_MOSQUITTO` is set.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};
use support::*;

const CONFIG: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n\
    [device]\nname = \"door\"\n[audio]\nsource = \"none\"\n\
    [text]\nsource = \"stdin\"\nwait = 0.0\n[decision]\ntasks = [\"emotion\"]\nexplain = true\n\
    [indicator]\nled = \"none\"\n[button]\nline = \"none\"\n";
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lines of a stream, until one holds what is waited for.
struct Lines(Receiver<String>);

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Lines {
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Lines(lines)
    }

    fn wait(&self, parts: &[&str]) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.0.recv_timeout(left);
            let line = line.unwrap_or_else(|e| panic!("{parts:?}: {e}"));
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }
}

/// A broker on a free port; `None`, with a word, where there is none.
fn mosquitto() -> Option<(Running, u16)> {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let port_text = port.to_string();
    let spawned = Command::new("mosquitto")
        .args(["-p", &port_text])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = spawned else {
        let is_required = std::env::var_os("DEMEANOR_REQUIRE_MOSQUITTO").is_some();
        assert!(
            !is_required,
            "there is no mosquitto (packages mosquitto, mosquitto-clients)"
        );
        eprintln!(
            "no mosquitto here (packages mosquitto, mosquitto-clients): nothing was published"
        );
        return None;
    };
    let broker = Running(child);
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "the broker does not come up");
        thread::sleep(Duration::from_millis(10));
    }
    Some((broker, port))
}

fn publish(port: u16, topic: &str, payload: &str, more: &[&str]) {
    let port = port.to_string();
    let mut command = Command::new("mosquitto_pub");
    command
        .args(["-p", &port, "-t", topic, "-m", payload])
        .args(more);
    assert!(command.status().unwrap().success());
}

fn run(folder: &Folder, section: &str) -> (Running, ChildStdin, Lines) {
    let config = folder.file("run.toml", format!("{CONFIG}[mqtt]\n{section}"));
    let mut child = command(&["run", "--config", &config, "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let words = child.stdin.take().unwrap();
    let out = Lines::of(child.stdout.take().unwrap());
    (Running(child), words, out)
}

#[test]
fn a_broker_hears_labels_and_no_words_and_mutes_for_now_alone() {
    let Some((_broker, port)) = mosquitto() else {
        return;
    };
    for version in ["5", "3.1.1"] {
        // somebody left a wish behind, which must mute nobody
        publish(port, "demeanor/door/mute/set", "ON", &["-r"]);
        let heard = Command::new("mosquitto_sub")
            .args(["-p", &port.to_string(), "-v", "-R", "-t", "#"])
            .stdout(Stdio::piped())
            .spawn();
        let mut heard = Running(heard.unwrap());
        let heard = Lines::of(heard.0.stdout.take().unwrap());
        let folder = Folder::new();
        let section = format!("broker = \"mqtt://127.0.0.1:{port}\"\nversion = \"{version}\"\n");
        let (mut child, mut words, out) = run(&folder, &section);
        heard.wait(&["demeanor/door/availability online"]);
        heard.wait(&[
            "homeassistant/device/demeanor_door/config",
            "\"mute\"",
            "\"capturing\"",
        ]);
        heard.wait(&[
            "demeanor/door/state",
            "\"capturing\":true",
            "\"muted\":false",
        ]);
        writeln!(words, "this makes me very happy").unwrap();
        let event = heard.wait(&["demeanor/door/event/emotion"]);
        assert!(
            event.contains("\"label\":\"happy\"") && event.contains("\"seq\":"),
            "{event}"
        );
        for private in ["scores", "explain", "token"] {
            assert!(!event.contains(private), "{event}");
        }
        publish(port, "demeanor/all/mute/set", "ON", &[]);
        out.wait(&["\"remote\"", "\"muted\""]);
        heard.wait(&["demeanor/door/state", "\"muted_by\":[\"remote\"]"]);
        publish(port, "demeanor/door/mute/set", "OFF", &[]);
        out.wait(&["\"remote\"", "\"unmuted\""]);
        heard.wait(&["demeanor/door/state", "\"capturing\":true"]);
        drop(words);
        heard.wait(&["demeanor/door/availability offline"]);
        assert_eq!(child.0.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_run_that_is_killed_is_told_offline_by_the_broker() {
    let Some((_broker, port)) = mosquitto() else {
        return;
    };
    let heard = Command::new("mosquitto_sub")
        .args([
            "-p",
            &port.to_string(),
            "-v",
            "-t",
            "demeanor/door/availability",
        ])
        .stdout(Stdio::piped())
        .spawn();
    let mut heard = Running(heard.unwrap());
    let heard = Lines::of(heard.0.stdout.take().unwrap());
    let folder = Folder::new();
    let (child, _words, _out) = run(&folder, &format!("broker = \"mqtt://127.0.0.1:{port}\"\n"));
    heard.wait(&["online"]);
    drop(child);
    heard.wait(&["offline"]);
}

#[test]
fn a_bad_broker_is_told_in_a_sentence_and_every_answer_is_given() {
    // CONNACK of version 5 that refuses the password; one that is cut; a packet of no kind; a
    // length that never ends; an acknowledgement of 1 MB
    let cases: [(&[u8], &str); 6] = [
        (b"", "it closed the connection"),
        (
            b"\x20\x03\x00\x86\x00",
            "it refuses the user or the password",
        ),
        (b"\x20\x01\x00", "is not MQTT 5"),
        (b"\x00\x00", "is not MQTT 5"),
        (b"\x20\xff\xff\xff\xff", "is not MQTT 5"),
        (b"\x20\x80\x80\x40", "is not MQTT 5"),
    ];
    for (bytes, sentence) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(bytes);
            }
        });
        is_told(port, sentence);
    }
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    is_told(free, "nobody listens there");
}

fn is_told(port: u16, sentence: &str) {
    let folder = Folder::new();
    let (mut child, mut words, out) =
        run(&folder, &format!("broker = \"mqtt://127.0.0.1:{port}\"\n"));
    out.wait(&["\"mqtt\"", "\"failing\"", sentence]);
    for _ in 0..3 {
        writeln!(words, "this makes me very happy").unwrap();
        out.wait(&["\"task\":\"emotion\""]);
    }
    drop(words);
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}

#[test]
fn what_is_wrong_in_the_section_is_told_before_anything_is_opened() {
    let folder = Folder::new();
    let refused = |more: &str, what: &str| {
        let config = folder.file("run.toml", format!("{CONFIG}[mqtt]\n{more}"));
        demeanor(&["run", "--config", &config]).is_error(what);
    };
    let password = folder.file("password", "secret");
    refused("broker = \"hub\"\n", "`hub` is no broker");
    refused(
        &format!("user = \"a\"\npassword_file = {password:?}\n"),
        "chmod 600",
    );
    refused("broker = \"mqtts://hub\"\n", "`mqtt.ca` is missing");
    let ca = folder.file("ca.pem", "no certificate");
    let tls = if cfg!(feature = "tls") {
        "no certificate is in it"
    } else {
        "without TLS"
    };
    refused(&format!("broker = \"mqtts://hub\"\nca = {ca:?}\n"), tls);
}
