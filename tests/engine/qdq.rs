//! Files as exporters quantise them: floats between `QuantizeLinear` and `DequantizeLinear`. They
//! are planned as integers, and say what tract says, which computes them in floats.

use crate::support::onnx;
use demeanor::model::{Array, OnnxFile, Output, Runner};
use onnx::Writer;
use tract_onnx::pb::tensor_proto::DataType;

/// Noise in −1..1, the same every time.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Signed bytes of every size but −128, as exporters round weights.
fn weights(count: usize, seed: u32) -> Vec<i8> {
    noise(count, seed)
        .iter()
        .map(|x| (x * 127.0) as i8)
        .collect()
}

/// What a file's codes are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Codes {
    Unsigned,
    Signed,
}

/// A file being written with codes of one kind.
struct Quantised {
    writer: Writer,
}

impl Quantised {
    fn new(dims: &[usize], codes: Codes) -> Quantised {
        let writer = Writer::default().opset(13).input("x", dims);
        let writer = match codes {
            Codes::Unsigned => writer.code("middle", 128).code("low", 0),
            Codes::Signed => writer.bytes("middle", &[], &[0]).bytes("low", &[], &[-128]),
        };
        Quantised { writer }
    }

    fn with(mut self, add: impl FnOnce(Writer) -> Writer) -> Quantised {
        self.writer = add(self.writer);
        self
    }

    /// `value` as codes of `scale` and back, as `value.coded`; around 0, or from 0 on.
    fn coded(self, value: &str, scale: f32, zero: &str) -> Quantised {
        let (s, q) = (format!("{value}.scale"), format!("{value}.codes"));
        self.with(|w| {
            w.floats(&s, &[], &[scale])
                .node("QuantizeLinear", &[value, &s, zero], &q, &[])
        })
        .back(value)
    }

    /// Another reader's `DequantizeLinear` of the same codes.
    fn back(self, value: &str) -> Quantised {
        let (s, q) = (format!("{value}.scale"), format!("{value}.codes"));
        let zero = {
            let node = self.writer.graph.node.iter().find(|n| n.output[0] == q);
            node.expect("the codes").input[2].clone()
        };
        self.with(|w| {
            w.node(
                "DequantizeLinear",
                &[&q, &s, &zero],
                &format!("{value}.coded"),
                &[],
            )
        })
    }

    /// Weights behind a `DequantizeLinear`, a scale for each of `axis`.
    fn weights(self, name: &str, dims: &[usize], axis: usize, seed: u32) -> Quantised {
        let (q, s, z) = (
            format!("{name}.q"),
            format!("{name}.s"),
            format!("{name}.z"),
        );
        let scales: Vec<f32> = (0..dims[axis])
            .map(|i| 0.002 + 0.0001 * (i % 7) as f32)
            .collect();
        let count = dims.iter().product();
        self.with(|w| {
            w.bytes(&q, dims, &weights(count, seed))
                .floats(&s, &[dims[axis]], &scales)
                .bytes(&z, &[dims[axis]], &vec![0; dims[axis]])
                .node(
                    "DequantizeLinear",
                    &[&q, &s, &z],
                    name,
                    &[("axis", &[axis as i64])],
                )
        })
    }

    /// A bias of whole numbers behind a `DequantizeLinear`.
    fn bias(self, name: &str, n: usize, scale: f32) -> Quantised {
        let (q, s) = (format!("{name}.q"), format!("{name}.s"));
        let values: Vec<i32> = (0..n as i32).map(|i| (i % 11 - 5) * 40).collect();
        self.with(|w| {
            w.ints(&q, &values).floats(&s, &[], &[scale]).node(
                "DequantizeLinear",
                &[&q, &s],
                name,
                &[],
            )
        })
    }

    fn node(self, op: &str, inputs: &[&str], output: &str, ints: &[(&str, &[i64])]) -> Quantised {
        self.with(|w| w.node(op, inputs, output, ints))
    }
}

/// Both engines' answer, and the kernels of ours.
fn both(onnx: &[u8], input: &Array) -> ([Vec<Output>; 2], Vec<String>) {
    let open = |runner| OnnxFile::of_bytes("model", onnx, runner).expect("a model");
    let (ours, tract) = (open(Runner::Ours), open(Runner::Tract));
    let run = |file: &OnnxFile| file.run(std::slice::from_ref(input)).expect("an answer");
    let placed = ours.placed();
    let foreign: Vec<_> = placed.iter().filter(|p| p.tract.is_some()).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let kernels = placed.into_iter().map(|p| p.kernel).collect();
    ([run(&ours), run(&tract)], kernels)
}

/// The same shape, and values that differ by at most `steps` of the last quantisation: floats
/// that fall between two codes may fall to either side.
fn agree([ours, tract]: &[Vec<Output>; 2], scale: f32, steps: f32) {
    assert_eq!(ours[0].dims, tract[0].dims);
    let spread = tract[0].values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    assert!(spread > 20.0 * scale, "the answer says nothing: {spread}");
    for (a, b) in ours[0].values.iter().zip(&tract[0].values) {
        assert!((a - b).abs() <= steps * scale * 1.001, "{a} and {b}");
    }
}

