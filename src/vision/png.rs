//! PNG files to pixels, by the crate `png`.
//!
//! The decoder is given the chunks that make pixels and nothing else: what inflates to a
//! hundred times its size in colour profiles and texts is never inflated, since nobody reads
//! it. Image data behind the last pixel are left alone for the same reason.
//!
//! # What is cut
//! As in Pillow, a picture is whole when all its pixels are there: the chunk IEND may be
//! missing, and so may the checksum behind the last pixel.

use std::io::Cursor;

use png::{ColorType, Decoder, Limits, Transformations};

use super::error::PictureError;
use super::jpeg::exif;
use super::orient::Orientation;
use super::{Picture, check_memory, check_size, picture};

/// What every file begins with.
pub(crate) const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1A\n";
/// Memory of the decoder itself: a few rows.
const ROOM: usize = 8 << 20;
/// Bytes of a chunk before and behind its content: length and name; checksum.
const BEFORE: usize = 8;
const BEHIND: usize = 4;
/// Bytes of a chunk besides its content.
pub(crate) const AROUND: usize = BEFORE + BEHIND;
/// The keyword of the text that holds XMP.
const XMP: &[u8] = b"XML:com.adobe.xmp\0";

/// Decodes a PNG file: every colour type and depth, the first image of an animation, turned
/// as its Exif or XMP wants it. Transparency is dropped, as Pillow's `convert("RGB")` does.
pub(super) fn decode(bytes: &[u8], name: &str) -> Result<Picture, PictureError> {
    let outline = Outline::of(bytes);
    let cut = || PictureError::Cut { name: name.into() };
    let damaged = |error: png::DecodingError| match error {
        _ if outline.is_cut => cut(),
        error => PictureError::damaged(name, format!("the PNG is damaged ({error})")),
    };
    match outline.oddity {
        Some(Oddity::Broken(at)) => {
            let what = format!("the PNG is damaged at byte {at}");
            return Err(PictureError::damaged(name, what));
        }
        Some(Oddity::Unknown(chunk)) => {
            return Err(PictureError::Unread {
                name: name.to_owned(),
                what: match &chunk {
                    b"CgBI" => "this is a PNG as it lies in iPhone programs".to_owned(),
                    chunk => format!("this is a PNG with a part {}", chunk.escape_ascii()),
                },
            });
        }
        None if !outline.has_data && outline.is_cut => return Err(cut()),
        None => {}
    }
    let mut decoder = Decoder::new_with_limits(Cursor::new(&outline.bare), Limits { bytes: ROOM });
    // The sums have been checked, and that of the pixels stands behind the last one, where
    // nobody would look any more.
    decoder.ignore_checksums(true);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    // Nothing is allocated for the pixels yet.
    let header = decoder.read_header_info().map_err(damaged)?;
    let (width, height) = (header.width, header.height);
    check_size(width, height, name)?;
    let turned = outline.orientation != Orientation::Upright;
    check_memory(width, height, if turned { 6 } else { 3 }, name)?;
    let mut reader = decoder.read_info().map_err(damaged)?;
    let colour = reader.output_color_type().0;
    let stride = width as usize * picture::CHANNELS;
    let mut rgb = vec![0; stride * height as usize];
    let mut converted = Vec::with_capacity(stride);
    if reader.info().interlaced {
        while let Some(row) = reader.next_interlaced_row().map_err(damaged)? {
            convert(row.data(), colour, &mut converted);
            if let png::InterlaceInfo::Adam7(place) = row.interlace() {
                let bits = 8 * picture::CHANNELS as u8;
                png::expand_interlaced_row(&mut rgb, stride, &converted, place, bits);
            }
        }
    } else {
        for to in rgb.chunks_exact_mut(stride.max(1)) {
            let Some(row) = reader.next_row().map_err(damaged)? else {
                break;
            };
            convert(row.data(), colour, &mut converted);
            let length = to.len().min(converted.len());
            let (to, from) = (to.get_mut(..length), converted.get(..length));
            if let (Some(to), Some(from)) = (to, from) {
                to.copy_from_slice(from);
            }
        }
    }
    let picture = Picture::new(width, height, rgb).ok_or_else(|| {
        PictureError::damaged(name, "the PNG's pixels do not fit the size in its header")
    })?;
    Ok(outline.orientation.apply(picture))
}

/// A row of 8-bit pixels as red, green and blue.
fn convert(row: &[u8], colour: ColorType, out: &mut Vec<u8>) {
    out.clear();
    match colour {
        ColorType::Rgb | ColorType::Indexed => out.extend_from_slice(row),
        ColorType::Rgba => {
            let (pixels, _) = row.as_chunks::<4>();
            out.extend(pixels.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]));
        }
        ColorType::Grayscale => out.extend(row.iter().flat_map(|grey| [*grey; picture::CHANNELS])),
        ColorType::GrayscaleAlpha => {
            let (pixels, _) = row.as_chunks::<2>();
            out.extend(
                pixels
                    .iter()
                    .flat_map(|[grey, _]| [*grey; picture::CHANNELS]),
            );
        }
    }
}

