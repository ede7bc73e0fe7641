//! Spans that stored queries ask for (MNER-QG as reading comprehension), in bytes.
//!
//! A sentence's token rows `X` `[n, D]`, `[CLS]` first and `[SEP]` last, are read once, beside
//! rows `P` `[w, D]` for what its picture shows (`w` may be 0); each of `t` types has a query
//! that modulates them:
//!
//! ```text
//! h = GELU(X·W_t + b_t);  r = [0; P·W_p + b_p]
//! H = LN(h + softmax(h·(r·W_look)ᵀ)·r·W_view)      the first row of r says nothing
//! a = GELU(H ⊙ gain + shift)                      of each type, [n, d]
//! g = softmax(a·k_exist)ᵀ·a;   exist = g·w + b
//! S = [H₀; query; g; mean of P's rows]            what a type's marks look at
//! s = LN(a + softmax(a·(S·W_key)ᵀ)·S·W_value);  start = s·w + b     end alike, with its own keys
//! match[i, j] = w·GELU(s_i·W_first + b + e_j·W_last + b') + b
//! ```
//!
//! What hangs on the queries alone (gain, shift, their keys and values) is a constant, maps of
//! queries and keys that follow each other are one map, and the first layer of `match` runs on
//! starts and ends apart. All outputs are logits.
//!
//! Maps are byte products with one scale a column; their inputs are quantised by the range that
//! they have at run time. Scores, norms and marks are f32.

use crate::fusion::call::Call;
use crate::fusion::parameters::{InOrder, Tensor};
use crate::fusion::{FusionError, Projection, ProjectionScratch, Rows, Scratch};
use crate::kernels::{self, Kernels, all_finite};

/// ε of every layer norm.
const EPSILON: f32 = 1e-5;
/// Rows that the marks of a type look at.
const STATES: usize = 4;

/// The head with its weights.
#[derive(Clone, Debug)]
pub struct QueriedSpans {
    kernels: Kernels,
    /// `D`, `d` and the hidden width of `match`.
    widths: [usize; 3],
    text: Projection,
    picture: Projection,
    look: Projection,
    view: Projection,
    mixed: Affine,
    /// `[t, d]` each.
    gain: Vec<f32>,
    shift: Vec<f32>,
    exist_key: Vec<f32>,
    exist: Mark,
    /// `d` to `2·d`: of starts, then of ends.
    key: Projection,
    value: Projection,
    /// `[t, 2·d]` and `[t, d]`.
    query_key: Vec<f32>,
    query_value: Vec<f32>,
    /// Of starts, then of ends.
    ends: [End; 2],
    joint: Mark,
}

/// How a token is found to begin or end a span.
#[derive(Clone, Debug)]
struct End {
    norm: Affine,
    mark: Mark,
    pair: Projection,
}

