//! The heart: observations in, events out.
//!
//! A [`Session`] holds the trunks and heads of the tasks that are asked for, and what is
//! remembered between observations: the dialogue, moving averages, faces in sight. `analyze`,
//! `run`, `eval`, `doctor` and a library's user call the same [`Session::observe`].
//!
//! ```
//! use demeanor::{Observation, Session, SessionOptions};
//!
//! let mut session = Session::open(SessionOptions::default())?;
//! let events = session.observe(&Observation::of_words("chat", "What a lovely day!"))?;
//! assert_eq!(events[0].task, "emotion");
//! println!("{}: {:?}", events[0].label, events[0].scores);
//! # Ok::<(), demeanor::Error>(())
//! ```

mod explain;
mod heads;
mod observation;
mod recogniser;
mod task;
mod trunks;
mod warm_up;

pub(crate) use heads::boxes::Place;
pub use observation::{Observation, Scene};
pub use recogniser::{Cut, Recogniser, Transcript, Verdict};
pub use task::UNSURE;
pub(crate) use task::study::{ROWS, Studied, studied};
pub use warm_up::Trial;

use crate::Error;
use crate::event::{Event, Face, Faces, Latency};
use crate::model::manifest::{Head, Manifest, Range, Trunk};
use crate::model::{Bundle, ModelError, bundles};
use crate::text::{History, HistoryLimits};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use task::{Context, Task};
use trunks::Trunks;

/// A face seen longer ago than this is no longer that of who speaks.
pub const FRESH: Duration = Duration::from_secs(2);

/// Tasks that are to be answered; written as a list of their names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Tasks(Vec<String>);

impl Tasks {
    /// Reads `emotion,sentiment`. Whether there are such tasks, the bundles know.
    ///
    /// # Errors
    /// An empty list, in a sentence.
    pub fn parse(text: &str) -> Result<Tasks, String> {
        Tasks::try_from(text.split(',').map(String::from).collect::<Vec<_>>())
    }

    /// Their names, as they were given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a task is among them.
    pub fn has(&self, task: &str) -> bool {
        self.0.iter().any(|name| name == task)
    }
}

impl TryFrom<Vec<String>> for Tasks {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Tasks, String> {
        let names: Vec<String> = names.iter().map(|n| n.trim().to_owned()).collect();
        if names.iter().all(String::is_empty) {
            return Err("no task is named".into());
        }
        Ok(Tasks(names))
    }
}

/// Where faces are looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FaceSearch {
    /// A detector finds them.
    #[default]
    Find,
    /// Every image is one face: what labelled sets of faces hold.
    Whole,
}

/// What ordinary background of a place is like, so that it is not judged. What is `None` is as the
/// bundles have it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Background {
    /// Utterances that are quieter are background, in dB of full scale.
    pub level: Option<f32>,
    /// Least probability that somebody speaks, 0..=1.
    pub speech: Option<f32>,
    /// Least probability that a find is a face, 0..=1.
    pub face: Option<f32>,
}

/// What a gate said of what it saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Gated {
    /// Whose output it read.
    pub trunk: Trunk,
    /// Probability of the class that it lets through.
    pub first: f32,
}

/// How far an observation lies from what a trunk learnt from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distance {
    /// The task whose bundle measures it.
    pub task: String,
    /// Whose rows.
    pub trunk: Trunk,
    /// By the bundle's own measure.
    pub distance: f32,
}

