//! ONNX files that ask for the impossible, break ONNX's rules or mean something else in another
//! version: a sentence at load, or tract's answer; never a wrong one, and never an abort.

use crate::support::*;
use demeanor::model::{Array, OnnxFile, Output, Runner};
use onnx::Writer;
use prost::Message;
use std::process::{Command, Stdio};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::*;

/// The sentence that a file is refused with, by either engine.
fn refused(onnx: &[u8], runner: Runner) -> String {
    let opened = OnnxFile::of_bytes("model", onnx, runner);
    opened.expect_err("a refusal").to_string()
}

fn refused_by_both(onnx: &[u8], word: &str) {
    for runner in [Runner::Ours, Runner::Tract] {
        let sentence = refused(onnx, runner);
        assert!(sentence.contains(word), "{runner:?}: {sentence}");
    }
}

fn run(onnx: &[u8], runner: Runner, inputs: &[Array]) -> Vec<Output> {
    let file = OnnxFile::of_bytes("model", onnx, runner).expect("a model");
    file.run(inputs).expect("an answer")
}

/// Both engines' answer, which must be the same; and whether ours is a plan.
fn same(onnx: &[u8], inputs: &[Array]) -> (Vec<Output>, bool) {
    let file = OnnxFile::of_bytes("model", onnx, Runner::Ours).expect("a model");
    let ours = file.run(inputs).expect("an answer");
    let tract = run(onnx, Runner::Tract, inputs);
    for (ours, tract) in ours.iter().zip(&tract) {
        assert_eq!(ours.dims, tract.dims);
        let apart = ours
            .values
            .iter()
            .zip(&tract.values)
            .map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-6, "{ours:?} {tract:?}");
    }
    (ours, file.arena_bytes().is_some())
}

