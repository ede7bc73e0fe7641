//! Our plans against tract on the same files: same answers, no allocation once warm, and
//! tract where nothing of ours fits.

use crate::support::*;
use demeanor::model::{Array, Bundle, OnnxFile, Output, Runner};
use onnx::Writer;
use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{ModelProto, NodeProto, tensor_shape_proto, type_proto};

/// Shipped encoders, by file name.
fn shipped(name: &str) -> Vec<u8> {
    let bundle = Bundle::find("emotion", None).expect("embedded");
    let file = bundle.manifest.files.iter().find(|f| f.name == name);
    let bytes = bundle
        .bytes(&file.expect("in the bundle").name)
        .expect("its bytes");
    bytes.to_vec()
}

fn open(onnx: &[u8], runner: Runner) -> OnnxFile {
    OnnxFile::of_bytes("model", onnx, runner).expect("a model")
}

/// Noise in −1..1, the same every time.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn text_of(n: usize) -> Vec<Array> {
    let ids = (0..n as i64).map(|i| 1000 + i * 37 % 20000).collect();
    let types = (0..n as i64).map(|i| i64::from(i > n as i64 / 2)).collect();
    vec![Array::Ints(vec![n], ids), Array::Ints(vec![n], types)]
}

fn speech_of(t: usize) -> Vec<Array> {
    vec![Array::Floats(vec![t, 80], noise(t * 80, t as u32))]
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter()
            .zip(y)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Both engines quantise at run time, so neighbouring codes may differ, and a deep model makes
/// more of it: what must hold is that both say the same.
fn agree(ours: &[Output], tract: &[Output], least: f64) {
    assert_eq!(ours.len(), tract.len());
    for (ours, tract) in ours.iter().zip(tract) {
        assert_eq!(ours.dims, tract.dims);
        let cosine = cosine(&ours.values, &tract.values);
        assert!(cosine > least, "cosine {cosine} at shape {:?}", ours.dims);
    }
}

/// The class with the largest logit.
fn top(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|i, j| logits[*i].total_cmp(&logits[*j]))
}

#[test]
fn the_shipped_encoders_run_in_our_kernels_and_say_what_tract_says() {
    let lengths: &[usize] = if cfg!(target_arch = "x86_64") {
        &[1, 2, 17, 64, 128]
    } else {
        &[17]
    };
    for (name, content) in [
        ("text.onnx", text_of as fn(usize) -> Vec<Array>),
        ("speech.onnx", speech_of),
    ] {
        let onnx = shipped(name);
        let (ours, tract) = (open(&onnx, Runner::Ours), open(&onnx, Runner::Tract));
        let elsewhere: Vec<_> = ours
            .placed()
            .into_iter()
            .filter(|p| p.tract.is_some())
            .collect();
        assert_eq!(elsewhere, [], "{name}");
        for n in lengths {
            let inputs = content(*n * if name == "speech.onnx" { 5 } else { 1 });
            let (a, b) = (
                ours.run(&inputs).expect("ours"),
                tract.run(&inputs).expect("tract"),
            );
            agree(&a, &b, 0.97);
            // what is answered is the same class by far
            let logits = |outputs: &[Output]| outputs[1].clone();
            let (a_logits, b_logits) = (logits(&a), logits(&b));
            assert_eq!(
                top(&a_logits.values),
                top(&b_logits.values),
                "{name} at {n}"
            );
            // tract's own sums differ between processors, and a logit of noise is a small number
            agree(&[a_logits], &[b_logits], 0.97);
            // the memory of one length serves the next, and leaves nothing behind
            assert_eq!(a, ours.run(&inputs).expect("again"), "{name} at {n}");
        }
    }
}

#[test]
fn nothing_is_allocated_once_warm() {
    for (name, inputs) in [("text.onnx", text_of(40)), ("speech.onnx", speech_of(300))] {
        let model = open(&shipped(name), Runner::Ours);
        for _ in 0..2 {
            model.run_only(&inputs).expect("runs");
        }
        let counted = allocation_counter::measure(|| model.run_only(&inputs).expect("runs"));
        assert_eq!(counted.count_total, 0, "{name}: {counted:?}");
    }
}

