//! The equations of the registry in f64, one after the other, from raw weights. Tests hold the
//! kernels to them; nothing here is fast, and nothing is shared with the kernels.

use crate::fusion::catalogue::Precision;
use crate::fusion::parameters::{Data, Parameters};
use crate::fusion::{FusionError, Rows};
use crate::kernels::float16;

/// Outputs of an operator for its weights and inputs.
pub type Reference = fn(&Parameters<'_>, &[Rows<'_>]) -> Result<Vec<Vec<f64>>, FusionError>;

/// The equation of a registry's entry; of a name that is none, one that says so.
pub(in crate::fusion) fn of(name: &str) -> Reference {
    match name {
        "InnerProductFusion" => inner,
        "ProjectedInnerProductFusion" => projected_inner,
        "ConcatFusion" => concat,
        "SumFusion" => sum,
        "MaxFusion" => max,
        "MultiplicativeFusion" => multiplicative,
        "GatingFusion" => gating,
        "LstmFusion" => lstm,
        "AttentionFusion" => attention,
        "ModulationFusion" => modulation,
        "BilinearFusion" => bilinear,
        "BilinearGatedFusion" => bilinear_gated,
        "LowRankBilinearFusion" => low_rank,
        "CompactBilinearFusion" => compact,
        "EarlyFusion" => early,
        "MiddleFusion" => middle,
        "LateFusion" => late,
        "CrossAttentionSoftmaxFusion" => cross_softmax,
        "CrossAttentionSparsemaxFusion" => cross_sparsemax,
        "CrossAttentionEntmax15Fusion" => cross_entmax15,
        "CrossAttentionFusion" => label_cross,
        "LabelAttentionFusion" => label_label,
        "GraphMatching" => graph_matching,
        "MemoryBankFusion" => memory,
        _ => |_, _| Err(FusionError::Unknown),
    }
}

type Matrix = Vec<Vec<f64>>;
type Expected = Result<Vec<Vec<f64>>, FusionError>;

fn matrix(x: Rows<'_>) -> Matrix {
    let row = |i| x.row(i).iter().map(|v| f64::from(*v)).collect();
    (0..x.rows()).map(row).collect()
}

fn flat(x: Matrix) -> Vec<f64> {
    x.concat()
}

fn plain(given: &Parameters<'_>, name: &str) -> Result<Vec<f64>, FusionError> {
    Ok(given.plain(name)?.iter().map(|v| f64::from(*v)).collect())
}

/// A weight matrix as `[outputs, inputs]`, whatever it is stored as.
fn weight(given: &Parameters<'_>, name: &str) -> Result<Matrix, FusionError> {
    let tensor = given.tensor(name)?;
    let rows = |x: Vec<f64>| -> Matrix {
        let width = tensor.dims.last().copied().unwrap_or(1);
        x.chunks(width).map(<[f64]>::to_vec).collect()
    };
    Ok(match tensor.data {
        Data::F32(x) => rows(x.iter().map(|v| f64::from(*v)).collect()),
        Data::F16(x) => rows(float16::to_floats(x).into_iter().map(f64::from).collect()),
        Data::I64(x) => rows(x.iter().map(|v| *v as f64).collect()),
        Data::I8(x) => {
            let scale = given.plain(&format!("{name}_scale"))?;
            let of = |o: usize| {
                let column = x.iter().skip(o).step_by(scale.len());
                column
                    .map(|w| f64::from(*w) * f64::from(scale[o]))
                    .collect()
            };
            (0..scale.len()).map(of).collect()
        }
    })
}

/// What is left of `x` after `DynamicQuantizeLinear`.
fn rounded(x: &Matrix) -> Matrix {
    let all = || x.iter().flatten().copied();
    let (low, high) = (all().fold(0.0, f64::min), all().fold(0.0, f64::max));
    let scale = f64::from(((high - low) / 255.0) as f32);
    if scale <= 0.0 {
        return x.clone();
    }
    let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
    let code = |v: &f64| ((v / scale).round_ties_even() + zero).clamp(0.0, 255.0);
    let row = |row: &Vec<f64>| row.iter().map(|v| (code(v) - zero) * scale).collect();
    x.iter().map(row).collect()
}

fn product(x: &Matrix, w: &Matrix) -> Matrix {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum();
    let row = |x: &Vec<f64>| w.iter().map(|w| dot(x, w)).collect();
    x.iter().map(row).collect()
}

