//! A multinomial logistic head upon rows, shrunk towards the head that is there.
//!
//! `logits = keep · prior + W (x − μ)/σ + b`, where `prior` are the shipped head's logits. The
//! penalty `strength/2 · ((keep − 1)² + ‖W‖² + ‖b‖²)` pulls towards that head as it is. Every class
//! weighs the same, however many items it has.
//!
//! All of it is f64 in a fixed order, with an exponential of its own: the system's differ by the
//! last bit from processor to processor.

/// Corrections that the optimiser remembers.
const MEMORY: usize = 8;
/// Steps at most; a fit from a neighbouring one takes about ten.
const STEPS: usize = 60;
/// The gradient's largest part at which a fit is done.
const FLAT: f64 = 1e-5;
/// Least spread of a column that is divided by.
const LEAST_SPREAD: f64 = 1e-6;

/// Items to fit: rows, what the shipped head says of them, and what is right.
#[derive(Debug, Clone, Default)]
pub(super) struct Items {
    /// Numbers of an item.
    pub width: usize,
    /// Classes.
    pub classes: usize,
    /// `[n, width]`.
    pub rows: Vec<f64>,
    /// `[n, classes]`: the shipped head's logits, calibrated; 0 of a class that it does not know.
    pub prior: Vec<f64>,
    /// The true class of each.
    pub class: Vec<usize>,
    /// Which of them belong together: a person, a place, a day.
    pub group: Vec<usize>,
}

impl Items {
    /// The mean of all rows.
    pub fn centre(&self) -> Vec<f64> {
        let all: Vec<usize> = (0..self.class.len()).collect();
        self.centre_of(&all)
    }

    fn centre_of(&self, which: &[usize]) -> Vec<f64> {
        let mut centre = vec![0.0; self.width];
        for item in which {
            add(&mut centre, 1.0 / which.len() as f64, self.row(*item));
        }
        centre
    }

    pub fn row(&self, item: usize) -> &[f64] {
        &self.rows[item * self.width..][..self.width]
    }

    pub fn prior(&self, item: usize) -> &[f64] {
        &self.prior[item * self.classes..][..self.classes]
    }

    /// How many items of each class are among these.
    pub fn counts(&self, which: &[usize]) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        which.iter().for_each(|i| counts[self.class[*i]] += 1);
        counts
    }

    /// The weight of each of these items: classes evenly, 1 together.
    pub fn weights(&self, which: &[usize]) -> Vec<f64> {
        let counts = self.counts(which);
        let present = counts.iter().filter(|n| **n > 0).count().max(1) as f64;
        let weight = |i: &usize| 1.0 / (present * counts[self.class[*i]] as f64);
        which.iter().map(weight).collect()
    }
}

/// A fitted head.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Head {
    /// Share of the shipped head's logits.
    pub keep: f64,
    /// `[classes, width]`, for rows as they are.
    pub weights: Vec<f64>,
    /// One a class.
    pub bias: Vec<f64>,
}

impl Head {
    /// The shipped head, as it is.
    pub fn shipped(items: &Items) -> Head {
        Head {
            keep: 1.0,
            weights: vec![0.0; items.classes * items.width],
            bias: vec![0.0; items.classes],
        }
    }

    /// Logits of an item.
    pub fn logits(&self, items: &Items, item: usize) -> Vec<f64> {
        let (row, prior) = (items.row(item), items.prior(item));
        let of = |class: usize| {
            let weights = &self.weights[class * items.width..][..items.width];
            self.keep * prior[class] + self.bias[class] + dot(weights, row)
        };
        (0..items.classes).map(of).collect()
    }
}

/// Fits of one set of items, from the strongest pull towards the shipped head to the weakest,
/// each from where the last one ended.
pub(super) struct Path<'a> {
    items: &'a Items,
    which: &'a [usize],
    weights: Vec<f64>,
    centre: Vec<f64>,
    spread: Vec<f64>,
    /// `[n, width]`, standardised.
    rows: Vec<f64>,
    /// `keep − 1`, then `[classes, width]`, then a bias a class.
    at: Vec<f64>,
}

