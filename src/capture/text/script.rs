//! Lines to sentences: what takes more than one line, in the order that the lines come.
//!
//! The same reader serves files and live streams, so it never looks further ahead than one
//! line, and goes on behind whatever it cannot read.

use std::collections::VecDeque;

use serde_json::Value;

use super::line::{self, Parsed, Style};
use super::times::Time;
use super::{Cue, LineError, json, wrong};
use crate::capture::limits;

/// Lines of words that a cue of a live stream has at most.
const MOST_LINES: u32 = 4;

/// What came of reading a line.
#[derive(Debug, PartialEq)]
pub(super) enum Item {
    /// A sentence, and the line where it stands, counted from 1.
    Cue(u64, Cue),
    /// A guess at a sentence, to be passed over.
    Partial,
    /// A line, counted from 1, that cannot be understood.
    Wrong(u64, LineError),
}

/// How the lines are to be read.
#[derive(Debug, PartialEq)]
enum Mode {
    /// The first line with words has not come.
    Start,
    /// Each stands for itself.
    Lines,
    /// Blocks of times and words: SRT, WebVTT, SubViewer.
    Cues,
    /// Cells, by the columns that the first line of a file names.
    Table(Columns),
    /// `Dialogue:` lines among others: SubStation Alpha.
    Dialogue,
}

/// Reads line after line.
#[derive(Debug)]
pub(super) struct Script {
    mode: Mode,
    style: Style,
    /// A block that says nothing: a header, a note, a style.
    passing: bool,
    /// A line that may be the name or number of the cue whose times follow.
    held: Option<(u64, String)>,
    /// The cue whose words are being read, and its line.
    cue: Option<(u64, Cue)>,
    /// Lines of words in it.
    lines: u32,
    /// Times of the last cue, for words behind an empty line in it.
    last: Option<(Time, Time)>,
    /// A JSON object over several lines, as far as it has come, and its first line.
    object: Option<(u64, String)>,
    items: VecDeque<Item>,
}

impl Script {
    pub(super) fn new(style: Style) -> Script {
        Script {
            mode: Mode::Start,
            style,
            passing: false,
            held: None,
            cue: None,
            lines: 0,
            last: None,
            object: None,
            items: VecDeque::new(),
        }
    }

