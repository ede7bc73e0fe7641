//! Pictures and cameras through the whole program: what is seen, said and left alone.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

fn picture(name: &str) -> String {
    let path = repo("tests/data/pictures").join(name);
    path.to_str().unwrap().to_string()
}

fn of<'a>(events: &'a [Value], task: &str) -> Vec<&'a Value> {
    events.iter().filter(|e| e["task"] == task).collect()
}

/// Scores sum to 1, and the label is one of them or `unsure`; names in words have scores each.
fn check(event: &Value) {
    if event["task"] == "entities" {
        assert_eq!(event["label"], "none", "{event}");
        return;
    }
    let scores = event["scores"].as_object().expect("scores");
    let sum: f64 = scores.values().filter_map(Value::as_f64).sum();
    assert!((sum - 1.0).abs() < 4e-3, "{event}");
    let label = event["label"].as_str().expect("label");
    assert!(label == "unsure" || scores.contains_key(label), "{event}");
    assert!(event["latency_ms"]["total"].as_f64() > Some(0.0), "{event}");
}

#[test]
fn a_photograph_with_words_is_answered_by_every_task() {
    let ran = demeanor(&[
        "analyze",
        &picture("face.jpg"),
        "--text",
        "what a wonderful day http://t.co/x",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let events = ran.events();
    events.iter().for_each(check);
    let sentiment = of(&events, "sentiment");
    assert_eq!(sentiment.len(), 1, "{}", ran.out);
    assert_eq!(sentiment[0]["modality"], "image+text");
    let sarcasm = of(&events, "sarcasm");
    assert_eq!(sarcasm[0]["modality"], "image+text");
    assert_eq!(sarcasm[0]["neighbours"].as_array().map(Vec::len), Some(10));
    assert_eq!(sarcasm[0]["words"].as_array().map(Vec::len), Some(5));
    assert_eq!(of(&events, "entities").len(), 1, "{}", ran.out);
    let faces = of(&events, "expression");
    assert_eq!(faces.len(), 1, "{}", ran.out);
    assert_eq!(faces[0]["face"]["id"], 1);
    let place = faces[0]["face"]["box"].as_array().unwrap();
    assert!(place.iter().all(|p| p.as_f64() > Some(0.0)), "{}", ran.out);
    let emotion = of(&events, "emotion");
    assert_eq!(emotion[0]["modality"], "text+face");
    assert_eq!(emotion[0]["face"]["id"], 1);
}

/// `faces_reference.json`: boxes and logits by ONNX Runtime on Pillow's pixels, from the files that ship.
#[test]
fn faces_and_what_they_show_are_what_python_finds() {
    let known = fs::read_to_string(repo("tests/data/faces_reference.json")).unwrap();
    let known: Value = serde_json::from_str(&known).unwrap();
    let manifest = fs::read_to_string(repo("models/expression/manifest.toml")).unwrap();
    let temperature = manifest.split("temperature = ").nth(1).unwrap();
    let temperature: f64 = temperature.lines().next().unwrap().parse().unwrap();
    let numbers = |values: &Value| -> Vec<f64> {
        let values = values.as_array().unwrap();
        values.iter().filter_map(Value::as_f64).collect()
    };
    let mut judged = 0;
    for named in known["pictures"].as_array().unwrap() {
        let path = picture(named["picture"].as_str().unwrap());
        let events = demeanor(&["analyze", &path, "--expressions-only"]).events();
        for event in of(&events, "expression") {
            let found = numbers(&event["face"]["box"]);
            // ours are left, top, width, height; Python's the corners
            let apart = |face: &&Value| {
                let corners = numbers(&face["box"]);
                let own = [found[0], found[1], found[0] + found[2], found[1] + found[3]];
                let pairs = own.iter().zip(&corners);
                pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
            };
            let faces = named["faces"].as_array().unwrap();
            let nearest = faces
                .iter()
                .min_by(|a, b| apart(a).total_cmp(&apart(b)))
                .unwrap_or_else(|| panic!("{path}: Python finds nobody"));
            assert!(apart(&nearest) < 4.0, "{path}: {event}");
            let weights = numbers(&nearest["logits"]).into_iter();
            let weights: Vec<f64> = weights.map(|z| (z / temperature).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for (label, weight) in known["labels"].as_array().unwrap().iter().zip(&weights) {
                let said = event["scores"][label.as_str().unwrap()].as_f64().unwrap();
                assert!((said - weight / sum).abs() < 0.1, "{path}: {event}");
            }
            judged += 1;
        }
    }
    assert!(judged > 10, "{judged}");
}

#[test]
fn expressions_only_infers_no_emotion() {
    let ran = demeanor(&[
        "analyze",
        &picture("face.jpg"),
        "--text",
        "hello",
        "--expressions-only",
    ]);
    let events = ran.events();
    assert_eq!(of(&events, "expression").len(), events.len(), "{}", ran.out);
    assert!(!events.is_empty());
    // nothing to see in a recording
    let sound = repo("tests/data/sample.wav");
    demeanor(&["analyze", sound.to_str().unwrap(), "--expressions-only"]).is_error("a recording");
    demeanor(&["analyze", "--text", "hi", "--expressions-only"]).is_error("name a FILE");
}

#[test]
fn a_face_says_something_about_emotion_without_being_told_of() {
    let ran = demeanor(&["analyze", &picture("face.jpg"), "--tasks", "emotion"]);
    let events = ran.events();
    assert!(events.iter().all(|e| e["task"] == "emotion"), "{}", ran.out);
    let only = demeanor(&["analyze", &picture("no_face.jpg"), "--tasks", "emotion"]);
    assert_eq!((only.code, only.out.as_str()), (Some(1), ""));
}

#[test]
fn no_face_is_no_answer_and_said() {
    let ran = demeanor(&["analyze", &picture("no_face.jpg"), "--expressions-only"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.contains("no face found"), "{}", ran.err);
}

/// The expression bundle in a folder of its own, its manifest edited.
fn bundle(folder: &Folder, edit: impl Fn(String) -> String) -> String {
    let (from, dir) = (repo("models/expression"), folder.path("expression"));
    fs::create_dir_all(&dir).unwrap();
    for file in ["face.onnx", "expression.onnx", "second-look.onnx"] {
        fs::copy(from.join(file), dir.join(file)).unwrap();
    }
    let manifest = fs::read_to_string(from.join("manifest.toml")).unwrap();
    fs::write(dir.join("manifest.toml"), edit(manifest)).unwrap();
    dir.to_str().unwrap().to_string()
}

/// The manifest with another threshold of the gate, the only one that it names.
fn gate_at(threshold: f32) -> impl Fn(String) -> String {
    move |manifest| {
        let lines = manifest.lines().map(|line| match line.split_once('=') {
            Some(("threshold ", _)) => format!("threshold = {threshold}\n"),
            _ => format!("{line}\n"),
        });
        lines.collect()
    }
}

#[test]
fn a_second_look_tells_a_dog_from_a_face() {
    let folder = Folder::new();
    let faces = |name: &str, models: &str| {
        let ran = demeanor(&["analyze", &picture(name), "--models", models]);
        let events = ran.events();
        assert_eq!(ran.code, Some(i32::from(events.is_empty())), "{}", ran.err);
        events.len()
    };
    // the detector takes either for a face
    let open = bundle(&folder, gate_at(0.0));
    assert_eq!((faces("dog.jpg", &open), faces("face.jpg", &open)), (1, 1));
    let shipped = bundle(&folder, |manifest| manifest);
    assert_eq!(
        (faces("dog.jpg", &shipped), faces("face.jpg", &shipped)),
        (0, 1)
    );
}

#[test]
fn what_a_gate_sees_of_a_face_is_checked() {
    let folder = Folder::new();
    let cases = [
        ("face.context", "face.crop", "a gate reads `face.context`"),
        ("face.crop", "face.context", "any other head `face.crop`"),
        ("context = {", "# {", "section `face` has no `context`"),
        ("side = 96", "side = 8", "face.context.side"),
        // another size than its file takes
        (
            "side = 96",
            "side = 64",
            "`face.context.side` of the manifest is 64",
        ),
        (
            "crop_side = 48",
            "crop_side = 40",
            "`face.crop_side` of the manifest is 40",
        ),
    ];
    for (from, to, word) in cases {
        let models = bundle(&folder, |manifest| manifest.replacen(from, to, 1));
        demeanor(&["analyze", &picture("face.jpg"), "--models", &models]).is_error(word);
    }
}

#[test]
fn a_gate_that_nobody_passes_leaves_labelled_faces_alone() {
    let folder = Folder::new();
    let shut = bundle(&folder, gate_at(1.0));
    let face = picture("face.jpg");
    let ran = demeanor(&["analyze", &face, "--models", &shut]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    // every image of a labelled set is one face, whatever a gate says
    let table = folder.file("t.csv", format!("image,label\n{face},happiness\n"));
    let ran = demeanor(&[
        "eval",
        "--task",
        "expression",
        "--data",
        &table,
        "--models",
        &shut,
        "--json",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(ran.reports()[0]["n"], 1);
}

#[test]
fn of_forty_faces_the_most_certain_are_judged_and_that_is_said() {
    let ran = demeanor(&["analyze", &picture("forty_faces.jpg"), "--expressions-only"]);
    let events = ran.events();
    assert!((10..=16).contains(&events.len()), "{} faces", events.len());
    let mut ids: Vec<u64> = events
        .iter()
        .filter_map(|e| e["face"]["id"].as_u64())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), events.len());
}

#[test]
fn pictures_of_every_kind_are_looked_at_or_refused_in_a_sentence() {
    for name in [
        "one.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "ycck.jpg",
        "turned6.jpg",
        "plain.png",
    ] {
        let ran = demeanor(&[
            "analyze",
            &picture(name),
            "--text",
            "fine",
            "--tasks",
            "sentiment",
        ]);
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.err);
        check(&ran.events()[0]);
    }
    for (name, word) in [
        ("cut-data.jpg", "cut"),
        ("cut.png", "cut"),
        ("huge.jpg", "20000"),
        ("text.jpg", "text.jpg"),
    ] {
        let ran = demeanor(&["analyze", &picture(name)]);
        ran.is_error(name);
        assert!(ran.err.contains(word), "{name}: {}", ran.err);
    }
}

#[test]
fn words_that_are_none_leave_the_picture_to_its_own_head() {
    for words in ["", "   ", "http://t.co/abc"] {
        let ran = demeanor(&["analyze", &picture("no_face.jpg"), "--text", words]);
        let events = ran.events();
        assert_eq!(
            of(&events, "sentiment")[0]["modality"],
            "image",
            "{words:?}"
        );
    }
    let ran = demeanor(&[
        "analyze",
        &picture("no_face.jpg"),
        "--text",
        "😀😀",
        "--tasks",
        "sentiment",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    check(&ran.events()[0]);
}

#[test]
fn a_black_frame_shows_no_face_and_is_answered_by_the_words() {
    let folder = Folder::new();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 640, 480);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![0; 640 * 480 * 3]).unwrap();
    writer.finish().unwrap();
    let black = folder.file("black.png", bytes);
    let ran = demeanor(&["analyze", &black, "--text", "I am so happy"]);
    let events = ran.events();
    assert!(of(&events, "expression").is_empty(), "{}", ran.out);
    assert_eq!(of(&events, "sentiment")[0]["modality"], "text");
    assert_eq!(of(&events, "emotion")[0]["modality"], "text");
}

#[test]
fn a_folder_is_gone_through_and_what_is_broken_is_told() {
    let folder = Folder::new();
    fs::copy(picture("no_face.jpg"), folder.path("a.jpg")).unwrap();
    fs::copy(picture("cut-data.jpg"), folder.path("b.jpg")).unwrap();
    fs::copy(picture("plain.jpg"), folder.path("c.jpg")).unwrap();
    folder.file("notes.txt", "no picture");
    let path = folder.path("").to_str().unwrap().to_string();
    let ran = demeanor(&["analyze", &path, "--tasks", "sentiment"]);
    // the broken one is an error in the end, the others are answered
    ran.is_error("b.jpg");
    let sources: Vec<Value> = ran.events().iter().map(|e| e["source"].clone()).collect();
    assert_eq!(sources, ["a.jpg", "c.jpg"]);
}

#[test]
fn a_picture_may_come_through_a_pipe() {
    let bytes = fs::read(picture("face.jpg")).unwrap();
    let ran = demeanor_with(&["analyze", "-", "--tasks", "expression"], &bytes);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(ran.events().len(), 1);
    let sound = fs::read(repo("tests/data/sample.wav")).unwrap();
    let ran = demeanor_with(&["analyze", "-"], &sound);
    assert_eq!(ran.events()[0]["modality"], "speech");
}

/// A film of pictures that lack their ends, as a web camera sends it.
fn film() -> Vec<u8> {
    let face = fs::read(picture("face.jpg")).unwrap();
    let open = &face[..face.len() - 2];
    let part = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n";
    // the end of a picture whose beginning nobody saw comes first
    let half = &face[face.len() / 2..];
    [
        half, b"\r\n", part, open, b"\r\n", part, open, b"\r\n", part, open,
    ]
    .concat()
}

#[test]
fn every_picture_of_a_film_is_looked_at_by_name_and_by_pipe() {
    let folder = Folder::new();
    let path = folder.file("film.mjpg", film());
    let named = demeanor(&["analyze", &path, "--expressions-only"]);
    let piped = demeanor_with(&["analyze", "-", "--expressions-only"], &film());
    for ran in [named, piped] {
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert_eq!(ran.events().len(), 3, "{}", ran.err);
    }
}

#[test]
fn a_camera_on_standard_input_may_begin_anywhere() {
    let folder = Folder::new();
    let config = config(&folder, "public", "every = 0.0");
    let args = [
        "run",
        "--config",
        &config,
        "--camera",
        "-",
        "--expressions-only",
    ];
    let ran = demeanor_with(&args, &film());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!of(&ran.events(), "expression").is_empty(), "{}", ran.out);
    // what is no film is told how to become one
    let args = ["run", "--config", &config, "--camera", "-"];
    let ran = demeanor_with(
        &args,
        b"\0\0\0\x01\x67\x64\0\x1F\xAC\x2C\xA4\x02\x80\xF6\xC0\x44",
    );
    ran.is_error("H.264");
    assert!(ran.err.contains("--codec mjpeg"), "{}", ran.err);
}

/// A page with lines of print and much paper, as a PNG.
fn page() -> Vec<u8> {
    let (width, height) = (640u32, 360u32);
    let ink = |x: u32, y: u32| {
        let within = (40..360).contains(&x) && (80..200).contains(&y);
        within && (y / 20).is_multiple_of(2) && (x % 14 < 3 || y % 20 < 3)
    };
    let places = (0..width * height).map(|at| (at % width, at / width));
    let grey: Vec<u8> = places
        .map(|(x, y)| if ink(x, y) { 0 } else { 255 })
        .collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&grey).unwrap();
    writer.finish().unwrap();
    bytes
}

#[test]
fn a_page_of_print_is_unsure_until_there_are_words() {
    let folder = Folder::new();
    let page = folder.file("page.png", page());
    let ran = demeanor(&["analyze", &page, "--tasks", "sentiment"]);
    let events = ran.events();
    check(&events[0]);
    assert_eq!(events[0]["label"], "unsure");
    assert!(events[0]["notes"][0].as_str().unwrap().contains("print"));
    let words = ["--text", "best day ever, I love you all"];
    let ran = demeanor(&[&["analyze", &page, "--tasks", "sentiment"], &words[..]].concat());
    assert_eq!(ran.events()[0]["label"], "positive");
    // a photograph is judged as ever
    let ran = demeanor(&["analyze", &picture("no_face.jpg"), "--tasks", "sentiment"]);
    assert!(!ran.out.contains("print or lines"), "{}", ran.out);
}

/// `run` with pictures on standard input: what it told, and the most memory it held, in KiB.
fn watched(bytes: Vec<u8>) -> (Vec<Value>, u64) {
    let folder = Folder::new();
    let config = config(&folder, "public", "every = 0.0");
    let mut child = command(&["run", "--config", &config, "--camera", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let writer = std::thread::spawn(move || to.write_all(&bytes));
    let reader = std::thread::spawn(move || {
        let mut out = String::new();
        from.read_to_string(&mut out).map(|_| out)
    });
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let told = fs::read_to_string(&status).unwrap_or_default();
        let line = told.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let held = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        peak = peak.max(held.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    writer.join().unwrap().unwrap();
    let out = reader.join().unwrap().unwrap();
    let events = out.lines().map(|l| serde_json::from_str(l).unwrap());
    (events.collect(), peak)
}

#[test]
fn pictures_of_8k_leave_room_on_a_board_of_400_megabytes() {
    // held upright, so that its pixels are there twice while they are turned
    let made = jpeg::Jpeg::new(7680, 4320, &[(2, 2), (1, 1), (1, 1)]).bytes();
    let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let whole = jpeg::with_segment(&made, 0xE1, exif);
    let face = fs::read(picture("face.jpg")).unwrap();
    let (events, peak) = watched([&whole[..], &whole, &whole, &face].concat());
    assert_eq!(of(&events, "expression").len(), 1, "{events:?}");
    // an emulator's own memory is counted with it
    if !is_emulated() {
        println!("at most {peak} KiB");
        assert!((250_000..400_000).contains(&peak), "{peak} KiB");
    }
}

#[test]
fn ten_thousand_malformed_pictures_leave_every_good_one_looked_at() {
    let face = fs::read(picture("face.jpg")).unwrap();
    let mut random = mutate::Rng(12);
    let (bad, good) = match is_emulated() {
        true => (500, 2),
        false => (10_000, 20),
    };
    let mut stream = Vec::new();
    for at in 0..bad {
        // cut somewhere in its middle, so that none of them is a picture
        let cut = face.len() / 4 + random.below(face.len() / 2);
        let head = match at % 3 {
            0 => &face[..cut],
            // begins a picture, so that no half before it is joined with the one behind it
            1 => &b"\xFF\xD8\xFF\xE0\0\x10no picture\0\xFF\xD9"[..],
            _ => &face[cut..],
        };
        stream.extend_from_slice(head);
        if (at + 1usize).is_multiple_of(bad / good) {
            stream.extend_from_slice(&face);
        }
    }
    let (events, _) = watched(stream);
    assert_eq!(of(&events, "expression").len(), good);
    let ended = events.last().unwrap();
    assert_eq!(ended["state"], "ended", "{ended}");
}

#[test]
fn tasks_are_chosen_by_name() {
    let words = [
        "analyze",
        "--text",
        "I love it",
        "--tasks",
        "sentiment,emotion",
    ];
    let events = demeanor(&words).events();
    assert_eq!(events.len(), 2);
    assert_eq!(of(&events, "sentiment")[0]["modality"], "text");
    demeanor(&["analyze", "--text", "x", "--tasks", "mood"]).is_error("no bundle answers `mood`");
}

fn config(folder: &Folder, setting: &str, camera: &str) -> String {
    let text = format!(
        "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"{setting}\"\n\
         [audio]\nsource = \"none\"\n[camera]\n{camera}\n"
    );
    folder.file("run.toml", text)
}

/// A command that writes a picture again and again, as a camera does.
fn camera(name: &str) -> String {
    let path = picture(name);
    format!("command = [\"sh\", \"-c\", \"while cat '{path}'; do sleep 0.1; done\"]\nevery = 0.05")
}

/// `run` while it goes on: a camera has no end.
struct Live {
    child: Child,
    lines: Receiver<String>,
    events: Vec<Value>,
}

impl Live {
    fn start(config: &str) -> Live {
        let mut child = command(&["run", "--config", config, "--text-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            out.lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Live {
            child,
            lines,
            events: Vec::new(),
        }
    }

    fn say(&mut self, words: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(words.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Collects events until one is as wanted; emulated machines are slow.
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> &Value {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("it never came: {:?}", self.events));
            self.events.push(event(&line));
            if self.events.last().is_some_and(&wanted) {
                return self.events.last().unwrap();
            }
        }
    }

    /// Asks it to stop; it must do so without an error, whether it recognised anything or not.
    fn stop(&mut self) -> Vec<Value> {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.expect("kill").success());
        let status = self.child.wait().expect("it ends");
        assert!(matches!(status.code(), Some(0 | 1)), "{status}");
        std::mem::take(&mut self.events)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn a_camera_and_words_are_answered_together() {
    let folder = Folder::new();
    let config = config(&folder, "public", &camera("face.jpg"));
    let mut live = Live::start(&config);
    for _ in 0..2 {
        live.until(|e| e["task"] == "expression");
    }
    live.say("what a wonderful day\n");
    let felt = live.until(|e| e["task"] == "sentiment").clone();
    assert_eq!(felt["modality"], "image+text");
    let events = live.stop();
    assert_eq!(events[0]["source"], "notice");
    assert_eq!(events[1]["state"], "capturing");
    let faces = of(&events, "expression");
    // it is the same face all the time
    assert!(faces.iter().all(|f| f["face"]["id"] == 1), "{faces:?}");
    assert!(faces.iter().all(|f| f["smoothed"].is_object()));
    let emotion = of(&events, "emotion");
    assert_eq!(emotion[0]["modality"], "text+face", "{emotion:?}");
}

/// A camera of more frames than can be looked at: the newest wins, and what was left out is told.
#[test]
fn looks_that_come_too_late_are_left_out_and_told() {
    let folder = Folder::new();
    let path = picture("forty_faces.jpg");
    let flood =
        format!("command = [\"sh\", \"-c\", \"while cat '{path}'; do :; done\"]\nevery = 0.001");
    let config = config(&folder, "public", &flood);
    let mut live = Live::start(&config);
    let skipped = live.until(|e| e["state"] == "skipped");
    let detail = skipped["detail"].as_str().unwrap();
    assert!(detail.contains("looks were left out"), "{detail}");
    live.stop();
}

#[test]
fn at_work_and_at_school_no_camera_is_started() {
    let folder = Folder::new();
    let marker = folder.path("started");
    let command = format!("command = [\"touch\", \"{}\"]", marker.display());
    let config = config(&folder, "workplace", &command);
    let ran = demeanor_with(
        &["run", "--config", &config, "--text-stdin"],
        b"this is fine\n",
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!marker.exists());
    assert_eq!(of(&ran.events(), "emotion")[0]["modality"], "text");
}

#[test]
fn a_camera_that_dies_is_told_and_the_words_go_on() {
    let folder = Folder::new();
    let broken = "command = [\"sh\", \"-c\", \"echo broken >&2; exit 3\"]";
    let config = config(&folder, "public", broken);
    let mut live = Live::start(&config);
    let lost = live.until(|e| e["state"] == "lost");
    assert!(
        lost["detail"].as_str().unwrap().contains("again in"),
        "{lost}"
    );
    live.say("still here\n");
    let emotion = live.until(|e| e["task"] == "emotion");
    assert_eq!(emotion["modality"], "text");
    live.stop();
}

#[test]
fn impossible_frames_are_refused_before_anything_starts() {
    let folder = Folder::new();
    let raw = "command = [\"cat\"]\nformat = \"i420\"\nwidth = 640\nheight = 480\nstride = 100";
    let path = config(&folder, "public", raw);
    demeanor(&["run", "--config", &path]).is_error("rows of 100 bytes");
    let path = config(&folder, "public", "source = \"/dev/video77\"");
    let ran = demeanor(&["run", "--config", &path]);
    ran.is_error("video77");
}
