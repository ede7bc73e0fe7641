//! Reads `models/*/manifest.toml` and `boards/*/board.toml`, checks them, and emits the
//! tables that the binary embeds. Touches no network. A broken file stops the build with
//! one sentence that names the file and the field.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

#[allow(dead_code)]
#[path = "src/model/manifest/mod.rs"]
mod manifest;
#[allow(dead_code)]
#[path = "src/board/profile.rs"]
mod profile;
// the profile's own `use` finds it under the same name as in the crate
#[allow(dead_code)]
#[path = "src/capture"]
mod capture {
    pub mod channel;
}

/// Bundles to embed, by their folders under `models/` and separated by commas; all when it is
/// unset or empty.
const BUNDLES: &str = "DEMEANOR_BUNDLES";

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for source in [
        "build.rs",
        "src/model/manifest",
        "src/board/profile.rs",
        "src/capture/channel.rs",
        "models",
        "boards",
    ] {
        println!("cargo:rerun-if-changed={source}");
    }
    println!("cargo:rerun-if-env-changed={BUNDLES}");
    let tables = [("bundles.rs", bundles(&root)), ("boards.rs", boards(&root))];
    for (name, table) in tables {
        let written =
            table.and_then(|t| fs::write(out.join(name), t).map_err(|e| format!("{name}: {e}")));
        if let Err(sentence) = written {
            eprintln!("error: {sentence}");
            process::exit(1);
        }
    }
}

/// Sub-folders of `dir` that hold `file`, in a fixed order.
fn folders(dir: &Path, file: &str) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.join(file).is_file())
        .collect();
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String, String> {
    println!("cargo:rerun-if-changed={}", path.display());
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn bundles(root: &Path) -> Result<String, String> {
    let mut table = String::from("pub(crate) static EMBEDDED: &[Embedded] = &[\n");
    for (folder, parsed) in chosen(manifests(root)?)? {
        let path = folder.join("manifest.toml");
        let _ = writeln!(
            table,
            "Embedded {{ manifest: include_str!({path:?}), files: &["
        );
        for file in parsed.files.iter().filter(|f| f.bundle.is_none()) {
            let path = folder.join(&file.name);
            check_hash(&path, &file.sha256)?;
            let _ = writeln!(table, "  ({:?}, include_bytes!({path:?})),", file.name);
        }
        table.push_str("] },\n");
    }
    table.push_str("];\n");
    Ok(table)
}

type Found = (PathBuf, manifest::Manifest);

fn manifests(root: &Path) -> Result<Vec<Found>, String> {
    let parse = |folder: PathBuf| {
        let path = folder.join("manifest.toml");
        let parsed = manifest::Manifest::parse(&read(&path)?)
            .map_err(|e| format!("{}: {e}", path.display()))?;
        Ok((folder, parsed))
    };
    let folders = folders(&root.join("models"), "manifest.toml")?;
    folders.into_iter().map(parse).collect()
}

/// Those that the environment asks for, each with what it borrows from.
fn chosen(found: Vec<Found>) -> Result<Vec<Found>, String> {
    let wanted = env::var(BUNDLES).unwrap_or_default();
    let wanted: Vec<&str> = wanted.split(',').map(str::trim).collect();
    let wanted: Vec<&str> = wanted.into_iter().filter(|name| !name.is_empty()).collect();
    if wanted.is_empty() {
        return Ok(found);
    }
    let known: Vec<String> = found.iter().map(|(folder, _)| name(folder)).collect();
    if let Some(unknown) = wanted.iter().find(|w| !known.iter().any(|k| k == *w)) {
        let known = known.join(", ");
        return Err(format!(
            "{BUNDLES}: there is no bundle `{unknown}`; known are {known}"
        ));
    }
    let is_wanted = |(folder, _): &Found| wanted.contains(&name(folder).as_str());
    let (kept, left): (Vec<Found>, Vec<Found>) = found.into_iter().partition(is_wanted);
    for (folder, parsed) in &kept {
        let borrows = |id: &str| parsed.files.iter().any(|f| f.bundle.as_deref() == Some(id));
        let lender = |(_, m): &&Found| borrows(&m.id);
        if let Some((lender, _)) = left.iter().find(lender) {
            let (borrower, lender) = (name(folder), name(lender));
            return Err(format!(
                "{BUNDLES}: `{borrower}` uses a file of `{lender}`, which is left out; add {lender}"
            ));
        }
    }
    Ok(kept)
}

fn name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn check_hash(path: &Path, expected: &str) -> Result<(), String> {
    println!("cargo:rerun-if-changed={}", path.display());
    let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let actual: String = Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    if actual == expected {
        return Ok(());
    }
    Err(format!(
        "{}: its SHA-256 is {actual}, the manifest says {expected}; restore the file or run the recipe's card stage",
        path.display()
    ))
}

fn boards(root: &Path) -> Result<String, String> {
    let mut table = String::from("static BOARDS: &[&str] = &[\n");
    for folder in folders(&root.join("boards"), "board.toml")? {
        let path = folder.join("board.toml");
        let board = profile::Profile::parse(&read(&path)?)
            .map_err(|e| format!("{}: {e}", path.display()))?;
        let name = name(&folder);
        if board.name != name {
            return Err(format!(
                "{}: field `name` is `{}`, the folder is `{name}`",
                path.display(),
                board.name
            ));
        }
        let _ = writeln!(table, "  include_str!({path:?}),");
    }
    table.push_str("];\n");
    Ok(table)
}
