//! States: one list of the words for what a source, the lamp, the button or a part of the service
//! is now, and the event that tells a change of it.

use super::{SCHEMA, now};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;

/// What a source, the lamp, the button or a part of the service is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The notice: visitors or customers.
    Public,
    /// The notice: people who agreed to take part.
    Research,
    /// The notice: care, for medical reasons.
    Medical,
    /// The notice: safety reasons.
    Safety,
    /// The notice: employees; voices and faces are not judged.
    Workplace,
    /// The notice: pupils or students; voices and faces are not judged.
    Education,
    /// The lamp is lit.
    On,
    /// The lamp blinks: muted.
    Blinking,
    /// The lamp is dark: the run is over.
    Off,
    /// A source is read, or about to be.
    Capturing,
    /// A source is closed, or a press of the button closed it.
    Muted,
    /// A press of the button opened the sources.
    Unmuted,
    /// A source went away and is tried again.
    Lost,
    /// A source gives nothing more.
    Ended,
    /// A source or the lamp failed for good.
    Failed,
    /// Work was left out, since answers came too slowly; or what came was damaged.
    Skipped,
    /// Something is wrong with what a source brings, and it goes on.
    Warning,
    /// The audit log or the metrics cannot be written.
    Failing,
    /// They are written again.
    Recovered,
    /// A stage makes no progress; the service manager is not fed.
    Resting,
    /// Answers are no longer like those before, by more than chance.
    Drifted,
    /// They are again.
    Back,
}

impl State {
    /// Every state.
    pub const ALL: [State; 22] = [
        State::Public,
        State::Research,
        State::Medical,
        State::Safety,
        State::Workplace,
        State::Education,
        State::On,
        State::Blinking,
        State::Off,
        State::Capturing,
        State::Muted,
        State::Unmuted,
        State::Lost,
        State::Ended,
        State::Failed,
        State::Skipped,
        State::Warning,
        State::Failing,
        State::Recovered,
        State::Resting,
        State::Drifted,
        State::Back,
    ];

    /// Whether it is news of a source that stays what it was: work left out, say.
    pub fn is_news(self) -> bool {
        matches!(
            self,
            State::Skipped | State::Warning | State::Drifted | State::Back
        )
    }

    /// The word used in events and in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            State::Public => "public",
            State::Research => "research",
            State::Medical => "medical",
            State::Safety => "safety",
            State::Workplace => "workplace",
            State::Education => "education",
            State::On => "on",
            State::Blinking => "blinking",
            State::Off => "off",
            State::Capturing => "capturing",
            State::Muted => "muted",
            State::Unmuted => "unmuted",
            State::Lost => "lost",
            State::Ended => "ended",
            State::Failed => "failed",
            State::Skipped => "skipped",
            State::Warning => "warning",
            State::Failing => "failing",
            State::Recovered => "recovered",
            State::Resting => "resting",
            State::Drifted => "drifted",
            State::Back => "back",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for State {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A change of a source: it went away, came back, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The file or device, or `notice`, `indicator`, `button`, `audit`, `metrics`, `watchdog`.
    pub source: String,
    /// What it is now.
    pub state: State,
    /// In words; may be empty.
    pub detail: String,
    /// When it came to be so, which may be long before a reader hears of it.
    pub time: Option<Timestamp>,
}

impl StateChange {
    /// A change of `source` that has just come.
    pub fn new(source: impl Into<String>, state: State, detail: impl Into<String>) -> StateChange {
        StateChange {
            source: source.into(),
            state,
            detail: detail.into(),
            time: now(),
        }
    }

    /// The change as one JSON object; `schema` is the events'.
    pub fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "task": "state",
            "source": self.source,
            "state": self.state,
            "detail": self.detail,
        })
    }
}
