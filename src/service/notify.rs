//! The service manager's notification protocol, as `sd_notify(3)` describes it: datagrams of
//! `NAME=value` lines to the socket that `NOTIFY_SOCKET` names.
//!
//! Without that variable there is no manager to talk to, and no socket is made.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Messages that wait for a manager that does not read.
const MOST_WAITING: usize = 16;

/// The service manager, where there is one.
#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<UnixDatagram>,
    /// What the manager has not taken yet.
    waiting: VecDeque<String>,
    watchdog: Option<Duration>,
    unreachable: bool,
}

impl Manager {
    /// The manager that the environment names. One that cannot be reached is a warning: it
    /// will notice by itself that it hears nothing.
    pub fn from_env() -> Manager {
        let Some(address) = env::var_os("NOTIFY_SOCKET").filter(|a| !a.is_empty()) else {
            return Manager::default();
        };
        let allowed = watchdog(
            env::var("WATCHDOG_USEC").ok().as_deref(),
            env::var("WATCHDOG_PID").ok().as_deref(),
        );
        Manager::connect(&address, allowed).unwrap_or_else(|e| {
            log::warn!(
                "NOTIFY_SOCKET {}: {e}; the service manager is not told that we are up",
                address.display()
            );
            Manager::default()
        })
    }

    /// The manager at `address`: a path, or `@` and an abstract name. `watchdog` is what it
    /// allows between two feeds.
    ///
    /// # Errors
    /// An address of another kind, or one where nobody listens.
    pub fn connect(address: &OsStr, watchdog: Option<Duration>) -> io::Result<Manager> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                return Err(io::Error::other(
                    "it is neither a path nor an abstract name",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // a manager that does not read holds nobody up
        socket.set_nonblocking(true)?;
        Ok(Manager {
            socket: Some(socket),
            waiting: VecDeque::new(),
            watchdog,
            unreachable: false,
        })
    }

    /// What the manager allows between two feeds; `None` when it does not watch.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The service is up: every source is open and every model has answered once.
    pub fn ready(&mut self, status: &str) {
        self.send(format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// What the service is doing, for `systemctl status`.
    pub fn status(&mut self, status: &str) {
        self.send(format!("STATUS={}", one_line(status)));
    }

    /// The service is on its way out.
    pub fn stopping(&mut self) {
        self.send("STOPPING=1".into());
    }

    /// Every stage moves.
    pub fn feed(&mut self) {
        self.send("WATCHDOG=1".into());
    }

    /// Sends again what the manager did not take. Never waits, nor does anything else here.
    pub fn retry(&mut self) {
        let Some(socket) = &self.socket else {
            self.waiting.clear();
            return;
        };
        while let Some(message) = self.waiting.front() {
            match socket.send(message.as_bytes()) {
                Ok(_) => self.unreachable = false,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if !self.unreachable => {
                    self.unreachable = true;
                    log::warn!("the service manager does not take messages: {e}");
                }
                Err(_) => {}
            }
            self.waiting.pop_front();
        }
    }

    fn send(&mut self, message: String) {
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push_back(message);
        }
        self.retry();
    }
}

/// What the manager allows between two feeds, if it means this process.
fn watchdog(usec: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    let micros: u64 = usec?.parse().ok()?;
    (ours && micros > 0).then(|| Duration::from_micros(micros))
}

/// A line break would begin another variable of the protocol.
fn one_line(status: &str) -> String {
    status.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::progress::{Due, Progress, Stage, Watchdog};
    use crate::service::scratch::Folder;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    /// A manager's end of the protocol.
    fn listen(folder: &Folder) -> (UnixDatagram, std::path::PathBuf) {
        let path = folder.0.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let patience = Some(Duration::from_secs(5));
        socket.set_read_timeout(patience).unwrap();
        (socket, path)
    }

    fn hear(socket: &UnixDatagram) -> io::Result<String> {
        let mut buffer = [0; 512];
        let n = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..n]).into_owned())
    }

    #[test]
    fn everything_is_told_in_order_and_a_line_break_starts_no_variable() {
        let folder = Folder::new();
        let (socket, path) = listen(&folder);
        let mut manager = Manager::connect(path.as_os_str(), None).unwrap();
        manager.ready("capturing\nMAINPID=1");
        manager.status("muted");
        manager.feed();
        manager.stopping();
        let heard: Vec<_> = (0..4).map(|_| hear(&socket).unwrap()).collect();
        assert_eq!(
            heard,
            [
                "READY=1\nSTATUS=capturing MAINPID=1",
                "STATUS=muted",
                "WATCHDOG=1",
                "STOPPING=1"
            ]
        );
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up_and_hears_the_first_things_first() {
        let folder = Folder::new();
        let (socket, path) = listen(&folder);
        let mut manager = Manager::connect(path.as_os_str(), None).unwrap();
        let begun = Instant::now();
        manager.ready("up");
        // more than any socket holds
        (0..10_000).for_each(|_| manager.feed());
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(manager.waiting.len(), MOST_WAITING);
        assert_eq!(hear(&socket).unwrap(), "READY=1\nSTATUS=up");
        manager.retry();
        assert!(manager.waiting.len() < MOST_WAITING);
    }

    #[test]
    fn abstract_names_are_reached() {
        let name = format!("demeanor-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let mut manager = Manager::connect(OsStr::new(&format!("@{name}")), None).unwrap();
        manager.ready("up");
        assert_eq!(hear(&socket).unwrap(), "READY=1\nSTATUS=up");
    }

    #[test]
    fn no_manager_no_socket() {
        let mut manager = Manager::default();
        assert!(manager.socket.is_none());
        manager.ready("nobody hears this");
        for address in ["vsock:2:1234", "relative", "/nobody/listens/here"] {
            assert!(Manager::connect(OsStr::new(address), None).is_err());
        }
    }

    #[test]
    fn a_manager_that_went_away_stops_nothing() {
        let folder = Folder::new();
        let (socket, path) = listen(&folder);
        let mut manager = Manager::connect(path.as_os_str(), None).unwrap();
        drop(socket);
        manager.feed();
        manager.feed();
        assert!(manager.unreachable);
    }

    #[test]
    fn the_watchdog_is_ours_or_nobodys() {
        let (ours, other) = (std::process::id().to_string(), "1");
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some("1000000"), None), second);
        assert_eq!(watchdog(Some("1000000"), Some(&ours)), second);
        assert_eq!(watchdog(Some("1000000"), Some(other)), None);
        assert_eq!(watchdog(Some("0"), None), None);
        assert_eq!(watchdog(Some("soon"), None), None);
        assert_eq!(watchdog(None, None), None);
    }

    /// Two real threads and a real socket: while both move, the manager is fed; once the
    /// worker hangs, the loop goes on polling and the manager starves all the same.
    #[test]
    fn a_worker_that_hangs_starves_the_manager_while_the_loop_goes_on() {
        let folder = Folder::new();
        let (socket, path) = listen(&folder);
        let allowed = Duration::from_millis(100);
        let mut manager = Manager::connect(path.as_os_str(), Some(allowed)).unwrap();
        let progress = Progress::new([Stage::Poll, Stage::Worker]);
        let (hang, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if !hang.load(Ordering::Relaxed) {
                        progress.advance(Stage::Worker);
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            let feeding = scope.spawn(|| {
                let mut watchdog = Watchdog::new(manager.watchdog().unwrap(), Instant::now());
                manager.ready("up");
                let mut resting = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    progress.advance(Stage::Poll);
                    match watchdog.due(&progress, Instant::now()) {
                        Due::Feed => manager.feed(),
                        Due::Resting(stages) => resting.extend(stages),
                        Due::NotYet => {}
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                resting
            });
            let heard = (0..4)
                .map(|_| hear(&socket))
                .collect::<io::Result<Vec<_>>>();
            hang.store(true, Ordering::Relaxed);
            // one feed may have been under way
            std::thread::sleep(2 * allowed);
            socket.set_nonblocking(true).unwrap();
            let late = std::iter::from_fn(|| hear(&socket).ok()).count();
            std::thread::sleep(5 * allowed);
            let starved = hear(&socket);
            stop.store(true, Ordering::Relaxed);
            let resting = feeding.join().unwrap();
            assert_eq!(
                heard.unwrap(),
                [
                    "READY=1\nSTATUS=up",
                    "WATCHDOG=1",
                    "WATCHDOG=1",
                    "WATCHDOG=1"
                ]
            );
            assert!(late <= 2, "{late} feeds after the worker hung");
            assert!(starved.is_err(), "{starved:?}");
            assert!(resting.contains(&Stage::Worker), "{resting:?}");
        });
    }
}
