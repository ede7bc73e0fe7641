//! Face expression on a table `id,image` with a column `label` or FER+'s ten columns of votes.

use super::duplicates::Contents;
use super::exam::{Column, Exam, Form, Unjudged, Verdict};
use super::metrics::Figure;
use super::table::{Cells, Header, Labels, Truth};
use super::{Options, picture};
use crate::event::{Latency, Modality};
use crate::model::{Bundle, ModelError};
use crate::tasks::expression::Expression;
use crate::vision::Picture;
use crate::vision::resize::Crop;
use std::path::PathBuf;

/// What FER+'s taggers could say; the last two are no expression.
const VOTES: [&str; 10] = [
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
];
/// Votes that name an expression.
const EXPRESSIONS: usize = 8;
const CLEAR: &str = "over half of the taggers agree";

/// One picture.
#[derive(Debug)]
pub(super) struct Question {
    image: Option<PathBuf>,
    /// More than half of the taggers agree.
    clear: bool,
}

/// The bundle, and whether faces are to be found first.
pub(super) struct ExpressionExam {
    expression: Expression,
    detect: bool,
}

impl Exam for ExpressionExam {
    type Question = Question;
    type Material = Picture;

    const FORM: Form = Form {
        shipped: "expression",
        systems: || &[CLEAR],
        columns: &[
            Column {
                heading: "Acc [95%]",
                figure: Figure::Accuracy,
                interval: true,
            },
            Column {
                heading: "UA [95%]",
                figure: Figure::Ua,
                interval: true,
            },
            Column {
                heading: "macro F1 [95%]",
                figure: Figure::MacroF1,
                interval: true,
            },
        ],
        skipped: "without a class of the head",
        published: None,
    };

    fn check(header: &Header) -> Result<(), String> {
        if !header.has("image") {
            return Err(
                "has no column `image`; the first line must name id,image and label".into(),
            );
        }
        let lacking = VOTES.iter().find(|vote| !header.has(&vote.to_lowercase()));
        match lacking {
            Some(vote) if !header.has("label") => Err(format!(
                "has neither a column `label` nor all ten columns of votes (`{vote}` is missing); \
                 name the votes {}",
                VOTES.join(",")
            )),
            _ => Ok(()),
        }
    }

    fn question(cells: &Cells) -> Question {
        Question {
            image: cells.path("image"),
            clear: votes(cells).is_ok_and(|v| v.is_some_and(|v| clear(&v))),
        }
    }

    fn truth(cells: &Cells, labels: &Labels) -> Result<Truth, String> {
        if cells.text("label").is_some() {
            return labels.find(cells).map(Truth::certain);
        }
        let votes = votes(cells)?.ok_or("no label and no votes")?;
        majority(&votes, labels.names)
    }

    fn contents(question: &Question) -> Contents<'_> {
        Contents {
            text: None,
            picture: question.image.as_deref(),
        }
    }

    fn load(bundle: &Bundle, options: &Options) -> Result<Self, ModelError> {
        Ok(ExpressionExam {
            expression: Expression::load(bundle)?,
            detect: options.detect,
        })
    }

    fn read(question: &Question) -> Result<Picture, Unjudged> {
        let path = question.image.as_deref();
        let path = path.ok_or(Unjudged::Empty("no picture; fill `image`"))?;
        Ok(picture(path)?)
    }

    fn judge(&mut self, question: &Question, picture: &Picture) -> Result<Verdict, Unjudged> {
        let mut latency = Latency::default();
        let scores = if self.detect {
            let faces = self.expression.detect(picture, &mut latency)?;
            let face = faces.first().ok_or(Unjudged::NoFace)?;
            self.expression.of_face(picture, face, &mut latency)?
        } else {
            let whole = Crop::whole(picture);
            self.expression.of_crop(picture, whole, &mut latency)?
        };
        let clear = question.clear.then(|| (CLEAR, scores.clone()));
        Ok(Verdict {
            systems: clear.into_iter().collect(),
            shipped: scores,
            modality: Modality {
                face: true,
                ..Modality::default()
            },
            millis: latency.total(),
            seconds: 0.0,
        })
    }
}

/// How many taggers said what, in the order of [`VOTES`]; `None` if nobody said anything.
fn votes(cells: &Cells) -> Result<Option<[f32; 10]>, String> {
    let mut votes = [0.0; 10];
    for (vote, name) in votes.iter_mut().zip(VOTES) {
        let Some(cell) = cells.text(&name.to_lowercase()) else {
            continue;
        };
        let number = cell.parse().ok().filter(|n: &f32| (0.0..1e6).contains(n));
        *vote = number.ok_or("votes that are no numbers")?;
    }
    Ok(votes.iter().any(|v| *v > 0.0).then_some(votes))
}

/// The class with more votes than each of the nine others, and the shares of the classes.
fn majority(votes: &[f32; 10], labels: &[String]) -> Result<Truth, String> {
    let most = votes.iter().copied().fold(0.0, f32::max);
    let mut leaders = (0..votes.len()).filter(|at| votes[*at] == most);
    let (Some(leader), None) = (leaders.next(), leaders.next()) else {
        return Err("no majority".into());
    };
    let class = labels.iter().position(|l| l == VOTES[leader]);
    let class = class.ok_or(VOTES[leader])?;
    let of = |label: &String| VOTES[..EXPRESSIONS].iter().position(|v| v == label);
    let shares = labels.iter().map(|l| of(l).map_or(0.0, |at| votes[at]));
    let total: f32 = shares.clone().sum();
    Ok(Truth {
        class,
        votes: Some(shares.map(|share| share / total).collect()),
    })
}

/// FER+'s own rule: votes of one tagger alone are dropped, and more than half of the others
/// are for one thing.
fn clear(votes: &[f32; 10]) -> bool {
    let heard = votes.map(|v| if v > 1.0 { v } else { 0.0 });
    let most = heard.iter().copied().fold(0.0, f32::max);
    most > 0.5 * heard.iter().sum::<f32>()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;

    fn labels() -> Vec<String> {
        // not the order of the votes: the head's order counts
        let mut labels: Vec<String> = VOTES[..8].iter().map(|v| v.to_string()).collect();
        labels.reverse();
        labels
    }

    #[test]
    fn the_one_class_with_most_votes_counts() {
        let truth = majority(
            &[4.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            &labels(),
        );
        let truth = truth.unwrap();
        assert_eq!(truth.class, 6);
        let shares = truth.votes.unwrap();
        assert!((shares[6] - 5.0 / 9.0).abs() < 1e-6 && (shares[7] - 4.0 / 9.0).abs() < 1e-6);
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn ties_and_faces_that_are_none_are_told_apart() {
        let tie = [4.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0];
        assert_eq!(majority(&tie, &labels()).unwrap_err(), "no majority");
        let unknown = [4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 6.0, 0.0];
        assert_eq!(majority(&unknown, &labels()).unwrap_err(), "unknown");
        let none = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0];
        assert_eq!(majority(&none, &labels()).unwrap_err(), "NF");
    }

    #[test]
    fn single_votes_do_not_make_a_face_unclear() {
        assert!(clear(&[4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]));
        assert!(!clear(&[5.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
        assert!(!clear(&[1.0; 10]));
    }
}