impl<'a> Path<'a> {
    pub fn new(items: &'a Items, which: &'a [usize]) -> Path<'a> {
        let (width, n) = (items.width, which.len().max(1) as f64);
        let centre = items.centre_of(which);
        let mut spread = vec![0.0; width];
        for item in which {
            for ((s, x), c) in spread.iter_mut().zip(items.row(*item)).zip(&centre) {
                *s += (x - c) * (x - c) / n;
            }
        }
        spread
            .iter_mut()
            .for_each(|s| *s = s.sqrt().max(LEAST_SPREAD));
        let mut rows = Vec::with_capacity(which.len() * width);
        for item in which {
            let scaled = items.row(*item).iter().zip(&centre).zip(&spread);
            rows.extend(scaled.map(|((x, c), s)| (x - c) / s));
        }
        Path {
            items,
            which,
            weights: items.weights(which),
            centre,
            spread,
            rows,
            at: vec![0.0; 1 + items.classes * (width + 1)],
        }
    }

    /// The head at this strength.
    pub fn fit(&mut self, strength: f64) -> Head {
        let start = std::mem::take(&mut self.at);
        self.at = minimise(start, |at, slope| self.loss(at, strength, slope));
        self.head()
    }

    /// The present head, for rows as they are.
    fn head(&self) -> Head {
        let (width, classes) = (self.items.width, self.items.classes);
        let mut head = Head::shipped(self.items);
        head.keep = 1.0 + self.at[0];
        for class in 0..classes {
            let of = &self.at[1 + class * width..][..width];
            let own = &mut head.weights[class * width..][..width];
            for ((w, z), s) in own.iter_mut().zip(of).zip(&self.spread) {
                *w = z / s;
            }
            head.bias[class] = self.at[1 + classes * width + class] - dot(own, &self.centre);
        }
        head
    }

    /// Weighted cross-entropy and penalty at `at`, and their gradient.
    fn loss(&self, at: &[f64], strength: f64, slope: &mut [f64]) -> f64 {
        let (width, classes) = (self.items.width, self.items.classes);
        let bias = 1 + classes * width;
        let mut loss = 0.0;
        for (s, x) in slope.iter_mut().zip(at) {
            *s = strength * x;
            loss += 0.5 * strength * x * x;
        }
        let mut logits = vec![0.0; classes];
        for (n, (item, weight)) in self.which.iter().zip(&self.weights).enumerate() {
            let row = &self.rows[n * width..][..width];
            let prior = self.items.prior(*item);
            for (class, logit) in logits.iter_mut().enumerate() {
                let own = &at[1 + class * width..][..width];
                *logit = (1.0 + at[0]) * prior[class] + at[bias + class] + dot(own, row);
            }
            let truth = self.items.class[*item];
            loss -= weight * log_softmax(&mut logits, truth);
            for (class, p) in logits.iter().enumerate() {
                let off = weight * (p - f64::from(u8::from(class == truth)));
                slope[0] += off * prior[class];
                slope[bias + class] += off;
                add(&mut slope[1 + class * width..][..width], off, row);
            }
        }
        loss
    }
}

/// Turns logits into probabilities, and gives the logarithm of that of `class`.
pub(super) fn log_softmax(logits: &mut [f64], class: usize) -> f64 {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let own = logits[class] - most;
    let mut sum = 0.0;
    for logit in logits.iter_mut() {
        *logit = exp(*logit - most);
        sum += *logit;
    }
    logits.iter_mut().for_each(|p| *p /= sum);
    own - ln(sum)
}

/// Sums in eight lanes, in an order that is the same on every processor.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    let rest: f64 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f64>() + rest
}

fn add(to: &mut [f64], share: f64, of: &[f64]) {
    for (to, of) in to.iter_mut().zip(of) {
        *to += share * of;
    }
}

/// The least of a smooth convex function, by L-BFGS (Nocedal 1980); `slope` gets the gradient.
fn minimise(start: Vec<f64>, loss: impl Fn(&[f64], &mut [f64]) -> f64) -> Vec<f64> {
    let mut at = start;
    let mut slope = vec![0.0; at.len()];
    let mut value = loss(&at, &mut slope);
    let mut memory: Vec<Correction> = Vec::new();
    for _ in 0..STEPS {
        if slope.iter().all(|s| s.abs() < FLAT) {
            break;
        }
        let way = downhill(&slope, &memory);
        let steep = dot(&way, &slope);
        let Some((next, next_slope, lower)) = step(&at, &way, value, steep, &loss) else {
            break;
        };
        memory.extend(Correction::between(&at, &next, &slope, &next_slope));
        if memory.len() > MEMORY {
            memory.remove(0);
        }
        (at, slope, value) = (next, next_slope, lower);
    }
    at
}

/// The first point on a way, ever nearer, that is lower by a fair share of what the slope says.
fn step(
    at: &[f64],
    way: &[f64],
    value: f64,
    steep: f64,
    loss: &impl Fn(&[f64], &mut [f64]) -> f64,
) -> Option<(Vec<f64>, Vec<f64>, f64)> {
    let mut slope = vec![0.0; at.len()];
    let mut length = 1.0;
    for _ in 0..30 {
        let mut next = at.to_vec();
        add(&mut next, length, way);
        let lower = loss(&next, &mut slope);
        if lower <= value + 1e-4 * length * steep {
            return Some((next, slope, lower));
        }
        length *= 0.5;
    }
    None
}

/// What a step taught of the curvature.
struct Correction {
    moved: Vec<f64>,
    turned: Vec<f64>,
    curvature: f64,
}

impl Correction {
    /// `None` where the gradient did not turn.
    fn between(a: &[f64], b: &[f64], slope_a: &[f64], slope_b: &[f64]) -> Option<Correction> {
        let less = |a: &[f64], b: &[f64]| b.iter().zip(a).map(|(b, a)| b - a).collect();
        let (moved, turned): (Vec<f64>, Vec<f64>) = (less(a, b), less(slope_a, slope_b));
        let curvature = dot(&moved, &turned);
        (curvature > 1e-12 * dot(&turned, &turned)).then_some(Correction {
            moved,
            turned,
            curvature,
        })
    }
}

