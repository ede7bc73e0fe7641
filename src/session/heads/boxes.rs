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
use crate::vision::faces::Rect;

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

/// The box that most of the cells mean, and whether any cell answers: of all boxes, within the
/// image, the one with the most overlap with the others, each as much as its cell is likely. The
/// likeliest cell alone is one of many that stand in the same thing and each see a bit of it.
fn place(logits: &[f32], boxes: &[f32]) -> Place {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f32> = logits.iter().map(|x| (x - most).exp()).collect();
    let total: f32 = shares.iter().sum();
    let rects: Vec<Rect> = boxes.chunks_exact(4).map(within).collect();
    let meant = |rect: &Rect| {
        let others = rects.iter().zip(&shares[1..]);
        others
            .map(|(other, share)| share * rect.overlap(other))
            .sum()
    };
    let meant: Vec<f32> = rects.iter().map(meant).collect();
    let at = crate::decision::top(&meant).unwrap_or(0);
    let rect = rects.get(at).copied().unwrap_or_default();
    Place {
        sides: [rect.x, rect.y, rect.x + rect.width, rect.y + rect.height],
        score: 1.0 - shares[0] / total,
    }
}

/// What lies within the image of a box of four sides; nothing of one that is inside out.
fn within(sides: &[f32]) -> Rect {
    let [left, top, right, bottom] = [0, 1, 2, 3].map(|side| sides[side].clamp(0.0, 1.0));
    Rect {
        x: left,
        y: top,
        width: (right - left).max(0.0),
        height: (bottom - top).max(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_that_most_cells_mean_is_the_answer() {
        let cells = [
            [0.0, 0.0, 0.5, 0.5],
            [0.5, 0.5, 1.0, 1.0],
            [0.5, 0.5, 1.0, 0.75],
        ];
        // one cell is the likeliest, but the two others mean about the same
        let found = place(&[0.0, 3.0, 2.7, 2.7], &cells.concat());
        assert_eq!(found.sides, [0.5, 0.5, 1.0, 1.0]);
        let answers = 3f32.exp() + 2.0 * 2.7f32.exp();
        assert!((found.score - answers / (1.0 + answers)).abs() < 1e-6);
        // and of boxes that share nothing it is the likeliest
        let found = place(
            &[0.0, 3.0, 2.9, 2.5],
            &[cells[0], cells[1], [0.0, 0.5, 0.5, 1.0]].concat(),
        );
        assert_eq!(found.sides, cells[0]);
    }

    #[test]
    fn boxes_lie_within_the_image_and_none_is_turned_inside_out() {
        let found = place(&[0.0, 3.0], &[0.25, -0.5, 0.5, 1.5]);
        assert_eq!(found.sides, [0.25, 0.0, 0.5, 1.0]);
        let found = place(&[9.0, 2.0], &[0.9, 0.9, 0.8, 0.8]);
        assert_eq!(found.sides, [0.9, 0.9, 0.9, 0.9]);
        assert!(found.score < 0.01);
    }
}
