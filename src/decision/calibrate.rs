//! Calibrated probabilities.

/// p = softmax(logits / temperature); sums to 1. `temperature` > 1 flattens.
pub fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
    let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f32> = logits
        .iter()
        .map(|x| ((x - peak) / temperature).exp())
        .collect();
    let sum: f32 = exps.iter().sum();
    exps.into_iter().map(|e| e / sum).collect()
}

/// Score fusion: ½(p + q), on probabilities; the baseline that LE-MER's fusion is compared with.
pub fn average(p: &[f32], q: &[f32]) -> Vec<f32> {
    p.iter().zip(q).map(|(a, b)| 0.5 * (a + b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_sums_to_one_and_survives_extremes() {
        for logits in [[0.0; 4], [1e4, -1e4, 0.0, 3.0], [-3e38, 3e38, 0.0, 0.0]] {
            let p = softmax(&logits, 0.7);
            assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{p:?}");
            assert!(p.iter().all(|x| (0.0..=1.0).contains(x)), "{p:?}");
        }
    }

    #[test]
    fn a_higher_temperature_is_flatter() {
        let logits = [2.0, 0.0, -1.0, 0.5];
        assert!(softmax(&logits, 2.0)[0] < softmax(&logits, 1.0)[0]);
        assert_eq!(average(&[0.2, 0.8], &[0.6, 0.4]), vec![0.4, 0.6]);
    }
}
