//! What must hold of each kernel at each level, against f64 and the scalar truth.

use std::fmt::Debug;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

pub(super) use super::activations::properties as activations;
pub(super) use super::float16::properties as float16;
pub(super) use super::int8::properties as int8;
pub(super) use super::panels::properties as panels;
pub(super) use super::simplex::properties as simplex;
use super::{AttendScratch, Kernels, Level, Rows, scalar, unit_rows};

/// Half the distance from 1 to the next f32.
const U: f64 = 1.0 / 16_777_216.0;

/// Lengths around the register widths and the model's own 192.
const SIZES: [usize; 12] = [0, 1, 2, 3, 4, 7, 8, 9, 31, 191, 192, 193];

/// Runs a kernel's property at a level, where the CPU has it.
pub(super) fn at_level(level: Level, property: fn(&Kernels)) {
    match Kernels::for_level(level) {
        Some(kernels) => {
            assert_eq!(kernels.level(), level);
            property(&kernels);
        }
        None => eprintln!("skipped: this CPU has no {level}"),
    }
}

pub(super) fn run<S: Strategy>(strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    // Emulated and scalar runs share this budget, hence the moderate number.
    run_cases(96, strategy, test);
}

fn run_cases<S: Strategy>(
    cases: u32,
    strategy: S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    if let Err(error) = TestRunner::new(config).run(&strategy, test) {
        panic!("{error}");
    }
}

pub(super) fn size() -> impl Strategy<Value = usize> {
    prop_oneof![proptest::sample::select(SIZES.to_vec()), 0_usize..40]
}

pub(super) fn few() -> impl Strategy<Value = usize> {
    proptest::sample::select(vec![0_usize, 1, 2, 3, 4, 5, 7, 8, 9, 17])
}

/// `len` numbers, each made of 32 random bits. Of a failure the sizes shrink, the contents do
/// not: to draw each number so that it could shrink takes longer than any kernel.
pub(super) fn drawn<T: Debug>(len: usize, one: impl Fn(u32) -> T) -> impl Strategy<Value = Vec<T>> {
    Just(()).prop_perturb(move |(), mut rng| (0..len).map(|_| one(rng.next_u32())).collect())
}

/// From `low` until `high`, evenly.
pub(super) fn between(low: f32, high: f32) -> impl Fn(u32) -> f32 {
    move |bits| low + (high - low) * ((bits >> 8) as f32 / (1 << 24) as f32)
}

pub(super) fn vector(len: usize) -> impl Strategy<Value = Vec<f32>> {
    drawn(len, between(-4.0, 4.0))
}

/// A matrix as it is passed around in these tests.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    pub(super) data: Vec<f32>,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl Matrix {
    pub(super) fn view(&self) -> Rows<'_> {
        Rows {
            data: &self.data,
            rows: self.rows,
            cols: self.cols,
        }
    }
}

pub(super) fn matrix(rows: usize, cols: usize) -> impl Strategy<Value = Matrix> {
    vector(rows * cols).prop_map(move |data| Matrix { data, rows, cols })
}

/// `Σ aᵢ·bᵢ` and `Σ |aᵢ·bᵢ|` in f64.
pub(super) fn exact(a: impl Iterator<Item = f32>, b: impl Iterator<Item = f32>) -> (f64, f64) {
    let products = a.zip(b).map(|(a, b)| f64::from(a) * f64::from(b));
    products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()))
}

/// The a-priori error bound of a dot product of `len` terms of total `size`.
pub(super) fn close(
    found: f32,
    (wanted, size): (f64, f64),
    len: usize,
) -> Result<(), TestCaseError> {
    let bound = 2.0 * U * len as f64 * size + f64::from(f32::MIN_POSITIVE);
    let error = (f64::from(found) - wanted).abs();
    prop_assert!(
        error <= bound,
        "{found} is off {wanted} by {error:e}, more than {bound:e}"
    );
    Ok(())
}

pub(super) fn dot(k: &Kernels) {
    run(
        size().prop_flat_map(|n| (vector(n), vector(n))),
        |(a, b)| {
            let wanted = exact(a.iter().copied(), b.iter().copied());
            close(k.dot(&a, &b), wanted, a.len())?;
            close(scalar::dot(&a, &b), wanted, a.len())
        },
    );
}

pub(super) fn gemv(k: &Kernels) {
    let shapes = (few(), size()).prop_flat_map(|(r, c)| (matrix(r, c), vector(c)));
    run(shapes, |(a, x)| {
        let mut y = vec![f32::NAN; a.rows];
        k.gemv(a.view(), &x, &mut y);
        for (i, y) in y.into_iter().enumerate() {
            let wanted = exact(a.view().row(i).iter().copied(), x.iter().copied());
            close(y, wanted, x.len())?;
        }
        Ok(())
    });
}

