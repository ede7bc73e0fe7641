//! Files one after the other, none of which is lost to another's fault.

use crate::Error;
use std::path::PathBuf;

/// Calls `work` for each file; one that cannot be read is told, and the others still are. Whether
/// any had something recognised.
///
/// # Errors
/// The first file's error, after all; at once when the output cannot be written.
pub(super) fn each(
    files: &[PathBuf],
    mut work: impl FnMut(&PathBuf) -> Result<bool, Error>,
) -> Result<bool, Error> {
    let (mut recognised, mut failure) = (false, None);
    for file in files {
        match work(file) {
            Ok(any) => recognised |= any,
            Err(error @ Error::Output(_)) => return Err(error),
            Err(error) => {
                // said at once, so that the order on the terminal is the order of the files
                if failure.is_some() || files.len() > 1 {
                    eprintln!("demeanor: {error}");
                }
                failure = failure.or(Some(error));
            }
        }
    }
    failure.map_or(Ok(recognised), Err)
}
