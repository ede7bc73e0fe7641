//! The identities between operators of the catalogue, and what must not matter to them.
#![cfg(feature = "research")]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::catalogue::{
    ATTENDED, ATTENTIONS, banks, dot, entry, f32s, hashes, levels, off, run, tensors, wide,
};
use demeanor::fusion::research::draw::{self, Content, Draw, Drawn};
use demeanor::fusion::shape::Sizes;
use demeanor::fusion::{Fusion, FusionError, MemoryBank, Precision, Rows, Scratch};
use demeanor::kernels::Kernels;

#[test]
fn concat_is_sum() {
    let (p, q, c) = (37, 21, 19);
    let mut draw = Draw::new(5);
    let (w_u, w_v) = (draw.floats(c * p, 0.3), draw.floats(c * q, 0.3));
    let (b, u, v) = (
        draw.floats(c, 1.0),
        draw.floats(p, 2.0),
        draw.floats(q, 2.0),
    );
    let both: Vec<f32> = (0..c)
        .flat_map(|k| [&w_u[k * p..][..p], &w_v[k * q..][..q]].concat())
        .collect();
    let concat = [f32s(&[c, p + q], both), f32s(&[c], b.clone())];
    let sum = [f32s(&[c, p], w_u), f32s(&[c, q], w_v), f32s(&[c], b)];
    let inputs = [Rows::new(&u, p).unwrap(), Rows::new(&v, q).unwrap()];
    for kernels in levels() {
        let one = run("ConcatFusion", &concat, &[], &inputs, kernels);
        let other = run("SumFusion", &sum, &[], &inputs, kernels);
        let other: Vec<f64> = other[0].iter().map(|v| f64::from(*v)).collect();
        assert!(off(&one[0], &other) <= 2e-6);
    }
}

/// `W_k = Σ_r P_kr·U_r·V_rᵀ`; with P of ones, the projected inner product.
#[test]
fn low_rank_is_bilinear() {
    let (p, q, c, r) = (13, 11, 6, 4);
    let mut draw = Draw::new(6);
    let (w_u, w_v) = (draw.floats(r * p, 0.5), draw.floats(r * q, 0.5));
    let (w_p, b) = (draw.floats(c * r, 0.5), draw.floats(c, 0.5));
    let (u, v) = (draw.floats(p, 2.0), draw.floats(q, 2.0));
    let mut full = vec![0.0; c * p * q];
    for k in 0..c {
        for i in 0..p {
            for j in 0..q {
                let terms = (0..r).map(|s| w_p[k * r + s] * w_u[s * p + i] * w_v[s * q + j]);
                full[(k * p + i) * q + j] = terms.sum();
            }
        }
    }
    let inputs = [Rows::new(&u, p).unwrap(), Rows::new(&v, q).unwrap()];
    let (u_of, v_of) = (f32s(&[r, p], w_u), f32s(&[r, q], w_v));
    let low = [
        u_of.clone(),
        v_of.clone(),
        f32s(&[c, r], w_p),
        f32s(&[c], b.clone()),
    ];
    let bilinear = [f32s(&[c, p, q], full), f32s(&[c], b)];
    let ones = [
        u_of.clone(),
        v_of.clone(),
        f32s(&[1, r], vec![1.0; r]),
        f32s(&[1], vec![0.0]),
    ];
    for kernels in levels() {
        let wide = |x: Vec<Vec<f32>>| x[0].iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
        let found = run("LowRankBilinearFusion", &low, &[], &inputs, kernels);
        let wanted = wide(run("BilinearFusion", &bilinear, &[], &inputs, kernels));
        assert!(off(&found[0], &wanted) <= 1e-5);
        let found = run("LowRankBilinearFusion", &ones, &[], &inputs, kernels);
        let scalar = [u_of.clone(), v_of.clone()];
        let wanted = wide(run(
            "ProjectedInnerProductFusion",
            &scalar,
            &[],
            &inputs,
            kernels,
        ));
        assert!(off(&found[0], &wanted) <= 1e-5);
    }
}

