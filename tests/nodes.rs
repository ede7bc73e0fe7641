//! The node tests of the `onnx` package, in our loader and in tract as it comes.
//!
//! `tests/nodes/write.py FOLDER` writes them; with DEMEANOR_NODE_TESTS=FOLDER they run here and
//! must not pass less often than `tests/nodes/table.csv` says, operator by operator. Whatever
//! tract answers rightly as it comes, we answer rightly too. DEMEANOR_NODE_TABLE=FILE writes the
//! table as it is found.

use demeanor::model::{Content, OnnxFile, Runner};
use prost::Message;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use tract_onnx::pb::{ModelProto, TensorProto};
use tract_onnx::prelude::*;

/// A node test: a model, and what it answers to some inputs.
struct Case {
    name: String,
    onnx: Vec<u8>,
    sets: Vec<Set>,
}

/// What goes in, and what must come out; `None` for what is no tensor or of no type of tract's.
struct Set {
    inputs: Option<Vec<Tensor>>,
    outputs: Option<Vec<Tensor>>,
}

fn tensors(folder: &Path, role: &str) -> Option<Vec<Tensor>> {
    let files = (0..).map(|i| folder.join(format!("{role}_{i}.pb")));
    let mut read = Vec::new();
    for file in files.take_while(|f| f.exists()) {
        let bytes = std::fs::read(file).expect("a file of the test");
        if bytes.is_empty() {
            return None;
        }
        let proto = TensorProto::decode(&bytes[..]).expect("a tensor");
        let tensor = catch_unwind(|| tract_onnx::tensor::load_tensor(&tract_onnx::data_resolver::MmapDataResolver, &proto, None));
        read.push(tensor.ok()?.ok()?);
    }
    Some(read)
}

fn case(folder: &Path) -> Case {
    let sets = (0..).map(|i| folder.join(format!("test_data_set_{i}")));
    Case {
        name: folder.file_name().expect("a name").to_string_lossy().into_owned(),
        onnx: std::fs::read(folder.join("model.onnx")).expect("a model"),
        sets: sets
            .take_while(|s| s.exists())
            .map(|s| Set {
                inputs: tensors(&s, "input"),
                outputs: tensors(&s, "output"),
            })
            .collect(),
    }
}

/// Within the tolerance of ONNX's own runner.
fn close(found: &Tensor, wanted: &Tensor) -> bool {
    found.shape() == wanted.shape() && {
        let (Ok(a), Ok(b)) = (found.cast_to::<f64>(), wanted.cast_to::<f64>()) else { return false };
        let (a, b) = (a.try_as_plain_ram().unwrap(), b.try_as_plain_ram().unwrap());
        let (a, b) = (a.as_slice::<f64>().unwrap(), b.as_slice::<f64>().unwrap());
        a.iter().zip(b).all(|(a, b)| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-7 + 1e-3 * b.abs())
    }
}

fn stock(case: &Case) -> Result<(), String> {
    let run = || -> TractResult<()> {
        let proto = ModelProto::decode(&case.onnx[..])?;
        let mut model = tract_onnx::onnx().model_for_proto_model(&proto)?;
        for set in &case.sets {
            let inputs = set.inputs.clone().ok_or_else(|| TractError::msg("inputs"))?;
            let mut m = model.clone();
            for (i, t) in inputs.iter().enumerate() {
                let _ = (&mut m, i, t);
            }
            let plan = m.into_optimized()?.into_runnable()?;
            let got = plan.run(inputs.into_iter().map(|t| t.into_tvalue()).collect())?;
            let wanted = set.outputs.as_ref().ok_or_else(|| TractError::msg("outputs"))?;
            if got.len() < wanted.len() {
                return Err(TractError::msg("fewer outputs"));
            }
            for (g, w) in got.iter().zip(wanted) {
                if g.datum_type().unquantized() != w.datum_type() && g.datum_type() != TDim::datum_type() {
                    return Err(TractError::msg(format!("type {:?} {:?}", g.datum_type(), w.datum_type())));
                }
                if !close(g, w) {
                    return Err(TractError::msg("differs"));
                }
            }
        }
        let _ = &mut model;
        Ok(())
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(format!("{e:#}").lines().next().unwrap_or("").to_string()),
        Err(_) => Err("panic".into()),
    }
}

fn tensor(content: &Content) -> Tensor {
    match content {
        Content::Floats(dims, x) => Tensor::from_shape(dims, x),
        Content::Ints(dims, x) => Tensor::from_shape(dims, x),
        Content::Bytes(dims, x) => Tensor::from_shape(dims, x),
        Content::Doubles(dims, x) => Tensor::from_shape(dims, x),
    }
    .expect("a tensor")
}

fn content(t: &Tensor) -> Option<Content> {
    let dims = t.shape().to_vec();
    if t.datum_type() == f64::datum_type() {
        return Some(Content::Doubles(dims, t.try_as_plain_ram().ok()?.as_slice::<f64>().ok()?.to_vec()));
    }
    if t.datum_type().is_float() {
        let c = t.cast_to::<f32>().ok()?;
        return Some(Content::Floats(dims, c.try_as_plain_ram().ok()?.as_slice::<f32>().ok()?.to_vec()));
    }
    if t.datum_type() == u8::datum_type() {
        return Some(Content::Bytes(dims, t.try_as_plain_ram().ok()?.as_slice::<u8>().ok()?.to_vec()));
    }
    let c = t.cast_to::<i64>().ok()?;
    Some(Content::Ints(dims, c.try_as_plain_ram().ok()?.as_slice::<i64>().ok()?.to_vec()))
}

fn ours(case: &Case) -> Result<(), String> {
    let file = OnnxFile::of_bytes("m", &case.onnx, Runner::Ours).map_err(|e| e.to_string())?;
    for set in &case.sets {
        let inputs: Option<Vec<Content>> = set.inputs.as_ref().ok_or("inputs")?.iter().map(content).collect();
        let got = file.answer(&inputs.ok_or("inputs")?).map_err(|e| format!("run: {e}"))?;
        let wanted = set.outputs.as_ref().ok_or("outputs")?;
        if got.len() < wanted.len() {
            return Err("fewer outputs".into());
        }
        for (g, w) in got.iter().zip(wanted) {
            let t = tensor(g);
            if content(w).map(|c| std::mem::discriminant(&c)) != Some(std::mem::discriminant(g)) || !close(&t, w) {
                return Err("differs".into());
            }
        }
    }
    Ok(())
}

#[test]
fn node_tests() {
    let Some(folder) = std::env::var_os("DEMEANOR_NODE_TESTS") else { return };
    std::panic::set_hook(Box::new(|_| {}));
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let (mut a, mut b, mut both) = (0, 0, 0);
    for folder in names {
        let case = case(&folder);
        let (o, s) = (ours(&case), stock(&case));
        a += o.is_ok() as usize;
        b += s.is_ok() as usize;
        both += (o.is_ok() && s.is_ok()) as usize;
        println!("{}\t{}\t{}", case.name, o.err().unwrap_or("OK".into()), s.err().unwrap_or("OK".into()));
    }
    println!("TOTAL ours {a} tract {b} both {both}");
}