#[test]
fn more_threads_change_no_answer() {
    let model = open(&shipped("speech.onnx"), Runner::Ours);
    let inputs = speech_of(403);
    let alone = model.run(&inputs).expect("runs");
    let shared = model.with_threads(4).run(&inputs).expect("runs");
    assert_eq!(alone, shared);
}

#[test]
fn wrong_inputs_are_refused() {
    let model = open(&shipped("text.onnx"), Runner::Ours);
    let ints = |x: Vec<i64>| Array::Ints(vec![x.len()], x);
    for (inputs, word) in [
        (vec![ints(vec![1, 2])], "2 inputs"),
        (vec![ints(vec![]), ints(vec![])], "holds nothing"),
        (
            vec![ints(vec![1, 99_999_999]), ints(vec![0, 0])],
            "99999999",
        ),
        (
            vec![ints(vec![1, 2, 3]), ints(vec![0, 0])],
            "does not stretch",
        ),
    ] {
        let error = model.run(&inputs).expect_err("refused").to_string();
        assert!(error.contains(word), "{error}");
    }
}

fn weights(count: usize) -> Vec<i8> {
    (0..count)
        .map(|i| ((i * 97 + 13) % 255) as u8 as i8)
        .collect()
}

/// A small MobileNet: strided, depthwise and pointwise convolutions, a residual, the mean.
fn small_net() -> Vec<u8> {
    let pads: &[i64] = &[1, 1, 1, 1];
    let conv = |w: Writer, name: &str, from: &str, dims: [usize; 4], group: i64, stride: i64| {
        let (weight, scale, zero, bias) = (
            format!("{name}_w"),
            format!("{name}_s"),
            format!("{name}_z"),
            format!("{name}_b"),
        );
        let n = dims[0];
        let scales: Vec<f32> = (0..n).map(|c| 0.002 + c as f32 * 1e-4).collect();
        let biases: Vec<i32> = (0..n as i32).map(|c| c * 37 - 200).collect();
        let padding: &[i64] = if dims[2] == 1 { &[0, 0, 0, 0] } else { pads };
        w.bytes(&weight, &dims, &weights(dims.iter().product()))
            .floats(&scale, &[n], &scales)
            .bytes(&zero, &[n], &vec![0; n])
            .ints(&bias, &biases)
            .node(
                "QLinearConv",
                &[from, "xs", "xz", &weight, &scale, &zero, "ys", "yz", &bias],
                name,
                &[
                    ("kernel_shape", &[dims[2] as i64, dims[3] as i64]),
                    ("strides", &[stride, stride]),
                    ("pads", padding),
                    ("dilations", &[1, 1]),
                    ("group", &[group]),
                ],
            )
    };
    let mut w = Writer::default()
        .input("image", &[1, 3, 19, 23])
        .floats("xs", &[], &[0.02])
        .code("xz", 120)
        .floats("ys", &[], &[0.02])
        .code("yz", 120)
        .node("QuantizeLinear", &["image", "xs", "xz"], "codes", &[]);
    w = conv(w, "first", "codes", [40, 3, 3, 3], 1, 2);
    w = conv(w, "deep", "first", [40, 1, 3, 3], 40, 1);
    w = conv(w, "deeper", "deep", [40, 1, 5, 5], 40, 1);
    w = conv(w, "point", "deep", [40, 40, 1, 1], 1, 1);
    w = w
        .node("DequantizeLinear", &["first", "ys", "yz"], "a", &[])
        .node("DequantizeLinear", &["point", "ys", "yz"], "b", &[])
        .node("Add", &["a", "b"], "sum", &[])
        .node("QuantizeLinear", &["sum", "ys", "yz"], "summed", &[]);
    w = conv(w, "strided", "summed", [72, 40, 3, 3], 1, 2);
    w.node("DequantizeLinear", &["strided", "ys", "yz"], "c", &[])
        .node("GlobalAveragePool", &["c"], "mean", &[])
        .node("QuantizeLinear", &["mean", "ys", "yz"], "pooled", &[])
        .node("DequantizeLinear", &["pooled", "ys", "yz"], "d", &[])
        .node("Flatten", &["d"], "logits", &[])
        .finish("logits")
}

