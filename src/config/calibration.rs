//! What was measured of the place where a device stands: the table `[calibration]`, which
//! `demeanor calibrate` writes and `run` obeys.

use crate::decision::drift;
use crate::model::manifest::Trunk;
use crate::session::Background;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of the table.
const TABLE: &str = "calibration";
/// Older than this, a room may have changed: half a year.
const DAYS: i64 = 183;

/// The table. Counts and thresholds alone: nothing of what was heard or seen.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// When the background was measured, RFC 3339.
    pub date: String,
    /// What was listened to; `none` if nothing was.
    pub microphone: String,
    /// What was looked through; `none` if nothing was.
    pub camera: String,
    /// Minutes that were listened and looked; 0 where the background was not measured.
    pub minutes: f64,
    /// False answers an hour that ordinary background may cause.
    pub false_answers: f64,
    /// Times that somebody seemed to speak, and nobody did.
    pub sounds: usize,
    /// Looks at which a face seemed to be there, and nobody was.
    pub faces: usize,
    /// Sound that is quieter is background, in dB of full scale; not needed when left out.
    pub level: Option<f32>,
    /// Least probability that somebody speaks; the bundle's own when left out.
    pub speech: Option<f32>,
    /// Least probability that a find is a face; the bundle's own when left out.
    pub face: Option<f32>,
    /// What was usual while people used it; nothing where that was not measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usual: Vec<Usual>,
}

/// What was usual of the answers to a task. Means and spreads over a hundred answers at least.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Usual {
    /// The task.
    pub task: String,
    /// What is watched.
    pub of: Watched,
    /// When it was measured, RFC 3339: seldom on the day of the background.
    pub date: String,
    /// Of all answers.
    pub mean: f64,
    /// Standard deviation of the answers about one person.
    pub within: f64,
    /// Standard deviation of what people average to, beyond that.
    pub between: f64,
    /// Answers that these come from.
    pub answers: u64,
}

/// What is watched for drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Watched {
    /// How far voices are from those that the model learnt from.
    Speech,
    /// How far words are.
    Text,
    /// How far pictures are.
    Image,
    /// How many answers are left open.
    Unsure,
}

impl Watched {
    /// What the distance of a trunk's rows is; `None` of one whose rows nobody watches.
    pub fn of(trunk: Trunk) -> Option<Watched> {
        match trunk {
            Trunk::Speech => Some(Watched::Speech),
            Trunk::Text => Some(Watched::Text),
            Trunk::Image => Some(Watched::Image),
            Trunk::Seen | Trunk::Beside | Trunk::Face => None,
        }
    }

    /// The word in the file and in the figures.
    pub fn name(self) -> &'static str {
        match self {
            Watched::Speech => "speech",
            Watched::Text => "text",
            Watched::Image => "image",
            Watched::Unsure => "unsure",
        }
    }
}

impl Usual {
    /// Whether such numbers can have been measured.
    fn is_sound(&self) -> bool {
        let is_share = self.of != Watched::Unsure || (0.0..=1.0).contains(&self.mean);
        is_share && self.range().is_sound()
    }

    /// Whether it was measured by a microphone, by a camera, or by both.
    fn devices(&self) -> (bool, bool) {
        match self.of {
            Watched::Speech | Watched::Text => (true, false),
            Watched::Image => (false, true),
            Watched::Unsure => (true, true),
        }
    }

    /// The same as a range.
    pub fn range(&self) -> drift::Usual {
        drift::Usual {
            mean: self.mean,
            within: self.within,
            between: self.between,
            answers: self.answers,
        }
    }
}

impl Calibration {
    /// A place of which nothing is known yet.
    pub fn unknown(microphone: &str, camera: &str, date: Timestamp) -> Calibration {
        Calibration {
            date: date.to_string(),
            microphone: microphone.into(),
            camera: camera.into(),
            minutes: 0.0,
            false_answers: 0.0,
            sounds: 0,
            faces: 0,
            level: None,
            speech: None,
            face: None,
            usual: Vec::new(),
        }
    }

