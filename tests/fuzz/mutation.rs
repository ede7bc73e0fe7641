//! Damaged models, manifests and configs: an error or an answer, in bounded time and memory,
//! never a crash.
//!
//! `DEMEANOR_MUTATIONS=1000 cargo test --release --test mutation -- --nocapture` damages each kind
//! of file as often and prints how it went; `DEMEANOR_FUZZ_SEED` begins another sequence.

use crate::support::*;
use sha2::{Digest, Sha256};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often each kind is damaged. Emulated machines are slow; they check that the outcome is the
/// same, not the count.
fn rounds() -> u64 {
    let asked = std::env::var("DEMEANOR_MUTATIONS");
    let usual = if is_emulated() { 2 } else { 24 };
    asked.ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

const TIME: Duration = Duration::from_secs(120);

/// xorshift64*: damage that can be made again.
struct Random(u64);

impl Random {
    /// The sequence of one kind, or another one when `DEMEANOR_FUZZ_SEED` asks for it.
    fn of(kind: u64) -> Random {
        let seed = std::env::var("DEMEANOR_FUZZ_SEED");
        let seed: u64 = seed.ok().and_then(|s| s.parse().ok()).unwrap_or(0);
        Random((kind ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1))
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    }
}

/// Flips, cuts, repeats or blanks a part; most of it in the first tenth, where headers and
/// node names are and damage does most.
fn damage(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let reach = if random.below(3) == 0 {
            out.len()
        } else {
            out.len() / 10
        };
        let at = random.below(reach);
        match random.below(4) {
            0 => out[at] ^= 1 << random.below(8),
            1 => out.truncate(at.max(1)),
            2 => {
                let end = (at + random.below(64)).min(out.len());
                let part = out[at..end].to_vec();
                out.splice(at..at, part);
            }
            _ => {
                let end = (at + random.below(16)).min(out.len());
                out[at..end].fill(0xff);
            }
        }
    }
    out
}

/// How many damaged files were answered, gave nothing, and were refused.
#[derive(Default)]
struct Outcomes([u64; 3]);

impl Outcomes {
    /// Counts a run that ended as it may: by itself, without a panic, with a sentence when it
    /// was refused.
    fn count(&mut self, what: &str, (code, err): (Option<i32>, String)) {
        let at = usize::try_from(code.unwrap_or(-1)).unwrap_or(usize::MAX);
        let count = self.0.get_mut(at);
        let count = count.unwrap_or_else(|| panic!("{what}: {code:?} {err}"));
        assert!(!err.contains("panicked"), "{what}: {err}");
        assert!(
            code != Some(2) || err.contains("demeanor: "),
            "{what}: {err}"
        );
        *count += 1;
    }

    fn print(&self, kind: &str) {
        let [answered, nothing, refused] = self.0;
        println!("{kind}: {answered} answered, {nothing} gave nothing, {refused} refused");
    }
}

/// Runs with at most 2 GiB of address space and within `TIME`; returns the exit code.
fn limited(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("sh");
    // an emulator reserves address space of its own, so only the native run is bounded
    let bound = if cfg!(target_arch = "x86_64") {
        "ulimit -v 2097152; "
    } else {
        ""
    };
    command.args([
        "-c",
        &format!("{bound}exec $DEMEANOR_RUNNER \"$@\""),
        "sh",
        env!("CARGO_BIN_EXE_demeanor"),
    ]);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().expect("sh");
    loop {
        if let Some(status) = child.try_wait().expect("child") {
            let mut err = String::new();
            let _ =
                std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut err);
            return (status.code(), err);
        }
        if start.elapsed() > TIME {
            let _ = child.kill();
            panic!("{args:?} did not end within {TIME:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn bundle(folder: &Folder, name: &str) -> std::path::PathBuf {
    let to = folder.path(name);
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(repo("models").join(name))
        .unwrap()
        .map(Result::unwrap)
    {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// A model that was damaged by its maker carries the right hash; the loader is what is left.
fn mutate_model(task: &str, name: &str, seed: u64) {
    let folder = Folder::new();
    let dir = bundle(&folder, task);
    let medium = repo(match task {
        "emotion" => "tests/data/sample.wav",
        _ => "tests/data/pictures/face.jpg",
    });
    let (whole, manifest) = (
        fs::read(dir.join(name)).unwrap(),
        fs::read_to_string(dir.join("manifest.toml")).unwrap(),
    );
    let mut random = Random::of(seed);
    let mut outcomes = Outcomes::default();
    for round in 0..rounds() {
        let damaged = damage(&whole, &mut random);
        fs::write(dir.join(name), &damaged).unwrap();
        fs::write(
            dir.join("manifest.toml"),
            manifest.replace(&hex(&whole), &hex(&damaged)),
        )
        .unwrap();
        let args = [
            "analyze",
            medium.to_str().unwrap(),
            "--text",
            "well",
            "--tasks",
            task,
            "--models",
            dir.to_str().unwrap(),
        ];
        outcomes.count(&format!("{name}, round {round}"), limited(&args));
    }
    // a file that is never read would be answered every time
    assert!(outcomes.0[2] > 0 || rounds() < 24, "{name} is not read");
    outcomes.print(&format!("{task}/{name}"));
}

#[test]
fn a_damaged_speech_model_is_an_error_or_an_answer() {
    mutate_model("emotion", "speech.onnx", 0x5eed_0001);
}

#[test]
fn a_damaged_fusion_model_is_an_error_or_an_answer() {
    mutate_model("emotion", "fusion.onnx", 0x5eed_0002);
}

#[test]
fn a_damaged_vocabulary_is_an_error_or_an_answer() {
    mutate_model("emotion", "vocab.txt", 0x5eed_0003);
}

#[test]
fn a_damaged_image_trunk_is_an_error_or_an_answer() {
    mutate_model("sentiment", "image.onnx", 0x5eed_0006);
}

#[test]
fn a_damaged_fused_head_is_an_error_or_an_answer() {
    mutate_model("sentiment", "fusion-late.onnx", 0x5eed_0007);
}

#[test]
fn a_damaged_face_detector_is_an_error_or_an_answer() {
    mutate_model("expression", "face.onnx", 0x5eed_0008);
}

#[test]
fn a_damaged_manifest_is_refused_or_still_means_the_same() {
    let folder = Folder::new();
    let dir = bundle(&folder, "emotion");
    let manifest = fs::read(dir.join("manifest.toml")).unwrap();
    let mut random = Random::of(0x5eed_0004);
    let mut outcomes = Outcomes::default();
    for round in 0..rounds() {
        fs::write(dir.join("manifest.toml"), damage(&manifest, &mut random)).unwrap();
        let args = [
            "analyze",
            "--text",
            "well",
            "--models",
            dir.to_str().unwrap(),
        ];
        outcomes.count(&format!("round {round}"), limited(&args));
    }
    outcomes.print("manifest");
}

#[test]
fn a_damaged_config_is_refused_or_starts() {
    let config = b"[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n\
        [audio]\nsource = \"none\"\n[text]\nsource = \"stdin\"\nwait = 1.0\n[decision]\nsmooth = 2.0\n";
    let folder = Folder::new();
    let mut random = Random::of(0x5eed_0005);
    let mut outcomes = Outcomes::default();
    for round in 0..rounds() {
        let file = folder.file("run.toml", damage(config, &mut random));
        outcomes.count(
            &format!("round {round}"),
            limited(&["run", "--config", &file]),
        );
    }
    // nobody says a word
    assert_eq!(outcomes.0[0], 0);
    outcomes.print("config");
}
