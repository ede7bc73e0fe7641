//! Label-guided fusion of text and speech (LE-MER).
//!
//! With token rows `H_t` `[n, d]`, frame rows `H_s` `[m, d]`, one label row per
//! class and modality `L_t`, `L_s` `[K, d]`, and `K` = [`CLASSES`]:
//!
//! ```text
//! G_t[i,c] = ⟨H_t[i], L_t[c]⟩ / (‖H_t[i]‖·‖L_t[c]‖)      [n, K]; G_s likewise [m, K]
//! A_r      = rowsoftmax(H_t·W·H_sᵀ)                      [n, m]   learnt
//! A_l      = rowsoftmax(G_t·G_sᵀ / T)                    [n, m]   by labels
//! H'       = A·H_s                                       [n, d]   A is A_r or A_l
//! v        = mean over rows of [H_t, H']                 [2d]
//! logits   = C·v + b                                     [K]
//! ```
//!
//! Four places differ from the published formulas, which do not conform or do
//! not normalise: `W` stands between `H_t` and `H_sᵀ` (a `W` at the end would
//! have to change size with `m`); `H' = A·H_s` without a transpose; norms are
//! per row, not of the whole matrix; and `A_l` has a row softmax with a
//! temperature, as its raw entries lie in `[-K, K]` and sum to anything.
//!
//! `H'` is never formed. Its row mean is `a·H_s` with `a` the column means of
//! `A`, which is what the attention kernels compute, four rows of scores at a
//! time. There is no padding in this runtime and hence no mask: every row
//! counts, and `n` is the number of type-0 tokens.

use crate::fusion::operator::{Operator, Scratch};
use crate::fusion::parameters::Parameters;
use crate::fusion::{CLASSES, FusionError, FusionOutput, Rows};
use crate::kernels::{self, AttendScratch, Kernels, all_finite, largest_magnitude, unit_rows};

/// Scores stay finite while `largest query · largest key · d` is below this.
const LARGEST_SCORE: f64 = 1e38;

/// Memory that a head works in. Keep one per thread: it grows to the longest
/// input, after which [`run_into`](LabelGuided::run_into) allocates nothing.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Queries `[n, d]`, or `[n, K]` for label attention.
    queries: Vec<f32>,
    /// `G_sᵀ` `[K, m]`.
    keys_t: Vec<f32>,
    /// `v` `[2d]`.
    v: Vec<f32>,
    attend: AttendScratch,
}

/// A label-guided head; shape `d` is that of its weights.
///
/// The one with learnt attention, trained with the constraint that ties `A_r` to `A_l`, is the
/// shipped head of the emotion task.
#[derive(Clone, Debug)]
pub struct LabelGuided {
    head: Head,
    attention: Attention,
}

/// Where `A` comes from.
#[derive(Clone, Debug)]
enum Attention {
    /// `A_r`: `W` `[d, d]`.
    Learnt(Vec<f32>),
    /// `A_l`: the temperature `T`.
    Labels(f32),
}

impl LabelGuided {
    /// Takes the weights of the ONNX function `CrossAttentionFusion`, row-major: `w` `[d, d]`,
    /// `labels` of text and of speech `[4, d]` each, `classifier` `[4, 2d]`, `bias` `[4]`; `d`
    /// follows from the labels.
    ///
    /// # Errors
    /// If a shape does not fit `d` or a value is not finite.
    pub fn learnt(
        w: &[f32],
        labels: [&[f32]; 2],
        classifier: &[f32],
        bias: &[f32],
    ) -> Result<Self, FusionError> {
        let head = Head::new(labels, classifier, bias)?;
        let attention = Attention::Learnt(checked("w", w, head.width * head.width)?);
        Ok(LabelGuided { head, attention })
    }

    /// Takes the weights of the ONNX function `LabelAttentionFusion`, shaped as for
    /// [`learnt`](Self::learnt), and the softmax temperature `T`.
    ///
    /// # Errors
    /// If a shape does not fit, a value is not finite or `T` is not in
    /// `1e-3..=1e3`.
    pub fn by_labels(
        labels: [&[f32]; 2],
        classifier: &[f32],
        bias: &[f32],
        temperature: f32,
    ) -> Result<Self, FusionError> {
        if !(1e-3..=1e3).contains(&temperature) {
            return Err(FusionError::Temperature { value: temperature });
        }
        let head = Head::new(labels, classifier, bias)?;
        let attention = Attention::Labels(temperature);
        Ok(LabelGuided { head, attention })
    }

