//! Which channels of a source with several are heard.
//!
//! `build.rs` includes this very file for the boards' profiles, so it knows nothing of the
//! rest.

use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// The channel to hear, where a source has several.
///
/// Microphones of an array hear the same voice some tenths of a millisecond apart, so their
/// mean is a comb filter; the two wires of a balanced microphone carry it in opposite phase,
/// so their mean is silence. One channel is therefore heard by default, and the mean only on
/// request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "Written")]
pub enum Channel {
    /// The one with the voice: the loudest that rises above its own noise. It is held until
    /// another is clearly louder, so of two speakers with a microphone each, both are heard.
    #[default]
    Best,
    /// The mean of all channels that are alive.
    Mix,
    /// This one, counted from 0 as the makers of microphone arrays do.
    Number(u16),
}

impl FromStr for Channel {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "best" => Ok(Channel::Best),
            "mix" => Ok(Channel::Mix),
            word => word.parse().map(Channel::Number).map_err(|_| {
                format!("`{word}` is no channel; write `best`, `mix`, or a number from 0")
            }),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Channel::Best => f.write_str("best"),
            Channel::Mix => f.write_str("mix"),
            Channel::Number(number) => write!(f, "{number}"),
        }
    }
}

/// How it stands in a TOML file: a number or a word.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a channel is \"best\", \"mix\", or a number from 0"
)]
enum Written {
    Number(u16),
    Word(String),
}

impl TryFrom<Written> for Channel {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(number) => Ok(Channel::Number(number)),
            Written::Word(word) => word.parse(),
        }
    }
}
