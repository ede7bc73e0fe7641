//! The section `[ros]`: which robot is told what.

use super::outputs::{Publish, place};
use serde::Deserialize;
use std::fmt;
use std::net::Ipv4Addr;

/// Domains beyond have no ports.
const LAST_DOMAIN: u16 = 232;

/// Answers, faces and states as ROS topics.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub struct Ros {
    /// How they get there.
    pub way: Way,
    /// What is told.
    pub publish: Publish,
    /// Words that people said go out as well.
    pub words: bool,
}

/// How topics reach a robot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By a rosbridge.
    Bridge(Bridge),
    /// By DDS.
    Domain(Domain),
}

/// A domain of DDS: who is in the same one on a network sees each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// `ROS_DOMAIN_ID`.
    pub number: u16,
    /// Of the board's addresses the only one that is used; all of them when it is left out.
    pub address: Option<Ipv4Addr>,
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ROS domain {}", self.number)?;
        match self.address {
            Some(address) => write!(f, " on {address}"),
            None => Ok(()),
        }
    }
}

/// The section as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    bridge: Option<Bridge>,
    domain: Option<u16>,
    address: Option<Ipv4Addr>,
    publish: Publish,
    words: bool,
}

impl TryFrom<Table> for Ros {
    type Error = String;

    fn try_from(table: Table) -> Result<Ros, String> {
        let way = match (table.bridge, table.domain, table.address) {
            (Some(bridge), None, None) => Way::Bridge(bridge),
            (None, Some(number), address) if number <= LAST_DOMAIN => {
                Way::Domain(Domain { number, address })
            }
            (None, Some(number), _) => {
                return Err(format!(
                    "`ros.domain` is {number}; write the robot's ROS_DOMAIN_ID, 0 to {LAST_DOMAIN}"
                ));
            }
            (None, None, None) => {
                return Err(
                    "`ros.bridge` is missing; write bridge = \"ws://localhost:9090\" for a \
                     rosbridge of this machine, or domain = 0 for DDS"
                        .into(),
                );
            }
            (Some(_), Some(_), _) => {
                return Err("`ros` has a bridge and a domain; leave out one of them".into());
            }
            (_, None, Some(_)) => {
                return Err("`ros.address` is for DDS; write domain = 0 with it".into());
            }
        };
        Ok(Ros {
            way,
            publish: table.publish,
            words: table.words,
        })
    }
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

#[cfg(test)]
mod tests {
    use super::super::outputs::Part;
    use super::*;

    fn ros(text: &str) -> Result<Ros, String> {
        toml::from_str(text).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn a_bridge_is_an_address_and_neither_faces_nor_words_are_told_unasked() {
        for (text, bridge) in [
            ("ws://robot.local", "ws://robot.local:9090/"),
            ("ws://10.0.0.2:80/ros", "ws://10.0.0.2:80/ros"),
            ("ws://[::1]/", "ws://[::1]:9090/"),
        ] {
            let ros = ros(&format!("bridge = {text:?}")).unwrap();
            assert!(matches!(&ros.way, Way::Bridge(way) if way.to_string() == bridge));
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

    #[test]
    fn a_domain_goes_without_a_bridge() {
        for (text, domain) in [
            ("domain = 0", "ROS domain 0"),
            (
                "domain = 232\naddress = \"127.0.0.1\"",
                "ROS domain 232 on 127.0.0.1",
            ),
        ] {
            let ros = ros(text).unwrap();
            assert!(matches!(&ros.way, Way::Domain(way) if way.to_string() == domain));
            assert!(!ros.words && !ros.publish.tells(Part::Faces));
        }
        let bridge = "bridge = \"ws://robot\"\n";
        for (text, what) in [
            (format!("{bridge}domain = 0"), "leave out one of them"),
            (
                format!("{bridge}address = \"127.0.0.1\""),
                "`ros.address` is for DDS",
            ),
            ("address = \"127.0.0.1\"".into(), "`ros.address` is for DDS"),
            ("domain = 233".into(), "`ros.domain` is 233"),
            ("domain = -1".into(), "u16"),
            ("domain = 0\naddress = \"robot\"".into(), "IPv4"),
        ] {
            let said = ros(&text).unwrap_err();
            assert!(said.contains(what), "{text}: {said}");
        }
    }
}