/// Mean of `⟨z(u,v), z(a,b)⟩` over hashes is `⟨u,a⟩·⟨v,b⟩` where they are independent, and
/// more by a known amount where both sides share them.
#[test]
fn sketches_are_unbiased_unless_hashes_are_shared() {
    let (p, d, times) = (24, 64, 3000);
    let mut draw = Draw::new(7);
    let (u, v) = (draw.floats(p, 1.0), draw.floats(p, 1.0));
    // crosswise alike, where sharing shows most
    let (a, b) = (v.clone(), u.clone());
    let size = [("size", d as f64)];
    let wanted = dot(&u, &a) * dot(&v, &b);
    let fourfold: f64 = (0..p)
        .map(|i| {
            [&u, &v, &a, &b]
                .iter()
                .map(|x| f64::from(x[i]))
                .product::<f64>()
        })
        .sum();
    let bias = dot(&u, &b) * dot(&v, &a) - fourfold;
    for (shared, wanted) in [(false, wanted), (true, wanted + bias)] {
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..times {
            let first = hashes(&mut draw, p, d);
            let second = if shared {
                first.clone()
            } else {
                hashes(&mut draw, p, d)
            };
            let weights = [first, second].concat();
            let name = "CompactBilinearFusion";
            let fusion = Fusion::new(name, tensors(&weights), &size).unwrap();
            let z = |x: &[f32], y: &[f32]| {
                let inputs = [Rows::new(x, p).unwrap(), Rows::new(y, p).unwrap()];
                let mut out = Vec::new();
                fusion
                    .run(&inputs, &mut Scratch::default(), &mut out)
                    .unwrap();
                out.swap_remove(0)
            };
            let estimate = dot(&z(&u, &v), &z(&a, &b));
            sum += estimate;
            squares += estimate * estimate;
        }
        let mean = sum / f64::from(times);
        let error = ((squares / f64::from(times) - mean * mean) / f64::from(times)).sqrt();
        assert!(
            (mean - wanted).abs() <= 4.0 * error,
            "{shared}: {mean} ± {error} for {wanted}"
        );
        // the test would see the bias if it were there
        assert!(bias.abs() > 8.0 * error, "{bias} is not seen at ± {error}");
    }
}

/// `∂⟨g, z⟩/∂u = s₁ ⊙ gather(correlation of g with Ψ(v), h₁)`; z is linear in u, so a
/// difference of any size is exact.
#[test]
fn the_sketch_has_the_published_gradient() {
    let (p, d) = (10, 16);
    let mut draw = Draw::new(8);
    let weights = [hashes(&mut draw, p, d), hashes(&mut draw, p, d)].concat();
    let ints = |w: &Drawn| match &w.content {
        Content::I64(x) => x.clone(),
        _ => panic!("no hashes"),
    };
    let signs = |w: &Drawn| match &w.content {
        Content::F32(x) => x.clone(),
        _ => panic!("no signs"),
    };
    let (u, v, g) = (
        draw.floats(p, 1.0),
        draw.floats(p, 1.0),
        draw.floats(d, 1.0),
    );
    let fusion = Fusion::new(
        "CompactBilinearFusion",
        tensors(&weights),
        &[("size", d as f64)],
    );
    let fusion = fusion.unwrap();
    let loss = |u: &[f32]| {
        let inputs = [Rows::new(u, p).unwrap(), Rows::new(&v, p).unwrap()];
        let mut out = Vec::new();
        fusion
            .run(&inputs, &mut Scratch::default(), &mut out)
            .unwrap();
        dot(&out[0], &g)
    };
    let (h_u, s_u, h_v, s_v) = (
        ints(&weights[0]),
        signs(&weights[1]),
        ints(&weights[2]),
        signs(&weights[3]),
    );
    for i in 0..p {
        let mut moved = u.clone();
        moved[i] += 1.0;
        let terms = (0..p).map(|j| {
            let place = (h_u[i] + h_v[j]) as usize % d;
            f64::from(s_u[i] * s_v[j] * v[j] * g[place])
        });
        let wanted: f64 = terms.sum();
        let found = loss(&moved) - loss(&u);
        assert!((found - wanted).abs() <= 1e-5, "{found} for {wanted}");
    }
}

struct Attended {
    weights: Vec<Drawn>,
    x: Vec<f32>,
    y: Vec<f32>,
    keep: Vec<f32>,
}

fn attended(name: &str) -> Attended {
    let (n, m, d, e) = ATTENDED;
    let sizes = Sizes::of(&[('n', n), ('m', m), ('d', d), ('e', e)]);
    let mut draw = Draw::new(9);
    let weights = draw::weights(entry(name), Precision::Float, &sizes, &mut draw).unwrap();
    let inputs = draw::inputs(entry(name), &sizes, &mut draw).unwrap();
    let [x, y, keep] = inputs.try_into().unwrap();
    Attended {
        weights,
        x: x.data,
        y: y.data,
        keep: keep.data,
    }
}

fn attend(name: &str, of: &Attended, kernels: Kernels) -> Vec<Vec<f32>> {
    let (_, _, d, e) = ATTENDED;
    let inputs = [
        Rows::new(&of.x, d).unwrap(),
        Rows::new(&of.y, e).unwrap(),
        Rows::new(&of.keep, of.keep.len()).unwrap(),
    ];
    run(name, &of.weights, &[], &inputs, kernels)
}

/// Row `i` of the result is row `order[i]`.
fn reordered(x: &[f32], order: &[usize]) -> Vec<f32> {
    let width = x.len() / order.len();
    order
        .iter()
        .flat_map(|i| x[i * width..][..width].to_vec())
        .collect()
}