    /// What has been read and not yet fetched.
    pub(super) fn next(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// Reads a line without its line break.
    pub(super) fn line(&mut self, number: u64, line: &str) {
        let line = visible(line);
        if !self.object(number, &line) {
            self.read(number, line.trim());
        }
    }

    /// Nothing more will come.
    pub(super) fn end(&mut self) {
        if let Some((number, _)) = self.object.take() {
            self.broken_object(number);
        }
        self.blank();
        // A number alone was a word after all.
        if let Some((number, held)) = self.held.take() {
            self.by_itself(number, &held);
        }
    }

    /// Whether the line belongs to a JSON object over several lines, as vosk writes: an
    /// opening brace alone, lines that are indented, a closing brace at the very left.
    fn object(&mut self, number: u64, line: &str) -> bool {
        let Some((first, text)) = &mut self.object else {
            let opens = line.trim() == "{" && matches!(self.mode, Mode::Start | Mode::Lines);
            if opens {
                self.settle(Mode::Lines);
                self.object = Some((number, line.to_owned()));
            }
            return opens;
        };
        let first = *first;
        let closes = line.starts_with('}');
        let inner = line.starts_with([' ', '\t']) && is_json(line.trim_start());
        let fits = text.len() + line.len() < limits::MAX_LINE;
        if fits && (closes || inner) {
            text.push('\n');
            text.push_str(line);
            if closes {
                let text = self.object.take().unwrap_or_default().1;
                match serde_json::from_str::<Value>(&text) {
                    Ok(value) => self.take(first, json::parse(&value)),
                    Err(_) => self.broken_object(first),
                }
            }
            return true;
        }
        self.object = None;
        self.broken_object(first);
        // This line is not to blame; it may even open the next object.
        self.object(number, line)
    }

    fn broken_object(&mut self, number: u64) {
        let broken = wrong(
            "a JSON object begins here that is none",
            r#"write {"start": seconds, "end": seconds, "text": "words"}"#,
        );
        self.take(number, broken);
    }

    /// From now on lines are read like this; what was held is read first.
    fn settle(&mut self, mode: Mode) {
        if self.mode == Mode::Start {
            self.mode = mode;
            if let Some((number, held)) = self.held.take() {
                self.by_itself(number, &held);
            }
        }
    }

    fn read(&mut self, number: u64, line: &str) {
        if line.is_empty() {
            return self.blank();
        }
        if self.passing {
            return;
        }
        match &self.mode {
            Mode::Start => self.first(number, line),
            Mode::Lines => self.by_itself(number, line),
            Mode::Cues => self.of_a_cue(number, line),
            Mode::Table(columns) => {
                let read = columns.read(line).map(|cue| Parsed::Words(vec![cue]));
                self.take(number, read);
            }
            Mode::Dialogue => {
                if let Some(cells) = line.strip_prefix("Dialogue:") {
                    let read = dialogue(cells).map(|cue| Parsed::Words(vec![cue]));
                    self.take(number, read);
                }
            }
        }
    }

    /// The first line with words, or the second if the first was a number.
    fn first(&mut self, number: u64, line: &str) {
        if self.held.is_none() {
            if line == "WEBVTT" || line.starts_with("WEBVTT ") || line.starts_with("WEBVTT\t") {
                self.mode = Mode::Cues;
                self.passing = true;
                return;
            }
            if self.style.file && line == "[Script Info]" {
                self.mode = Mode::Dialogue;
                return;
            }
            if self.style.file && (line.starts_with("<?xml") || line.starts_with("<tt")) {
                let advice = "convert it with `ffmpeg -i IN OUT.srt`";
                return self.take(number, wrong("it begins as XML, which is not read", advice));
            }
            if self.style.file
                && let Some(columns) = Columns::named(line)
            {
                self.mode = Mode::Table(columns);
                return;
            }
            if is_number(line) && (self.style.file || matches!(line, "0" | "1")) {
                self.held = Some((number, line.to_owned()));
                return;
            }
        }
        let parsed = line::parse(line, &mut self.style);
        if !matches!(parsed, Ok(Parsed::Times(..))) {
            self.settle(Mode::Lines);
        }
        self.take(number, parsed);
    }

    /// A line that stands for itself.
    fn by_itself(&mut self, number: u64, line: &str) {
        let parsed = line::parse(line, &mut self.style);
        self.take(number, parsed);
    }

    /// A line among cues: times, a cue's name, or words.
    fn of_a_cue(&mut self, number: u64, line: &str) {
        if line.contains("-->") || self.cue.is_none() {
            match line::parse(line, &mut self.style) {
                // Whatever was held was this cue's name or number.
                Ok(parsed @ Parsed::Times(..)) => {
                    self.held = None;
                    return self.take(number, Ok(parsed));
                }
                Err(error) if line.contains("-->") => {
                    self.held = None;
                    self.passing = true;
                    return self.take(number, Err(error));
                }
                _ => {}
            }
        }
        if self.cue.is_some() {
            // Where the empty line between two cues is missing, the number tells.
            self.unhold();
            if self.lines >= MOST_LINES && !self.style.file {
                self.close();
                self.mode = Mode::Lines;
                self.by_itself(number, line);
            } else if is_number(line) {
                self.held = Some((number, line.to_owned()));
            } else {
                self.words(line);
            }
            return;
        }
        let note = ["NOTE", "STYLE", "REGION"];
        if note
            .iter()
            .any(|word| line.split(' ').next() == Some(*word))
        {
            self.passing = true;
            return;
        }
        self.unhold();
        match self.mode {
            Mode::Cues => self.held = Some((number, line.to_owned())),
            _ => self.by_itself(number, line),
        }
    }

    /// What was held was neither a name nor a number, but words.
    fn unhold(&mut self) {
        let Some((number, held)) = self.held.take() else {
            return;
        };
        if self.cue.is_some() {
            return self.words(&held);
        }
        if !self.style.file {
            // Times alone among lines of words are no reason to wait for more of them.
            self.mode = Mode::Lines;
            return self.by_itself(number, &held);
        }
        let cue = match self.last {
            // Words behind an empty line inside a cue, as ffmpeg reads them.
            Some((start, end)) => Cue::new(Some(start), Some(end), &plain_text(&held)),
            None => wrong(
                "its words stand before the first times",
                "write the times on the line before the words",
            ),
        };
        self.take(number, cue.map(|cue| Parsed::Words(vec![cue])));
    }

    fn words(&mut self, line: &str) {
        if let Some((_, cue)) = &mut self.cue {
            let room = limits::MAX_LINE.saturating_sub(cue.text.len());
            let text = plain_text(line);
            if !text.is_empty() && text.len() < room {
                cue.text.push(' ');
                cue.text.push_str(&text);
                self.lines += 1;
            }
        }
    }

    /// An empty line: the end of a block.
    fn blank(&mut self) {
        self.passing = false;
        if self.mode == Mode::Cues {
            self.unhold();
            self.close();
        }
    }

    /// The cue is over.
    fn close(&mut self) {
        if let Some((number, cue)) = self.cue.take() {
            let cue = Cue::new(cue.start, cue.end, &cue.text);
            self.take(number, cue.map(|cue| Parsed::Words(vec![cue])));
        }
    }

    fn take(&mut self, number: u64, parsed: Result<Parsed, LineError>) {
        match parsed {
            Ok(Parsed::Words(cues)) => {
                let cues = cues.into_iter().filter(|cue| !cue.text.is_empty());
                self.items.extend(cues.map(|cue| Item::Cue(number, cue)));
            }
            Ok(Parsed::Times(start, end)) => {
                self.close();
                self.mode = Mode::Cues;
                self.held = None;
                self.last = Some((start, end));
                self.lines = 0;
                let cue = Cue {
                    start: Some(start),
                    end: Some(end),
                    text: String::new(),
                };
                self.cue = Some((number, cue));
            }
            Ok(Parsed::Partial) => self.items.push_back(Item::Partial),
            Err(error) => self.items.push_back(Item::Wrong(number, error)),
        }
    }
}

/// Whether a line, without its indent, may stand inside a JSON object.
fn is_json(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_digit() || "\"{}[]-".contains(c))
}

