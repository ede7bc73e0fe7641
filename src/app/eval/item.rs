//! A row of a labelled table: what it asks, and what is right.

use super::table::{Cells, Header, Labels, Truth};
use crate::model::manifest::{Manifest, Trunk};
use std::path::PathBuf;

/// Columns that hold votes for something that is no class: FER+'s taggers could say that they
/// do not know, or that there is no face.
const NO_CLASS: [&str; 2] = ["unknown", "NF"];

/// Which inputs a task reads: the columns of its tables.
#[derive(Debug, Clone)]
pub(in crate::app) struct Columns {
    audio: bool,
    image: bool,
    text: bool,
    /// Words for what an image shows.
    seen: bool,
    /// Class names, in the order of the logits.
    labels: Vec<String>,
}

impl Columns {
    /// Of a bundle's task.
    pub fn of(manifest: &Manifest) -> Columns {
        Columns {
            audio: manifest.reads(Trunk::Speech),
            image: manifest.reads(Trunk::Image) || manifest.reads(Trunk::Face),
            text: manifest.reads(Trunk::Text),
            seen: manifest.reads(Trunk::Seen),
            labels: manifest.labels.clone(),
        }
    }

    fn inputs(&self) -> Vec<&'static str> {
        let all = [
            ("audio", self.audio),
            ("image", self.image),
            ("text", self.text),
        ];
        let read = all.into_iter().filter(|(_, read)| *read);
        read.map(|(name, _)| name).collect()
    }

    /// Refuses a table that lacks a column, in the words that follow its name.
    pub fn check(&self, header: &Header) -> Result<(), String> {
        let inputs = self.inputs();
        if !inputs.iter().any(|column| header.has(column)) {
            return Err(match inputs.as_slice() {
                [only] => {
                    format!("has no column `{only}`; the first line must name id,{only},label")
                }
                several => format!(
                    "has neither a column `{}`; one is needed",
                    several.join("` nor `")
                ),
            });
        }
        if header.has("label") {
            return Ok(());
        }
        let votes = self.votes();
        let named = votes
            .iter()
            .filter(|v| header.has(&v.to_lowercase()))
            .count();
        match votes.iter().find(|v| !header.has(&v.to_lowercase())) {
            None => Ok(()),
            // a table of votes that is short of a few is one all the same
            Some(missing) if named > votes.len() / 2 => Err(format!(
                "has neither a column `label` nor all {} columns of votes (`{missing}` is \
                 missing); name the votes {}",
                votes.len(),
                votes.join(",")
            )),
            Some(_) => Err(format!(
                "has no column `label`; the first line must name id,{},label",
                inputs.join(",")
            )),
        }
    }

    /// Names of the columns of votes.
    fn votes(&self) -> Vec<&str> {
        let classes = self.labels.iter().map(String::as_str);
        classes.chain(NO_CLASS).collect()
    }

    /// A row's true class, or why it has none that counts.
    pub fn truth(&self, cells: &Cells, labels: &Labels) -> Result<Truth, String> {
        if cells.text("label").is_some() {
            return labels.find(cells).map(Truth::certain);
        }
        match self.cast(cells)? {
            Some(votes) => self.majority(&votes),
            None => Err("no label and no votes".into()),
        }
    }

    /// What a row asks.
    pub fn item(&self, cells: &Cells) -> Item {
        let votes = self.cast(cells).ok().flatten();
        Item {
            audio: cells.path("audio").filter(|_| self.audio),
            image: cells.path("image").filter(|_| self.image),
            text: cells.text("text").filter(|_| self.text),
            seen: match cells.text("attributes").filter(|_| self.seen) {
                Some(words) => self::words(&words),
                None => Vec::new(),
            },
            history: cells.text("history").map_or(Vec::new(), |h| history(&h)),
            clear: votes.map(|v| is_clear(&v)),
        }
    }

    /// How many said what, in the order of [`Columns::votes`]; `None` if nobody said anything.
    fn cast(&self, cells: &Cells) -> Result<Option<Vec<f32>>, String> {
        let mut votes = Vec::new();
        for name in self.votes() {
            let number = match cells.text(&name.to_lowercase()) {
                None => Some(0.0),
                Some(cell) => cell.parse().ok().filter(|n: &f32| (0.0..1e6).contains(n)),
            };
            votes.push(number.ok_or("votes that are no numbers")?);
        }
        Ok(votes.iter().any(|v| *v > 0.0).then_some(votes))
    }

    /// The class with more votes than each of the others, and the shares of the classes.
    fn majority(&self, votes: &[f32]) -> Result<Truth, String> {
        let most = votes.iter().copied().fold(0.0, f32::max);
        let mut leaders = (0..votes.len()).filter(|at| votes[*at] == most);
        let (Some(class), None) = (leaders.next(), leaders.next()) else {
            return Err("no majority".into());
        };
        let classes = self.labels.len();
        if class >= classes {
            return Err(NO_CLASS[class - classes].into());
        }
        let total: f32 = votes[..classes].iter().sum();
        Ok(Truth {
            class,
            votes: Some(votes[..classes].iter().map(|v| v / total).collect()),
        })
    }
}

