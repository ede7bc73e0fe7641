//! Items that a training table already holds: a figure on them shows memory, not skill.

use super::item::{Columns, Item};
use super::table::Row;
use super::workers::spread;
use super::{image, table};
use crate::Error;
use crate::text::without_links;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::path::Path;

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
    /// An image that cannot be read has no hash.
    fn of(item: &Item) -> Print {
        Print {
            text: item.text.as_deref().and_then(text_hash),
            picture: item.image.as_deref().and_then(image_hash),
        }
    }
}

fn text_hash(text: &str) -> Option<Hash> {
    let bare = without_links(text).to_lowercase();
    let words: Vec<&str> = bare.split_whitespace().collect();
    // items whose words are links alone have nothing in common
    (!words.is_empty()).then(|| Sha256::digest(words.join(" ")).into())
}

fn image_hash(path: &Path) -> Option<Hash> {
    let image = image(path).ok()?;
    let mut hash = Sha256::new();
    hash.update(image.width().to_le_bytes());
    hash.update(image.height().to_le_bytes());
    hash.update(image.rgb());
    Some(hash.finalize().into())
}

/// One picture a worker is in memory at a time; of the others the hashes are kept.
fn prints(items: &[&Item], threads: Option<usize>) -> Result<Vec<Print>, Error> {
    let print = |(): &mut (), at: usize| Print::of(items[at]);
    spread(items.len(), threads, || Ok(()), print)
}

/// What of each of `rows` recurs in the table `train`.
///
/// # Errors
/// A training table that cannot be used.
pub(super) fn find(
    rows: &[Row],
    train: &Path,
    columns: &Columns,
    threads: Option<usize>,
) -> Result<Vec<Overlap>, Error> {
    let learnt = table::items(train, columns)?;
    let asked: Vec<&Item> = rows.iter().map(|row| &row.item).collect();
    let ours = prints(&asked, threads)?;
    let known = prints(&learnt.iter().collect::<Vec<_>>(), threads)?;
    let unread = (learnt.iter().zip(&known))
        .filter(|(item, print)| item.image.is_some() && print.picture.is_none());
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
