//! `demeanor run`: listens, and answers as people speak.
//!
//! One thread polls the sources and cuts utterances; one infers and writes. Nothing is
//! opened before the config's notice was read and the capture was announced.

use super::analyze::{segmenter, wait};
use super::answer::{Answerer, Manner};
use super::queue::{Job, Queue};
use crate::Error;
use crate::board;
use crate::capture::mic::{Mic, MicState};
use crate::capture::text::{TextLine, open_text};
use crate::capture::{AudioChunk, AudioSource, CaptureError, Source, open_audio};
use crate::config::{Config, TextSource};
use crate::signal::duration_of;
use crate::signal::segment::Segmenter;
use crate::sink::Sink;
use crate::tasks::pair::{Pair, Pairing};
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Unanswered utterances kept before a live source drops the oldest.
const QUEUE: usize = 4;
/// Pause between two polls that found nothing.
const IDLE: Duration = Duration::from_millis(10);

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The TOML file with the notice.
    pub config: PathBuf,
    /// Overrides the config's source.
    pub audio: Option<String>,
    /// Words come from standard input, whatever the config says.
    pub text_stdin: bool,
    /// Board profile; `host` when `None`.
    pub board: Option<String>,
    /// Overrides the config's `explain`.
    pub explain: bool,
    /// Bundle folder; the embedded one when `None`.
    pub models: Option<PathBuf>,
    /// Workers of the kernels; one when `None`.
    pub threads: Option<usize>,
}

/// Where the sound comes from, decided before anything is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sound {
    Device(String),
    File(PathBuf),
    None,
}

/// An answer to be given: sound and words, and the stream time they were complete.
type Work = (Pair, f64);

/// Runs until the sources end or a signal asks to stop. `Ok(false)` when nothing was
/// recognised.
///
/// # Errors
/// A config without notice, a source that fails for good, a bundle that is refused, or an
/// output that went away.
pub fn run<W: Write + Send>(options: &Options, mut sink: Sink<W>) -> Result<bool, Error> {
    let config = Config::read(&options.config)?;
    crate::kernels::set_threads(options.threads.unwrap_or(1));
    let voice = config.notice.setting.allows_voice();
    let sound = if voice {
        sound(options, &config)?
    } else {
        Sound::None
    };
    let words = options.text_stdin || config.text.source == TextSource::Stdin;
    check_sources(&sound, words, voice)?;
    let manner = Manner {
        smooth: config.decision.smooth,
        unsure_below: config.decision.unsure_below,
        explain: options.explain || config.decision.explain,
        forget: config.text.forget,
        voice,
    };
    let mut answerer = Answerer::load(options.models.as_deref(), manner)?;
    let stop = stop_flag();
    let notice = &config.notice;
    sink.state("notice", notice.setting.name(), &notice.purpose)
        .map_err(Error::Output)?;
    // the announcement is out before the first sample is read, or nothing is read
    sink.state(&name(&sound), "capturing", "")
        .map_err(Error::Output)?;
    let queue = Queue::new(QUEUE);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let answered = work(&queue, &mut answerer, &mut sink, &name(&sound));
            queue.close();
            answered
        });
        let polled =
            Poller::open(&sound, words, config.text.wait).and_then(|mut p| p.poll(&queue, &stop));
        queue.close();
        let answered = worker.join().unwrap_or(Ok(false));
        // a closed output explains why polling stopped, so it is told first
        answered.and_then(|recognised| polled.map(|()| recognised))
    })
}

fn sound(options: &Options, config: &Config) -> Result<Sound, Error> {
    let board = options.board.as_deref().unwrap_or("host");
    let profile = board::by_name(board).ok_or_else(|| {
        let known: Vec<String> = board::all().map(|b| b.name).collect();
        Error::Usage(format!(
            "--board {board}: no such board; known are {}",
            known.join(", ")
        ))
    })?;
    let source = options
        .audio
        .clone()
        .or_else(|| config.audio.source.clone());
    let source = source.unwrap_or(profile.audio_device);
    Ok(match source.as_str() {
        "none" => Sound::None,
        "-" => Sound::File("-".into()),
        path if Path::new(path).is_file() => Sound::File(path.into()),
        path if path.ends_with(".wav") || path.ends_with(".ogg") || path.ends_with(".opus") => {
            Sound::File(path.into())
        }
        device => Sound::Device(device.into()),
    })
}