#[derive(Clone, Debug)]
struct Affine {
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

/// A row to a logit.
#[derive(Clone, Debug)]
struct Mark {
    w: Vec<f32>,
    b: f32,
}

/// Memory that the head works in. Keep one per thread: it grows to the longest sentence, after
/// which nothing is allocated.
#[derive(Debug, Default)]
pub struct Workspace {
    projection: ProjectionScratch,
    text: Vec<f32>,
    shown: Vec<f32>,
    rows: Vec<f32>,
    look: Vec<f32>,
    view: Vec<f32>,
    scores: Vec<f32>,
    mixed: Vec<f32>,
    h: Vec<f32>,
    /// `[t·n, d]`.
    a: Vec<f32>,
    whole: Vec<f32>,
    /// Keys and values of what is shared: `H₀`, the types' `g`, the mean of the picture's rows.
    keys: [Vec<f32>; 3],
    values: [Vec<f32>; 3],
    /// Those of one type.
    own_keys: Vec<f32>,
    own_values: Vec<f32>,
    found: Vec<f32>,
    /// First layer of `match`, of starts and of ends: `[t·n, m]`.
    pairs: [Vec<f32>; 2],
    hidden: Vec<f32>,
}

impl QueriedSpans {
    /// Takes the weights of the ONNX function `QueriedSpans` in its order. A map is `[k, n]` of
    /// signed bytes, a scale a column, and a bias a column where its equation has one:
    ///
    /// `w_text` `w_picture` (bias) · `w_look` `w_view` · `gamma` `beta` · `gain` `shift`
    /// `exist_key` `[t, d]` · `w_exist` `[d]` `b_exist` `[1]` · `w_key` `[d, 2·d]` `w_value` ·
    /// `query_key` `[t, 2·d]` `query_value` `[t, d]` · of starts, then of ends: `gamma` `beta`, a
    /// mark's `w` `[d]` and `b` `[1]`, the map of pairs (bias) · `w_match` `[m]` `b_match` `[1]`
    ///
    /// # Errors
    /// A weight that is missing, of another shape or type or not finite.
    pub fn new(weights: &[Tensor<'_>]) -> Result<QueriedSpans, FusionError> {
        let dims = |at: usize| weights.get(at).map_or(&[][..], |w| w.dims.as_slice());
        let (wide, d) = match dims(0) {
            [wide, d] => (*wide, *d),
            _ => (0, 0),
        };
        if wide == 0 || d == 0 {
            return Err(FusionError::Weight {
                name: "w_text",
                wanted: 1,
                found: 0,
            });
        }
        let kernels = *kernels::active();
        let mut given = Weights {
            left: InOrder::of(weights),
            kernels,
        };
        let text = given.map(["w_text", "w_text_scale", "b_text"], wide, d)?;
        let picture = given.map(["w_picture", "w_picture_scale", "b_picture"], wide, d)?;
        let look = given.product(["w_look", "w_look_scale"], d, d)?;
        let view = given.product(["w_view", "w_view_scale"], d, d)?;
        let mixed = given.norm(["gamma", "beta"], d)?;
        let gain = given.left.floats("gain")?.to_vec();
        let types = gain.len() / d;
        check_len("gain", gain.len(), types.max(1) * d)?;
        let shift = given.exactly("shift", types * d)?;
        let exist_key = given.exactly("exist_key", types * d)?;
        let exist = given.mark(["w_exist", "b_exist"], d)?;
        let key = given.product(["w_key", "w_key_scale"], d, 2 * d)?;
        let value = given.product(["w_value", "w_value_scale"], d, d)?;
        let query_key = given.exactly("query_key", types * 2 * d)?;
        let query_value = given.exactly("query_value", types * d)?;
        let start = given.end(
            ["start_gamma", "start_beta", "w_start", "b_start"],
            ["w_first", "w_first_scale", "b_first"],
            d,
        )?;
        let m = start.pair.out();
        let end = given.end(
            ["end_gamma", "end_beta", "w_end", "b_end"],
            ["w_last", "w_last_scale", "b_last"],
            d,
        )?;
        check_len("w_last", end.pair.out(), m)?;
        let joint = given.mark(["w_match", "b_match"], m)?;
        given.left.end("QueriedSpans")?;
        Ok(QueriedSpans {
            kernels,
            widths: [wide, d, m],
            text,
            picture,
            look,
            view,
            mixed,
            gain,
            shift,
            exist_key,
            exist,
            key,
            value,
            query_key,
            query_value,
            ends: [start, end],
            joint,
        })
    }

    fn types(&self) -> usize {
        self.exist_key.len() / self.widths[1]
    }

    /// Checks the sizes of the inputs; a picture may have no row.
    fn fit(&self, inputs: &[[usize; 2]]) -> Result<usize, FusionError> {
        let [[n, text], [_, picture]] = inputs else {
            let (wanted, found) = (2, inputs.len());
            return Err(FusionError::Inputs { wanted, found });
        };
        let wanted = self.widths[0];
        for (modality, found) in [("text", *text), ("picture", *picture)] {
            if found != wanted {
                return Err(FusionError::Width {
                    modality,
                    wanted,
                    found,
                });
            }
        }
        match n {
            0 => Err(FusionError::Empty { modality: "text" }),
            n => Ok(*n),
        }
    }

    /// `H` `[n, d]` in `work.h`, and the mean of the picture's rows in place of their first.
    fn look_at(&self, text: Rows<'_>, pictures: Rows<'_>, work: &mut Workspace) {
        let (k, [wide, d, _]) = (&self.kernels, self.widths);
        self.text.run(k, text, &mut work.projection, &mut work.text);
        k.gelu(&mut work.text);
        // a row of zeros stands in front: words need not look at the picture
        resize(&mut work.shown, (pictures.rows() + 1) * wide);
        work.shown[..wide].fill(0.0);
        work.shown[wide..].copy_from_slice(pictures.data());
        let shown = Rows::of_whole(&work.shown, wide);
        self.picture
            .run(k, shown, &mut work.projection, &mut work.rows);
        work.rows[..d].fill(0.0);
        let rows = Rows::of_whole(&work.rows, d);
        self.look.run(k, rows, &mut work.projection, &mut work.look);
        self.view.run(k, rows, &mut work.projection, &mut work.view);
        let plain = Rows::of_whole(&work.text, d);
        let look = Rows::of_whole(&work.look, d);
        let view = Rows::of_whole(&work.view, d);
        attend(k, (plain, look, view), &mut work.scores, &mut work.mixed);
        resize(&mut work.h, work.text.len());
        self.mixed.apply(k, &work.mixed, &mut work.h);
        let count = pictures.rows().max(1) as f32;
        let (mean, seen) = work.rows.split_at_mut(d);
        for row in seen.chunks_exact(d) {
            for (mean, value) in mean.iter_mut().zip(row) {
                *mean += value / count;
            }
        }
    }

    /// `a` `[t·n, d]`, and `exist` with `g` `[t, d]`.
    fn modulate(&self, n: usize, work: &mut Workspace, exist: &mut Vec<f32>) {
        let (k, d, types) = (&self.kernels, self.widths[1], self.types());
        work.a.clear();
        for (gain, shift) in self.gain.chunks_exact(d).zip(self.shift.chunks_exact(d)) {
            for row in work.h.chunks_exact(d) {
                let values = row.iter().zip(gain.iter().zip(shift));
                work.a
                    .extend(values.map(|(h, (gain, shift))| h * gain + shift));
            }
        }
        k.gelu(&mut work.a);
        resize(&mut work.whole, types * d);
        resize(&mut work.scores, n);
        let of_types = work
            .a
            .chunks_exact(n * d)
            .zip(self.exist_key.chunks_exact(d));
        for ((a, key), whole) in of_types.zip(work.whole.chunks_exact_mut(d)) {
            let a = Rows::of_whole(a, d);
            k.gemv(a, key, &mut work.scores);
            k.row_softmax(&mut work.scores, n);
            k.gemm(Rows::of_whole(&work.scores, n), a, whole);
        }
        self.exist.apply(k, Rows::of_whole(&work.whole, d), exist);
    }

    /// Keys and values of `H₀`, of every `g` and of the mean of the picture's rows.
    fn states(&self, work: &mut Workspace) {
        let (k, d) = (&self.kernels, self.widths[1]);
        let states = [&work.h[..d], &work.whole[..], &work.rows[..d]];
        for ((state, keys), values) in states.into_iter().zip(&mut work.keys).zip(&mut work.values)
        {
            let state = Rows::of_whole(state, d);
            self.key.run(k, state, &mut work.projection, keys);
            self.value.run(k, state, &mut work.projection, values);
        }
    }

    /// Marks of one end `[t, n]`, and the first layer of `match`.
    fn mark(&self, at: usize, n: usize, work: &mut Workspace, marks: &mut Vec<f32>) {
        let (k, d) = (&self.kernels, self.widths[1]);
        let end = &self.ends[at];
        resize(&mut work.found, work.a.len());
        for of_type in 0..self.types() {
            let wide = |row: &[f32]| row[at * d..(at + 1) * d].to_vec();
            let row = of_type * 2 * d..(of_type + 1) * 2 * d;
            let own = of_type * d..(of_type + 1) * d;
            let [shared, whole, looks] = &work.keys;
            work.own_keys.clear();
            for key in [shared, &self.query_key[row.clone()], &whole[row], looks] {
                work.own_keys.extend(wide(key));
            }
            let [shared, whole, looks] = &work.values;
            work.own_values.clear();
            for value in [shared, &self.query_value[own.clone()], &whole[own], looks] {
                work.own_values.extend_from_slice(value);
            }
            let tokens = of_type * n * d..(of_type + 1) * n * d;
            let a = Rows::of_whole(&work.a[tokens.clone()], d);
            let keys = Rows::of_whole(&work.own_keys, d);
            let values = Rows::of_whole(&work.own_values, d);
            attend(k, (a, keys, values), &mut work.scores, &mut work.mixed);
            end.norm.apply(k, &work.mixed, &mut work.found[tokens]);
        }
        let found = Rows::of_whole(&work.found, d);
        end.mark.apply(k, found, marks);
        end.pair
            .run(k, found, &mut work.projection, &mut work.pairs[at]);
    }

    /// `match` `[t, n, n]` of what [`mark`](Self::mark) left for both ends.
    fn join(&self, n: usize, work: &mut Workspace, out: &mut Vec<f32>) {
        let (k, m) = (&self.kernels, self.widths[2]);
        out.clear();
        let [first, last] = &work.pairs;
        resize(&mut work.hidden, n * m);
        let mut row = Vec::with_capacity(n);
        for (first, last) in first.chunks_exact(n * m).zip(last.chunks_exact(n * m)) {
            for start in first.chunks_exact(m) {
                let ends = last.chunks_exact(m);
                for (hidden, end) in work.hidden.chunks_exact_mut(m).zip(ends) {
                    for (sum, (start, end)) in hidden.iter_mut().zip(start.iter().zip(end)) {
                        *sum = start + end;
                    }
                }
                k.gelu(&mut work.hidden);
                let hidden = Rows::of_whole(&work.hidden, m);
                self.joint.apply(k, hidden, &mut row);
                out.extend_from_slice(&row);
            }
        }
    }
}

impl Call for QueriedSpans {
    fn shapes(&self, inputs: &[[usize; 2]]) -> Result<Vec<Vec<usize>>, FusionError> {
        let (n, t) = (self.fit(inputs)?, self.types());
        Ok(vec![vec![t], vec![t, n], vec![t, n], vec![t, n, n]])
    }

