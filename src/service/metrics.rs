//! Numbers about the program, never about people: how long, how often, how warm.
//!
//! Written in Prometheus' text format for node_exporter's text collector. Answers are counted
//! by task; what they said is in no figure. All names begin with `demeanor_`, since the
//! exporter has `process_` figures of its own.

mod histogram;
mod page;
#[cfg(test)]
mod tests;

use super::outbox::Counts;
use crate::app::bench::machine;
use crate::event::{Event, Latency};
use crate::sink::feed::Feed;
use histogram::Histogram;
pub use page::Page;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// Something that is counted, from the start of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Utterances that were not judged, since answers came too slowly.
    SkippedUtterances,
    /// Looks at the camera that were left out, since answers came too slowly.
    SkippedLooks,
    /// Seconds of sound in which the device itself spoke.
    OwnVoice,
    /// Overruns that the microphone reported.
    Overruns,
    /// Audio frames that were polled too late and dropped.
    SoundDropped,
    /// Pictures that were cut or damaged.
    PicturesDamaged,
    /// Pictures replaced by a newer one before they were fetched.
    PicturesDropped,
    /// Times that the microphone was opened again.
    SoundRestarts,
    /// Times that the camera was opened again.
    CameraRestarts,
    /// Times that the audit log could not be written.
    AuditFailures,
}

/// Name, labels and help of every counter; those of one name stand together.
const COUNTERS: [(Counter, &str, &str, &str); 10] = {
    use Counter::*;
    let skipped = "Work that was left out because answers came too slowly.";
    let restarts = "Times that a lost source was opened again.";
    let dropped = "Audio frames and pictures that nobody fetched in time.";
    [
        (SkippedUtterances, "skipped", "work=\"utterance\"", skipped),
        (SkippedLooks, "skipped", "work=\"look\"", skipped),
        (SoundDropped, "dropped_frames", "source=\"sound\"", dropped),
        (
            PicturesDropped,
            "dropped_frames",
            "source=\"camera\"",
            dropped,
        ),
        (
            SoundRestarts,
            "source_restarts",
            "source=\"sound\"",
            restarts,
        ),
        (
            CameraRestarts,
            "source_restarts",
            "source=\"camera\"",
            restarts,
        ),
        (
            OwnVoice,
            "ignored_seconds",
            "",
            "Sound that was not judged, for the device itself spoke.",
        ),
        (
            Overruns,
            "overruns",
            "",
            "Overruns that the microphone reported.",
        ),
        (
            PicturesDamaged,
            "damaged_frames",
            "",
            "Pictures that were cut or damaged.",
        ),
        (
            AuditFailures,
            "audit_failures",
            "",
            "Times that the audit log could not be written.",
        ),
    ]
};

/// What the machine is like while a page is written.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Machine {
    /// Resident memory, in KiB.
    pub resident: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// Of the CPU, in degrees Celsius.
    pub temperature: Option<f64>,
    /// The CPU runs slower than it could, for heat or for want of power.
    pub throttled: Option<bool>,
}

impl Machine {
    /// What `/proc` knows of this process; temperature and throttling are the board's.
    pub fn of_process() -> Machine {
        Machine {
            resident: machine::resident(),
            open_files: fs::read_dir("/proc/self/fd")
                .ok()
                // the folder itself is open while it is read
                .map(|entries| entries.count().saturating_sub(1) as u64),
            ..Machine::default()
        }
    }
}

/// Figures of answers, by task.
#[derive(Debug, Default)]
struct Figures {
    counted: BTreeMap<String, Answers>,
    /// As they were when each task's counts were told; `None` where every answer is.
    revealed: Option<BTreeMap<String, Answers>>,
}

impl Figures {
    /// What is shown.
    fn shown(&self) -> &BTreeMap<String, Answers> {
        self.revealed.as_ref().unwrap_or(&self.counted)
    }
}