/// One item. What is absent, or what the task does not read, is `None`.
#[derive(Debug, Clone, Default)]
pub(in crate::app) struct Item {
    pub audio: Option<PathBuf>,
    pub image: Option<PathBuf>,
    pub text: Option<String>,
    /// What somebody else saw in the image.
    pub seen: Vec<String>,
    /// Earlier utterances, oldest first.
    pub history: Vec<String>,
    /// Where there are votes: more than half of the taggers agree.
    pub clear: Option<bool>,
}

/// FER+'s own rule: votes of one tagger alone are dropped, and more than half of the others
/// are for one thing.
fn is_clear(votes: &[f32]) -> bool {
    let heard = votes.iter().map(|v| if *v > 1.0 { *v } else { 0.0 });
    let most = heard.clone().fold(0.0, f32::max);
    most > 0.5 * heard.sum::<f32>()
}

/// Words parted by white space or commas.
fn words(cell: &str) -> Vec<String> {
    let words = cell.split(|c: char| c == ',' || c.is_whitespace());
    words.filter(|w| !w.is_empty()).map(String::from).collect()
}

/// A JSON list of strings, or utterances parted by a line break, a tab, `[SEP]` or ` | `.
fn history(cell: &str) -> Vec<String> {
    if let Ok(list) = serde_json::from_str::<Vec<String>>(cell) {
        return list;
    }
    let separator = ["\n", "\t", "[SEP]", "</s>", "|||", " || ", " | "]
        .into_iter()
        .find(|s| cell.contains(s));
    let parts: Vec<&str> = match separator {
        Some(separator) => cell.split(separator).collect(),
        None => vec![cell],
    };
    let trimmed = parts.into_iter().map(str::trim).filter(|u| !u.is_empty());
    trimmed.map(str::to_string).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;

    fn columns() -> Columns {
        let labels = ["neutral", "happiness", "surprise", "sadness", "anger"];
        Columns {
            audio: false,
            image: true,
            text: false,
            seen: false,
            labels: labels.map(String::from).to_vec(),
        }
    }

    #[test]
    fn history_comes_as_json_or_parted() {
        assert_eq!(history(r#"["a, b", "c"]"#), ["a, b", "c"]);
        assert_eq!(history("one | two | three"), ["one", "two", "three"]);
        assert_eq!(history("one\ntwo"), ["one", "two"]);
        assert_eq!(history("just one"), ["just one"]);
    }

    #[test]
    fn the_one_class_with_most_votes_counts() {
        let truth = columns().majority(&[4.0, 5.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let truth = truth.unwrap();
        assert_eq!(truth.class, 1);
        let shares = truth.votes.unwrap();
        assert!((shares[1] - 5.0 / 9.0).abs() < 1e-6 && (shares[0] - 4.0 / 9.0).abs() < 1e-6);
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn ties_and_faces_that_are_none_are_told_apart() {
        let why = |votes: [f32; 7]| columns().majority(&votes).unwrap_err();
        assert_eq!(why([4.0, 4.0, 0.0, 0.0, 0.0, 2.0, 0.0]), "no majority");
        assert_eq!(why([4.0, 0.0, 0.0, 0.0, 0.0, 6.0, 0.0]), "unknown");
        assert_eq!(why([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0]), "NF");
    }

    #[test]
    fn single_votes_do_not_make_a_face_unclear() {
        assert!(is_clear(&[4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]));
        assert!(!is_clear(&[5.0, 5.0, 0.0, 0.0]));
        assert!(!is_clear(&[1.0; 10]));
    }
}
