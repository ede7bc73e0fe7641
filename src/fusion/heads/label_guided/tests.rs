//! The heads against their equations in f64, at every level this CPU has.

use proptest::prelude::*;

use super::*;
use crate::kernels::Level;

/// A head's weights and one input, all drawn at random.
#[derive(Clone, Debug)]
struct Case {
    d: usize,
    text: Vec<f32>,
    speech: Vec<f32>,
    w: Vec<f32>,
    labels: [Vec<f32>; 2],
    classifier: Vec<f32>,
    bias: Vec<f32>,
    temperature: f32,
}

fn values(len: usize, limit: f32) -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(-limit..limit, len)
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (1_usize..9, 1_usize..13, 1_usize..34);
    sizes.prop_flat_map(|(n, m, d)| {
        let inputs = (values(n * d, 2.0), values(m * d, 2.0), values(d * d, 0.3));
        let labels = [values(CLASSES * d, 1.0), values(CLASSES * d, 1.0)];
        let last = (
            values(CLASSES * 2 * d, 1.0),
            values(CLASSES, 1.0),
            0.1_f32..2.0,
        );
        (inputs, labels, last).prop_map(move |((text, speech, w), labels, last)| Case {
            d,
            text,
            speech,
            w,
            labels,
            classifier: last.0,
            bias: last.1,
            temperature: last.2,
        })
    })
}

impl Case {
    fn text(&self) -> Rows<'_> {
        Rows::new(&self.text, self.d).unwrap()
    }

    fn speech(&self) -> Rows<'_> {
        Rows::new(&self.speech, self.d).unwrap()
    }

    fn labels(&self) -> [&[f32]; 2] {
        self.labels.each_ref().map(Vec::as_slice)
    }

    fn cross(&self) -> LabelGuided {
        LabelGuided::learnt(&self.w, self.labels(), &self.classifier, &self.bias).unwrap()
    }

    fn label(&self) -> LabelGuided {
        let (labels, temperature) = (self.labels(), self.temperature);
        LabelGuided::by_labels(labels, &self.classifier, &self.bias, temperature).unwrap()
    }
}

/// A small fixed case for the tests of single facts.
fn fixed(n: usize, m: usize) -> Case {
    let d = 6;
    let wave = |len: usize, step: f32| {
        (0..len)
            .map(|i| (i as f32 * step).sin())
            .collect::<Vec<_>>()
    };
    Case {
        d,
        text: wave(n * d, 0.7),
        speech: wave(m * d, 1.3),
        w: wave(d * d, 2.1),
        labels: [wave(CLASSES * d, 0.9), wave(CLASSES * d, 1.9)],
        classifier: wave(CLASSES * 2 * d, 0.4),
        bias: vec![0.1, 0.0, -0.2, 0.3],
        temperature: 0.2,
    }
}

fn levels() -> impl Iterator<Item = Kernels> {
    Level::ALL.into_iter().filter_map(Kernels::for_level)
}

/// The equations of the module, in f64, with every matrix formed.
mod equations {
    use super::{CLASSES, Case};

    pub type Matrix = Vec<Vec<f64>>;

    pub fn matrix(values: &[f32], cols: usize) -> Matrix {
        let row = |row: &[f32]| row.iter().map(|v| f64::from(*v)).collect();
        values.chunks(cols).map(row).collect()
    }

    pub fn product(a: &Matrix, b: &Matrix) -> Matrix {
        let element = |row: &[f64], j: usize| row.iter().zip(b).map(|(x, b)| x * b[j]).sum();
        a.iter()
            .map(|row| (0..b[0].len()).map(|j| element(row, j)).collect())
            .collect()
    }

    pub fn transposed(a: &Matrix) -> Matrix {
        (0..a[0].len())
            .map(|j| a.iter().map(|row| row[j]).collect())
            .collect()
    }

    pub fn softmax(scores: &Matrix) -> Matrix {
        let row = |row: &Vec<f64>| {
            let top = row.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = row.iter().map(|s| (s - top).exp()).sum();
            row.iter().map(|s| (s - top).exp() / total).collect()
        };
        scores.iter().map(row).collect()
    }

