//! `words`: what an image shows, as the section `seen` names it. Words do not exclude each other,
//! so there are no classes, and the likeliest word is the label.

use super::{Head, HeadInput, Reply, Size};
use crate::model::{self, Bundle, ModelError, manifest};

struct Words;

pub(super) fn load(
    bundle: &Bundle,
    head: &manifest::Head,
    _: Size<'_>,
) -> Result<Box<dyn Head>, ModelError> {
    match (head.reads.as_slice(), &head.file) {
        ([read], None) if read.to_string() == "seen.scores" => Ok(Box::new(Words)),
        _ => Err(ModelError::Refused {
            name: bundle.name(),
            what: format!(
                "its head `{}` is of kind `words`, which reads `seen.scores` and has no file",
                head.name
            ),
        }),
    }
}

impl Head for Words {
    fn answer(&self, given: &HeadInput<'_>) -> Result<Reply, ModelError> {
        let scores = match given.values.first() {
            Some((_, model::InputValues::Floats(scores))) => scores.to_vec(),
            _ => Vec::new(),
        };
        Ok(Reply {
            scores,
            ..Reply::default()
        })
    }

    fn gives(&self, _: &str) -> bool {
        false
    }
}
