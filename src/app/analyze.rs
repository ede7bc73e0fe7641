//! `demeanor analyze`: what recordings and words express.

use super::answer::{Answerer, Manner};
use crate::Error;
use crate::capture::text::{TextLine, open_text};
use crate::capture::{AudioSource, CaptureError, Source, open_audio};
use crate::signal::segment::{self, SegmentConfig, Segmenter, Utterance};
use crate::signal::{SAMPLE_RATE, duration_of};
use crate::sink::Sink;
use crate::tasks::pair::{Pair, Pairing};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Words for a whole file make it one utterance; longer files need words with times.
const MAX_WHOLE: usize = 120 * SAMPLE_RATE as usize;

/// What to analyse.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Recordings (WAV, Ogg/Opus, `-` for a WAV on standard input).
    pub files: Vec<PathBuf>,
    /// The words of every file, or words alone when there is no file.
    pub text: Option<String>,
    /// A file of words, used instead of the recording's sidecar.
    pub words: Option<PathBuf>,
    /// What was said before, oldest first.
    pub history: Vec<String>,
    /// Bundle folder; the embedded one when `None`.
    pub models: Option<PathBuf>,
    /// How answers are to be given.
    pub manner: Manner,
    /// Workers of the kernels; one when `None`.
    pub threads: Option<usize>,
}

/// Answers about every file, in order. A file that cannot be read is reported and the
/// others still are answered. `Ok(false)` when nothing was recognised.
///
/// # Errors
/// The first file's error when files failed; the output's; a bundle that is refused.
pub fn analyze<W: Write>(options: &Options, sink: &mut Sink<W>) -> Result<bool, Error> {
    crate::kernels::set_threads(options.threads.unwrap_or(1));
    let mut answerer = Answerer::load(options.models.as_deref(), options.manner.clone())?;
    if options.files.is_empty() {
        recall(&mut answerer, &options.history);
        let pair = Pair {
            utterance: None,
            text: options.text.clone(),
        };
        return answer(&mut answerer, sink, "text", &pair, 0.0);
    }
    let (mut recognised, mut failure) = (false, None);
    for file in &options.files {
        answerer.restart();
        recall(&mut answerer, &options.history);
        match file_events(file, options, &mut answerer, sink) {
            Ok(any) => recognised |= any,
            Err(error @ Error::Output(_)) => return Err(error),
            Err(error) => {
                // said at once, so that the order on the terminal is the order of the files
                if failure.is_some() || options.files.len() > 1 {
                    eprintln!("demeanor: {error}");
                }
                failure = failure.or(Some(error));
            }
        }
    }
    failure.map_or(Ok(recognised), Err)
}

fn recall(answerer: &mut Answerer, history: &[String]) {
    history
        .iter()
        .for_each(|utterance| answerer.remember(utterance, 0.0));
}

fn file_events<W: Write>(
    file: &Path,
    options: &Options,
    answerer: &mut Answerer,
    sink: &mut Sink<W>,
) -> Result<bool, Error> {
    let name = file
        .file_name()
        .unwrap_or(file.as_os_str())
        .to_string_lossy()
        .into_owned();
    let mut source = open_audio(file)?;
    let lines = words_of(file, options)?;
    let timed = lines.iter().any(|line| line.start.is_some());
    let recognised = if lines.is_empty() || timed {
        utterances(source.as_mut(), lines, |pair, now| {
            answer(answerer, sink, &name, pair, now)
        })?
    } else {
        let text = lines
            .into_iter()
            .map(|l| l.text)
            .collect::<Vec<_>>()
            .join(" ");
        let utterance = whole(file, source.as_mut())?;
        answer(
            answerer,
            sink,
            &name,
            &Pair {
                utterance,
                text: Some(text),
            },
            0.0,
        )?
    };
    for warning in source.report().warnings {
        log::warn!("{warning}");
    }
    if !recognised {
        log::warn!("{name}: no speech found and no words given; nothing to answer");
    }
    Ok(recognised)
}