    /// Whether it was made with these sources.
    pub fn is_of(&self, microphone: &str, camera: &str) -> bool {
        self.microphone == microphone && self.camera == camera
    }

    /// What was usual, as far as it was measured with these sources.
    pub fn usual(&self, microphone: &str, camera: &str) -> Vec<Usual> {
        let (same_ears, same_eyes) = (self.microphone == microphone, self.camera == camera);
        let is_of_them = |usual: &&Usual| {
            let (by_ear, by_eye) = usual.devices();
            (same_ears || !by_ear) && (same_eyes || !by_eye)
        };
        self.usual.iter().filter(is_of_them).cloned().collect()
    }

    /// What it says of a place, for sources of these names: what was made with another
    /// microphone or camera says nothing of this one.
    pub fn background(&self, microphone: &str, camera: &str) -> Background {
        let (heard, seen) = (self.microphone == microphone, self.camera == camera);
        Background {
            level: self.level.filter(|_| heard),
            speech: self.speech.filter(|_| heard),
            face: self.face.filter(|_| seen),
        }
    }

    /// What a reader of the config should know, for sources of these names.
    pub fn faults(&self, microphone: &str, camera: &str, now: Timestamp) -> Vec<String> {
        let mut faults = Vec::new();
        for (kind, made, present) in [
            ("microphone", &self.microphone, microphone),
            ("camera", &self.camera, camera),
        ] {
            if present != "none" && made != present {
                faults.push(format!(
                    "the calibration was made with the {kind} `{made}`, and `{present}` is used: \
                     it is passed over for it; run `demeanor calibrate` again"
                ));
            }
        }
        if let Some(days) = self.background_date().and_then(|date| age(date, now)) {
            faults.push(format!(
                "the calibration is {days} days old; rooms change, run `demeanor calibrate` again"
            ));
        }
        if let Some(days) = self.usual_date().and_then(|date| age(date, now)) {
            faults.push(format!(
                "what is usual of the answers was measured {days} days ago; people change, run \
                 `demeanor calibrate --people` again"
            ));
        }
        faults
    }

    /// When the background was measured, if it was.
    pub fn background_date(&self) -> Option<&str> {
        (self.minutes > 0.0).then_some(self.date.as_str())
    }

    /// When what is usual was measured, if it was: the oldest of it.
    pub fn usual_date(&self) -> Option<&str> {
        let dates = self.usual.iter().map(|u| u.date.as_str());
        dates.min_by_key(|date| date.parse::<Timestamp>().ok())
    }

