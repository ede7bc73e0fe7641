//! A task: the trunks and heads that a manifest names, with what it remembers over time.

mod encode;
mod faces;
mod pointing;
pub(in crate::session) mod study;

use super::explain;
use super::heads::{self, Given, Head, Reply, Size};
use super::heads::{spans, spans::Found as Named};
use super::observation::{Observation, Scene};
use super::trunks::{Encoding, Handle, Trunks, timed};
use super::{FaceSearch, Gated, Nearest, Options, Transcript, Verdict};
use crate::decision::{Smoother, choose, top};
use crate::event::{
    Attention, Entity, Event, Evidence, Explanation, Face, Gap, Latency, Modality, Recognised, Word,
};
use crate::model::manifest::{self, Manifest, Trunk};
use crate::model::{self, Bundle, Model, ModelError};
use crate::signal::segment::{self, Utterance};
use faces::{check_gates, face_alone, late_fusion};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A share of clipped samples that a reader should know of.
const CLIPPING: f64 = 0.01;
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
        // it was listened to whether or not its words may be built upon
        let heard = context.heard.filter(|_| self.manifest.reads(Trunk::Text));
        encoded.latency.recognise = heard.map(|heard| heard.spent);
        let late = self.late(observed, context);
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
                if let Some(found) = self.entities(at, &reply, observed, by, options.entity_words) {
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

const PRINT_NOTE: &str =
    "the image shows print or lines on a plain ground and no words were given: it was not judged";
const LATE_NOTE: &str =
    "a face counts as much as all else together, by what it shows of these classes";

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

/// Start and end in seconds of stream time.
fn span(utterance: &Utterance) -> (f64, f64) {
    let start = utterance.start.as_secs_f64();
    (start, start + utterance.duration().as_secs_f64())
}

/// What a reader should know of words that a recogniser heard.
fn doubt(heard: Option<&Transcript>) -> Option<String> {
    let heard = heard?;
    match (heard.verdict, heard.cut) {
        (Verdict::Words, None) => None,
        (Verdict::Words, Some(_)) => {
            Some("what was recognised went round: its repetition was left out".into())
        }
        (Verdict::Doubtful, _) => Some(format!(
            "the words that were recognised are too uncertain ({:.2}): they were left out",
            heard.confidence
        )),
        (Verdict::NoWords | Verdict::NoSpeech, _) => Some("no words were recognised".into()),
    }
}

/// What a reader should know of a recording.
fn flaws(utterance: &Utterance) -> Vec<String> {
    let mut notes = Vec::new();
    if utterance.cut {
        notes.push("utterance was cut before its speaker paused".into());
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