    fn run(
        &self,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let sizes: Vec<[usize; 2]> = inputs.iter().map(|r| [r.rows(), r.cols()]).collect();
        let n = self.fit(&sizes)?;
        let work = &mut work.spans;
        if let ([text, pictures], [exist, start, end, joint]) = (inputs, out) {
            for (modality, rows) in [("text", text), ("picture", pictures)] {
                if !all_finite(rows.data()) {
                    return Err(FusionError::NotFinite { modality });
                }
            }
            self.look_at(*text, *pictures, work);
            self.modulate(n, work, exist);
            self.states(work);
            self.mark(0, n, work, start);
            self.mark(1, n, work, end);
            self.join(n, work, joint);
            let finite = [exist, start, end, joint].iter().all(|x| all_finite(x));
            return finite.then_some(()).ok_or(FusionError::Overflow);
        }
        Ok(())
    }

    fn is_integer(&self) -> bool {
        true
    }

    fn takes_nothing(&self) -> bool {
        true
    }

    fn macs(&self, inputs: &[[usize; 2]]) -> u64 {
        let ([wide, d, m], t) = (self.widths, self.types());
        let (n, w) = match inputs {
            [[n, _], [w, _]] => (*n, *w + 1),
            _ => return 0,
        };
        let picture = w * (wide * d + 2 * d * d) + 2 * n * w * d;
        let states = (t + 2) * 3 * d * d;
        let marks = 2 * t * n * (2 * STATES * d + d + d * m);
        (n * wide * d + picture + 2 * t * n * d + states + marks + t * n * n * m) as u64
    }

