//! An answer of each task about nothing, from made-up sound, words and pixels: what a service
//! does before it says that it is ready, and how `doctor` tries the models.

use super::{FaceSearch, Observation, Scene, Session};
use crate::Error;
use crate::model::ModelError;
use crate::model::manifest::Trunk;
use crate::session::task::Context;
use crate::signal::SAMPLE_RATE;
use crate::signal::segment::Utterance;
use crate::vision::Picture;
use std::time::{Duration, Instant};

/// Seconds of made-up sound.
const SECONDS: usize = 4;
const WORDS: &str = "I told you twice that it would not work, and now look at this!";

/// How a task answered about nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// What it was asked about, in words.
    pub about: String,
    /// Milliseconds that loading took.
    pub load: f64,
    /// Milliseconds that the second answer took.
    pub spent: f64,
    /// Probabilities of the second answer.
    pub scores: Vec<f32>,
}

impl Session {
    /// Loads every task that could answer with these inputs and has it answer once, so that the
    /// first person waits no longer than the second.
    ///
    /// # Errors
    /// A model that is refused or fails.
    pub fn warm_up(&mut self, camera: bool) -> Result<(), Error> {
        if let Some(recogniser) = &mut self.recogniser {
            recogniser.transcribe(&utterance().samples)?;
        }
        for at in 0..self.slots.len() {
            let manifest = self.slots[at].manifest();
            let needed = self.is_asked(manifest) || self.is_read(&manifest.task);
            let looks = manifest.reads(Trunk::Image) || manifest.reads(Trunk::Face);
            let named = self.options.tasks.as_ref();
            let named = named.is_some_and(|t| t.has(&manifest.task)) && manifest.reads(Trunk::Text);
            if needed && (camera || !looks || named) {
                self.load(at)?;
                self.answer_about_nothing(at)?;
            }
        }
        Ok(())
    }

    /// Loads a task and has it answer twice; the second time counts.
    ///
    /// # Errors
    /// A model that is refused or fails.
    pub fn try_task(&mut self, task: &str) -> Result<Trial, Error> {
        let at = self.slots.iter().position(|s| s.manifest().task == task);
        let missing = || ModelError::missing(task, self.options.models.as_deref());
        let at = at.ok_or_else(missing)?;
        let start = Instant::now();
        self.load(at)?;
        let load = start.elapsed().as_secs_f64() * 1e3;
        self.answer_about_nothing(at)?;
        let start = Instant::now();
        let scores = self.answer_about_nothing(at)?;
        let spent = start.elapsed().as_secs_f64() * 1e3;
        let manifest = self.slots[at].manifest();
        let mut about: Vec<String> = Vec::new();
        if manifest.reads(Trunk::Speech) {
            about.push(format!("{SECONDS} s of sound"));
        }
        if manifest.reads(Trunk::Image) {
            about.push("an image".into());
        }
        if manifest.reads(Trunk::Text) {
            about.push("words".into());
        }
        if manifest.reads(Trunk::Face) {
            about.push("an image, searched for faces, and one face".into());
        }
        Ok(Trial {
            about: about.join(" with "),
            load,
            spent,
            scores,
        })
    }

    /// Scores of one task; nothing of it is remembered.
    fn answer_about_nothing(&mut self, at: usize) -> Result<Vec<f32>, Error> {
        let manifest = self.slots[at].manifest().clone();
        let image = image(&self.slots[at].bundle.name())?;
        let utterance = utterance();
        let reads = |trunk| manifest.reads(trunk);
        let observed = Observation {
            source: "",
            at: None,
            utterance: Some(&utterance).filter(|_| reads(Trunk::Speech)),
            words: Some(WORDS).filter(|_| reads(Trunk::Text)),
            scene: Some(Scene {
                source: "",
                image: &image,
                decode: None,
            })
            .filter(|_| reads(Trunk::Image) || reads(Trunk::Face)),
            seen: &[],
            is_partial: false,
        };
        let mut options = self.options.clone();
        options.all_sounds = true;
        options.voice = true;
        let mut scores = Vec::new();
        // no face is in the image: it is searched, looked at again, and then taken for one
        for faces in [FaceSearch::Find, FaceSearch::Whole] {
            options.faces = faces;
            self.trunks.next();
            let mut context = Context {
                trunks: &mut self.trunks,
                options: &options,
                history: &[],
                nearest: &self.nearest,
                heard: None,
            };
            if let Some(task) = &mut self.slots[at].task {
                let events = task.observe(&observed, &mut context)?.events;
                scores = events
                    .into_iter()
                    .next()
                    .map_or(scores, |e| e.scores.into_iter().map(|(_, p)| p).collect());
                if let Some(scene) = &observed.scene {
                    task.try_second_look(scene, &mut context)?;
                }
                task.restart(&self.options);
            }
            if !reads(Trunk::Face) {
                break;
            }
        }
        self.trunks.next();
        self.trunks.restart();
        Ok(scores)
    }
}

fn utterance() -> Utterance {
    let voice = |i: usize| (i as f32 * 0.05).sin() * (i as f32 * 0.001).sin() * 0.3;
    Utterance {
        start: Duration::ZERO,
        samples: (0..SECONDS * SAMPLE_RATE as usize).map(voice).collect(),
        gaps: Vec::new(),
        cut: false,
    }
}

/// A frame of a camera that sees nothing.
fn image(name: &str) -> Result<Picture, ModelError> {
    let shade = |x: u32, y: u32| [(x * 7 + y) as u8, (x ^ y) as u8, (y * 5) as u8];
    Picture::from_fn(640, 480, shade).ok_or_else(|| ModelError::Run {
        name: name.to_owned(),
        what: "no image of 640 × 480 can be made".into(),
    })
}