    pub fn cosines(x: &Matrix, labels: &Matrix) -> Matrix {
        let length = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
        let cosine = |a: &[f64], b: &[f64]| {
            let lengths = length(a) * length(b);
            let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            if lengths > 0.0 {
                product / lengths
            } else {
                0.0
            }
        };
        x.iter()
            .map(|x| labels.iter().map(|l| cosine(x, l)).collect())
            .collect()
    }

    /// `G_t` and `G_s`.
    pub fn similarities(case: &Case) -> (Matrix, Matrix) {
        let of = |x: &[f32], labels: &[f32]| cosines(&matrix(x, case.d), &matrix(labels, case.d));
        (
            of(&case.text, &case.labels[0]),
            of(&case.speech, &case.labels[1]),
        )
    }

    pub fn a_r(case: &Case) -> Matrix {
        let queries = product(&matrix(&case.text, case.d), &matrix(&case.w, case.d));
        softmax(&product(
            &queries,
            &transposed(&matrix(&case.speech, case.d)),
        ))
    }

    pub fn a_l(case: &Case) -> Matrix {
        let (g_t, g_s) = similarities(case);
        let mut scores = product(&g_t, &transposed(&g_s));
        scores
            .iter_mut()
            .flatten()
            .for_each(|s| *s /= f64::from(case.temperature));
        softmax(&scores)
    }

    pub fn logits(case: &Case, attention: &Matrix) -> Vec<f64> {
        let text = matrix(&case.text, case.d);
        let fused = product(attention, &matrix(&case.speech, case.d));
        let mean = |x: &Matrix, j: usize| x.iter().map(|row| row[j]).sum::<f64>() / x.len() as f64;
        let halves = [&text, &fused]
            .into_iter()
            .flat_map(|x| (0..case.d).map(move |j| mean(x, j)));
        let v: Vec<f64> = halves.collect();
        let classifier = matrix(&case.classifier, 2 * case.d);
        let logit = |k: usize| {
            classifier[k]
                .iter()
                .zip(&v)
                .map(|(c, v)| c * v)
                .sum::<f64>()
        };
        (0..CLASSES)
            .map(|k| logit(k) + f64::from(case.bias[k]))
            .collect()
    }
}

fn near<'w>(
    found: &[f32],
    wanted: impl IntoIterator<Item = &'w f64>,
    tolerance: f64,
) -> Result<(), TestCaseError> {
    let wanted: Vec<f64> = wanted.into_iter().copied().collect();
    prop_assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        let error = (f64::from(*found) - wanted).abs();
        prop_assert!(
            error <= tolerance,
            "{} is off {} by {:e}",
            found,
            wanted,
            error
        );
    }
    Ok(())
}

