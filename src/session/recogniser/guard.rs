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

/// How far a decoder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It may say more.
    Going,
    /// It came to its end.
    Ended,
    /// It ran away: it was stopped at the bound on length.
    Away,
}

/// How many tokens stay, if the last words are a run of at least [`REPEATED_WORDS`] for the second
/// time: one round of what goes round. Unless the decoder has ended, the last word counts only
/// behind a mark, so that one that begins like another is not taken for it. Where it ran away, the
/// beginning of a second round is enough.
pub(super) fn repeated(tokens: &ByteTokens, ids: &[usize], progress: Progress) -> Option<usize> {
    let mut words = spoken(tokens, ids);
    let marked = tokens.text(ids).ends_with(['.', '?', '!', ',']);
    if progress != Progress::Ended && !marked {
        words.pop();
    }
    // as many of the last words as are those that stand `round` before them
    let matched = |round: usize| {
        let again = words.iter().rev().zip(words.iter().rev().skip(round));
        again.take_while(|(a, b)| a.word == b.word).count()
    };
    let least = |round: usize| match progress {
        Progress::Away if round < REPEATED_WORDS => 2 * round,
        Progress::Away => 2,
        // whole rounds, together a run of three words or more, and that run again
        Progress::Going | Progress::Ended => 2 * REPEATED_WORDS.next_multiple_of(round) - round,
    };
    let mut rounds = (1..words.len()).map(|round| (round, matched(round)));
    let (_, matched) = rounds.find(|(round, matched)| *matched >= least(*round))?;
    Some(words[words.len() - matched].before)
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

    fn kept(text: &str, progress: Progress) -> Option<String> {
        let (tokens, ids) = of(text);
        repeated(&tokens, &ids, progress).map(|kept| tokens.text(&ids[..kept]).trim().to_owned())
    }

    #[test]
    fn what_goes_round_is_there_once() {
        for (text, once) in [
            (
                "Kids are talking by the door. Kids are talking by the door.",
                "Kids are talking by the door.",
            ),
            // case and marks do not matter
            ("I told you so! i told you so.", "I told you so!"),
            ("no no no no no no,", "no"),
            ("Well, is it so, is it so, is it so,", "Well, is it so,"),
        ] {
            assert_eq!(kept(text, Progress::Going).as_deref(), Some(once), "{text}");
        }
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
            assert_eq!(kept(text, Progress::Going), None, "{text}");
        }
    }

    #[test]
    fn of_a_decoder_that_ran_away_the_second_round_is_left_out() {
        for (text, once) in [
            (
                "But I mind what we do now, but I do",
                "But I mind what we do now,",
            ),
            ("the law, the law, the law, the la", "the law,"),
            ("madam madam madam mada", "madam"),
        ] {
            assert_eq!(kept(text, Progress::Away).as_deref(), Some(once), "{text}");
        }
        // at its own end the last word is whole
        let twice = "I am at the door I am at the door";
        assert_eq!(
            kept(twice, Progress::Ended).as_deref(),
            Some("I am at the door")
        );
        assert_eq!(kept(twice, Progress::Going), None);
        assert_eq!(
            kept("a word that never ends and never will be", Progress::Away),
            None
        );
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
