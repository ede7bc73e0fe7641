//! What is said, in words: sound through an encoder once, then one token after the other.
//!
//! The sound is as long as the utterance and a little silence, not 30 s: seven times less work at
//! equal error, as long as somebody stops the decoder, which begins again when its sentence is
//! over. [`guard`] does, and keeps what is invented upon noise from being taken for words.

mod guard;

use crate::model::manifest::{self, Manifest};
use crate::model::{Bundle, Held, Input, InputValues, Model, ModelError};
use crate::signal::SAMPLE_RATE;
use crate::signal::mel::{Mel, N_MELS};
use crate::text::ByteTokens;
pub use guard::Cut;
use guard::{Distribution, Progress, ends_sentence, repeated};
use std::path::Path;
use std::time::Instant;

/// Sound shorter than this holds no word; 0.1 s.
const MIN_SAMPLES: usize = SAMPLE_RATE as usize / 10;

/// What was heard of an utterance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transcript {
    /// The words, with capitals and punctuation; empty where nobody speaks.
    pub text: String,
    /// Geometric mean of the tokens' probabilities times that somebody speaks, 0..1; 0 without a
    /// token.
    pub confidence: f32,
    /// Probability that nobody speaks, 0..1.
    pub no_speech: f32,
    /// What a guard left out, and why.
    pub cut: Option<Cut>,
    /// How it is to be taken.
    pub verdict: Verdict,
    /// Tokens that were said.
    pub tokens: usize,
    /// Milliseconds from sound to text.
    pub spent: f64,
    /// Of them, until the encoder had heard it.
    pub encoder: f64,
    /// Runs of the decoder.
    pub steps: usize,
}

/// How a transcript is to be taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Its text was said.
    Words,
    /// Its text may have been said: it is less certain than the bundle asks for.
    Doubtful,
    /// Somebody may speak, and nothing is said.
    NoWords,
    /// Nobody speaks.
    #[default]
    NoSpeech,
}

impl Verdict {
    /// The word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Words => "words",
            Verdict::Doubtful => "doubtful",
            Verdict::NoWords => "no words",
            Verdict::NoSpeech => "no speech",
        }
    }
}

impl Transcript {
    /// The words, if they may be built upon.
    pub fn words(&self) -> Option<&str> {
        (self.verdict == Verdict::Words).then_some(self.text.as_str())
    }
}

/// A recogniser of speech, ready to listen.
pub struct Recogniser {
    bundle: String,
    wanted: manifest::Transcript,
    /// Words of a lower confidence are doubtful.
    unsure_below: f32,
    encoder: Model,
    decoder: Model,
    tokens: ByteTokens,
    mel: Mel,
}

impl Recogniser {
    /// Opens the bundle in a folder; its models have `threads` workers.
    ///
    /// # Errors
    /// A bundle that is refused, or is none of a recogniser; files that do not belong together.
    pub fn open(dir: &Path, threads: usize) -> Result<Recogniser, ModelError> {
        Recogniser::load(&Bundle::open(dir)?, threads)
    }

    /// The same with a bundle that was read before.
    ///
    /// # Errors
    /// As [`Recogniser::open`].
    pub fn load(bundle: &Bundle, threads: usize) -> Result<Recogniser, ModelError> {
        let refused = |what: String| ModelError::Refused {
            name: bundle.name(),
            what,
        };
        let manifest: &Manifest = &bundle.manifest;
        let wanted = manifest.transcript.clone().ok_or_else(|| {
            let task = &manifest.task;
            refused(format!("it answers `{task}` and recognises no words"))
        })?;
        let vocab = bundle.bytes(&wanted.vocab).unwrap_or_default();
        let vocab = std::str::from_utf8(vocab)
            .map_err(|_| refused(format!("{} is not UTF-8", wanted.vocab)))?;
        let text = usize::try_from(wanted.text_tokens).unwrap_or(0);
        let tokens = ByteTokens::parse(vocab, text)
            .map_err(|e| refused(format!("{}: {e}", wanted.vocab)))?;
        let mut recogniser = Recogniser {
            bundle: bundle.name(),
            unsure_below: manifest.decision.unsure_below,
            encoder: Model::load(bundle, &wanted.encoder, threads)?.expect(&["mel"], &[])?,
            decoder: Model::load(bundle, &wanted.decoder, threads)?
                .expect_outputs(&["logits", "rows"])?,
            tokens,
            wanted,
            mel: Mel::new(),
        };
        recogniser.try_out().map_err(refused)?;
        Ok(recogniser)
    }

