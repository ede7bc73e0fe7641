//! `demeanor analyze`: what recordings, images and words express.

use super::annotate::{self, Page};
use super::files;
use crate::Error;
use crate::capture::camera::FrameSource;
use crate::capture::either::{Either, open_either};
use crate::capture::images::ImageSource;
use crate::capture::text::{TextLine, read_text, sidecar};
use crate::capture::{AudioSource, CaptureError, Channel, Source};
use crate::session::{self, Observation, Scene, Session};
use crate::signal::segment::{self, SegmentConfig, Segmenter, Utterance};
use crate::signal::{SAMPLE_RATE, duration_of};
use crate::sink::Sink;
use crate::tasks::pair::{Pair, Pairing};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Words for a whole file make it one utterance; longer files need words with times.
const MAX_WHOLE: usize = 120 * SAMPLE_RATE as usize;

/// What to analyse.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Recordings (WAV, Ogg/Opus), images (JPEG, PNG), folders of images, or `-`.
    pub files: Vec<PathBuf>,
    /// The words of every file, or words alone when there is no file.
    pub text: Option<String>,
    /// What the picture shows, in words of the operator's.
    pub seen: Vec<String>,
    /// A file of words, used instead of the recording's sidecar.
    pub words: Option<PathBuf>,
    /// Which channel of a recording with several is heard.
    pub channel: Channel,
    /// What was said before, oldest first.
    pub history: Vec<String>,
    /// Which bundles and tasks answer, and how.
    pub session: session::Options,
    /// Where to draw what was seen in the one image.
    pub annotate: Option<PathBuf>,
}

/// The session, and where its answers go.
struct Analysis<'a> {
    options: &'a Options,
    session: Session,
    sink: &'a mut dyn Sink,
}

impl Analysis<'_> {
    /// Another file: the dialogue before is forgotten but for what was given.
    fn restart(&mut self) {
        self.session.restart();
        for utterance in &self.options.history {
            self.session.remember(utterance);
        }
    }

    /// Answers, and tells whether anything was recognised.
    fn observe(&mut self, observed: &Observation<'_>) -> Result<bool, Error> {
        let events = self.session.observe(observed)?;
        for event in &events {
            self.sink.event(event).map_err(Error::Output)?;
        }
        if let (Some(path), Some(scene)) = (&self.options.annotate, &observed.scene) {
            let page = Page {
                picture: scene.image,
                words: observed.words.unwrap_or_default(),
                events: &events,
            };
            annotate::annotate(path, &page)?;
        }
        Ok(!events.is_empty())
    }

    fn pair(&mut self, source: &str, pair: &Pair, now: f64) -> Result<bool, Error> {
        self.observe(&Observation {
            source,
            at: Some(Duration::from_secs_f64(now.max(0.0))),
            utterance: pair.utterance.as_ref(),
            words: pair.text.as_deref(),
            ..Observation::default()
        })
    }
}

/// Answers about every file, in order. A file that cannot be read is reported and the
/// others still are answered. `Ok(false)` when nothing was recognised.
///
/// # Errors
/// Files that failed, each of which has been reported; a bundle that is refused; an output that
/// cannot be written.
pub fn analyze(options: &Options, sink: &mut dyn Sink) -> Result<bool, Error> {
    if let Some(path) = &options.annotate {
        annotate::check(path)?;
        if options.files.len() != 1 || options.files[0].is_dir() {
            let what = "--annotate draws one image; name one FILE";
            return Err(Error::Usage(what.into()));
        }
    }
    let session = Session::open(session::Options {
        evidence: options.annotate.is_some(),
        // whoever passed the words knows them
        entity_words: true,
        ..options.session.clone()
    })?;
    let mut analysis = Analysis {
        options,
        session,
        sink,
    };
    if options.files.is_empty() {
        return words_alone(&mut analysis);
    }
    files::each(&options.files, |file| {
        analysis.restart();
        file_events(file, &mut analysis)
    })
}