/// `W·x + b` of each row, `x` quantised where `W` is int8.
fn linear(
    given: &Parameters<'_>,
    x: &Matrix,
    w: &str,
    b: Option<&str>,
) -> Result<Matrix, FusionError> {
    let int8 = given.precision == Precision::Int8;
    let mut y = product(
        &if int8 { rounded(x) } else { x.clone() },
        &weight(given, w)?,
    );
    if let Some(b) = b {
        let b = plain(given, b)?;
        for row in &mut y {
            row.iter_mut().zip(&b).for_each(|(y, b)| *y += b);
        }
    }
    Ok(y)
}

fn map2(a: &Matrix, b: &Matrix, f: impl Fn(f64, f64) -> f64) -> Matrix {
    let row = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect();
    a.iter().zip(b).map(row).collect()
}

fn map(a: &Matrix, f: impl Fn(f64) -> f64) -> Matrix {
    a.iter()
        .map(|row| row.iter().map(|v| f(*v)).collect())
        .collect()
}

fn beside(a: &Matrix, b: &Matrix) -> Matrix {
    a.iter()
        .zip(b)
        .map(|(a, b)| [a.clone(), b.clone()].concat())
        .collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn relu(x: f64) -> f64 {
    x.max(0.0)
}

fn row_sums(x: &Matrix) -> Vec<f64> {
    x.iter().map(|row| row.iter().sum()).collect()
}

fn inner(_: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let products = map2(&matrix(inputs[0]), &matrix(inputs[1]), |a, b| a * b);
    Ok(vec![row_sums(&products)])
}

fn projected_inner(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let a = linear(given, &matrix(inputs[0]), "w_u", None)?;
    let b = linear(given, &matrix(inputs[1]), "w_v", None)?;
    Ok(vec![row_sums(&map2(&a, &b, |a, b| a * b))])
}

fn concat(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let x = beside(&matrix(inputs[0]), &matrix(inputs[1]));
    Ok(vec![flat(linear(given, &x, "w", Some("b"))?)])
}

fn sum(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let a = linear(given, &matrix(inputs[0]), "w_u", None)?;
    let b = linear(given, &matrix(inputs[1]), "w_v", Some("b"))?;
    Ok(vec![flat(map2(&a, &b, |a, b| a + b))])
}

fn branches(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Result<(Matrix, Matrix), FusionError> {
    let a = linear(given, &matrix(inputs[0]), "w_u", Some("b_u"))?;
    Ok((a, linear(given, &matrix(inputs[1]), "w_v", Some("b_v"))?))
}

fn max(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let (a, b) = branches(given, inputs)?;
    Ok(vec![flat(map2(&a, &b, f64::max))])
}

fn multiplicative(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let (a, b) = branches(given, inputs)?;
    Ok(vec![flat(map2(&a, &b, |a, b| a * b))])
}

fn gating(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let (a, b) = branches(given, inputs)?;
    Ok(vec![flat(map2(&a, &b, |a, b| sigmoid(a) * b))])
}

fn lstm(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let (a, b) = branches(given, inputs)?;
    Ok(vec![flat(map2(&a, &b, |a, b| a.tanh() * b))])
}

fn attention(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let (a, b) = branches(given, inputs)?;
    let scorer = plain(given, "scorer")?;
    let score = |row: &Vec<f64>| {
        row.iter()
            .zip(&scorer)
            .map(|(v, w)| v.tanh() * w)
            .sum::<f64>()
    };
    let mixed = a.iter().zip(&b).map(|(a, b)| {
        let weights = softmax(&[score(a), score(b)]);
        let of = |(a, b): (&f64, &f64)| weights[0] * a + weights[1] * b;
        a.iter().zip(b).map(of).collect()
    });
    Ok(vec![flat(mixed.collect())])
}

fn modulation(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let (u, v) = (matrix(inputs[0]), matrix(inputs[1]));
    let (a, b) = (plain(given, "a")?, plain(given, "b")?);
    let b_0 = plain(given, "b_0")?[0];
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let rows = u.iter().zip(&v).map(|(u, v)| {
        let alpha = sigmoid(dot(&a, u) + dot(&b, v) + b_0);
        let (u, v) = (
            u.iter().map(|x| alpha * x),
            v.iter().map(|x| (1.0 - alpha) * x),
        );
        u.chain(v).collect()
    });
    Ok(vec![flat(rows.collect())])
}

fn bilinear_of(given: &Parameters<'_>, u: &Matrix, v: &Matrix) -> Expected {
    let bias = plain(given, "b")?;
    let products = linear(given, v, "w", None)?;
    let rows = u.iter().zip(&products).map(|(u, products)| {
        let of = |(products, b): (&[f64], &f64)| {
            products.iter().zip(u).map(|(t, u)| t * u).sum::<f64>() + b
        };
        products.chunks(u.len()).zip(&bias).map(of).collect()
    });
    Ok(vec![flat(rows.collect())])
}

fn bilinear(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    bilinear_of(given, &matrix(inputs[0]), &matrix(inputs[1]))
}

fn bilinear_gated(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    bilinear_of(given, &matrix(inputs[0]), &map(&matrix(inputs[1]), sigmoid))
}

fn low_rank(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let a = linear(given, &matrix(inputs[0]), "w_u", None)?;
    let b = linear(given, &matrix(inputs[1]), "w_v", None)?;
    let products = map2(&a, &b, |a, b| a * b);
    Ok(vec![flat(linear(given, &products, "w_p", Some("b"))?)])
}

/// The count sketch of the outer product itself.
fn compact(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let (u, v, d) = (matrix(inputs[0]), matrix(inputs[1]), given.size('d'));
    let (h_u, h_v) = (given.indices("h_u")?, given.indices("h_v")?);
    let (s_u, s_v) = (plain(given, "s_u")?, plain(given, "s_v")?);
    let rows = u.iter().zip(&v).map(|(u, v)| {
        let mut z = vec![0.0; d];
        for (i, u) in u.iter().enumerate() {
            for (j, v) in v.iter().enumerate() {
                let place = (h_u[i] + h_v[j]) as usize % d;
                z[place] += s_u[i] * s_v[j] * u * v;
            }
        }
        z
    });
    Ok(vec![flat(rows.collect())])
}

fn early(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let x = beside(&matrix(inputs[0]), &matrix(inputs[1]));
    let hidden = map(&linear(given, &x, "w_1", Some("b_1"))?, relu);
    Ok(vec![flat(map(
        &linear(given, &hidden, "w_2", Some("b_2"))?,
        sigmoid,
    ))])
}

fn middle(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let (a, b) = branches(given, inputs)?;
    let hidden = map(&beside(&a, &b), relu);
    Ok(vec![flat(map(
        &linear(given, &hidden, "w_2", Some("b_2"))?,
        sigmoid,
    ))])
}

fn late(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let (a, b) = branches(given, inputs)?;
    let a = map(&linear(given, &map(&a, relu), "w_2", Some("b_2"))?, sigmoid);
    let b = map(&linear(given, &map(&b, relu), "v_2", Some("b_3"))?, sigmoid);
    Ok(vec![flat(map2(&a, &b, |a, b| (a + b) / 2.0))])
}

fn softmax(z: &[f64]) -> Vec<f64> {
    let top = z.iter().copied().fold(f64::MIN, f64::max);
    let total: f64 = z.iter().map(|z| (z - top).exp()).sum();
    z.iter().map(|z| (z - top).exp() / total).collect()
}

/// τ by bisection, so that `max(z − τ, 0)^power` sums to 1.
fn thresholded(z: &[f64], power: i32) -> Vec<f64> {
    let top = z.iter().copied().fold(f64::MIN, f64::max);
    let at = |tau: f64| -> Vec<f64> {
        z.iter()
            .map(|z| (z - top - tau).max(0.0).powi(power))
            .collect()
    };
    let (mut low, mut high) = (-1.0, 0.0);
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if at(middle).iter().sum::<f64>() > 1.0 {
            low = middle
        } else {
            high = middle
        }
    }
    at(low)
}

fn sparsemax(z: &[f64]) -> Vec<f64> {
    thresholded(z, 1)
}

fn entmax15(z: &[f64]) -> Vec<f64> {
    let halved: Vec<f64> = z.iter().map(|z| z / 2.0).collect();
    thresholded(&halved, 2)
}

/// Masked keys are left out, not given a large negative score.
fn cross(given: &Parameters<'_>, inputs: &[Rows<'_>], pi: fn(&[f64]) -> Vec<f64>) -> Expected {
    let (x, y, keep) = (matrix(inputs[0]), matrix(inputs[1]), inputs[2].data());
    let heads = given.setting("heads") as usize;
    let q = linear(given, &x, "w_q", Some("b_q"))?;
    let k = linear(given, &y, "w_k", Some("b_k"))?;
    let v = linear(given, &y, "w_v", Some("b_v"))?;
    let width = given.size('d') / heads;
    let kept: Vec<usize> = (0..y.len()).filter(|j| keep[*j] >= 0.5).collect();
    let mut context = vec![Vec::new(); x.len()];
    let mut attention = vec![vec![0.0; y.len()]; x.len()];
    for head in 0..heads {
        let columns = head * width..(head + 1) * width;
        for (i, q) in q.iter().enumerate() {
            let score = |j: &usize| {
                let products = columns.clone().map(|c| q[c] * k[*j][c]);
                products.sum::<f64>() / (width as f64).sqrt()
            };
            let weights = pi(&kept.iter().map(score).collect::<Vec<f64>>());
            let mix = |c: usize| {
                kept.iter()
                    .zip(&weights)
                    .map(|(j, w)| w * v[*j][c])
                    .sum::<f64>()
            };
            context[i].extend(columns.clone().map(mix));
            for (j, w) in kept.iter().zip(&weights) {
                attention[i][*j] += w / heads as f64;
            }
        }
    }
    let z = linear(given, &context, "w_o", Some("b_o"))?;
    Ok(vec![flat(z), flat(attention)])
}

