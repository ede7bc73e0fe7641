//! An executor of our own for what tract has parsed: fused integer operators over the
//! kernels, one arena, no allocation once warm.
//!
//! ONNX nodes are gathered into [`Step`]s by [`fuse`]: quantise, product with packed
//! weights, bias, activation and residual are one step; an attention is one step; codes stay
//! codes between convolutions. What nothing here matches becomes a [`foreign`] step, a
//! one-node model that tract runs. [`Plan::report`] says which node went where.
//!
//! A plan is fixed at load. The first run with new input shapes lays out the memory: shapes
//! of every value, and slots that values share when their lifetimes do not meet.

mod foreign;
mod fuse;
mod graph;
mod layout;
mod steps;

use crate::kernels::int8::{AttentionScratch, COLUMNS, Quant};
use crate::kernels::{self, Kernels};
use graph::{Const, Graph, Values};
use layout::Layout;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tract_onnx::pb::ModelProto;
use tract_onnx::tract_hir::internal::Tensor;

/// Layouts kept for shapes seen before.
const LAYOUTS: usize = 16;

/// What a value is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// f32, row-major.
    Float,
    /// i64, row-major.
    Int,
    /// Codes in rows padded to whole [`DEPTH`](kernels::int8::DEPTH)s: all dimensions but
    /// the last are rows.
    Rows,
    /// Codes `[1, c, h, w]`, channels last and padded; a row of the code of 0 follows.
    Image,
    /// u8 as they were given, row-major: only what makes an [`Image`](Kind::Image) reads them.
    Bytes,
    /// A tensor of tract's, of any type.
    Foreign,
}

/// Kind and shape of a value, and its content where the shape determines it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fact {
    kind: Kind,
    dims: Vec<usize>,
    known: Option<Vec<i64>>,
}

impl Fact {
    fn new(kind: Kind, dims: &[usize]) -> Fact {
        Fact {
            kind,
            dims: dims.to_vec(),
            known: None,
        }
    }

    /// A list of whole numbers that the shapes determine.
    fn of_ints(known: Vec<i64>) -> Fact {
        Fact {
            kind: Kind::Int,
            dims: vec![known.len()],
            known: Some(known),
        }
    }

    /// Values.
    fn count(&self) -> usize {
        self.dims.iter().product()
    }

    /// The last dimension; 1 for a scalar.
    fn width(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// Rows of the last dimension.
    fn rows(&self) -> usize {
        let end = self.dims.len().saturating_sub(1);
        self.dims[..end].iter().product()
    }
}

/// The memory of a value.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    floats: Vec<f32>,
    ints: Vec<i64>,
    codes: Vec<u8>,
    foreign: Option<Tensor>,
    quant: Option<Quant>,
    /// Least and greatest of `floats`, where the step that wrote them knew.
    range: Option<(f32, f32)>,
}

/// Memory that steps work in.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    init: Vec<[i32; COLUMNS]>,
    attention: AttentionScratch,
    codes: Vec<u8>,
    unit: crate::fusion::text_guided::Workspace,
}

/// What a step sees of a run.
pub(super) struct Io<'a> {
    inputs: &'a [&'a Buffer],
    facts: &'a [&'a Fact],
    outputs: &'a mut [Buffer],
    made: &'a [&'a Fact],
    scratch: &'a mut Scratch,
    kernels: &'static Kernels,
}

impl<'a> Io<'a> {
    /// Floats of input `i`, free of the borrow of the outputs.
    fn floats(&self, i: usize) -> &'a [f32] {
        &self.inputs[i].floats[..self.facts[i].count()]
    }

    /// Output `i` as floats.
    fn out(&mut self) -> &mut [f32] {
        &mut self.outputs[0].floats[..self.made[0].count()]
    }
}

/// What a step multiplies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    None,
    Integer,
    Float,
}

/// An operation of a plan.
pub(super) trait Step: Send + Sync + fmt::Debug {
    /// The kernel's name.
    fn name(&self) -> &'static str;

    /// The kind of what it makes; `None` for that of its first input.
    fn makes(&self) -> Option<Kind> {
        Some(Kind::Float)
    }