    /// What the modulation makes of the tokens, for each type.
    fn scratch(&self, inputs: &[[usize; 2]]) -> usize {
        let n = inputs.first().map_or(0, |[n, _]| *n);
        let [_, d, m] = self.widths;
        let wide = (self.types() * d).max(m);
        n.saturating_mul(wide).saturating_mul(size_of::<f32>())
    }
}

/// `out = x + softmax(x·keysᵀ)·values`; the keys hold the scale.
fn attend(
    k: &Kernels,
    (x, keys, values): (Rows<'_>, Rows<'_>, Rows<'_>),
    scores: &mut Vec<f32>,
    out: &mut Vec<f32>,
) {
    resize(scores, x.rows() * keys.rows());
    resize(out, x.data().len());
    k.gemm_bt(x, keys, scores);
    k.row_softmax(scores, keys.rows());
    k.gemm(Rows::of_whole(scores, keys.rows()), values, out);
    for (sum, x) in out.iter_mut().zip(x.data()) {
        *sum += x;
    }
}

impl Affine {
    fn apply(&self, k: &Kernels, x: &[f32], y: &mut [f32]) {
        let affine = (self.gamma.as_slice(), self.beta.as_slice());
        k.layer_norm(Rows::of_whole(x, self.gamma.len()), affine, EPSILON, y);
    }
}

impl Mark {
    fn apply(&self, k: &Kernels, x: Rows<'_>, out: &mut Vec<f32>) {
        resize(out, x.rows());
        k.gemv(x, &self.w, out);
        for value in out.iter_mut() {
            *value += self.b;
        }
    }
}

/// The weights of the function, taken one after the other.
struct Weights<'w, 'a> {
    left: InOrder<'w, 'a>,
    kernels: Kernels,
}

impl<'a> Weights<'_, 'a> {
    fn exactly(&mut self, name: &'static str, wanted: usize) -> Result<Vec<f32>, FusionError> {
        let values = self.left.floats(name)?;
        check_len(name, values.len(), wanted)?;
        Ok(values.to_vec())
    }

    fn mark(&mut self, [w, b]: [&'static str; 2], d: usize) -> Result<Mark, FusionError> {
        let w = self.exactly(w, d)?;
        let b = self.exactly(b, 1)?[0];
        Ok(Mark { w, b })
    }

    fn norm(&mut self, [gamma, beta]: [&'static str; 2], d: usize) -> Result<Affine, FusionError> {
        Ok(Affine {
            gamma: self.exactly(gamma, d)?,
            beta: self.exactly(beta, d)?,
        })
    }

    /// `[k, n]` with a scale a column.
    fn product(
        &mut self,
        [name, scale]: [&'static str; 2],
        k: usize,
        n: usize,
    ) -> Result<Projection, FusionError> {
        let codes = self.left.codes(name)?;
        let scale = self.exactly(scale, n)?;
        self.projection(name, codes, k, &scale, None)
    }

    /// `[k, n]` with a scale and a bias a column.
    fn map(
        &mut self,
        [name, scale, bias]: [&'static str; 3],
        k: usize,
        n: usize,
    ) -> Result<Projection, FusionError> {
        let codes = self.left.codes(name)?;
        let scale = self.exactly(scale, n)?;
        let bias = self.exactly(bias, n)?;
        self.projection(name, codes, k, &scale, Some(&bias))
    }

    fn end(
        &mut self,
        [gamma, beta, w, b]: [&'static str; 4],
        [name, scale, bias]: [&'static str; 3],
        d: usize,
    ) -> Result<End, FusionError> {
        let norm = self.norm([gamma, beta], d)?;
        let mark = self.mark([w, b], d)?;
        let codes = self.left.codes(name)?;
        let scale = self.left.floats(scale)?;
        let bias = self.exactly(bias, scale.len())?;
        let pair = self.projection(name, codes, d, scale, Some(&bias))?;
        Ok(End { norm, mark, pair })
    }

    fn projection(
        &self,
        name: &'static str,
        codes: &[i8],
        k: usize,
        scale: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<Projection, FusionError> {
        check_len(name, codes.len(), k * scale.len())?;
        let made = Projection::int8(self.kernels.level(), codes, k, scale, bias);
        made.ok_or(FusionError::Weight {
            name,
            wanted: k * scale.len(),
            found: codes.len(),
        })
    }
}

fn check_len(name: &'static str, found: usize, wanted: usize) -> Result<(), FusionError> {
    match found == wanted {
        true => Ok(()),
        false => Err(FusionError::Weight {
            name,
            wanted,
            found,
        }),
    }
}

fn resize(values: &mut Vec<f32>, len: usize) {
    values.resize(len, 0.0);
}