/// The way down by what is known of the curvature: the two loops of L-BFGS.
fn downhill(slope: &[f64], memory: &[Correction]) -> Vec<f64> {
    let mut way: Vec<f64> = slope.iter().map(|s| -s).collect();
    let mut shares = Vec::with_capacity(memory.len());
    for known in memory.iter().rev() {
        let share = dot(&known.moved, &way) / known.curvature;
        add(&mut way, -share, &known.turned);
        shares.push(share);
    }
    if let Some(last) = memory.last() {
        let scale = last.curvature / dot(&last.turned, &last.turned);
        way.iter_mut().for_each(|w| *w *= scale);
    }
    for (known, share) in memory.iter().zip(shares.into_iter().rev()) {
        let back = dot(&known.turned, &way) / known.curvature;
        add(&mut way, share - back, &known.moved);
    }
    way
}

/// e^x to about 1e-15 for x of -700 to 700; 0 below.
pub(super) fn exp(x: f64) -> f64 {
    if x < -700.0 {
        return 0.0;
    }
    let halvings = (x.min(700.0) * std::f64::consts::LOG2_E).round();
    let rest = x.min(700.0) - halvings * std::f64::consts::LN_2;
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..=14 {
        term *= rest / f64::from(n);
        sum += term;
    }
    sum * f64::from_bits(((halvings as i64 + 1023) as u64) << 52)
}

/// The natural logarithm of a positive number, by Halley's steps on [`exp`].
pub(super) fn ln(x: f64) -> f64 {
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i64 - 1023;
    let mut y = exponent as f64 * std::f64::consts::LN_2;
    for _ in 0..4 {
        let e = exp(y);
        y += 2.0 * (x - e) / (x + e);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items of two classes on a line, apart by `gap`; the shipped head says nothing.
    fn line(gap: f64) -> Items {
        let class: Vec<usize> = (0..40).map(|i| i % 2).collect();
        let noise = |i: usize| ((i * 37 % 17) as f64 - 8.0) / 8.0;
        Items {
            width: 2,
            classes: 2,
            rows: (0..40)
                .flat_map(|i| [gap * class[i] as f64 + noise(i), noise(i + 5)])
                .collect(),
            prior: vec![0.0; 80],
            group: (0..40).collect(),
            class,
        }
    }

    #[test]
    fn exponentials_and_logarithms_are_those_of_the_system() {
        for i in -200..200 {
            let x = f64::from(i) * 0.37;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-13, "{x}");
            let y = f64::from(i + 201) * 0.11;
            assert!((ln(y) - y.ln()).abs() < 1e-13, "{y}");
        }
        assert_eq!(exp(-1e9), 0.0);
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let mut items = line(1.0);
        items.prior = (0..80).map(|i| f64::from(i % 7) - 3.0).collect();
        let which: Vec<usize> = (0..40).collect();
        let path = Path::new(&items, &which);
        let at: Vec<f64> = (0..7).map(|i| 0.1 * f64::from(i) - 0.3).collect();
        let mut slope = vec![0.0; 7];
        path.loss(&at, 0.1, &mut slope);
        for k in 0..7 {
            let value = |by: f64| {
                let mut moved = at.clone();
                moved[k] += by;
                path.loss(&moved, 0.1, &mut [0.0; 7])
            };
            let near = (value(1e-5) - value(-1e-5)) / 2e-5;
            assert!((near - slope[k]).abs() < 1e-7, "{k}: {near} {}", slope[k]);
        }
    }

    #[test]
    fn a_weak_pull_parts_the_classes_and_a_strong_one_leaves_the_head() {
        let items = line(3.0);
        let which: Vec<usize> = (0..40).collect();
        let mut path = Path::new(&items, &which);
        let strong = path.fit(1e6);
        assert!((strong.keep - 1.0).abs() < 1e-3 && strong.weights.iter().all(|w| w.abs() < 1e-3));
        let weak = path.fit(1e-3);
        let right = which.iter().filter(|i| {
            let logits = weak.logits(&items, **i);
            (logits[1] > logits[0]) == (items.class[**i] == 1)
        });
        assert!(right.count() >= 38);
        // it is the least: no step to the side is lower
        let mut slope = vec![0.0; path.at.len()];
        path.loss(&path.at, 1e-3, &mut slope);
        assert!(slope.iter().all(|s| s.abs() < 1e-4), "{slope:?}");
    }

    #[test]
    fn a_shipped_head_that_is_wrong_is_given_up() {
        let mut items = line(4.0);
        for i in 0..40 {
            let wrong = 1 - items.class[i];
            items.prior[2 * i + wrong] = 2.0;
        }
        let which: Vec<usize> = (0..40).collect();
        let head = Path::new(&items, &which).fit(1e-3);
        assert!(head.keep < 0.0, "{}", head.keep);
    }
}
