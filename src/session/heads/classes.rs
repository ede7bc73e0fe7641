//! `classes`: logits over classes, calibrated by a temperature.

use super::{Head, HeadInput, LOGITS, Reply, Size};
use crate::decision::softmax;
use crate::model::{self, Bundle, Model, ModelError, Output, manifest};

struct Classes {
    /// What errors call it.
    name: String,
    /// `None` where the logits are a trunk's own output.
    model: Option<Model>,
    temperature: f32,
    classes: usize,
}

pub(super) fn load(
    bundle: &Bundle,
    head: &manifest::Head,
    size: Size<'_>,
) -> Result<Box<dyn Head>, ModelError> {
    let mut model = None;
    if let Some(file) = &head.file {
        let mut loaded = Model::load(bundle, file, size.threads)?.expect_outputs(&[LOGITS])?;
        if let Some((side, field)) = side(bundle, head) {
            loaded = loaded.of_side(side, field)?;
        }
        if loaded.arity() != head.reads.len() {
            let (takes, reads) = (loaded.arity(), head.reads.len());
            return Err(loaded.refused(format!(
                "takes {takes} inputs, and head `{}` reads {reads}",
                head.name
            )));
        }
        model = Some(loaded);
    }
    Ok(Box::new(Classes {
        name: head.file.clone().unwrap_or_else(|| head.name.clone()),
        model,
        temperature: head.temperature,
        classes: size.classes,
    }))
}

/// The side of the images that a head sees of a face, and the manifest's field that says so.
fn side(bundle: &Bundle, head: &manifest::Head) -> Option<(u32, &'static str)> {
    let face = bundle.manifest.face.as_ref()?;
    let read = head
        .reads
        .first()
        .filter(|r| r.trunk == manifest::Trunk::Face)?;
    match read.output.as_str() {
        "context" => Some((face.context?.side, "face.context.side")),
        "crop" => Some((face.crop_side, "face.crop_side")),
        _ => None,
    }
}

impl Head for Classes {
    fn answer(&self, given: &HeadInput<'_>) -> Result<Reply, ModelError> {
        let Some(model) = &self.model else {
            let logits = match given.values.first() {
                Some((_, model::InputValues::Floats(logits))) => logits,
                _ => &[][..],
            };
            return Ok(Reply {
                scores: self.calibrate(logits)?,
                logits: logits.to_vec(),
                ..Reply::default()
            });
        };
        let mut outputs: Vec<(String, Output)> = model
            .outputs()
            .iter()
            .cloned()
            .zip(model.run(&given.values)?)
            .collect();
        let at = model.output(LOGITS).unwrap_or(0);
        let (_, logits) = outputs.swap_remove(at);
        Ok(Reply {
            scores: self.calibrate(&logits.values)?,
            logits: logits.values,
            outputs,
            ..Reply::default()
        })
    }

    fn gives(&self, output: &str) -> bool {
        let model = self.model.as_ref();
        model.is_some_and(|m| m.output(output).is_some())
    }
}

impl Classes {
    fn calibrate(&self, logits: &[f32]) -> Result<Vec<f32>, ModelError> {
        if logits.len() == self.classes {
            return Ok(softmax(logits, self.temperature));
        }
        Err(ModelError::Refused {
            name: self.name.clone(),
            what: format!(
                "gives {} logits, and the manifest names {} classes",
                logits.len(),
                self.classes
            ),
        })
    }
}
