//! Text-guided fusion of words and a picture (MVCN), in bytes.
//!
//! With token rows `X` `[n, d]` and patch rows `V` `[p, d]`, a unit is
//!
//! ```text
//! X_f = LN(X + MHSA(X, X, X))
//! X_g = LN(X_f + SpA(X_f, V, V))          SpA: query = text, key and value = picture
//! Y   = LN(X_g + W_d·ReLU(W_u·X_g + b_u) + b_d)
//! ```
//!
//! with `SpA = concat_h[π(Q_h·K_hᵀ/√d_h)·V_h]·W_o` and `π` a map to the simplex with exact
//! zeros ([`Simplex::Entmax15`] unless the model says otherwise): a token looks at few patches,
//! and which ones can be shown. The published slide leaves out residuals and norms, and lets
//! every unit attend from the first unit's words; here unit `i + 1` reads what unit `i` made.
//!
//! Maps are byte products with one scale a column; their inputs are quantised by the range
//! that they have at run time. Scores, `π` and norms are f32: they are a twentieth of the
//! arithmetic, and `π`'s zeros hang on differences that bytes would lose.

use crate::fusion::call::Call;
use crate::fusion::catalogue::Setting;
use crate::fusion::parameters::{InOrder, Tensor};
use crate::fusion::{FusionError, Rows, Scratch, Simplex};
use crate::kernels::int8::{
    Activation, COLUMNS, Codes, Columns, PackedWeights, ProductScratch, Quant, padded_depth,
};
use crate::kernels::{self, Kernels};
use std::borrow::Cow;

/// ε of every layer norm.
const EPSILON: f32 = 1e-5;

/// Attributes of the units' functions.
pub(in crate::fusion) const SETTINGS: &[Setting] = &[Setting {
    name: "heads",
    whole: true,
    least: 1.0,
    most: 256.0,
    // there is no usual one: 0 heads are refused
    usual: 0.0,
    letter: None,
}];

/// A unit of MVCN: rows attend to themselves, then to patches if it is text-guided.
#[derive(Clone, Debug)]
pub struct Unit {
    kernels: Kernels,
    own: Attend,
    guide: Option<(Attend, Simplex)>,
    up: Columns,
    down: Columns,
    norm: Affine,
}

/// Memory that a unit works in. Keep one per thread: it grows to the longest input, after which
/// nothing is allocated.
#[derive(Debug, Default)]
pub struct Workspace {
    product: ProductScratch,
    codes: Vec<u8>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    /// One head of the above, and what it gives.
    head: [Vec<f32>; 4],
    scores: Vec<f32>,
    context: Vec<f32>,
    hidden: Vec<f32>,
    sum: Vec<f32>,
    fused: Vec<f32>,
}

