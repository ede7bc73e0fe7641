//! Boards: what each offers, read from `boards/` when the binary is built.

pub mod profile;

use profile::Profile;

include!(concat!(env!("OUT_DIR"), "/boards.rs"));

/// Every board this binary knows: its name and its parsed profile.
pub fn all() -> impl Iterator<Item = Profile> {
    // build.rs parsed the same text with the same code, so nothing is dropped here
    BOARDS.iter().filter_map(|text| Profile::parse(text).ok())
}

/// The profile called `name`.
pub fn by_name(name: &str) -> Option<Profile> {
    all().find(|board| board.name == name)
}
