//! Fine-grained graph matching of words and picture words (G2SAM).
//!
//! With token rows `T` `[n, e]` and rows of picture words `P` `[m, e]` (`m` may be 0):
//!
//! ```text
//! t⁰ = T·W_tᵀ + b_t,  v⁰ = P·W_pᵀ + b_p                          to width d
//! E[i,j]    |i − j| ≤ 2, or j is one of the 4 tokens whose cosine to i is largest, or i of j's
//! x ← LN(x + ReLU(concat_h[A_h·(x·Wᵀ)_h]))                        twice for each graph
//!     A_h[i,:] = softmax over E[i,:] of LeakyReLU(⟨target_h, (xWᵀ)_h[i]⟩ + ⟨source_h, (xWᵀ)_h[j]⟩)
//! g⁰ = [v; t],  A = softmax(g⁰W_q·(g⁰W_k)ᵀ/√d),  g = g⁰ + A·g⁰W_v
//! r  = GELU(g·W₁ᵀ + b₁)·w₂ + b₂,  α = softmax(r)                  over all nodes
//! q  = GELU(W₃·Σ αᵢgᵢ + b₃)
//! ```
//!
//! In the picture's graph every word is joined to every other. What comes out beside `q` says
//! why: `α`, the picture words' before the tokens', and `A`, how much each node took of each.
//!
//! The published slide transposes the queries, which then cannot multiply the values, and
//! divides inside the exponential, so that weights do not sum to 1; both are mended here.

use crate::fusion::operator::{Operator, Scratch};
use crate::fusion::parameters::Parameters;
use crate::fusion::projection::Projection;
use crate::fusion::{FusionError, ProjectionScratch, Rows};
use crate::kernels::{Kernels, unit_rows};

/// Tokens at most this far apart are joined.
const WINDOW: usize = 2;
/// As many tokens, the most similar ones, are joined to each.
const NEAR: usize = 4;
/// The score of what is not joined: weight 0.
const OFF: f32 = -1e4;
/// LeakyReLU below 0.
const LEAK: f32 = 0.2;
/// ε of the layer norms.
const EPSILON: f32 = 1e-5;

/// Weights of the layers, by name: first and second of the text's graph, then of the picture's.
const LAYERS: [[&str; 5]; 4] = [
    ["t1_w", "t1_source", "t1_target", "t1_gamma", "t1_beta"],
    ["t2_w", "t2_source", "t2_target", "t2_gamma", "t2_beta"],
    ["p1_w", "p1_source", "p1_target", "p1_gamma", "p1_beta"],
    ["p2_w", "p2_source", "p2_target", "p2_gamma", "p2_beta"],
];

/// G2SAM's graphs, joint attention and readout.
#[derive(Debug)]
pub struct GraphMatching {
    heads: usize,
    text: Projection,
    picture: Projection,
    text_layers: [Layer; 2],
    picture_layers: [Layer; 2],
    /// Query, key and value.
    joint: [Projection; 3],
    weigh: Projection,
    score: Vec<f32>,
    score_bias: f32,
    read: Projection,
}

/// Memory that a run works in.
#[derive(Debug, Default)]
pub struct Workspace {
    /// `[n, n]`.
    joined: Vec<bool>,
    cosines: Vec<f32>,
    text: Vec<f32>,
    both: Vec<f32>,
    layer: LayerWork,
    /// Nodes after joint attention, what weighs them, and their weighted mean.
    matched: Vec<f32>,
    weighed: Vec<f32>,
    pooled: Vec<f32>,
    joint: [Vec<f32>; 3],
}

/// Memory that a layer works in.
#[derive(Debug, Default)]
struct LayerWork {
    mapped: Vec<f32>,
    /// One head of `mapped`.
    head: Vec<f32>,
    scores: Vec<f32>,
    mixed: Vec<f32>,
    sum: Vec<f32>,
}

