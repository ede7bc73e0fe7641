//! A task: the trunks and heads that a manifest names, with what it remembers over time.

mod encode;
mod evidence;
mod faces;
mod load;
mod notes;
mod pointing;
pub(in crate::session) mod study;

use super::heads::{Head, HeadInput, Reply};
use super::heads::{spans, spans::Found as Named};
use super::observation::{Observation, Scene};
use super::trunks::{Encoding, Handle, Trunks, timed};
use super::{FaceSearch, Gated, Nearest, Options, Transcript, Verdict};
use crate::decision::{Smoother, choose, top};
use crate::event::{Entity, Event, Evidence, Face, Gap, Latency, Modality, Recognised, Word};
use crate::model::manifest::{self, Manifest, Trunk};
use crate::model::{self, ModelError};
use crate::signal::segment::{self, Utterance};
use faces::{face_alone, late_fusion};
use notes::{LATE_NOTE, PRINT_NOTE, doubt, flaws};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The label of an answer that no class is certain enough for.
pub const UNSURE: &str = "unsure";

/// What a task sees of the session while it answers.
pub(super) struct Context<'a> {
    pub trunks: &'a mut Trunks,
    pub options: &'a Options,
    /// What was said before, oldest first.
    pub history: &'a [String],
    /// What the nearest face last showed, by the task that said so.
    pub nearest: &'a HashMap<String, Nearest>,
    /// What a recogniser heard, where one was asked.
    pub heard: Option<&'a Transcript>,
}

/// A task's answers about an observation.
#[derive(Default)]
pub(super) struct Answers {
    pub events: Vec<Event>,
    /// The face that takes up most of the image, with its scores.
    pub nearest: Option<(Face, Vec<f32>)>,
}

/// A task, ready to answer.
pub(super) struct Task {
    bundle: String,
    manifest: Manifest,
    handles: BTreeMap<Trunk, Handle>,
    /// In the order of the manifest; `None` for ablations that nobody asked for.
    heads: Vec<Option<Box<dyn Head>>>,
    smoother: Smoother,
    faces: HashMap<u32, Smoother>,
}

/// What the trunks made of an observation, and what became of the rest.
#[derive(Default)]
struct Encoded {
    by: BTreeMap<Trunk, Arc<Encoding>>,
    latency: Latency,
    notes: Vec<String>,
    /// There was an image, and it showed one colour, or nothing but print where nothing else
    /// was there to judge.
    blank: bool,
}

impl Encoded {
    /// The words for what the image shows, as the text trunk reads them.
    fn shown(&self) -> Option<String> {
        let words = self.by.get(&Trunk::Seen)?.words.iter();
        Some(words.map(|w| w.word.as_str()).collect::<Vec<_>>().join(" "))
    }
}

impl Task {
    /// Another stream: moving averages start afresh.
    pub fn restart(&mut self, options: &Options) {
        self.smoother = Smoother::new(self.half_life(options));
        self.faces.clear();
    }

    /// Of the moving averages; words for an image have none, as they are others each time.
    fn half_life(&self, options: &Options) -> f64 {
        match self.manifest.decision.smooth && !self.manifest.labels.is_empty() {
            true => options.smooth,
            false => 0.0,
        }
    }

    /// Answers about an observation; nothing when no head has what it reads.
    ///
    /// # Errors
    /// A model that fails.
    pub fn observe(
        &mut self,
        observed: &Observation<'_>,
        context: &mut Context<'_>,
    ) -> Result<Answers, ModelError> {
        let mut answers = Answers::default();
        if let (true, Some(scene)) = (observed.shows_faces(), &observed.scene)
            && self.manifest.reads(Trunk::Face)
        {
            answers = self.judge_faces(observed, scene, context)?;
        }
        if !observed.is_look()
            && let Some(event) = self.answer(observed, context)?
        {
            answers.events.push(event);
        }
        Ok(answers)
    }

