//! `demeanor run`: listens and looks, and answers as people speak.
//!
//! One thread polls the sources and cuts utterances; one infers and writes. Nothing is
//! opened before the config's notice was read and the capture was announced.

mod align;
mod audio;
mod calibrating;
mod capture;
mod drift;
mod gate;
mod outputs;
mod own;
mod reporter;
mod signals;
mod sources;
mod supervisor;
mod switch;
mod video;
mod worker;

use super::queue::Queue;
use crate::Error;
use crate::board;
use crate::board::thermal::Condition;
use crate::capture::camera::CameraSpec;
use crate::config::calibration::{Calibration, Usual};
use crate::config::outputs::Aggregate;
use crate::config::{Config, Setting};
use crate::event::State;
use crate::service::audit::Record;
use crate::service::health::Health;
use crate::service::latches::Remote;
use crate::service::ledger::Ledger;
use crate::service::metrics::{Machine, Metrics};
use crate::service::progress::{Progress, Stage};
use crate::service::voice::VoiceActivity;
use crate::session::{self, Background, Tasks};
use crate::sink::Fanout;
pub(crate) use calibrating::Calibrating;
use capture::Capture;
use gate::CaptureGate;
pub(crate) use gate::line;
use outputs::{About, Outputs};
use own::OwnVoice;
use reporter::StatusReporter;
use sha2::{Digest, Sha256};
use signals::Signals;
pub(crate) use sources::{Sound, Sources, sources};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use supervisor::{Grace, Outcome, Supervisor};
use switch::Switch;
use worker::{Work, Worker};

/// Unanswered utterances kept before a live source drops the oldest; pictures likewise.
const QUEUE: usize = 4;
/// What was left out is told at most this often.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Time for the last sentence, where nobody reads standard error.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Exit code after a second signal.
const INTERRUPTED: i32 = 130;

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
    /// Sound that is taken for no speech is judged all the same.
    pub all_sounds: bool,
    /// Overrides the config's recogniser.
    pub recogniser: Option<PathBuf>,
    /// Workers of the kernels; one when `None`.
    pub threads: Option<usize>,
}

/// Runs until the sources end or a signal asks to stop. `Ok(false)` when nothing was
/// recognised. A second signal ends the process.
///
/// # Errors
/// A config without notice, a source that fails for good, a bundle that is refused, an
/// output that went away, or a part that does not come to its end.
pub fn run(options: &Options, sink: Fanout) -> Result<bool, Error> {
    run_for(options, sink, None)
}

/// The same without an answer: what there is to hear and see is counted as background, and
/// `[calibration]` is written into the config.
///
/// # Errors
/// As [`run`]; a config that cannot be written.
pub(super) fn calibrate(
    options: &Options,
    sink: Fanout,
    calibrating: &Arc<Calibrating>,
) -> Result<bool, Error> {
    run_for(options, sink, Some(calibrating))
}

