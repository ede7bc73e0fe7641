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

use super::call::Call;
use super::catalogue::Setting;
use super::given::{Data, Tensor};
use super::{FusionError, Rows, Scratch, Simplex};
use crate::kernels::int8::{
    Activation, COLUMNS, Codes, Columns, PackedWeights, Quant, padded_depth,
};
use crate::kernels::{self, Kernels, all_finite};

/// ε of every layer norm.
const EPSILON: f32 = 1e-5;

/// Attributes of the units' functions.
pub(super) const SETTINGS: &[Setting] = &[Setting {
    name: "heads",
    whole: true,
    least: 1.0,
    most: 256.0,
    // there is no usual one: 0 heads are refused
    usual: 0.0,
    letter: None,
}];

/// Weights `[k, n]` of a linear map: signed bytes, one scale and bias a column.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a> {
    /// `[k, n]`, row-major.
    pub weights: &'a [i8],
    /// `[n]`.
    pub scale: &'a [f32],
    /// `[n]`.
    pub bias: &'a [f32],
}

/// Weights of a layer norm, `[d]` each.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Factor.
    pub gamma: &'a [f32],
    /// Summand.
    pub beta: &'a [f32],
}

/// Weights of self-attention.
#[derive(Clone, Copy, Debug)]
pub struct SelfWeights<'a> {
    /// `[d, 3d]`: queries, keys, values.
    pub query_key_value: Map<'a>,
    /// `[d, d]`.
    pub out: Map<'a>,
    /// After the residual.
    pub norm: Norm<'a>,
}

/// Weights of the attention from words to patches.
#[derive(Clone, Copy, Debug)]
pub struct GuideWeights<'a> {
    /// `[d, d]`, of the words.
    pub query: Map<'a>,
    /// `[d, 2d]`, of the patches: keys, values.
    pub key_value: Map<'a>,
    /// `[d, d]`.
    pub out: Map<'a>,
    /// After the residual.
    pub norm: Norm<'a>,
}

/// Weights of the feed-forward part.
#[derive(Clone, Copy, Debug)]
pub struct FeedWeights<'a> {
    /// `[d, f]`.
    pub up: Map<'a>,
    /// `[f, d]`.
    pub down: Map<'a>,
    /// After the residual.
    pub norm: Norm<'a>,
}

/// MVCN's unit: words attend to themselves, then to patches.
#[derive(Clone, Debug)]
pub struct TextGuidedUnit {
    plain: SelfUnit,
    guide: Attend,
    pi: Simplex,
}

/// The same unit without the picture: words, or patches, attend to themselves.
#[derive(Clone, Debug)]
pub struct SelfUnit {
    kernels: Kernels,
    own: Attend,
    up: Columns,
    down: Columns,
    norm: Affine,
}

/// Memory that a unit works in. Keep one per thread: it grows to the longest input, after which
/// nothing is allocated.
#[derive(Debug, Default)]
pub struct Workspace {
    init: Vec<[i32; COLUMNS]>,
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

impl SelfUnit {
    /// Takes the weights of the ONNX function `SelfUnit`; `d` follows from the first norm, `f`
    /// from the bias of `up`.
    ///
    /// # Errors
    /// A shape that does not fit, a value that is not finite, or heads that do not divide `d`.
    pub fn new(
        heads: usize,
        own: &SelfWeights<'_>,
        feed: &FeedWeights<'_>,
    ) -> Result<Self, FusionError> {
        let kernels = *kernels::active();
        let (d, f) = (own.norm.gamma.len(), feed.up.bias.len());
        let parts = own.query_key_value.split(d, 3, "self")?;
        Ok(SelfUnit {
            own: Attend::new(&kernels, heads, parts, (own.out, "self_out"), own.norm)?,
            up: feed.up.pack(&kernels, (d, f), "up")?,
            down: feed.down.pack(&kernels, (f, d), "down")?,
            norm: Affine::new(feed.norm, d)?,
            kernels,
        })
    }

