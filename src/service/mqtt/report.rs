//! What is told, by whose choice, and on which topic.

use super::discovery;
use super::topics::Topics;
use crate::config::mqtt::Mqtt as Config;
use crate::config::outputs::{Aggregate, Part};
use crate::service::choice::chosen;
use crate::service::in_sight::InSight;
use crate::service::latches::Remote;
use crate::service::metrics::Machine;
use crate::service::outbox::{Letter, Outbox};
use crate::service::sources::Sources;
use crate::service::voice::Voice;
use crate::sink::{Content, Message, Receiver};
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between two reports of health.
const HEALTH: Duration = Duration::from_secs(60);
/// Time that the broker gets for the last letters, at the end.
const GRACE: Duration = Duration::from_millis(400);

/// What the broker hears of this run.
pub struct About {
    /// Which device this is.
    pub device: String,
    /// Which board.
    pub board: String,
    /// `id@version` of every bundle that answers.
    pub bundles: Vec<String>,
    /// Tasks that may answer, with their labels.
    pub tasks: Vec<(String, Vec<String>)>,
    /// There is a camera.
    pub sees: bool,
    /// There is a microphone, and it may be told whether somebody speaks.
    pub hears: bool,
    /// Counts of answers are told instead of these.
    pub aggregate: Option<Aggregate>,
    /// Of the notice.
    pub setting: &'static str,
    /// Likewise.
    pub purpose: String,
    /// SHA-256 of the configuration.
    pub config_sha256: String,
    /// Stages that make no progress, by name.
    pub resting: Box<dyn Fn() -> Vec<&'static str> + Send + Sync>,
    /// What the machine is like.
    pub machine: Box<dyn Fn() -> Machine + Send + Sync>,
}

impl About {
    /// Whether the broker hears who is in sight.
    pub fn tells_faces(&self, config: &Config) -> bool {
        self.sees && config.publish.tells(Part::Faces) && self.aggregate.is_none()
    }

    /// Whether the broker hears that somebody speaks.
    pub fn tells_voice(&self, config: &Config) -> bool {
        self.hears && config.publish.tells(Part::Voices) && self.aggregate.is_none()
    }
}

/// Puts what happens into the outbox.
pub struct Report {
    config: Config,
    about: About,
    /// Names of its topics.
    pub topics: Topics,
    /// What waits for the broker.
    pub outbox: Arc<Outbox>,
    remote: Arc<Remote>,
    sources: Sources,
    in_sight: InSight,
    started: Instant,
}

impl Report {
    /// Nothing is told yet.
    ///
    /// # Errors
    /// The system's, when it has no pipe left.
    pub fn new(config: &Config, about: About, remote: Arc<Remote>) -> io::Result<Report> {
        let report = Report {
            topics: Topics::new(config, &about.device),
            config: config.clone(),
            about,
            outbox: Arc::new(Outbox::new()?),
            remote,
            // a broker that was lost is told of when it is back
            sources: Sources::without("mqtt"),
            in_sight: InSight::default(),
            started: Instant::now(),
        };
        report.introduce();
        Ok(report)
    }

