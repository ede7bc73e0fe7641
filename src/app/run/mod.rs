//! `demeanor run`: listens and looks, and answers as people speak.
//!
//! One thread polls the sources and cuts utterances; one infers and writes. Nothing is
//! opened before the config's notice was read and the capture was announced.

mod ear;
mod eye;
mod guard;
mod herald;
mod poll;
mod worker;

use super::answer::{Manner, Tasks};
use super::queue::Queue;
use crate::Error;
use crate::board;
use crate::board::profile::Profile;
use crate::capture::camera::CameraSpec;
use crate::config::{Camera, Config, Notice, TextSource};
use crate::service::Service;
use crate::service::audit::Record;
use crate::service::metrics::Metrics;
use crate::service::progress::{Progress, Stage};
use crate::sink::Sink;
use guard::Guard;
pub(crate) use guard::line;
use herald::Herald;
use poll::Poller;
pub(crate) use poll::Sources;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Instant;
use worker::{Work, Worker};

/// Unanswered utterances kept before a live source drops the oldest.
const QUEUE: usize = 4;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The TOML file with the notice.
    pub config: PathBuf,
    /// Overrides the config's source.
    pub audio: Option<String>,
    /// Overrides the config's camera: a device, a file or folder of pictures, `-`, `board`, `none`.
    pub camera: Option<String>,
    /// Overrides the config's tasks.
    pub tasks: Option<Tasks>,
    /// Words come from standard input, whatever the config says.
    pub text_stdin: bool,
    /// Board profile; the one that the device tree names when `None`, else `host`.
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
pub(crate) enum Sound {
    Device(String),
    File(PathBuf),
    None,
}

/// Runs until the sources end or a signal asks to stop. `Ok(false)` when nothing was
/// recognised.
///
/// # Errors
/// A config without notice, a source that fails for good, a bundle that is refused, or an
/// output that went away.
pub fn run<W: Write + Send>(options: &Options, mut sink: Sink<W>) -> Result<bool, Error> {
    let config = Config::read(&options.config)?;
    crate::kernels::set_threads(options.threads.unwrap_or(1));
    let profile = board::choose(options.board.as_deref())?;
    let sources = sources(options, &config, &profile)?;
    let mut guard = Guard::open(&config, &profile, press_flag())?;
    let manner = Manner {
        smooth: config.decision.smooth,
        unsure_below: config.decision.unsure_below,
        explain: options.explain || config.decision.explain,
        forget: config.text.forget,
        voice: config.notice.setting.allows_biometrics(),
    };
    let tasks = options.tasks.or(config.decision.tasks);
    let tasks = tasks.unwrap_or(Tasks::ALL);
    let camera = sources.camera != CameraSpec::None;
    let mut worker = Worker::load(options.models.as_deref(), &manner, tasks, camera)?;
    let stop = stop_flag();
    let shared = Shared::of(&sources);
    let now = Instant::now();
    let service = Service::open(&config, &shared.progress, &shared.metrics, now)?;
    let mut herald = Herald::new(&shared.queue, service);
    announce(
        &config.notice,
        &profile,
        &sources,
        &mut guard,
        &mut herald,
        &mut sink,
    )?;
    let (heard, seen) = (name(&sources.sound), camera_name(&sources.camera));
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            let answered = worker.work(&shared, &mut sink, (&heard, &seen));
            shared.queue.close();
            answered
        });
        let poller = Poller::open(&sources, &profile, &shared, herald, guard);
        let polled = poller.and_then(|p| p.poll(&stop));
        shared.queue.close();
        let answered = working.join().unwrap_or(Ok(false));
        // a closed output explains why polling stopped, so it is told first
        answered.and_then(|recognised| polled.map(|()| recognised))
    })
}

/// What the polling and the inferring thread have in common.
struct Shared {
    queue: Queue<Work>,
    /// Looks at the camera that are not answered yet.
    looks: AtomicUsize,
    progress: Progress,
    metrics: Metrics,
}

impl Shared {
    fn of(sources: &Sources) -> Shared {
        let sound = (sources.sound != Sound::None).then_some(Stage::Sound);
        let camera = (sources.camera != CameraSpec::None).then_some(Stage::Camera);
        let always = [Stage::Poll, Stage::Worker];
        Shared {
            queue: Queue::new(QUEUE),
            looks: AtomicUsize::new(0),
            progress: Progress::new(always.into_iter().chain(sound).chain(camera)),
            metrics: Metrics::new(Instant::now()),
        }
    }
}

