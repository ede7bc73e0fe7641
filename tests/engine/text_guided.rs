//! MVCN's unit and its maps to the simplex say what an independent engine says: ONNX Runtime on
//! the function's body, and float64 for the maps (models/recipes/references/text_guided_unit.py).
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::*;
use demeanor::fusion::{Call, Data, FusionError, Rows, Scratch, Simplex, Tensor, function};
use demeanor::kernels;
use demeanor::model::{Array, OnnxFile, Runner};
use serde_json::Value;

const D: usize = 16;

fn reference() -> Value {
    let text = std::fs::read_to_string(repo("tests/data/text_guided_unit.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn floats(array: &Value) -> Vec<f32> {
    let values = array["values"].as_array().unwrap().iter();
    values.map(|v| v.as_f64().unwrap() as f32).collect()
}

/// Parts of the functions in their order: maps, then a norm.
const OWN: [&str; 3] = ["self", "self_out", "ln1"];
const GUIDE: [&str; 4] = ["query", "key_value", "guide_out", "ln2"];
const FEED: [&str; 3] = ["up", "down", "ln3"];

/// The weights of these parts by name; they live as long as the test.
fn weights(reference: &Value, parts: &[&str]) -> Vec<(String, Tensor<'static>)> {
    let of = |name: String| {
        let values = floats(&reference["weights"][&name]);
        let data = if name.ends_with("_w") {
            Data::I8(values.iter().map(|w| *w as i8).collect::<Vec<_>>().leak())
        } else {
            Data::F32(values.leak())
        };
        let dims = vec![D];
        (name, Tensor { dims, data })
    };
    let named = parts.iter().flat_map(|part| {
        let ends: &[&str] = match part.starts_with("ln") {
            true => &["gamma", "beta"],
            false => &["w", "scale", "bias"],
        };
        ends.iter().map(move |end| format!("{part}_{end}"))
    });
    named.map(of).collect()
}

fn unit(
    name: &str,
    heads: u64,
    weights: Vec<(String, Tensor<'static>)>,
) -> Result<Box<dyn Call>, FusionError> {
    let weights = weights.into_iter().map(|(_, w)| w).collect();
    function(name)
        .unwrap()
        .build(weights, &[("heads", heads as f64)])
}

/// Inputs are quantised at run time: a value on the border between two codes may fall either
/// way, which moves an output by a few hundredths.
fn near(found: &[f32], wanted: &[f32], bound: f32, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (f, w) in found.iter().zip(wanted) {
        assert!((f - w).abs() <= bound, "{what}: {f} where {w} is right");
    }
}

fn run(reference: &Value, name: &str, inputs: &[&str]) -> Vec<Vec<f32>> {
    let parts = match inputs.len() {
        1 => [&OWN[..], &FEED].concat(),
        _ => [&OWN[..], &GUIDE, &FEED].concat(),
    };
    let heads = reference["heads"].as_u64().unwrap();
    let unit = unit(name, heads, weights(reference, &parts)).unwrap();
    let inputs: Vec<Vec<f32>> = inputs
        .iter()
        .map(|name| floats(&reference["inputs"][name]))
        .collect();
    let rows: Vec<Rows<'_>> = inputs.iter().map(|x| Rows::new(x, D).unwrap()).collect();
    let mut out = vec![Vec::new(); rows.len()];
    unit.run(&rows, &mut Scratch::default(), &mut out).unwrap();
    out
}

fn guided(reference: &Value, name: &str) -> [Vec<f32>; 2] {
    run(reference, name, &["x", "patches"]).try_into().unwrap()
}

#[test]
fn the_unit_says_what_onnx_runtime_says_with_every_map() {
    let reference = reference();
    for name in [
        "TextGuidedUnit",
        "TextGuidedUnitSparsemax",
        "TextGuidedUnitSoftmax",
    ] {
        let [y, attention] = guided(&reference, name);
        let wanted = &reference["units"][name];
        near(&y, &floats(&wanted["y"]), 1e-4, name);
        near(&attention, &floats(&wanted["attention"]), 1e-4, name);
        for row in attention.chunks_exact(attention.len() / (y.len() / D)) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{name}");
        }
    }
    let zeros = |map: &str| {
        let [_, attention] = guided(&reference, &format!("TextGuidedUnit{map}"));
        attention.iter().filter(|w| **w == 0.0).count()
    };
    assert!(zeros("Sparsemax") >= zeros(""));
    assert!(zeros("") > 0 && zeros("Softmax") == 0);
}

#[test]
fn the_unit_without_a_picture_says_what_onnx_runtime_says() {
    let reference = reference();
    let out = run(&reference, "SelfUnit", &["x"]);
    let wanted = floats(&reference["units"]["SelfUnit"]["y"]);
    near(&out[0], &wanted, 1e-4, "SelfUnit");
}

/// The order of the patches is no information, and patches beyond memory are none of ours.
#[test]
fn patches_may_come_in_any_order() {
    let mut turned = reference();
    let [y, _] = guided(&turned, "TextGuidedUnit");
    let patches = floats(&turned["inputs"]["patches"]);
    let mut rows: Vec<&[f32]> = patches.chunks_exact(D).collect();
    rows.rotate_left(2);
    turned["inputs"]["patches"]["values"] = serde_json::json!(rows.concat());
    let [again, _] = guided(&turned, "TextGuidedUnit");
    near(&again, &y, 1e-5, "turned patches");
}

#[test]
fn the_file_runs_as_one_step_of_ours() {
    let reference = reference();
    let file = std::fs::read(repo("tests/data/text_guided_unit.onnx")).unwrap();
    let model = OnnxFile::of_bytes("unit", &file, Runner::Ours).unwrap();
    let placed = model.placed();
    assert!(placed.iter().all(|p| p.tract.is_none()), "{placed:?}");
    assert_eq!(placed[0].kernel, "int8 text-guided unit");
    let input = |name: &str| {
        let x = floats(&reference["inputs"][name]);
        Array::Floats(vec![x.len() / D, D], x)
    };
    let outputs = model.run(&[input("x"), input("patches")]).unwrap();
    let wanted = &reference["units"]["TextGuidedUnit"];
    near(&outputs[0].values, &floats(&wanted["y"]), 1e-4, "y");
    near(
        &outputs[1].values,
        &floats(&wanted["attention"]),
        1e-4,
        "attention",
    );
}

#[test]
fn maps_to_the_simplex_agree_with_float64() {
    for row in reference()["pi"].as_array().unwrap() {
        for (pi, name) in [
            (Simplex::Softmax, "softmax"),
            (Simplex::Sparsemax, "sparsemax"),
            (Simplex::Entmax15, "entmax"),
        ] {
            let mut p = floats(&row["scores"]);
            pi.apply(kernels::active(), &mut p);
            near(&p, &floats(&row[name]), 5e-6, name);
        }
    }
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let whole = || weights(&reference(), &[&OWN[..], &FEED].concat());
    let refused = |heads, weights| unit("SelfUnit", heads, weights).unwrap_err().to_string();
    assert!(refused(3, whole()).contains("3 heads cannot share rows of 16"));
    assert!(refused(0, whole()).contains("0 heads"));
    let with = |name: &str, data: fn(Data<'static>) -> Data<'static>| {
        let mut all = whole();
        let (_, found) = all.iter_mut().find(|(n, _)| n == name).unwrap();
        found.data = data(found.data);
        all
    };
    let cut = with("self_out_w", |data| match data {
        Data::I8(x) => Data::I8(&x[1..]),
        other => other,
    });
    assert!(refused(2, cut).contains("self_out has 255 values"));
    let wild = with("self_out_scale", |_| Data::F32(&[f32::NAN; D]));
    assert!(refused(2, wild).contains("infinite or undefined"));
    let floats = with("up_w", |_| Data::F32(&[0.0; D]));
    assert!(refused(2, floats).contains("up is no tensor of int8"));
    let mut short = whole();
    short.pop();
    assert!(refused(2, short).contains("beta is missing"));
    let long = [whole(), whole()].concat();
    assert!(refused(2, long).contains("more weights than it has"));
}
