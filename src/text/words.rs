//! Words of a text as people write them, and the shape that an uncased vocabulary no longer
//! shows of them.

use std::ops::Range;

use unicode_categories::UnicodeCategories;

use super::normalize::is_punctuation;

/// How a word is written, as the rows of a table of segments; row 1 is what was said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// No capital letter.
    Plain = 0,
    /// One, in front: `Durant`, `I`.
    Capital = 2,
    /// Capitals alone, at least two: `NBA`.
    Capitals = 3,
    /// Anything else: `McDonald`, `iPhone`.
    Mixed = 4,
}

impl Shape {
    /// The shape of a word by its letters; what is no letter does not count.
    #[must_use]
    pub fn of(word: &str) -> Shape {
        let mut letters = word.chars().filter(|c| is_letter(*c));
        let Some(first) = letters.next() else {
            return Shape::Plain;
        };
        let rest: Vec<bool> = letters.map(char::is_uppercase).collect();
        let capitals = rest.iter().filter(|upper| **upper).count();
        match (first.is_uppercase(), capitals) {
            (false, 0) => Shape::Plain,
            (true, 0) => Shape::Capital,
            (true, all) if all == rest.len() => Shape::Capitals,
            _ => Shape::Mixed,
        }
    }
}

/// The categories L*: alphabetic signs that are no marks, numerals or circled letters.
fn is_letter(ch: char) -> bool {
    let other = ch.is_numeric() || ch.is_mark() || ch.is_symbol();
    ch.is_alphabetic() && (ch.is_ascii() || !other)
}

/// White space as the recipes' regular expressions have it: the separators of files, groups,
/// records and units part words too.
fn is_space(ch: char) -> bool {
    ch.is_whitespace() || matches!(ch, '\u{1C}'..='\u{1F}')
}

/// Byte ranges of what stands between white space.
pub(super) fn spaced(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, ch) in text.char_indices() {
        match (is_space(ch), start) {
            (true, Some(from)) => {
                words.push(from..at);
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    words.extend(start.map(|from| from..text.len()));
    words
}

/// What says that something is somebody's: a word of its own.
const OWNED: [&str; 4] = ["'s", "'S", "’s", "’S"];

/// Byte ranges of the words of a text: what stands between white space, with the punctuation
/// at both ends parted from it, each sign a word of its own. A `@` or `#` in front belongs to
/// its word, and a final `'s` is a word.
///
/// ```
/// let text = "(@KDTrey5's team: \"U.S.\")";
/// let words: Vec<&str> = demeanor::text::words(text).into_iter().map(|at| &text[at]).collect();
/// assert_eq!(words, ["(", "@KDTrey5", "'s", "team", ":", "\"", "U.S", ".", "\"", ")"]);
/// ```
#[must_use]
pub fn words(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    for whole in spaced(text) {
        let word = &text[whole.clone()];
        if OWNED.contains(&word) {
            words.push(whole);
            continue;
        }
        let start = whole.start + word.len() - word.trim_start_matches(stands_in_front).len();
        let end = whole.start + word.trim_end_matches(is_punctuation).len();
        if start >= end {
            // signs alone, or `@` and `#` without a word
            words.extend(signs(text, whole));
            continue;
        }
        words.extend(signs(text, whole.start..start));
        let core = &text[start..end];
        let ending = OWNED.iter().find(|s| core.ends_with(**s));
        let cut = end - ending.map_or(0, |s| s.len());
        words.extend([start..cut, cut..end].into_iter().filter(|w| !w.is_empty()));
        words.extend(signs(text, end..whole.end));
    }
    words
}

fn stands_in_front(ch: char) -> bool {
    is_punctuation(ch) && !matches!(ch, '@' | '#')
}

/// Each sign of a part of a text.
fn signs(text: &str, part: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let from = part.start;
    let signs = text[part].char_indices();
    signs.map(move |(at, ch)| from + at..from + at + ch.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<&str> {
        words(text).into_iter().map(|at| &text[at]).collect()
    }

    #[test]
    fn punctuation_is_parted_and_marks_of_users_and_topics_stay() {
        for (text, wanted) in [
            ("Durant, enters.", &["Durant", ",", "enters", "."][..]),
            ("#NBA's @KD", &["#NBA", "'s", "@KD"]),
            ("rock-n-roll don't", &["rock-n-roll", "don't"]),
            ("...", &[".", ".", "."]),
            ("# @", &["#", "@"]),
            ("(#x)", &["(", "#x", ")"]),
            ("'s", &["'s"]),
            ("😀Paris😀", &["😀Paris😀"]),
            ("«مرحبا»", &["«", "مرحبا", "»"]),
            ("e\u{301}l\u{301}!", &["e\u{301}l\u{301}", "!"]),
            ("a\u{1F}b\u{3000}c", &["a", "b", "c"]),
            ("", &[]),
            (" \n ", &[]),
        ] {
            assert_eq!(parts(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn shapes_are_those_of_letters() {
        for (word, shape) in [
            ("durant", Shape::Plain),
            ("Durant,", Shape::Capital),
            ("@Durant's", Shape::Capital),
            ("I", Shape::Capital),
            ("NBA's", Shape::Mixed),
            ("#NBA!", Shape::Capitals),
            ("iPhone", Shape::Mixed),
            ("123", Shape::Plain),
            ("ⒶⒷ", Shape::Plain),
            ("Ⅳ", Shape::Plain),
            ("É\u{301}COLE", Shape::Capitals),
            ("שלום", Shape::Plain),
            ("ǅ", Shape::Plain),
            ("", Shape::Plain),
        ] {
            assert_eq!(Shape::of(word), shape, "{word:?}");
        }
    }
}
