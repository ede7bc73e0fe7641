//! Notes: what a reader should know of an answer, in words.

use super::{Context, Task, modality_of};
use crate::event::Modality;
use crate::session::{Transcript, Verdict};
use crate::signal::segment::Utterance;
use std::collections::BTreeSet;

/// A share of clipped samples that a reader should know of.
const CLIPPING: f64 = 0.01;

pub(super) const PRINT_NOTE: &str =
    "the image shows print or lines on a plain ground and no words were given: it was not judged";
pub(super) const LATE_NOTE: &str =
    "a face counts as much as all else together, by what it shows of these classes";

impl Task {
    /// What the task's widest head reads and this answer does not rest on.
    pub(super) fn missing(&self, modality: &Modality, context: &Context<'_>) -> Option<String> {
        let answering = self.manifest.heads.iter().filter(|h| h.answers());
        let widest = answering
            .map(|h| self.manifest.trunks(h))
            .max_by_key(BTreeSet::len)?;
        let read = modality.name();
        let lacking = modality_of(&widest).without(modality);
        if lacking == Modality::default() {
            return None;
        }
        let head = format!("{read}-only head");
        Some(match lacking.speech && !context.options.voice {
            true => format!("voice emotion is off in this setting: {head}"),
            false => format!("no {}: {head}", lacking.name()),
        })
    }
}

/// What a reader should know of words that a recogniser heard.
pub(super) fn doubt(heard: Option<&Transcript>) -> Option<String> {
    let heard = heard?;
    match (heard.verdict, heard.cut) {
        (Verdict::Words, None) => None,
        (Verdict::Words, Some(_)) => {
            Some("what was recognised went round: its repetition was left out".into())
        }
        (Verdict::Doubtful, _) => Some(format!(
            "the words that were recognised are too uncertain ({:.2}): they were left out",
            heard.confidence
        )),
        (Verdict::NoWords | Verdict::NoSpeech, _) => Some("no words were recognised".into()),
    }
}

/// What a reader should know of a recording.
pub(super) fn flaws(utterance: &Utterance) -> Vec<String> {
    let mut notes = Vec::new();
    if utterance.cut {
        notes.push("utterance was cut before its speaker paused".into());
    }
    let clipped = utterance
        .samples
        .iter()
        .filter(|s| s.abs() >= 0.999)
        .count();
    let clipped = clipped as f64 / utterance.samples.len().max(1) as f64;
    if clipped > CLIPPING {
        notes.push(format!(
            "{:.0}% of the samples are clipped: lower the input level",
            100.0 * clipped
        ));
    }
    notes
}
