//! Where events go: JSON lines for programs, one readable line for people.

mod fanout;
pub mod feed;
mod tally;

use crate::event::{Aggregate, Event, Faces, Gap, Salient, Stamp, StateChange};
pub use fanout::Fanout;
use serde_json::Value;
use std::borrow::Cow;
use std::io::{self, Write};
pub use tally::Tally;

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

    /// Takes that somebody came into sight or went out of it.
    ///
    /// # Errors
    /// The output's.
    fn faces(&mut self, faces: &Faces) -> io::Result<()>;

    /// Takes counts of answers, which are told instead of them.
    ///
    /// # Errors
    /// The output's.
    fn aggregate(&mut self, aggregate: &Aggregate) -> io::Result<()>;

    /// Takes a change of a source (opened, lost, ended, skipped work).
    ///
    /// # Errors
    /// The output's.
    fn state(&mut self, change: &StateChange) -> io::Result<()>;
}

/// Something to be told, and its stamp.
#[derive(Debug, Clone, PartialEq)]
pub struct Message<'a> {
    /// Which, when and where.
    pub stamp: Stamp,
    /// What.
    pub content: Content<'a>,
}

/// What is told.
// borrowed on its way to standard output; only further receivers get one of their own
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum Content<'a> {
    /// An answer.
    Event(Cow<'a, Event>),
    /// Who is in sight.
    Faces(Cow<'a, Faces>),
    /// How often what was answered.
    Aggregate(Cow<'a, Aggregate>),
    /// What a source is now.
    State(Cow<'a, StateChange>),
}

impl Message<'_> {
    /// Whether another message replaces it in a moment.
    pub fn is_partial(&self) -> bool {
        matches!(&self.content, Content::Event(event) if event.partial)
    }

    /// The message as one JSON object.
    pub fn to_json(&self) -> Value {
        self.stamp.on(match &self.content {
            Content::Event(event) => event.to_json(),
            Content::Faces(faces) => faces.to_json(),
            Content::Aggregate(aggregate) => aggregate.to_json(),
            Content::State(change) => change.to_json(),
        })
    }

    /// The same, with content of its own.
    pub fn into_owned(self) -> Message<'static> {
        Message {
            stamp: self.stamp,
            content: match self.content {
                Content::Event(event) => Content::Event(Cow::Owned(event.into_owned())),
                Content::Faces(faces) => Content::Faces(Cow::Owned(faces.into_owned())),
                Content::Aggregate(told) => Content::Aggregate(Cow::Owned(told.into_owned())),
                Content::State(change) => Content::State(Cow::Owned(change.into_owned())),
            },
        }
    }
}

/// Somebody who is told: standard output, a file, a socket.
pub trait Receiver: Send {
    /// Takes a message, and may wait for whoever reads it.
    ///
    /// # Errors
    /// The output's.
    fn take(&mut self, message: &Message<'_>) -> io::Result<()>;
}

/// Writes lines, each flushed at once so that none is lost when the process ends.
pub struct Writer<W> {
    out: W,
    format: Format,
}

impl<W: Write + Send> Receiver for Writer<W> {
    fn take(&mut self, message: &Message<'_>) -> io::Result<()> {
        match (self.format, &message.content) {
            (Format::Json, _) => writeln!(self.out, "{}", message.to_json())?,
            (Format::Human, Content::Event(event)) => self.human(event)?,
            (Format::Human, Content::Faces(faces)) => {
                let count = faces.ids.len();
                let (came, left) = (faces.came.len(), faces.left.len());
                let sight = format!("{count} in sight, {came} came, {left} left");
                writeln!(self.out, "-- {}: faces, {sight}", faces.source)?;
            }
            (Format::Human, Content::Aggregate(told)) => {
                let counts = told.counts.iter().filter(|(_, count)| *count > 0);
                let counts: Vec<String> = counts.map(|(l, n)| format!("{l} {n}")).collect();
                let (of, answers, counts) = (&told.of, told.answers(), counts.join("  "));
                writeln!(self.out, "-- {of}: {answers} answers, {counts}")?;
            }
            (Format::Human, Content::State(change)) => {
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
        if !event.words.is_empty() {
            let words = event.words.iter();
            let words: Vec<String> = words
                .map(|w| format!("{} {:.2}", w.word, w.score))
                .collect();
            writeln!(self.out, "{:>15}  shows: {}", "", words.join(", "))?;
        }
        if let Some(recognised) = &event.recognised {
            let text = recognised.text.as_deref().map_or(String::new(), one_line);
            let confidence = recognised.confidence;
            let line = format!("heard {confidence:.2}: {text}");
            let line = line.trim_end_matches([':', ' ']);
            writeln!(self.out, "{:>15}  {line}", "")?;
        }
        for near in &event.neighbours {
            let (share, distance) = (100.0 * near.share, near.distance);
            let text = near.text.as_deref().map_or(String::new(), one_line);
            let (id, label) = (near.id, &near.label);
            let line = format!("{share:>4.0}%  {distance:.3}  {label:<14} {id}  {text}");
            writeln!(self.out, "{:>15}  {}", "", line.trim_end())?;
        }
        for entity in event.entities.iter().flatten() {
            let text = entity.text.as_deref().unwrap_or_default();
            // what is no sign moves no cursor
            let text = text.replace(char::is_control, "\u{FFFD}");
            let (kind, start, end, score) = (&entity.kind, entity.start, entity.end, entity.score);
            let place = entity.place.map_or(String::new(), |[x, y, width, height]| {
                format!(", box {width:.0} x {height:.0} at {x:.0}, {y:.0}")
            });
            let line = format!("{kind:<5} {text}  (characters {start}-{end}, {score:.2}{place})");
            writeln!(self.out, "{:>15}  {line}", "")?;
        }
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

/// A text as a line of a terminal may show it: no line breaks, no control characters.
fn one_line(text: &str) -> String {
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    text.take(100).collect()
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
    let more = if event.partial { "…" } else { "" };
    match event.task.as_str() {
        "emotion" => format!("{}{more}", event.label),
        task => format!("{task}: {}{more} ", event.label),
    }
}

fn reason(salient: &Salient) -> String {
    match salient {
        Salient::Token { token, similarity } => format!("\"{token}\" {similarity:.2}"),
        Salient::Frame { at, similarity } => format!("{at:.2} s {similarity:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Entity;

    #[test]
    fn people_read_names_with_their_type_and_characters() {
        let name = |text: Option<&str>| Entity {
            start: 4,
            end: 9,
            kind: "LOC".into(),
            score: 0.875,
            text: text.map(String::from),
            place: text.map(|_| [12.0, 40.4, 99.6, 7.0]),
        };
        let event = Event {
            task: "entities".into(),
            label: "LOC".into(),
            entities: Some(vec![name(Some("Par\u{1b}is")), name(None)]),
            ..Event::default()
        };
        let mut writer = Writer::new(Vec::new(), Format::Human);
        assert!(writer.human(&event).is_ok());
        let told = String::from_utf8_lossy(&writer.out).into_owned();
        assert!(
            told.contains("LOC   Par\u{FFFD}is  (characters 4-9, 0.88, box 100 x 7 at 12, 40)"),
            "{told}"
        );
        assert!(told.contains("LOC     (characters 4-9, 0.88)"), "{told}");
    }
}
