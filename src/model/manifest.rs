//! The manifest of a bundle: what `models/<bundle>/manifest.toml` may say.
//!
//! A task is data. The manifest names the trunks that the task's inputs run through, and the
//! heads that read them; nothing in the program knows a task by name.
//!
//! `build.rs` includes this very file, so a manifest that the build accepted is one that
//! the runtime accepts. It therefore names nothing but `serde` and the standard library.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

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

/// What runs before the heads, once an observation, whatever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trunk {
    /// Sound to rows.
    Speech,
    /// Words to rows.
    Text,
    /// An image as a whole to patches.
    Image,
    /// Patches to words for what the image shows.
    Seen,
    /// Words to rows, read beside the words for what the image shows: the text trunk's model. Where
    /// it is, `text` is there for comparisons alone.
    Beside,
    /// An image to crops of faces.
    Face,
}

impl Trunk {
    /// Every trunk.
    pub const ALL: [Trunk; 6] = [
        Trunk::Speech,
        Trunk::Text,
        Trunk::Image,
        Trunk::Seen,
        Trunk::Beside,
        Trunk::Face,
    ];

    /// The name of its section, and the first half of what a head reads.
    pub fn name(self) -> &'static str {
        match self {
            Trunk::Speech => "speech",
            Trunk::Text => "text",
            Trunk::Image => "image",
            Trunk::Seen => "seen",
            Trunk::Beside => "beside",
            Trunk::Face => "face",
        }
    }
}

/// What a head reads: `text.tokens` is the output `tokens` of the text trunk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Read {
    /// Whose output.
    pub trunk: Trunk,
    /// Name of the output in the trunk's file; `crop` of the face trunk is grey pixels.
    pub output: String,
}

impl TryFrom<String> for Read {
    type Error = String;

    fn try_from(text: String) -> Result<Read, String> {
        let parts = text.split_once('.');
        let known = parts.and_then(|(trunk, output)| {
            let trunk = Trunk::ALL.into_iter().find(|t| t.name() == trunk)?;
            Some((trunk, output.to_owned()))
        });
        match known {
            Some((trunk, output)) if !output.is_empty() => Ok(Read { trunk, output }),
            _ => {
                let trunks = Trunk::ALL.map(Trunk::name).join(", ");
                Err(format!(
                    "`{text}` in `reads` is not TRUNK.OUTPUT with a trunk of {trunks}"
                ))
            }
        }
    }
}

impl From<Read> for String {
    fn from(read: Read) -> String {
        read.to_string()
    }
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.trunk.name(), self.output)
    }
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
    /// Heads whose answers it reads instead; a gate the output `gate` of their files.
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
    /// What its kind needs to decide, 0..1.
    pub threshold: Option<f32>,
    /// By modality, the output that holds a row for each row read: its similarity to each class.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub explain: BTreeMap<String, String>,
    /// Runs in `eval` alone, to show what the shipped head is worth.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ablation: bool,
    /// Of kind `distance`: what it says of people that the trunk did not learn from.
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

/// The speech encoder, and what it expects.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Speech {
    /// Its file: input `mel`.
    pub file: String,
    /// Hz; the log-mel front end knows 16000 only.
    pub sample_rate: u32,
    /// Mel bands; 80.
    pub mels: usize,
    /// Longest window in seconds; longer sound is cut into equal windows.
    pub max_seconds: f32,
}

/// The text encoder, and what it expects.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Its file: inputs `ids` and `types`.
    pub file: String,
    /// Its WordPiece vocabulary.
    pub vocab: String,
    /// Longest sequence in tokens, history and special tokens included.
    pub max_tokens: usize,
    /// Utterances of dialogue history that it reads before the words.
    pub history: usize,
    /// Links are no words.
    #[serde(default)]
    pub strip_links: bool,
    /// `types` says how each word is written: 0 plain, 2 Capital, 3 CAPITALS, 4 MiXed.
    #[serde(default)]
    pub shapes: bool,
}

