//! The memory of a plan for given input shapes: facts of every value, and slots.

use super::step::{Buffer, Fact, Kind};
use super::steps::codes_len;
use super::{Plan, Planned};
use crate::model::{MOST_BYTES, too_large};
use std::ops::Range;

/// Facts and slots of every value that is no constant.
#[derive(Debug)]
pub(super) struct Layout {
    inputs: Vec<Vec<usize>>,
    /// Inputs that stay as they are over several runs.
    held_inputs: Range<usize>,
    /// Which values are made of those alone. Their slots are the first ones, the same for all
    /// layouts with such inputs, and nobody else's.
    held: Vec<bool>,
    facts: Vec<Option<Fact>>,
    slots: Vec<Option<usize>>,
    /// Kind and length of each slot.
    sizes: Vec<(Kind, usize)>,
    /// The most that a step works in beside its values, in bytes.
    scratch: usize,
    nothing: Fact,
}

/// Why a plan does not fit its inputs.
#[derive(Debug)]
pub(super) struct Misfit {
    /// The step that cannot make anything of what it is given; `None` for the plan as a whole.
    pub step: Option<usize>,
    /// A sentence without its end.
    pub why: String,
    /// No engine could.
    pub contradicts: bool,
}

impl From<String> for Misfit {
    fn from(why: String) -> Misfit {
        Misfit {
            step: None,
            why,
            contradicts: false,
        }
    }
}

/// Bytes of a value of a slot.
fn width(kind: Kind) -> usize {
    match kind {
        Kind::Float => 4,
        Kind::Int => 8,
        Kind::Rows | Kind::Image | Kind::Bytes => 1,
        Kind::Foreign(of) => of.size_of(),
    }
}

/// Values in a value's memory.
fn len(fact: &Fact) -> usize {
    match fact.kind {
        Kind::Float | Kind::Int | Kind::Bytes | Kind::Foreign(_) => fact.count(),
        Kind::Rows | Kind::Image => codes_len(fact),
    }
}

/// Bytes of a value's memory.
pub(super) fn bytes(fact: &Fact) -> usize {
    len(fact).saturating_mul(width(fact.kind))
}

/// Values of a shape, if they can be counted.
pub(super) fn count(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1_usize, |n, d| n.checked_mul(*d))
}

