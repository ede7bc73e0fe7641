//! The section `[mqtt]`: which broker is told what.

use super::outputs::{Publish, place};
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;

/// Levels of topics that are ours, and could not be a device's or a group's.
const RESERVED: [&str; 2] = ["all", "group"];

/// States and answers for a broker, and wishes from it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mqtt {
    /// Where it is.
    pub broker: Broker,
    /// What it speaks.
    pub version: Version,
    /// How it knows this device; `demeanor-DEVICE` when it is left out.
    pub client_id: Option<String>,
    /// What every topic begins with.
    pub topic: String,
    /// Devices that are told together beside `all`.
    pub group: Option<String>,
    /// The name to log in with.
    pub user: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// A file with the certificates (PEM) that the broker's must be signed by.
    pub ca: Option<PathBuf>,
    /// A file with a certificate (PEM) of this device.
    pub cert: Option<PathBuf>,
    /// A file with its key (PEM).
    pub key: Option<PathBuf>,
    /// What is told.
    pub publish: Publish,
    /// Words that people said go out as well.
    pub words: bool,
    /// Whether the remote mute latch may be turned, and the dialogue forgotten.
    pub mute: bool,
    /// What topics of Home Assistant's discovery begin with; `none` for no discovery.
    pub discovery: String,
    /// Seconds after which a broker forgets an answer.
    pub expire: u32,
}

impl Default for Mqtt {
    fn default() -> Self {
        Mqtt {
            broker: Broker::default(),
            version: Version::V5,
            client_id: None,
            topic: "demeanor".into(),
            group: None,
            user: None,
            password_file: None,
            ca: None,
            cert: None,
            key: None,
            publish: Publish::default(),
            words: false,
            mute: true,
            discovery: "homeassistant".into(),
            expire: 60,
        }
    }
}

/// The protocol's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Version {
    /// 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
    /// 5.
    #[serde(rename = "5")]
    V5,
}

/// The address of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Broker {
    /// Name or address.
    pub host: String,
    /// Of TCP.
    pub port: u16,
    /// Whether it is spoken to by TLS.
    pub tls: bool,
}