#[derive(Clone, Debug)]
struct Affine {
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

/// An attention with its maps, residual and norm.
#[derive(Clone, Debug)]
struct Attend {
    heads: usize,
    query: Columns,
    key: Columns,
    value: Columns,
    out: Columns,
    norm: Affine,
}

impl Unit {
    /// Takes the weights of the ONNX function `SelfUnit`, or with `pi`, which maps the scores of
    /// a token over the patches to weights, of `TextGuidedUnit`, in the function's order: a map
    /// is `[k, n]` of signed bytes, a scale and a bias a column.
    ///
    /// # Errors
    /// A weight that is missing, of another shape or type or not finite; heads that do not divide
    /// the width.
    pub fn new(
        heads: usize,
        pi: Option<Simplex>,
        weights: &[Tensor<'_>],
    ) -> Result<Self, FusionError> {
        let first = weights.first().and_then(|w| w.dims.first());
        let kernels = *kernels::active();
        let mut weights = Weights {
            left: InOrder::of(weights),
            kernels,
            heads,
            d: first.copied().unwrap_or(0),
        };
        let own = weights.map("self")?.split(weights.d)?;
        let own = weights.attend(own, "self_out")?;
        let guide = match pi {
            Some(pi) => {
                let query = weights.map("query")?;
                let [key, value] = weights.map("key_value")?.split(weights.d)?;
                Some((weights.attend([query, key, value], "guide_out")?, pi))
            }
            None => None,
        };
        let (d, up, down) = (weights.d, weights.map("up")?, weights.map("down")?);
        let f = up.bias.len();
        let unit = Unit {
            own,
            guide,
            up: up.pack(&kernels, (d, f))?,
            down: down.pack(&kernels, (f, d))?,
            norm: weights.norm()?,
            kernels,
        };
        weights.left.end("the unit")?;
        Ok(unit)
    }

    /// Checks the sizes of the inputs: tokens, and patches if it reads some.
    fn fit(&self, inputs: &[[usize; 2]]) -> Result<(), FusionError> {
        let modalities: &[&'static str] = match self.guide {
            Some(_) => &["text", "picture"],
            None => &["text"],
        };
        if inputs.len() != modalities.len() {
            let (wanted, found) = (modalities.len(), inputs.len());
            return Err(FusionError::Inputs { wanted, found });
        }
        let wanted = self.norm.gamma.len();
        for ([rows, found], modality) in inputs.iter().zip(modalities) {
            if *rows == 0 {
                return Err(FusionError::Empty { modality });
            }
            if *found != wanted {
                return Err(FusionError::Width {
                    modality,
                    wanted,
                    found: *found,
                });
            }
        }
        Ok(())
    }

    /// `y = LN(x + down(ReLU(up(x))))`.
    fn feed(&self, x: &[f32], work: &mut Workspace, y: &mut [f32]) {
        let (k, d) = (&self.kernels, self.norm.gamma.len());
        let rows = Rows::of_whole(x, d);
        let job = self.up.job(Activation::Relu, None);
        resize(&mut work.hidden, rows.rows() * self.up.weights.n());
        let codes = quantise(k, rows, &mut work.codes);
        k.linear(codes.0, codes.1, &job, &mut work.product, &mut work.hidden);
        let rows = Rows::of_whole(&work.hidden, self.up.weights.n());
        let job = self.down.job(Activation::Identity, Some(x));
        resize(&mut work.sum, x.len());
        let codes = quantise(k, rows, &mut work.codes);
        k.linear(codes.0, codes.1, &job, &mut work.product, &mut work.sum);
        self.norm.apply(k, &work.sum, y);
    }
}

impl Call for Unit {
    fn shapes(&self, inputs: &[[usize; 2]]) -> Result<Vec<Vec<usize>>, FusionError> {
        self.fit(inputs)?;
        let mut shapes = vec![inputs[0].to_vec()];
        shapes.extend(inputs.get(1).map(|patches| vec![inputs[0][0], patches[0]]));
        Ok(shapes)
    }

    /// `y` `[n, d]` of tokens `x` `[n, d]` and patches `[p, d]`; for these also the weights
    /// `[n, p]`, a mean over the heads: rows sum to 1.
    fn run(
        &self,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let (x, work, k) = (inputs[0], &mut work.unit, &self.kernels);
        let (y, attention) = out.split_at_mut(1);
        let y = &mut y[0];
        resize(y, x.data().len());
        let mut fused = std::mem::take(&mut work.fused);
        resize(&mut fused, y.len());
        self.own
            .run(k, (x, x), Simplex::Softmax, work, &mut fused, None);
        if let (Some((guide, pi)), [_, patches]) = (&self.guide, inputs) {
            let weights = &mut attention[0];
            resize(weights, x.rows() * patches.rows());
            let words = Rows::of_whole(&fused, x.cols());
            guide.run(k, (words, *patches), *pi, work, y, Some(weights));
            fused.copy_from_slice(y);
        }
        self.feed(&fused, work, y);
        work.fused = fused;
        Ok(())
    }

    fn is_integer(&self) -> bool {
        true
    }

    fn macs(&self, inputs: &[[usize; 2]]) -> u64 {
        let ([n, d], f) = (inputs[0], self.up.bias.len() * COLUMNS);
        let guide = |[p, _]: &[usize; 2]| 2 * n * d * d + 2 * p * d * d + 2 * n * p * d;
        let own = n * (4 * d * d + 2 * d * f) + 2 * n * n * d;
        (own + inputs.get(1).map_or(0, guide)) as u64
    }

