//! `demeanor analyze`: what recordings, pictures and words express.

use super::annotate::{self, Page};
use super::answer::{Answerer, Manner, Tasks};
use super::pictures::{Look, Pictures};
use crate::Error;
use crate::capture::camera::FrameSource;
use crate::capture::either::{Either, open_either};
use crate::capture::images::ImageSource;
use crate::capture::text::{TextLine, read_text, sidecar};
use crate::capture::{AudioSource, CaptureError, Channel, Source};
use crate::event::Event;
use crate::signal::segment::{self, SegmentConfig, Segmenter, Utterance};
use crate::signal::{SAMPLE_RATE, duration_of};
use crate::sink::Sink;
use crate::tasks::pair::{Pair, Pairing};
use crate::vision::Picture;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Words for a whole file make it one utterance; longer files need words with times.
const MAX_WHOLE: usize = 120 * SAMPLE_RATE as usize;

/// What to analyse.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Recordings (WAV, Ogg/Opus), pictures (JPEG, PNG), folders of pictures, or `-`.
    pub files: Vec<PathBuf>,
    /// The words of every file, or words alone when there is no file.
    pub text: Option<String>,
    /// A file of words, used instead of the recording's sidecar.
    pub words: Option<PathBuf>,
    /// Which channel of a recording with several is heard.
    pub channel: Channel,
    /// What was said before, oldest first.
    pub history: Vec<String>,
    /// Bundle folder; the embedded one when `None`.
    pub models: Option<PathBuf>,
    /// Which tasks; emotion of sound and words, and all of pictures, when `None`.
    pub tasks: Option<Tasks>,
    /// How answers are to be given.
    pub manner: Manner,
    /// Workers of the kernels; one when `None`.
    pub threads: Option<usize>,
    /// Where to draw what was seen in the one picture.
    pub annotate: Option<PathBuf>,
}

/// The models, loaded when the first file asks for them.
struct Tools<'a> {
    options: &'a Options,
    answerer: Option<Answerer>,
    pictures: Option<Pictures>,
}

impl<'a> Tools<'a> {
    fn new(options: &'a Options) -> Self {
        Tools {
            options,
            answerer: None,
            pictures: None,
        }
    }

    /// What is asked of sound and words: emotion, unless tasks were named.
    fn of_words(&self) -> Tasks {
        self.options.tasks.unwrap_or(Tasks::EMOTION)
    }

    /// What is asked of pictures: everything, unless tasks were named.
    fn of_pictures(&self) -> Tasks {
        self.options.tasks.unwrap_or(Tasks::ALL)
    }

    fn answerer(&mut self) -> Result<&mut Answerer, Error> {
        let (models, manner) = (self.options.models.as_deref(), &self.options.manner);
        loaded(&mut self.answerer, || {
            Answerer::load(models, manner.clone())
        })
    }

    fn pictures(&mut self) -> Result<&mut Pictures, Error> {
        let tasks = self.of_pictures();
        if tasks.emotion {
            self.answerer()?;
        }
        let trunk = self.answerer.as_ref().map(Answerer::text);
        let (models, manner) = (self.options.models.as_deref(), &self.options.manner);
        loaded(&mut self.pictures, || {
            Pictures::load(models, manner, tasks, trunk)
        })
    }

    /// Another file: the dialogue before is forgotten but for what was given.
    fn restart(&mut self) {
        if let Some(answerer) = &mut self.answerer {
            answerer.restart();
        }
        if let Some(pictures) = &mut self.pictures {
            pictures.restart();
        }
    }

    /// Answers about sound and words, whatever was asked of them.
    fn answer<W: Write>(
        &mut self,
        sink: &mut Sink<W>,
        source: &str,
        pair: &Pair,
        now: f64,
    ) -> Result<bool, Error> {
        let mut any = false;
        if self.of_words().emotion
            && let Some(event) = self.answerer()?.answer(source, pair, now, None)?
        {
            sink.event(&event).map_err(Error::Output)?;
            any = true;
        }
        let words = pair.text.as_deref().filter(|_| self.of_words().sentiment);
        if let Some(words) = words
            && let Some(felt) = self
                .pictures()?
                .sentiment(source, None, Some(words), None)?
        {
            sink.event(&felt.event).map_err(Error::Output)?;
            any = true;
        }
        Ok(any)
    }

    /// Answers about a picture, and draws them if that was asked for.
    fn look<W: Write>(
        &mut self,
        sink: &mut Sink<W>,
        source: &str,
        picture: &Picture,
        decode: f64,
    ) -> Result<bool, Error> {
        let words = self.options.text.as_deref();
        let pictures = self.pictures()?;
        let felt = pictures.sentiment(source, Some((picture, decode)), words, None)?;
        let look = pictures.look(source, picture, decode, None)?;
        let emotion = self.emotion(source, words, &look)?;
        let (tokens, attention, felt) = match felt {
            Some(felt) => (felt.tokens, felt.attention, Some(felt.event)),
            None => (Vec::new(), None, None),
        };
        let events: Vec<Event> = felt.into_iter().chain(look.events).chain(emotion).collect();
        for event in &events {
            sink.event(event).map_err(Error::Output)?;
        }
        if let Some(path) = &self.options.annotate {
            let page = Page {
                picture,
                words: words.unwrap_or_default(),
                tokens: &tokens,
                attention: attention.as_ref(),
                events: &events,
            };
            annotate::annotate(path, &page)?;
        }
        Ok(!events.is_empty())
    }

