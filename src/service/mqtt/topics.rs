//! Names of topics.

use crate::config::mqtt::Mqtt as Config;

/// What a topic of wishes asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The remote latch is to be set.
    Mute,
    /// The dialogue is to be forgotten.
    Forget,
    /// Home Assistant has come up, and asks who is there.
    Greet,
}

/// The topics of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// The device's name, as topics and Home Assistant take it.
    pub id: String,
    root: String,
    /// Topics of wishes, what each asks for, and whether it asks many devices at once.
    wishes: Vec<(String, Wish, bool)>,
    /// Where Home Assistant reads about devices.
    pub discovery: Option<String>,
}

impl Topics {
    /// Those of a device.
    pub fn new(config: &Config, device: &str) -> Topics {
        let id = plain(device);
        let root = format!("{}/{id}", config.topic);
        let mut wishes = Vec::new();
        if config.mute {
            let group = config
                .group
                .as_ref()
                .map(|g| format!("{}/group/{g}", config.topic));
            let all = format!("{}/all", config.topic);
            let fleet = [
                Some((root.clone(), false)),
                Some((all, true)),
                group.map(|g| (g, true)),
            ];
            for (root, is_many) in fleet.into_iter().flatten() {
                wishes.push((format!("{root}/mute/set"), Wish::Mute, is_many));
                wishes.push((format!("{root}/forget"), Wish::Forget, is_many));
            }
        }
        let prefix = Some(&config.discovery).filter(|prefix| *prefix != "none");
        if let Some(prefix) = prefix {
            wishes.push((format!("{prefix}/status"), Wish::Greet, true));
        }
        Topics {
            discovery: prefix.map(|prefix| format!("{prefix}/device/demeanor_{id}/config")),
            id,
            root,
            wishes,
        }
    }

    /// A topic of this device.
    pub fn own(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    /// Where every answer of a task goes.
    pub fn event(&self, task: &str) -> String {
        format!("{}/event/{}", self.root, plain(task))
    }

    /// What the counts of a task are called.
    pub fn counts(&self, task: &str) -> String {
        format!("{}/aggregate/{}", self.root, plain(task))
    }

    /// Topics on which others may ask for something.
    pub fn wishes(&self) -> Vec<String> {
        self.wishes
            .iter()
            .map(|(topic, ..)| topic.clone())
            .collect()
    }

    /// What a topic asks for, and whether it asks many devices at once.
    pub fn wish(&self, topic: &str) -> Option<(Wish, bool)> {
        let found = self.wishes.iter().find(|(known, ..)| known == topic);
        found.map(|(_, wish, is_many)| (*wish, *is_many))
    }
}

/// A name as one level of a topic: letters, digits, `_` and `-`.
fn plain(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let plain: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '-' })
        .collect();
    match plain.is_empty() {
        true => "device".into(),
        false => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_hears_its_own_wishes_those_of_its_group_and_those_of_all() {
        let config = Config {
            group: Some("shop".into()),
            ..Config::default()
        };
        let topics = Topics::new(&config, "door 7/#");
        assert_eq!(topics.own("state"), "demeanor/door-7--/state");
        assert_eq!(topics.event("emotion"), "demeanor/door-7--/event/emotion");
        assert_eq!(
            topics.discovery.as_deref(),
            Some("homeassistant/device/demeanor_door-7--/config")
        );
        for (topic, wish) in [
            ("demeanor/door-7--/mute/set", Some((Wish::Mute, false))),
            ("demeanor/all/mute/set", Some((Wish::Mute, true))),
            ("demeanor/group/shop/forget", Some((Wish::Forget, true))),
            ("homeassistant/status", Some((Wish::Greet, true))),
            ("demeanor/group/other/mute/set", None),
            ("demeanor/door-7--/mute", None),
        ] {
            assert_eq!(topics.wish(topic), wish, "{topic}");
        }
        let quiet = Config {
            mute: false,
            discovery: "none".into(),
            ..config
        };
        assert!(Topics::new(&quiet, "").wishes().is_empty());
    }
}
