//! Asking the session about an item, with every head that the item's inputs allow.

use super::item::Item;
use super::{Options, image};
use crate::Error;
use crate::app::analyze::wait;
use crate::capture::{CaptureError, Channel, open_audio};
use crate::decision::softmax;
use crate::event::Modality;
use crate::fusion::{CATALOGUE, Precision};
use crate::model::manifest::Trunk;
use crate::model::{Bundle, InputValues, Model, ModelError};
use crate::session::{self, FaceSearch, Observation, Scene, Session, Tasks, UNSURE};
use crate::signal::segment::{self, Utterance};
use crate::vision::Picture;
use std::path::Path;
use std::time::Duration;

/// Name of the line about faces that most taggers agree on.
pub(super) const CLEAR: &str = "over half of the taggers agree";

/// What an item's files hold, decoded: read once for every bundle, then dropped.
#[derive(Clone, Default)]
pub(in crate::app) struct Material {
    pub utterance: Option<Utterance>,
    pub image: Option<Picture>,
}

impl Material {
    /// Reads an item's files.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(item: &Item) -> Result<Material, Unjudged> {
        let mut material = Material::default();
        if let Some(path) = &item.audio {
            material.utterance = Some(sound(path)?);
        }
        if let Some(path) = &item.image {
            material.image = Some(image(path)?);
        }
        Ok(material)
    }
}

/// What one flavour (int8 or fp32) says of one item.
#[derive(Debug, Clone)]
pub(super) struct Prediction {
    /// Calibrated scores with every modality that the item offers.
    pub shipped: Vec<f32>,
    /// Whether none of them is high enough to be told.
    pub unsure: bool,
    /// What those rest on.
    pub modality: Modality,
    /// Scores of each system that the item's modalities allow, by its name.
    pub systems: Vec<(String, Vec<f32>)>,
    /// Compute of the shipped answer, in milliseconds.
    pub millis: f64,
    /// Seconds of sound that it rests on.
    pub seconds: f64,
}

/// An item that could not be judged, in one sentence.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum Unjudged {
    /// Its sound or image.
    #[error(transparent)]
    Unreadable(#[from] CaptureError),
    /// A model.
    #[error("{0}")]
    Model(Error),
    /// Nothing to go by.
    #[error("{0}")]
    Empty(&'static str),
    /// An image without a face.
    #[error("no face was found in the image")]
    NoFace,
}

impl Unjudged {
    /// The reason in a word or two, for counting.
    pub fn reason(&self) -> &'static str {
        match self {
            Unjudged::Unreadable(_) => "unreadable",
            Unjudged::Model(_) => "model failed",
            Unjudged::Empty(_) => "empty",
            Unjudged::NoFace => "no face",
        }
    }
}

/// A session with one task, and perhaps other heads on its trunks.
pub(super) struct Judge {
    session: Session,
    faces: bool,
    history: bool,
    operators: Vec<(String, Model)>,
}

impl Judge {
    /// Loads the task from the bundles that were found.
    ///
    /// # Errors
    /// A bundle or a head that is refused.
    pub fn load(found: &[Bundle], options: &Options) -> Result<Judge, Error> {
        let mut session = Session::of(
            found.to_vec(),
            session::Options {
                tasks: Some(Tasks::parse(&options.task).map_err(Error::Usage)?),
                forget: 1e9,
                // every item of a labelled set is answered
                all_sounds: true,
                faces: match options.detect {
                    true => FaceSearch::Find,
                    false => FaceSearch::Whole,
                },
                every_head: true,
                bank: options.bank.clone(),
                ..session::Options::default()
            },
        )?;
        session.warm_up(true)?;
        let manifest = session.bundle(&options.task).map(|b| &b.manifest);
        let faces = manifest.is_some_and(|m| m.reads(Trunk::Face));
        Ok(Judge {
            session,
            faces,
            history: !options.no_history,
            operators: match &options.fusion {
                Some(folder) => operators(folder)?,
                None => Vec::new(),
            },
        })
    }

