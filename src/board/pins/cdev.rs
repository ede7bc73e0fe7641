//! Lines of `/dev/gpiochip*`, on linux-embedded-hal.
//!
//! The kernel is never asked to invert a line: `CdevPin` undoes that, so that its high and
//! low are always levels on the wire.

use crate::board::BoardError;
use crate::board::profile::{Bias, Line};
use linux_embedded_hal::CdevPin;
use linux_embedded_hal::gpio_cdev::{Chip, Error, LineRequestFlags};
use std::error::Error as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A line of the kernel: high and low are levels on the wire.
pub(super) type Handle = CdevPin;

/// Which way a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Output,
    Input,
}

/// Takes a line. An output is driven to its inactive level in the same step.
pub(super) fn take(
    line: &Line,
    direction: Direction,
    consumer: &str,
) -> Result<Handle, BoardError> {
    let mut chip = chip(Path::new("/dev"), &line.chip)?;
    let lines = chip.num_lines();
    if line.line >= lines {
        let what = format!("the controller has lines 0 to {}", lines.saturating_sub(1));
        return Err(refused(
            line,
            what,
            "see `gpioinfo` for the lines there are",
        ));
    }
    let failed = |e| failed(line, direction, &e);
    let kernel = chip.get_line(line.line).map_err(failed)?;
    let info = kernel.info().map_err(failed)?;
    // `is_used` also holds for a free line that was once an output
    if info.is_kernel() {
        return Err(BoardError::InUse {
            chip: line.chip.clone(),
            line: line.line,
            by: info.consumer().unwrap_or("the kernel").to_owned(),
        });
    }
    let (flags, inactive) = (flags(line.bias, direction), u8::from(line.active_low));
    let handle = kernel.request(flags, inactive, consumer).map_err(failed)?;
    CdevPin::new(handle).map_err(failed)
}

/// What the kernel is asked for. The flags of a bias came with Linux 5.5, after gpio-cdev's
/// list was made.
fn flags(bias: Bias, direction: Direction) -> LineRequestFlags {
    let way = match direction {
        Direction::Output => LineRequestFlags::OUTPUT,
        Direction::Input => LineRequestFlags::INPUT,
    };
    let bias = match bias {
        Bias::AsIs => 0,
        Bias::PullUp => 1 << 5,
        Bias::PullDown => 1 << 6,
        Bias::Disabled => 1 << 7,
    };
    LineRequestFlags::from_bits_retain(way.bits() | bias)
}

/// The controller with the label, of those under `dev`.
fn chip(dev: &Path, label: &str) -> Result<Chip, BoardError> {
    let (mut others, mut denied) = (Vec::new(), None);
    for path in devices(dev) {
        match Chip::new(&path) {
            Ok(chip) if chip.label() == label => return Ok(chip),
            Ok(chip) => others.push(format!("`{}`", chip.label())),
            Err(e) => match system(&e) {
                Some(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    denied = Some((path, io::Error::from(e.kind())));
                }
                _ => log::debug!("{}: {e}", path.display()),
            },
        }
    }
    let label = label.to_owned();
    Err(match denied {
        Some((path, source)) => BoardError::Denied {
            label,
            path: path.display().to_string(),
            source,
        },
        None => BoardError::NoChip {
            label,
            found: if others.is_empty() {
                "this machine has no GPIO controller".into()
            } else {
                format!("this machine has only {}", others.join(", "))
            },
        },
    })
}

/// `gpiochip0` and its like, in a fixed order.
fn devices(dev: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dev).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|e| e.file_name().to_string_lossy().starts_with("gpiochip"))
        .map(|e| e.path())
        .collect();
    paths.sort();
    paths
}

/// The system's own error, where it is the cause.
fn system(error: &Error) -> Option<&io::Error> {
    error.source()?.downcast_ref()
}

fn refused(line: &Line, what: String, advice: &'static str) -> BoardError {
    BoardError::Line {
        chip: line.chip.clone(),
        line: line.line,
        what,
        advice,
    }
}

/// The kernel's word in ours.
fn failed(line: &Line, direction: Direction, error: &Error) -> BoardError {
    let what = format!("it cannot be {}: {error}", direction.done());
    let advice = match line.bias {
        Bias::AsIs => "choose another line",
        _ => "leave `bias` out and wire a resistor, for kernels before 5.5 set none",
    };
    refused(line, what, advice)
}

impl Direction {
    fn done(self) -> &'static str {
        match self {
            Direction::Output => "driven",
            Direction::Input => "read",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_becomes_the_kernels_bit() {
        // GPIOHANDLE_REQUEST_* of linux/gpio.h
        let bits = |bias, way| flags(bias, way).bits();
        assert_eq!(bits(Bias::AsIs, Direction::Output), 0x02);
        assert_eq!(bits(Bias::PullUp, Direction::Input), 0x21);
        assert_eq!(bits(Bias::PullDown, Direction::Input), 0x41);
        assert_eq!(bits(Bias::Disabled, Direction::Input), 0x81);
    }

    #[test]
    fn a_machine_without_the_controller_is_told() {
        let dev = std::env::temp_dir().join(format!("demeanor-dev-{}", std::process::id()));
        fs::create_dir_all(&dev).expect("a folder");
        // a plain file answers no ioctl
        fs::write(dev.join("gpiochip0"), "").expect("a file");
        assert_eq!(devices(&dev), [dev.join("gpiochip0")]);
        let error = chip(&dev, "pinctrl-rp1").expect_err("no such controller");
        let said = error.to_string();
        assert!(
            said.contains("pinctrl-rp1") && said.contains("no GPIO controller"),
            "{said}"
        );
    }

    #[test]
    fn the_kernels_word_names_the_line() {
        let line = Line {
            chip: "c".into(),
            line: 7,
            active_low: false,
            bias: Bias::PullUp,
        };
        let error = Error::from(io::Error::other("odd"));
        let said = failed(&line, Direction::Input, &error).to_string();
        assert!(
            said.contains("GPIO line 7 of c: it cannot be read")
                && said.contains("odd; leave `bias` out"),
            "{said}"
        );
    }
}