    /// The same, of the function's weights in its order.
    pub(super) fn of(heads: usize, weights: &[Tensor<'_>]) -> Result<Self, FusionError> {
        let mut weights = Weights(weights.iter());
        let (own, feed) = (weights.own()?, weights.feed()?);
        weights.end("SelfUnit")?;
        SelfUnit::new(heads, &own, &feed)
    }

    /// Columns `d` of its rows.
    #[must_use]
    pub fn width(&self) -> usize {
        self.norm.gamma.len()
    }

    /// Multiply-accumulates for `n` rows.
    #[must_use]
    pub fn macs(&self, n: usize) -> u64 {
        let (d, f) = (self.width(), self.up.bias.len() * COLUMNS);
        (n * (4 * d * d + 2 * d * f) + 2 * n * n * d) as u64
    }

    /// `y` `[n, d]` of `x` `[n, d]`, at least one row, finite.
    ///
    /// # Errors
    /// Rows of another width, none, or an output of another length.
    pub fn run_into(
        &self,
        x: Rows<'_>,
        work: &mut Workspace,
        y: &mut [f32],
    ) -> Result<(), FusionError> {
        self.check(x, y)?;
        let mut fused = std::mem::take(&mut work.fused);
        resize(&mut fused, x.data().len());
        self.own.run(
            &self.kernels,
            (x, x),
            Simplex::Softmax,
            work,
            &mut fused,
            None,
        );
        self.feed(&fused, work, y);
        work.fused = fused;
        Ok(())
    }

    fn check(&self, x: Rows<'_>, y: &[f32]) -> Result<(), FusionError> {
        check_rows(x, self.width(), "text")?;
        if y.len() == x.data().len() {
            return Ok(());
        }
        Err(FusionError::Width {
            modality: "output",
            wanted: x.data().len(),
            found: y.len(),
        })
    }

    /// `y = LN(x + down(ReLU(up(x))))`.
    fn feed(&self, x: &[f32], work: &mut Workspace, y: &mut [f32]) {
        let (k, d) = (&self.kernels, self.width());
        let rows = Rows::of_whole(x, d);
        let job = self.up.job(Activation::Relu, None);
        resize(&mut work.hidden, rows.rows() * self.up.weights.n());
        let codes = quantise(k, rows, &mut work.codes);
        k.linear(codes.0, codes.1, &job, &mut work.init, &mut work.hidden);
        let rows = Rows::of_whole(&work.hidden, self.up.weights.n());
        let job = self.down.job(Activation::Identity, Some(x));
        resize(&mut work.sum, x.len());
        let codes = quantise(k, rows, &mut work.codes);
        k.linear(codes.0, codes.1, &job, &mut work.init, &mut work.sum);
        self.norm.apply(k, &work.sum, y);
    }
}

impl TextGuidedUnit {
    /// Takes the weights of the ONNX function of the same name; `pi` maps the scores of a
    /// token over the patches to weights.
    ///
    /// # Errors
    /// A shape that does not fit, a value that is not finite, or heads that do not divide `d`.
    pub fn new(
        heads: usize,
        pi: Simplex,
        own: &SelfWeights<'_>,
        guide: &GuideWeights<'_>,
        feed: &FeedWeights<'_>,
    ) -> Result<Self, FusionError> {
        let plain = SelfUnit::new(heads, own, feed)?;
        let (kernels, d) = (plain.kernels, plain.width());
        let [key, value] = guide.key_value.split(d, 2, "key_value")?;
        let query = (guide.query.owned(), "query");
        let parts = [query, key, value];
        let guide = Attend::new(&kernels, heads, parts, (guide.out, "guide_out"), guide.norm)?;
        Ok(TextGuidedUnit { plain, guide, pi })
    }

