//! Sparse relatives of softmax: the closest point of the simplex, and 1.5-entmax.
//!
//! Both are `p = max(z − τ, 0)^e` with the one threshold τ that makes the row sum to 1, and
//! are usually found by sorting. Here nothing is sorted. With the largest score moved to 0, τ
//! lies in `[−1, 0)`, and `f(τ) = Σ max(z − τ, 0)^e − 1` is convex and falls: a Newton step
//! from anywhere lands at or left of the root, so the scores above it always include the
//! support. As soon as the closed formula over those scores drops none of them, it is the
//! answer. Each step is one pass over the row, and a handful suffice.

use super::lanes::Lanes;

/// More steps than any row has needed; a bound all the same.
const MOST_STEPS: usize = 64;

/// What is above a threshold.
#[derive(Clone, Copy)]
struct Above {
    /// Scores above it.
    count: f32,
    /// Σ (z − τ) over them.
    sum: f32,
    /// Σ (z − τ)² over them.
    squares: f32,
}

/// The exponent of `max(z − τ, 0)`: with two of them, two formulas each.
#[derive(Clone, Copy, PartialEq)]
enum Power {
    One,
    Two,
}

impl Power {
    /// What Newton's step adds to τ.
    #[inline(always)]
    fn newton(self, a: Above) -> f32 {
        match self {
            Power::One => (a.sum - 1.0) / a.count,
            Power::Two => (a.squares - 1.0) / (2.0 * a.sum),
        }
    }

    /// What the closed formula adds to τ, were those above it the support.
    #[inline(always)]
    fn closed(self, a: Above) -> f32 {
        match self {
            Power::One => self.newton(a),
            Power::Two => {
                let rest = a.sum * a.sum - a.count * (a.squares - 1.0);
                (a.sum - rest.max(0.0).sqrt()) / a.count
            }
        }
    }
}

#[inline(always)]
fn above<L: Lanes>(lanes: L, row: &[f32], tau: f32) -> Above {
    let (tau, zero) = (lanes.splat(tau), lanes.splat(0.0));
    let (one, least) = (lanes.splat(1.0), lanes.splat(f32::MIN_POSITIVE));
    let (chunks, rest) = L::chunks(row);
    let (mut count, mut sum, mut squares) = (zero, zero, zero);
    for chunk in chunks {
        let d = lanes.max(lanes.sub(lanes.load(chunk), tau), zero);
        count = lanes.add(count, lanes.keep_where_ge(one, d, least));
        sum = lanes.add(sum, d);
        squares = lanes.mul_add(d, d, squares);
    }
    if !rest.is_empty() {
        let z = lanes.load_padded(rest, f32::NEG_INFINITY);
        let d = lanes.max(lanes.sub(z, tau), zero);
        count = lanes.add(count, lanes.keep_where_ge(one, d, least));
        sum = lanes.add(sum, d);
        squares = lanes.mul_add(d, d, squares);
    }
    Above {
        count: lanes.sum(count),
        sum: lanes.sum(sum),
        squares: lanes.sum(squares),
    }
}

/// τ of a row whose largest value is 0.
#[inline(always)]
fn threshold<L: Lanes>(lanes: L, row: &[f32], power: Power) -> f32 {
    let mut low = -1.0;
    let mut at_low = above(lanes, row, low);
    for _ in 0..MOST_STEPS {
        let guess = low + power.closed(at_low);
        let at_guess = above(lanes, row, guess);
        if at_guess.count == at_low.count {
            // the support it is; once more from nearby, where less is rounded
            return guess + power.closed(at_guess);
        }
        // both steps end left of the root; the guess may have been beyond it
        let mut next = low + power.newton(at_low);
        if at_guess.count > 0.0 {
            next = next.max(guess + power.newton(at_guess));
        }
        if next <= low {
            break;
        }
        low = next;
        at_low = above(lanes, row, low);
    }
    low + power.closed(at_low)
}

/// `row = (row − max row)·factor`.
#[inline(always)]
fn centre<L: Lanes>(lanes: L, row: &mut [f32], factor: f32) {
    let top = super::generic::largest(lanes, row);
    let (top_all, factor_all) = (lanes.splat(top), lanes.splat(factor));
    let (chunks, rest) = L::chunks_mut(row);
    for chunk in chunks {
        let v = lanes.sub(lanes.load(chunk), top_all);
        lanes.store(lanes.mul(v, factor_all), chunk);
    }
    for v in rest {
        *v = (*v - top) * factor;
    }
}

/// `row = max(row − τ, 0)^power`.
#[inline(always)]
fn project<L: Lanes>(lanes: L, row: &mut [f32], tau: f32, power: Power) {
    let (tau_all, zero) = (lanes.splat(tau), lanes.splat(0.0));
    let (chunks, rest) = L::chunks_mut(row);
    for chunk in chunks {
        let d = lanes.max(lanes.sub(lanes.load(chunk), tau_all), zero);
        lanes.store(
            if power == Power::Two {
                lanes.mul(d, d)
            } else {
                d
            },
            chunk,
        );
    }
    for v in rest {
        let d = (*v - tau).max(0.0);
        *v = if power == Power::Two { d * d } else { d };
    }
}

#[inline(always)]
pub(super) fn row_sparsemax<L: Lanes>(lanes: L, x: &mut [f32], cols: usize) {
    for row in x.chunks_exact_mut(cols.max(1)) {
        centre(lanes, row, 1.0);
        let tau = threshold(lanes, row, Power::One);
        project(lanes, row, tau, Power::One);
    }
}

#[inline(always)]
pub(super) fn row_entmax15<L: Lanes>(lanes: L, x: &mut [f32], cols: usize) {
    for row in x.chunks_exact_mut(cols.max(1)) {
        centre(lanes, row, 0.5);
        let tau = threshold(lanes, row, Power::Two);
        project(lanes, row, tau, Power::Two);
    }
}

