//! WAV: integer PCM of 8 to 32 bits and floating point of 32 and 64 bits, as a stream.
//!
//! Own reader rather than a crate: `hound` knows neither 64-bit samples nor the headers
//! that recorders write into a pipe before they know the length, and fails a whole file for
//! a truncated end. RF64 and BW64 (more than 4 GiB) are read as well.
//!
//! Headers contradict themselves, for many programs write one field wrong and never read it.
//! As in ffmpeg, sox and libsndfile, channels and bits per sample say how long a frame is;
//! block align and byte rate only tell 24 bits in four bytes from 24 bits in three. A length
//! of nothing or of (nearly) everything means that the writer did not know it, in RIFF as in
//! RF64, and a chunk of odd length may lack its padding.

use std::io::{self, Read};
use std::time::Duration;

use super::convert::{Clock, Converter, silence_not_finite, time_of};
use super::{AudioChunk, AudioReport, AudioSource, CaptureError, Hearing, Source, limits};

/// Frames read at a time: 64 ms at 16 kHz.
const BLOCK: usize = 1024;
/// Data lengths from here on are what a recorder writes when it does not know better
/// (`arecord` 2 GiB less its header, `sox` and `ffmpeg` 2 or 4 GiB).
const UNKNOWN_LENGTH: u32 = 0x7FFF_0000;
/// The same of the 64-bit length, of which no disk holds as much.
const UNKNOWN_LONG_LENGTH: u64 = 1 << 60;
/// What may stand behind a chunk without its padding byte.
const CHUNKS: [&[u8; 4]; 8] = [
    b"fmt ", b"data", b"LIST", b"fact", b"JUNK", b"bext", b"cue ", b"id3 ",
];

const FORMAT_PCM: u16 = 1;
const FORMAT_FLOAT: u16 = 3;
const FORMAT_EXTENSIBLE: u16 = 0xFFFE;