pub(super) fn gemm(k: &Kernels) {
    let shapes = (few(), few(), size()).prop_flat_map(|(r, d, c)| (matrix(r, d), matrix(d, c)));
    run(shapes, |(a, b)| {
        let mut c = vec![f32::NAN; a.rows * b.cols];
        k.gemm(a.view(), b.view(), &mut c);
        for (at, c) in c.into_iter().enumerate() {
            let row = a.view().row(at / b.cols).iter().copied();
            let column = (0..b.rows).map(|i| b.data[i * b.cols + at % b.cols]);
            close(c, exact(row, column), b.rows)?;
        }
        Ok(())
    });
}

pub(super) fn gemm_bt(k: &Kernels) {
    let shapes = (few(), few(), size()).prop_flat_map(|(r, c, d)| (matrix(r, d), matrix(c, d)));
    run(shapes, |(a, b)| {
        let mut c = vec![f32::NAN; a.rows * b.rows];
        k.gemm_bt(a.view(), b.view(), &mut c);
        for (at, c) in c.into_iter().enumerate() {
            let (row, column) = (a.view().row(at / b.rows), b.view().row(at % b.rows));
            close(
                c,
                exact(row.iter().copied(), column.iter().copied()),
                a.cols,
            )?;
        }
        Ok(())
    });
}

pub(super) fn column_mean(k: &Kernels) {
    run((size(), few()).prop_flat_map(|(r, c)| matrix(r, c)), |x| {
        let mut mean = vec![f32::NAN; x.cols];
        k.column_mean(x.view(), &mut mean);
        for (column, mean) in mean.into_iter().enumerate() {
            let values = (0..x.rows).map(|i| x.data[i * x.cols + column]);
            let share = 1.0 / x.rows.max(1) as f64;
            let (sum, size) = exact(values, std::iter::repeat(1.0));
            close(mean, (sum * share, size * share), x.rows + 2)?;
        }
        Ok(())
    });
}

/// Scores from near ties to the whole range of f32.
pub(super) fn score() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -8.0_f32..8.0,
        2 => -120.0_f32..120.0,
        1 => proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL | proptest::num::f32::ZERO,
        1 => proptest::sample::select(vec![0.0_f32, -0.0, f32::MAX, f32::MIN, 1e-45]),
    ]
}

pub(super) fn row_softmax(k: &Kernels) {
    let rows = (0_usize..4, size()).prop_flat_map(|(r, c)| {
        let data = proptest::collection::vec(score(), r * c);
        data.prop_map(move |data| Matrix {
            data,
            rows: r,
            cols: c,
        })
    });
    run(rows, |scores| {
        let mut weights = scores.data.clone();
        k.row_softmax(&mut weights, scores.cols);
        for i in 0..scores.rows.min(scores.data.len()) {
            let range = i * scores.cols..(i + 1) * scores.cols;
            is_softmax(&scores.data[range.clone()], &weights[range])?;
        }
        Ok(())
    });
    long_rows_sum_to_one(k);
    exp_is_within_one_ulp(k);
}

/// In range, summing to 1 within 1e-6, each weight within 8 ULP of f64's.
fn is_softmax(scores: &[f32], weights: &[f32]) -> Result<(), TestCaseError> {
    let top = scores.iter().copied().fold(f32::MIN, f32::max);
    // The difference is rounded to f32 as any f32 softmax rounds it.
    let exps: Vec<f64> = scores.iter().map(|s| f64::from(*s - top).exp()).collect();
    let total: f64 = exps.iter().sum();
    let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    prop_assert!((sum - 1.0).abs() <= 1e-6, "sums to {sum}");
    for (weight, e) in weights.iter().zip(exps) {
        prop_assert!((0.0..=1.0).contains(weight), "{weight} is not in [0, 1]");
        prop_assert!(
            e > 1e-46 || *weight == 0.0,
            "{weight:e} where f32 has nothing but 0"
        );
        let wanted = e / total;
        let bound = 16.0 * U * wanted + 1.7e-38;
        let error = (f64::from(*weight) - wanted).abs();
        prop_assert!(error <= bound, "{weight:e} is off {wanted:e} by {error:e}");
    }
    Ok(())
}