/// A recogniser of speech: an encoder of sound, and a decoder that says one token after the other.
///
/// The encoder gives keys and values of the decoder's cross attention, two outputs a layer. The
/// decoder takes `ids` and `position` (one token), those outputs by their names, and as many pasts
/// `[tokens before, width]`; it gives `logits` `[1, vocabulary]` and `rows`, what this token adds to
/// all pasts, side by side.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Transcript {
    /// The encoder: input `mel`.
    pub encoder: String,
    /// The decoder.
    pub decoder: String,
    /// Its tokens, one a line, in the byte-level alphabet of GPT-2.
    pub vocab: String,
    /// Longest piece of sound in seconds; longer sound is cut into equal pieces.
    pub max_seconds: f32,
    /// Seconds of silence that are put behind the sound.
    pub pad_seconds: f32,
    /// Tokens that a transcript begins with. How likely `no_speech` is, is read behind the first.
    pub start: Vec<i64>,
    /// The token that ends it.
    pub end: i64,
    /// The token that says that nobody speaks.
    pub no_speech: i64,
    /// Tokens below this are text; no other is ever said.
    pub text_tokens: i64,
    /// Tokens that are never said.
    #[serde(default)]
    pub suppress: Vec<i64>,
    /// Tokens that no transcript begins with.
    #[serde(default)]
    pub suppress_first: Vec<i64>,
    /// A greater probability of `no_speech` is no speech.
    pub no_speech_above: f32,
    /// Behind the end of a sentence, a greater probability of `end` ends the transcript.
    pub stop_above: f32,
    /// As many tokens are said at most for a second of sound,
    pub tokens_per_second: f32,
    /// and these.
    pub tokens_more: usize,
}

/// The image trunk, and what it expects.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its file: input `pixels`.
    pub file: String,
    /// The whole image is squeezed to `side` × `side` pixels.
    pub side: u32,
}

/// What names the content of an image in words, upon the image trunk.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Its file: one input, output `logits` with one for each word.
    pub file: String,
    /// The output of the image trunk that it reads.
    pub reads: Read,
    /// The words, one a line, in the order of the logits.
    pub labels: String,
    /// Input `ids` to output `rows`: the word's row in the text trunk's space. Without it the
    /// words have names alone.
    pub rows: Option<String>,
    /// As many words are named, the likeliest.
    pub top: usize,
}

