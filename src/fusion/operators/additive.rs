//! Concat, sum and max: one linear map of both vectors, or the larger of two.
//!
//! ```text
//! concat  z = W·[u; v] + b
//! sum     z = W·u + V·v + b              the same map, W = [W_u W_v]
//! max     z = max(W·u + b_u, V·v + b_v)
//! ```

use crate::fusion::operator::{Operator, Scratch};
use crate::fusion::parameters::Parameters;
use crate::fusion::projection::Projection;
use crate::fusion::{FusionError, Rows};
use crate::kernels::Kernels;

/// `z = W·[u; v] + b`.
#[derive(Debug)]
pub struct Concat {
    w: Projection,
}

/// `z = W·u + V·v + b`.
#[derive(Debug)]
pub struct Sum {
    u: Projection,
    v: Projection,
}

/// `z = max(W·u + b_u, V·v + b_v)`.
#[derive(Debug)]
pub struct Max {
    u: Projection,
    v: Projection,
}

impl Concat {
    pub(in crate::fusion) fn build(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        let w = given.projection("w", "b")?;
        Ok(Box::new(Concat { w }))
    }
}

/// Rows of `[u; v]`.
pub(in crate::fusion) fn side_by_side(u: Rows<'_>, v: Rows<'_>, out: &mut Vec<f32>) {
    out.clear();
    for i in 0..u.rows() {
        out.extend_from_slice(u.row(i));
        out.extend_from_slice(v.row(i));
    }
}

impl Operator for Concat {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let x = &mut work.floats[0];
        side_by_side(inputs[0], inputs[1], x);
        let x = Rows::of_whole(x, inputs[0].cols() + inputs[1].cols());
        self.w.run(kernels, x, &mut work.projection, &mut out[0]);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.w.bytes()
    }
}

impl Sum {
    pub(in crate::fusion) fn build(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        let (u, v) = (given.product("w_u")?, given.projection("w_v", "b")?);
        Ok(Box::new(Sum { u, v }))
    }
}

impl Max {
    pub(in crate::fusion) fn build(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        let (u, v) = (
            given.projection("w_u", "b_u")?,
            given.projection("w_v", "b_v")?,
        );
        Ok(Box::new(Max { u, v }))
    }
}

/// Both projections, and then `join` of each pair of values.
pub(in crate::fusion) fn joined(
    (u, v): (&Projection, &Projection),
    kernels: &Kernels,
    inputs: &[Rows<'_>],
    work: &mut Scratch,
    out: &mut Vec<f32>,
    join: impl Fn(f32, f32) -> f32,
) {
    u.run(kernels, inputs[0], &mut work.projection, out);
    let other = &mut work.floats[0];
    v.run(kernels, inputs[1], &mut work.projection, other);
    out.iter_mut()
        .zip(other)
        .for_each(|(a, b)| *a = join(*a, *b));
}

impl Operator for Sum {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let add = |a: f32, b: f32| a + b;
        joined((&self.u, &self.v), kernels, inputs, work, &mut out[0], add);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.u.bytes() + self.v.bytes()
    }
}

impl Operator for Max {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        joined(
            (&self.u, &self.v),
            kernels,
            inputs,
            work,
            &mut out[0],
            f32::max,
        );
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.u.bytes() + self.v.bytes()
    }
}