    /// Answers with every system that the item's modalities allow.
    ///
    /// # Errors
    /// A model that fails; nothing to go by.
    pub fn judge(&mut self, item: &Item, material: &Material) -> Result<Prediction, Unjudged> {
        self.session.restart();
        let history = item.history.iter().filter(|_| self.history);
        for utterance in history {
            self.session.remember(utterance);
        }
        let observed = Observation {
            source: "",
            at: None,
            utterance: material.utterance.as_ref(),
            words: item.text.as_deref(),
            scene: material.image.as_ref().map(|image| Scene {
                source: "",
                image,
                decode: None,
            }),
            seen: &item.seen,
            is_partial: false,
        };
        let events = self.session.observe(&observed).map_err(Unjudged::Model)?;
        // of several faces the most certain one is judged
        let Some(event) = events.into_iter().next() else {
            return Err(match self.faces && material.image.is_some() {
                true => Unjudged::NoFace,
                false => Unjudged::Empty("no input that the task reads; fill a column"),
            });
        };
        let shipped: Vec<f32> = event.scores.iter().map(|(_, p)| *p).collect();
        let mut systems = event.evidence.heads;
        if !self.operators.is_empty() {
            systems = self.operate(&event.evidence.pooled)?;
        }
        if item.clear == Some(true) {
            systems.push((CLEAR.into(), shipped.clone()));
        }
        Ok(Prediction {
            systems,
            shipped,
            unsure: event.label == UNSURE,
            modality: event.modality,
            millis: event.latency.total(),
            seconds: match &material.utterance {
                Some(utterance) => utterance.duration().as_secs_f64(),
                None => 0.0,
            },
        })
    }

    /// Every operator of the folder on the mean rows of words (u) and image (v).
    fn operate(&self, pooled: &[(Trunk, Vec<f32>)]) -> Result<Vec<(String, Vec<f32>)>, Unjudged> {
        let of = |trunk| {
            pooled
                .iter()
                .find(|(t, _)| *t == trunk)
                .map(|(_, mean)| mean)
        };
        let (Some(u), Some(v)) = (of(Trunk::Text), of(Trunk::Image)) else {
            return Err(Unjudged::Empty("an operator needs words and an image"));
        };
        let mut systems = Vec::with_capacity(self.operators.len());
        for (name, head) in &self.operators {
            let dims = [[1, u.len()], [1, v.len()]];
            let given = [
                (&dims[0][..], InputValues::Floats(u)),
                (&dims[1][..], InputValues::Floats(v)),
            ];
            let outputs = head.run(&given).map_err(|e| Unjudged::Model(e.into()))?;
            if let Some(logits) = outputs.first() {
                systems.push((name.clone(), softmax(&logits.values, 1.0)));
            }
        }
        Ok(systems)
    }
}

/// Names of the functions that a head may call, as its file is named.
pub(super) fn functions() -> Vec<String> {
    let of = |entry| Precision::ALL.map(|p| crate::fusion::Entry::function(entry, p));
    CATALOGUE.iter().flat_map(of).flatten().collect()
}

/// The heads of a folder, one an operator.
fn operators(folder: &Path) -> Result<Vec<(String, Model)>, ModelError> {
    let mut heads = Vec::new();
    for name in functions() {
        let path = folder.join(format!("{name}.onnx"));
        if path.is_file() {
            let onnx = std::fs::read(&path).map_err(|source| ModelError::Unreadable {
                path: path.clone(),
                source,
            })?;
            let head = Model::open(&path.display().to_string(), &onnx)?;
            heads.push((name, head.expect(&["u", "v"], &["logits"])?));
        }
    }
    if heads.is_empty() {
        return Err(ModelError::Refused {
            name: folder.display().to_string(),
            what: "holds no file named for a function of the catalogue".into(),
        });
    }
    Ok(heads)
}

/// The sound of an item, silence at both ends trimmed; all of it where no speech is
/// found, since every item of a labelled set must be answered.
pub(super) fn sound(path: &Path) -> Result<Utterance, CaptureError> {
    let mut source = open_audio(path, Channel::default())?;
    let mut samples = Vec::new();
    while let Some(chunk) = wait(source.as_mut())? {
        samples.extend(chunk.samples);
    }
    if let Some(range) = segment::trim(&samples) {
        samples = samples[range].to_vec();
    }
    Ok(Utterance {
        start: Duration::ZERO,
        samples,
        gaps: Vec::new(),
        cut: false,
    })
}
