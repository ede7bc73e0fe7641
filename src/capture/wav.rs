//! WAV: integer PCM of 8 to 32 bits and floating point of 32 and 64 bits, as a stream.
//!
//! Own reader rather than a crate: `hound` knows neither 64-bit samples nor the headers
//! that recorders write into a pipe before they know the length, and fails a whole file for
//! a truncated end. RF64 and BW64 (more than 4 GiB) are read as well.

use std::io::{self, Read};
use std::time::Duration;

use super::convert::{Clock, Converter, time_of};
use super::{AudioChunk, AudioReport, AudioSource, CaptureError, Source, limits};

/// Frames read at a time: 64 ms at 16 kHz.
const BLOCK: usize = 1024;
/// Data lengths from here on are what a recorder writes when it does not know better
/// (`arecord` 2 GiB less its header, `sox` and `ffmpeg` 2 or 4 GiB).
const UNKNOWN_LENGTH: u32 = 0x7FFF_0000;

const FORMAT_PCM: u16 = 1;
const FORMAT_FLOAT: u16 = 3;
const FORMAT_EXTENSIBLE: u16 = 0xFFFE;

/// How one sample is stored, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    U8,
    I16,
    I24,
    I32,
    F32,
    F64,
}

impl Coding {
    fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Least magnitude at the end of the scale; the positive end is one step short of 1.
    fn full_scale(self) -> f32 {
        match self {
            Self::U8 => 127.0 / 128.0,
            Self::I16 => 32_767.0 / 32_768.0,
            Self::I24 | Self::I32 | Self::F32 | Self::F64 => 0.999_99,
        }
    }

    /// Appends the samples in `bytes`, scaled to `[-1, 1)`.
    fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::U8 => out.extend(bytes.iter().map(|b| (f32::from(*b) - 128.0) / 128.0)),
            Self::I16 => out.extend(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| f32::from(i16::from_le_bytes(*b)) / 32_768.0),
            ),
            Self::I24 => out.extend(bytes.as_chunks::<3>().0.iter().map(|[low, middle, high]| {
                let value = i32::from_le_bytes([0, *low, *middle, *high]);
                value as f32 / 2_147_483_648.0
            })),
            Self::I32 => out.extend(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| i32::from_le_bytes(*b) as f32 / 2_147_483_648.0),
            ),
            Self::F32 => out.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            Self::F64 => {
                out.extend(
                    bytes
                        .as_chunks()
                        .0
                        .iter()
                        .map(|b| f64::from_le_bytes(*b) as f32),
                );
            }
        }
    }
}

/// What the `fmt ` chunk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    coding: Coding,
    channels: u16,
    rate: u32,
}

impl Format {
    fn frame_bytes(self) -> usize {
        self.coding.bytes() * usize::from(self.channels)
    }

    fn parse(chunk: &[u8], name: &str) -> Result<Self, CaptureError> {
        let word = |at: usize| {
            chunk
                .get(at..at + 2)
                .map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
        };
        if chunk.len() < 16 {
            return Err(CaptureError::malformed(
                name,
                "the format chunk is shorter than 16 bytes",
            ));
        }
        let (mut tag, channels, align, bits) = (word(0), word(2), word(12), word(14));
        let rate = u32::from(word(4)) | u32::from(word(6)) << 16;
        if tag == FORMAT_EXTENSIBLE {
            // The sub-format's GUID begins with the tag proper.
            tag = word(24);
        }
        if channels == 0 || channels > limits::MAX_CHANNELS {
            return Err(CaptureError::channels(name, u32::from(channels)));
        }
        let stored = if align % channels == 0 {
            align / channels
        } else {
            0
        };
        let coding =
            coding(tag, stored, bits).ok_or_else(|| unsupported(name, tag, bits, align))?;
        Ok(Self {
            coding,
            channels,
            rate,
        })
    }
}

/// `stored`: bytes that one sample takes; `bits`: bits that it says it uses.
fn coding(tag: u16, stored: u16, bits: u16) -> Option<Coding> {
    // Valid bits are left-justified in their container, so the container's scale is right.
    let fits = bits > 0 && bits <= stored.saturating_mul(8);
    match (tag, stored) {
        (FORMAT_PCM, 1) if fits => Some(Coding::U8),
        (FORMAT_PCM, 2) if fits => Some(Coding::I16),
        (FORMAT_PCM, 3) if fits => Some(Coding::I24),
        (FORMAT_PCM, 4) if fits => Some(Coding::I32),
        (FORMAT_FLOAT, 4) if bits == 32 => Some(Coding::F32),
        (FORMAT_FLOAT, 8) if bits == 64 => Some(Coding::F64),
        _ => None,
    }
}

