//! Words as they come: lines of a pipe or device, what is broken among them passed over.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::line::Style;
use super::script::{Item, Script};
use super::{LineError, TextLine, TextReport, TextSource};
use crate::capture::background::{Background, forward};
use crate::capture::{CaptureError, Source, limits};

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
