//! From ONNX bytes to something that runs.

use super::bundle::Bundle;
use super::manifest::Precision;
use super::plan::{self, Given, Placement, Plan, PlanError, StepTiming};
use super::tract::{Whole, sentence};
use super::{Audit, ModelError};
use crate::kernels::{self, all_finite};
use bytes::Buf;
use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use tract_onnx::pb::{ModelProto, ValueInfoProto};
use tract_onnx::pb::{tensor_proto::DataType, tensor_shape_proto::dimension, type_proto};
use tract_onnx::prelude::TVec;

/// What runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Runner {
    /// Fused steps of ours, tract for what they do not match.
    #[default]
    Ours,
    /// tract alone, as it comes; functions that the file carries are replaced by their bodies.
    Tract,
}

/// A model in a form that runs.
#[derive(Debug)]
enum Engine {
    Plan(Plan),
    Tract(Whole),
}

impl Engine {
    /// A plan, or tract for what cannot be planned. `again` reads the file once more, as planning
    /// takes the weights.
    fn of(
        mut proto: ModelProto,
        again: impl FnOnce() -> Result<ModelProto, String>,
        runner: Runner,
    ) -> Result<(Engine, Audit), String> {
        let why = match runner {
            Runner::Tract => {
                plan::check(&proto)?;
                "asked for".to_string()
            }
            Runner::Ours => match Plan::new(&mut proto) {
                Ok(plan) => {
                    let audit = Audit::of_plan(&plan);
                    return Ok((Engine::Plan(plan), audit));
                }
                Err(PlanError::Broken(what)) => return Err(what),
                Err(PlanError::NotPlanned(why)) => {
                    proto = again()?;
                    why
                }
            },
        };
        let (whole, audit) = Whole::new(proto, why).map_err(|e| sentence(&e))?;
        Ok((Engine::Tract(whole), audit))
    }

    fn placed(&self) -> Vec<Placement> {
        match self {
            Engine::Plan(plan) => plan.report(),
            Engine::Tract(whole) => whole.placed(),
        }
    }

    /// Runs; every output as its shape and floats.
    fn run(&self, inputs: &[Input<'_>], threads: usize) -> Result<Vec<Output>, String> {
        match self {
            Engine::Plan(plan) => plan.run(inputs, threads, |outputs| {
                let owned = outputs.iter().map(|(dims, x)| Output::of(dims, x));
                owned.collect()
            }),
            Engine::Tract(whole) => whole.run(inputs).map_err(|e| sentence(&e)),
        }
    }
}

/// Shape and content of an input.
pub(crate) type Input<'a> = (&'a [usize], Given<'a>);

/// An output of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Shape.
    pub dims: Vec<usize>,
    /// Content, row-major.
    pub values: Vec<f32>,
}

impl Output {
    pub(crate) fn of(dims: &[usize], values: &[f32]) -> Output {
        Output {
            dims: dims.to_vec(),
            values: values.to_vec(),
        }
    }
}

/// A runnable model.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    name: String,
    inputs: Vec<Wanted>,
    outputs: Vec<String>,
    engine: Arc<Engine>,
    audit: Audit,
    /// Workers that share its large steps.
    threads: usize,
}

impl Model {
    /// Loads a file that the bundle's manifest lists.
    ///
    /// # Errors
    /// A file that is missing, refused, or claims more than it does.
    pub(crate) fn load(bundle: &Bundle, file: &str, threads: usize) -> Result<Model, ModelError> {
        let missing = || ModelError::Refused {
            name: file.into(),
            what: "is not in the bundle".into(),
        };
        let onnx = bundle.bytes(file).ok_or_else(missing)?;
        let claim = bundle.manifest.file(file).map(|f| f.precision);
        let model = Model::open(file, onnx)?.check_claim(claim)?;
        Ok(model.with_threads(threads))
    }

    /// A model in memory.
    ///
    /// # Errors
    /// A file that is refused.
    pub(crate) fn open(name: &str, onnx: &[u8]) -> Result<Model, ModelError> {
        Model::of(name, || decode(onnx), Runner::Ours)
    }