    pub(in crate::fusion) fn cross(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        let (labels, classifier, bias) = weights(given)?;
        let head = LabelGuided::learnt(given.plain("w")?, labels, classifier, bias)?;
        Ok(Box::new(head.with_kernels(given.kernels)))
    }

    pub(in crate::fusion) fn label(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        let (labels, classifier, bias) = weights(given)?;
        let temperature = given.setting("temperature") as f32;
        let head = LabelGuided::by_labels(labels, classifier, bias, temperature)?;
        Ok(Box::new(head.with_kernels(given.kernels)))
    }

    /// The same head on other kernels than those of [`kernels::active`].
    #[must_use]
    pub fn with_kernels(mut self, kernels: Kernels) -> Self {
        self.head.kernels = kernels;
        self
    }

    /// Fuses `text` `[n, d]` with `speech` `[m, d]`.
    ///
    /// # Errors
    /// If a modality is empty, of another width or not finite, or if the
    /// result would not be.
    pub fn run(&self, text: Rows<'_>, speech: Rows<'_>) -> Result<FusionOutput, FusionError> {
        let mut out = FusionOutput::default();
        self.run_into(text, speech, &mut Workspace::default(), &mut out)?;
        Ok(out)
    }

    /// As [`run`](Self::run), into memory of the caller's.
    ///
    /// # Errors
    /// As [`run`](Self::run); `out` is then unspecified.
    pub fn run_into(
        &self,
        text: Rows<'_>,
        speech: Rows<'_>,
        work: &mut Workspace,
        out: &mut FusionOutput,
    ) -> Result<(), FusionError> {
        let FusionOutput {
            logits,
            attention,
            g_text,
            g_speech,
        } = out;
        self.fuse(text, speech, work, [logits, attention, g_text, g_speech])
    }

    fn fuse(
        &self,
        text: Rows<'_>,
        speech: Rows<'_>,
        work: &mut Workspace,
        [logits, attention, g_text, g_speech]: [&mut Vec<f32>; 4],
    ) -> Result<(), FusionError> {
        let head = &self.head;
        let d = head.width;
        let largest_key = head.begin(text, speech, work, [g_text, g_speech])?;
        resize(attention, text.rows() * speech.rows());
        match &self.attention {
            Attention::Learnt(w) => {
                resize(&mut work.queries, text.rows() * d);
                head.kernels.gemm(text, matrix(w, d), &mut work.queries);
                let largest_query = f64::from(largest_magnitude(&work.queries));
                let largest_score = largest_query * f64::from(largest_key) * d as f64;
                if largest_score.is_nan() || largest_score >= LARGEST_SCORE {
                    return Err(FusionError::Overflow);
                }
                let (queries, mean) = (matrix(&work.queries, d), &mut work.v[d..]);
                head.kernels
                    .attend_mean(queries, speech, mean, &mut work.attend, Some(attention));
            }
            Attention::Labels(temperature) => {
                work.queries.clear();
                work.queries.extend(g_text.iter().map(|g| g / temperature));
                transpose(matrix(g_speech, CLASSES), &mut work.keys_t);
                let queries = matrix(&work.queries, CLASSES);
                let keys_t = matrix(&work.keys_t, speech.rows());
                let (mean, scratch) = (&mut work.v[d..], &mut work.attend);
                head.kernels.label_attend_mean(
                    queries,
                    keys_t,
                    speech,
                    mean,
                    scratch,
                    Some(attention),
                );
            }
        }
        head.classify(&work.v, logits)
    }
}

impl Operator for LabelGuided {
    fn run(
        &self,
        _kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let ([text, speech], [logits, attention, g_text, g_speech]) = (inputs, out) else {
            return Err(FusionError::Inputs {
                wanted: 2,
                found: inputs.len(),
            });
        };
        let out = [logits, attention, g_text, g_speech];
        self.fuse(*text, *speech, &mut work.label_guided, out)
    }

    fn bytes(&self) -> usize {
        let learnt = match &self.attention {
            Attention::Learnt(w) => size_of_val(w.as_slice()),
            Attention::Labels(_) => 0,
        };
        self.head.bytes() + learnt
    }
}

/// Labels of text and speech, classifier and bias.
type Weights<'a> = ([&'a [f32]; 2], &'a [f32], &'a [f32]);

fn weights<'a>(given: &Parameters<'a>) -> Result<Weights<'a>, FusionError> {
    let labels = [given.plain("label_text")?, given.plain("label_speech")?];
    Ok((labels, given.plain("classifier")?, given.plain("bias")?))
}

