//! Files that may be recordings or pictures, told apart by what they hold.

use super::images::{self, ImageSource};
use super::{AudioSource, CaptureError, Channel, open_audio, open_reader};
use crate::vision::ImageFormat;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of standard input that are searched for a picture when nothing else is known of it.
const AHEAD: usize = 64 << 10;

/// Endings of pictures, for files whose content says nothing.
const PICTURES: [&str; 9] = [
    "jpg", "jpeg", "png", "gif", "webp", "heic", "avif", "bmp", "tiff",
];

/// What a file turned out to hold.
pub enum Either {
    /// A recording.
    Sound(Box<dyn AudioSource>),
    /// Pictures.
    Pictures(ImageSource),
}

/// Opens a recording, a picture, a folder of pictures, or `-` for standard input. Of a
/// recording with several channels, `channel` is heard.
///
/// # Errors
/// As [`open_audio`] and [`ImageSource::open`].
pub fn open_either(path: &Path, channel: Channel) -> Result<Either, CaptureError> {
    if path == Path::new("-") {
        return of_stdin(channel);
    }
    if path.is_dir() || (path.is_file() && is_picture(path)?) {
        return ImageSource::open(path).map(Either::Pictures);
    }
    open_audio(path, channel).map(Either::Sound)
}

fn is_picture(path: &Path) -> Result<bool, CaptureError> {
    let failed = |source| CaptureError::Open {
        name: path.display().to_string(),
        source,
    };
    let mut head = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let limit = ImageFormat::HEAD as u64;
    file.take(limit).read_to_end(&mut head).map_err(failed)?;
    let ending = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    let ending = ending.to_ascii_lowercase();
    Ok(match ImageFormat::of(&head) {
        ImageFormat::Jpeg | ImageFormat::Png => true,
        _ if is_sound(&head) => false,
        ImageFormat::Unknown(_) if images::is_film(path, &head) => true,
        // an empty or foreign file is what its name says, and will be refused as such
        ImageFormat::Foreign(_) | ImageFormat::Unknown(_) => PICTURES.contains(&ending.as_str()),
    })
}

fn is_sound(head: &[u8]) -> bool {
    head.starts_with(b"OggS") || (head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WAVE"))
}

fn of_stdin(channel: Channel) -> Result<Either, CaptureError> {
    let name = "standard input";
    let mut head = Vec::new();
    let failed = |e| CaptureError::read(name, e);
    let more = |head: &mut Vec<u8>, most: usize| {
        let read = io::stdin().take(most as u64).read_to_end(head);
        read.map_err(failed)
    };
    more(&mut head, ImageFormat::HEAD)?;
    let picture = match ImageFormat::of(&head) {
        ImageFormat::Jpeg | ImageFormat::Png => true,
        _ if is_known_sound(&head) => false,
        ImageFormat::Foreign(_) => true,
        ImageFormat::Unknown(_) if images::holds_parts(&head) => true,
        // half a picture, and whole ones behind it?
        ImageFormat::Unknown(_) => {
            more(&mut head, AHEAD)?;
            head.windows(3).any(|bytes| bytes == [0xFF, 0xD8, 0xFF])
        }
    };
    let whole = Box::new(io::Cursor::new(head).chain(io::stdin()));
    if picture {
        let source = ImageSource::pipe(name.into(), || Ok(whole));
        return Ok(Either::Pictures(source));
    }
    open_reader(whole, name.to_owned(), None, channel).map(Either::Sound)
}

/// Whether this is sound, of a kind that is read or is refused by its name.
fn is_known_sound(head: &[u8]) -> bool {
    let is_tagged = [
        &b"ID3"[..],
        b"fLaC",
        b"FORM",
        b".snd",
        b"RF64",
        b"BW64",
        b"RIFX",
        b"#!AMR",
    ]
    .iter()
    .any(|tag| head.starts_with(tag));
    let is_m4a = head.get(4..11) == Some(b"ftypM4A");
    is_sound(head) || is_tagged || is_m4a || matches!(head, [0xFF, 0xF1..=0xF3 | 0xF9..=0xFB, ..])
}