    fn answer(
        &mut self,
        observed: &Observation<'_>,
        context: &mut Context<'_>,
    ) -> Result<Option<Event>, ModelError> {
        let mut encoded = self.encode(observed, context)?;
        // it was listened to whether or not its words may be built upon
        let heard = context.heard.filter(|_| self.manifest.reads(Trunk::Text));
        encoded.latency.recognise = heard.map(|heard| heard.spent);
        let late = (!observed.is_partial).then(|| self.late(observed, context));
        let late = late.flatten();
        let mut best = self.best(&encoded.by);
        if best.is_some_and(|at| self.sees_print_alone(at, context)) {
            best = None;
            encoded.blank = true;
            encoded.notes.push(PRINT_NOTE.into());
        }
        let reply = match best {
            Some(at) => Some(self.ask(at, &encoded.by, Some(&mut encoded.latency))?),
            None => None,
        };
        let mut modality = Modality::default();
        let mut notes = Vec::new();
        if let Some(at) = best {
            modality = modality_of(&self.manifest.trunks(&self.manifest.heads[at]));
            notes.extend(self.missing(&modality, context));
            notes.extend(doubt(heard));
        }
        let scores = match (&reply, &late) {
            (Some(reply), Some((share, _))) => late_fusion(&reply.scores, share),
            (Some(reply), None) => reply.scores.clone(),
            (None, Some((share, _))) => match face_alone(share) {
                Some(scores) => scores,
                None => return Ok(None),
            },
            (None, None) if encoded.blank => {
                return Ok(Some(self.blank(observed, encoded)));
            }
            (None, None) => return Ok(None),
        };
        if late.is_some() {
            modality.face = true;
            notes.push(LATE_NOTE.into());
        }
        notes.append(&mut encoded.notes);
        let now = observed.clock().as_secs_f64();
        let smoothed = match observed.is_partial {
            true => self.smoother.clone().push(now, &scores),
            false => self.smoother.push(now, &scores),
        };
        let decisive = smoothed.as_deref().unwrap_or(&scores);
        let explain = match top(decisive).filter(|_| context.options.explain) {
            Some(class) => self.explain(class, observed, &encoded.by, reply.as_ref())?,
            None => None,
        };
        let evidence = match context.options.every_head || context.options.evidence {
            true => self.evidence(observed, &encoded.by, reply.as_ref(), context.options)?,
            false => Evidence::default(),
        };
        let named = match (best, &reply) {
            (Some(at), Some(reply)) => {
                let options = context.options;
                let ours = context.heard.is_none() || options.recognised_words;
                let told = options.entity_words && ours;
                self.entities(at, reply, observed, &encoded.by, told)
            }
            _ => None,
        };
        let entities = match named {
            Some(named) => Some(self.placed(named, observed, &mut encoded)?),
            None => None,
        };
        let words = match encoded.by.get(&Trunk::Seen) {
            Some(seen) => seen.words.clone(),
            None => Vec::new(),
        };
        let utterance = observed
            .utterance
            .filter(|_| self.handles.contains_key(&Trunk::Speech));
        if let Some(utterance) = utterance {
            notes.extend(flaws(utterance));
        }
        Ok(Some(Event {
            recognised: heard.filter(|_| modality.text).map(|heard| Recognised {
                confidence: heard.confidence,
                text: Some(heard.text.clone()).filter(|_| context.options.recognised_words),
            }),
            label: match &entities {
                Some(found) => self.kinds(found),
                None if self.manifest.labels.is_empty() => self.likeliest(&words, context.options),
                None => self.label(best, decisive, context.options),
            },
            scores: self.labelled(&scores),
            smoothed: smoothed.as_deref().map(|s| self.labelled(s)),
            modality,
            latency: encoded.latency,
            face: late.map(|(_, face)| face),
            words,
            neighbours: reply.map_or(Vec::new(), |r| r.neighbours),
            entities,
            gaps: utterance.map_or(Vec::new(), gaps),
            notes,
            explain,
            evidence,
            ..self.event(observed)
        }))
    }

