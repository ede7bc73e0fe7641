//! WAV: integer PCM of 8 to 32 bits and floating point of 32 and 64 bits, as a stream.
//!
//! Own reader rather than a crate: `hound` knows neither 64-bit samples nor the headers
//! that recorders write into a pipe before they know the length, and fails a whole file for
//! a truncated end. RF64 and BW64 (more than 4 GiB) are read as well. `chunks` finds the sound,
//! `coding` knows what its bytes are, and the stream itself is here.

mod chunks;
mod coding;

use std::io::Read;
use std::time::Duration;

use super::convert::{Clock, Converter, silence_not_finite, time_of};
use super::{AudioChunk, AudioReport, AudioSource, CaptureError, Hearing, Source};
use chunks::{Chunks, Header};
use coding::{Coding, Format, stands_low};

/// Frames read at a time: 64 ms at 16 kHz.
const BLOCK: usize = 1024;

/// A WAV stream under way.
pub struct WavSource {
    reader: Box<dyn Read + Send>,
    name: String,
    format: Format,
    /// 24 bits stand in the lower three of four bytes; `None` until a sample tells.
    stands_low: Option<bool>,
    /// Bytes of sound still promised; `None`: as long as it goes on.
    left: Option<u64>,
    /// Frames that a file may have.
    most_frames: Option<(u64, Duration)>,
    converter: Converter,
    clock: Clock,
    bytes: Vec<u8>,
    samples: Vec<f32>,
    warnings: Vec<String>,
    /// Samples of a live stream that were no numbers.
    not_finite: u64,
    ended: bool,
}

impl WavSource {
    /// Reads the header up to the first sample. `name` is for messages; `limit` is the
    /// longest recording to accept, `None` for a live stream; `size` is the file's length in
    /// bytes, where it has one.
    ///
    /// Samples that are no numbers end a file with an error; in a live stream they are taken
    /// as silence and counted.
    ///
    /// # Errors
    /// A [`CaptureError`] when the header is no WAV header that we can follow.
    pub fn new(
        reader: Box<dyn Read + Send>,
        name: String,
        limit: Option<Duration>,
        hearing: Hearing,
        size: Option<u64>,
    ) -> Result<Self, CaptureError> {
        let mut chunks = Chunks::new(reader, &name);
        let Header { format, left, note } = Header::read(&mut chunks)?;
        let (begins, reader) = (chunks.read, Box::new(chunks.into_reader()));
        let full_scale = format.coding.full_scale();
        let converter = Converter::new(format.rate, format.channels, full_scale, hearing)
            .map_err(|unfit| unfit.of(&name))?;
        let most_frames = limit.map(|limit| (limit.as_secs() * u64::from(format.rate), limit));
        let source = Self {
            reader,
            name,
            format,
            stands_low: None,
            left,
            most_frames,
            converter,
            clock: Clock::default(),
            bytes: Vec::new(),
            samples: Vec::new(),
            warnings: note.into_iter().collect(),
            not_finite: 0,
            ended: false,
        };
        // A file of many hours is refused before they are decoded. Its promise alone is not
        // enough: it may be a placeholder.
        let there = size.map_or(0, |size| size.saturating_sub(begins));
        let there = there.min(left.unwrap_or(u64::MAX));
        source.check_length(there / format.frame_bytes() as u64)?;
        Ok(source)
    }

    fn check_length(&self, frames: u64) -> Result<(), CaptureError> {
        match self.most_frames {
            Some((most, limit)) if frames > most => Err(CaptureError::TooLong {
                name: self.name.clone(),
                limit,
            }),
            _ => Ok(()),
        }
    }

    fn next_chunk(&mut self) -> Result<Option<AudioChunk>, CaptureError> {
        let mut out = Vec::new();
        while out.is_empty() && !self.ended {
            if self.read_block()? {
                self.converter.push(&mut self.samples, &mut out);
                self.warnings.extend(self.converter.warning(&self.name));
            } else {
                self.finish(&mut out)?;
            }
        }
        if out.is_empty() {
            return Ok(None);
        }
        Ok(Some(AudioChunk {
            start: self.clock.advance(out.len()),
            samples: out,
            gap: None,
            own: self.converter.own_voice(),
        }))
    }

    /// Fills `samples` with the next whole frames; `false` when there are no more.
    fn read_block(&mut self) -> Result<bool, CaptureError> {
        let frame = self.format.frame_bytes();
        let block = (BLOCK * frame) as u64;
        let wanted = self.left.map_or(block, |left| left.min(block));
        self.bytes.clear();
        let read = self
            .reader
            .by_ref()
            .take(wanted)
            .read_to_end(&mut self.bytes);
        read.map_err(|source| CaptureError::read(&self.name, source))?;
        if let Some(left) = &mut self.left {
            *left -= self.bytes.len() as u64;
        }
        let whole = self.bytes.len() / frame * frame;
        self.samples.clear();
        self.decode(whole);
        if self.most_frames.is_some() {
            self.converter.check_finite(&self.samples, &self.name)?;
        } else {
            self.not_finite += silence_not_finite(&mut self.samples);
        }
        self.check_length(self.converter.frames() + (whole / frame) as u64)?;
        if whole < self.bytes.len() && self.left.unwrap_or(0) == 0 {
            self.warnings.push(format!(
                "{}: its last frame is incomplete and was left out",
                self.name
            ));
        }
        Ok(whole > 0)
    }

    /// Decodes the first `whole` bytes.
    fn decode(&mut self, whole: usize) {
        let bytes = &self.bytes[..whole];
        let mut coding = self.format.coding;
        if coding == Coding::I24In4 {
            self.stands_low = self.stands_low.or_else(|| stands_low(bytes));
            if self.stands_low == Some(true) {
                let low: Vec<u8> = bytes
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .flat_map(|[a, b, c, _]| [*a, *b, *c])
                    .collect();
                return Coding::I24.decode(&low, &mut self.samples);
            }
            coding = Coding::I32;
        }
        coding.decode(bytes, &mut self.samples);
    }

    fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), CaptureError> {
        self.ended = true;
        if self.converter.frames() == 0 {
            return Err(CaptureError::Empty {
                name: self.name.clone(),
            });
        }
        self.converter.flush(out);
        if self.not_finite > 0 {
            self.warnings.push(format!(
                "{}: samples that were no numbers: {}; they were taken as silence",
                self.name, self.not_finite
            ));
        }
        let missing = self.left.unwrap_or(0) / self.format.frame_bytes() as u64;
        if missing > 0 {
            self.warnings.push(format!(
                "{}: it ends after {:.3} s where its header promises {:.3} s more; the recording \
                 was cut off",
                self.name,
                self.converter.elapsed().as_secs_f64(),
                time_of(missing, self.format.rate).as_secs_f64()
            ));
        }
        Ok(())
    }
}

impl Source for WavSource {
    type Item = AudioChunk;

    fn poll(&mut self) -> nb::Result<Option<AudioChunk>, CaptureError> {
        self.next_chunk().map_err(|error| {
            self.ended = true;
            nb::Error::Other(error)
        })
    }
}

impl AudioSource for WavSource {
    fn report(&self) -> AudioReport {
        AudioReport {
            rate: self.format.rate,
            channels: self.format.channels,
            duration: self.clock.now(),
            peak: self.converter.peak(),
            clipped_fraction: self.converter.clipped_fraction(),
            not_finite: self.not_finite,
            warnings: self.warnings.clone(),
        }
    }
}