/// A graph attention layer; every weight but the map is `[d]`, a head after the other.
#[derive(Debug)]
struct Layer {
    map: Projection,
    source: Vec<f32>,
    target: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl Layer {
    fn of(given: &Parameters<'_>, names: [&str; 5]) -> Result<Layer, FusionError> {
        let [map, source, target, gamma, beta] = names;
        Ok(Layer {
            map: given.product(map)?,
            source: given.plain(source)?.to_vec(),
            target: given.plain(target)?.to_vec(),
            gamma: given.plain(gamma)?.to_vec(),
            beta: given.plain(beta)?.to_vec(),
        })
    }

    /// `x` `[n, d]` after the layer; without `joined` every node is joined to every other.
    fn run(
        &self,
        kernels: &Kernels,
        heads: usize,
        x: &mut [f32],
        joined: Option<&[bool]>,
        work: &mut LayerWork,
        projection: &mut ProjectionScratch,
    ) {
        let LayerWork {
            mapped,
            head,
            scores,
            mixed,
            sum,
        } = work;
        let d = self.gamma.len();
        let (n, width) = (x.len() / d, d / heads);
        if n == 0 {
            return;
        }
        self.map
            .run(kernels, Rows::of_whole(x, d), projection, mapped);
        scores.resize(n * n, 0.0);
        mixed.resize(n * width, 0.0);
        sum.clear();
        sum.extend_from_slice(x);
        for first in (0..d).step_by(width) {
            let columns = first..first + width;
            head.clear();
            for row in mapped.chunks_exact(d) {
                head.extend_from_slice(&row[columns.clone()]);
            }
            let dots = |weights: &[f32]| -> Vec<f32> {
                let rows = head.chunks_exact(width);
                rows.map(|row| kernels.dot(row, &weights[columns.clone()]))
                    .collect()
            };
            let (targets, sources) = (dots(&self.target), dots(&self.source));
            for (i, row) in scores.chunks_exact_mut(n).enumerate() {
                for (j, score) in row.iter_mut().enumerate() {
                    let raw = targets[i] + sources[j];
                    *score = match joined.is_none_or(|joined| joined[i * n + j]) {
                        true => raw.max(LEAK * raw),
                        false => OFF,
                    };
                }
            }
            kernels.row_softmax(scores, n);
            kernels.gemm(
                Rows::of_whole(scores, n),
                Rows::of_whole(head, width),
                mixed,
            );
            for (to, from) in sum.chunks_exact_mut(d).zip(mixed.chunks_exact(width)) {
                let pairs = to[columns.clone()].iter_mut().zip(from);
                pairs.for_each(|(to, from)| *to += from.max(0.0));
            }
        }
        let affine = (self.gamma.as_slice(), self.beta.as_slice());
        kernels.layer_norm(Rows::of_whole(sum, d), affine, EPSILON, x);
    }

    fn bytes(&self) -> usize {
        self.map.bytes() + 4 * size_of_val(self.gamma.as_slice())
    }
}

impl GraphMatching {
    pub(in crate::fusion) fn build(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        let heads = given.setting("heads") as usize;
        if !given.size('d').is_multiple_of(heads.max(1)) {
            return Err(FusionError::Setting {
                name: "heads",
                value: heads as f32,
            });
        }
        let [t1, t2, p1, p2] = LAYERS.map(|names| Layer::of(given, names));
        Ok(Box::new(GraphMatching {
            heads,
            text: given.projection("text_w", "text_b")?,
            picture: given.projection("picture_w", "picture_b")?,
            text_layers: [t1?, t2?],
            picture_layers: [p1?, p2?],
            joint: [
                given.product("query_w")?,
                given.product("key_w")?,
                given.product("value_w")?,
            ],
            weigh: given.projection("weigh_w", "weigh_b")?,
            score: given.plain("score_w")?.to_vec(),
            score_bias: given.plain("score_b")?.first().copied().unwrap_or(0.0),
            read: given.projection("read_w", "read_b")?,
        }))
    }
}

/// Which tokens are joined, `[n, n]`.
fn join(kernels: &Kernels, tokens: Rows<'_>, cosines: &mut Vec<f32>, joined: &mut Vec<bool>) {
    let n = tokens.rows();
    let unit = unit_rows(tokens);
    let unit = Rows::of_whole(&unit, tokens.cols());
    cosines.resize(n * n, 0.0);
    kernels.gemm_bt(unit, unit, cosines);
    joined.clear();
    joined.resize(n * n, false);
    let mut nearest: Vec<usize> = Vec::new();
    for (i, row) in cosines.chunks_exact(n).enumerate() {
        nearest.clear();
        nearest.extend((0..n).filter(|j| *j != i));
        // stable: of equals the first
        nearest.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        nearest.truncate(NEAR);
        nearest.extend(i.saturating_sub(WINDOW)..n.min(i + WINDOW + 1));
        for j in &nearest {
            joined[i * n + j] = true;
            joined[j * n + i] = true;
        }
    }
}

impl Operator for GraphMatching {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let (tokens, picture) = (inputs[0], inputs[1]);
        let d = self.text.out();
        let projection = &mut work.projection;
        let w = &mut work.graph_matching;
        let nodes = picture.rows() + tokens.rows();
        // the picture's nodes first, then the text's
        w.both.clear();
        if picture.rows() > 0 {
            self.picture.run(kernels, picture, projection, &mut w.both);
        }
        for layer in &self.picture_layers {
            layer.run(
                kernels,
                self.heads,
                &mut w.both,
                None,
                &mut w.layer,
                projection,
            );
        }
        self.text.run(kernels, tokens, projection, &mut w.text);
        join(kernels, tokens, &mut w.cosines, &mut w.joined);
        for layer in &self.text_layers {
            let joined = Some(w.joined.as_slice());
            layer.run(
                kernels,
                self.heads,
                &mut w.text,
                joined,
                &mut w.layer,
                projection,
            );
        }
        w.both.extend_from_slice(&w.text);