/// Runs the program in 4 GiB of address space: an allocation beyond is an abort.
fn bench(args: &[&str]) -> Ran {
    let mut command = Command::new("sh");
    let bound = if cfg!(target_arch = "x86_64") {
        "ulimit -v 4194304; "
    } else {
        ""
    };
    let line = format!("{bound}exec $DEMEANOR_RUNNER \"$@\"");
    command.args(["-c", &line, "sh", env!("CARGO_BIN_EXE_demeanor"), "bench"]);
    let output = command
        .args(args)
        .args(["--seconds", "0.01"])
        .stdin(Stdio::null())
        .output()
        .expect("sh");
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn convolution(pad: i64) -> Vec<u8> {
    Writer::default()
        .input("x", &[1, 1, 8, 8])
        .floats("w", &[1, 1, 3, 3], &[0.5; 9])
        .node("Conv", &["x", "w"], "y", &[("pads", &[pad; 4])])
        .finish("y")
}

#[test]
fn memory_is_counted_before_it_is_asked_for() {
    let folder = Folder::new();
    let huge = 1_i64 << 20;
    let wide = Writer::default()
        .input("x", &[1 << 15, 1])
        .floats("row", &[1, 1 << 15], &vec![1.0; 1 << 15])
        .node("Add", &["x", "row"], "y", &[])
        .finish("y");
    let mean = Writer::default()
        .input("x", &[2, 3])
        .longs("shape", &[huge, huge])
        .node("ConstantOfShape", &["shape"], "zeros", &[])
        .node("ReduceSum", &["zeros"], "sum", &[])
        .node("Add", &["x", "sum"], "y", &[])
        .finish("y");
    let tiled = Writer::default()
        .input("x", &[2, 3])
        .floats("one", &[1], &[1.0])
        .longs("times", &[huge * huge])
        .node("Tile", &["one", "times"], "many", &[])
        .node("ReduceSum", &["many"], "sum", &[])
        .node("Add", &["x", "sum"], "y", &[])
        .finish("y");
    for (name, onnx) in [
        ("pads", convolution(huge)),
        ("wide", wide),
        ("zeros", mean),
        ("tiled", tiled),
    ] {
        let path = folder.file(&format!("{name}.onnx"), onnx);
        for engine in ["ours", "tract"] {
            let ran = bench(&["--onnx", &path, "--engine", engine]);
            assert_eq!(ran.code, Some(2), "{name}, {engine}: {}", ran.err);
            let line = ran.err.lines().find(|l| l.starts_with("demeanor: "));
            let line = line.unwrap_or_else(|| panic!("{name}, {engine}: {}", ran.err));
            assert!(!line.contains("broke"), "{name}, {engine}: {line}");
            assert!(!ran.err.contains("panicked"), "{name}: {}", ran.err);
        }
    }
}

#[test]
fn an_input_that_no_memory_holds_is_refused() {
    let folder = Folder::new();
    let huge = Writer::default()
        .input("x", &[1 << 40, 1 << 40])
        .node("Tanh", &["x"], "y", &[])
        .finish("y");
    let path = folder.file("huge.onnx", huge);
    bench(&["--onnx", &path]).is_error("at most 1 GiB");
    let mut free = Writer::default().input("x", &[1, 1]);
    for (dim, name) in free_dims(&mut free).zip(["A", "B"]) {
        dim.value = Some(tensor_shape_proto::dimension::Value::DimParam(name.into()));
    }
    let free = free.node("Tanh", &["x"], "y", &[]).finish("y");
    let path = folder.file("free.onnx", free);
    let args = ["--onnx", &path, "--dim", "A=1000000", "--dim", "B=1000000"];
    bench(&args).is_error("at most 1 GiB");
}

fn free_dims(writer: &mut Writer) -> impl Iterator<Item = &mut tensor_shape_proto::Dimension> {
    let info = writer.graph.input[0].r#type.as_mut().expect("a type");
    let Some(type_proto::Value::TensorType(tensor)) = info.value.as_mut() else {
        panic!("no tensor")
    };
    tensor.shape.as_mut().expect("a shape").dim.iter_mut()
}

#[test]
fn what_nothing_makes_is_refused() {
    let x = || Writer::default().input("x", &[2, 3]);
    let tanh = || x().node("Tanh", &["x"], "y", &[]);
    refused_by_both(&tanh().finish("z"), "\"z\", which nothing makes");
    refused_by_both(
        &tanh().finish_all(&["y", "z"]),
        "\"z\", which nothing makes",
    );
    refused_by_both(&tanh().finish_all(&[]), "has no output");
    let reads = x().node("Add", &["x", "lost"], "y", &[]).finish("y");
    refused_by_both(&reads, "\"lost\", which nothing makes");
    let twice = tanh().node("Sigmoid", &["x"], "y", &[]).finish("y");
    refused_by_both(&twice, "makes \"y\" twice");
}

#[test]
fn broken_constants_are_refused() {
    let add = |change: fn(&mut TensorProto)| {
        let mut writer = Writer::default()
            .input("x", &[2, 3])
            .floats("w", &[3], &[1.0, 2.0, 3.0]);
        change(&mut writer.graph.initializer[0]);
        writer.node("Add", &["x", "w"], "y", &[]).finish("y")
    };
    refused_by_both(&add(|w| w.dims = vec![-3]), "negative dimension");
    refused_by_both(&add(|w| w.dims = vec![1 << 40, 1 << 40]), "too large");
    let outside = add(|w| {
        w.raw_data.clear();
        w.data_location = Some(tensor_proto::DataLocation::External as i32);
    });
    refused_by_both(&outside, "lies in another file");
    let short = refused(&add(|w| w.dims = vec![4]), Runner::Ours);
    assert!(
        short.contains("holds 3 values, its shape says 4"),
        "{short}"
    );
}

#[test]
fn an_operator_that_nobody_has_is_named() {
    let mut writer = Writer::default()
        .input("x", &[2, 3])
        .node("Frobnicate", &["x"], "y", &[]);
    writer.graph.node[0].domain = "com.example".into();
    refused_by_both(&writer.finish("y"), "com.example.Frobnicate");
}

fn ramp(dims: &[usize]) -> Array {
    let count: usize = dims.iter().product();
    let values = (0..count).map(|i| (i as f32 * 0.37).sin()).collect();
    Array::Floats(dims.to_vec(), values)
}

#[test]
fn operators_mean_what_their_version_says() {
    let x = |opset| Writer::default().opset(opset).input("x", &[2, 3, 4]);
    let inputs = [ramp(&[2, 3, 4])];
    // up to 12 the axes from 1 on are one
    let (old, _) = same(
        &x(11).node("Softmax", &["x"], "y", &[]).finish("y"),
        &inputs,
    );
    let sums =
        |o: &Output, n: usize| -> Vec<f32> { o.values.chunks(n).map(|c| c.iter().sum()).collect() };
    assert!(sums(&old[0], 12).iter().all(|s| (s - 1.0).abs() < 1e-5));
    let (new, planned) = same(
        &x(13).node("Softmax", &["x"], "y", &[]).finish("y"),
        &inputs,
    );
    assert!(planned && sums(&new[0], 4).iter().all(|s| (s - 1.0).abs() < 1e-5));

    let ones = [ramp(&[1, 3, 1])];
    let x = |opset| Writer::default().opset(opset).input("x", &[1, 3, 1]);
    let axes: &[(&str, &[i64])] = &[("axes", &[0])];
    let (old, _) = same(&x(11).node("Squeeze", &["x"], "y", axes).finish("y"), &ones);
    assert_eq!(old[0].dims, [3, 1]);
    // tract knows no Squeeze of all axes
    let all = x(11).node("Squeeze", &["x"], "y", &[]).finish("y");
    let all = run(&all, Runner::Ours, &ones);
    assert_eq!(all[0].dims, [3]);
    let (old, _) = same(
        &x(11).node("Unsqueeze", &["x"], "y", axes).finish("y"),
        &ones,
    );
    assert_eq!(old[0].dims, [1, 1, 3, 1]);
    let (old, _) = same(
        &x(11)
            .node("ReduceSum", &["x"], "y", &[("axes", &[1])])
            .finish("y"),
        &ones,
    );
    assert_eq!(old[0].dims, [1, 1, 1]);
}

#[test]
fn outputs_are_of_the_type_that_the_file_says() {
    let onnx = Writer::default()
        .input("x", &[2, 3])
        .floats("zero", &[], &[0.0])
        .node("ArgMax", &["x"], "place", &[("axis", &[1])])
        .node("Greater", &["x", "zero"], "positive", &[])
        .node("Cast", &["x"], "wide", &[("to", &[11])])
        .node("Cast", &["positive"], "byte", &[("to", &[2])])
        .finish_all(&["place", "positive", "wide", "byte"]);
    let x = Array::Floats(vec![2, 3], vec![0.5, -1.0, 2.0, 0.0, 1.5, -0.25]);
    for runner in [Runner::Ours, Runner::Tract] {
        let file = OnnxFile::of_bytes("model", &onnx, runner).expect("a model");
        let answer = file.answer(std::slice::from_ref(&x)).expect("an answer");
        let wanted = [
            Array::Ints(vec![2, 1], vec![2, 1]),
            Array::Ints(vec![2, 3], vec![1, 0, 1, 0, 1, 0]),
            Array::Doubles(vec![2, 3], vec![0.5, -1.0, 2.0, 0.0, 1.5, -0.25]),
            Array::Bytes(vec![2, 3], vec![1, 0, 1, 0, 1, 0]),
        ];
        assert_eq!(answer, wanted, "{runner:?}");
        let error = file.run(std::slice::from_ref(&x)).expect_err("no floats");
        assert!(error.to_string().contains("answers are f32"), "{error}");
    }
}

/// `If(condition, x + 1, x + 2)`, where both branches read the outer `h = tanh(x)`.
fn branches() -> Vec<u8> {
    let branch = |name: &str, by: f32| {
        let inner = Writer::default()
            .floats(&format!("{name}_by"), &[1], &[by])
            .node("Add", &["h", &format!("{name}_by")], name, &[]);
        let mut graph = inner.graph;
        graph.name = name.into();
        graph.output.push(ValueInfoProto {
            name: name.into(),
            ..ValueInfoProto::default()
        });
        graph
    };
    let mut writer = Writer::default()
        .input("x", &[2, 3])
        .node("Tanh", &["x"], "h", &[])
        .node("ReduceSum", &["x"], "sum", &[("keepdims", &[0])])
        .floats("zero", &[], &[0.0])
        .node("Greater", &["sum", "zero"], "condition", &[])
        .node("If", &["condition"], "y", &[]);
    let attribute = |name: &str, graph: GraphProto| AttributeProto {
        name: name.into(),
        r#type: attribute_proto::AttributeType::Graph as i32,
        g: Some(graph),
        ..AttributeProto::default()
    };
    let node = writer.graph.node.last_mut().expect("the If");
    node.attribute = vec![
        attribute("then_branch", branch("then", 1.0)),
        attribute("else_branch", branch("else", 2.0)),
    ];
    writer.finish("y")
}

#[test]
fn what_cannot_be_planned_is_known_at_load_and_runs_in_tract() {
    let inputs = [ramp(&[2, 3])];
    let (_, planned) = same(&branches(), &inputs);
    assert!(!planned);
    // codes and booleans between nodes that nothing of ours matches
    let codes = Writer::default()
        .input("x", &[2, 3])
        .nodes("DynamicQuantizeLinear", &["x"], &["q", "scale", "zero"])
        .node("DequantizeLinear", &["q", "scale", "zero"], "y", &[])
        .finish("y");
    same(&codes, &inputs);
    let choice = Writer::default()
        .input("x", &[2, 3])
        .floats("zero", &[1], &[0.0])
        .node("Greater", &["x", "zero"], "positive", &[])
        .node("Where", &["positive", "x", "zero"], "y", &[])
        .finish("y");
    let (_, planned) = same(&choice, &inputs);
    assert!(planned, "node by node");
}

#[test]
fn inputs_are_of_the_type_that_is_declared() {
    let cast = |kind| {
        let writer = Writer::default().typed("x", &[2, 3], kind);
        writer
            .node("Cast", &["x"], "y", &[("to", &[1])])
            .finish("y")
    };
    let ints = Array::Ints(vec![2, 3], vec![0, 1, 1, 0, 1, 0]);
    for kind in [
        DataType::Int64,
        DataType::Int32,
        DataType::Int16,
        DataType::Int8,
        DataType::Uint16,
        DataType::Uint32,
        DataType::Uint64,
        DataType::Bool,
    ] {
        let (answer, _) = same(&cast(kind), std::slice::from_ref(&ints));
        assert_eq!(answer[0].values, [0.0, 1.0, 1.0, 0.0, 1.0, 0.0], "{kind:?}");
        let file = OnnxFile::of_bytes("model", &cast(kind), Runner::Ours).expect("a model");
        let error = file.run(&[ramp(&[2, 3])]).expect_err("another type");
        assert!(error.to_string().contains("takes x as int64"), "{error}");
    }
    let narrow = OnnxFile::of_bytes("model", &cast(DataType::Int8), Runner::Ours);
    let wide = Array::Ints(vec![2, 3], vec![0, 1, 2, 3, 4, 300]);
    let error = narrow.expect("a model").run(&[wide]).expect_err("no int8");
    assert!(error.to_string().contains("300 was given"), "{error}");
    let doubles = Array::Doubles(vec![2, 3], vec![0.5, -1.0, 2.0, 0.0, 1.5, -0.25]);
    let (answer, _) = same(&cast(DataType::Double), &[doubles]);
    assert_eq!(answer[0].values, [0.5, -1.0, 2.0, 0.0, 1.5, -0.25]);
    for kind in [DataType::Float, DataType::Float16] {
        let halves = Array::Floats(vec![2, 3], vec![0.5, -1.0, 2.0, 0.0, 1.5, -0.25]);
        let (answer, _) = same(&cast(kind), std::slice::from_ref(&halves));
        assert_eq!(
            answer[0].values,
            [0.5, -1.0, 2.0, 0.0, 1.5, -0.25],
            "{kind:?}"
        );
    }
    // 16777217 is no f32
    let add = Writer::default()
        .typed("x", &[1], DataType::Int32)
        .ints("one", &[16_777_217])
        .node("Sub", &["x", "one"], "difference", &[])
        .node("Cast", &["difference"], "y", &[("to", &[1])])
        .finish("y");
    let (answer, _) = same(&add, &[Array::Ints(vec![1], vec![16_777_218])]);
    assert_eq!(answer[0].values, [1.0]);
    refused_by_both(&cast(DataType::String), "as STRING");
}

#[test]
fn functions_within_functions_do_not_grow_without_limit() {
    let call = |name: &str, from: &str, to: &str| NodeProto {
        op_type: name.into(),
        domain: "laughs".into(),
        input: vec![from.into()],
        output: vec![to.into()],
        ..NodeProto::default()
    };
    let mut writer = Writer::default().input("x", &[2, 3]);
    for depth in 0..8 {
        let place = |at: usize| match at {
            0 => "a".to_string(),
            12 => "b".to_string(),
            at => format!("t{at}"),
        };
        let node = |at: usize| {
            let mut node = call(&format!("F{}", depth + 1), &place(at), &place(at + 1));
            if depth == 7 {
                node = NodeProto {
                    op_type: "Tanh".into(),
                    domain: String::new(),
                    ..node
                };
            }
            node
        };
        writer.functions.push(FunctionProto {
            name: Some(format!("F{depth}")),
            domain: Some("laughs".into()),
            input: vec!["a".into()],
            output: vec!["b".into()],
            node: (0..12).map(node).collect(),
            ..FunctionProto::default()
        });
    }
    writer.graph.node.push(call("F0", "x", "y"));
    refused_by_both(&writer.finish("y"), "functions within functions");
}

#[test]
fn names_of_outputs_are_never_paths() {
    let folder = Folder::new();
    let inner = folder.path("inner");
    std::fs::create_dir(&inner).expect("a folder");
    let names = ["../x", "a/b", "a_b", "/tmp/y", "..", "plain.1"];
    let mut writer = Writer::default().input("x", &[2, 3]);
    for name in names {
        writer = writer.node("Tanh", &["x"], name, &[]);
    }
    let path = folder.file("named.onnx", writer.finish_all(&names));
    let ran = bench(&["--onnx", &path, "--output", inner.to_str().expect("a path")]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let mut made: Vec<String> = std::fs::read_dir(&inner)
        .expect("the folder")
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    made.sort();
    let wanted = [
        "_tmp_y.npy",
        "_x.npy",
        "a_b-2.npy",
        "a_b.npy",
        "output.npy",
        "plain.1.npy",
    ];
    assert_eq!(made, wanted);
    assert!(!folder.path("x.npy").exists());
}

/// Shapes of a file whose inputs leave nothing open are refused at once: tract would add up sizes
/// of 48 and 47 without end.
#[test]
fn pictures_of_two_sizes_are_not_added() {
    let bundle = demeanor::model::Bundle::find("expression", None).expect("embedded");
    let mut model = ModelProto::decode(bundle.bytes("face.onnx").expect("a file")).expect("ONNX");
    let nodes = &mut model.graph.as_mut().expect("a graph").node;
    let pads = |node: &AttributeProto| node.name == "pads" && node.ints == [0, 0, 1, 1];
    let halves = nodes
        .iter_mut()
        .find(|n| n.op_type == "QLinearConv" && n.attribute.iter().any(pads));
    halves.expect("halves").attribute.retain(|a| !pads(a));
    let sentence = refused(&model.encode_to_vec(), Runner::Ours);
    assert!(sentence.contains("is added to"), "{sentence}");

    let rows = Writer::default()
        .input("x", &[2, 4])
        .input("y", &[2, 3])
        .node("Add", &["x", "y"], "z", &[])
        .finish("z");
    let sentence = refused(&rows, Runner::Ours);
    assert!(sentence.contains("does not stretch to"), "{sentence}");
}
