//! Outputs beside standard output, of a real run: the same events by the socket and by HTTP,
//! and a wish from afar that mutes.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

const CONFIG: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n\
    [audio]\nsource = \"none\"\n[text]\nsource = \"stdin\"\nwait = 0.0\n\
    [decision]\ntasks = [\"emotion\"]\nexplain = true\n\
    [indicator]\nled = \"none\"\n[button]\nline = \"none\"\n";
/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of a stream, each with when it came.
struct Lines {
    name: &'static str,
    lines: Receiver<(Instant, String)>,
}

impl Lines {
    fn of(name: &'static str, stream: impl Read + Send + 'static) -> Lines {
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = sender.send((Instant::now(), line));
            }
        });
        Lines { name, lines }
    }

    /// The next event that `is` what is waited for, and when it came.
    fn wait(&self, is: impl Fn(&Value) -> bool) -> (Instant, Value) {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let next = self.lines.recv_timeout(left);
            let (came, line) = next.unwrap_or_else(|e| panic!("{}: {e}", self.name));
            // a stream of events has other lines, too
            let json = line.strip_prefix("data: ").unwrap_or(&line);
            if json.starts_with('{') && is(&event(json)) {
                return (came, event(json));
            }
        }
    }

    fn state(&self, source: &str, state: &str) -> Value {
        self.wait(|e| e["source"] == source && e["state"] == state)
            .1
    }

    /// All that comes until the end.
    fn rest(&self) -> Vec<String> {
        let end = Instant::now() + PATIENCE;
        let mut rest = Vec::new();
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok((_, line)) => rest.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return rest,
                Err(e) => panic!("{}: {e}", self.name),
            }
        }
    }

    /// Nothing more comes.
    fn has_ended(&self) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.lines.recv_timeout(Duration::from_millis(50)) {
                Err(mpsc::RecvTimeoutError::Disconnected) => return true,
                Ok(_) | Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
        false
    }
}

/// A port that was free a moment ago.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn connect(path: &Path) -> UnixStream {
    let end = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(e) if Instant::now() > end => panic!("{}: {e}", path.display()),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Sends a request and returns the stream of its answer.
fn ask(port: u16, line: &str, more: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("{line} HTTP/1.1\r\nHost: localhost:{port}\r\n{more}");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn answer(port: u16, line: &str, more: &str) -> String {
    let mut text = String::new();
    ask(port, line, more).read_to_string(&mut text).unwrap();
    text
}

fn mute(port: u16, muted: bool) -> Value {
    let body = format!("{{\"muted\":{muted}}}");
    let length = body.len();
    let more = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
    let answer = answer(port, "POST /api/mute", &more);
    let (_, json) = answer.split_once("\r\n\r\n").expect(&answer);
    serde_json::from_str(json).expect(&answer)
}

fn press(child: &Child) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-USR1", &pid]).status();
    assert!(sent.unwrap().success());
}

fn is_answer(event: &Value) -> bool {
    event["task"] == "emotion"
}