/// Convolutions with `Relu` and `Clip`, a sum with a shared input, pools and a classifier.
fn picture(codes: Codes) -> Vec<u8> {
    let conv: &[(&str, &[i64])] = &[
        ("kernel_shape", &[3, 3]),
        ("strides", &[2, 2]),
        ("pads", &[1, 1, 1, 1]),
    ];
    let deep: &[(&str, &[i64])] = &[
        ("kernel_shape", &[3, 3]),
        ("pads", &[1, 1, 1, 1]),
        ("group", &[16]),
    ];
    let halves: &[(&str, &[i64])] = &[("kernel_shape", &[2, 2]), ("strides", &[2, 2])];
    let file = Quantised::new(&[1, 3, 16, 16], codes)
        .coded("x", 1.0 / 127.0, "middle")
        .weights("w1", &[16, 3, 3, 3], 0, 3)
        .bias("b1", 16, 1e-4)
        .node("Conv", &["x.coded", "w1", "b1"], "c1", conv)
        .node("Relu", &["c1"], "r1", &[])
        .coded("r1", 0.01, "low")
        .weights("w2", &[16, 16, 1, 1], 0, 5)
        .node(
            "Conv",
            &["r1.coded", "w2"],
            "c2",
            &[("kernel_shape", &[1, 1])],
        )
        .coded("c2", 0.02, "middle")
        .node("Add", &["c2.coded", "r1.coded"], "sum", &[])
        .coded("sum", 0.025, "middle")
        .weights("w3", &[16, 1, 3, 3], 0, 7)
        .with(|w| w.floats("zero", &[], &[0.0]).floats("six", &[], &[6.0]))
        .node("Conv", &["sum.coded", "w3"], "c3", deep)
        .node("Clip", &["c3", "zero", "six"], "r3", &[])
        .coded("r3", 0.015, "low")
        .node("MaxPool", &["r3.coded"], "most", halves)
        .with(|w| {
            w.node(
                "QuantizeLinear",
                &["most", "r3.scale", "low"],
                "most.codes",
                &[],
            )
            .node(
                "DequantizeLinear",
                &["most.codes", "r3.scale", "low"],
                "most.coded",
                &[],
            )
        })
        .node("GlobalAveragePool", &["most.coded"], "mean", &[])
        .coded("mean", 0.01, "low")
        .node("Flatten", &["mean.coded"], "flat", &[])
        .coded("flat", 0.01, "low")
        .weights("w4", &[10, 16], 0, 9)
        .bias("b4", 10, 2e-4)
        .node(
            "Gemm",
            &["flat.coded", "w4", "b4"],
            "g",
            &[("transB", &[1])],
        )
        .coded("g", 0.005, "middle");
    file.writer.finish("g.coded")
}

#[test]
fn a_picture_model_is_planned_as_integers() {
    for codes in [Codes::Unsigned, Codes::Signed] {
        let input = Array::Floats(vec![1, 3, 16, 16], noise(3 * 256, 11));
        let (answers, kernels) = both(&picture(codes), &input);
        agree(&answers, 0.005, 3.0);
        for kernel in [
            "int8 convolution",
            "int8 pointwise convolution",
            "int8 depthwise convolution",
            "int8 add",
            "int8 maximum",
            "int8 average",
            "int8 linear + bias",
        ] {
            assert!(
                kernels.iter().any(|k| k == kernel),
                "{codes:?}: no {kernel} in {kernels:?}"
            );
        }
        assert!(kernels.iter().all(|k| !k.contains("f32")), "{kernels:?}");
    }
}

#[test]
fn products_of_rows_are_planned_as_integers() {
    for codes in [Codes::Unsigned, Codes::Signed] {
        for dims in [&[7, 32][..], &[1, 7, 32]] {
            let onnx = Quantised::new(dims, codes)
                .coded("x", 1.0 / 127.0, "middle")
                .weights("w1", &[32, 48], 1, 3)
                .node("MatMul", &["x.coded", "w1"], "p1", &[])
                .with(|w| w.floats("b1", &[48], &noise(48, 21)))
                .node("Add", &["p1", "b1"], "s1", &[])
                .node("Relu", &["s1"], "r1", &[])
                .coded("r1", 0.02, "low")
                .weights("w2", &[48, 24], 1, 5)
                .node("MatMul", &["r1.coded", "w2"], "p2", &[])
                .coded("p2", 0.02, "middle")
                .writer
                .finish("p2.coded");
            let input = Array::Floats(dims.to_vec(), noise(7 * 32, 13));
            let (answers, kernels) = both(&onnx, &input);
            agree(&answers, 0.02, 1.0);
            assert!(
                kernels.iter().any(|k| k == "int8 linear + bias + ReLU"),
                "{kernels:?}"
            );
            assert!(kernels.iter().all(|k| !k.contains("f32")), "{kernels:?}");
        }
    }
}

