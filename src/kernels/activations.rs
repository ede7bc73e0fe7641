//! Logistic function and hyperbolic tangent, over the exponential of softmax.

use super::generic::exp;
use super::lanes::Lanes;

/// `x = e^{−|x|·factor}`.
#[inline(always)]
fn decay<L: Lanes>(lanes: L, x: L::V, factor: f32) -> L::V {
    let negated = lanes.sub(lanes.splat(0.0), x);
    exp(lanes, lanes.mul(lanes.min(x, negated), lanes.splat(factor)))
}

/// `finish(x, e^{−|x|·factor})` of every value. The exponential needs the level's own
/// operations; divisions the compiler vectorises by itself, in a loop of their own.
macro_rules! sigmoidal {
    ($name:ident, $factor:literal, $finish:path) => {
        #[inline(always)]
        pub(super) fn $name<L: Lanes>(lanes: L, x: &mut [f32]) {
            let mut decayed = [0.0; 64];
            for x in x.chunks_mut(decayed.len()) {
                let decayed = &mut decayed[..x.len()];
                let (from, from_rest) = L::chunks(x);
                let (to, to_rest) = L::chunks_mut(decayed);
                for (from, to) in from.iter().zip(to) {
                    lanes.store(decay(lanes, lanes.load(from), $factor), to);
                }
                if !from_rest.is_empty() {
                    let v = lanes.load_padded(from_rest, 0.0);
                    lanes.store_partial(decay(lanes, v, $factor), to_rest);
                }
                for (x, e) in x.iter_mut().zip(decayed.iter()) {
                    *x = $finish(*x, *e);
                }
            }
        }
    };
}

#[inline(always)]
fn logistic(x: f32, e: f32) -> f32 {
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

#[inline(always)]
fn tangent(x: f32, e: f32) -> f32 {
    ((1.0 - e) / (1.0 + e)).copysign(x)
}

sigmoidal!(sigmoid, 1.0, logistic);
sigmoidal!(tanh, 2.0, tangent);

/// Scalar reference.
pub(super) mod scalar {
    pub(in crate::kernels) fn sigmoid(x: &mut [f32]) {
        for x in x {
            *x = (1.0 / (1.0 + (-f64::from(*x)).exp())) as f32;
        }
    }

    pub(in crate::kernels) fn tanh(x: &mut [f32]) {
        for x in x {
            *x = f64::from(*x).tanh() as f32;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking
pub(super) mod properties {
    use super::super::Kernels;
    use super::super::properties::{run, score, size};
    use proptest::prelude::*;

    fn check(map: impl Fn(&mut [f32]), truth: fn(&mut [f32]), least: f32, bound: f32) {
        run(
            size().prop_flat_map(|n| proptest::collection::vec(score(), n)),
            |x| {
                let (mut found, mut wanted) = (x.clone(), x.clone());
                map(&mut found);
                truth(&mut wanted);
                for ((found, wanted), x) in found.iter().zip(&wanted).zip(&x) {
                    prop_assert!((least..=1.0).contains(found), "{found} of {x}");
                    prop_assert!(
                        (found - wanted).abs() <= bound,
                        "{found} for {wanted} of {x}"
                    );
                }
                Ok(())
            },
        );
    }

    pub(in crate::kernels) fn sigmoid(k: &Kernels) {
        check(|x| k.sigmoid(x), super::scalar::sigmoid, 0.0, 2e-7);
    }

    pub(in crate::kernels) fn tanh(k: &Kernels) {
        check(|x| k.tanh(x), super::scalar::tanh, -1.0, 3e-7);
    }
}