#[test]
fn attention_follows_permutations() {
    let (n, m, _, _) = ATTENDED;
    let keys: Vec<usize> = (0..m).map(|j| j * 5 % m).collect();
    let queries: Vec<usize> = (0..n).map(|i| i * 2 % n).collect();
    for name in ATTENTIONS {
        for kernels in levels() {
            let mut of = attended(name);
            let before = attend(name, &of, kernels);
            of.y = reordered(&of.y, &keys);
            of.keep = reordered(&of.keep, &keys);
            of.x = reordered(&of.x, &queries);
            let after = attend(name, &of, kernels);
            assert!(
                off(&after[0], &wide(&reordered(&before[0], &queries))) <= 1e-5,
                "{name}"
            );
            let rows = reordered(&before[1], &queries);
            let columns: Vec<f32> = rows.chunks(m).flat_map(|r| reordered(r, &keys)).collect();
            assert!(off(&after[1], &wide(&columns)) <= 1e-5, "{name}");
        }
    }
}

#[test]
fn padding_changes_nothing() {
    let (_, m, _, e) = ATTENDED;
    for name in ATTENTIONS {
        for kernels in levels() {
            let mut of = attended(name);
            let before = attend(name, &of, kernels);
            of.y.extend(Draw::new(10).floats(9 * e, 50.0));
            of.keep.extend([0.0; 9]);
            let after = attend(name, &of, kernels);
            assert!(off(&after[0], &wide(&before[0])) <= 2e-6, "{name}");
            for (after, before) in after[1].chunks(m + 9).zip(before[1].chunks(m)) {
                assert!(off(&after[..m], &wide(before)) <= 2e-6, "{name}");
                assert_eq!(after[m..], [0.0; 9], "{name}");
            }
        }
    }
}

#[test]
fn masked_keys_have_no_weight_and_rows_sum_to_one() {
    let (_, m, _, _) = ATTENDED;
    for name in ATTENTIONS {
        let mut of = attended(name);
        let out = attend(name, &of, levels()[0]);
        assert!(of.keep.contains(&0.0));
        for row in out[1].chunks(m) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() <= 1e-5);
            let masked = row.iter().zip(&of.keep).filter(|(_, keep)| **keep == 0.0);
            assert!(masked.into_iter().all(|(weight, _)| *weight == 0.0));
        }
        of.keep.fill(0.0);
        let fusion = Fusion::new(name, tensors(&of.weights), &[]).unwrap();
        let inputs = [
            Rows::new(&of.x, ATTENDED.2).unwrap(),
            Rows::new(&of.y, ATTENDED.3).unwrap(),
            Rows::new(&of.keep, m).unwrap(),
        ];
        let refused = fusion.run(&inputs, &mut Scratch::default(), &mut Vec::new());
        assert_eq!(refused, Err(FusionError::AllMasked { name: "keep" }));
    }
}

#[test]
fn neighbours_are_those_of_brute_force() {
    let (b, d) = (700, 40);
    for (name, weights, stored) in banks(b, d) {
        for kernels in levels() {
            for k in [1, 7, 100, 700] {
                let settings = [("k", k as f64)];
                let bank = MemoryBank::new(name, tensors(&weights), &settings, kernels).unwrap();
                let queries = Draw::new(12).floats(5 * d, 3.0);
                let queries = Rows::new(&queries, d).unwrap();
                let found = bank.search(&kernels, queries, &mut Scratch::default());
                for (i, found) in found.iter().enumerate() {
                    let query = queries.row(i);
                    let length = dot(query, query).sqrt();
                    let distance = |row: &[f32]| -> f64 {
                        let pairs = query.iter().zip(row);
                        pairs
                            .map(|(q, b)| (f64::from(*q) / length - f64::from(*b)).powi(2))
                            .sum()
                    };
                    let mut all: Vec<(f64, usize)> = stored
                        .chunks(d)
                        .map(distance)
                        .enumerate()
                        .map(|(i, d)| (d, i))
                        .collect();
                    all.sort_by(|a, b| a.0.total_cmp(&b.0));
                    assert_eq!(found.len(), k);
                    for (found, (wanted, _)) in found.iter().zip(&all) {
                        // equally near rows may come in either order
                        let own = distance(&stored[found.index * d..][..d]);
                        assert!(
                            (own - wanted).abs() <= 2e-6,
                            "{name} {k}: {own} for {wanted}"
                        );
                        assert!((f64::from(found.distance) - own).abs() <= 2e-6, "{name}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_stored_row_is_its_own_neighbour() {
    let (b, d) = (500, 32);
    for (name, mut weights, stored) in banks(b, d) {
        let classes = 7;
        let labels: Vec<usize> = (0..b).map(|i| i * i % classes).collect();
        let one_hot = labels
            .iter()
            .flat_map(|l| (0..classes).map(move |c| f32::from(u8::from(c == *l))));
        *weights.last_mut().unwrap() = f32s(&[b, classes], one_hot.collect());
        for kernels in levels() {
            let fusion = Fusion::with_kernels(name, tensors(&weights), &[("k", 1.0)], kernels);
            let mut out = Vec::new();
            let rows = Rows::new(&stored, d).unwrap();
            fusion
                .unwrap()
                .run(&[rows], &mut Scratch::default(), &mut out)
                .unwrap();
            for (answer, label) in out[0].chunks(classes).zip(&labels) {
                assert_eq!(answer[*label], 1.0, "{name}");
            }
        }
    }
}
