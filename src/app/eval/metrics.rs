//! Figures of a classification run, each with its definition.

use serde_json::{Map, Value, json};

/// Bins of the expected calibration error.
const ECE_BINS: usize = 15;
/// Resamples of the bootstrap.
pub(in crate::app) const RESAMPLES: usize = 1000;
/// Seed of the bootstrap: the same file gives the same interval.
pub(in crate::app) const SEED: u64 = 0x6465_6d65_616e_6f72;

/// Least probability whose logarithm is taken, so that one sure mistake is not all.
const LEAST: f64 = 1e-12;

/// One judged item.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Index of the true class.
    pub truth: usize,
    /// Share of every class among the annotators' votes, if there were votes.
    pub votes: Option<Vec<f32>>,
    /// Probability of every class.
    pub scores: Vec<f32>,
}

impl Item {
    fn guess(&self) -> usize {
        crate::decision::top(&self.scores).unwrap_or(0)
    }
}

/// Figures of one system on one set of items.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Metrics {
    /// Share of right answers (WA).
    pub accuracy: f64,
    /// Mean recall over the classes that occur (UA).
    pub ua: f64,
    /// Mean F1 over the classes that occur.
    pub macro_f1: f64,
    /// F1 weighted by how often each class occurs.
    pub weighted_f1: f64,
    /// Of two classes: the share of right answers among those that say the second.
    pub precision: f64,
    /// Of two classes: the share of the second that is found.
    pub recall: f64,
    /// Of two classes: F1 of the second.
    pub f1: f64,
    /// Expected calibration error: mean gap between confidence and accuracy, 15 bins.
    pub ece: f64,
}

/// A figure that has an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Share of right answers (WA).
    Accuracy,
    /// Mean recall over the classes that occur (UA).
    Ua,
    /// Mean F1 over the classes that occur.
    MacroF1,
    /// F1 weighted by how often each class occurs.
    WeightedF1,
    /// Of two classes: the share of right answers among those that say the second.
    Precision,
    /// Of two classes: the share of the second that is found.
    Recall,
    /// Of two classes: F1 of the second.
    F1,
}

/// How many figures there are.
pub(in crate::app) const FIGURES: usize = 7;

impl Figure {
    /// In the order of [`intervals`].
    const ALL: [Figure; FIGURES] = [
        Figure::Accuracy,
        Figure::Ua,
        Figure::MacroF1,
        Figure::WeightedF1,
        Figure::Precision,
        Figure::Recall,
        Figure::F1,
    ];

    /// Those that mean something where there are `classes`.
    fn of_classes(classes: usize) -> impl Iterator<Item = Figure> {
        let all = Figure::ALL.into_iter();
        all.filter(move |figure| classes == 2 || !figure.is_of_the_second())
    }

    fn is_of_the_second(self) -> bool {
        matches!(self, Figure::Precision | Figure::Recall | Figure::F1)
    }

    /// The figure of this key.
    pub fn parse(key: &str) -> Option<Figure> {
        Figure::ALL.into_iter().find(|f| f.key() == key)
    }

    /// What stands above its column.
    pub fn heading(self) -> &'static str {
        match self {
            Figure::Accuracy => "Acc [95%]",
            Figure::Ua => "UA [95%]",
            Figure::MacroF1 => "macro F1 [95%]",
            Figure::WeightedF1 => "weighted F1 [95%]",
            Figure::Precision => "precision [95%]",
            Figure::Recall => "recall [95%]",
            Figure::F1 => "F1 [95%]",
        }
    }

    /// Its key in `--json`.
    pub fn key(self) -> &'static str {
        match self {
            Figure::Accuracy => "accuracy",
            Figure::Ua => "ua",
            Figure::MacroF1 => "macro_f1",
            Figure::WeightedF1 => "weighted_f1",
            Figure::Precision => "precision",
            Figure::Recall => "recall",
            Figure::F1 => "f1",
        }
    }

    /// Its value.
    pub fn of(self, metrics: &Metrics) -> f64 {
        match self {
            Figure::Accuracy => metrics.accuracy,
            Figure::Ua => metrics.ua,
            Figure::MacroF1 => metrics.macro_f1,
            Figure::WeightedF1 => metrics.weighted_f1,
            Figure::Precision => metrics.precision,
            Figure::Recall => metrics.recall,
            Figure::F1 => metrics.f1,
        }
    }

    /// Its interval among `intervals`.
    pub fn interval(self, intervals: &[Interval; FIGURES]) -> Interval {
        intervals[self as usize]
    }
}

