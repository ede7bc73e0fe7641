//! GPIO lines of this machine, through the kernel's character devices.
//!
//! Controllers are found by their label, never by their number, which changes between boots
//! and kernels. Lines come as [`Output`] and [`Input`], for which high means *active*: lit,
//! pressed. Whether that is a high or a low level on the wire is the [`Line`]'s affair.

#[cfg(target_os = "linux")]
#[path = "pins/cdev.rs"]
mod lines;
#[cfg(not(target_os = "linux"))]
#[path = "pins/none.rs"]
mod lines;

use super::profile::Line;
use super::{BoardError, PinError};
use embedded_hal::digital::{ErrorType, InputPin, OutputPin};
use std::fmt;

/// A line that is driven; inactive when it is had.
#[derive(Debug)]
pub struct Output(Wired);

/// A line that is read.
#[derive(Debug)]
pub struct Input(Wired);

/// The kernel's handle, and what is known about the line.
struct Wired {
    handle: lines::Handle,
    line: Line,
}

/// Takes a line to drive it. `consumer` is what `gpioinfo` shows as its user.
///
/// # Errors
/// No such controller, no permission, no such line, or a line that is in use.
pub fn output(line: &Line, consumer: &str) -> Result<Output, BoardError> {
    let handle = lines::take(line, lines::Direction::Output, consumer)?;
    let line = line.clone();
    Ok(Output(Wired { handle, line }))
}

/// Takes a line to read it.
///
/// # Errors
/// As [`output`].
pub fn input(line: &Line, consumer: &str) -> Result<Input, BoardError> {
    let handle = lines::take(line, lines::Direction::Input, consumer)?;
    let line = line.clone();
    Ok(Input(Wired { handle, line }))
}

impl fmt::Debug for Wired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line.fmt(f)
    }
}

impl Wired {
    fn failed(&self, what: impl ToString) -> PinError {
        PinError {
            chip: self.line.chip.clone(),
            line: self.line.line,
            what: what.to_string(),
        }
    }

    fn set(&mut self, active: bool) -> Result<(), PinError> {
        let level = active != self.line.active_low;
        let set = self.handle.set_state(level.into());
        set.map_err(|e| self.failed(e))
    }

    fn get(&mut self) -> Result<bool, PinError> {
        let level = self.handle.is_high().map_err(|e| self.failed(e))?;
        Ok(level != self.line.active_low)
    }
}

impl ErrorType for Output {
    type Error = PinError;
}

impl OutputPin for Output {
    fn set_low(&mut self) -> Result<(), PinError> {
        self.0.set(false)
    }

    fn set_high(&mut self) -> Result<(), PinError> {
        self.0.set(true)
    }
}

impl ErrorType for Input {
    type Error = PinError;
}

impl InputPin for Input {
    fn is_high(&mut self) -> Result<bool, PinError> {
        self.0.get()
    }

    fn is_low(&mut self) -> Result<bool, PinError> {
        self.0.get().map(|active| !active)
    }
}
