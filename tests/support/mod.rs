//! What several tests need: the binary, folders that clean up, and sound made by formula.
#![allow(dead_code)]

pub mod broker;
#[cfg(feature = "research")]
pub mod catalogue;
pub mod chunks;
pub mod entities;
pub mod jpeg;
pub mod mutate;
pub mod onnx;
pub mod schema;
pub mod slow;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The finished program with its output captured.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Every line of standard output as an event.
    pub fn events(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(event).collect()
    }

    /// Every line of standard output as JSON that is no event: a report.
    pub fn reports(&self) -> Vec<serde_json::Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).expect(line))
            .collect()
    }

    /// The one sentence an error must be: it names `what`, and no panic shows through.
    pub fn is_error(&self, what: &str) -> &Ran {
        assert_eq!(self.code, Some(2), "{}\n{}", self.out, self.err);
        assert!(
            self.err.contains(what),
            "{:?} does not name {what:?}",
            self.err
        );
        assert!(self.err.starts_with("demeanor: "), "{:?}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }
}

/// Whether an emulator runs the tests and starts the program: it is slow, and memory, descriptors,
/// ioctls and programs that cannot be started are its own.
pub fn is_emulated() -> bool {
    std::env::var_os("DEMEANOR_RUNNER").is_some()
}

/// What a press or a signal may take, and what a busy or emulated machine may add.
pub fn soon() -> Duration {
    Duration::from_millis(200) + Duration::from_secs(if is_emulated() { 8 } else { 1 })
}

/// How many cases a property is tried with: fewer under emulation.
pub fn cases(usual: u32) -> u32 {
    match is_emulated() {
        true => usual.div_ceil(8),
        false => usual,
    }
}

/// A line as an event, which is as the schema says.
pub fn event(line: &str) -> serde_json::Value {
    let event = serde_json::from_str(line).expect(line);
    let schema = serde_json::from_str(demeanor::event::JSON_SCHEMA).expect("the schema is JSON");
    if let Some(fault) = schema::fault(&schema, &event) {
        panic!("{fault}");
    }
    event
}

/// A command that starts `program`. Under emulation the kernel cannot do so itself: the
/// emulator does.
pub fn start(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let runner = std::env::var("DEMEANOR_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    match words.next() {
        None => Command::new(program),
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(program);
            command
        }
    }
}

pub fn command(args: &[&str]) -> Command {
    let mut command = start(env!("CARGO_BIN_EXE_demeanor"));
    command
        .args(args)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG");
    command
}

pub fn demeanor(args: &[&str]) -> Ran {
    Ran::of(command(args).output().expect("the binary starts"))
}

/// Runs with `input` on standard input.
pub fn demeanor_with(args: &[&str], input: &[u8]) -> Ran {
    use std::io::Write;
    let mut command = command(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    // a program that refuses its input closes the pipe; that is its right
    let _ = child.stdin.take().expect("piped").write_all(input);
    Ran::of(child.wait_with_output().expect("it ends"))
}

/// A folder of its own, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "demeanor-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path as an argument.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("writable");
        path.to_str().expect("UTF-8").to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file of the repository.
pub fn repo(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// `tests/data/sample.wav` as samples: 16 kHz, two utterances.
pub fn sample() -> Vec<f32> {
    let bytes = fs::read(repo("tests/data/sample.wav")).expect("the sample");
    bytes[44..]
        .chunks_exact(2)
        .map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0)
        .collect()
}

/// A WAV header: `format` 1 is PCM, 3 is float.
fn wav(format: u16, rate: u32, channels: u16, bits: u16, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(44 + data.len());
    let align = channels * bits / 8;
    out.extend(b"RIFF");
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16u32.to_le_bytes());
    out.extend(format.to_le_bytes());
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend((rate * u32::from(align)).to_le_bytes());
    out.extend(align.to_le_bytes());
    out.extend(bits.to_le_bytes());
    out.extend(b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

pub fn wav_i16(rate: u32, channels: u16, samples: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|s| ((s * 32767.0).clamp(-32768.0, 32767.0) as i16).to_le_bytes())
        .collect();
    wav(1, rate, channels, 16, &data)
}

pub fn wav_f32(rate: u32, channels: u16, samples: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    wav(3, rate, channels, 32, &data)
}

/// Linear interpolation to another rate: crude, and enough to be recognised as speech.
pub fn at_rate(samples: &[f32], rate: u32) -> Vec<f32> {
    let step = 16_000.0 / f64::from(rate);
    let count = (samples.len() as f64 / step) as usize;
    (0..count)
        .map(|i| {
            let at = i as f64 * step;
            let (low, t) = (at as usize, (at % 1.0) as f32);
            let next = samples.get(low + 1).copied().unwrap_or(0.0);
            samples[low] * (1.0 - t) + next * t
        })
        .collect()
}

/// The same signal in both channels.
pub fn stereo(samples: &[f32]) -> Vec<f32> {
    samples.iter().flat_map(|s| [*s, *s]).collect()
}
