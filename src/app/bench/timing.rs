//! Repeated timing and its statistics.

use crate::model::ModelError;
use std::time::{Duration, Instant};

/// Least repetitions, however long one takes.
const LEAST: usize = 10;

/// Most repetitions kept.
const MOST: usize = 100_000;

/// How long something is measured.
#[derive(Debug, Clone, Copy)]
pub(super) enum Span {
    Time(Duration),
    /// As many runs and no warming up, for counters outside that see the whole process.
    Runs(usize),
}

impl Span {
    /// Whether `done` runs since `start`, `least` of them wanted, are enough.
    pub(super) fn is_over(self, start: Instant, done: usize, least: usize) -> bool {
        match self {
            Span::Time(time) => done >= least && start.elapsed() >= time,
            Span::Runs(runs) => done >= runs,
        }
    }
}

/// Runs `work` until the span is over; every run's nanoseconds, sorted.
pub(super) fn sample(
    span: Span,
    mut work: impl FnMut() -> Result<(), ModelError>,
) -> Result<Times, ModelError> {
    if let Span::Time(time) = span {
        // caches, branch predictors and clocks settle
        let settled = Instant::now() + time / 5;
        while Instant::now() < settled {
            work()?;
        }
    }
    let mut ns = Vec::with_capacity(1024);
    let begun = Instant::now();
    while !span.is_over(begun, ns.len(), LEAST) && ns.len() < MOST {
        let start = Instant::now();
        work()?;
        ns.push(start.elapsed().as_nanos() as u64);
    }
    ns.sort_unstable();
    Ok(Times(ns))
}

/// Nanoseconds of each run, sorted; at least one.
#[derive(Debug, Clone)]
pub(super) struct Times(Vec<u64>);

impl Times {
    /// The value below which `share` of the runs lie.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        let last = self.0.len().saturating_sub(1);
        self.0[((last as f64 * share).round() as usize).min(last)]
    }

    pub(super) fn median(&self) -> u64 {
        self.quantile(0.5)
    }

    pub(super) fn runs(&self) -> usize {
        self.0.len()
    }

    /// Share of outliers: a modified z-score above 3.5 (Iglewicz and Hoaglin, 1993).
    pub(super) fn outliers(&self) -> f64 {
        let median = self.median();
        let mut away: Vec<u64> = self.0.iter().map(|ns| ns.abs_diff(median)).collect();
        away.sort_unstable();
        let mad = away[away.len() / 2].max(1) as f64;
        let far = away
            .iter()
            .filter(|d| 0.6745 * **d as f64 / mad > 3.5)
            .count();
        far as f64 / away.len() as f64
    }

    /// What makes the figure doubtful, if anything does.
    pub(super) fn doubt(&self) -> Option<&'static str> {
        let spread = self.quantile(0.75) as f64 / self.quantile(0.25).max(1) as f64;
        if spread > 1.15 {
            Some(
                "the middle half of the runs differs by more than 15%: the machine is busy or changes its clock",
            )
        } else if self.outliers() > 0.1 {
            Some("more than 10% of the runs are outliers: something else ran")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_ramp() {
        let times = Times((0..=100).collect());
        assert_eq!(
            (times.median(), times.quantile(0.95), times.quantile(1.0)),
            (50, 95, 100)
        );
        assert_eq!(times.outliers(), 0.0);
    }

    #[test]
    fn noise_is_named() {
        assert_eq!(Times(vec![100; 50]).doubt(), None);
        let mut busy: Vec<u64> = vec![100; 30];
        busy.extend([200; 30]);
        assert!(Times(busy).doubt().is_some());
        let mut disturbed: Vec<u64> = (0..80).map(|i| 100 + i % 3).collect();
        disturbed.extend([900; 20]);
        assert!(Times(disturbed).doubt().is_some());
    }
}
