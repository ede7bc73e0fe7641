//! `[mqtt]` of a real run: a real broker hears states and answers, and mutes; one that is none is
//! told in a sentence, and costs nothing else.
//!
//! Without mosquitto the broker's part is not tested, unless `DEMEANOR_REQUIRE_MOSQUITTO` is set.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::*;
use broker::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

const ANSWER: &str = "\"task\":\"emotion\"";

/// What was published, as JSON.
fn payload(line: &str) -> Value {
    serde_json::from_str(line.split_once(' ').unwrap().1).unwrap()
}

#[test]
fn a_broker_hears_labels_and_no_words_and_mutes_for_now_alone() {
    let Some((_broker, port)) = mosquitto() else {
        return;
    };
    for version in ["5", "3.1.1"] {
        // somebody left a wish behind, which must mute nobody
        publish(port, "demeanor/door/mute/set", "ON", &["-r"]);
        let (_watcher, heard) = subscribe(port, "#", &["-R"]);
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
        assert_eq!(child.exit_code(), Some(0));
    }
}

#[test]
fn where_answers_are_counted_a_broker_hears_counts_alone() {
    let Some((_broker, port)) = mosquitto() else {
        return;
    };
    for version in ["5", "3.1.1"] {
        let (_watcher, heard) = subscribe(port, "#", &["-R"]);
        let folder = Folder::new();
        let section = format!(
            "broker = \"mqtt://127.0.0.1:{port}\"\nversion = \"{version}\"\nwords = true\n\
             [aggregate]\nat_least = 3\n"
        );
        let (mut child, mut words, _out) = run(&folder, &section);
        let announced = payload(&heard.wait(&["homeassistant/device/demeanor_door/config"]));
        let entities = &announced["cmps"];
        let counts = &entities["emotion_answers"];
        assert_eq!(counts["stat_t"], "demeanor/door/aggregate/emotion");
        // those of a run that told answers are taken away
        for (gone, platform) in [
            ("emotion", "sensor"),
            ("utterance", "event"),
            ("faces", "sensor"),
        ] {
            assert_eq!(entities[gone], serde_json::json!({ "p": platform }));
        }
        for _ in 0..3 {
            writeln!(words, "this makes me very happy").unwrap();
        }
        drop(words);
        assert_eq!(child.exit_code(), Some(0));
        let told = payload(&heard.wait(&["demeanor/door/aggregate/emotion"]));
        assert_eq!(
            (&told["answers"], &told["counts"]["happy"]),
            (&3.into(), &3.into())
        );
        heard.wait(&["availability offline"]);
        // it is kept for who comes later, and no answer was told
        let (_late, kept) = subscribe(port, "demeanor/door/#", &[]);
        kept.wait(&["demeanor/door/aggregate/emotion", "\"answers\":3"]);
        thread::sleep(Duration::from_millis(200));
        for line in heard.rest().iter().chain(&kept.rest()) {
            assert!(!line.contains("\"label\""), "{line}");
        }
        publish(port, "demeanor/door/aggregate/emotion", "", &["-r"]);
    }
}

#[test]
fn a_run_that_is_killed_is_told_offline_and_the_next_one_takes_back_its_answers() {
    let Some((_broker, port)) = mosquitto() else {
        return;
    };
    for version in ["5", "3.1.1"] {
        let (_watcher, heard) = subscribe(port, "demeanor/door/#", &["-R"]);
        let folder = Folder::new();
        let section = format!("broker = \"mqtt://127.0.0.1:{port}\"\nversion = \"{version}\"\n");
        let (child, mut words, _out) = run(&folder, &section);
        heard.wait(&["availability online"]);
        writeln!(words, "this makes me very happy").unwrap();
        heard.wait(&["demeanor/door/emotion {"]);
        drop(child);
        heard.wait(&["availability offline"]);
        let (_next, _words, _out) = run(&folder, &section);
        assert!(!heard.wait(&["demeanor/door/emotion"]).contains('{'));
        heard.wait(&["availability online"]);
    }
}

#[test]
fn a_broker_that_comes_back_hears_what_waited_and_nothing_twice() {
    let Some((first, port)) = mosquitto() else {
        return;
    };
    let folder = Folder::new();
    let section = format!("broker = \"mqtt://127.0.0.1:{port}\"\n");
    let (_before, heard) = subscribe(port, "demeanor/door/event/#", &[]);
    let (mut child, mut words, out) = run(&folder, &section);
    writeln!(words, "this makes me very happy").unwrap();
    let told = heard.wait(&["event/emotion"]);
    drop(first);
    out.wait(&["\"mqtt\"", "\"failing\""]);
    writeln!(words, "I am so angry").unwrap();
    let waited = event(&out.wait(&[ANSWER]));

    let _second = mosquitto_at(port).unwrap();
    let (_after, heard) = subscribe(port, "demeanor/#", &[]);
    // what is retained is told again, the answer that waited with it
    let kept = payload(&heard.wait(&["demeanor/door/emotion {"]));
    assert_eq!(kept["seq"], waited["seq"]);
    out.wait(&["\"mqtt\"", "\"recovered\""]);
    writeln!(words, "this makes me very happy").unwrap();
    let last = event(&out.wait(&[ANSWER]))["seq"].clone();
    let mut seen = vec![told];
    loop {
        let line = heard.wait(&["event/emotion"]);
        let is_last = payload(&line)["seq"] == last;
        seen.push(line);
        if is_last {
            break;
        }
    }
    drop(words);
    assert_eq!(child.exit_code(), Some(0));
    let again = heard
        .rest()
        .into_iter()
        .filter(|line| line.contains("event/emotion"));
    seen.extend(again);
    let numbers: BTreeSet<String> = seen.iter().map(|l| payload(l)["seq"].to_string()).collect();
    assert_eq!(numbers.len(), seen.len(), "{seen:?}");
}