#[test]
fn integer_convolutions_are_tracts() {
    let onnx = small_net();
    let (ours, tract) = (open(&onnx, Runner::Ours), open(&onnx, Runner::Tract));
    assert!(
        ours.placed().iter().all(|p| p.tract.is_none()),
        "{:?}",
        ours.placed()
    );
    for seed in 0..4 {
        let image = noise(3 * 19 * 23, seed).iter().map(|v| v * 2.5).collect();
        let inputs = [Array::Floats(vec![1, 3, 19, 23], image)];
        let (a, b) = (
            ours.run(&inputs).expect("ours"),
            tract.run(&inputs).expect("tract"),
        );
        // a sum half-way between two codes may fall to either side
        let steps = a[0]
            .values
            .iter()
            .zip(&b[0].values)
            .map(|(a, b)| (a - b).abs() / 0.02);
        let apart: Vec<f32> = steps.filter(|s| *s > 0.01).collect();
        assert!(
            apart.len() <= 4 && apart.iter().all(|s| *s < 1.01),
            "{apart:?}"
        );
    }
}

/// Quantise, multiply, scale, add a bias; what an exporter writes for a linear layer.
fn linear(w: Writer, x: &str, y: &str, (k, n): (usize, usize)) -> Writer {
    let of = |part: &str| format!("{y}_{part}");
    let (codes, scale, zero) = (of("codes"), of("scale"), of("zero"));
    let mut w = w
        .bytes(&of("w"), &[k, n], &weights(k * n))
        .floats(&of("ws"), &[n], &vec![0.01; n])
        .floats(&of("b"), &[n], &noise(n, 5));
    w.graph.node.push(NodeProto {
        name: codes.clone(),
        op_type: "DynamicQuantizeLinear".into(),
        input: vec![x.into()],
        output: vec![codes.clone(), scale.clone(), zero.clone()],
        ..NodeProto::default()
    });
    w.node(
        "MatMulInteger",
        &[&codes, &of("w"), &zero],
        &of("sums"),
        &[],
    )
    .node("Cast", &[&of("sums")], &of("cast"), &[("to", &[1])])
    .node("Mul", &[&scale, &of("ws")], &of("factor"), &[])
    .node("Mul", &[&of("cast"), &of("factor")], &of("scaled"), &[])
    .node("Add", &[&of("scaled"), &of("b")], y, &[])
}

#[test]
fn what_nothing_of_ours_matches_runs_in_tract_beside_our_steps() {
    // a constant in another shape is tract's, too
    let w = Writer::default()
        .input("given", &[5, 12])
        .floats("flat", &[12], &noise(12, 8))
        .longs("shape", &[1, 12])
        .node("Reshape", &["flat", "shape"], "row", &[])
        .node("Add", &["given", "row"], "x", &[]);
    let onnx = linear(
        linear(w, "x", "a", (12, 7)).node("Selu", &["a"], "bent", &[]),
        "bent",
        "y",
        (7, 3),
    )
    .finish("y");
    let (ours, tract) = (open(&onnx, Runner::Ours), open(&onnx, Runner::Tract));
    let elsewhere: Vec<String> = ours
        .placed()
        .into_iter()
        .filter(|p| p.tract.is_some())
        .flat_map(|p| p.nodes)
        .collect();
    assert_eq!(elsewhere, ["row", "bent"]);
    let inputs = [Array::Floats(vec![5, 12], noise(60, 3))];
    let (a, b) = (
        ours.run(&inputs).expect("ours"),
        tract.run(&inputs).expect("tract"),
    );
    agree(&a, &b, 0.999);
}

