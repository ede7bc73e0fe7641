//! `demeanor fusion`: the catalogue, for people, as the documentation page, and for scripts.

#[cfg(feature = "research")]
mod print;

#[cfg(feature = "research")]
pub use print::fusion;

#[cfg(not(feature = "research"))]
use crate::Error;

/// How the catalogue is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line or two for each operator.
    List,
    /// The documentation page.
    Page,
    /// One JSON object.
    Json,
}

/// What a build without the feature `research` says.
#[cfg(not(feature = "research"))]
pub(super) fn left_out() -> Error {
    let what =
        "this build leaves out the study of fusion operators; use one with the feature research";
    Error::Usage(what.into())
}

/// Prints the catalogue, where there is one.
///
/// # Errors
/// Always: this build has no catalogue.
#[cfg(not(feature = "research"))]
pub fn fusion(_: Format, _: &mut impl std::io::Write) -> Result<bool, Error> {
    Err(left_out())
}
