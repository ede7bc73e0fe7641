//! Compact bilinear pooling: the outer product `u⊗v`, sketched without being formed.
//!
//! ```text
//! Ψ(x, h, s)_j = Σ_{i: h(i) = j} s(i)·x_i                       count sketch, [d]
//! z = irfft( rfft(Ψ(u, h₁, s₁)) · rfft(Ψ(v, h₂, s₂)), n = d )
//! ```
//!
//! The product of the spectra is circular convolution, so `z` is exactly the count sketch of
//! `u⊗v` with `h(i,j) = (h₁(i) + h₂(j)) mod d` and `s(i,j) = s₁(i)·s₂(j)`, and
//! `E⟨z(u,v), z(a,b)⟩ = ⟨u,a⟩·⟨v,b⟩` over independent hashes. With the same hashes for both
//! sides that is biased, so they are two weights of the model, never drawn again from a seed.
//! The transforms are real: of the d bins, d/2 + 1 are held.

use crate::fusion::operator::{Operator, Scratch};
use crate::fusion::parameters::Parameters;
use crate::fusion::{FusionError, Rows};
use crate::kernels::Kernels;
use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::fmt;
use std::sync::Arc;

/// Hash and sign of each value of one modality.
#[derive(Debug)]
struct Sketch {
    /// Place and sign of each value.
    terms: Vec<(u32, f32)>,
}

impl Sketch {
    fn of(given: &Parameters<'_>, hash: &str, sign: &str) -> Result<Sketch, FusionError> {
        let (hash, sign) = (given.indices(hash)?, given.plain(sign)?);
        let terms = hash.iter().zip(sign).map(|(h, s)| (*h as u32, *s));
        Ok(Sketch {
            terms: terms.collect(),
        })
    }

    /// `Ψ(x)` into `out`.
    fn scatter(&self, x: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        for (x, (place, sign)) in x.iter().zip(&self.terms) {
            out[*place as usize] += sign * x;
        }
    }
}

/// `z = irfft(rfft(Ψ(u))·rfft(Ψ(v)))`.
pub struct CompactBilinear {
    u: Sketch,
    v: Sketch,
    size: usize,
    forth: Arc<dyn RealToComplex<f32>>,
    back: Arc<dyn ComplexToReal<f32>>,
}

impl fmt::Debug for CompactBilinear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CompactBilinear({})", self.size)
    }
}

impl CompactBilinear {
    pub(in crate::fusion) fn build(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        let size = given.size('d');
        let mut planner = RealFftPlanner::new();
        Ok(Box::new(CompactBilinear {
            u: Sketch::of(given, "h_u", "s_u")?,
            v: Sketch::of(given, "h_v", "s_v")?,
            size,
            forth: planner.plan_fft_forward(size),
            back: planner.plan_fft_inverse(size),
        }))
    }

    /// One row of `z`.
    fn row(&self, u: &[f32], v: &[f32], work: &mut Scratch, z: &mut [f32]) -> Option<()> {
        let [a, b, spare] = &mut work.complex;
        let zero = Complex32::default();
        let bins = self.size / 2 + 1;
        a.resize(bins, zero);
        b.resize(bins, zero);
        let most = self
            .forth
            .get_scratch_len()
            .max(self.back.get_scratch_len());
        spare.resize(most, zero);
        let forth = &mut spare[..self.forth.get_scratch_len()];
        self.u.scatter(u, z);
        self.forth.process_with_scratch(z, a, forth).ok()?;
        self.v.scatter(v, z);
        self.forth.process_with_scratch(z, b, forth).ok()?;
        // the inverse is not normalised
        let share = 1.0 / self.size as f32;
        for (a, b) in a.iter_mut().zip(b.iter()) {
            let re = a.re * b.re - a.im * b.im;
            let im = a.re * b.im + a.im * b.re;
            *a = Complex32::new(re * share, im * share);
        }
        let back = &mut spare[..self.back.get_scratch_len()];
        self.back.process_with_scratch(a, z, back).ok()
    }
}

impl Operator for CompactBilinear {
    fn run(
        &self,
        _kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let (u, v, z) = (inputs[0], inputs[1], &mut out[0]);
        z.resize(u.rows() * self.size, 0.0);
        for (i, z) in z.chunks_exact_mut(self.size).enumerate() {
            // the transform refuses only what is not finite at the ends of the spectrum
            let done = self.row(u.row(i), v.row(i), work, z);
            done.ok_or(FusionError::Overflow)?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let terms = self.u.terms.len() + self.v.terms.len();
        terms * size_of::<(u32, f32)>()
    }
}

/// `z ← sign(z)·√|z|`, and then each row to unit length: what is done to sketches before a
/// linear layer. A row of zeros stays.
pub fn signed_root_unit(z: &mut [f32], cols: usize) {
    for row in z.chunks_exact_mut(cols.max(1)) {
        row.iter_mut()
            .for_each(|z| *z = z.abs().sqrt().copysign(*z));
        let length = row.iter().map(|z| z * z).sum::<f32>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|z| *z /= length);
        }
    }
}
