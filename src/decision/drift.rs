//! Drift: whether answers of late are like those of before, told by running sums alone.
//!
//! Of each answer one number counts: how far its rows lie from those that a trunk learnt from, or
//! whether it was left open. The numbers themselves are not kept. What is usual has a mean and two
//! spreads, since answers about one person are more like each other than those about two.

/// Answers after which an earlier one counts a third (1/e).
const MEMORY: f64 = 50.0;
/// Answers in a row that are taken to be about one person.
const BATCH: u64 = 10;
/// Fewer answers than this tell no range: ten people, as it were.
pub const ENOUGH: u64 = 10 * BATCH;
/// Answers before which nothing is said.
const FIRST: u64 = 20;
/// Deviations beyond which it is no chance. An average over [`MEMORY`] answers that are as they were
/// before passes this, to either side, once in 45,000 answers: √(2π)/4 · e^8 · MEMORY / 2.
const BEYOND: f64 = 4.0;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number of any size.
    Number,
    /// 0 or 1.
    Share,
}

/// What a number was like over many answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usual {
    /// Of all.
    pub mean: f64,
    /// Standard deviation of the answers about one person.
    pub within: f64,
    /// Standard deviation of what people average to, beyond that.
    pub between: f64,
    /// Answers that these come from.
    pub answers: u64,
}

impl Usual {
    /// Whether these numbers can be meant.
    pub fn is_sound(&self) -> bool {
        let numbers = [self.mean, self.within, self.between];
        let spreads = [self.within, self.between];
        numbers.iter().all(|x| x.is_finite())
            && spreads.iter().all(|x| *x >= 0.0)
            && self.answers >= ENOUGH
    }

    /// How far a mean over so many answers lies off, in parts of what is more than chance: beyond
    /// -1..1 it is none. One person alone may have given all of them.
    fn off(&self, kind: Kind, mean: f64, answers: f64) -> f64 {
        let known = self.answers.max(2) as f64;
        let people = (known / BATCH as f64).max(2.0);
        let few = 1.0 / answers.max(1.0) + 1.0 / known;
        let (apart, within, between) = match kind {
            Kind::Number => (mean - self.mean, self.within, self.between),
            // a share near 0 or 1 varies less: its arc sine does not
            Kind::Share => {
                let usual = (self.mean * known + 1.0) / (known + 2.0);
                let slope = 0.5 / (usual * (1.0 - usual)).sqrt();
                (arc(mean) - arc(usual), 0.5, self.between * slope)
            }
        };
        let variance = between.powi(2) * (1.0 + 1.0 / people) + within.powi(2) * few;
        apart / (beyond(people - 1.0) * variance.sqrt().max(1e-9))
    }
}

fn arc(share: f64) -> f64 {
    share.clamp(0.0, 1.0).sqrt().asin()
}

/// The quantile of Student's distribution that belongs to [`BEYOND`] of the normal one: spreads
/// that few people told may be too small (Cornish and Fisher's expansion).
fn beyond(freedom: f64) -> f64 {
    let z = BEYOND;
    let first = (z.powi(3) + z) / (4.0 * freedom);
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * freedom.powi(2));
    z + first + second
}

/// Sums that tell what is usual.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Of the batch that is not full yet: count, sum, sum of squares.
    batch: (u64, f64, f64),
    /// Of the full ones: count, sum of means, sum of their squares, sum of variances.
    full: (u64, f64, f64, f64),
}

impl Tally {
    /// Counts an answer.
    pub fn push(&mut self, x: f64) {
        let (count, sum, squares) = &mut self.batch;
        *count += 1;
        *sum += x;
        *squares += x * x;
        if *count < BATCH {
            return;
        }
        let n = BATCH as f64;
        let mean = *sum / n;
        let variance = ((*squares - n * mean * mean) / (n - 1.0)).max(0.0);
        self.batch = (0, 0.0, 0.0);
        self.full.0 += 1;
        self.full.1 += mean;
        self.full.2 += mean * mean;
        self.full.3 += variance;
    }

    /// What was usual; `None` of fewer than [`ENOUGH`] answers.
    pub fn usual(&self) -> Option<Usual> {
        let (count, means, squares, variances) = self.full;
        if count * BATCH < ENOUGH {
            return None;
        }
        let n = count as f64;
        let (mean, within) = (means / n, variances / n);
        let apart = (squares - n * mean * mean) / (n - 1.0);
        Some(Usual {
            mean,
            within: within.sqrt(),
            between: (apart - within / BATCH as f64).max(0.0).sqrt(),
            answers: count * BATCH,
        })
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// More than before, and more than chance.
    More,
    /// Less than before, and more than chance.
    Less,
    /// As before again.
    Back,
}

/// Watches a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    kind: Kind,
    usual: Option<Usual>,
    answers: u64,
    /// Sums of weights, of their squares, and of the numbers by their weights.
    weights: f64,
    squares: f64,
    sum: f64,
    has_drifted: bool,
}

impl Watch {
    /// Against what is usual; without that it only averages.
    pub fn new(kind: Kind, usual: Option<Usual>) -> Watch {
        Watch {
            kind,
            usual,
            answers: 0,
            weights: 0.0,
            squares: 0.0,
            sum: 0.0,
            has_drifted: false,
        }
    }

