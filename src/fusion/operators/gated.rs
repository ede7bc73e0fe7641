//! Elementwise products of two projections: plain, gated, and in an LSTM's manner.
//!
//! ```text
//! multiplicative  z =     (W·u + b_u)  ⊙ (V·v + b_v)
//! gating          z =    σ(W·u + b_u)  ⊙ (V·v + b_v)      u gates v
//! LSTM-style      z = tanh(W·u + b_u)  ⊙ (V·v + b_v)
//! ```

use crate::fusion::operator::{Operator, Scratch};
use crate::fusion::parameters::Parameters;
use crate::fusion::projection::Projection;
use crate::fusion::{FusionError, Rows};
use crate::kernels::Kernels;

/// What becomes of `W·u + b_u` before it multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing.
    Open,
    /// `σ`, in 0..1.
    Sigmoid,
    /// `tanh`, in −1..1.
    Tanh,
}

/// `z = gate(W·u + b_u) ⊙ (V·v + b_v)`.
#[derive(Debug)]
pub struct Gated {
    gate: Gate,
    u: Projection,
    v: Projection,
}

impl Gated {
    fn of(gate: Gate, given: &Parameters<'_>) -> Result<Box<dyn Operator>, FusionError> {
        let (u, v) = (
            given.projection("w_u", "b_u")?,
            given.projection("w_v", "b_v")?,
        );
        Ok(Box::new(Gated { gate, u, v }))
    }

    pub(in crate::fusion) fn multiplicative(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        Gated::of(Gate::Open, given)
    }

    pub(in crate::fusion) fn gating(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        Gated::of(Gate::Sigmoid, given)
    }

    pub(in crate::fusion) fn lstm(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        Gated::of(Gate::Tanh, given)
    }
}

impl Operator for Gated {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let z = &mut out[0];
        self.u.run(kernels, inputs[0], &mut work.projection, z);
        match self.gate {
            Gate::Open => {}
            Gate::Sigmoid => kernels.sigmoid(z),
            Gate::Tanh => kernels.tanh(z),
        }
        let other = &mut work.floats[0];
        self.v.run(kernels, inputs[1], &mut work.projection, other);
        z.iter_mut().zip(other).for_each(|(a, b)| *a *= *b);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.u.bytes() + self.v.bytes()
    }
}
