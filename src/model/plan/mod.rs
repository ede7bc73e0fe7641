//! An executor of our own for what tract has parsed: fused integer operators over the
//! kernels, one arena, no allocation once warm.
//!
//! ONNX nodes are gathered into [`Step`](step::Step)s by [`fuse`]: quantise, product with packed
//! weights, bias, activation and residual are one step; an attention is one step; codes stay
//! codes between convolutions. What nothing here matches becomes a [`foreign`] step, a
//! one-node model that tract runs. [`Plan::report`] says which node went where.
//!
//! A plan is fixed at load. The first run with new input shapes lays out the memory: shapes
//! of every value, and slots that values share when their lifetimes do not meet.

mod error;
mod fold;
mod foreign;
mod fuse;
mod graph;
mod layout;
mod op;
mod step;
mod steps;
pub(super) mod types;

use super::tract;
use crate::kernels::{self, Kernels};
pub(super) use error::PlanError;
use foreign::Foreign;
pub(super) use graph::check;
use graph::{Const, Graph, Values};
use layout::{Layout, Misfit};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
pub(super) use step::Product;
use step::{Buffer, Fact, Io, Kind, Scratch, Step};
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::Tensor;

/// Layouts kept for shapes seen before.
const LAYOUTS: usize = 16;

/// A step with the values it reads and makes.
#[derive(Debug)]
struct Planned {
    step: Box<dyn Step>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// Names of the nodes it stands for.
    nodes: Vec<String>,
    /// The node, where it stands for one.
    node: Option<usize>,
    /// Why tract runs it; `None` for ours.
    why: Option<String>,
}

/// Where one step of a plan runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Nodes of the file.
    pub nodes: Vec<String>,
    /// Kernel that runs them.
    pub kernel: String,
    /// Why tract runs them; `None` if ours does.
    pub tract: Option<String>,
}

/// Time and work of one step of a run.
#[derive(Debug, Clone)]
pub struct StepTiming {
    /// The last node that the step stands for.
    pub node: String,
    /// Kernel.
    pub kernel: String,
    /// Nanoseconds.
    pub ns: u64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes that pass through it if each is read or written once: weights, inputs and outputs.
    /// What the caches hold is not fetched again, what they cannot hold is fetched more often.
    pub bytes: u64,
}