    /// The same, of the function's weights in its order.
    pub(super) fn of(
        heads: usize,
        pi: Simplex,
        weights: &[Tensor<'_>],
    ) -> Result<Self, FusionError> {
        let mut weights = Weights(weights.iter());
        let own = weights.own()?;
        let guide = GuideWeights {
            query: weights.map("query")?,
            key_value: weights.map("key_value")?,
            out: weights.map("guide_out")?,
            norm: weights.norm()?,
        };
        let feed = weights.feed()?;
        weights.end("TextGuidedUnit")?;
        TextGuidedUnit::new(heads, pi, &own, &guide, &feed)
    }

    /// The same unit on other kernels than those of [`kernels::active`], which packed its
    /// weights: both must pack alike.
    #[must_use]
    pub fn with_kernels(mut self, kernels: Kernels) -> Self {
        self.plain.kernels = kernels;
        self
    }

    /// Columns `d` of its rows.
    #[must_use]
    pub fn width(&self) -> usize {
        self.plain.width()
    }

    /// Multiply-accumulates for `n` tokens and `p` patches.
    #[must_use]
    pub fn macs(&self, n: usize, p: usize) -> u64 {
        let d = self.width();
        self.plain.macs(n) + (2 * n * d * d + 2 * p * d * d + 2 * n * p * d) as u64
    }

    /// `y` `[n, d]` of tokens `x` `[n, d]` and `patches` `[p, d]`, at least one row each,
    /// finite. `attention` `[n, p]` gets the weights, a mean over the heads: rows sum to 1.
    ///
    /// # Errors
    /// Rows of another width, none, or an output of another length.
    pub fn run_into(
        &self,
        x: Rows<'_>,
        patches: Rows<'_>,
        work: &mut Workspace,
        y: &mut [f32],
        attention: &mut [f32],
    ) -> Result<(), FusionError> {
        self.plain.check(x, y)?;
        check_rows(patches, self.width(), "picture")?;
        if attention.len() != x.rows() * patches.rows() {
            return Err(FusionError::Width {
                modality: "attention",
                wanted: x.rows() * patches.rows(),
                found: attention.len(),
            });
        }
        let k = &self.plain.kernels;
        let mut fused = std::mem::take(&mut work.fused);
        resize(&mut fused, y.len());
        self.plain
            .own
            .run(k, (x, x), Simplex::Softmax, work, &mut fused, None);
        let words = Rows::of_whole(&fused, self.width());
        self.guide
            .run(k, (words, patches), self.pi, work, y, Some(attention));
        fused.copy_from_slice(y);
        self.plain.feed(&fused, work, y);
        work.fused = fused;
        Ok(())
    }
}

impl Call for SelfUnit {
    fn shapes(&self, inputs: &[[usize; 2]]) -> Result<Vec<Vec<usize>>, FusionError> {
        let [x] = inputs else {
            return Err(wrong_number(1, inputs.len()));
        };
        check_size(*x, self.width(), "text")?;
        Ok(vec![x.to_vec()])
    }

    fn run(
        &self,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let ([x], [y]) = (inputs, out) else {
            return Err(wrong_number(1, inputs.len()));
        };
        resize(y, x.data().len());
        self.run_into(*x, &mut work.unit, y)
    }

    fn is_integer(&self) -> bool {
        true
    }

    fn macs(&self, inputs: &[[usize; 2]]) -> u64 {
        inputs.first().map_or(0, |[n, _]| SelfUnit::macs(self, *n))
    }

    /// The scores of one head.
    fn scratch(&self, inputs: &[[usize; 2]]) -> usize {
        let n = inputs.first().map_or(0, |[n, _]| *n);
        n.saturating_mul(n).saturating_mul(size_of::<f32>())
    }
}

impl Call for TextGuidedUnit {
    fn shapes(&self, inputs: &[[usize; 2]]) -> Result<Vec<Vec<usize>>, FusionError> {
        let [x, patches] = inputs else {
            return Err(wrong_number(2, inputs.len()));
        };
        check_size(*x, self.width(), "text")?;
        check_size(*patches, self.width(), "picture")?;
        Ok(vec![x.to_vec(), vec![x[0], patches[0]]])
    }

