//! What is told, by whose choice, and on which topic.

use super::message::{self, Header, Kind, Level, Message, Status};
use crate::config::outputs::Part;
use crate::config::ros::Ros as Config;
use crate::event::{self, Event};
use crate::service::backoff::chance;
use crate::service::choice::chosen;
use crate::service::in_sight::InSight;
use crate::service::latches::Remote;
use crate::service::metrics::Machine;
use crate::service::outbox::{Letter, Outbox};
use crate::service::sources::Sources;
use crate::service::voice::Voice;
use crate::sink::{self, Content, Receiver};
use serde_json::Value;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Our events as JSON.
pub const EVENTS: &str = "/demeanor/events";
/// Who is in sight.
pub const TRACKED: &str = "/humans/faces/tracked";
/// Whose voice can be heard.
pub const HEARD: &str = "/humans/voices/tracked";
/// ROS4HRI's own nodes call it so where nobody tells one speaker from another.
const ANYBODY: &str = "anonymous_speaker";
/// Whether somebody speaks.
pub const SPEAKING: &str = "/humans/voices/anonymous_speaker/is_speaking";
/// How the device is.
pub const DIAGNOSTICS: &str = "/diagnostics";
/// What every topic of a face begins with.
pub const FACES: &str = "/humans/faces/";

/// Whether something is told there.
#[cfg(feature = "ros2")]
pub fn is_ours(topic: &str) -> bool {
    [EVENTS, DIAGNOSTICS, HEARD, SPEAKING].contains(&topic) || topic.starts_with(FACES)
}

/// The task that tells what faces show.
const EXPRESSION: &str = "expression";

/// How often it is told how things are: who reads of them is used to once a second.
const EVERY: Duration = Duration::from_secs(1);
/// An answer is told no later than this.
const EXPIRE: Duration = Duration::from_secs(60);
/// And counts, after this time.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Where a face is and what it shows is told no later than this.
const FLEETING: Duration = Duration::from_secs(2);
/// Time that the other side gets for the last letters, at the end.
const GRACE: Duration = Duration::from_millis(400);

/// What a robot hears of this run.
pub struct About {
    /// Which device this is.
    pub device: String,
    /// There is a microphone, and it may be told whether somebody speaks.
    pub hears: bool,
    /// Stages that make no progress, by name.
    pub resting: Box<dyn Fn() -> Vec<&'static str> + Send + Sync>,
    /// What the machine is like.
    pub machine: Box<dyn Fn() -> Machine + Send + Sync>,
}

/// Puts what happens into the outbox, as messages.
pub struct Report {
    config: Config,
    about: About,
    pub outbox: Arc<Outbox<Message>>,
    remote: Arc<Remote>,
    sources: Sources,
    tracked: InSight,
    voice: Mutex<Voice>,
    /// Behind the number of a face: another run's face is another one.
    run: String,
}

impl Report {
    /// Nothing is told yet.
    ///
    /// # Errors
    /// The system's, when it has no pipe left.
    pub fn new(config: &Config, about: About, remote: Arc<Remote>) -> io::Result<Report> {
        let letter = |_| char::from(b'a' + (chance() * 26.0) as u8);
        Ok(Report {
            config: config.clone(),
            about,
            outbox: Arc::new(Outbox::new()?),
            remote,
            sources: Sources::without("ros"),
            tracked: InSight::default(),
            voice: Mutex::default(),
            run: (0..3).map(letter).collect(),
        })
    }

    /// Which device this is.
    pub fn device(&self) -> &str {
        &self.about.device
    }

    /// Topics on which something is told as long as it runs.
    pub fn standing(&self) -> Vec<(&'static str, Kind)> {
        let publish = &self.config.publish;
        let (faces, state) = (self.tells(Part::Faces), self.tells(Part::State));
        let topics = [
            (
                EVENTS,
                message::TEXT,
                publish.tells_answers() || faces || state,
            ),
            (TRACKED, message::IDS_LIST, faces),
            (HEARD, message::IDS_LIST, self.tells_voice()),
            (SPEAKING, message::FLAG, self.tells_voice()),
            (
                DIAGNOSTICS,
                message::DIAGNOSTICS,
                state || self.tells(Part::Health),
            ),
        ];
        let told = topics.into_iter().filter(|(_, _, is_told)| *is_told);
        told.map(|(topic, kind, _)| (topic, kind)).collect()
    }

