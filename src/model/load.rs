//! From ONNX bytes to something that runs.

use super::bundle::Bundle;
use super::manifest::Precision;
use super::plan::{Given, Placed, Plan, Spent};
use super::{Audit, ModelError, functions, ops};
use crate::kernels::all_finite;
use bytes::Buf;
use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use tract_onnx::pb::ModelProto;
use tract_onnx::tract_hir::internal::*;

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
    /// The plan, and why it is not ours.
    Tract(Arc<TypedSimplePlan>, String),
}

impl Engine {
    /// A fusion head is one call of a kernel, which tract makes; everything else is planned
    /// here if it can be. `again` reads the file once more, as planning takes the weights.
    fn of(
        mut proto: ModelProto,
        again: impl FnOnce() -> TractResult<ModelProto>,
        runner: Runner,
    ) -> TractResult<(Engine, Audit)> {
        if runner == Runner::Tract {
            functions::inline(&mut proto).map_err(TractError::msg)?;
        }
        let nodes = proto.graph.as_ref().map_or(&[][..], |g| &g.node);
        let why = if runner == Runner::Tract {
            "asked for".to_string()
        } else if nodes.iter().any(ops::is_head) {
            "a fusion head is one call".to_string()
        } else {
            match Plan::new(&mut proto) {
                Ok(plan) => {
                    let audit = Audit::of_plan(&plan);
                    return Ok((Engine::Plan(plan), audit));
                }
                Err(why) => {
                    proto = again()?;
                    why
                }
            }
        };
        let model = ops::framework().model_for_proto_model(&proto)?;
        // tract has its own copy of the weights by now
        drop(proto);
        let model = model.into_typed()?.into_decluttered()?.into_optimized()?;
        let audit = Audit::of(&model)?;
        Ok((Engine::Tract(TypedSimplePlan::new(model)?, why), audit))
    }

    fn placed(&self) -> Vec<Placed> {
        match self {
            Engine::Plan(plan) => plan.report(),
            Engine::Tract(_, why) => vec![Placed {
                nodes: vec!["the whole model".into()],
                kernel: "tract".into(),
                tract: Some(why.clone()),
            }],
        }
    }

    /// Runs; every output as its shape and floats.
    fn run(&self, inputs: &[Input<'_>]) -> Result<Vec<Output>, String> {
        match self {
            Engine::Plan(plan) => plan.run(inputs, |outputs| {
                let owned = outputs.iter().map(|(dims, x)| Output::of(dims, x));
                owned.collect()
            }),
            Engine::Tract(plan, _) => run_tract(plan, inputs).map_err(|e| sentence(&e)),
        }
    }
}

fn run_tract(plan: &Arc<TypedSimplePlan>, inputs: &[Input<'_>]) -> TractResult<Vec<Output>> {
    let mut values = tvec!();
    for (dims, given) in inputs {
        let tensor = match given {
            Given::Floats(x) => Tensor::from_shape(dims, x)?,
            Given::Ints(x) => Tensor::from_shape(dims, x)?,
            Given::Bytes(x) => Tensor::from_shape(dims, x)?,
        };
        values.push(tensor.into_tvalue());
    }
    let outputs = plan.run(values)?;
    let floats = outputs.iter().map(|o| {
        let plain = o.try_as_plain_ram()?;
        Ok(Output::of(o.shape(), plain.as_slice::<f32>()?))
    });
    floats.collect()
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
    fn of(dims: &[usize], values: &[f32]) -> Output {
        Output {
            dims: dims.to_vec(),
            values: values.to_vec(),
        }
    }
}

/// A runnable model of a bundle.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    name: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    engine: Arc<Engine>,
    audit: Audit,
}

impl Model {
    /// Loads a file that the bundle's manifest lists.
    ///
    /// # Errors
    /// A file that is missing, refused, or claims more than it does.
    pub(crate) fn load(bundle: &Bundle, file: &str) -> Result<Model, ModelError> {
        let missing = || ModelError::Refused {
            name: file.into(),
            what: "is not in the bundle".into(),
        };
        let onnx = bundle.bytes(file).ok_or_else(missing)?;
        let claim = bundle.manifest.file(file).map(|f| f.precision);
        Model::open(file, onnx)?.check_claim(claim)
    }