    /// `id@version` of its bundle.
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// Whether the files fit together: names by what they declare, shapes by one step.
    fn try_out(&mut self) -> Result<(), String> {
        let files = format!("{} and {}", self.wanted.encoder, self.wanted.decoder);
        let apart = |what: String| format!("{files} do not belong together: {what}");
        let cross = self.encoder.outputs();
        let takes = self.decoder.input_names();
        let begins: Vec<&str> = ["ids", "position"]
            .into_iter()
            .chain(cross.iter().map(String::as_str))
            .collect();
        if !takes.starts_with(&begins) || takes.len() != begins.len() + cross.len() {
            return Err(apart(format!(
                "one gives {cross:?}, the other takes {takes:?}"
            )));
        }
        for id in [self.wanted.end, self.wanted.no_speech] {
            self.id(id)?;
        }
        let first = self.id(self.wanted.start[0])?;
        let mut said = self
            .hear(&[0.0; SAMPLE_RATE as usize / 2])
            .map_err(|e| apart(e.to_string()))?;
        let logits = said
            .step(&self.decoder, first)
            .map_err(|e| apart(e.to_string()))?;
        if logits.len() != self.tokens.len() {
            return Err(format!(
                "{} holds {} tokens, and {} tells {} apart",
                self.wanted.vocab,
                self.tokens.len(),
                self.wanted.decoder,
                logits.len()
            ));
        }
        Ok(())
    }

    /// A token of the manifest as one of the vocabulary.
    fn id(&self, token: i64) -> Result<usize, String> {
        let id = usize::try_from(token).ok();
        id.filter(|id| *id < self.tokens.len()).ok_or_else(|| {
            format!(
                "the manifest names token {token}, and {} holds {}",
                self.wanted.vocab,
                self.tokens.len()
            )
        })
    }

    /// What is said in `samples`: 16 kHz mono, -1..1, finite. Longer sound than the bundle takes
    /// at once is cut into equal pieces.
    ///
    /// # Errors
    /// A model that fails.
    pub fn transcribe(&mut self, samples: &[f32]) -> Result<Transcript, ModelError> {
        let start = Instant::now();
        let longest = (self.wanted.max_seconds * SAMPLE_RATE as f32) as usize;
        let pieces = samples.len().div_ceil(longest).max(1);
        let mut whole = Heard::default();
        let mut least = 1.0_f32;
        for piece in samples.chunks(samples.len().div_ceil(pieces).max(1)) {
            let heard = self.piece(piece)?;
            least = least.min(heard.no_speech);
            whole.append(heard);
        }
        let confidence = match whole.tokens {
            0 => 0.0,
            tokens => (whole.log_probability / tokens as f64).exp() as f32 * (1.0 - least),
        };
        let verdict = match whole.cut {
            _ if least > self.wanted.no_speech_above => Verdict::NoSpeech,
            _ if whole.text.is_empty() => Verdict::NoWords,
            // more than can be said, and no repetition to leave out
            Some(Cut::TooLong) => Verdict::Doubtful,
            _ if confidence < self.unsure_below => Verdict::Doubtful,
            _ => Verdict::Words,
        };
        Ok(Transcript {
            text: whole.text,
            confidence,
            no_speech: least,
            cut: whole.cut,
            verdict,
            tokens: whole.tokens,
            spent: start.elapsed().as_secs_f64() * 1e3,
            encoder: whole.encoder,
            steps: whole.steps,
        })
    }

    fn piece(&mut self, samples: &[f32]) -> Result<Heard, ModelError> {
        let mut heard = Heard {
            no_speech: 1.0,
            ..Heard::default()
        };
        // a stream of nothing but one value has no spectrum to tell words from
        let sounds = samples.iter().any(|x| *x != samples[0]);
        if samples.len() < MIN_SAMPLES || !sounds {
            return Ok(heard);
        }
        let known = |token: i64| usize::try_from(token).unwrap_or(0);
        let (end, text) = (known(self.wanted.end), known(self.wanted.text_tokens));
        let start = Instant::now();
        let mut said = self.hear(samples)?;
        heard.encoder = start.elapsed().as_secs_f64() * 1e3;
        let mut logits = Vec::new();
        for (at, token) in self.wanted.start.iter().enumerate() {
            logits = said.step(&self.decoder, known(*token))?;
            heard.steps = said.position;
            if at == 0 {
                let all = Distribution::of(&logits);
                heard.no_speech = all.probability(&logits, known(self.wanted.no_speech));
                if heard.no_speech > self.wanted.no_speech_above {
                    return Ok(heard);
                }
            }
        }
        let seconds = samples.len() as f32 / SAMPLE_RATE as f32;
        let most = (seconds * self.wanted.tokens_per_second) as usize + self.wanted.tokens_more;
        let mut ids: Vec<usize> = Vec::new();
        let mut probabilities: Vec<f64> = Vec::new();
        let mut progress = Progress::Ended;
        loop {
            self.suppress(&mut logits, ids.is_empty(), text, end);
            let all = Distribution::of(&logits);
            let best = all.best;
            let over = ends_sentence(&self.tokens.text(&ids))
                && all.probability(&logits, end) > self.wanted.stop_above;
            if best == end || over {
                break;
            }
            ids.push(best);
            probabilities.push(all.log_probability(&logits, best));
            if repeated(&self.tokens, &ids, Progress::Going).is_some() {
                progress = Progress::Going;
                break;
            }
            if ids.len() >= most {
                (progress, heard.cut) = (Progress::Away, Some(Cut::TooLong));
                break;
            }
            logits = said.step(&self.decoder, best)?;
        }
        if let Some(kept) = repeated(&self.tokens, &ids, progress) {
            ids.truncate(kept);
            heard.cut = Some(Cut::Repeated);
        }
        heard.text = self.tokens.text(&ids).trim().to_owned();
        heard.tokens = ids.len();
        heard.steps = said.position;
        heard.log_probability = probabilities[..ids.len()].iter().sum();
        Ok(heard)
    }

