//! Tokens to text: the byte-level alphabet of GPT-2, in which a vocabulary writes every byte as a
//! printable character.

use std::fmt;

/// Why a vocabulary of bytes cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotBytes {
    /// Line number, counted from 1.
    line: usize,
    /// The character that is none of the alphabet.
    character: char,
}

impl fmt::Display for NotBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {} of the vocabulary holds {:?}, which stands for no byte",
            self.line, self.character
        )
    }
}

impl std::error::Error for NotBytes {}

/// The bytes that each token stands for.
#[derive(Clone, Debug, Default)]
pub struct ByteTokens {
    bytes: Vec<u8>,
    /// Where each token ends in `bytes`.
    ends: Vec<usize>,
}

impl ByteTokens {
    /// Reads a vocabulary, one token a line in the order of their ids. The first `text` lines are
    /// text; what others stand for is nothing that is said.
    ///
    /// # Errors
    /// A character that stands for no byte, among those of text.
    pub fn parse(vocab: &str, text: usize) -> Result<ByteTokens, NotBytes> {
        let mut tokens = ByteTokens::default();
        for (at, line) in vocab.lines().enumerate() {
            if at < text {
                for character in line.chars() {
                    let line = at + 1;
                    let byte = byte_of(character).ok_or(NotBytes { line, character })?;
                    tokens.bytes.push(byte);
                }
            }
            tokens.ends.push(tokens.bytes.len());
        }
        Ok(tokens)
    }

    /// How many tokens there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of a token; none of an id that there is not.
    #[must_use]
    pub fn bytes(&self, id: usize) -> &[u8] {
        let Some(end) = self.ends.get(id) else {
            return &[];
        };
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..*end]
    }

    /// What tokens say together; bytes that are no UTF-8 become U+FFFD.
    #[must_use]
    pub fn text(&self, ids: &[usize]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| self.bytes(*id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Printable bytes of Latin-1 stand for themselves; the others, in their order, are the
/// characters from U+0100 on.
fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    if let Ok(byte) = u8::try_from(code) {
        return is_printable(byte).then_some(byte);
    }
    let place = usize::try_from(code.checked_sub(0x100)?).ok()?;
    (0..=u8::MAX).filter(|byte| !is_printable(*byte)).nth(place)
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let mut found = [0; 256];
        for character in (0..0x200).filter_map(char::from_u32) {
            if let Some(byte) = byte_of(character) {
                found[usize::from(byte)] += 1;
            }
        }
        assert_eq!(found, [1; 256]);
        // as GPT-2's own table has them
        let known = [
            ('Ġ', b' '),
            ('Ċ', b'\n'),
            ('!', b'!'),
            ('Ń', 0xad),
            ('ÿ', 0xff),
        ];
        for (character, byte) in known {
            assert_eq!(byte_of(character), Some(byte), "{character}");
        }
    }

    #[test]
    fn tokens_join_to_words_and_split_letters_are_whole_again() {
        let tokens = ByteTokens::parse("ĠI\nĠsaid\nĠcaf\nÃ\n©\n<|end|>\n", 5).expect("bytes");
        assert_eq!(
            (tokens.len(), tokens.bytes(5), tokens.bytes(6)),
            (6, &[][..], &[][..])
        );
        assert_eq!(tokens.text(&[0, 1, 2, 3, 4, 5]), " I said café");
        assert_eq!(tokens.text(&[2, 3]), " caf\u{fffd}");
    }

    #[test]
    fn what_is_no_byte_is_told_with_its_line() {
        let wrong = ByteTokens::parse("a\nb c\n", 2).map(|t| t.len());
        let sentence = wrong.map_err(|e| e.to_string());
        assert!(sentence.is_err_and(|s| s.contains("line 2") && s.contains("' '")));
    }
}
