//! Temporal smoothing: an exponential moving average whose weight depends on the time that
//! passed, so that a long silence forgets the last person by itself.

/// Moving average of probabilities.
#[derive(Debug, Clone)]
pub struct Smoother {
    half_life: f64,
    state: Option<(f64, Vec<f32>)>,
}

impl Smoother {
    /// `half_life` in seconds: after it, an earlier answer weighs half. 0 switches
    /// smoothing off.
    pub fn new(half_life: f64) -> Self {
        Smoother {
            half_life,
            state: None,
        }
    }

    /// Adds the answer at stream time `at` (seconds) and returns the average, or `None`
    /// when smoothing is off. Weights: new 1, old 2^(-dt / half_life), normalised.
    pub fn push(&mut self, at: f64, scores: &[f32]) -> Option<Vec<f32>> {
        if self.half_life <= 0.0 {
            return None;
        }
        let averaged = match &self.state {
            Some((then, old)) => blend(old, scores, self.weight(at - then)),
            None => scores.to_vec(),
        };
        self.state = Some((at, averaged.clone()));
        Some(averaged)
    }

    /// Weight of the past after `dt` seconds; a clock that jumps back counts as no time.
    fn weight(&self, dt: f64) -> f32 {
        (-dt.max(0.0) / self.half_life).exp2() as f32
    }
}

fn blend(old: &[f32], new: &[f32], weight: f32) -> Vec<f32> {
    old.iter()
        .zip(new)
        .map(|(o, n)| (weight * o + n) / (1.0 + weight))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_the_half_life() {
        let mut smoother = Smoother::new(2.0);
        assert_eq!(smoother.push(0.0, &[1.0, 0.0]), Some(vec![1.0, 0.0]));
        let after = smoother.push(2.0, &[0.0, 1.0]).unwrap_or_default();
        assert!((after[0] - 1.0 / 3.0).abs() < 1e-6, "{after:?}");
        let much_later = smoother.push(200.0, &[0.0, 1.0]).unwrap_or_default();
        assert!(much_later[0] < 1e-6, "{much_later:?}");
    }

    #[test]
    fn off_is_off_and_time_never_runs_backwards() {
        assert_eq!(Smoother::new(0.0).push(0.0, &[1.0]), None);
        let mut smoother = Smoother::new(1.0);
        smoother.push(10.0, &[1.0, 0.0]);
        assert_eq!(smoother.push(5.0, &[0.0, 1.0]), Some(vec![0.5, 0.5]));
    }
}
