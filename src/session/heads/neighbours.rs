//! `neighbours`: the remembered items nearest to this one answer for it, and are shown.
//!
//! ```text
//! q = x/‖x‖,  d_i² = ‖q − b_i‖²,  a_i = e^{−d_i²/τ} / Σ_{j among the k} e^{−d_j²/τ}
//! s_c = Σ a_i over the neighbours of class c,  p_c ∝ (s_c + 1/2k)^{1/T}
//! ```
//!
//! The label is that of the largest share s, as in the paper; k witnesses of one mind leave room for
//! doubt, and T is the head's temperature.

mod bank;

use super::{Head, HeadInput, Reply, Size};
use crate::event::Neighbour;
use crate::fusion::{MemoryBank, Rows, Scratch};
use crate::kernels;
use crate::model::{Bundle, Model, ModelError, Output, manifest};
use bank::Bank;
use std::sync::{Mutex, PoisonError};

/// As many neighbours are told, the nearest; all k have a vote.
const TOLD: usize = 10;
/// Name of the output that is looked up.
const QUERY: &str = "q";

struct Neighbours {
    name: String,
    model: Model,
    bank: Bank,
    memory: MemoryBank,
    labels: Vec<String>,
    temperature: f32,
    scratch: Mutex<Scratch>,
}

pub(super) fn load(
    bundle: &Bundle,
    head: &manifest::Head,
    size: Size<'_>,
) -> Result<Box<dyn Head>, ModelError> {
    let lacking = |what: &str| ModelError::Refused {
        name: bundle.name(),
        what: format!(
            "its head `{}` is of kind `neighbours` and names no {what}",
            head.name
        ),
    };
    let file = head.file.as_ref().ok_or_else(|| lacking("file"))?;
    let stored = head.bank.as_ref().ok_or_else(|| lacking("bank"))?;
    let model = Model::load(bundle, file, size.threads)?.expect_outputs(&[QUERY])?;
    if model.arity() != head.reads.len() {
        let (takes, reads) = (model.arity(), head.reads.len());
        let what = format!(
            "takes {takes} inputs, and head `{}` reads {reads}",
            head.name
        );
        return Err(model.refused(what));
    }
    // who brings a bank of the shipped head need not bring those of the ablations
    let folder = size.bank;
    let folder = folder.filter(|f| !head.ablation || f.join(stored).is_file());
    let bank = Bank::find(bundle, stored, folder)?;
    let memory = bank.memory()?;
    if let Some(class) = bank
        .labels
        .iter()
        .find(|l| usize::from(**l) >= size.classes)
    {
        let classes = size.classes;
        return Err(bank.refused(format!(
            "holds class {class}, and the manifest names {classes} classes"
        )));
    }
    Ok(Box::new(Neighbours {
        name: head.name.clone(),
        model,
        memory,
        bank,
        labels: bundle.manifest.labels.clone(),
        temperature: head.temperature,
        scratch: Mutex::default(),
    }))
}

/// Probabilities from the classes' shares among `k` neighbours.
fn softened(shares: &[f32], k: usize, temperature: f32) -> Vec<f32> {
    let doubt = 0.5 / k as f32;
    let powers = shares.iter().map(|s| (s + doubt).powf(1.0 / temperature));
    let powers: Vec<f32> = powers.collect();
    let all: f32 = powers.iter().sum();
    powers.iter().map(|p| p / all).collect()
}

impl Head for Neighbours {
    fn answer(&self, given: &HeadInput<'_>) -> Result<Reply, ModelError> {
        let outputs: Vec<(String, Output)> = self
            .model
            .outputs()
            .iter()
            .cloned()
            .zip(self.model.run(&given.values)?)
            .collect();
        let (rows, width) = self.bank.dims;
        let q = self.model.output(QUERY).map(|at| &outputs[at].1.values);
        let q = q.filter(|q| q.len() == width).ok_or_else(|| {
            self.bank.refused(format!(
                "holds {rows} rows of {width} values, and head `{}` gives another number",
                self.name
            ))
        })?;
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let query = Rows::of_whole(q, width);
        let found = self.memory.search(kernels::active(), query, &mut scratch);
        let found = found.into_iter().next().unwrap_or_default();
        let nearest = found.first().map_or(0.0, |n| n.distance);
        let weight = |distance: f32| ((nearest - distance) / self.bank.tau).exp();
        let total: f32 = found.iter().map(|n| weight(n.distance)).sum();
        let mut scores = vec![0.0; self.labels.len()];
        let mut neighbours = Vec::with_capacity(TOLD);
        for near in found {
            let share = weight(near.distance) / total;
            let class = usize::from(self.bank.labels[near.index]);
            scores[class] += share;
            if neighbours.len() == TOLD {
                continue;
            }
            let id = self.bank.ids[near.index];
            neighbours.push(Neighbour {
                id,
                label: self.labels[class].clone(),
                distance: near.distance,
                share,
                text: self.bank.evidence.get(&id).cloned(),
            });
        }
        Ok(Reply {
            scores: softened(&scores, self.bank.k, self.temperature),
            outputs,
            neighbours,
            ..Reply::default()
        })
    }

    fn gives(&self, output: &str) -> bool {
        self.model.output(output).is_some()
    }
}
