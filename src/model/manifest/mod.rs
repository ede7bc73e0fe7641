//! The manifest of a bundle: what `models/<bundle>/manifest.toml` may say.
//!
//! A task is data. The manifest names the trunks that the task's inputs run through, and the
//! heads that read them; nothing in the program knows a task by name.
//!
//! `build.rs` includes this very folder, so a manifest that the build accepted is one that
//! the runtime accepts. It therefore names nothing but `serde`, `toml` and the standard library.

mod check;
mod trunks;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub use trunks::{Face, Image, Read, Seen, Speech, Text, Transcript, Trunk};

/// Version of the manifest's layout; another number is refused.
pub const SCHEMA: u32 = 2;

/// `manifest.toml`, parsed and checked. Unknown fields are refused, so a typing error is no
/// default.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    schema: u32,
    /// Name of the bundle, as events carry it.
    pub id: String,
    /// What the bundle answers: the name used in events and on the command line.
    pub task: String,
    /// Version of the weights.
    pub version: String,
    /// One sentence for people.
    pub summary: String,
    /// Terms of the weights.
    pub licence: String,
    /// It answers only where it is asked for by name.
    #[serde(default, skip_serializing_if = "is_false")]
    pub on_request: bool,
    /// Class names in the order of the logits; none where all that is answered are picture words.
    pub labels: Vec<String>,
    /// The speech encoder, if heads read it.
    pub speech: Option<Speech>,
    /// The text encoder, if heads read it.
    pub text: Option<Text>,
    /// The image trunk, if heads read it.
    pub image: Option<Image>,
    /// What names the image's content, if heads read its words.
    pub seen: Option<Seen>,
    /// The face detector, if heads read its crops.
    pub face: Option<Face>,
    /// The recogniser of speech, in a bundle that is nothing else.
    pub transcript: Option<Transcript>,
    /// What answers; at least one that is no ablation, but for a recogniser's bundle.
    #[serde(default, rename = "head")]
    pub heads: Vec<Head>,
    /// Another task's answer that counts beside this one's.
    pub late: Option<Late>,
    /// How scores become a decision.
    pub decision: Decision,
    /// How `eval` reports.
    #[serde(default)]
    pub eval: Eval,
    /// Every file of the bundle besides the manifest and the card.
    #[serde(rename = "file")]
    pub files: Vec<File>,
    /// Figures measured with `demeanor eval`.
    #[serde(default, rename = "metric")]
    pub metrics: Vec<Metric>,
    /// Sets that shaped the weights.
    #[serde(default, rename = "data")]
    pub data: Vec<Data>,
}

/// A head: what it reads, and what it makes of it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// What reports call it; one of a kind in the bundle.
    pub name: String,
    /// How its answer is read; the program's registry of heads knows which there are.
    pub kind: String,
    /// What it reads, in the order of its file's inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Read>,
    /// Heads whose answers it reads instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<String>,
    /// Its file. Without one, what it reads are the logits already.
    pub file: Option<String>,
    /// What it remembers, of kind `neighbours`.
    pub bank: Option<String>,
    /// Calibration: p = softmax(logits / temperature).
    #[serde(default = "one")]
    pub temperature: f32,
    /// Its own class names, where they are not the bundle's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// What its kind needs to decide, 0..1; of one that answers with classes, below which it is
    /// unsure, where that is not `decision.unsure_below`.
    pub threshold: Option<f32>,
    /// By modality, the output that holds a row for each row read: its similarity to each class.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub explain: BTreeMap<String, String>,
    /// Runs in `eval` alone, to show what the shipped head is worth.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ablation: bool,
    /// Of kind `distance`: what it says of people whom its own statistics did not see.
    pub range: Option<Range>,
}

/// What a number was like over many answers.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Of all.
    pub mean: f64,
    /// Standard deviation of the answers about one person.
    pub within: f64,
    /// Standard deviation of what people average to, beyond that.
    pub between: f64,
    /// Answers that these come from.
    pub answers: u64,
}

impl Head {
    /// Whether it gives the task's answer: it is no ablation, and its classes are the task's.
    pub fn answers(&self) -> bool {
        !self.ablation && self.judges()
    }

    /// Whether its classes are the task's.
    pub fn judges(&self) -> bool {
        self.labels.is_empty() && self.kind != "distance"
    }
}

impl Range {
    /// Whether such numbers can have been measured.
    fn is_sound(&self) -> bool {
        let spreads = [self.within, self.between];
        self.mean.is_finite() && spreads.iter().all(|s| s.is_finite() && *s >= 0.0)
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn one() -> f32 {
    1.0
}

/// Late fusion: the classes of another task that are classes here under another name.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// The other task; its nearest face counts.
    pub task: String,
    /// A class here, and its name there.
    pub classes: BTreeMap<String, String>,
}

/// How scores become a decision.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// A top probability below this is `unsure`.
    pub unsure_below: f32,
    /// Answers follow each other in time, so that a moving average of them means something.
    #[serde(default = "yes")]
    pub smooth: bool,
}