/// The face detector, and what a head sees of a face.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Face {
    /// Its file: input `pixels`, outputs `boxes` and `scores`.
    pub file: String,
    /// It sees the image letterboxed into `side` × `side` pixels.
    pub side: u32,
    /// A box of a lower probability is no face.
    pub min_score: f32,
    /// A head sees `crop_side` × `crop_side` grey pixels.
    pub crop_side: u32,
    /// Side of the crop as a multiple of the box's longer side.
    pub crop_scale: f32,
    /// The crop's centre lies this many box sides below the box's.
    pub crop_shift: f32,
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
    /// One sentence.
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

    fn check(&self) -> Result<(), String> {
        let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.task.is_empty() || !self.task.chars().all(kebab) {
            return Err(format!(
                "field `task` is `{}`; it must be small letters, digits and hyphens",
                self.task
            ));
        }
        if let Some(transcript) = &self.transcript {
            self.check_files()?;
            return self.check_transcript(transcript);
        }
        let names_words = self.heads.iter().all(|h| h.kind == "words");
        if !(names_words && self.labels.is_empty()) {
            check_labels("labels", &self.labels)?;
        }
        within(
            "decision.unsure_below",
            self.decision.unsure_below,
            0.0,
            1.0,
        )?;
        self.check_files()?;
        self.check_trunks()?;
        self.check_heads()?;
        self.check_late()
    }

    fn check_files(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for file in &self.files {
            file.check()?;
            if !names.insert(&file.name) {
                return Err(format!("file `{}` is listed twice", file.name));
            }
            if file.bundle.as_ref() == Some(&self.id) {
                return Err(format!(
                    "file `{}`: a bundle cannot share with itself",
                    file.name
                ));
            }
        }
        Ok(())
    }

    fn check_trunks(&self) -> Result<(), String> {
        if let Some(speech) = &self.speech {
            self.check_model("speech.file", &speech.file)?;
            speech.check()?;
        }
        if let Some(text) = &self.text {
            self.check_model("text.file", &text.file)?;
            self.check_words("text.vocab", &text.vocab)?;
            within("text.max_tokens", text.max_tokens as f32, 8.0, 512.0)?;
            within("text.history", text.history as f32, 0.0, 16.0)?;
        }
        if let Some(image) = &self.image {
            self.check_model("image.file", &image.file)?;
            within("image.side", image.side as f32, 32.0, 512.0)?;
        }
        if let Some(seen) = &self.seen {
            self.check_seen(seen)?;
        }
        if let Some(face) = &self.face {
            self.check_model("face.file", &face.file)?;
            face.check()?;
        }
        Ok(())
    }

    fn check_seen(&self, seen: &Seen) -> Result<(), String> {
        self.check_model("seen.file", &seen.file)?;
        self.check_words("seen.labels", &seen.labels)?;
        if let Some(rows) = &seen.rows {
            self.check_model("seen.rows", rows)?;
        }
        if seen.reads.trunk != Trunk::Image || self.image.is_none() {
            return Err(
                "field `seen.reads` must name an output of the section `image`, and that must be there"
                    .into(),
            );
        }
        within("seen.top", seen.top as f32, 1.0, 32.0)
    }

    fn check_transcript(&self, wanted: &Transcript) -> Result<(), String> {
        let alone = self.heads.is_empty() && self.labels.is_empty();
        if !alone || Trunk::ALL.into_iter().any(|trunk| self.has_trunk(trunk)) {
            return Err(
                "a bundle with a section `transcript` has no labels, no head and no trunk".into(),
            );
        }
        self.check_model("transcript.encoder", &wanted.encoder)?;
        self.check_model("transcript.decoder", &wanted.decoder)?;
        self.check_words("transcript.vocab", &wanted.vocab)?;
        if wanted.start.is_empty() {
            return Err("field `transcript.start` must name a token".into());
        }
        let more = wanted.tokens_more as f32;
        let limit = self.decision.unsure_below;
        for (field, value, low, high) in [
            ("transcript.max_seconds", wanted.max_seconds, 0.5, 30.0),
            ("transcript.pad_seconds", wanted.pad_seconds, 0.0, 30.0),
            (
                "transcript.no_speech_above",
                wanted.no_speech_above,
                0.0,
                1.0,
            ),
            ("transcript.stop_above", wanted.stop_above, 0.0, 1.0),
            (
                "transcript.tokens_per_second",
                wanted.tokens_per_second,
                0.1,
                50.0,
            ),
            ("transcript.tokens_more", more, 1.0, 448.0),
            ("decision.unsure_below", limit, 0.0, 1.0),
        ] {
            within(field, value, low, high)?;
        }
        Ok(())
    }

    fn has_trunk(&self, trunk: Trunk) -> bool {
        match trunk {
            Trunk::Speech => self.speech.is_some(),
            Trunk::Text => self.text.is_some(),
            Trunk::Image => self.image.is_some(),
            Trunk::Seen => self.seen.is_some(),
            Trunk::Beside => self.text.is_some() && self.seen.is_some(),
            Trunk::Face => self.face.is_some(),
        }
    }

    fn check_heads(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        let mut answering = BTreeSet::new();
        for head in &self.heads {
            let name = &head.name;
            if !names.insert(name) {
                return Err(format!("two heads are called `{name}`"));
            }
            self.check_head(head)
                .map_err(|e| format!("head `{name}`: {e}"))?;
            if head.answers() && !answering.insert(self.trunks(head)) {
                return Err(format!(
                    "head `{name}` reads what another head reads; mark one as an ablation"
                ));
            }
        }
        if answering.is_empty() {
            return Err(
                "no head answers: every one is an ablation or decides something else".into(),
            );
        }
        Ok(())
    }

    fn check_head(&self, head: &Head) -> Result<(), String> {
        if head.reads.is_empty() == head.of.is_empty() {
            return Err("give either `reads` or `of`".into());
        }
        for read in &head.reads {
            if !self.has_trunk(read.trunk) {
                let trunk = read.trunk.name();
                return Err(format!(
                    "it reads `{read}`, and there is no section `{trunk}`"
                ));
            }
        }
        let faces = head.reads.iter().filter(|r| r.trunk == Trunk::Face).count();
        if faces > 0 && head.reads.len() > 1 {
            return Err("a head that reads a face reads nothing else".into());
        }
        if let Some(unknown) = head.of.iter().find(|name| {
            let of = self.head(name);
            of.is_none_or(|h| !h.of.is_empty())
        }) {
            return Err(format!(
                "`of` names `{unknown}`, which is no head with inputs of its own"
            ));
        }
        match &head.file {
            Some(file) => self.check_model("file", file)?,
            None if head.reads.len() > 1 => {
                return Err("without a `file` it can read the logits of one trunk alone".into());
            }
            None => {}
        }
        if let Some(bank) = &head.bank
            && self.listed("bank", bank)?.precision != Precision::None
        {
            return Err(format!("file `{bank}`: a bank has precision none"));
        }
        if !head.labels.is_empty() {
            check_labels("labels", &head.labels)?;
        }
        for modality in head.explain.keys() {
            if !head.reads.iter().any(|r| r.trunk.name() == modality) {
                return Err(format!(
                    "`explain` names `{modality}`, which it does not read"
                ));
            }
        }
        within("temperature", head.temperature, 0.05, 20.0)?;
        within("threshold", head.threshold.unwrap_or(0.0), 0.0, 1.0)
    }

    fn check_late(&self) -> Result<(), String> {
        let Some(late) = &self.late else {
            return Ok(());
        };
        match late.classes.keys().find(|c| !self.labels.contains(c)) {
            Some(unknown) => Err(format!(
                "`late.classes` names `{unknown}`, which is no label"
            )),
            None => Ok(()),
        }
    }

    fn listed(&self, field: &str, name: &str) -> Result<&File, String> {
        let file = self.file(name);
        file.ok_or_else(|| format!("field `{field}` names `{name}`, which no [[file]] lists"))
    }

    fn check_words(&self, field: &str, name: &str) -> Result<(), String> {
        match self.listed(field, name)?.precision {
            Precision::None => Ok(()),
            Precision::Int8 | Precision::F32 => {
                Err(format!("file `{name}`: a list of words has precision none"))
            }
        }
    }

    fn check_model(&self, field: &str, name: &str) -> Result<(), String> {
        match self.listed(field, name)?.precision {
            Precision::None => Err(format!("file `{name}` is a model and has precision none")),
            Precision::Int8 | Precision::F32 => Ok(()),
        }
    }
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

