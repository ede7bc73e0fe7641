//! Early, middle and late fusion: where in a small network the modalities meet.
//!
//! ```text
//! early   y = σ(W₂·φ(W₁·[u; v] + b₁) + b₂)
//! middle  y = σ(W₂·[φ(W·u + b_u); φ(V·v + b_v)] + b₂)
//! late    y = ½·( σ(W₂·φ(W·u + b_u) + b₂) + σ(V₂·φ(V·v + b_v) + b₃) )
//! ```
//!
//! φ is ReLU. Late fusion averages probabilities, not logits. Each of the c outputs is a
//! probability of its own.

use super::additive::side_by_side;
use crate::fusion::operator::{Operator, Scratch};
use crate::fusion::parameters::Parameters;
use crate::fusion::projection::Projection;
use crate::fusion::{FusionError, Rows};
use crate::kernels::Kernels;

/// A layer, ReLU, and a layer.
#[derive(Debug)]
struct Net {
    hidden: Projection,
    last: Projection,
}

impl Net {
    fn of(given: &Parameters<'_>, hidden: [&str; 2], last: [&str; 2]) -> Result<Net, FusionError> {
        Ok(Net {
            hidden: given.projection(hidden[0], hidden[1])?,
            last: given.projection(last[0], last[1])?,
        })
    }

    fn bytes(&self) -> usize {
        self.hidden.bytes() + self.last.bytes()
    }
}

fn relu(x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = x.max(0.0));
}

/// Both modalities enter one network.
#[derive(Debug)]
pub struct Early(Net);

/// Hidden layers apart, one last layer.
#[derive(Debug)]
pub struct Middle {
    u: Projection,
    v: Projection,
    last: Projection,
}

/// Networks apart; their probabilities are averaged.
#[derive(Debug)]
pub struct Late {
    u: Net,
    v: Net,
}

impl Early {
    pub(in crate::fusion) fn build(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        Ok(Box::new(Early(Net::of(
            given,
            ["w_1", "b_1"],
            ["w_2", "b_2"],
        )?)))
    }
}

impl Operator for Early {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let [x, hidden, ..] = &mut work.floats;
        side_by_side(inputs[0], inputs[1], x);
        let x = Rows::of_whole(x, inputs[0].cols() + inputs[1].cols());
        self.0.hidden.run(kernels, x, &mut work.projection, hidden);
        relu(hidden);
        let hidden = Rows::of_whole(hidden, self.0.hidden.out());
        self.0
            .last
            .run(kernels, hidden, &mut work.projection, &mut out[0]);
        kernels.sigmoid(&mut out[0]);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

impl Middle {
    pub(in crate::fusion) fn build(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        Ok(Box::new(Middle {
            u: given.projection("w_u", "b_u")?,
            v: given.projection("w_v", "b_v")?,
            last: given.projection("w_2", "b_2")?,
        }))
    }
}

impl Operator for Middle {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let [a, b, both, ..] = &mut work.floats;
        self.u.run(kernels, inputs[0], &mut work.projection, a);
        self.v.run(kernels, inputs[1], &mut work.projection, b);
        let (a, b) = (
            Rows::of_whole(a, self.u.out()),
            Rows::of_whole(b, self.v.out()),
        );
        side_by_side(a, b, both);
        relu(both);
        let both = Rows::of_whole(both, a.cols() + b.cols());
        self.last
            .run(kernels, both, &mut work.projection, &mut out[0]);
        kernels.sigmoid(&mut out[0]);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.u.bytes() + self.v.bytes() + self.last.bytes()
    }
}

impl Late {
    pub(in crate::fusion) fn build(
        given: &Parameters<'_>,
    ) -> Result<Box<dyn Operator>, FusionError> {
        Ok(Box::new(Late {
            u: Net::of(given, ["w_u", "b_u"], ["w_2", "b_2"])?,
            v: Net::of(given, ["w_v", "b_v"], ["v_2", "b_3"])?,
        }))
    }
}

impl Operator for Late {
    fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Rows<'_>],
        work: &mut Scratch,
        out: &mut [Vec<f32>],
    ) -> Result<(), FusionError> {
        let [hidden, other, ..] = &mut work.floats;
        let y = &mut out[0];
        for (net, x, y) in [(&self.u, inputs[0], &mut *y), (&self.v, inputs[1], other)] {
            net.hidden.run(kernels, x, &mut work.projection, hidden);
            relu(hidden);
            let hidden = Rows::of_whole(hidden, net.hidden.out());
            net.last.run(kernels, hidden, &mut work.projection, y);
            kernels.sigmoid(y);
        }
        y.iter_mut()
            .zip(&work.floats[1])
            .for_each(|(a, b)| *a = (*a + b) * 0.5);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.u.bytes() + self.v.bytes()
    }
}
