//! What the trunks make of an observation, once for all heads of a task.

use super::{Context, Encoded, Observation, Task, Verdict, passes, top};
use crate::model::ModelError;
use crate::model::manifest::{self, Trunk};
use crate::session::Distance;
use crate::session::heads::distance::DISTANCE;
use crate::session::trunks::MIN_SAMPLES;
use std::collections::BTreeSet;

impl Task {
    /// Runs the trunks on whatever is there.
    pub(super) fn encode(
        &self,
        observed: &Observation<'_>,
        context: &mut Context<'_>,
    ) -> Result<Encoded, ModelError> {
        let mut encoded = Encoded::default();
        let speech = observed.utterance.filter(|_| context.options.voice);
        if let (Some(at), Some(utterance)) = (self.handles.get(&Trunk::Speech), speech)
            && utterance.samples.len() >= MIN_SAMPLES
        {
            let options = context.options;
            let floor = options.background.level.filter(|_| !options.all_sounds);
            if floor.is_some_and(|floor| utterance.level() < floor) {
                let note = "as quiet as the background of this place: it was not judged";
                encoded.notes.push(note.into());
            } else {
                let trunk = context.trunks.speech(*at);
                let rows = trunk.encode(&utterance.samples, &mut encoded.latency)?;
                encoded.by.insert(Trunk::Speech, rows);
                self.gate(&mut encoded, context)?;
            }
        }
        self.see(observed, context, &mut encoded)?;
        self.read(observed, context, &mut encoded)?;
        self.measure(&encoded, context)?;
        Ok(encoded)
    }

    /// Notes how far what is judged lies from what the trunks learnt from.
    fn measure(&self, encoded: &Encoded, context: &mut Context<'_>) -> Result<(), ModelError> {
        for (at, head) in self.manifest.heads.iter().enumerate() {
            let read = head.reads.first().filter(|_| head.kind == "distance");
            let Some(trunk) = read.map(|r| r.trunk).filter(|t| encoded.by.contains_key(t)) else {
                continue;
            };
            let reply = self.ask(at, &encoded.by, None)?;
            let measured = reply.output(DISTANCE).and_then(|o| o.values.first());
            context
                .trunks
                .distances
                .extend(measured.map(|distance| Distance {
                    task: self.manifest.task.clone(),
                    trunk,
                    distance: *distance,
                }));
        }
        Ok(())
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
    pub(super) fn see(
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
    fn gate(&self, encoded: &mut Encoded, context: &mut Context<'_>) -> Result<(), ModelError> {
        let options = context.options;
        let heard = context.heard.map(|heard| heard.verdict);
        for (at, head) in self.manifest.heads.iter().enumerate() {
            let hears = head.reads.iter().any(|r| r.trunk == Trunk::Speech);
            if head.kind != "gate" || !hears || !encoded.by.contains_key(&Trunk::Speech) {
                continue;
            }
            let reply = self.ask(at, &encoded.by, Some(&mut encoded.latency))?;
            let least = options.background.speech;
            let noted = &mut context.trunks.gated;
            let passed = passes(head, &reply, least, Trunk::Speech, noted);
            // a recogniser that hears nobody is believed as well
            if passed && heard != Some(Verdict::NoSpeech) {
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
}
