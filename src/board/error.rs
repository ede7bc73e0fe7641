//! What can go wrong with a board, as sentences.

/// A board that is not known, or pins that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// A name without a profile.
    #[error("--board {name}: no such board; known are {known}")]
    Unknown {
        /// The name as it was given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// No GPIO controller has the label.
    #[error(
        "GPIO controller {label}: {found}; name the label that `gpiodetect` shows for it, or \
         write `led = \"none\"` and `line = \"none\"` where nothing is wired"
    )]
    NoChip {
        /// The label that was looked for.
        label: String,
        /// What was found instead.
        found: String,
    },
    /// A controller is there, but may not be opened.
    #[error(
        "GPIO controller {label}: {path} may not be opened ({source}); add the user to the \
         group that owns it (`gpio` on Raspberry Pi OS and JetPack), or run as root"
    )]
    Denied {
        /// The label that was looked for.
        label: String,
        /// The device that could not be opened.
        path: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// A line that cannot be had.
    #[error("GPIO line {line} of {chip}: {what}; {advice}")]
    Line {
        /// The controller's label.
        chip: String,
        /// The line's offset.
        line: u32,
        /// What is wrong.
        what: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// A line that somebody else holds.
    #[error("GPIO line {line} of {chip}: it is in use by {by}; end that, or choose another line")]
    InUse {
        /// The controller's label.
        chip: String,
        /// The line's offset.
        line: u32,
        /// Who holds it, as `gpioinfo` shows it.
        by: String,
    },
    /// A line that was had and failed later.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// A line that was had and failed later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "GPIO line {line} of {chip}: {what}; check that the controller is still there and start again"
)]
pub struct PinError {
    /// The controller's label.
    pub chip: String,
    /// The line's offset.
    pub line: u32,
    /// The system's word.
    pub what: String,
}

impl embedded_hal::digital::Error for PinError {
    fn kind(&self) -> embedded_hal::digital::ErrorKind {
        embedded_hal::digital::ErrorKind::Other
    }
}