#[test]
fn parts_and_values_side_by_side_are_tracts() {
    let axis = |at: &'static [i64]| [("axis", at)];
    let onnx = Writer::default()
        .input("x", &[3, 4, 5])
        .floats("own", &[3, 2, 5], &noise(30, 4))
        .longs("from", &[-5])
        .longs("to", &[i64::MAX])
        .longs("along", &[1])
        .longs("rows", &[2, -1, 0])
        .node("Concat", &["x", "own", "x"], "wide", &axis(&[1]))
        .node("Slice", &["wide", "from", "to", "along"], "end", &[])
        .node("Gather", &["end", "rows"], "picked", &axis(&[-1]))
        .node("Tanh", &["picked"], "y", &[])
        .finish("y");
    let (ours, tract) = (open(&onnx, Runner::Ours), open(&onnx, Runner::Tract));
    assert!(ours.placed().iter().all(|p| p.tract.is_none()));
    let inputs = [Array::Floats(vec![3, 4, 5], noise(60, 7))];
    let (a, b) = (
        ours.run(&inputs).expect("ours"),
        tract.run(&inputs).expect("tract"),
    );
    assert_eq!(a[0].dims, [3, 5, 3]);
    agree(&a, &b, 0.999_999);
}

#[test]
fn functions_of_a_value_and_rows_by_their_number_are_tracts() {
    let onnx = Writer::default()
        .typed("ids", &[2, 3], DataType::Int64)
        .floats("table", &[5, 4], &noise(20, 12))
        .node("Gather", &["table", "ids"], "rows", &[("axis", &[0])])
        .node("Erf", &["rows"], "bent", &[])
        .node("Sigmoid", &["bent"], "between", &[])
        .node("Relu", &["rows"], "above", &[])
        .node("Add", &["between", "above"], "y", &[])
        .finish("y");
    let (ours, tract) = (open(&onnx, Runner::Ours), open(&onnx, Runner::Tract));
    assert!(ours.placed().iter().all(|p| p.tract.is_none()));
    let ids = [Array::Ints(vec![2, 3], vec![4, 0, 2, 1, 4, 3])];
    let (a, b) = (
        ours.run(&ids).expect("ours"),
        tract.run(&ids).expect("tract"),
    );
    assert_eq!(a[0].dims, [2, 3, 4]);
    let apart = a[0]
        .values
        .iter()
        .zip(&b[0].values)
        .map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0.0, f32::max) < 1e-6);
    assert!(ours.run(&[Array::Ints(vec![1, 1], vec![5])]).is_err());
}

#[test]
fn products_of_floats_are_tracts() {
    let onnx = Writer::default()
        .input("x", &[5, 12])
        .floats("w", &[12, 7], &noise(84, 9))
        .floats("v", &[7, 5], &noise(35, 10))
        .node("MatMul", &["x", "w"], "h", &[])
        .node("MatMul", &["h", "v"], "scores", &[])
        .node("Softmax", &["scores"], "weights", &[])
        .node("MatMul", &["weights", "x"], "y", &[])
        .finish("y");
    let ours = open(&onnx, Runner::Ours);
    assert!(
        ours.placed().iter().all(|p| p.tract.is_none()),
        "{:?}",
        ours.placed()
    );
    let x = [Array::Floats(vec![5, 12], noise(60, 11))];
    let a = ours.run(&x).expect("runs");
    let b = open(&onnx, Runner::Tract).run(&x).expect("runs");
    agree(&a, &b, 0.999_999);
}

#[test]
fn a_float_model_runs_in_tract_as_a_whole() {
    let onnx = Writer::default()
        .input("x", &[5, 12])
        .floats("w", &[12, 4], &noise(48, 9))
        .node("Gemm", &["x", "w"], "y", &[])
        .finish("y");
    let placed = open(&onnx, Runner::Ours).placed();
    assert!(
        placed[0]
            .tract
            .as_ref()
            .is_some_and(|w| w.contains("1 of 1 products")),
        "{placed:?}"
    );
}

#[test]
fn what_nothing_of_ours_matches_runs_in_tract_node_by_node_and_says_why() {
    let onnx = Writer::default()
        .input("x", &[2, 3])
        .floats("far", &[1], &[f32::INFINITY])
        .node("Min", &["x", "far"], "y", &[])
        .finish("y");
    let ours = open(&onnx, Runner::Ours);
    let placed = ours.placed();
    assert!(
        placed[0]
            .tract
            .as_ref()
            .is_some_and(|w| w.contains("matches Min")),
        "{placed:?}"
    );
    let inputs = [Array::Floats(vec![2, 3], noise(6, 1))];
    assert_eq!(ours.run(&inputs).expect("tract")[0].values, noise(6, 1));
}