    fn tells(&self, part: Part) -> bool {
        self.config.publish.tells(part)
    }

    fn tells_voice(&self) -> bool {
        self.about.hears && self.tells(Part::Voices)
    }

    /// The id of a face: letters and digits, as part of a topic's name.
    fn id(&self, face: u32) -> String {
        format!("f{face}{}", self.run)
    }

    /// Tells how things are, once a second; `told` is when it did so last.
    pub fn look(&self, told: &mut Option<Instant>, now: Instant) {
        if told.is_none_or(|at| now.saturating_duration_since(at) >= EVERY) {
            *told = Some(now);
            self.tell_tracked();
            self.tell_heard();
            // it bears no time, and is read from when its voice is known
            self.outbox.repeat_topic(SPEAKING);
            self.tell_diagnostics();
        }
    }

    fn tell_tracked(&self) {
        if self.tells(Part::Faces) {
            let ids = self.tracked.ids().into_iter().map(|face| self.id(face));
            let ids = ids.collect();
            self.retain(TRACKED, Message::ids(Header::at(event::now()), ids));
        }
    }

    /// Somebody begins or ceases to speak, or can be heard no more.
    pub fn hear(&self, voice: Voice) {
        let mut heard = self.lock_voice();
        *heard = voice;
        if self.tells_voice() {
            self.retain(SPEAKING, Message::flag(voice == Voice::Speaking));
            self.retain_heard(voice);
        }
    }

    fn tell_heard(&self) {
        // until it is in the outbox, lest what comes meanwhile is told before it
        let heard = self.lock_voice();
        if self.tells_voice() {
            self.retain_heard(*heard);
        }
    }

    fn lock_voice(&self) -> MutexGuard<'_, Voice> {
        self.voice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retain_heard(&self, voice: Voice) {
        let id = (voice != Voice::Unheard).then(|| ANYBODY.to_owned());
        let ids = id.into_iter().collect();
        self.retain(HEARD, Message::ids(Header::at(event::now()), ids));
    }

    fn tell_diagnostics(&self) {
        let state = self.tells(Part::State).then(|| self.capture());
        let health = self.tells(Part::Health).then(|| self.machine());
        let status: Vec<Status> = state.into_iter().chain(health).collect();
        if !status.is_empty() {
            let header = Header::at(event::now());
            self.retain(DIAGNOSTICS, Message::diagnostics(header, status));
        }
    }

    /// Whether it sees and hears.
    fn capture(&self) -> Status {
        let shown = self.remote.shown();
        let muted_by = shown.latches.closed_by().join(", ");
        let (level, message) = match self.sources.problem(&(self.about.resting)()) {
            Some(problem) => (Level::Error, problem),
            None if shown.latches.is_muted() => (Level::Ok, format!("muted by {muted_by}")),
            None if shown.is_capturing => (Level::Ok, "capturing".into()),
            None => (Level::Ok, "not capturing".into()),
        };
        let sources = self.sources.all();
        sources.iter().fold(
            Status::new(&self.about.device, "capture", level, message)
                .with("capturing", Some(shown.is_capturing))
                .with("muted_by", Some(muted_by)),
            |status, (source, state)| status.with(source, Some(state)),
        )
    }

    /// How the machine is.
    fn machine(&self) -> Status {
        let (machine, counts) = ((self.about.machine)(), self.outbox.counts());
        let (level, message) = match machine.throttled {
            Some(true) => (
                Level::Warn,
                "it is slowed down, for heat or for want of power",
            ),
            _ => (Level::Ok, "well"),
        };
        Status::new(&self.about.device, "machine", level, message.into())
            .with("version", Some(env!("CARGO_PKG_VERSION")))
            .with("temperature", machine.temperature)
            .with("throttled", machine.throttled)
            .with("rss_kb", machine.resident)
            .with("lost", Some(counts.lost))
    }

    fn retain(&self, topic: &str, message: Message) {
        self.outbox.retain(topic, message, None);
    }

    fn push(&self, topic: String, message: Message, expires: Duration) {
        self.outbox.push(Letter {
            topic,
            payload: message,
            retain: false,
            expires: Instant::now().checked_add(expires),
        });
    }

    fn tell(&self, json: &Value) {
        self.push(EVENTS.into(), Message::text(json.to_string()), EXPIRE);
    }