/// An input of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InputValues<'a> {
    Floats(&'a [f32]),
    Ints(&'a [i64]),
    Bytes(&'a [u8]),
    Doubles(&'a [f64]),
}

impl InputValues<'_> {
    /// Values.
    pub(crate) fn len(&self) -> usize {
        match self {
            InputValues::Floats(x) => x.len(),
            InputValues::Ints(x) => x.len(),
            InputValues::Bytes(x) => x.len(),
            InputValues::Doubles(x) => x.len(),
        }
    }
}

/// Inputs that stay as they are over several runs: what is made of them alone is made once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// Which, in their order.
    inputs: Range<usize>,
    /// Another one for other contents.
    id: u64,
}

impl Held {
    /// For contents of these inputs that no run has met.
    pub(crate) fn new(inputs: Range<usize>) -> Held {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Held { inputs, id }
    }
}

/// An output of a run, in the plan's memory.
#[derive(Debug, Clone, Copy)]
pub(super) enum OutputValues<'a> {
    Floats(&'a [f32]),
    Ints(&'a [i64]),
    /// Of another type.
    Other(&'a Tensor),
}

/// The outputs of a run: shape and content of each.
pub(super) type Outputs<'a> = [(&'a [usize], OutputValues<'a>)];

/// A model as steps.
#[derive(Debug)]
pub(super) struct Plan {
    steps: Vec<Planned>,
    /// Constants among the values.
    consts: HashMap<usize, (Fact, Buffer)>,
    inputs: Vec<usize>,
    /// What each input is held as.
    kinds: Vec<Kind>,
    outputs: Vec<usize>,
    /// What each output is held as.
    makes: Vec<Kind>,
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
    /// What the first slots hold of an earlier run.
    held: Option<Held>,
}

impl Plan {
    /// Plans a model; takes the bytes of its weights.
    ///
    /// The plan fits one of `shapes`, each a list of the inputs' shapes: a node whose step of
    /// ours does not is tract's.
    ///
    /// # Errors
    /// A broken file, or why no plan of it can be made though tract may run it.
    pub(super) fn new(
        model: &mut ModelProto,
        shapes: &[Vec<Vec<usize>>],
    ) -> Result<Plan, PlanError> {
        let kernels = kernels::active();
        let graph = Graph::read(model)?;
        let (fused, makes) = fuse::fuse(&graph, kernels.level())?;
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
        let kinds = graph.inputs.iter().map(|n| fuse::input_kind(&graph, n));
        let kinds = kinds.collect::<Result<_, _>>()?;
        for op in fused {
            let inputs = op.inputs.iter().map(|n| id(n, &mut consts)).collect();
            let outputs = op.outputs.iter().map(|n| id(n, &mut consts)).collect();
            let name = |at: &usize| graph.nodes[*at].proto.name.clone();
            steps.push(Planned {
                step: op.step,
                inputs,
                outputs,
                nodes: op.nodes.iter().map(name).collect(),
                node: (op.nodes.len() == 1).then(|| op.nodes[0]),
                why: op.why,
            });
        }
        let outputs: Vec<usize> = graph.outputs.iter().map(|n| id(n, &mut consts)).collect();
        let values = ids.len();
        let mut plan = Plan {
            steps,
            consts,
            inputs,
            kinds,
            outputs,
            makes,
            values,
            kernels,
            states: Mutex::new(Vec::new()),
        };
        plan.fit(&graph, &ids, shapes)?;
        worth_it(&plan.steps)?;
        Ok(plan)
    }

    /// Gives tract the nodes whose steps of ours do not fit any of the shapes.
    fn fit(
        &mut self,
        graph: &Graph,
        ids: &HashMap<String, usize>,
        shapes: &[Vec<Vec<usize>>],
    ) -> Result<(), PlanError> {
        loop {
            let mut misfits = Vec::new();
            for inputs in shapes {
                match Layout::new(self, inputs.iter().map(Vec::as_slice), 0..0) {
                    Ok(_) => return Ok(()),
                    Err(misfit) => misfits.push(misfit),
                }
            }
            // the shapes that get furthest are likest to be those that are meant
            let Some(misfit) = misfits.into_iter().rev().max_by_key(|m| m.step) else {
                return Ok(());
            };
            // one list of shapes is the file's own; several are guesses, which may contradict it
            if misfit.contradicts && shapes.len() == 1 {
                return Err(PlanError::Broken(misfit.why));
            }
            self.hand_over(graph, ids, misfit)?;
        }
    }

    /// Makes tract run the step that does not fit.
    fn hand_over(
        &mut self,
        graph: &Graph,
        ids: &HashMap<String, usize>,
        misfit: Misfit,
    ) -> Result<(), PlanError> {
        let Misfit { step, why, .. } = misfit;
        let planned = step.and_then(|at| self.steps.get_mut(at));
        let planned = planned.filter(|p| p.why.is_none());
        let Some((planned, node)) = planned.and_then(|p| p.node.map(|node| (p, node))) else {
            return Err(PlanError::NotPlanned(why));
        };
        let foreign = Foreign::of(graph, node)?;
        let inputs = foreign.values().iter().map(|name| ids.get(name).copied());
        let inputs: Option<Vec<usize>> = inputs.collect();
        planned.inputs = inputs.ok_or_else(|| PlanError::NotPlanned(why.clone()))?;
        planned.step = Box::new(foreign);
        planned.why = Some(why);
        Ok(())
    }

    /// Which node runs where.
    pub(super) fn report(&self) -> Vec<Placement> {
        let placed = |p: &Planned| Placement {
            nodes: p.nodes.clone(),
            kernel: p.step.name().into(),
            tract: p.why.clone(),
        };
        self.steps.iter().map(placed).collect()
    }

    /// Whether every output is floats.
    pub(super) fn makes_floats(&self) -> bool {
        self.makes.iter().all(|kind| *kind == Kind::Float)
    }

    /// Names of the first node and kind of each product.
    pub(super) fn products(&self) -> impl Iterator<Item = (&str, Product)> {
        let named = self.steps.iter().map(|p| {
            let name = p.nodes.first().map_or("", String::as_str);
            (name, p.step.product())
        });
        named.filter(|(_, product)| *product != Product::None)
    }

    /// Runs, large steps on `threads` workers; `read` sees the outputs' shapes and floats before
    /// the memory is used again. `held` names inputs that are given again as they were.
    ///
    /// # Errors
    /// Shapes that do not fit, a step that fails.
    pub(super) fn run<T>(
        &self,
        inputs: &[(&[usize], InputValues<'_>)],
        held: Option<&Held>,
        threads: usize,
        read: impl FnOnce(&Outputs<'_>) -> T,
    ) -> Result<T, String> {
        self.run_with(inputs, held, threads, &mut |_, _, _| {}, read)
    }

    /// The same, with the time of each step.
    pub(super) fn profile(
        &self,
        inputs: &[(&[usize], InputValues<'_>)],
        threads: usize,
    ) -> Result<Vec<StepTiming>, String> {
        let mut spent = Vec::new();
        let mut note = |planned: &Planned, layout: &Layout, ns: u64| {
            let facts: [&Fact; steps::MOST] = self.facts(&planned.inputs, layout);
            let facts = &facts[..planned.inputs.len()];
            let made = planned.outputs.iter().map(|v| self.fact(*v, layout));
            let values = facts.iter().copied().chain(made).map(layout::bytes);
            spent.push(StepTiming {
                node: planned.nodes.last().cloned().unwrap_or_default(),
                kernel: planned.step.name().into(),
                ns,
                macs: planned.step.macs(facts),
                bytes: (planned.step.weights() + values.sum::<usize>()) as u64,
            });
        };
        self.run_with(inputs, None, threads, &mut note, |_| ())?;
        Ok(spent)
    }

    fn run_with<T>(
        &self,
        inputs: &[(&[usize], InputValues<'_>)],
        held: Option<&Held>,
        threads: usize,
        note: &mut dyn FnMut(&Planned, &Layout, u64),
        read: impl FnOnce(&Outputs<'_>) -> T,
    ) -> Result<T, String> {
        let lock = || self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state(held);
        let answer = self.run_in(&mut state, (inputs, held), threads, note, read);
        lock().push(state);
        answer
    }

    /// The memory that holds what is asked for, or any other.
    fn state(&self, held: Option<&Held>) -> State {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |state: &State| held.is_some() && state.held.as_ref() == held;
        let at = states.iter().position(holds);
        let at = at.or_else(|| states.len().checked_sub(1));
        at.map(|at| states.swap_remove(at)).unwrap_or_default()
    }

    fn run_in<T>(
        &self,
        state: &mut State,
        (inputs, held): (&[(&[usize], InputValues<'_>)], Option<&Held>),
        threads: usize,
        note: &mut dyn FnMut(&Planned, &Layout, u64),
        read: impl FnOnce(&Outputs<'_>) -> T,
    ) -> Result<T, String> {
        for (dims, given) in inputs {
            if layout::count(dims) != Some(given.len()) {
                return Err(format!(
                    "an input has {} values, its shape is {dims:?}",
                    given.len()
                ));
            }
        }
        let at = self.layout(state, inputs, held)?;
        let State {
            layouts,
            slots,
            scratch,
            held: holds,
        } = state;
        let layout = &layouts[at];
        layout.reserve(slots);
        let is_held = held.is_some() && holds.as_ref() == held;
        // until all of it is made, nothing is held
        *holds = None;
        for (((dims, given), value), kind) in inputs.iter().zip(&self.inputs).zip(&self.kinds) {
            if is_held && layout.is_held(*value) {
                continue;
            }
            let Some(slot) = layout.slot(*value) else {
                continue;
            };
            let buffer = &mut slots[slot];
            buffer.range = None;
            match (given, kind) {
                (_, Kind::Foreign(of)) => {
                    let tensor = tract::tensor(dims, *given, *of);
                    buffer.foreign = Some(tensor.map_err(|e| tract::sentence(&e))?);
                }
                (InputValues::Floats(x), _) => buffer.floats[..x.len()].copy_from_slice(x),
                (InputValues::Ints(x), _) => buffer.ints[..x.len()].copy_from_slice(x),
                (InputValues::Bytes(x), _) => buffer.codes[..x.len()].copy_from_slice(x),
                (InputValues::Doubles(_), _) => return Err("an input is float64".into()),
            }
        }
        for (index, planned) in self.steps.iter().enumerate() {
            let is_made = is_held && planned.outputs.iter().all(|v| layout.is_held(*v));
            if planned.step.is_view() || layout.is_known(planned) || is_made {
                continue;
            }
            let start = Instant::now();
            self.step(planned, layout, (slots, scratch), threads)
                .map_err(|e| format!("step {index} ({}): {e}", planned.step.name()))?;
            note(planned, layout, start.elapsed().as_nanos() as u64);
        }
        *holds = held.cloned();
        // few outputs, as most models have, need no memory of their own
        let nothing: (&[usize], OutputValues<'_>) = (&[], OutputValues::Floats(&[]));
        let (mut few, mut many) = ([nothing; steps::MOST], Vec::new());
        let out = match few.get_mut(..self.outputs.len()) {
            Some(few) => few,
            None => {
                many.resize(self.outputs.len(), nothing);
                &mut many[..]
            }
        };
        for (out, value) in out.iter_mut().zip(&self.outputs) {
            let fact = self.fact(*value, layout);
            let buffer = self.buffer(*value, layout, slots);
            let made = match (fact.kind, &fact.known) {
                (Kind::Float, _) => OutputValues::Floats(&buffer.floats[..fact.count()]),
                (Kind::Int, Some(known)) => OutputValues::Ints(known),
                (Kind::Int, None) => OutputValues::Ints(&buffer.ints[..fact.count()]),
                _ => OutputValues::Other(buffer.foreign.as_ref().ok_or("an output was not made")?),
            };
            *out = (&fact.dims, made);
        }
        Ok(read(out))
    }

    /// The place of the layout for these shapes, made if it is new.
    fn layout(
        &self,
        state: &mut State,
        inputs: &[(&[usize], InputValues<'_>)],
        held: Option<&Held>,
    ) -> Result<usize, String> {
        let held = held.map_or(0..0, |held| held.inputs.clone());
        let fits = |l: &Layout| l.is_for(inputs.iter().map(|(dims, _)| *dims), &held);
        if let Some(at) = state.layouts.iter().position(fits) {
            return Ok(at);
        }
        let shapes = inputs.iter().map(|(dims, _)| *dims);
        let layout = Layout::new(self, shapes, held).map_err(|misfit| misfit.why)?;
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
        (slots, scratch): (&mut [Buffer], &mut Scratch),
        threads: usize,
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
                threads,
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
fn worth_it(steps: &[Planned]) -> Result<(), PlanError> {
    let products = |ours: bool| {
        let of = steps.iter().filter(|p| p.why.is_none() == ours);
        of.filter(|p| p.step.product() != Product::None).count()
    };
    let (ours, theirs) = (products(true), products(false));
    if theirs > ours {
        return Err(PlanError::NotPlanned(format!(
            "{theirs} of {} products match nothing of ours",
            ours + theirs
        )));
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
        // packed by the steps that read them, and given to tract's as they are in the file
        _ => fact.kind = value.datum().map_or(Kind::Float, Kind::of),
    }
    (fact, buffer)
}

#[cfg(test)]
mod tests;