#[test]
fn a_node_that_does_not_fit_is_tracts_and_the_others_stay() {
    // products of values whose leading dimensions differ have no step of ours
    let onnx = Writer::default()
        .input("x", &[2, 5, 12])
        .input("z", &[1, 5, 12])
        .floats("w", &[12, 12], &noise(144, 9))
        .node("MatMul", &["x", "w"], "a", &[])
        .node("MatMul", &["a", "w"], "b", &[])
        .node("Transpose", &["z"], "turned", &[("perm", &[0, 2, 1])])
        .node("MatMul", &["b", "turned"], "scores", &[])
        .node("Softmax", &["scores"], "y", &[])
        .finish("y");
    let (ours, tract) = (open(&onnx, Runner::Ours), open(&onnx, Runner::Tract));
    let placed = ours.placed();
    let foreign: Vec<_> = placed.iter().filter(|p| p.tract.is_some()).collect();
    let names: Vec<&str> = foreign
        .iter()
        .flat_map(|p| &p.nodes)
        .map(String::as_str)
        .collect();
    assert_eq!(names, ["scores"], "{placed:?}");
    let inputs = [
        Array::Floats(vec![2, 5, 12], noise(120, 4)),
        Array::Floats(vec![1, 5, 12], noise(60, 5)),
    ];
    agree(
        &ours.run(&inputs).expect("ours"),
        &tract.run(&inputs).expect("tract"),
        0.999_999,
    );
}

