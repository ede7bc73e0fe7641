//! What of an answer leaves the machine: only what the section of an output asks for.

use crate::config::outputs::{Part, Publish};
use crate::sink::feed::hush;
use serde_json::Value;

/// Fields of an answer that tell nothing but the answer, and when and from what it was given.
const OF_LABELS: [&str; 12] = [
    "schema",
    "seq",
    "time",
    "device",
    "task",
    "source",
    "start",
    "end",
    "utterance",
    "label",
    "modality",
    "bundle",
];

/// What of an answer may be told.
pub fn chosen(mut answer: Value, publish: &Publish, words: bool) -> Value {
    if !words {
        hush(&mut answer);
    }
    if let Value::Object(fields) = &mut answer {
        let (scores, faces) = (publish.tells(Part::Scores), publish.tells(Part::Faces));
        fields.retain(|name, _| match name.as_str() {
            "face" => faces,
            name => scores || OF_LABELS.contains(&name),
        });
    }
    answer
}