    fn run(
        &self,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let ([x, patches], [y, attention]) = (inputs, out) else {
            return Err(wrong_number(2, inputs.len()));
        };
        resize(y, x.data().len());
        resize(attention, x.rows() * patches.rows());
        self.run_into(*x, *patches, &mut work.unit, y, attention)
    }

    fn is_integer(&self) -> bool {
        true
    }

    fn macs(&self, inputs: &[[usize; 2]]) -> u64 {
        match inputs {
            [[n, _], [p, _]] => TextGuidedUnit::macs(self, *n, *p),
            _ => 0,
        }
    }

    fn scratch(&self, inputs: &[[usize; 2]]) -> usize {
        self.plain.scratch(inputs)
    }
}

fn wrong_number(wanted: usize, found: usize) -> FusionError {
    FusionError::Inputs { wanted, found }
}

/// The weights of a function, taken one after the other.
struct Weights<'w, 'a>(std::slice::Iter<'w, Tensor<'a>>);

impl<'a> Weights<'_, 'a> {
    fn next(&mut self, name: &'static str) -> Result<Data<'a>, FusionError> {
        let tensor = self.0.next().ok_or(FusionError::Missing { name })?;
        Ok(tensor.data)
    }

    fn floats(&mut self, name: &'static str) -> Result<&'a [f32], FusionError> {
        match self.next(name)? {
            Data::F32(x) => Ok(x),
            _ => Err(FusionError::Element {
                name,
                wanted: "float",
            }),
        }
    }

    fn map(&mut self, name: &'static str) -> Result<Map<'a>, FusionError> {
        let Data::I8(weights) = self.next(name)? else {
            return Err(FusionError::Element {
                name,
                wanted: "int8",
            });
        };
        Ok(Map {
            weights,
            scale: self.floats(name)?,
            bias: self.floats(name)?,
        })
    }

    fn norm(&mut self) -> Result<Norm<'a>, FusionError> {
        Ok(Norm {
            gamma: self.floats("gamma")?,
            beta: self.floats("beta")?,
        })
    }

    fn own(&mut self) -> Result<SelfWeights<'a>, FusionError> {
        Ok(SelfWeights {
            query_key_value: self.map("self")?,
            out: self.map("self_out")?,
            norm: self.norm()?,
        })
    }

    fn feed(&mut self) -> Result<FeedWeights<'a>, FusionError> {
        Ok(FeedWeights {
            up: self.map("up")?,
            down: self.map("down")?,
            norm: self.norm()?,
        })
    }

    fn end(mut self, name: &'static str) -> Result<(), FusionError> {
        match self.0.next() {
            Some(_) => Err(FusionError::TooMany { name }),
            None => Ok(()),
        }
    }
}

impl Attend {
    fn new(
        kernels: &Kernels,
        heads: usize,
        parts: [(OwnedMap, &'static str); 3],
        (out, name): (Map<'_>, &'static str),
        norm: Norm<'_>,
    ) -> Result<Attend, FusionError> {
        let d = norm.gamma.len();
        if heads == 0 || !d.is_multiple_of(heads) {
            return Err(FusionError::Heads { heads, width: d });
        }
        let pack = |(map, name): &(OwnedMap, &'static str)| map.view().pack(kernels, (d, d), name);
        let [query, key, value] = &parts;
        Ok(Attend {
            heads,
            query: pack(query)?,
            key: pack(key)?,
            value: pack(value)?,
            out: out.pack(kernels, (d, d), name)?,
            norm: Affine::new(norm, d)?,
        })
    }

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
            &mut work.init,
            &mut work.queries,
        );
        let (codes, quant) = quantise(k, keys, &mut work.codes);
        k.linear(
            codes,
            quant,
            &plain(&self.key),
            &mut work.init,
            &mut work.keys,
        );
        k.linear(
            codes,
            quant,
            &plain(&self.value),
            &mut work.init,
            &mut work.values,
        );
        self.heads(k, (n, m), pi, work, weights);
        let job = self.out.job(Activation::Identity, Some(x.data()));
        resize(&mut work.sum, n * d);
        let context = Rows::of_whole(&work.context, d);
        let (codes, quant) = quantise(k, context, &mut work.codes);
        k.linear(codes, quant, &job, &mut work.init, &mut work.sum);
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
    fn new(norm: Norm<'_>, d: usize) -> Result<Affine, FusionError> {
        Ok(Affine {
            gamma: checked("gamma", norm.gamma, d)?.to_vec(),
            beta: checked("beta", norm.beta, d)?.to_vec(),
        })
    }

    fn apply(&self, k: &Kernels, x: &[f32], y: &mut [f32]) {
        let affine = (self.gamma.as_slice(), self.beta.as_slice());
        k.layer_norm(Rows::of_whole(x, self.gamma.len()), affine, EPSILON, y);
    }
}

/// A block of columns of a map.
struct OwnedMap {
    weights: Vec<i8>,
    scale: Vec<f32>,
    bias: Vec<f32>,
}

impl OwnedMap {
    fn view(&self) -> Map<'_> {
        Map {
            weights: &self.weights,
            scale: &self.scale,
            bias: &self.bias,
        }
    }
}

impl Map<'_> {
    fn owned(&self) -> OwnedMap {
        OwnedMap {
            weights: self.weights.to_vec(),
            scale: self.scale.to_vec(),
            bias: self.bias.to_vec(),
        }
    }

