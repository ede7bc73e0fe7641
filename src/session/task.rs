//! A task: the trunks and heads that a manifest names, with what it remembers over time.

use super::explain;
use super::heads::boxes::{Place, Query};
use super::heads::{self, Given, Head, Reply, Size};
use super::heads::{spans, spans::Found as Named};
use super::observation::{Observation, Scene};
use super::trunks::{Encoding, Handle, MIN_SAMPLES, Trunks, timed};
use super::{FaceSearch, Nearest, Options};
use crate::decision::{Smoother, choose, top};
use crate::event::{
    Attention, Entity, Event, Evidence, Explanation, Face, Gap, Latency, Modality, Word,
};
use crate::model::manifest::{self, Manifest, Trunk};
use crate::model::{self, Bundle, Model, ModelError};
use crate::signal::segment::{self, Utterance};
use crate::vision::faces::{Found, Rect};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A share of clipped samples that a reader should know of.
const CLIPPING: f64 = 0.01;
/// FaceSearch of an image that are judged, the most certain ones.
const MAX_JUDGED: usize = 16;
/// The output of a head's file that its gate reads: a logit for each of the gate's labels.
const GATE: &str = "gate";
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
    /// There was an image, and it showed one colour.
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
    /// Loads the heads of a bundle, and the trunks that they read.
    ///
    /// # Errors
    /// A file that is missing, refused, or claims more than it does; a head that reads what its
    /// trunk does not give.
    pub fn load(
        bundle: &Bundle,
        trunks: &mut Trunks,
        options: &Options,
    ) -> Result<Task, ModelError> {
        let manifest = bundle.manifest.clone();
        let mut handles = BTreeMap::new();
        if let Some(speech) = &manifest.speech {
            handles.insert(Trunk::Speech, trunks.load_speech(bundle, speech)?);
        }
        if let Some(text) = &manifest.text {
            let handle = trunks.load_text(bundle, text)?;
            handles.insert(Trunk::Text, handle);
            handles.insert(Trunk::Beside, handle);
        }
        if let Some(image) = &manifest.image {
            handles.insert(Trunk::Image, trunks.load_image(bundle, image)?);
        }
        if let (Some(seen), Some(image)) = (&manifest.seen, handles.get(&Trunk::Image)) {
            handles.insert(Trunk::Seen, trunks.load_seen(bundle, seen, *image)?);
        }
        if let Some(face) = &manifest.face {
            handles.insert(Trunk::Face, trunks.load_face(bundle, face)?);
        }
        let mut heads = Vec::new();
        for head in &manifest.heads {
            for read in &head.reads {
                check_read(read, handles.get(&read.trunk), trunks)?;
            }
            if head.ablation && !options.every_head {
                heads.push(None);
                continue;
            }
            let classes = match head.labels.len() {
                0 => manifest.labels.len(),
                own => own,
            };
            let size = Size {
                classes,
                threads: options.threads,
                bank: options.bank.as_deref(),
            };
            let loaded = heads::load(bundle, head, size)?;
            if let Some(lacking) = head.explain.values().find(|o| !loaded.gives(o)) {
                return Err(ModelError::Refused {
                    name: bundle.name(),
                    what: format!("head `{}` gives no output `{lacking}`", head.name),
                });
            }
            heads.push(Some(loaded));
        }
        check_gates(bundle, &manifest, &heads)?;
        let mut task = Task {
            bundle: bundle.name(),
            manifest,
            handles,
            heads,
            smoother: Smoother::new(0.0),
            faces: HashMap::new(),
        };
        task.restart(options);
        Ok(task)
    }

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
        let late = self.late(observed, context);
        let best = self.best(&encoded.by);
        let reply = match best {
            Some(at) => Some(self.ask(at, &encoded.by, Some(&mut encoded.latency))?),
            None => None,
        };
        let mut modality = Modality::default();
        let mut notes = Vec::new();
        if let Some(at) = best {
            modality = modality_of(&self.manifest.trunks(&self.manifest.heads[at]));
            notes.extend(self.missing(&modality, context));
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
        let smoothed = self.smoother.push(observed.clock().as_secs_f64(), &scores);
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
                self.entities(at, reply, observed, &encoded.by, context.options)
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
            label: match &entities {
                Some(found) => self.kinds(found),
                None if self.manifest.labels.is_empty() => self.likeliest(&words, context.options),
                None => self.label(decisive, context.options),
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

    /// Runs the trunks on whatever is there.
    fn encode(
        &self,
        observed: &Observation<'_>,
        context: &mut Context<'_>,
    ) -> Result<Encoded, ModelError> {
        let mut encoded = Encoded::default();
        let speech = observed.utterance.filter(|_| context.options.voice);
        if let (Some(at), Some(utterance)) = (self.handles.get(&Trunk::Speech), speech)
            && utterance.samples.len() >= MIN_SAMPLES
        {
            let trunk = context.trunks.speech(*at);
            let rows = trunk.encode(&utterance.samples, &mut encoded.latency)?;
            encoded.by.insert(Trunk::Speech, rows);
            self.gate(&mut encoded, context.options)?;
        }
        self.see(observed, context, &mut encoded)?;
        self.read(observed, context, &mut encoded)?;
        Ok(encoded)
    }

    /// Runs the text trunk: on words beside those for what the image shows where a head wants
    /// them so, else, and where all heads are asked, on words after what was said before.
    fn read(
        &self,
        observed: &Observation<'_>,
        context: &mut Context<'_>,
        encoded: &mut Encoded,
    ) -> Result<(), ModelError> {
        let (Some(at), Some(words)) = (self.handles.get(&Trunk::Text), observed.words) else {
            return Ok(());
        };
        let Some(wanted) = self
            .manifest
            .text
            .as_ref()
            .filter(|_| !words.trim().is_empty())
        else {
            return Ok(());
        };
        let shown = encoded.shown();
        let shown = shown.filter(|_| self.manifest.reads(Trunk::Beside));
        let mut readings: Vec<(Trunk, Vec<&str>)> = Vec::new();
        if let Some(shown) = &shown {
            readings.push((Trunk::Beside, vec![shown]));
        }
        if shown.is_none() || context.options.every_head {
            let left_out = context.history.len().saturating_sub(wanted.history);
            let recent = context.history[left_out..].iter().map(String::as_str);
            readings.push((Trunk::Text, recent.collect()));
        }
        let mut notes = BTreeSet::new();
        for (reading, beside) in readings {
            let trunk = context.trunks.text(*at);
            match trunk.encode(words, &beside, wanted, &mut encoded.latency)? {
                Some(rows) => {
                    if rows.truncated {
                        notes.insert(
                            "text is longer than the model takes: its beginning was judged",
                        );
                    }
                    encoded.by.insert(reading, rows);
                }
                None => {
                    notes.insert("the text holds no word that the model knows");
                }
            }
        }
        encoded.notes.extend(notes.into_iter().map(str::to_owned));
        Ok(())
    }

    /// Runs the image trunk, and what names its content: unless that is given.
    fn see(
        &self,
        observed: &Observation<'_>,
        context: &mut Context<'_>,
        encoded: &mut Encoded,
    ) -> Result<(), ModelError> {
        let namer = self.handles.get(&Trunk::Seen);
        if let Some(at) = namer.filter(|_| !observed.seen.is_empty()) {
            let given = context.trunks.seen(*at).given(observed.seen)?;
            encoded.notes.extend(given.note);
            if let Some(words) = given.known {
                encoded.by.insert(Trunk::Seen, words);
            }
        }
        let named = encoded.by.contains_key(&Trunk::Seen);
        let reads = |h: &manifest::Head| h.reads.iter().any(|r| r.trunk == Trunk::Image);
        if named && !self.manifest.heads.iter().any(reads) {
            return Ok(());
        }
        if let (Some(at), Some(scene)) = (self.handles.get(&Trunk::Image), &observed.scene) {
            encoded.latency.decode = scene.decode;
            let trunk = context.trunks.image(*at);
            match trunk.encode(scene.image, &mut encoded.latency)? {
                Some(patches) => {
                    encoded.by.insert(Trunk::Image, patches);
                }
                None => {
                    encoded.blank = true;
                    encoded
                        .notes
                        .push("the image shows one colour: it was not judged".into());
                }
            }
        }
        if let (Some(at), Some(image)) = (namer, encoded.by.get(&Trunk::Image))
            && !named
        {
            let trunk = context.trunks.seen(*at);
            let words = trunk.name(image, &mut encoded.latency)?;
            encoded.by.insert(Trunk::Seen, words);
        }
        Ok(())
    }

    /// A gate lets its first class through: sound that is none of it counts as absent, unless
    /// all sounds are asked for.
    fn gate(&self, encoded: &mut Encoded, options: &Options) -> Result<(), ModelError> {
        for (at, head) in self.manifest.heads.iter().enumerate() {
            let hears = head.reads.iter().any(|r| r.trunk == Trunk::Speech);
            if head.kind != "gate" || !hears || !encoded.by.contains_key(&Trunk::Speech) {
                continue;
            }
            let reply = self.ask(at, &encoded.by, Some(&mut encoded.latency))?;
            if passes(head, &reply) {
                continue;
            }
            let class = top(&reply.scores[1..]).and_then(|i| head.labels.get(i + 1));
            let class = class.map_or("no speech", String::as_str);
            let outcome = match options.all_sounds {
                true => "it was judged all the same",
                false => "it was not judged",
            };
            let note = format!("nobody seems to speak (sound of the kind `{class}`): {outcome}");
            encoded.notes.push(note);
            if !options.all_sounds {
                encoded.by.remove(&Trunk::Speech);
            }
        }
        Ok(())
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
        let given = Given {
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

    /// What the task's widest head reads and this answer does not rest on.
    fn missing(&self, modality: &Modality, context: &Context<'_>) -> Option<String> {
        let answering = self.manifest.heads.iter().filter(|h| h.answers());
        let widest = answering
            .map(|h| self.manifest.trunks(h))
            .max_by_key(BTreeSet::len)?;
        let read = modality.name();
        let lacking = modality_of(&widest).without(modality);
        if lacking == Modality::default() {
            return None;
        }
        let head = format!("{read}-only head");
        Some(match lacking.speech && !context.options.voice {
            true => format!("voice emotion is off in this setting: {head}"),
            false => format!("no {}: {head}", lacking.name()),
        })
    }

    /// What the nearest face adds: a probability a class, of a sum below 1 by what the face
    /// gives to expressions that are no class here.
    fn late(&self, observed: &Observation<'_>, context: &Context<'_>) -> Option<(Vec<f32>, Face)> {
        let late = self.manifest.late.as_ref()?;
        let nearest = context.nearest.get(&late.task)?;
        if !nearest.is_fresh(observed.at) {
            return None;
        }
        let share = |label: &String| {
            let there = late.classes.get(label);
            let found = there.and_then(|there| nearest.scores.iter().find(|(l, _)| l == there));
            found.map_or(0.0, |(_, p)| *p)
        };
        Some((
            self.manifest.labels.iter().map(share).collect(),
            nearest.face,
        ))
    }

    fn explain(
        &self,
        class: usize,
        observed: &Observation<'_>,
        by: &BTreeMap<Trunk, Arc<Encoding>>,
        reply: Option<&Reply>,
    ) -> Result<Option<Explanation>, ModelError> {
        let explains = |h: &&manifest::Head| h.answers() && !h.explain.is_empty();
        let Some(head) = self.manifest.heads.iter().find(explains) else {
            return Ok(None);
        };
        let at = self.manifest.heads.iter().position(|h| h.name == head.name);
        let stand_in;
        let reply = if self.best(by) == at {
            reply
        } else {
            // each explaining output rests on its own modality's rows alone, so those that are
            // there may stand in for those that are not
            let Some(there) = head
                .reads
                .iter()
                .find_map(|r| by.get(&r.trunk)?.output(&r.output))
            else {
                return Ok(None);
            };
            let value = (there.dims.as_slice(), model::Given::Floats(&there.values));
            let given = Given {
                values: vec![value; head.reads.len()],
                ..Given::default()
            };
            let loaded = at.and_then(|at| self.heads[at].as_ref());
            stand_in = loaded.map(|l| l.answer(&given)).transpose()?;
            stand_in.as_ref()
        };
        let mut explanation = Explanation::default();
        let classes = self.manifest.labels.len();
        for (modality, name) in &head.explain {
            let Some(rows) = reply.and_then(|r| r.output(name)) else {
                continue;
            };
            if let (true, Some(text)) = (modality == "text", words_of(by)) {
                explanation.tokens = explain::tokens(&rows.values, classes, class, &text.tokens);
            }
            if modality == "speech" && by.contains_key(&Trunk::Speech) {
                let (start, end) = observed.utterance.map_or((0.0, 0.0), span);
                explanation.frames =
                    explain::frames(&rows.values, classes, class, start, end - start);
            }
        }
        Ok(Some(explanation))
    }

    /// What an answer was made from: for pages and for `eval`.
    fn evidence(
        &self,
        observed: &Observation<'_>,
        by: &BTreeMap<Trunk, Arc<Encoding>>,
        reply: Option<&Reply>,
        options: &Options,
    ) -> Result<Evidence, ModelError> {
        let mut evidence = Evidence::default();
        if let Some(text) = words_of(by) {
            evidence.tokens.clone_from(&text.tokens);
        }
        let read = |h: &manifest::Head| h.reads.iter().find(|r| r.trunk == Trunk::Image).cloned();
        let patches = self.best(by).and_then(|at| {
            let read = read(&self.manifest.heads[at])?;
            let patches = by.get(&Trunk::Image)?.output(&read.output)?;
            patches.dims.first().copied()
        });
        if let (Some(weights), Some(patches)) = (reply.and_then(|r| r.output("attention")), patches)
        {
            evidence.attention = Some(Attention {
                weights: weights.values.clone(),
                side: patches.isqrt(),
            });
        }
        let output = |name| Some(reply?.output(name)?.values.as_slice());
        if let (Some(weights), Some(attention), Some(seen)) =
            (output("weights"), output("attention"), by.get(&Trunk::Seen))
        {
            let shown: Vec<String> = seen.words.iter().map(|w| w.word.clone()).collect();
            evidence.edges = explain::edges(weights, attention, &evidence.tokens, &shown);
        }
        if !options.every_head {
            return Ok(evidence);
        }
        for (at, head) in self.manifest.heads.iter().enumerate() {
            let trunks = self.manifest.trunks(head);
            let able = head.labels.is_empty() && trunks.iter().all(|t| by.contains_key(t));
            if able && self.heads[at].is_some() {
                let reply = self.ask(at, by, None)?;
                if let Some(found) = self.entities(at, &reply, observed, by, options) {
                    let found = found.into_iter().map(|named| named.entity).collect();
                    evidence.entities.push((head.name.clone(), found));
                }
                evidence.heads.push((head.name.clone(), reply.scores));
            }
        }
        evidence.pooled = by
            .iter()
            .filter_map(|(trunk, encoding)| Some((*trunk, encoding.mean(self.pooled(*trunk)?)?)))
            .collect();
        Ok(evidence)
    }

    /// The output of a trunk that the widest answering head reads.
    fn pooled(&self, trunk: Trunk) -> Option<&str> {
        let answering = self.manifest.heads.iter().filter(|h| h.answers());
        let reads = answering.flat_map(|h| &h.reads);
        let rows = reads.filter(|r| r.trunk == trunk && r.output != "logits");
        rows.map(|r| r.output.as_str()).next()
    }

    /// Judges the faces of an image, each by the one head that reads a face.
    fn judge_faces(
        &mut self,
        observed: &Observation<'_>,
        scene: &Scene<'_>,
        context: &mut Context<'_>,
    ) -> Result<Answers, ModelError> {
        let mut answers = Answers::default();
        let heads = &self.manifest.heads;
        let reads =
            |h: &manifest::Head| h.answers() && h.reads[..].iter().any(|r| r.trunk == Trunk::Face);
        let (Some(handle), Some(at)) = (
            self.handles.get(&Trunk::Face).copied(),
            heads.iter().position(reads),
        ) else {
            return Ok(answers);
        };
        let mut latency = Latency {
            decode: scene.decode,
            ..Latency::default()
        };
        let whole = context.options.faces == FaceSearch::Whole;
        let trunk = context.trunks.face(handle);
        let found = match whole {
            true => Arc::new(vec![the_whole(scene)]),
            false => trunk.find(scene.image, &mut latency)?,
        };
        let (mut judged, mut places) = (Vec::new(), Vec::new());
        for found in found.iter() {
            if judged.len() < MAX_JUDGED {
                let mut latency = latency;
                let pixels = match whole {
                    true => Some(trunk.whole(scene.image, &mut latency)),
                    false => trunk.crop(scene.image, found, &mut latency),
                };
                let reply = self.judge_crop(at, pixels, &mut latency)?;
                if !whole && !self.is_face(at, &reply)? {
                    continue;
                }
                judged.push((found, reply.scores, latency));
            }
            places.push(found.place);
        }
        let ids = match whole {
            true => vec![0],
            false => trunk.number(places),
        };
        self.faces.retain(|id, _| trunk.follows(*id));
        let faces = ids.len();
        let mut largest = 0.0;
        for ((found, scores, latency), id) in judged.into_iter().zip(ids) {
            let half_life = self.half_life(context.options);
            let smoother = self.faces.entry(id);
            let smoothed = smoother
                .or_insert_with(|| Smoother::new(half_life))
                .push(observed.clock().as_secs_f64(), &scores);
            let decisive = smoothed.as_deref().unwrap_or(&scores);
            let face = face(found, id);
            answers.events.push(Event {
                label: self.label(decisive, context.options),
                scores: self.labelled(&scores),
                smoothed: smoothed.as_deref().map(|s| self.labelled(s)),
                modality: modality_of(&BTreeSet::from([Trunk::Face])),
                latency,
                face: Some(face),
                ..self.event(observed)
            });
            if answers.nearest.is_none() || found.place.area() >= largest {
                largest = found.place.area();
                answers.nearest = Some((face, scores));
            }
        }
        if let (true, Some(event)) = (faces > MAX_JUDGED, answers.events.first_mut()) {
            event.notes.push(format!(
                "{faces} faces were found; the {MAX_JUDGED} most certain ones were judged"
            ));
        }
        Ok(answers)
    }

    /// What a head says of a face; all classes alike of one without extent.
    fn judge_crop(
        &self,
        at: usize,
        pixels: Option<&[u8]>,
        latency: &mut Latency,
    ) -> Result<Reply, ModelError> {
        let classes = self.manifest.labels.len();
        let side = self
            .manifest
            .face
            .as_ref()
            .map_or(0, |f| f.crop_side as usize);
        let dims = [1, side, side, 1];
        let (Some(pixels), Some(head)) = (pixels, &self.heads[at]) else {
            return Ok(Reply {
                scores: vec![1.0 / classes as f32; classes],
                ..Reply::default()
            });
        };
        let given = Given {
            values: vec![(&dims, model::Given::Bytes(pixels))],
            ..Given::default()
        };
        timed(&mut latency.expression, || head.answer(&given))
    }

    /// The second look: what the gates of the head that judged a crop make of its reply. A box
    /// without extent passes none.
    fn is_face(&self, at: usize, reply: &Reply) -> Result<bool, ModelError> {
        for (gate, head) in self.manifest.heads.iter().enumerate() {
            let (true, Some(loaded)) = (self.opens(head, at), &self.heads[gate]) else {
                continue;
            };
            let Some(logits) = reply.output(GATE) else {
                return Ok(false);
            };
            let given = Given {
                values: vec![(&logits.dims, model::Given::Floats(&logits.values))],
                ..Given::default()
            };
            if !passes(head, &loaded.answer(&given)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a head is a gate before what the head at this place answers.
    fn opens(&self, head: &manifest::Head, at: usize) -> bool {
        head.kind == "gate" && head.of.contains(&self.manifest.heads[at].name)
    }

    fn label(&self, decisive: &[f32], options: &Options) -> String {
        let below = options.unsure_below;
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
        options: &Options,
    ) -> Option<Vec<Named>> {
        let head = &self.manifest.heads[at];
        let (words, text) = (observed.words?, words_of(by)?);
        let decides = (
            self.manifest.labels.as_slice(),
            head.threshold.unwrap_or(0.5),
        );
        let told = options.entity_words;
        (head.kind == "spans").then(|| spans::entities(reply, words, &text.spans, decides, told))
    }

    /// The names, with their places in the image where it shows them: those that the head of kind
    /// `boxes` is surer of than of nothing to point at.
    fn placed(
        &self,
        named: Vec<Named>,
        observed: &Observation<'_>,
        encoded: &mut Encoded,
    ) -> Result<Vec<Entity>, ModelError> {
        let (Some(at), Some(text), Some(scene)) =
            (self.pointer(), words_of(&encoded.by), &observed.scene)
        else {
            return Ok(named.into_iter().map(|named| named.entity).collect());
        };
        let head = &self.manifest.heads[at];
        let query = |named: &Named| Query {
            ids: text.ids[named.tokens.clone()].to_vec(),
            kind: head.labels.iter().position(|l| *l == named.entity.kind),
        };
        let queries: Vec<Query> = named.iter().map(query).collect();
        let places = self.point(at, &queries, &encoded.by, &mut encoded.latency)?;
        let mut entities: Vec<Entity> = named.into_iter().map(|named| named.entity).collect();
        let size = (scene.image.width() as f32, scene.image.height() as f32);
        for (entity, place) in entities.iter_mut().zip(places) {
            if place.score >= head.threshold.unwrap_or(0.5) {
                entity.place = in_pixels(place, size);
            }
        }
        Ok(entities)
    }

    /// The head that points at what words name.
    fn pointer(&self) -> Option<usize> {
        let mut heads = self.manifest.heads.iter();
        heads.position(|head| head.kind == "boxes")
    }

    /// Where the image shows each of the queries; nothing without an image.
    fn point(
        &self,
        at: usize,
        queries: &[Query],
        by: &BTreeMap<Trunk, Arc<Encoding>>,
        latency: &mut Latency,
    ) -> Result<Vec<Place>, ModelError> {
        let (Some(loaded), true) = (&self.heads[at], by.contains_key(&Trunk::Image)) else {
            return Ok(Vec::new());
        };
        let given = Given {
            values: values(&self.manifest.heads[at], by),
            queries,
            ..Given::default()
        };
        let reply = timed(&mut latency.fusion, || loaded.answer(&given))?;
        Ok(reply.places)
    }

    /// Where an image shows what each of the phrases names. `None` of an image of one colour, and
    /// of a phrase without a word.
    ///
    /// # Errors
    /// A model that fails.
    pub fn find(
        &self,
        phrases: &[&str],
        scene: Scene<'_>,
        context: &mut Context<'_>,
        latency: &mut Latency,
    ) -> Result<Vec<Option<Place>>, ModelError> {
        let (Some(at), Some(text)) = (self.pointer(), self.handles.get(&Trunk::Text)) else {
            return Ok(vec![None; phrases.len()]);
        };
        let most = self.manifest.text.as_ref().map_or(0, |t| t.max_tokens);
        let mut queries = Vec::new();
        for phrase in phrases {
            let ids = context.trunks.text(*text).pieces(phrase, most);
            queries.push(Query { ids, kind: None });
        }
        let observed = Observation {
            scene: Some(scene),
            ..Observation::default()
        };
        let mut encoded = Encoded::default();
        self.see(&observed, context, &mut encoded)?;
        let places = self.point(at, &queries, &encoded.by, &mut encoded.latency)?;
        *latency = encoded.latency;
        let place = |(at, query): (usize, &Query)| {
            places.get(at).filter(|_| !query.ids.is_empty()).copied()
        };
        Ok(queries.iter().enumerate().map(place).collect())
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

const LATE_NOTE: &str =
    "a face counts as much as all else together, by what it shows of these classes";

/// A gate before another head reads an output of that head's file.
fn check_gates(
    bundle: &Bundle,
    manifest: &Manifest,
    heads: &[Option<Box<dyn Head>>],
) -> Result<(), ModelError> {
    for gate in manifest.heads.iter().filter(|h| h.kind == "gate") {
        let named = manifest.heads.iter().zip(heads);
        for (head, loaded) in named.filter(|(head, _)| gate.of.contains(&head.name)) {
            if loaded.as_ref().is_some_and(|l| !l.gives(GATE)) {
                return Err(ModelError::Refused {
                    name: bundle.name(),
                    what: format!(
                        "the gate `{}` reads the output `{GATE}` of head `{}`, which gives none",
                        gate.name, head.name
                    ),
                });
            }
        }
    }
    Ok(())
}

/// Whether a gate takes what it saw for its first class.
fn passes(gate: &manifest::Head, reply: &Reply) -> bool {
    let first = reply.scores.first().copied().unwrap_or(1.0);
    first >= gate.threshold.unwrap_or(0.5)
}

/// A head reads what its trunk gives.
fn check_read(
    read: &manifest::Read,
    handle: Option<&Handle>,
    trunks: &mut Trunks,
) -> Result<(), ModelError> {
    let Some(handle) = handle.copied() else {
        return Ok(());
    };
    let model: &Model = match read.trunk {
        Trunk::Speech => trunks.speech(handle).model(),
        Trunk::Text | Trunk::Beside => trunks.text(handle).model(),
        Trunk::Image => trunks.image(handle).model(),
        Trunk::Seen => {
            let lacks = trunks.seen(handle).lacks(&read.output);
            return lacks.map_or(Ok(()), Err);
        }
        Trunk::Face => {
            let model = trunks.face(handle).model();
            return match read.output.as_str() {
                "crop" => Ok(()),
                other => Err(model.refused(format!(
                    "a head reads `face.{other}`, and the face trunk gives `crop` alone"
                ))),
            };
        }
    };
    match model.output(&read.output) {
        Some(_) => Ok(()),
        None => Err(model.refused(format!(
            "gives outputs {:?}, and a head reads `{read}`",
            model.outputs()
        ))),
    }
}

/// Late fusion on probabilities: the other modalities count once and the face counts once, by
/// the part of it that these classes have a name for: `p = (p_other + p_face) / (1 + Σ p_face)`.
fn late_fusion(scores: &[f32], face: &[f32]) -> Vec<f32> {
    let share = 1.0 + face.iter().sum::<f32>();
    let fused = scores
        .iter()
        .zip(face)
        .map(|(score, face)| (score + face) / share);
    fused.collect()
}

/// A face alone; `None` if it mostly shows what is no class here.
fn face_alone(face: &[f32]) -> Option<Vec<f32>> {
    let sum: f32 = face.iter().sum();
    (sum >= 0.5).then(|| face.iter().map(|p| p / sum).collect())
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
        Some((output.dims.as_slice(), model::Given::Floats(&output.values)))
    };
    head.reads.iter().filter_map(output).collect()
}

/// Left, top, width and height; `None` of a box without extent.
fn in_pixels(place: Place, (width, height): (f32, f32)) -> Option<[f32; 4]> {
    let [left, top, right, bottom] = place.sides;
    let there = right > left && bottom > top;
    there.then(|| {
        let (left, top) = (left * width, top * height);
        [left, top, right * width - left, bottom * height - top]
    })
}

fn the_whole(scene: &Scene<'_>) -> Found {
    Found {
        place: Rect {
            x: 0.0,
            y: 0.0,
            width: scene.image.width() as f32,
            height: scene.image.height() as f32,
        },
        score: 1.0,
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

/// Start and end in seconds of stream time.
fn span(utterance: &Utterance) -> (f64, f64) {
    let start = utterance.start.as_secs_f64();
    (start, start + utterance.duration().as_secs_f64())
}

/// What a reader should know of a recording.
fn flaws(utterance: &Utterance) -> Vec<String> {
    let mut notes = Vec::new();
    if utterance.cut {
        notes.push("utterance was cut at its maximum length".into());
    }
    let clipped = utterance
        .samples
        .iter()
        .filter(|s| s.abs() >= 0.999)
        .count();
    let clipped = clipped as f64 / utterance.samples.len().max(1) as f64;
    if clipped > CLIPPING {
        notes.push(format!(
            "{:.0}% of the samples are clipped: lower the input level",
            100.0 * clipped
        ));
    }
    notes
}

fn gaps(utterance: &Utterance) -> Vec<Gap> {
    let gap = |g: &segment::Gap| Gap {
        at: (utterance.start + g.at).as_secs_f64(),
        seconds: g.length.as_secs_f64(),
    };
    utterance.gaps.iter().map(gap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_counts_by_what_it_says_in_these_classes() {
        let words = [0.1, 0.6, 0.1, 0.2];
        let fused = late_fusion(&words, &[0.8, 0.0, 0.1, 0.1]);
        assert!((fused.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((fused[0] - 0.45).abs() < 1e-6);
        // surprise says nothing about these four
        assert_eq!(late_fusion(&words, &[0.0; 4]), words);
    }

    #[test]
    fn a_face_alone_answers_if_it_shows_one_of_the_classes() {
        let happy = face_alone(&[0.0, 0.6, 0.0, 0.2]);
        assert!(happy.is_some_and(|s| s[1] > 0.74));
        assert!(face_alone(&[0.1, 0.1, 0.1, 0.1]).is_none());
    }
}
