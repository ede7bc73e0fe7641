//! What is written beside an answer or a state: which in order, when, and by which device.

use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;

/// What is written beside an answer or a state: which, when and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Counts what this process writes, from 1, in order.
    pub seq: u64,
    /// UTC by the machine's clock; only of what is live.
    pub time: Option<Timestamp>,
    /// Which device; only of what is live.
    pub device: Option<Arc<str>>,
}

impl Stamp {
    /// The object with the stamp behind its `schema`.
    pub fn on(&self, mut object: Value) -> Value {
        if let Value::Object(fields) = &mut object {
            let device = self.device.as_deref().map(|device| json!(device));
            let time = self.time.map(|time| json!(format!("{time:.3}")));
            let stamps = [
                ("device", device),
                ("time", time),
                ("seq", Some(json!(self.seq))),
            ];
            for (name, value) in stamps {
                if let Some(value) = value {
                    fields.shift_insert(1, name.into(), value);
                }
            }
        }
        object
    }
}

/// The time by the machine's clock; `None` where it is set beyond the year 9999.
pub fn now() -> Option<Timestamp> {
    Timestamp::try_from(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Faces;

    #[test]
    fn a_stamp_stands_behind_the_schema() {
        let stamp = Stamp {
            seq: 7,
            time: "2026-11-26T17:05:48.123456Z".parse().ok(),
            device: Some("door".into()),
        };
        let text = stamp.on(Faces::default().to_json()).to_string();
        let begins = "{\"schema\":\"demeanor.event/1\",\"seq\":7,\
                      \"time\":\"2026-11-26T17:05:48.123Z\",\"device\":\"door\",\"task\":\"faces\"";
        assert!(text.starts_with(begins), "{text}");
    }
}
