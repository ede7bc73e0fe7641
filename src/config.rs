//! Configuration of `demeanor run`: a TOML file, unknown fields refused.

pub mod calibration;
mod camera;
pub mod mqtt;
pub mod outputs;
pub mod own;
pub mod ros;
mod wired;

use crate::Error;
use crate::board::profile::Profile;
use crate::capture::{Channel, OwnChannel, limits};
use crate::session::Tasks;
use outputs::{Part, Publish};
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

pub use camera::Camera;
pub use wired::{Button, Indicator, Means, Wired};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the people in front of the device were told. Nothing is captured without it.
    pub notice: Notice,
    /// Which device this is.
    #[serde(default)]
    pub device: Device,
    /// Where sound comes from.
    #[serde(default)]
    pub audio: Audio,
    /// Where pictures come from.
    #[serde(default)]
    pub camera: Camera,
    /// Where words come from.
    #[serde(default)]
    pub text: Text,
    /// What is told of names in words.
    #[serde(default)]
    pub entities: Entities,
    /// What sarcasm remembers.
    #[serde(default)]
    pub sarcasm: Sarcasm,
    /// How answers become decisions.
    #[serde(default)]
    pub decision: Decision,
    /// The lamp that says that capture is on.
    #[serde(default)]
    pub indicator: Indicator,
    /// The button of the people in front of the device.
    #[serde(default)]
    pub button: Button,
    /// The log of when capture was on.
    #[serde(default)]
    pub audit: Audit,
    /// Numbers for node_exporter's text collector.
    #[serde(default)]
    pub metrics: Metrics,
    /// Counts are told instead of answers; single answers when it is left out.
    pub aggregate: Option<outputs::Aggregate>,
    /// What was measured of the place; nothing when it is left out.
    pub calibration: Option<calibration::Calibration>,
    /// Events for programs of this machine; none when it is left out.
    pub socket: Option<outputs::Socket>,
    /// The page, live events and figures by HTTP; none when it is left out.
    pub http: Option<outputs::Http>,
    /// The broker that is told what happens; none when it is left out.
    pub mqtt: Option<mqtt::Mqtt>,
    /// The robot that is told what happens; none when it is left out.
    pub ros: Option<ros::Ros>,
}

/// The duty to tell people before they are exposed (EU AI Act, Art. 50(3)); the deployer
/// signs for it here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// The people exposed are told, at or before first exposure.
    pub acknowledged: bool,
    /// What it is for, in words that could stand on the sign.
    pub purpose: String,
    /// Where it stands.
    pub setting: Setting,
}

/// Where the device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// Visitors or customers.
    Public,
    /// People who agreed to take part.
    Research,
    /// Care, for medical reasons.
    Medical,
    /// Safety reasons.
    Safety,
    /// Employees: voices and faces are not judged (Art. 5(1)(f)); text stays.
    Workplace,
    /// Pupils or students: voices and faces are not judged (Art. 5(1)(f)); text stays.
    Education,
}

impl Setting {
    /// May voices and faces be judged here?
    pub fn allows_biometrics(self) -> bool {
        !matches!(self, Setting::Workplace | Setting::Education)
    }

    /// The word used in the file.
    pub fn name(self) -> &'static str {
        match self {
            Setting::Public => "public",
            Setting::Research => "research",
            Setting::Medical => "medical",
            Setting::Safety => "safety",
            Setting::Workplace => "workplace",
            Setting::Education => "education",
        }
    }
}

/// Which device this is, among others whose events are collected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Device {
    /// The name in its events; the host's when it is left out.
    pub name: Option<String>,
}

impl Device {
    /// The name in events.
    pub fn name(&self) -> String {
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let name = self.name.clone().or_else(host).unwrap_or_default();
        name.trim().to_owned()
    }
}

/// What is told of names in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Entities {
    /// Events carry the words themselves: words that people said. Without it they tell where in
    /// an utterance a name stands, and of what kind it is.
    pub words: bool,
}

/// What sarcasm remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sarcasm {
    /// A folder with a memory bank, and with the texts of its items where their licence allows,
    /// instead of the bundle's own.
    pub bank: Option<PathBuf>,
}

