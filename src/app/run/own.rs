//! The device's own voice: what it says itself is not judged.

use super::TELL_EVERY;
use crate::Error;
use crate::capture::AudioChunk;
use crate::config::own::IgnoreWhile;
use crate::service::speaking::Speaking;
use crate::signal::duration_of;
use std::time::{Duration, Instant};

/// Sound that is passed over without a break for so long is told as a warning.
const DEAF: Duration = Duration::from_secs(60);

/// Says which sound holds the device's own voice, and how much of it there was.
#[derive(Default)]
pub struct OwnVoice {
    /// `None` where a channel of the sound tells, or nobody does.
    socket: Option<Connected>,
    /// Sound that was passed over so far.
    total: Duration,
    /// Of it, what was not told yet.
    untold: Duration,
    told: Option<Instant>,
    /// Sound passed over since something was heard, or since that was warned of.
    unbroken: Duration,
    forgotten: Option<String>,
}

struct Connected {
    speaking: Speaking,
    after: Duration,
    longest: Duration,
    /// Until when loudspeaker and room are not silent.
    until: Option<Instant>,
}

impl OwnVoice {
    /// Makes the socket, where the configuration names one.
    ///
    /// # Errors
    /// As [`Speaking::open`].
    pub fn open(wanted: Option<&IgnoreWhile>) -> Result<OwnVoice, Error> {
        let socket = match wanted {
            Some(IgnoreWhile::Connected(config)) => Some(Connected {
                speaking: Speaking::open(config)?,
                after: config.after,
                longest: config.longest,
                until: None,
            }),
            Some(IgnoreWhile::Sounds(_)) | None => None,
        };
        Ok(OwnVoice {
            socket,
            ..OwnVoice::default()
        })
    }

    /// Looks who speaks. To be called often, whether there is sound or not.
    pub fn look(&mut self, now: Instant) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        let voices = socket.speaking.look(now);
        if voices.speak {
            socket.until = Some(now + socket.after);
        }
        if voices.forgotten > 0 {
            self.forgotten = Some(format!(
                "a program has held the socket of `ignore_while` for {:.0} s and is taken for \
                 forgotten: what the microphone hears is judged again",
                socket.longest.as_secs_f64()
            ));
        }
    }

    /// Whether this sound, heard now, is to be passed over.
    pub fn covers(&mut self, chunk: &AudioChunk, now: Instant) -> bool {
        let socket = self.socket.as_ref();
        let connected = socket.and_then(|s| s.until).is_some_and(|t| now <= t);
        let covered = chunk.own || connected;
        if covered {
            let length = duration_of(chunk.samples.len() as u64);
            self.total += length;
            self.untold += length;
            self.unbroken += length;
        } else {
            self.unbroken = Duration::ZERO;
        }
        covered
    }

    /// Sound that was passed over so far.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// What is wrong with who speaks, once.
    pub fn warning(&mut self) -> Option<String> {
        self.forgotten.take()
    }

    /// That nothing has been heard for long; once each so long.
    pub fn deafness(&mut self) -> Option<String> {
        (self.unbroken >= DEAF).then(|| {
            self.unbroken = Duration::ZERO;
            format!(
                "`ignore_while` has let nothing be heard for {:.0} s: see who holds its socket, or \
                 raise `above` over what the loudspeaker's channel holds in silence",
                DEAF.as_secs_f64()
            )
        })
    }

    /// How much was passed over since it was told last; to be asked when it does not speak.
    pub fn news(&mut self, now: Instant) -> Option<String> {
        let lately = |told| now.saturating_duration_since(told) < TELL_EVERY;
        if self.told.is_some_and(lately) {
            return None;
        }
        let news = self.last_news();
        self.told = news.as_ref().map(|_| now).or(self.told);
        news
    }

    /// The same at the end, however lately something was told.
    pub fn last_news(&mut self) -> Option<String> {
        let untold = std::mem::take(&mut self.untold);
        (!untold.is_zero()).then(|| {
            format!(
                "the device itself spoke: {:.1} s of sound were not judged, {:.1} s so far",
                untold.as_secs_f64(),
                self.total.as_secs_f64()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_in_which_nothing_is_heard_is_told_once() {
        let (mut voice, now) = (OwnVoice::default(), Instant::now());
        let second = |own| AudioChunk {
            start: Duration::ZERO,
            samples: vec![0.0; 16_000],
            gap: None,
            own,
        };
        for _ in 0..59 {
            assert!(voice.covers(&second(true), now) && voice.deafness().is_none());
        }
        // a breath in between, and it counts anew
        assert!(!voice.covers(&second(false), now));
        for _ in 0..59 {
            assert!(voice.covers(&second(true), now) && voice.deafness().is_none());
        }
        assert!(voice.covers(&second(true), now));
        assert!(voice.deafness().is_some_and(|told| told.contains("60 s")));
        assert!(voice.deafness().is_none());
        assert_eq!(voice.total(), Duration::from_secs(119));
    }
}
