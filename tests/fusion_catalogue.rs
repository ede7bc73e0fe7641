//! Every operator of the catalogue is its equation, at every precision and level this CPU has;
//! the identities between operators hold; what does not fit is refused.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use demeanor::fusion::draw::{self, Content, Draw, Drawn, Input};
use demeanor::fusion::shape::Sizes;
use demeanor::fusion::{
    CATALOGUE, Entry, Fusion, FusionError, MemoryBank, Precision, Rows, Scratch, Tensor,
};
use demeanor::kernels::{Kernels, Level, halves};

fn levels() -> Vec<Kernels> {
    let all = Level::ALL.into_iter().filter_map(Kernels::for_level);
    all.collect()
}

fn entry(name: &str) -> &'static Entry {
    CATALOGUE.iter().find(|e| e.name == name).unwrap()
}

fn tensors(weights: &[Drawn]) -> Vec<Tensor<'_>> {
    weights.iter().map(Drawn::tensor).collect()
}

fn rows(inputs: &[Input]) -> Vec<Rows<'_>> {
    inputs.iter().map(Input::rows).collect()
}

fn f32s(dims: &[usize], data: Vec<f32>) -> Drawn {
    Drawn {
        name: String::new(),
        dims: dims.to_vec(),
        content: Content::F32(data),
    }
}