/// What a session answers, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// A bundle, or a folder of bundles; the embedded ones when `None`.
    pub models: Option<PathBuf>,
    /// Which tasks answer; when `None` every task whose own inputs are there and that waits for
    /// no request: one that judges images stays silent about words alone.
    pub tasks: Option<Tasks>,
    /// Half-life of smoothing in seconds; 0 is off.
    pub smooth: f64,
    /// Overrides the bundles' own threshold.
    pub unsure_below: Option<f32>,
    /// Adds salient tokens and frames.
    pub explain: bool,
    /// Seconds of silence after which the dialogue is forgotten.
    pub forget: f64,
    /// Voice may be judged; off at work and at school.
    pub voice: bool,
    /// Sound that a gate takes for no speech is judged all the same.
    pub all_sounds: bool,
    /// What was measured of the place's ordinary background.
    pub background: Background,
    /// Where faces are looked for.
    pub faces: FaceSearch,
    /// Events carry what a page shows of their making.
    pub evidence: bool,
    /// Every head answers, ablations too: what `eval` compares.
    pub every_head: bool,
    /// A folder of memory banks instead of the bundles' own.
    pub bank: Option<PathBuf>,
    /// Events carry the words that name something; without it they tell where these stand.
    pub entity_words: bool,
    /// The bundle of a recogniser: an utterance without words gets those that it hears.
    pub recogniser: Option<PathBuf>,
    /// Events carry the words that were recognised; without it they tell how certain these are.
    pub recognised_words: bool,
    /// Workers that share the large steps of a model, 1 to [`MAX_THREADS`](crate::kernels::MAX_THREADS).
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            models: None,
            tasks: None,
            smooth: 0.0,
            unsure_below: None,
            explain: false,
            forget: 60.0,
            voice: true,
            all_sounds: false,
            background: Background::default(),
            faces: FaceSearch::Find,
            evidence: false,
            every_head: false,
            bank: None,
            entity_words: false,
            recogniser: None,
            recognised_words: false,
            threads: 1,
        }
    }
}

/// What the nearest face showed, and when.
struct Nearest {
    at: Option<Duration>,
    face: Face,
    scores: Vec<(String, f32)>,
}

impl Nearest {
    /// Whether it says something about what is said now; an image that stands by itself has
    /// no time, and its faces are its own.
    fn is_fresh(&self, now: Option<Duration>) -> bool {
        match (self.at, now) {
            (Some(at), Some(now)) => now.saturating_sub(at) <= FRESH,
            (None, None) => true,
            _ => false,
        }
    }
}

/// A bundle, and its task once something asks for it.
struct Slot {
    bundle: Bundle,
    task: Option<Task>,
}

impl Slot {
    fn manifest(&self) -> &Manifest {
        &self.bundle.manifest
    }
}

/// Tasks that are ready to answer, with what they remember.
///
/// Nothing of an observation is kept but the words said last (see [`History`]), where faces
/// were, and averages of scores.
pub struct Session {
    options: Options,
    slots: Vec<Slot>,
    trunks: Trunks,
    recogniser: Option<Recogniser>,
    history: History,
    nearest: HashMap<String, Nearest>,
    /// Numbers of the faces that were in sight at the last look.
    in_sight: Vec<u32>,
    change: Option<Faces>,
}

impl Session {
    /// Reads the bundles, each file once, and checks their hashes. Models are loaded when the
    /// first observation asks for them, or by [`Session::warm_up`].
    ///
    /// # Errors
    /// A bundle that is refused; a task that no bundle answers; a folder without a bundle.
    pub fn open(options: Options) -> Result<Session, Error> {
        let found = bundles(options.models.as_deref())?;
        Session::of(found, options)
    }

