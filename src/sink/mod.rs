//! Where events go: JSON lines for programs, one readable line for people.

use crate::event::{Event, Gap, Salient, StateChange};
use std::io::{self, Write};

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// One line a person can read.
    Human,
}

/// Takes what comes out, in order.
pub trait Sink: Send {
    /// Takes one answer.
    ///
    /// # Errors
    /// The output's.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// Takes a change of a source (opened, lost, ended, skipped work).
    ///
    /// # Errors
    /// The output's.
    fn state(&mut self, change: &StateChange) -> io::Result<()>;
}

/// Writes lines, each flushed at once so that none is lost when the process ends.
pub struct Writer<W> {
    out: W,
    format: Format,
}

impl<W: Write + Send> Sink for Writer<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match self.format {
            Format::Json => writeln!(self.out, "{}", event.to_json())?,
            Format::Human => self.human(event)?,
        }
        self.out.flush()
    }

    fn state(&mut self, change: &StateChange) -> io::Result<()> {
        match self.format {
            Format::Json => writeln!(self.out, "{}", change.to_json())?,
            Format::Human => {
                let (state, detail) = (change.state.name(), &change.detail);
                let comma = if detail.is_empty() { "" } else { ", " };
                writeln!(self.out, "-- {}: {state}{comma}{detail}", change.source)?;
            }
        }
        self.out.flush()
    }
}

impl<W: Write> Writer<W> {
    /// Writes to `out`.
    pub fn new(out: W, format: Format) -> Self {
        Writer { out, format }
    }

    fn human(&mut self, event: &Event) -> io::Result<()> {
        let shown = event.smoothed.as_ref().unwrap_or(&event.scores);
        let scores: Vec<String> = shown
            .iter()
            .map(|(label, p)| format!("{label} {p:.2}"))
            .collect();
        writeln!(
            self.out,
            "{:>15}  {:<8} {}  ({}, {:.0} ms)",
            span(event),
            answer(event),
            scores.join("  "),
            event.modality.name(),
            event.latency.total()
        )?;
        for note in &event.notes {
            writeln!(self.out, "{:>15}  note: {note}", "")?;
        }
        for Gap { at, seconds } in &event.gaps {
            writeln!(
                self.out,
                "{:>15}  gap: {seconds:.3} s of sound missing at {at:.2} s",
                ""
            )?;
        }
        if let Some(explain) = &event.explain {
            let salient: Vec<String> = explain
                .tokens
                .iter()
                .chain(&explain.frames)
                .map(reason)
                .collect();
            writeln!(self.out, "{:>15}  because: {}", "", salient.join(", "))?;
        }
        Ok(())
    }
}

/// When, or about what.
fn span(event: &Event) -> String {
    match (event.start, event.end, event.face) {
        (Some(start), Some(end), _) if end > start => format!("{start:.2}-{end:.2} s"),
        (Some(at), _, Some(face)) => format!("{at:.2} s, face {}", face.id),
        (Some(at), ..) => format!("{at:.2} s"),
        (None, _, Some(face)) => format!("face {}", face.id),
        (None, _, None) if event.modality.image => "picture".into(),
        _ => "text".into(),
    }
}

/// The answer; of other tasks than emotion with the task's name.
fn answer(event: &Event) -> String {
    match event.task.as_str() {
        "emotion" => event.label.clone(),
        task => format!("{task}: {} ", event.label),
    }
}

fn reason(salient: &Salient) -> String {
    match salient {
        Salient::Token { token, similarity } => format!("\"{token}\" {similarity:.2}"),
        Salient::Frame { at, similarity } => format!("{at:.2} s {similarity:.2}"),
    }
}