    /// A model in memory.
    ///
    /// # Errors
    /// A file that is refused.
    pub(crate) fn open(name: &str, onnx: &[u8]) -> Result<Model, ModelError> {
        // a malformed model is answered with an error, and now and then with a panic
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            let proto = decode(onnx)?;
            let graph = proto.graph.as_ref();
            let graph = graph.ok_or_else(|| format_err!("holds no graph"))?;
            let inputs = graph.input.iter().map(|i| i.name.clone()).collect();
            let outputs = graph.output.iter().map(|o| o.name.clone()).collect();
            let (engine, audit) = Engine::of(proto, || decode(onnx), Runner::Ours)?;
            Ok((engine, audit, inputs, outputs))
        }));
        let loaded = loaded.unwrap_or_else(|_| Err(format_err!("the engine broke on it")));
        let (engine, audit, inputs, outputs) = loaded.map_err(|e| ModelError::Refused {
            name: name.into(),
            what: sentence(&e),
        })?;
        Ok(Model {
            name: name.into(),
            inputs,
            outputs,
            engine: Arc::new(engine),
            audit,
        })
    }

    /// Refuses a file that takes other inputs, or lacks one of the outputs.
    ///
    /// # Errors
    /// [`ModelError::Refused`], naming both.
    pub(crate) fn expect(self, inputs: &[&str], outputs: &[&str]) -> Result<Model, ModelError> {
        if self.inputs != inputs {
            return Err(self.refused(format!(
                "takes inputs {:?}, expected {inputs:?}",
                self.inputs
            )));
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

    /// An int8 file holds no float product.
    fn check_claim(self, claim: Option<Precision>) -> Result<Model, ModelError> {
        match self.audit.first_float() {
            Some(first) if claim == Some(Precision::Int8) => Err(ModelError::NotInteger {
                name: self.name.clone(),
                float: self.audit.float.len() + self.audit.fused.len(),
                total: self.audit.total(),
                first: first.into(),
            }),
            _ => Ok(self),
        }
    }

    /// What multiplies in it.
    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Which node runs where.
    pub(crate) fn placed(&self) -> Vec<Placed> {
        self.engine.placed()
    }

    pub(crate) fn failed(&self, what: impl ToString) -> ModelError {
        ModelError::Run {
            name: self.name.clone(),
            what: what.to_string(),
        }
    }

    /// Runs; infinite or undefined numbers never leave.
    ///
    /// # Errors
    /// Fails if inference fails or returns NaN or infinity.
    pub(crate) fn run(&self, inputs: &[Input<'_>]) -> Result<Vec<Output>, ModelError> {
        let run = || self.engine.run(inputs);
        let outputs = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err("the engine broke on it".into()))
            .map_err(|e| self.failed(e))?;
        if outputs.iter().any(|o| !all_finite(&o.values)) {
            return Err(self.failed("returned NaN or infinity"));
        }
        Ok(outputs)
    }
}

/// Any ONNX file, for measuring.
#[derive(Debug)]
pub struct OnnxFile {
    model: Model,
    inputs: Vec<Wanted>,
    outputs: Vec<String>,
}

/// An input that a file wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Name.
    pub name: String,
    /// Each dimension: a number, or the name of one.
    pub dims: Vec<Result<usize, String>>,
    /// Of what.
    pub element: Element,
}

