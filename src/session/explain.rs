//! The rows of an explaining output (`[rows, classes]`, a similarity -1..1 each) that are most
//! similar to a class: LE-MER's G_t and G_s.

use crate::event::Salient;

/// Rows that are listed, of each modality.
const LISTED: usize = 5;

/// Rows by their similarity to `class`, the most similar first and equals in their order.
fn ranked(rows: &[f32], classes: usize, class: usize) -> Vec<(usize, f32)> {
    let similarities = rows.chunks_exact(classes.max(1)).map(|row| row.get(class));
    let mut ranked: Vec<(usize, f32)> = similarities.flatten().copied().enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}

/// The strongest tokens; `[CLS]` and `[SEP]` say nothing to a reader.
pub(super) fn tokens(
    rows: &[f32],
    classes: usize,
    class: usize,
    tokens: &[String],
) -> Vec<Salient> {
    let ranked = ranked(rows, classes, class).into_iter();
    let named = ranked.filter_map(|(at, similarity)| Some((tokens.get(at)?, similarity)));
    let words = named.filter(|(token, _)| !token.starts_with('['));
    words
        .take(LISTED)
        .map(|(token, similarity)| Salient::Token {
            token: token.clone(),
            similarity,
        })
        .collect()
}

/// The strongest moments of an utterance that begins at `start` and takes `seconds`.
pub(super) fn frames(
    rows: &[f32],
    classes: usize,
    class: usize,
    start: f64,
    seconds: f64,
) -> Vec<Salient> {
    let count = (rows.len() / classes.max(1)).max(1) as f64;
    let ranked = ranked(rows, classes, class).into_iter().take(LISTED);
    ranked
        .map(|(at, similarity)| Salient::Frame {
            at: start + (at as f64 + 0.5) / count * seconds,
            similarity,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_ties_stay_in_order() {
        let rows: Vec<f32> = [0.1, 0.9, -0.5, 0.9, 0.3]
            .iter()
            .flat_map(|s| [0.0, *s, 0.0])
            .collect();
        let order: Vec<usize> = ranked(&rows, 3, 1).iter().map(|r| r.0).collect();
        assert_eq!(order, [1, 3, 4, 0, 2]);
        assert!(ranked(&rows, 3, 3).is_empty() && ranked(&[], 0, 0).is_empty());
    }

    #[test]
    fn marks_of_the_tokenizer_are_no_reasons() {
        let names = ["[CLS]", "so", "[SEP]"].map(String::from);
        let listed = tokens(&[0.9, 0.5, 0.8], 1, 0, &names);
        assert_eq!(
            listed,
            [Salient::Token {
                token: "so".into(),
                similarity: 0.5
            }]
        );
    }
}
