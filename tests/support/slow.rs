//! A recogniser that takes its time.

use super::{Folder, is_emulated, repo};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::PathBuf;

/// The toy with words that are none, so that nothing is ever repeated and no sentence ends, and
/// with much to suppress: it works for a good while at every utterance.
pub fn slow(folder: &Folder) -> PathBuf {
    let toy = repo("tests/data/toy_recogniser");
    let dir = folder.path("slow");
    fs::create_dir_all(&dir).expect("a folder");
    for name in ["encoder.onnx", "decoder.onnx"] {
        fs::copy(toy.join(name), dir.join(name)).expect("copied");
    }
    let hash = |text: &str| -> String {
        let digest = Sha256::digest(text);
        digest.iter().map(|b| format!("{b:02x}")).collect()
    };
    let vocab = fs::read_to_string(toy.join("vocab.txt")).expect("the vocabulary");
    // an emulator is slow enough by itself
    let suppressed = if is_emulated() { 40_000 } else { 400_000 };
    let signs = vocab.replacen("Ġhello\nĠthere\n.\n", "Ġ-\nĠ+\n-\n", 1);
    assert_ne!(vocab, signs);
    let manifest = fs::read_to_string(toy.join("manifest.toml")).expect("the manifest");
    let manifest = manifest
        .replace(&hash(&vocab), &hash(&signs))
        .replace(
            "suppress = [4]",
            &format!("suppress = [{}]", "4,".repeat(suppressed)),
        )
        .replace("tokens_per_second = 6.0", "tokens_per_second = 50.0")
        .replace("tokens_more = 4", "tokens_more = 448");
    fs::write(dir.join("vocab.txt"), signs).expect("written");
    fs::write(dir.join("manifest.toml"), manifest).expect("written");
    dir
}
