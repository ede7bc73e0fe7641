//! What must hold of each byte kernel at each level, against the scalar truth: sums and codes
//! to the bit, floats within a bound.

use proptest::prelude::*;

use super::super::properties::{between, drawn, few, matrix, run, size};
use super::super::{Kernels, Level, Rows};
use super::*;

/// Codes as the level stores them, rows padded.
fn stored(level: Level, codes: &[u8]) -> Vec<u8> {
    codes.iter().map(|code| code ^ flip(level)).collect()
}

fn bytes(len: usize) -> impl Strategy<Value = Vec<u8>> {
    // the ends of the range are where sums overflow, if they do
    drawn(len, |bits| match bits % 4 {
        0 => (bits >> 8) as u8,
        1 => 0,
        2 => 255,
        _ => 128,
    })
}

fn weights(len: usize) -> impl Strategy<Value = Vec<i8>> {
    drawn(len, |bits| match bits % 4 {
        0 => (bits >> 8) as i8,
        1 => 127,
        2 => -127,
        _ => -128,
    })
}

fn quant() -> impl Strategy<Value = Quant> {
    (1e-3_f32..0.1, any::<u8>()).prop_map(|(scale, zero)| Quant { scale, zero })
}

fn panels_of<T: Copy>(values: &[T], fill: T) -> Vec<[T; COLUMNS]> {
    let filled = |chunk: &[T]| {
        let mut panel = [fill; COLUMNS];
        panel[..chunk.len()].copy_from_slice(chunk);
        panel
    };
    values.chunks(COLUMNS).map(filled).collect()
}

/// Rows, depth and columns around the tiles of every level.
fn shape() -> impl Strategy<Value = (usize, usize, usize)> {
    let rows = proptest::sample::select(vec![1_usize, 2, 3, 4, 5, 7, 8, 9, 17]);
    let depth = proptest::sample::select(vec![1_usize, 3, 4, 15, 16, 17, 40, 65]);
    let columns = proptest::sample::select(vec![1_usize, 4, 15, 16, 17, 33, 49, 64, 100]);
    (rows, depth, columns)
}

#[derive(Debug, Clone)]
struct Product {
    rows: usize,
    k: usize,
    n: usize,
    codes: Vec<u8>,
    weights: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
}

fn product() -> impl Strategy<Value = Product> {
    shape().prop_flat_map(|(rows, k, n)| {
        let floats = |low, len| drawn(len, between(low, 2.0));
        let parts = (
            bytes(rows * padded_depth(k)),
            weights(k * n),
            floats(1e-3, n),
            floats(-2.0, n),
            floats(-2.0, rows * n),
        );
        parts.prop_map(move |(codes, weights, scales, bias, residual)| Product {
            rows,
            k,
            n,
            codes,
            weights,
            scales,
            bias,
            residual,
        })
    })
}

pub(in crate::kernels) fn linear(k: &Kernels) {
    let activation = proptest::sample::select(vec![
        Activation::Identity,
        Activation::Relu,
        Activation::Gelu,
    ]);
    run(
        (product(), quant(), activation, any::<bool>()),
        |(p, q, activation, with_residual)| {
            let answer = |kernels: &Kernels, activation: Activation| {
                let level = kernels.level();
                let packed = PackedWeights::new(level, &p.weights, p.k, p.n).unwrap();
                let (scales, bias) = (panels_of(&p.scales, 1.0), panels_of(&p.bias, 0.0));
                let job = Linear {
                    weights: &packed,
                    scales: &scales,
                    bias: &bias,
                    activation,
                    residual: with_residual.then_some(p.residual.as_slice()),
                };
                let codes = stored(level, &p.codes);
                let a = Codes {
                    bytes: &codes,
                    rows: p.rows,
                    stride: padded_depth(p.k),
                };
                let mut out = vec![f32::NAN; p.rows * p.n];
                let range = kernels.linear(a, q, &job, &mut ProductScratch::default(), &mut out);
                (out, range)
            };
            let (wanted, _) = answer(&Kernels::SCALAR, activation);
            let (before, _) = answer(&Kernels::SCALAR, Activation::Identity);
            let (found, range) = answer(k, activation);
            for ((found, wanted), before) in found.iter().zip(&wanted).zip(&before) {
                let bound = if activation == Activation::Gelu {
                    5e-5 * before.abs().max(1.0)
                } else {
                    0.0
                };
                prop_assert!((found - wanted).abs() <= bound, "{found} for {wanted}");
            }
            prop_assert_eq!(range, scalar::range(&found));
            Ok(())
        },
    );
}

