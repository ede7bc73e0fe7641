//! Long runs: hours of stream time in minutes, sources that come and go, a full disk, signals.
//!
//! `DEMEANOR_SOAK_HOURS=24 cargo test --release --test soak -- --nocapture` soaks a day; by
//! default it is half an hour of sound, which takes seconds.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;
use support::*;

const NOTICE: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n";

fn hours() -> f64 {
    let asked = std::env::var("DEMEANOR_SOAK_HOURS").ok();
    asked.and_then(|h| h.parse().ok()).unwrap_or(0.5)
}

/// Under emulation memory and descriptors are the emulator's.
fn is_emulated() -> bool {
    std::env::var_os("DEMEANOR_RUNNER").is_some()
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
        let event: serde_json::Value = serde_json::from_str(&line).expect(&line);
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
    assert!(seen.latencies.len() >= n, "{} answers in {n} rounds", seen.latencies.len());
    assert!(late <= early + 2048, "resident memory grew from {early} to {late} kB");
    let most = seen.fds[n / 5..].iter().max().unwrap();
    let least = seen.fds[n / 5..].iter().min().unwrap();
    // a running camera has two pipes and their ends
    assert!(most - least <= 6, "descriptors between {least} and {most}");
    assert!(seen.lost >= 1, "the camera was never lost");
}
