//! The manifest of a bundle: what `models/<bundle>/manifest.toml` may say.
//!
//! `build.rs` includes this very file, so a manifest that the build accepted is one that
//! the runtime accepts. It therefore names nothing but `serde` and the standard library.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Version of the manifest's layout; another number is refused.
pub const SCHEMA: u32 = 1;

/// `manifest.toml`, parsed and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Name of the bundle, as events carry it.
    pub id: String,
    /// Version of the weights.
    pub version: String,
    /// One sentence for people.
    pub summary: String,
    /// Terms of the weights.
    pub licence: String,
    /// Class names in the order of the logits.
    pub labels: Vec<String>,
    /// Every file of the bundle besides the manifest and the card.
    pub files: Vec<File>,
    /// Files of other bundles that this one uses as they are.
    pub shared: Vec<Shared>,
    /// The task, with what its models expect.
    pub inputs: Inputs,
    /// How logits become a decision.
    pub decision: Decision,
    /// Figures measured with `demeanor eval`.
    pub metrics: Vec<Metric>,
    /// Sets that shaped the weights.
    pub data: Vec<Data>,
}

/// The file as it is written. Unknown fields are refused, so a typing error is no default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: u32,
    id: String,
    task: Task,
    version: String,
    summary: String,
    licence: String,
    labels: Vec<String>,
    #[serde(rename = "file")]
    files: Vec<File>,
    #[serde(default)]
    shared: Vec<Shared>,
    speech: Option<Speech>,
    text: Option<Text>,
    picture: Option<Picture>,
    face: Option<Face>,
    decision: Decision,
    #[serde(default, rename = "metric")]
    metrics: Vec<Metric>,
    #[serde(default, rename = "data")]
    data: Vec<Data>,
}

/// What a bundle answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// LE-MER: angry, happy, sad or neutral from speech and text.
    Emotion,
    /// MVCN: positive, neutral or negative from a picture and its text.
    Sentiment,
    /// The expression that faces in a picture show.
    Expression,
}

impl Task {
    /// Every task of this build.
    pub const ALL: [Task; 3] = [Task::Emotion, Task::Sentiment, Task::Expression];

    /// The name used in events, manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Task::Emotion => "emotion",
            Task::Sentiment => "sentiment",
            Task::Expression => "expression",
        }
    }

    /// Heads whose calibration temperature a manifest must give.
    fn heads(self) -> &'static [Head] {
        match self {
            Task::Emotion => &[Head::Fused, Head::Speech, Head::Text],
            Task::Sentiment => &[Head::Fused, Head::Text, Head::Image],
            Task::Expression => &[Head::Expression],
        }
    }

    /// Files that a bundle must have, of its own or shared.
    fn roles(self) -> &'static [Role] {
        match self {
            Task::Emotion => &[Role::Speech, Role::Text, Role::Vocab, Role::Fusion],
            Task::Sentiment => &[
                Role::Image,
                Role::Text,
                Role::Vocab,
                Role::Fusion,
                Role::TextHead,
                Role::ImageHead,
            ],
            Task::Expression => &[Role::Face, Role::Expression],
        }
    }
}

/// A task with what its models expect.
#[derive(Debug, Clone, PartialEq)]
pub enum Inputs {
    /// LE-MER.
    Emotion {
        /// What the speech encoder expects.
        speech: Speech,
        /// What the text encoder expects.
        text: Text,
    },
    /// MVCN.
    Sentiment {
        /// What the image trunk expects.
        picture: Picture,
        /// What the text trunk expects.
        text: Text,
    },
    /// Faces.
    Expression {
        /// What detector and expression student expect.
        face: Face,
    },
}

impl Inputs {
    /// The task.
    pub fn task(&self) -> Task {
        match self {
            Inputs::Emotion { .. } => Task::Emotion,
            Inputs::Sentiment { .. } => Task::Sentiment,
            Inputs::Expression { .. } => Task::Expression,
        }
    }

