//! The order of the rooms in `src`, held by reading their imports: a room names only rooms that
//! stand before it. So nothing flows back, and there is no circle.

use crate::support::repo;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. A new room is put where what it needs is below it.
const ORDER: [&str; 20] = [
    "kernels", "decision", "text", "signal", "vision", "capture", "board", "fusion", "model",
    "event", "error", "tasks", "session", "sink", "config", "service", "app", "cli", "program",
    "lib",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file: comments and the tests at its end are no arrows.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("UTF-8");
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let lines = text[..end].lines().map(str::trim_start);
    let kept: Vec<&str> = lines.filter(|line| !line.starts_with("//")).collect();
    kept.join("\n")
}

/// Rooms that a file names: `crate::ROOM`, and `Error` for the room `error`.
fn named(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let mut words: Vec<&str> = Vec::new();
        match rest.strip_prefix('{') {
            Some(list) => words.extend(list.split('}').next().unwrap_or_default().split(',')),
            None => words.push(rest),
        }
        for word in words {
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            let name: String = word.trim().chars().take_while(|c| is_name(*c)).collect();
            rooms.insert(if name == "Error" {
                "error".into()
            } else {
                name
            });
        }
    }
    rooms
}

#[test]
fn rooms_import_downward() {
    let src = repo("src");
    let place = |room: &str| ORDER.iter().position(|r| *r == room);
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut seen = BTreeSet::new();
    for path in files {
        let relative = path.strip_prefix(&src).expect("inside");
        let first = relative.components().next().expect("a name");
        let room = first.as_os_str().to_string_lossy().replace(".rs", "");
        if room == "main" {
            continue;
        }
        let here = place(&room).unwrap_or_else(|| panic!("src/{room} has no place in ORDER"));
        seen.insert(room.clone());
        for named in named(&code(&path)).into_iter().filter(|n| *n != room) {
            if let Some(there) = place(&named) {
                assert!(
                    there < here,
                    "{} imports {named}, which stands above {room}",
                    relative.display()
                );
            }
        }
    }
    assert_eq!(seen.len(), ORDER.len(), "a room of ORDER is gone: {seen:?}");
}
