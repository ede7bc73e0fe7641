//! Every operator of the catalogue is its equation, at every precision and level this CPU has;
//! the identities between operators hold; what does not fit is refused.
#![cfg(feature = "research")]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::catalogue::{
    ATTENDED, ATTENTIONS, banks, entry, f32s, hashes, levels, off, rows, run, tensors, wide,
};
use demeanor::fusion::research::draw::{self, Content, Draw, Drawn};
use demeanor::fusion::shape::Sizes;
use demeanor::fusion::{CATALOGUE, Entry, Fusion, FusionError, Precision, Rows, Scratch};

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
                match entry.inputs[at].optional {
                    true => answer(&wrong).unwrap(),
                    false => refused(answer(&wrong).unwrap_err()),
                }
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
    use demeanor::model::{Array as Values, OnnxFile, Runner, example};
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
        stored == demeanor::fusion::research::page::page(),
        "run `demeanor fusion --page > src/fusion/CATALOGUE.md`"
    );
}

/// The files of `models/recipes/catalogue/export.py`: ONNX Runtime ran the bodies, our kernels
/// run the calls.
#[test]
fn kernels_agree_with_onnx_runtime() {
    use demeanor::model::{Array as Values, OnnxFile, Runner};
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