    /// Refuses a file that takes other inputs, or lacks one of the outputs.
    ///
    /// # Errors
    /// [`ModelError::Refused`], naming both.
    pub(crate) fn expect(self, inputs: &[&str], outputs: &[&str]) -> Result<Model, ModelError> {
        let takes: Vec<&str> = self.inputs.iter().map(|i| i.name.as_str()).collect();
        if takes != inputs {
            return Err(self.refused(format!("takes inputs {takes:?}, expected {inputs:?}")));
        }
        self.expect_outputs(outputs)
    }

    /// Refuses a file that lacks one of the outputs.
    ///
    /// # Errors
    /// [`ModelError::Refused`], naming it.
    pub(crate) fn expect_outputs(self, outputs: &[&str]) -> Result<Model, ModelError> {
        match outputs.iter().find(|name| self.output(name).is_none()) {
            Some(lacking) => Err(self.refused(format!(
                "gives outputs {:?}, and `{lacking}` is none of them",
                self.outputs
            ))),
            None => Ok(self),
        }
    }

    /// Names of its inputs, in their order.
    pub(crate) fn input_names(&self) -> Vec<&str> {
        self.inputs.iter().map(|i| i.name.as_str()).collect()
    }

    /// How many inputs it takes.
    pub(crate) fn arity(&self) -> usize {
        self.inputs.len()
    }

    /// Names of its outputs.
    pub(crate) fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Which of its outputs has this name.
    pub(crate) fn output(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|o| o == name)
    }

    /// The model as refused for what it turned out to be.
    pub(crate) fn refused(&self, what: String) -> ModelError {
        ModelError::Refused {
            name: self.name.clone(),
            what,
        }
    }

    /// A model that `read` reads.
    fn of(
        name: &str,
        read: impl Fn() -> Result<ModelProto, String>,
        runner: Runner,
    ) -> Result<Model, ModelError> {
        // a malformed model is answered with an error, and now and then with a panic
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            let proto = read()?;
            let graph = proto.graph.as_ref().ok_or("holds no graph")?;
            let initial: Vec<&String> = graph.initializer.iter().map(|t| &t.name).collect();
            let inputs = graph.input.iter().filter(|i| !initial.contains(&&i.name));
            let inputs = inputs.map(wanted).collect::<Result<Vec<_>, String>>()?;
            let outputs = graph.output.iter().map(|o| o.name.clone()).collect();
            let (engine, audit) = Engine::of(proto, &read, runner)?;
            Ok(Model {
                name: name.into(),
                inputs,
                outputs,
                engine: Arc::new(engine),
                audit,
                threads: 1,
            })
        }));
        let loaded = loaded.unwrap_or_else(|_| Err("the engine broke on it".into()));
        loaded.map_err(|what| ModelError::Refused {
            name: name.into(),
            what,
        })
    }

    /// An int8 file holds no float product.
    fn check_claim(self, claim: Option<Precision>) -> Result<Model, ModelError> {
        match self.audit.first_float() {
            Some(first) if claim == Some(Precision::Int8) => Err(ModelError::NotInteger {
                name: self.name.clone(),
                float: self.audit.float.len(),
                total: self.audit.total(),
                first: first.into(),
            }),
            _ => Ok(self),
        }
    }

    /// The same model with `threads` workers (1 to [`kernels::MAX_THREADS`]) for its large
    /// steps; one unless this is called.
    pub(crate) fn with_threads(self, threads: usize) -> Model {
        let threads = threads.clamp(1, kernels::MAX_THREADS);
        Model { threads, ..self }
    }

    /// What multiplies in it.
    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Which node runs where.
    pub(crate) fn placed(&self) -> Vec<Placement> {
        self.engine.placed()
    }

    pub(crate) fn failed(&self, what: impl ToString) -> ModelError {
        ModelError::Run {
            name: self.name.clone(),
            what: what.to_string(),
        }
    }

    /// Runs; infinite or undefined numbers never leave.
    pub(crate) fn run(&self, inputs: &[Input<'_>]) -> Result<Vec<Output>, ModelError> {
        self.check(inputs)?;
        let run = || self.engine.run(inputs, self.threads);
        let outputs = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err("the engine broke on it".into()))
            .map_err(|e| self.failed(e))?;
        if outputs.iter().any(|o| !all_finite(&o.values)) {
            return Err(self.failed("returned NaN or infinity"));
        }
        Ok(outputs)
    }

    /// Whether the inputs are of the types that the file declares.
    fn check(&self, inputs: &[Input<'_>]) -> Result<(), ModelError> {
        for (wanted, (_, given)) in self.inputs.iter().zip(inputs) {
            let element = match given {
                Given::Floats(_) => Element::Float,
                Given::Ints(_) => Element::Int,
                Given::Bytes(_) => Element::Byte,
            };
            if element != wanted.element {
                let (name, wanted) = (&wanted.name, wanted.element.name());
                let what = format!("takes {name} as {wanted}, {} was given", element.name());
                return Err(self.failed(what));
            }
        }
        Ok(())
    }
}

