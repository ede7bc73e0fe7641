//! Inner products: one number, how alike two vectors are.
//!
//! ```text
//! inner product            s = uᵀv                    p = q
//! projected inner product  s = (W·u)ᵀ(V·v)
//! ```

use crate::fusion::operator::{Operator, Scratch};
use crate::fusion::parameters::Parameters;
use crate::fusion::projection::Projection;
use crate::fusion::{FusionError, Rows};
use crate::kernels::Kernels;

/// `s = uᵀv`.
#[derive(Debug)]
pub struct InnerProduct;

/// `s = (W·u)ᵀ(V·v)`.
#[derive(Debug)]
pub struct ProjectedInnerProduct {
    u: Projection,
    v: Projection,
}

fn dots(kernels: &Kernels, a: Rows<'_>, b: Rows<'_>, out: &mut Vec<f32>) {
    out.clear();
    out.extend((0..a.rows()).map(|i| kernels.dot(a.row(i), b.row(i))));
}

impl InnerProduct {
    pub(in crate::fusion) fn build(_: &Parameters<'_>) -> Result<Box<dyn Operator>, FusionError> {
        Ok(Box::new(InnerProduct))
    }
}

impl Operator for InnerProduct {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        _work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        dots(kernels, inputs[0], inputs[1], &mut out[0]);
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }
}

impl ProjectedInnerProduct {
    pub(in crate::fusion) fn build(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        let (u, v) = (given.product("w_u")?, given.product("w_v")?);
        Ok(Box::new(ProjectedInnerProduct { u, v }))
    }
}

impl Operator for ProjectedInnerProduct {
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
        let h = self.u.out();
        dots(
            kernels,
            Rows::of_whole(a, h),
            Rows::of_whole(b, h),
            &mut out[0],
        );
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.u.bytes() + self.v.bytes()
    }
}