    /// Where a face is, and what it shows.
    fn face(&self, event: &Event, header: Header) {
        let Some(face) = event.face.filter(|_| event.task == EXPRESSION) else {
            return;
        };
        self.tracked.see(face.id);
        let topic = |of: &str| format!("{FACES}{}/{of}", self.id(face.id));
        if let Some(region) = Message::region(header.clone(), &face) {
            self.push(topic("roi"), region, FLEETING);
        }
        if !self.config.publish.tells_answers() {
            return;
        }
        let scores = event.smoothed.as_ref().unwrap_or(&event.scores);
        let score = scores.iter().find(|(label, _)| *label == event.label);
        let score = score.filter(|_| self.tells(Part::Scores)).map(|(_, p)| *p);
        if let Some(message) = Message::expression(header, &event.label, score) {
            self.push(topic("expression"), message, FLEETING);
        }
    }

    fn take(&self, message: &sink::Message<'_>) {
        let header = Header::at(message.stamp.time);
        match &message.content {
            // what replaces itself every second is for those who look at it
            Content::Event(event) if !event.partial => {
                if self.tells(Part::Faces) {
                    self.face(event, header);
                }
                if self.config.publish.tells_answers() {
                    let (publish, words) = (&self.config.publish, self.config.words);
                    self.tell(&chosen(message.to_json(), publish, words));
                }
            }
            Content::Faces(faces) if self.tells(Part::Faces) => {
                self.tracked.take(faces);
                self.tell_tracked();
                self.tell(&message.to_json());
            }
            Content::State(change) => {
                self.sources.take(change);
                if self.tracked.look_away(change) {
                    self.tell_tracked();
                }
                if self.tells(Part::State) {
                    self.tell(&message.to_json());
                }
            }
            Content::Aggregate(_) if self.config.publish.tells_answers() => {
                // counts are as true when the bridge is back
                self.push(
                    EVENTS.into(),
                    Message::text(message.to_json().to_string()),
                    DAY,
                );
            }
            Content::Event(_) | Content::Faces(_) | Content::Aggregate(_) => {}
        }
    }
}

/// Fills a report, and ends it.
pub struct Reporter(pub Arc<Report>);

impl Receiver for Reporter {
    fn take(&mut self, message: &sink::Message<'_>) -> io::Result<()> {
        self.0.take(message);
        Ok(())
    }
}

impl Drop for Reporter {
    /// Nobody is in sight or heard any more. Gives the other side a moment for the last letters; one that
    /// hangs is left behind.
    fn drop(&mut self) {
        self.0.tracked.clear();
        self.0.tell_tracked();
        self.0.hear(Voice::Unheard);
        self.0.outbox.close();
        self.0.outbox.wait_finished(GRACE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Face, Faces, Stamp, State, StateChange};
    use serde_json::json;
    use std::borrow::Cow;

    fn report(publish: &str) -> Report {
        let section = format!("bridge = \"ws://robot\"\npublish = {publish}");
        let config: Config = toml::from_str(&section).unwrap();
        let about = About {
            device: "door".into(),
            hears: true,
            resting: Box::new(Vec::new),
            machine: Box::new(Machine::default),
        };
        Report::new(&config, about, Arc::default()).unwrap()
    }

    fn tell(report: &Report, content: Content<'_>) {
        let stamp = Stamp::default();
        report.take(&sink::Message { stamp, content });
    }

    /// What waits to be told, as topics and messages.
    fn told(report: &Report) -> Vec<(String, Value)> {
        let next = || {
            let letter = report.outbox.next(Instant::now())?;
            let text = message::json(&letter.payload)
                .unwrap()
                .replace("NaN", "null");
            Some((letter.topic, serde_json::from_str(&text).unwrap()))
        };
        std::iter::from_fn(next).collect()
    }

    fn seen(id: u32) -> Event {
        Event {
            task: "expression".into(),
            label: "sadness".into(),
            scores: vec![("sadness".into(), 0.75)],
            face: Some(Face {
                id,
                place: [0.0, 0.0, 10.0, 10.0],
                picture: [20.0, 40.0],
                score: 0.5,
            }),
            ..Event::default()
        }
    }

    fn came(ids: &[u32]) -> Content<'static> {
        Content::Faces(Cow::Owned(Faces {
            source: "camera".into(),
            ids: ids.to_vec(),
            ..Faces::default()
        }))
    }

