//! The sound's side of `run`: a microphone that a press closes, or a recording.

use super::sources::Sound;
use super::switch::{Permit, Switch};
use crate::capture::mic::{Mic, MicCounters, MicState};
use crate::capture::notices::{Notice, Notices};
use crate::capture::{
    AudioChunk, AudioReport, AudioSource, CaptureError, Hearing, Source, open_audio,
};
use crate::event::State;
use crate::signal::duration_of;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An open source of sound.
pub struct AudioInput {
    audio: Audio,
    muted: bool,
    /// Sound that came while muted and was thrown away unheard.
    discarded: Duration,
    notices: Notices,
}

enum Audio {
    /// A device.
    Live(Microphone),
    /// A file, which waits.
    File(Box<dyn AudioSource>),
    /// A pipe, which does not.
    Pipe(Box<dyn AudioSource>),
}

struct Microphone {
    mic: Box<Mic>,
    /// What it was last said to be doing.
    said: MicState,
    /// While it may be open; declared last, since it is given back behind the device.
    permit: Option<Permit>,
}

impl AudioInput {
    /// Opens a source, to hear of it what `hearing` says. `None` without sound.
    ///
    /// # Errors
    /// As [`Mic::open`] and [`open_audio`].
    pub fn open(
        sound: &Sound,
        hearing: Hearing,
        permit: Permit,
    ) -> Result<Option<AudioInput>, CaptureError> {
        let audio = match sound {
            Sound::None => return Ok(None),
            Sound::Device(name) => {
                // `default` is the host's choice, no device of that name
                let mic = Mic::open(Some(name.as_str()).filter(|n| *n != "default"), hearing)?;
                Audio::Live(Microphone {
                    said: mic.state().clone(),
                    mic: Box::new(mic),
                    permit: Some(permit),
                })
            }
            Sound::File(path) if path == Path::new("-") || !path.is_file() => {
                Audio::Pipe(open_audio(path, hearing)?)
            }
            Sound::File(path) => Audio::File(open_audio(path, hearing)?),
        };
        Ok(Some(AudioInput {
            audio,
            muted: false,
            discarded: Duration::ZERO,
            notices: Notices::default(),
        }))
    }

    /// Recorded sound: it is there as fast as it can be read.
    pub fn is_recorded(&self) -> bool {
        !matches!(self.audio, Audio::Live(_))
    }

    /// Closes a device, leaves a file where it is, and throws away what a pipe brings.
    pub fn mute(&mut self) {
        self.muted = true;
        if let Audio::Live(live) = &mut self.audio {
            live.mic.pause();
            live.permit = None;
        }
    }

    /// Ends [`mute`](Self::mute); a device opens at the next poll, if the switch permits it.
    pub fn unmute(&mut self, switch: &Arc<Switch>) {
        if let Audio::Live(live) = &mut self.audio {
            live.permit = switch.permit();
            if live.permit.is_none() {
                return;
            }
            live.mic.resume();
        }
        self.muted = false;
    }

    /// Whether [`mute`](Self::mute) keeps it closed.
    pub fn is_muted(&self) -> bool {
        self.muted
    }

    /// The next piece of sound, as [`Source::poll`].
    ///
    /// # Errors
    /// As [`Source::poll`].
    pub fn poll(&mut self) -> nb::Result<Option<AudioChunk>, CaptureError> {
        let chunk = match &mut self.audio {
            Audio::Live(live) => return live.mic.poll(),
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
            Audio::Live(live) => !matches!(live.mic.state(), MicState::Listening),
            Audio::File(_) | Audio::Pipe(_) => true,
        }
    }

    /// Whether what it brings is heard now: it is neither muted nor waiting for its device.
    pub fn is_heard(&self) -> bool {
        let is_away = match &self.audio {
            Audio::Live(live) => !matches!(live.mic.state(), MicState::Listening),
            Audio::File(_) | Audio::Pipe(_) => false,
        };
        !(self.muted || is_away)
    }

    /// What a microphone has lost so far.
    pub fn counters(&self) -> MicCounters {
        match &self.audio {
            Audio::Live(live) => live.mic.counters(),
            Audio::File(_) | Audio::Pipe(_) => MicCounters::default(),
        }
    }

    /// What was passed over or is wrong with the sound, when there is news of it.
    pub fn notice(&mut self, now: Instant) -> Option<Notice> {
        let report = match &self.audio {
            // its losses are told with its state
            Audio::Live(live) => AudioReport {
                warnings: live.mic.warnings().to_vec(),
                not_finite: live.mic.counters().not_finite,
                ..AudioReport::default()
            },
            Audio::File(source) | Audio::Pipe(source) => source.report(),
        };
        self.notices.audio(&report, now)
    }

    /// The microphone's state in words, when it is another than last time.
    pub fn change(&mut self) -> Option<(State, String)> {
        let Audio::Live(live) = &mut self.audio else {
            return None;
        };
        if *live.mic.state() == live.said {
            return None;
        }
        live.said = live.mic.state().clone();
        match &live.said {
            MicState::Listening => Some((State::Capturing, lost(live.mic.counters()))),
            MicState::Waiting { reason, retry_in } if !retry_in.is_zero() => Some((
                State::Lost,
                format!("{reason}; trying again in {:.1} s", retry_in.as_secs_f64()),
            )),
            // the press was told, and so will be its outcome
            MicState::Paused | MicState::Waiting { .. } => None,
            _ => Some((State::Failed, String::new())),
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
    use super::super::switch::Position;
    use super::*;
    use std::path::PathBuf;

    fn sample() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sample.wav")
    }

    fn open(switch: &Arc<Switch>) -> AudioInput {
        switch.turn(Position::On);
        let permit = switch.permit().expect("it is on");
        let opened = AudioInput::open(&Sound::File(sample()), Hearing::default(), permit);
        opened.ok().flatten().expect("the sample opens")
    }

    fn first(input: &mut AudioInput) -> Option<AudioChunk> {
        nb::block!(input.poll()).ok().flatten()
    }

    #[test]
    fn a_muted_file_waits_where_it_is() {
        let switch = Switch::new();
        let mut input = open(&switch);
        let before = first(&mut input);
        input.mute();
        assert!(matches!(input.poll(), Err(nb::Error::WouldBlock)));
        input.unmute(&switch);
        let after = first(&mut input);
        let end = before.map(|c| c.start + duration_of(c.samples.len() as u64));
        assert_eq!(after.map(|c| (Some(c.start), c.gap)), Some((end, None)));
    }

    #[test]
    fn what_a_pipe_brings_while_muted_is_a_gap() {
        let switch = Switch::new();
        let mut input = open(&switch);
        let Audio::File(file) = input.audio else {
            panic!("a file")
        };
        input.audio = Audio::Pipe(file);
        let before = first(&mut input).map(|c| c.start + duration_of(c.samples.len() as u64));
        input.mute();
        for _ in 0..3 {
            assert!(matches!(input.poll(), Err(nb::Error::WouldBlock)));
        }
        input.unmute(&switch);
        let after = first(&mut input).map(|c| (c.start, c.gap.unwrap_or_default()));
        let (start, gap) = after.unwrap_or_default();
        assert!(!gap.is_zero());
        assert_eq!(before.map(|b| b + gap), Some(start));
    }
}
