//! The file of metrics, replaced as a whole each time.

use crate::service::{Told, regular};
use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The exporter is another user.
const MODE: u32 = 0o644;

/// A file that readers see whole: the old page or the new one.
#[derive(Debug)]
pub struct Page {
    path: PathBuf,
    every: Duration,
    next: Instant,
    failing: bool,
}

impl Page {
    /// The page at `path`, due now and every so often.
    pub fn new(path: &Path, every: Duration, now: Instant) -> Page {
        Page {
            path: path.into(),
            every,
            next: now,
            failing: false,
        }
    }

    /// When it is time for another version.
    pub fn due(&self) -> Instant {
        self.next
    }

    /// Replaces the page. One that cannot be written is said once; the next one is tried in
    /// its turn, and the old one stays.
    pub fn write(&mut self, content: &str, now: Instant) -> Option<Told> {
        self.next = now + self.every;
        let name = self.path.display();
        match replace(&self.path, content) {
            Ok(()) => std::mem::take(&mut self.failing)
                .then(|| Told::recovered("metrics", format!("{name} is written again"))),
            Err(e) => {
                let sentence = format!("{name}: {e}; the figures in it are old until it can be");
                let known = std::mem::replace(&mut self.failing, true);
                (!known).then(|| Told::failing("metrics", sentence))
            }
        }
    }
}

/// Writes beside the file and moves that over it. Nobody waits for the disk: after a power
/// cut the figures begin anew anyway.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    regular::is_regular(path)?;
    let beside = beside(path)?;
    // a file that a killed process left, or a link that somebody laid there
    match fs::remove_file(&beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&beside)?;
        file.write_all(content.as_bytes())?;
        // whatever the service's umask is
        file.set_permissions(Permissions::from_mode(MODE))?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// `.NAME.new` in the same folder: the exporter reads only what ends in `.prom`.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("it is no file's name"))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    Ok(path.with_file_name(hidden))
}
