//! Bilinear forms: every pair of values has a weight, full or of low rank.
//!
//! ```text
//! bilinear        z_k = uᵀ·W_k·v + b_k
//! bilinear gated  z_k = uᵀ·W_k·σ(v) + b_k
//! low-rank        z   = P·(U·u ⊙ V·v) + b          W_k = Σ_r P_kr·U_r·V_rᵀ
//! ```

use crate::fusion::operator::{Operator, Scratch};
use crate::fusion::parameters::Parameters;
use crate::fusion::projection::Projection;
use crate::fusion::{FusionError, Rows};
use crate::kernels::Kernels;

/// `z_k = uᵀ·W_k·v + b_k`, with `v` or `σ(v)`.
#[derive(Debug)]
pub struct Bilinear {
    gated: bool,
    /// `[c·p, q]`: `W_k` one below the other.
    w: Projection,
    bias: Vec<f32>,
}

/// `z = P·(U·u ⊙ V·v) + b`.
#[derive(Debug)]
pub struct LowRank {
    u: Projection,
    v: Projection,
    p: Projection,
}

impl Bilinear {
    fn of(gated: bool, given: &Parameters<'_>) -> Result<Box<dyn Operator>, FusionError> {
        let (w, bias) = (given.product("w")?, given.plain("b")?.to_vec());
        Ok(Box::new(Bilinear { gated, w, bias }))
    }

    pub(in crate::fusion) fn plain(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        Bilinear::of(false, given)
    }

    pub(in crate::fusion) fn gated(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        Bilinear::of(true, given)
    }
}

impl Operator for Bilinear {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let (u, mut v) = (inputs[0], inputs[1]);
        let [open, products, ..] = &mut work.floats;
        if self.gated {
            open.clear();
            open.extend_from_slice(v.data());
            kernels.sigmoid(open);
            v = Rows::of_whole(open, v.cols());
        }
        let (p, c) = (u.cols(), self.bias.len());
        let z = &mut out[0];
        z.resize(u.rows() * c, 0.0);
        self.w.run(kernels, v, &mut work.projection, products);
        let products = products.chunks_exact(c * p);
        for ((i, z), products) in z.chunks_exact_mut(c).enumerate().zip(products) {
            kernels.gemv(Rows::of_whole(products, p), u.row(i), z);
            z.iter_mut().zip(&self.bias).for_each(|(z, b)| *z += b);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.w.bytes()
    }
}

impl LowRank {
    pub(in crate::fusion) fn build(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        let (u, v) = (given.product("w_u")?, given.product("w_v")?);
        let p = given.projection("w_p", "b")?;
        Ok(Box::new(LowRank { u, v, p }))
    }
}

impl Operator for LowRank {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let [a, b, ..] = &mut work.floats;
        self.u.run(kernels, inputs[0], &mut work.projection, a);
        self.v.run(kernels, inputs[1], &mut work.projection, b);
        a.iter_mut().zip(b).for_each(|(a, b)| *a *= *b);
        let products = Rows::of_whole(a, self.u.out());
        self.p
            .run(kernels, products, &mut work.projection, &mut out[0]);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.u.bytes() + self.v.bytes() + self.p.bytes()
    }
}