/// A cue's number, as SRT has it.
fn is_number(line: &str) -> bool {
    line.len() <= 7 && line.bytes().all(|b| b.is_ascii_digit())
}

/// What a terminal would show of a line: whisper.cpp rewrites its line as it listens.
fn visible(line: &str) -> String {
    let line = line.trim_end_matches(['\r', '\n']);
    let line = line.rsplit('\r').next().unwrap_or_default();
    let mut parts = line.split("\u{1B}[");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic());
        shown.push_str(end.map_or("", |end| &part[end + 1..]));
    }
    shown
}

/// A subtitle's words without its marks: `<i>`, `<v Name>`, `{\an8}`, `&amp;`.
fn plain_text(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['<', '{']) {
        let (before, mark) = rest.split_at(at);
        out.push_str(before);
        let is_mark = match mark.as_bytes() {
            [b'<', b'/' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9', ..] => mark.find('>'),
            [b'{', b'\\', ..] => mark.find('}'),
            _ => None,
        };
        let skipped = is_mark.map_or(1, |end| end + 1);
        if is_mark.is_none() {
            out.push_str(&mark[..1]);
        }
        rest = &mark[skipped..];
    }
    out.push_str(rest);
    for (entity, character) in [
        ("&nbsp;", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ] {
        out = out.replace(entity, character);
    }
    out
}

/// `LAYER,START,END,STYLE,NAME,MARGINS…,EFFECT,TEXT` of SubStation Alpha: nine commas.
fn dialogue(cells: &str) -> Result<Cue, LineError> {
    let cells: Vec<&str> = cells.splitn(10, ',').collect();
    let time = |column: usize| cells.get(column).and_then(|cell| Time::parse(cell));
    match (time(1), time(2), cells.get(9)) {
        (Some(start), Some(end), Some(text)) => {
            let text = plain_text(&text.replace("\\N", " ").replace("\\n", " "));
            Cue::new(Some(start), Some(end), &text)
        }
        _ => wrong(
            "its dialogue has no two times and words",
            "write Dialogue: 0,0:00:12.50,0:00:14.25,Default,,0,0,0,,words",
        ),
    }
}

/// Where a table has its times and words.
#[derive(Debug, PartialEq)]
struct Columns {
    separator: char,
    count: usize,
    start: usize,
    end: usize,
    text: usize,
}

impl Columns {
    /// Reads a first line such as `start,end,text`.
    fn named(line: &str) -> Option<Columns> {
        let separator = ['\t', ',', ';'].into_iter().find(|c| line.contains(*c))?;
        let names: Vec<String> = line
            .split(separator)
            .map(|name| name.trim().trim_matches('"').to_lowercase())
            .collect();
        let find = |wanted: &[&str]| names.iter().position(|n| wanted.contains(&n.as_str()));
        Some(Columns {
            separator,
            count: names.len(),
            start: find(&["start", "begin", "from", "onset"])?,
            end: find(&["end", "stop", "to", "offset"])?,
            text: find(&["text", "words", "transcript", "sentence"])?,
        })
    }

    fn read(&self, line: &str) -> Result<Cue, LineError> {
        let mut cells = self.cells(line);
        if self.text == self.count - 1 && cells.len() > self.count {
            // Words with the separator in them, unquoted.
            let separator = self.separator.to_string();
            let text = cells.split_off(self.text).join(&separator);
            cells.push(text);
        }
        let advice = "give every line the columns that the first one names";
        let [Some(start), Some(end), Some(text)] =
            [self.start, self.end, self.text].map(|column| cells.get(column))
        else {
            return wrong(
                format!("it has {} columns of {}", cells.len(), self.count),
                advice,
            );
        };
        match (Time::parse(start), Time::parse(end)) {
            (Some(start), Some(end)) => Cue::new(Some(start), Some(end), text),
            _ => wrong(format!("`{start}` and `{end}` are no times"), advice),
        }
    }

    /// The cells of a line; quotes may hold the separator, and a doubled quote is one.
    fn cells(&self, line: &str) -> Vec<String> {
        let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
        let mut characters = line.chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                '"' if quoted && characters.peek() == Some(&'"') => {
                    characters.next();
                    cell.push('"');
                }
                '"' if quoted || cell.trim().is_empty() => quoted = !quoted,
                c if c == self.separator && !quoted => cells.push(std::mem::take(&mut cell)),
                c => cell.push(c),
            }
        }
        cells.push(cell);
        cells
    }
}
