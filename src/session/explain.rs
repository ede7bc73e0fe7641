//! The rows of an explaining output (`[rows, classes]`, a similarity -1..1 each) that are most
//! similar to a class: LE-MER's G_t and G_s. And G2SAM's edges between words and what is shown.

use crate::event::{Edge, Salient};

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

/// The edges between words and picture words through which most reaches the answer, each with its
/// part of what passes through all of them.
///
/// Of a graph's joint attention `[nodes, nodes]` and the nodes' `weights` in the readout, picture
/// words first: an edge passes `w_i A_ij + w_j A_ji`, and a word what all of its pieces do.
pub(super) fn edges(
    weights: &[f32],
    attention: &[f32],
    tokens: &[String],
    shown: &[String],
) -> Vec<Edge> {
    let (nodes, pictures) = (weights.len(), shown.len());
    let pieces = tokens.get(1..tokens.len().saturating_sub(1)).unwrap_or(&[]);
    if attention.len() != nodes * nodes || pieces.len() + pictures != nodes {
        return Vec::new();
    }
    let passes = |i: usize, j: usize| weights[i] * attention[i * nodes + j];
    let mut words: Vec<(String, Vec<f32>)> = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let node = pictures + at;
        let through = (0..pictures).map(|j| passes(node, j) + passes(j, node));
        match (piece.strip_prefix("##"), words.last_mut()) {
            (Some(rest), Some((word, sums))) => {
                word.push_str(rest);
                sums.iter_mut().zip(through).for_each(|(sum, p)| *sum += p);
            }
            _ => words.push((piece.clone(), through.collect())),
        }
    }
    let mut edges: Vec<Edge> = words
        .iter()
        .flat_map(|(word, sums)| {
            shown.iter().zip(sums).map(|(shown, share)| Edge {
                word: word.clone(),
                shown: shown.clone(),
                share: *share,
            })
        })
        .collect();
    edges.sort_by(|a, b| b.share.total_cmp(&a.share));
    let all: f32 = edges.iter().map(|e| e.share).sum();
    edges.truncate(LISTED);
    for edge in &mut edges {
        edge.share /= all.max(f32::MIN_POSITIVE);
    }
    edges
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
    fn an_edge_counts_both_ways_and_pieces_are_one_word() {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (tokens, shown) = (
            names(&["[CLS]", "rain", "##y", "day", "[SEP]"]),
            names(&["sun"]),
        );
        // one picture word and three pieces; who looks at whom
        #[rustfmt::skip]
        let attention = [
            0.1, 0.5, 0.2, 0.2,
            0.6, 0.4, 0.0, 0.0,
            0.2, 0.0, 0.8, 0.0,
            0.1, 0.0, 0.0, 0.9,
        ];
        let found = edges(&[0.4, 0.3, 0.2, 0.1], &attention, &tokens, &shown);
        let told: Vec<_> = found
            .iter()
            .map(|e| (e.word.as_str(), (e.share * 100.0).round()))
            .collect();
        // rain .3*.6 + .4*.5, ##y .2*.2 + .4*.2, day .1*.1 + .4*.2: .5 and .09
        assert_eq!(told, [("rainy", 85.0), ("day", 15.0)]);
        assert!(edges(&[0.4, 0.3], &attention, &tokens, &shown).is_empty());
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