    /// Kind and shape of what it makes.
    fn facts(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, String>;

    /// Makes it. Shapes are those that [`facts`](Step::facts) saw.
    fn run(&self, io: Io<'_>) -> Result<(), String>;

    /// What it multiplies in.
    fn product(&self) -> Product {
        Product::None
    }

    /// Multiply-accumulates of a run.
    fn macs(&self, _inputs: &[&Fact]) -> u64 {
        0
    }

    /// Whether the output is the first input in another shape: no code runs.
    fn is_view(&self) -> bool {
        false
    }
}

/// A step with the values it reads and makes.
#[derive(Debug)]
pub(super) struct Planned {
    step: Box<dyn Step>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// Names of the nodes it stands for.
    nodes: Vec<String>,
    /// Why tract runs it; `None` for ours.
    why: Option<String>,
}

/// Where one step of a plan runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Nodes of the file.
    pub nodes: Vec<String>,
    /// Kernel that runs them.
    pub kernel: String,
    /// Why tract runs them; `None` if ours does.
    pub tract: Option<String>,
}

/// Time and work of one step of a run.
#[derive(Debug, Clone)]
pub struct Spent {
    /// The last node that the step stands for.
    pub node: String,
    /// Kernel.
    pub kernel: String,
    /// Nanoseconds.
    pub ns: u64,
    /// Multiply-accumulates.
    pub macs: u64,
}

/// An input of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Given<'a> {
    Floats(&'a [f32]),
    Ints(&'a [i64]),
    Bytes(&'a [u8]),
}

/// A model as steps.
#[derive(Debug)]
pub(super) struct Plan {
    steps: Vec<Planned>,
    /// Constants among the values.
    consts: HashMap<usize, (Fact, Buffer)>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    values: usize,
    kernels: &'static Kernels,
    states: Mutex<Vec<State>>,
}

/// The memory of a run, and the layouts it has met.
#[derive(Debug, Default)]
struct State {
    layouts: Vec<Layout>,
    slots: Vec<Buffer>,
    scratch: Scratch,
}

impl Plan {
    /// Plans a model; takes the bytes of its weights.
    ///
    /// # Errors
    /// Why no plan of it can be made; tract may still run it.
    pub(super) fn new(model: &mut ModelProto) -> Result<Plan, String> {
        let kernels = kernels::active();
        let graph = Graph::read(model)?;
        let fused = fuse::fuse(&graph, model, kernels.level())?;
        let mut ids: HashMap<String, usize> = HashMap::new();
        let mut consts = HashMap::new();
        let mut steps = Vec::with_capacity(fused.len());
        let mut id = |name: &String, consts: &mut HashMap<usize, (Fact, Buffer)>| -> usize {
            if let Some(known) = ids.get(name) {
                return *known;
            }
            let next = ids.len();
            if let Some(value) = graph.constant(name) {
                consts.insert(next, of_const(value));
            }
            ids.insert(name.clone(), next);
            next
        };
        let inputs = graph.inputs.iter().map(|n| id(n, &mut consts)).collect();
        for part in fused {
            let inputs = part.inputs.iter().map(|n| id(n, &mut consts)).collect();
            let outputs = part.outputs.iter().map(|n| id(n, &mut consts)).collect();
            steps.push(Planned {
                step: part.step,
                inputs,
                outputs,
                nodes: part
                    .nodes
                    .iter()
                    .map(|at| graph.nodes[*at].proto.name.clone())
                    .collect(),
                why: part.why,
            });
        }
        worth_it(&steps)?;
        if graph.outputs.len() > self::steps::MOST {
            return Err(format!("has {} outputs", graph.outputs.len()));
        }
        let outputs: Vec<usize> = graph.outputs.iter().map(|n| id(n, &mut consts)).collect();
        let values = ids.len();
        Ok(Plan {
            steps,
            consts,
            inputs,
            outputs,
            values,
            kernels,
            states: Mutex::new(Vec::new()),
        })
    }

    /// Which node runs where.
    pub(super) fn report(&self) -> Vec<Placed> {
        let placed = |p: &Planned| Placed {
            nodes: p.nodes.clone(),
            kernel: p.step.name().into(),
            tract: p.why.clone(),
        };
        self.steps.iter().map(placed).collect()
    }

    /// Names of the first node and kind of each product.
    pub(super) fn products(&self) -> impl Iterator<Item = (&str, Product)> {
        let named = self.steps.iter().map(|p| {
            let name = p.nodes.first().map_or("", String::as_str);
            (name, p.step.product())
        });
        named.filter(|(_, product)| *product != Product::None)
    }

    /// Runs; `read` sees the outputs' shapes and floats before the memory is used again.
    ///
    /// # Errors
    /// Shapes that do not fit, a step that fails.
    pub(super) fn run<T>(
        &self,
        inputs: &[(&[usize], Given<'_>)],
        read: impl FnOnce(&[(&[usize], &[f32])]) -> T,
    ) -> Result<T, String> {
        self.run_with(inputs, &mut |_, _, _| {}, read)
    }

    /// The same, with the time of each step.
    pub(super) fn profile(&self, inputs: &[(&[usize], Given<'_>)]) -> Result<Vec<Spent>, String> {
        let mut spent = Vec::new();
        let mut note = |planned: &Planned, ns: u64, macs: u64| {
            spent.push(Spent {
                node: planned.nodes.last().cloned().unwrap_or_default(),
                kernel: planned.step.name().into(),
                ns,
                macs,
            });
        };
        self.run_with(inputs, &mut note, |_| ())?;
        Ok(spent)
    }

    fn run_with<T>(
        &self,
        inputs: &[(&[usize], Given<'_>)],
        note: &mut dyn FnMut(&Planned, u64, u64),
        read: impl FnOnce(&[(&[usize], &[f32])]) -> T,
    ) -> Result<T, String> {
        let lock = || self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = lock().pop().unwrap_or_default();
        let answer = self.run_in(&mut state, inputs, note, read);
        lock().push(state);
        answer
    }

    fn run_in<T>(
        &self,
        state: &mut State,
        inputs: &[(&[usize], Given<'_>)],
        note: &mut dyn FnMut(&Planned, u64, u64),
        read: impl FnOnce(&[(&[usize], &[f32])]) -> T,
    ) -> Result<T, String> {
        let at = self.layout(state, inputs)?;
        let State {
            layouts,
            slots,
            scratch,
        } = state;
        let layout = &layouts[at];
        layout.reserve(slots);
        for ((_, given), value) in inputs.iter().zip(&self.inputs) {
            let Some(slot) = layout.slot(*value) else {
                continue;
            };
            let buffer = &mut slots[slot];
            buffer.range = None;
            match given {
                Given::Floats(x) => buffer.floats[..x.len()].copy_from_slice(x),
                Given::Ints(x) => buffer.ints[..x.len()].copy_from_slice(x),
                Given::Bytes(x) => buffer.codes[..x.len()].copy_from_slice(x),
            }
        }
        for (index, planned) in self.steps.iter().enumerate() {
            if planned.step.is_view() || layout.is_known(planned) {
                continue;
            }
            let start = Instant::now();
            self.step(planned, layout, slots, scratch)
                .map_err(|e| format!("step {index} ({}): {e}", planned.step.name()))?;
            let facts: [&Fact; steps::MOST] = self.facts(&planned.inputs, layout);
            note(
                planned,
                start.elapsed().as_nanos() as u64,
                planned.step.macs(&facts[..planned.inputs.len()]),
            );
        }
        let mut out: [(&[usize], &[f32]); steps::MOST] = [(&[], &[]); steps::MOST];
        for (out, value) in out.iter_mut().zip(&self.outputs) {
            let fact = self.fact(*value, layout);
            let buffer = self.buffer(*value, layout, slots);
            if fact.kind != Kind::Float {
                return Err("an output is no float".into());
            }
            *out = (&fact.dims, &buffer.floats[..fact.count()]);
        }
        Ok(read(&out[..self.outputs.len().min(steps::MOST)]))
    }

    /// The place of the layout for these shapes, made if it is new.
    fn layout(&self, state: &mut State, inputs: &[(&[usize], Given<'_>)]) -> Result<usize, String> {
        let fits = |l: &Layout| l.is_for(inputs.iter().map(|(dims, _)| *dims));
        if let Some(at) = state.layouts.iter().position(fits) {
            return Ok(at);
        }
        let layout = Layout::new(self, inputs)?;
        if state.layouts.len() >= LAYOUTS {
            state.layouts.remove(0);
        }
        state.layouts.push(layout);
        Ok(state.layouts.len() - 1)
    }

    fn step(
        &self,
        planned: &Planned,
        layout: &Layout,
        slots: &mut [Buffer],
        scratch: &mut Scratch,
    ) -> Result<(), String> {
        let mut made: [Buffer; steps::MOST] = Default::default();
        let outputs = planned.outputs.len();
        for (buffer, value) in made.iter_mut().zip(&planned.outputs) {
            let slot = layout.slot(*value).ok_or("a value without memory")?;
            *buffer = std::mem::take(&mut slots[slot]);
            buffer.range = None;
        }
        let result = {
            let empty = Buffer::default();
            let mut buffers = [&empty; steps::MOST];
            for (buffer, value) in buffers.iter_mut().zip(&planned.inputs) {
                *buffer = self.buffer(*value, layout, slots);
            }
            let facts = self.facts(&planned.inputs, layout);
            let out = self.facts(&planned.outputs, layout);
            planned.step.run(Io {
                inputs: &buffers[..planned.inputs.len()],
                facts: &facts[..planned.inputs.len()],
                outputs: &mut made[..outputs],
                made: &out[..outputs],
                scratch,
                kernels: self.kernels,
            })
        };
        for (buffer, value) in made.iter_mut().zip(&planned.outputs) {
            if let Some(slot) = layout.slot(*value) {
                slots[slot] = std::mem::take(buffer);
            }
        }
        result
    }

    fn fact<'a>(&'a self, value: usize, layout: &'a Layout) -> &'a Fact {
        match self.consts.get(&value) {
            Some((fact, _)) => fact,
            None => layout.fact(value),
        }
    }

    fn facts<'a>(&'a self, values: &[usize], layout: &'a Layout) -> [&'a Fact; steps::MOST] {
        let mut facts = [layout.nothing(); steps::MOST];
        for (fact, value) in facts.iter_mut().zip(values) {
            *fact = self.fact(*value, layout);
        }
        facts
    }

    fn buffer<'a>(&'a self, value: usize, layout: &Layout, slots: &'a [Buffer]) -> &'a Buffer {
        match self.consts.get(&value) {
            Some((_, buffer)) => buffer,
            None => &slots[layout.slot(value).unwrap_or(0)],
        }
    }

    /// Bytes of the arena of the layouts met so far.
    pub(super) fn arena_bytes(&self) -> usize {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |b: &Buffer| b.floats.capacity() * 4 + b.ints.capacity() * 8 + b.codes.capacity();
        states.iter().flat_map(|s| &s.slots).map(of).sum()
    }
}

/// A model most of whose products are tract's is better off there as a whole.
fn worth_it(steps: &[Planned]) -> Result<(), String> {
    let products = |ours: bool| {
        let of = steps.iter().filter(|p| p.why.is_none() == ours);
        of.filter(|p| p.step.product() != Product::None).count()
    };
    let (ours, theirs) = (products(true), products(false));
    if theirs > ours {
        return Err(format!(
            "{theirs} of {} products match nothing of ours",
            ours + theirs
        ));
    }
    Ok(())
}

/// A constant as a value that generic steps can read.
fn of_const(value: &Const) -> (Fact, Buffer) {
    let mut buffer = Buffer::default();
    let mut fact = Fact::new(Kind::Float, &value.dims);
    match (&value.values, value.ints()) {
        (Values::F32(v), _) => buffer.floats.clone_from(v),
        (Values::I64(_) | Values::I32(_), Some(ints)) => {
            fact.kind = Kind::Int;
            fact.known = Some(ints.clone());
            buffer.ints = ints;
        }
        // bytes are packed by the steps that read them
        _ => fact.kind = Kind::Foreign,
    }
    (fact, buffer)
}
