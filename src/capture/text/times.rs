//! Times as people and programs write them.

use std::time::Duration;

use super::{LineError, wrong};

/// Times beyond this are no times: 115 days in seconds.
const MAX_SECONDS: f64 = 1e7;

/// A time, in what it was written in: seconds unless a whole file says milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Time {
    pub(super) value: f64,
    /// A bare whole number: it may be milliseconds.
    pub(super) whole: bool,
}

impl Time {
    pub(super) fn seconds(value: f64) -> Time {
        Time {
            value,
            whole: false,
        }
    }

    /// As a duration, taken as seconds.
    pub(super) fn duration(self) -> Result<Duration, LineError> {
        let value = self.value;
        if !(0.0..=MAX_SECONDS).contains(&value) {
            let advice = "write times as seconds from the beginning of the recording";
            return wrong(format!("{value} is no time in seconds"), advice);
        }
        Ok(Duration::from_secs_f64(value))
    }

    /// Seconds, with a unit or without, or a clock's time; `None` for anything else.
    pub(super) fn parse(word: &str) -> Option<Time> {
        let word = word.trim();
        if word.contains(':') {
            return clock(word).map(Time::seconds);
        }
        if let Some(number) = word.strip_suffix("ms") {
            return decimal(number).map(|ms| Time::seconds(ms / 1000.0));
        }
        if let Some(number) = word.strip_suffix('s') {
            return decimal(number).map(Time::seconds);
        }
        let value = decimal(word)?;
        let whole = !word.contains(['.', ',']);
        Some(Time { value, whole })
    }

    /// Whether it is written like a clock's time with more than minutes and seconds, which
    /// nobody says: `00:00:12` or `0:12.5`.
    pub(super) fn is_exact_clock(word: &str) -> bool {
        clock(word).is_some() && (word.contains(['.', ',']) || word.matches(':').count() == 2)
    }
}

/// A decimal number with a point or a comma; words such as `nan` and `inf`, which Rust would
/// take, are words.
pub(super) fn decimal(word: &str) -> Option<f64> {
    let digits = word
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b',' | b'-'));
    if !digits || !word.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    match word.matches(',').count() {
        0 => word.parse().ok(),
        1 if !word.contains('.') => word.replace(',', ".").parse().ok(),
        _ => None,
    }
}

/// Whether a number with a comma may as well be thousands: `1,000`.
pub(super) fn looks_like_thousands(word: &str) -> bool {
    word.split_once(',').is_some_and(|(left, right)| {
        right.len() == 3 && (1..=3).contains(&left.len()) && !left.starts_with('0')
    })
}

/// `[HH:]MM:SS[.fff]` in seconds, the fraction behind a point or a comma.
fn clock(word: &str) -> Option<f64> {
    let (whole, fraction) = match word.find(['.', ',']) {
        Some(at) => (&word[..at], Some(&word[at + 1..])),
        None => (word, None),
    };
    let number = |part: &str| -> Option<f64> {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        (digits && part.len() <= 6).then(|| part.parse().ok())?
    };
    let parts: Vec<f64> = whole.split(':').map(number).collect::<Option<_>>()?;
    let seconds = match parts[..] {
        [minutes, seconds] if seconds < 60.0 => minutes * 60.0 + seconds,
        [hours, minutes, seconds] if minutes < 60.0 && seconds < 60.0 => {
            hours * 3600.0 + minutes * 60.0 + seconds
        }
        _ => return None,
    };
    let Some(fraction) = fraction else {
        return Some(seconds);
    };
    let digits = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    let fraction: f64 = digits.then(|| format!("0.{fraction}").parse().ok())??;
    Some(seconds + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_sorts() {
        for (written, seconds) in [
            ("12.5", 12.5),
            ("12,5", 12.5),
            ("12.50s", 12.5),
            ("400ms", 0.4),
            ("00:12.5", 12.5),
            ("00:00:12,500", 12.5),
            ("1:00:00.250", 3600.25),
            ("75:30", 4530.0),
            ("100:00:00", 360_000.0),
        ] {
            let value = Time::parse(written).map(|time| time.value);
            assert_eq!(value, Some(seconds), "{written}");
        }
        for word in [
            "nan",
            "inf",
            "1.2.3",
            "1,2,3",
            "1,000.5",
            "00:75:00",
            "12:60",
            "::",
            "1:2:3:4",
            "s",
            "ms",
            "",
            "-",
            "12:3x",
            "1:2.",
            "9999999:00",
        ] {
            assert_eq!(Time::parse(word), None, "{word}");
        }
    }
}
