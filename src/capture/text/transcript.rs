//! A whole file of words.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

use super::line::{self, Parsed, Style};
use super::script::{Item, Script};
use super::{Cue, LineError, TextLine, json};
use crate::capture::{CaptureError, limits};

/// Fewer letters than this in a second are no speech: the times are milliseconds.
const LEAST_LETTERS: f64 = 0.3;

/// Reads all words of a file, or of standard input (`-`), sorted by time.
///
/// # Errors
/// [`CaptureError::Open`] when it cannot be read, [`CaptureError::Text`] for the first line
/// that cannot be understood.
pub fn read_text(path: &Path) -> Result<Vec<TextLine>, CaptureError> {
    if path == Path::new("-") {
        return read_transcript(io::stdin(), "standard input");
    }
    let name = path.display().to_string();
    let failed = |source| CaptureError::Open {
        name: name.clone(),
        source,
    };
    if path.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    let file = File::open(path).map_err(failed)?;
    read_transcript(file, &name)
}

/// Reads all of a transcript and sorts it by time. Words without times stay behind those that
/// they followed.
///
/// # Errors
/// The first line that cannot be understood, by its number.
pub fn read_transcript(reader: impl Read, name: &str) -> Result<Vec<TextLine>, CaptureError> {
    let mut bytes = Vec::new();
    let most = limits::MAX_TRANSCRIPT as u64;
    let read = reader.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|source| CaptureError::read(name, source))?;
    let wrong = |line: u64, error: LineError| CaptureError::Text {
        name: name.to_owned(),
        line,
        what: error.what,
        advice: error.advice,
    };
    if bytes.len() > limits::MAX_TRANSCRIPT {
        let what = format!("it goes on beyond {} MiB", limits::MAX_TRANSCRIPT >> 20);
        let advice = "split the file";
        return Err(wrong(1, LineError { what, advice }));
    }
    let text = decode(&bytes).map_err(|(line, error)| wrong(line, error))?;
    let mut cues = cues(&text).map_err(|(line, error)| wrong(line, error))?;
    to_seconds(&mut cues);
    let lines = cues.into_iter().map(|(line, cue)| {
        let line_of = cue.into_line();
        line_of.map_err(|error| wrong(line, error))
    });
    let mut lines = lines.collect::<Result<Vec<_>, _>>()?;
    in_order(&mut lines);
    Ok(lines)
}

/// UTF-8, or UTF-16 where the first bytes say so, as Windows writes it.
fn decode(bytes: &[u8]) -> Result<String, At<LineError>> {
    let units = |read: fn([u8; 2]) -> u16| {
        let units = bytes[2..].as_chunks::<2>().0.iter().map(|unit| read(*unit));
        let text: String = char::decode_utf16(units)
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
        text
    };
    match bytes {
        [0xFF, 0xFE, ..] => return Ok(units(u16::from_le_bytes)),
        [0xFE, 0xFF, ..] => return Ok(units(u16::from_be_bytes)),
        _ => {}
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.trim_start_matches('\u{FEFF}').to_owned()),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line = before.iter().filter(|b| **b == b'\n').count() as u64 + 1;
            let begins = before
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1);
            Err((line, LineError::not_utf8(before.len() - begins + 1)))
        }
    }
}

/// Something with its line, counted from 1.
type At<T> = (u64, T);

/// All sentences, each with its line.
fn cues(text: &str) -> Result<Vec<At<Cue>>, At<LineError>> {
    // Old Macs end lines with a carriage return alone.
    let separator = if text.contains('\n') { '\n' } else { '\r' };
    if let Some((line, error)) = too_long(text, separator) {
        // JSON comes on one line, however long.
        return document(text).unwrap_or(Err((line, error)));
    }
    if let Some(read) = document(text) {
        return read;
    }
    let mut script = Script::new(Style {
        commas: false,
        columns: all_columns(text, separator),
        file: true,
    });
    for (number, line) in (1..).zip(text.split(separator)) {
        script.line(number, line);
    }
    script.end();
    let mut cues = Vec::new();
    while let Some(item) = script.next() {
        match item {
            Item::Cue(_, cue) if is_preamble(&cue) => {}
            Item::Cue(line, cue) => cues.push((line, cue)),
            Item::Partial => {}
            Item::Wrong(line, error) => return Err((line, error)),
        }
    }
    Ok(cues)
}

/// What whisper says of itself before the first sentence.
fn is_preamble(cue: &Cue) -> bool {
    let preambles = ["Detecting language using ", "Detected language: "];
    cue.start.is_none() && preambles.iter().any(|p| cue.text.starts_with(p))
}

fn too_long(text: &str, separator: char) -> Option<At<LineError>> {
    let lines = text.split(separator);
    let number = lines
        .into_iter()
        .position(|line| line.len() > limits::MAX_LINE);
    number.map(|number| (number as u64 + 1, LineError::too_long()))
}

/// The sentences of a file that is one JSON value; `None` when it is none.
fn document(text: &str) -> Option<Result<Vec<At<Cue>>, At<LineError>>> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    Some(match json::parse(&value) {
        Ok(Parsed::Words(cues)) => {
            let cues = cues.into_iter().filter(|cue| !cue.text.is_empty());
            Ok(cues.map(|cue| (1, cue)).collect())
        }
        Ok(_) => Ok(Vec::new()),
        Err(error) => Err((1, error)),
    })
}

/// Whether every line of several begins with two numbers in order: nobody speaks like that,
/// so they are times even without a point in them.
fn all_columns(text: &str, separator: char) -> bool {
    let mut lines = text
        .split(separator)
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .peekable();
    let several = lines.clone().nth(1).is_some();
    several && lines.all(line::begins_with_two_numbers)
}

/// Whisper's tables count milliseconds and do not say so; the speed of speech does.
fn to_seconds(cues: &mut [At<Cue>]) {
    let (mut letters, mut length) = (0, 0.0);
    for (_, cue) in cues.iter() {
        let (Some(start), Some(end)) = (cue.start, cue.end) else {
            return;
        };
        if !(start.whole && end.whole) {
            return;
        }
        letters += cue.text.chars().filter(|c| !c.is_whitespace()).count();
        length += end.value - start.value;
    }
    if length <= 0.0 || letters as f64 >= LEAST_LETTERS * length {
        return;
    }
    for (_, cue) in cues {
        for time in cue.start.iter_mut().chain(&mut cue.end) {
            time.value /= 1000.0;
        }
    }
}

/// Sorts sentences by their beginning. One without times stays behind the one it followed.
pub fn in_order(lines: &mut Vec<TextLine>) {
    let mut last = std::time::Duration::ZERO;
    let mut placed: Vec<_> = lines
        .drain(..)
        .map(|line| {
            last = line.start.unwrap_or(last);
            (last, line)
        })
        .collect();
    placed.sort_by_key(|(at, _)| *at);
    lines.extend(placed.into_iter().map(|(_, line)| line));
}
