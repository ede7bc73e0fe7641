//! What adapting learns from: logits of the heads that answer, and the rows beneath them.

use super::{Context, Observation, Task, manifest};
use crate::event::Latency;
use crate::model::manifest::{Manifest, Read, Trunk};
use crate::model::{ModelError, Output};
use crate::session::FaceSearch;
use crate::session::heads::LOGITS;
use crate::vision::faces::Found;

/// The output of a head that reads faces by which it gives the rows beneath its logits.
pub(crate) const ROWS: &str = "rows";

/// A head's answer about an observation before calibration, and what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Studied {
    /// Name of the head.
    pub head: String,
    /// In the order of the labels.
    pub logits: Vec<f32>,
    /// Of each trunk that it reads, which output, and the mean of that output's rows.
    pub parts: Vec<(Read, Vec<f64>)>,
}

/// Whether adapting can put another head in this one's place.
pub(crate) fn studied(head: &manifest::Head) -> bool {
    head.answers() && head.kind == "classes" && !head.reads.is_empty()
}

impl Task {
    /// What every head that adapting can replace makes of an observation that has what it reads.
    ///
    /// # Errors
    /// A model that fails.
    pub fn study(
        &self,
        observed: &Observation<'_>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Studied>, ModelError> {
        let heads = self.manifest.heads.iter().enumerate();
        let wanted = heads.filter(|(_, head)| studied(head));
        if self.manifest.reads(Trunk::Face) {
            let mut found = Vec::new();
            for (at, head) in wanted.filter(|(_, h)| h.reads[0].trunk == Trunk::Face) {
                found.extend(self.study_face(at, head, observed, context)?);
            }
            return Ok(found);
        }
        let encoded = self.encode(observed, context)?;
        let mut found = Vec::new();
        for (at, head) in wanted {
            let trunks = trunks_in_order(head);
            if !trunks.iter().all(|t| encoded.by.contains_key(t)) {
                continue;
            }
            // what would never be judged teaches nothing about what is
            if self.sees_print_alone(at, context) {
                continue;
            }
            let mut parts = Vec::new();
            for trunk in trunks {
                let output = self.rows(trunk, &encoded);
                parts.extend(output.map(|(name, output)| {
                    let output_of = Read {
                        trunk,
                        output: name,
                    };
                    (output_of, mean(output))
                }));
            }
            found.push(Studied {
                head: head.name.clone(),
                logits: self.ask(at, &encoded.by, None)?.logits,
                parts,
            });
        }
        Ok(found)
    }

    /// The rows of a trunk: the output that heads read, or else its first with several.
    fn rows<'a>(&self, trunk: Trunk, encoded: &'a super::Encoded) -> Option<(String, &'a Output)> {
        let encoding = encoded.by.get(&trunk)?;
        let named = rows_read(&self.manifest, trunk).and_then(|name| {
            let output = encoding.output(name)?;
            Some((name.to_owned(), output))
        });
        named.or_else(|| encoding.first_rows())
    }

    /// The same of a face: the whole image, or the one that is found with most certainty.
    fn study_face(
        &self,
        at: usize,
        head: &manifest::Head,
        observed: &Observation<'_>,
        context: &mut Context<'_>,
    ) -> Result<Option<Studied>, ModelError> {
        let (Some(handle), Some(scene)) = (self.handles.get(&Trunk::Face), &observed.scene) else {
            return Ok(None);
        };
        let mut latency = Latency::default();
        let trunk = context.trunks.face(*handle);
        let found: Option<Found> = match context.options.faces {
            FaceSearch::Whole => None,
            FaceSearch::Find => match trunk.find(scene.image, &mut latency)?.first() {
                Some(found) => Some(*found),
                None => return Ok(None),
            },
        };
        let pixels = match found {
            None => Some(trunk.whole(scene.image, &mut latency)),
            Some(found) => trunk.crop(scene.image, &found, &mut latency),
        };
        if pixels.is_none() {
            return Ok(None);
        }
        let reply = self.judge_crop(at, pixels, &mut latency)?;
        let Some(rows) = reply.output(ROWS) else {
            return Ok(None);
        };
        let rows = rows.values.iter().map(|x| f64::from(*x)).collect();
        Ok(Some(Studied {
            head: head.name.clone(),
            logits: reply.logits.clone(),
            parts: vec![(head.reads[0].clone(), rows)],
        }))
    }
}

/// Trunks that a head reads, in the order in which it does.
fn trunks_in_order(head: &manifest::Head) -> Vec<Trunk> {
    let mut trunks = Vec::new();
    for read in &head.reads {
        if !trunks.contains(&read.trunk) {
            trunks.push(read.trunk);
        }
    }
    trunks
}

/// The output of a trunk with a row each that any head reads.
fn rows_read(manifest: &Manifest, trunk: Trunk) -> Option<&str> {
    let reads = manifest.heads.iter().flat_map(|h| &h.reads);
    let mut rows = reads.filter(|r| r.trunk == trunk && r.output != LOGITS);
    rows.next().map(|r| r.output.as_str())
}

/// The mean of the rows, summed in their order: the same on every processor.
fn mean(output: &Output) -> Vec<f64> {
    let width = output.dims.last().copied().unwrap_or(1).max(1);
    let mut mean = vec![0.0; width];
    let count = (output.values.len() / width).max(1) as f64;
    for row in output.values.chunks_exact(width) {
        for (mean, x) in mean.iter_mut().zip(row) {
            *mean += f64::from(*x) / count;
        }
    }
    mean
}