fn run(
    name: &str,
    weights: &[Drawn],
    settings: &[(&str, f64)],
    inputs: &[Rows<'_>],
    kernels: Kernels,
) -> Vec<Vec<f32>> {
    let fusion = Fusion::with_kernels(name, tensors(weights), settings, kernels).unwrap();
    let mut out = Vec::new();
    fusion
        .run(inputs, &mut Scratch::default(), &mut out)
        .unwrap();
    out
}

/// Largest difference, as a share of the largest value (of 1 at least).
fn off(found: &[f32], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let size = wanted.iter().fold(1.0_f64, |top, w| top.max(w.abs()));
    let errors = found
        .iter()
        .zip(wanted)
        .map(|(f, w)| (f64::from(*f) - w).abs());
    errors.fold(0.0, f64::max) / size
}

/// Sizes that are no multiple of any register, and some that are.
fn sizes(entry: &Entry) -> Vec<Sizes> {
    let of = |n, m, p, q, c, h, r, d, e, b| {
        let pairs = [('n', n), ('m', m), ('p', p), ('q', q), ('c', c), ('h', h)];
        let mut sizes = Sizes::of(&pairs);
        for (letter, size) in [('r', r), ('d', d), ('e', e), ('b', b)] {
            sizes.set(letter, size);
        }
        sizes
    };
    let mut all = vec![
        of(1, 1, 1, 1, 1, 1, 1, 4, 1, 10),
        of(1, 7, 5, 3, 2, 6, 4, 12, 9, 40),
        of(1, 49, 64, 48, 32, 40, 16, 64, 32, 300),
        of(3, 17, 33, 20, 17, 31, 9, 20, 24, 77),
    ];
    if entry.family == "compact" {
        all.push(of(1, 1, 40, 30, 1, 1, 1, 31, 1, 1));
    }
    all
}

/// The settings of an entry that are sizes, or that small sizes ask for.
fn settings(entry: &Entry, sizes: &Sizes) -> Vec<(&'static str, f64)> {
    let of = |s: &demeanor::fusion::catalogue::Setting| match s.letter {
        Some(letter) => (s.name, sizes.get(letter).unwrap() as f64),
        None => (s.name, s.usual),
    };
    entry.settings.iter().map(of).collect()
}

#[test]
fn every_operator_is_its_equation() {
    for entry in CATALOGUE {
        for (seed, sizes) in sizes(entry).into_iter().enumerate() {
            for precision in Precision::ALL {
                let Some(name) = entry.function(precision) else {
                    continue;
                };
                let mut draw = Draw::new(seed as u32 + 1);
                let weights = draw::weights(entry, precision, &sizes, &mut draw).unwrap();
                let inputs = draw::inputs(entry, &sizes, &mut draw).unwrap();
                let settings = settings(entry, &sizes);
                let wanted =
                    Fusion::reference(&name, tensors(&weights), &settings, &rows(&inputs)).unwrap();
                for kernels in levels() {
                    let found = run(&name, &weights, &settings, &rows(&inputs), kernels);
                    assert_eq!(found.len(), wanted.len(), "{name}");
                    for (found, wanted) in found.iter().zip(&wanted) {
                        // a code next to a rounding edge may fall on either side
                        let bound = if precision == Precision::Int8 {
                            0.02
                        } else {
                            2e-5
                        };
                        let off = off(found, wanted);
                        assert!(
                            off <= bound,
                            "{name} at {} {sizes:?}: off by {off:e}",
                            kernels.level()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn int8_is_near_float() {
    for entry in CATALOGUE
        .iter()
        .filter(|e| e.function(Precision::Int8).is_some())
    {
        let sizes = Sizes::of(&[
            ('n', 2),
            ('m', 20),
            ('p', 64),
            ('q', 64),
            ('c', 32),
            ('h', 32),
            ('r', 16),
            ('d', 64),
            ('e', 48),
            ('b', 200),
        ]);
        let settings = settings(entry, &sizes);
        let answer = |precision| {
            // the same numbers are drawn for both
            let mut draw = Draw::new(3);
            let weights = draw::weights(entry, precision, &sizes, &mut draw).unwrap();
            let inputs = draw::inputs(entry, &sizes, &mut draw).unwrap();
            let name = entry.function(precision).unwrap();
            Fusion::reference(&name, tensors(&weights), &settings, &rows(&inputs)).unwrap()
        };
        let float = answer(Precision::Float);
        let int8: Vec<f32> = answer(Precision::Int8)[0]
            .iter()
            .map(|v| *v as f32)
            .collect();
        let off = off(&int8, &float[0]);
        assert!(off <= 0.06, "{}: int8 is off float by {off}", entry.name);
    }
}

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

fn hashes(draw: &mut Draw, count: usize, d: usize) -> [Drawn; 2] {
    let signs = draw.below(count, 2).into_iter();
    let signs = signs.map(|s| if s == 0 { -1.0 } else { 1.0 }).collect();
    let hash = Drawn {
        name: String::new(),
        dims: vec![count],
        content: Content::I64(draw.below(count, d)),
    };
    [hash, f32s(&[count], signs)]
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
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

const ATTENTIONS: [&str; 3] = [
    "CrossAttentionSoftmaxFusion",
    "CrossAttentionSparsemaxFusion",
    "CrossAttentionEntmax15Fusion",
];

struct Attended {
    weights: Vec<Drawn>,
    x: Vec<f32>,
    y: Vec<f32>,
    keep: Vec<f32>,
}

const ATTENDED: (usize, usize, usize, usize) = (5, 13, 32, 24);

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

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
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

/// A bank at both precisions: weights, and its rows as they are stored.
fn banks(b: usize, d: usize) -> Vec<(&'static str, Vec<Drawn>, Vec<f32>)> {
    let sizes = Sizes::of(&[('b', b), ('d', d), ('c', 2)]);
    let of = |precision, name| {
        let mut draw = Draw::new(11);
        let entry = entry("MemoryBankFusion");
        let weights = draw::weights(entry, precision, &sizes, &mut draw).unwrap();
        let rows = match (&weights[0].content, &weights[1].content) {
            (Content::F16(x), _) => halves::to_floats(x),
            (Content::I8(x), Content::F32(scale)) => {
                let at = |(o, k): (usize, usize)| f32::from(x[k * b + o]) * scale[o];
                (0..b)
                    .flat_map(|o| (0..d).map(move |k| (o, k)))
                    .map(at)
                    .collect()
            }
            _ => panic!("no bank"),
        };
        (name, weights, rows)
    };
    vec![
        of(Precision::Float, "MemoryBankFusion"),
        of(Precision::Int8, "MemoryBankFusionInt8"),
    ]
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

#[test]
fn what_does_not_fit_is_refused_with_a_sentence() {
    for entry in CATALOGUE {
        let sizes = &sizes(entry)[1];
        for precision in Precision::ALL {
            let Some(name) = entry.function(precision) else {
                continue;
            };
            let mut draw = Draw::new(13);
            let weights = draw::weights(entry, precision, sizes, &mut draw).unwrap();
            let inputs = draw::inputs(entry, sizes, &mut draw).unwrap();
            let settings = settings(entry, sizes);
            let made = |weights: &[Drawn]| Fusion::new(&name, tensors(weights), &settings);
            let refused = |error: FusionError| {
                let sentence = error.to_string();
                assert!(
                    sentence.contains("; ") && sentence.len() > 40,
                    "{name}: {sentence:?}"
                );
            };
            if !weights.is_empty() {
                refused(made(&weights[1..]).unwrap_err());
            }
            let more = [weights.clone(), vec![f32s(&[1], vec![0.0])]].concat();
            refused(made(&more).unwrap_err());
            for at in 0..weights.len() {
                let mut wrong = weights.clone();
                wrong[at].dims.push(2);
                refused(made(&wrong).unwrap_err());
                let mut wrong = weights.clone();
                if let Content::F32(x) = &mut wrong[at].content {
                    x[0] = f32::NAN;
                    refused(made(&wrong).unwrap_err());
                }
            }
            let fusion = made(&weights).unwrap();
            let answer =
                |inputs: &[Rows<'_>]| fusion.run(inputs, &mut Scratch::default(), &mut Vec::new());
            refused(answer(&rows(&inputs)[1..]).unwrap_err());
            for at in 0..inputs.len() {
                let mut wrong = inputs.clone();
                wrong[at].data[0] = f32::INFINITY;
                refused(answer(&rows(&wrong)).unwrap_err());
                let mut wrong = rows(&inputs);
                wrong[at] = Rows::new(&[], inputs[at].cols).unwrap();
                refused(answer(&wrong).unwrap_err());
                let wider = vec![0.5; inputs[at].rows().rows() * (inputs[at].cols + 1)];
                let mut wrong = rows(&inputs);
                wrong[at] = Rows::new(&wider, inputs[at].cols + 1).unwrap();
                // the inner product alone takes any width, if both have it
                refused(answer(&wrong).unwrap_err());
            }
        }
    }
    let unknown = Fusion::new("NoFusion", Vec::new(), &[]).unwrap_err();
    assert_eq!(unknown, FusionError::Unknown);
}

#[test]
fn settings_have_ranges() {
    let (n, m, d, e) = ATTENDED;
    let sizes = Sizes::of(&[('n', n), ('m', m), ('d', d), ('e', e)]);
    let name = ATTENTIONS[0];
    let weights = draw::weights(entry(name), Precision::Float, &sizes, &mut Draw::new(1)).unwrap();
    for heads in [0.0, 3.0, 1e9, f64::NAN] {
        let made = Fusion::new(name, tensors(&weights), &[("heads", heads)]);
        assert!(
            matches!(made, Err(FusionError::Setting { name: "heads", .. })),
            "{heads}"
        );
    }
    let (name, weights, _) = banks(20, 8).swap_remove(0);
    let made = Fusion::new(name, tensors(&weights), &[("k", 21.0)]);
    assert!(matches!(made, Err(FusionError::Setting { name: "k", .. })));
    let mut outside = hashes(&mut Draw::new(1), 4, 8).to_vec();
    outside.extend(hashes(&mut Draw::new(2), 4, 8));
    let made = Fusion::new("CompactBilinearFusion", tensors(&outside), &[("size", 2.0)]);
    assert!(matches!(made, Err(FusionError::Content { .. })));
}

/// The same ONNX file by name, in our kernel, and by its body, in tract.
#[test]
fn kernels_agree_with_the_bodies_in_tract() {
    use demeanor::model::{Content as Values, OnnxFile, Runner, example};
    for entry in CATALOGUE {
        let sizes = &sizes(entry)[2];
        for precision in Precision::ALL {
            let Some(name) = entry.function(precision) else {
                continue;
            };
            let mut draw = Draw::new(14);
            let weights = draw::weights(entry, precision, sizes, &mut draw).unwrap();
            let inputs = draw::inputs(entry, sizes, &mut draw).unwrap();
            let settings = settings(entry, sizes);
            let onnx = example::onnx(entry, precision, sizes, &weights, &settings).unwrap();
            let given: Vec<Values> = inputs
                .iter()
                .map(|i| Values::Floats(vec![i.rows().rows(), i.cols], i.data.clone()))
                .collect();
            let answer = |runner| {
                let file = OnnxFile::of_bytes(&name, &onnx, runner);
                let file = file.unwrap_or_else(|e| panic!("{name} {runner:?}: {e}"));
                file.run(&given)
                    .unwrap_or_else(|e| panic!("{name} {runner:?}: {e}"))
            };
            let (ours, tract) = (answer(Runner::Ours), answer(Runner::Tract));
            assert_eq!(ours.len(), entry.outputs.len(), "{name}");
            for (ours, tract) in ours
                .iter()
                .zip(&tract)
                .filter(|(o, _)| !o.values.is_empty())
            {
                assert_eq!(ours.dims, tract.dims, "{name}");
                let bound = if precision == Precision::Int8 {
                    0.02
                } else {
                    2e-5
                };
                let off = off(&ours.values, &wide(&tract.values));
                assert!(off <= bound, "{name}: off by {off:e}");
            }
        }
    }
}

#[test]
fn the_page_is_as_new_as_the_registry() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/fusion/CATALOGUE.md");
    let stored = std::fs::read_to_string(path).unwrap();
    assert!(
        stored == demeanor::fusion::page::page(),
        "run `demeanor fusion --page > src/fusion/CATALOGUE.md`"
    );
}

/// The files of `models/recipes/catalogue/export.py`: ONNX Runtime ran the bodies, our kernels
/// run the calls.
#[test]
fn kernels_agree_with_onnx_runtime() {
    use demeanor::model::{Content as Values, OnnxFile, Runner};
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/catalogue");
    for entry in CATALOGUE {
        for name in Precision::ALL.iter().filter_map(|p| entry.function(*p)) {
            let file = OnnxFile::open(&folder.join(format!("{name}.onnx")), Runner::Ours).unwrap();
            let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
            let stored: serde_json::Value = serde_json::from_str(&text).unwrap();
            let array = |v: &serde_json::Value| -> (Vec<usize>, Vec<f64>) {
                let numbers = |key: &str| v[key].as_array().unwrap().iter();
                let dims = numbers("dims").map(|d| d.as_u64().unwrap() as usize);
                (
                    dims.collect(),
                    numbers("values").map(|x| x.as_f64().unwrap()).collect(),
                )
            };
            let given: Vec<Values> = file
                .inputs()
                .iter()
                .map(|wanted| {
                    let (dims, values) = array(&stored["inputs"][&wanted.name]);
                    Values::Floats(dims, values.into_iter().map(|v| v as f32).collect())
                })
                .collect();
            let found = file.run(&given).unwrap();
            for (output, found) in file.outputs().iter().zip(&found) {
                let (dims, wanted) = array(&stored["outputs"][output]);
                if found.values.is_empty() {
                    assert!(
                        entry.family == "label_guided" && output == "attention",
                        "{name}"
                    );
                    continue;
                }
                assert_eq!(found.dims, dims, "{name} {output}");
                let bound = if name.ends_with("Int8") { 0.02 } else { 2e-5 };
                let off = off(&found.values, &wanted);
                assert!(off <= bound, "{name} {output}: off by {off:e}");
            }
        }
    }
}