/// What both heads share: labels, classifier and the width they fix.
#[derive(Clone, Debug)]
struct Head {
    kernels: Kernels,
    /// `d`.
    width: usize,
    /// Unit rows `[K, d]`.
    label_text: Vec<f32>,
    /// Unit rows `[K, d]`.
    label_speech: Vec<f32>,
    /// `[K, 2d]`.
    classifier: Vec<f32>,
    /// `[K]`.
    bias: Vec<f32>,
}

impl Head {
    fn new(
        [label_text, label_speech]: [&[f32]; 2],
        classifier: &[f32],
        bias: &[f32],
    ) -> Result<Self, FusionError> {
        let width = (label_text.len() / CLASSES).max(1);
        let label_text = checked("label_text", label_text, CLASSES * width)?;
        let label_speech = checked("label_speech", label_speech, CLASSES * width)?;
        Ok(Head {
            kernels: *kernels::active(),
            width,
            label_text: unit_rows(matrix(&label_text, width)),
            label_speech: unit_rows(matrix(&label_speech, width)),
            classifier: checked("classifier", classifier, CLASSES * 2 * width)?,
            bias: checked("bias", bias, CLASSES)?,
        })
    }

    fn bytes(&self) -> usize {
        let labels = self.label_text.len() + self.label_speech.len();
        4 * (labels + self.classifier.len() + self.bias.len())
    }

    /// Checks the input and computes what does not depend on the attention: `G_t`, `G_s` and the
    /// text half of `v`. Returns the largest magnitude in `speech`.
    fn begin(
        &self,
        text: Rows<'_>,
        speech: Rows<'_>,
        work: &mut Workspace,
        [g_text, g_speech]: [&mut Vec<f32>; 2],
    ) -> Result<f32, FusionError> {
        self.largest_of("text", text)?;
        let largest = self.largest_of("speech", speech)?;
        let (k, d) = (&self.kernels, self.width);
        resize(g_text, text.rows() * CLASSES);
        resize(g_speech, speech.rows() * CLASSES);
        resize(&mut work.v, 2 * d);
        k.row_cosine(text, matrix(&self.label_text, d), g_text);
        k.row_cosine(speech, matrix(&self.label_speech, d), g_speech);
        k.column_mean(text, &mut work.v[..d]);
        Ok(largest)
    }

    /// The largest magnitude of a modality's rows, once they are usable.
    fn largest_of(&self, modality: &'static str, rows: Rows<'_>) -> Result<f32, FusionError> {
        if rows.cols() != self.width {
            let (wanted, found) = (self.width, rows.cols());
            return Err(FusionError::Width {
                modality,
                wanted,
                found,
            });
        }
        if rows.rows() == 0 {
            return Err(FusionError::Empty { modality });
        }
        let largest = largest_magnitude(rows.data());
        if largest.is_finite() {
            Ok(largest)
        } else {
            Err(FusionError::NotFinite { modality })
        }
    }

    /// `logits = C·v + b`.
    fn classify(&self, v: &[f32], logits: &mut Vec<f32>) -> Result<(), FusionError> {
        resize(logits, CLASSES);
        self.kernels
            .gemv(matrix(&self.classifier, v.len()), v, logits);
        for (logit, bias) in logits.iter_mut().zip(&self.bias) {
            *logit += bias;
        }
        if all_finite(logits) {
            Ok(())
        } else {
            Err(FusionError::Overflow)
        }
    }
}

/// A weight of `wanted` finite values.
fn checked(name: &'static str, values: &[f32], wanted: usize) -> Result<Vec<f32>, FusionError> {
    if values.len() != wanted {
        let found = values.len();
        return Err(FusionError::Weight {
            name,
            wanted,
            found,
        });
    }
    if !all_finite(values) {
        return Err(FusionError::WeightNotFinite { name });
    }
    Ok(values.to_vec())
}

/// A buffer this module sized itself, as rows of `cols`.
fn matrix(values: &[f32], cols: usize) -> Rows<'_> {
    Rows::of_whole(values, cols)
}

/// Sets the length and keeps the memory; every value is overwritten later.
fn resize(buffer: &mut Vec<f32>, len: usize) {
    buffer.resize(len, 0.0);
}

fn transpose(x: Rows<'_>, out: &mut Vec<f32>) {
    out.clear();
    for column in 0..x.cols() {
        out.extend((0..x.rows()).map(|i| x.row(i)[column]));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests;
