//! Files that may be recordings or pictures, told apart by what they hold.

use super::images::ImageSource;
use super::{AudioSource, CaptureError, Channel, open_audio, open_reader};
use crate::vision::Kind;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

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
    let limit = Kind::HEAD as u64;
    file.take(limit).read_to_end(&mut head).map_err(failed)?;
    let ending = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    let ending = ending.to_ascii_lowercase();
    Ok(match Kind::of(&head) {
        Kind::Jpeg | Kind::Png => true,
        // an empty or foreign file is what its name says, and will be refused as such
        Kind::Foreign(_) => !is_sound(&head) && PICTURES.contains(&ending.as_str()),
    })
}

fn is_sound(head: &[u8]) -> bool {
    head.starts_with(b"OggS") || (head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WAVE"))
}

fn of_stdin(channel: Channel) -> Result<Either, CaptureError> {
    let name = "standard input";
    let mut head = Vec::new();
    let limit = Kind::HEAD as u64;
    let read = io::stdin().take(limit).read_to_end(&mut head);
    read.map_err(|e| CaptureError::read(name, e))?;
    let picture = matches!(Kind::of(&head), Kind::Jpeg | Kind::Png);
    let whole = Box::new(io::Cursor::new(head).chain(io::stdin()));
    if picture {
        let source = ImageSource::pipe(name.into(), || Ok(whole));
        return Ok(Either::Pictures(source));
    }
    open_reader(whole, name.to_owned(), None, channel).map(Either::Sound)
}
