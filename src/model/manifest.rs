//! The manifest of a bundle: what `models/<bundle>/manifest.toml` may say.
//!
//! `build.rs` includes this very file, so a manifest that the build accepted is one that
//! the runtime accepts. It therefore names nothing but `serde` and the standard library.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Version of the manifest's layout; another number is refused.
pub const SCHEMA: u32 = 1;

/// `manifest.toml`, parsed. Unknown fields are refused, so a typing error is no default.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Layout version, [`SCHEMA`].
    pub schema: u32,
    /// Name of the bundle, as events carry it.
    pub id: String,
    /// What the bundle answers.
    pub task: Task,
    /// Version of the weights.
    pub version: String,
    /// One sentence for people.
    pub summary: String,
    /// Terms of the weights.
    pub licence: String,
    /// Class names in the order of the logits.
    pub labels: Vec<String>,
    /// Every file of the bundle besides the manifest and the card.
    #[serde(rename = "file")]
    pub files: Vec<File>,
    /// What the speech encoder expects.
    pub speech: Speech,
    /// What the text encoder expects.
    pub text: Text,
    /// How logits become a decision.
    pub decision: Decision,
    /// Figures measured with `demeanor eval`.
    #[serde(default, rename = "metric")]
    pub metrics: Vec<Metric>,
    /// Sets that shaped the weights.
    #[serde(default, rename = "data")]
    pub data: Vec<Data>,
}

/// What a bundle answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// LE-MER: angry, happy, sad or neutral from speech and text.
    Emotion,
}

impl Task {
    /// The name used in events, manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Task::Emotion => "emotion",
        }
    }
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// File name inside the bundle's folder; no path.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// What its matrix products and convolutions are computed in.
    pub precision: Precision,
    /// Lower-case hex SHA-256 of the content.
    pub sha256: String,
}

/// What a file of a bundle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Speech encoder with its speech-only head.
    Speech,
    /// Text encoder with its text-only head.
    Text,
    /// WordPiece vocabulary.
    Vocab,
    /// The fusion head that answers (attention constraint at training).
    Fusion,
    /// Ablation: learned attention A_r, trained without the constraint.
    FusionAr,
    /// Ablation: label attention A_l alone.
    FusionAl,
}

/// What a file's matrix products and convolutions are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// No float product is left after optimisation; the loader checks it.
    Int8,
    /// Float by design (fusion heads) or a reference bundle.
    F32,
    /// Not a model.
    None,
}

/// What the speech encoder expects.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speech {
    /// Hz; the log-mel front end knows 16000 only.
    pub sample_rate: u32,
    /// Mel bands; 80.
    pub mels: usize,
    /// Longest utterance in seconds.
    pub max_seconds: f32,
}

/// What the text encoder expects.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Longest sequence in tokens, history and special tokens included.
    pub max_tokens: usize,
    /// Utterances of dialogue history.
    pub history: usize,
}

/// How logits become a decision.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// A top probability below this is `unsure`.
    pub unsure_below: f32,
    /// Calibration temperature of each head: p = softmax(logits / temperature).
    pub temperature: Temperature,
}

/// Calibration temperatures, one a head.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Temperature {
    /// Speech and text together.
    pub fused: f32,
    /// Speech alone.
    pub speech: f32,
    /// Text alone.
    pub text: f32,
}

/// One measured figure.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Its name.
    pub name: String,
    /// Its terms.
    pub licence: String,
}

impl Manifest {
    /// Parses and checks a manifest; the error names the field and says what is expected.
    pub fn parse(text: &str) -> Result<Manifest, String> {
        let manifest: Manifest = toml::from_str(text).map_err(|e| one_line(&e.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The file that plays `role`, if the bundle has one.
    pub fn file(&self, role: Role) -> Option<&File> {
        self.files.iter().find(|f| f.role == role)
    }

    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!(
                "field `schema` is {}, this build reads {SCHEMA}",
                self.schema
            ));
        }
        if self.labels.len() != 4 {
            return Err(format!(
                "field `labels` has {} entries, LE-MER has 4 classes",
                self.labels.len()
            ));
        }
        if self.speech.sample_rate != 16_000 || self.speech.mels != 80 {
            return Err("section `speech` must say sample_rate = 16000 and mels = 80".into());
        }
        if !(0.5..=8.0).contains(&self.speech.max_seconds) {
            return Err("field `speech.max_seconds` must lie in 0.5..=8".into());
        }
        if !(8..=512).contains(&self.text.max_tokens) {
            return Err("field `text.max_tokens` must lie in 8..=512".into());
        }
        self.check_decision()?;
        self.check_files()
    }

    fn check_decision(&self) -> Result<(), String> {
        let Decision {
            unsure_below,
            temperature: t,
        } = &self.decision;
        if !(0.0..=1.0).contains(unsure_below) {
            return Err("field `decision.unsure_below` must lie in 0..=1".into());
        }
        for (name, value) in [("fused", t.fused), ("speech", t.speech), ("text", t.text)] {
            if !(0.05..=20.0).contains(&value) {
                return Err(format!(
                    "field `decision.temperature.{name}` must lie in 0.05..=20"
                ));
            }
        }
        Ok(())
    }

    fn check_files(&self) -> Result<(), String> {
        let mut roles = BTreeMap::new();
        for file in &self.files {
            if file.name.is_empty() || file.name.contains(['/', '\\']) || file.name.starts_with('.')
            {
                return Err(format!(
                    "file `{}` must be a plain name in the bundle",
                    file.name
                ));
            }
            let hex = file
                .sha256
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if file.sha256.len() != 64 || !hex {
                return Err(format!(
                    "file `{}`: sha256 must be 64 lower-case hex digits",
                    file.name
                ));
            }
            if (file.role == Role::Vocab) != (file.precision == Precision::None) {
                return Err(format!(
                    "file `{}`: only the vocabulary has precision none",
                    file.name
                ));
            }
            if let Some(other) = roles.insert(file.role, &file.name) {
                return Err(format!(
                    "files `{other}` and `{}` have the same role",
                    file.name
                ));
            }
        }
        for role in [Role::Speech, Role::Text, Role::Vocab, Role::Fusion] {
            if !roles.contains_key(&role) {
                return Err(format!("no file has the role {role:?}"));
            }
        }
        Ok(())
    }
}

/// TOML errors come with a drawing of the line; a sentence wants them on one.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let useful = lines.filter(|l| !l.chars().all(|c| c == '|' || c == '^' || c == ' '));
    useful.collect::<Vec<_>>().join("; ")
}
