//! Faces: who is judged, the gate before that, and what a face adds to what is heard and read.

use super::{
    Answers, Context, FaceSearch, Handle, Observation, Reply, Scene, Task, modality_of, model,
    passes,
};
use crate::decision::Smoother;
use crate::event::{Event, Face, Latency};
use crate::model::ModelError;
use crate::model::manifest::{self, Trunk};
use crate::session::heads::HeadInput;
use crate::session::trunks::timed;
use crate::vision::faces::{Found, Rect};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Faces of an image that are judged, the most certain ones.
const MAX_JUDGED: usize = 16;

impl Task {
    /// Judges the faces of an image, each by the one head that reads a face.
    pub(super) fn judge_faces(
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
                if !whole && !self.is_face(found, scene, handle, context, &mut latency)? {
                    continue;
                }
                let trunk = context.trunks.face(handle);
                let pixels = match whole {
                    true => Some(trunk.whole(scene.image, &mut latency)),
                    false => trunk.crop(scene.image, found, &mut latency),
                };
                let reply = self.judge_crop(at, pixels, &mut latency)?;
                judged.push((found, reply.scores, latency));
            }
            places.push(found.place);
        }
        let trunk = context.trunks.face(handle);
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
            let face = face(found, scene, id);
            answers.events.push(Event {
                label: self.label(Some(at), decisive, context.options),
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
    pub(super) fn judge_crop(
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
        let given = HeadInput {
            values: vec![(&dims, model::InputValues::Bytes(pixels))],
            ..HeadInput::default()
        };
        timed(&mut latency.expression, || head.answer(&given))
    }

    /// The second look: what gates make of a find and of what is around it. A box without extent
    /// passes none.
    fn is_face(
        &self,
        found: &Found,
        scene: &Scene<'_>,
        handle: Handle,
        context: &mut Context<'_>,
        latency: &mut Latency,
    ) -> Result<bool, ModelError> {
        let gates = self.manifest.heads.iter().zip(&self.heads);
        let looks = |gate: &manifest::Head| {
            gate.kind == "gate" && gate.reads.iter().any(|r| r.trunk == Trunk::Face)
        };
        for (gate, loaded) in gates.filter(|(gate, _)| looks(gate)) {
            let trunk = context.trunks.face(handle);
            let Some((side, pixels)) = trunk.context(scene.image, found, latency) else {
                return Ok(false);
            };
            let Some(loaded) = loaded else { continue };
            let dims = [1, side as usize, side as usize, 3];
            let given = HeadInput {
                values: vec![(&dims, model::InputValues::Bytes(pixels))],
                ..HeadInput::default()
            };
            let reply = timed(&mut latency.detect, || loaded.answer(&given))?;
            let least = context.options.background.face;
            let noted = &mut context.trunks.gated;
            if !passes(gate, &reply, least, Trunk::Face, noted) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has the gates before a face look at a whole image, whatever they make of it.
    pub fn try_second_look(
        &self,
        scene: &Scene<'_>,
        context: &mut Context<'_>,
    ) -> Result<(), ModelError> {
        let Some(handle) = self.handles.get(&Trunk::Face) else {
            return Ok(());
        };
        let latency = &mut Latency::default();
        self.is_face(&the_whole(scene), scene, *handle, context, latency)?;
        Ok(())
    }

    /// What the nearest face adds: a probability a class, of a sum below 1 by what the face
    /// gives to expressions that are no class here.
    pub(super) fn late(
        &self,
        observed: &Observation<'_>,
        context: &Context<'_>,
    ) -> Option<(Vec<f32>, Face)> {
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
}

/// Late fusion on probabilities: the other modalities count once and the face counts once, by
/// the part of it that these classes have a name for: `p = (p_other + p_face) / (1 + Σ p_face)`.
pub(super) fn late_fusion(scores: &[f32], face: &[f32]) -> Vec<f32> {
    let share = 1.0 + face.iter().sum::<f32>();
    let fused = scores
        .iter()
        .zip(face)
        .map(|(score, face)| (score + face) / share);
    fused.collect()
}

/// A face alone; `None` if it mostly shows what is no class here.
pub(super) fn face_alone(face: &[f32]) -> Option<Vec<f32>> {
    let sum: f32 = face.iter().sum();
    (sum >= 0.5).then(|| face.iter().map(|p| p / sum).collect())
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

fn face(found: &Found, scene: &Scene<'_>, id: u32) -> Face {
    let place = found.place;
    Face {
        id,
        place: [place.x, place.y, place.width, place.height],
        picture: [scene.image.width() as f32, scene.image.height() as f32],
        score: found.score,
    }
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
