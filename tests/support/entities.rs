//! The bundle of `models/recipes/references/toy_entities.py` and `toy_boxes.py`: it knows a few
//! names, and points at colours.

use super::repo;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

fn sha256(path: &Path) -> String {
    let hash = Sha256::digest(fs::read(path).expect("a file"));
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes it to `dir`.
pub fn bundle(dir: PathBuf) -> PathBuf {
    fs::create_dir_all(&dir).expect("a folder");
    let mut manifest = String::from(
        r#"schema = 2
id = "toy"
task = "entities"
version = "0.1.0"
summary = "a few names"
licence = "none"
labels = ["PER", "LOC", "ORG", "OTHER"]
[text]
file = "text.onnx"
vocab = "vocab.txt"
max_tokens = 32
history = 0
shapes = true
strip_links = true
[image]
file = "image.onnx"
side = 32
[seen]
file = "words.onnx"
reads = "image.patches"
labels = "words.txt"
rows = "word-rows.onnx"
top = 3
[[head]]
name = "text-only"
kind = "spans"
reads = ["text.tokens"]
file = "reader.onnx"
threshold = 0.5
[[head]]
name = "mner-qg"
kind = "spans"
reads = ["text.tokens", "seen.rows"]
file = "reader.onnx"
threshold = 0.5
[[head]]
name = "boxes"
kind = "boxes"
reads = ["image.quarters"]
file = "boxes.onnx"
labels = ["PER", "LOC", "ORG", "OTHER"]
threshold = 0.5
[decision]
unsure_below = 0.0
smooth = false
[eval.published]
on = "another set, by others"
n = 100
rows = [["they", 0.8, 0.6]]
"#,
    );
    for (name, precision) in [
        ("text.onnx", "f32"),
        ("reader.onnx", "f32"),
        ("image.onnx", "f32"),
        ("boxes.onnx", "f32"),
        ("words.onnx", "f32"),
        ("word-rows.onnx", "f32"),
        ("vocab.txt", "none"),
        ("words.txt", "none"),
    ] {
        let made = repo("tests/data/toy_entities").join(name);
        fs::copy(&made, dir.join(name)).expect("copied");
        let hash = sha256(&made);
        manifest += &format!(
            "[[file]]\nname = \"{name}\"\nprecision = \"{precision}\"\nsha256 = \"{hash}\"\n"
        );
    }
    fs::write(dir.join("manifest.toml"), manifest).expect("written");
    dir
}
