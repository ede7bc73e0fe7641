//! Messages as ROS defines them, for whatever carries them.
//!
//! Fields stand in the order of their definitions: over DDS nothing but the order names them.
//! Those of `hri_msgs` are of its release 2.3; REP-155 says on which topics they go.

use crate::event::Face;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

/// `builtin_interfaces/Time`, since 1970; 0 where the time is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Time {
    sec: i32,
    nanosec: u32,
}

impl From<Option<Timestamp>> for Time {
    fn from(time: Option<Timestamp>) -> Time {
        let known = time.and_then(|time| {
            let sec = i32::try_from(time.as_second()).ok()?;
            let nanosec = u32::try_from(time.subsec_nanosecond()).ok()?;
            Some(Time { sec, nanosec })
        });
        known.unwrap_or_default()
    }
}

/// `std_msgs/Header`; of no frame, since nobody has measured where the camera is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Header {
    stamp: Time,
    frame_id: String,
}

impl Header {
    /// Of this time.
    pub fn at(time: Option<Timestamp>) -> Header {
        Header {
            stamp: time.into(),
            frame_id: String::new(),
        }
    }
}

/// `std_msgs/String`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Text {
    data: String,
}

/// `std_msgs/Bool`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flag {
    data: bool,
}

/// `hri_msgs/IdsList`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdsList {
    header: Header,
    ids: Vec<String>,
}

/// `hri_msgs/Expression`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Expression {
    header: Header,
    expression: &'static str,
    valence: f32,
    arousal: f32,
    confidence: f32,
}

/// `hri_msgs/NormalizedRegionOfInterest2D`: parts of the picture's width and height, 0..1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Region {
    header: Header,
    xmin: f32,
    ymin: f32,
    xmax: f32,
    ymax: f32,
    c: f32,
}

/// `diagnostic_msgs/DiagnosticArray`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostics {
    header: Header,
    status: Vec<Status>,
}

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Somebody should look at it.
    Warn,
    /// It does not work.
    Error,
}

/// `diagnostic_msgs/DiagnosticStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    level: u8,
    name: String,
    message: String,
    hardware_id: String,
    values: Vec<KeyValue>,
}

/// `diagnostic_msgs/KeyValue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyValue {
    key: String,
    value: String,
}

impl Status {
    /// Of the part `name` of a device.
    pub fn new(device: &str, name: &str, level: Level, message: String) -> Status {
        Status {
            level: level as u8,
            name: format!("demeanor {device}: {name}"),
            message,
            hardware_id: device.into(),
            values: Vec::new(),
        }
    }

    /// With a figure more, where there is one.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: Option<impl ToString>) -> Status {
        self.values.extend(value.map(|value| KeyValue {
            key: key.into(),
            value: value.to_string(),
        }));
        self
    }
}

/// Package and name of a type.
pub type Kind = (&'static str, &'static str);

/// That of texts.
pub const TEXT: Kind = ("std_msgs", "String");
/// That of what is so or not.
pub const FLAG: Kind = ("std_msgs", "Bool");
/// That of lists of ids.
pub const IDS_LIST: Kind = ("hri_msgs", "IdsList");
/// That of diagnostics.
pub const DIAGNOSTICS: Kind = ("diagnostic_msgs", "DiagnosticArray");

/// A message of any of these types.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Message {
    /// JSON of ours.
    Text(Text),
    /// Whether somebody speaks.
    Flag(Flag),
    /// Who is in sight, or heard.
    IdsList(IdsList),
    /// What a face shows.
    Expression(Expression),
    /// Where a face is.
    Region(Region),
    /// How the device is.
    Diagnostics(Diagnostics),
}

/// What ROS calls the labels of the bundle `expression`. It has no word for contempt.
const EXPRESSIONS: [(&str, &str); 7] = [
    ("neutral", "neutral"),
    ("happiness", "happy"),
    ("surprise", "surprised"),
    ("sadness", "sad"),
    ("anger", "angry"),
    ("disgust", "disgusted"),
    ("fear", "scared"),
];

impl Message {
    /// A text.
    pub fn text(data: String) -> Message {
        Message::Text(Text { data })
    }

    /// What is so, or not.
    pub fn flag(data: bool) -> Message {
        Message::Flag(Flag { data })
    }

    /// A list of ids.
    pub fn ids(header: Header, ids: Vec<String>) -> Message {
        Message::IdsList(IdsList { header, ids })
    }

    /// The expression of a label; `None` where ROS has no word for it, or it is `unsure`. Nobody
    /// has measured valence and arousal: they are NaN, since 0 would be a measured neutral.
    pub fn expression(header: Header, label: &str, confidence: Option<f32>) -> Option<Message> {
        let (_, expression) = EXPRESSIONS.iter().find(|(ours, _)| *ours == label)?;
        Some(Message::Expression(Expression {
            header,
            expression,
            valence: f32::NAN,
            arousal: f32::NAN,
            confidence: confidence.unwrap_or(f32::NAN),
        }))
    }

