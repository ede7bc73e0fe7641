//! Long runs: hours of stream time in minutes, sources that come and go, a full disk, signals.
//!
//! `DEMEANOR_SOAK_HOURS=24 cargo test --release --test live soak:: -- --nocapture` soaks a day; by
//! default it is half an hour of sound, which takes seconds.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::*;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const NOTICE: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n";

fn hours() -> f64 {
    let asked = std::env::var("DEMEANOR_SOAK_HOURS").ok();
    asked.and_then(|h| h.parse().ok()).unwrap_or(0.5)
}

fn resident_kb(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn descriptors(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

fn spawn(args: &[&str]) -> Child {
    command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.unwrap().success());
}

/// The sample as a WAV without an end: its header says nothing about the length.
fn endless() -> (Vec<u8>, Vec<u8>) {
    let mut bytes = fs::read(repo("tests/data/sample.wav")).unwrap();
    bytes[4..8].fill(0xff);
    bytes[40..44].fill(0xff);
    let sound = bytes.split_off(44);
    (bytes, sound)
}

/// A camera that dies after every few pictures, as one with a loose plug.
fn loose_camera(folder: &Folder) -> String {
    let face = repo("tests/data/pictures/face.jpg");
    let script = format!("for i in 1 2 3; do cat {face:?}; sleep 0.1; done; exit 1");
    let script = folder.file("camera.sh", script);
    format!("[camera]\ncommand = [\"sh\", {script:?}]\nevery = 0.1\n")
}

struct Sampled {
    rss: Vec<u64>,
    fds: Vec<usize>,
    /// Milliseconds of every answer about emotion, in order.
    latencies: Vec<f64>,
    lost: usize,
}

fn read_events(out: ChildStdout) -> (Vec<f64>, usize) {
    let (mut latencies, mut lost) = (Vec::new(), 0);
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        let event = event(&line);
        if event["task"] == "emotion" {
            latencies.extend(event["latency_ms"]["total"].as_f64());
        }
        lost += usize::from(event["state"] == "lost");
    }
    (latencies, lost)
}

/// Plays `hours` of sound through a pipe as fast as it is answered.
fn soak(hours: f64) -> (Sampled, f64) {
    let folder = Folder::new();
    let config = format!("{NOTICE}{}", loose_camera(&folder));
    let config = folder.file("run.toml", config);
    let mut child = spawn(&["run", "--config", &config, "--audio", "-"]);
    let (pid, mut stdin) = (child.id(), child.stdin.take().unwrap());
    let events = child.stdout.take().unwrap();
    let events = std::thread::spawn(move || read_events(events));
    let (header, sound) = endless();
    let seconds = sound.len() as f64 / 32_000.0;
    let rounds = (hours * 3600.0 / seconds).ceil() as usize;
    let (mut rss, mut fds) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    stdin.write_all(&header).unwrap();
    for _ in 0..rounds {
        stdin.write_all(&sound).unwrap();
        rss.extend(resident_kb(pid));
        fds.extend(descriptors(pid));
    }
    drop(stdin);
    signal(&child, "TERM");
    let (latencies, lost) = events.join().unwrap();
    assert!(child.wait().unwrap().success());
    let sampled = Sampled {
        rss,
        fds,
        latencies,
        lost,
    };
    let speed = rounds as f64 * seconds / begun.elapsed().as_secs_f64();
    (sampled, speed)
}

fn median<T: Copy + Ord>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

fn p99(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) * 99 / 100]
}

#[test]
fn memory_and_descriptors_stay_flat() {
    if is_emulated() {
        return;
    }
    let (seen, speed) = soak(hours());
    let n = seen.rss.len();
    // the first fifth fills caches and arenas
    let early = &seen.rss[n / 5..n / 5 * 2];
    let late = &seen.rss[n - n / 5..];
    let (early, late) = (median(early), median(late));
    let third = seen.latencies.len() / 3;
    println!(
        "{:.2} h of sound at {speed:.0} times its pace: {} answers, resident {early} -> {late} kB, \
         descriptors {} -> {}, camera lost {} times, p99 {:.1} -> {:.1} ms",
        hours(),
        seen.latencies.len(),
        seen.fds[n / 5],
        median(&seen.fds[n - n / 5..]),
        seen.lost,
        p99(&seen.latencies[..third]),
        p99(&seen.latencies[third * 2..]),
    );
    // two utterances a round; one may straddle the end of the sample
    assert!(
        seen.latencies.len() >= n,
        "{} answers in {n} rounds",
        seen.latencies.len()
    );
    assert!(
        late <= early + 2048,
        "resident memory grew from {early} to {late} kB"
    );
    let most = seen.fds[n / 5..].iter().max().unwrap();
    let least = seen.fds[n / 5..].iter().min().unwrap();
    // a running camera has two pipes and their ends
    assert!(most - least <= 6, "descriptors between {least} and {most}");
    assert!(seen.lost >= 1, "the camera was never lost");
}

/// The audit log's events, each line whole.
fn audited(text: &str) -> Vec<String> {
    let event = |line: &str| -> String {
        let record: serde_json::Value = serde_json::from_str(line).expect(line);
        record["event"].as_str().expect("an event").to_owned()
    };
    text.lines().map(event).collect()
}