/// Where sound comes from.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audio {
    /// A device's name, a WAV or Ogg/Opus file, `-` for a WAV on standard input, or `none`.
    /// The board's device when it is left out.
    pub source: Option<String>,
    /// Which channel of several is heard: `"best"`, `"mix"`, or a number from 0. When it is
    /// left out, the board's for the board's own device, and the best one of other sources.
    pub channel: Option<Channel>,
    /// What tells that the device itself speaks, which is not judged; nothing when it is left out.
    pub ignore_while: Option<own::IgnoreWhile>,
}

impl Audio {
    /// The channel to hear of `source`.
    pub fn channel(&self, source: &str, board: &Profile) -> Channel {
        let boards = match source == board.audio_device {
            true => board.audio_channel,
            false => Channel::default(),
        };
        self.channel.unwrap_or(boards)
    }

    /// The channel that tells what the device itself says, if one does.
    pub fn own(&self) -> Option<OwnChannel> {
        match &self.ignore_while {
            Some(own::IgnoreWhile::Sounds(channel)) => Some(*channel),
            Some(own::IgnoreWhile::Connected(_)) | None => None,
        }
    }
}

/// The log of when capture was on: times and names of sources, never what they gave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// JSON lines are added to this file; no log when it is left out.
    pub file: Option<PathBuf>,
}

/// Numbers for node_exporter's text collector.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Replaced as a whole each time; no metrics when it is left out.
    pub file: Option<PathBuf>,
    /// Seconds between two versions of it.
    pub every: f64,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            file: None,
            every: 15.0,
        }
    }
}

/// Where words come from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Text {
    /// `stdin` for lines on standard input, or `none`.
    pub source: TextSource,
    /// Seconds that an utterance waits for its words.
    pub wait: f64,
    /// Seconds of silence after which the dialogue before is forgotten.
    pub forget: f64,
    /// The bundle of a recogniser, which hears the words that nobody gives.
    pub recogniser: Option<PathBuf>,
    /// Events carry the words that were recognised.
    pub in_events: bool,
}

impl Default for Text {
    fn default() -> Self {
        Text {
            source: TextSource::None,
            wait: 1.0,
            forget: 60.0,
            recogniser: None,
            in_events: false,
        }
    }
}

/// Where words come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextSource {
    /// Lines on standard input, with or without time stamps.
    Stdin,
    /// No words: speech alone.
    None,
}

/// How answers become decisions.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decision {
    /// Half-life of temporal smoothing in seconds; 0 is off.
    pub smooth: f64,
    /// Top scores below this are `unsure`; the bundle's own value when left out.
    pub unsure_below: Option<f32>,
    /// Seconds of speech after which, and after each more of which, what was heard so far is
    /// told; 0 is off.
    pub partial: f64,
    /// Adds salient tokens and frames to every event.
    pub explain: bool,
    /// Which tasks; all whose input is there when left out.
    pub tasks: Option<Tasks>,
}

impl Default for Decision {
    fn default() -> Self {
        Decision {
            smooth: 3.0,
            unsure_below: None,
            partial: 0.0,
            explain: false,
            tasks: None,
        }
    }
}

/// Seconds of speech between partial answers: less has no voice to judge, and after as much as the
/// longest an utterance is cut.
const PARTIAL: RangeInclusive<f64> = 0.25..=8.0;

