//! Words with or without times: a transcript beside a recording, or lines as they come.
//!
//! A line takes one of four forms, told apart by itself:
//!
//! | form | example |
//! |------|---------|
//! | words | `I told you so` |
//! | times in seconds, then words | `12.5 14.25 I told you so`, or with tabs |
//! | times in brackets | `[12.5-14.25] I told you so` |
//! | a JSON object | `{"start": 12.5, "end": 14.25, "text": "I told you so"}` |
//!
//! Two leading numbers without a decimal point in either (`2 3 times I told you`) are words,
//! unless tabs separate them. Empty lines are passed over.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::background::{Background, forward};
use super::{CaptureError, Source, limits};

/// Times beyond this are no times: 115 days in seconds.
const MAX_SECONDS: f64 = 1e7;

/// One line of words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextLine {
    /// When they begin, in stream time; `None`: now.
    pub start: Option<Duration>,
    /// When they end.
    pub end: Option<Duration>,
    /// The words, trimmed, not empty.
    pub text: String,
}

/// Why a line could not be understood: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {advice}")]
pub struct LineError {
    what: String,
    advice: &'static str,
}

fn wrong<T>(what: impl Into<String>, advice: &'static str) -> Result<T, LineError> {
    Err(LineError {
        what: what.into(),
        advice,
    })
}

/// Understands one line; `None` when there are no words in it.
///
/// # Errors
/// [`LineError`] for a line that begins as one of the timed forms and breaks its rules.
pub fn parse_line(line: &str) -> Result<Option<TextLine>, LineError> {
    let line = line.trim();
    let parsed = match line.as_bytes().first() {
        None => return Ok(None),
        Some(b'{') => json(line)?,
        Some(b'[') => bracketed(line)?.unwrap_or_else(|| plain(line)),
        Some(_) => columns(line)?.unwrap_or_else(|| plain(line)),
    };
    Ok((!parsed.text.is_empty()).then_some(parsed))
}

fn plain(line: &str) -> TextLine {
    TextLine {
        text: line.to_owned(),
        ..TextLine::default()
    }
}

fn timed(start: f64, end: f64, text: &str) -> Result<TextLine, LineError> {
    let (start, end) = (Some(seconds(start)?), Some(seconds(end)?));
    ordered(TextLine {
        start,
        end,
        text: text.trim().to_owned(),
    })
}

fn ordered(line: TextLine) -> Result<TextLine, LineError> {
    match (line.start, line.end) {
        (Some(start), Some(end)) if end < start => wrong(
            "it ends before it begins",
            "write the start before the end, in seconds",
        ),
        _ => Ok(line),
    }
}

fn seconds(value: f64) -> Result<Duration, LineError> {
    if !(0.0..=MAX_SECONDS).contains(&value) {
        let advice = "write times as seconds from the beginning of the recording";
        return wrong(format!("{value} is no time in seconds"), advice);
    }
    Ok(Duration::from_secs_f64(value))
}

/// A decimal number; words such as `nan` and `inf`, which Rust would take, are words.
fn number(word: &str) -> Option<f64> {
    let digits = word
        .bytes()
        .all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
    (digits && word.bytes().any(|b| b.is_ascii_digit()))
        .then(|| word.parse().ok())
        .flatten()
}

/// `START END words`.
fn columns(line: &str) -> Result<Option<TextLine>, LineError> {
    let tabs = line
        .split('\t')
        .nth(1)
        .is_some_and(|second| number(second.trim()).is_some());
    let split = |text: &str| -> Option<(f64, String)> {
        let (word, rest) = text
            .split_once(|c: char| c.is_whitespace())
            .unwrap_or((text, ""));
        Some((number(word)?, rest.trim_start().to_owned()))
    };
    let Some((start, rest)) = split(line) else {
        return Ok(None);
    };
    let Some((end, text)) = split(&rest) else {
        return Ok(None);
    };
    let times = &line[..line.len() - text.len()];
    if !tabs && !times.contains('.') {
        return Ok(None);
    }
    timed(start, end, &text).map(Some)
}

/// `[START-END] words`; other brackets (`[laughs] no`) are words.
fn bracketed(line: &str) -> Result<Option<TextLine>, LineError> {
    let inside = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let times = inside.and_then(|(times, text)| {
        let (start, end) = times.split_once('-')?;
        Some((number(start.trim())?, number(end.trim())?, text))
    });
    times
        .map(|(start, end, text)| timed(start, end, text))
        .transpose()
}

