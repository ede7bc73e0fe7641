//! A small fuzzer on the stable toolchain: seeds made in code, mutations that can be made
//! again, and a target that may answer or refuse but not panic, hang or devour memory.
//!
//! Two variables steer it:
//! `DEMEANOR_FUZZ_SECONDS` is the time that each [`run`] takes (5 when unset), and
//! `DEMEANOR_FUZZ_SEED` begins another sequence of mutations.
//!
//! What fails is written to `tests/data/fuzz/NAME/`. Every later run begins with the files
//! there, so that a finding, once mended, stays mended.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// An input that takes longer is a finding; the machines of CI are slow and shared, and an
/// emulated one is slower still.
fn hang() -> Duration {
    let is_emulated = std::env::var_os("DEMEANOR_RUNNER").is_some();
    Duration::from_secs(if is_emulated { 20 } else { 2 })
}

/// An input that takes longer than this ends the process, for it may never return.
fn stuck() -> Duration {
    15 * hang()
}
/// Memory that one input may add to the most that the process ever held, in KiB. Targets of
/// one process run side by side and are counted together.
const RESIDENT: u64 = 512 << 10;
/// The same for memory that is asked for and never touched.
const VIRTUAL: u64 = 4 << 20;
/// Inputs grow no further than this, or the last ones would take all of the time.
const LONGEST: usize = 1 << 20;
/// Inputs kept because their outcome was new.
const POOL: usize = 4096;

/// xorshift64*: the same sequence on every machine. The state must not be zero.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`, and 0 when `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end.max(1)
    }
}

/// How long each target is fed.
pub fn budget() -> Duration {
    let seconds = std::env::var("DEMEANOR_FUZZ_SECONDS");
    let seconds = seconds.ok().and_then(|s| s.parse().ok()).unwrap_or(5.0f64);
    Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))
}

/// Numbers that headers are believed by: borders of sizes, counts and signs.
const NUMBERS: [u32; 20] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    24,
    32,
    64,
    127,
    128,
    255,
    256,
    0x7FFF,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
];

/// Text that readers of text stumble over.
const WORDS: [&str; 24] = [
    "\n",
    "\r\n",
    "\r",
    "\t",
    " ",
    ",",
    ";",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    "-->",
    "-",
    "nan",
    "-1",
    "1e999",
    "99999999999999999999",
    "\u{FEFF}",
    "\u{0}",
    "\u{202E}",
    "<",
    "]]>",
];

/// `seed` with one to six changes: bits and bytes turned, numbers of either byte order put
/// in, parts cut out, repeated, moved, blanked, or text put in. A third of the changes falls
/// into the first 64 bytes, where headers are. May be empty.
pub fn mutate(seed: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut out = seed.to_vec();
    for _ in 0..=rng.below(6) {
        change(&mut out, rng);
    }
    out.truncate(LONGEST);
    out
}

fn change(out: &mut Vec<u8>, rng: &mut Rng) {
    let reach = match rng.below(3) {
        0 => out.len().min(64),
        _ => out.len(),
    };
    let at = rng.below(reach);
    let span = |rng: &mut Rng, most: usize| at..(at + 1 + rng.below(most)).min(out.len());
    match rng.below(11) {
        _ if out.is_empty() => out.extend(rng.next().to_le_bytes()),
        0 => out[at] ^= 1 << rng.below(8),
        1 => out[at] = rng.next() as u8,
        2 => {
            out[at] = out[at]
                .wrapping_add(1)
                .wrapping_sub(2 * (rng.below(2) as u8))
        }
        3 => {
            let number = NUMBERS[rng.below(NUMBERS.len())];
            let little = number.to_le_bytes();
            let big = number.to_be_bytes();
            let width = [1, 2, 4][rng.below(3)];
            let bytes = match rng.below(2) {
                0 => &little[..width],
                _ => &big[4 - width..],
            };
            let end = (at + width).min(out.len());
            out[at..end].copy_from_slice(&bytes[..end - at]);
        }
        4 => out.truncate(at),
        5 => drop(out.drain(span(rng, 64))),
        6 => {
            let part = out[span(rng, 256)].to_vec();
            let to = rng.below(out.len() + 1);
            out.splice(to..to, part);
        }
        7 => {
            let part = span(rng, 32);
            out[part].fill([0, 0xFF, b'0', b' '][rng.below(4)]);
        }
        8 => {
            let word = WORDS[rng.below(WORDS.len())];
            out.splice(at..at, word.bytes());
        }
        9 => {
            let to = rng.below(out.len());
            out.swap(at, to);
        }
        _ => {
            let random: Vec<u8> = (0..1 + rng.below(16)).map(|_| rng.next() as u8).collect();
            out.splice(at..at, random);
        }
    }
}