        let both = Rows::of_whole(&w.both, d);
        for (map, to) in self.joint.iter().zip(&mut w.joint) {
            map.run(kernels, both, projection, to);
        }
        let ([q, weights, attention], [query, key, value]) = (out, &mut w.joint) else {
            let (wanted, found) = (3, 0);
            return Err(FusionError::Inputs { wanted, found });
        };
        let root = 1.0 / (d as f32).sqrt();
        query.iter_mut().for_each(|q| *q *= root);
        attention.resize(nodes * nodes, 0.0);
        kernels.gemm_bt(Rows::of_whole(query, d), Rows::of_whole(key, d), attention);
        kernels.row_softmax(attention, nodes);
        w.matched.resize(nodes * d, 0.0);
        kernels.gemm(
            Rows::of_whole(attention, nodes),
            Rows::of_whole(value, d),
            &mut w.matched,
        );
        let pairs = w.matched.iter_mut().zip(&w.both);
        pairs.for_each(|(g, before)| *g += before);

        let g = Rows::of_whole(&w.matched, d);
        self.weigh.run(kernels, g, projection, &mut w.weighed);
        kernels.gelu(&mut w.weighed);
        weights.clear();
        let rows = w.weighed.chunks_exact(d);
        weights.extend(rows.map(|row| kernels.dot(row, &self.score) + self.score_bias));
        kernels.row_softmax(weights, nodes);
        w.pooled.resize(d, 0.0);
        kernels.gemm(Rows::of_whole(weights, nodes), g, &mut w.pooled);
        self.read
            .run(kernels, Rows::of_whole(&w.pooled, d), projection, q);
        kernels.gelu(q);
        Ok(())
    }

    fn bytes(&self) -> usize {
        let layers = self.text_layers.iter().chain(&self.picture_layers);
        let maps = [&self.text, &self.picture, &self.weigh, &self.read];
        let maps = maps.into_iter().chain(&self.joint);
        layers.map(Layer::bytes).sum::<usize>()
            + maps.map(Projection::bytes).sum::<usize>()
            + size_of_val(self.score.as_slice())
    }
}