impl Layout {
    /// The memory for inputs of these shapes, of which `held_inputs` stay over several runs.
    ///
    /// # Errors
    /// Shapes that do not fit the plan, as a sentence.
    pub(super) fn new<'a>(
        plan: &Plan,
        inputs: impl ExactSizeIterator<Item = &'a [usize]>,
        held_inputs: Range<usize>,
    ) -> Result<Layout, Misfit> {
        if inputs.len() != plan.inputs.len() {
            return Err(format!(
                "takes {} inputs, {} were given",
                plan.inputs.len(),
                inputs.len()
            )
            .into());
        }
        let mut layout = Layout {
            inputs: inputs.map(<[usize]>::to_vec).collect(),
            held_inputs,
            held: vec![false; plan.values],
            facts: vec![None; plan.values],
            slots: vec![None; plan.values],
            sizes: Vec::new(),
            scratch: 0,
            nothing: Fact::new(Kind::Float, &[0]),
        };
        for ((dims, kind), value) in layout.inputs.iter().zip(&plan.kinds).zip(&plan.inputs) {
            let copes = || {
                let mut readers = plan.steps.iter().filter(|s| s.inputs.contains(value));
                readers.all(|s| s.step.takes_nothing())
            };
            match count(dims) {
                Some(0) if !copes() => {
                    return Err(format!("an input of shape {dims:?} holds nothing").into());
                }
                Some(_) => layout.facts[*value] = Some(Fact::new(*kind, dims)),
                None => return Err(format!("no memory holds an input of shape {dims:?}").into()),
            }
        }
        for (at, planned) in plan.steps.iter().enumerate() {
            layout.infer(plan, planned).map_err(|misfit| Misfit {
                step: Some(at),
                ..misfit
            })?;
        }
        layout.hold(plan);
        layout.assign(plan);
        let bytes = |(kind, len): &(Kind, usize)| len.saturating_mul(width(*kind));
        let slots = layout.sizes.iter().map(bytes);
        let all = slots.fold(layout.scratch, usize::saturating_add);
        if all > MOST_BYTES {
            return Err(too_large(all).into());
        }
        Ok(layout)
    }

    fn infer(&mut self, plan: &Plan, planned: &Planned) -> Result<(), Misfit> {
        let describe = |e: String| {
            let node = planned.nodes.last().map_or("", String::as_str);
            Misfit::from(format!("node {node} ({}): {e}", planned.step.name()))
        };
        let known = |value: &usize| {
            let fact = plan.consts.get(value).map(|(fact, _)| fact);
            fact.or(self.facts[*value].as_ref())
        };
        let inputs: Option<Vec<&Fact>> = planned.inputs.iter().map(known).collect();
        let inputs = inputs.ok_or_else(|| describe("reads what is not made yet".into()))?;
        let facts = planned.step.facts(&inputs).map_err(|why| Misfit {
            contradicts: planned.step.contradicts(&inputs),
            ..describe(why)
        })?;
        let scratch = planned.step.scratch(&inputs);
        for (fact, value) in facts.into_iter().zip(&planned.outputs) {
            if count(&fact.dims).is_none_or(|n| n > MOST_BYTES / 4) {
                return Err(describe(format!(
                    "would make a tensor of shape {:?}",
                    fact.dims
                )));
            }
            self.facts[*value] = Some(fact);
        }
        self.scratch = self.scratch.max(scratch);
        Ok(())
    }

    /// Finds the values that are made of held inputs and constants alone.
    fn hold(&mut self, plan: &Plan) {
        let held = plan
            .inputs
            .get(self.held_inputs.clone())
            .unwrap_or_default();
        held.iter().for_each(|value| self.held[*value] = true);
        for planned in &plan.steps {
            let is = |value: &usize| self.held[*value];
            let stays = |value: &usize| is(value) || plan.consts.contains_key(value);
            if planned.inputs.iter().all(stays) && planned.inputs.iter().any(is) {
                planned
                    .outputs
                    .iter()
                    .for_each(|value| self.held[*value] = true);
            }
        }
    }

    /// Gives every value a slot; a slot is free again after the last step that reads it.
    fn assign(&mut self, plan: &Plan) {
        // views share their source's slot and lengthen its life
        let mut root: Vec<usize> = (0..plan.values).collect();
        for planned in &plan.steps {
            if planned.step.is_view() {
                root[planned.outputs[0]] = root[planned.inputs[0]];
            }
        }
        let mut last = vec![0; plan.values];
        for (at, planned) in plan.steps.iter().enumerate() {
            for value in planned.inputs.iter().chain(&planned.outputs) {
                last[root[*value]] = at;
            }
        }
        for value in &plan.outputs {
            last[root[*value]] = usize::MAX;
        }
        let mut free: Vec<usize> = Vec::new();
        let mut of_root: Vec<Option<usize>> = vec![None; plan.values];
        let outputs = plan.steps.iter().flat_map(|planned| &planned.outputs);
        for value in plan.inputs.iter().chain(outputs) {
            if self.held[*value] && root[*value] == *value {
                of_root[*value] = Some(self.take(*value, &mut free));
                last[*value] = usize::MAX;
            }
        }
        for value in &plan.inputs {
            if of_root[*value].is_none() {
                of_root[*value] = Some(self.take(*value, &mut free));
            }
        }
        for (at, planned) in plan.steps.iter().enumerate() {
            for value in &planned.outputs {
                if root[*value] == *value && of_root[*value].is_none() {
                    of_root[*value] = Some(self.take(*value, &mut free));
                }
            }
            let done = planned
                .inputs
                .iter()
                .chain(&planned.outputs)
                .map(|v| root[*v]);
            for value in done {
                if let Some(slot) = of_root[value].filter(|_| last[value] == at)
                    && !free.contains(&slot)
                {
                    free.push(slot);
                }
            }
        }
        for value in 0..plan.values {
            self.slots[value] = of_root[root[value]];
        }
    }

    /// The free slot of the value's kind whose length fits best, or a new one.
    fn take(&mut self, value: usize, free: &mut Vec<usize>) -> usize {
        let fact = self.facts[value].as_ref().unwrap_or(&self.nothing);
        let (kind, len) = (fact.kind, len(fact));
        let memory = |kind| match kind {
            Kind::Rows | Kind::Image | Kind::Bytes => Kind::Rows,
            other => other,
        };
        let fit = free
            .iter()
            .enumerate()
            .filter(|(_, slot)| memory(self.sizes[**slot].0) == memory(kind))
            .min_by_key(|(_, slot)| self.sizes[**slot].1.abs_diff(len));
        if let Some((at, _)) = fit {
            let slot = free.swap_remove(at);
            self.sizes[slot].1 = self.sizes[slot].1.max(len);
            return slot;
        }
        self.sizes.push((kind, len));
        self.sizes.len() - 1
    }

    /// Makes the slots long enough.
    pub(super) fn reserve(&self, slots: &mut Vec<Buffer>) {
        if slots.len() < self.sizes.len() {
            slots.resize_with(self.sizes.len(), Buffer::default);
        }
        for (slot, (kind, len)) in slots.iter_mut().zip(&self.sizes) {
            match kind {
                Kind::Float if slot.floats.len() < *len => slot.floats.resize(*len, 0.0),
                Kind::Int if slot.ints.len() < *len => slot.ints.resize(*len, 0),
                Kind::Rows | Kind::Image | Kind::Bytes if slot.codes.len() < *len => {
                    slot.codes.resize(*len, 0)
                }
                _ => {}
            }
        }
    }

    pub(super) fn is_for<'a>(
        &self,
        inputs: impl Iterator<Item = &'a [usize]>,
        held: &Range<usize>,
    ) -> bool {
        self.held_inputs == *held && self.inputs.iter().map(Vec::as_slice).eq(inputs)
    }

    /// Whether a value is made of held inputs alone.
    pub(super) fn is_held(&self, value: usize) -> bool {
        self.held[value]
    }

    pub(super) fn fact(&self, value: usize) -> &Fact {
        self.facts[value].as_ref().unwrap_or(&self.nothing)
    }

    pub(super) fn nothing(&self) -> &Fact {
        &self.nothing
    }

    pub(super) fn slot(&self, value: usize) -> Option<usize> {
        self.slots[value]
    }

    /// Whether the shapes alone determine all that a step makes.
    pub(super) fn is_known(&self, planned: &Planned) -> bool {
        planned
            .outputs
            .iter()
            .all(|v| self.fact(*v).known.is_some())
    }
}