    /// Emotion from the words and the nearest face.
    fn emotion(
        &mut self,
        source: &str,
        words: Option<&str>,
        look: &Look,
    ) -> Result<Option<Event>, Error> {
        let (Some(answerer), Some(pictures)) = (&mut self.answerer, &self.pictures) else {
            return Ok(None);
        };
        if !self.options.tasks.unwrap_or(Tasks::ALL).emotion {
            return Ok(None);
        }
        let face = look.nearest();
        let share = face.and_then(|f| pictures.as_emotion(f, answerer.labels()));
        let pair = Pair {
            utterance: None,
            text: words.map(String::from),
        };
        let event = answerer.answer(source, &pair, 0.0, share.as_deref())?;
        Ok(event.map(|event| Event {
            face: face.map(|f| f.face).filter(|_| event.modality.face),
            ..event
        }))
    }
}

/// What is there, or made now.
fn loaded<T>(
    place: &mut Option<T>,
    load: impl FnOnce() -> Result<T, Error>,
) -> Result<&mut T, Error> {
    let made = match place.take() {
        Some(there) => there,
        None => load()?,
    };
    Ok(place.insert(made))
}

/// Answers about every file, in order. A file that cannot be read is reported and the
/// others still are answered. `Ok(false)` when nothing was recognised.
///
/// # Errors
/// The first file's error when files failed; the output's; a bundle that is refused.
pub fn analyze<W: Write>(options: &Options, sink: &mut Sink<W>) -> Result<bool, Error> {
    crate::kernels::set_threads(options.threads.unwrap_or(1));
    check(options)?;
    let mut tools = Tools::new(options);
    if options.files.is_empty() {
        recall(&mut tools)?;
        let pair = Pair {
            utterance: None,
            text: options.text.clone(),
        };
        return tools.answer(sink, "text", &pair, 0.0);
    }
    let (mut recognised, mut failure) = (false, None);
    for file in &options.files {
        tools.restart();
        match file_events(file, &mut tools, sink) {
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

/// What cannot be done is said before a model is loaded.
fn check(options: &Options) -> Result<(), Error> {
    let usage = |what: &str| Err(Error::Usage(what.into()));
    if let Some(path) = &options.annotate {
        annotate::check(path)?;
        if options.files.len() != 1 || options.files[0].is_dir() {
            return usage("--annotate draws one picture; name one FILE");
        }
    }
    let faces_only = options.tasks == Some(Tasks::EXPRESSIONS);
    if faces_only && options.files.is_empty() {
        return usage("expressions are seen in pictures; name a FILE");
    }
    Ok(())
}

/// What was said before goes into the dialogue.
fn recall(tools: &mut Tools<'_>) -> Result<(), Error> {
    if tools.options.history.is_empty() {
        return Ok(());
    }
    let history = &tools.options.history;
    let answerer = tools.answerer()?;
    history
        .iter()
        .for_each(|utterance| answerer.remember(utterance, 0.0));
    Ok(())
}

fn file_events<W: Write>(
    file: &Path,
    tools: &mut Tools<'_>,
    sink: &mut Sink<W>,
) -> Result<bool, Error> {
    let name = file
        .file_name()
        .unwrap_or(file.as_os_str())
        .to_string_lossy()
        .into_owned();
    recall(tools)?;
    let opened = open_either(file, tools.options.channel)?;
    let path = file.display();
    let wrong = match &opened {
        Either::Pictures(_) => None,
        Either::Sound(_) if tools.options.annotate.is_some() => {
            Some(format!("--annotate draws pictures, and {path} is none"))
        }
        Either::Sound(_) if tools.of_words() == Tasks::EXPRESSIONS => Some(format!(
            "expressions are seen in pictures, and {path} is a recording"
        )),
        Either::Sound(_) => None,
    };
    match (wrong, opened) {
        (Some(wrong), _) => Err(Error::Usage(wrong)),
        (None, Either::Pictures(source)) => picture_events(source, &name, tools, sink),
        (None, Either::Sound(source)) => sound_events(file, source, &name, tools, sink),
    }
}

/// Every picture of a file, folder or pipe.
fn picture_events<W: Write>(
    mut source: ImageSource,
    name: &str,
    tools: &mut Tools<'_>,
    sink: &mut Sink<W>,
) -> Result<bool, Error> {
    let (mut recognised, mut failure) = (false, None);
    while let Some(frame) = wait(&mut source)? {
        let start = Instant::now();
        match frame.decode() {
            Ok(picture) => {
                let decode = start.elapsed().as_secs_f64() * 1e3;
                let of = Path::new(&*frame.name).file_name();
                let name = of.map_or(name.into(), |n| n.to_string_lossy());
                // no photograph of a folder shows what another one does
                tools.restart();
                recall(tools)?;
                recognised |= tools.look(sink, &name, &picture, decode)?;
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

fn sound_events<W: Write>(
    file: &Path,
    mut source: Box<dyn AudioSource>,
    name: &str,
    tools: &mut Tools<'_>,
    sink: &mut Sink<W>,
) -> Result<bool, Error> {
    let lines = words_of(file, tools.options)?;
    let timed = lines.iter().any(|line| line.start.is_some());
    let recognised = if lines.is_empty() || timed {
        utterances(source.as_mut(), lines, |pair, now| {
            tools.answer(sink, name, pair, now)
        })?
    } else {
        let text = lines
            .into_iter()
            .map(|l| l.text)
            .collect::<Vec<_>>()
            .join(" ");
        let utterance = whole(file, source.as_mut())?;
        let pair = Pair {
            utterance,
            text: Some(text),
        };
        tools.answer(sink, name, &pair, 0.0)?
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