/// Any ONNX file, for measuring.
#[derive(Debug)]
pub struct OnnxFile(Model);

/// An input that a file wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Name.
    pub name: String,
    /// Each dimension.
    pub dims: Vec<Dim>,
    /// Of what.
    pub element: Element,
}

/// A dimension of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Always this size.
    Fixed(usize),
    /// Free, under a name that may be empty.
    Free(String),
}

/// What an input is given as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// f32; half and double floats are made of it.
    Float,
    /// i64; shorter integers and booleans are made of it.
    Int,
    /// u8.
    Byte,
}

impl Element {
    fn name(self) -> &'static str {
        match self {
            Element::Float => "f32",
            Element::Int => "int64",
            Element::Byte => "uint8",
        }
    }
}

/// Content of an input, with its shape.
#[derive(Debug, Clone)]
pub enum Content {
    /// f32.
    Floats(Vec<usize>, Vec<f32>),
    /// i64.
    Ints(Vec<usize>, Vec<i64>),
    /// u8.
    Bytes(Vec<usize>, Vec<u8>),
}

impl Content {
    fn given(&self) -> Input<'_> {
        match self {
            Content::Floats(dims, x) => (dims, Given::Floats(x)),
            Content::Ints(dims, x) => (dims, Given::Ints(x)),
            Content::Bytes(dims, x) => (dims, Given::Bytes(x)),
        }
    }
}

impl OnnxFile {
    /// Reads a model; the file is never in memory as a whole.
    ///
    /// # Errors
    /// A file that cannot be read or is refused.
    pub fn open(path: &Path, runner: Runner) -> Result<Self, ModelError> {
        let name = path.display().to_string();
        let read = || {
            let file = File::open(path).and_then(FileBuf::new);
            let mut file = file.map_err(|e| e.to_string())?;
            let proto = <ModelProto as prost::Message>::decode(&mut file);
            proto.map_err(|e| format!("is no ONNX file ({e})"))
        };
        Model::of(&name, read, runner).map(OnnxFile)
    }

    /// A model in memory.
    ///
    /// # Errors
    /// A file that is refused.
    pub fn of_bytes(name: &str, onnx: &[u8], runner: Runner) -> Result<Self, ModelError> {
        Model::of(name, || decode(onnx), runner).map(OnnxFile)
    }