#[test]
fn many_outputs_are_planned() {
    let names: Vec<String> = (0..20).map(|i| format!("y{i}")).collect();
    let mut writer = Writer::default().input("x", &[2, 3]);
    for name in &names {
        writer = writer.node("Tanh", &["x"], name, &[]);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let file = open(&writer.finish_all(&names), Runner::Ours);
    assert!(file.placed().iter().all(|p| p.tract.is_none()));
    let x = noise(6, 3);
    let answer = file
        .run(&[Array::Floats(vec![2, 3], x.clone())])
        .expect("an answer");
    assert_eq!(answer.len(), 20);
    for output in answer {
        assert!(output.values.iter().zip(&x).all(|(y, x)| *y == x.tanh()));
    }
}

#[test]
fn models_tells_the_plan_of_any_file() {
    let folder = Folder::new();
    let onnx = Writer::default()
        .input("x", &[1, 1])
        .floats("far", &[1], &[3.0])
        .floats("w", &[3, 3], &noise(9, 9))
        .node("Min", &["x", "far"], "least", &[])
        .node("MatMul", &["least", "w"], "y", &[])
        .finish("y");
    let mut proto = ModelProto::decode(&onnx[..]).expect("the model");
    let input = &mut proto.graph.as_mut().expect("a graph").input[0];
    let Some(type_proto::Value::TensorType(tensor)) =
        input.r#type.as_mut().and_then(|t| t.value.as_mut())
    else {
        panic!("no tensor")
    };
    let dims = &mut tensor.shape.as_mut().expect("a shape").dim;
    for (dim, name) in dims.iter_mut().zip(["N", "K"]) {
        dim.value = Some(tensor_shape_proto::dimension::Value::DimParam(name.into()));
    }
    let path = folder.file("any.onnx", proto.encode_to_vec());
    let told = demeanor(&["models", "--plan", "--onnx", &path, "--dim", "K=3"]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    for line in [
        "products: 0 integer, 1 float",
        "takes x float32 [N, 3]",
        "gives y",
        "1 nodes in our kernels, 1 in tract",
        "(nothing of ours matches Min)",
    ] {
        assert!(told.out.contains(line), "no {line:?} in {}", told.out);
    }
    demeanor(&["models", "--dim", "K=3"]).is_error("--dim does nothing without --onnx");
    let missing = folder.path("missing.onnx");
    demeanor(&["models", "--onnx", missing.to_str().expect("a path")]).is_error("missing.onnx");
}

#[test]
fn bench_measures_profiles_and_compares() {
    let folder = Folder::new();
    let file = folder.file("net.onnx", small_net());
    let ran = demeanor(&["bench", "--onnx", &file, "--seconds", "0.01", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let report = &ran.reports()[0];
    assert!(
        report["models"][0]["median_ns"]
            .as_u64()
            .is_some_and(|ns| ns > 0)
    );
    assert!(
        report["models"][0]["macs"]
            .as_u64()
            .is_some_and(|macs| macs > 1000)
    );
    let counted = demeanor(&["bench", "--onnx", &file, "--runs", "3", "--json"]);
    assert_eq!(counted.reports()[0]["models"][0]["runs"], 3);
    demeanor(&["bench", "--fusion", "--runs", "3"]).is_error("leave --runs out");
    let before = folder.file("before.json", &ran.out);
    let args = [
        "bench",
        "--onnx",
        &file,
        "--seconds",
        "0.01",
        "--compare",
        &before,
    ];
    let compared = demeanor(&args);
    assert!(
        compared.out.contains("x the time before"),
        "{}",
        compared.out
    );
    let profile = demeanor(&["bench", "--onnx", &file, "--seconds", "0.01", "--profile"]);
    assert!(
        profile.out.contains("int8 depthwise convolution"),
        "{}",
        profile.out
    );
    assert!(profile.out.contains(" MAC/B"), "{}", profile.out);
    demeanor(&["bench", "--onnx", "/nowhere.onnx"]).is_error("check that it exists");
    let broken = folder.file("broken.onnx", "no model");
    demeanor(&["bench", "--onnx", &broken]).is_error("no ONNX file");
}

/// Weights are moved once however many rows there are, inputs and outputs once a row.
#[test]
fn a_profile_counts_the_bytes_that_are_moved() {
    let onnx = Writer::default()
        .rows("x", "n", 3)
        .floats("w", &[3, 5], &noise(15, 1))
        .node("MatMul", &["x", "w"], "y", &[])
        .finish("y");
    let file = open(&onnx, Runner::Ours);
    let moved = |rows: usize| {
        let x = Array::Floats(vec![rows, 3], noise(rows * 3, 7));
        let steps = file.profile(&[x]).expect("a profile");
        steps.iter().map(|step| step.bytes).sum::<u64>()
    };
    let row = 4 * (3 + 5);
    assert_eq!(moved(8) - moved(4), 4 * row);
    assert!(moved(4) - 4 * row >= 4 * 15, "the weights count");
}

#[test]
fn models_shows_the_plan() {
    let ran = demeanor(&["models", "--plan"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for word in [
        "int8 attention",
        "int8 linear + bias + GELU",
        "Label-guided: learnt attention",
        "int8 text-guided unit",
    ] {
        assert!(ran.out.contains(word), "{word}: {}", ran.out);
    }
    let counts = ran
        .out
        .lines()
        .filter(|l| l.contains("nodes in our kernels"));
    for line in counts {
        assert!(line.ends_with(", 0 in tract"), "{line}");
    }
}

/// What tract is given as a constant depends on the shapes: another length is another model.
#[test]
fn lengths_that_tract_sees_are_those_of_this_run() {
    let onnx = Writer::default()
        .rows("x", "n", 3)
        .floats("table", &[6, 3], &noise(18, 2))
        .longs("zero", &[0])
        .longs("one", &[1])
        .node("Shape", &["x"], "shape", &[])
        .node("Slice", &["shape", "zero", "one", "zero"], "rows", &[])
        .node("Slice", &["table", "zero", "rows", "zero"], "head", &[])
        .node("Add", &["x", "head"], "y", &[])
        .finish("y");
    let file = open(&onnx, Runner::Ours);
    for rows in [4, 2, 6, 1] {
        let x = noise(rows * 3, 7);
        let wanted: Vec<f32> = x.iter().zip(noise(18, 2)).map(|(a, b)| a + b).collect();
        let found = file.run(&[Array::Floats(vec![rows, 3], x)]);
        assert_eq!(found.expect("ours")[0].values, wanted, "{rows} rows");
    }
}