fn unsupported(name: &str, tag: u16, bits: u16, align: u16) -> CaptureError {
    let what = match tag {
        FORMAT_PCM | FORMAT_FLOAT => {
            return CaptureError::malformed(
                name,
                format!("its header promises {bits} bits per sample in frames of {align} bytes"),
            );
        }
        2 | 0x11 => "its samples are ADPCM".to_owned(),
        6 => "its samples are A-law".to_owned(),
        7 => "its samples are µ-law".to_owned(),
        0x50 | 0x55 => "its samples are MPEG audio".to_owned(),
        other => format!("its samples are of WAV format {other:#06x}"),
    };
    let advice = "convert it with `ffmpeg -i IN -c:a pcm_s16le OUT.wav`";
    CaptureError::Unsupported {
        name: name.to_owned(),
        what,
        advice,
    }
}

/// A WAV stream under way.
pub struct WavSource {
    reader: Box<dyn Read + Send>,
    name: String,
    format: Format,
    /// Bytes of sound still promised; `None`: as long as it goes on.
    left: Option<u64>,
    /// Frames that a file may have.
    most_frames: Option<(u64, Duration)>,
    converter: Converter,
    clock: Clock,
    bytes: Vec<u8>,
    samples: Vec<f32>,
    warnings: Vec<String>,
    ended: bool,
}

impl WavSource {
    /// Reads the header up to the first sample. `name` is for messages; `limit` is the
    /// longest recording to accept, `None` for a live stream.
    ///
    /// # Errors
    /// A [`CaptureError`] when the header is no WAV header that we can follow.
    pub fn new(
        mut reader: Box<dyn Read + Send>,
        name: String,
        limit: Option<Duration>,
    ) -> Result<Self, CaptureError> {
        let header = Header::read(&mut reader, &name)?;
        let Header { format, left } = header;
        let rate_error = |source| CaptureError::Rate {
            name: name.clone(),
            source,
        };
        let converter = Converter::new(format.rate, format.channels, format.coding.full_scale())
            .map_err(rate_error)?;
        let most_frames = limit.map(|limit| (limit.as_secs() * u64::from(format.rate), limit));
        let source = Self {
            reader,
            name,
            format,
            left,
            most_frames,
            converter,
            clock: Clock::default(),
            bytes: Vec::new(),
            samples: Vec::new(),
            warnings: Vec::new(),
            ended: false,
        };
        // A promise of many hours is refused before they are decoded.
        source.check_length(left.map_or(0, |left| left / format.frame_bytes() as u64))?;
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
        self.format
            .coding
            .decode(&self.bytes[..whole], &mut self.samples);
        self.converter.check_finite(&self.samples, &self.name)?;
        self.check_length(self.converter.frames() + (whole / frame) as u64)?;
        if whole < self.bytes.len() && self.left.unwrap_or(0) == 0 {
            self.warnings.push(format!(
                "{}: its last frame is incomplete and was left out",
                self.name
            ));
        }
        Ok(whole > 0)
    }

    fn finish(&mut self, out: &mut Vec<f32>) -> Result<(), CaptureError> {
        self.ended = true;
        if self.converter.frames() == 0 {
            return Err(CaptureError::Empty {
                name: self.name.clone(),
            });
        }
        self.converter.flush(out);
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
            warnings: self.warnings.clone(),
        }
    }
}

/// What stands before the sound.
struct Header {
    format: Format,
    left: Option<u64>,
}

impl Header {
    fn read(reader: &mut dyn Read, name: &str) -> Result<Self, CaptureError> {
        let mut chunks = Chunks {
            reader,
            name,
            read: 0,
        };
        let [.., b0, b1, b2, b3, _, _, _, _] = chunks.array::<12>("the RIFF header")?;
        let riff_size = u32::from_le_bytes([b0, b1, b2, b3]);
        let (mut format, mut long_size) = (None, None);
        loop {
            let [id @ .., s0, s1, s2, s3] = chunks.array::<8>("the chunk with the sound")?;
            let size = u32::from_le_bytes([s0, s1, s2, s3]);
            match &id {
                b"fmt " => format = Some(Format::parse(&chunks.body(size)?, name)?),
                // RF64 keeps the 64-bit data length here; the first 8 bytes are the file's.
                b"ds64" => long_size = chunks.body(size)?.get(8..16).map(to_u64),
                b"data" => {
                    let format = format.ok_or_else(|| {
                        CaptureError::malformed(name, "the sound stands before its format")
                    })?;
                    let left = promised(size, riff_size, chunks.read, long_size);
                    return Ok(Self { format, left });
                }
                _ => chunks.skip(u64::from(size) + u64::from(size % 2))?,
            }
        }
    }
}