/// Feeds `target` with the findings of earlier runs, with `seeds`, and then with mutations
/// of both for the [`budget`], and prints how many inputs that were.
///
/// What `target` returns tells outcomes apart (a sentence, a count, `()`): an input with a
/// new one joins those that are mutated further, so that the fuzzer works its way in.
///
/// # Panics
/// At the end, when an input made `target` panic, took over 2 s, or took over 512 MiB of
/// memory; the input is in `tests/data/fuzz/NAME/` then.
pub fn run<T: Hash>(name: &str, seeds: &[Vec<u8>], target: impl Fn(&[u8]) -> T) {
    let mut fuzzer = Fuzzer::new(name);
    let mut pool = corpus(name);
    let kept = pool.len();
    pool.extend_from_slice(seeds);
    assert!(!pool.is_empty(), "{name}: nothing to begin with");
    for input in &pool {
        fuzzer.feed(input, &target);
    }
    let mut rng = Rng(first_state(name));
    let begun = Instant::now();
    while begun.elapsed() < budget() {
        let seed = &pool[rng.below(pool.len())];
        let mut input = mutate(seed, &mut rng);
        if rng.below(8) == 0 {
            // The beginning of one with the end of another.
            let other = &pool[rng.below(pool.len())];
            input.truncate(rng.below(input.len() + 1));
            input.extend_from_slice(&other[rng.below(other.len())..]);
            input.truncate(LONGEST);
        }
        if fuzzer.feed(&input, &target) && pool.len() < POOL {
            pool.push(input);
        }
    }
    let Fuzzer {
        executions,
        outcomes,
        findings,
        ..
    } = &fuzzer;
    println!(
        "{name}: {executions} executions ({kept} kept inputs), {} outcomes, {} findings",
        outcomes.len(),
        findings.len()
    );
    assert!(findings.is_empty(), "{name}:\n{}", findings.join("\n"));
}

struct Fuzzer {
    name: String,
    executions: u64,
    outcomes: HashSet<u64>,
    findings: Vec<String>,
    watch: Watch,
}

impl Fuzzer {
    fn new(name: &str) -> Fuzzer {
        Fuzzer {
            name: name.to_owned(),
            executions: 0,
            outcomes: HashSet::new(),
            findings: Vec::new(),
            watch: Watch::new(name),
        }
    }

    /// Runs one input; `true` when its outcome is a new one.
    fn feed<T: Hash>(&mut self, input: &[u8], target: &impl Fn(&[u8]) -> T) -> bool {
        self.executions += 1;
        let before = memory();
        self.watch.begin(input);
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| target(input)));
        let took = begun.elapsed();
        self.watch.end();
        let after = memory();
        if took > hang() {
            self.found(input, &format!("took {took:?}"));
        }
        let grew = |after: u64, before: u64, most: u64| after.saturating_sub(before) > most;
        if grew(after.0, before.0, RESIDENT) || grew(after.1, before.1, VIRTUAL) {
            let kib = (after.0 - before.0, after.1 - before.1);
            self.found(input, &format!("took {kib:?} KiB of memory"));
        }
        match result {
            Ok(outcome) => {
                let mut hasher = DefaultHasher::new();
                outcome.hash(&mut hasher);
                self.outcomes.insert(hasher.finish())
            }
            Err(panic) => {
                let what = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                self.found(input, &format!("panicked: {}", what.unwrap_or_default()));
                false
            }
        }
    }

    fn found(&mut self, input: &[u8], what: &str) {
        // One fault shows in many inputs; the first few are enough.
        if self.findings.len() < 10 {
            let path = keep(&self.name, input);
            self.findings.push(format!("{}: {what}", path.display()));
        }
    }
}

/// Ends the process when an input does not return.
struct Watch {
    current: Arc<Mutex<Vec<u8>>>,
    sender: Option<Sender<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn new(name: &str) -> Watch {
        let (sender, receiver) = mpsc::channel::<bool>();
        let current = Arc::new(Mutex::new(Vec::new()));
        let (shared, name) = (Arc::clone(&current), name.to_owned());
        let thread = std::thread::spawn(move || {
            // `true`: an input begins; `false`: it ended.
            while let Ok(began) = receiver.recv() {
                if began && receiver.recv_timeout(stuck()) == Err(RecvTimeoutError::Timeout) {
                    let input = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    let path = keep(&name, &input);
                    eprintln!("{}: does not return within {:?}", path.display(), stuck());
                    std::process::exit(101);
                }
            }
        });
        Watch {
            current,
            sender: Some(sender),
            thread: Some(thread),
        }
    }

    fn begin(&self, input: &[u8]) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.clear();
        current.extend_from_slice(input);
        self.tell(true);
    }

    fn end(&self) {
        self.tell(false);
    }

    fn tell(&self, begins: bool) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(begins);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/fuzz")
        .join(name)
}

/// What earlier runs found, in an order that does not change.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder(name))
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.sort();
    paths
        .iter()
        .filter_map(|path| fs::read(path).ok())
        .collect()
}

/// Writes a finding, named by its content.
fn keep(name: &str, input: &[u8]) -> PathBuf {
    let path = folder(name).join(format!("{:016x}", fnv(input)));
    if let Err(error) = fs::create_dir_all(folder(name)).and_then(|()| fs::write(&path, input)) {
        eprintln!("{}: cannot be kept: {error}", path.display());
    }
    path
}

/// FNV-1a, for names that stay the same from one version of Rust to the next.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

fn first_state(name: &str) -> u64 {
    let seed = std::env::var("DEMEANOR_FUZZ_SEED").unwrap_or_default();
    fnv(format!("{name}{seed}").as_bytes()).max(1)
}

/// The most that this process ever held, resident and virtual, in KiB; zeros where the
/// system does not tell.
fn memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.unwrap_or(0)
    };
    (field("VmHWM:"), field("VmPeak:"))
}