    /// Exactly the sections that the task knows.
    fn of(task: Task, written: &mut Written) -> Result<Inputs, String> {
        let sections = (
            written.speech.take(),
            written.text.take(),
            written.picture.take(),
            written.face.take(),
        );
        let wanted = match (task, sections) {
            (Task::Emotion, (Some(speech), Some(text), None, None)) => {
                return Ok(Inputs::Emotion { speech, text });
            }
            (Task::Sentiment, (None, Some(text), Some(picture), None)) => {
                return Ok(Inputs::Sentiment { picture, text });
            }
            (Task::Expression, (None, None, None, Some(face))) => {
                return Ok(Inputs::Expression { face });
            }
            (Task::Emotion, _) => "`speech` and `text`",
            (Task::Sentiment, _) => "`picture` and `text`",
            (Task::Expression, _) => "`face`",
        };
        Err(format!(
            "task {} needs the sections {wanted} and no other",
            task.name()
        ))
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Inputs::Emotion { speech, text } => {
                speech.check()?;
                text.check()
            }
            Inputs::Sentiment { picture, text } => {
                within("picture.side", picture.side as f32, 32.0, 512.0)?;
                text.check()
            }
            Inputs::Expression { face } => face.check(),
        }
    }
}

fn within(field: &str, value: f32, low: f32, high: f32) -> Result<(), String> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(format!("field `{field}` must lie in {low}..={high}"))
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
    /// Ablation: text-guided fusion trained on labels alone (MVCN's TGF).
    FusionTgf,
    /// Ablation: both modalities treated alike (MVCN's MFS).
    FusionEqual,
    /// Image trunk: patches of a picture, for every head that looks at one.
    Image,
    /// Head that reads the words alone.
    TextHead,
    /// Head that looks at the picture alone.
    ImageHead,
    /// Face detector.
    Face,
    /// Expression of one face.
    Expression,
}

/// A file of another bundle.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// The other bundle's `id`.
    pub bundle: String,
    /// What the file is for, there and here.
    pub role: Role,
    /// Lower-case hex SHA-256 of the content that this bundle was trained with.
    pub sha256: String,
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

impl Speech {
    fn check(&self) -> Result<(), String> {
        if self.sample_rate != 16_000 || self.mels != 80 {
            return Err("section `speech` must say sample_rate = 16000 and mels = 80".into());
        }
        within("speech.max_seconds", self.max_seconds, 0.5, 8.0)
    }
}

impl Text {
    fn check(&self) -> Result<(), String> {
        within("text.max_tokens", self.max_tokens as f32, 8.0, 512.0)
    }
}

/// What the image trunk expects.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// The whole picture is squeezed to `side` × `side` pixels.
    pub side: u32,
}

/// What face detector and expression student expect.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Face {
    /// The detector sees the picture letterboxed into `detector_side` × `detector_side` pixels.
    pub detector_side: u32,
    /// The student sees `expression_side` × `expression_side` grey pixels.
    pub expression_side: u32,
    /// Side of the crop as a multiple of the box's longer side.
    pub crop_scale: f32,
    /// The crop's centre lies this many box sides below the box's.
    pub crop_shift: f32,
    /// A box of a lower probability is no face.
    pub min_score: f32,
}

impl Face {
    fn check(&self) -> Result<(), String> {
        within("face.detector_side", self.detector_side as f32, 64.0, 512.0)?;
        within(
            "face.expression_side",
            self.expression_side as f32,
            24.0,
            224.0,
        )?;
        within("face.crop_scale", self.crop_scale, 0.25, 4.0)?;
        within("face.crop_shift", self.crop_shift, -1.0, 1.0)?;
        within("face.min_score", self.min_score, 0.05, 0.99)
    }
}

/// A head that answers with probabilities of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// All modalities of the task together.
    Fused,
    /// Speech alone.
    Speech,
    /// Text alone.
    Text,
    /// The picture alone.
    Image,
    /// A face's expression.
    Expression,
}

/// How logits become a decision.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// A top probability below this is `unsure`.
    pub unsure_below: f32,
    /// Calibration temperature of each head: p = softmax(logits / temperature).
    temperature: BTreeMap<Head, f32>,
}

