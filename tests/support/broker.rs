//! A real broker, and a run that tells it something.

use super::{Folder, command};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

const CONFIG: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n\
    [device]\nname = \"door\"\n[audio]\nsource = \"none\"\n\
    [text]\nsource = \"stdin\"\nwait = 0.0\n[decision]\ntasks = [\"emotion\"]\nexplain = true\n\
    [indicator]\nled = \"none\"\n[button]\nline = \"none\"\n";
/// Longest wait for something that must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The config of a run that hears words alone, with a section `[mqtt]`.
pub fn config(folder: &Folder, section: &str) -> String {
    folder.file("run.toml", format!("{CONFIG}[mqtt]\n{section}"))
}

/// A process that ends with the test.
pub struct Running(pub Child);

impl Running {
    pub fn exit_code(&mut self) -> Option<i32> {
        self.0.wait().expect("it ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lines of a stream, until one is what is waited for.
pub struct Lines(Receiver<String>);

impl Lines {
    pub fn of(stream: impl Read + Send + 'static) -> Lines {
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Lines(lines)
    }

    pub fn wait(&self, parts: &[&str]) -> String {
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

    /// What comes before a line, with the line.
    pub fn until(&self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line| line != last) {
            let line = self.0.recv_timeout(PATIENCE);
            lines.push(line.unwrap_or_else(|e| panic!("{last}: {e}, after {lines:?}")));
        }
        lines
    }

    /// What came and was not waited for.
    pub fn rest(&self) -> Vec<String> {
        self.0.try_iter().collect()
    }
}

/// A port that nobody has at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A broker on a free port; `None`, with a word, where there is none.
pub fn mosquitto() -> Option<(Running, u16)> {
    let port = free_port();
    Some((mosquitto_at(port)?, port))
}

/// The same on a given port.
pub fn mosquitto_at(port: u16) -> Option<Running> {
    broker(&["-p", &port.to_string()], port)
}

/// A broker that was asked to listen on a port.
pub fn broker(args: &[&str], port: u16) -> Option<Running> {
    let mut mosquitto = Command::new("mosquitto");
    mosquitto.args(args);
    let spawned = mosquitto.stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(child) = spawned.spawn() else {
        let is_required = std::env::var_os("DEMEANOR_REQUIRE_MOSQUITTO").is_some();
        let lacking = "there is no mosquitto (packages mosquitto, mosquitto-clients)";
        assert!(!is_required, "{lacking}");
        eprintln!("{lacking}: nothing was published");
        return None;
    };
    let broker = Running(child);
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "the broker does not come up");
        thread::sleep(Duration::from_millis(10));
    }
    Some(broker)
}

/// Publishes, as somebody else.
pub fn publish(port: u16, topic: &str, payload: &str, more: &[&str]) {
    let port = port.to_string();
    let mut publisher = Command::new("mosquitto_pub");
    publisher.args(["-p", &port, "-t", topic, "-m", payload]);
    assert!(publisher.args(more).status().expect("it starts").success());
}

/// Hears, as somebody else, what is published from now on or is retained.
pub fn subscribe(port: u16, topic: &str, more: &[&str]) -> (Running, Lines) {
    let port = port.to_string();
    let mut subscriber = Command::new("mosquitto_sub");
    subscriber.args(["-p", &port, "-v", "-t", topic]).args(more);
    let child = subscriber.stdout(Stdio::piped()).spawn();
    let mut child = Running(child.expect("it starts"));
    let lines = Lines::of(child.0.stdout.take().expect("piped"));
    (child, lines)
}

/// A run with a section `[mqtt]`: it answers each line that is written.
pub fn run(folder: &Folder, section: &str) -> (Running, ChildStdin, Lines) {
    let config = config(folder, section);
    let mut child = command(&["run", "--config", &config, "--json"]);
    let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("the binary starts");
    let words = child.stdin.take().expect("piped");
    let out = Lines::of(child.stdout.take().expect("piped"));
    (Running(child), words, out)
}

/// A run that finds fault with its broker says so, answers, and ends well.
pub fn is_told(folder: &Folder, section: &str, sentence: &str) {
    let (mut child, mut words, out) = run(folder, section);
    out.wait(&["\"mqtt\"", "\"failing\"", sentence]);
    for _ in 0..3 {
        writeln!(words, "this makes me very happy").expect("it reads");
        out.wait(&["\"task\":\"emotion\""]);
    }
    drop(words);
    assert_eq!(child.exit_code(), Some(0));
}
