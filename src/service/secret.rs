//! Secrets in files that nobody but their owner may read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Bytes of a file with a secret.
const MOST: usize = 256;

/// The text of a file, without white space around it.
///
/// # Errors
/// In a sentence: a file that cannot be read, that others may use, or that is no short text.
pub fn read(path: &Path) -> Result<String, String> {
    let read = || -> std::io::Result<(String, u32)> {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        let mut text = String::new();
        file.take(MOST as u64 + 1).read_to_string(&mut text)?;
        Ok((text, mode))
    };
    let (text, mode) = read().map_err(|e| format!("{e}; check that it may be read"))?;
    check(mode)?;
    if text.len() > MOST {
        return Err(format!(
            "it is longer than {MOST} bytes; name a file with the secret alone"
        ));
    }
    Ok(text.trim().to_owned())
}

/// Whether a file's mode keeps others out.
///
/// # Errors
/// In a sentence, what to do if it does not.
pub fn check(mode: u32) -> Result<(), String> {
    match mode & 0o077 {
        0 => Ok(()),
        _ => Err(format!(
            "others than its owner may use it (mode {:04o}); chmod 600 it",
            mode & 0o777
        )),
    }
}
