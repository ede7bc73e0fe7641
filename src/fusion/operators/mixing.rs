//! Mixtures: how much of each modality, decided by both.
//!
//! ```text
//! attention   a = W·u + b_u, b = V·v + b_v,  (α, β) = softmax(wᵀtanh(a), wᵀtanh(b))
//!             z = α·a + β·b
//! modulation  α = σ(aᵀu + bᵀv + b₀),         z = [α·u; (1 − α)·v]
//! ```
//!
//! The published forms leave the scorers open; these are ours. A softmax of two scores is the
//! logistic function of their difference.

use crate::fusion::operator::{Operator, Scratch};
use crate::fusion::parameters::Parameters;
use crate::fusion::projection::Projection;
use crate::fusion::{FusionError, Rows};
use crate::kernels::Kernels;

/// `z = α·(W·u + b_u) + β·(V·v + b_v)`.
#[derive(Debug)]
pub struct Attention {
    u: Projection,
    v: Projection,
    scorer: Vec<f32>,
}

/// `z = [α·u; (1 − α)·v]`.
#[derive(Debug)]
pub struct Modulation {
    a: Vec<f32>,
    b: Vec<f32>,
    bias: f32,
}

impl Attention {
    pub(in crate::fusion) fn build(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        let (u, v) = (
            given.projection("w_u", "b_u")?,
            given.projection("w_v", "b_v")?,
        );
        let scorer = given.plain("scorer")?.to_vec();
        Ok(Box::new(Attention { u, v, scorer }))
    }
}

impl Operator for Attention {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let z = &mut out[0];
        let [other, squashed, ..] = &mut work.floats;
        self.u.run(kernels, inputs[0], &mut work.projection, z);
        self.v.run(kernels, inputs[1], &mut work.projection, other);
        let mut score = |row: &[f32]| {
            squashed.clear();
            squashed.extend_from_slice(row);
            kernels.tanh(squashed);
            kernels.dot(squashed, &self.scorer)
        };
        let c = self.scorer.len();
        for (a, b) in z.chunks_exact_mut(c).zip(other.chunks_exact(c)) {
            let mut alpha = [score(a) - score(b)];
            kernels.sigmoid(&mut alpha);
            let (alpha, beta) = (alpha[0], 1.0 - alpha[0]);
            a.iter_mut()
                .zip(b)
                .for_each(|(a, b)| *a = alpha * *a + beta * b);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.u.bytes() + self.v.bytes() + size_of_val(self.scorer.as_slice())
    }
}

impl Modulation {
    pub(in crate::fusion) fn build(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        let (a, b) = (given.plain("a")?.to_vec(), given.plain("b")?.to_vec());
        let bias = given.plain("b_0")?[0];
        Ok(Box::new(Modulation { a, b, bias }))
    }
}

impl Operator for Modulation {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        _work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let z = &mut out[0];
        z.clear();
        for i in 0..inputs[0].rows() {
            let (u, v) = (inputs[0].row(i), inputs[1].row(i));
            let mut alpha = [kernels.dot(&self.a, u) + kernels.dot(&self.b, v) + self.bias];
            kernels.sigmoid(&mut alpha);
            let (alpha, beta) = (alpha[0], 1.0 - alpha[0]);
            z.extend(u.iter().map(|x| alpha * x));
            z.extend(v.iter().map(|x| beta * x));
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        size_of_val(self.a.as_slice()) + size_of_val(self.b.as_slice()) + 4
    }
}