/// A product larger than any cache in both directions: its blocks of rows and parts of panels
/// must add up, and so must the parts that workers take.
pub(in crate::kernels) fn product_in_pieces(k: &Kernels) {
    let (rows, depth, n) = (260, 2600, 33);
    let mut state = 1_u64;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    let codes: Vec<u8> = (0..rows * padded_depth(depth)).map(|_| byte()).collect();
    let weights: Vec<i8> = (0..depth * n).map(|_| byte() as i8).collect();
    let (scales, bias) = (
        panels_of(&vec![1e-4; n], 1.0),
        panels_of(&vec![0.5; n], 0.0),
    );
    let q = Quant {
        scale: 0.02,
        zero: 77,
    };
    let packed = PackedWeights::new(k.level(), &weights, depth, n).unwrap();
    let run = |first: usize, rows: usize, panel: usize, panels: usize| {
        let weights = packed.part(panel, panels);
        let job = Linear {
            weights: &weights,
            scales: &scales[panel..][..panels],
            bias: &bias[panel..][..panels],
            activation: Activation::Identity,
            residual: None,
        };
        let stride = padded_depth(depth);
        let codes = stored(k.level(), &codes[first * stride..][..rows * stride]);
        let a = Codes {
            bytes: &codes,
            rows,
            stride,
        };
        let mut out = vec![f32::NAN; rows * weights.n()];
        k.linear(a, q, &job, &mut ProductScratch::default(), &mut out);
        out
    };
    let whole = run(0, rows, 0, 3);
    for row in [0, 1, 200, rows - 1] {
        // of one row nothing is cut
        assert_eq!(run(row, 1, 0, 3), whole[row * n..][..n], "row {row}");
        let columns: Vec<f32> = (0..3).flat_map(|panel| run(row, 1, panel, 1)).collect();
        assert_eq!(columns, whole[row * n..][..n], "row {row} by panels");
    }
}

pub(in crate::kernels) fn requantise(k: &Kernels) {
    let clamp = (0_u8..100, 100_u8..=255);
    run(
        (product(), any::<u8>(), any::<u8>(), clamp),
        |(p, zero, zero_out, clamp)| {
            let answer = |kernels: &Kernels| {
                let level = kernels.level();
                let packed = PackedWeights::new(level, &p.weights, p.k, p.n).unwrap();
                let multipliers = p.scales.iter().map(|s| s * 0.01).collect::<Vec<_>>();
                let bias = p
                    .bias
                    .iter()
                    .map(|b| (b * 1000.0) as i32)
                    .collect::<Vec<_>>();
                let job = Requantise {
                    weights: &packed,
                    multipliers: &panels_of(&multipliers, 0.0),
                    bias: &panels_of(&bias, 0),
                    zero: zero_out,
                    clamp,
                };
                let codes = stored(level, &p.codes);
                let a = Codes {
                    bytes: &codes,
                    rows: p.rows,
                    stride: padded_depth(p.k),
                };
                let mut out = vec![0; p.rows * p.n.next_multiple_of(COLUMNS)];
                kernels.requantise(a, zero, &job, &mut ProductScratch::default(), &mut out);
                stored(level, &out)
            };
            prop_assert_eq!(answer(k), answer(&Kernels::SCALAR));
            Ok(())
        },
    );
}

pub(in crate::kernels) fn range(k: &Kernels) {
    run(size().prop_flat_map(|n| matrix(1, n)), |x| {
        prop_assert_eq!(k.range(&x.data), scalar::range(&x.data));
        Ok(())
    });
}

pub(in crate::kernels) fn quantise(k: &Kernels) {
    let rows = (few(), size()).prop_flat_map(|(r, c)| matrix(r, c.max(1)));
    run((rows, quant()), |(x, q)| {
        let answer = |kernels: &Kernels| {
            let mut out = vec![7; x.rows * padded_depth(x.cols)];
            kernels.quantise(x.view(), q, &mut out);
            stored(kernels.level(), &out)
        };
        prop_assert_eq!(answer(k), answer(&Kernels::SCALAR));
        Ok(())
    });
    not_a_number_becomes_a_code(k);
}

/// Nothing undefined leaves: some code, the same at every level.
fn not_a_number_becomes_a_code(k: &Kernels) {
    let row = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0];
    let x = Rows::of_whole(&row, 4);
    let q = Quant {
        scale: 0.5,
        zero: 10,
    };
    let mut out = [0; DEPTH];
    k.quantise(x, q, &mut out);
    assert_eq!(stored(k.level(), &out)[1..4], [255, 0, 12]);
}

pub(in crate::kernels) fn dequantise(k: &Kernels) {
    run((size().prop_flat_map(bytes), quant()), |(codes, q)| {
        let answer = |kernels: &Kernels| {
            let mut out = vec![f32::NAN; codes.len()];
            kernels.dequantise(&stored(kernels.level(), &codes), q, &mut out);
            out
        };
        prop_assert_eq!(answer(k), answer(&Kernels::SCALAR));
        Ok(())
    });
}

pub(in crate::kernels) fn add_codes(k: &Kernels) {
    let pair = (1_usize..6).prop_flat_map(|n| (bytes(n * DEPTH), bytes(n * DEPTH)));
    run(
        (pair, (quant(), quant(), quant())),
        |((a, b), (qa, qb, q))| {
            let answer = |kernels: &Kernels| {
                let mut out = vec![0; a.len()];
                let (a, b) = (stored(kernels.level(), &a), stored(kernels.level(), &b));
                kernels.add_codes((&a, qa), (&b, qb), q, &mut out);
                stored(kernels.level(), &out)
            };
            prop_assert_eq!(answer(k), answer(&Kernels::SCALAR));
            Ok(())
        },
    );
}

