//! When capture was on, and who switched it: an append-only log of JSON lines.
//!
//! A record says that something began or ended, never what was seen, heard or answered: its
//! words come from the configuration and from this program's text, not from the sources.
//! Every record is on the disk before the next one is taken. One that cannot be written is
//! kept and tried again, and the file is opened anew each time, so a log that is rotated or a
//! disk that comes back needs no care.

use super::Told;
use crate::Error;
use crate::event::State;
use jiff::Timestamp;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Records that wait for the disk, in bytes; several hundred.
const MOST_WAITING: usize = 64 << 10;
/// Time until a disk is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// The owner writes, the group reads.
const MODE: u32 = 0o640;

/// Something about the capture began or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Record<'a> {
    /// The program is up; nothing is captured yet.
    Start {
        /// Of this program.
        version: &'static str,
        /// The board's profile.
        board: &'a str,
    },
    /// What people are told.
    Notice {
        /// The setting, as in the configuration.
        setting: &'a str,
        /// The purpose, as in the configuration.
        purpose: &'a str,
    },
    /// A source is another than before.
    Source {
        /// The device, file or command, as in the configuration.
        name: &'a str,
        /// `capturing`, `muted`, `lost`, `ended`, …
        state: State,
    },
    /// Capture was switched off.
    Mute {
        /// `button`, or `start` where a press is consent.
        by: &'static str,
    },
    /// Capture was switched on.
    Unmute {
        /// `button`.
        by: &'static str,
    },
    /// A part failed.
    Fault {
        /// `indicator`, `button`, `sound`, `camera`, …
        part: &'static str,
        /// What is wrong with it. The journal has the device's own words.
        what: &'static str,
    },
    /// The program ends; nothing is captured any more.
    Stop {
        /// `signal`, `sources ended` or `fault`.
        reason: &'static str,
    },
    /// Records that did not fit while the disk took none.
    Lost {
        /// How many.
        records: u64,
    },
}

/// A record with its time, as it stands in the file.
#[derive(Serialize)]
struct Line<'a> {
    /// UTC by the machine's clock, RFC 3339; nothing where the clock is beyond the year 9999.
    at: Option<String>,
    /// Seconds since the log was opened: in order even when the clock is set.
    up: f64,
    #[serde(flatten)]
    record: Record<'a>,
}

/// The log.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    opened: Instant,
    waiting: Vec<u8>,
    lost: u64,
    /// When the disk is tried again; `None` while all is written.
    retry: Option<Instant>,
    failures: u64,
}

impl Audit {
    /// The log at `path`, which is created when it is not there. A disk that is merely full
    /// stops nothing: its records wait.
    ///
    /// # Errors
    /// A file that cannot be opened for writing.
    pub fn open(path: &Path, now: Instant) -> Result<Audit, Error> {
        open(path).map_err(|source| Error::File {
            path: path.into(),
            doing: "written",
            source,
        })?;
        Ok(Audit {
            path: path.into(),
            opened: now,
            waiting: Vec::new(),
            lost: 0,
            retry: None,
            failures: 0,
        })
    }

    /// Writes a record; on return it is on the disk, or it waits for [`Audit::tick`]. Says so
    /// when that changes.
    pub fn record(&mut self, record: Record<'_>, now: Instant) -> Option<Told> {
        let line = self.line(record, now);
        if self.waiting.len() + line.len() <= MOST_WAITING {
            self.waiting.extend(line);
        } else {
            self.lost += 1;
        }
        self.write(now)
    }

    /// Tries again to write what waits, if it is time.
    pub fn tick(&mut self, now: Instant) -> Option<Told> {
        if self.retry.is_some_and(|at| now >= at) {
            self.write(now)
        } else {
            None
        }
    }

