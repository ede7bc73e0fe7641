//! JSON lines on a Unix socket, for many readers of this machine.
//!
//! A reader first gets the last state of every source, then each line as it is told. One that
//! does not read is cut; it costs nobody else anything.

use crate::Error;
use crate::config::outputs::{Mode, Socket as Config};
use crate::sink::feed::{Feed, Next, Reader};
use listenfd::ListenFd;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Readers at a time.
const MOST_READERS: usize = 16;
/// A reader whose buffers are full for so long is cut.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a reader that went away is looked for while nothing is told.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after a connection that could not be taken, for want of descriptors say.
const PAUSE: Duration = Duration::from_millis(200);

/// A socket that can be connected to; its readers wait until it is served.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    /// The file to be removed at the end; the service manager's own socket stays.
    _file: Option<Bound>,
}

/// Our file, removed at the end unless somebody replaced it.
#[derive(Debug)]
pub(super) struct Bound {
    path: PathBuf,
    inode: u64,
}

impl Drop for Bound {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    /// The socket that the service manager passes, if it lies at the path; else one that is made
    /// there.
    ///
    /// # Errors
    /// A path where something else lies, or another program listens; a folder that is not
    /// there or may not be written; a group that is not there.
    pub fn open(config: &Config) -> Result<Socket, Error> {
        const FIELD: &str = "[socket] path";
        let passed = passed(&config.path).map_err(|what| refused(FIELD, &config.path, &what))?;
        if let Some(listener) = passed {
            let _file = None;
            return Ok(Socket { listener, _file });
        }
        let (listener, file) = listen(FIELD, &config.path, config.mode, config.group.as_deref())?;
        Ok(Socket {
            listener,
            _file: Some(file),
        })
    }

    /// Serves whoever connects, in threads of its own. The file lies there until what is
    /// returned is dropped.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn serve(self, feed: Arc<Feed>) -> io::Result<impl Sized> {
        let Socket { listener, _file } = self;
        let serving = thread::Builder::new().name("socket".into());
        serving.spawn(move || {
            loop {
                match listener.accept() {
                    Ok((stream, _)) => welcome(stream, &feed),
                    Err(e) => {
                        log::debug!("a reader of the socket could not be taken: {e}");
                        thread::sleep(PAUSE);
                    }
                }
            }
        })?;
        Ok(_file)
    }
}

fn refused(field: &str, path: &Path, what: &str) -> Error {
    Error::Listen(format!("{field} {}: {what}", path.display()))
}

/// Makes a socket at the path that this field of the config names.
///
/// # Errors
/// As [`Socket::open`].
pub(super) fn listen(
    field: &str,
    path: &Path,
    mode: Mode,
    group: Option<&str>,
) -> Result<(UnixListener, Bound), Error> {
    let failed = |what: String| refused(field, path, &what);
    check(path).map_err(failed)?;
    let group = group.map(self::group).transpose().map_err(failed)?;
    bind(path, mode.0, group).map_err(|e| {
        failed(format!(
            "{e}; check that its folder exists and may be written"
        ))
    })
}

/// Gives a reader a thread, if there is room.
fn welcome(stream: UnixStream, feed: &Arc<Feed>) {
    let Some(reader) = feed.join(MOST_READERS) else {
        log::debug!("the socket has {MOST_READERS} readers already: one more was refused");
        return;
    };
    let reading = thread::Builder::new().name("socket reader".into());
    if let Err(e) = reading.spawn(move || tell(&stream, reader)) {
        log::debug!("a reader of the socket got no thread: {e}");
    }
}

/// Tells a reader everything, until it goes, falls behind, or all is told.
fn tell(mut stream: &UnixStream, mut reader: Reader) {
    if stream.set_write_timeout(Some(PATIENCE)).is_err() {
        return;
    }
    let mut written = Ok(());
    for state in reader.states() {
        written = written.and_then(|()| stream.write_all(state.text.as_bytes()));
    }
    while written.is_ok() {
        match reader.next(LOOK) {
            Next::Line(line) => written = stream.write_all(line.text.as_bytes()),
            Next::Behind => return reader.cut(),
            Next::Idle if has_left(stream) => return,
            Next::Idle => {}
            Next::Closed => return,
        }
    }
    // a timeout of the system's, by either of its names; else the reader went away
    let is_slow = |e: &io::Error| {
        matches!(
            e.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        )
    };
    if written.as_ref().is_err_and(is_slow) {
        reader.cut();
    }
}

