//! Mute and consent: a press closes the sources, the next one opens them. Both, and the end,
//! work whatever blocks.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, PipeReader, Read, Write, pipe};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

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
                let _ = sender.send(event(&line));
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
fn what_was_told_so_far_before_the_press_is_replaced_by_nothing() {
    let folder = Folder::new();
    let config = format!("{NOTICE}[decision]\npartial = 0.5\n");
    let mut run = Running::start(&folder.file("run.toml", config));
    let (header, sound) = sample();
    run.state("-", "capturing");
    run.hear(&header);
    run.hear(&sound[..64_000]);
    let so_far = run.wait("partial answer", |e| is_answer(e) && e["partial"] == true);
    assert_eq!(so_far["utterance"], 1);
    run.press();
    run.state("-", "muted");
    run.press();
    run.state("-", "capturing");
    run.hear(&sound);
    let is_whole = |e: &Value| is_answer(e) && e["partial"].is_null();
    let whole = run.wait("answer after mute", is_whole);
    assert_eq!(whole["utterance"], 2);
    assert!(!run.seen.iter().any(|e| e["utterance"] == 1 && is_whole(e)));
    run.end(0);
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

/// What an answer under way may take, which the end waits for: some seconds of an emulator.
fn answered() -> Duration {
    Duration::from_secs(if is_emulated() { 22 } else { 0 })
}

/// Time that the end waits for a reader.
const GRACE: Duration = Duration::from_secs(2);

/// A camera that says by which process it is open.
struct Camera {
    pid: PathBuf,
    config: String,
}

impl Camera {
    /// Runs `script` in a shell.
    fn new(folder: &Folder, script: &str) -> Camera {
        let pid = folder.path("camera.pid");
        let script = format!("echo $$ > {pid:?}.new; mv {pid:?}.new {pid:?}\n{script}\n");
        let script = folder.file("camera.sh", script);
        Camera {
            config: format!("[camera]\ncommand = [\"sh\", {script:?}]\nevery = 0.05\n"),
            pid,
        }
    }

    /// A camera that shows a face.
    fn of_a_face(folder: &Folder) -> Camera {
        let face = repo("tests/data/pictures/face.jpg");
        Camera::new(
            folder,
            &format!("while :; do cat {face:?}; sleep 0.05; done"),
        )
    }

    fn is_open(&self) -> bool {
        let Ok(pid) = fs::read_to_string(&self.pid) else {
            return false;
        };
        // one that has ended and was not asked about yet is no camera any more
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    fn wait_open(&self) {
        let begun = Instant::now();
        while !self.is_open() {
            assert!(begun.elapsed() < PATIENCE, "the camera was not opened");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The camera closes in time; it is one that was open.
    fn closes_soon(&self, what: &str) {
        let begun = Instant::now();
        while self.is_open() {
            assert!(begun.elapsed() < soon(), "still open: {what}");
            thread::sleep(Duration::from_millis(2));
        }
        println!("{what}: closed after {:?}", begun.elapsed());
    }
}

fn send(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(sent.unwrap().success());
}

/// Waits for the end of a process.
fn ends_within(child: &mut Child, most: Duration) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            println!("ended after {:?}", begun.elapsed());
            return status;
        }
        if begun.elapsed() > most {
            child.kill().unwrap();
            panic!("it did not end within {most:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A pipe that has no room but for `room` bytes.
fn full_pipe(room: usize) -> (PipeReader, Stdio) {
    let (mut reader, mut writer) = pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    // the flag is the pipe's, and whoever gets the writer shall wait
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    reader.read_exact(&mut vec![0; room]).unwrap();
    (reader, writer.into())
}

/// A run that is flooded with sound, a camera beside it, and nobody reads what it says beyond
/// the first page.
struct Flooded {
    child: Child,
    reader: PipeReader,
    written: Arc<AtomicU64>,
    flood: JoinHandle<()>,
    log: PathBuf,
}

impl Flooded {
    fn start(folder: &Folder, camera: &Camera) -> Flooded {
        Flooded::start_with(folder, camera, Stdio::piped())
    }

    fn start_with(folder: &Folder, camera: &Camera, stderr: Stdio) -> Flooded {
        let log = folder.path("audit.jsonl");
        let config = format!("{NOTICE}{}[audit]\nfile = {log:?}\n", camera.config);
        let config = folder.file("run.toml", config);
        let (reader, stdout) = full_pipe(4096);
        let mut child = command(&["run", "--config", &config, "--audio", "-", "--json"])
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let written = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&written);
        let flood = thread::spawn(move || {
            let (header, sound) = sample();
            let mut piece = header;
            while stdin.write_all(&piece).is_ok() {
                counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
                piece.clone_from(&sound);
            }
        });
        let flooded = Flooded {
            child,
            reader,
            written,
            flood,
            log,
        };
        camera.wait_open();
        // all is full once no more sound is taken
        let mut before = 0;
        loop {
            thread::sleep(Duration::from_millis(1500));
            let now = flooded.written.load(Ordering::Relaxed);
            if now == before && now > 0 {
                return flooded;
            }
            before = now;
        }
    }

    /// All that comes from now on, read in the background.
    fn read(&self) -> JoinHandle<String> {
        let mut reader = self.reader.try_clone().unwrap();
        thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        })
    }
}

fn parsed(text: &str) -> Vec<Value> {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(event).collect()
}

fn has_record(log: &PathBuf, record: &str) -> bool {
    let text = fs::read_to_string(log).unwrap();
    text.contains(&format!("\"event\":\"{record}\""))
}

fn recorded_soon(log: &PathBuf, record: &str) {
    let begun = Instant::now();
    while !has_record(log, record) {
        assert!(begun.elapsed() < soon(), "{record} is not in the log");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_press_works_while_nobody_reads_and_what_was_heard_before_is_not_answered() {
    let folder = Folder::new();
    let camera = Camera::of_a_face(&folder);
    let mut run = Flooded::start(&folder, &camera);
    send(&run.child, "USR1");
    camera.closes_soon("output and queue full");
    recorded_soon(&run.log, "mute");
    // the sound that comes now is taken and thrown away
    let before = run.written.load(Ordering::Relaxed);
    let begun = Instant::now();
    while run.written.load(Ordering::Relaxed) < before + 1_000_000 {
        assert!(begun.elapsed() < PATIENCE, "no sound is taken while muted");
        thread::sleep(Duration::from_millis(10));
    }
    let reading = run.read();
    send(&run.child, "TERM");
    let status = ends_within(&mut run.child, PATIENCE);
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
    run.flood.join().unwrap();
    drop(run.reader);
    let events = parsed(&reading.join().unwrap());
    let muted = |e: &Value| e["source"] == "button" && e["state"] == "muted";
    let press = events.iter().position(muted).expect("the press is told");
    let after: Vec<&Value> = events[press..]
        .iter()
        .filter(|e| e["task"] != "state")
        .collect();
    assert!(after.is_empty(), "{after:#?}");
    assert!(has_record(&run.log, "stop"));
}

#[test]
fn the_end_comes_though_nobody_reads_and_says_so() {
    let folder = Folder::new();
    let camera = Camera::of_a_face(&folder);
    let mut run = Flooded::start(&folder, &camera);
    send(&run.child, "TERM");
    camera.closes_soon("the end, output and queue full");
    let status = ends_within(&mut run.child, GRACE + soon() + answered());
    assert_eq!(status.code(), Some(2));
    let mut err = String::new();
    let stderr = run.child.stderr.take();
    stderr.unwrap().read_to_string(&mut err).unwrap();
    assert!(
        err.contains("demeanor: standard output: nobody read it for 2s"),
        "{err}"
    );
    run.flood.join().unwrap();
    assert!(has_record(&run.log, "stop"));
}

#[test]
fn the_end_comes_though_nobody_reads_standard_error_either() {
    let folder = Folder::new();
    let camera = Camera::of_a_face(&folder);
    let (_reader, stderr) = full_pipe(0);
    let mut run = Flooded::start_with(&folder, &camera, stderr);
    send(&run.child, "TERM");
    camera.closes_soon("the end, and no output at all");
    let status = ends_within(&mut run.child, 2 * GRACE + soon() + answered());
    assert_eq!(status.code(), Some(2));
    run.flood.join().unwrap();
}

/// Whether whoever started the tests lets them outlive a terminal, as `nohup` does: the product
/// inherits that, and heeds it.
fn outlives_a_terminal() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    ignored & 1 == 1
}

#[test]
fn a_second_signal_and_a_closed_terminal_leave_no_camera_behind() {
    let folder = Folder::new();
    for signals in [&["TERM", "TERM"][..], &["INT", "TERM"], &["HUP"]] {
        if signals == ["HUP"] && outlives_a_terminal() {
            continue;
        }
        let camera = Camera::of_a_face(&folder);
        let mut run = Flooded::start(&folder, &camera);
        for signal in signals {
            send(&run.child, signal);
            thread::sleep(Duration::from_millis(100));
        }
        camera.closes_soon(&signals.join(" and "));
        let status = ends_within(&mut run.child, GRACE + soon() + answered());
        let wanted = if signals.len() > 1 { 130 } else { 2 };
        assert_eq!(status.code(), Some(wanted), "{signals:?}");
        run.flood.join().unwrap();
        fs::remove_file(&camera.pid).unwrap();
    }
}

#[test]
fn what_cannot_be_announced_is_not_captured_and_the_end_comes_all_the_same() {
    let folder = Folder::new();
    let camera = Camera::of_a_face(&folder);
    let config = folder.file("run.toml", format!("{NOTICE}{}", camera.config));
    let (_reader, stdout) = full_pipe(0);
    let mut child = command(&["run", "--config", &config, "--audio", "none", "--json"])
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(3));
    assert!(!camera.is_open(), "a camera that was not announced");
    send(&child, "TERM");
    let status = ends_within(&mut child, GRACE + soon() + answered());
    // without a handler yet, where loading the models takes so long
    assert!(matches!(status.code(), Some(2) | None), "{status}");
}

/// A run with a camera of this script, and its events.
fn watch(folder: &Folder, camera: &Camera, more: &str) -> (Child, ChildStdout) {
    let config = format!("{NOTICE}{}{more}", camera.config);
    let config = folder.file("run.toml", config);
    let mut child = command(&["run", "--config", &config, "--audio", "none", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    camera.wait_open();
    let out = child.stdout.take().unwrap();
    (child, out)
}

#[test]
fn a_camera_that_hangs_is_closed_by_a_press_and_by_the_end() {
    let folder = Folder::new();
    let fifo = folder.path("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    for (script, what) in [
        ("exec sleep 1000".to_owned(), "a program that says nothing"),
        (format!("exec cat {fifo:?}"), "a program that waits in open"),
        (
            "trap '' TERM; while :; do sleep 0.05; done".to_owned(),
            "a program that does not heed SIGTERM",
        ),
        (
            "exec >&-; trap '' TERM; while :; do sleep 0.05; done".to_owned(),
            "a program that has closed its output",
        ),
    ] {
        let camera = Camera::new(&folder, &script);
        for signal in ["USR1", "TERM"] {
            let (mut child, _out) = watch(&folder, &camera, "");
            send(&child, signal);
            camera.closes_soon(what);
            if signal == "USR1" {
                send(&child, "TERM");
            }
            let status = ends_within(&mut child, soon());
            assert_eq!(status.code(), Some(1), "{what}");
            fs::remove_file(&camera.pid).unwrap();
        }
    }
}

#[test]
fn a_press_while_a_lost_camera_is_waited_for_is_obeyed() {
    let folder = Folder::new();
    let camera = Camera::new(&folder, "exit 3");
    let (mut child, out) = {
        let config = folder.file("run.toml", format!("{NOTICE}{}", camera.config));
        let mut child = command(&["run", "--config", &config, "--audio", "none", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        (child, out)
    };
    let mut lines = out.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("\"lost\"")));
    send(&child, "USR1");
    let begun = Instant::now();
    assert!(lines.any(|line| line.contains("\"source\":\"sh\",\"state\":\"muted\"")));
    assert!(begun.elapsed() < soon());
    fs::remove_file(&camera.pid).unwrap();
    // it is not tried again
    thread::sleep(Duration::from_secs(2));
    assert!(!camera.pid.exists());
    send(&child, "TERM");
    assert_eq!(ends_within(&mut child, soon()).code(), Some(1));
}

/// Somebody who holds a lease of a file: whoever opens it waits. `None`, with a word, where
/// that cannot be had.
fn lease(path: &PathBuf) -> Option<Child> {
    let script = "import fcntl, os, signal, sys\n\
        signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
        file = os.open(sys.argv[1], os.O_RDWR)\n\
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
        print('held', flush=True)\n\
        sys.stdin.read()";
    let holder = Command::new("python3")
        .args(["-c", script])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut holder = holder.ok()?;
    let mut line = String::new();
    let out = holder.stdout.as_mut()?;
    BufReader::new(out).read_line(&mut line).ok()?;
    if line == "held\n" {
        return Some(holder);
    }
    eprintln!("no lease of a file can be had here: a disk that blocks was not tried");
    None
}

#[test]
fn a_press_and_the_end_work_while_the_disk_blocks() {
    let folder = Folder::new();
    let log = folder.path("audit.jsonl");
    let more = format!("[audit]\nfile = {log:?}\n");
    for is_end in [false, true] {
        let camera = Camera::of_a_face(&folder);
        let (mut child, out) = watch(&folder, &camera, &more);
        let Some(mut disk) = lease(&log) else { return };
        send(&child, "USR1");
        camera.closes_soon("the disk blocks");
        let mut lines = BufReader::new(out).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("\"button\"")));
        assert!(!has_record_without_opening(&log));
        if !is_end {
            // the disk goes on
            disk.stdin = None;
            disk.wait().unwrap();
            recorded_soon(&log, "mute");
        }
        send(&child, "TERM");
        let status = ends_within(&mut child, GRACE + soon() + answered());
        assert!(matches!(status.code(), Some(0 | 1)), "{status}");
        let mut err = String::new();
        let stderr = child.stderr.take();
        stderr.unwrap().read_to_string(&mut err).unwrap();
        let is_told = err.contains("not in the audit log") && err.contains("\"mute\"");
        assert_eq!(is_told, is_end, "{err}");
        disk.stdin = None;
        disk.wait().unwrap();
        fs::remove_file(&log).unwrap();
        fs::remove_file(&camera.pid).unwrap();
    }
}

/// Whether the log grew; to look into it would break the lease.
fn has_record_without_opening(log: &PathBuf) -> bool {
    // start, notice, source: no more than these
    fs::metadata(log).unwrap().len() > 600
}