/// The exponential alone, as the ratio of the two weights of a row `[0, x]`:
/// within 1 ULP (2⁻²³ of it), and ½ more for the rounding of the weight.
fn exp_is_within_one_ulp(k: &Kernels) {
    for step in 0..43_500 {
        let x = -0.002 * step as f32;
        let mut row = [0.0, x];
        k.row_softmax(&mut row, 2);
        let (found, wanted) = (f64::from(row[1]) / f64::from(row[0]), f64::from(x).exp());
        let ulps = (found - wanted).abs() / (wanted * 2.0 * U);
        assert!(ulps <= 1.5, "exp({x}) is {found:e}, off by {ulps} ULP");
    }
}

/// Equal small weights round the same way at every addition: the worst case of
/// a plain sum, and what a silent stretch of speech looks like.
fn long_rows_sum_to_one(k: &Kernels) {
    for cols in [400, 801, 4096] {
        let mut row: Vec<f32> = vec![-0.356_675; cols];
        row[cols / 2] = 0.0;
        let scores = row.clone();
        k.row_softmax(&mut row, cols);
        is_softmax(&scores, &row).unwrap();
    }
}

/// Rows of one magnitude each, from denormal to huge, some zero.
fn rows_of_any_size(rows: usize, cols: usize) -> impl Strategy<Value = Matrix> {
    let magnitude = proptest::sample::select(vec![
        0.0_f32, 1e-44, 1e-38, 1e-20, 1e-9, 1.0, 1e9, 1e17, 8e37,
    ]);
    let row = (magnitude, vector(cols))
        .prop_map(|(size, row)| row.into_iter().map(move |v| v * size).collect());
    let row: BoxedStrategy<Vec<f32>> = row.boxed();
    proptest::collection::vec(row, rows).prop_map(move |all| Matrix {
        data: all.concat(),
        rows,
        cols,
    })
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let length = |x: &[f32]| exact(x.iter().copied(), x.iter().copied()).0.sqrt();
    let lengths = length(a) * length(b);
    let (product, _) = exact(a.iter().copied(), b.iter().copied());
    if lengths > 0.0 {
        product / lengths
    } else {
        0.0
    }
}

pub(super) fn row_cosine(k: &Kernels) {
    let shapes = (few(), few(), size())
        .prop_flat_map(|(n, labels, d)| (rows_of_any_size(n, d), rows_of_any_size(labels, d)));
    run(shapes, |(x, labels)| {
        let unit = unit_rows(labels.view());
        let unit_view = Rows {
            data: &unit,
            ..labels.view()
        };
        let mut found = vec![f32::NAN; x.rows * labels.rows];
        k.row_cosine(x.view(), unit_view, &mut found);
        for (at, found) in found.into_iter().enumerate() {
            let wanted = cosine(
                x.view().row(at / labels.rows),
                labels.view().row(at % labels.rows),
            );
            prop_assert!((-1.0..=1.0).contains(&found), "{found} is not in [-1, 1]");
            let error = (f64::from(found) - wanted).abs();
            prop_assert!(error <= 4e-6, "{found} is off {wanted} by {error:e}");
        }
        Ok(())
    });
    a_row_is_at_most_one_with_itself(k);
}

/// Rounding alone takes some of these above 1.
fn a_row_is_at_most_one_with_itself(k: &Kernels) {
    run(matrix(64, 33), |x| {
        let unit = unit_rows(x.view());
        let labels = Rows {
            data: &unit,
            ..x.view()
        };
        let mut found = vec![f32::NAN; 64 * 64];
        k.row_cosine(x.view(), labels, &mut found);
        for cosine in found.into_iter().step_by(65) {
            prop_assert!((1.0 - 4e-6..=1.0).contains(&cosine), "{cosine} is not 1");
        }
        Ok(())
    });
}

/// Attention in f64 with everything materialised: weights `[n, m]`, mean `[d]`.
fn attention64(scores: &[Vec<f64>], values: Rows<'_>) -> (Vec<f64>, Vec<f64>) {
    let mut weights = Vec::new();
    let mut mean = vec![0.0; values.cols()];
    for row in scores {
        let top = row.iter().copied().fold(f64::MIN, f64::max);
        let total: f64 = row.iter().map(|s| (s - top).exp()).sum();
        for (j, s) in row.iter().enumerate() {
            let weight = (s - top).exp() / total;
            weights.push(weight);
            for (mean, v) in mean.iter_mut().zip(values.row(j)) {
                *mean += weight * f64::from(*v) / scores.len() as f64;
            }
        }
    }
    (weights, mean)
}

