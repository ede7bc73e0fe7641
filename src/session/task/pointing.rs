//! Where an image shows what words name.

use super::{Context, Encoded, Named, Observation, Scene, Task, values, words_of};
use crate::event::{Entity, Latency};
use crate::model::ModelError;
use crate::model::manifest::Trunk;
use crate::session::heads::HeadInput;
use crate::session::heads::boxes::{Place, Query};
use crate::session::trunks::{Encoding, timed};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Task {
    /// The names, with their places in the image where it shows them: those that the head of kind
    /// `boxes` is surer of than of nothing to point at.
    pub(super) fn placed(
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
        let given = HeadInput {
            values: values(&self.manifest.heads[at], by),
            queries,
            ..HeadInput::default()
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
