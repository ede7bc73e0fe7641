//! The reader of spans says what independent engines say: ONNX Runtime on the function's body, and
//! torch, with the match head written naively (models/recipes/references/queried_spans.py).
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::*;
use demeanor::model::{Array, OnnxFile, Runner};
use serde_json::Value;

const D: usize = 24;

fn reference() -> Vec<Value> {
    let text = std::fs::read_to_string(repo("tests/data/queried_spans.json")).unwrap();
    let reference: Value = serde_json::from_str(&text).unwrap();
    reference["cases"].as_array().unwrap().clone()
}

fn model() -> OnnxFile {
    let file = std::fs::read(repo("tests/data/queried_spans.onnx")).unwrap();
    OnnxFile::of_bytes("reader", &file, Runner::Ours).unwrap()
}

fn floats(array: &Value) -> Vec<f32> {
    let values = array["values"].as_array().unwrap().iter();
    values.map(|v| v.as_f64().unwrap() as f32).collect()
}

#[test]
fn every_output_is_that_of_onnx_runtime_and_of_the_naive_module() {
    let model = model();
    let placed = model.placed();
    assert!(placed.iter().all(|p| p.tract.is_none()), "{placed:?}");
    assert_eq!(placed[0].kernel, "int8 queried spans");
    let cases = reference();
    let empty = |case: &&Value| floats(&case["pictures"]).is_empty();
    assert!(
        cases.iter().any(|case| empty(&case)),
        "a picture without words"
    );
    for case in &cases {
        let input = |name: &str| {
            let x = floats(&case[name]);
            Array::Floats(vec![x.len() / D, D], x)
        };
        let outputs = model.run(&[input("tokens"), input("pictures")]).unwrap();
        for (name, output) in ["exist", "start", "end", "match"].iter().zip(outputs) {
            let (dims, values) = (output.dims, output.values);
            let wanted = &case["onnxruntime"][name];
            assert_eq!(serde_json::json!(dims), wanted["shape"], "{name}");
            // a code next to a rounding edge may fall on either side, and so may its sums
            for (engine, bound) in [("onnxruntime", 0.02), ("torch", 0.1)] {
                let wanted = floats(&case[engine][name]);
                assert_eq!(values.len(), wanted.len(), "{name}");
                for (found, right) in values.iter().zip(&wanted) {
                    let off = (found - right).abs();
                    assert!(off <= bound, "{name}: {found} where {engine} has {right}");
                }
            }
        }
    }
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let model = model();
    let rows = |n: usize, d: usize| Array::Floats(vec![n, d], vec![0.5; n * d]);
    assert!(model.run(&[rows(3, D), rows(2, D)]).is_ok());
    assert!(model.run(&[rows(0, D), rows(2, D)]).is_err());
    assert!(model.run(&[rows(3, D + 1), rows(2, D)]).is_err());
    assert!(model.run(&[rows(3, D), rows(2, D - 1)]).is_err());
}
