//! Files one after the other, none of which is lost to another's fault.

use crate::Error;
use std::io::{self, Write};
use std::path::PathBuf;

/// Calls `work` for each file; one that cannot be read is told, and the others still are. Whether
/// any had something recognised.
///
/// # Errors
/// The failure of the one file; of several, how many failed, as each has been told; the output's
/// at once when it cannot be written.
pub(super) fn each(
    files: &[PathBuf],
    mut work: impl FnMut(&PathBuf) -> Result<bool, Error>,
) -> Result<bool, Error> {
    if let [file] = files {
        return work(file);
    }
    let (mut recognised, mut failed) = (false, 0);
    for file in files {
        match work(file) {
            Ok(any) => recognised |= any,
            Err(error @ Error::Output(_)) => return Err(error),
            Err(error) => {
                failed += 1;
                // said at once, so that the order on the terminal is the order of the files;
                // when nobody reads standard error, there is nobody to tell
                let _ = writeln!(io::stderr(), "demeanor: {error}");
            }
        }
    }
    match failed {
        0 => Ok(recognised),
        _ => Err(Error::Files {
            failed,
            all: files.len(),
        }),
    }
}
