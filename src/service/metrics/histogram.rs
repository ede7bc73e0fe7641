//! How often something took how long.

use super::sample;

/// Upper bounds in seconds: a token's time on a fast core to an utterance's on a slow one.
const BOUNDS: [f64; 13] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// Counts below each bound, the last one above all of them.
#[derive(Debug, Default, Clone)]
pub(super) struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    pub(super) fn observe(&mut self, seconds: f64) {
        let at = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[at] += 1;
        self.sum += seconds;
    }

    /// Cumulative buckets, sum and count, as the format wants them.
    pub(super) fn render(&self, page: &mut String, name: &str, labels: &str) {
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        let bounds = BOUNDS.iter().map(f64::to_string).chain(["+Inf".into()]);
        for (bound, count) in bounds.zip(self.counts) {
            below += count;
            let labels = format!("{labels},le=\"{bound}\"");
            sample(page, &bucket, &labels, below as f64);
        }
        sample(page, &format!("{name}_sum"), labels, self.sum);
        sample(page, &format!("{name}_count"), labels, below as f64);
    }
}
