//! From a picture and its words to events; what `analyze` and `run` share.

use super::answer::{Manner, Tasks, labelled};
use crate::Error;
use crate::decision::{Smoother, choose};
use crate::event::{Event, Face, Latency, Modality};
use crate::model::Bundle;
use crate::model::manifest::Task;
use crate::tasks::expression::Expression;
use crate::tasks::sentiment::{Attention, Sentiment};
use crate::tasks::words::TextTrunk;
use crate::vision::Picture;
use crate::vision::faces::Found;
use crate::vision::track::Tracker;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Faces of a picture whose expression is judged, the most certain ones.
const MAX_JUDGED: usize = 16;

/// The tasks that look at pictures, with what they remember between frames.
pub struct Pictures {
    sentiment: Option<Sentiment>,
    expression: Option<Expression>,
    tracker: Tracker,
    smoothers: HashMap<u32, Smoother>,
    /// Faces are looked at for emotion too; these say what is told of them.
    tasks: Tasks,
    manner: Manner,
}

/// A face with what it shows.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Where, and its number.
    pub face: Face,
    /// Probabilities of the expressions, in the bundle's order.
    pub scores: Vec<f32>,
}

/// What a look at a picture gave.
#[derive(Debug, Default)]
pub struct Look {
    /// One event a face.
    pub events: Vec<Event>,
    /// The faces, most certain first.
    pub faces: Vec<Shown>,
}

impl Look {
    /// The face that takes up most of the picture: who stands in front of the camera.
    pub fn nearest(&self) -> Option<&Shown> {
        let area = |s: &Shown| s.face.place[2] * s.face.place[3];
        self.faces.iter().max_by(|a, b| area(a).total_cmp(&area(b)))
    }
}

/// A sentiment with what the words looked at.
#[derive(Debug)]
pub struct Felt {
    /// The answer.
    pub event: Event,
    /// Tokens of the words.
    pub tokens: Vec<String>,
    /// Of the text-guided head.
    pub attention: Option<Attention>,
}

impl Pictures {
    /// Answers once about nothing, so that every model is warm and known to work.
    ///
    /// # Errors
    /// A model that fails.
    pub fn rehearse(&mut self) -> Result<(), Error> {
        if let Some(sentiment) = &mut self.sentiment {
            sentiment.rehearse()?;
        }
        if let Some(expression) = &mut self.expression {
            expression.rehearse()?;
        }
        Ok(())
    }

    /// Loads what the tasks need; the text trunk is shared with `trunk` where it is the same.
    ///
    /// # Errors
    /// A bundle that is missing or refused.
    pub fn load(
        models: Option<&Path>,
        manner: &Manner,
        tasks: Tasks,
        trunk: Option<&Arc<TextTrunk>>,
    ) -> Result<Self, Error> {
        let sentiment = || Sentiment::load(&Bundle::find(Task::Sentiment, models)?, trunk);
        let expression = || Expression::load(&Bundle::find(Task::Expression, models)?);
        Ok(Pictures {
            sentiment: tasks.sentiment.then(sentiment).transpose()?,
            expression: (tasks.expression || tasks.emotion)
                .then(expression)
                .transpose()?,
            tracker: Tracker::default(),
            smoothers: HashMap::new(),
            tasks,
            manner: manner.clone(),
        })
    }

    /// A new stream: numbers of faces go on, but none is taken for one of before.
    pub fn restart(&mut self) {
        self.tracker.forget();
        self.smoothers.clear();
    }