    /// Who we are: told first after every connection.
    fn introduce(&self) {
        let about = &self.about;
        // an earlier run that was killed left its last answers to the broker
        for (task, _) in &about.tasks {
            self.retain(task, String::new());
        }
        self.retain("availability", "online".into());
        let info = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "board": about.board,
            "bundles": about.bundles,
            "tasks": about.tasks.iter().map(|(task, _)| task).collect::<Vec<_>>(),
            "setting": about.setting,
            "purpose": about.purpose,
            "config_sha256": about.config_sha256,
            "aggregate": about.aggregate.map(Aggregate::to_json),
        });
        self.retain("info", info.to_string());
        // an earlier run may have left others behind
        self.tell_faces();
        if let Some(topic) = &self.topics.discovery {
            let device = discovery::device(&self.config, about, &self.topics);
            self.outbox.retain(topic, device.to_string(), None);
        }
    }

    /// Somebody begins or ceases to speak, or can be heard no more.
    pub fn hear(&self, voice: Voice) {
        if self.about.tells_voice(&self.config) {
            let speaking = match voice {
                Voice::Speaking => "ON",
                Voice::Silent | Voice::Unheard => "OFF",
            };
            self.retain("speaking", speaking.into());
        }
    }

    fn retain(&self, name: &str, payload: String) {
        self.outbox.retain(&self.topics.own(name), payload, None);
    }

    /// Tells who is in sight.
    fn tell_faces(&self) {
        if self.about.tells_faces(&self.config) {
            let ids = self.in_sight.ids();
            let seen = json!({ "count": ids.len(), "ids": ids });
            self.retain("faces", seen.to_string());
        }
    }

    /// Tells how things are, where that has changed.
    pub fn look(&self) {
        let shown = self.remote.shown();
        if self.config.publish.tells(Part::State) || self.config.mute {
            let muted = if shown.latches.is_muted() {
                "ON"
            } else {
                "OFF"
            };
            self.retain("mute", muted.into());
        }
        if !self.config.publish.tells(Part::State) {
            return;
        }
        let resting = (self.about.resting)();
        let state = json!({
            "capturing": shown.is_capturing,
            "muted": shown.latches.is_muted(),
            "muted_by": shown.latches.closed_by(),
            "sources": self.sources.all(),
            "problem": self.sources.problem(&resting),
        });
        self.retain("state", state.to_string());
    }

    /// Tells how the machine is, once a minute; `told` is when it did so last.
    pub fn look_at_machine(&self, told: &mut Option<Instant>, now: Instant) {
        let is_due = told.is_none_or(|at| now.saturating_duration_since(at) >= HEALTH);
        if !is_due || !self.config.publish.tells(Part::Health) {
            return;
        }
        *told = Some(now);
        let (machine, counts) = ((self.about.machine)(), self.outbox.counts());
        let health = json!({
            "temperature": machine.temperature,
            "throttled": machine.throttled,
            "rss_kb": machine.resident,
            "uptime_s": now.saturating_duration_since(self.started).as_secs(),
            "lost": counts.lost,
            "connections": counts.connections,
        });
        self.retain("health", health.to_string());
    }

    fn expiry(&self) -> Option<Instant> {
        Instant::now().checked_add(Duration::from_secs(self.config.expire.into()))
    }

    fn answer(&self, task: &str, json: Value) {
        let json = chosen(json, &self.config.publish, self.config.words);
        let (payload, expires) = (json.to_string(), self.expiry());
        self.outbox.push(Letter {
            topic: self.topics.event(task),
            payload: payload.clone(),
            retain: false,
            expires,
        });
        self.outbox.retain(&self.topics.own(task), payload, expires);
    }

    fn take(&self, message: &Message<'_>) {
        match &message.content {
            // a broker keeps answers, and not what replaces itself every second
            Content::Event(event) if !event.partial => {
                if event.face.is_some_and(|face| self.in_sight.see(face.id)) {
                    self.tell_faces();
                }
                if self.config.publish.tells_answers() {
                    self.answer(&event.task, message.to_json());
                }
            }
            Content::Aggregate(told) if self.config.publish.tells_answers() => {
                let topic = self.topics.counts(&told.of);
                self.outbox
                    .retain(&topic, message.to_json().to_string(), None);
            }
            Content::Faces(faces) => {
                self.in_sight.take(faces);
                self.tell_faces();
            }
            Content::State(change) => {
                self.sources.take(change);
                if self.in_sight.look_away(change) {
                    self.tell_faces();
                }
                self.look();
            }
            Content::Event(_) | Content::Aggregate(_) => {}
        }
    }
}

/// Fills a report, and ends it.
pub struct Reporter(pub Arc<Report>);