#[test]
fn the_same_is_told_everywhere_but_words_and_a_wish_from_afar_mutes() {
    let folder = Folder::new();
    let (path, log, port) = (
        folder.path("events.sock"),
        folder.path("audit.jsonl"),
        port(),
    );
    let config = format!(
        "{CONFIG}[socket]\npath = {path:?}\nwords = true\n\
         [http]\nlisten = \"127.0.0.1:{port}\"\n[audit]\nfile = {log:?}\n"
    );
    let config = folder.file("run.toml", config);
    let mut child = command(&["run", "--config", &config, "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut words = child.stdin.take().unwrap();
    let out = Lines::of("standard output", child.stdout.take().unwrap());
    let socket = Lines::of("the socket", connect(&path));
    out.state("notice", "public");
    let live = Lines::of("the page", ask(port, "GET /events", "\r\n"));
    let reads = "demeanor_readers{output=\"http\"} 1";
    while !answer(port, "GET /metrics", "\r\n").contains(reads) {
        thread::sleep(Duration::from_millis(5));
    }

    writeln!(words, "this makes me very happy").unwrap();
    let (told, event) = out.wait(is_answer);
    let (there, copy) = socket.wait(is_answer);
    assert_eq!(event, copy);
    let (seen, shown) = live.wait(is_answer);
    assert_eq!(
        (&event["seq"], &event["scores"]),
        (&shown["seq"], &shown["scores"])
    );
    // what was said is told to those alone who asked for it
    assert!(
        event.to_string().contains("happy\",\"similarity"),
        "{event}"
    );
    assert!(
        !shown.to_string().contains("happy\",\"similarity"),
        "{shown}"
    );
    let after = |at: Instant| at.saturating_duration_since(told).as_secs_f64() * 1e3;
    println!(
        "after standard output: the socket {:.2} ms, the page {:.2} ms",
        after(there),
        after(seen)
    );
    let last = answer(port, "GET /api/last", "\r\n");
    assert!(last.contains("\"emotion\":{"), "{last}");
    assert!(answer(port, "GET /healthz", "\r\n").starts_with("HTTP/1.1 200"));

    let shown = mute(port, true);
    assert_eq!(shown["muted_by"][0], "remote");
    out.state("remote", "muted");
    socket.state("remote", "muted");
    live.state("remote", "muted");
    // a press on top of it, which no wish from afar undoes
    press(&child);
    out.state("button", "muted");
    let shown = mute(port, false);
    assert_eq!(shown["muted"], true);
    assert_eq!(shown["muted_by"][0], "person");
    let state = out.state("remote", "unmuted");
    assert!(
        state["detail"].as_str().unwrap().contains("the button"),
        "{state}"
    );
    writeln!(words, "nobody hears that I am sad").unwrap();
    thread::sleep(Duration::from_millis(300));
    press(&child);
    out.state("button", "unmuted");
    writeln!(words, "I am very angry").unwrap();
    let (_, next) = out.wait(is_answer);
    // one number later than the states between: nothing was answered meanwhile
    assert!(!next.to_string().contains("\"token\":\"sad\""), "{next}");
    let figures = answer(port, "GET /metrics", "\r\n");
    assert!(
        figures.contains("demeanor_readers{output=\"socket\"} 1"),
        "{figures}"
    );
    assert!(
        figures.contains("demeanor_answers_total{task=\"emotion\"} 2"),
        "{figures}"
    );

    drop(words);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(socket.has_ended() && live.has_ended());
    assert!(!path.exists(), "the socket was left behind");
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("\"mute\",\"by\":\"remote\""), "{log}");
}

/// Lines that are answered, and a word of each.
const SAID: [&str; 7] = [
    "this makes me very happy",
    "I am so angry with you",
    "what a sad day",
    "the train leaves at nine",
    "I love it",
    "leave me alone",
    "my cactus is called Bartholomew",
];

/// Says so many lines where five answers are told together; all that left on any output, by name.
fn counted(lines: usize) -> Vec<(&'static str, String)> {
    let folder = Folder::new();
    let (path, port) = (folder.path("events.sock"), port());
    let (log, figures) = (folder.path("audit.jsonl"), folder.path("demeanor.prom"));
    let config = format!(
        "{CONFIG}[aggregate]\n[socket]\npath = {path:?}\nwords = true\n\
         [http]\nlisten = \"127.0.0.1:{port}\"\nwords = true\n\
         [audit]\nfile = {log:?}\n[metrics]\nfile = {figures:?}\nevery = 1.0\n"
    );
    let config = folder.file("run.toml", config);
    let mut child = command(&["run", "--config", &config, "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut words = child.stdin.take().unwrap();
    let out = Lines::of("standard output", child.stdout.take().unwrap());
    let said = Lines::of("standard error", child.stderr.take().unwrap());
    let socket = Lines::of("the socket", connect(&path));
    socket.state("notice", "public");
    let live = Lines::of("the page", ask(port, "GET /events", "\r\n"));
    for line in &SAID[..lines] {
        writeln!(words, "{line}").unwrap();
    }
    // long enough for them to be answered, and for a page of figures
    let end = Instant::now() + PATIENCE;
    while !figures.exists() && Instant::now() < end {
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(Duration::from_millis(1500));
    let mut told = Vec::new();
    for route in ["/metrics", "/api/last", "/api/state", "/"] {
        let answer = answer(port, &format!("GET {route}"), "\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // the page itself names what it shows
        if route != "/" {
            told.push((route, answer));
        }
    }
    told.push(("figures on the way", fs::read_to_string(&figures).unwrap()));
    drop(words);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for lines in [&out, &said, &socket, &live] {
        told.push((lines.name, lines.rest().join("\n")));
    }
    told.push(("figures", fs::read_to_string(&figures).unwrap()));
    told.push(("log", fs::read_to_string(&log).unwrap()));
    told
}

/// What is told on an output that tells events.
fn events(text: &str) -> Vec<Value> {
    let json = |line: &str| line.strip_prefix("data: ").unwrap_or(line).to_owned();
    let lines = text.lines().map(json).filter(|line| line.starts_with('{'));
    lines.map(|line| event(&line)).collect()
}

#[test]
fn where_answers_are_counted_no_output_tells_a_single_one() {
    // of answers, words, or figures of a task
    let single = [
        "scores",
        "modality",
        "latency_ms",
        "explain",
        "token",
        "happy",
        "angry",
        "sad",
        "unsure\"",
        "Bartholomew",
        "cactus",
        "task=",
        "emotion\",\"source",
    ];
    let few = counted(4);
    for (output, text) in &few {
        for word in single {
            assert!(!text.contains(word), "{word} on {output}: {text}");
        }
        let is_event = ["standard output", "the socket", "the page"].contains(output);
        if is_event {
            assert!(events(text).iter().all(|e| e["task"] == "state"), "{text}");
        }
    }
    let state = few
        .iter()
        .find(|(output, _)| *output == "/api/state")
        .unwrap();
    assert!(
        state
            .1
            .contains("\"aggregate\":{\"minutes\":5,\"at_least\":5}"),
        "{}",
        state.1
    );

    let enough = counted(7);
    let mut same = Vec::new();
    for (output, text) in &enough {
        if !["standard output", "the socket", "the page"].contains(output) {
            // nothing was told of them before the end, and the last figures may be written before it
            let is_last = *output == "figures";
            let total = text.contains("demeanor_answers_total{");
            let is_whole = text.contains("demeanor_answers_total{task=\"emotion\"} 7");
            assert!(!total || is_last && is_whole, "{output}: {text}");
            let mut hidden = single.iter().filter(|word| !is_last || **word != "task=");
            assert!(hidden.all(|word| !text.contains(word)), "{output}: {text}");
            continue;
        }
        let told = events(text);
        let told: Vec<&Value> = told.iter().filter(|e| e["task"] != "state").collect();
        let [told] = told[..] else {
            panic!("{output}: {text}")
        };
        let fields: Vec<&String> = told.as_object().unwrap().keys().collect();
        let allowed = [
            "schema", "device", "time", "seq", "task", "of", "from", "until", "answers", "counts",
        ];
        assert!(
            fields.iter().all(|f| allowed.contains(&f.as_str())),
            "{told}"
        );
        assert_eq!(
            (&told["of"], &told["answers"]),
            (&"emotion".into(), &7.into())
        );
        let counts = told["counts"].as_object().unwrap();
        let labels: Vec<&str> = counts.keys().map(String::as_str).collect();
        assert_eq!(labels, ["angry", "happy", "sad", "neutral", "unsure"]);
        assert_eq!(counts.values().filter_map(Value::as_u64).sum::<u64>(), 7);
        assert!(told["from"].as_str() <= told["until"].as_str());
        same.push(told.clone());
    }
    assert!(
        same.len() == 3 && same.iter().all(|told| *told == same[0]),
        "{same:#?}"
    );
    let log = &enough.last().unwrap().1;
    assert!(
        log.contains("\"aggregate\",\"minutes\":5,\"at_least\":5"),
        "{log}"
    );
}

#[test]
fn what_is_in_the_way_of_an_output_is_told_before_anything_is_opened() {
    let folder = Folder::new();
    let run = |more: &str| {
        let config = folder.file("run.toml", format!("{CONFIG}{more}"));
        demeanor(&["run", "--config", &config])
    };
    let diary = folder.file("diary", "dear diary");
    run(&format!("[socket]\npath = {diary:?}\n")).is_error("no socket");
    assert_eq!(fs::read_to_string(&diary).unwrap(), "dear diary");
    let path = folder.path("events.sock");
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    run(&format!("[socket]\npath = {path:?}\n")).is_error("another program listens there");
    run("[socket]\npath = \"/nowhere/events.sock\"\n").is_error("folder exists");
    run("[socket]\npath = \"x\"\nmode = \"rw\"\n").is_error("`rw` is no file mode");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    run(&format!("[http]\nlisten = \"{address}\"\n")).is_error("another program listens there");
    run("[http]\nlisten = \"192.168.0.1:80\"\n").is_error("http.token_file");
    let token = folder.file("token", "0123456789abcdef0123");
    let every = format!("[http]\nlisten = \"0.0.0.0:8642\"\ntoken_file = {token:?}\n");
    run(&every).is_error("http.hosts");
    run(&format!("{every}hosts = [\"door\"]\n")).is_error("chmod 600");
    run("[http]\nlisten = \"localhost\"\n").is_error("no address with a port");
    run("[aggregate]\nminutes = 0\n").is_error("`aggregate.minutes` must lie in 1..=1440");
    run("[aggregate]\nat_least = 1\n").is_error("one alone is somebody's");
    run("[aggregate]\n[mqtt]\npublish = [\"faces\"]\n").is_error("`mqtt.publish`");
}

/// Makes the socket that systemd would make, and becomes the command with it as descriptor 3.
const ACTIVATE: &str = "
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[2], sys.argv[2:])
";

#[test]
fn the_service_managers_socket_is_served_and_stays() {
    if is_emulated() {
        eprintln!("an emulator has descriptors of its own: no socket was passed");
        return;
    }
    let folder = Folder::new();
    let (path, other) = (folder.path("events.sock"), folder.path("other.sock"));
    let config = folder.file("run.toml", format!("{CONFIG}[socket]\npath = {path:?}\n"));
    let start = |at: &Path| {
        Command::new("python3")
            .args(["-c", ACTIVATE])
            .arg(at)
            .arg(env!("CARGO_BIN_EXE_demeanor"))
            .args(["run", "--config", &config, "--json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    let Ok(child) = start(&other) else {
        eprintln!("no python3 here: no socket was passed");
        return;
    };
    let refused = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("ListenStream="), "{said}");
    let mut child = start(&path).unwrap();
    let socket = Lines::of("the socket", connect(&path));
    let mut words = child.stdin.take().unwrap();
    socket.state("notice", "public");
    writeln!(words, "this makes me very happy").unwrap();
    let (_, answer) = socket.wait(is_answer);
    assert!(!answer.to_string().contains("\"token\""), "{answer}");
    drop(words);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(socket.has_ended() && path.exists());
}

/// A broker that lets everybody in, and neither reads nor says anything from then on.
fn hung_broker() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut let_in = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"\x20\x03\0\0\0");
            let_in.push(stream);
        }
    });
    port
}

