//! `demeanor transcribe`: what is said, in words and times.

use super::analyze::{segmenter, wait};
use super::files;
use crate::Error;
use crate::capture::{AudioSource, Channel, open_audio};
use crate::session::{Recogniser, Transcript, Verdict};
use crate::signal::segment::Utterance;
use crate::tasks::pair::span;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What to write down.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Recordings (WAV, Ogg/Opus), or `-`.
    pub files: Vec<PathBuf>,
    /// The recogniser's bundle.
    pub recogniser: PathBuf,
    /// Which channel of a recording with several is heard.
    pub channel: Channel,
    /// Workers that share the large steps of a model.
    pub threads: usize,
    /// One JSON object an utterance.
    pub json: bool,
}

/// How utterances turned out.
#[derive(Default)]
struct Count {
    words: usize,
    doubtful: usize,
    silent: usize,
}

/// Writes a line an utterance: `START END text`, as `--words` reads them. A file that cannot be
/// read is told, and the others still are written down. `Ok(false)` when no word was heard.
///
/// # Errors
/// Files that failed, each of which has been reported; a bundle that is refused; a model that
/// fails; an output that cannot be written.
pub fn transcribe(options: &Options, out: &mut dyn Write) -> Result<bool, Error> {
    let mut recogniser = Recogniser::open(&options.recogniser, options.threads)?;
    files::each(&options.files, |file| {
        write_down(file, options, &mut recogniser, out)
    })
}

fn write_down(
    file: &Path,
    options: &Options,
    recogniser: &mut Recogniser,
    out: &mut dyn Write,
) -> Result<bool, Error> {
    let name = file.file_name().unwrap_or(file.as_os_str());
    let name = name.to_string_lossy().into_owned();
    let mut source = open_audio(file, options.channel)?;
    let mut count = Count::default();
    utterances(source.as_mut(), |utterance| {
        let heard = recogniser.transcribe(&utterance.samples)?;
        match heard.verdict {
            Verdict::Words => count.words += 1,
            Verdict::Doubtful => count.doubtful += 1,
            Verdict::NoWords | Verdict::NoSpeech => count.silent += 1,
        }
        let line = match (options.json, heard.words()) {
            (true, _) => Some(to_json(&name, recogniser.bundle(), utterance, &heard).to_string()),
            (false, Some(words)) => {
                let (start, end) = span(utterance);
                Some(format!("{start:.3} {end:.3} {words}"))
            }
            (false, None) => None,
        };
        if let Some(line) = line {
            let written = writeln!(out, "{line}").and_then(|()| out.flush());
            written.map_err(Error::Output)?;
        }
        Ok(())
    })?;
    for warning in source.report().warnings {
        log::warn!("{warning}");
    }
    tell(&name, &count);
    Ok(count.words > 0)
}

/// What standard output does not show.
fn tell(name: &str, count: &Count) {
    match count {
        Count {
            words: 0,
            doubtful: 0,
            silent: 0,
        } => log::warn!("{name}: no speech found"),
        Count {
            words: 0,
            doubtful: 0,
            ..
        } => log::warn!("{name}: no words"),
        Count { doubtful: 0, .. } => {}
        Count { doubtful, .. } => log::warn!(
            "{name}: the words of {doubtful} utterances are doubtful and were left out; --json tells them"
        ),
    }
}

/// Cuts a recording into utterances, each as soon as it is over.
fn utterances(
    source: &mut dyn AudioSource,
    mut each: impl FnMut(&Utterance) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut segmenter = segmenter()?;
    while let Some(chunk) = wait(source)? {
        for utterance in segmenter.push(&chunk) {
            each(&utterance)?;
        }
    }
    segmenter.finish().iter().try_for_each(each)
}

fn to_json(source: &str, bundle: &str, utterance: &Utterance, heard: &Transcript) -> Value {
    let rounded = |value: f64, unit: f64| (value * unit).round() / unit;
    let share = |value: f32| rounded(f64::from(value), 1e4);
    let (start, end) = span(utterance);
    json!({
        "task": "recognition",
        "source": source,
        "start": rounded(start, 1e3),
        "end": rounded(end, 1e3),
        "verdict": heard.verdict.name(),
        "text": heard.text,
        "confidence": share(heard.confidence),
        "no_speech": share(heard.no_speech),
        "cut": heard.cut.map(|cut| cut.name()),
        "tokens": heard.tokens,
        "bundle": bundle,
        "ms": rounded(heard.spent, 1e3),
        "encoder_ms": rounded(heard.encoder, 1e3),
        "steps": heard.steps,
    })
}
