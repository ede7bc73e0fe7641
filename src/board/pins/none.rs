//! What stands in for GPIO lines where the kernel is no Linux.

use crate::board::profile::Line;
use crate::board::{BoardError, PinError};
use embedded_hal::digital::{ErrorType, InputPin, OutputPin};

/// A line, of which such a machine can have none: no value of this type exists.
pub(super) enum Handle {}

/// Which way a line goes.
pub(super) enum Direction {
    Output,
    Input,
}

/// Always fails.
pub(super) fn take(line: &Line, _: Direction, _: &str) -> Result<Handle, BoardError> {
    Err(BoardError::NoChip {
        label: line.chip.clone(),
        found: "lines are driven on Linux alone".into(),
    })
}

impl ErrorType for Handle {
    type Error = PinError;
}

impl OutputPin for Handle {
    fn set_low(&mut self) -> Result<(), PinError> {
        match *self {}
    }

    fn set_high(&mut self) -> Result<(), PinError> {
        match *self {}
    }
}

impl InputPin for Handle {
    fn is_high(&mut self) -> Result<bool, PinError> {
        match *self {}
    }

    fn is_low(&mut self) -> Result<bool, PinError> {
        match *self {}
    }
}
