//! Items that a training table already holds: a figure on them shows memory, not skill.

use super::exam::Exam;
use super::table::Row;
use super::workers::spread;
use super::{picture, table};
use crate::Error;
use crate::model::ModelError;
use crate::text::without_links;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::path::Path;

/// What of an item may recur.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Contents<'a> {
    /// Its words.
    pub text: Option<&'a str>,
    /// Its picture.
    pub picture: Option<&'a Path>,
}

/// What of an item does recur.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Overlap {
    /// Its words: the same letters but for links, case and white space.
    pub text: bool,
    /// Its picture: the same pixels, whatever file they came from.
    pub picture: bool,
}

impl Overlap {
    /// Either of them.
    pub fn any(self) -> bool {
        self.text || self.picture
    }
}

type Hash = [u8; 32];

/// Hashes of what an item holds.
#[derive(Debug, Clone, Copy, Default)]
struct Print {
    text: Option<Hash>,
    picture: Option<Hash>,
}

impl Print {
    /// A picture that cannot be read has no hash.
    fn of(contents: Contents) -> Print {
        Print {
            text: contents.text.and_then(text_hash),
            picture: contents.picture.and_then(picture_hash),
        }
    }
}

fn text_hash(text: &str) -> Option<Hash> {
    let bare = without_links(text).to_lowercase();
    let words: Vec<&str> = bare.split_whitespace().collect();
    // items whose words are links alone have nothing in common
    (!words.is_empty()).then(|| Sha256::digest(words.join(" ")).into())
}

fn picture_hash(path: &Path) -> Option<Hash> {
    let picture = picture(path).ok()?;
    let mut hash = Sha256::new();
    hash.update(picture.width().to_le_bytes());
    hash.update(picture.height().to_le_bytes());
    hash.update(picture.rgb());
    Some(hash.finalize().into())
}

/// One picture a worker is in memory at a time; of the others the hashes are kept.
fn prints(contents: &[Contents], threads: Option<usize>) -> Result<Vec<Print>, ModelError> {
    let print = |(): &mut (), at: usize| Print::of(contents[at]);
    spread(contents.len(), threads, || Ok(()), print)
}

/// What of each of `rows` recurs in the table `train`.
///
/// # Errors
/// A training table that cannot be used.
pub(super) fn find<E: Exam>(
    rows: &[Row<E::Question>],
    train: &Path,
    threads: Option<usize>,
) -> Result<Vec<Overlap>, Error> {
    let questions = table::questions::<E>(train)?;
    let asked = rows.iter().map(|row| E::contents(&row.question));
    let learnt = questions.iter().map(E::contents);
    let ours = prints(&asked.collect::<Vec<_>>(), threads)?;
    let known = prints(&learnt.collect::<Vec<_>>(), threads)?;
    let unread = (questions.iter().zip(&known))
        .filter(|(q, print)| E::contents(q).picture.is_some() && print.picture.is_none());
    match unread.count() {
        0 => {}
        n => log::warn!(
            "{}: {n} pictures cannot be read, so items that show them are not found to recur",
            train.display()
        ),
    }
    let texts: HashSet<Hash> = known.iter().filter_map(|p| p.text).collect();
    let pictures: HashSet<Hash> = known.iter().filter_map(|p| p.picture).collect();
    let recurs = |print: Print| Overlap {
        text: print.text.is_some_and(|hash| texts.contains(&hash)),
        picture: print.picture.is_some_and(|hash| pictures.contains(&hash)),
    };
    Ok(ours.into_iter().map(recurs).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_case_and_space_make_no_other_text() {
        let hash = text_hash("So  be it http://t.co/abc");
        assert!(hash.is_some());
        assert_eq!(hash, text_hash(" so be\tIT https://x.y/z "));
        assert_ne!(hash, text_hash("so be it now"));
        assert_eq!(text_hash("http://t.co/abc"), None);
    }
}