pub(in crate::kernels) fn gelu(k: &Kernels) {
    run(size().prop_flat_map(|n| matrix(1, n)), |x| {
        let mut found = x.data.iter().map(|v| v * 3.0).collect::<Vec<_>>();
        let before = found.clone();
        let mut wanted = found.clone();
        k.gelu(&mut found);
        scalar::gelu(&mut wanted);
        for ((found, wanted), before) in found.into_iter().zip(wanted).zip(before) {
            prop_assert!(
                (found - wanted).abs() <= 5e-5 * before.abs().max(1.0),
                "{found} for {wanted}"
            );
        }
        Ok(())
    });
}

pub(in crate::kernels) fn layer_norm(k: &Kernels) {
    let rows = (few(), size()).prop_flat_map(|(r, c)| (matrix(r, c.max(1)), matrix(2, c.max(1))));
    run(rows, |(x, affine)| {
        let answer = |kernels: &Kernels| {
            let mut out = vec![f32::NAN; x.data.len()];
            let (gamma, beta) = affine.data.split_at(x.cols);
            let range = kernels.layer_norm(x.view(), (gamma, beta), 1e-5, &mut out);
            (out, range)
        };
        let ((found, range), (wanted, _)) = (answer(k), answer(&Kernels::SCALAR));
        for (found, wanted) in found.iter().zip(&wanted) {
            prop_assert!(
                (found - wanted).abs() <= 2e-3 * wanted.abs().max(1.0),
                "{found} for {wanted}"
            );
        }
        prop_assert_eq!(range, scalar::range(&found));
        Ok(())
    });
}

pub(in crate::kernels) fn attend(k: &Kernels) {
    let shape = (
        1_usize..20,
        1_usize..40,
        1_usize..4,
        proptest::sample::select(vec![1_usize, 5, 16, 32, 48, 64]),
    );
    let job = shape.prop_flat_map(|(n, m, heads, width)| {
        let columns = padded_depth(heads * width);
        let codes = (bytes(n * columns), bytes(m * columns), bytes(m * columns));
        (
            Just((n, m, heads, width)),
            codes,
            (quant(), quant(), quant()),
        )
    });
    run(
        job,
        |((n, m, heads, width), (q, keys, values), (qq, qk, qv))| {
            let answer = |kernels: &Kernels| {
                let level = kernels.level();
                let stride = padded_depth(heads * width);
                let (q, keys, values) = (
                    stored(level, &q),
                    stored(level, &keys),
                    stored(level, &values),
                );
                let of = |bytes, rows| Codes {
                    bytes,
                    rows,
                    stride,
                };
                let job = Attention {
                    heads,
                    width,
                    scale: 0.1,
                    q: (of(&q, n), qq),
                    k: (of(&keys, m), qk),
                    v: (of(&values, m), qv),
                };
                let mut out = vec![f32::NAN; n * heads * width];
                kernels.attend(&job, &mut AttentionScratch::default(), &mut out);
                out
            };
            // a weight next to a rounding edge may fall on either side
            let bound = qv.scale * 255.0 * 0.02;
            for (found, wanted) in answer(k).into_iter().zip(answer(&Kernels::SCALAR)) {
                prop_assert!(
                    (found - wanted).abs() <= bound,
                    "{found} for {wanted}, within {bound}"
                );
            }
            Ok(())
        },
    );
}

pub(in crate::kernels) fn depthwise(k: &Kernels) {
    let shape = (1_usize..200, 1_usize..10, 1_usize..6, 1_usize..3);
    let job = shape.prop_flat_map(|(channels, taps, pixels, stride)| {
        let row = channels.next_multiple_of(COLUMNS);
        let len = (pixels * stride + taps) * row;
        (
            Just((channels, taps, pixels, stride)),
            bytes(len),
            weights(channels * taps),
            any::<(u8, u8)>(),
        )
    });
    run(
        job,
        |((channels, taps, pixels, stride), codes, weights, zeros)| {
            let row = channels.next_multiple_of(COLUMNS);
            let offsets: Vec<usize> = (0..taps).map(|t| t * row).collect();
            let packed = DepthwiseWeights::new(&weights, channels, taps).unwrap();
            let panels = row / COLUMNS;
            let job = Depthwise {
                weights: &packed,
                multipliers: &vec![[0.004; COLUMNS]; panels],
                bias: &vec![[321; COLUMNS]; panels],
                zeros,
                clamp: (3, 250),
                step: stride * row,
            };
            let answer = |kernels: &Kernels| {
                let mut out = vec![0; pixels * row];
                kernels.depthwise(&stored(kernels.level(), &codes), &offsets, &job, &mut out);
                stored(kernels.level(), &out)
            };
            prop_assert_eq!(answer(k), answer(&Kernels::SCALAR));
            Ok(())
        },
    );
}