type Attend<'k> = dyn Fn(&mut [f32], &mut AttendScratch, Option<&mut [f32]>) + 'k;

/// Weights within `tolerance`, rows summing to 1, mean within `8·tolerance`
/// (values are below 4), and the same mean when the weights are not asked for.
fn check_attention(
    attend: &Attend<'_>,
    scores: &[Vec<f64>],
    values: Rows<'_>,
    tolerance: f64,
) -> Result<(), TestCaseError> {
    let (n, m) = (scores.len(), values.rows());
    let (weights64, mean64) = attention64(scores, values);
    let mut scratch = AttendScratch::default();
    let (mut mean, mut weights) = (vec![f32::NAN; values.cols()], vec![f32::NAN; n * m]);
    attend(&mut mean, &mut scratch, Some(&mut weights));
    for (found, wanted) in mean.iter().zip(&mean64) {
        prop_assert!(
            (f64::from(*found) - wanted).abs() <= 8.0 * tolerance,
            "{found} is not {wanted}"
        );
    }
    for (found, wanted) in weights.iter().zip(&weights64) {
        prop_assert!((0.0..=1.0).contains(found), "{found} is not in [0, 1]");
        prop_assert!(
            (f64::from(*found) - wanted).abs() <= tolerance,
            "{found} is not {wanted}"
        );
    }
    for row in weights.chunks_exact(m.max(1)) {
        let sum: f64 = row.iter().map(|w| f64::from(*w)).sum();
        prop_assert!((sum - 1.0).abs() <= 1e-6, "a row sums to {sum}");
    }
    let (mut again, used) = (vec![f32::NAN; values.cols()], scratch.values.as_ptr());
    attend(&mut again, &mut scratch, None);
    prop_assert_eq!(&again, &mean);
    prop_assert_eq!(scratch.values.as_ptr(), used, "the second call allocated");
    Ok(())
}

fn scores64(q: Rows<'_>, key: impl Fn(usize) -> Vec<f32>, m: usize) -> Vec<Vec<f64>> {
    let score = |i: usize, j: usize| exact(q.row(i).iter().copied(), key(j).into_iter()).0;
    (0..q.rows())
        .map(|i| (0..m).map(|j| score(i, j)).collect())
        .collect()
}

pub(super) fn attend_mean(k: &Kernels) {
    let shapes = (few(), size(), few()).prop_flat_map(|(n, m, d)| (matrix(n, d), matrix(m, d)));
    run(shapes, |(q, kv)| {
        let scores = scores64(q.view(), |j| kv.view().row(j).to_vec(), kv.rows);
        let attend =
            |mean: &mut [f32], scratch: &mut AttendScratch, weights: Option<&mut [f32]>| {
                k.attend_mean(q.view(), kv.view(), mean, scratch, weights);
            };
        // A score is at most 16·17 here, so it is off by at most 17·U·272.
        check_attention(&attend, &scores, kv.view(), 1e-3)
    });
    attend_mean_at_the_models_own_size(k);
}

/// Scores of order 1 over 192 columns, as the trained fusion has them: 1e-6.
fn attend_mean_at_the_models_own_size(k: &Kernels) {
    let shapes = (matrix(9, 192), matrix(113, 192));
    run_cases(16, shapes, |(mut q, kv)| {
        q.data.iter_mut().for_each(|v| *v *= 0.02);
        let scores = scores64(q.view(), |j| kv.view().row(j).to_vec(), kv.rows);
        let attend =
            |mean: &mut [f32], scratch: &mut AttendScratch, weights: Option<&mut [f32]>| {
                k.attend_mean(q.view(), kv.view(), mean, scratch, weights);
            };
        check_attention(&attend, &scores, kv.view(), 3e-6)
    });
}

pub(super) fn label_attend_mean(k: &Kernels) {
    let shapes = (few(), 0_usize..6, size(), few())
        .prop_flat_map(|(n, labels, m, d)| (matrix(n, labels), matrix(labels, m), matrix(m, d)));
    run(shapes, |(q, keys_t, values)| {
        let key = |j: usize| {
            (0..keys_t.rows)
                .map(|k| keys_t.data[k * keys_t.cols + j])
                .collect()
        };
        let scores = scores64(q.view(), key, values.rows);
        let attend =
            |mean: &mut [f32], scratch: &mut AttendScratch, weights: Option<&mut [f32]>| {
                k.label_attend_mean(
                    q.view(),
                    keys_t.view(),
                    values.view(),
                    mean,
                    scratch,
                    weights,
                );
            };
        check_attention(&attend, &scores, values.view(), 4e-5)
    });
}