impl Default for Broker {
    /// On this machine.
    fn default() -> Self {
        Broker {
            host: "localhost".into(),
            port: 1883,
            tls: false,
        }
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl TryFrom<String> for Broker {
    type Error = String;

    fn try_from(text: String) -> Result<Broker, String> {
        let parsed = match text.split_once("://") {
            Some(("mqtt", rest)) => place(rest, 1883).map(|place| (place, false)),
            Some(("mqtts", rest)) => place(rest, 8883).map(|place| (place, true)),
            _ => None,
        };
        let ((host, port), tls) = parsed.ok_or_else(|| {
            format!(
                "`{text}` is no broker; write \"mqtt://HOST\", or \"mqtts://HOST:8883\" for TLS"
            )
        })?;
        Ok(Broker { host, port, tls })
    }
}

impl Mqtt {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// In a sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_level = |text: &str| {
            let is_plain = |c: char| !c.is_control() && !"+#".contains(c);
            !text.is_empty() && text.len() <= 128 && text.chars().all(is_plain)
        };
        if !is_level(&self.topic) || self.topic.starts_with(['$', '/']) {
            return Err(format!(
                "`{}` in `mqtt.topic` is no beginning of a topic; write topic = \"demeanor\"",
                self.topic
            ));
        }
        if !is_level(&self.discovery) || self.discovery.starts_with('$') {
            return Err(format!(
                "`{}` in `mqtt.discovery` is no beginning of a topic; write \"homeassistant\", \
                 or \"none\"",
                self.discovery
            ));
        }
        if let Some(group) = &self.group
            && (!is_level(group) || group.contains('/') || RESERVED.contains(&group.as_str()))
        {
            return Err(format!(
                "`{group}` in `mqtt.group` is no name of a group; write group = \"shop-1\""
            ));
        }
        if let Some(id) = &self.client_id
            && !is_level(id)
        {
            return Err(format!("`{id}` in `mqtt.client_id` is no name of a client"));
        }
        if self.password_file.is_some() && self.user.is_none() {
            return Err(
                "`mqtt.password_file` is there and `mqtt.user` is missing; name both".into(),
            );
        }
        if self.cert.is_some() != self.key.is_some() {
            return Err("`mqtt.cert` and `mqtt.key` belong together; name both".into());
        }
        if self.broker.tls && self.ca.is_none() {
            return Err(
                "`mqtt.broker` is to be spoken to by TLS, and `mqtt.ca` is missing; name the \
                 file with the certificate of its CA"
                    .into(),
            );
        }
        if !self.broker.tls && (self.ca.is_some() || self.cert.is_some()) {
            return Err(
                "`mqtt.ca` and `mqtt.cert` are for TLS, and `mqtt.broker` is not; write broker = \
                 \"mqtts://…\""
                    .into(),
            );
        }
        if !(1..=86_400).contains(&self.expire) {
            return Err("`mqtt.expire` must lie in 1..=86400 seconds".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::outputs::Part;
    use super::*;

    fn mqtt(text: &str) -> Result<Mqtt, String> {
        let mqtt: Mqtt = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        mqtt.check().map(|()| mqtt)
    }

    #[test]
    fn an_empty_section_is_the_broker_of_this_machine_and_tells_no_scores() {
        let mqtt = mqtt("").unwrap();
        assert_eq!(mqtt.broker.to_string(), "mqtt://localhost:1883");
        let publish = &mqtt.publish;
        assert!(publish.tells_answers() && publish.tells(Part::State));
        assert!(publish.tells(Part::Health) && !publish.tells(Part::Scores));
        assert!(!publish.tells(Part::Faces) && !mqtt.words);
    }

    #[test]
    fn a_broker_is_an_address_with_its_scheme() {
        for (text, broker) in [
            ("mqtt://hub.local", "mqtt://hub.local:1883"),
            ("mqtt://10.0.0.2:1884", "mqtt://10.0.0.2:1884"),
            ("mqtt://[fe80::1%eth0]:1884", "mqtt://[fe80::1%eth0]:1884"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("mqtts://hub", "mqtts://hub:8883"),
        ] {
            let found = Broker::try_from(text.to_owned()).map(|b| b.to_string());
            assert_eq!(found.as_deref(), Ok(broker));
        }
        let wrong = [
            "hub",
            "http://hub",
            "mqtt://",
            "mqtt://hub:0",
            "mqtt://hub:99999",
            "mqtt://hub:x",
            "mqtt://a b",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://user:pass@hub",
        ];
        for text in wrong {
            let said = Broker::try_from(text.to_owned()).unwrap_err();
            assert!(said.contains("is no broker"), "{said}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_told() {
        for (text, what) in [
            ("user = \"a\"\npassword_file = \"x\"", ""),
            ("password_file = \"x\"", "`mqtt.user` is missing"),
            ("broker = \"mqtts://hub\"", "`mqtt.ca` is missing"),
            ("broker = \"mqtts://hub\"\nca = \"x\"", ""),
            ("ca = \"x\"", "for TLS"),
            (
                "broker = \"mqtts://hub\"\nca = \"x\"\ncert = \"y\"",
                "name both",
            ),
            ("topic = \"a/#\"", "`a/#` in `mqtt.topic`"),
            ("topic = \"$SYS\"", "`$SYS` in `mqtt.topic`"),
            ("group = \"a/b\"", "`a/b` in `mqtt.group`"),
            ("discovery = \"\"", "in `mqtt.discovery`"),
            ("version = \"4\"", "unknown variant `4`"),
            ("publish = [\"words\"]", "unknown variant `words`"),
            ("expire = 0", "mqtt.expire"),
        ] {
            let said = mqtt(text).err().unwrap_or_default();
            assert!(
                said.contains(what) && said.is_empty() == what.is_empty(),
                "{text}: {said}"
            );
        }
    }
}