fn words_alone(analysis: &mut Analysis<'_>) -> Result<bool, Error> {
    if !analysis.session.listens() {
        let tasks = analysis.session.tasks().join(", ");
        return Err(Error::Usage(format!(
            "{tasks} is seen in images; name a FILE"
        )));
    }
    analysis.restart();
    let words = analysis.options.text.as_deref().unwrap_or_default();
    let seen = analysis.options.seen.clone();
    let recognised = analysis.observe(&Observation::of_words("text", words).with_seen(&seen))?;
    if !recognised {
        log::warn!("the text holds no word that a model knows; nothing to answer");
    }
    Ok(recognised)
}

fn file_events(file: &Path, analysis: &mut Analysis<'_>) -> Result<bool, Error> {
    let name = file
        .file_name()
        .unwrap_or(file.as_os_str())
        .to_string_lossy()
        .into_owned();
    let opened = open_either(file, analysis.options.channel)?;
    let path = file.display();
    match opened {
        Either::Pictures(source) => image_events(source, &name, analysis),
        Either::Sound(_) if analysis.options.annotate.is_some() => Err(Error::Usage(format!(
            "--annotate draws images, and {path} is none"
        ))),
        Either::Sound(_) if !analysis.session.listens() => {
            let tasks = analysis.session.tasks().join(", ");
            Err(Error::Usage(format!(
                "{tasks} is seen in images, and {path} is a recording"
            )))
        }
        Either::Sound(source) => sound_events(file, source, &name, analysis),
    }
}

/// Every image of a file, folder or pipe.
fn image_events(
    mut source: ImageSource,
    name: &str,
    analysis: &mut Analysis<'_>,
) -> Result<bool, Error> {
    let (mut recognised, mut failure) = (false, None);
    while let Some(frame) = wait(&mut source)? {
        let start = Instant::now();
        match frame.decode() {
            Ok(image) => {
                let decode = start.elapsed().as_secs_f64() * 1e3;
                let of = Path::new(&*frame.name).file_name();
                let name = of.map_or(name.into(), |n| n.to_string_lossy());
                // no photograph of a folder shows what another one does
                analysis.restart();
                recognised |= analysis.observe(&Observation {
                    source: &name,
                    words: analysis.options.text.as_deref(),
                    scene: Some(Scene {
                        source: &name,
                        image: &image,
                        decode: Some(decode),
                    }),
                    seen: &analysis.options.seen,
                    ..Observation::default()
                })?;
            }
            // the others of a folder are still looked at
            Err(error) => {
                if let Some(earlier) = failure.replace(error) {
                    log::warn!("{earlier}");
                }
            }
        }
    }
    for warning in source.report().warnings {
        log::warn!("{warning}");
    }
    if !recognised && failure.is_none() {
        log::warn!("{name}: no face found, and nothing else was asked for");
    }
    failure.map_or(Ok(recognised), |e| Err(e.into()))
}

fn sound_events(
    file: &Path,
    mut source: Box<dyn AudioSource>,
    name: &str,
    analysis: &mut Analysis<'_>,
) -> Result<bool, Error> {
    let lines = words_of(file, analysis.options)?;
    let timed = lines.iter().any(|line| line.start.is_some());
    let recognised = if lines.is_empty() || timed {
        utterances(source.as_mut(), lines, |pair, now| {
            analysis.pair(name, pair, now)
        })?
    } else {
        let lines: Vec<String> = lines.into_iter().map(|l| l.text).collect();
        let pair = Pair {
            utterance: whole(file, source.as_mut())?,
            text: Some(lines.join(" ")),
        };
        analysis.pair(name, &pair, 0.0)?
    };
    for warning in source.report().warnings {
        log::warn!("{warning}");
    }
    if !recognised {
        log::warn!("{name}: no speech found and no words given; nothing to answer");
    }
    Ok(recognised)
}

/// `--text`, then `--words`, then the recording's [`sidecar`].
fn words_of(file: &Path, options: &Options) -> Result<Vec<TextLine>, Error> {
    if let Some(text) = &options.text {
        return Ok(vec![TextLine {
            start: None,
            end: None,
            text: text.clone(),
        }]);
    }
    match options.words.clone().or_else(|| sidecar(file)) {
        Some(path) => Ok(read_text(&path)?),
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
                for utterance in segmenter.push(&chunk) {
                    pairing.utterance(utterance);
                }
            }
            None => {
                ended = true;
                if let Some(utterance) = segmenter.finish() {
                    pairing.utterance(utterance);
                }
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
