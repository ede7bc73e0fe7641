//! How strongly to pull towards the shipped head, and what the result is worth: cross-validation
//! over groups, the choice inside of what is measured.

use super::logistic::{Head, Items, Path, log_softmax};

/// Strengths of the pull that are tried, the strongest first.
const STRENGTHS: [f64; 9] = [3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003];
/// Parts that figures come from.
const OUTER: usize = 5;
/// Parts that a choice within one of those comes from.
const INNER: usize = 4;
/// Divisors of logits that are tried, as powers of e: where a manifest's may lie.
const TEMPERATURE: (f64, f64) = (-2.9, 2.9);

/// What cross-validation over all items chose.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// `None`: the shipped head as it is.
    pub strength: Option<f64>,
    /// What its logits are divided by.
    pub temperature: f64,
}

impl Choice {
    /// The head of this choice, from these items.
    fn fit(&self, items: &Items, which: &[usize]) -> Head {
        let Some(strength) = self.strength else {
            return Head::shipped(items);
        };
        let mut path = Path::new(items, which);
        let mut head = Head::shipped(items);
        for stronger in STRENGTHS.into_iter().filter(|s| *s >= strength) {
            head = path.fit(stronger);
        }
        head
    }
}

/// A head, and what it said of items that it had not seen.
#[derive(Debug, Clone)]
pub(super) struct Adapted {
    /// Fitted on all items.
    pub head: Head,
    /// How.
    pub choice: Choice,
    /// `[n][classes]`: calibrated probabilities of each item, by heads that saw no item of its
    /// group.
    pub unseen: Vec<Vec<f64>>,
}

/// Fits, and measures by nested cross-validation.
pub(super) fn adapt(items: &Items) -> Adapted {
    let all: Vec<usize> = (0..items.class.len()).collect();
    let mut unseen = vec![Vec::new(); all.len()];
    let part = parts(items, &all, OUTER);
    for held in 0..OUTER {
        let (tested, known): (Vec<usize>, Vec<usize>) = all.iter().partition(|i| part[**i] == held);
        if tested.is_empty() || known.is_empty() {
            continue;
        }
        let choice = choose(items, &known, INNER);
        let head = choice.fit(items, &known);
        for item in tested {
            let mut p = calibrated(head.logits(items, item), choice.temperature);
            log_softmax(&mut p, 0);
            unseen[item] = p;
        }
    }
    let choice = choose(items, &all, OUTER);
    Adapted {
        head: choice.fit(items, &all),
        choice,
        unseen,
    }
}

/// The strength and the temperature under which held-out items of `which` surprise least.
fn choose(items: &Items, which: &[usize], count: usize) -> Choice {
    let part = parts(items, which, count);
    // of the shipped head and of each strength, what is said of the items in the order of `which`
    let mut said = vec![vec![Vec::new(); which.len()]; 1 + STRENGTHS.len()];
    for (at, item) in which.iter().enumerate() {
        said[0][at] = items.prior(*item).to_vec();
    }
    for held in 0..count {
        let known: Vec<usize> = which.iter().copied().filter(|i| part[*i] != held).collect();
        if known.is_empty() || known.len() == which.len() {
            continue;
        }
        let mut path = Path::new(items, &known);
        for (strength, said) in STRENGTHS.iter().zip(&mut said[1..]) {
            let head = path.fit(*strength);
            for (at, item) in which.iter().enumerate().filter(|(_, i)| part[**i] == held) {
                said[at] = head.logits(items, *item);
            }
        }
    }
    let mut best = (f64::INFINITY, None, 1.0);
    let strengths = [None].into_iter().chain(STRENGTHS.map(Some));
    for (strength, said) in strengths.zip(&said) {
        let (temperature, loss) = calibrate(items, which, said);
        if loss < best.0 {
            best = (loss, strength, temperature);
        }
    }
    Choice {
        strength: best.1,
        temperature: best.2,
    }
}

/// The temperature of these logits that makes the true classes likeliest, and the mean surprise
/// then, in nats: a golden-section search.
fn calibrate(items: &Items, which: &[usize], said: &[Vec<f64>]) -> (f64, f64) {
    let weights = items.weights(which);
    let loss = |power: f64| {
        let temperature = super::logistic::exp(power);
        let of = |((logits, item), weight): ((&Vec<f64>, &usize), &f64)| {
            let mut logits = calibrated(logits.clone(), temperature);
            -weight * log_softmax(&mut logits, items.class[*item])
        };
        let known = said.iter().zip(which).zip(&weights);
        known
            .filter(|((l, _), _)| !l.is_empty())
            .map(of)
            .sum::<f64>()
    };
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let (mut low, mut high) = TEMPERATURE;
    for _ in 0..24 {
        let (a, b) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
        if loss(a) < loss(b) {
            high = b;
        } else {
            low = a;
        }
    }
    let power = 0.5 * (low + high);
    (super::logistic::exp(power), loss(power))
}

