//! What the tests of the fusion catalogue share.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use demeanor::fusion::research::draw::{self, Content, Draw, Drawn, Input};
use demeanor::fusion::shape::Sizes;
use demeanor::fusion::{CATALOGUE, Entry, Fusion, Precision, Rows, Scratch, Tensor};
use demeanor::kernels::{Kernels, Level, float16};

pub fn levels() -> Vec<Kernels> {
    let all = Level::ALL.into_iter().filter_map(Kernels::for_level);
    all.collect()
}

pub fn entry(name: &str) -> &'static Entry {
    CATALOGUE.iter().find(|e| e.name == name).unwrap()
}

pub fn tensors(weights: &[Drawn]) -> Vec<Tensor<'_>> {
    weights.iter().map(Drawn::tensor).collect()
}

pub fn rows(inputs: &[Input]) -> Vec<Rows<'_>> {
    inputs.iter().map(Input::rows).collect()
}

pub fn f32s(dims: &[usize], data: Vec<f32>) -> Drawn {
    Drawn {
        name: String::new(),
        dims: dims.to_vec(),
        content: Content::F32(data),
    }
}

pub fn run(
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
pub fn off(found: &[f32], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let size = wanted.iter().fold(1.0_f64, |top, w| top.max(w.abs()));
    let errors = found
        .iter()
        .zip(wanted)
        .map(|(f, w)| (f64::from(*f) - w).abs());
    errors.fold(0.0, f64::max) / size
}

pub fn hashes(draw: &mut Draw, count: usize, d: usize) -> [Drawn; 2] {
    let signs = draw.below(count, 2).into_iter();
    let signs = signs.map(|s| if s == 0 { -1.0 } else { 1.0 }).collect();
    let hash = Drawn {
        name: String::new(),
        dims: vec![count],
        content: Content::I64(draw.below(count, d)),
    };
    [hash, f32s(&[count], signs)]
}

pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

pub const ATTENTIONS: [&str; 3] = [
    "CrossAttentionSoftmaxFusion",
    "CrossAttentionSparsemaxFusion",
    "CrossAttentionEntmax15Fusion",
];

pub const ATTENDED: (usize, usize, usize, usize) = (5, 13, 32, 24);

pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
}

/// A bank at both precisions: weights, and its rows as they are stored.
pub fn banks(b: usize, d: usize) -> Vec<(&'static str, Vec<Drawn>, Vec<f32>)> {
    let sizes = Sizes::of(&[('b', b), ('d', d), ('c', 2)]);
    let of = |precision, name| {
        let mut draw = Draw::new(11);
        let entry = entry("MemoryBankFusion");
        let weights = draw::weights(entry, precision, &sizes, &mut draw).unwrap();
        let rows = match (&weights[0].content, &weights[1].content) {
            (Content::F16(x), _) => float16::to_floats(x),
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
