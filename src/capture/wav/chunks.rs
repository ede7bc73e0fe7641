//! RIFF chunks, up to the one with the sound, and the length that they promise.
//!
//! A length of nothing or of (nearly) everything means that the writer did not know it, in RIFF
//! as in RF64, and a chunk of odd length may lack its padding.

use super::coding::Format;
use crate::capture::{CaptureError, limits};
use std::io::{self, Read};

/// Data lengths from here on are what a recorder writes when it does not know better
/// (`arecord` 2 GiB less its header, `sox` and `ffmpeg` 2 or 4 GiB).
const UNKNOWN_LENGTH: u32 = 0x7FFF_0000;
/// The same of the 64-bit length, of which no disk holds as much.
const UNKNOWN_LONG_LENGTH: u64 = 1 << 60;
/// What may stand behind a chunk without its padding byte.
const CHUNKS: [&[u8; 4]; 8] = [
    b"fmt ", b"data", b"LIST", b"fact", b"JUNK", b"bext", b"cue ", b"id3 ",
];
/// Longest `fmt ` chunk, in bytes.
const MAX_FORMAT: u32 = 4096;

/// What stands before the sound.
pub(super) struct Header {
    pub format: Format,
    /// Bytes of sound that are promised.
    pub left: Option<u64>,
    /// Where the format contradicts itself.
    pub note: Option<String>,
}

impl Header {
    pub(super) fn read(chunks: &mut Chunks<'_>) -> Result<Self, CaptureError> {
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

/// RIFF chunks one after the other, within [`limits::MAX_WAV_HEADER`].
pub(super) struct Chunks<'a> {
    reader: Box<dyn Read + Send>,
    name: &'a str,
    /// Bytes that were read.
    pub read: u64,
    /// Bytes that were looked at and are still to be read.
    ahead: Vec<u8>,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(reader: Box<dyn Read + Send>, name: &'a str) -> Self {
        Chunks {
            reader,
            name,
            read: 0,
            ahead: Vec::new(),
        }
    }

    /// The rest: what was looked at, and what follows.
    pub(super) fn into_reader(self) -> io::Chain<io::Cursor<Vec<u8>>, Box<dyn Read + Send>> {
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
}