    /// Makes impossible what is never said.
    fn suppress(&self, logits: &mut [f32], first: bool, text: usize, end: usize) {
        let begins = if first {
            &self.wanted.suppress_first[..]
        } else {
            &[]
        };
        for token in self.wanted.suppress.iter().chain(begins) {
            if let Some(logit) = usize::try_from(*token).ok().and_then(|t| logits.get_mut(t)) {
                *logit = f32::NEG_INFINITY;
            }
        }
        for (token, logit) in logits.iter_mut().enumerate().skip(text) {
            if token != end {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Runs the encoder; nothing is said yet.
    fn hear(&mut self, samples: &[f32]) -> Result<Said, ModelError> {
        let pad = (self.wanted.pad_seconds * SAMPLE_RATE as f32) as usize;
        let mut padded = samples.to_vec();
        padded.resize(samples.len() + pad, 0.0);
        let mel = self.mel.log_mel(&padded);
        let cross = self
            .encoder
            .run(&[(&[mel.frames, N_MELS], InputValues::Floats(&mel.data))])?;
        let width = cross.first().and_then(|c| c.dims.last().copied());
        Ok(Said {
            past: vec![Vec::new(); cross.len()],
            // behind the token and its position
            held: Held::new(2..2 + cross.len()),
            width: width.unwrap_or(0),
            position: 0,
            cross: cross.into_iter().map(|c| (c.dims, c.values)).collect(),
        })
    }
}

/// A piece of sound in words.
#[derive(Debug, Default)]
struct Heard {
    text: String,
    tokens: usize,
    log_probability: f64,
    no_speech: f32,
    cut: Option<Cut>,
    encoder: f64,
    steps: usize,
}

impl Heard {
    fn append(&mut self, next: Heard) {
        if !self.text.is_empty() && !next.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(&next.text);
        self.tokens += next.tokens;
        self.steps += next.steps;
        self.encoder += next.encoder;
        self.log_probability += next.log_probability;
        self.cut = self.cut.or(next.cut);
    }
}

/// What the decoder has said of a sound so far: its keys and values, a row a token.
struct Said {
    /// Shape and content of what the encoder made.
    cross: Vec<(Vec<usize>, Vec<f32>)>,
    /// That it stays while this sound is written down.
    held: Held,
    past: Vec<Vec<f32>>,
    width: usize,
    position: usize,
}

impl Said {
    /// Says a token; returns the logits of the next one.
    fn step(&mut self, decoder: &Model, token: usize) -> Result<Vec<f32>, ModelError> {
        let (ids, position) = ([token as i64], [self.position as i64]);
        let shape = [self.position, self.width];
        let mut inputs: Vec<Input<'_>> = vec![
            (&[1], InputValues::Ints(&ids)),
            (&[1], InputValues::Ints(&position)),
        ];
        for (dims, values) in &self.cross {
            inputs.push((dims, InputValues::Floats(values)));
        }
        for past in &self.past {
            inputs.push((&shape, InputValues::Floats(past)));
        }
        let mut outputs = decoder.run_held(&inputs, &self.held)?;
        let mut of = |name: &str| {
            let at = decoder.output(name)?;
            Some(std::mem::take(&mut outputs[at].values))
        };
        let (Some(logits), Some(rows)) = (of("logits"), of("rows")) else {
            return Err(decoder.failed("gives no logits"));
        };
        if rows.len() != self.past.len() * self.width {
            return Err(decoder.failed(format!("gives {} values of keys", rows.len())));
        }
        for (past, row) in self
            .past
            .iter_mut()
            .zip(rows.chunks_exact(self.width.max(1)))
        {
            past.extend_from_slice(row);
        }
        self.position += 1;
        Ok(logits)
    }
}
