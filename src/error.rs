//! Errors that reach a user: one sentence that names what, says what was wrong, and what
//! to do.

use std::io;
use std::path::PathBuf;

/// Anything that stops a command. `Display` is the whole sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line is not one we understand.
    #[error("{0}; see `demeanor --help`")]
    Usage(String),
    /// A configuration file is missing something or says something unknown.
    #[error("{path}: {what}", path = .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        what: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}; check that it exists and may be {doing}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        doing: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// Sound or words could not be had.
    #[error(transparent)]
    Capture(#[from] crate::capture::CaptureError),
    /// A picture that cannot be had.
    #[error(transparent)]
    Picture(#[from] crate::vision::PictureError),
    /// The board, or a line of it, cannot be had.
    #[error(transparent)]
    Board(#[from] crate::board::BoardError),
    /// A bundle was refused or a model failed.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// A table for `eval` is not as documented.
    #[error("{path}: {what}", path = .path.display())]
    Table {
        /// The CSV file.
        path: PathBuf,
        /// What is wrong, with the line.
        what: String,
    },
    /// What was given teaches no head, or only half of what it should.
    #[error("{0}")]
    Unfit(String),
    /// An output cannot be opened.
    #[error("{0}")]
    Listen(String),
    /// The end was asked for, and something did not come to it.
    #[error("{0}; the run was ended without it")]
    Unfinished(String),
    /// Of several files some failed; each has been told.
    #[error(
        "{failed} of {all} files failed; what is said above of {each} says what to do",
        each = if *failed == 1 { "it" } else { "each" }
    )]
    Files {
        /// How many failed.
        failed: usize,
        /// How many there were.
        all: usize,
    },
    /// The doctor found something that does not work.
    #[error(
        "{failed} {checks} failed; the report says what to do about {it}",
        checks = if *failed == 1 { "check" } else { "checks" },
        it = if *failed == 1 { "it" } else { "each" }
    )]
    Unhealthy {
        /// How many checks.
        failed: usize,
    },
    /// Standard output went away or could not be written.
    #[error("standard output: {0}; nothing more can be reported")]
    Output(io::Error),
}

impl Error {
    /// A closed pipe is the reader's wish to stop, no failure of ours.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}