/// Whether the other end was closed.
pub fn has_left(stream: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&stream, PollFlags::RDHUP)];
    let now = Timespec::default();
    let gone = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
    rustix::event::poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(gone)
}

/// The listening socket that the service manager passes (`LISTEN_FDS`).
fn passed(path: &Path) -> Result<Option<UnixListener>, String> {
    let mut passed = ListenFd::from_env();
    if passed.len() == 0 {
        return Ok(None);
    }
    let taken = passed.take_unix_listener(0);
    let listener = taken.map_err(|e| format!("what the service manager passes is no socket: {e}"));
    let Some(listener) = listener? else {
        return Ok(None);
    };
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    if address.as_pathname() != Some(path) {
        return Err(format!(
            "the service manager passes the socket {address:?} instead; write the same path as \
             ListenStream= of the socket unit"
        ));
    }
    listener.set_nonblocking(false).map_err(|e| e.to_string())?;
    Ok(Some(listener))
}

/// Whether nothing lies at the path, or a socket that a process of ours left behind.
pub fn check(path: &Path) -> Result<(), String> {
    let Ok(found) = fs::symlink_metadata(path) else {
        // it is made, or the error is the one of making it
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err("something lies there that is no socket; name a path of its own".into());
    }
    if is_served(path) {
        return Err("another program listens there; end it, or name another path".into());
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err("a socket of another user lies there; remove it, or name another path".into());
    }
    Ok(())
}

/// Whether a program listens at the path.
pub fn is_served(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// The number of a group.
pub fn group(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let number = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(name);
        fields.nth(1).filter(|_| is_it)?.parse().ok()
    });
    number.ok_or_else(|| {
        format!("there is no group `{name}` in /etc/group; name one that is there, or its number")
    })
}

