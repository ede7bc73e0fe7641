//! `spans`: names in words. Its file is a reader: `tokens` `[n, d]` and `pictures` `[w, d]`, of
//! which a head that reads words alone has none, to logits `exist` `[t]`, `start` and `end`
//! `[t, n]` and `match` `[t, n, n]` of each type. The scores are the types' own probabilities; what
//! the words are is read from the outputs (see [`entities`]).

use super::{Head, HeadInput, Reply, Size};
use crate::decision::spans::{Logits, sigmoid, spans};
use crate::event::Entity;
use crate::model::manifest::Trunk;
use crate::model::{self, Bundle, Model, ModelError, manifest};
use crate::text;
use std::ops::Range;

const OUTPUTS: [&str; 4] = ["exist", "start", "end", "match"];

struct Spans {
    model: Model,
    types: usize,
}

pub(super) fn load(
    bundle: &Bundle,
    head: &manifest::Head,
    size: Size<'_>,
) -> Result<Box<dyn Head>, ModelError> {
    let trunks: Vec<Trunk> = head.reads.iter().map(|r| r.trunk).collect();
    match (trunks.as_slice(), &head.file) {
        ([Trunk::Text] | [Trunk::Text | Trunk::Beside, Trunk::Seen], Some(file)) => {
            let model = Model::load(bundle, file, size.threads)?;
            Ok(Box::new(Spans {
                model: model.expect(&["tokens", "pictures"], &OUTPUTS)?,
                types: size.classes,
            }))
        }
        _ => Err(ModelError::Refused {
            name: bundle.name(),
            what: format!(
                "its head `{}` is of kind `spans`, which has a file and reads rows of `text`, or \
                 of `text` or `beside` and then of `seen`",
                head.name
            ),
        }),
    }
}

impl Head for Spans {
    fn answer(&self, given: &HeadInput<'_>) -> Result<Reply, ModelError> {
        let Some((dims @ [n, width], tokens)) = given.values.first() else {
            return Err(self.model.refused("reads no rows of tokens".into()));
        };
        let nothing = ([0, *width], model::InputValues::Floats(&[]));
        let pictures = match given.values.get(1) {
            Some((dims, rows)) => (*dims, *rows),
            None => (&nothing.0[..], nothing.1),
        };
        let outputs = self.model.run(&[(dims, *tokens), pictures])?;
        let outputs: Vec<_> = self.model.outputs().iter().cloned().zip(outputs).collect();
        let mut reply = Reply {
            outputs,
            ..Reply::default()
        };
        let t = self.types;
        for (name, wanted) in OUTPUTS.into_iter().zip([t, t * n, t * n, t * n * n]) {
            let found = reply.output(name).map_or(0, |o| o.values.len());
            if found != wanted {
                return Err(self.model.refused(format!(
                    "gives {found} values of `{name}` for {n} tokens, and the manifest's {t} types \
                     ask for {wanted}"
                )));
            }
        }
        let exist = reply.output("exist").map_or(&[][..], |o| &o.values);
        reply.scores = exist.iter().map(|x| sigmoid(*x)).collect();
        Ok(reply)
    }

    fn gives(&self, output: &str) -> bool {
        OUTPUTS.contains(&output)
    }
}

/// A name, with the rows of its tokens.
pub(in crate::session) struct Found {
    pub entity: Entity,
    pub tokens: Range<usize>,
}

/// The names that a reply finds in `words`, of which `tokens` are the bytes behind each row; with
/// the words themselves if they may be `told`.
pub(in crate::session) fn entities(
    reply: &Reply,
    words: &str,
    tokens: &[Option<Range<usize>>],
    (labels, threshold): (&[String], f32),
    told: bool,
) -> Vec<Found> {
    let output = |name| reply.output(name).map_or(&[][..], |o| o.values.as_slice());
    let logits = Logits {
        exist: output("exist"),
        start: output("start"),
        end: output("end"),
        joint: output("match"),
    };
    let places = text::words(words);
    let of = |token: &Option<Range<usize>>| {
        let start = token.as_ref()?.start;
        let at = places.partition_point(|word| word.end <= start);
        (places.get(at)?.start <= start).then_some(at)
    };
    let of_tokens: Vec<Option<usize>> = tokens.iter().map(of).collect();
    let found = spans(&logits, &of_tokens, threshold).into_iter();
    let entity = |span: crate::decision::spans::Span| {
        let bytes = places[span.words.start].start..places[span.words.end - 1].end;
        let start = words[..bytes.start].chars().count();
        let within = |at: &Option<usize>| at.is_some_and(|word| span.words.contains(&word));
        let first = of_tokens.iter().position(within).unwrap_or(0);
        let count = of_tokens[first..]
            .iter()
            .take_while(|at| within(at))
            .count();
        let entity = Entity {
            start,
            end: start + words[bytes.clone()].chars().count(),
            kind: labels[span.kind].clone(),
            score: span.score,
            text: told.then(|| words[bytes].to_owned()),
            place: None,
        };
        Found {
            entity,
            tokens: first..first + count,
        }
    };
    found.map(entity).collect()
}
