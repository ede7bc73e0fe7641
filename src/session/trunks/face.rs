//! An image to faces.

use super::{Handle, sha256, shared, timed};
use crate::event::Latency;
use crate::model::manifest;
use crate::model::{Bundle, InputValues, Model, ModelError};
use crate::vision::Picture;
use crate::vision::faces::{self, Found, Rect};
use crate::vision::resize::{Crop, Resizer};
use crate::vision::track::Tracker;
use std::sync::Arc;

/// An image to faces.
pub(in crate::session) struct FaceTrunk {
    sha256: String,
    wanted: manifest::Face,
    resizer: Resizer,
    pixels: Vec<u8>,
    model: Model,
    tracker: Tracker,
    last: Option<Arc<Vec<Found>>>,
    /// Places that got their numbers already, and these.
    numbered: Option<(Vec<Rect>, Vec<u32>)>,
}

impl super::Trunks {
    /// A bundle's face detector.
    ///
    /// # Errors
    /// A file that is missing or refused.
    pub fn load_face(
        &mut self,
        bundle: &Bundle,
        wanted: &manifest::Face,
    ) -> Result<Handle, ModelError> {
        let threads = self.threads;
        let sha256 = sha256(&bundle.manifest, &wanted.file);
        let same = |t: &FaceTrunk| t.sha256 == sha256 && t.wanted == *wanted;
        shared(&mut self.face, same, || {
            let model = Model::load(bundle, &wanted.file, threads)?;
            Ok(FaceTrunk {
                wanted: wanted.clone(),
                resizer: Resizer::new(),
                pixels: Vec::new(),
                model: model.expect(&["pixels"], &["boxes", "scores"])?,
                tracker: Tracker::default(),
                last: None,
                numbered: None,
                sha256: sha256.clone(),
            })
        })
    }
}

impl FaceTrunk {
    /// What the detector takes for faces of an image, most certain first.
    ///
    /// # Errors
    /// A model that fails.
    pub fn find(
        &mut self,
        image: &Picture,
        latency: &mut Latency,
    ) -> Result<Arc<Vec<Found>>, ModelError> {
        if let Some(known) = &self.last {
            return Ok(Arc::clone(known));
        }
        let found = Arc::new(self.detect(image, latency)?);
        self.last = Some(Arc::clone(&found));
        Ok(found)
    }

    /// The numbers in this session of an image's faces, which stand at `places`; asked again
    /// about the same ones, the same numbers.
    pub fn number(&mut self, places: Vec<Rect>) -> Vec<u32> {
        if let Some((known, ids)) = &self.numbered
            && *known == places
        {
            return ids.clone();
        }
        let ids = self.tracker.update(&places);
        self.numbered = Some((places, ids.clone()));
        ids
    }

    /// Numbers of the faces in sight.
    pub fn in_sight(&self) -> Vec<u32> {
        self.tracker.ids()
    }

    /// Another stream begins.
    pub fn restart(&mut self) {
        self.tracker.forget();
    }

    /// Forgets what was found last.
    pub fn forget(&mut self) {
        self.last = None;
        self.numbered = None;
    }

    /// Whether a number is still that of a face in sight.
    pub fn follows(&self, id: u32) -> bool {
        self.tracker.follows(id)
    }

    fn detect(&mut self, image: &Picture, latency: &mut Latency) -> Result<Vec<Found>, ModelError> {
        let side = self.wanted.side;
        let Some(seen) = faces::square(image) else {
            return Ok(Vec::new());
        };
        timed(&mut latency.resize, || {
            self.resizer.rgb(image, seen, side, side, &mut self.pixels);
        });
        let dims = [1, side as usize, side as usize, 3];
        let outputs = timed(&mut latency.detect, || {
            self.model.run(&[(&dims, InputValues::Bytes(&self.pixels))])
        })?;
        let of = |name| {
            let at = self.model.output(name);
            at.map_or(&[][..], |at| outputs[at].values.as_slice())
        };
        let least = self.wanted.min_score;
        Ok(faces::faces(
            of("boxes"),
            of("scores"),
            side as usize,
            seen,
            least,
        ))
    }

    /// What a head sees of a face: grey pixels, `crop_side` × `crop_side`; `None` of a box
    /// without extent.
    pub fn crop(&mut self, image: &Picture, face: &Found, latency: &mut Latency) -> Option<&[u8]> {
        let (scale, shift) = (self.wanted.crop_scale, self.wanted.crop_shift);
        let crop = faces::close_up(&face.place, scale, shift)?;
        Some(self.grey(image, crop, latency))
    }

    /// What a gate sees of a find before it is a face: it and what is around it, RGB; `None` of a
    /// box without extent.
    pub fn context(
        &mut self,
        image: &Picture,
        found: &Found,
        latency: &mut Latency,
    ) -> Option<(u32, &[u8])> {
        let wanted = self.wanted.context?;
        let crop = faces::close_up(&found.place, wanted.scale, 0.0)?;
        let side = wanted.side;
        timed(&mut latency.resize, || {
            self.resizer.rgb(image, crop, side, side, &mut self.pixels);
        });
        Some((side, &self.pixels))
    }

    /// What a head sees of an image that is one face.
    pub fn whole(&mut self, image: &Picture, latency: &mut Latency) -> &[u8] {
        self.grey(image, Crop::whole(image), latency)
    }

    fn grey(&mut self, image: &Picture, crop: Crop, latency: &mut Latency) -> &[u8] {
        let side = self.wanted.crop_side;
        timed(&mut latency.resize, || {
            self.resizer.grey(image, crop, side, side, &mut self.pixels);
        });
        &self.pixels
    }
}
