//! `[ros] domain` of a real run: nodes of other makers' DDS hear faces, answers and states;
//! whoever sends rubbish to its ports, or hangs, costs no answer.
//!
//! The other nodes are `tests/live/ros/dds.py`, by Cyclone DDS (`tests/live/ros/dds.txt`), and
//! `tests/live/ros/fast.py`, by Fast DDS (a C++ compiler and Debian's `libfastrtps-dev`). Without
//! them nothing is tested, unless `DEMEANOR_REQUIRE_ROS` is set.

#![cfg(all(unix, feature = "ros2"))]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::outputs::percentiles;
use crate::ros::{
    ALL, ANSWER, CONFIG, camera, hears_whether_somebody_speaks, is_there, listen, python, signal,
    start, start_with, told,
};
use crate::support::*;
use broker::{Lines, Running};
use mutate::Rng;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// A domain whose ports nobody has.
fn free_domain() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 97) as u16;
    let mut domains =
        std::iter::repeat_with(|| 1 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 97);
    let is_free = |domain: &u16| {
        let port = port_of(*domain);
        [0, 10, 11, 12, 13]
            .iter()
            .all(|more| UdpSocket::bind(("0.0.0.0", port + more)).is_ok())
    };
    domains.find(is_free).unwrap()
}

/// The first of a domain's ports.
fn port_of(domain: u16) -> u16 {
    7400 + 250 * domain
}

fn section(domain: u16, publish: &str) -> String {
    format!("domain = {domain}\naddress = \"127.0.0.1\"\n{publish}")
}

/// A node by Cyclone DDS, which announces itself to `peer` as well; `None`, with a word, where
/// there is none.
fn cyclone(domain: u16, peer: u16) -> Option<(Running, Lines)> {
    let mut child = python("dds.py", "cyclonedds, rosbags")?;
    child.args([domain, peer].map(|n| n.to_string()));
    Some(reader(child))
}

/// A node by Fast DDS.
fn fast(domain: u16) -> Option<(Running, Lines)> {
    let built = python("fast.py", "rosbags")?.status().unwrap();
    if !is_there(built.success(), "there is no Fast DDS (libfastrtps-dev)") {
        return None;
    }
    let mut child = python("fast.py", "rosbags")?;
    child.arg(domain.to_string());
    Some(reader(child))
}

fn reader(mut child: Command) -> (Running, Lines) {
    let mut child = Running(child.stdout(Stdio::piped()).spawn().unwrap());
    let lines = Lines::of(child.0.stdout.take().unwrap());
    lines.wait(&["ready"]);
    (child, lines)
}

/// Waits until the two have found each other, and each knows of it.
fn meet(heard: &Lines) {
    heard.wait(&["found"]);
    heard.wait(&["/diagnostics"]);
}

/// Says something, and waits for the answer to it on standard output: its `seq`.
fn answer(words: &mut ChildStdin, out: &Lines, what: &str) -> Value {
    writeln!(words, "{what}").unwrap();
    event(&out.wait(&[ANSWER]))["seq"].clone()
}

fn rss_kb(child: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.0.id())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What a node said, damaged; or another message of RTPS, of parts that say nothing.
fn rubbish(said: &[u8], rng: &mut Rng) -> Vec<u8> {
    let damage = rng.next();
    let mut packet = said.to_vec();
    if damage.is_multiple_of(2) {
        packet.truncate(20);
        for _ in 0..1 + damage % 3 {
            // every kind of part there is, and some that there is not
            let (kind, flags) = (rng.next() % 0x1a, rng.next() % 16);
            let length = rng.next() % 80;
            // its length is not always what it says
            let said = length + if rng.next().is_multiple_of(8) { 9 } else { 0 };
            packet.extend([kind as u8, flags as u8, said as u8, 0]);
            packet.extend((0..length).map(|_| match rng.next() % 3 {
                0 => 0xff,
                1 => 0,
                _ => rng.next() as u8,
            }));
        }
    }
    for _ in 0..damage % 8 {
        let at = (rng.next() % packet.len() as u64) as usize;
        packet[at] = rng.next() as u8;
    }
    if damage.is_multiple_of(5) {
        packet.truncate((rng.next() % 400) as usize);
    }
    packet
}

#[test]
fn a_node_by_cyclone_dds_hears_of_faces_answers_and_states() {
    let domain = free_domain();
    if let Some((_reader, heard)) = cyclone(domain, 9) {
        hears_of_faces_answers_and_states(domain, &heard);
    }
}

#[test]
fn a_node_by_fast_dds_hears_of_faces_answers_and_states() {
    let domain = free_domain();
    if let Some((_reader, heard)) = fast(domain) {
        hears_of_faces_answers_and_states(domain, &heard);
    }
}

