//! The section `[ros]`: which robot is told what.

use super::outputs::{Publish, place};
use serde::Deserialize;
use std::fmt;

/// Answers, faces and states as ROS topics.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ros {
    /// Where a rosbridge listens.
    pub bridge: Option<Bridge>,
    /// What is told.
    pub publish: Publish,
    /// Words that people said go out as well.
    pub words: bool,
}

/// The address of a rosbridge.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Bridge {
    /// Name or address.
    pub host: String,
    /// Of TCP.
    pub port: u16,
    /// What is asked for there; begins with `/`.
    pub path: String,
}

impl fmt::Display for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bridge { host, port, path } = self;
        match host.contains(':') {
            true => write!(f, "ws://[{host}]:{port}{path}"),
            false => write!(f, "ws://{host}:{port}{path}"),
        }
    }
}

impl TryFrom<String> for Bridge {
    type Error = String;

    fn try_from(text: String) -> Result<Bridge, String> {
        let parsed = text.strip_prefix("ws://").and_then(|rest| {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let is_plain = |c: char| c.is_ascii_graphic() && !"#\"<>\\^`{|}".contains(c);
            let (host, port) = place(authority, 9090)?;
            // an address with a zone has no place in a request
            let is_sound = !host.contains('%') && path.chars().all(is_plain);
            is_sound.then(|| Bridge {
                host,
                port,
                path: if path.is_empty() { "/" } else { path }.into(),
            })
        });
        parsed.ok_or_else(|| {
            format!("`{text}` is no rosbridge; write bridge = \"ws://robot.local:9090\"")
        })
    }
}

impl Ros {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// In a sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.bridge {
            Some(_) => Ok(()),
            None => Err(
                "`ros.bridge` is missing; write bridge = \"ws://localhost:9090\" for a rosbridge \
                 of this machine"
                    .into(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outputs::Part;
    use super::*;

    fn ros(text: &str) -> Result<Ros, String> {
        let ros: Ros = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        ros.check().map(|()| ros)
    }

    #[test]
    fn a_bridge_is_an_address_and_neither_faces_nor_words_are_told_unasked() {
        for (text, bridge) in [
            ("ws://robot.local", "ws://robot.local:9090/"),
            ("ws://10.0.0.2:80/ros", "ws://10.0.0.2:80/ros"),
            ("ws://[::1]/", "ws://[::1]:9090/"),
        ] {
            let ros = ros(&format!("bridge = {text:?}")).unwrap();
            assert_eq!(ros.bridge.unwrap().to_string(), bridge);
            assert!(!ros.words && !ros.publish.tells(Part::Faces));
        }
    }

    #[test]
    fn what_is_no_bridge_is_told() {
        for text in [
            "robot",
            "http://robot",
            "wss://robot",
            "ws://",
            "ws://a b",
            "ws://robot:0",
            "ws://robot/a b",
            "ws://robot/\u{e4}",
            "ws://user@robot",
            "ws://[fe80::1%eth0]",
        ] {
            let said = ros(&format!("bridge = {text:?}")).unwrap_err();
            assert!(said.contains("is no rosbridge"), "{text}: {said}");
        }
        assert!(ros("").unwrap_err().contains("`ros.bridge` is missing"));
        let said = ros("bridge = \"ws://robot\"\npublish = [\"words\"]").unwrap_err();
        assert!(said.contains("unknown variant `words`"), "{said}");
    }
}