/// The whole output against the equations, and `A` is row-stochastic.
fn check(
    case: &Case,
    out: &FusionOutput,
    attention: &equations::Matrix,
) -> Result<(), TestCaseError> {
    let (g_t, g_s) = equations::similarities(case);
    near(&out.g_text, g_t.iter().flatten(), 2e-6)?;
    near(&out.g_speech, g_s.iter().flatten(), 2e-6)?;
    near(&out.attention, attention.iter().flatten(), 2e-5)?;
    near(&out.logits, &equations::logits(case, attention), 1e-4)?;
    for row in out.attention.chunks_exact(case.speech().rows()) {
        let sum: f64 = row.iter().map(|w| f64::from(*w)).sum();
        prop_assert!(
            (sum - 1.0).abs() <= 1e-6,
            "a row of the attention sums to {}",
            sum
        );
        prop_assert!(row.iter().all(|w| (0.0..=1.0).contains(w)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cross_attention_follows_its_equations(case in case()) {
        for kernels in levels() {
            let out = case.cross().with_kernels(kernels).run(case.text(), case.speech()).unwrap();
            check(&case, &out, &equations::a_r(&case))?;
        }
    }

    #[test]
    fn label_attention_follows_its_equations(case in case()) {
        for kernels in levels() {
            let out = case.label().with_kernels(kernels).run(case.text(), case.speech()).unwrap();
            check(&case, &out, &equations::a_l(&case))?;
        }
    }

    /// Frames are a set to the fusion: their order and a doubling of them all
    /// change no logit, as no position and no padding is involved.
    #[test]
    fn order_and_doubling_of_frames_change_no_logit(case in case(), turn in 0_usize..13) {
        let mut turned = case.clone();
        turned.speech.rotate_left(turn % case.speech().rows() * case.d);
        let mut doubled = case.clone();
        doubled.speech.extend_from_slice(&case.speech);
        for other in [turned, doubled] {
            let pairs = [
                (case.cross().run(case.text(), case.speech()), other.cross().run(other.text(), other.speech())),
                (case.label().run(case.text(), case.speech()), other.label().run(other.text(), other.speech())),
            ];
            for (one, two) in pairs {
                let wanted: Vec<f64> = two.unwrap().logits.into_iter().map(f64::from).collect();
                near(&one.unwrap().logits, &wanted, 1e-4)?;
            }
        }
    }
}

#[test]
fn a_single_frame_gets_all_attention() {
    let case = fixed(3, 1);
    for out in [
        case.cross().run(case.text(), case.speech()),
        case.label().run(case.text(), case.speech()),
    ] {
        assert_eq!(out.unwrap().attention, [1.0; 3]);
    }
    let single = fixed(1, 1);
    let out = single.cross().run(single.text(), single.speech()).unwrap();
    check(&single, &out, &vec![vec![1.0]]).unwrap();
}

#[test]
fn temperature_sharpens_the_label_attention() {
    let largest = |temperature| {
        let case = Case {
            temperature,
            ..fixed(1, 9)
        };
        let out = case.label().run(case.text(), case.speech()).unwrap();
        out.attention.into_iter().fold(0.0, f32::max)
    };
    let (hot, warm, cold) = (largest(1000.0), largest(1.0), largest(0.01));
    assert!((hot - 1.0 / 9.0).abs() < 1e-3, "{hot}");
    assert!(
        hot < warm && warm < cold && cold > 0.9,
        "{hot} {warm} {cold}"
    );
}

#[test]
fn a_zero_row_is_similar_to_nothing() {
    let mut case = fixed(2, 3);
    case.text[..6].fill(0.0);
    let out = case.cross().run(case.text(), case.speech()).unwrap();
    assert_eq!(out.g_text[..CLASSES], [0.0; CLASSES]);
    assert!(
        out.attention[..3]
            .iter()
            .all(|a| (a - 1.0 / 3.0).abs() < 1e-6),
        "{:?}",
        out.attention
    );
}

#[test]
fn undefined_values_are_an_error_and_never_an_answer() {
    let good = fixed(2, 3);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for modality in ["text", "speech"] {
            let mut case = good.clone();
            let rows = if modality == "text" {
                &mut case.text
            } else {
                &mut case.speech
            };
            *rows.last_mut().unwrap() = bad;
            let error = FusionError::NotFinite { modality };
            assert_eq!(case.cross().run(case.text(), case.speech()), Err(error));
            assert_eq!(case.label().run(case.text(), case.speech()), Err(error));
        }
    }
}

#[test]
fn values_that_overflow_are_an_error_too() {
    let mut case = fixed(2, 3);
    case.text.iter_mut().for_each(|v| *v *= 1e37);
    case.speech.iter_mut().for_each(|v| *v *= 1e37);
    assert_eq!(
        case.cross().run(case.text(), case.speech()),
        Err(FusionError::Overflow)
    );
    case.classifier.fill(1e6);
    assert_eq!(
        case.label().run(case.text(), case.speech()),
        Err(FusionError::Overflow)
    );
}

/// An undefined score among finite ones must not count as a weight of 0.
#[test]
fn one_undefined_score_is_an_error() {
    let mut case = fixed(1, 9);
    case.d = 2;
    case.text = vec![10.0, -10.0];
    case.speech[..2].fill(3e38);
    case.speech.truncate(18);
    case.w = vec![1.0, 0.0, 0.0, 1.0];
    case.labels.iter_mut().for_each(|labels| labels.truncate(8));
    case.classifier.truncate(16);
    for kernels in levels() {
        let out = case
            .cross()
            .with_kernels(kernels)
            .run(case.text(), case.speech());
        assert_eq!(out, Err(FusionError::Overflow), "{}", kernels.level());
    }
}

#[test]
fn huge_rows_that_still_fit_are_answered() {
    let mut case = fixed(2, 3);
    case.text.iter_mut().for_each(|v| *v *= 1e30);
    let out = case.label().run(case.text(), case.speech()).unwrap();
    assert!(out.logits.iter().all(|v| v.is_finite()));
    assert!(out.g_text.iter().all(|g| g.abs() <= 1.0));
}

#[test]
fn shapes_that_do_not_fit_are_refused_by_name() {
    let case = fixed(2, 3);
    let narrow = Rows::new(&case.text, 3).unwrap();
    let none = Rows::new(&[], 6).unwrap();
    let run = |text, speech| case.cross().run(text, speech).unwrap_err();
    let width = FusionError::Width {
        modality: "text",
        wanted: 6,
        found: 3,
    };
    assert_eq!(run(narrow, case.speech()), width);
    assert_eq!(
        run(none, case.speech()),
        FusionError::Empty { modality: "text" }
    );
    assert_eq!(
        run(case.text(), none),
        FusionError::Empty { modality: "speech" }
    );
    assert!(width.to_string().contains("text rows are 3 wide"));
}

#[test]
fn weights_that_do_not_fit_are_refused_by_name() {
    let case = fixed(2, 3);
    let error = LabelGuided::learnt(&case.w[1..], case.labels(), &case.classifier, &case.bias);
    let wanted = FusionError::Weight {
        name: "w",
        wanted: 36,
        found: 35,
    };
    assert_eq!(error.unwrap_err(), wanted);
    let error = LabelGuided::learnt(&[], [&[], &[]], &[], &[]).unwrap_err();
    assert!(
        matches!(
            error,
            FusionError::Weight {
                name: "label_text",
                ..
            }
        ),
        "{error}"
    );
    let error = LabelGuided::by_labels(case.labels(), &case.classifier, &[f32::NAN; 4], 0.2);
    assert_eq!(
        error.unwrap_err(),
        FusionError::WeightNotFinite { name: "bias" }
    );
    for value in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let error = LabelGuided::by_labels(case.labels(), &case.classifier, &case.bias, value);
        assert!(
            matches!(error, Err(FusionError::Temperature { .. })),
            "{value}"
        );
    }
}

#[test]
fn later_runs_reuse_the_memory() {
    let (long, short) = (fixed(7, 11), fixed(5, 9));
    let mut work = Workspace::default();
    let mut out = FusionOutput::default();
    let memory = |work: &Workspace, out: &FusionOutput| {
        let outputs = [&out.logits, &out.attention, &out.g_text, &out.g_speech];
        let buffers = [&work.queries, &work.keys_t, &work.v];
        outputs
            .into_iter()
            .chain(buffers)
            .map(|v| v.as_ptr())
            .collect::<Vec<_>>()
    };
    long.cross()
        .run_into(long.text(), long.speech(), &mut work, &mut out)
        .unwrap();
    long.label()
        .run_into(long.text(), long.speech(), &mut work, &mut out)
        .unwrap();
    let first = memory(&work, &out);
    for head in [short.cross(), short.label()] {
        head.run_into(short.text(), short.speech(), &mut work, &mut out)
            .unwrap();
        let fresh = head.run(short.text(), short.speech()).unwrap();
        assert_eq!(out, fresh);
        assert_eq!(out.attention.len(), 45);
    }
    assert_eq!(memory(&work, &out), first);
}
