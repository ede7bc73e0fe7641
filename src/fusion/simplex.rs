//! Scores to weights: softmax, sparsemax and 1.5-entmax of rows, with masks.
//!
//! ```text
//! softmax     p = exp(z) / Σ exp(z)                      every weight above 0
//! sparsemax   p = max(z − τ, 0)                          exact zeros
//! 1.5-entmax  p = max(z/2 − τ, 0)²                       exact zeros, softer
//! ```
//!
//! with τ such that the row sums to 1. Order is kept, and adding a number to all scores
//! changes nothing.
//!
//! A score of −∞ is masked: its weight is exactly 0 and the others are what they would be
//! without it. What has no answer is defined all the same: a row that is masked as a whole
//! becomes all zeros, scores of +∞ share the row equally, and a row with a NaN becomes NaN
//! as a whole, so that whoever checks the answer sees it.

use crate::kernels::{Kernels, largest_magnitude};

/// A map from scores to weights that sum to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Simplex {
    /// `exp(z) / Σ exp(z)`.
    Softmax,
    /// The nearest point of the simplex.
    Sparsemax,
    /// α-entmax with α = 1.5, half way between the two.
    Entmax15,
}

impl Simplex {
    /// All three, from dense to sparse.
    pub const ALL: [Simplex; 3] = [Simplex::Softmax, Simplex::Entmax15, Simplex::Sparsemax];

    /// Scores to weights in place, for one row.
    pub fn apply(self, kernels: &Kernels, row: &mut [f32]) {
        self.apply_rows(kernels, row, row.len());
    }

    /// Scores to weights in place, for each row of `x` `[rows, cols]`; values beyond the last
    /// whole row stay as they are.
    pub fn apply_rows(self, kernels: &Kernels, x: &mut [f32], cols: usize) {
        if cols == 0 {
            return;
        }
        let whole = x.len() - x.len() % cols;
        let x = &mut x[..whole];
        if largest_magnitude(x).is_finite() {
            return self.map(kernels, x, cols);
        }
        for row in x.chunks_exact_mut(cols) {
            if !settle(row) {
                self.map(kernels, row, cols);
            }
        }
    }

    fn map(self, kernels: &Kernels, x: &mut [f32], cols: usize) {
        match self {
            Simplex::Softmax => kernels.row_softmax(x, cols),
            Simplex::Sparsemax => kernels.row_sparsemax(x, cols),
            Simplex::Entmax15 => kernels.row_entmax15(x, cols),
        }
    }
}

/// Gives a row that the equations do not answer its defined weights; false if they do.
fn settle(row: &mut [f32]) -> bool {
    if row.iter().any(|z| z.is_nan()) {
        row.fill(f32::NAN);
        return true;
    }
    let endless = row.iter().filter(|z| **z == f32::INFINITY).count();
    if endless > 0 {
        let share = 1.0 / endless as f32;
        for z in row {
            *z = if *z == f32::INFINITY { share } else { 0.0 };
        }
        return true;
    }
    let masked = row.iter().all(|z| *z == f32::NEG_INFINITY);
    if masked {
        row.fill(0.0);
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{self, Level};
    use proptest::prelude::*;

    fn levels() -> Vec<Kernels> {
        Level::ALL
            .into_iter()
            .filter_map(Kernels::for_level)
            .collect()
    }

    fn near(found: &[f32], wanted: &[f32], bound: f32) {
        assert_eq!(found.len(), wanted.len());
        for (f, w) in found.iter().zip(wanted) {
            assert!((f - w).abs() <= bound, "{found:?} for {wanted:?}");
        }
    }

    #[test]
    fn published_vector() {
        for k in levels() {
            let answer = |map: Simplex| {
                let mut row = [-2.0, 0.0, 0.5];
                map.apply(&k, &mut row);
                row
            };
            near(&answer(Simplex::Sparsemax), &[0.0, 0.25, 0.75], 1e-7);
            let entmax = answer(Simplex::Entmax15);
            near(&entmax, &[0.0, 0.3260, 0.6740], 5e-5);
            assert_eq!(entmax[0], 0.0);
            let e = [(-2.5_f32).exp(), (-0.5_f32).exp(), 1.0];
            let sum: f32 = e.iter().sum();
            near(&answer(Simplex::Softmax), &e.map(|e| e / sum), 1e-6);
        }
    }

    #[test]
    fn a_masked_column_is_as_if_absent() {
        let masked = (1_usize..60).prop_flat_map(|n| {
            let score = -5.0_f32..5.0;
            (
                proptest::collection::vec(score, n),
                proptest::collection::vec(any::<bool>(), n),
            )
        });
        proptest!(|((scores, keep) in masked)| {
            for k in levels() {
                for map in Simplex::ALL {
                    let masked = scores.iter().zip(&keep);
                    let masked = masked.map(|(s, keep)| if *keep { *s } else { f32::NEG_INFINITY });
                    let mut row: Vec<f32> = masked.collect();
                    map.apply(&k, &mut row);
                    let kept = |x: &[f32]| -> Vec<f32> {
                        x.iter().zip(&keep).filter(|p| *p.1).map(|p| *p.0).collect()
                    };
                    let mut alone = kept(&scores);
                    map.apply(&k, &mut alone);
                    for (found, wanted) in kept(&row).iter().zip(&alone) {
                        prop_assert!((found - wanted).abs() <= 2e-6, "{} {}", found, wanted);
                    }
                    let dropped = row.iter().zip(&keep).filter(|p| !*p.1);
                    prop_assert!(dropped.into_iter().all(|p| *p.0 == 0.0));
                }
            }
        });
    }

    #[test]
    fn what_has_no_answer_is_defined() {
        let k = kernels::active();
        let (up, down) = (f32::INFINITY, f32::NEG_INFINITY);
        for map in Simplex::ALL {
            let answer = |row: &[f32]| {
                let mut row = row.to_vec();
                map.apply(k, &mut row);
                row
            };
            assert!(answer(&[]).is_empty());
            assert_eq!(answer(&[-7.0]), [1.0]);
            assert_eq!(answer(&[down, down]), [0.0, 0.0]);
            assert_eq!(answer(&[down, 3.0]), [0.0, 1.0]);
            assert_eq!(answer(&[up, 3.0, up]), [0.5, 0.0, 0.5]);
            assert!(answer(&[1.0, f32::NAN, 2.0]).iter().all(|p| p.is_nan()));
            assert_eq!(answer(&[f32::MAX, f32::MIN]), [1.0, 0.0]);
            let mut rows = [down, down, 0.0, 0.0, f32::NAN, 0.0, 9.0];
            map.apply_rows(k, &mut rows, 2);
            near(&rows[..4], &[0.0, 0.0, 0.5, 0.5], 1e-6);
            assert!(rows[4].is_nan() && rows[5].is_nan());
            assert_eq!(rows[6], 9.0);
            map.apply_rows(k, &mut rows, 0);
        }
    }

    #[test]
    fn sparser_maps_have_more_zeros() {
        let zeros = |map: Simplex| {
            let mut row: Vec<f32> = (0..49).map(|i| (i as f32 * 1.3).sin() * 2.0).collect();
            map.apply(kernels::active(), &mut row);
            row.iter().filter(|p| **p == 0.0).count()
        };
        let [dense, softer, sparse] = Simplex::ALL.map(zeros);
        assert!(
            dense == 0 && 0 < softer && softer < sparse,
            "{softer} {sparse}"
        );
    }
}