    /// Whether what it holds can be meant.
    pub(super) fn check(&self) -> Result<(), String> {
        let shares = [("speech", self.speech), ("face", self.face)];
        for (name, p) in shares {
            if p.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
                return Err(format!("`calibration.{name}` must lie in 0..=1"));
            }
        }
        if self
            .level
            .is_some_and(|level| !(-120.0..=0.0).contains(&level))
        {
            return Err("`calibration.level` must lie in -120..=0 dB of full scale".into());
        }
        if let Some(usual) = self.usual.iter().find(|u| !u.is_sound()) {
            return Err(format!(
                "`calibration.usual` of task `{}` must have spreads of 0 or more, a share in 0..=1 of what is unsure, and at least {} answers",
                usual.task,
                drift::ENOUGH
            ));
        }
        let usual = self
            .usual
            .iter()
            .map(|u| ("calibration.usual.date", &u.date));
        for (name, date) in [("calibration.date", &self.date)].into_iter().chain(usual) {
            if date.parse::<Timestamp>().is_err() {
                return Err(format!(
                    "`{name}` is `{date}`, which is no time like 2026-01-31T12:00:00Z"
                ));
            }
        }
        Ok(())
    }

    /// The text of a config with this table in place of the one that it has; everything else
    /// stays as somebody wrote it.
    pub fn place(&self, config: &str) -> String {
        let mut kept = String::new();
        let mut within = false;
        for line in config.lines() {
            let head = line.trim_start();
            if head.starts_with('[') {
                let name = head.trim_start_matches('[').split([']', '#', '.']).next();
                within = name.is_some_and(|name| name.trim() == TABLE);
            }
            if !within {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        // of numbers and strings there is none that TOML cannot hold
        let table = toml::to_string(&BTreeMap::from([(TABLE, self)])).unwrap_or_default();
        format!("{}\n\n{table}", kept.trim_end())
    }
}

/// Days since a date, if they are too many.
fn age(date: &str, now: Timestamp) -> Option<i64> {
    let days = now.duration_since(date.parse().ok()?).as_hours() / 24;
    (days > DAYS).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Calibration {
        Calibration {
            date: "2026-01-31T12:00:00Z".into(),
            microphone: "array".into(),
            camera: "none".into(),
            minutes: 10.0,
            false_answers: 1.0,
            sounds: 3,
            faces: 0,
            level: None,
            speech: Some(0.75),
            face: Some(0.5),
            usual: vec![Usual {
                task: "emotion".into(),
                of: Watched::Speech,
                date: "2026-07-31T12:00:00Z".into(),
                mean: 0.25,
                within: 0.5,
                between: 0.125,
                answers: 300,
            }],
        }
    }

    #[test]
    fn it_is_placed_once_and_read_back() {
        let notice =
            "[notice] # told\nacknowledged = true\npurpose = \"p\"\nsetting = \"public\"\n";
        let config = format!("{notice}\n[audio]\n# ours\nsource = \"array\"\n");
        let once = made().place(&config);
        assert!(once.starts_with(config.trim_end()), "{once}");
        let mut newer = made();
        newer.sounds = 4;
        let twice = newer.place(&once);
        assert_eq!(twice.matches("[calibration]").count(), 1, "{twice}");
        assert_eq!(twice.matches("[[calibration.usual]]").count(), 1, "{twice}");
        for (right, wrong, sentence) in [
            ("answers = 300", "answers = 9", "at least 100 answers"),
            (
                "2026-07-31T12",
                "31 July 2026, 12",
                "`calibration.usual.date` is `31 July",
            ),
            (
                "2026-01-31T12",
                "31 January 2026, 12",
                "`calibration.date` is `31 January",
            ),
        ] {
            let other = twice.replace(right, wrong);
            let refused = crate::config::Config::parse(&other)
                .err()
                .unwrap_or_default();
            assert!(refused.contains(sentence), "{refused}");
        }
        let read = crate::config::Config::parse(&twice);
        assert_eq!(read.map(|c| c.calibration), Ok(Some(newer)));
    }

    #[test]
    fn another_microphone_and_a_long_time_are_told() {
        let made = made();
        let day = |text: &str| text.parse::<Timestamp>().unwrap_or_default();
        assert!(
            made.faults("array", "none", day("2026-02-01T00:00:00Z"))
                .is_empty()
        );
        let faults = made.faults("other", "none", day("2027-02-01T00:00:00Z"));
        assert!(
            faults[0].contains("`array`") && faults[1].contains("365 days old"),
            "{faults:?}"
        );
        // what people are like was measured half a year after the room
        let ages = |text: &str| made.faults("array", "none", day(text));
        assert!(
            matches!(&ages("2026-08-30T00:00:00Z")[..], [room] if room.contains("210 days old"))
        );
        let both = ages("2027-02-01T00:00:00Z");
        assert!(both[1].contains("measured 184 days ago"), "{both:?}");
        // a room that nobody measured is not old
        let people = Calibration {
            minutes: 0.0,
            ..made.clone()
        };
        let only = people.faults("array", "none", day("2027-02-01T00:00:00Z"));
        assert!(
            matches!(&only[..], [usual] if usual.contains("--people")),
            "{only:?}"
        );
        assert_eq!(made.background("other", "none").speech, None);
        assert_eq!(made.background("array", "none").speech, Some(0.75));
    }
}
