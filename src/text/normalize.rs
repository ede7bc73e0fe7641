//! BERT-uncased text cleaning as a lazy stream of characters.
//!
//! The steps and their order are those of the published BERT normaliser with
//! `clean_text`, `handle_chinese_chars`, `strip_accents` and `lowercase` on:
//!
//! 1. drop NUL, U+FFFD and the categories Cc, Cf, Co (tab, line feed and
//!    carriage return stay); every white space becomes a plain space;
//! 2. put a space on both sides of a CJK ideograph;
//! 3. canonical decomposition (NFD), then drop non-spacing marks (Mn);
//! 4. lower-case each character by itself.
//!
//! The character categories are deliberately those of `unicode_categories`,
//! an old Unicode version: the tokenizers that made the vocabulary and that
//! the teacher was trained with use the same tables.

use std::collections::VecDeque;
use std::ops::Range;

use unicode_categories::UnicodeCategories;
use unicode_normalization::char::{canonical_combining_class, decompose_canonical};

/// One character of the cleaned text and the bytes of the original it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cleaned {
    /// The character; any white space and any word break is `' '`.
    pub ch: char,
    /// Byte range in the original text; empty for an inserted space.
    pub source: Range<usize>,
}

/// Iterator over the cleaned characters of a text, in linear time and with a
/// buffer that grows only on runs of spacing combining marks.
pub(super) struct Cleaner<'a> {
    chars: std::str::CharIndices<'a>,
    /// Decomposed spacing marks (combining class > 0) that wait for the next
    /// starter, because canonical order sorts each such run by class.
    marks: Vec<(u8, Cleaned)>,
    ready: VecDeque<Cleaned>,
}

impl<'a> Cleaner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Cleaner {
            chars: text.char_indices(),
            marks: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// Takes one character of the original through all four steps.
    fn push(&mut self, at: usize, ch: char) {
        let source = at..at + ch.len_utf8();
        if ch.is_ascii() {
            self.push_ascii(ch, source);
        } else if ch.is_whitespace() && !is_dropped(ch) {
            self.push_starter(' ', source);
        } else if is_ideograph(ch) {
            self.push_starter(' ', source.start..source.start);
            self.decompose(ch, &source);
            self.push_starter(' ', source.end..source.end);
        } else if !is_dropped(ch) {
            self.decompose(ch, &source);
        }
    }

    /// The common case without table look-ups.
    fn push_ascii(&mut self, ch: char, source: Range<usize>) {
        match ch {
            '\t' | '\n' | '\r' | ' ' => self.push_starter(' ', source),
            _ if ch.is_ascii_control() => {}
            _ => self.push_starter(ch.to_ascii_lowercase(), source),
        }
    }

    fn decompose(&mut self, ch: char, source: &Range<usize>) {
        decompose_canonical(ch, |part| {
            let class = canonical_combining_class(part);
            // A dropped mark cannot change the order of the marks that stay:
            // the sort is stable and only a starter ends a run.
            if class == 0 {
                self.release_marks();
            }
            if part.is_mark_nonspacing() {
                return;
            }
            let ch = part;
            let source = source.clone();
            if class == 0 {
                self.push_lowercase(Cleaned { ch, source });
            } else {
                self.marks.push((class, Cleaned { ch, source }));
            }
        });
    }

    fn push_starter(&mut self, ch: char, source: Range<usize>) {
        self.release_marks();
        self.ready.push_back(Cleaned { ch, source });
    }

    fn release_marks(&mut self) {
        self.marks.sort_by_key(|(class, _)| *class);
        for (_, mark) in std::mem::take(&mut self.marks) {
            self.push_lowercase(mark);
        }
    }

    fn push_lowercase(&mut self, cleaned: Cleaned) {
        for ch in cleaned.ch.to_lowercase() {
            let source = cleaned.source.clone();
            self.ready.push_back(Cleaned { ch, source });
        }
    }
}

impl Iterator for Cleaner<'_> {
    type Item = Cleaned;

    fn next(&mut self) -> Option<Cleaned> {
        loop {
            if let Some(cleaned) = self.ready.pop_front() {
                return Some(cleaned);
            }
            match self.chars.next() {
                Some((at, ch)) => self.push(at, ch),
                None if self.marks.is_empty() => return None,
                None => self.release_marks(),
            }
        }
    }
}

/// Step 1: characters that never reach the vocabulary.
fn is_dropped(ch: char) -> bool {
    ch == '\u{FFFD}' || ch.is_other()
}

/// Step 2: the CJK blocks BERT splits character by character. The gap before
/// U+2B920 is BERT's own and part of what the teacher learned.
fn is_ideograph(ch: char) -> bool {
    matches!(
        ch as u32,
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x2_0000..=0x2_A6DF
            | 0x2_A700..=0x2_B73F
            | 0x2_B740..=0x2_B81F
            | 0x2_B920..=0x2_CEAF
            | 0xF900..=0xFAFF
            | 0x2_F800..=0x2_FA1F
    )
}

/// Whether a cleaned character is a word of its own.
pub(super) fn is_punctuation(ch: char) -> bool {
    ch.is_ascii_punctuation() || (!ch.is_ascii() && ch.is_punctuation())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        Cleaner::new(text).map(|c| c.ch).collect()
    }

    #[test]
    fn cleans_lowers_and_strips_accents() {
        assert_eq!(clean("Héllo\tWÖRLD\r\n"), "hello world  ");
        assert_eq!(clean("a\u{0}b\u{7}c\u{FFFD}d\u{200B}e"), "abcde");
        assert_eq!(clean("İstanbul"), "istanbul");
        assert_eq!(clean("x\u{2003}y\u{3000}z"), "x y z");
    }

    #[test]
    fn ideographs_stand_alone() {
        assert_eq!(clean("ab野口cd"), "ab 野  口 cd");
    }

    #[test]
    fn hangul_is_decomposed_and_not_split() {
        assert_eq!(
            clean("한국"),
            "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"
        );
    }

    #[test]
    fn spacing_marks_are_put_in_canonical_order() {
        // U+1D165 has class 216, U+302E class 224: both are spacing marks.
        assert_eq!(clean("a\u{302E}\u{1D165}b"), "a\u{1D165}\u{302E}b");
    }

    #[test]
    fn sources_are_the_original_bytes() {
        let text = "É野!";
        let found: Vec<_> = Cleaner::new(text).map(|c| (c.ch, c.source)).collect();
        let wanted = [
            ('e', 0..2),
            (' ', 2..2),
            ('野', 2..5),
            (' ', 5..5),
            ('!', 5..6),
        ];
        assert_eq!(found, wanted);
    }
}