/// Interval of a figure, 2.5th to 97.5th percentile.
pub type Interval = [f64; 2];

/// Rows: true class; columns: guess.
pub type Confusion = Vec<Vec<usize>>;

/// Counts of true class by guess.
pub fn confusion(items: &[Item], classes: usize) -> Confusion {
    let mut counts = vec![vec![0; classes]; classes];
    for item in items {
        counts[item.truth][item.guess()] += 1;
    }
    counts
}

/// Every figure of `items`.
pub fn metrics(items: &[Item], classes: usize) -> Metrics {
    let figures = from_confusion(&confusion(items, classes));
    let [accuracy, ua, macro_f1, weighted_f1, precision, recall, f1] = figures;
    Metrics {
        accuracy,
        ua,
        macro_f1,
        weighted_f1,
        precision,
        recall,
        f1,
        ece: ece(items),
    }
}

/// Every figure, in the order of [`Figure::ALL`]. Classes that never occur as truth are left out
/// of the means: a set without them says nothing about them.
pub(in crate::app) fn from_confusion(counts: &Confusion) -> [f64; FIGURES] {
    let total: usize = counts.iter().flatten().sum();
    let right: usize = (0..counts.len()).map(|c| counts[c][c]).sum();
    let (mut recalls, mut f1s, mut weighted, mut present) = (0.0, 0.0, 0.0, 0.0);
    for (class, row) in counts.iter().enumerate() {
        let support: usize = row.iter().sum();
        if support == 0 {
            continue;
        }
        let guessed: usize = counts.iter().map(|r| r[class]).sum();
        let f1 = 2.0 * row[class] as f64 / (support + guessed) as f64;
        recalls += row[class] as f64 / support as f64;
        f1s += f1;
        weighted += f1 * support as f64;
        present += 1.0;
    }
    let mean = |sum: f64, n: f64| if n > 0.0 { sum / n } else { 0.0 };
    let total = total as f64;
    let [precision, recall, f1] = match counts.as_slice() {
        [a, b] => {
            let (hit, said, there) = (b[1] as f64, (a[1] + b[1]) as f64, (b[0] + b[1]) as f64);
            [
                mean(hit, said),
                mean(hit, there),
                mean(2.0 * hit, said + there),
            ]
        }
        _ => [0.0; 3],
    };
    [
        mean(right as f64, total),
        mean(recalls, present),
        mean(f1s, present),
        mean(weighted, total),
        precision,
        recall,
        f1,
    ]
}

pub(in crate::app) fn ece(items: &[Item]) -> f64 {
    let mut bins = [(0usize, 0.0f64, 0.0f64); ECE_BINS];
    for item in items {
        let guess = item.guess();
        let confidence = f64::from(item.scores[guess]);
        let bin = &mut bins[((confidence * ECE_BINS as f64) as usize).min(ECE_BINS - 1)];
        bin.0 += 1;
        bin.1 += confidence;
        bin.2 += f64::from(u8::from(guess == item.truth));
    }
    let gap: f64 = bins
        .iter()
        .map(|(_, confidence, right)| (confidence - right).abs())
        .sum();
    gap / items.len().max(1) as f64
}

