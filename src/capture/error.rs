//! What can go wrong between the world and us, as sentences.

use std::io;
use std::time::Duration;

use super::limits;
use crate::signal::resample::UnsupportedRate;
use crate::vision::PictureError;

/// Sound or words could not be had. Each message says where, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// A file could not be opened.
    #[error("{name}: {source}; check the path and whether it may be read")]
    Open {
        /// The file.
        name: String,
        /// The system's word.
        source: io::Error,
    },
    /// Reading failed on the way.
    #[error("{name}: reading stopped: {source}; check the disk or the program that writes it")]
    Read {
        /// The file or pipe.
        name: String,
        /// The system's word.
        source: io::Error,
    },
    /// Sound of a kind that is not read here.
    #[error("{name}: {what}, and only WAV (PCM) and Ogg/Opus are read; {advice}")]
    Unsupported {
        /// The file or pipe.
        name: String,
        /// What it holds.
        what: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// The recording contradicts itself.
    #[error("{name}: {what}; make the recording again or convert it with ffmpeg or sox")]
    Malformed {
        /// The file or pipe.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A sample rate that cannot be converted.
    #[error("{name}: {source}")]
    Rate {
        /// The file or device.
        name: String,
        /// The refused rate.
        source: UnsupportedRate,
    },
    /// Nothing was recorded.
    #[error("{name}: it holds no complete sample of sound; make the recording again")]
    Empty {
        /// The file or pipe.
        name: String,
    },
    /// A sample that is NaN or infinite.
    #[error(
        "{name}: the sample at {at:.3} s in channel {channel} (the first is 0) is not a finite \
         number; convert the recording again from its original",
        at = .at.as_secs_f64()
    )]
    NotFinite {
        /// The file or pipe.
        name: String,
        /// Time of the first such sample.
        at: Duration,
        /// Its channel, counted from 0.
        channel: usize,
    },
    /// A channel that was asked for and is not there.
    #[error(
        "{name}: it has {has} channels and no channel {asked}; name one of 0 to {last}, or `best`",
        last = .has - 1
    )]
    NoChannel {
        /// The file, pipe or device.
        name: String,
        /// The channel asked for, counted from 0.
        asked: u16,
        /// How many there are; not 0.
        has: u16,
    },
    /// The channel to hear is the one of the device's own voice.
    #[error(
        "{name}: `ignore_while` names the channel that is heard as the loudspeaker's own, so nothing \
         is left to hear; name another one in the config's [audio]"
    )]
    NothingToHear {
        /// The file, pipe or device.
        name: String,
    },
    /// A file beyond the length limit.
    #[error(
        "{name}: it is longer than {hours:.1} hours; split it, or stream it through standard input",
        hours = .limit.as_secs_f64() / 3600.0
    )]
    TooLong {
        /// The file.
        name: String,
        /// The limit.
        limit: Duration,
    },
    /// The program was built without a microphone.
    #[error(
        "microphone: this build has none; rebuild with `--features mic` (needs the package \
         libasound2-dev), or pipe `arecord -f S16_LE -r 16000 -t wav | demeanor run --audio -`"
    )]
    MicNotBuilt,
    /// A sound device failed for good.
    #[error("microphone {name}: {what}; {advice}")]
    Device {
        /// The device as it was asked for.
        name: String,
        /// What is wrong.
        what: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// A picture that cannot be had.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A live stream of something else than pictures that are read here.
    #[error(
        "{name}: {what}, and a stream of JPEG or PNG pictures is wanted; make the program write \
         MJPEG: `--codec mjpeg` of rpicam-vid, `-f mjpeg` of ffmpeg"
    )]
    NoStream {
        /// The stream.
        name: String,
        /// What it is.
        what: String,
    },
    /// A folder without a picture.
    #[error("{name}: there is no JPEG or PNG file in this folder; sub-folders are not looked into")]
    NoPictures {
        /// The folder.
        name: String,
    },
    /// The program was built without USB cameras.
    #[error(
        "camera {name}: this build opens no V4L2 devices; rebuild with `--features v4l` (needs \
         nothing else), or give a command that writes MJPEG, such as `ffmpeg -f v4l2 -i \
         {name} -c copy -f mjpeg -`, as the camera's `command`"
    )]
    V4lNotBuilt {
        /// The device as it was asked for.
        name: String,
    },
    /// A camera that cannot be used.
    #[error("camera {name}: {what}; {advice}")]
    Camera {
        /// The device or command as it was asked for.
        name: String,
        /// What is wrong.
        what: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// A line of text that cannot be understood.
    #[error("{name}, line {line}: {what}; {advice}")]
    Text {
        /// The file or pipe.
        name: String,
        /// Its line, counted from 1.
        line: u64,
        /// What is wrong.
        what: String,
        /// What to do about it.
        advice: &'static str,
    },
}

impl CaptureError {
    pub(crate) fn malformed(name: &str, what: impl Into<String>) -> Self {
        Self::Malformed {
            name: name.to_owned(),
            what: what.into(),
        }
    }

    pub(crate) fn read(name: &str, source: io::Error) -> Self {
        Self::Read {
            name: name.to_owned(),
            source,
        }
    }

    pub(crate) fn channels(name: &str, channels: u32) -> Self {
        Self::Unsupported {
            name: name.to_owned(),
            what: format!(
                "it has {channels} channels where 1 to {} can be mixed",
                limits::MAX_CHANNELS
            ),
            advice: "mix it down with `sox IN OUT.wav remix -`",
        }
    }
}