fn answer<W: Write>(
    answerer: &mut Answerer,
    sink: &mut Sink<W>,
    source: &str,
    pair: &Pair,
    now: f64,
) -> Result<bool, Error> {
    let Some(event) = answerer.answer(source, pair, now)? else {
        return Ok(false);
    };
    sink.event(&event).map_err(Error::Output)?;
    Ok(true)
}

/// `--text`, then `--words`, then the recording's sidecar: the same name ending in `.txt`.
fn words_of(file: &Path, options: &Options) -> Result<Vec<TextLine>, Error> {
    if let Some(text) = &options.text {
        return Ok(vec![TextLine {
            start: None,
            end: None,
            text: text.clone(),
        }]);
    }
    let sidecar = file.with_extension("txt");
    match &options.words {
        Some(path) => Ok(all(&mut *open_text(path)?)?),
        None if file != Path::new("-") && sidecar.is_file() => Ok(all(&mut *open_text(&sidecar)?)?),
        None => Ok(Vec::new()),
    }
}

/// All of a recording that is speech, as one utterance; `None` when it holds no speech.
fn whole(file: &Path, source: &mut dyn AudioSource) -> Result<Option<Utterance>, Error> {
    let mut samples = Vec::new();
    while let Some(chunk) = wait(source)? {
        samples.extend(chunk.samples);
        if samples.len() > MAX_WHOLE {
            return Err(Error::Usage(format!(
                "{}: is longer than {} s, so its words need times: one line an utterance, `START END text`",
                file.display(),
                MAX_WHOLE / SAMPLE_RATE as usize
            )));
        }
    }
    Ok(segment::trim(&samples).map(|range| Utterance {
        start: duration_of(range.start as u64),
        samples: samples[range].to_vec(),
        gaps: Vec::new(),
        cut: false,
    }))
}

/// Cuts a recording into utterances and hands each on with its words.
fn utterances(
    source: &mut dyn AudioSource,
    lines: Vec<TextLine>,
    mut answer: impl FnMut(&Pair, f64) -> Result<bool, Error>,
) -> Result<bool, Error> {
    let mut segmenter = segmenter()?;
    let mut pairing = Pairing::new(0.5);
    let mut lines: std::collections::VecDeque<TextLine> = lines.into();
    let (mut now, mut recognised, mut ended) = (0.0, false, false);
    while !ended {
        match wait(source)? {
            Some(chunk) => {
                now = (chunk.start + duration_of(chunk.samples.len() as u64)).as_secs_f64();
                segmenter
                    .push(&chunk)
                    .into_iter()
                    .for_each(|u| pairing.utterance(u));
            }
            None => {
                ended = true;
                segmenter
                    .finish()
                    .into_iter()
                    .for_each(|u| pairing.utterance(u));
            }
        }
        // words of the past are there to be claimed; words of the future would be cut off
        while lines
            .front()
            .is_some_and(|l| ended || l.start.unwrap_or(Duration::ZERO).as_secs_f64() <= now)
        {
            lines
                .pop_front()
                .into_iter()
                .for_each(|line| pairing.line(line, now));
        }
        while let Some(pair) = pairing.next(now, segmenter.is_speaking(), ended) {
            recognised |= answer(&pair, now)?;
        }
    }
    Ok(recognised)
}

/// Cuts as the defaults say.
pub(super) fn segmenter() -> Result<Segmenter, Error> {
    Segmenter::new(&SegmentConfig::default()).map_err(|e| Error::Usage(e.to_string()))
}

/// The next item. Files never say "not yet"; a pipe does, and is asked again a little later.
pub(crate) fn wait<T>(
    source: &mut (impl Source<Item = T> + ?Sized),
) -> Result<Option<T>, CaptureError> {
    loop {
        match source.poll() {
            Ok(item) => return Ok(item),
            Err(nb::Error::WouldBlock) => std::thread::sleep(Duration::from_millis(2)),
            Err(nb::Error::Other(error)) => return Err(error),
        }
    }
}

fn all<T>(source: &mut (impl Source<Item = T> + ?Sized)) -> Result<Vec<T>, CaptureError> {
    std::iter::from_fn(|| wait(source).transpose()).collect()
}
