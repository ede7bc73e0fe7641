//! `distance`: how far rows lie from those that their trunk learnt from. It answers nothing; a
//! service watches whether it drifts.

use super::{Head, HeadInput, Reply, Size};
use crate::model::{Bundle, Model, ModelError, manifest};

/// Name of the output that holds the one number.
pub(in crate::session) const DISTANCE: &str = "distance";

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
        let outputs = self.0.run(&given.values)?;
        Ok(Reply {
            outputs: self.0.outputs().iter().cloned().zip(outputs).collect(),
            ..Reply::default()
        })
    }

    fn gives(&self, output: &str) -> bool {
        self.0.output(output).is_some()
    }
}