    /// `[d, N·d]` as `N` maps `[d, d]`.
    fn split<const N: usize>(
        &self,
        d: usize,
        blocks: usize,
        name: &'static str,
    ) -> Result<[(OwnedMap, &'static str); N], FusionError> {
        let wide = blocks * d;
        check_len(name, self.weights.len(), d * wide)?;
        check_len(name, self.scale.len(), wide)?;
        check_len(name, self.bias.len(), wide)?;
        Ok(std::array::from_fn(|block| {
            let columns = block * d..(block + 1) * d;
            let rows = self.weights.chunks_exact(wide.max(1));
            let map = OwnedMap {
                weights: rows
                    .flat_map(|row| &row[columns.clone()])
                    .copied()
                    .collect(),
                scale: self.scale[columns.clone()].to_vec(),
                bias: self.bias[columns].to_vec(),
            };
            (map, name)
        }))
    }

    fn pack(
        &self,
        kernels: &Kernels,
        (k, n): (usize, usize),
        name: &'static str,
    ) -> Result<Columns, FusionError> {
        check_len(name, self.weights.len(), k * n)?;
        let panels = |values: &[f32]| -> Result<Vec<[f32; COLUMNS]>, FusionError> {
            let panel = |chunk: &[f32]| {
                let mut panel = [0.0; COLUMNS];
                panel[..chunk.len()].copy_from_slice(chunk);
                panel
            };
            Ok(checked(name, values, n)?
                .chunks(COLUMNS)
                .map(panel)
                .collect())
        };
        let weights = PackedWeights::new(kernels.level(), self.weights, k, n);
        Ok(Columns {
            weights: weights.ok_or(FusionError::Weight {
                name,
                wanted: k * n,
                found: self.weights.len(),
            })?,
            scales: panels(self.scale)?,
            bias: panels(self.bias)?,
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

fn checked<'a>(
    name: &'static str,
    values: &'a [f32],
    wanted: usize,
) -> Result<&'a [f32], FusionError> {
    check_len(name, values.len(), wanted)?;
    if all_finite(values) {
        return Ok(values);
    }
    Err(FusionError::WeightNotFinite { name })
}

fn check_rows(x: Rows<'_>, d: usize, modality: &'static str) -> Result<(), FusionError> {
    check_size([x.rows(), x.cols()], d, modality)
}

fn check_size(size: [usize; 2], wanted: usize, modality: &'static str) -> Result<(), FusionError> {
    match size {
        [0, _] => Err(FusionError::Empty { modality }),
        [_, found] if found != wanted => Err(FusionError::Width {
            modality,
            wanted,
            found,
        }),
        _ => Ok(()),
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
