//! A socket to which the device's own voice is connected while it speaks.
//!
//! The connection is the whole protocol: no word of it can be lost, and the system itself ends
//! the connection of a program that died. One that is held too long was forgotten.

use super::socket::{Bound, has_left, listen};
use crate::Error;
use crate::config::own::Speaking as Config;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// Voices at a time; more wait to be counted, while these are.
const MOST_VOICES: usize = 16;

/// Who speaks for the device now.
#[derive(Debug)]
pub struct Speaking {
    listener: UnixListener,
    _file: Bound,
    /// Each with the time since which it speaks.
    voices: Vec<(UnixStream, Instant)>,
    longest: Duration,
}

/// What has become of the voices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Voices {
    /// One speaks, or has spoken since they were looked at last.
    pub speak: bool,
    /// How many held their connection too long, and are cut.
    pub forgotten: usize,
}

impl Speaking {
    /// Makes the socket.
    ///
    /// # Errors
    /// As [`Socket::open`](super::socket::Socket::open).
    pub fn open(config: &Config) -> Result<Speaking, Error> {
        let (path, group) = (&config.socket, config.group.as_deref());
        let (listener, file) = listen("[audio] ignore_while", path, config.mode, group)?;
        let failed = |e: io::Error| Error::Listen(format!("[audio] ignore_while: {e}"));
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Speaking {
            listener,
            _file: file,
            voices: Vec::new(),
            longest: config.longest,
        })
    }

    /// Looks who has come and gone; never waits.
    pub fn look(&mut self, now: Instant) -> Voices {
        while self.voices.len() < MOST_VOICES {
            match self.listener.accept() {
                Ok((stream, _)) => self.voices.push((stream, now)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => {
                    log::debug!("a voice of the device could not be taken: {e}");
                    break;
                }
            }
        }
        let speak = !self.voices.is_empty();
        self.voices.retain(|(stream, _)| !has_left(stream));
        let all = self.voices.len();
        let longest = self.longest;
        self.voices
            .retain(|(_, since)| now.saturating_duration_since(*since) < longest);
        let forgotten = all - self.voices.len();
        Voices { speak, forgotten }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::outputs::Mode;
    use crate::service::scratch::Folder;
    use std::net::Shutdown;
    use std::path::Path;

    fn open(path: &Path) -> Speaking {
        let opened = Speaking::open(&Config {
            socket: path.into(),
            mode: Mode::default(),
            group: None,
            after: Duration::ZERO,
            longest: Duration::from_secs(60),
        });
        opened.expect("it is made")
    }

    fn speaks(speaking: &mut Speaking, now: Instant) -> bool {
        speaking.look(now).speak
    }

    #[test]
    fn it_speaks_while_anybody_is_connected() {
        let folder = Folder::new();
        let path = folder.0.join("speaking.sock");
        let mut speaking = open(&path);
        let now = Instant::now();
        assert!(!speaks(&mut speaking, now));
        let [first, second] = [(); 2].map(|()| UnixStream::connect(&path).expect("connected"));
        assert!(speaks(&mut speaking, now));
        drop(first);
        assert!(speaks(&mut speaking, now));
        assert!(speaks(&mut speaking, now), "the other one speaks on");
        // what netcat and socat do at the end of their input
        second.shutdown(Shutdown::Write).expect("shut down");
        speaks(&mut speaking, now);
        assert!(!speaks(&mut speaking, now));
        // a word between two looks
        drop(UnixStream::connect(&path).expect("connected"));
        assert!(speaks(&mut speaking, now));
        assert!(!speaks(&mut speaking, now));
        drop(speaking);
        assert!(!path.exists());
    }

    #[test]
    fn who_holds_on_for_ever_is_cut_and_told_of_once() {
        let folder = Folder::new();
        let path = folder.0.join("speaking.sock");
        let mut speaking = open(&path);
        let now = Instant::now();
        let held = UnixStream::connect(&path).expect("connected");
        assert!(speaks(&mut speaking, now));
        let later = now + Duration::from_secs(61);
        assert_eq!(speaking.look(later).forgotten, 1);
        assert_eq!(speaking.look(later), Voices::default());
        assert!(has_left(&held), "it sees that it is cut");
    }

    #[test]
    fn more_voices_than_there_is_room_for_are_heard_in_turn() {
        let folder = Folder::new();
        let path = folder.0.join("speaking.sock");
        let mut speaking = open(&path);
        let now = Instant::now();
        let all = [(); 3 * MOST_VOICES].map(|()| UnixStream::connect(&path).expect("connected"));
        assert!(speaks(&mut speaking, now));
        drop(all);
        for _ in 0..3 {
            assert!(speaks(&mut speaking, now));
        }
        assert!(!speaks(&mut speaking, now));
    }
}