    /// Sentiment of a picture, words, or both; `None` when neither holds anything to go by, or
    /// the task is off.
    ///
    /// # Errors
    /// A model that fails.
    pub fn sentiment(
        &mut self,
        source: &str,
        picture: Option<(&Picture, f64)>,
        words: Option<&str>,
        at: Option<f64>,
    ) -> Result<Option<Felt>, Error> {
        let Some(task) = &mut self.sentiment else {
            return Ok(None);
        };
        let mut encodings = task.encode(picture.map(|p| p.0), words)?;
        encodings.latency.decode = picture.map(|p| p.1);
        let Some(answer) = task.answer(&encodings)? else {
            return Ok(None);
        };
        let below = self.manner.unsure_below;
        let below = below.unwrap_or(task.decision().unsure_below);
        let label = choose(&answer.scores, below).map_or("unsure", |i| &task.labels()[i]);
        let mut notes = Vec::new();
        match (answer.modality.image, answer.modality.text) {
            (true, false) => notes.push("no words: image-only head".into()),
            (false, true) => notes.push("no picture: text-only head".into()),
            _ => {}
        }
        if encodings.text.as_ref().is_some_and(|t| t.truncated) {
            notes.push("text is longer than the model takes: its beginning was judged".into());
        }
        let event = Event {
            task: Task::Sentiment.name(),
            source: source.into(),
            start: at,
            end: at,
            label: label.into(),
            scores: labelled(task.labels(), &answer.scores),
            smoothed: None,
            modality: answer.modality,
            bundle: task.bundle().into(),
            latency: answer.latency,
            face: None,
            gaps: Vec::new(),
            notes,
            explain: None,
        };
        let tokens = encodings.text.map_or(Vec::new(), |t| t.tokens.clone());
        Ok(Some(Felt {
            event,
            tokens,
            attention: answer.attention,
        }))
    }

    /// Faces of a picture and what they show, without events if that task is off; `decode` is
    /// what decoding took, in milliseconds.
    ///
    /// # Errors
    /// A model that fails.
    pub fn look(
        &mut self,
        source: &str,
        picture: &Picture,
        decode: f64,
        at: Option<f64>,
    ) -> Result<Look, Error> {
        let Some(task) = &mut self.expression else {
            return Ok(Look::default());
        };
        let mut latency = Latency {
            decode: Some(decode),
            ..Latency::default()
        };
        let found = task.detect(picture, &mut latency)?;
        let places: Vec<_> = found.iter().map(|f| f.place).collect();
        let ids = self.tracker.update(&places);
        self.smoothers.retain(|id, _| self.tracker.follows(*id));
        let mut look = Look::default();
        for (found, id) in found.iter().zip(ids).take(MAX_JUDGED) {
            let mut latency = latency;
            let scores = task.of_face(picture, found, &mut latency)?;
            let smooth = self.manner.smooth;
            let smoother = self.smoothers.entry(id);
            let smoothed = smoother
                .or_insert_with(|| Smoother::new(smooth))
                .push(at.unwrap_or(0.0), &scores);
            let face = face(found, id);
            let seen = Seen {
                face,
                scores: &scores,
                smoothed: smoothed.as_deref(),
                latency,
                at,
            };
            if self.tasks.expression {
                look.events.push(event(task, &self.manner, source, seen));
            }
            look.faces.push(Shown { face, scores });
        }
        if let Some(event) = look.events.first_mut().filter(|_| found.len() > MAX_JUDGED) {
            event.notes.push(format!(
                "{} faces were found; the {MAX_JUDGED} most certain ones were judged",
                found.len()
            ));
        }
        Ok(look)
    }

    /// What a face says in the classes of another task; see [`Expression::as_emotion`].
    pub fn as_emotion(&self, shown: &Shown, labels: &[String]) -> Option<Vec<f32>> {
        let task = self.expression.as_ref()?;
        Some(task.as_emotion(&shown.scores, labels))
    }
}

/// A judged face, on its way into an event.
struct Seen<'a> {
    face: Face,
    scores: &'a [f32],
    smoothed: Option<&'a [f32]>,
    latency: Latency,
    at: Option<f64>,
}

fn event(task: &Expression, manner: &Manner, source: &str, seen: Seen<'_>) -> Event {
    let below = manner.unsure_below.unwrap_or(task.decision().unsure_below);
    let decisive = seen.smoothed.unwrap_or(seen.scores);
    Event {
        task: Task::Expression.name(),
        source: source.into(),
        start: seen.at,
        end: seen.at,
        label: choose(decisive, below).map_or("unsure".into(), |i| task.labels()[i].clone()),
        scores: labelled(task.labels(), seen.scores),
        smoothed: seen.smoothed.map(|s| labelled(task.labels(), s)),
        modality: Modality {
            face: true,
            ..Modality::default()
        },
        bundle: task.bundle().into(),
        latency: seen.latency,
        face: Some(seen.face),
        gaps: Vec::new(),
        notes: Vec::new(),
        explain: None,
    }
}

fn face(found: &Found, id: u32) -> Face {
    let place = found.place;
    Face {
        id,
        place: [place.x, place.y, place.width, place.height],
        score: found.score,
    }
}
