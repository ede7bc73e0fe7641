//! Words with or without times: a transcript beside a recording, or lines as they come.
//!
//! A line takes one of these forms, told apart by itself:
//!
//! | form | example |
//! |------|---------|
//! | words | `I told you so` |
//! | times in seconds, then words | `12.5 14.25 I told you so`, or with tabs or commas |
//! | times in brackets | `[12.5-14.25] I told you so` |
//! | as whisper shows them | `[00:00:12.500 --> 00:00:14.250] I told you so` |
//! | a JSON object | `{"start": 12.5, "end": 14.25, "text": "I told you so"}`, or vosk's |
//!
//! and these take several: SRT, WebVTT, SubViewer and SubStation Alpha subtitles, tables whose first line names
//! the columns `start`, `end` and `text` (TSV, CSV), and JSON files of whisper, whisper.cpp,
//! WhisperX and Transformers. A clock's time is `[HH:]MM:SS` with a fraction behind a point or
//! a comma; whole numbers in a file are milliseconds when speech would be impossibly slow
//! otherwise.
//!
//! Two leading numbers without a point or comma in either (`2 3 times I told you`) are words,
//! unless tabs separate them or every line of a file begins with two. Empty lines are passed
//! over.
//!
//! A file is read as a whole and sorted by time; a line of it that breaks the rules of its
//! form is refused by its number. In a live stream such a line is passed over and counted,
//! and so are partial results, which are no words yet.

mod json;
mod line;
mod script;
mod sidecar;
mod stream;
mod times;
mod transcript;

use std::time::Duration;

use super::{Source, limits};
use line::{Parsed, Style};
use times::Time;

pub use sidecar::sidecar;
pub use stream::{TextReader, open_text};
pub use transcript::{in_order, read_text, read_transcript};

/// One sentence, or what was said between two line breaks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextLine {
    /// When they begin, in stream time; `None`: now.
    pub start: Option<Duration>,
    /// When they end.
    pub end: Option<Duration>,
    /// The words, trimmed, not empty.
    pub text: String,
}

/// What a source of words has passed over so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextReport {
    /// Lines of a live stream that could not be understood.
    pub skipped: u64,
    /// What was wrong with the last of them; empty when there was none.
    pub last: String,
    /// Partial results of a recogniser.
    pub partial: u64,
}

/// A source of words that can account for itself.
pub trait TextSource: Source<Item = TextLine> + Send {
    /// What is known so far.
    fn report(&self) -> TextReport;
}

/// Why a line could not be understood: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {advice}")]
pub struct LineError {
    what: String,
    advice: &'static str,
}

impl LineError {
    fn too_long() -> LineError {
        LineError {
            what: format!("it is longer than {} bytes", limits::MAX_LINE),
            advice: "put one utterance on each line",
        }
    }

    /// `byte` is counted from 1.
    fn not_utf8(byte: usize) -> LineError {
        LineError {
            what: format!("its byte {byte} is not UTF-8"),
            advice: "save the text as UTF-8",
        }
    }
}

fn wrong<T>(what: impl Into<String>, advice: &'static str) -> Result<T, LineError> {
    Err(LineError {
        what: what.into(),
        advice,
    })
}

/// Words with times as they are written.
#[derive(Debug, Clone, PartialEq, Default)]
struct Cue {
    start: Option<Time>,
    end: Option<Time>,
    text: String,
}

impl Cue {
    fn new(start: Option<Time>, end: Option<Time>, text: &str) -> Result<Cue, LineError> {
        if let (Some(start), Some(end)) = (start, end)
            && end.value < start.value
        {
            return wrong(
                "it ends before it begins",
                "write the start before the end, in seconds",
            );
        }
        let timed = start.is_some();
        let text = if timed { without_speaker(text) } else { text };
        Ok(Cue {
            start,
            end,
            text: spoken(text).to_owned(),
        })
    }

    fn into_line(self) -> Result<TextLine, LineError> {
        Ok(TextLine {
            start: self.start.map(Time::duration).transpose()?,
            end: self.end.map(Time::duration).transpose()?,
            text: self.text,
        })
    }
}

/// The words of a text; how whisper.cpp writes that nothing was said is none.
fn spoken(text: &str) -> &str {
    match text.trim() {
        "[BLANK_AUDIO]" => "",
        text => text,
    }
}

/// Words without the label that programs which tell speakers apart put before them:
/// `SPEAKER_01: `, `[SPEAKER_01]: `.
fn without_speaker(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix('[').unwrap_or(text);
    let Some(rest) = inner.strip_prefix("SPEAKER_") else {
        return text;
    };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest.strip_prefix(']').unwrap_or(rest);
    rest.strip_prefix(':').map_or(text, str::trim_start)
}

/// Understands one line by itself; `None` when there are no words in it.
///
/// # Errors
/// [`LineError`] for a line that begins as one of the timed forms and breaks its rules.
pub fn parse_line(line: &str) -> Result<Option<TextLine>, LineError> {
    match line::parse(line.trim(), &mut Style::default())? {
        Parsed::Words(cues) => match cues.into_iter().find(|cue| !cue.text.is_empty()) {
            Some(cue) => cue.into_line().map(Some),
            None => Ok(None),
        },
        Parsed::Times(..) | Parsed::Partial => Ok(None),
    }
}

#[cfg(test)]
mod tests;
