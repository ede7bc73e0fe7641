//! How samples are stored: what the `fmt ` chunk claims, what is believed of it, and the bytes to
//! numbers.
//!
//! Headers contradict themselves, for many programs write one field wrong and never read it.
//! As in ffmpeg, sox and libsndfile, channels and bits per sample say how long a frame is;
//! block align and byte rate only tell 24 bits in four bytes from 24 bits in three.

use crate::capture::{CaptureError, limits};

const FORMAT_PCM: u16 = 1;
const FORMAT_FLOAT: u16 = 3;
const FORMAT_EXTENSIBLE: u16 = 0xFFFE;

/// How one sample is stored, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
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
    pub(super) fn full_scale(self) -> f32 {
        match self {
            Self::U8 => 127.0 / 128.0,
            Self::I16 => 32_767.0 / 32_768.0,
            _ => 0.999_99,
        }
    }

    /// Appends the samples in `bytes`, scaled to `[-1, 1)`.
    pub(super) fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
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
pub(super) fn stands_low(bytes: &[u8]) -> Option<bool> {
    let (samples, _) = bytes.as_chunks::<4>();
    let fills_low = samples.iter().any(|[low, ..]| *low != 0);
    let top_is_sign = samples.iter().all(|[.., top]| matches!(top, 0 | 0xFF));
    let silent = samples.iter().all(|sample| *sample == [0; 4]);
    (!silent && (fills_low || !top_is_sign)).then_some(fills_low && top_is_sign)
}

/// What the `fmt ` chunk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub coding: Coding,
    pub channels: u16,
    pub rate: u32,
}

impl Format {
    pub(super) fn frame_bytes(self) -> usize {
        self.coding.bytes() * usize::from(self.channels)
    }

    /// The format, and a word where the chunk contradicts itself.
    pub(super) fn parse(chunk: &[u8], name: &str) -> Result<(Self, Option<String>), CaptureError> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
