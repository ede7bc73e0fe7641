//! What faces in a picture show (FER+'s eight classes), and what that says about emotion.

use super::timed;
use crate::decision::softmax;
use crate::event::Latency;
use crate::model::manifest::{Decision, Face, Head, Inputs, Task};
use crate::model::{Bundle, ExpressionModel, FaceModel, ModelError};
use crate::vision::Picture;
use crate::vision::faces::{self, Found};
use crate::vision::resize::{Crop, Resizer};

/// The task, ready to answer.
pub struct Expression {
    name: String,
    labels: Vec<String>,
    decision: Decision,
    face: Face,
    resizer: Resizer,
    pixels: Vec<u8>,
    detector: FaceModel,
    student: ExpressionModel,
}

impl Expression {
    /// Loads every model of the bundle.
    ///
    /// # Errors
    /// A file that is missing, refused, or claims more than it does.
    pub fn load(bundle: &Bundle) -> Result<Self, ModelError> {
        let manifest = &bundle.manifest;
        let Inputs::Expression { face } = &manifest.inputs else {
            return Err(bundle.answers_another(Task::Expression));
        };
        Ok(Expression {
            name: bundle.name(),
            labels: manifest.labels.clone(),
            decision: manifest.decision.clone(),
            face: face.clone(),
            resizer: Resizer::new(),
            pixels: Vec::new(),
            detector: FaceModel::load(bundle)?,
            student: ExpressionModel::load(bundle)?,
        })
    }

    /// `id@version` of the bundle.
    pub fn bundle(&self) -> &str {
        &self.name
    }

    /// Class names in the order of the scores.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// How scores become a decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The faces of a picture, most certain first.
    ///
    /// # Errors
    /// A model that fails.
    pub fn detect(
        &mut self,
        picture: &Picture,
        latency: &mut Latency,
    ) -> Result<Vec<Found>, ModelError> {
        let side = self.face.detector_side;
        let Some(seen) = faces::square(picture) else {
            return Ok(Vec::new());
        };
        timed(&mut latency.resize, || {
            self.resizer
                .rgb(picture, seen, side, side, &mut self.pixels);
        });
        let [boxes, scores] = timed(&mut latency.detect, || {
            self.detector.detect(&self.pixels, side as usize)
        })?;
        let least = self.face.min_score;
        Ok(faces::faces(&boxes, &scores, side as usize, seen, least))
    }

    /// Probabilities of the expression of a face that was found, in the order of the labels.
    ///
    /// # Errors
    /// A model that fails.
    pub fn of_face(
        &mut self,
        picture: &Picture,
        face: &Found,
        latency: &mut Latency,
    ) -> Result<Vec<f32>, ModelError> {
        let (scale, shift) = (self.face.crop_scale, self.face.crop_shift);
        match faces::close_up(&face.place, scale, shift) {
            Some(crop) => self.of_crop(picture, crop, latency),
            None => Ok(vec![1.0 / self.labels.len() as f32; self.labels.len()]),
        }
    }

    /// The same for a part of a picture that is known to hold a face.
    ///
    /// # Errors
    /// A model that fails.
    pub fn of_crop(
        &mut self,
        picture: &Picture,
        crop: Crop,
        latency: &mut Latency,
    ) -> Result<Vec<f32>, ModelError> {
        let side = self.face.expression_side;
        timed(&mut latency.resize, || {
            self.resizer
                .grey(picture, crop, side, side, &mut self.pixels);
        });
        let logits = timed(&mut latency.expression, || {
            self.student.logits(&self.pixels, side as usize)
        })?;
        Ok(softmax(
            &logits,
            self.decision.temperature(Head::Expression),
        ))
    }

    /// The part of an expression that LE-MER's classes have a name for: one number for each of
    /// `labels`, the probability that the face gives it. They sum to less than 1 by what the
    /// face gives to surprise, disgust, fear and contempt.
    #[must_use]
    pub fn as_emotion(&self, scores: &[f32], labels: &[String]) -> Vec<f32> {
        let of = |label: &String| {
            let name = match label.as_str() {
                "angry" => "anger",
                "happy" => "happiness",
                "sad" => "sadness",
                other => other,
            };
            let at = self.labels.iter().position(|l| l == name);
            at.and_then(|at| scores.get(at)).copied().unwrap_or(0.0)
        };
        labels.iter().map(of).collect()
    }
}
