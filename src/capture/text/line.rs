//! One line, understood by itself.

use super::times::{Time, decimal, looks_like_thousands};
use super::{Cue, LineError, json, spoken, wrong};

/// What a line is.
#[derive(Debug, PartialEq)]
pub(super) enum Parsed {
    /// Sentences, each with or without times; without words they are nothing.
    Words(Vec<Cue>),
    /// The times of the words that follow on lines of their own.
    Times(Time, Time),
    /// A recogniser's guess at a sentence that is not over.
    Partial,
}

/// What the lines before, or all of a file, have told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Style {
    /// Commas stand for decimal points.
    pub(super) commas: bool,
    /// Two numbers at the beginning of a line are times, however they are written.
    pub(super) columns: bool,
    /// A file, not a live stream: one time alone in brackets is the line's beginning.
    pub(super) file: bool,
}

impl Parsed {
    fn one(cue: Cue) -> Parsed {
        Parsed::Words(vec![cue])
    }
}

/// Understands a line that has been trimmed.
pub(super) fn parse(line: &str, style: &mut Style) -> Result<Parsed, LineError> {
    match line.as_bytes().first() {
        None => Ok(Parsed::Words(Vec::new())),
        Some(b'{') => match serde_json::from_str(line) {
            Ok(value) => json::parse(&value),
            Err(error) => wrong(
                format!("it begins as JSON but is not ({error})"),
                r#"write {"start": seconds, "end": seconds, "text": "words"}"#,
            ),
        },
        Some(b'[') => Ok(bracketed(line, *style)?.unwrap_or_else(|| plain(line))),
        Some(_) => match arrow(line)? {
            Some(parsed) => Ok(parsed),
            None => Ok(columns(line, style)?.unwrap_or_else(|| plain(line))),
        },
    }
}

fn plain(line: &str) -> Parsed {
    Parsed::one(Cue {
        text: spoken(line).to_owned(),
        ..Cue::default()
    })
}

/// `START END words`.
fn columns(line: &str, style: &mut Style) -> Result<Option<Parsed>, LineError> {
    let Some((first, second, text)) = two_words(line) else {
        return Ok(None);
    };
    let (Some(start), Some(end)) = (Time::parse(first), Time::parse(second)) else {
        return Ok(None);
    };
    let tabs = line
        .split('\t')
        .nth(1)
        .is_some_and(|cell| Time::parse(cell).is_some());
    let points = first.contains('.') || second.contains('.');
    let commas = first.contains(',') || second.contains(',');
    let clear = |word: &str| word.contains(',') && !looks_like_thousands(word);
    let clocks = first.contains(':') || second.contains(':');
    let are_times = if tabs || style.columns {
        true
    } else if clocks {
        Time::is_exact_clock(first) && Time::is_exact_clock(second)
    } else if commas {
        let sure = clear(first) || clear(second);
        style.commas |= sure;
        style.commas
    } else {
        points
    };
    if !are_times {
        return Ok(None);
    }
    Cue::new(Some(start), Some(end), text).map(|cue| Some(Parsed::one(cue)))
}

/// The first two words of a line, and the rest.
fn two_words(line: &str) -> Option<(&str, &str, &str)> {
    let split = |text: &'_ str| -> (usize, usize) {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let rest = &text[end..];
        (end, end + rest.len() - rest.trim_start().len())
    };
    let (end, next) = split(line);
    let (first, rest) = (&line[..end], &line[next..]);
    let (end, next) = split(rest);
    let second = &rest[..end];
    (!second.is_empty()).then_some((first, second, &rest[next..]))
}

/// Whether a line begins with two plain numbers in order, however they are written.
pub(super) fn begins_with_two_numbers(line: &str) -> bool {
    let numbers = two_words(line).and_then(|(first, second, text)| {
        let numbers = (decimal(first)?, decimal(second)?);
        (!text.is_empty()).then_some(numbers)
    });
    numbers.is_some_and(|(start, end)| 0.0 <= start && start <= end)
}

/// `[START-END] words`, with any of the arrows in use; other brackets (`[laughs] no`) are
/// words.
fn bracketed(line: &str, style: Style) -> Result<Option<Parsed>, LineError> {
    let Some((inside, text)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return Ok(None);
    };
    let (start, end) = match pair(inside)? {
        Some((start, end)) => (start, Some(end)),
        None if style.file && inside.contains(':') => match Time::parse(inside) {
            Some(start) => (start, None),
            None => return Ok(None),
        },
        None => return Ok(None),
    };
    Cue::new(Some(start), end, text).map(|cue| Some(Parsed::one(cue)))
}

/// Two times with something between them.
fn pair(text: &str) -> Result<Option<(Time, Time)>, LineError> {
    for arrow in ["-->", "->", "–", "-"] {
        let Some((start, end)) = text.split_once(arrow) else {
            continue;
        };
        if let (Some(start), Some(end)) = (Time::parse(start), Time::parse(end)) {
            return Ok(Some((start, end)));
        }
        if arrow == "-->" && looks_like_a_clock(start) {
            return wrong(
                format!("`{} --> {}` are no two times", start.trim(), end.trim()),
                "write them as 00:00:12.500 --> 00:00:14.250",
            );
        }
    }
    Ok(None)
}

/// `START --> END`, alone, with a subtitle's settings, or with words.
fn arrow(line: &str) -> Result<Option<Parsed>, LineError> {
    if let Some((start, end)) = line.split_once(',')
        && start.contains(':')
        && end.contains(':')
        && let (Some(start), Some(end)) = (Time::parse(start), Time::parse(end))
    {
        // SubViewer's, as YouTube writes it.
        return Ok(Some(Parsed::Times(start, end)));
    }
    let Some((start, rest)) = line.split_once("-->") else {
        return Ok(None);
    };
    let rest = rest.trim_start();
    let (end, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let Some((start, end)) = pair(&format!("{start}-->{end}"))? else {
        return Ok(None);
    };
    let is_setting = |word: &str| word.contains(':');
    if text.split_whitespace().all(is_setting) {
        // An end before the beginning is found when the words are there.
        return Ok(Some(Parsed::Times(start, end)));
    }
    Cue::new(Some(start), Some(end), text).map(|cue| Some(Parsed::one(cue)))
}

fn looks_like_a_clock(text: &str) -> bool {
    text.contains(':') && text.trim_start().starts_with(|c: char| c.is_ascii_digit())
}