fn check_sources(sound: &Sound, words: bool, voice: bool) -> Result<(), Error> {
    if words && *sound == Sound::File("-".into()) {
        return Err(Error::Usage(
            "sound and words cannot both come from standard input".into(),
        ));
    }
    match (sound, words, voice) {
        (Sound::None, false, true) => {
            Err(Error::Usage("nothing to do: neither sound nor words; give --audio or --text-stdin".into()))
        }
        (Sound::None, false, false) => Err(Error::Usage(
            "at work and at school emotion is not read from the voice, and no words come in; give --text-stdin".into(),
        )),
        _ => Ok(()),
    }
}

fn live(sound: &Sound) -> bool {
    matches!(sound, Sound::Device(_))
}

fn name(sound: &Sound) -> String {
    match sound {
        Sound::Device(device) => device.clone(),
        Sound::File(path) => path.display().to_string(),
        Sound::None => "text".into(),
    }
}

/// Raised by SIGINT and SIGTERM, so that what was heard is still answered.
fn stop_flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // a second signal ends the process at once
        let registered =
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)));
        if let Err(e) = registered {
            log::warn!("signal {signal} cannot be caught ({e}); it ends the process at once");
        }
    }
    stop
}

/// The inferring side: answers until the queue is closed and empty.
fn work<W: Write>(
    queue: &Queue<Work>,
    answerer: &mut Answerer,
    sink: &mut Sink<W>,
    source: &str,
) -> Result<bool, Error> {
    let mut recognised = false;
    while let Some(job) = queue.pop() {
        match job {
            Job::State {
                source,
                state,
                detail,
            } => {
                sink.state(&source, state, &detail).map_err(Error::Output)?;
            }
            Job::Answer((pair, now)) => {
                if let Some(event) = answerer.answer(source, &pair, now)? {
                    sink.event(&event).map_err(Error::Output)?;
                    recognised = true;
                }
            }
        }
    }
    Ok(recognised)
}

/// An open source of sound.
enum Audio {
    Live(Box<Mic>, MicState),
    File(Box<dyn AudioSource>),
}

impl Audio {
    fn open(sound: &Sound) -> Result<Option<Audio>, CaptureError> {
        Ok(match sound {
            Sound::Device(name) => {
                // `default` is the host's choice, no device of that name
                let mic = Mic::open(Some(name.as_str()).filter(|n| *n != "default"))?;
                let state = mic.state().clone();
                Some(Audio::Live(Box::new(mic), state))
            }
            Sound::File(path) => Some(Audio::File(open_audio(path)?)),
            Sound::None => None,
        })
    }

    fn poll(&mut self) -> nb::Result<Option<AudioChunk>, CaptureError> {
        match self {
            Audio::Live(mic, _) => mic.poll(),
            Audio::File(file) => file.poll(),
        }
    }

    /// The microphone's state in words, when it is another than last time.
    fn change(&mut self) -> Option<(&'static str, String)> {
        let Audio::Live(mic, last) = self else {
            return None;
        };
        if mic.state() == last {
            return None;
        }
        *last = mic.state().clone();
        Some(match last {
            MicState::Listening => ("listening", lost(mic)),
            MicState::Paused => ("muted", String::new()),
            MicState::Waiting { reason, retry_in } => (
                "lost",
                format!("{reason}; trying again in {:.1} s", retry_in.as_secs_f64()),
            ),
            _ => ("failed", String::new()),
        })
    }
}

/// What a microphone has lost so far, in words; empty when nothing.
fn lost(mic: &Mic) -> String {
    let counters = mic.counters();
    if counters == Default::default() {
        return String::new();
    }
    format!(
        "so far {} overruns, {} dropped frames, opened again {} times",
        counters.xruns, counters.dropped_frames, counters.reopened
    )
}

/// The polling side.
struct Poller {
    audio: Option<Audio>,
    text: Option<Box<dyn Source<Item = TextLine> + Send>>,
    /// Words for sound that does not wait for them: all of them, read beforehand.
    script: VecDeque<TextLine>,
    name: String,
    live: bool,
    segmenter: Segmenter,
    pairing: Pairing,
    heard: f64,
    opened: Instant,
}