    /// The same with bundles that were read before.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn of(found: Vec<Bundle>, options: Options) -> Result<Session, Error> {
        // a recogniser answers no task, though it may lie beside bundles that do
        let is_task = |bundle: &Bundle| bundle.manifest.transcript.is_none();
        let found: Vec<Bundle> = found.into_iter().filter(is_task).collect();
        let known: Vec<&str> = found.iter().map(|b| b.manifest.task.as_str()).collect();
        if known.is_empty() {
            return Err(ModelError::missing("any task", options.models.as_deref()).into());
        }
        for name in options.tasks.iter().flat_map(Tasks::names) {
            if !known.contains(&name) {
                return Err(unknown_task(name, &known, options.models.is_some()));
            }
        }
        let recogniser = match &options.recogniser {
            Some(dir) => Some(Recogniser::open(dir, options.threads)?),
            None => None,
        };
        let slots = found.into_iter().map(|bundle| Slot { bundle, task: None });
        let mut session = Session {
            slots: slots.collect(),
            trunks: Trunks::new(options.threads),
            recogniser,
            history: History::new(HistoryLimits::default()),
            nearest: HashMap::new(),
            in_sight: Vec::new(),
            change: None,
            options,
        };
        session.restart();
        Ok(session)
    }

    /// How it answers.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Names of the tasks that may answer, in the order of their bundles.
    pub fn tasks(&self) -> Vec<String> {
        let asked = self.slots.iter().map(Slot::manifest);
        asked
            .filter(|m| self.is_asked(m))
            .map(|m| m.task.clone())
            .collect()
    }

    /// The bundle that answers a task.
    pub fn bundle(&self, task: &str) -> Option<&Bundle> {
        let slot = self.slots.iter().find(|s| s.manifest().task == task);
        slot.map(|s| &s.bundle)
    }

    /// Another stream: the dialogue, moving averages and faces start afresh.
    pub fn restart(&mut self) {
        let longest = self.slots.iter().filter_map(|s| s.manifest().text.as_ref());
        self.history = History::new(HistoryLimits {
            utterances: longest.map(|t| t.history).max().unwrap_or(0),
            silence: Duration::from_secs_f64(self.options.forget.clamp(0.0, 1e9)),
            ..HistoryLimits::default()
        });
        self.trunks.restart();
        self.nearest.clear();
        self.in_sight.clear();
        self.change = None;
        for task in self.slots.iter_mut().filter_map(|s| s.task.as_mut()) {
            task.restart(&self.options);
        }
    }

    /// Words said before the stream began.
    pub fn remember(&mut self, words: &str) {
        self.history.push(words, Duration::ZERO);
    }

    /// Whether any task that is asked for could answer about words or sound alone.
    pub fn listens(&self) -> bool {
        let observed = [Trunk::Speech, Trunk::Text];
        let mut asked = self
            .slots
            .iter()
            .map(Slot::manifest)
            .filter(|m| self.is_asked(m));
        asked.any(|m| observed.iter().any(|t| m.reads(*t)))
    }

    /// Answers about an observation: events of those tasks that have what their heads read.
    ///
    /// # Errors
    /// A model that is refused or fails.
    pub fn observe(&mut self, observed: &Observation<'_>) -> Result<Vec<Event>, Error> {
        self.trunks.next();
        let heard = self.listen(observed)?;
        let observed = &heard
            .as_ref()
            .map_or(*observed, |heard| observed.with_heard(heard));
        let clock = observed.clock();
        let history: Vec<String> = self
            .history
            .recall(clock)
            .into_iter()
            .map(String::from)
            .collect();
        if observed.at.is_none() {
            self.nearest.clear();
        }
        let mut told: Vec<(bool, Vec<Event>)> = Vec::new();
        for at in self.order(observed) {
            self.load(at)?;
            let Some(task) = &mut self.slots[at].task else {
                continue;
            };
            let mut context = Context {
                trunks: &mut self.trunks,
                options: &self.options,
                history: &history,
                nearest: &self.nearest,
                heard: heard.as_ref(),
            };
            let answers = task.observe(observed, &mut context)?;
            let manifest = self.slots[at].manifest();
            if let Some((face, scores)) = answers.nearest {
                let labels = manifest.labels.iter().cloned();
                let nearest = Nearest {
                    at: observed.at,
                    face,
                    scores: labels.zip(scores).collect(),
                };
                self.nearest.insert(manifest.task.clone(), nearest);
            }
            if self.is_asked(manifest) {
                told.push((manifest.late.is_some(), answers.events));
            }
        }
        if let Some(words) = observed.words.filter(|_| !observed.is_partial) {
            self.history.push(words, clock);
        }
        if observed.is_look() {
            self.watch(observed);
        }
        // of what somebody said, the answer about the speaker comes first
        if observed.scene.is_none() || observed.at.is_some() {
            told.sort_by_key(|(late, _)| !late);
        }
        Ok(told.into_iter().flat_map(|(_, events)| events).collect())
    }

    /// Where an image shows what each of the phrases names, by the first task whose bundle has a
    /// head of kind `boxes`. `None` of an image of one colour, and of a phrase without a word;
    /// nothing of a session without such a head. `latency` is what it took.
    ///
    /// # Errors
    /// A model that is refused or fails.
    pub(crate) fn find(
        &mut self,
        phrases: &[&str],
        scene: Scene<'_>,
        latency: &mut Latency,
    ) -> Result<Vec<Option<Place>>, Error> {
        self.trunks.next();
        let points = |slot: &Slot| slot.manifest().points();
        let Some(at) = self.slots.iter().position(points) else {
            return Ok(Vec::new());
        };
        self.load(at)?;
        let Some(task) = &self.slots[at].task else {
            return Ok(Vec::new());
        };
        let mut context = Context {
            trunks: &mut self.trunks,
            options: &self.options,
            history: &[],
            nearest: &self.nearest,
            heard: None,
        };
        Ok(task.find(phrases, scene, &mut context, latency)?)
    }

    /// What the gates said of the last observation.
    pub(crate) fn gated(&mut self) -> Vec<Gated> {
        std::mem::take(&mut self.trunks.gated)
    }

    /// How far the last observation lay from what trunks learnt from, where a bundle can tell.
    pub(crate) fn distances(&mut self) -> Vec<Distance> {
        std::mem::take(&mut self.trunks.distances)
    }

    /// What a bundle says of such distances of people whom those statistics did not see.
    pub(crate) fn range(&self, task: &str, trunk: Trunk) -> Option<Range> {
        let heads = &self.bundle(task)?.manifest.heads;
        let measures = |h: &&Head| h.kind == "distance" && h.reads.iter().any(|r| r.trunk == trunk);
        heads.iter().find(measures)?.range
    }

    /// What each head of a task that adapting can replace makes of an observation, and the rows
    /// that it rests on.
    ///
    /// # Errors
    /// A model that is refused or fails.
    pub(crate) fn study(
        &mut self,
        task: &str,
        observed: &Observation<'_>,
    ) -> Result<Vec<Studied>, Error> {
        self.trunks.next();
        let clock = observed.clock();
        let said = self.history.recall(clock).into_iter();
        let history: Vec<String> = said.map(String::from).collect();
        let Some(at) = self.slots.iter().position(|s| s.manifest().task == task) else {
            return Ok(Vec::new());
        };
        self.load(at)?;
        let Some(task) = &self.slots[at].task else {
            return Ok(Vec::new());
        };
        let mut context = Context {
            trunks: &mut self.trunks,
            options: &self.options,
            history: &history,
            nearest: &self.nearest,
            heard: None,
        };
        Ok(task.study(observed, &mut context)?)
    }

    /// Who came into sight or went out of it since this was asked last; looks of a stream tell.
    /// A face that is lost for a few looks is still taken to be there.
    pub fn faces_change(&mut self) -> Option<Faces> {
        self.change.take()
    }

    /// Whether words are heard where nobody gives them.
    pub fn recognises(&self) -> bool {
        self.recogniser.is_some()
    }

    /// `id@version` of the recogniser's bundle.
    pub fn recogniser(&self) -> Option<&str> {
        self.recogniser.as_ref().map(Recogniser::bundle)
    }

    /// What the recogniser hears, where there are no words and a task would read them. Words that
    /// somebody gives are never heard again, and no voice is where voices may not be judged.
    fn listen(&mut self, observed: &Observation<'_>) -> Result<Option<Transcript>, Error> {
        let (Some(utterance), None) = (observed.utterance, observed.words) else {
            return Ok(None);
        };
        // the whole will be heard: listening to each part of it as well costs too much
        if observed.is_partial {
            return Ok(None);
        }
        let with_words = observed.with_words("");
        let reads = |slot: &Slot| {
            let manifest = slot.manifest();
            manifest.reads(Trunk::Text)
                && self.is_asked(manifest)
                && self.looks_at(manifest, &with_words)
        };
        if !self.options.voice || !self.slots.iter().any(reads) {
            return Ok(None);
        }
        let recogniser = self.recogniser.as_mut();
        let heard = recogniser.map(|r| r.transcribe(&utterance.samples));
        Ok(heard.transpose()?)
    }

    fn watch(&mut self, look: &Observation<'_>) {
        let Some(ids) = self.trunks.in_sight() else {
            return;
        };
        let lacking = |among: &[u32], ids: &[u32]| -> Vec<u32> {
            let lacking = ids.iter().filter(|id| !among.contains(id));
            lacking.copied().collect()
        };
        let (came, left) = (lacking(&self.in_sight, &ids), lacking(&ids, &self.in_sight));
        self.in_sight.clone_from(&ids);
        if !came.is_empty() || !left.is_empty() {
            self.change = Some(Faces {
                source: look.scene.map_or(look.source, |s| s.source).to_owned(),
                at: look.at.map(|at| at.as_secs_f64()),
                ids,
                came,
                left,
            });
        }
    }

    /// Places of the tasks that look at an observation, those first whose answers others read.
    fn order(&self, observed: &Observation<'_>) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.slots.len())
            .filter(|at| self.looks_at(self.slots[*at].manifest(), observed))
            .collect();
        order.sort_by_key(|at| {
            let manifest = self.slots[*at].manifest();
            match (manifest.late.is_some(), manifest.reads(Trunk::Face)) {
                (true, _) => 2,
                (false, true) => 1,
                (false, false) => 0,
            }
        });
        order
    }

    fn is_asked(&self, manifest: &Manifest) -> bool {
        match &self.options.tasks {
            Some(tasks) => tasks.has(&manifest.task),
            None => !manifest.on_request,
        }
    }

    /// Whether an answer of `task` is read by a task that is asked for.
    pub(crate) fn is_read(&self, task: &str) -> bool {
        let readers = self.slots.iter().map(Slot::manifest);
        readers
            .filter(|m| self.is_asked(m))
            .any(|m| m.late.as_ref().is_some_and(|l| l.task == task))
    }

    fn looks_at(&self, manifest: &Manifest, observed: &Observation<'_>) -> bool {
        let faces = observed.shows_faces() && manifest.reads(Trunk::Face);
        if !self.is_asked(manifest) {
            return faces && self.is_read(&manifest.task);
        }
        if faces {
            return true;
        }
        if observed.is_look() {
            return false;
        }
        let image = observed.scene.is_some() && manifest.reads(Trunk::Image)
            || !observed.seen.is_empty() && manifest.reads(Trunk::Seen);
        let speech = observed.utterance.is_some() && manifest.reads(Trunk::Speech);
        let text = observed.words.is_some() && manifest.reads(Trunk::Text);
        let face = observed.shows_faces() && manifest.late.is_some();
        // who judges images was not asked about words, unless by name
        let silent = manifest.reads(Trunk::Image) && self.options.tasks.is_none();
        image || face || (!silent && (speech || text))
    }

    fn load(&mut self, at: usize) -> Result<(), Error> {
        let slot = &mut self.slots[at];
        if slot.task.is_none() {
            let loaded = Task::load(&slot.bundle, &mut self.trunks, &self.options)?;
            slot.task = Some(loaded);
        }
        Ok(())
    }
}

fn unknown_task(name: &str, known: &[&str], from_folder: bool) -> Error {
    let known = known.join(", ");
    let place = match from_folder {
        true => "in that folder",
        false => "built in",
    };
    Error::Usage(format!(
        "no bundle answers `{name}`; the tasks {place} are {known}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_a_list_of_names() {
        let tasks = Tasks::parse("emotion, sentiment");
        assert!(tasks.is_ok_and(|t| t.has("emotion") && t.has("sentiment") && !t.has("x")));
        assert!(Tasks::parse("").is_err() && Tasks::parse(" , ").is_err());
    }
}
