//! Boards: what each offers, which one this is, its lamp and its button.
//!
//! Profiles are read from `boards/` when the binary is built. [`Indicator`] and [`Button`]
//! are written on the traits of embedded-hal and polled as `nb` has it; [`pins`] gives them
//! the kernel's GPIO lines. [`thermal`] says how hot it is and whether the clock is held back.

mod button;
mod detect;
mod error;
mod indicator;
pub mod pins;
pub mod profile;
pub mod thermal;

pub use button::{Button, Pressed};
pub use detect::{choose, detect};
pub use error::{BoardError, PinError};
pub use indicator::{Indicator, Signal};

use crate::kernels::Level;
use profile::{Cpu, Profile};

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

/// The lowest level of kernels that a board's CPU must have; `None` where any will do.
pub fn least_level(cpu: Cpu) -> Option<Level> {
    match cpu {
        Cpu::Detect => None,
        Cpu::Neon => Some(Level::Neon),
        Cpu::NeonDotprod => Some(Level::NeonDot),
    }
}
