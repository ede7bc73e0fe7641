//! When capture was on, and who switched it: an append-only log of JSON lines.
//!
//! A record says that something began or ended, never what was seen, heard or answered: its
//! words come from the configuration and from this program's text, not from the sources.
//! A record has the time at which it was made, whenever the disk takes it. One that cannot be
//! written is kept and tried again, and the file is opened anew each time, so a log that is
//! rotated or a disk that comes back needs no care.

use super::{Told, regular};
use crate::Error;
use crate::event::State;
use jiff::Timestamp;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
    /// Counts are told, and no answer by itself.
    Aggregate {
        /// Length of a window.
        minutes: u32,
        /// Answers that are told together at least.
        at_least: u32,
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
        /// `button`, `remote`, or `start` where a press is consent.
        by: &'static str,
    },
    /// Capture was switched on.
    Unmute {
        /// `button` or `remote`.
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

/// The log. Records are added by any thread and never wait for the disk; one thread
/// [writes](Audit::write) them.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    opened: Instant,
    waiting: Mutex<Waiting>,
}

/// What the disk has not taken yet.
#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Records that did not fit any more.
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
    /// A file that cannot be opened for writing, or is no regular file.
    pub fn open(path: &Path, now: Instant) -> Result<Audit, Error> {
        regular::check(path, "[audit] file")?;
        open(path).map_err(|source| Error::File {
            path: path.into(),
            doing: "written",
            source,
        })?;
        Ok(Audit {
            path: path.into(),
            opened: now,
            waiting: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record with the present time. It waits for [`Audit::write`].
    pub fn record(&self, record: Record<'_>, now: Instant) {
        let line = self.line(record, now);
        let mut waiting = self.lock();
        if waiting.lines.len() + line.len() <= MOST_WAITING {
            waiting.lines.extend(line);
        } else {
            waiting.lost += 1;
        }
    }

    /// Writes what waits; on return it is on the disk, or it still waits. Says so when that
    /// changes. To be called by one thread, which waits for the disk.
    pub fn write(&self, now: Instant) -> Option<Told> {
        let (mut lines, lost, failed) = {
            let waiting = self.lock();
            (waiting.lines.clone(), waiting.lost, waiting.retry.is_some())
        };
        if lines.is_empty() {
            return None;
        }
        let taken = lines.len();
        if lost > 0 {
            lines.extend(self.line(Record::Lost { records: lost }, now));
        }
        let written = append(&self.path, &lines);
        let mut waiting = self.lock();
        let name = self.path.display();
        match written {
            Ok(()) => {
                waiting.lines.drain(..taken);
                waiting.lost -= lost;
                waiting.retry = None;
                failed.then(|| Told::recovered("audit", format!("{name} is written again")))
            }
            Err(e) => {
                waiting.failures += 1;
                waiting.retry = Some(now + RETRY);
                let sentence =
                    format!("{name}: {e}; records wait in memory until it can be written");
                (!failed).then(|| Told::failing("audit", sentence))
            }
        }
    }

    /// When the disk is to be tried again, if it took nothing the last time.
    pub fn retry(&self) -> Option<Instant> {
        self.lock().retry
    }

    /// Whether the disk has answered for everything so far: taken it, or refused it.
    pub fn is_settled(&self) -> bool {
        let waiting = self.lock();
        waiting.lines.is_empty() || waiting.retry.is_some()
    }

    /// Records that the disk has not taken, as lines.
    pub fn unwritten(&self) -> String {
        String::from_utf8_lossy(&self.lock().lines).into_owned()
    }

    /// How often the disk did not take what waited.
    pub fn failures(&self) -> u64 {
        self.lock().failures
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
}

/// Opens the log itself: no file that a link leads to, and no device that took its place.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(MODE);
    regular::open(path, &mut options)
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

    /// Adds a record and waits for the disk.
    fn log(audit: &Audit, record: Record<'_>, now: Instant) -> Option<Told> {
        audit.record(record, now);
        audit.write(now)
    }

    #[test]
    fn records_have_their_time_and_are_appended_with_narrow_permissions() {
        let folder = Folder::new();
        let path = folder.0.join("audit.jsonl");
        let start = Instant::now();
        for seconds in [0, 5] {
            let audit = Audit::open(&path, start).unwrap();
            let at = start + Duration::from_secs(seconds);
            assert_eq!(log(&audit, START, at), None);
            assert_eq!(log(&audit, MUTE, at), None);
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
    fn a_record_waits_for_the_disk_and_nobody_waits_for_the_record() {
        let folder = Folder::new();
        let path = folder.0.join("audit.jsonl");
        let now = Instant::now();
        let audit = Audit::open(&path, now).unwrap();
        audit.record(START, now);
        assert!(!audit.is_settled() && audit.unwritten().contains("rpi4"));
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert_eq!(audit.write(now), None);
        assert!(audit.is_settled() && audit.unwritten().is_empty());
        assert_eq!(lines(&path).len(), 1);
    }

    /// A log in a folder that goes away, as a disk that is pulled out.
    fn pulled_out(folder: &Folder, now: Instant) -> (Audit, PathBuf, PathBuf) {
        let (disk, away) = (folder.0.join("disk"), folder.0.join("away"));
        fs::create_dir(&disk).unwrap();
        let audit = Audit::open(&disk.join("audit.jsonl"), now).unwrap();
        fs::rename(&disk, &away).unwrap();
        (audit, disk, away)
    }

    #[test]
    fn a_disk_that_goes_away_is_told_once_and_nothing_is_lost() {
        let folder = Folder::new();
        let now = Instant::now();
        let (audit, disk, away) = pulled_out(&folder, now);
        let told = log(&audit, START, now).unwrap();
        assert_eq!((told.part, told.state), ("audit", State::Failing));
        assert!(told.detail.contains("audit.jsonl"), "{}", told.detail);
        assert_eq!(log(&audit, MUTE, now), None);
        assert!(audit.is_settled());
        assert_eq!((audit.retry(), audit.failures()), (Some(now + RETRY), 2));
        // back again
        fs::rename(&away, &disk).unwrap();
        let told = audit.write(now + RETRY).unwrap();
        assert_eq!((told.part, told.state), ("audit", State::Recovered));
        assert_eq!(audit.retry(), None);
        let path = disk.join("audit.jsonl");
        let events: Vec<_> = lines(&path).iter().map(|l| l["event"].clone()).collect();
        assert_eq!(events, ["start", "mute"]);
        assert_eq!(audit.write(now + 2 * RETRY), None);
        assert_eq!(lines(&path).len(), 2);
    }

    #[test]
    fn what_waits_is_bounded_and_the_rest_is_counted() {
        let folder = Folder::new();
        let now = Instant::now();
        let (audit, disk, away) = pulled_out(&folder, now);
        for _ in 0..5000 {
            audit.record(MUTE, now);
        }
        assert!(audit.unwritten().len() <= MOST_WAITING);
        fs::rename(&away, &disk).unwrap();
        assert_eq!(audit.write(now + RETRY), None);
        let lines = lines(&disk.join("audit.jsonl"));
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
        log(&Audit::open(&path, now).unwrap(), MUTE, now);
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
        let audit = Audit::open(&path, now).unwrap();
        log(&audit, START, now);
        fs::rename(&path, &old).unwrap();
        log(&audit, MUTE, now);
        assert_eq!(
            (lines(&old).len(), lines(&path)[0]["event"].as_str()),
            (1, Some("mute"))
        );
    }

    #[test]
    fn a_link_or_a_device_is_refused_at_the_start_and_later_on() {
        let folder = Folder::new();
        let now = Instant::now();
        let (path, victim) = (folder.0.join("audit.jsonl"), folder.0.join("victim"));
        fs::write(&victim, "precious\n").unwrap();
        symlink(&victim, &path).unwrap();
        for (path, is) in [
            (path.as_path(), "a symbolic link"),
            (Path::new("/dev/null"), "a device"),
            (folder.0.as_path(), "a folder"),
        ] {
            let error = Audit::open(path, now).err().map(|e| e.to_string());
            let sentence = error.unwrap_or_default();
            assert!(sentence.contains(is), "{sentence}");
        }
        // somebody lays the link while we run
        fs::remove_file(&path).unwrap();
        let audit = Audit::open(&path, now).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&victim, &path).unwrap();
        let told = log(&audit, MUTE, now).unwrap();
        assert_eq!(told.state, State::Failing);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious\n");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_at_the_start() {
        let folder = Folder::new();
        let error = Audit::open(&folder.0.join("no/audit.jsonl"), Instant::now());
        let sentence = error.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(sentence.contains("no/audit.jsonl"), "{sentence}");
    }
}
