//! The node tests of the `onnx` package, in our loader and in tract as it comes.
//!
//! `tests/engine/nodes/write.py FOLDER` writes them, and `DEMEANOR_NODE_TESTS=FOLDER cargo test --release
//! --test engine` runs them: operator by operator, as many must pass as `tests/engine/nodes/table.csv`
//! says, and whatever tract answers rightly as it comes must be answered rightly here. When more
//! pass, DEMEANOR_NODE_TABLE=FILE writes the table as it is found.

use demeanor::model::{Array, OnnxFile, Runner};
use prost::Message;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::mem::discriminant;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use tract_onnx::data_resolver::MmapDataResolver;
use tract_onnx::pb::{ModelProto, TensorProto};
use tract_onnx::prelude::*;
use tract_onnx::tensor::load_tensor;

/// What runs here and is asked of nobody: texts are no inputs of a model of ours.
const TEXTS: &str = "test_equal_string";

/// A node test: a model, and what it answers to some inputs.
struct Case {
    name: String,
    onnx: Vec<u8>,
    sets: Vec<Set>,
}

/// What goes in, and what must come out; `None` for what is no tensor of a type of tract's.
struct Set {
    inputs: Option<Vec<Tensor>>,
    outputs: Option<Vec<Tensor>>,
}

impl Case {
    fn read(folder: &Path) -> Case {
        let sets = (0..).map(|i| folder.join(format!("test_data_set_{i}")));
        let sets = sets.take_while(|folder| folder.exists());
        let name = folder.file_name().expect("a name");
        Case {
            name: name.to_string_lossy().into_owned(),
            onnx: std::fs::read(folder.join("model.onnx")).expect("a model"),
            sets: sets
                .map(|folder| Set {
                    inputs: tensors(&folder, "input"),
                    outputs: tensors(&folder, "output"),
                })
                .collect(),
        }
    }

    /// The operator that it tests; models of several nodes are together.
    fn operator(&self) -> String {
        let proto = ModelProto::decode(&self.onnx[..]).expect("a model");
        let nodes = proto.graph.map(|g| g.node).unwrap_or_default();
        match nodes.as_slice() {
            [node] => node.op_type.clone(),
            _ => "(several nodes)".into(),
        }
    }
}

fn tensors(folder: &Path, role: &str) -> Option<Vec<Tensor>> {
    let files = (0..).map(|i| folder.join(format!("{role}_{i}.pb")));
    let files = files.take_while(|file| file.exists());
    files
        .map(|file| {
            let bytes = std::fs::read(file).expect("a file of the test");
            let proto = TensorProto::decode(&bytes[..]).expect("a tensor");
            let read = || load_tensor(&MmapDataResolver, &proto, None);
            let read = catch_unwind(AssertUnwindSafe(read)).ok()?;
            read.ok().filter(|_| !bytes.is_empty())
        })
        .collect()
}

fn values<T: Datum>(tensor: &Tensor) -> Vec<T> {
    let cast = tensor.cast_to::<T>().expect("numbers");
    let plain = cast.try_as_plain_ram().expect("a plain tensor");
    plain.as_slice::<T>().expect("its values").to_vec()
}

/// A tensor as our loader takes and gives it; `None` for what is no number.
fn content(tensor: &Tensor) -> Option<Array> {
    let dims = tensor.shape().to_vec();
    Some(match tensor.datum_type().unquantized() {
        DatumType::F32 | DatumType::F16 => Array::Floats(dims, values(tensor)),
        DatumType::F64 => Array::Doubles(dims, values(tensor)),
        DatumType::U8 => Array::Bytes(dims, values(tensor)),
        of if of.is_integer() || of == DatumType::Bool || of == DatumType::TDim => {
            Array::Ints(dims, values(tensor))
        }
        _ => return None,
    })
}

/// Shape and values as float64.
fn wide(content: &Array) -> (&[usize], Vec<f64>) {
    match content {
        Array::Floats(dims, x) => (dims, x.iter().map(|v| f64::from(*v)).collect()),
        Array::Doubles(dims, x) => (dims, x.clone()),
        Array::Ints(dims, x) => (dims, x.iter().map(|v| *v as f64).collect()),
        Array::Bytes(dims, x) => (dims, x.iter().map(|v| f64::from(*v)).collect()),
    }
}

/// The same type and shape, and values within the tolerance of ONNX's own runner.
fn close(found: &Array, wanted: &Array) -> bool {
    let ((found_dims, a), (dims, b)) = (wide(found), wide(wanted));
    let near = |(a, b): (&f64, &f64)| {
        a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-7 + 1e-3 * b.abs()
    };
    discriminant(found) == discriminant(wanted) && found_dims == dims && a.iter().zip(&b).all(near)
}

