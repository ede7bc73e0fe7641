//! Where sound, words and pictures come from: files, pipes, a microphone, lines of text,
//! cameras.
//!
//! Every source is polled: "not yet" is a value ([`nb::Error::WouldBlock`]), so one loop
//! serves the microphone, the text and the mute button, and nothing waits for anything.
//! Sound leaves this module as 16 kHz mono, finite and within `[-1, 1]`, stamped with its
//! stream time; sound that was lost is told by [`AudioChunk::gap`]. Pictures leave it as
//! [`camera::Frame`]s, undecoded until somebody wants to see them.

mod background;
pub mod camera;
pub mod channel;
pub mod child;
mod convert;
pub mod either;
mod error;
mod hearing;
pub mod images;
pub mod limits;
pub mod mic;
mod mix;
pub mod notices;
mod ogg;
pub mod opus;
mod sniff;
pub mod text;
pub mod v4l;
pub mod wav;

pub use crate::signal::AudioChunk;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

pub use channel::Channel;
pub use error::CaptureError;
pub use hearing::{Hearing, OwnChannel};

use background::Piped;

/// Something that yields items over time.
pub trait Source {
    /// What it yields.
    type Item;

    /// The next item; `Ok(None)` when the source has ended.
    ///
    /// # Errors
    /// [`nb::Error::WouldBlock`] when there is nothing yet; [`nb::Error::Other`] when the
    /// source failed. A failed source has ended: its next answer is `Ok(None)`.
    fn poll(&mut self) -> nb::Result<Option<Self::Item>, CaptureError>;
}

impl<S: Source + ?Sized> Source for Box<S> {
    type Item = S::Item;

    fn poll(&mut self) -> nb::Result<Option<Self::Item>, CaptureError> {
        (**self).poll()
    }
}

/// What is known about a sound source so far; complete once it has ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AudioReport {
    /// The source's own sample rate in Hz; 0 while it is unknown.
    pub rate: u32,
    /// The source's own channel count; 0 while it is unknown.
    pub channels: u16,
    /// Sound delivered, gaps included.
    pub duration: Duration,
    /// Loudest sample in `[0, 1]`; 0 means that the recording is digital silence.
    pub peak: f32,
    /// Part of the source's samples that sit in a run at full scale, in `[0, 1]`.
    pub clipped_fraction: f64,
    /// Samples of a live source that were NaN or infinite and were taken as silence.
    pub not_finite: u64,
    /// What the source got over: truncated or damaged data. One sentence each.
    pub warnings: Vec<String>,
}

/// A source of sound that can account for itself.
pub trait AudioSource: Source<Item = AudioChunk> + Send {
    /// What is known so far.
    fn report(&self) -> AudioReport;
}

impl<S: AudioSource + ?Sized> AudioSource for Box<S> {
    fn report(&self) -> AudioReport {
        (**self).report()
    }
}

/// Opens a WAV or Ogg/Opus recording by its content; `-` reads standard input. `hearing` says
/// what of several channels is heard; a [`Channel`] alone will do.
///
/// Standard input, named pipes and devices are read by a thread of their own, so that
/// polling never waits, and may go on for ever; a file may last [`limits::MAX_AUDIO`].
///
/// # Errors
/// A [`CaptureError`] when the file cannot be read, is of another kind, contradicts itself,
/// or lacks the channel. Pipes report it when polled.
pub fn open_audio(
    path: &Path,
    hearing: impl Into<Hearing>,
) -> Result<Box<dyn AudioSource>, CaptureError> {
    let hearing = hearing.into();
    if path == Path::new("-") {
        let name = "standard input".to_owned();
        let open = || Ok(Box::new(io::stdin()) as Box<dyn Read + Send>);
        return Ok(Box::new(Piped::spawn(name, hearing, open)));
    }
    let name = path.display().to_string();
    let failed = |source| CaptureError::Open {
        name: name.clone(),
        source,
    };
    let metadata = path.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    if metadata.is_file() {
        let file = Box::new(File::open(path).map_err(failed)?);
        let (limit, size) = (Some(limits::MAX_AUDIO), Some(metadata.len()));
        return open_sized(file, name, limit, hearing, size);
    }
    // Opening a named pipe waits for its writer: the thread's business too.
    let path = path.to_owned();
    let open = move || File::open(path).map(|file| Box::new(file) as Box<dyn Read + Send>);
    Ok(Box::new(Piped::spawn(name, hearing, open)))
}

/// Opens what `reader` holds; `name` is what error messages call it. Without a `limit` it is
/// a live stream: what is damaged in it is passed over and counted, where a file is refused.
///
/// # Errors
/// As [`open_audio`]; [`CaptureError::TooLong`] when polled beyond `limit`.
pub fn open_reader(
    reader: Box<dyn Read + Send>,
    name: String,
    limit: Option<Duration>,
    hearing: impl Into<Hearing>,
) -> Result<Box<dyn AudioSource>, CaptureError> {
    open_sized(reader, name, limit, hearing.into(), None)
}

/// As [`open_reader`], of a file with `size` bytes.
fn open_sized(
    mut reader: Box<dyn Read + Send>,
    name: String,
    limit: Option<Duration>,
    hearing: Hearing,
    size: Option<u64>,
) -> Result<Box<dyn AudioSource>, CaptureError> {
    let (form, head) = sniff::sniff(&mut reader, &name)?;
    let whole = Box::new(io::Cursor::new(head).chain(reader));
    match form {
        sniff::Container::Wav => {
            let source = wav::WavSource::new(whole, name, limit, hearing, size)?;
            Ok(Box::new(source))
        }
        sniff::Container::Ogg => {
            let source = opus::OpusSource::new(whole, name, limit, hearing)?;
            Ok(Box::new(source))
        }
    }
}
