//! Files that we write: regular ones, and no others.
//!
//! A device node is not to be replaced by a file, and a link may lead to what somebody else
//! wants overwritten.

use crate::Error;
use std::fs::{self, File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Refuses a path where something else than a regular file lies. Nothing may lie there.
///
/// # Errors
/// A sentence that names the `field` of the config.
pub fn check(path: &Path, field: &str) -> Result<(), Error> {
    is_regular(path).map_err(|what| Error::Config {
        path: path.into(),
        what: format!("{what}; name a file of its own as {field}"),
    })
}

/// As [`check`], without a field.
///
/// # Errors
/// What lies there.
pub fn is_regular(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) => check_kind(found.file_type()),
        // it is made, or the error is the one of opening it
        Err(_) => Ok(()),
    }
}

/// Opens a file that is regular still.
///
/// # Errors
/// As [`OpenOptions::open`]; a link, or a file of another kind.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    is_regular(path)?;
    // it may have been replaced since
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NOCTTY;
    let file = options.custom_flags(flags.bits() as i32).open(path)?;
    check_kind(file.metadata()?.file_type())?;
    Ok(file)
}

fn check_kind(kind: FileType) -> io::Result<()> {
    let is = if kind.is_file() {
        return Ok(());
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() || kind.is_socket() {
        "a pipe or socket"
    } else {
        "a device"
    };
    Err(io::Error::other(format!("it is {is} and no regular file")))
}