#[test]
fn an_answer_that_is_too_old_is_gone() {
    let Some((_broker, port)) = mosquitto() else {
        return;
    };
    for version in ["3.1.1", "5"] {
        let folder = Folder::new();
        let section =
            format!("broker = \"mqtt://127.0.0.1:{port}\"\nversion = \"{version}\"\nexpire = 1\n");
        let (_watcher, heard) = subscribe(port, "demeanor/door/emotion", &["-R"]);
        let (_child, mut words, _out) = run(&folder, &section);
        writeln!(words, "this makes me very happy").unwrap();
        heard.wait(&["demeanor/door/emotion {"]);
        // whoever listens is told, and so is a broker that forgets nothing by itself
        assert!(!heard.wait(&["demeanor/door/emotion"]).contains('{'));
        let late = ["-t", "demeanor/door/emotion", "-C", "1", "-W", "1"];
        let late = Command::new("mosquitto_sub")
            .args(["-p", &port.to_string()])
            .args(late)
            .output();
        assert!(late.unwrap().stdout.is_empty(), "{version}");
    }
}

/// Says something; the scores of what is answered.
fn said(words: &mut ChildStdin, out: &Lines, line: &str) -> Value {
    writeln!(words, "{line}").unwrap();
    event(&out.wait(&[ANSWER]))["scores"].clone()
}

#[test]
fn a_dialogue_is_forgotten_when_somebody_asks_for_it() {
    let Some((_broker, port)) = mosquitto() else {
        return;
    };
    let folder = Folder::new();
    let (_watcher, heard) = subscribe(port, "demeanor/#", &[]);
    let section = format!("broker = \"mqtt://127.0.0.1:{port}\"\n");
    let (_child, mut words, out) = run(&folder, &section);
    heard.wait(&["demeanor/door/availability online"]);
    let alone = said(&mut words, &out, "really?");
    said(&mut words, &out, "you broke my window and ran away!");
    let after = said(&mut words, &out, "really?");
    assert_ne!(alone, after, "the dialogue counts");
    // the wish is on its way while the next line is said
    let is_forgotten = |_| {
        publish(port, "demeanor/door/forget", "now", &[]);
        thread::sleep(Duration::from_millis(200));
        said(&mut words, &out, "really?") == alone
    };
    assert!((0..50).any(is_forgotten), "it is still remembered");
}

#[test]
fn wishes_that_are_too_long_or_too_many_are_passed_over() {
    let Some((_broker, port)) = mosquitto() else {
        return;
    };
    let folder = Folder::new();
    let long = folder.file("long", vec![b'O'; 300_000]);
    let many = folder.file("many", "x\n".repeat(20_000));
    // in version 5 the broker keeps to itself what is longer than we take
    for version in ["3.1.1", "5"] {
        let section = format!("broker = \"mqtt://127.0.0.1:{port}\"\nversion = \"{version}\"\n");
        let (_watcher, heard) = subscribe(port, "demeanor/door/#", &[]);
        let (mut child, mut words, out) = run(&folder, &section);
        heard.wait(&["availability online"]);
        let send = |args: &[&str], from: Stdio| {
            let mut publisher = Command::new("mosquitto_pub");
            publisher.args(["-p", &port.to_string(), "-t", "demeanor/door/mute/set"]);
            assert!(publisher.args(args).stdin(from).status().unwrap().success());
        };
        send(&["-f", &long], Stdio::null());
        send(&["-m", "ON"], Stdio::null());
        out.wait(&["\"remote\"", "\"muted\""]);
        send(&["-m", "OFF"], Stdio::null());
        out.wait(&["\"remote\"", "\"unmuted\""]);
        send(&["-l"], std::fs::File::open(&many).unwrap().into());
        for _ in 0..3 {
            writeln!(words, "this makes me very happy").unwrap();
            out.wait(&[ANSWER]);
            heard.wait(&["event/emotion"]);
        }
        drop(words);
        assert_eq!(child.exit_code(), Some(0));
    }
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
        is_told_of(port, sentence);
    }
    is_told_of(free_port(), "nobody listens there");
}

fn is_told_of(port: u16, sentence: &str) {
    let section = format!("broker = \"mqtt://127.0.0.1:{port}\"\n");
    is_told(&Folder::new(), &section, sentence);
}

#[test]
fn what_is_wrong_in_the_section_is_told_before_anything_is_opened() {
    let folder = Folder::new();
    let refused = |more: &str, what: &str| {
        demeanor(&["run", "--config", &config(&folder, more)]).is_error(what);
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