fn calibrated(mut logits: Vec<f64>, temperature: f64) -> Vec<f64> {
    logits.iter_mut().for_each(|l| *l /= temperature);
    logits
}

/// A part for each item of `which`, none of a group in two, the classes as even as can be. Where
/// all are of one group each item is its own.
fn parts(items: &Items, which: &[usize], count: usize) -> Vec<usize> {
    let first = which.first().map(|i| items.group[*i]);
    let alone = which.iter().all(|i| Some(items.group[*i]) == first);
    let key = |item: usize| if alone { item } else { items.group[item] };
    let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
    let mut place = std::collections::BTreeMap::new();
    for item in which {
        let at = *place.entry(key(*item)).or_insert_with(|| {
            groups.push((groups.len(), vec![0; items.classes]));
            groups.len() - 1
        });
        groups[at].1[items.class[*item]] += 1;
    }
    // the largest first; of equals the one that came first
    groups.sort_by_key(|(at, counts)| (std::cmp::Reverse(counts.iter().sum::<usize>()), *at));
    let mut filled = vec![vec![0usize; items.classes]; count];
    let mut part_of = vec![0; groups.len()];
    for (at, counts) in &groups {
        let crowd = |part: &Vec<usize>| -> usize {
            let sums = part
                .iter()
                .zip(counts)
                .map(|(a, b)| (a + b) * (a + b) - a * a);
            sums.sum()
        };
        let part = (0..count).min_by_key(|p| crowd(&filled[*p])).unwrap_or(0);
        filled[part]
            .iter_mut()
            .zip(counts)
            .for_each(|(a, b)| *a += b);
        part_of[*at] = part;
    }
    let mut parts = vec![0; items.class.len()];
    for item in which {
        parts[*item] = part_of[place[&key(*item)]];
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` items of three classes in `groups` groups; a column of each class tells it.
    fn items(n: usize, groups: usize, told: f64) -> Items {
        let class: Vec<usize> = (0..n).map(|i| i % 3).collect();
        let noise = |i: usize| ((i * 7919 % 101) as f64 - 50.0) / 50.0;
        let row = |i: usize| (0..3).map(move |k| (i, k));
        Items {
            width: 3,
            classes: 3,
            rows: (0..n)
                .flat_map(row)
                .map(|(i, k)| told * f64::from(u8::from(class[i] == k)) + noise(3 * i + k))
                .collect(),
            prior: vec![0.0; 3 * n],
            group: (0..n).map(|i| i / 3 % groups).collect(),
            class,
        }
    }

    #[test]
    fn no_group_is_in_two_parts_and_no_part_is_empty() {
        let items = items(90, 7, 1.0);
        let all: Vec<usize> = (0..90).collect();
        let part = parts(&items, &all, 5);
        for group in 0..7 {
            let mut of: Vec<usize> = all
                .iter()
                .filter(|i| items.group[**i] == group)
                .map(|i| part[*i])
                .collect();
            of.dedup();
            assert_eq!(of.len(), 1, "group {group}");
        }
        assert!((0..5).all(|p| part.contains(&p)));
    }

    #[test]
    fn what_rows_tell_is_learnt_and_calibrated() {
        let items = items(120, 10, 2.0);
        let adapted = adapt(&items);
        let right = |i: &usize| {
            let p = &adapted.unseen[*i];
            (0..3).all(|k| p[k] <= p[items.class[*i]])
        };
        assert!((0..120).filter(right).count() > 100);
        assert!(
            adapted
                .unseen
                .iter()
                .all(|p| (p.iter().sum::<f64>() - 1.0).abs() < 1e-9)
        );
        assert!(adapted.choice.strength.is_some());
    }

    #[test]
    fn rows_that_tell_nothing_leave_the_shipped_head() {
        let mut items = items(60, 10, 0.0);
        for i in 0..60 {
            items.prior[3 * i + items.class[i]] = 3.0;
        }
        let adapted = adapt(&items);
        let right = |i: &usize| {
            let p = &adapted.unseen[*i];
            (0..3).all(|k| p[k] <= p[items.class[*i]])
        };
        assert_eq!((0..60).filter(right).count(), 60);
    }
}
