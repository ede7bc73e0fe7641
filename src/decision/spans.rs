//! Logits of a reader to spans of words.

use std::ops::Range;

/// Words that a span may go on for after its first.
const LONGEST: usize = 12;

/// What a reader says of `n` tokens: logits of each of `t` types.
#[derive(Debug, Clone, Copy)]
pub struct Logits<'a> {
    /// `[t]`: whether the type occurs at all.
    pub exist: &'a [f32],
    /// `[t, n]`: whether a span begins at a token.
    pub start: &'a [f32],
    /// `[t, n]`: whether one ends there.
    pub end: &'a [f32],
    /// `[t, n, n]`: whether a span goes from one token to another.
    pub joint: &'a [f32],
}

/// Words that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Which type.
    pub kind: usize,
    /// Which words.
    pub words: Range<usize>,
    /// Probability that the type occurs times that of the span, 0..1.
    pub score: f32,
}

/// The spans of a sentence in the order of its words, none within another. `words` says for each
/// token the word that it is from, rising, or `None`.
///
/// A type counts if its probability is at least `threshold`. Spans begin with the first token of a
/// word and end with the last of one; a start takes the nearest end, at most twelve words on. Of
/// spans that overlap the one with the highest score stays.
#[must_use]
pub fn spans(logits: &Logits<'_>, words: &[Option<usize>], threshold: f32) -> Vec<Span> {
    let n = words.len();
    let mut found = Vec::new();
    for (kind, exist) in logits.exist.iter().enumerate() {
        let exist = sigmoid(*exist);
        if exist < threshold {
            continue;
        }
        let likely = |marks: &[f32], at: usize| marks.get(kind * n + at).is_some_and(|x| *x > 0.0);
        for start in 0..n {
            let Some(first) = words[start].filter(|_| likely(logits.start, start)) else {
                continue;
            };
            if start > 0 && words[start - 1] == Some(first) {
                continue;
            }
            let ends = (start..n).filter(|end| {
                let ends_word = words.get(end + 1).copied().flatten() != words[*end];
                ends_word && words[*end].is_some() && likely(logits.end, *end)
            });
            let Some((end, last)) = ends.filter_map(|end| Some((end, words[end]?))).next() else {
                continue;
            };
            let joint = logits.joint.get((kind * n + start) * n + end);
            let joint = joint.map_or(0.0, |x| sigmoid(*x));
            if joint > 0.5 && last - first <= LONGEST {
                found.push(Span {
                    kind,
                    words: first..last + 1,
                    score: exist * joint,
                });
            }
        }
    }
    apart(found)
}

/// Of spans that overlap the likelier one; in the order of the words.
fn apart(mut found: Vec<Span>) -> Vec<Span> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Span> = Vec::new();
    for span in found {
        let meets = |k: &Span| k.words.start < span.words.end && span.words.start < k.words.end;
        if !kept.iter().any(meets) {
            kept.push(span);
        }
    }
    kept.sort_by_key(|span| span.words.start);
    kept
}

/// A logit as a probability.
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `[CLS] ke ##vin durant in paris [SEP]`
    const WORDS: [Option<usize>; 7] = [None, Some(0), Some(0), Some(1), Some(2), Some(3), None];

    /// Logits of two types, unlikely but for what is named.
    struct Made {
        exist: [f32; 2],
        start: Vec<f32>,
        end: Vec<f32>,
        joint: Vec<f32>,
    }

    impl Made {
        fn new(starts: &[(usize, usize)], ends: &[(usize, usize)]) -> Made {
            let mut made = Made {
                exist: [3.0, 2.0],
                start: vec![-5.0; 14],
                end: vec![-5.0; 14],
                joint: vec![4.0; 98],
            };
            starts.iter().for_each(|(t, i)| made.start[t * 7 + i] = 2.0);
            ends.iter().for_each(|(t, i)| made.end[t * 7 + i] = 2.0);
            made
        }

        fn spans(&self) -> Vec<(usize, Range<usize>)> {
            let logits = Logits {
                exist: &self.exist,
                start: &self.start,
                end: &self.end,
                joint: &self.joint,
            };
            let found = spans(&logits, &WORDS, 0.5).into_iter();
            found.map(|s| (s.kind, s.words)).collect()
        }
    }

    #[test]
    fn a_start_takes_the_nearest_end_and_both_are_borders_of_words() {
        let made = Made::new(&[(0, 1), (1, 5)], &[(0, 3), (0, 5), (1, 5)]);
        assert_eq!(made.spans(), [(0, 0..2), (1, 3..4)]);
        // ##vin begins no word, ke ends none
        assert!(Made::new(&[(0, 2)], &[(0, 3)]).spans().is_empty());
        assert_eq!(Made::new(&[(0, 1)], &[(0, 1), (0, 3)]).spans(), [(0, 0..2)]);
        // neither are marks of the tokenizer, and no span runs backwards
        assert!(Made::new(&[(0, 0)], &[(0, 6)]).spans().is_empty());
        assert!(Made::new(&[(0, 4)], &[(0, 3)]).spans().is_empty());
    }

    #[test]
    fn a_type_must_occur_and_its_pair_must_match() {
        let mut made = Made::new(&[(0, 1)], &[(0, 3)]);
        made.joint[7 + 3] = -0.1;
        assert!(made.spans().is_empty());
        let mut made = Made::new(&[(0, 1)], &[(0, 3)]);
        made.exist[0] = -0.1;
        assert!(made.spans().is_empty());
    }

    #[test]
    fn of_overlapping_spans_the_likelier_stays() {
        let mut made = Made::new(&[(0, 1), (1, 3)], &[(0, 3), (1, 5)]);
        assert_eq!(made.spans(), [(0, 0..2)]);
        made.exist[1] = 9.0;
        assert_eq!(made.spans(), [(1, 1..4)]);
    }

    proptest! {
        #[test]
        fn spans_never_end_before_they_start_nor_overlap(
            values in prop::collection::vec(-3.0f32..3.0, 3 * (1 + 20 + 20 + 400)),
            steps in prop::collection::vec(0usize..3, 18),
        ) {
            // rising words with gaps, some of several tokens
            let mut words = vec![None];
            let mut word = 0;
            for step in steps {
                word += step;
                words.push((step < 2 || word % 2 == 0).then_some(word));
            }
            words.push(None);
            let (exist, rest) = values.split_at(3);
            let (start, rest) = rest.split_at(60);
            let (end, joint) = rest.split_at(60);
            let logits = Logits { exist, start, end, joint };
            let found = spans(&logits, &words, 0.5);
            for span in &found {
                prop_assert!(span.words.start < span.words.end && span.words.len() <= LONGEST + 1);
                prop_assert!(span.kind < 3 && (0.25..=1.0).contains(&span.score));
            }
            for pair in found.windows(2) {
                prop_assert!(pair[0].words.end <= pair[1].words.start);
            }
        }
    }
}