fn run_for(
    options: &Options,
    sink: Fanout,
    calibrating: Option<&Arc<Calibrating>>,
) -> Result<bool, Error> {
    let config = Config::read(&options.config)?;
    let profile = board::choose(options.board.as_deref())?;
    let sources = sources(options, &config, &profile)?;
    let remote = Arc::new(Remote::default());
    let pressed = signals::press_flag();
    let gate = CaptureGate::open(&config, &profile, pressed, Arc::clone(&remote))?;
    let outputs = Outputs::open(&config)?;
    let ignored = config.audio.ignore_while.as_ref();
    let own = OwnVoice::open(ignored.filter(|_| sources.sound != Sound::None))?;
    let camera = sources.camera != CameraSpec::None;
    let mut worker = Worker::load(
        session::Options {
            models: options.models.clone(),
            tasks: options
                .tasks
                .clone()
                .or_else(|| config.decision.tasks.clone()),
            smooth: config.decision.smooth,
            unsure_below: config.decision.unsure_below,
            explain: options.explain || config.decision.explain,
            forget: config.text.forget,
            voice: config.notice.setting.allows_biometrics(),
            all_sounds: options.all_sounds,
            entity_words: config.entities.words,
            recogniser: options
                .recogniser
                .clone()
                .or_else(|| config.text.recogniser.clone()),
            recognised_words: config.text.in_events,
            bank: config.sarcasm.bank.clone(),
            threads: options.threads.unwrap_or(1),
            background: match calibrating {
                // what is measured is what the bundles' own gates let through
                Some(calibrating) if !calibrating.people => Background::default(),
                _ => background(&config, &sources),
            },
            ..session::Options::default()
        },
        camera,
    )?;
    worker.watches(usual(&config, &sources));
    let ledger = Ledger::open(&config, Instant::now())?;
    let shared = Arc::new(Shared::of(&sources, ledger, remote));
    if let Some(calibrating) = calibrating {
        worker.calibrates(Arc::clone(calibrating));
        let (calibrating, shared) = (Arc::clone(calibrating), Arc::clone(&shared));
        std::thread::spawn(move || calibrating.count(&shared));
    }
    let partial = Some(config.decision.partial);
    // what is measured of a place is utterances
    let partial = partial.filter(|every| *every > 0.0 && calibrating.is_none());
    if let Some(aggregate) = &config.aggregate {
        worker.aggregates(aggregate);
        shared.metrics.withhold();
    }
    let capture = Capture::new(sources.clone(), own, Arc::clone(&shared), partial)?;
    let names = sources.names();
    let signals = Signals::catch();
    let supervisor = Supervisor::new(
        Arc::clone(&shared),
        gate,
        signals,
        names.clone(),
        Grace::default(),
    );
    let about = About {
        board: profile.name.clone(),
        tasks: worker.labels(),
        sees: camera,
        hears: sources.sound != Sound::None && tells_voice(&config, calibrating.is_some()),
        config_sha256: sha256(&options.config),
        bundles: worker.bundles(),
        thermal_zone: profile.thermal_zone.clone(),
    };
    let sink = sink.live(&config.device.name());
    let (mut sink, _file) = outputs.serve(sink, &config, &shared, about)?;
    let (heard, seen) = (sources.sound.name(), sources.camera_name());
    let (microphone, camera_name) = sources.devices();
    let inferring = Arc::clone(&shared);
    let infer = move || worker.work(&inferring, &mut sink, (&heard, &seen));
    let announce = |gate: &mut CaptureGate| announce(&config, &profile.name, &names, gate, &shared);
    let thermal = profile.thermal_zone.clone();
    let machine = move || machine(thermal.as_deref());
    let mut ended = supervisor.watch(announce, machine, move || capture.run(), infer);
    if let (Some(calibrating), Ok(Outcome::Done(_))) = (calibrating, &ended) {
        let now = jiff::Timestamp::now();
        let known = config.calibration.as_ref();
        let before = known
            .filter(|c| c.is_of(&microphone, &camera_name))
            .cloned();
        let before = before.unwrap_or_else(|| Calibration::unknown(&microphone, &camera_name, now));
        ended = conclude(
            &options.config,
            calibrating.outcome(before, now),
            calibrating,
        );
    }
    let code = match &ended {
        Ok(Outcome::Done(recognised)) => i32::from(!recognised),
        Ok(Outcome::Interrupted) => std::process::exit(INTERRUPTED),
        Err(error) if error.is_broken_pipe() => 0,
        Err(_) => 2,
    };
    // what is said from here on goes to standard error, and nobody may read that either
    std::thread::spawn(move || {
        std::thread::sleep(LAST_WORDS);
        std::process::exit(code)
    });
    for line in shared.status.ledger.unwritten().lines() {
        // the last place left: the journal
        log::warn!("not in the audit log: {line}");
    }
    ended.map(|outcome| matches!(outcome, Outcome::Done(true)))
}

/// Whether it may be told while somebody speaks: not where voices are not judged, nor while the
/// place is measured.
fn tells_voice(config: &Config, is_calibrating: bool) -> bool {
    config.notice.setting.allows_biometrics() && !is_calibrating
}