/// Whether all sets of a case are answered rightly by `run`, which opens the model for itself.
fn passes(
    case: &Case,
    run: impl Fn(&[Tensor]) -> Result<Vec<Option<Array>>, String>,
) -> Result<(), String> {
    let checked = || -> Result<(), String> {
        for set in &case.sets {
            let inputs = set.inputs.as_ref().ok_or("inputs are no tensors")?;
            let wanted = set.outputs.as_ref().ok_or("outputs are no tensors")?;
            let found = run(inputs)?;
            let right = |(found, wanted): (&Option<Array>, &Tensor)| match (found, content(wanted))
            {
                (Some(found), Some(wanted)) => close(found, &wanted),
                _ => false,
            };
            if found.len() < wanted.len() || !found.iter().zip(wanted).all(right) {
                return Err("differs".into());
            }
        }
        Ok(())
    };
    catch_unwind(AssertUnwindSafe(checked)).unwrap_or_else(|_| Err("panics".into()))
}

fn ours(case: &Case) -> Result<(), String> {
    passes(case, |inputs| {
        let file = OnnxFile::of_bytes("m", &case.onnx, Runner::Ours).map_err(|e| e.to_string())?;
        let inputs: Option<Vec<Array>> = inputs.iter().map(content).collect();
        let answer = file.answer(&inputs.ok_or("inputs are no numbers")?);
        let answer = answer.map_err(|e| format!("at its run: {e}"))?;
        Ok(answer.into_iter().map(Some).collect())
    })
}

fn stock(case: &Case) -> Result<(), String> {
    let run = |inputs: &[Tensor]| -> TractResult<Vec<Option<Array>>> {
        let proto = ModelProto::decode(&case.onnx[..])?;
        let model = tract_onnx::onnx().model_for_proto_model(&proto)?;
        let plan = model.into_optimized()?.into_runnable()?;
        let inputs = inputs.iter().map(|t| t.clone().into_tvalue()).collect();
        Ok(plan.run(inputs)?.iter().map(|t| content(t)).collect())
    };
    passes(case, |inputs| {
        run(inputs).map_err(|e| e.root_cause().to_string())
    })
}

/// Tests, and how many of them pass here and in tract as it comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    tests: usize,
    ours: usize,
    tract: usize,
}

/// By operator, from `operator,tests,ours,tract`.
fn table(text: &str) -> BTreeMap<String, Count> {
    let row = |line: &str| {
        let mut fields = line.rsplitn(4, ',');
        let mut number = || fields.next()?.parse().ok();
        let (tract, ours, tests) = (number()?, number()?, number()?);
        let count = Count { tests, ours, tract };
        Some((fields.next()?.to_string(), count))
    };
    text.lines()
        .skip(1)
        .map(|line| row(line).expect("a row of the table"))
        .collect()
}

fn written(counts: &BTreeMap<String, Count>) -> String {
    let mut text = String::from("operator,tests,ours,tract\n");
    for (operator, Count { tests, ours, tract }) in counts {
        writeln!(text, "{operator},{tests},{ours},{tract}").expect("a row");
    }
    text
}

#[test]
fn as_many_node_tests_pass_as_the_table_says() {
    let Some(folder) = std::env::var_os("DEMEANOR_NODE_TESTS") else {
        eprintln!(
            "DEMEANOR_NODE_TESTS names no folder of tests/engine/nodes/write.py: nothing was run"
        );
        return;
    };
    let entries = std::fs::read_dir(folder).expect("the folder of the tests");
    let mut folders: Vec<PathBuf> = entries.map(|e| e.expect("a test").path()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "the folder holds no tests");
    // panics of tract are answers here
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let (mut all, mut behind) = (Count::default(), Vec::new());
    for folder in folders {
        let case = Case::read(&folder);
        let (ours, tract) = (ours(&case), stock(&case));
        for count in [counts.entry(case.operator()).or_default(), &mut all] {
            count.tests += 1;
            count.ours += usize::from(ours.is_ok());
            count.tract += usize::from(tract.is_ok());
        }
        if let Err(why) = &ours {
            println!("{}\t{why}", case.name);
            if tract.is_ok() && !case.name.starts_with(TEXTS) {
                behind.push(case.name);
            }
        }
    }
    std::panic::set_hook(told);
    println!(
        "{} of {} pass, {} in tract as it comes",
        all.ours, all.tests, all.tract
    );
    if let Some(file) = std::env::var_os("DEMEANOR_NODE_TABLE") {
        std::fs::write(file, written(&counts)).expect("the table");
    }
    assert!(
        behind.is_empty(),
        "tract answers these, and we do not: {behind:?}"
    );
    for (operator, wanted) in table(include_str!("nodes/table.csv")) {
        let found = counts.get(&operator).copied().unwrap_or_default();
        assert!(
            found.ours >= wanted.ours,
            "{operator}: {} of {} tests pass, {} did",
            found.ours,
            found.tests,
            wanted.ours
        );
    }
}

#[test]
fn the_table_is_read_as_it_is_written() {
    let text = include_str!("nodes/table.csv");
    let counts = table(text);
    assert!(
        counts
            .values()
            .all(|c| c.tract <= c.tests && c.ours <= c.tests)
    );
    assert_eq!(written(&counts), text);
}