impl Decision {
    /// Calibration temperature of a head.
    pub fn temperature(&self, head: Head) -> f32 {
        // the heads of the task were checked to be there; others have no calibration
        self.temperature.get(&head).copied().unwrap_or(1.0)
    }

    fn check(&self, task: Task) -> Result<(), String> {
        within("decision.unsure_below", self.unsure_below, 0.0, 1.0)?;
        for (head, value) in &self.temperature {
            let name = format!("decision.temperature.{head:?}").to_lowercase();
            within(&name, *value, 0.05, 20.0)?;
        }
        let lacking = task
            .heads()
            .iter()
            .find(|h| !self.temperature.contains_key(h));
        lacking.map_or(Ok(()), |head| {
            Err(format!("section `decision.temperature` does not give {head:?}").to_lowercase())
        })
    }
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
        let mut written: Written = toml::from_str(text).map_err(|e| one_line(&e.to_string()))?;
        if written.schema != SCHEMA {
            return Err(format!(
                "field `schema` is {}, this build reads {SCHEMA}",
                written.schema
            ));
        }
        let inputs = Inputs::of(written.task, &mut written)?;
        let manifest = Manifest {
            id: written.id,
            version: written.version,
            summary: written.summary,
            licence: written.licence,
            labels: written.labels,
            files: written.files,
            shared: written.shared,
            inputs,
            decision: written.decision,
            metrics: written.metrics,
            data: written.data,
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// What the bundle answers.
    pub fn task(&self) -> Task {
        self.inputs.task()
    }

    /// The file of the bundle's own that plays `role`, if it has one.
    pub fn file(&self, role: Role) -> Option<&File> {
        self.files.iter().find(|f| f.role == role)
    }

    fn check(&self) -> Result<(), String> {
        let (task, labels) = (self.task(), self.labels.len());
        let classes = match task {
            Task::Emotion => 4,
            Task::Sentiment => 3,
            Task::Expression => 8,
        };
        if labels != classes {
            return Err(format!(
                "field `labels` has {labels} entries, task {} has {classes} classes",
                task.name()
            ));
        }
        self.inputs.check()?;
        self.decision.check(task)?;
        self.check_files()
    }

    fn check_files(&self) -> Result<(), String> {
        let mut roles = BTreeMap::new();
        let mut take = |role: Role, name: &str| match roles.insert(role, name.to_owned()) {
            Some(other) => Err(format!("files `{other}` and `{name}` have the same role")),
            None => Ok(()),
        };
        for file in &self.files {
            file.check()?;
            take(file.role, &file.name)?;
        }
        for shared in &self.shared {
            let name = format!("{:?} of {}", shared.role, shared.bundle).to_lowercase();
            check_sha256(&name, &shared.sha256)?;
            if shared.bundle == self.id {
                return Err(format!(
                    "shared file `{name}`: a bundle cannot share with itself"
                ));
            }
            take(shared.role, &name)?;
        }
        let wanted = self.task().roles().iter();
        let lacking = wanted.copied().find(|role| !roles.contains_key(role));
        lacking.map_or(Ok(()), |role| Err(format!("no file has the role {role:?}")))
    }
}

impl File {
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(format!("file `{name}` must be a plain name in the bundle"));
        }
        check_sha256(name, &self.sha256)?;
        if (self.role == Role::Vocab) != (self.precision == Precision::None) {
            return Err(format!(
                "file `{name}`: only the vocabulary has precision none"
            ));
        }
        Ok(())
    }
}

fn check_sha256(name: &str, sha256: &str) -> Result<(), String> {
    let hex = sha256
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if sha256.len() == 64 && hex {
        return Ok(());
    }
    Err(format!(
        "file `{name}`: sha256 must be 64 lower-case hex digits"
    ))
}

/// TOML errors come with a drawing of the line; a sentence wants them on one.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let useful = lines.filter(|l| !l.chars().all(|c| c == '|' || c == '^' || c == ' '));
    useful.collect::<Vec<_>>().join("; ")
}
