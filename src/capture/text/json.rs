//! Words in JSON, as recognisers write them.
//!
//! | who | what |
//! |-----|------|
//! | ours, JSON lines | `{"start": s, "end": s, "text": …}` |
//! | vosk | `{"partial": …}`, `{"text": …, "result": [{"start": s, "end": s, "word": …}]}` |
//! | whisper, WhisperX | `{"segments": [{"start": s, "end": s, "text": …}]}` |
//! | whisper.cpp | `{"transcription": [{"offsets": {"from": ms, "to": ms}, "text": …}]}` |
//! | Transformers | `{"chunks": [{"timestamp": [s, s], "text": …}]}` |
//! | services | `{"utterances": [{"start": ms, "end": ms, "text": …}]}` |

use serde_json::Value;

use super::line::Parsed;
use super::times::Time;
use super::{Cue, LineError, wrong};

const ADVICE: &str = r#"write {"start": seconds, "end": seconds, "text": "words"}"#;

/// Understands one value, which may hold many sentences.
pub(super) fn parse(value: &Value) -> Result<Parsed, LineError> {
    let list = match value {
        Value::Array(list) => Some(list),
        _ => ["segments", "transcription", "chunks", "utterances"]
            .iter()
            .find_map(|key| value.get(key)?.as_array()),
    };
    if let Some(list) = list {
        return list
            .iter()
            .map(sentence)
            .collect::<Result<_, _>>()
            .map(Parsed::Words);
    }
    let is = |key: &str, bool: bool| value.get(key).and_then(Value::as_bool) == Some(bool);
    if is("final", false) || is("is_final", false) {
        return Ok(Parsed::Partial);
    }
    if let Some(best) = value.get("alternatives").and_then(|list| list.get(0)) {
        return sentence(best).map(|cue| Parsed::Words(vec![cue]));
    }
    if value.get("text").is_none() && value.get("partial").is_some() {
        return Ok(Parsed::Partial);
    }
    sentence(value).map(|cue| Parsed::Words(vec![cue]))
}

/// One object with words.
fn sentence(value: &Value) -> Result<Cue, LineError> {
    let Some(text) = value.get("text").and_then(Value::as_str) else {
        return wrong("it has no \"text\" of words", ADVICE);
    };
    let (mut start, mut end) = (
        time(value.get("start"), "start")?,
        time(value.get("end"), "end")?,
    );
    if let Some(offsets) = value.get("offsets") {
        let milliseconds = |key: &str| offsets.get(key).and_then(Value::as_f64);
        start = milliseconds("from").map(|ms| Time::seconds(ms / 1000.0));
        end = milliseconds("to").map(|ms| Time::seconds(ms / 1000.0));
    } else if let Some(pair) = value.get("timestamp").and_then(Value::as_array) {
        start = time(pair.first(), "timestamp")?;
        end = time(pair.get(1), "timestamp")?;
    }
    let words = value.get("result").or_else(|| value.get("words"));
    if let (None, Some(words)) = (start, words.and_then(Value::as_array)) {
        start = time(words.first().and_then(|word| word.get("start")), "start")?;
        end = time(words.last().and_then(|word| word.get("end")), "end")?;
    }
    Cue::new(start, end, text)
}

/// A number of seconds, or a time in words; `null` and nothing are no time.
fn time(value: Option<&Value>, key: &str) -> Result<Option<Time>, LineError> {
    let found = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_f64().map(|value| Time {
            value,
            whole: !number.is_f64(),
        }),
        Some(Value::String(word)) => Time::parse(word),
        Some(_) => None,
    };
    match found {
        Some(time) => Ok(Some(time)),
        None => wrong(format!("its \"{key}\" is no number"), ADVICE),
    }
}