    /// The same file with `threads` workers for its large steps.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        OnnxFile(self.0.with_threads(threads))
    }

    /// What it wants.
    pub fn inputs(&self) -> &[Wanted] {
        &self.0.inputs
    }

    /// Names of what it makes.
    pub fn outputs(&self) -> &[String] {
        &self.0.outputs
    }

    /// Which node runs where.
    pub fn placed(&self) -> Vec<Placement> {
        self.0.engine.placed()
    }

    /// Bytes of the arena, where the plan is ours.
    pub fn arena_bytes(&self) -> Option<usize> {
        match &*self.0.engine {
            Engine::Plan(plan) => Some(plan.arena_bytes()),
            Engine::Tract(..) => None,
        }
    }

    /// Runs.
    ///
    /// # Errors
    /// The engine's.
    pub fn run(&self, inputs: &[Content]) -> Result<Vec<Output>, ModelError> {
        let given: Vec<Input<'_>> = inputs.iter().map(Content::given).collect();
        self.0.run(&given)
    }

    /// Runs and throws the answer away: what a measurement wants.
    ///
    /// # Errors
    /// The engine's.
    pub fn run_only(&self, inputs: &[Content]) -> Result<(), ModelError> {
        // on the stack: a warm run allocates nothing
        let given: TVec<Input<'_>> = inputs.iter().map(Content::given).collect();
        let ran = match &*self.0.engine {
            Engine::Plan(plan) => plan.run(&given, self.0.threads, |_| ()),
            Engine::Tract(whole) => whole.run(&given).map(|_| ()).map_err(|e| sentence(&e)),
        };
        ran.map_err(|e| self.0.failed(e))
    }

    /// Runs and tells the time of each step; nothing where tract runs all.
    ///
    /// # Errors
    /// The engine's.
    pub fn profile(&self, inputs: &[Content]) -> Result<Vec<StepTiming>, ModelError> {
        let given: Vec<Input<'_>> = inputs.iter().map(Content::given).collect();
        match &*self.0.engine {
            Engine::Plan(plan) => {
                let timings = plan.profile(&given, self.0.threads);
                timings.map_err(|e| self.0.failed(e))
            }
            Engine::Tract(..) => Ok(Vec::new()),
        }
    }
}

/// A file as a buffer that is read piece by piece.
struct FileBuf {
    file: File,
    left: usize,
    piece: Vec<u8>,
    at: usize,
}

impl FileBuf {
    const PIECE: usize = 1 << 16;

    fn new(file: File) -> io::Result<FileBuf> {
        let left = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut buf = FileBuf {
            file,
            left,
            piece: vec![0; Self::PIECE],
            at: Self::PIECE,
        };
        buf.fill();
        Ok(buf)
    }

    /// The next piece; a file that ends early or cannot be read ends the buffer.
    fn fill(&mut self) {
        let many = self.left.min(Self::PIECE);
        self.piece.truncate(many);
        self.at = 0;
        if self.file.read_exact(&mut self.piece).is_err() {
            self.piece.clear();
            self.left = 0;
        }
    }
}

impl Buf for FileBuf {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        &self.piece[self.at..]
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.left, "beyond the end of a file");
        while count > 0 {
            let here = count.min(self.piece.len() - self.at);
            self.at += here;
            self.left -= here;
            count -= here;
            if self.at == self.piece.len() && self.left > 0 {
                self.fill();
            }
            if self.left == 0 {
                return;
            }
        }
    }
}

/// An input of a graph.
fn wanted(input: &ValueInfoProto) -> Result<Wanted, String> {
    let (mut dims, mut element) = (Vec::new(), Element::Float);
    let value = input.r#type.as_ref().and_then(|t| t.value.as_ref());
    if let Some(type_proto::Value::TensorType(tensor)) = value {
        let kind = DataType::try_from(tensor.elem_type).unwrap_or(DataType::Undefined);
        element = match kind {
            DataType::Float | DataType::Double | DataType::Float16 => Element::Float,
            DataType::Int64 | DataType::Int32 | DataType::Bool => Element::Int,
            DataType::Uint8 => Element::Byte,
            other => {
                return Err(format!(
                    "takes the input {:?} as {}; inputs are floats, int64, int32, bool or uint8",
                    input.name,
                    other.as_str_name()
                ));
            }
        };
        for dim in tensor.shape.iter().flat_map(|s| &s.dim) {
            dims.push(match &dim.value {
                Some(dimension::Value::DimValue(n)) => match usize::try_from(*n) {
                    Ok(size) => Dim::Fixed(size),
                    Err(_) => Dim::Free(n.to_string()),
                },
                Some(dimension::Value::DimParam(name)) => Dim::Free(name.clone()),
                None => Dim::Free(String::new()),
            });
        }
    }
    Ok(Wanted {
        name: input.name.clone(),
        dims,
        element,
    })
}

fn decode(onnx: &[u8]) -> Result<ModelProto, String> {
    <ModelProto as prost::Message>::decode(onnx).map_err(|e| format!("is no ONNX file ({e})"))
}