    fn state(source: &str, state: State) -> Content<'static> {
        Content::State(Cow::Owned(StateChange::new(source, state, "")))
    }

    #[test]
    fn a_camera_that_is_closed_sees_nobody_and_sees_them_again_when_it_is_open() {
        let report = report("[\"faces\", \"scores\"]");
        let ids = |report: &Report| {
            let told = told(report);
            let of = told.iter().rfind(|(topic, _)| topic == TRACKED);
            of.map(|(_, message)| message["ids"].clone())
        };
        tell(&report, came(&[3]));
        let id = report.id(3);
        assert_eq!(ids(&report), Some(json!([id])));
        // another source is closed
        tell(&report, state("microphone", State::Muted));
        assert_eq!(ids(&report), None);
        tell(&report, state("camera", State::Skipped));
        assert_eq!(ids(&report), None);
        tell(&report, state("camera", State::Muted));
        assert_eq!(ids(&report), Some(json!([])));
        tell(&report, Content::Event(Cow::Owned(seen(3))));
        report.look(&mut None, Instant::now());
        assert_eq!(ids(&report), Some(json!([id])));
    }

    #[test]
    fn a_voice_is_told_once_a_second_too_and_at_the_end_nobody_is_heard() {
        let report = Arc::new(report("[\"voices\"]"));
        let heard = |report: &Report| {
            let told = told(report).into_iter();
            let of = |(topic, message): (String, Value)| match topic.as_str() {
                SPEAKING => message["data"].clone(),
                HEARD => message["ids"].clone(),
                other => panic!("{other}"),
            };
            told.map(of).collect::<Vec<_>>()
        };
        let both = |is_speaking: bool, ids: &[&str]| vec![json!(is_speaking), json!(ids)];
        report.hear(Voice::Unheard);
        assert_eq!(heard(&report), both(false, &[]));
        report.hear(Voice::Speaking);
        assert_eq!(heard(&report), both(true, &[ANYBODY]));
        report.look(&mut None, Instant::now());
        assert_eq!(heard(&report), both(true, &[ANYBODY]));
        assert_eq!(
            report.standing(),
            [(HEARD, message::IDS_LIST), (SPEAKING, message::FLAG)]
        );
        drop(Reporter(Arc::clone(&report)));
        report.hear(Voice::Speaking);
        assert_eq!(heard(&report), both(false, &[]));
        let unasked = self::report("[\"scores\", \"faces\"]");
        unasked.hear(Voice::Speaking);
        assert!(heard(&unasked).is_empty());
    }

    #[test]
    fn nothing_is_told_but_what_is_published() {
        let topics = |publish: &str| {
            let report = report(publish);
            tell(&report, came(&[3]));
            tell(&report, state("camera", State::Lost));
            tell(&report, Content::Event(Cow::Owned(seen(3))));
            report.look(&mut None, Instant::now());
            let id = format!("{FACES}{}", report.id(3));
            let told = told(&report);
            let topics = told.iter().map(|(topic, _)| topic.replace(&id, "FACE"));
            let mut topics: Vec<String> = topics.collect();
            topics.sort();
            (topics, told)
        };
        assert!(topics("[]").0.is_empty());
        assert_eq!(topics("[\"health\"]").0, [DIAGNOSTICS]);
        assert_eq!(topics("[\"state\"]").0, [EVENTS, DIAGNOSTICS]);
        let (labels, told) = topics("[\"labels\"]");
        assert_eq!(labels, [EVENTS]);
        let data = told[0].1["data"].as_str().unwrap();
        assert!(
            data.contains("sadness") && !data.contains("scores"),
            "{data}"
        );
        assert!(!data.contains("face"), "{data}");
        // a place, and no expression
        let (faces, _) = topics("[\"faces\"]");
        assert_eq!(faces, [EVENTS, TRACKED, "FACE/roi"]);
        let (both, told) = topics("[\"faces\", \"labels\"]");
        assert_eq!(
            both,
            [EVENTS, EVENTS, TRACKED, "FACE/expression", "FACE/roi"]
        );
        let of = told
            .iter()
            .find(|(t, _)| t.ends_with("/expression"))
            .unwrap();
        assert_eq!(
            (&of.1["expression"], &of.1["confidence"]),
            (&json!("sad"), &json!(null))
        );
        let (_, told) = topics("[\"faces\", \"scores\"]");
        let of = told
            .iter()
            .find(|(t, _)| t.ends_with("/expression"))
            .unwrap();
        assert_eq!(
            (&of.1["confidence"], &of.1["valence"]),
            (&json!(0.75), &json!(null))
        );
    }
}