fn hears_of_faces_answers_and_states(domain: u16, heard: &Lines) {
    let folder = Folder::new();
    let (mut child, mut words, _out) = start(&folder, &camera(), &section(domain, ALL));
    meet(heard);

    let line = heard.wait(&["/humans/faces/tracked hri_msgs/msg/IdsList", "[\"f"]);
    let id = told(&line).2["ids"][0].as_str().unwrap().to_owned();
    assert!(id.chars().all(|c| c.is_ascii_alphanumeric()));
    let topic = format!("/humans/faces/{id}/expression hri_msgs/msg/Expression");
    let line = heard.wait(&[&topic]);
    assert!(line.contains("\"valence\": NaN") && line.contains("\"arousal\": NaN"));
    let (_, _, expression) = told(&line);
    assert!(expression["confidence"].as_f64().is_some_and(|p| p > 0.1));
    assert!(expression["header"]["stamp"]["sec"].as_i64().unwrap() > 1_700_000_000);
    let words_of_ros = [
        "neutral",
        "happy",
        "surprised",
        "sad",
        "angry",
        "disgusted",
        "scared",
    ];
    assert!(words_of_ros.contains(&expression["expression"].as_str().unwrap()));
    let line = heard.wait(&[&format!("/humans/faces/{id}/roi")]);
    let (_, kind, place) = told(&line);
    assert_eq!(kind, "hri_msgs/msg/NormalizedRegionOfInterest2D");
    let side = |name: &str| place[name].as_f64().unwrap();
    assert!(0.0 <= side("xmin") && side("xmin") < side("xmax") && side("xmax") <= 1.0);
    assert!(0.0 <= side("ymin") && side("ymin") < side("ymax") && side("ymax") <= 1.0);

    writeln!(words, "Bartholomew makes me very happy").unwrap();
    let line = heard.wait(&["/demeanor/events std_msgs/msg/String", "emotion", "text"]);
    let data = told(&line).2["data"].as_str().unwrap().to_owned();
    let event: Value = serde_json::from_str(&data).unwrap();
    let named = (&event["task"], &event["device"]);
    assert_eq!(named, (&"emotion".into(), &"door".into()));
    let hides_words = !data.to_lowercase().contains("barth");
    assert!(event["scores"].is_object() && hides_words, "{data}");

    let line = heard.wait(&[
        "/diagnostics diagnostic_msgs/msg/DiagnosticArray",
        "capturing",
    ]);
    let status = &told(&line).2["status"];
    let name = |n: usize| status[n]["name"].as_str().unwrap();
    assert_eq!(
        [name(0), name(1)],
        ["demeanor door: capture", "demeanor door: machine"]
    );
    let of = (&status[0]["level"], &status[0]["hardware_id"]);
    assert_eq!(of, (&0.into(), &"door".into()));

    signal(&child, "TERM");
    assert_eq!(child.exit_code(), Some(0));
    // at the end nobody is in sight any more
    heard.wait(&["/humans/faces/tracked", "\"ids\": []"]);
}

#[test]
fn a_node_by_cyclone_dds_hears_whether_somebody_speaks_while_they_do() {
    let (folder, domain) = (Folder::new(), free_domain());
    let Some((_reader, heard)) = cyclone(domain, 9) else {
        return;
    };
    let run = listen(&folder, &section(domain, "publish = [\"voices\"]\n"));
    hears_whether_somebody_speaks(run, &heard);
}

/// In a network of its own, where nothing is but loopback.
#[test]
fn without_an_address_others_are_found_by_multicast() {
    const IN_A_NET: &str = "ip link set lo up multicast on && ip route add 239.0.0.0/8 dev lo && \
        demeanor=$0 config=$1 && shift && { \"$@\" & } && exec \"$demeanor\" run --config \"$config\" --json";
    let (folder, domain) = (Folder::new(), free_domain());
    let mut net = Command::new("unshare");
    net.args([
        "--map-root-user",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
    ]);
    let tried = Command::new("unshare")
        .args(["--map-root-user", "--net", "ip", "link"])
        .output();
    let is_given = tried.is_ok_and(|tried| tried.status.success());
    let Some(node) = python("dds.py", "cyclonedds, rosbags") else {
        return;
    };
    if !is_there(
        is_given,
        "there is no network namespace (packages util-linux, iproute2)",
    ) {
        return;
    }
    let config = folder.file("run.toml", format!("{CONFIG}[ros]\ndomain = {domain}\n"));
    net.args([IN_A_NET, env!("CARGO_BIN_EXE_demeanor"), &config]);
    net.arg(node.get_program())
        .args(node.get_args())
        .arg(domain.to_string());
    let net = net.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut net = Running(net.unwrap());
    let mut words = net.0.stdin.take().unwrap();
    // what both say
    let told = Lines::of(net.0.stdout.take().unwrap());
    meet(&told);
    writeln!(words, "I am so happy").unwrap();
    told.wait(&["/demeanor/events std_msgs/msg/String", "emotion"]);
    drop(words);
    assert_eq!(net.exit_code(), Some(0));
}