/// The 50th and the 99th of a hundred, in milliseconds.
pub fn percentiles(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[(share * (times.len() - 1) as f64) as usize];
    (at(0.5), at(0.99))
}

/// From a line of words to its answer on standard output: a run without outputs and one with all
/// of them, whose readers read nothing, in turn.
#[test]
#[ignore = "a measurement, of 2 x 4000 answers: OUTPUTS.md says how to start it"]
fn what_an_answer_takes_while_every_output_hangs() {
    let folder = Folder::new();
    let (path, port, broker) = (folder.path("events.sock"), port(), hung_broker());
    let hung = format!(
        "{CONFIG}[socket]\npath = {path:?}\n[http]\nlisten = \"127.0.0.1:{port}\"\n\
         [mqtt]\nbroker = \"mqtt://127.0.0.1:{broker}\"\npublish = [\"scores\", \"state\"]\n"
    );
    let start = |name: &'static str, config: &str| {
        let config = folder.file(&format!("{name}.toml"), config);
        let mut child = command(&["run", "--config", &config, "--json"]);
        let mut child = child
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let words = child.stdin.take().unwrap();
        let out = Lines::of(name, child.stdout.take().unwrap());
        out.state("notice", "public");
        (child, words, out, Vec::new())
    };
    let mut runs = [start("none", CONFIG), start("hung", &hung)];
    let mut silent: (Vec<UnixStream>, Vec<TcpStream>) = (Vec::new(), Vec::new());
    for n in 0..4_000 {
        // who fell behind was cut: others take their place
        if n % 500 == 0 {
            silent.0.extend((0..8).map(|_| connect(&path)));
            silent
                .1
                .extend((0..4).map(|_| ask(port, "GET /events", "\r\n")));
        }
        for (_, words, out, times) in &mut runs {
            let begun = Instant::now();
            writeln!(words, "this makes me very happy, {n} times").unwrap();
            let (told, _) = out.wait(is_answer);
            times.push(told.saturating_duration_since(begun).as_secs_f64() * 1e3);
        }
    }
    let figures = answer(port, "GET /metrics", "\r\n");
    let is_told = |l: &&str| !l.starts_with('#') && (l.contains("cut_total") || l.contains("mqtt"));
    figures
        .lines()
        .filter(is_told)
        .for_each(|line| println!("{line}"));
    let [none, hung] = runs.map(|(mut child, words, _, times)| {
        drop(words);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        percentiles(times)
    });
    println!("            median     p99");
    println!("no output {:5.2} ms {:5.2} ms", none.0, none.1);
    println!("all hung  {:5.2} ms {:5.2} ms", hung.0, hung.1);
    println!(
        "ratio     {:5.3}    {:5.3}",
        hung.0 / none.0,
        hung.1 / none.1
    );
}
