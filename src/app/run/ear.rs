//! The sound's side of `run`: a microphone that a press closes, or a recording.

use super::Sound;
use crate::capture::mic::{Mic, MicCounters, MicState};
use crate::capture::notices::{Notice, Notices};
use crate::capture::{
    AudioChunk, AudioReport, AudioSource, CaptureError, Channel, Source, open_audio,
};
use crate::signal::duration_of;
use std::path::Path;
use std::time::{Duration, Instant};

/// An open source of sound.
pub struct Ear {
    audio: Audio,
    muted: bool,
    /// Sound that came while muted and was thrown away unheard.
    discarded: Duration,
    notices: Notices,
}

enum Audio {
    /// A device, and what it was last said to be doing.
    Live(Box<Mic>, MicState),
    /// A file, which waits.
    File(Box<dyn AudioSource>),
    /// A pipe, which does not.
    Pipe(Box<dyn AudioSource>),
}

impl Ear {
    /// Opens a source, to hear `channel` of it. `None` without sound.
    ///
    /// # Errors
    /// As [`Mic::open`] and [`open_audio`].
    pub fn open(sound: &Sound, channel: Channel) -> Result<Option<Ear>, CaptureError> {
        let audio = match sound {
            Sound::None => return Ok(None),
            Sound::Device(name) => {
                // `default` is the host's choice, no device of that name
                let mic = Mic::open(Some(name.as_str()).filter(|n| *n != "default"), channel)?;
                let state = mic.state().clone();
                Audio::Live(Box::new(mic), state)
            }
            Sound::File(path) if path == Path::new("-") || !path.is_file() => {
                Audio::Pipe(open_audio(path, channel)?)
            }
            Sound::File(path) => Audio::File(open_audio(path, channel)?),
        };
        Ok(Some(Ear {
            audio,
            muted: false,
            discarded: Duration::ZERO,
            notices: Notices::default(),
        }))
    }

    /// Recorded sound: it is there as fast as it can be read.
    pub fn is_recorded(&self) -> bool {
        !matches!(self.audio, Audio::Live(..))
    }

    /// Closes a device, leaves a file where it is, and throws away what a pipe brings.
    pub fn mute(&mut self) {
        self.muted = true;
        if let Audio::Live(mic, _) = &mut self.audio {
            mic.pause();
        }
    }

    /// Ends [`mute`](Self::mute); a device opens at the next poll.
    pub fn unmute(&mut self) {
        self.muted = false;
        if let Audio::Live(mic, _) = &mut self.audio {
            mic.resume();
        }
    }

    /// The next piece of sound, as [`Source::poll`].
    ///
    /// # Errors
    /// As there.
    pub fn poll(&mut self) -> nb::Result<Option<AudioChunk>, CaptureError> {
        let chunk = match &mut self.audio {
            Audio::Live(mic, _) => return mic.poll(),
            Audio::File(_) if self.muted => return Err(nb::Error::WouldBlock),
            Audio::File(source) | Audio::Pipe(source) => source.poll()?,
        };
        let Some(mut chunk) = chunk else {
            return Ok(None);
        };
        if self.muted {
            self.discarded += duration_of(chunk.samples.len() as u64);
            return Err(nb::Error::WouldBlock);
        }
        let discarded = std::mem::take(&mut self.discarded);
        if !discarded.is_zero() {
            chunk.gap = Some(chunk.gap.unwrap_or_default() + discarded);
        }
        Ok(Some(chunk))
    }

    /// Whether it does its work: it heard something, or it waits for its device.
    pub fn waits(&self) -> bool {
        match &self.audio {
            Audio::Live(mic, _) => !matches!(mic.state(), MicState::Listening),
            Audio::File(_) | Audio::Pipe(_) => true,
        }
    }

    /// What a microphone has lost so far.
    pub fn counters(&self) -> MicCounters {
        match &self.audio {
            Audio::Live(mic, _) => mic.counters(),
            Audio::File(_) | Audio::Pipe(_) => MicCounters::default(),
        }
    }

    /// What was passed over or is wrong with the sound, when there is news of it.
    pub fn notice(&mut self, now: Instant) -> Option<Notice> {
        let report = match &self.audio {
            // its losses are told with its state
            Audio::Live(mic, _) => AudioReport {
                warnings: mic.warnings().to_vec(),
                not_finite: mic.counters().not_finite,
                ..AudioReport::default()
            },
            Audio::File(source) | Audio::Pipe(source) => source.report(),
        };
        self.notices.audio(&report, now)
    }

    /// The microphone's state in words, when it is another than last time.
    pub fn change(&mut self) -> Option<(&'static str, String)> {
        let Audio::Live(mic, last) = &mut self.audio else {
            return None;
        };
        if mic.state() == last {
            return None;
        }
        *last = mic.state().clone();
        match last {
            MicState::Listening => Some(("listening", lost(mic.counters()))),
            MicState::Waiting { reason, retry_in } if !retry_in.is_zero() => Some((
                "lost",
                format!("{reason}; trying again in {:.1} s", retry_in.as_secs_f64()),
            )),
            // the press was told, and so will be its outcome
            MicState::Paused | MicState::Waiting { .. } => None,
            _ => Some(("failed", String::new())),
        }
    }
}

/// What a microphone has lost so far, in words; empty when nothing.
fn lost(counters: MicCounters) -> String {
    if counters == MicCounters::default() {
        return String::new();
    }
    format!(
        "so far {} overruns, {} dropped frames, opened again {} times",
        counters.xruns, counters.dropped_frames, counters.reopened
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn sample() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sample.wav")
    }

    fn first(ear: &mut Ear) -> Option<AudioChunk> {
        nb::block!(ear.poll()).ok().flatten()
    }

    #[test]
    fn a_muted_file_waits_where_it_is() {
        let mut ear = Ear::open(&Sound::File(sample()), Channel::Best)
            .ok()
            .flatten();
        let ear = ear.as_mut().map(|ear| {
            let before = first(ear);
            ear.mute();
            assert!(matches!(ear.poll(), Err(nb::Error::WouldBlock)));
            ear.unmute();
            let after = first(ear);
            let end = before.map(|c| c.start + duration_of(c.samples.len() as u64));
            assert_eq!(after.map(|c| (Some(c.start), c.gap)), Some((end, None)));
        });
        assert!(ear.is_some());
    }

    #[test]
    fn what_a_pipe_brings_while_muted_is_a_gap() {
        let mut ear = Ear::open(&Sound::File(sample()), Channel::Best)
            .ok()
            .flatten();
        let Some(mut ear) = ear.take() else {
            panic!("the sample opens")
        };
        let Audio::File(file) = ear.audio else {
            panic!("a file")
        };
        ear.audio = Audio::Pipe(file);
        let before = first(&mut ear).map(|c| c.start + duration_of(c.samples.len() as u64));
        ear.mute();
        for _ in 0..3 {
            assert!(matches!(ear.poll(), Err(nb::Error::WouldBlock)));
        }
        ear.unmute();
        let after = first(&mut ear).map(|c| (c.start, c.gap.unwrap_or_default()));
        let (start, gap) = after.unwrap_or_default();
        assert!(!gap.is_zero());
        assert_eq!(before.map(|b| b + gap), Some(start));
    }
}
