//! The service manager is told the truth: ready when the models have answered, fed while all
//! threads move, and starved by one that hangs.
#![cfg(target_os = "linux")]

use crate::support::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::Duration;

const CONFIG: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n\
    [audio]\nsource = \"none\"\n[text]\nsource = \"stdin\"\nwait = 0.0\n\
    [decision]\nexplain = true\n[indicator]\nled = \"none\"\n[button]\nline = \"none\"\n";
/// What the manager allows between two feeds.
const ALLOWED: Duration = Duration::from_secs(2);
/// Bytes that a pipe holds.
const PIPE: usize = 65_536;
/// Lines whose answers, of 600 bytes and more, are more than an eighth of that.
const LINES: usize = 20;
/// Feeds after which a hanging worker should long have been noticed, even on an emulated board.
const MOST_FEEDS: usize = 200;

/// The manager's end of the protocol.
struct Manager(UnixDatagram);

impl Manager {
    /// The next message that is no mere status; `None` when none comes for so long.
    fn hear(&self, patience: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(patience)).expect("a timeout");
        let mut buffer = [0; 512];
        loop {
            let n = self.0.recv(&mut buffer).ok()?;
            let message = String::from_utf8_lossy(&buffer[..n]).into_owned();
            if !message.starts_with("STATUS=") {
                return Some(message);
            }
        }
    }
}

fn start_under(manager: &std::path::Path, config: &str, events: impl Into<Stdio>) -> Child {
    let micros = ALLOWED.as_micros().to_string();
    command(&["run", "--config", config, "--json"])
        .env("NOTIFY_SOCKET", manager)
        .env("WATCHDOG_USEC", micros)
        .env_remove("WATCHDOG_PID")
        .stdin(Stdio::piped())
        .stdout(events)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

#[test]
fn a_reader_that_hangs_starves_the_manager_until_it_reads_again() {
    let folder = Folder::new();
    let config = folder.file("run.toml", CONFIG);
    let path = folder.path("notify");
    let manager = Manager(UnixDatagram::bind(&path).expect("a socket"));
    // empty lines leave room for a few answers, so that the emulated program need not make many
    let (mut events, mut to_events) = std::io::pipe().expect("a pipe");
    let lines = [b'\n'; PIPE - PIPE / 8];
    to_events.write_all(&lines).expect("a pipe takes so many");
    let mut child = start_under(&path, &config, to_events);
    let mut words = child.stdin.take().expect("piped");
    let long = Duration::from_secs(60);
    let ready = manager.hear(long).expect("it becomes ready");
    assert!(ready.starts_with("READY=1\nSTATUS="), "{ready}");
    for _ in 0..2 {
        assert_eq!(manager.hear(long).as_deref(), Some("WATCHDOG=1"));
    }
    // nobody reads the answers: the worker hangs in a write to a full pipe
    let writing = std::thread::spawn(move || {
        for n in 0..LINES {
            writeln!(words, "this is line {n} and it makes me happy").expect("read");
        }
        words
    });
    let fed = (0..MOST_FEEDS).take_while(|_| manager.hear(3 * ALLOWED).is_some());
    assert!(fed.count() < MOST_FEEDS, "a hanging worker was not noticed");
    // and on it goes when somebody reads again
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        events.read_to_string(&mut text).expect("UTF-8");
        text
    });
    assert_eq!(manager.hear(long).as_deref(), Some("WATCHDOG=1"));
    drop(writing.join().expect("all lines were taken"));
    let last = std::iter::from_fn(|| manager.hear(3 * ALLOWED)).last();
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let text = reading.join().expect("read");
    let answers = text.lines().filter(|l| l.contains("\"emotion\"")).count();
    assert_eq!(answers, LINES, "nothing was lost meanwhile");
}