/// Notice, log, lamp and announcement are out before the first sample is read, or nothing is
/// read.
fn announce<W: Write>(
    notice: &Notice,
    profile: &Profile,
    sources: &Sources,
    guard: &mut Guard,
    herald: &mut Herald<'_>,
    sink: &mut Sink<W>,
) -> Result<(), Error> {
    let setting = notice.setting.name();
    herald.record(Record::Start {
        version: env!("CARGO_PKG_VERSION"),
        board: &profile.name,
    });
    herald.record(Record::Notice {
        setting,
        purpose: &notice.purpose,
    });
    let mut say = |source: &str, state, detail| {
        let said = sink.state(source, state, detail);
        said.map_err(Error::Output)
    };
    say("notice", setting, &notice.purpose)?;
    guard.light(Instant::now())?;
    let (lamp, state) = match guard.is_muted() {
        true => ("blinking", "muted"),
        false => ("on", "capturing"),
    };
    if guard.has_lamp() {
        say("indicator", lamp, "")?;
    }
    for name in sources.names() {
        say(&name, state, "")?;
        herald.record(Record::Source { name: &name, state });
    }
    Ok(())
}

/// Where everything comes from, checked before anything is opened.
pub(crate) fn sources(
    options: &Options,
    config: &Config,
    profile: &Profile,
) -> Result<Sources, Error> {
    let allowed = config.notice.setting.allows_biometrics();
    let (mut from, mut camera) = (Sound::None, CameraSpec::None);
    if allowed {
        camera = match options.camera.as_deref() {
            Some("board") => Camera::of(profile)?.spec(profile)?,
            Some(word) => CameraSpec::parse(word)?,
            None => config.camera.spec(profile)?,
        };
        from = sound(options, config, profile);
    }
    let sources = Sources {
        channel: config.audio.channel(&name(&from), profile),
        sound: from,
        camera,
        every: config.camera.every(profile),
        words: options.text_stdin || config.text.source == TextSource::Stdin,
        patience: config.text.wait,
    };
    check_sources(&sources, allowed)?;
    Ok(sources)
}

fn sound(options: &Options, config: &Config, profile: &Profile) -> Sound {
    let asked = options.audio.as_ref().or(config.audio.source.as_ref());
    let source = asked.unwrap_or(&profile.audio_device);
    match source.as_str() {
        "none" => Sound::None,
        "-" => Sound::File("-".into()),
        path if Path::new(path).is_file() => Sound::File(path.into()),
        path if path.ends_with(".wav") || path.ends_with(".ogg") || path.ends_with(".opus") => {
            Sound::File(path.into())
        }
        device => Sound::Device(device.into()),
    }
}

fn check_sources(sources: &Sources, allowed: bool) -> Result<(), Error> {
    let stdin = Path::new("-");
    let asks = [
        sources.sound == Sound::File(stdin.into()),
        sources.camera == CameraSpec::Pictures(stdin.into()),
        sources.words,
    ];
    if asks.iter().filter(|a| **a).count() > 1 {
        return Err(Error::Usage(
            "only one of sound, pictures and words can come from standard input".into(),
        ));
    }
    if sources.words || sources.sound != Sound::None || sources.camera != CameraSpec::None {
        return Ok(());
    }
    Err(Error::Usage(if allowed {
        "nothing to do: neither sound nor pictures nor words; give --audio, --camera or --text-stdin".into()
    } else {
        "at work and at school emotion is not read from voices and faces, and no words come in; give --text-stdin".into()
    }))
}

fn name(sound: &Sound) -> String {
    match sound {
        Sound::Device(device) => device.clone(),
        Sound::File(path) => path.display().to_string(),
        Sound::None => "text".into(),
    }
}

fn camera_name(camera: &CameraSpec) -> String {
    match camera {
        CameraSpec::Device(path) | CameraSpec::Pictures(path) => path.display().to_string(),
        CameraSpec::Child(command) => command.program().to_owned(),
        CameraSpec::None => "camera".into(),
    }
}

/// Raised by SIGUSR1: a press of the button where there is none.
fn press_flag() -> Arc<AtomicBool> {
    let pressed = Arc::new(AtomicBool::new(false));
    let signal = signal_hook::consts::SIGUSR1;
    if let Err(e) = signal_hook::flag::register(signal, Arc::clone(&pressed)) {
        log::warn!("signal {signal} cannot be caught ({e}); only the button mutes");
    }
    pressed
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