    /// An event of this task about an observation, without an answer yet.
    fn event(&self, observed: &Observation<'_>) -> Event {
        let looks =
            self.handles.contains_key(&Trunk::Image) || self.handles.contains_key(&Trunk::Face);
        let scene = observed.scene.as_ref().filter(|_| looks);
        let hears = self.handles.contains_key(&Trunk::Speech);
        let span = observed.utterance.filter(|_| hears).map(span);
        let moment = observed.at.filter(|_| scene.is_some());
        let moment = moment.map(|at| (at.as_secs_f64(), at.as_secs_f64()));
        let times = span.or(moment);
        Event {
            task: self.manifest.task.clone(),
            source: scene.map_or(observed.source, |s| s.source).to_owned(),
            start: times.map(|t| t.0),
            end: times.map(|t| t.1),
            bundle: self.bundle.clone(),
            ..Event::default()
        }
    }

    /// The answer about an image that shows nothing.
    fn blank(&self, observed: &Observation<'_>, encoded: Encoded) -> Event {
        let classes = self.manifest.labels.len();
        Event {
            label: UNSURE.into(),
            scores: self.labelled(&vec![1.0 / classes as f32; classes]),
            modality: modality_of(&BTreeSet::from([Trunk::Image])),
            latency: encoded.latency,
            notes: encoded.notes,
            ..self.event(observed)
        }
    }

    /// Whether a head would judge by an image alone that shows print or lines on a plain ground:
    /// what those say is not seen. What is named there is another matter.
    fn sees_print_alone(&self, at: usize, context: &mut Context<'_>) -> bool {
        let Some(image) = self.handles.get(&Trunk::Image) else {
            return false;
        };
        let reads = self.manifest.trunks(&self.manifest.heads[at]);
        !self.manifest.labels.is_empty()
            && reads == BTreeSet::from([Trunk::Image])
            && context.trunks.image(*image).shows_print()
    }

    /// The head that answers with the most of what is there.
    fn best(&self, by: &BTreeMap<Trunk, Arc<Encoding>>) -> Option<usize> {
        let heads = self.manifest.heads.iter().enumerate();
        let able = heads.filter(|(_, head)| {
            let trunks = self.manifest.trunks(head);
            head.answers() && trunks.iter().all(|t| by.contains_key(t))
        });
        able.max_by_key(|(_, head)| self.manifest.trunks(head).len())
            .map(|(at, _)| at)
    }

    /// Asks a head about what the trunks gave.
    fn ask(
        &self,
        at: usize,
        by: &BTreeMap<Trunk, Arc<Encoding>>,
        latency: Option<&mut Latency>,
    ) -> Result<Reply, ModelError> {
        let head = &self.manifest.heads[at];
        let mut replies = Vec::new();
        for name in &head.of {
            let other = self.manifest.heads.iter().position(|h| h.name == *name);
            if let Some(other) = other {
                replies.push(self.ask(other, by, None)?);
            }
        }
        let given = HeadInput {
            values: values(head, by),
            replies: replies.iter().collect(),
            queries: &[],
        };
        let Some(loaded) = &self.heads[at] else {
            return Ok(Reply::default());
        };
        match latency {
            Some(latency) if head.file.is_some() => {
                timed(&mut latency.fusion, || loaded.answer(&given))
            }
            _ => loaded.answer(&given),
        }
    }

    /// The class that the scores decide for, by what the head that gave them (none: a face alone) asks for.
    fn label(&self, head: Option<usize>, decisive: &[f32], options: &Options) -> String {
        let own = head.and_then(|at| self.manifest.heads[at].threshold);
        let below = options.unsure_below.or(own);
        let below = below.unwrap_or(self.manifest.decision.unsure_below);
        let chosen = choose(decisive, below);
        chosen.map_or(UNSURE.into(), |at| self.manifest.labels[at].clone())
    }

