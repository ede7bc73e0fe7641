//! `distance`: how far rows lie from those that their trunk learnt from. It answers nothing; a
//! service watches whether it drifts.

use super::{Head, HeadInput, Reply, Size};
use crate::model::{Bundle, Model, ModelError, manifest};

/// Name of the output that holds the one number: in the file the squared distance a dimension, in
/// the reply its logarithm.
pub(in crate::session) const DISTANCE: &str = "distance";

/// What a squared distance is at least, for rounding may make it negative.
const NEAREST: f32 = 1e-6;

struct Distance(Model);

pub(super) fn load(
    bundle: &Bundle,
    head: &manifest::Head,
    size: Size<'_>,
) -> Result<Box<dyn Head>, ModelError> {
    let Some(file) = &head.file else {
        return Err(ModelError::Refused {
            name: bundle.name(),
            what: format!("head `{}` needs a `file` that measures", head.name),
        });
    };
    let model = Model::load(bundle, file, size.threads)?.expect_outputs(&[DISTANCE])?;
    match (model.arity(), head.reads.len()) {
        (1, 1) => Ok(Box::new(Distance(model))),
        (takes, reads) => Err(model.refused(format!(
            "takes {takes} inputs and head `{}` reads {reads}; a distance is of one",
            head.name
        ))),
    }
}

impl Head for Distance {
    fn answer(&self, given: &HeadInput<'_>) -> Result<Reply, ModelError> {
        let mut outputs = self.0.run(&given.values)?;
        if let Some(at) = self.0.output(DISTANCE) {
            let squared = outputs[at].values.iter_mut();
            squared.for_each(|d| *d = d.max(NEAREST).ln());
        }
        Ok(Reply {
            outputs: self.0.outputs().iter().cloned().zip(outputs).collect(),
            ..Reply::default()
        })
    }

    fn gives(&self, output: &str) -> bool {
        self.0.output(output).is_some()
    }
}
