//! The fusion heads agree with an independent implementation (numpy, float64).
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::path::Path;

use demeanor::fusion::{CLASSES, FusionOutput, LabelGuided, Rows};
use demeanor::kernels::{self, Level};
use serde_json::Value;

/// The generator of models/recipes/references/fusion.py: exact in f32.
struct Draw(u32);

impl Draw {
    fn array(&mut self, scale: f32, len: usize) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((self.0 >> 8) as f32 / 16_777_216.0 - 0.5) * scale
        };
        (0..len).map(|_| next()).collect()
    }
}

fn cases() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fusion_reference.json");
    let text = std::fs::read_to_string(path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    file["cases"].as_array().unwrap().clone()
}

fn near(found: &[f32], wanted: &Value, what: &str) {
    let wanted = wanted.as_array().unwrap();
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (found, wanted) in found.iter().zip(wanted) {
        let wanted = wanted.as_f64().unwrap();
        let error = (f64::from(*found) - wanted).abs();
        assert!(
            error <= 1e-5,
            "{what}: {found} is off {wanted} by {error:e}"
        );
    }
}

fn compare(out: &FusionOutput, case: &Value, head: &str) {
    let what = |part: &str| format!("seed {} {head} {part}", case["seed"]);
    near(&out.g_text, &case["g_text"], &what("g_text"));
    near(&out.g_speech, &case["g_speech"], &what("g_speech"));
    near(&out.attention, &case[head]["attention"], &what("attention"));
    near(&out.logits, &case[head]["logits"], &what("logits"));
}

#[test]
fn heads_agree_with_numpy() {
    let cases = cases();
    assert!(cases.len() >= 8);
    for case in &cases {
        let number = |name: &str| usize::try_from(case[name].as_u64().unwrap()).unwrap();
        let (d, n, m) = (number("d"), number("n"), number("m"));
        let mut draw = Draw(u32::try_from(case["seed"].as_u64().unwrap()).unwrap());
        let (text, speech) = (draw.array(2.0, n * d), draw.array(2.0, m * d));
        let w = draw.array(1.0, d * d);
        let labels = [draw.array(2.0, CLASSES * d), draw.array(2.0, CLASSES * d)];
        let (classifier, bias) = (draw.array(1.0, CLASSES * 2 * d), draw.array(1.0, CLASSES));
        let temperature = case["temperature"].as_f64().unwrap() as f32;
        let (text, speech) = (Rows::new(&text, d).unwrap(), Rows::new(&speech, d).unwrap());

        let labels = labels.each_ref().map(Vec::as_slice);
        let cross = LabelGuided::learnt(&w, labels, &classifier, &bias).unwrap();
        compare(&cross.run(text, speech).unwrap(), case, "cross");
        let label = LabelGuided::by_labels(labels, &classifier, &bias, temperature).unwrap();
        compare(&label.run(text, speech).unwrap(), case, "label");
    }
}

/// With `DEMEANOR_ISA` set this run is of that level; without it, of the best.
#[test]
fn the_process_uses_the_level_it_was_told_to() {
    let level = kernels::active().level();
    match std::env::var(kernels::ISA_VARIABLE) {
        Ok(name) => assert_eq!(level.name(), name),
        Err(_) => assert_eq!(level, Level::best()),
    }
    assert_eq!(kernels::chosen_level(), Ok(level));
}
