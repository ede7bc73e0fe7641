//! Where events go beside standard output, and whether as counts alone. Without the sections of
//! listeners, and `[audio] ignore_while`, no socket is opened.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// JSON lines for programs of this machine, on a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    /// Where it lies.
    pub path: PathBuf,
    /// Who may connect: the permissions of its file.
    #[serde(default)]
    pub mode: Mode,
    /// The group of its file, by name or number; that of the process when it is left out.
    pub group: Option<String>,
    /// Words that people said go out as well.
    #[serde(default)]
    pub words: bool,
}

/// Permissions of a file, written as `chmod` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mode(pub u32);

impl Default for Mode {
    /// Owner and group.
    fn default() -> Self {
        Mode(0o660)
    }
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Mode, String> {
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Mode(mode)),
            _ => Err(format!(
                "`{text}` is no file mode; write it as \"0660\", which lets owner and group connect"
            )),
        }
    }
}

/// A page, live events and figures, by HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// A file with the token that every request must bear; needed beyond this machine.
    pub token_file: Option<PathBuf>,
    /// Names by which browsers may reach it, beside `localhost` and its address.
    pub hosts: Vec<String>,
    /// Whether the remote mute latch may be turned.
    pub mute: bool,
    /// Words that people said go out as well.
    pub words: bool,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            listen: SocketAddr::from(([127, 0, 0, 1], 8642)),
            token_file: None,
            hosts: Vec::new(),
            mute: true,
            words: false,
        }
    }
}

impl Http {
    /// Whether it may be opened as it is.
    ///
    /// # Errors
    /// In a sentence, an address that others reach without a token, or that nobody can name.
    pub(super) fn check(&self) -> Result<(), String> {
        let address = self.listen.ip();
        if !address.is_loopback() && self.token_file.is_none() {
            return Err(format!(
                "`http.listen` is {address}, which other machines reach, and `http.token_file` is \
                 missing; name a file with a token, or listen on 127.0.0.1"
            ));
        }
        if address.is_unspecified() && self.hosts.is_empty() {
            return Err(format!(
                "`http.listen` is {address}, every address of the machine; name in `http.hosts` \
                 by which of them browsers reach it, as hosts = [\"kiosk.local\"]"
            ));
        }
        let wrong = |host: &&String| {
            let is_word = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
            host.is_empty() || !host.chars().all(is_word)
        };
        match self.hosts.iter().find(wrong) {
            Some(host) => Err(format!(
                "`{host}` in `http.hosts` is no name of a host; write \"kiosk.local\" or \
                 \"kiosk.local:8642\""
            )),
            None => Ok(()),
        }
    }
}

/// What may be told to others than this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Answers without their scores.
    Labels,
    /// Answers with their scores.
    Scores,
    /// How many faces are in sight, and whose an answer is: numbers of this session.
    Faces,
    /// Whether somebody speaks, while they do; not who, and not what.
    Voices,
    /// Capturing or muted, sources, what is wrong.
    State,
    /// Temperature, memory, losses.
    Health,
}

/// What is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Publish(Vec<Part>);

impl Default for Publish {
    /// What a dashboard shows, and no scores or faces.
    fn default() -> Self {
        Publish(vec![Part::Labels, Part::State, Part::Health])
    }
}

impl Publish {
    /// Whether a part is told.
    pub fn tells(&self, part: Part) -> bool {
        self.0.contains(&part)
    }

    /// Whether answers are told.
    pub fn tells_answers(&self) -> bool {
        self.tells(Part::Labels) || self.tells(Part::Scores)
    }
}

/// Host and port of `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`.
pub(super) fn place(text: &str, usual: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None if port.is_empty() => usual,
        None => return None,
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    let is_host = !host.is_empty() && host.chars().all(is_name);
    is_host.then(|| (host.to_owned(), port))
}