    /// The names that a head's reply finds in the words; `None` of a head that looks for none.
    fn entities(
        &self,
        at: usize,
        reply: &Reply,
        observed: &Observation<'_>,
        by: &BTreeMap<Trunk, Arc<Encoding>>,
        told: bool,
    ) -> Option<Vec<Named>> {
        let head = &self.manifest.heads[at];
        let (words, text) = (observed.words?, words_of(by)?);
        let decides = (
            self.manifest.labels.as_slice(),
            head.threshold.unwrap_or(0.5),
        );
        (head.kind == "spans").then(|| spans::entities(reply, words, &text.spans, decides, told))
    }

    /// The kinds of names that were found, in the order of the labels, or `none`.
    fn kinds(&self, found: &[Entity]) -> String {
        let labels = self.manifest.labels.iter();
        let kinds = labels.filter(|label| found.iter().any(|e| e.kind == **label));
        let kinds: Vec<&str> = kinds.map(String::as_str).collect();
        match kinds.is_empty() {
            true => "none".into(),
            false => kinds.join("+"),
        }
    }

    /// The likeliest word, where words are what is answered.
    fn likeliest(&self, words: &[Word], options: &Options) -> String {
        let below = options.unsure_below;
        let below = below.unwrap_or(self.manifest.decision.unsure_below);
        let word = words.first().filter(|w| w.score >= below);
        word.map_or(UNSURE.into(), |w| w.word.clone())
    }

    fn labelled(&self, scores: &[f32]) -> Vec<(String, f32)> {
        let labels = self.manifest.labels.iter().cloned();
        labels.zip(scores.iter().copied()).collect()
    }
}

/// Whether a gate takes what it saw for its first class: with at least this probability, or the
/// bundle's. What it said is noted.
fn passes(
    gate: &manifest::Head,
    reply: &Reply,
    least: Option<f32>,
    trunk: Trunk,
    noted: &mut Vec<Gated>,
) -> bool {
    let first = reply.scores.first().copied().unwrap_or(1.0);
    noted.push(Gated { trunk, first });
    first >= least.or(gate.threshold).unwrap_or(0.5)
}

/// Rows of the words themselves, however they were read.
fn words_of(by: &BTreeMap<Trunk, Arc<Encoding>>) -> Option<&Arc<Encoding>> {
    by.get(&Trunk::Beside).or_else(|| by.get(&Trunk::Text))
}

fn modality_of(trunks: &BTreeSet<Trunk>) -> Modality {
    let has = |any: &[Trunk]| any.iter().any(|t| trunks.contains(t));
    Modality {
        speech: has(&[Trunk::Speech]),
        text: has(&[Trunk::Text, Trunk::Beside]),
        image: has(&[Trunk::Image, Trunk::Seen, Trunk::Beside]),
        face: has(&[Trunk::Face]),
    }
}

/// What a head reads of what the trunks gave, in the order of its file's inputs.
fn values<'a>(
    head: &manifest::Head,
    by: &'a BTreeMap<Trunk, Arc<Encoding>>,
) -> Vec<model::Input<'a>> {
    let output = |read: &manifest::Read| {
        let output = by.get(&read.trunk)?.output(&read.output)?;
        Some((
            output.dims.as_slice(),
            model::InputValues::Floats(&output.values),
        ))
    };
    head.reads.iter().filter_map(output).collect()
}

/// Start and end in seconds of stream time.
fn span(utterance: &Utterance) -> (f64, f64) {
    let start = utterance.start.as_secs_f64();
    (start, start + utterance.duration().as_secs_f64())
}

fn gaps(utterance: &Utterance) -> Vec<Gap> {
    let gap = |g: &segment::Gap| Gap {
        at: (utterance.start + g.at).as_secs_f64(),
        seconds: g.length.as_secs_f64(),
    };
    utterance.gaps.iter().map(gap).collect()
}
