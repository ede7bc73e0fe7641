//! `boxes`: where in an image what is named stands. Its file takes `ids` `[q, n]`, the pieces of
//! each name (a shorter one ends in [`PAD`]), `kinds` `[q]`, and maps of the image trunk. It gives
//! `logits` `[q, 1 + c]`, the first of which says that there is nothing to point at, the others
//! which of `c` cells answers, and `boxes` `[q, c, 4]`: left, top, right and bottom as shares of
//! the image's sides.
//!
//! The head's `labels` are the kinds of names that it knows, in the order of their numbers; one
//! number more stands for no kind.

use super::{Head, HeadInput, Reply, Size};
use crate::model::manifest::Trunk;
use crate::model::{self, Bundle, Model, ModelError, manifest};

const OUTPUTS: [&str; 2] = ["logits", "boxes"];
/// The id of `[PAD]`.
const PAD: i64 = 0;

/// What is looked for in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::session) struct Query {
    /// Pieces of the name, as the text trunk's vocabulary numbers them.
    pub ids: Vec<i64>,
    /// Of which kind it is, one of the head's labels.
    pub kind: Option<usize>,
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    /// Left, top, right and bottom, 0..1 of the image's sides; right of left and below top.
    pub sides: [f32; 4],
    /// Probability that there is something to point at, 0..1.
    pub score: f32,
}

struct Boxes {
    model: Model,
    kinds: usize,
}

pub(super) fn load(
    bundle: &Bundle,
    head: &manifest::Head,
    size: Size<'_>,
) -> Result<Box<dyn Head>, ModelError> {
    let of_images = head.reads.iter().all(|r| r.trunk == Trunk::Image);
    match &head.file {
        Some(file) if of_images && !head.labels.is_empty() => {
            let model = Model::load(bundle, file, size.threads)?.expect_outputs(&OUTPUTS)?;
            let maps: Vec<&str> = head.reads.iter().map(|r| r.output.as_str()).collect();
            Ok(Box::new(Boxes {
                model: model.expect(&[&["ids", "kinds"], &maps[..]].concat(), &OUTPUTS)?,
                kinds: head.labels.len(),
            }))
        }
        _ => Err(ModelError::Refused {
            name: bundle.name(),
            what: format!(
                "its head `{}` is of kind `boxes`, which has a file and `labels` and reads maps of \
                 `image`",
                head.name
            ),
        }),
    }
}

impl Head for Boxes {
    fn answer(&self, given: &HeadInput<'_>) -> Result<Reply, ModelError> {
        let count = given.queries.len();
        let longest = given.queries.iter().map(|q| q.ids.len()).max();
        let Some(longest) = longest.filter(|n| *n > 0) else {
            return Ok(Reply::default());
        };
        let padded = |q: &Query| {
            let rest = std::iter::repeat(PAD);
            q.ids.clone().into_iter().chain(rest).take(longest)
        };
        let ids: Vec<i64> = given.queries.iter().flat_map(padded).collect();
        let kind = |q: &Query| q.kind.unwrap_or(self.kinds) as i64;
        let kinds: Vec<i64> = given.queries.iter().map(kind).collect();
        let dims = [count, longest];
        let mut inputs = vec![
            (&dims[..], model::InputValues::Ints(&ids)),
            (&dims[..1], model::InputValues::Ints(&kinds)),
        ];
        inputs.extend(given.values.iter().copied());
        let outputs = self.model.run(&inputs)?;
        let output = |name| self.model.output(name).map(|at| &outputs[at].values);
        let (logits, boxes) = match (output("logits"), output("boxes")) {
            (Some(logits), Some(boxes)) => (logits, boxes),
            _ => return Ok(Reply::default()),
        };
        let cells = (logits.len() / count).saturating_sub(1);
        if cells == 0 || logits.len() != count * (1 + cells) || boxes.len() != count * cells * 4 {
            return Err(self.model.refused(format!(
                "gives {} values of `logits` and {} of `boxes` for {count} names",
                logits.len(),
                boxes.len()
            )));
        }
        let each = logits.chunks(1 + cells).zip(boxes.chunks(cells * 4));
        Ok(Reply {
            places: each.map(|(logits, boxes)| place(logits, boxes)).collect(),
            ..Reply::default()
        })
    }

    fn gives(&self, _: &str) -> bool {
        false
    }
}

/// The box of the likeliest cell, within the image, and whether any cell answers.
fn place(logits: &[f32], boxes: &[f32]) -> Place {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = logits.iter().map(|x| (x - most).exp()).sum();
    let nothing = (logits[0] - most).exp() / total;
    let at = crate::decision::top(&logits[1..]).unwrap_or(0);
    let [left, top, right, bottom] = [0, 1, 2, 3].map(|side| boxes[4 * at + side].clamp(0.0, 1.0));
    Place {
        sides: [left, top, right.max(left), bottom.max(top)],
        score: 1.0 - nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_cell_answers_within_the_image() {
        let boxes = [[0.0; 4], [0.25, -0.5, 0.5, 1.5], [0.9, 0.9, 0.8, 0.8]].concat();
        let found = place(&[0.0, -9.0, 3.0, 2.0], &boxes);
        assert_eq!(found.sides, [0.25, 0.0, 0.5, 1.0]);
        let cells = 3f32.exp() + 2f32.exp() + (-9f32).exp();
        assert!((found.score - cells / (1.0 + cells)).abs() < 1e-6);
        // no box is turned inside out
        let found = place(&[9.0, -9.0, -9.0, 2.0], &boxes);
        assert_eq!(found.sides, [0.9, 0.9, 0.9, 0.9]);
        assert!(found.score < 0.01);
    }
}