fn json(line: &str) -> Result<TextLine, LineError> {
    const ADVICE: &str = r#"write {"start": seconds, "end": seconds, "text": "words"}"#;
    let value: Value = match serde_json::from_str(line) {
        Ok(value) => value,
        Err(error) => return wrong(format!("it begins as JSON but is not ({error})"), ADVICE),
    };
    let time = |key: &str| match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(found) => match found.as_f64() {
            Some(number) => seconds(number).map(Some),
            None => wrong(format!("its \"{key}\" is no number"), ADVICE),
        },
    };
    match value.get("text").and_then(Value::as_str) {
        Some(text) => {
            let text = text.trim().to_owned();
            ordered(TextLine {
                start: time("start")?,
                end: time("end")?,
                text,
            })
        }
        None => wrong("it has no \"text\" of words", ADVICE),
    }
}

/// Lines of a file; [`Source::poll`] reads, so it is for files and threads.
pub struct TextReader<R> {
    reader: BufReader<R>,
    name: String,
    line: u64,
    bytes: Vec<u8>,
    ended: bool,
}

impl<R: Read> TextReader<R> {
    /// Reads `reader`; `name` is what error messages call it.
    pub fn new(reader: R, name: String) -> Self {
        Self {
            reader: BufReader::new(reader),
            name,
            line: 0,
            bytes: Vec::new(),
            ended: false,
        }
    }

    fn next_line(&mut self) -> Result<Option<TextLine>, CaptureError> {
        while !self.ended && self.fill()? {
            let text = std::str::from_utf8(&self.bytes).map_err(|error| {
                let what = format!("its byte {} is not UTF-8", error.valid_up_to() + 1);
                self.error(what, "save the text as UTF-8")
            })?;
            // Editors on other systems put a mark before the first line.
            let text = if self.line == 1 {
                text.trim_start_matches('\u{FEFF}')
            } else {
                text
            };
            let parsed = parse_line(text);
            if let Some(line) = parsed.map_err(|error| self.error(error.what, error.advice))? {
                return Ok(Some(line));
            }
        }
        self.ended = true;
        Ok(None)
    }

    /// Reads the next line into `bytes`; `false` at the end.
    fn fill(&mut self) -> Result<bool, CaptureError> {
        self.bytes.clear();
        self.line += 1;
        let most = limits::MAX_LINE as u64 + 1;
        let read = self
            .reader
            .by_ref()
            .take(most)
            .read_until(b'\n', &mut self.bytes);
        let read = read.map_err(|source| CaptureError::read(&self.name, source))?;
        let newline = usize::from(self.bytes.last() == Some(&b'\n'));
        if read - newline > limits::MAX_LINE {
            let what = format!("it is longer than {} bytes", limits::MAX_LINE);
            return Err(self.error(what, "put one utterance on each line"));
        }
        Ok(read > 0)
    }

    fn error(&self, what: String, advice: &'static str) -> CaptureError {
        CaptureError::Text {
            name: self.name.clone(),
            line: self.line,
            what,
            advice,
        }
    }
}

impl<R: Read> Source for TextReader<R> {
    type Item = TextLine;

    fn poll(&mut self) -> nb::Result<Option<TextLine>, CaptureError> {
        self.next_line().map_err(|error| {
            self.ended = true;
            nb::Error::Other(error)
        })
    }
}

/// Opens a file of lines; `-` reads standard input in a thread of its own, so that polling
/// never waits (named pipes alike).
///
/// # Errors
/// [`CaptureError::Open`] when the file cannot be read.
pub fn open_text(path: &Path) -> Result<Box<dyn Source<Item = TextLine> + Send>, CaptureError> {
    if path == Path::new("-") {
        return Ok(piped("standard input".to_owned(), || Ok(io::stdin())));
    }
    let name = path.display().to_string();
    let failed = |source| CaptureError::Open {
        name: name.clone(),
        source,
    };
    let kind = path.metadata().map_err(failed)?.file_type();
    if kind.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    if kind.is_file() {
        let file = File::open(path).map_err(failed)?;
        return Ok(Box::new(TextReader::new(file, name)));
    }
    let path = path.to_owned();
    Ok(piped(name, move || File::open(path)))
}

