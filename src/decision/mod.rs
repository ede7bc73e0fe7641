//! From logits to a decision: calibrated probabilities, smoothing over time, `unsure`.

mod calibrate;
pub mod drift;
mod smooth;
pub mod spans;

pub use calibrate::{average, softmax};
pub use smooth::Smoother;

/// Index of the largest score (the first of equals); `None` for an empty slice.
pub fn top(scores: &[f32]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (i, score) in scores.iter().enumerate() {
        if best.is_none_or(|b| *score > scores[b]) {
            best = Some(i);
        }
    }
    best
}

/// The chosen class, or `None` (unsure) when the top probability is below `unsure_below`.
pub fn choose(scores: &[f32], unsure_below: f32) -> Option<usize> {
    top(scores).filter(|&i| scores[i] >= unsure_below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_first_and_low_tops_are_unsure() {
        assert_eq!(top(&[0.2, 0.4, 0.4]), Some(1));
        assert_eq!(top(&[]), None);
        assert_eq!(choose(&[0.3, 0.3, 0.4], 0.45), None);
        assert_eq!(choose(&[0.3, 0.2, 0.5], 0.45), Some(2));
    }
}