/// SHA-256 of a file, so that a fleet shows whose config is another one; empty when it is gone.
fn sha256(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes what a calibration measured.
fn conclude(
    config: &Path,
    made: Option<Calibration>,
    calibrating: &Calibrating,
) -> Result<Outcome, Error> {
    let Some(made) = made else {
        let what = match calibrating.people {
            true => {
                "fewer than 100 answers were given, which tell no range; let people use it for longer, the config stays as it is"
            }
            false => {
                "nothing was listened to or looked at for as long as a second; the config stays as it is"
            }
        };
        return Err(Error::Unfit(what.into()));
    };
    super::calibrate::write(config, &made, calibrating.people)?;
    Ok(Outcome::Done(true))
}

/// What the config says of the place, as far as it holds for these sources.
fn background(config: &Config, sources: &Sources) -> Background {
    let Some(calibration) = &config.calibration else {
        return Background::default();
    };
    let (microphone, camera) = sources.devices();
    for fault in calibration.faults(&microphone, &camera, jiff::Timestamp::now()) {
        log::warn!("{fault}");
    }
    calibration.background(&microphone, &camera)
}

/// What was usual here, as far as it was measured with these sources.
fn usual(config: &Config, sources: &Sources) -> Vec<Usual> {
    let (microphone, camera) = sources.devices();
    let made = config.calibration.as_ref();
    made.map_or(Vec::new(), |made| made.usual(&microphone, &camera))
}

/// What the threads have in common.
struct Shared {
    switch: Arc<Switch>,
    queue: Arc<Queue<Work>>,
    status: StatusReporter,
    progress: Progress,
    metrics: Metrics,
    writing: Writing,
    /// The latch of those who are far away.
    remote: Arc<Remote>,
    /// Whether somebody speaks now.
    activity: VoiceActivity,
    health: Health,
    /// Every source is open.
    is_ready: AtomicBool,
}

impl Shared {
    fn of(sources: &Sources, ledger: Ledger, remote: Arc<Remote>) -> Shared {
        let sound = (sources.sound != Sound::None).then_some(Stage::Sound);
        let camera = (sources.camera != CameraSpec::None).then_some(Stage::Camera);
        let always = [Stage::Poll, Stage::Worker];
        let queue = Arc::new(Queue::new(QUEUE));
        Shared {
            switch: Switch::new(),
            status: StatusReporter::new(Arc::clone(&queue), ledger),
            queue,
            progress: Progress::new(always.into_iter().chain(sound).chain(camera)),
            metrics: Metrics::new(Instant::now()),
            writing: Writing::default(),
            remote,
            activity: VoiceActivity::default(),
            health: Health::new(Instant::now()),
            is_ready: AtomicBool::new(false),
        }
    }
}

/// Since when the output has been taking what is written now.
#[derive(Default)]
struct Writing(Mutex<Option<Instant>>);

impl Writing {
    fn begin(&self) {
        self.set(Some(Instant::now()));
    }

    fn end(&self) {
        self.set(None);
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// `None` while nothing is being written.
    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has notice, log, lamp and announcement told; nothing is read before that is done.
fn announce(
    config: &Config,
    board: &str,
    names: &[String],
    gate: &mut CaptureGate,
    shared: &Shared,
) -> Result<(), Error> {
    let (notice, status) = (&config.notice, &shared.status);
    status.record(Record::Start {
        version: env!("CARGO_PKG_VERSION"),
        board,
    });
    status.record(Record::Notice {
        setting: notice.setting.name(),
        purpose: &notice.purpose,
    });
    if let Some(Aggregate { minutes, at_least }) = config.aggregate {
        status.record(Record::Aggregate { minutes, at_least });
    }
    status.say("notice", state_of(notice.setting), &*notice.purpose);
    gate.light(Instant::now())?;
    let (lamp, state) = match gate.is_muted() {
        true => (State::Blinking, State::Muted),
        false => (State::On, State::Capturing),
    };
    if gate.has_lamp() {
        status.say("indicator", lamp, "");
    }
    for name in names {
        status.source(name, state, "");
    }
    if gate.is_muted() {
        shared.metrics.mute(true);
        status.record(Record::Mute { by: "start" });
    }
    Ok(())
}

/// What the machine is like, for the metrics.
fn machine(thermal_zone: Option<&str>) -> Machine {
    let condition = Condition::read(thermal_zone);
    Machine {
        temperature: condition.temperature,
        throttled: condition.throttled(),
        ..Machine::of_process()
    }
}

/// What the notice is said to be.
fn state_of(setting: Setting) -> State {
    match setting {
        Setting::Public => State::Public,
        Setting::Research => State::Research,
        Setting::Medical => State::Medical,
        Setting::Safety => State::Safety,
        Setting::Workplace => State::Workplace,
        Setting::Education => State::Education,
    }
}