/// Figures of the answers to one task.
#[derive(Debug, Default, Clone)]
struct Answers {
    count: u64,
    unsure: u64,
    total: Histogram,
    stages: BTreeMap<&'static str, Histogram>,
}

/// What a broker or a bridge has been told so far.
pub struct Published(pub Box<dyn Fn() -> Counts + Send + Sync>);

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (self.0)().fmt(f)
    }
}

/// What answers are like of late.
#[derive(Debug, Clone, PartialEq)]
pub struct Drifting {
    /// The task.
    pub task: String,
    /// Of its answers what: how far `speech` is from what the model learnt, how much is `unsure`.
    pub of: &'static str,
    /// The average of late.
    pub mean: f64,
    /// What it was before, where that is known.
    pub usual: Option<f64>,
    /// How far it is off, in parts of what is more than chance.
    pub off: Option<f64>,
}

/// All figures; shared between the threads.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    answers: Mutex<Figures>,
    counters: [AtomicU64; COUNTERS.len()],
    muted: AtomicBool,
    drifting: Mutex<Vec<Drifting>>,
    /// Outputs with many readers, by the section that asks for them.
    feeds: OnceLock<Vec<(&'static str, Arc<Feed>)>>,
    /// Brokers and bridges that are told, by the section that asks for them.
    links: OnceLock<Vec<(&'static str, Published)>>,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new(now: Instant) -> Metrics {
        Metrics {
            started: now,
            answers: Mutex::default(),
            counters: Default::default(),
            muted: AtomicBool::new(false),
            drifting: Mutex::default(),
            feeds: OnceLock::new(),
            links: OnceLock::new(),
        }
    }

    /// Counts the readers of these outputs, too. To be said once.
    pub fn count_readers(&self, feeds: Vec<(&'static str, Arc<Feed>)>) {
        let _ = self.feeds.set(feeds);
    }

    /// Counts what brokers and bridges are told, too. To be said once.
    pub fn count_published(&self, links: Vec<(&'static str, Published)>) {
        let _ = self.links.set(links);
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a task's answers are shown when they are [revealed](Metrics::reveal): figures
    /// that grow by one would tell when somebody spoke, and whether that was left open.
    pub fn withhold(&self) {
        self.figures().revealed.get_or_insert_default();
    }

    /// Shows what was counted of a task so far, where that is withheld.
    pub fn reveal(&self, task: &str) {
        let Figures { counted, revealed } = &mut *self.figures();
        if let (Some(revealed), Some(answers)) = (revealed, counted.get(task)) {
            revealed.insert(task.to_owned(), answers.clone());
        }
    }

    /// Counts an answer and how long its stages took.
    pub fn observe(&self, event: &Event) {
        let mut figures = self.figures();
        let answers = figures.counted.entry(event.task.clone()).or_default();
        answers.count += 1;
        answers.unsure += u64::from(event.label == "unsure");
        answers.total.observe(event.latency.total() / 1e3);
        for (stage, spent) in stages(&event.latency) {
            let histogram = answers.stages.entry(stage).or_default();
            histogram.observe(spent / 1e3);
        }
    }

    /// Takes over what answers are like of late.
    pub fn drift(&self, figures: Vec<Drifting>) {
        *self.drifting.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    /// Counts `n` more.
    pub fn add(&self, counter: Counter, n: u64) {
        self.counters[counter as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// Takes over a total that somebody else counts.
    pub fn set(&self, counter: Counter, total: u64) {
        self.counters[counter as usize].store(total, Ordering::Relaxed);
    }

    /// Whether capture is switched off.
    pub fn mute(&self, muted: bool) {
        self.muted.store(muted, Ordering::Relaxed);
    }

    /// The page, in Prometheus' text format.
    pub fn render(&self, machine: &Machine, now: Instant) -> String {
        let mut page = String::new();
        self.answers(&mut page);
        self.drifting(&mut page);
        self.counters(&mut page);
        self.readers(&mut page);
        self.links(&mut page);
        self.gauges(&mut page, machine, now);
        page
    }

    fn answers(&self, page: &mut String) {
        let figures = self.figures();
        let mut each = |name, kind, help, write: &dyn Fn(&mut String, &str, &Answers)| {
            family(page, name, kind, help);
            for (task, of) in figures.shown() {
                write(page, &format!("task=\"{task}\""), of);
            }
        };
        let help = "Answers given, of each task.";
        each("answers_total", "counter", help, &|page, task, of| {
            sample(page, "answers_total", task, of.count as f64);
        });
        let help = "Answers that were left open, of each task.";
        each("unsure_total", "counter", help, &|page, task, of| {
            sample(page, "unsure_total", task, of.unsure as f64);
        });
        let help = "Compute that an answer took, of each task.";
        each("answer_seconds", "histogram", help, &|page, task, of| {
            of.total.render(page, "answer_seconds", task);
        });
        let help = "Compute that a stage of an answer took, of each task.";
        each("stage_seconds", "histogram", help, &|page, task, of| {
            for (stage, histogram) in &of.stages {
                let labels = format!("{task},stage=\"{stage}\"");
                histogram.render(page, "stage_seconds", &labels);
            }
        });
    }

    /// Averages of late, where there are any.
    fn drifting(&self, page: &mut String) {
        let figures = self.drifting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut each = |name, help, value: &dyn Fn(&Drifting) -> Option<f64>| {
            let told = figures.iter().filter_map(|f| Some((f, value(f)?)));
            let told: Vec<(&Drifting, f64)> = told.collect();
            if !told.is_empty() {
                family(page, name, "gauge", help);
            }
            for (figure, value) in told {
                let labels = format!("task=\"{}\",of=\"{}\"", figure.task, figure.of);
                sample(page, name, &labels, value);
            }
        };
        let help = "Average of late: distance from what the model learnt, share left open.";
        each("drift_mean", help, &|f| Some(f.mean));
        let help = "The same at calibration, or with people whom the model was tried on.";
        each("drift_usual", help, &|f| f.usual);
        let help = "How far they are apart; beyond -1 and 1 by more than chance.";
        each("drift", help, &|f| f.off);
    }

    fn counters(&self, page: &mut String) {
        let mut last = "";
        for (counter, name, labels, help) in COUNTERS {
            let total = format!("{name}_total");
            if name != last {
                family(page, &total, "counter", help);
            }
            let value = self.counters[counter as usize].load(Ordering::Relaxed);
            sample(page, &total, labels, value as f64);
            last = name;
        }
    }

    /// Figures of the outputs with many readers, where there are any.
    fn readers(&self, page: &mut String) {
        let feeds = self.feeds.get().map_or(&[][..], Vec::as_slice);
        if feeds.is_empty() {
            return;
        }
        let mut each = |name, kind, help, value: &dyn Fn(&Feed) -> u64| {
            family(page, name, kind, help);
            for (output, feed) in feeds {
                let labels = format!("output=\"{output}\"");
                sample(page, name, &labels, value(feed) as f64);
            }
        };
        let help = "Readers of an output now.";
        each("readers", "gauge", help, &|f| f.counts().readers as u64);
        let help = "Readers of an output that were cut because they were slow.";
        each("readers_cut_total", "counter", help, &|f| f.counts().cut);
        let help = "Readers of an output that found no room.";
        each("readers_refused_total", "counter", help, &|f| {
            f.counts().refused
        });
        let help = "Messages that an output never got.";
        each("output_lost_total", "counter", help, &|f| f.counts().lost);
    }

    /// Figures of brokers and bridges.
    fn links(&self, page: &mut String) {
        for (link, published) in self.links.get().into_iter().flatten() {
            let counts = (published.0)();
            for (name, kind, value, help) in [
                (
                    "up",
                    "gauge",
                    u64::from(counts.is_up),
                    "1 while the other side takes messages.",
                ),
                (
                    "connections_total",
                    "counter",
                    counts.connections,
                    "Connections to the other side.",
                ),
                (
                    "published_total",
                    "counter",
                    counts.published,
                    "Messages that the other side took.",
                ),
                (
                    "lost_total",
                    "counter",
                    counts.lost,
                    "Events that the other side never got.",
                ),
            ] {
                let name = format!("{link}_{name}");
                family(page, &name, kind, help);
                sample(page, &name, "", value as f64);
            }
        }
    }

    fn gauges(&self, page: &mut String, machine: &Machine, now: Instant) {
        for (name, value, help) in self.values(machine, now) {
            if let Some(value) = value {
                family(page, name, "gauge", help);
                sample(page, name, "", value);
            }
        }
        let labels = format!(
            "version=\"{}\",arch=\"{}\",kernels=\"{}\"",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH,
            crate::kernels::active().level()
        );
        family(page, "build_info", "gauge", "Which program runs; always 1.");
        sample(page, "build_info", &labels, 1.0);
    }

    /// Name, value and help of what goes up and down.
    fn values(
        &self,
        machine: &Machine,
        now: Instant,
    ) -> [(&'static str, Option<f64>, &'static str); 6] {
        let muted = self.muted.load(Ordering::Relaxed);
        let up = now.saturating_duration_since(self.started);
        let flag = |on: bool| f64::from(u8::from(on));
        [
            (
                "muted",
                Some(flag(muted)),
                "1 while capture is switched off, by hand or from afar.",
            ),
            (
                "temperature_celsius",
                machine.temperature,
                "Of the CPU, where the board tells.",
            ),
            (
                "throttled",
                machine.throttled.map(flag),
                "1 while the CPU is slowed down.",
            ),
            (
                "resident_bytes",
                machine.resident.map(|k| k as f64 * 1024.0),
                "Resident memory.",
            ),
            (
                "open_fds",
                machine.open_files.map(|n| n as f64),
                "Open file descriptors.",
            ),
            (
                "uptime_seconds",
                Some(up.as_secs_f64()),
                "Since the program was started.",
            ),
        ]
    }
}

/// The stages that ran, with the milliseconds that each took.
fn stages(latency: &Latency) -> impl Iterator<Item = (&'static str, f64)> {
    [
        ("recognise", latency.recognise),
        ("mel", latency.mel),
        ("speech", latency.speech),
        ("tokens", latency.tokens),
        ("text", latency.text),
        ("fusion", latency.fusion),
        ("decode", latency.decode),
        ("resize", latency.resize),
        ("image", latency.image),
        ("detect", latency.detect),
        ("expression", latency.expression),
    ]
    .into_iter()
    .filter_map(|(name, spent)| Some((name, spent?)))
}

/// The same page as OpenMetrics 1.0 has it: a counter's family goes without `_total`, and the
/// end is marked.
pub fn open_metrics(page: &str) -> String {
    let mut open = String::with_capacity(page.len());
    for line in page.lines() {
        match line.strip_prefix("# ").map(|rest| rest.splitn(3, ' ')) {
            Some(mut words) => {
                let mut word = || words.next().unwrap_or_default();
                let (keyword, family, rest) = (word(), word(), word());
                let family = family.strip_suffix("_total").unwrap_or(family);
                let _ = writeln!(open, "# {keyword} {family} {rest}");
            }
            None => {
                let _ = writeln!(open, "{line}");
            }
        }
    }
    open + "# EOF\n"
}

// writing to a string cannot fail
fn family(page: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        page,
        "# HELP demeanor_{name} {help}\n# TYPE demeanor_{name} {kind}"
    );
}

fn sample(page: &mut String, name: &str, labels: &str, value: f64) {
    let _ = if labels.is_empty() {
        writeln!(page, "demeanor_{name} {value}")
    } else {
        writeln!(page, "demeanor_{name}{{{labels}}} {value}")
    };
}
