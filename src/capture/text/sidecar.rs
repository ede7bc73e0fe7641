//! The file beside a recording that holds its words.

use std::path::{Path, PathBuf};

/// Endings of files of words, in the order in which they are looked for.
const ENDINGS: [&str; 3] = ["txt", "srt", "vtt"];

/// The file with a recording's words: beside `talk.wav`, the first that is there of
/// `talk.txt`, `talk.wav.txt`, and the same in `.srt` and `.vtt`. Others are left unread, and
/// that is told.
#[must_use]
pub fn sidecar(recording: &Path) -> Option<PathBuf> {
    if recording == Path::new("-") {
        return None;
    }
    let mut whole = recording.file_name()?.to_owned();
    whole.push(".");
    let mut found = ENDINGS.iter().flat_map(|ending| {
        let mut appended = whole.clone();
        appended.push(ending);
        [
            recording.with_extension(ending),
            recording.with_file_name(appended),
        ]
    });
    let first = found.by_ref().find(|path| path.is_file())?;
    if let Some(other) = found.find(|path| path.is_file()) {
        log::warn!(
            "{}: its words are read from {}; {} is left unread",
            recording.display(),
            first.display(),
            other.display()
        );
    }
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sidecar_is_found_by_either_name() {
        let folder = std::env::temp_dir().join(format!("demeanor-words-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let talk = folder.join("talk.wav");
        assert_eq!(sidecar(&talk), None);
        for name in ["talk.wav.vtt", "talk.srt", "talk.wav.txt", "talk.txt"] {
            std::fs::write(folder.join(name), "one").expect("writable");
            assert_eq!(sidecar(&talk), Some(folder.join(name)));
        }
        assert_eq!(sidecar(Path::new("-")), None);
        std::fs::remove_dir_all(&folder).expect("removable");
    }
}