impl Speech {
    fn check(&self) -> Result<(), String> {
        if self.sample_rate != 16_000 || self.mels != 80 {
            return Err("section `speech` must say sample_rate = 16000 and mels = 80".into());
        }
        within("speech.max_seconds", self.max_seconds, 0.5, 8.0)
    }
}

impl Face {
    fn check(&self) -> Result<(), String> {
        within("face.side", self.side as f32, 64.0, 512.0)?;
        within("face.crop_side", self.crop_side as f32, 24.0, 224.0)?;
        within("face.crop_scale", self.crop_scale, 0.25, 4.0)?;
        within("face.crop_shift", self.crop_shift, -1.0, 1.0)?;
        within("face.min_score", self.min_score, 0.05, 0.99)
    }
}

impl File {
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(format!("file `{name}` must be a plain name in the bundle"));
        }
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if self.sha256.len() != 64 || !self.sha256.bytes().all(hex) {
            return Err(format!(
                "file `{name}`: sha256 must be 64 lower-case hex digits"
            ));
        }
        Ok(())
    }
}

fn check_labels(field: &str, labels: &[String]) -> Result<(), String> {
    let distinct: BTreeSet<&String> = labels.iter().collect();
    if labels.len() < 2 || distinct.len() < labels.len() || distinct.iter().any(|l| l.is_empty()) {
        return Err(format!(
            "field `{field}` must hold at least two names, each once"
        ));
    }
    Ok(())
}

fn within(field: &str, value: f32, low: f32, high: f32) -> Result<(), String> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(format!("field `{field}` must lie in {low}..={high}"))
    }
}

/// TOML errors come with a drawing of the line; a sentence wants them on one.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let useful = lines.filter(|l| !l.chars().all(|c| c == '|' || c == '^' || c == ' '));
    useful.collect::<Vec<_>>().join("; ")
}
