//! Placeholder until merged.
use crate::Error;
use crate::event::Event;
use crate::tasks::sentiment::Attention;
use crate::vision::Picture;
use std::path::Path;
/// Page.
pub struct Page<'a> {
    /// .
    pub picture: &'a Picture,
    /// .
    pub words: &'a str,
    /// .
    pub tokens: &'a [String],
    /// .
    pub attention: Option<&'a Attention>,
    /// .
    pub events: &'a [Event],
}
/// .
pub fn check(_: &Path) -> Result<(), Error> {
    Ok(())
}
/// .
pub fn annotate(_: &Path, _: &Page<'_>) -> Result<(), Error> {
    Ok(())
}
