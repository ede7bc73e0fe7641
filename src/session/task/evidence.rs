//! Why a task answered as it did: the tokens and moments most like its class, where words looked in
//! the image, and what every other head says.

use super::{Encoding, Observation, Options, Reply, Task, span, words_of};
use crate::event::{Attention, Evidence, Explanation};
use crate::model::manifest::{self, Trunk};
use crate::model::{self, ModelError, Output};
use crate::session::explain;
use crate::session::heads::{HeadInput, LOGITS};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Task {
    pub(super) fn explain(
        &self,
        class: usize,
        observed: &Observation<'_>,
        by: &BTreeMap<Trunk, Arc<Encoding>>,
        reply: Option<&Reply>,
    ) -> Result<Option<Explanation>, ModelError> {
        let explains = |h: &&manifest::Head| h.answers() && !h.explain.is_empty();
        let Some(head) = self.manifest.heads.iter().find(explains) else {
            return Ok(None);
        };
        let at = self.manifest.heads.iter().position(|h| h.name == head.name);
        let classes = self.manifest.labels.len();
        let stand_in;
        let reply = if self.best(by) == at {
            reply
        } else {
            // each explaining output rests on its own modality's rows alone, so rows that are
            // there may stand in for those that are not, and what names no class for logits
            let output = |r: &manifest::Read| by.get(&r.trunk)?.output(&r.output);
            let is_rows = |r: &&manifest::Read| r.output != LOGITS;
            let Some(there) = head.reads.iter().filter(is_rows).find_map(output) else {
                return Ok(None);
            };
            let unnamed = Output {
                dims: vec![classes],
                values: vec![0.0; classes],
            };
            let values = head.reads.iter().map(|read| {
                let stand_in = if is_rows(&read) { there } else { &unnamed };
                let given = output(read).unwrap_or(stand_in);
                let floats = model::InputValues::Floats(&given.values);
                (given.dims.as_slice(), floats)
            });
            let given = HeadInput {
                values: values.collect(),
                ..HeadInput::default()
            };
            let loaded = at.and_then(|at| self.heads[at].as_ref());
            stand_in = loaded.map(|l| l.answer(&given)).transpose()?;
            stand_in.as_ref()
        };
        let mut explanation = Explanation::default();
        for (modality, name) in &head.explain {
            let Some(rows) = reply.and_then(|r| r.output(name)) else {
                continue;
            };
            if let (true, Some(text)) = (modality == "text", words_of(by)) {
                explanation.tokens = explain::tokens(&rows.values, classes, class, &text.tokens);
            }
            if modality == "speech" && by.contains_key(&Trunk::Speech) {
                let (start, end) = observed.utterance.map_or((0.0, 0.0), span);
                explanation.frames =
                    explain::frames(&rows.values, classes, class, start, end - start);
            }
        }
        Ok(Some(explanation))
    }

    /// What an answer was made from: for pages and for `eval`.
    pub(super) fn evidence(
        &self,
        observed: &Observation<'_>,
        by: &BTreeMap<Trunk, Arc<Encoding>>,
        reply: Option<&Reply>,
        options: &Options,
    ) -> Result<Evidence, ModelError> {
        let mut evidence = Evidence::default();
        if let Some(text) = words_of(by) {
            evidence.tokens.clone_from(&text.tokens);
        }
        let read = |h: &manifest::Head| h.reads.iter().find(|r| r.trunk == Trunk::Image).cloned();
        let patches = self.best(by).and_then(|at| {
            let read = read(&self.manifest.heads[at])?;
            let patches = by.get(&Trunk::Image)?.output(&read.output)?;
            patches.dims.first().copied()
        });
        if let (Some(weights), Some(patches)) = (reply.and_then(|r| r.output("attention")), patches)
        {
            evidence.attention = Some(Attention {
                weights: weights.values.clone(),
                side: patches.isqrt(),
            });
        }
        let output = |name| Some(reply?.output(name)?.values.as_slice());
        if let (Some(weights), Some(attention), Some(seen)) =
            (output("weights"), output("attention"), by.get(&Trunk::Seen))
        {
            let shown: Vec<String> = seen.words.iter().map(|w| w.word.clone()).collect();
            evidence.edges = explain::edges(weights, attention, &evidence.tokens, &shown);
        }
        if !options.every_head {
            return Ok(evidence);
        }
        for (at, head) in self.manifest.heads.iter().enumerate() {
            let trunks = self.manifest.trunks(head);
            let able = head.judges() && trunks.iter().all(|t| by.contains_key(t));
            if able && self.heads[at].is_some() {
                let reply = self.ask(at, by, None)?;
                if let Some(found) = self.entities(at, &reply, observed, by, options.entity_words) {
                    let found = found.into_iter().map(|named| named.entity).collect();
                    evidence.entities.push((head.name.clone(), found));
                }
                evidence.heads.push((head.name.clone(), reply.scores));
            }
        }
        evidence.pooled = by
            .iter()
            .filter_map(|(trunk, encoding)| Some((*trunk, encoding.mean(self.pooled(*trunk)?)?)))
            .collect();
        Ok(evidence)
    }

    /// The output of a trunk that the widest answering head reads.
    fn pooled(&self, trunk: Trunk) -> Option<&str> {
        let answering = self.manifest.heads.iter().filter(|h| h.answers());
        let reads = answering.flat_map(|h| &h.reads);
        let rows = reads.filter(|r| r.trunk == trunk && r.output != LOGITS);
        rows.map(|r| r.output.as_str()).next()
    }
}
