//! An answer of each task about nothing, from made-up sound, words and pixels: what a service
//! does before it says that it is ready, and how `doctor` tries the models.

use super::emotion::{Emotion, Input, Words};
use super::expression::Expression;
use super::sentiment::Sentiment;
use crate::event::Latency;
use crate::model::ModelError;
use crate::signal::SAMPLE_RATE;
use crate::vision::Picture;
use crate::vision::resize::Crop;

/// Seconds of made-up sound.
pub const SECONDS: f64 = 4.0;
const WORDS: &str = "I told you twice that it would not work, and now look at this!";

/// A frame of a camera that sees nothing.
fn picture(name: &str) -> Result<Picture, ModelError> {
    let shade = |x: u32, y: u32| [(x * 7 + y) as u8, (x ^ y) as u8, (y * 5) as u8];
    Picture::from_fn(640, 480, shade).ok_or_else(|| ModelError::Run {
        name: name.to_owned(),
        what: "no picture of 640 × 480 can be made".into(),
    })
}

impl Emotion {
    /// Probabilities for [`SECONDS`] of sound with words.
    ///
    /// # Errors
    /// A model that fails.
    pub fn rehearse(&mut self) -> Result<Vec<f32>, ModelError> {
        let count = (SECONDS * f64::from(SAMPLE_RATE)) as usize;
        let voice: Vec<f32> = (0..count)
            .map(|i| (i as f32 * 0.05).sin() * (i as f32 * 0.001).sin() * 0.3)
            .collect();
        let words = Words {
            text: WORDS,
            history: &[],
        };
        let encodings = self.encode(&Input {
            speech: Some(&voice),
            words: Some(words),
        })?;
        let answer = self.answer(&encodings)?;
        Ok(answer.map(|a| a.scores).unwrap_or_default())
    }
}

impl Sentiment {
    /// Probabilities for a picture with words.
    ///
    /// # Errors
    /// A model that fails.
    pub fn rehearse(&mut self) -> Result<Vec<f32>, ModelError> {
        let picture = picture(self.bundle())?;
        let encodings = self.encode(Some(&picture), Some(WORDS))?;
        let answer = self.answer(&encodings)?;
        Ok(answer.map(|a| a.scores).unwrap_or_default())
    }
}

impl Expression {
    /// Searches a picture for faces, and gives the probabilities for one face.
    ///
    /// # Errors
    /// A model that fails.
    pub fn rehearse(&mut self) -> Result<Vec<f32>, ModelError> {
        let picture = picture(self.bundle())?;
        let mut latency = Latency::default();
        self.detect(&picture, &mut latency)?;
        // no face is in it: the whole picture is taken for one
        self.of_crop(&picture, Crop::whole(&picture), &mut latency)
    }
}
