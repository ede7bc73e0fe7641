//! Where sound, words and pictures come from, decided before anything is opened.

use super::Options;
use crate::Error;
use crate::board::profile::Profile;
use crate::capture::Hearing;
use crate::capture::camera::CameraSpec;
use crate::config::{Camera, Config, TextSource};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the sound comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sound {
    Device(String),
    File(PathBuf),
    None,
}

impl Sound {
    /// What events call it; words alone are `text`.
    pub(super) fn name(&self) -> String {
        match self {
            Sound::Device(device) => device.clone(),
            Sound::File(path) => path.display().to_string(),
            Sound::None => "text".into(),
        }
    }
}

/// Where everything comes from.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub sound: Sound,
    /// What of the sound's channels is heard.
    pub hearing: Hearing,
    pub camera: CameraSpec,
    /// Least time between two looks at the camera.
    pub every: Duration,
    /// Words come from standard input.
    pub words: bool,
    /// Seconds that an utterance waits for its words.
    pub patience: f64,
}

impl Sources {
    /// What is announced before it is opened.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        if self.sound != Sound::None || self.camera == CameraSpec::None {
            names.push(self.sound.name());
        }
        if self.camera != CameraSpec::None {
            names.push(self.camera_name());
        }
        names
    }

    /// What events call the camera.
    pub(super) fn camera_name(&self) -> String {
        match &self.camera {
            CameraSpec::Device(path) | CameraSpec::Pictures(path) => path.display().to_string(),
            CameraSpec::Child(command) => command.program().to_owned(),
            CameraSpec::None => "camera".into(),
        }
    }

    /// The microphone and the camera by name, as a calibration has them; `none` of what is not used.
    pub(crate) fn devices(&self) -> (String, String) {
        let sound = match self.sound {
            Sound::None => "none".into(),
            _ => self.sound.name(),
        };
        let camera = match self.camera {
            CameraSpec::None => "none".into(),
            _ => self.camera_name(),
        };
        (sound, camera)
    }

    /// A microphone does not wait for us.
    pub(super) fn is_sound_live(&self) -> bool {
        matches!(self.sound, Sound::Device(_))
    }
}

/// Where everything comes from, checked before anything is opened.
pub(crate) fn sources(
    options: &Options,
    config: &Config,
    profile: &Profile,
) -> Result<Sources, Error> {
    let allowed = config.notice.setting.allows_biometrics();
    let (mut from, mut camera) = (Sound::None, CameraSpec::None);
    if allowed {
        camera = match options.camera.as_deref() {
            Some("board") => Camera::of(profile)?.spec(profile)?,
            Some(word) => CameraSpec::parse(word)?,
            None => config.camera.spec(profile)?,
        };
        from = sound(options, config, profile);
    }
    let sources = Sources {
        hearing: Hearing {
            channel: config.audio.channel(&from.name(), profile),
            own: config.audio.own(),
        },
        sound: from,
        camera,
        every: config.camera.every(profile),
        words: options.text_stdin || config.text.source == TextSource::Stdin,
        patience: config.text.wait,
    };
    check(&sources, allowed)?;
    Ok(sources)
}

fn sound(options: &Options, config: &Config, profile: &Profile) -> Sound {
    let asked = options.audio.as_ref().or(config.audio.source.as_ref());
    let source = asked.unwrap_or(&profile.audio_device);
    match source.as_str() {
        "none" => Sound::None,
        "-" => Sound::File("-".into()),
        path if Path::new(path).is_file() => Sound::File(path.into()),
        path if path.ends_with(".wav") || path.ends_with(".ogg") || path.ends_with(".opus") => {
            Sound::File(path.into())
        }
        device => Sound::Device(device.into()),
    }
}

fn check(sources: &Sources, allowed: bool) -> Result<(), Error> {
    let stdin = Path::new("-");
    let asks = [
        sources.sound == Sound::File(stdin.into()),
        sources.camera == CameraSpec::Pictures(stdin.into()),
        sources.words,
    ];
    if asks.iter().filter(|a| **a).count() > 1 {
        return Err(Error::Usage(
            "only one of sound, pictures and words can come from standard input".into(),
        ));
    }
    if sources.words || sources.sound != Sound::None || sources.camera != CameraSpec::None {
        return Ok(());
    }
    Err(Error::Usage(if allowed {
        "nothing to do: neither sound nor pictures nor words; give --audio, --camera or --text-stdin".into()
    } else {
        "at work and at school emotion is not read from voices and faces, and no words come in; give --text-stdin".into()
    }))
}
