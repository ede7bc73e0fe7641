//! `demeanor run`: nothing before the notice, words joined to sound, mute settings kept.

use crate::support::*;

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

#[test]
fn what_is_live_has_a_number_a_time_and_a_device() {
    let folder = Folder::new();
    let config = folder.file("run.toml", format!("{NOTICE}[device]\nname = \"door\"\n"));
    let args = ["run", "--config", &config, "--audio", &sample_path()];
    let ran = demeanor(&args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let now = jiff::Timestamp::now();
    for (n, event) in ran.events().iter().enumerate() {
        assert_eq!(event["seq"], n + 1);
        assert_eq!(event["device"], "door");
        let time = event["time"].as_str().unwrap();
        assert_eq!((time.len(), &time[19..20], &time[23..]), (24, ".", "Z"));
        let time: jiff::Timestamp = time.parse().unwrap();
        assert!(now.duration_since(time).as_secs() < 600);
    }
    // a recording is no live device
    let ran = demeanor(&["analyze", &sample_path(), "--json", "--explain"]);
    for (n, event) in ran.events().iter().enumerate() {
        assert_eq!(event["seq"], n + 1);
        assert!(event["time"].is_null() && event["device"].is_null());
    }
}

/// Answers about the sample through a pipe, `rounds` times over; it ends once one of them
/// begins at `last`, or a minute later than it should.
fn answers_of(
    rounds: usize,
    config: &str,
    last: Option<&serde_json::Value>,
) -> Vec<serde_json::Value> {
    use std::io::{BufRead, BufReader, Write};
    let mut sound = std::fs::read(sample_path()).unwrap();
    // as a pipe has it: no length
    sound[4..8].fill(0xff);
    sound[40..44].fill(0xff);
    let samples = sound[44..].repeat(rounds - 1);
    sound.extend(samples);
    let mut child = command(&["run", "--config", config, "--audio", "-", "--json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (pid, out) = (child.id().to_string(), child.stdout.take().unwrap());
    let end = move || {
        let sent = std::process::Command::new("kill").arg(&pid).status();
        assert!(sent.unwrap().success());
    };
    let writing = std::thread::spawn(move || stdin.write_all(&sound));
    let mut got = Vec::new();
    let mut patience = None;
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        let event = event(&line);
        if writing.is_finished() && patience.is_none() {
            patience = Some(std::time::Instant::now() + std::time::Duration::from_secs(60));
        }
        if event["task"] == "emotion" {
            got.push(event);
        }
        let is_last = last.is_some() && got.last().map(|event| &event["start"]) == last;
        if is_last || last.is_some() && patience.is_some_and(|p| std::time::Instant::now() > p) {
            end();
            break;
        }
    }
    writing.join().unwrap().unwrap();
    child.wait().unwrap();
    got
}

#[test]
fn looks_at_a_camera_push_no_utterance_out() {
    let folder = Folder::new();
    let alone = folder.file("alone.toml", NOTICE);
    let starts = |events: &[serde_json::Value]| -> Vec<serde_json::Value> {
        let of = |event: &serde_json::Value| event["start"].clone();
        events.iter().map(of).collect()
    };
    // emulated, each answer beside the camera's takes seconds
    let times = if is_emulated() { 4 } else { 20 };
    let wanted = starts(&answers_of(times, &alone, None));
    assert!(wanted.len() >= 2 * times, "{} answers", wanted.len());
    let face = repo("tests/data/pictures/face.jpg");
    let script = folder.file("camera.sh", format!("while cat {face:?}; do :; done"));
    let camera = format!("[camera]\ncommand = [\"sh\", {script:?}]\nevery = 0.001\n");
    let flooded = folder.file("flooded.toml", format!("{NOTICE}{camera}"));
    let got = answers_of(times, &flooded, wanted.last());
    assert_eq!(starts(&got), wanted);
}

#[test]
fn a_log_or_a_page_that_is_no_file_of_ours_is_refused() {
    let folder = Folder::new();
    let target = folder.file("target", "precious");
    let link = folder.path("link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let link = link.to_str().unwrap();
    for section in ["audit", "metrics"] {
        for (path, is) in [("/dev/null", "a device"), (link, "a symbolic link")] {
            let config = format!("{NOTICE}[{section}]\nfile = {path:?}\n");
            let config = folder.file("run.toml", config);
            let args = ["run", "--config", &config, "--audio", &sample_path()];
            let ran = demeanor(&args);
            ran.is_error(&format!("{path}: it is {is} and no regular file"));
            ran.is_error(&format!("[{section}] file"));
            assert!(ran.out.is_empty(), "{}", ran.out);
        }
    }
    assert_eq!(std::fs::read_to_string(target).unwrap(), "precious");
}

/// What a pipe that brings the sample as fast as partial answers come is answered with.
fn live(config: &str) -> Vec<serde_json::Value> {
    use std::io::{BufRead, BufReader, Write};
    let mut child = command(&["run", "--config", config, "--audio", "-", "--json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut sound = std::fs::read(sample_path()).unwrap();
    // as a pipe has it: no length
    sound[4..8].fill(0xff);
    sound[40..44].fill(0xff);
    let is_partial = |event: &serde_json::Value| event["partial"] == true;
    let wants = std::fs::read_to_string(config).unwrap().contains("partial");
    let mut seen = Vec::new();
    // twice within the first sentence, then its end, and twice within the second
    let ends = [
        (1.6, true),
        (2.4, true),
        (4.8, false),
        (5.6, true),
        (6.8, true),
    ];
    let mut sent = 0;
    for (end, partial) in ends {
        let end = 44 + 2 * (end * 16_000.0) as usize;
        stdin.write_all(&sound[sent..end]).unwrap();
        sent = end;
        if partial && !wants {
            continue;
        }
        loop {
            let next = event(&lines.next().unwrap().unwrap());
            let is_it = next["task"] == "emotion" && is_partial(&next) == partial;
            seen.push(next);
            if is_it {
                break;
            }
        }
    }
    stdin.write_all(&sound[sent..]).unwrap();
    drop(stdin);
    seen.extend(lines.map(|line| event(&line.unwrap())));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    seen
}

#[test]
fn while_somebody_speaks_what_was_heard_so_far_is_told_and_replaced() {
    let folder = Folder::new();
    let figures = folder.path("demeanor.prom");
    let metrics = format!("[metrics]\nfile = {figures:?}\n[decision]\n");
    let without = folder.file("without.toml", format!("{NOTICE}{metrics}"));
    let with = folder.file("with.toml", format!("{NOTICE}{metrics}partial = 0.75\n"));
    let plain = live(&without);
    let events = live(&with);
    let (so_far, whole): (Vec<_>, Vec<_>) = answers(&events)
        .into_iter()
        .partition(|e| e["partial"] == true);
    assert!(so_far.len() >= 4, "{so_far:#?}");
    for n in [1, 2] {
        let at = |part: bool| {
            let of = |e: &&serde_json::Value| {
                e["task"] == "emotion" && e["utterance"] == n && (e["partial"] == true) == part
            };
            events.iter().filter(of).collect::<Vec<_>>()
        };
        let (parts, finals) = (at(true), at(false));
        let [last] = finals[..] else {
            panic!("{events:#?}")
        };
        assert!(parts.len() >= 2, "{parts:#?}");
        for part in &parts {
            assert_eq!(part["start"], last["start"]);
            assert!(part["end"].as_f64() < last["end"].as_f64());
            assert!(part["seq"].as_u64() < last["seq"].as_u64());
            assert_eq!(part["modality"], "speech");
        }
        assert!(parts.is_sorted_by(|a, b| a["end"].as_f64() < b["end"].as_f64()));
    }
    // the answers are those of a run that told nothing so far: averages over time, too
    let judged = |e: &serde_json::Value| {
        [
            "start",
            "end",
            "utterance",
            "label",
            "scores",
            "smoothed",
            "notes",
        ]
        .map(|field| e[field].clone())
    };
    let judged_all =
        |events: Vec<&serde_json::Value>| -> Vec<_> { events.into_iter().map(judged).collect() };
    assert_eq!(judged_all(whole), judged_all(answers(&plain)));
    // and what is replaced is no answer that was counted; the last one may come behind the figures
    let figures = std::fs::read_to_string(figures).unwrap();
    let counted = figures.lines().find_map(|line| {
        let count = line.strip_prefix("demeanor_answers_total{task=\"emotion\"} ")?;
        count.parse::<u64>().ok()
    });
    assert!(counted.is_none_or(|n| n <= 2), "{figures}");
}

#[test]
fn a_pace_of_partial_answers_that_makes_no_sense_is_told() {
    let folder = Folder::new();
    let config = folder.file("run.toml", format!("{NOTICE}[decision]\npartial = 30\n"));
    let ran = demeanor(&["run", "--config", &config, "--audio", &sample_path()]);
    ran.is_error("`decision.partial` is 30; write 0.25 to 8 seconds of speech");
}

#[test]
fn where_answers_are_counted_nobody_is_told_who_was_in_sight() {
    // minutes of emulation, and nothing in it depends on the processor
    if is_emulated() {
        return;
    }
    let folder = Folder::new();
    let pictures = folder.path("pictures");
    std::fs::create_dir(&pictures).unwrap();
    for n in 0..6 {
        let face = repo("tests/data/pictures/face.jpg");
        std::fs::copy(face, pictures.join(format!("{n}.jpg"))).unwrap();
    }
    let config = format!("{NOTICE}[camera]\nevery = 0.0\n[aggregate]\nat_least = 3\n");
    let config = folder.file("run.toml", config);
    let run = |config: &str| {
        let pictures = pictures.to_str().unwrap();
        let args = [
            "run", "--config", config, "--audio", "none", "--camera", pictures,
        ];
        demeanor(&args)
    };
    let ran = run(&config);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let events = ran.events();
    let told: Vec<_> = events.iter().filter(|e| e["task"] != "state").collect();
    let [told] = told[..] else {
        panic!("{}", ran.out)
    };
    assert_eq!(
        (&told["task"], &told["of"]),
        (&"aggregate".into(), &"expression".into())
    );
    assert!(told["answers"].as_u64() >= Some(3), "{told}");
    for private in ["\"face\"", "\"ids\"", "\"box\"", "\"scores\""] {
        assert!(!ran.out.contains(private), "{}", ran.out);
    }
    // those who look here are told of persons without the section
    let plain = folder.file("plain.toml", format!("{NOTICE}[camera]\nevery = 0.0\n"));
    let plain = run(&plain);
    assert!(plain.out.contains("\"task\":\"faces\"") && plain.out.contains("\"face\""));
}

#[test]
fn counts_and_partial_answers_exclude_each_other() {
    let folder = Folder::new();
    let config = format!("{NOTICE}[decision]\npartial = 1.0\n[aggregate]\n");
    let config = folder.file("run.toml", config);
    let ran = demeanor(&["run", "--config", &config, "--audio", &sample_path()]);
    ran.is_error("`decision.partial` tells single answers and `[aggregate]` none");
}

fn skipped(events: &[serde_json::Value]) -> Vec<&str> {
    let of = events.iter().filter(|e| e["state"] == "skipped");
    of.filter_map(|e| e["detail"].as_str()).collect()
}

/// The sample, and beside it a loudspeaker that sounds in these seconds.
fn beside_a_loudspeaker(folder: &Folder, spoken: &[std::ops::Range<f32>]) -> String {
    let frames = sample().into_iter().enumerate().flat_map(|(i, x)| {
        let at = i as f32 / 16_000.0;
        let sounds = spoken.iter().any(|range| range.contains(&at));
        let tone = 0.1 * (at * 440.0 * std::f32::consts::TAU).sin();
        [x, if sounds { tone } else { 0.0001 * tone }]
    });
    let frames: Vec<f32> = frames.collect();
    folder.file("both.wav", wav_i16(16_000, 2, &frames))
}

#[test]
fn what_the_device_says_itself_is_not_judged() {
    let folder = Folder::new();
    let run = |ignore: &str, recording: &str| {
        let config = folder.file("run.toml", format!("{NOTICE}[audio]\n{ignore}\n"));
        let ran = demeanor(&["run", "--config", &config, "--audio", recording]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.events()
    };
    let spans = |events: &[serde_json::Value]| -> Vec<(f64, f64)> {
        let answers = answers(events).into_iter();
        let span = |e: &serde_json::Value| (e["start"].as_f64(), e["end"].as_f64());
        let spans = answers.filter_map(|e| match span(e) {
            (Some(start), Some(end)) => Some((start, end)),
            _ => None,
        });
        spans.collect()
    };
    // the first of two sentences is the device's own
    let recording = beside_a_loudspeaker(&folder, std::slice::from_ref(&(0.0..3.5)));
    assert_eq!(spans(&run("channel = 0", &recording)).len(), 2);
    let events = run("ignore_while = { channel = 1 }", &recording);
    let [(start, _)] = spans(&events)[..] else {
        panic!("{events:#?}")
    };
    assert!(start >= 3.8, "{start}");
    let told = skipped(&events);
    assert!(
        told[0].starts_with("the device itself spoke: 3.8 s"),
        "{told:?}"
    );
    // it falls into the second: what was said before is judged, and what comes behind its echo
    let recording = beside_a_loudspeaker(&folder, std::slice::from_ref(&(5.5..6.0)));
    let events = run("ignore_while = { channel = 1, after = 0.2 }", &recording);
    let spans = spans(&events);
    assert_eq!(spans.len(), 3, "{spans:?}");
    assert!(
        (5.3..=5.5).contains(&spans[1].1) && spans[2].0 >= 6.2,
        "{spans:?}"
    );
    let cut = answers(&events)[1]["notes"].to_string();
    assert!(cut.contains("cut before its speaker paused"), "{cut}");
    // a channel that is not there, and one that leaves nothing to hear
    for (ignore, said) in [
        (
            "ignore_while = { channel = 2 }",
            "has 2 channels and no channel 2",
        ),
        (
            "channel = 1\nignore_while = { channel = 1 }",
            "nothing is left to hear",
        ),
    ] {
        let config = folder.file("run.toml", format!("{NOTICE}[audio]\n{ignore}\n"));
        demeanor(&["run", "--config", &config, "--audio", &recording]).is_error(said);
    }
}

#[test]
fn the_devices_voice_holds_a_socket_while_it_speaks() {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};
    let folder = Folder::new();
    let (socket, page) = (folder.path("speaking.sock"), folder.path("page.prom"));
    let config = format!(
        "{NOTICE}[audio]\nignore_while = {socket:?}\n[text]\nwait = 0.0\n\
         [metrics]\nfile = {page:?}\nevery = 0.1\n"
    );
    let config = folder.file("run.toml", config);
    let mut child = command(&["run", "--config", &config, "--audio", "-", "--json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut sound = std::fs::read(sample_path()).unwrap();
    // as a pipe has it: no length
    sound[4..8].fill(0xff);
    sound[40..44].fill(0xff);
    let (first, second) = sound.split_at(44 + 4 * 32_000);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut events = lines.map_while(Result::ok).map(|line| event(&line));
    stdin.write_all(first).unwrap();
    let heard = events.find(|e| e["task"] == "emotion").expect("an answer");
    assert!(heard["start"].as_f64() < Some(1.0), "{heard}");
    // the same sentence once more, and now it is the device's own
    let voice = UnixStream::connect(&socket).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    stdin.write_all(&first[44..]).unwrap();
    let begun = Instant::now();
    let ignored = || {
        let page = std::fs::read_to_string(&page).unwrap_or_default();
        let line = page
            .lines()
            .find_map(|l| l.strip_prefix("demeanor_ignored_seconds_total "));
        line.and_then(|seconds| seconds.parse::<f64>().ok())
    };
    while ignored() < Some(3.0) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it is not ignored"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(voice);
    std::thread::sleep(Duration::from_millis(1000));
    stdin.write_all(second).unwrap();
    drop(stdin);
    let rest: Vec<_> = events.collect();
    let starts: Vec<_> = answers(&rest).iter().map(|e| e["start"].as_f64()).collect();
    assert!(
        matches!(starts[..], [Some(start)] if start >= 8.0),
        "{rest:#?}"
    );
    let told = skipped(&rest);
    assert!(
        told.iter().any(|t| t.contains("the device itself spoke")),
        "{told:?}"
    );
    assert!(child.wait().unwrap().success() && !socket.exists());
}
