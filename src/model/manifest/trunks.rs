//! Trunks: the sections that say which model reads an input and what it expects, and how a head
//! names what it reads of them. The recogniser's section stands here too.

use serde::{Deserialize, Serialize};
use std::fmt;

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
    /// Name of the output in the trunk's file; of the face trunk `crop` is grey
    /// pixels, `context` coloured ones.
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
    /// What a gate sees, before a box is a face.
    pub context: Option<FaceContext>,
}

/// A box of the face detector and what is around it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FaceContext {
    /// A gate sees `side` × `side` pixels in colour.
    pub side: u32,
    /// Their side as a multiple of the box's longer side.
    pub scale: f32,
}