/// Makes the socket beside its path and moves it there, so that it never lies there with
/// other permissions than its own, and so that one left behind is replaced.
fn bind(path: &Path, mode: u32, group: Option<u32>) -> io::Result<(UnixListener, Bound)> {
    let name = path.file_name();
    let name = name.ok_or_else(|| io::Error::other("it is no file's name"))?;
    let beside = path.with_file_name(format!(".{}.new", name.display()));
    match fs::remove_file(&beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&beside)?;
    let moved: io::Result<Bound> = (|| {
        if group.is_some() {
            chown(&beside, None, group)?;
        }
        fs::set_permissions(&beside, Permissions::from_mode(mode))?;
        let inode = fs::symlink_metadata(&beside)?.ino();
        fs::rename(&beside, path)?;
        let path = path.to_owned();
        Ok(Bound { path, inode })
    })();
    if moved.is_err() {
        let _ = fs::remove_file(&beside);
    }
    Ok((listener, moved?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Stamp, State, StateChange};
    use crate::service::scratch::Folder;
    use crate::sink::feed::FeedWriter;
    use crate::sink::{Content, Message, Receiver};
    use std::borrow::Cow;
    use std::io::{BufRead, BufReader, Read};
    use std::time::Instant;

    fn config(path: &Path) -> Config {
        Config {
            path: path.into(),
            mode: Mode::default(),
            group: None,
            words: false,
        }
    }

    fn sentence(config: &Config) -> String {
        Socket::open(config)
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default()
    }

    fn tell(writer: &mut FeedWriter, seq: u64, detail: &str) {
        let change = StateChange::new("camera", State::Lost, detail);
        let stamp = Stamp {
            seq,
            ..Stamp::default()
        };
        let content = Content::State(Cow::Owned(change));
        writer.take(&Message { stamp, content }).unwrap();
    }

    fn numbers(lines: impl Read) -> Vec<u64> {
        let lines = BufReader::new(lines).lines().map_while(Result::ok);
        let number = |line: String| {
            let json: serde_json::Value = serde_json::from_str(&line).unwrap();
            json["seq"].as_u64().unwrap()
        };
        lines.map(number).collect()
    }

    fn wait(is: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is() {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "it does not come"
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn many_read_the_same_and_the_socket_is_gone_at_the_end() {
        let folder = Folder::new();
        let path = folder.0.join("events.sock");
        let (feed, mut writer) = Feed::new(false);
        let mut config = config(&path);
        config.mode = Mode(0o600);
        let file = Socket::open(&config)
            .unwrap()
            .serve(Arc::clone(&feed))
            .unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        tell(&mut writer, 1, "before they came");
        let readers = [(); 3].map(|()| UnixStream::connect(&path).unwrap());
        wait(|| feed.counts().readers == 3);
        (2..=20).for_each(|seq| tell(&mut writer, seq, "x"));
        let reading = readers.map(|r| thread::spawn(move || numbers(r)));
        drop(writer);
        for reader in reading {
            assert_eq!(reader.join().unwrap(), (1..=20).collect::<Vec<_>>());
        }
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn who_does_not_read_is_cut_and_nobody_else_loses_a_line() {
        let folder = Folder::new();
        let path = folder.0.join("events.sock");
        let (feed, mut writer) = Feed::new(false);
        let _file = Socket::open(&config(&path))
            .unwrap()
            .serve(Arc::clone(&feed))
            .unwrap();
        let slow = UnixStream::connect(&path).unwrap();
        let good = UnixStream::connect(&path).unwrap();
        wait(|| feed.counts().readers == 2);
        // more than buffers of the kernel and the feed hold, as fast as the good one reads
        let told = 3000;
        let (sender, heard) = std::sync::mpsc::channel();
        let reading = thread::spawn(move || {
            for line in BufReader::new(good).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let detail = "x".repeat(1000);
        for seq in 1..=told {
            tell(&mut writer, seq, &detail);
            let line = heard.recv_timeout(Duration::from_secs(30)).unwrap();
            assert!(line.contains(&format!("\"seq\":{seq},")), "{line}");
        }
        // it waits in a write, and finds out when that is given up
        wait(|| feed.counts().cut == 1);
        assert_eq!(feed.counts().readers, 1);
        let got = numbers(slow);
        assert!(got.len() < told as usize && got.is_sorted());
        drop(writer);
        reading.join().unwrap();
    }

    #[test]
    fn who_goes_away_makes_room_though_nothing_is_told() {
        let folder = Folder::new();
        let path = folder.0.join("events.sock");
        let (feed, _writer) = Feed::new(false);
        let _file = Socket::open(&config(&path))
            .unwrap()
            .serve(Arc::clone(&feed))
            .unwrap();
        let readers = [(); MOST_READERS].map(|()| UnixStream::connect(&path).unwrap());
        wait(|| feed.counts().readers == MOST_READERS);
        let mut refused = UnixStream::connect(&path).unwrap();
        assert_eq!(refused.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(feed.counts().refused, 1);
        drop(readers);
        wait(|| feed.counts().readers == 0);
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_nothing_else_is() {
        let folder = Folder::new();
        let path = folder.0.join("events.sock");
        // its process is gone, its file is not
        drop(UnixListener::bind(&path).unwrap());
        let first = Socket::open(&config(&path)).unwrap();
        let said = sentence(&config(&path));
        assert!(said.contains("another program listens there"), "{said}");
        drop(first);
        fs::write(&path, "a diary").unwrap();
        let said = sentence(&config(&path));
        assert!(
            said.contains("no socket") && said.contains("[socket] path"),
            "{said}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "a diary");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(sentence(&config(&path)).contains("no socket"));
    }

    #[test]
    fn what_cannot_be_made_is_told_in_a_sentence() {
        let folder = Folder::new();
        let nowhere = folder.0.join("no/such/folder/events.sock");
        let said = sentence(&config(&nowhere));
        assert!(said.contains("check that its folder exists"), "{said}");
        let long = folder.0.join("x".repeat(120));
        let said = sentence(&config(&long));
        assert!(said.contains("shorter than"), "{said}");
        let mut unknown = config(&folder.0.join("events.sock"));
        unknown.group = Some("no-such-group".into());
        let said = sentence(&unknown);
        assert!(said.contains("no group `no-such-group`"), "{said}");
        assert!(!unknown.path.exists());
        let own = rustix::process::getegid().as_raw();
        unknown.group = Some(own.to_string());
        Socket::open(&unknown).unwrap();
        assert_eq!(group("root"), Ok(0));
    }

    #[test]
    fn a_mode_is_written_as_chmod_takes_it() {
        assert_eq!(Mode::try_from("0660".to_owned()), Ok(Mode(0o660)));
        for wrong in ["rw", "0999", "7777", ""] {
            let said = Mode::try_from(wrong.to_owned()).unwrap_err();
            assert!(said.contains("is no file mode"), "{said}");
        }
    }
}