fn piped<R: Read + 'static>(
    name: String,
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> Box<dyn Source<Item = TextLine> + Send> {
    Box::new(Background::spawn(limits::QUEUE, move |sender| {
        match open() {
            Ok(reader) => forward(&mut TextReader::new(reader, name), sender, |_| ()),
            Err(source) => drop(sender.send(Err(CaptureError::Open { name, source }))),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(start: f64, end: f64, text: &str) -> TextLine {
        let time = |s| Some(Duration::from_secs_f64(s));
        TextLine {
            start: time(start),
            end: time(end),
            text: text.to_owned(),
        }
    }

    #[test]
    fn four_forms() {
        let expected = Ok(Some(line(12.5, 14.25, "I told you")));
        for form in [
            "12.5 14.25 I told you",
            "12.5\t14.25\tI told you\r\n",
            "[12.5-14.25] I told you",
            "[12.5 - 14.25]I told you",
            r#"{"start": 12.5, "end": 14.25, "text": " I told you "}"#,
        ] {
            assert_eq!(parse_line(form), expected, "{form}");
        }
        assert_eq!(parse_line(" I told you "), Ok(Some(plain("I told you"))));
        assert_eq!(parse_line("0\t2\tI"), Ok(Some(line(0.0, 2.0, "I"))));
        assert_eq!(parse_line("0 2.5 I"), Ok(Some(line(0.0, 2.5, "I"))));
    }

    #[test]
    fn numbers_and_brackets_in_speech_stay_speech() {
        for words in [
            "2 3 times I told you",
            "7 people",
            "3.5 stars",
            "[laughs] no",
            "[1] see there",
            "nan inf are words",
            "1-2 3.4.5 go",
        ] {
            assert_eq!(parse_line(words), Ok(Some(plain(words))), "{words}");
        }
    }

    #[test]
    fn nothing_said_is_nothing() {
        for empty in ["", "  \t ", "1.0 2.0", "[1.0-2.0]  ", r#"{"text": ""}"#] {
            assert_eq!(parse_line(empty), Ok(None), "{empty}");
        }
    }

    #[test]
    fn broken_lines_say_what_to_do() {
        for (broken, part) in [
            (r#"{"text": "no"#, "JSON"),
            (r#"{"start": 1}"#, "no \"text\""),
            (r#"{"start": "one", "text": "a"}"#, "\"start\" is no number"),
            (r#"{"start": -1, "text": "a"}"#, "no time"),
            ("[5.0-2.0] a", "ends before"),
            ("1.0 99999999 a", "no time"),
            ("-1.0 2.0 a", "no time"),
        ] {
            let message = parse_line(broken).map_err(|e| e.to_string());
            assert!(
                message.as_ref().is_err_and(|m| m.contains(part)),
                "{broken}: {message:?}"
            );
        }
    }

    fn read(bytes: &[u8]) -> (Vec<TextLine>, Option<String>) {
        let mut reader = TextReader::new(bytes, "words".to_owned());
        let mut lines = Vec::new();
        loop {
            match nb::block!(reader.poll()) {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => return (lines, None),
                Err(error) => {
                    assert_eq!(nb::block!(reader.poll()).ok(), Some(None), "it has ended");
                    return (lines, Some(error.to_string()));
                }
            }
        }
    }

    #[test]
    fn a_file_with_mark_empty_lines_and_no_last_newline() {
        let (lines, error) = read("\u{FEFF}one\r\n\n  \ntwo\n1.0 2.0 three".as_bytes());
        assert_eq!(error, None);
        let texts: Vec<_> = lines.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(texts, ["one", "two", "three"]);
    }

    #[test]
    fn the_line_that_is_not_utf8_is_named() {
        let (lines, error) = read(b"one\ntwo\nth\xFFree\nfour\n");
        assert_eq!(lines.len(), 2);
        let error = error.unwrap_or_default();
        assert!(
            error.contains("words, line 3") && error.contains("byte 3"),
            "{error}"
        );
    }

    #[test]
    fn ten_thousand_words_are_read_and_two_million_bytes_are_not() {
        let long = "word ".repeat(10_000);
        let (lines, error) = read(long.as_bytes());
        assert_eq!((lines.len(), error), (1, None));
        assert_eq!(lines[0].text.split(' ').count(), 10_000);
        let (lines, error) = read("ab".repeat(1 << 20).as_bytes());
        assert!(lines.is_empty());
        assert!(error.is_some_and(|e| e.contains("longer than 1048576 bytes")));
        let (lines, error) = read(format!("{}\nb", "a".repeat(limits::MAX_LINE)).as_bytes());
        assert_eq!(
            (lines.len(), error),
            (2, None),
            "exactly the limit is allowed"
        );
    }
}