impl Receiver for Reporter {
    fn take(&mut self, message: &Message<'_>) -> io::Result<()> {
        self.0.take(message);
        Ok(())
    }
}

impl Drop for Reporter {
    /// Gives the broker a moment for the last letters; one that hangs is left behind.
    fn drop(&mut self) {
        self.0.hear(Voice::Unheard);
        self.0.retain("availability", "offline".into());
        self.0.outbox.close();
        self.0.outbox.wait_finished(GRACE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Face, Faces, Stamp, State, StateChange};
    use serde_json::Map;
    use std::borrow::Cow;

    fn about() -> About {
        About {
            device: "door".into(),
            board: "host".into(),
            bundles: Vec::new(),
            tasks: vec![("emotion".into(), vec!["sad".into()])],
            sees: false,
            hears: false,
            aggregate: None,
            setting: "public",
            purpose: "a test".into(),
            config_sha256: String::new(),
            resting: Box::new(Vec::new),
            machine: Box::new(Machine::default),
        }
    }

    fn letters(report: &Report) -> Vec<Letter> {
        std::iter::from_fn(|| report.outbox.next(Instant::now())).collect()
    }

    #[test]
    fn what_is_told_is_announced_and_of_the_rest_the_platform_alone() {
        let hot = || Machine {
            temperature: Some(51.0),
            ..Machine::default()
        };
        let seeing = || About {
            sees: true,
            machine: Box::new(hot),
            ..about()
        };
        let hearing = || About {
            hears: true,
            ..about()
        };
        let counting = || About {
            aggregate: Some(Aggregate::default()),
            ..seeing()
        };
        let all = "publish = [\"labels\", \"faces\", \"state\", \"health\"]";
        let voices = "publish = [\"labels\", \"voices\", \"state\"]";
        let usual = ["capturing", "emotion", "forget", "mute", "problem"];
        for (section, about, rest) in [
            ("", about(), &["utterance"][..]),
            (all, about(), &["utterance"]),
            ("", seeing(), &["temperature", "utterance"]),
            (all, seeing(), &["faces", "temperature", "utterance"]),
            ("", hearing(), &["utterance"]),
            (voices, hearing(), &["speaking", "utterance"]),
            (voices, about(), &["utterance"]),
        ] {
            let mut told = usual.to_vec();
            told.extend(rest);
            is_announced(section, about, told);
        }
        let counts = ["emotion_answers", "temperature"];
        let told = usual.iter().filter(|key| **key != "emotion");
        is_announced(all, counting(), told.copied().chain(counts).collect());
        let state = "publish = [\"state\"]\nmute = false";
        is_announced(state, seeing(), vec!["capturing", "problem"]);
    }

    fn is_announced(section: &str, about: About, mut told: Vec<&str>) {
        let config: Config = toml::from_str(section).expect("a section");
        let (sees, is_counted) = (about.sees, about.aggregate.is_some());
        let report = Report::new(&config, about, Arc::default()).expect("a pipe");
        let letters = letters(&report);
        let on = |topic: &str| letters.iter().find(|l| l.topic.ends_with(topic));
        let device = on("_door/config").expect("it is announced");
        let device: Value = serde_json::from_str(&device.payload).expect("JSON");
        let entities = device["cmps"].as_object().expect("entities");
        assert_eq!(entities.len(), 10, "{entities:?}");
        let (named, bare): (Vec<_>, Vec<_>) =
            entities.iter().partition(|(_, e)| e.get("name").is_some());
        told.sort_unstable();
        let mut named: Vec<&str> = named.into_iter().map(|(key, _)| &**key).collect();
        named.sort_unstable();
        assert_eq!(named, told, "{section}");
        for (key, entity) in bare {
            assert_eq!(entity.as_object().map(Map::len), Some(1), "{key}");
            assert!(entity["p"].is_string(), "{key}");
        }
        // a number of an earlier run does not stay
        let faces = on("door/faces").map(|l| &*l.payload);
        let is_told = section.contains("faces") && sees && !is_counted;
        assert_eq!(faces, is_told.then_some("{\"count\":0,\"ids\":[]}"));
    }

    #[test]
    fn a_camera_that_is_closed_sees_nobody_and_sees_them_again_when_it_is_open() {
        let config: Config = toml::from_str("publish = [\"faces\"]").expect("a section");
        let seeing = About {
            sees: true,
            ..about()
        };
        let report = Report::new(&config, seeing, Arc::default()).expect("a pipe");
        let came = Content::Faces(Cow::Owned(Faces {
            source: "camera".into(),
            ids: vec![3],
            ..Faces::default()
        }));
        let muted = StateChange::new("camera", State::Muted, "");
        let seen = Event {
            task: "expression".into(),
            face: Some(Face {
                id: 3,
                place: [0.0, 0.0, 10.0, 10.0],
                picture: [20.0, 40.0],
                score: 0.5,
            }),
            ..Event::default()
        };
        let muted = Content::State(Cow::Owned(muted));
        let seen = Content::Event(Cow::Owned(seen));
        for (content, count) in [(came, 1), (muted, 0), (seen, 1)] {
            let stamp = Stamp::default();
            report.take(&Message { stamp, content });
            let letters = letters(&report);
            let faces = letters.iter().rfind(|l| l.topic == "demeanor/door/faces");
            let faces = faces.expect("it is told").payload.as_str();
            assert!(
                faces.starts_with(&format!("{{\"count\":{count},")),
                "{faces}"
            );
        }
    }

    #[test]
    fn that_somebody_speaks_is_told_until_they_cease_or_the_run_does() {
        let config: Config = toml::from_str("publish = [\"voices\"]").expect("a section");
        let hearing = About {
            hears: true,
            ..about()
        };
        let report = Report::new(&config, hearing, Arc::default()).expect("a pipe");
        let report = Arc::new(report);
        let told = |voice| {
            report.hear(voice);
            let letters = letters(&report);
            let told = letters.iter().find(|l| l.topic == "demeanor/door/speaking");
            told.map(|letter| letter.payload.clone())
        };
        assert_eq!(told(Voice::Speaking).as_deref(), Some("ON"));
        assert_eq!(told(Voice::Speaking), None);
        assert_eq!(told(Voice::Unheard).as_deref(), Some("OFF"));
        assert_eq!(told(Voice::Silent), None);
        assert_eq!(told(Voice::Speaking).as_deref(), Some("ON"));
        drop(Reporter(Arc::clone(&report)));
        let letters = letters(&report);
        let last = letters.iter().map(|l| (&*l.topic, &*l.payload));
        let expected = [
            ("demeanor/door/speaking", "OFF"),
            ("demeanor/door/availability", "offline"),
        ];
        assert_eq!(last.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_replaced_in_a_moment_is_not_published() {
        let report = Report::new(&Config::default(), about(), Arc::default()).expect("a pipe");
        for (seq, partial) in [(1, true), (2, false)] {
            let event = Event {
                task: "emotion".into(),
                utterance: Some(7),
                partial,
                ..Event::default()
            };
            let content = Content::Event(Cow::Owned(event));
            let stamp = Stamp {
                seq,
                ..Stamp::default()
            };
            report.take(&Message { stamp, content });
        }
        let letters = letters(&report);
        let of = |topic: &str| {
            let on = letters
                .iter()
                .filter(|l| l.topic == format!("demeanor/door/{topic}"));
            on.map(|l| l.payload.clone()).collect::<Vec<_>>()
        };
        let [event] = &of("event/emotion")[..] else {
            panic!("{letters:?}")
        };
        assert_eq!(of("emotion"), std::slice::from_ref(event));
        assert!(
            event.contains("\"seq\":2") && event.contains("\"utterance\":7"),
            "{event}"
        );
    }
}
