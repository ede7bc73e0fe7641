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
mod times;
mod transcript;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::background::{Background, forward};
use super::{CaptureError, Source, limits};
use line::{Parsed, Style};
use script::{Item, Script};
use times::Time;
pub use transcript::{in_order, read_transcript};

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

/// A live stream of lines; [`Source::poll`] reads, so it is for threads. Whenever it passed
/// something over it says "not yet", so that its [`report`](TextSource::report) can be read.
pub struct TextReader<R> {
    reader: BufReader<R>,
    name: String,
    line: u64,
    bytes: Vec<u8>,
    script: Script,
    report: TextReport,
    ended: bool,
}

impl<R: Read> TextReader<R> {
    /// Reads `reader`; `name` is what messages call it.
    pub fn new(reader: R, name: String) -> Self {
        Self {
            reader: BufReader::new(reader),
            name,
            line: 0,
            bytes: Vec::new(),
            script: Script::new(Style::default()),
            report: TextReport::default(),
            ended: false,
        }
    }

    fn next_line(&mut self) -> nb::Result<Option<TextLine>, CaptureError> {
        loop {
            match self.script.next() {
                Some(Item::Cue(number, cue)) => match cue.into_line() {
                    Ok(line) => return Ok(Some(line)),
                    Err(error) => return Err(self.skip(number, &error)),
                },
                Some(Item::Wrong(number, error)) => return Err(self.skip(number, &error)),
                Some(Item::Partial) => {
                    self.report.partial += 1;
                    return Err(nb::Error::WouldBlock);
                }
                None if self.ended => return Ok(None),
                None => self.read_line()?,
            }
        }
    }

    /// Reads the next line into the script.
    fn read_line(&mut self) -> nb::Result<(), CaptureError> {
        if !self.fill().map_err(nb::Error::Other)? {
            self.ended = true;
            self.script.end();
            return Ok(());
        }
        let bytes = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        if bytes.len() > limits::MAX_LINE {
            self.pass_rest().map_err(nb::Error::Other)?;
            return Err(self.skip(self.line, &LineError::too_long()));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                // Editors on other systems put a mark before the first line.
                let first = self.line == 1;
                let text = match first {
                    true => text.trim_start_matches('\u{FEFF}'),
                    false => text,
                };
                self.script.line(self.line, text);
                Ok(())
            }
            Err(error) => {
                let error = LineError::not_utf8(error.valid_up_to() + 1);
                Err(self.skip(self.line, &error))
            }
        }
    }

    /// Counts a line that is passed over.
    fn skip(&mut self, line: u64, error: &LineError) -> nb::Error<CaptureError> {
        self.report.skipped += 1;
        self.report.last = format!("{}, line {line}: {error}", self.name);
        nb::Error::WouldBlock
    }

    /// Reads a line into `bytes`, of one that is too long only the beginning; `false` at the
    /// end.
    fn fill(&mut self) -> Result<bool, CaptureError> {
        self.bytes.clear();
        self.line += 1;
        self.read_until_break(limits::MAX_LINE as u64 + 1)
    }

    /// Reads the rest of a line that is too long.
    fn pass_rest(&mut self) -> Result<(), CaptureError> {
        while self.bytes.last() != Some(&b'\n') {
            self.bytes.clear();
            if !self.read_until_break(1 << 16)? {
                break;
            }
        }
        Ok(())
    }

    fn read_until_break(&mut self, most: u64) -> Result<bool, CaptureError> {
        let mut part = self.reader.by_ref().take(most);
        let read = part.read_until(b'\n', &mut self.bytes);
        let read = read.map_err(|source| CaptureError::read(&self.name, source))?;
        Ok(read > 0)
    }
}

impl<R: Read> Source for TextReader<R> {
    type Item = TextLine;

    fn poll(&mut self) -> nb::Result<Option<TextLine>, CaptureError> {
        let polled = self.next_line();
        self.ended |= matches!(polled, Err(nb::Error::Other(_)));
        polled
    }
}

impl<R: Read + Send> TextSource for TextReader<R> {
    fn report(&self) -> TextReport {
        self.report.clone()
    }
}

/// Lines from a pipe.
struct Piped {
    lines: Background<TextLine>,
    report: Arc<Mutex<TextReport>>,
}

