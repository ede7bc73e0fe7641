//! `demeanor devices`: audio inputs and boards.

use crate::Error;
use crate::board;
use crate::capture::mic;
use std::io::Write;

/// Lists what `--audio` and `--board` may name.
///
/// # Errors
/// A build without a microphone, or an output that went away.
pub fn devices(out: &mut impl Write) -> Result<bool, Error> {
    for board in board::all() {
        writeln!(out, "board  {:<18} {}", board.name, board.summary).map_err(Error::Output)?;
    }
    let inputs = mic::devices()?;
    for input in &inputs {
        writeln!(out, "audio  {:<30} {}", input.id, input.name).map_err(Error::Output)?;
    }
    out.flush().map_err(Error::Output)?;
    Ok(!inputs.is_empty())
}
