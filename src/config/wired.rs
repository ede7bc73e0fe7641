//! What is wired to GPIO lines: `[indicator]` and `[button]`.

use crate::board::profile::Line;
use serde::Deserialize;

/// A GPIO line in the config: `"board"`, `"none"`, or a chip's label with a line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "toml::Value")]
pub enum Wired {
    /// Left out: the board's, if its profile names one.
    #[default]
    Unsaid,
    /// The line of the board's profile; an error when it names none.
    Board,
    /// Nothing is wired.
    None,
    /// This line.
    To(Line),
}

impl TryFrom<toml::Value> for Wired {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        match value.as_str() {
            Some("board") => Ok(Wired::Board),
            Some("none") => Ok(Wired::None),
            Some(word) => Err(format!(
                "`{word}` is no GPIO line; write \"board\", \"none\", or {{ chip = \"label\", line = 17 }}"
            )),
            None => Line::deserialize(value)
                .map(Wired::To)
                .map_err(|e| format!("a GPIO line: {}", e.message())),
        }
    }
}

/// The lamp that says that capture is on. Where there is one, nothing is captured while it
/// cannot be lit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Indicator {
    /// Where the lamp is wired.
    pub led: Wired,
}

/// The button of the people in front of the device.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Button {
    /// Where the button is wired.
    pub line: Wired,
    /// What a press means.
    pub means: Means,
    /// Seconds that the line must rest before a press counts.
    pub debounce: f64,
}

impl Default for Button {
    fn default() -> Self {
        Button {
            line: Wired::Unsaid,
            means: Means::Mute,
            debounce: 0.02,
        }
    }
}

/// What a press means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// Capture starts on; a press stops it, the next one starts it again.
    Mute,
    /// Capture starts off; a press is consent and starts it, the next one withdraws it.
    Consent,
}
