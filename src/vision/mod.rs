//! Pictures: decoding, colour, and the resampling that networks are fed with.
//!
//! Everything ends as a [`Picture`], 8-bit RGB; [`resize`] makes of it the bytes that a
//! network takes, channels last.

mod error;
pub mod faces;
pub mod jpeg;
mod memory;
pub mod orient;
mod picture;
pub(crate) mod plain;
pub(crate) mod png;
pub mod resize;
pub mod track;
pub mod yuv;

pub use error::{MAX_PICTURE_BYTES, MAX_PICTURE_PIXELS, MAX_PICTURE_SIDE, PictureError};
pub use picture::Picture;

/// Decodes a JPEG or PNG file, told apart by its content; `name` is what messages call it.
///
/// # Errors
/// [`PictureError::Foreign`] for anything else, otherwise as [`jpeg::decode`].
pub fn decode(bytes: &[u8], name: &str) -> Result<Picture, PictureError> {
    match ImageFormat::of(bytes) {
        ImageFormat::Jpeg => jpeg::decode(bytes, name),
        ImageFormat::Png => png::decode(bytes, name),
        ImageFormat::Foreign(what) | ImageFormat::Unknown(what) => {
            Err(PictureError::foreign(name, what))
        }
    }
}

/// What a file is, by its first bytes; names and suffixes are not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImageFormat {
    Jpeg,
    Png,
    /// Something else for certain, in words.
    Foreign(&'static str),
    /// Nothing that is known, or a guess: there may be pictures further in, as behind the
    /// header of a web server's answer.
    Unknown(&'static str),
}

impl ImageFormat {
    /// Bytes that [`of`](Self::of) wants to see.
    pub(crate) const HEAD: usize = 16;

    pub(crate) fn of(head: &[u8]) -> Self {
        match head {
            [] => Self::Unknown("it is empty"),
            [0xFF, 0xD8, ..] => Self::Jpeg,
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Self::Png,
            [b'G', b'I', b'F', b'8', ..] => Self::Foreign("this is GIF"),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Self::Foreign("this is WebP"),
            [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => Self::Foreign(media(brand)),
            [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] | [0xFF, 0x0A, ..] => {
                Self::Foreign("this is JPEG XL")
            }
            [0, 0, 0, 12, b'j', b'P', ..] | [0xFF, 0x4F, 0xFF, 0x51, ..] => {
                Self::Foreign("this is JPEG 2000")
            }
            [b'B', b'M', ..] => Self::Unknown("this looks like BMP"),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'A',
                b'V',
                b'I',
                b' ',
                ..,
            ] => Self::Unknown("this is AVI without a JPEG picture in it"),
            [0x1A, 0x45, 0xDF, 0xA3, ..] => Self::Foreign("this is Matroska or WebM"),
            [b'F', b'L', b'V', 1, ..] => Self::Foreign("this is Flash video"),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => {
                Self::Foreign("this is TIFF or a camera's raw file")
            }
            [b'%', b'P', b'D', b'F', ..] => Self::Foreign("this is PDF"),
            [b'<', ..] => Self::Unknown("this looks like SVG or a web page"),
            [0, 0, 0, 1, ..] | [0, 0, 1, ..] => {
                Self::Foreign("this looks like a raw H.264 or MPEG stream")
            }
            [0x47, a, b, c, ..] if is_transport(*a, *b, *c) => {
                Self::Foreign("this looks like an MPEG transport stream")
            }
            _ => Self::Unknown("this is no picture of a known kind"),
        }
    }
}

/// Whether a packet of an MPEG transport stream may begin like this: no error, the start of
/// one of the tables that come first, with content.
fn is_transport(flags: u8, pid: u8, control: u8) -> bool {
    flags & 0xE0 == 0x40 && (flags & 0x1F, pid) <= (0, 0x1F) && control & 0xD0 == 0x10
}

/// What an ISO media file holds, by its brand.
fn media(brand: &[u8]) -> &'static str {
    match brand {
        [b'h', b'e', ..] | [b'm', b'i', b'f', b'1' | b'2', ..] | [b'm', b's', b'f', b'1', ..] => {
            "this is HEIC"
        }
        [b'a', b'v', b'i', b'f' | b's', ..] => "this is AVIF",
        [b'c', b'r', b'x', ..] => "this is a camera's raw file",
        _ => "this is MP4 or another film",
    }
}

/// Refuses a picture by the size that its header states, before anything is allocated.
fn check_size(width: u32, height: u32, name: &str) -> Result<(), PictureError> {
    if width == 0 || height == 0 {
        let what = format!("its header states {width} × {height} pixels");
        return Err(PictureError::damaged(name, what));
    }
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) > MAX_PICTURE_SIDE || pixels > MAX_PICTURE_PIXELS {
        return Err(PictureError::TooLarge {
            name: name.to_owned(),
            width,
            height,
        });
    }
    Ok(())
}

/// Pictures up to this many pixels are decoded without asking for memory.
const SMALL: u64 = 4_000_000;

/// Refuses a picture that this machine, or this service, has no room for: decoding takes
/// `each` bytes a pixel.
fn check_memory(width: u32, height: u32, each: u64, name: &str) -> Result<(), PictureError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels <= SMALL {
        return Ok(());
    }
    match memory::left() {
        Some(left) if pixels * each > left => Err(PictureError::NoMemory {
            name: name.to_owned(),
            width,
            height,
            wanted: pixels * each,
            left,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_fits_no_memory_is_refused_in_a_sentence() {
        assert!(check_memory(2000, 2000, u64::MAX >> 32, "a").is_ok());
        let error = check_memory(8000, 4000, 1 << 30, "a")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("a: 8000 × 4000 pixels take "), "{error}");
        assert!(error.contains("ffmpeg -i IN -vf scale"), "{error}");
    }

    #[test]
    fn foreign_kinds_are_named_with_a_way_out() {
        for (head, word) in [
            (&b""[..], "empty"),
            (b"GIF89a\x01\0\x01\0\0\0\0;", "GIF"),
            (b"RIFF\x24\0\0\0WEBPVP8 ", "WebP"),
            (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
            (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
            (b"\0\0\0\x20ftypisom\0\0\0\0", "MP4"),
            (b"II*\0\x08\0\0\0", "TIFF"),
            (b"<!DOCTYPE html>", "web page"),
            (b"\0\0\0\x01\x67\x42\0\x1E", "H.264"),
            (b"\x47\x40\x11\x10\0\x42\xF0\x25", "transport stream"),
            (b"\x1A\x45\xDF\xA3\x01\0\0\0", "Matroska"),
            (b"RIFF\x24\0\0\0AVI LIST", "AVI"),
            (b"hello", "no picture"),
        ] {
            let error = decode(head, "a.jpg").unwrap_err();
            assert!(matches!(error, PictureError::Foreign { .. }), "{error}");
            let message = error.to_string();
            for part in ["a.jpg: ", word, "JPEG and PNG", "ffmpeg"] {
                assert!(message.contains(part), "{message}");
            }
        }
    }
}
