//! What is observed at one moment.

use super::Transcript;
use crate::signal::segment::Utterance;
use crate::vision::Picture;
use std::time::Duration;

/// Sound, words, an image, or several of them that belong together.
///
/// With a time it is a moment of a stream, without one it stands by itself. An image alone in a
/// stream is a look: faces are found and followed, and nothing else is asked of it, until
/// somebody speaks. An image beside sound or words in a stream is what the camera saw then.
#[derive(Debug, Clone, Copy, Default)]
pub struct Observation<'a> {
    /// What events call the place where sound and words come from.
    pub source: &'a str,
    /// Stream time at which it is complete.
    pub at: Option<Duration>,
    /// What was heard: 16 kHz mono, -1..1, finite.
    pub utterance: Option<&'a Utterance>,
    /// What was said, typed or read.
    pub words: Option<&'a str>,
    /// What was seen.
    pub scene: Option<Scene<'a>>,
    /// What somebody else saw in the image, a word each: tasks that name an image's content take
    /// these instead, and need no image.
    pub seen: &'a [String],
    /// Somebody is still speaking: it is answered by the voice alone, and nothing of it is
    /// remembered, as if it had never been observed.
    pub is_partial: bool,
}

/// A decoded image with where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// What events call it.
    pub source: &'a str,
    /// The image.
    pub image: &'a Picture,
    /// What decoding it took, in milliseconds; `None` where nothing was decoded.
    pub decode: Option<f64>,
}

impl<'a> Observation<'a> {
    /// Words that stand by themselves.
    pub fn of_words(source: &'a str, words: &'a str) -> Observation<'a> {
        Observation {
            source,
            words: Some(words),
            ..Observation::default()
        }
    }

    /// An image that stands by itself.
    pub fn of_image(source: &'a str, image: &'a Picture) -> Observation<'a> {
        Observation {
            source,
            scene: Some(Scene {
                source,
                image,
                decode: None,
            }),
            ..Observation::default()
        }
    }

    /// An utterance of a stream or a recording.
    pub fn of_utterance(source: &'a str, utterance: &'a Utterance) -> Observation<'a> {
        Observation {
            source,
            at: Some(utterance.start + utterance.duration()),
            utterance: Some(utterance),
            ..Observation::default()
        }
    }

    /// The same with its words.
    #[must_use]
    pub fn with_words(self, words: &'a str) -> Observation<'a> {
        Observation {
            words: Some(words),
            ..self
        }
    }

    /// The same with words for what its image shows.
    #[must_use]
    pub fn with_seen(self, seen: &'a [String]) -> Observation<'a> {
        Observation { seen, ..self }
    }

    /// The same with what a recogniser heard of its utterance; without words that may be built
    /// upon, the image beside it has nothing to be judged with.
    #[must_use]
    pub(super) fn with_heard(self, heard: &'a Transcript) -> Observation<'a> {
        let words = heard.words();
        Observation {
            words,
            scene: self.scene.filter(|_| words.is_some()),
            ..self
        }
    }

    /// Whether somebody said something.
    pub(super) fn is_said(&self) -> bool {
        self.utterance.is_some() || self.words.is_some()
    }

    /// Whether faces are looked for: in an image that stands by itself, and in a look. What the
    /// camera saw while somebody spoke is looked at for faces at the camera's own pace.
    pub(super) fn shows_faces(&self) -> bool {
        self.scene.is_some() && (self.at.is_none() || !self.is_said())
    }

    /// Whether it is a frame of a stream and nothing else.
    pub(super) fn is_look(&self) -> bool {
        self.scene.is_some() && self.at.is_some() && !self.is_said()
    }

    /// The stream time to smooth and remember by.
    pub(super) fn clock(&self) -> Duration {
        let end = self.utterance.map(|u| u.start + u.duration());
        end.or(self.at).unwrap_or_default()
    }
}