    /// The place of a face, as far as it lies in the picture; `None` without a picture.
    pub fn region(header: Header, face: &Face) -> Option<Message> {
        let [x, y, width, height] = face.place;
        let [wide, high] = face.picture;
        let part = |at: f32, of: f32| (at / of).clamp(0.0, 1.0);
        (wide >= 1.0 && high >= 1.0).then(|| {
            Message::Region(Region {
                header,
                xmin: part(x, wide),
                ymin: part(y, high),
                xmax: part(x + width, wide),
                ymax: part(y + height, high),
                c: face.score,
            })
        })
    }

    /// How parts of the device are.
    pub fn diagnostics(header: Header, status: Vec<Status>) -> Message {
        Message::Diagnostics(Diagnostics { header, status })
    }

    /// Its type.
    pub fn kind(&self) -> Kind {
        match self {
            Message::Text(_) => TEXT,
            Message::Flag(_) => FLAG,
            Message::IdsList(_) => IDS_LIST,
            Message::Expression(_) => ("hri_msgs", "Expression"),
            Message::Region(_) => ("hri_msgs", "NormalizedRegionOfInterest2D"),
            Message::Diagnostics(_) => DIAGNOSTICS,
        }
    }
}

/// JSON as rosbridge reads it: a float that is no number is `NaN`, as Python writes and reads
/// it. `null` would be refused there, and a field that is left out would be 0.
///
/// # Errors
/// serde's.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Python))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// None of our messages has a field that may be absent: what serde would write as `null` is a
/// float that is no number.
struct Python;

impl Formatter for Python {
    fn write_null<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"NaN")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header::at("2026-11-27T18:05:48.25Z".parse().ok())
    }

    fn written(message: &Message) -> String {
        json(message).unwrap()
    }

    const HEADER: &str =
        "\"header\":{\"stamp\":{\"sec\":1795802748,\"nanosec\":250000000},\"frame_id\":\"\"}";

    #[test]
    fn each_message_has_the_fields_of_its_definition_in_their_order() {
        let expression = Message::expression(header(), "happiness", Some(0.75)).unwrap();
        let expected = format!(
            "{{{HEADER},\"expression\":\"happy\",\"valence\":NaN,\"arousal\":NaN,\
             \"confidence\":0.75}}"
        );
        assert_eq!(written(&expression), expected);
        let ids = Message::ids(header(), vec!["f1abc".into()]);
        assert_eq!(written(&ids), format!("{{{HEADER},\"ids\":[\"f1abc\"]}}"));
        let face = Face {
            id: 1,
            // partly outside the picture
            place: [-20.0, 60.0, 100.0, 120.0],
            picture: [320.0, 240.0],
            score: 0.5,
        };
        let region = Message::region(header(), &face).unwrap();
        let expected = format!(
            "{{{HEADER},\"xmin\":0.0,\"ymin\":0.25,\"xmax\":0.25,\"ymax\":0.75,\"c\":0.5}}"
        );
        assert_eq!(written(&region), expected);
        assert_eq!(
            written(&Message::text("{\"a\":null}".into())),
            "{\"data\":\"{\\\"a\\\":null}\"}"
        );
        assert_eq!(written(&Message::flag(true)), "{\"data\":true}");
        let status = Status::new("door", "machine", Level::Warn, "hot".into())
            .with("temperature", Some(81.5))
            .with("throttled", None::<bool>);
        let diagnostics = Message::diagnostics(header(), vec![status]);
        let expected = format!(
            "{{{HEADER},\"status\":[{{\"level\":1,\"name\":\"demeanor door: machine\",\
             \"message\":\"hot\",\"hardware_id\":\"door\",\
             \"values\":[{{\"key\":\"temperature\",\"value\":\"81.5\"}}]}}]}}"
        );
        assert_eq!(written(&diagnostics), expected);
    }

    #[test]
    fn what_ros_has_no_word_for_is_not_said_and_what_is_not_measured_is_no_zero() {
        for label in ["contempt", "unsure", "angry", ""] {
            assert_eq!(Message::expression(header(), label, Some(1.0)), None);
        }
        let unscored = Message::expression(header(), "fear", None).unwrap();
        assert!(written(&unscored).contains("\"confidence\":NaN"));
        assert_eq!(Message::region(header(), &face_without_picture()), None);
        assert_eq!(Header::at(None).stamp, Time { sec: 0, nanosec: 0 });
    }

    fn face_without_picture() -> Face {
        Face {
            id: 0,
            place: [0.0; 4],
            picture: [0.0; 2],
            score: 1.0,
        }
    }
}
