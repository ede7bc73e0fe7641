//! Multi-head cross attention with a mask, over softmax, sparsemax or 1.5-entmax.
//!
//! ```text
//! Q = X·W_q + b_q, K = Y·W_k + b_k, V = Y·W_v + b_v
//! P_h = π(Q_h·K_hᵀ/√d_h)   over the keys that are kept
//! Z = [P_1·V_1, …, P_H·V_H]·W_o + b_o
//! ```
//!
//! Head h has columns h·d_h … of each projection. The attention that comes out is the mean of
//! `P_h` over the heads. A masked key has weight exactly 0, in every head.

use crate::fusion::operator::{Operator, Scratch};
use crate::fusion::parameters::Parameters;
use crate::fusion::projection::{Projection, ProjectionScratch};
use crate::fusion::simplex::Simplex;
use crate::fusion::{FusionError, Rows};
use crate::kernels::Kernels;

/// The score of a masked key and of a place that only fills a register: weight 0 in each map.
const MASKED: f32 = -1e30;

/// Keys are padded to a whole number of the widest registers.
const WIDEST: usize = 16;

/// Cross attention of rows `x` `[n, d]` over rows `y` `[m, e]`.
#[derive(Debug)]
pub struct CrossAttention {
    map: Simplex,
    heads: usize,
    q: Projection,
    /// Keys and values side by side, `[m, 2·d]`.
    kv: Projection,
    o: Projection,
}

/// The sizes of one call.
#[derive(Clone, Copy)]
struct Shape {
    n: usize,
    m: usize,
    /// `m` padded.
    padded: usize,
    d: usize,
    head: usize,
}

impl CrossAttention {
    fn of(map: Simplex, given: &Parameters<'_>) -> Result<Box<dyn Operator>, FusionError> {
        let heads = given.setting("heads") as usize;
        if !given.size('d').is_multiple_of(heads.max(1)) {
            return Err(FusionError::Setting {
                name: "heads",
                value: heads as f32,
            });
        }
        Ok(Box::new(CrossAttention {
            map,
            heads,
            q: given.projection("w_q", "b_q")?,
            kv: given.stacked(["w_k", "w_v"], ["b_k", "b_v"])?,
            o: given.projection("w_o", "b_o")?,
        }))
    }

    pub(in crate::fusion) fn softmax(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        CrossAttention::of(Simplex::Softmax, given)
    }

    pub(in crate::fusion) fn sparsemax(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        CrossAttention::of(Simplex::Sparsemax, given)
    }

    pub(in crate::fusion) fn entmax15(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        CrossAttention::of(Simplex::Entmax15, given)
    }

    /// All heads: contexts `[n, d]` into `context`, the mean of their weights into `attention`.
    fn heads(
        &self,
        kernels: &Kernels,
        keep: &[f32],
        shape: Shape,
        floats: &mut [Vec<f32>; 8],
        attention: &mut [f32],
    ) {
        let [q, kv, query, keys, values, scores, mixed, context] = floats;
        let Shape {
            n,
            m,
            padded,
            d,
            head,
        } = shape;
        query.resize(n * head, 0.0);
        keys.resize(head * padded, 0.0);
        values.resize(padded * head, 0.0);
        values[m * head..].fill(0.0);
        scores.resize(n * padded, 0.0);
        mixed.resize(n * head, 0.0);
        context.resize(n * d, 0.0);
        attention.fill(0.0);
        let (scale, share) = (1.0 / (head as f32).sqrt(), 1.0 / self.heads as f32);
        for first in (0..d).step_by(head) {
            for (to, from) in query.chunks_exact_mut(head).zip(q.chunks_exact(d)) {
                let from = &from[first..first + head];
                to.iter_mut()
                    .zip(from)
                    .for_each(|(to, from)| *to = from * scale);
            }
            for (j, row) in kv.chunks_exact(2 * d).enumerate() {
                for (c, key) in row[first..first + head].iter().enumerate() {
                    keys[c * padded + j] = *key;
                }
                values[j * head..][..head].copy_from_slice(&row[d + first..][..head]);
            }
            kernels.gemm(
                Rows::of_whole(query, head),
                Rows::of_whole(keys, padded),
                scores,
            );
            for row in scores.chunks_exact_mut(padded) {
                mask(row, keep);
            }
            self.map.apply_rows(kernels, scores, padded);
            kernels.gemm(
                Rows::of_whole(scores, padded),
                Rows::of_whole(values, head),
                mixed,
            );
            for (to, from) in context.chunks_exact_mut(d).zip(mixed.chunks_exact(head)) {
                to[first..first + head].copy_from_slice(from);
            }
            for (to, from) in attention
                .chunks_exact_mut(m)
                .zip(scores.chunks_exact(padded))
            {
                to.iter_mut()
                    .zip(from)
                    .for_each(|(to, from)| *to += share * from);
            }
        }
    }
}

/// Takes the keys that are not kept, and the padding, out of a row of scores.
fn mask(row: &mut [f32], keep: &[f32]) {
    let (keys, padding) = row.split_at_mut(keep.len());
    for (score, keep) in keys.iter_mut().zip(keep) {
        *score = if *keep < 0.5 { MASKED } else { *score };
    }
    padding.fill(MASKED);
}

impl Operator for CrossAttention {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let (x, y, keep) = (inputs[0], inputs[1], inputs[2].data());
        if keep.iter().all(|keep| *keep < 0.5) {
            return Err(FusionError::AllMasked { name: "keep" });
        }
        let (n, m, d) = (x.rows(), y.rows(), self.q.out());
        let padded = m.next_multiple_of(WIDEST);
        let shape = Shape {
            n,
            m,
            padded,
            d,
            head: d / self.heads,
        };
        let projection: &mut ProjectionScratch = &mut work.projection;
        self.q.run(kernels, x, projection, &mut work.floats[0]);
        self.kv.run(kernels, y, projection, &mut work.floats[1]);
        out[1].resize(n * m, 0.0);
        self.heads(kernels, keep, shape, &mut work.floats, &mut out[1]);
        let context = Rows::of_whole(&work.floats[7], d);
        self.o.run(kernels, context, projection, &mut out[0]);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.q.bytes() + self.kv.bytes() + self.o.bytes()
    }
}
