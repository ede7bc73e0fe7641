//! `mean`: the mean of other heads' probabilities. The simplest joint answer, kept as a
//! yardstick for fusion.

use super::{Head, HeadInput, Reply, Size};
use crate::model::{Bundle, ModelError, manifest};

struct Mean {
    classes: usize,
}

pub(super) fn load(
    _: &Bundle,
    _: &manifest::Head,
    size: Size<'_>,
) -> Result<Box<dyn Head>, ModelError> {
    Ok(Box::new(Mean {
        classes: size.classes,
    }))
}

impl Head for Mean {
    fn answer(&self, given: &HeadInput<'_>) -> Result<Reply, ModelError> {
        let share = 1.0 / given.replies.len().max(1) as f32;
        let mut scores = vec![0.0; self.classes];
        for reply in &given.replies {
            for (score, p) in scores.iter_mut().zip(&reply.scores) {
                *score += share * p;
            }
        }
        Ok(Reply {
            scores,
            ..Reply::default()
        })
    }

    fn gives(&self, _: &str) -> bool {
        false
    }
}