/// 95% bootstrap intervals, in the order of [`Figure::ALL`].
pub fn intervals(items: &[Item], classes: usize) -> [Interval; FIGURES] {
    let pairs: Vec<(usize, usize)> = items.iter().map(|i| (i.truth, i.guess())).collect();
    let mut random = SplitMix(SEED);
    let mut draws: [Vec<f64>; FIGURES] = Default::default();
    for _ in 0..RESAMPLES {
        let mut counts = vec![vec![0; classes]; classes];
        for _ in 0..pairs.len() {
            let (truth, guess) = pairs[random.below(pairs.len())];
            counts[truth][guess] += 1;
        }
        for (draw, value) in draws.iter_mut().zip(from_confusion(&counts)) {
            draw.push(value);
        }
    }
    draws.map(middle)
}

/// The middle 95% of draws.
pub(in crate::app) fn middle(mut draws: Vec<f64>) -> Interval {
    draws.sort_by(f64::total_cmp);
    let at = |q: f64| draws[((draws.len() - 1) as f64 * q).round() as usize];
    [at(0.025), at(0.975)]
}

/// Counts that add up, and three figures that follow from them.
pub(super) trait Tallied: Copy + Default {
    /// Counts one more part.
    fn add(&mut self, other: Self);

    /// The figures of what was counted.
    fn figures(self) -> [f64; 3];
}

/// The counts of all parts, and 95% intervals of their figures by a bootstrap over the parts.
pub(super) fn resampled<T: Tallied>(parts: &[T]) -> (T, [Interval; 3]) {
    let mut sum = T::default();
    parts.iter().for_each(|part| sum.add(*part));
    let mut random = SplitMix(SEED);
    let mut draws: [Vec<f64>; 3] = Default::default();
    for _ in 0..RESAMPLES {
        let mut drawn = T::default();
        for _ in 0..parts.len() {
            drawn.add(parts[random.below(parts.len())]);
        }
        for (draw, value) in draws.iter_mut().zip(drawn.figures()) {
            draw.push(value);
        }
    }
    (sum, draws.map(middle))
}

/// Three figures by their names, and `ci95`, their intervals.
pub(super) fn figures_json(
    names: &[&str; 3],
    figures: [f64; 3],
    ends: [Interval; 3],
) -> Map<String, Value> {
    let values = names.iter().zip(figures);
    let mut object: Map<String, Value> = values
        .map(|(name, value)| ((*name).into(), json!(round4(value))))
        .collect();
    let ends = names.iter().zip(ends);
    let ci95: Map<String, Value> = ends
        .map(|(name, [low, high])| ((*name).into(), json!([round4(low), round4(high)])))
        .collect();
    object.insert("ci95".into(), Value::Object(ci95));
    object
}

/// The same as the end of a table's line.
pub(super) fn figures_line(figures: [f64; 3], ends: [Interval; 3]) -> String {
    let told = figures.into_iter().zip(ends);
    let told: Vec<String> = told
        .map(|(x, [low, high])| format!("{:<21}", format!("{x:.3} [{low:.3}, {high:.3}]")))
        .collect();
    told.concat().trim_end().to_owned()
}

/// How far the scores are from the annotators' votes, in nats: (mean cross-entropy
/// `−Σ q ln p`, mean entropy `−Σ q ln q` of the votes, which is the least that it can be).
/// `None` without votes.
pub fn surprise(items: &[Item]) -> Option<(f64, f64)> {
    let (mut cross, mut own, mut n) = (0.0, 0.0, 0usize);
    for (votes, scores) in items
        .iter()
        .filter_map(|i| Some((i.votes.as_ref()?, &i.scores)))
    {
        for (q, p) in votes.iter().map(|q| f64::from(*q)).zip(scores) {
            cross -= q * f64::from(*p).max(LEAST).ln();
            own -= q * q.max(LEAST).ln();
        }
        n += 1;
    }
    (n > 0).then(|| (cross / n as f64, own / n as f64))
}