fn cross_softmax(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    cross(given, inputs, softmax)
}

fn cross_sparsemax(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    cross(given, inputs, sparsemax)
}

fn cross_entmax15(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    cross(given, inputs, entmax15)
}

fn cosines(x: &Matrix, labels: &Matrix) -> Matrix {
    let length = |row: &Vec<f64>| row.iter().map(|v| v * v).sum::<f64>().sqrt();
    let mut g = product(x, labels);
    for (g, x) in g.iter_mut().zip(x) {
        for (g, label) in g.iter_mut().zip(labels) {
            *g /= length(x) * length(label);
        }
    }
    g
}

fn labelled(
    given: &Parameters<'_>,
    inputs: &[Rows<'_>],
    scores: impl Fn(&Matrix, &Matrix, &Matrix, &Matrix) -> Result<Matrix, FusionError>,
) -> Expected {
    let (text, speech) = (matrix(inputs[0]), matrix(inputs[1]));
    let g_text = cosines(&text, &weight(given, "label_text")?);
    let g_speech = cosines(&speech, &weight(given, "label_speech")?);
    let scores = scores(&text, &speech, &g_text, &g_speech)?;
    let attention: Matrix = scores.iter().map(|row| softmax(row)).collect();
    let d = given.size('d');
    let mut v = vec![0.0; 2 * d];
    for (row, weights) in text.iter().zip(&attention) {
        for c in 0..d {
            v[c] += row[c] / text.len() as f64;
            let mixed: f64 = weights.iter().zip(&speech).map(|(w, s)| w * s[c]).sum();
            v[d + c] += mixed / text.len() as f64;
        }
    }
    let mut logits = product(&vec![v], &weight(given, "classifier")?).concat();
    let bias = plain(given, "bias")?;
    logits.iter_mut().zip(&bias).for_each(|(l, b)| *l += b);
    Ok(vec![logits, flat(attention), flat(g_text), flat(g_speech)])
}

fn label_cross(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    labelled(given, inputs, |text, speech, _, _| {
        let w = weight(given, "w")?;
        let turned: Matrix = (0..w.len())
            .map(|c| w.iter().map(|row| row[c]).collect())
            .collect();
        Ok(product(&product(text, &turned), speech))
    })
}

fn label_label(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let temperature = given.setting("temperature");
    labelled(given, inputs, |_, _, g_text, g_speech| {
        Ok(map(&product(g_text, g_speech), |s| s / temperature))
    })
}

/// A layer over a graph: `joined` says which nodes see each other.
fn graph(
    given: &Parameters<'_>,
    x: &Matrix,
    name: &str,
    joined: &dyn Fn(usize, usize) -> bool,
) -> Result<Matrix, FusionError> {
    let of = |part: &str| plain(given, &format!("{name}_{part}"));
    let (source, target) = (of("source")?, of("target")?);
    let (gamma, beta) = (of("gamma")?, of("beta")?);
    let h = linear(given, x, &format!("{name}_w"), None)?;
    let (n, d) = (x.len(), gamma.len());
    let width = d / given.setting("heads") as usize;
    let mut y = x.clone();
    for first in (0..d).step_by(width) {
        let dot =
            |i: usize, w: &[f64]| -> f64 { (first..first + width).map(|c| h[i][c] * w[c]).sum() };
        for (i, y) in y.iter_mut().enumerate() {
            let seen: Vec<usize> = (0..n).filter(|j| joined(i, *j)).collect();
            let score = |j: &usize| {
                let raw = dot(i, &target) + dot(*j, &source);
                if raw > 0.0 { raw } else { 0.2 * raw }
            };
            let weights = softmax(&seen.iter().map(score).collect::<Vec<f64>>());
            for c in first..first + width {
                let pairs = seen.iter().zip(&weights);
                y[c] += relu(pairs.map(|(j, w)| w * h[*j][c]).sum());
            }
        }
    }
    for row in &mut y {
        let mean = row.iter().sum::<f64>() / d as f64;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / d as f64;
        for (c, v) in row.iter_mut().enumerate() {
            *v = (*v - mean) / (variance + 1e-5).sqrt() * gamma[c] + beta[c];
        }
    }
    Ok(y)
}

/// `x/2·(1 + erf(x/√2))`, the error function by its series: what is beyond 6 is 0 or x.
fn gelu(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let (mut term, mut erf) = (z, z);
    for n in 1..200 {
        term *= -z * z / f64::from(n);
        erf += term / f64::from(2 * n + 1);
    }
    let erf = if z > 4.3 {
        1.0
    } else {
        erf * std::f64::consts::FRAC_2_SQRT_PI
    };
    x / 2.0 * (1.0 + erf.copysign(x))
}

fn graph_matching(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let (tokens, picture) = (matrix(inputs[0]), matrix(inputs[1]));
    let g = cosines(&tokens, &tokens);
    let n = tokens.len();
    let nearest: Vec<Vec<usize>> = (0..n)
        .map(|i| {
            let mut others: Vec<usize> = (0..n).filter(|j| *j != i).collect();
            others.sort_by(|a, b| g[i][*b].total_cmp(&g[i][*a]));
            others.truncate(4);
            others
        })
        .collect();
    let joined = |i: usize, j: usize| {
        i.abs_diff(j) <= 2 || nearest[i].contains(&j) || nearest[j].contains(&i)
    };
    let mut t = linear(given, &tokens, "text_w", Some("text_b"))?;
    let mut g = linear(given, &picture, "picture_w", Some("picture_b"))?;
    for (text, words) in [("t1", "p1"), ("t2", "p2")] {
        t = graph(given, &t, text, &joined)?;
        g = graph(given, &g, words, &|_, _| true)?;
    }
    g.extend(t);
    let root = (given.size('d') as f64).sqrt();
    let query = linear(given, &g, "query_w", None)?;
    let scores = product(&query, &linear(given, &g, "key_w", None)?);
    let soft = |row: &Vec<f64>| softmax(&row.iter().map(|s| s / root).collect::<Vec<f64>>());
    let attention: Matrix = scores.iter().map(soft).collect();
    let value = linear(given, &g, "value_w", None)?;
    for (row, weights) in g.iter_mut().zip(&attention) {
        for (c, v) in row.iter_mut().enumerate() {
            *v += weights
                .iter()
                .zip(&value)
                .map(|(w, v)| w * v[c])
                .sum::<f64>();
        }
    }
    let weighed = map(&linear(given, &g, "weigh_w", Some("weigh_b"))?, gelu);
    let (score, bias) = (plain(given, "score_w")?, plain(given, "score_b")?[0]);
    let mark = |row: &Vec<f64>| row.iter().zip(&score).map(|(x, w)| x * w).sum::<f64>() + bias;
    let weights = softmax(&weighed.iter().map(mark).collect::<Vec<f64>>());
    let whole = |c: usize| g.iter().zip(&weights).map(|(row, w)| w * row[c]).sum();
    let whole = vec![(0..given.size('d')).map(whole).collect::<Vec<f64>>()];
    let q = map(&linear(given, &whole, "read_w", Some("read_b"))?, gelu);
    Ok(vec![flat(q), weights, flat(attention)])
}

/// Brute force: every distance, sorted.
fn memory(given: &Parameters<'_>, inputs: &[Rows<'_>]) -> Expected {
    let (bank, answers) = (weight(given, "bank")?, weight(given, "answers")?);
    let (k, tau) = (given.setting("k") as usize, given.setting("tau"));
    let mut y = Vec::new();
    for x in matrix(inputs[0]) {
        let length = x.iter().map(|v| v * v).sum::<f64>().sqrt();
        let distance = |b: &Vec<f64>| {
            let squares = x.iter().zip(b).map(|(x, b)| (x / length - b).powi(2));
            squares.sum::<f64>()
        };
        let mut near: Vec<(usize, f64)> = bank.iter().map(distance).enumerate().collect();
        near.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        near.truncate(k);
        let weights = softmax(&near.iter().map(|(_, d)| -d / tau).collect::<Vec<f64>>());
        let mut answer = vec![0.0; answers[0].len()];
        for ((index, _), weight) in near.iter().zip(weights) {
            answer
                .iter_mut()
                .zip(&answers[*index])
                .for_each(|(y, a)| *y += weight * a);
        }
        y.extend(answer);
    }
    Ok(vec![y])
}