    /// Takes the number of an answer.
    pub fn push(&mut self, x: f64) -> Option<Turn> {
        if !x.is_finite() {
            return None;
        }
        let keep = (-1.0 / MEMORY).exp();
        self.answers += 1;
        self.weights = keep * self.weights + 1.0;
        self.squares = keep * keep * self.squares + 1.0;
        self.sum = keep * self.sum + x;
        let off = self.off()?;
        match (self.has_drifted, off.abs()) {
            (false, far) if far > 1.0 => {
                self.has_drifted = true;
                Some(if off > 0.0 { Turn::More } else { Turn::Less })
            }
            // not at the border itself, where it would come and go
            (true, far) if far < 0.5 => {
                self.has_drifted = false;
                Some(Turn::Back)
            }
            _ => None,
        }
    }

    /// The average of late; `None` before the first answer.
    pub fn mean(&self) -> Option<f64> {
        (self.answers > 0).then(|| self.sum / self.weights)
    }

    /// What is usual, where that is known.
    pub fn usual(&self) -> Option<&Usual> {
        self.usual.as_ref()
    }

    /// How far the average lies off, in parts of what is more than chance; `None` while nothing can be said.
    pub fn off(&self) -> Option<f64> {
        let usual = self.usual.as_ref().filter(|_| self.answers >= FIRST)?;
        let answers = self.weights.powi(2) / self.squares;
        Some(usual.off(self.kind, self.mean()?, answers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of a normal distribution, the same each time.
    struct Normal(u64);

    impl Normal {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        }

        fn next(&mut self) -> f64 {
            (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
        }
    }

    /// Answers about people who differ by `between`, ten each.
    fn people(random: &mut Normal, count: usize, mean: f64, between: f64) -> Vec<f64> {
        let mut all = Vec::new();
        while all.len() < count {
            let person = mean + between * random.next();
            all.extend((0..BATCH).map(|_| person + random.next()));
        }
        all
    }

    fn told(watch: &mut Watch, numbers: &[f64]) -> Vec<Turn> {
        numbers.iter().filter_map(|x| watch.push(*x)).collect()
    }

    #[test]
    fn what_is_as_before_passes_by_chance_no_more_than_is_said() {
        // 400 places, calibrated with 100 to 1000 answers, 4,500 answers each: 1.8 million, so that
        // once in 45,000 is 40 times
        let (mut random, mut alarms) = (Normal(1), 0);
        for place in 0..400 {
            let mut tally = Tally::default();
            let known = 100 * (1 + place % 10);
            let between = [0.0, 0.5, 2.0][place % 3];
            people(&mut random, known, 3.0, between)
                .into_iter()
                .for_each(|x| tally.push(x));
            let mut watch = Watch::new(Kind::Number, tally.usual());
            let numbers = people(&mut random, 4500, 3.0, between);
            let turns = told(&mut watch, &numbers);
            alarms += turns.iter().filter(|t| **t != Turn::Back).count();
        }
        assert!(alarms <= 40, "{alarms}");
    }

    #[test]
    fn shares_pass_by_chance_no_more_than_is_said_either() {
        let (mut random, mut alarms) = (Normal(2), 0);
        for place in 0..400 {
            let share = [0.0, 0.01, 0.1, 0.5][place % 4];
            let mut draw = |n: usize| -> Vec<f64> {
                let one = |_| f64::from(u8::from(random.uniform() < share));
                (0..n).map(one).collect()
            };
            let mut tally = Tally::default();
            draw(100 * (1 + place % 10))
                .iter()
                .for_each(|x| tally.push(*x));
            let mut watch = Watch::new(Kind::Share, tally.usual());
            let turns = told(&mut watch, &draw(4500));
            alarms += turns.iter().filter(|t| **t != Turn::Back).count();
        }
        assert!(alarms <= 40, "{alarms}");
    }

    #[test]
    fn a_shift_is_told_once_and_so_is_its_end() {
        let mut random = Normal(3);
        let mut tally = Tally::default();
        people(&mut random, 300, 0.0, 0.3)
            .into_iter()
            .for_each(|x| tally.push(x));
        let mut watch = Watch::new(Kind::Number, tally.usual());
        let mut numbers = people(&mut random, 300, 0.0, 0.3);
        assert_eq!(told(&mut watch, &numbers), []);
        numbers = people(&mut random, 100, 4.0, 0.3);
        assert_eq!(told(&mut watch, &numbers), [Turn::More]);
        assert!(watch.off().is_some_and(|off| off > 1.0));
        numbers = people(&mut random, 300, 0.0, 0.3);
        assert_eq!(told(&mut watch, &numbers), [Turn::Back]);
        numbers = people(&mut random, 200, -4.0, 0.3);
        assert_eq!(told(&mut watch, &numbers), [Turn::Less]);
    }

    #[test]
    fn few_answers_tell_nothing() {
        let mut tally = Tally::default();
        (0..ENOUGH - 1).for_each(|_| tally.push(1.0));
        assert_eq!(tally.usual(), None);
        let mut watch = Watch::new(Kind::Number, None);
        assert_eq!(watch.mean(), None);
        assert_eq!(told(&mut watch, &[5.0; 100]), []);
        assert_eq!(
            (watch.off(), watch.mean().map(f64::round)),
            (None, Some(5.0))
        );
        tally.push(1.0);
        let mut watch = Watch::new(Kind::Number, tally.usual());
        assert_eq!(told(&mut watch, &[9.0; 19]), []);
        assert_eq!(told(&mut watch, &[f64::NAN; 9]), []);
        assert_eq!(told(&mut watch, &[9.0]), [Turn::More]);
    }
}
