//! What a program says on standard error, for the log.

use std::time::{Duration, Instant};

use crate::capture::limits;

/// Lines that are logged in a [`SPAN`]; the rest is counted.
const MOST: u32 = 20;
const SPAN: Duration = Duration::from_secs(10);

/// Cuts a program's messages into lines and logs some of them.
pub(super) struct Notes {
    program: String,
    /// The present line so far.
    line: Vec<u8>,
    last: Option<String>,
    span_began: Option<Instant>,
    logged: u32,
    withheld: u64,
}

impl Notes {
    pub(super) fn new(program: String) -> Self {
        Self {
            program,
            line: Vec::new(),
            last: None,
            span_began: None,
            logged: 0,
            withheld: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], now: Instant) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end_line(now),
                _ if self.line.len() < limits::MAX_NOTE => self.line.push(*byte),
                _ => {}
            }
        }
    }

    /// The last line that was not empty, whole or not.
    pub(super) fn last(&self) -> Option<String> {
        text(&self.line).or_else(|| self.last.clone())
    }

    fn end_line(&mut self, now: Instant) {
        let Some(text) = text(&self.line) else {
            self.line.clear();
            return;
        };
        self.line.clear();
        if self.may_log(now) {
            log::info!("{}: {text}", self.program);
        }
        self.last = Some(text);
    }

    fn may_log(&mut self, now: Instant) -> bool {
        let fresh = |began: Instant| now.duration_since(began) < SPAN;
        if !self.span_began.is_some_and(fresh) {
            if self.withheld > 0 {
                log::info!(
                    "{}: {} more lines were left out",
                    self.program,
                    self.withheld
                );
            }
            self.span_began = Some(now);
            self.logged = 0;
            self.withheld = 0;
        }
        let may = self.logged < MOST;
        self.logged += u32::from(may);
        self.withheld += u64::from(!may);
        may
    }
}

/// A line without control characters, unless nothing is left.
fn text(line: &[u8]) -> Option<String> {
    let text: String = String::from_utf8_lossy(line)
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_cleaned_and_bounded() {
        let (mut notes, now) = (Notes::new("cam".to_owned()), Instant::now());
        notes.push(b"first\n\n\x1b[1mse", now);
        assert_eq!(notes.last().as_deref(), Some("[1mse"));
        notes.push(b"cond\r\n", now);
        assert_eq!(notes.last().as_deref(), Some("[1msecond"));
        notes.push(&vec![b'x'; 10 * limits::MAX_NOTE], now);
        assert_eq!(notes.last().map(|line| line.len()), Some(limits::MAX_NOTE));
    }

    #[test]
    fn a_chatterbox_is_logged_so_many_lines_a_span() {
        let (mut notes, now) = (Notes::new("cam".to_owned()), Instant::now());
        for _ in 0..100 {
            notes.push(b"frame\n", now);
        }
        assert_eq!(
            (notes.logged, notes.withheld),
            (MOST, 100 - u64::from(MOST))
        );
        notes.push(b"frame\n", now + SPAN);
        assert_eq!((notes.logged, notes.withheld), (1, 0));
    }
}