/// What a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// f32.
    Float,
    /// i64.
    Int,
    /// u8.
    Byte,
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
            let mut file = file.map_err(|e| format_err!("{e}"))?;
            let proto = <ModelProto as prost::Message>::decode(&mut file);
            proto.map_err(|e| format_err!("is no ONNX file ({e})"))
        };
        Self::of(&name, read, runner)
    }

    /// A model in memory.
    ///
    /// # Errors
    /// A file that is refused.
    pub fn of_bytes(name: &str, onnx: &[u8], runner: Runner) -> Result<Self, ModelError> {
        Self::of(name, || decode(onnx), runner)
    }

    fn of(
        name: &str,
        read: impl Fn() -> TractResult<ModelProto>,
        runner: Runner,
    ) -> Result<Self, ModelError> {
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            let proto = read()?;
            let graph = proto.graph.as_ref();
            let graph = graph.ok_or_else(|| format_err!("holds no graph"))?;
            let initial: Vec<&String> = graph.initializer.iter().map(|t| &t.name).collect();
            let wanted = graph.input.iter().filter(|i| !initial.contains(&&i.name));
            let inputs = wanted.map(wants).collect();
            let outputs = graph.output.iter().map(|o| o.name.clone()).collect();
            let (engine, audit) = Engine::of(proto, &read, runner)?;
            Ok((engine, audit, inputs, outputs))
        }));
        let loaded = loaded.unwrap_or_else(|_| Err(format_err!("the engine broke on it")));
        let (engine, audit, inputs, outputs) = loaded.map_err(|e| ModelError::Refused {
            name: name.into(),
            what: sentence(&e),
        })?;
        let model = Model {
            name: name.into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            engine: Arc::new(engine),
            audit,
        };
        Ok(OnnxFile {
            model,
            inputs,
            outputs,
        })
    }

    /// What it wants.
    pub fn inputs(&self) -> &[Wanted] {
        &self.inputs
    }

    /// Names of what it makes.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Which node runs where.
    pub fn placed(&self) -> Vec<Placed> {
        self.model.engine.placed()
    }

    /// Bytes of the arena, where the plan is ours.
    pub fn arena_bytes(&self) -> Option<usize> {
        match &*self.model.engine {
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
        self.model.run(&given)
    }

    /// Runs and throws the answer away: what a measurement wants.
    ///
    /// # Errors
    /// The engine's.
    pub fn run_only(&self, inputs: &[Content]) -> Result<(), ModelError> {
        let given: TVec<Input<'_>> = inputs.iter().map(Content::given).collect();
        let ran = match &*self.model.engine {
            Engine::Plan(plan) => plan.run(&given, |_| ()),
            Engine::Tract(plan, _) => run_tract(plan, &given)
                .map(|_| ())
                .map_err(|e| sentence(&e)),
        };
        ran.map_err(|e| self.model.failed(e))
    }

    /// Runs and tells the time of each step; nothing where tract runs all.
    ///
    /// # Errors
    /// The engine's.
    pub fn profile(&self, inputs: &[Content]) -> Result<Vec<Spent>, ModelError> {
        let given: Vec<Input<'_>> = inputs.iter().map(Content::given).collect();
        match &*self.model.engine {
            Engine::Plan(plan) => plan.profile(&given).map_err(|e| self.model.failed(e)),
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

fn wants(input: &tract_onnx::pb::ValueInfoProto) -> Wanted {
    use tract_onnx::pb::{tensor_proto::DataType, tensor_shape_proto::dimension, type_proto};
    let tensor = input.r#type.as_ref().and_then(|t| t.value.as_ref());
    let (mut dims, mut element) = (Vec::new(), Element::Float);
    if let Some(type_proto::Value::TensorType(tensor)) = tensor {
        element = match DataType::try_from(tensor.elem_type) {
            Ok(DataType::Int64) => Element::Int,
            Ok(DataType::Uint8) => Element::Byte,
            _ => Element::Float,
        };
        for dim in tensor.shape.iter().flat_map(|s| &s.dim) {
            dims.push(match &dim.value {
                Some(dimension::Value::DimValue(n)) => {
                    usize::try_from(*n).map_err(|_| n.to_string())
                }
                Some(dimension::Value::DimParam(name)) => Err(name.clone()),
                None => Err(String::new()),
            });
        }
    }
    Wanted {
        name: input.name.clone(),
        dims,
        element,
    }
}

fn decode(onnx: &[u8]) -> TractResult<ModelProto> {
    <ModelProto as prost::Message>::decode(onnx).map_err(|e| format_err!("is no ONNX file ({e})"))
}

/// The root of an error chain on one line, short enough to read.
fn sentence(error: &TractError) -> String {
    let root = error.root_cause().to_string();
    let line = root.lines().next().unwrap_or_default();
    line.chars().take(200).collect()
}