#[test]
fn only_what_was_asked_for_is_told_and_each_answer_once_also_to_who_comes_late() {
    let (folder, domain) = (Folder::new(), free_domain());
    let (mut child, mut words, out) = start(&folder, "", &section(domain, ""));
    answer(&mut words, &out, "nobody reads this, and I am sad");
    let Some((_reader, heard)) = cyclone(domain, 9) else {
        return;
    };
    meet(&heard);
    let expected = [
        answer(&mut words, &out, "this makes me very happy"),
        answer(&mut words, &out, "I am so angry"),
    ];
    let mut lines = Vec::new();
    let mut numbers = Vec::new();
    while numbers.last() != expected.last() {
        let line = heard.wait(&[" "]);
        let (topic, _, message) = told(&line);
        if topic == "/demeanor/events" {
            let event: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
            if event["task"] == "emotion" {
                numbers.push(event["seq"].clone());
            }
        }
        lines.push(line);
    }
    assert_eq!(numbers, expected);
    // no scores, faces or words, unasked
    for private in ["/humans/", "scores", "token"] {
        assert!(!lines.iter().any(|l| l.contains(private)), "{lines:?}");
    }
    let ran = demeanor(&[
        "doctor",
        "--json",
        "--config",
        folder.path("run.toml").to_str().unwrap(),
    ]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|c| c["name"] == "ros").unwrap();
    assert_eq!(check["verdict"], "ok", "{check}");
    let finding = check["finding"].as_str().unwrap();
    assert!(finding.contains(" readers of what is told"), "{finding}");
    drop(words);
    assert_eq!(child.exit_code(), Some(0));
}

#[test]
fn rubbish_on_its_ports_and_a_reader_that_hangs_cost_no_answer() {
    let (folder, domain) = (Folder::new(), free_domain());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let Some((reader, heard)) = cyclone(domain, socket.local_addr().unwrap().port()) else {
        return;
    };
    // what a node says when it announces itself
    let mut announced = [0; 2048];
    let length = socket.recv(&mut announced).unwrap();
    let announced = &announced[..length];
    assert!(announced.starts_with(b"RTPS"));

    let (mut child, mut words, out) = start(&folder, "", &section(domain, ALL));
    meet(&heard);
    answer(&mut words, &out, "this makes me very happy");
    let (before, mut rng) = (rss_kb(&child), Rng(domain.into()));
    for n in 0..20_000_u16 {
        let packet = rubbish(announced, &mut rng);
        let port = port_of(domain) + [0, 1, 10, 11, 12, 13][usize::from(n % 6)];
        socket.send_to(&packet, ("127.0.0.1", port)).unwrap();
        if n.is_multiple_of(4000) {
            answer(&mut words, &out, "I am so angry");
        }
    }
    // the other node hears it still
    let seq = answer(&mut words, &out, "I am so happy").to_string();
    heard.wait(&["/demeanor/events", &format!("\\\"seq\\\":{seq},")]);

    signal(&reader, "STOP");
    for _ in 0..300 {
        answer(&mut words, &out, "I am so angry");
    }
    signal(&reader, "CONT");
    let seq = answer(&mut words, &out, "I am so happy").to_string();
    heard.wait(&["/demeanor/events", &format!("\\\"seq\\\":{seq},")]);
    let grown = rss_kb(&child).saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} kB more");
    drop(words);
    assert_eq!(child.exit_code(), Some(0));
}

/// From a line of words to its answer on standard output: a run without outputs and one whose only
/// reader hangs, in turn.
#[test]
#[ignore = "a measurement, of 2 x 4000 answers: OUTPUTS.md says how to start it"]
fn what_an_answer_takes_while_a_reader_by_dds_hangs() {
    let (folder, other, domain) = (Folder::new(), Folder::new(), free_domain());
    let Some((reader, heard)) = cyclone(domain, 9) else {
        return;
    };
    let hung = start(&folder, "", &section(domain, ALL));
    meet(&heard);
    signal(&reader, "STOP");
    let mut runs = [(start_with(&other, CONFIG), vec![]), (hung, vec![])];
    for n in 0..4_000 {
        for ((_, words, out), times) in &mut runs {
            let begun = Instant::now();
            answer(words, out, &format!("this makes me very happy, {n} times"));
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    signal(&reader, "CONT");
    let [none, hung] = runs.map(|((mut child, words, _), times)| {
        drop(words);
        assert_eq!(child.exit_code(), Some(0));
        percentiles(times)
    });
    println!("            median     p99");
    println!("no output {:5.2} ms {:5.2} ms", none.0, none.1);
    println!("hung      {:5.2} ms {:5.2} ms", hung.0, hung.1);
    let (median, p99) = (hung.0 / none.0, hung.1 / none.1);
    println!("ratio     {median:5.3}    {p99:5.3}");
}

#[test]
fn an_address_of_another_board_is_told() {
    let folder = Folder::new();
    // of a net that is for examples alone
    let section = "domain = 0\naddress = \"192.0.2.1\"\n";
    let (mut child, mut words, out) = start(&folder, "", section);
    out.wait(&["\"ros\"", "\"failing\"", "this board has no such address"]);
    answer(&mut words, &out, "I am so happy");
    drop(words);
    assert_eq!(child.exit_code(), Some(0));
    let config = folder.file("doctor.toml", format!("{CONFIG}[ros]\n{section}"));
    let ran = demeanor(&["doctor", "--config", &config]);
    assert!(ran.out.contains("check [ros] address"), "{}", ran.out);
}