/// How one sample is stored, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    U8,
    I16,
    I24,
    /// 24 bits in four bytes.
    I24In4,
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
            Self::I24In4 | Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Least magnitude at the end of the scale; the positive end is one step short of 1.
    fn full_scale(self) -> f32 {
        match self {
            Self::U8 => 127.0 / 128.0,
            Self::I16 => 32_767.0 / 32_768.0,
            _ => 0.999_99,
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
            // In the upper three bytes, as the format's definition has it.
            Self::I24In4 | Self::I32 => out.extend(
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

/// Whether 24 bits stand in the lower three of four bytes, as ALSA's `S24_LE` has them, which
/// `arecord` copies into its files; `None` when these samples do not tell.
fn stands_low(bytes: &[u8]) -> Option<bool> {
    let (samples, _) = bytes.as_chunks::<4>();
    let fills_low = samples.iter().any(|[low, ..]| *low != 0);
    let top_is_sign = samples.iter().all(|[.., top]| matches!(top, 0 | 0xFF));
    let silent = samples.iter().all(|sample| *sample == [0; 4]);
    (!silent && (fills_low || !top_is_sign)).then_some(fills_low && top_is_sign)
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

    /// The format, and a word where the chunk contradicts itself.
    fn parse(chunk: &[u8], name: &str) -> Result<(Self, Option<String>), CaptureError> {
        let word = |at: usize| {
            chunk
                .get(at..at + 2)
                .map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
        };
        let double = |at: usize| u32::from(word(at)) | u32::from(word(at + 2)) << 16;
        if chunk.len() < 16 {
            return Err(CaptureError::malformed(
                name,
                "the format chunk is shorter than 16 bytes",
            ));
        }
        let (mut tag, channels, align, bits) = (word(0), word(2), word(12), word(14));
        let (rate, byte_rate) = (double(4), double(8));
        if channels == 0 || channels > limits::MAX_CHANNELS {
            return Err(CaptureError::channels(name, u32::from(channels)));
        }
        if tag == FORMAT_EXTENSIBLE {
            // The sub-format's GUID begins with the tag proper. Where it is missing, up to 24
            // bits can only be integers.
            tag = match word(24) {
                0 if (1..=24).contains(&bits) => FORMAT_PCM,
                tag => tag,
            };
        }
        let frames = u64::from(rate) * u64::from(channels);
        let claim = Claim {
            bits,
            by_align: (align % channels == 0).then(|| align / channels),
            by_rate: (frames > 0 && u64::from(byte_rate) % frames == 0)
                .then(|| u64::from(byte_rate) / frames),
        };
        let coding = claim
            .coding(tag)
            .ok_or_else(|| unsupported(name, tag, bits, align))?;
        let format = Self {
            coding,
            channels,
            rate,
        };
        let takes = format.frame_bytes();
        let contradicts = takes != usize::from(align);
        let note = contradicts.then(|| {
            format!(
                "{name}: its header says {align} bytes a frame where {channels} × {bits} bits \
                 take {takes}; the bits are believed"
            )
        });
        Ok((format, note))
    }
}

/// What the header says of a sample's length, three times.
struct Claim {
    bits: u16,
    /// Bytes by the block align.
    by_align: Option<u16>,
    /// Bytes by the byte rate.
    by_rate: Option<u64>,
}

impl Claim {
    fn coding(&self, tag: u16) -> Option<Coding> {
        let bytes = self.bits.div_ceil(8);
        // 24 (or 20) bits are really kept in four bytes by some.
        let in_four = bytes == 3 && self.by_align == Some(4) && self.by_rate != Some(3);
        // Odd numbers of bits are left-justified in their bytes, so the bytes' scale is
        // right; they are an error where nothing else speaks for them.
        let odd = !self.bits.is_multiple_of(8) && self.by_align != Some(bytes) && !in_four;
        match (tag, bytes) {
            _ if odd => None,
            (FORMAT_PCM, 1) => Some(Coding::U8),
            (FORMAT_PCM, 2) => Some(Coding::I16),
            (FORMAT_PCM, 3) if in_four => Some(Coding::I24In4),
            (FORMAT_PCM, 3) => Some(Coding::I24),
            (FORMAT_PCM, 4) => Some(Coding::I32),
            (FORMAT_FLOAT, 4) => Some(Coding::F32),
            (FORMAT_FLOAT, 8) => Some(Coding::F64),
            _ => None,
        }
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
        0 => "its header does not say what its samples are".to_owned(),
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

/// What stands before the sound.
struct Header {
    format: Format,
    left: Option<u64>,
    note: Option<String>,
}

impl Header {
    fn read(chunks: &mut Chunks<'_>) -> Result<Self, CaptureError> {
        let name = chunks.name;
        let [.., b0, b1, b2, b3, _, _, _, _] = chunks.array::<12>("the RIFF header")?;
        let riff_size = u32::from_le_bytes([b0, b1, b2, b3]);
        let (mut format, mut long_size) = (None, None);
        loop {
            let [id @ .., s0, s1, s2, s3] = chunks.array::<8>("the chunk with the sound")?;
            let size = u32::from_le_bytes([s0, s1, s2, s3]);
            match &id {
                b"fmt " => {
                    if size > MAX_FORMAT {
                        let what = "its format chunk is over 4 KiB long";
                        return Err(CaptureError::malformed(name, what));
                    }
                    format = Some(Format::parse(&chunks.body(size, size)?, name)?);
                }
                // RF64 keeps the 64-bit data length here; the first 8 bytes are the file's.
                // A table of other lengths may follow.
                b"ds64" => long_size = chunks.body(size, 16)?.get(8..16).map(to_u64),
                b"data" => {
                    let (format, note) = format.ok_or_else(|| {
                        CaptureError::malformed(name, "the sound stands before its format")
                    })?;
                    let mut left = promised(size, long_size);
                    if left.is_none() && size == 0 && chunks.chunk_follows(riff_size)? {
                        left = Some(0);
                    }
                    return Ok(Self { format, left, note });
                }
                _ => chunks.skip(size)?,
            }
        }
    }
}

/// How many bytes of sound the header promises; `None`: it does not know.
fn promised(size: u32, long_size: Option<u64>) -> Option<u64> {
    match (size, long_size) {
        (0 | u32::MAX, Some(long)) => (1..UNKNOWN_LONG_LENGTH).contains(&long).then_some(long),
        (0 | UNKNOWN_LENGTH.., _) => None,
        (size, _) => Some(u64::from(size)),
    }
}

fn to_u64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Longest `fmt ` chunk, in bytes.
const MAX_FORMAT: u32 = 4096;

/// RIFF chunks one after the other, within [`limits::MAX_WAV_HEADER`].
struct Chunks<'a> {
    reader: Box<dyn Read + Send>,
    name: &'a str,
    read: u64,
    /// Bytes that were looked at and are still to be read.
    ahead: Vec<u8>,
}

impl<'a> Chunks<'a> {
    fn new(reader: Box<dyn Read + Send>, name: &'a str) -> Self {
        Chunks {
            reader,
            name,
            read: 0,
            ahead: Vec::new(),
        }
    }

    /// The rest: what was looked at, and what follows.
    fn into_reader(self) -> io::Chain<io::Cursor<Vec<u8>>, Box<dyn Read + Send>> {
        io::Cursor::new(self.ahead).chain(self.reader)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], CaptureError> {
        let bytes = self.take(N as u64)?;
        bytes.try_into().map_err(|_| self.ended(what))
    }

    /// The first bytes of a chunk, up to `most`; the others are passed over.
    fn body(&mut self, size: u32, most: u32) -> Result<Vec<u8>, CaptureError> {
        let wanted = size.min(most);
        let bytes = self.take(u64::from(wanted))?;
        if bytes.len() < wanted as usize {
            return Err(self.ended("its format"));
        }
        self.pass(u64::from(size - wanted))?;
        self.pad(size)?;
        Ok(bytes)
    }

    fn skip(&mut self, size: u32) -> Result<(), CaptureError> {
        self.pass(u64::from(size))?;
        self.pad(size)
    }

    /// Passes over a chunk's padding byte, which some writers forget.
    fn pad(&mut self, size: u32) -> Result<(), CaptureError> {
        if size.is_multiple_of(2) {
            return Ok(());
        }
        self.look(5)?;
        let forgotten = match self.ahead.as_slice() {
            [0, ..] => false,
            [_, id @ ..] if CHUNKS.iter().any(|known| id == *known) => false,
            [id @ .., _] => is_id(id),
            [] => true,
        };
        if forgotten {
            return Ok(());
        }
        self.take(1).map(drop)
    }

    /// Whether another chunk, within the file as the header has it, stands where the sound
    /// should begin: the sound is really empty then, and not just of unknown length.
    fn chunk_follows(&mut self, riff_size: u32) -> Result<bool, CaptureError> {
        let end = u64::from(riff_size) + 8;
        if riff_size >= UNKNOWN_LENGTH || end < self.read + 8 {
            return Ok(false);
        }
        self.look(8)?;
        let [id @ .., s0, s1, s2, s3] = self.ahead.as_slice() else {
            return Ok(false);
        };
        let size = u64::from(u32::from_le_bytes([*s0, *s1, *s2, *s3]));
        Ok(id.len() == 4 && is_id(id) && self.read + 8 + size <= end + 1)
    }

    /// Fills `ahead` with the next bytes, fewer at the end of the data.
    fn look(&mut self, count: usize) -> Result<(), CaptureError> {
        let missing = count.saturating_sub(self.ahead.len()) as u64;
        let read = self
            .reader
            .by_ref()
            .take(missing)
            .read_to_end(&mut self.ahead);
        read.map(drop)
            .map_err(|error| CaptureError::read(self.name, error))
    }

    /// The next `count` bytes, fewer at the end of the data.
    fn take(&mut self, count: u64) -> Result<Vec<u8>, CaptureError> {
        self.count(count)?;
        self.look(count as usize)?;
        let there = self.ahead.len().min(count as usize);
        Ok(self.ahead.drain(..there).collect())
    }

    /// Passes over `size` bytes, however many.
    fn pass(&mut self, size: u64) -> Result<(), CaptureError> {
        self.count(size)?;
        let looked_at = self.ahead.len().min(size as usize);
        self.ahead.drain(..looked_at);
        let rest = size - looked_at as u64;
        match io::copy(&mut self.reader.by_ref().take(rest), &mut io::sink()) {
            Ok(count) if count == rest => Ok(()),
            Ok(_) => Err(self.ended("the chunk with the sound")),
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

    fn ended(&self, what: &str) -> CaptureError {
        CaptureError::malformed(self.name, format!("it ends before {what}"))
    }
}

/// Whether this may be a chunk's name: four printable characters.
fn is_id(bytes: &[u8]) -> bool {
    bytes.len() == 4 && bytes.iter().all(|b| matches!(b, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_recorders_write_into_pipes() {
        // ffmpeg, sox, arecord, an unfinished file, an ordinary one.
        assert_eq!(promised(u32::MAX, None), None);
        assert_eq!(promised(0x7FFF_FFFF - 36, None), None);
        assert_eq!(promised(0x8000_0000, None), None);
        assert_eq!(promised(0, None), None);
        assert_eq!(promised(3200, None), Some(3200));
        // The 64-bit length: a real one, and what stands there in a pipe.
        assert_eq!(promised(u32::MAX, Some(5 << 30)), Some(5 << 30));
        for unknown in [0, u64::MAX, i64::MAX as u64] {
            assert_eq!(promised(u32::MAX, Some(unknown)), None);
        }
    }

    #[test]
    fn bits_are_believed_before_block_align_and_byte_rate() {
        let coding = |bits, by_align, by_rate| {
            let claim = Claim {
                bits,
                by_align,
                by_rate,
            };
            claim.coding(FORMAT_PCM)
        };
        for (by_align, by_rate) in [
            (Some(2), Some(2)),
            (Some(4), Some(2)),
            (Some(4), Some(4)),
            (Some(0), Some(2)),
            (Some(16), Some(16)),
            (None, None),
        ] {
            assert_eq!(coding(16, by_align, by_rate), Some(Coding::I16));
        }
        assert_eq!(coding(8, Some(2), Some(1)), Some(Coding::U8));
        assert_eq!(coding(24, Some(3), Some(3)), Some(Coding::I24));
        assert_eq!(coding(24, Some(4), Some(4)), Some(Coding::I24In4));
        assert_eq!(coding(20, Some(4), None), Some(Coding::I24In4));
        assert_eq!(coding(24, Some(4), Some(3)), Some(Coding::I24));
        assert_eq!(coding(12, Some(2), Some(2)), Some(Coding::I16));
        assert_eq!(coding(17, Some(2), Some(2)), None);
        assert_eq!(coding(0, Some(2), Some(2)), None);
    }

    #[test]
    fn where_24_bits_stand_in_four_bytes_shows() {
        let bytes =
            |samples: &[i32]| -> Vec<u8> { samples.iter().flat_map(|x| x.to_le_bytes()).collect() };
        assert_eq!(stands_low(&bytes(&[0, -5, 300, 70_000])), Some(true));
        assert_eq!(
            stands_low(&bytes(&[0, -5 << 8, 300 << 8, 70_000 << 8])),
            Some(false)
        );
        assert_eq!(stands_low(&bytes(&[0, 0])), None);
        assert_eq!(stands_low(&bytes(&[i32::MAX, 77, -9])), Some(false));
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
