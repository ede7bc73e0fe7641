//! MVCN's unit and its maps to the simplex say what an independent engine says: ONNX Runtime on
//! the function's body, and float64 for the maps (models/recipes/references/text_guided_unit.py).
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod support;

use demeanor::fusion::text_guided::{
    FeedWeights, GuideWeights, Map, Norm, SelfUnit, SelfWeights, TextGuidedUnit, Workspace,
};
use demeanor::fusion::{Rows, Simplex};
use demeanor::kernels;
use demeanor::model::{Content, OnnxFile, Runner};
use serde_json::Value;
use support::*;

const D: usize = 16;

fn reference() -> Value {
    let text = std::fs::read_to_string(repo("tests/data/text_guided_unit.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn floats(array: &Value) -> Vec<f32> {
    let values = array["values"].as_array().unwrap().iter();
    values.map(|v| v.as_f64().unwrap() as f32).collect()
}

/// Weights that live as long as the test.
struct Weights(Value);

impl Weights {
    fn floats(&self, name: &str) -> &'static [f32] {
        floats(&self.0[name]).leak()
    }

    fn map(&self, name: &str) -> Map<'static> {
        let bytes = floats(&self.0[format!("{name}_w")]);
        let bytes: Vec<i8> = bytes.into_iter().map(|w| w as i8).collect();
        Map {
            weights: bytes.leak(),
            scale: self.floats(&format!("{name}_scale")),
            bias: self.floats(&format!("{name}_bias")),
        }
    }

    fn norm(&self, name: &str) -> Norm<'static> {
        Norm {
            gamma: self.floats(&format!("{name}_gamma")),
            beta: self.floats(&format!("{name}_beta")),
        }
    }

    fn own(&self) -> SelfWeights<'static> {
        SelfWeights {
            query_key_value: self.map("self"),
            out: self.map("self_out"),
            norm: self.norm("ln1"),
        }
    }

    fn guide(&self) -> GuideWeights<'static> {
        GuideWeights {
            query: self.map("query"),
            key_value: self.map("key_value"),
            out: self.map("guide_out"),
            norm: self.norm("ln2"),
        }
    }

    fn feed(&self) -> FeedWeights<'static> {
        FeedWeights {
            up: self.map("up"),
            down: self.map("down"),
            norm: self.norm("ln3"),
        }
    }
}

/// Inputs are quantised at run time: a value on the border between two codes may fall either
/// way, which moves an output by a few hundredths.
fn near(found: &[f32], wanted: &[f32], bound: f32, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (f, w) in found.iter().zip(wanted) {
        assert!((f - w).abs() <= bound, "{what}: {f} where {w} is right");
    }
}

fn guided(reference: &Value, pi: Simplex) -> (Vec<f32>, Vec<f32>) {
    let weights = Weights(reference["weights"].clone());
    let heads = reference["heads"].as_u64().unwrap() as usize;
    let unit =
        TextGuidedUnit::new(heads, pi, &weights.own(), &weights.guide(), &weights.feed()).unwrap();
    let (x, patches) = (
        floats(&reference["inputs"]["x"]),
        floats(&reference["inputs"]["patches"]),
    );
    let (mut y, mut attention) = (
        vec![0.0; x.len()],
        vec![0.0; x.len() * patches.len() / D / D],
    );
    let (x, patches) = (Rows::new(&x, D).unwrap(), Rows::new(&patches, D).unwrap());
    let mut work = Workspace::default();
    unit.run_into(x, patches, &mut work, &mut y, &mut attention)
        .unwrap();
    (y, attention)
}

#[test]
fn the_unit_says_what_onnx_runtime_says_with_every_map() {
    let reference = reference();
    for (pi, name) in [
        (Simplex::Entmax15, "TextGuidedUnit"),
        (Simplex::Sparsemax, "TextGuidedUnitSparsemax"),
        (Simplex::Softmax, "TextGuidedUnitSoftmax"),
    ] {
        let (y, attention) = guided(&reference, pi);
        let wanted = &reference["units"][name];
        near(&y, &floats(&wanted["y"]), 1e-4, name);
        near(&attention, &floats(&wanted["attention"]), 1e-4, name);
        for row in attention.chunks_exact(attention.len() / (y.len() / D)) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{name}");
        }
    }
    let zeros = |pi| {
        let (_, attention) = guided(&reference, pi);
        attention.iter().filter(|w| **w == 0.0).count()
    };
    assert!(zeros(Simplex::Sparsemax) >= zeros(Simplex::Entmax15));
    assert!(zeros(Simplex::Entmax15) > 0 && zeros(Simplex::Softmax) == 0);
}

#[test]
fn the_unit_without_a_picture_says_what_onnx_runtime_says() {
    let reference = reference();
    let weights = Weights(reference["weights"].clone());
    let heads = reference["heads"].as_u64().unwrap() as usize;
    let unit = SelfUnit::new(heads, &weights.own(), &weights.feed()).unwrap();
    let x = floats(&reference["inputs"]["x"]);
    let mut y = vec![0.0; x.len()];
    unit.run_into(Rows::new(&x, D).unwrap(), &mut Workspace::default(), &mut y)
        .unwrap();
    near(
        &y,
        &floats(&reference["units"]["SelfUnit"]["y"]),
        1e-4,
        "SelfUnit",
    );
}

/// The order of the patches is no information, and patches beyond memory are none of ours.
#[test]
fn patches_may_come_in_any_order() {
    let mut turned = reference();
    let (y, _) = guided(&turned, Simplex::Entmax15);
    let patches = floats(&turned["inputs"]["patches"]);
    let mut rows: Vec<&[f32]> = patches.chunks_exact(D).collect();
    rows.rotate_left(2);
    turned["inputs"]["patches"]["values"] = serde_json::json!(rows.concat());
    let (again, _) = guided(&turned, Simplex::Entmax15);
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
        Content::Floats(vec![x.len() / D, D], x)
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
    let weights = Weights(reference()["weights"].clone());
    let refused = |heads, own: &SelfWeights<'_>| {
        let unit = SelfUnit::new(heads, own, &weights.feed());
        unit.map(|_| ()).unwrap_err().to_string()
    };
    let own = weights.own();
    assert!(refused(3, &own).contains("3 heads cannot share rows of 16"));
    let mut cut = own;
    cut.out.weights = &cut.out.weights[1..];
    assert!(refused(2, &cut).contains("self_out has 255 values"));
    let mut wild = own;
    let scale = vec![f32::NAN; D];
    wild.out.scale = &scale;
    assert!(refused(2, &wild).contains("infinite or undefined"));
}