impl Piped {
    fn spawn<R: Read + 'static>(
        name: String,
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> Piped {
        let report = Arc::new(Mutex::new(TextReport::default()));
        let shared = Arc::clone(&report);
        let lines = Background::spawn(limits::QUEUE, move |sender| match open() {
            Ok(reader) => forward(&mut TextReader::new(reader, name), sender, |reader| {
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if *shared != reader.report {
                    *shared = reader.report.clone();
                }
            }),
            Err(source) => drop(sender.send(Err(CaptureError::Open { name, source }))),
        });
        Piped { lines, report }
    }
}

impl Source for Piped {
    type Item = TextLine;

    fn poll(&mut self) -> nb::Result<Option<TextLine>, CaptureError> {
        self.lines.poll()
    }
}

impl TextSource for Piped {
    fn report(&self) -> TextReport {
        let report = self.report.lock();
        report.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Follows words as they come, from a pipe or device, or from standard input (`-`), in a
/// thread of its own, so that polling never waits. What cannot be opened is told when it is polled.
#[must_use]
pub fn open_text(path: &Path) -> Box<dyn TextSource> {
    if path == Path::new("-") {
        let name = "standard input".to_owned();
        return Box::new(Piped::spawn(name, || Ok(io::stdin())));
    }
    let (name, path) = (path.display().to_string(), path.to_owned());
    Box::new(Piped::spawn(name, move || File::open(path)))
}

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

    fn line(start: f64, end: f64, text: &str) -> TextLine {
        let time = |s| Some(Duration::from_secs_f64(s));
        TextLine {
            start: time(start),
            end: time(end),
            text: text.to_owned(),
        }
    }

    fn plain(text: &str) -> TextLine {
        TextLine {
            text: text.to_owned(),
            ..TextLine::default()
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

    /// A file: its lines, or the sentence of the first that is wrong.
    fn file(bytes: impl AsRef<[u8]>) -> Result<Vec<TextLine>, String> {
        read_transcript(bytes.as_ref(), "words").map_err(|error| error.to_string())
    }

    /// A live stream: its lines, and what was passed over.
    fn live(bytes: impl AsRef<[u8]>) -> (Vec<String>, TextReport) {
        let mut reader = TextReader::new(bytes.as_ref(), "words".to_owned());
        let mut lines = Vec::new();
        loop {
            match reader.poll() {
                Ok(Some(line)) => lines.push(line.text),
                Ok(None) => return (lines, reader.report()),
                Err(nb::Error::WouldBlock) => {}
                Err(nb::Error::Other(error)) => panic!("{error}"),
            }
        }
    }

    /// What the forms below all say.
    fn angry_then_sad() -> Vec<TextLine> {
        vec![
            line(0.4, 3.29, "I told you twice, stop it!"),
            line(4.29, 9.02, "I miss her so much."),
        ]
    }

    #[test]
    fn transcripts_of_every_form_say_the_same() {
        let forms = [
            (
                "ours",
                "0.4 3.29 I told you twice, stop it!\n4.29 9.02 I miss her so much.\n",
            ),
            (
                "decimal commas",
                "0,4 3,29 I told you twice, stop it!\n4,29 9,02 I miss her so much.\n",
            ),
            (
                "commas that look like thousands",
                "0,400 3,290 I told you twice, stop it!\n4,290 9,020 I miss her so much.\n",
            ),
            (
                "tabs and commas",
                "0,4\t3,29\tI told you twice, stop it!\n4,29\t9,02\tI miss her so much.\n",
            ),
            (
                "Audacity's labels",
                "0.400000\t3.290000\tI told you twice, stop it!\n4.290000\t9.020000\tI miss her so much.\n",
            ),
            (
                "whisper",
                "[00:00.400 --> 00:03.290]  I told you twice, stop it!\n[00:04.290 --> 00:09.020]  I miss her so much.\n",
            ),
            (
                "whisper with what it says before",
                "Detecting language using up to the first 30 seconds. Use `--language` to specify the language\nDetected language: English\n[00:00.400 --> 00:03.290]  I told you twice, stop it!\n[00:04.290 --> 00:09.020]  I miss her so much.\n",
            ),
            (
                "whisper.cpp",
                "\n[00:00:00.400 --> 00:00:03.290]   I told you twice, stop it!\n[00:00:03.290 --> 00:00:04.290]   [BLANK_AUDIO]\n[00:00:04.290 --> 00:00:09.020]   I miss her so much.\n\n",
            ),
            (
                "faster-whisper's example",
                "[0.40s -> 3.29s] I told you twice, stop it!\n[4.29s -> 9.02s] I miss her so much.\n",
            ),
            (
                "speakers one after the other",
                "[4.29-9.02] SPEAKER_00: I miss her so much.\n[0.4-3.29] [SPEAKER_01]: I told you twice, stop it!\n",
            ),
            (
                "SRT",
                "1\n00:00:00,400 --> 00:00:03,290\nI told you twice, stop it!\n\n2\n00:00:04,290 --> 00:00:09,020\nI miss her so much.\n",
            ),
            (
                "SRT of Windows",
                "\u{FEFF}1\r\n00:00:00,400 --> 00:00:03,290\r\nI told you twice,\r\nstop it!\r\n\r\n2\r\n00:00:04,290 --> 00:00:09,020\r\n<i>I miss her</i> so much.\r\n",
            ),
            (
                "SRT without empty lines or numbers",
                "00:00:00.400 --> 00:00:03.290\nI told you twice, stop it!\n00:00:04.290 --> 00:00:09.020\n{\\an8}I miss her so much.",
            ),
            (
                "SRT without empty lines",
                "1\n00:00:00,400-->00:00:03,290\nI told you twice, stop it!\n2\n00:00:04,290 --> 00:00:09,020 X1:1 X2:2 Y1:3 Y2:4\nI miss her so much.",
            ),
            (
                "SRT out of order",
                "2\n00:00:04,290 --> 00:00:09,020\nI miss her so much.\n\n1\n00:00:00,400 --> 00:00:03,290\nI told you twice, stop it!\n",
            ),
            (
                "SRT with an empty line in a cue",
                "1\n00:00:00,400 --> 00:00:03,290\nI told you twice, stop it!\n\n2\n00:00:04,290 --> 00:00:09,020\n\nI miss her so much.\n",
            ),
            (
                "WebVTT",
                "WEBVTT - talk\nKind: captions\n\nNOTE made by hand\nof somebody\n\nSTYLE\n::cue { color: red }\n\nfirst\n00:00.400 --> 00:03.290 align:start position:0%\n<v Ann>I told you <c.loud>twice</c>, stop it!\n\n00:00:04.290 --> 00:00:09.020\nI miss her so much.\n",
            ),
            (
                "SubStation Alpha",
                "[Script Info]\nTitle: talk\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\nDialogue: 0,0:00:00.40,0:00:03.29,Default,,0,0,0,,I told you twice,\\Nstop it!\nDialogue: 0,0:00:04.29,0:00:09.02,Default,,0,0,0,,{\\i1}I miss her{\\i0} so much.\n",
            ),
            (
                "a service's JSON",
                r#"{"text": "x", "utterances": [{"start": 400, "end": 3290, "text": "I told you twice, stop it!"}, {"start": 4290, "end": 9020, "text": "I miss her so much."}]}"#,
            ),
            (
                "SubViewer",
                "0:00:00.400,0:00:03.290\nI told you twice, stop it!\n\n0:00:04.290,0:00:09.020\nI miss her so much.\n",
            ),
            (
                "whisper's TSV",
                "start\tend\ttext\n400\t3290\tI told you twice, stop it!\n4290\t9020\tI miss her so much.\n",
            ),
            (
                "whisper.cpp's CSV",
                "start,end,text\n400,3290,\"I told you twice, stop it!\"\n4290,9020,\"I miss her so much.\"\n",
            ),
            (
                "a table in seconds",
                "speaker;start;end;text\nAnn;0,4;3,29;I told you twice, stop it!\nAnn;4,29;9,02;I miss her so much.\n",
            ),
            (
                "milliseconds in columns",
                "400 3290 I told you twice, stop it!\n4290 9020 I miss her so much.\n",
            ),
            (
                "JSON lines",
                "{\"start\": 0.4, \"end\": 3.29, \"text\": \"I told you twice, stop it!\"}\n{\"start\": 4.29, \"end\": 9.02, \"text\": \"I miss her so much.\"}\n",
            ),
            (
                "whisper's JSON",
                r#"{"text": " all of it", "segments": [{"id": 0, "start": 0.4, "end": 3.29, "text": " I told you twice, stop it!", "tokens": [1]}, {"id": 1, "start": 4.29, "end": 9.02, "text": " I miss her so much."}], "language": "en"}"#,
            ),
            (
                "whisper.cpp's JSON",
                "{\n\t\"systeminfo\": \"x\",\n\t\"transcription\": [\n\t\t{\"timestamps\": {\"from\": \"00:00:00,400\", \"to\": \"00:00:03,290\"}, \"offsets\": {\"from\": 400, \"to\": 3290}, \"text\": \" I told you twice, stop it!\"},\n\t\t{\"offsets\": {\"from\": 4290, \"to\": 9020}, \"text\": \" I miss her so much.\"}\n\t]\n}\n",
            ),
            (
                "Transformers",
                r#"{"text": "x", "chunks": [{"timestamp": [0.4, 3.29], "text": " I told you twice, stop it!"}, {"timestamp": [4.29, 9.02], "text": " I miss her so much."}]}"#,
            ),
            (
                "a JSON list",
                r#"[{"start": "00:00:00.400", "end": "00:00:03.290", "text": "I told you twice, stop it!"}, {"start": "00:00:04.290", "end": "00:00:09.020", "text": "I miss her so much."}]"#,
            ),
            (
                "vosk",
                "{\n  \"partial\" : \"i told\"\n}\n{\n  \"result\" : [{\n      \"conf\" : 1.0,\n      \"end\" : 1.0,\n      \"start\" : 0.4,\n      \"word\" : \"i\"\n    }, {\n      \"end\" : 3.29,\n      \"start\" : 3.0,\n      \"word\" : \"it\"\n    }],\n  \"text\" : \"I told you twice, stop it!\"\n}\n{\"result\": [{\"start\": 4.29, \"end\": 9.02, \"word\": \"i\"}], \"text\": \"I miss her so much.\"}\n",
            ),
        ];
        for (who, text) in forms {
            assert_eq!(file(text), Ok(angry_then_sad()), "{who}");
            let bytes: Vec<u8> = "\u{FEFF}"
                .encode_utf16()
                .chain(text.trim_start_matches('\u{FEFF}').encode_utf16())
                .flat_map(u16::to_le_bytes)
                .collect();
            assert_eq!(file(bytes), Ok(angry_then_sad()), "{who} in UTF-16");
        }
    }

    #[test]
    fn live_streams_of_recognisers_give_their_sentences() {
        for (who, text, partial) in [
            (
                "whisper.cpp",
                "\u{1B}[2K\r \r\u{1B}[2K\r[00:00:00.400 --> 00:00:03.290]  one\n[00:00:04.290 --> 00:00:09.020]  two\n",
                0,
            ),
            (
                "vosk's server",
                "{\"partial\" : \"o\"}\n{\"text\" : \"one\"}\n{\"partial\" : \"\"}\n{\"text\": \"\"}\n{\"text\" : \"two\"}\n",
                2,
            ),
            (
                "vosk's library",
                "{\n  \"partial\" : \"o\"\n}\n{\n  \"text\" : \"one\"\n}\n{\n  \"text\" : \"two\"\n}\n",
                1,
            ),
            (
                "final or not",
                "{\"text\": \"o\", \"is_final\": false}\n{\"text\": \"one\", \"is_final\": true}\n{\"text\": \"two\", \"final\": true}\n",
                1,
            ),
            (
                "subtitles",
                "1\n00:00:00,400 --> 00:00:03,290\none\n\n2\n00:00:04,290 --> 00:00:09,020\ntwo\n",
                0,
            ),
        ] {
            let (lines, report) = live(text);
            assert_eq!(lines, ["one", "two"], "{who}");
            assert_eq!((report.skipped, report.partial), (0, partial), "{who}");
        }
    }

    #[test]
    fn numbers_alone_are_words_too() {
        assert_eq!(live("1\n2\n3").0, ["1", "2", "3"]);
        assert_eq!(live("7\nseven").0, ["7", "seven"]);
        let texts = |text: &str| -> Vec<String> {
            file(text)
                .unwrap_or_default()
                .into_iter()
                .map(|l| l.text)
                .collect()
        };
        assert_eq!(texts("1\n2\n3"), ["1", "2", "3"]);
        assert_eq!(
            texts("1,000 2,000 people came"),
            ["1,000 2,000 people came"]
        );
        assert_eq!(texts("2 3 times I told you"), ["2 3 times I told you"]);
        assert_eq!(texts("a <3 b & {c} --> d"), ["a <3 b & {c} --> d"]);
    }

    #[test]
    fn a_file_that_breaks_its_form_is_refused_by_the_line() {
        for (text, words) in [
            (
                "1\n00:00:00,400 --> 00:00:03,290\none\n\n2\n00:00:xx,290 --> 00:00:09,020\ntwo\n",
                "line 6: `00:00:xx,290 --> 00:00:09,020` are no two times",
            ),
            ("1\n00:75:00,400 --> 00:76:03,290\none\n", "line 2: "),
            (
                "WEBVTT\n\n00:04.000 --> 00:03.000\none\n",
                "line 3: it ends before it begins",
            ),
            (
                "WEBVTT\n\nhello there\nyou\n",
                "line 3: its words stand before the first times",
            ),
            (
                "one\n[00:00:05.000 --> 00:00:02.000] two",
                "line 2: it ends before",
            ),
            (
                "start\tend\ttext\n0\t1\ta\n2\t3\n",
                "line 3: it has 2 columns of 3",
            ),
            (
                "start,end,text\nlater,1,a\n",
                "line 2: `later` and `1` are no times",
            ),
            (
                "{\n  \"text\" : \n}\nwords\n",
                "line 1: a JSON object begins here that is none",
            ),
            (
                "one\n{\"words\": 1}\n",
                "line 2: it has no \"text\" of words",
            ),
            ("<?xml version='1.0'?><tt/>", "line 1: it begins as XML"),
            (
                "[Script Info]\nDialogue: 0,soon,0:00:03.29,,,0,0,0,,a",
                "line 2: its dialogue has",
            ),
            ("[{\"start\": 1}]", "line 1: it has no \"text\""),
            ("one\n0.0 99999999.0 two", "line 2: 99999999 is no time"),
        ] {
            let sentence = file(text).err().unwrap_or_default();
            assert!(sentence.contains(words), "{text:?}: {sentence}");
        }
    }

    #[test]
    fn the_same_in_a_live_stream_is_passed_over_and_counted() {
        let bad: [&[u8]; 12] = [
            b"{\"text\": \"no",
            b"{\"start\": 1}",
            b"[5.0-2.0] a",
            b"10.5 9 it was so close",
            b"1.0 99999999 a",
            b"th\xFFree",
            b"00:00:xx,400 --> 00:00:03,290",
            b"{",
            b"{]",
            b"[00:00:05.000 --> 00:00:02.000] two",
            b"\xFF\xFE",
            b"{\"text\": 5}",
        ];
        let (mut bytes, mut good) = (Vec::new(), Vec::new());
        for i in 0..10_000 {
            bytes.extend(bad[i % bad.len()]);
            let words = format!("good number {i}");
            bytes.extend(format!("\n{words}\n").bytes());
            good.push(words);
        }
        let (lines, report) = live(bytes);
        // Words of bad times belong to them; every sentence of its own is there.
        assert_eq!(lines.len(), good.len());
        assert_eq!(lines, good);
        assert_eq!(report.skipped, 10_000);
        assert!(report.last.starts_with("words, line 19999: "), "{report:?}");
    }

    #[test]
    fn stray_times_do_not_swallow_a_live_stream() {
        let stray = "0:10.0 --> 0:12.0\n";
        let text = format!("one\n{stray}two\nthree\nfour\nfive\nsix\n{stray}\nseven\neight\n");
        let (lines, _) = live(text);
        assert_eq!(lines.join(" "), "one two three four five six seven eight");
    }

    #[test]
    fn a_file_with_mark_empty_lines_and_no_last_newline() {
        let lines = file("\u{FEFF}one\r\n\n  \ntwo\n1.0 2.0 three").unwrap_or_default();
        let texts: Vec<_> = lines.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(texts, ["one", "two", "three"]);
    }

    #[test]
    fn the_line_that_is_not_utf8_is_named() {
        let error = file(b"one\ntwo\nth\xFFree\nfour\n")
            .err()
            .unwrap_or_default();
        assert!(
            error.contains("words, line 3") && error.contains("byte 3"),
            "{error}"
        );
    }

    #[test]
    fn ten_thousand_words_are_read_and_two_million_bytes_are_not() {
        let long = "word ".repeat(10_000);
        let lines = file(&long).unwrap_or_default();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].text.split(' ').count(), 10_000);
        let too_long = "ab".repeat(1 << 20);
        let error = file(&too_long).err().unwrap_or_default();
        assert!(error.contains("longer than 1048576 bytes"), "{error}");
        let (lines, report) = live(format!("one\n{too_long}\ntwo"));
        assert_eq!((lines.len(), report.skipped), (2, 1));
        assert!(report.last.contains("line 2: it is longer"), "{report:?}");
        let exact = format!("{}\nb", "a".repeat(limits::MAX_LINE));
        assert_eq!(file(&exact).map(|lines| lines.len()), Ok(2));
        assert_eq!(live(&exact).0.len(), 2, "exactly the limit is allowed");
    }

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