impl Poller {
    fn open(sound: &Sound, words: bool, patience: f64) -> Result<Poller, Error> {
        let audio = Audio::open(sound)?;
        let mut text = if words {
            Some(open_text(Path::new("-"))?)
        } else {
            None
        };
        let mut script = VecDeque::new();
        // a recording plays faster than anyone types, so its words are read first
        if let (Some(Audio::File(_)), Some(mut lines)) =
            (&audio, text.take_if(|_| matches!(sound, Sound::File(_))))
        {
            while let Some(line) = wait(lines.as_mut())? {
                script.push_back(line);
            }
        }
        Ok(Poller {
            live: live(sound),
            script,
            name: name(sound),
            audio,
            text,
            segmenter: segmenter()?,
            pairing: Pairing::new(patience),
            heard: 0.0,
            opened: Instant::now(),
        })
    }

    /// Polls until every source has ended, `stop` is raised, or the other side is gone.
    fn poll(&mut self, queue: &Queue<Work>, stop: &AtomicBool) -> Result<(), Error> {
        let mut failure = None;
        while !stop.load(Ordering::Relaxed) && (self.audio.is_some() || self.text.is_some()) {
            let heard = self.poll_audio(queue).unwrap_or_else(|e| {
                // what was heard before the source failed is still answered
                failure = Some(e);
                self.audio = None;
                self.text = None;
                true
            });
            let read = self.poll_text()?;
            if !self.hand_over(queue, false) {
                return Ok(());
            }
            // a live source sets the pace; words alone end with their stream
            if self.audio.is_none() && self.text.is_none() {
                break;
            }
            if !heard && !read {
                std::thread::sleep(IDLE);
            }
        }
        self.segmenter
            .finish()
            .into_iter()
            .for_each(|u| self.pairing.utterance(u));
        self.hand_over(queue, true);
        failure.map_or(Ok(()), |e| Err(e.into()))
    }

    /// Stream time: what was heard, or the clock when there is no sound.
    fn now(&self) -> f64 {
        if self.audio.is_some() || self.heard > 0.0 {
            self.heard
        } else {
            self.opened.elapsed().as_secs_f64()
        }
    }

    /// `Ok(true)` when there was something.
    fn poll_audio(&mut self, queue: &Queue<Work>) -> Result<bool, CaptureError> {
        let Some(audio) = self.audio.as_mut() else {
            return Ok(false);
        };
        let polled = audio.poll();
        if let Some((state, detail)) = audio.change() {
            // a closed queue is noticed where the answers go
            let _ = queue.push(
                Job::State {
                    source: self.name.clone(),
                    state,
                    detail,
                },
                self.live,
            );
        }
        match polled {
            Ok(Some(chunk)) => {
                self.heard = (chunk.start + duration_of(chunk.samples.len() as u64)).as_secs_f64();
                self.segmenter
                    .push(&chunk)
                    .into_iter()
                    .for_each(|u| self.pairing.utterance(u));
                Ok(true)
            }
            Ok(None) => {
                self.audio = None;
                Ok(true)
            }
            Err(nb::Error::WouldBlock) => Ok(false),
            Err(nb::Error::Other(e)) => Err(e),
        }
    }

    fn poll_text(&mut self) -> Result<bool, Error> {
        let Some(text) = self.text.as_mut() else {
            return Ok(false);
        };
        match text.poll() {
            Ok(Some(line)) => {
                let now = self.now();
                self.pairing.line(line, now);
                Ok(true)
            }
            Ok(None) => {
                self.text = None;
                Ok(true)
            }
            Err(nb::Error::WouldBlock) => Ok(false),
            Err(nb::Error::Other(e)) => Err(e.into()),
        }
    }

    /// Queues every pair that is complete; `false` when the other side is gone.
    fn hand_over(&mut self, queue: &Queue<Work>, ended: bool) -> bool {
        let now = self.now();
        let due = |line: &TextLine| ended || line.start.is_none_or(|t| t.as_secs_f64() <= now);
        while self.script.front().is_some_and(due) {
            self.script
                .pop_front()
                .into_iter()
                .for_each(|line| self.pairing.line(line, now));
        }
        while let Some(pair) = self.pairing.next(now, self.segmenter.is_speaking(), ended) {
            match queue.push(Job::Answer((pair, now)), self.live) {
                Err(_) => return false,
                Ok(None) => {}
                Ok(Some(_)) => {
                    let detail = "answers take longer than people speak: the oldest utterance was not judged";
                    let job = Job::State {
                        source: self.name.clone(),
                        state: "skipped",
                        detail: detail.into(),
                    };
                    let _ = queue.push(job, self.live);
                }
            }
        }
        true
    }
}