fn yes() -> bool {
    true
}

/// How `eval` reports.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Eval {
    /// Figures of a line, from left to right: `accuracy`, `ua`, `macro_f1`, `weighted_f1`.
    #[serde(default)]
    pub figures: Vec<String>,
    /// Figures of others on other items, to stand beside ours.
    pub published: Option<Published>,
}

/// Figures from a paper.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// On which items, of which models.
    pub on: String,
    /// How many items.
    pub n: usize,
    /// System, accuracy and F1 (weighted, or of the second class where the report has that); of
    /// names in words precision and recall.
    pub rows: Vec<(String, f64, f64)>,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// File name inside the bundle's folder; no path.
    pub name: String,
    /// `id` of the bundle that has it, when it is another one's and used as it is.
    pub bundle: Option<String>,
    /// What its matrix products and convolutions are computed in.
    pub precision: Precision,
    /// Lower-case hex SHA-256 of the content.
    pub sha256: String,
}

/// What a file's matrix products and convolutions are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// No float product is left after optimisation; the loader checks it.
    Int8,
    /// Float by design (fusion heads) or a reference bundle.
    F32,
    /// Not a model.
    None,
}

/// One measured figure.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// `ua`, `accuracy`, `macro_f1`, …
    pub name: String,
    /// On which data.
    pub on: String,
    /// The figure.
    pub value: f64,
    /// 95% bootstrap interval.
    pub ci95: [f64; 2],
    /// Items.
    pub n: usize,
}

/// A data set that shaped the weights.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Its name.
    pub name: String,
    /// Its terms.
    pub licence: String,
}

/// The one field that every layout has.
#[derive(Deserialize)]
struct Layout {
    schema: u32,
}

impl Manifest {
    /// Whether its scores are of classes that exclude each other, and so sum to 1: those of names
    /// found in words and of words for an image are each their own.
    pub fn is_exclusive(&self) -> bool {
        let mut answering = self.heads.iter().filter(|h| h.answers());
        !answering.any(|h| matches!(h.kind.as_str(), "spans" | "words"))
    }

    /// Whether it points at what words name.
    pub fn points(&self) -> bool {
        self.heads.iter().any(|h| h.kind == "boxes")
    }

    /// Parses and checks a manifest; the error names the field and says what is expected.
    ///
    /// # Errors
    /// A sentence that names the field and says what is expected.
    pub fn parse(text: &str) -> Result<Manifest, String> {
        // another layout has other fields, so its number is read first
        let layout: Layout = toml::from_str(text).map_err(|e| one_line(&e.to_string()))?;
        if layout.schema != SCHEMA {
            return Err(format!(
                "field `schema` is {}, this build reads {SCHEMA}; make the bundle again with its recipe",
                layout.schema
            ));
        }
        let manifest: Manifest = toml::from_str(text).map_err(|e| one_line(&e.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The text that [`Manifest::parse`] reads.
    pub fn to_toml(&self) -> String {
        // of numbers, strings and tables there is none that TOML cannot hold
        toml::to_string(self).unwrap_or_default()
    }

    /// A file of the manifest by its name.
    pub fn file(&self, name: &str) -> Option<&File> {
        self.files.iter().find(|f| f.name == name)
    }

    /// A head by its name.
    pub fn head(&self, name: &str) -> Option<&Head> {
        self.heads.iter().find(|h| h.name == name)
    }

    /// Trunks whose outputs a head reads, itself or through the heads that it reads.
    pub fn trunks(&self, head: &Head) -> BTreeSet<Trunk> {
        let own = head.reads.iter().map(|r| r.trunk);
        let others = head.of.iter().filter_map(|name| self.head(name));
        own.chain(others.flat_map(|h| h.reads.iter().map(|r| r.trunk)))
            .collect()
    }

    /// Whether any head reads this trunk, or another that is built upon it.
    pub fn reads(&self, trunk: Trunk) -> bool {
        let above: &[Trunk] = match trunk {
            Trunk::Text | Trunk::Seen => &[Trunk::Beside],
            Trunk::Image => &[Trunk::Seen, Trunk::Beside],
            Trunk::Speech | Trunk::Beside | Trunk::Face => &[],
        };
        let mut reads = self.heads.iter().flat_map(|h| &h.reads);
        reads.any(|r| r.trunk == trunk || above.contains(&r.trunk))
    }
}

/// TOML errors come with a drawing of the line; a sentence wants them on one.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let useful = lines.filter(|l| !l.chars().all(|c| c == '|' || c == '^' || c == ' '));
    useful.collect::<Vec<_>>().join("; ")
}