/// How many bytes of sound the header promises; `None`: it does not know.
fn promised(size: u32, riff_size: u32, header_end: u64, long_size: Option<u64>) -> Option<u64> {
    match size {
        u32::MAX if long_size.is_some() => long_size,
        // A recorder that never came to fill in the lengths leaves a file that ends with its
        // header; where other chunks follow, the empty one is really empty.
        0 if u64::from(riff_size) + 8 <= header_end || riff_size >= UNKNOWN_LENGTH => None,
        UNKNOWN_LENGTH.. => None,
        size => Some(u64::from(size)),
    }
}

fn to_u64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// RIFF chunks one after the other, within [`limits::MAX_WAV_HEADER`].
struct Chunks<'a> {
    reader: &'a mut dyn Read,
    name: &'a str,
    read: u64,
}

impl Chunks<'_> {
    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], CaptureError> {
        let mut bytes = [0; N];
        self.reader
            .read_exact(&mut bytes)
            .map_err(|error| self.ended(error, what))?;
        self.count(N as u64)?;
        Ok(bytes)
    }

    /// A small chunk's content, without its padding byte.
    fn body(&mut self, size: u32) -> Result<Vec<u8>, CaptureError> {
        if size > 4096 {
            return Err(CaptureError::malformed(
                self.name,
                "its format chunk is over 4 KiB long",
            ));
        }
        let mut bytes = vec![0; (size + size % 2) as usize];
        self.reader
            .read_exact(&mut bytes)
            .map_err(|error| self.ended(error, "its format"))?;
        self.count(bytes.len() as u64)?;
        bytes.truncate(size as usize);
        Ok(bytes)
    }

    fn skip(&mut self, size: u64) -> Result<(), CaptureError> {
        self.count(size)?;
        let skipped = io::copy(&mut self.reader.take(size), &mut io::sink());
        match skipped {
            Ok(count) if count == size => Ok(()),
            Ok(_) => Err(self.ended(
                io::ErrorKind::UnexpectedEof.into(),
                "the chunk with the sound",
            )),
            Err(error) => Err(CaptureError::read(self.name, error)),
        }
    }

    fn count(&mut self, size: u64) -> Result<(), CaptureError> {
        self.read += size;
        if self.read > limits::MAX_WAV_HEADER {
            let most = limits::MAX_WAV_HEADER >> 20;
            let what = format!("no sound begins within its first {most} MiB");
            return Err(CaptureError::malformed(self.name, what));
        }
        Ok(())
    }

    fn ended(&self, error: io::Error, what: &str) -> CaptureError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return CaptureError::malformed(self.name, format!("it ends before {what}"));
        }
        CaptureError::read(self.name, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_recorders_write_into_pipes() {
        // ffmpeg, sox, arecord, an unfinished file, one with only its
        // header finished, an empty one with a note behind it, an ordinary one.
        assert_eq!(promised(u32::MAX, u32::MAX, 44, None), None);
        assert_eq!(promised(0x7FFF_FFFF - 36, 0x7FFF_FFFF, 44, None), None);
        assert_eq!(promised(0x8000_0000, 0x8000_0024, 44, None), None);
        assert_eq!(promised(0, 0, 44, None), None);
        assert_eq!(promised(0, u32::MAX, 44, None), None);
        assert_eq!(promised(0, 36, 44, None), None);
        assert_eq!(promised(0, 62, 44, None), Some(0));
        assert_eq!(promised(3200, 3236, 44, None), Some(3200));
        assert_eq!(
            promised(u32::MAX, u32::MAX, 80, Some(5 << 30)),
            Some(5 << 30)
        );
    }

    #[test]
    fn every_coding_has_the_same_scale() {
        let decode = |coding: Coding, bytes: &[u8]| {
            let mut out = Vec::new();
            coding.decode(bytes, &mut out);
            out
        };
        assert_eq!(decode(Coding::U8, &[0, 128, 192]), [-1.0, 0.0, 0.5]);
        assert_eq!(decode(Coding::I16, &[0, 0x80, 0, 0x40]), [-1.0, 0.5]);
        assert_eq!(decode(Coding::I24, &[0, 0, 0x80, 0, 0, 0x40]), [-1.0, 0.5]);
        assert_eq!(
            decode(Coding::I32, &[0, 0, 0, 0x80, 0, 0, 0, 0x40]),
            [-1.0, 0.5]
        );
        assert_eq!(decode(Coding::F32, &0.5f32.to_le_bytes()), [0.5]);
        assert_eq!(decode(Coding::F64, &(-0.25f64).to_le_bytes()), [-0.25]);
    }
}