    /// Records that the disk has not taken, as lines.
    pub fn waiting(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.waiting)
    }

    /// How often the disk did not take what waited.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    fn line(&self, record: Record<'_>, now: Instant) -> Vec<u8> {
        let up = now.saturating_duration_since(self.opened).as_secs_f64();
        let at = Timestamp::try_from(SystemTime::now()).ok();
        let line = Line {
            at: at.map(|at| format!("{at:.3}")),
            up: (up * 1e3).round() / 1e3,
            record,
        };
        // strings and numbers: nothing here can fail to be written as JSON
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    fn write(&mut self, now: Instant) -> Option<Told> {
        let failed = self.retry.is_some();
        let mut lines = self.waiting.clone();
        if self.lost > 0 {
            let records = self.lost;
            lines.extend(self.line(Record::Lost { records }, now));
        }
        match append(&self.path, &lines) {
            Ok(()) => {
                self.waiting.clear();
                self.lost = 0;
                self.retry = None;
                let name = self.path.display();
                failed.then(|| Told::recovered("audit", format!("{name} is written again")))
            }
            Err(e) => {
                self.failures += 1;
                self.retry = Some(now + RETRY);
                let sentence = format!(
                    "{}: {e}; records wait in memory until it can be written",
                    self.path.display()
                );
                (!failed).then(|| Told::failing("audit", sentence))
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(MODE);
    options.open(path)
}

/// Appends whole lines and waits for the disk. When the lines do not fit, none of them stays.
fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    let written = end_line(&mut file, length).and_then(|()| file.write_all(lines));
    if let Err(e) = written {
        // where this is refused too, the next try ends the half line and repeats it
        let _ = file.set_len(length);
        return Err(e);
    }
    file.sync_data()?;
    match path.parent().filter(|_| length == 0) {
        // a new file is there after a power cut only once its folder knows it
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// Ends a line that a power cut or a full disk left half written.
fn end_line(file: &mut File, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    let mut last = [b'\n'];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(());
    }
    file.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::scratch::Folder;
    use serde_json::Value;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const START: Record<'_> = Record::Start {
        version: "1.2.3",
        board: "rpi4",
    };
    const MUTE: Record<'_> = Record::Mute { by: "button" };

    fn lines(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.ends_with('\n'), "{text:?}");
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }

    #[test]
    fn records_have_their_time_and_are_appended_with_narrow_permissions() {
        let folder = Folder::new();
        let path = folder.0.join("audit.jsonl");
        let start = Instant::now();
        for seconds in [0, 5] {
            let mut audit = Audit::open(&path, start).unwrap();
            let at = start + Duration::from_secs(seconds);
            assert_eq!(audit.record(START, at), None);
            assert_eq!(audit.record(MUTE, at), None);
        }
        let lines = lines(&path);
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0]["event"], "start");
        assert_eq!(lines[0]["board"], "rpi4");
        assert_eq!(lines[0]["version"], "1.2.3");
        assert_eq!(lines[3]["event"], "mute");
        assert_eq!(lines[3]["up"], 5.0);
        for line in &lines {
            let at = line["at"].as_str().unwrap();
            assert_eq!((at.len(), &at[19..20], &at[23..]), (24, ".", "Z"), "{at}");
            let at: Timestamp = at.parse().unwrap();
            assert!(Timestamp::now().duration_since(at).as_secs() < 60);
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777 & !MODE, 0, "{mode:o}");
    }

    #[test]
    fn a_full_disk_is_told_once_and_nothing_is_lost() {
        let folder = Folder::new();
        let (path, real) = (folder.0.join("audit.jsonl"), folder.0.join("real"));
        // the kernel's own full disk
        symlink("/dev/full", &path).unwrap();
        let now = Instant::now();
        let mut audit = Audit::open(&path, now).unwrap();
        let told = audit.record(START, now).unwrap();
        assert_eq!((told.part, told.state), ("audit", State::Failing));
        assert!(told.detail.contains("audit.jsonl"), "{}", told.detail);
        assert_eq!(audit.record(MUTE, now), None);
        assert_eq!(audit.tick(now + RETRY / 2), None);
        assert_eq!(audit.tick(now + 2 * RETRY), None);
        assert_eq!(audit.failures(), 3);
        // space again
        fs::remove_file(&path).unwrap();
        symlink(&real, &path).unwrap();
        let told = audit.tick(now + 4 * RETRY).unwrap();
        assert_eq!((told.part, told.state), ("audit", State::Recovered));
        let events: Vec<_> = lines(&real).iter().map(|l| l["event"].clone()).collect();
        assert_eq!(events, ["start", "mute"]);
        assert_eq!(audit.tick(now + 8 * RETRY), None);
        assert_eq!(lines(&real).len(), 2);
    }

    #[test]
    fn what_waits_is_bounded_and_the_rest_is_counted() {
        let folder = Folder::new();
        let path = folder.0.join("audit.jsonl");
        symlink("/dev/full", &path).unwrap();
        let now = Instant::now();
        let mut audit = Audit::open(&path, now).unwrap();
        for _ in 0..5000 {
            audit.record(MUTE, now);
        }
        assert!(audit.waiting.len() <= MOST_WAITING);
        fs::remove_file(&path).unwrap();
        audit.tick(now + RETRY);
        let lines = lines(&path);
        let lost = lines.last().unwrap();
        assert_eq!(lost["event"], "lost");
        assert_eq!(
            lost["records"].as_u64().unwrap() + lines.len() as u64 - 1,
            5000
        );
    }

    #[test]
    fn a_line_that_a_power_cut_left_half_written_spoils_no_other() {
        let folder = Folder::new();
        let path = folder.0.join("audit.jsonl");
        fs::write(&path, "{\"at\":\"2026-").unwrap();
        let now = Instant::now();
        Audit::open(&path, now).unwrap().record(MUTE, now);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(serde_json::from_str::<Value>(lines[1]).is_ok(), "{text}");
    }

    #[test]
    fn a_log_that_was_rotated_goes_on_in_a_new_file() {
        let folder = Folder::new();
        let (path, old) = (folder.0.join("audit.jsonl"), folder.0.join("audit.1"));
        let now = Instant::now();
        let mut audit = Audit::open(&path, now).unwrap();
        audit.record(START, now);
        fs::rename(&path, &old).unwrap();
        audit.record(MUTE, now);
        assert_eq!(
            (lines(&old).len(), lines(&path)[0]["event"].as_str()),
            (1, Some("mute"))
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_at_the_start() {
        let folder = Folder::new();
        let error = Audit::open(&folder.0.join("no/audit.jsonl"), Instant::now());
        let sentence = error.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(sentence.contains("no/audit.jsonl"), "{sentence}");
    }
}
