//! What tells that the device itself speaks: its own sentences are nobody's emotion.

use super::outputs::Mode;
use crate::capture::OwnChannel;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// While this holds, what the microphone hears is not judged.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub enum IgnoreWhile {
    /// A program of the device holds a connection to a socket.
    Connected(Speaking),
    /// The loudspeaker's channel of the source sounds.
    Sounds(OwnChannel),
}

/// A socket to which the device's voice is connected while it speaks.
#[derive(Debug, Clone, PartialEq)]
pub struct Speaking {
    /// Where it lies.
    pub socket: PathBuf,
    /// Who may connect: the permissions of its file.
    pub mode: Mode,
    /// The group of its file, by name or number; that of the process when it is left out.
    pub group: Option<String>,
    /// For so long behind the end of a connection the loudspeaker and the room are not silent.
    pub after: Duration,
    /// A connection that lasts longer was forgotten, and counts no more.
    pub longest: Duration,
}

/// How it stands in the file.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "`ignore_while` is a socket's path, { socket = \"PATH\" } with mode, group, after and \
                 longest, or { channel = 5 } with above and after"
)]
enum Written {
    Path(PathBuf),
    Socket(WrittenSocket),
    Channel(WrittenChannel),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSocket {
    socket: PathBuf,
    #[serde(default)]
    mode: Mode,
    group: Option<String>,
    #[serde(default = "after")]
    after: f64,
    #[serde(default = "longest")]
    longest: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenChannel {
    channel: u16,
    #[serde(default = "above")]
    above: f32,
    #[serde(default = "after")]
    after: f64,
}

/// What a room of ordinary size rings for.
fn after() -> f64 {
    0.3
}

/// No sentence of a device is longer.
fn longest() -> f64 {
    60.0
}

/// Above the noise of a loopback, below the softest voice that anybody hears.
fn above() -> f32 {
    -50.0
}

impl TryFrom<Written> for IgnoreWhile {
    type Error = String;

    fn try_from(written: Written) -> Result<IgnoreWhile, String> {
        let seconds = |name: &str, value: f64, least: f64, most: f64| match value {
            value if (least..=most).contains(&value) => Ok(Duration::from_secs_f64(value)),
            _ => Err(format!(
                "`audio.ignore_while.{name}` must lie in {least}..={most} seconds"
            )),
        };
        let socket = |written: WrittenSocket| {
            Ok(IgnoreWhile::Connected(Speaking {
                after: seconds("after", written.after, 0.0, 10.0)?,
                longest: seconds("longest", written.longest, 1.0, 3600.0)?,
                socket: written.socket,
                mode: written.mode,
                group: written.group,
            }))
        };
        match written {
            Written::Path(path) => socket(WrittenSocket {
                socket: path,
                mode: Mode::default(),
                group: None,
                after: after(),
                longest: longest(),
            }),
            Written::Socket(written) => socket(written),
            Written::Channel(written) if !(-90.0..=0.0).contains(&written.above) => {
                Err("`audio.ignore_while.above` must lie in -90..=0 dB of full scale".into())
            }
            Written::Channel(written) => Ok(IgnoreWhile::Sounds(OwnChannel {
                number: written.channel,
                above: written.above,
                after: seconds("after", written.after, 0.0, 10.0)?,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<IgnoreWhile, String> {
        let table: toml::Table = toml::from_str(&format!("x = {value}")).expect("TOML");
        let value = table.get("x").cloned().expect("it is there");
        IgnoreWhile::deserialize(value).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn a_path_is_a_socket_with_room_for_its_echo() {
        let Ok(IgnoreWhile::Connected(speaking)) = read("\"/run/demeanor/speaking.sock\"") else {
            panic!("a socket")
        };
        assert_eq!(speaking.after, Duration::from_millis(300));
        assert_eq!(speaking.longest, Duration::from_secs(60));
        let long = read("{ socket = \"x\", longest = 120, after = 1.5, mode = \"0666\" }");
        assert!(long.is_ok_and(|way| matches!(way, IgnoreWhile::Connected(s)
            if s.longest.as_secs() == 120 && s.mode == Mode(0o666))));
    }

    #[test]
    fn a_channel_sounds_above_a_level() {
        let Ok(IgnoreWhile::Sounds(own)) = read("{ channel = 5 }") else {
            panic!("a channel")
        };
        assert_eq!((own.number, own.above), (5, -50.0));
    }

    #[test]
    fn what_is_neither_is_told() {
        for (wrong, said) in [
            ("5", "is a socket's path"),
            ("{ channel = 5, socket = \"x\" }", "is a socket's path"),
            ("{ channel = 5, below = 1 }", "is a socket's path"),
            ("{ channel = 5, above = 20.0 }", "dB of full scale"),
            ("{ channel = 5, after = 11.0 }", "ignore_while.after"),
            ("{ socket = \"x\", longest = 0.0 }", "ignore_while.longest"),
            ("{ socket = \"x\", after = nan }", "ignore_while.after"),
        ] {
            let told = read(wrong).expect_err(wrong);
            assert!(told.contains(said), "{wrong}: {told}");
        }
    }
}