#[test]
fn weights_that_the_file_quantises_itself_are_weights() {
    let onnx = Quantised::new(&[7, 32], Codes::Signed)
        .coded("x", 1.0 / 127.0, "middle")
        .with(|w| {
            let scales: Vec<f32> = (0..16).map(|i| 0.004 + 0.001 * i as f32).collect();
            let axis: &[(&str, &[i64])] = &[("axis", &[1])];
            w.floats("w", &[32, 16], &noise(512, 5))
                .floats("s", &[16], &scales)
                .bytes("z", &[16], &[0; 16])
                .node("QuantizeLinear", &["w", "s", "z"], "w.q", axis)
                .node("DequantizeLinear", &["w.q", "s", "z"], "w.back", axis)
        })
        .node("MatMul", &["x.coded", "w.back"], "p", &[])
        .coded("p", 0.02, "middle")
        .writer
        .finish("p.coded");
    let input = Array::Floats(vec![7, 32], noise(7 * 32, 13));
    let (answers, kernels) = both(&onnx, &input);
    agree(&answers, 0.02, 1.0);
    assert!(
        kernels.iter().any(|k| k == "int8 linear + bias"),
        "{kernels:?}"
    );
}

#[test]
fn what_cannot_be_codes_is_still_answered_rightly() {
    // weights around a zero point of their own, and codes that leave the graph
    let input = Array::Floats(vec![7, 32], noise(7 * 32, 13));
    let odd = Quantised::new(&[7, 32], Codes::Unsigned)
        .coded("x", 1.0 / 127.0, "middle")
        .with(|w| {
            w.bytes("w.q", &[32, 8], &weights(256, 3))
                .floats("w.s", &[], &[0.01])
                .bytes("w.z", &[], &[5])
                .node("DequantizeLinear", &["w.q", "w.s", "w.z"], "w", &[])
        })
        .node("MatMul", &["x.coded", "w"], "y", &[])
        .writer
        .finish("y");
    let answer = |runner| {
        let file = OnnxFile::of_bytes("model", &odd, runner).expect("a model");
        file.run(std::slice::from_ref(&input)).expect("an answer")
    };
    agree(&[answer(Runner::Ours), answer(Runner::Tract)], 0.01, 1.0);

    for (codes, first) in [(Codes::Unsigned, 129), (Codes::Signed, 1)] {
        let leaving = Quantised::new(&[7, 32], codes)
            .coded("x", 1.0, "middle")
            .writer
            .finish_all(&["x.codes", "x.coded"]);
        let file = OnnxFile::of_bytes("model", &leaving, Runner::Ours).expect("a model");
        let answer = file
            .answer(&[Array::Floats(vec![7, 32], vec![1.2; 7 * 32])])
            .expect("an answer");
        match (&answer[0], codes) {
            (Array::Bytes(dims, x), Codes::Unsigned) => {
                assert_eq!((&dims[..], x[0]), (&[7, 32][..], first as u8))
            }
            (Array::Ints(dims, x), Codes::Signed) => {
                assert_eq!((&dims[..], x[0]), (&[7, 32][..], first))
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(answer[1], Array::Floats(vec![7, 32], vec![1.0; 7 * 32]));
    }
}

#[test]
fn a_computed_scale_is_a_scale() {
    let onnx = Writer::default()
        .input("x", &[2, 3])
        .nodes("DynamicQuantizeLinear", &["x"], &["q", "scale", "zero"])
        .node("DequantizeLinear", &["q", "scale", "zero"], "y", &[])
        .finish("y");
    let x = vec![0.5, -1.0, 2.0, 0.0, 1.5, -0.25];
    for runner in [Runner::Ours, Runner::Tract] {
        let file = OnnxFile::of_bytes("model", &onnx, runner).expect("a model");
        let answer = file
            .run(&[Array::Floats(vec![2, 3], x.clone())])
            .expect("an answer");
        for (a, b) in answer[0].values.iter().zip(&x) {
            assert!(
                (a - b).abs() <= 3.0 / 255.0 / 2.0 + 1e-6,
                "{runner:?}: {a} for {b}"
            );
        }
    }
    let given = Writer::default()
        .typed("x", &[3], DataType::Int8)
        .input("scale", &[])
        .node("DequantizeLinear", &["x", "scale"], "y", &[])
        .finish("y");
    let file = OnnxFile::of_bytes("model", &given, Runner::Ours).expect("a model");
    let inputs = [
        Array::Ints(vec![3], vec![-128, 0, 5]),
        Array::Floats(vec![], vec![0.5]),
    ];
    assert_eq!(
        file.run(&inputs).expect("an answer")[0].values,
        [-64.0, 0.0, 2.5]
    );
}