/// Why a file is not even tried.
#[derive(Debug)]
enum Oddity {
    /// At this byte it stops being PNG.
    Broken(usize),
    /// A chunk that no reader may pass over, and that we do not know.
    Unknown([u8; 4]),
}

/// What is known of a PNG file without decoding it.
struct Outline {
    /// The file without whatever makes no pixels.
    bare: Vec<u8>,
    has_data: bool,
    /// It ends before its last chunk.
    is_cut: bool,
    oddity: Option<Oddity>,
    orientation: Orientation,
}

impl Outline {
    fn of(bytes: &[u8]) -> Self {
        let mut outline = Self {
            bare: SIGNATURE.to_vec(),
            has_data: false,
            is_cut: false,
            oddity: None,
            orientation: Orientation::Upright,
        };
        let (mut exif, mut xmp) = (None, None);
        let mut at = SIGNATURE.len();
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some((length, name)) = chunk(rest) else {
                outline.is_cut = true;
                break;
            };
            if !is_chunk(length, name) {
                outline.oddity = Some(Oddity::Broken(at));
                break;
            }
            let length = length as usize;
            let content = rest.get(BEFORE..BEFORE + length);
            let whole = rest.get(..BEFORE + length + BEHIND);
            let makes_pixels = matches!(&name, b"IHDR" | b"PLTE" | b"tRNS" | b"IDAT");
            if makes_pixels && whole.is_some_and(|whole| !is_sound(whole)) {
                outline.oddity = Some(Oddity::Broken(at));
                break;
            }
            match &name {
                b"IEND" => break,
                b"IDAT" => {
                    outline.has_data = true;
                    match whole {
                        Some(whole) => outline.bare.extend_from_slice(whole),
                        None => outline.data(rest.get(BEFORE..).unwrap_or_default(), length),
                    }
                }
                b"IHDR" => outline.bare.extend_from_slice(whole.unwrap_or_default()),
                b"PLTE" | b"tRNS" if !outline.has_data => {
                    outline.bare.extend_from_slice(whole.unwrap_or_default());
                }
                b"PLTE" | b"tRNS" => {}
                b"eXIf" => exif = exif.or(content.and_then(exif::orientation)),
                b"iTXt" => xmp = xmp.or(content.and_then(in_text)),
                [b'A'..=b'Z', ..] => {
                    outline.oddity = Some(Oddity::Unknown(name));
                    break;
                }
                _ => {}
            }
            match whole {
                Some(whole) => at += whole.len(),
                None => {
                    outline.is_cut = true;
                    break;
                }
            }
        }
        outline.put(*b"IEND", &[]);
        outline.orientation = exif.or(xmp).unwrap_or_default();
        outline
    }

    /// What is there of the last chunk of data.
    fn data(&mut self, rest: &[u8], length: usize) {
        self.put(*b"IDAT", rest.get(..length).unwrap_or(rest));
    }

    fn put(&mut self, name: [u8; 4], content: &[u8]) {
        self.bare.extend((content.len() as u32).to_be_bytes());
        let from = self.bare.len();
        self.bare.extend(name);
        self.bare.extend_from_slice(content);
        let sum = checksum(self.bare.get(from..).unwrap_or_default());
        self.bare.extend(sum.to_be_bytes());
    }
}

/// Length and name of the chunk that begins here.
pub(crate) fn chunk(bytes: &[u8]) -> Option<(u32, [u8; 4])> {
    let (length, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*length), *rest.first_chunk()?))
}

/// Whether a chunk can be that long and be called so (PNG, section 5.3).
pub(crate) fn is_chunk(length: u32, name: [u8; 4]) -> bool {
    length < 1 << 31 && name.iter().all(u8::is_ascii_alphabetic)
}

/// The orientation in an international text, if it is uncompressed XMP.
fn in_text(content: &[u8]) -> Option<Orientation> {
    let rest = content.strip_prefix(XMP)?;
    match rest {
        [0, _, text @ ..] => exif::orientation_in_xmp(text),
        _ => None,
    }
}

/// CRC-32 as PNG wants it (Annex D).
fn checksum(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        let [low, ..] = sum.to_le_bytes();
        let index = usize::from(low ^ byte);
        (sum >> 8) ^ SUMS.get(index).copied().unwrap_or_default()
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// The sums of single bytes.
const SUMS: [u32; 256] = {
    let mut sums = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit < 8 {
            sum = (sum >> 1) ^ (0xEDB8_8320 * (sum & 1));
            bit += 1;
        }
        sums[byte] = sum;
        byte += 1;
    }
    sums
};

/// Whether a chunk's sum is right. A wrong one is all that tells of pixels that have changed.
fn is_sound(chunk: &[u8]) -> bool {
    let Some((rest, sum)) = chunk.split_last_chunk::<BEHIND>() else {
        return false;
    };
    checksum(rest.get(4..).unwrap_or_default()) == u32::from_be_bytes(*sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(checksum(b"123456789"), 0xCBF4_3926);
        assert_eq!(checksum(b"IEND"), 0xAE42_6082);
    }
}