/// Scalar reference: by sorting, in f64.
pub(super) mod scalar {
    /// The row less its largest value, times `factor`: in order and sorted descending.
    fn centred(row: &[f32], factor: f64) -> (Vec<f64>, Vec<f64>) {
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let of = |v: &f32| (f64::from(*v) - f64::from(top)) * factor;
        let z: Vec<f64> = row.iter().map(of).collect();
        let mut sorted = z.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        (z, sorted)
    }

    pub(in crate::kernels) fn row_sparsemax(x: &mut [f32], cols: usize) {
        for row in x.chunks_exact_mut(cols.max(1)) {
            let (z, sorted) = centred(row, 1.0);
            let (mut sum, mut tau) = (0.0, -1.0);
            for (j, v) in sorted.iter().enumerate() {
                sum += v;
                let k = (j + 1) as f64;
                if 1.0 + k * v > sum {
                    tau = (sum - 1.0) / k;
                }
            }
            for (p, z) in row.iter_mut().zip(z) {
                *p = (z - tau).max(0.0) as f32;
            }
        }
    }

    pub(in crate::kernels) fn row_entmax15(x: &mut [f32], cols: usize) {
        for row in x.chunks_exact_mut(cols.max(1)) {
            let (z, sorted) = centred(row, 0.5);
            // what is below −1 is in no support, and its square may overflow
            let candidates = sorted.iter().take_while(|v| **v >= -1.0);
            let (mut sum, mut squares, mut tau) = (0.0, 0.0, -1.0);
            for (j, v) in candidates.enumerate() {
                let k = (j + 1) as f64;
                sum += v;
                squares += v * v;
                let (mean, mean_square) = (sum / k, squares / k);
                let rest = (1.0 - k * (mean_square - mean * mean)) / k;
                let tau_k = mean - rest.max(0.0).sqrt();
                if tau_k <= *v {
                    tau = tau_k;
                }
            }
            for (p, z) in row.iter_mut().zip(z) {
                *p = (z - tau).max(0.0).powi(2) as f32;
            }
        }
    }
}

/// What must hold at each level.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking
pub(super) mod properties {
    use super::super::Kernels;
    use super::super::properties::{run, score, size};
    use proptest::prelude::*;

    type Map = fn(&Kernels, &mut [f32], usize);

    fn check(k: &Kernels, map: Map, truth: fn(&mut [f32], usize)) {
        let rows = (0_usize..4, size())
            .prop_flat_map(|(r, c)| (proptest::collection::vec(score(), r * c), Just(c)));
        run(rows, |(scores, cols)| {
            let (mut found, mut wanted) = (scores.clone(), scores.clone());
            map(k, &mut found, cols);
            truth(&mut wanted, cols);
            let rows = found.chunks_exact(cols.max(1));
            let rows = rows.zip(wanted.chunks_exact(cols.max(1)));
            for ((found, wanted), scores) in rows.zip(scores.chunks_exact(cols.max(1))) {
                same(found, wanted)?;
                order_is_kept(scores, found)?;
            }
            Ok(())
        });
        a_shift_changes_nothing(k, map);
        ties_and_long_rows(k, map, truth);
    }

    /// Within 2e-6, summing to 1, and 0 where the truth is 0 or next to it.
    fn same(found: &[f32], wanted: &[f32]) -> Result<(), TestCaseError> {
        let sum: f64 = found.iter().map(|p| f64::from(*p)).sum();
        prop_assert!((sum - 1.0).abs() <= 2e-6, "sums to {sum}");
        for (found, wanted) in found.iter().zip(wanted) {
            prop_assert!((0.0..=1.000_001).contains(found), "{found}");
            prop_assert!((found - wanted).abs() <= 2e-6, "{found} for {wanted}");
        }
        Ok(())
    }

    fn order_is_kept(scores: &[f32], p: &[f32]) -> Result<(), TestCaseError> {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        for pair in order.windows(2) {
            prop_assert!(p[pair[0]] <= p[pair[1]]);
        }
        Ok(())
    }

    /// By a whole number, so that no score is rounded.
    fn a_shift_changes_nothing(k: &Kernels, map: Map) {
        let eighths = proptest::collection::vec(-16_i8..16, 1..80);
        run((eighths, -100_i16..100), |(eighths, shift)| {
            let mut plain: Vec<f32> = eighths.iter().map(|z| f32::from(*z) / 8.0).collect();
            let mut shifted: Vec<f32> = plain.iter().map(|z| z + f32::from(shift)).collect();
            let cols = plain.len();
            map(k, &mut plain, cols);
            map(k, &mut shifted, cols);
            prop_assert_eq!(plain, shifted);
            Ok(())
        });
    }

    fn ties_and_long_rows(k: &Kernels, map: Map, truth: fn(&mut [f32], usize)) {
        for cols in [1, 2, 36, 49, 197, 1000] {
            let mut row = vec![0.3; cols];
            map(k, &mut row, cols);
            assert!(row.iter().all(|p| (p - 1.0 / cols as f32).abs() <= 1e-6));
            let mut row: Vec<f32> = (0..cols).map(|i| (i as f32 * 0.7).sin() * 1.5).collect();
            let mut wanted = row.clone();
            map(k, &mut row, cols);
            truth(&mut wanted, cols);
            same(&row, &wanted).unwrap();
        }
    }

    pub(in crate::kernels) fn row_sparsemax(k: &Kernels) {
        check(k, Kernels::row_sparsemax, super::scalar::row_sparsemax);
    }

    pub(in crate::kernels) fn row_entmax15(k: &Kernels) {
        check(k, Kernels::row_entmax15, super::scalar::row_entmax15);
    }
}
