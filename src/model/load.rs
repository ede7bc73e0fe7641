//! From ONNX bytes to something that runs.

mod inputs;
mod onnx_file;

use super::bundle::Bundle;
use super::manifest::Precision;
use super::plan::{self, Held, InputValues, OutputValues, Placement, Plan, PlanError};
use super::scales;
use super::tract::{Whole, sentence};
use super::{Audit, ModelError};
use crate::kernels::{self, all_finite};
use inputs::{input_info, tried};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{Datum, DatumType, Tensor, TractResult};

pub use inputs::{Dim, Element, InputInfo};
pub use onnx_file::{Array, OnnxFile};

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
        of: impl Fn(&[usize], OutputValues<'_>) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        match self {
            Engine::Plan(plan) => plan.run(inputs, held, threads, |outputs| {
                outputs.iter().map(|(dims, made)| of(dims, *made)).collect()
            })?,
            Engine::Tract(whole) => {
                let outputs = whole.run(inputs).map_err(|e| sentence(&e))?;
                let read = outputs
                    .iter()
                    .map(|o| of(o.shape(), OutputValues::Other(o)));
                read.collect()
            }
        }
    }
}

/// Shape and content of an input.
pub(crate) type Input<'a> = (&'a [usize], InputValues<'a>);

/// An output of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Shape.
    pub dims: Vec<usize>,
    /// Array, row-major.
    pub values: Vec<f32>,
}

impl Output {
    pub(crate) fn of(dims: &[usize], values: &[f32]) -> Output {
        Output {
            dims: dims.to_vec(),
            values: values.to_vec(),
        }
    }

    fn of_made(dims: &[usize], made: OutputValues<'_>) -> Result<Output, String> {
        match made {
            OutputValues::Floats(x) => Ok(Output::of(dims, x)),
            OutputValues::Other(x) if x.datum_type() == DatumType::F32 => {
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
    inputs: Vec<InputInfo>,
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

    /// Refuses another `side`, the manifest's `field`, than the file's own for images `[1, side, side,
    /// channels]`, where it has one.
    ///
    /// # Errors
    /// [`ModelError::Refused`].
    pub(crate) fn of_side(self, side: u32, field: &str) -> Result<Model, ModelError> {
        let own = side as usize;
        match self.inputs.first().map(|input| input.dims.as_slice()) {
            Some(&[_, Dim::Fixed(height), Dim::Fixed(width), _]) if (height, width) != (own, own) => {
                Err(self.refused(format!(
                    "takes images of {width}x{height} pixels, and `{field}` of the manifest is {side}"
                )))
            }
            _ => Ok(self),
        }
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
            let inputs = inputs.map(input_info).collect::<Result<Vec<_>, String>>()?;
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
        of: impl Fn(&[usize], OutputValues<'_>) -> Result<T, String>,
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
                InputValues::Floats(_) => Element::Float,
                InputValues::Ints(_) => Element::Int,
                InputValues::Bytes(_) => Element::Byte,
                InputValues::Doubles(_) => Element::Double,
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

fn decode(onnx: &[u8]) -> Result<ModelProto, String> {
    <ModelProto as prost::Message>::decode(onnx).map_err(|e| format!("is no ONNX file ({e})"))
}
