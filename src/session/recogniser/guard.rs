//! What keeps a decoder from going on: the end of a sentence, repetition, and a bound on length.

use crate::text::ByteTokens;

/// Words that are repeated at once are cut from this many on: of `no, no, no` nothing is.
const REPEATED_WORDS: usize = 3;

/// Why a transcript ends before its decoder did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The same words came again: they are there once.
    Repeated,
    /// It said more than can be said in that time.
    TooLong,
}

impl Cut {
    /// The word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Cut::Repeated => "repeated",
            Cut::TooLong => "too long",
        }
    }
}

/// What the softmax of logits needs: their greatest, and the sum of all.
pub(super) struct Distribution {
    /// The token of the greatest logit, the first of equals.
    pub best: usize,
    greatest: f32,
    sum: f64,
}

impl Distribution {
    pub fn of(logits: &[f32]) -> Distribution {
        let (mut best, mut greatest) = (0, f32::NEG_INFINITY);
        for (at, logit) in logits.iter().enumerate() {
            if *logit > greatest {
                (best, greatest) = (at, *logit);
            }
        }
        // the parts of a block in f32, the blocks in f64: exact enough, and vectors take it
        let block = |logits: &[f32]| logits.iter().map(|x| (x - greatest).exp()).sum::<f32>();
        let sum = logits.chunks(64).map(|b| f64::from(block(b))).sum();
        Distribution {
            best,
            greatest,
            sum,
        }
    }

    pub fn log_probability(&self, logits: &[f32], token: usize) -> f64 {
        f64::from(logits[token] - self.greatest) - self.sum.ln()
    }

    pub fn probability(&self, logits: &[f32], token: usize) -> f32 {
        self.log_probability(logits, token).exp() as f32
    }
}

/// Whether what was said so far may be a whole sentence.
pub(super) fn ends_sentence(text: &str) -> bool {
    let last = text.trim_end_matches(['"', '\'', ')', '”', '’']);
    last.ends_with(['.', '?', '!'])
}

/// A word as repetition compares it, and the tokens before it and with it.
struct Spoken {
    word: String,
    before: usize,
}

/// Words of tokens; the last may not be whole.
fn spoken(tokens: &ByteTokens, ids: &[usize]) -> Vec<Spoken> {
    let mut words: Vec<(Vec<u8>, usize)> = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        let bytes = tokens.bytes(*id);
        match (bytes.first(), words.last_mut()) {
            (Some(b' '), _) | (_, None) => words.push((bytes.to_vec(), at)),
            (_, Some((word, _))) => word.extend_from_slice(bytes),
        }
    }
    let plain = |(bytes, before): (Vec<u8>, usize)| {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        Spoken {
            word: text.chars().filter(|c| c.is_alphanumeric()).collect(),
            before,
        }
    };
    let words = words.into_iter().map(plain);
    words.filter(|w| !w.word.is_empty()).collect()
}

/// How many tokens stay, if the last words are a run of at least [`REPEATED_WORDS`] for the second
/// time. The last word counts only when a sentence or another word has ended it, so that one that
/// begins like another is not taken for it.
pub(super) fn repeated(tokens: &ByteTokens, ids: &[usize]) -> Option<usize> {
    let mut words = spoken(tokens, ids);
    let text = tokens.text(ids);
    if !ends_sentence(&text) && !text.ends_with(',') {
        words.pop();
    }
    let count = words.len();
    let is_again = |run: &usize| {
        let (first, second) = (&words[count - 2 * run..count - run], &words[count - run..]);
        first.iter().zip(second).all(|(a, b)| a.word == b.word)
    };
    let run = (REPEATED_WORDS..=count / 2).find(is_again)?;
    Some(words[count - run].before)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token a word or a mark.
    fn of(text: &str) -> (ByteTokens, Vec<usize>) {
        let mut lines: Vec<String> = Vec::new();
        let mut ids = Vec::new();
        for (word, mark) in text.split_whitespace().map(|w| {
            let bare = w.trim_end_matches(['.', ',', '!']);
            (bare, &w[bare.len()..])
        }) {
            for piece in [format!("Ġ{word}"), mark.to_owned()] {
                if piece.is_empty() {
                    continue;
                }
                let known = lines.iter().position(|l| *l == piece);
                ids.push(known.unwrap_or(lines.len()));
                if known.is_none() {
                    lines.push(piece);
                }
            }
        }
        let tokens = ByteTokens::parse(&lines.join("\n"), lines.len()).expect("bytes");
        (tokens, ids)
    }

    fn kept(text: &str) -> Option<String> {
        let (tokens, ids) = of(text);
        repeated(&tokens, &ids).map(|kept| tokens.text(&ids[..kept]).trim().to_owned())
    }

    #[test]
    fn a_sentence_that_comes_again_is_there_once() {
        let once = "Kids are talking by the door.";
        assert_eq!(kept(&format!("{once} {once}")).as_deref(), Some(once));
        assert_eq!(
            kept("no no no no no no no").as_deref(),
            Some("no no no"),
            "a loop of one word"
        );
        // case and marks do not matter
        assert_eq!(
            kept("I told you so! i told you so.").as_deref(),
            Some("I told you so!")
        );
    }

    #[test]
    fn emphasis_is_left_alone() {
        for text in [
            "No, no, no, no.",
            "Stop it, stop it.",
            "I know that I know that he knew.",
            "Kids are talking by the door. Kids are talking by the doorway",
            "",
        ] {
            assert_eq!(kept(text), None, "{text}");
        }
    }

    #[test]
    fn a_sentence_ends_with_its_mark() {
        for text in ["Yes.", " \"Really?\"", "Go!"] {
            assert!(ends_sentence(text), "{text}");
        }
        for text in ["", "Yes", "Well,", "3.5"] {
            assert!(!ends_sentence(text), "{text}");
        }
    }

    #[test]
    fn probabilities_are_a_softmax() {
        let logits = [1.0, f32::NEG_INFINITY, 3.0, 3.0];
        let all = Distribution::of(&logits);
        assert_eq!(all.best, 2);
        let sum: f32 = (0..4).map(|t| all.probability(&logits, t)).sum();
        assert!((sum - 1.0).abs() < 1e-6 && all.probability(&logits, 1) == 0.0);
        let exact = 1.0 / (2.0 + (-2.0f64).exp());
        assert!((f64::from(all.probability(&logits, 3)) - exact).abs() < 1e-6);
    }
}