/// Counts are told instead of answers, for those who may not look at persons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Aggregate {
    /// Length of a window.
    pub minutes: u32,
    /// Counts of fewer answers are not told; they are carried into the next window.
    pub at_least: u32,
}

impl Default for Aggregate {
    fn default() -> Self {
        Aggregate {
            minutes: 5,
            at_least: 5,
        }
    }
}

impl Aggregate {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// In a sentence, a window or a count that would tell single answers, or nothing ever.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=1440).contains(&self.minutes) {
            return Err("`aggregate.minutes` must lie in 1..=1440".into());
        }
        if !(2..=1000).contains(&self.at_least) {
            return Err(
                "`aggregate.at_least` must lie in 2..=1000 answers, for one alone is somebody's"
                    .into(),
            );
        }
        Ok(())
    }

    /// Length of a window.
    pub fn window(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.minutes))
    }

    /// What pages and brokers are told of it.
    pub fn to_json(self) -> Value {
        json!({ "minutes": self.minutes, "at_least": self.at_least })
    }
}

fn address<'de, D: Deserializer<'de>>(written: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(written)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!(
            "`{text}` is no address with a port; write listen = \"127.0.0.1:8642\""
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(text: &str) -> Result<Http, String> {
        let http: Http = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        http.check().map(|()| http)
    }

    #[test]
    fn an_empty_section_is_this_machine_alone() {
        let http = http("").unwrap();
        assert!(http.listen.ip().is_loopback() && http.mute && !http.words);
        let socket: Socket = toml::from_str("path = \"x\"").unwrap();
        assert_eq!((socket.mode, socket.words), (Mode(0o660), false));
    }

    #[test]
    fn beyond_this_machine_a_token_and_a_name_are_needed() {
        let outside = "listen = \"0.0.0.0:80\"\n";
        let token = "token_file = \"x\"\n";
        let said = http(outside).unwrap_err();
        assert!(said.contains("http.token_file"), "{said}");
        let said = http(&format!("{outside}{token}")).unwrap_err();
        assert!(said.contains("http.hosts"), "{said}");
        let named = format!("{outside}{token}hosts = [\"kiosk.local\"]");
        assert!(http(&named).is_ok());
        let one = format!("listen = \"192.168.0.1:80\"\n{token}");
        assert!(http(&one).is_ok());
    }

    #[test]
    fn counts_are_of_some_minutes_and_never_of_one_answer() {
        let aggregate = |text: &str| {
            let section: Aggregate = toml::from_str(text).map_err(|e| e.message().to_owned())?;
            section.check().map(|()| section)
        };
        let usual = aggregate("").unwrap();
        assert_eq!((usual.minutes, usual.at_least), (5, 5));
        assert_eq!(usual.window(), Duration::from_secs(300));
        for (text, what) in [
            ("minutes = 0", "`aggregate.minutes` must lie"),
            ("minutes = 1441", "`aggregate.minutes` must lie"),
            ("minutes = 0.5", "invalid type"),
            ("at_least = 1", "one alone is somebody's"),
            ("at_least = 1001", "`aggregate.at_least` must lie"),
            ("seconds = 5", "unknown field `seconds`"),
        ] {
            let said = aggregate(text).unwrap_err();
            assert!(said.contains(what), "{said}");
        }
    }

    #[test]
    fn what_is_no_address_no_host_and_no_mode_is_told() {
        for (text, what) in [
            (
                "listen = \"localhost\"",
                "`localhost` is no address with a port",
            ),
            ("listen = 8642", "expected a string"),
            ("hosts = [\"http://x\"]", "`http://x` in `http.hosts`"),
            ("hosts = [\"\"]", "`` in `http.hosts`"),
            ("port = 1", "unknown field `port`"),
        ] {
            let said = http(text).unwrap_err();
            assert!(said.contains(what), "{said}");
        }
        let socket = toml::from_str::<Socket>("path = \"x\"\nmode = \"rw\"");
        assert!(socket.is_err_and(|e| e.message().contains("`rw` is no file mode")));
    }
}
