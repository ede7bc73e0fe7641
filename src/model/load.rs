//! From ONNX bytes to something that runs.

use super::bundle::Bundle;
use super::manifest::Precision;
use super::plan::{self, Given, Held, Made, Placement, Plan, PlanError, StepTiming};
use super::scales;
use super::tract::{Whole, sentence};
use super::{Audit, ModelError};
use crate::kernels::{self, all_finite};
use bytes::Buf;
use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto};
use tract_onnx::pb::{tensor_proto::DataType, tensor_shape_proto::dimension, type_proto};
use tract_onnx::prelude::{Datum, DatumType, TVec, Tensor, TractResult};

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
        shapes: &[Vec<Vec<usize>>],
    ) -> Result<(Engine, Audit), String> {
        let why = match runner {
            Runner::Tract => {
                plan::check(&proto)?;
                "asked for".to_string()
            }
            Runner::Ours => match Plan::new(&mut proto, shapes) {
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

    /// Whether every output is f32.
    fn makes_floats(&self) -> Result<bool, String> {
        match self {
            Engine::Plan(plan) => Ok(plan.makes_floats()),
            Engine::Tract(whole) => {
                let makes = whole.makes().map_err(|e| sentence(&e))?;
                Ok(makes.iter().all(|of| *of == DatumType::F32))
            }
        }
    }

    /// Runs; every output as `of` reads its shape and content.
    fn run<T>(
        &self,
        inputs: &[Input<'_>],
        held: Option<&Held>,
        threads: usize,
        of: impl Fn(&[usize], Made<'_>) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        match self {
            Engine::Plan(plan) => plan.run(inputs, held, threads, |outputs| {
                outputs.iter().map(|(dims, made)| of(dims, *made)).collect()
            })?,
            Engine::Tract(whole) => {
                let outputs = whole.run(inputs).map_err(|e| sentence(&e))?;
                let read = outputs.iter().map(|o| of(o.shape(), Made::Other(o)));
                read.collect()
            }
        }
    }
}

/// Sizes that free dimensions are tried with.
const TRIED: [usize; 5] = [64, 1, 16, 8, 128];

/// Shapes of the inputs: as the file fixes them, or with every free dimension at one of a few
/// sizes. None where the rank of an input is not known.
fn tried(graph: &GraphProto, inputs: &[Wanted]) -> Vec<Vec<Vec<usize>>> {
    let shaped = |info: &ValueInfoProto| match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => tensor.shape.is_some(),
        None => false,
    };
    if !graph.input.iter().all(shaped) {
        return Vec::new();
    }
    let sized = |free: usize| -> Vec<Vec<usize>> {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Free(_) => free,
        };
        let shape = |input: &Wanted| input.dims.iter().map(size).collect();
        inputs.iter().map(shape).collect()
    };
    let mut dims = inputs.iter().flat_map(|input| &input.dims);
    let free = dims.any(|dim| matches!(dim, Dim::Free(_)));
    let many = if free { TRIED.len() } else { 1 };
    TRIED[..many].iter().map(|size| sized(*size)).collect()
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

    fn of_made(dims: &[usize], made: Made<'_>) -> Result<Output, String> {
        match made {
            Made::Floats(x) => Ok(Output::of(dims, x)),
            Made::Other(x) if x.datum_type() == DatumType::F32 => {
                Ok(Output::of(dims, &numbers::<f32>(x)?))
            }
            _ => Err(NOT_FLOATS.into()),
        }
    }
}

/// What is said of a file where only floats will do.
const NOT_FLOATS: &str = "gives an output that is no float32, and answers are f32 here: cast it \
                          in the file";

/// Values of a tensor as numbers of one type.
fn numbers<T: Datum>(tensor: &Tensor) -> Result<Vec<T>, String> {
    let read = || -> TractResult<Vec<T>> {
        let cast = tensor.cast_to::<T>()?;
        Ok(cast.try_as_plain_ram()?.as_slice::<T>()?.to_vec())
    };
    read().map_err(|e| sentence(&e))
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
        let model = Model::of(name, || decode(onnx), Runner::Ours)?;
        match model.engine.makes_floats() {
            Ok(true) => Ok(model),
            Ok(false) => Err(model.refused(NOT_FLOATS.into())),
            Err(what) => Err(model.refused(what)),
        }
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
            let read = || {
                let mut proto = read()?;
                scales::write_out(&mut proto);
                Ok(proto)
            };
            let proto: ModelProto = read()?;
            let graph = proto.graph.as_ref().ok_or("holds no graph")?;
            let initial: Vec<&String> = graph.initializer.iter().map(|t| &t.name).collect();
            let inputs = graph.input.iter().filter(|i| !initial.contains(&&i.name));
            let inputs = inputs.map(wanted).collect::<Result<Vec<_>, String>>()?;
            let outputs = graph.output.iter().map(|o| o.name.clone()).collect();
            let shapes = tried(graph, &inputs);
            let (engine, audit) = Engine::of(proto, read, runner, &shapes)?;
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
        self.run_with(inputs, None)
    }

    /// The same, where some inputs are given again as they were.
    pub(crate) fn run_held(
        &self,
        inputs: &[Input<'_>],
        held: &Held,
    ) -> Result<Vec<Output>, ModelError> {
        self.run_with(inputs, Some(held))
    }

    fn run_with(
        &self,
        inputs: &[Input<'_>],
        held: Option<&Held>,
    ) -> Result<Vec<Output>, ModelError> {
        let outputs = self.run_as(inputs, held, Output::of_made)?;
        if outputs.iter().any(|o| !all_finite(&o.values)) {
            return Err(self.failed("returned NaN or infinity"));
        }
        Ok(outputs)
    }

    /// Runs; every output as `of` reads it.
    fn run_as<T>(
        &self,
        inputs: &[Input<'_>],
        held: Option<&Held>,
        of: impl Fn(&[usize], Made<'_>) -> Result<T, String>,
    ) -> Result<Vec<T>, ModelError> {
        self.check(inputs)?;
        let run = || self.engine.run(inputs, held, self.threads, of);
        catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err("the engine broke on it".into()))
            .map_err(|e| self.failed(e))
    }

    /// Whether the inputs are of the types that the file declares.
    fn check(&self, inputs: &[Input<'_>]) -> Result<(), ModelError> {
        for (wanted, (_, given)) in self.inputs.iter().zip(inputs) {
            let element = match given {
                Given::Floats(_) => Element::Float,
                Given::Ints(_) => Element::Int,
                Given::Bytes(_) => Element::Byte,
                Given::Doubles(_) => Element::Double,
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
    /// f32; half floats are made of it.
    Float,
    /// i64; other integers than u8, and booleans, are made of it.
    Int,
    /// u8.
    Byte,
    /// f64.
    Double,
}

impl Element {
    /// NumPy's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Element::Float => "float32",
            Element::Int => "int64",
            Element::Byte => "uint8",
            Element::Double => "float64",
        }
    }
}

/// Content of an input or an output, row-major, with its shape.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// f32.
    Floats(Vec<usize>, Vec<f32>),
    /// i64.
    Ints(Vec<usize>, Vec<i64>),
    /// u8.
    Bytes(Vec<usize>, Vec<u8>),
    /// f64.
    Doubles(Vec<usize>, Vec<f64>),
}

impl Content {
    fn given(&self) -> Input<'_> {
        match self {
            Content::Floats(dims, x) => (dims, Given::Floats(x)),
            Content::Ints(dims, x) => (dims, Given::Ints(x)),
            Content::Bytes(dims, x) => (dims, Given::Bytes(x)),
            Content::Doubles(dims, x) => (dims, Given::Doubles(x)),
        }
    }

    /// An output; half floats as f32, other integers than u8 and booleans as i64.
    fn of_made(dims: &[usize], made: Made<'_>) -> Result<Content, String> {
        let dims = dims.to_vec();
        let tensor = match made {
            Made::Floats(x) => return Ok(Content::Floats(dims, x.to_vec())),
            Made::Ints(x) => return Ok(Content::Ints(dims, x.to_vec())),
            Made::Other(tensor) => tensor,
        };
        match tensor.datum_type().unquantized() {
            DatumType::F32 | DatumType::F16 => Ok(Content::Floats(dims, numbers(tensor)?)),
            DatumType::F64 => Ok(Content::Doubles(dims, numbers(tensor)?)),
            DatumType::U8 => Ok(Content::Bytes(dims, numbers(tensor)?)),
            of if of.is_integer() || of == DatumType::Bool || of == DatumType::TDim => {
                Ok(Content::Ints(dims, numbers(tensor)?))
            }
            other => Err(format!(
                "gives an output as {other:?}, and outputs are numbers or booleans here"
            )),
        }
    }
}

impl OnnxFile {
    /// Reads a model; the file is never in memory as a whole.
    ///
    /// # Errors
    /// A file that cannot be read or is refused.
    pub fn open(path: &Path, runner: Runner) -> Result<Self, ModelError> {
        OnnxFile::open_sized(path, runner, &[])
    }

    /// The same, with sizes for dimensions that the file leaves free under a name.
    ///
    /// # Errors
    /// As [`open`](OnnxFile::open).
    pub fn open_sized(
        path: &Path,
        runner: Runner,
        sizes: &[(String, usize)],
    ) -> Result<Self, ModelError> {
        let name = path.display().to_string();
        let read = || {
            let file = File::open(path).and_then(FileBuf::new);
            let mut file = file.map_err(|e| e.to_string())?;
            let proto = <ModelProto as prost::Message>::decode(&mut file);
            let mut proto = proto.map_err(|e| format!("is no ONNX file ({e})"))?;
            fix(&mut proto, sizes);
            Ok(proto)
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

    /// What multiplies in it.
    pub fn audit(&self) -> &Audit {
        self.0.audit()
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

    /// Runs a file all of whose outputs are f32.
    ///
    /// # Errors
    /// The engine's; an output that is of another type, or holds what is no number.
    pub fn run(&self, inputs: &[Content]) -> Result<Vec<Output>, ModelError> {
        let given: Vec<Input<'_>> = inputs.iter().map(Content::given).collect();
        self.0.run(&given)
    }

    /// Runs; outputs of any type, whatever they hold.
    ///
    /// # Errors
    /// The engine's.
    pub fn answer(&self, inputs: &[Content]) -> Result<Vec<Content>, ModelError> {
        let given: Vec<Input<'_>> = inputs.iter().map(Content::given).collect();
        self.0.run_as(&given, None, Content::of_made)
    }

    /// Runs and throws the answer away: what a measurement wants.
    ///
    /// # Errors
    /// The engine's.
    pub fn run_only(&self, inputs: &[Content]) -> Result<(), ModelError> {
        // on the stack: a warm run allocates nothing
        let given: TVec<Input<'_>> = inputs.iter().map(Content::given).collect();
        let ran = match &*self.0.engine {
            Engine::Plan(plan) => plan.run(&given, None, self.0.threads, |_| ()),
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
            DataType::Float | DataType::Float16 => Element::Float,
            DataType::Double => Element::Double,
            DataType::Uint8 => Element::Byte,
            DataType::Int64
            | DataType::Int32
            | DataType::Int16
            | DataType::Int8
            | DataType::Uint16
            | DataType::Uint32
            | DataType::Uint64
            | DataType::Bool => Element::Int,
            other => {
                return Err(format!(
                    "takes the input {:?} as {}; inputs are float16 to 64, integers or bool",
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

/// Gives free dimensions of the inputs their sizes.
fn fix(proto: &mut ModelProto, sizes: &[(String, usize)]) {
    let Some(graph) = proto.graph.as_mut().filter(|_| !sizes.is_empty()) else {
        return;
    };
    // shapes noted along the way would go on naming what is now a number
    graph.value_info.clear();
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        let value = info.r#type.as_mut().and_then(|t| t.value.as_mut());
        let Some(type_proto::Value::TensorType(tensor)) = value else {
            continue;
        };
        for dim in tensor.shape.iter_mut().flat_map(|s| &mut s.dim) {
            if let Some(dimension::Value::DimParam(name)) = &dim.value
                && let Some((_, size)) = sizes.iter().find(|(named, _)| named == name)
            {
                dim.value = Some(dimension::Value::DimValue(*size as i64));
            }
        }
    }
}

fn decode(onnx: &[u8]) -> Result<ModelProto, String> {
    <ModelProto as prost::Message>::decode(onnx).map_err(|e| format!("is no ONNX file ({e})"))
}