/// Runs in a file system of 16 kB that is full until the sound is over; `None`, with a word,
/// where no file system can be mounted.
fn on_a_full_disk(folder: &Folder) -> Option<(String, String)> {
    let disk = folder.path("disk");
    fs::create_dir_all(&disk).unwrap();
    let disk = disk.to_str().unwrap();
    let config = format!(
        "{NOTICE}[audit]\nfile = \"{disk}/audit.jsonl\"\n[metrics]\nfile = \"{disk}/metrics.prom\"\n"
    );
    let config = folder.file("run.toml", config);
    let (header, sound) = endless();
    let sound = folder.file("sound.wav", [header, sound].concat());
    let script = format!(
        "mount -t tmpfs -o size=16k none {disk} || exit 99
        head -c 100000 /dev/zero > {disk}/fill 2> /dev/null
        (cat {sound:?}; sleep 2; rm {disk}/fill) |
            {:?} run --config {config} --audio - --json
        code=$?; echo; cat {disk}/audit.jsonl; test -s {disk}/metrics.prom && exit $code",
        env!("CARGO_BIN_EXE_demeanor")
    );
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script])
        .output();
    let Some(output) = output
        .ok()
        .filter(|o| !matches!(o.status.code(), Some(1 | 99)))
    else {
        eprintln!("no file system can be mounted here: the full disk was not tried");
        return None;
    };
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    let out = String::from_utf8_lossy(&output.stdout);
    let (events, log) = out.split_once("\n\n").expect("events and log");
    Some((events.into(), log.into()))
}

#[test]
fn a_full_disk_loses_no_answer_and_no_record() {
    if is_emulated() {
        return;
    }
    let folder = Folder::new();
    let Some((events, log)) = on_a_full_disk(&folder) else {
        return;
    };
    assert!(
        events.matches("\"task\":\"emotion\"").count() >= 2,
        "{events}"
    );
    for part in ["audit", "metrics"] {
        let told = |state: &str| {
            let line = format!("\"source\":\"{part}\",\"state\":\"{state}\"");
            events.matches(&line).count()
        };
        assert_eq!(
            (told("failing"), told("recovered")),
            (1, 1),
            "{part}: {events}"
        );
    }
    let first = ["start", "notice", "source"];
    let records = audited(&log);
    assert_eq!(records[..3], first, "{log}");
    assert_eq!(records.last().map(String::as_str), Some("stop"), "{log}");
}

/// Starts in a log, of whose records each is whole.
fn starts(log: &Path) -> usize {
    let log = fs::read_to_string(log).unwrap_or_default();
    // the last line may be on its way
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let records = audited(whole);
    records.iter().filter(|event| *event == "start").count()
}

#[test]
fn killed_and_started_again_the_log_stays_whole() {
    let folder = Folder::new();
    let log = folder.path("audit.jsonl");
    let config = format!("{NOTICE}[audit]\nfile = {log:?}\n");
    let config = folder.file("run.toml", config);
    let (header, sound) = endless();
    for round in 0..5_usize {
        let mut child = spawn(&["run", "--config", &config, "--audio", "-"]);
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&header).unwrap();
        stdin.write_all(&sound[..60_000 * round]).unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        while !out.next().unwrap().unwrap().contains("capturing") {}
        // nothing is captured before the log has its record, and the disk takes its time
        let begun = Instant::now();
        while starts(&log) <= round {
            assert!(begun.elapsed() < Duration::from_secs(20), "no record");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(starts(&log), 5);
}

#[test]
fn asked_to_end_it_answers_what_it_heard() {
    let folder = Folder::new();
    let config = folder.file("run.toml", NOTICE);
    let mut child = spawn(&["run", "--config", &config, "--audio", "-"]);
    let mut stdin = child.stdin.take().unwrap();
    let (header, sound) = endless();
    stdin.write_all(&header).unwrap();
    // the first sentence is not over
    stdin.write_all(&sound[..96_000]).unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    while !out.next().unwrap().unwrap().contains("capturing") {}
    std::thread::sleep(Duration::from_secs(if is_emulated() { 10 } else { 1 }));
    signal(&child, "TERM");
    let rest: Vec<String> = out.map_while(Result::ok).collect();
    assert!(
        rest.iter().any(|l| l.contains("\"task\":\"emotion\"")),
        "{rest:#?}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_recording_is_answered_to_its_end_while_the_camera_goes_on() {
    let folder = Folder::new();
    let face = repo("tests/data/pictures/face.jpg");
    let script = format!("while cat {face:?}; do sleep 0.2; done");
    let script = folder.file("camera.sh", script);
    let config = format!("{NOTICE}[camera]\ncommand = [\"sh\", {script:?}]\n");
    let config = folder.file("run.toml", config);
    let sample = repo("tests/data/sample.wav");
    let mut child = spawn(&[
        "run",
        "--config",
        &config,
        "--audio",
        sample.to_str().unwrap(),
    ]);
    let out = BufReader::new(child.stdout.take().unwrap()).lines();
    // the second sentence ends with the recording
    let emotions = out
        .map_while(Result::ok)
        .filter(|line| line.contains("\"task\":\"emotion\"") && line.contains("speech"));
    assert_eq!(emotions.take(2).count(), 2);
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