/// What a `run` without a notice is told.
const NO_NOTICE: &str = "has no `[notice]`, and nothing is captured before people are told; add a \
    section [notice] with acknowledged = true, purpose = \"what it is for\" and setting = \
    \"public\" (or research, medical, safety, workplace, education)";

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// A file that cannot be read, says something unknown, or lacks the notice.
    pub fn read(path: &Path) -> Result<Config, Error> {
        let failed = |source| Error::File {
            path: path.into(),
            doing: "read",
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let mut text = String::new();
        let most = limits::MAX_CONFIG as u64 + 1;
        file.take(most).read_to_string(&mut text).map_err(failed)?;
        if text.len() > limits::MAX_CONFIG {
            return Err(Error::Config {
                path: path.into(),
                what: format!(
                    "is longer than {} MiB, and no config is",
                    limits::MAX_CONFIG >> 20
                ),
            });
        }
        Config::parse(&text).map_err(|what| Error::Config {
            path: path.into(),
            what,
        })
    }

    /// Understands the text of a file.
    ///
    /// # Errors
    /// In one sentence, what is wrong with it.
    pub fn parse(text: &str) -> Result<Config, String> {
        Config::understand(text).map_err(|what| what.replace(['\n', '\r'], " "))
    }

    fn understand(text: &str) -> Result<Config, String> {
        let table: toml::Table = toml::from_str(text).map_err(|e| e.message().to_string())?;
        if !table.contains_key("notice") {
            return Err(NO_NOTICE.into());
        }
        let config: Config = toml::from_str(text).map_err(|e| {
            let line = e
                .span()
                .map_or(1, |s| 1 + text[..s.start].matches('\n').count());
            format!(
                "line {line}: {}; see `demeanor run --help` for the fields",
                e.message()
            )
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if !self.notice.acknowledged {
            return Err(
                "`notice.acknowledged` is false: nothing is captured before people are told; \
                put up the notice, then set it to true"
                    .into(),
            );
        }
        if self.notice.purpose.trim().is_empty() {
            return Err("`notice.purpose` is empty; say what the recognition is for".into());
        }
        let times = [
            ("text.wait", self.text.wait),
            ("text.forget", self.text.forget),
            ("decision.smooth", self.decision.smooth),
            ("button.debounce", self.button.debounce),
            ("metrics.every", self.metrics.every),
        ];
        for (name, value) in times {
            if !(0.0..=3600.0).contains(&value) {
                return Err(format!("`{name}` must lie in 0..=3600 seconds"));
            }
        }
        let partial = self.decision.partial;
        if partial != 0.0 && !PARTIAL.contains(&partial) {
            return Err(format!(
                "`decision.partial` is {partial}; write {} to {} seconds of speech, or 0 for no \
                 answers before somebody has finished",
                PARTIAL.start(),
                PARTIAL.end()
            ));
        }
        self.check_aggregate()?;
        self.http.as_ref().map_or(Ok(()), outputs::Http::check)?;
        self.mqtt.as_ref().map_or(Ok(()), mqtt::Mqtt::check)?;
        let calibration = self.calibration.as_ref();
        calibration.map_or(Ok(()), calibration::Calibration::check)?;
        match self.decision.unsure_below {
            Some(p) if !(0.0..=1.0).contains(&p) => {
                Err("`decision.unsure_below` must lie in 0..=1".into())
            }
            _ => Ok(()),
        }
    }
}

impl Config {
    /// Where counts are told, nothing may ask for what is told of single answers.
    fn check_aggregate(&self) -> Result<(), String> {
        let Some(aggregate) = &self.aggregate else {
            return Ok(());
        };
        aggregate.check()?;
        if self.decision.partial != 0.0 {
            return Err(
                "`decision.partial` tells single answers and `[aggregate]` none; leave out one \
                 of them"
                    .into(),
            );
        }
        let parts = [Part::Scores, Part::Faces, Part::Voices];
        let single = |publish: &Publish| parts.iter().any(|part| publish.tells(*part));
        let mqtt = self.mqtt.as_ref().map(|mqtt| ("mqtt", &mqtt.publish));
        let ros = self.ros.as_ref().map(|ros| ("ros", &ros.publish));
        match mqtt.into_iter().chain(ros).find(|(_, told)| single(told)) {
            Some((section, _)) => Err(format!(
                "`{section}.publish` names scores, faces or voices, and `[aggregate]` tells none of \
                 them; publish \"labels\" for the counts"
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTICE: &str =
        "[notice]\nacknowledged = true\npurpose = \"a demo\"\nsetting = \"public\"\n";

    #[test]
    fn a_notice_is_enough() {
        let config = Config::parse(NOTICE);
        assert!(
            config.is_ok_and(|c| c.notice.setting.allows_biometrics() && c.decision.smooth == 3.0)
        );
    }

    #[test]
    fn without_a_notice_nothing_starts() {
        assert!(Config::parse("").is_err_and(|e| e.contains("no `[notice]`")));
        let unsigned = NOTICE.replace("true", "false");
        assert!(Config::parse(&unsigned).is_err_and(|e| e.contains("people are told")));
        let blank = NOTICE.replace("a demo", " ");
        assert!(Config::parse(&blank).is_err_and(|e| e.contains("notice.purpose")));
    }

    #[test]
    fn errors_are_one_line_and_a_config_has_a_size() {
        for text in [
            "",
            "[notice]\nacknowledged = maybe",
            "a = \"\"\"\nb",
            "[notice]\nsetting = 1",
        ] {
            let error = Config::parse(text).err().unwrap_or_default();
            assert!(!error.is_empty() && !error.contains('\n'), "{error:?}");
        }
        let path = std::env::temp_dir().join(format!("demeanor-config-{}", std::process::id()));
        std::fs::write(
            &path,
            format!("{NOTICE}#{}", "x".repeat(limits::MAX_CONFIG)),
        )
        .unwrap();
        let error = Config::read(&path).unwrap_err().to_string();
        assert!(error.contains("longer than 1 MiB"), "{error}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn unknown_fields_are_named_with_their_line() {
        let wrong = format!("{NOTICE}[audio]\nsauce = \"default\"\n");
        let error = Config::parse(&wrong).err().unwrap_or_default();
        assert!(
            error.contains("sauce") && error.contains("line 6"),
            "{error}"
        );
    }

    #[test]
    fn a_channel_is_a_word_or_a_number() {
        let channel = |written: &str| {
            let config = Config::parse(&format!("{NOTICE}[audio]\nchannel = {written}\n"));
            config.map(|c| c.audio.channel)
        };
        assert_eq!(channel("0"), Ok(Some(Channel::Number(0))));
        assert_eq!(channel("\"best\""), Ok(Some(Channel::Best)));
        assert_eq!(channel("\"mix\""), Ok(Some(Channel::Mix)));
        assert!(channel("\"left\"").is_err_and(|e| e.contains("`left` is no channel")));
        assert!(channel("-1").is_err_and(|e| e.contains("a number from 0")));
    }

    #[test]
    fn the_boards_channel_is_for_the_boards_device() {
        let board = "name = \"b\"\nsummary = \"s\"\ncpu = \"neon\"\nmemory_mib = 150\n\
            audio_device = \"array\"\naudio_channel = 0\n";
        let board = Profile::parse(board).expect("a profile");
        let unsaid = Audio::default();
        assert_eq!(unsaid.channel("array", &board), Channel::Number(0));
        assert_eq!(unsaid.channel("talk.wav", &board), Channel::Best);
        let said = Audio {
            channel: Some(Channel::Mix),
            ..unsaid
        };
        assert_eq!(said.channel("array", &board), Channel::Mix);
    }

    #[test]
    fn partial_answers_come_at_a_pace_that_makes_sense() {
        let partial = |written: &str| {
            let config = Config::parse(&format!("{NOTICE}[decision]\npartial = {written}\n"));
            config.map(|c| c.decision.partial)
        };
        assert_eq!(Config::parse(NOTICE).map(|c| c.decision.partial), Ok(0.0));
        assert_eq!(partial("1.0"), Ok(1.0));
        assert_eq!(partial("0"), Ok(0.0));
        for wrong in ["0.1", "9", "-1", "nan", "inf"] {
            let said = partial(wrong).unwrap_err();
            assert!(said.starts_with("`decision.partial` is"), "{said}");
        }
        assert!(partial("true").is_err());
    }

    #[test]
    fn counts_and_single_answers_exclude_each_other() {
        let parse = |more: &str| Config::parse(&format!("{NOTICE}[aggregate]\n{more}"));
        assert!(parse("").is_ok_and(|c| c.aggregate == Some(outputs::Aggregate::default())));
        assert!(parse("[mqtt]\n").is_ok());
        for (more, what) in [
            ("at_least = 1\n", "`aggregate.at_least`"),
            ("[decision]\npartial = 1.0\n", "`decision.partial`"),
            ("[mqtt]\npublish = [\"scores\"]\n", "`mqtt.publish`"),
            (
                "[mqtt]\npublish = [\"labels\", \"faces\"]\n",
                "`mqtt.publish`",
            ),
            (
                "[ros]\nbridge = \"ws://robot\"\npublish = [\"faces\"]\n",
                "`ros.publish`",
            ),
            ("[mqtt]\npublish = [\"voices\"]\n", "`mqtt.publish`"),
        ] {
            let said = parse(more).unwrap_err();
            assert!(said.starts_with(what), "{said}");
        }
    }

    #[test]
    fn work_and_school_switch_the_voice_off() {
        assert!(!Setting::Workplace.allows_biometrics() && !Setting::Education.allows_biometrics());
        assert!(Setting::Medical.allows_biometrics());
    }
}