/// Every figure with its interval, as `--json` prints it.
pub fn to_json(items: &[Item], classes: usize) -> Value {
    let (m, ends) = (metrics(items, classes), intervals(items, classes));
    let mut object = Map::new();
    object.insert("n".into(), json!(items.len()));
    for figure in Figure::of_classes(classes) {
        object.insert(figure.key().into(), json!(round4(figure.of(&m))));
    }
    object.insert("ece".into(), json!(round4(m.ece)));
    if let Some((cross, own)) = surprise(items) {
        object.insert("cross_entropy".into(), json!(round4(cross)));
        object.insert("vote_entropy".into(), json!(round4(own)));
    }
    let interval = |figure: Figure| {
        let [low, high] = figure.interval(&ends);
        (figure.key().into(), json!([round4(low), round4(high)]))
    };
    let ci: Map<String, Value> = Figure::of_classes(classes).map(interval).collect();
    object.insert("ci95".into(), Value::Object(ci));
    Value::Object(object)
}

/// Four decimals are more than any of our sets can tell apart.
pub fn round4(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// SplitMix64 (Steele et al. 2014): enough for resampling, and the same everywhere.
pub(in crate::app) struct SplitMix(pub u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..n (multiply-shift; the bias is below n / 2^64).
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(truth: usize, guess: usize, confidence: f32) -> Item {
        let mut scores = vec![(1.0 - confidence) / 3.0; 4];
        scores[guess] = confidence;
        Item {
            truth,
            votes: None,
            scores,
        }
    }

    /// Worked by hand: 3 of class 0 (2 right), 1 of class 1 (right), class 0's third
    /// taken for class 1.
    fn sample() -> Vec<Item> {
        vec![
            item(0, 0, 0.9),
            item(0, 0, 0.9),
            item(0, 1, 0.6),
            item(1, 1, 0.6),
        ]
    }

    #[test]
    fn figures_agree_with_pencil_and_paper() {
        let m = metrics(&sample(), 4);
        assert!((m.accuracy - 0.75).abs() < 1e-12);
        assert!((m.ua - (2.0 / 3.0 + 1.0) / 2.0).abs() < 1e-12);
        let (f0, f1) = (2.0 * 2.0 / 5.0, 2.0 * 1.0 / 3.0);
        assert!((m.macro_f1 - (f0 + f1) / 2.0).abs() < 1e-12);
        assert!((m.weighted_f1 - (3.0 * f0 + f1) / 4.0).abs() < 1e-12);
        // bin .9: confidence 1.8 against 2 right; bin .6: 1.2 against 1 right
        assert!((m.ece - (0.2 + 0.2) / 4.0).abs() < 1e-6, "{}", m.ece);
    }

    #[test]
    fn the_interval_holds_the_figure_and_narrows_with_n() {
        let small = sample();
        let large: Vec<Item> = small.iter().cycle().take(400).cloned().collect();
        let [low, high] = intervals(&large, 4)[0];
        assert!(low < 0.75 && 0.75 < high, "{low} {high}");
        let [l, h] = intervals(&small, 4)[0];
        assert!(h - l > high - low);
        assert_eq!(intervals(&large, 4), intervals(&large, 4), "seeded");
    }

    #[test]
    fn votes_are_least_surprised_by_themselves() {
        assert_eq!(surprise(&sample()), None);
        let q = [0.5, 0.25, 0.25, 0.0];
        let voted = |scores: [f32; 4]| Item {
            truth: 0,
            votes: Some(q.to_vec()),
            scores: scores.to_vec(),
        };
        let (cross, own) = surprise(&[voted(q)]).unwrap_or_default();
        assert!((own - 1.5 * std::f64::consts::LN_2).abs() < 1e-6 && (cross - own).abs() < 1e-9);
        let (flat, _) = surprise(&[voted([0.25; 4])]).unwrap_or_default();
        assert!((flat - 2.0 * std::f64::consts::LN_2).abs() < 1e-6);
        // certain and wrong: much, and still a number
        let (wrong, _) = surprise(&[voted([0.0, 0.0, 0.0, 1.0])]).unwrap_or_default();
        assert!(wrong > 20.0 && wrong.is_finite(), "{wrong}");
    }

    #[test]
    fn no_items_are_no_figures_and_no_panic() {
        assert_eq!(metrics(&[], 4), Metrics::default());
        assert_eq!(intervals(&[], 4)[0], [0.0, 0.0]);
    }
}