    /// The scores of one head over the tokens, and the hidden layer.
    fn scratch(&self, inputs: &[[usize; 2]]) -> usize {
        let n = inputs.first().map_or(0, |[n, _]| *n);
        let wide = n.max(self.up.weights.n());
        n.saturating_mul(wide).saturating_mul(size_of::<f32>())
    }
}

/// The weights of a function, taken one after the other.
struct Weights<'w, 'a> {
    left: InOrder<'w, 'a>,
    kernels: Kernels,
    heads: usize,
    d: usize,
}

/// Weights `[k, n]` of a linear map, with a scale and a bias for each of `n` columns.
struct Map<'a> {
    name: &'static str,
    weights: Cow<'a, [i8]>,
    scale: &'a [f32],
    bias: &'a [f32],
}

impl<'a> Weights<'_, 'a> {
    fn map(&mut self, name: &'static str) -> Result<Map<'a>, FusionError> {
        Ok(Map {
            name,
            weights: Cow::Borrowed(self.left.codes(name)?),
            scale: self.left.floats(name)?,
            bias: self.left.floats(name)?,
        })
    }

    fn norm(&mut self) -> Result<Affine, FusionError> {
        let (gamma, beta) = (self.left.floats("gamma")?, self.left.floats("beta")?);
        check_len("gamma", gamma.len(), self.d)?;
        check_len("beta", beta.len(), self.d)?;
        Ok(Affine {
            gamma: gamma.to_vec(),
            beta: beta.to_vec(),
        })
    }

    /// An attention of these queries, keys and values; its last map and norm come next.
    fn attend(
        &mut self,
        [query, key, value]: [Map<'_>; 3],
        out: &'static str,
    ) -> Result<Attend, FusionError> {
        let (heads, d) = (self.heads, self.d);
        if heads == 0 || !d.is_multiple_of(heads) {
            return Err(FusionError::Heads { heads, width: d });
        }
        let (out, kernels) = (self.map(out)?, self.kernels);
        let pack = |map: Map<'_>| map.pack(&kernels, (d, d));
        Ok(Attend {
            heads,
            query: pack(query)?,
            key: pack(key)?,
            value: pack(value)?,
            out: pack(out)?,
            norm: self.norm()?,
        })
    }
}

impl<'a> Map<'a> {
    /// `[d, N·d]` as `N` maps `[d, d]`.
    fn split<const N: usize>(self, d: usize) -> Result<[Map<'a>; N], FusionError> {
        let (name, wide) = (self.name, N * d);
        check_len(name, self.weights.len(), d * wide)?;
        check_len(name, self.scale.len(), wide)?;
        check_len(name, self.bias.len(), wide)?;
        Ok(std::array::from_fn(|block| {
            let columns = block * d..(block + 1) * d;
            let rows = self.weights.chunks_exact(wide.max(1));
            let weights = rows.flat_map(|row| &row[columns.clone()]).copied();
            Map {
                name,
                weights: weights.collect(),
                scale: &self.scale[columns.clone()],
                bias: &self.bias[columns],
            }
        }))
    }

    fn pack(&self, kernels: &Kernels, (k, n): (usize, usize)) -> Result<Columns, FusionError> {
        let (name, found, wanted) = (self.name, self.weights.len(), k * n);
        check_len(name, found, wanted)?;
        check_len(name, self.scale.len(), n)?;
        check_len(name, self.bias.len(), n)?;
        let panels = |values: &[f32]| -> Vec<[f32; COLUMNS]> {
            let panel = |chunk: &[f32]| {
                let mut panel = [0.0; COLUMNS];
                panel[..chunk.len()].copy_from_slice(chunk);
                panel
            };
            values.chunks(COLUMNS).map(panel).collect()
        };
        let weights = PackedWeights::new(kernels.level(), &self.weights, k, n);
        Ok(Columns {
            weights: weights.ok_or(FusionError::Weight {
                name,
                wanted,
                found,
            })?,
            scales: panels(self.scale),
            bias: panels(self.bias),
        })
    }
}

fn check_len(name: &'static str, found: usize, wanted: usize) -> Result<(), FusionError> {
    if found == wanted {
        return Ok(());
    }
    Err(FusionError::Weight {
        name,
        wanted,
        found,
    })
}

impl Attend {
    /// `y = LN(x + out(concat_h[π(Q_h·K_hᵀ/√d_h)·V_h]))`; `weights` gets the mean of π.
    fn run(
        &self,
        k: &Kernels,
        (x, keys): (Rows<'_>, Rows<'_>),
        pi: Simplex,
        work: &mut Workspace,
        y: &mut [f32],
        weights: Option<&mut [f32]>,
    ) {
        let (n, m, d) = (x.rows(), keys.rows(), x.cols());
        resize(&mut work.queries, n * d);
        resize(&mut work.keys, m * d);
        resize(&mut work.values, m * d);
        let plain = |columns| Columns::job(columns, Activation::Identity, None);
        let (codes, quant) = quantise(k, x, &mut work.codes);
        k.linear(
            codes,
            quant,
            &plain(&self.query),
            &mut work.product,
            &mut work.queries,
        );
        let (codes, quant) = quantise(k, keys, &mut work.codes);
        k.linear(
            codes,
            quant,
            &plain(&self.key),
            &mut work.product,
            &mut work.keys,
        );
        k.linear(
            codes,
            quant,
            &plain(&self.value),
            &mut work.product,
            &mut work.values,
        );
        self.heads(k, (n, m), pi, work, weights);
        let job = self.out.job(Activation::Identity, Some(x.data()));
        resize(&mut work.sum, n * d);
        let context = Rows::of_whole(&work.context, d);
        let (codes, quant) = quantise(k, context, &mut work.codes);
        k.linear(codes, quant, &job, &mut work.product, &mut work.sum);
        self.norm.apply(k, &work.sum, y);
    }

    /// Every head's `π(Q_h·K_hᵀ/√d_h)·V_h`, side by side in `context`.
    fn heads(
        &self,
        k: &Kernels,
        (n, m): (usize, usize),
        pi: Simplex,
        work: &mut Workspace,
        mut weights: Option<&mut [f32]>,
    ) {
        let d = self.norm.gamma.len();
        let width = d / self.heads;
        let factor = 1.0 / (width as f32).sqrt();
        resize(&mut work.context, n * d);
        resize(&mut work.scores, n * m);
        if let Some(weights) = weights.as_deref_mut() {
            weights.fill(0.0);
        }
        let [q, keys, values, out] = &mut work.head;
        resize(out, n * width);
        for head in 0..self.heads {
            let columns = head * width..(head + 1) * width;
            gather(&work.queries, d, columns.clone(), q);
            gather(&work.keys, d, columns.clone(), keys);
            gather(&work.values, d, columns.clone(), values);
            q.iter_mut().for_each(|q| *q *= factor);
            let rows = |x| Rows::of_whole(x, width);
            k.gemm_bt(rows(q), rows(keys), &mut work.scores);
            pi.apply_rows(k, &mut work.scores, m);
            k.gemm(Rows::of_whole(&work.scores, m), rows(values), out);
            for (context, out) in work
                .context
                .chunks_exact_mut(d)
                .zip(out.chunks_exact(width))
            {
                context[columns.clone()].copy_from_slice(out);
            }
            if let Some(weights) = weights.as_deref_mut() {
                let share = 1.0 / self.heads as f32;
                for (mean, p) in weights.iter_mut().zip(&work.scores) {
                    *mean += share * p;
                }
            }
        }
    }
}

impl Affine {
    fn apply(&self, k: &Kernels, x: &[f32], y: &mut [f32]) {
        let affine = (self.gamma.as_slice(), self.beta.as_slice());
        k.layer_norm(Rows::of_whole(x, self.gamma.len()), affine, EPSILON, y);
    }
}

/// Rows as codes of the range that they have.
fn quantise<'a>(k: &Kernels, x: Rows<'_>, codes: &'a mut Vec<u8>) -> (Codes<'a>, Quant) {
    let (low, high) = k.range(x.data());
    let quant = Quant::of_range(low, high);
    let stride = padded_depth(x.cols());
    codes.resize(x.rows() * stride, 0);
    k.quantise(x, quant, codes);
    let codes = Codes {
        bytes: codes,
        rows: x.rows(),
        stride,
    };
    (codes, quant)
}

/// Some columns of rows of `d`, as rows of their own.
fn gather(x: &[f32], d: usize, columns: std::ops::Range<usize>, out: &mut Vec<f32>) {
    out.clear();
    for row in x.chunks_exact(d) {
        out.extend_from_slice(&row[columns.clone()]);
    }
}

fn resize(values: &mut Vec<f32>, len: usize) {
    values.resize(len, 0.0);
}
