//! What a recording is, by its first bytes; names and suffixes are not trusted.

use std::io::Read;

use super::CaptureError;

/// A form we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Wav,
    Ogg,
}

const HEAD: usize = 12;

/// Reads the first bytes and names the form; the bytes are handed back.
pub(super) fn sniff(
    reader: &mut dyn Read,
    name: &str,
) -> Result<(Container, Vec<u8>), CaptureError> {
    let mut head = Vec::with_capacity(HEAD);
    let read = reader.take(HEAD as u64).read_to_end(&mut head);
    read.map_err(|source| CaptureError::read(name, source))?;
    if head.is_empty() {
        return Err(CaptureError::Empty {
            name: name.to_owned(),
        });
    }
    match head.as_slice() {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E']
        | [b'R', b'F', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E']
        | [b'B', b'W', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E'] => {
            Ok((Container::Wav, head))
        }
        [b'O', b'g', b'g', b'S', ..] => Ok((Container::Ogg, head)),
        other => Err(CaptureError::Unsupported {
            name: name.to_owned(),
            what: format!("this is {}", foreign(other)),
            advice: "convert it with `ffmpeg -i IN -ac 1 -ar 16000 OUT.wav`",
        }),
    }
}

/// A name for what else people have.
fn foreign(head: &[u8]) -> &'static str {
    match head {
        [b'I', b'D', b'3', ..] | [0xFF, 0xFB | 0xF3 | 0xF2 | 0xFA, ..] => "MP3",
        [0xFF, 0xF1 | 0xF9, ..] => "AAC",
        [b'f', b'L', b'a', b'C', ..] => "FLAC",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "MP4 or M4A",
        [0x1A, 0x45, 0xDF, 0xA3, ..] => "WebM or Matroska",
        [b'F', b'O', b'R', b'M', ..] => "AIFF",
        [b'.', b's', b'n', b'd', ..] => "Sun audio",
        [b'r', b'i', b'f', b'f', 0x2E, 0x91, ..] => "Sony Wave64",
        [b'c', b'a', b'f', b'f', ..] => "Apple CAF",
        [b'w', b'v', b'p', b'k', ..] => "WavPack",
        [b'R', b'I', b'F', b'X', ..] => "big-endian WAV",
        [b'R', b'I', b'F', b'F', ..] => "a RIFF file without sound",
        [b'#', b'!', b'A', b'M', b'R', ..] => "AMR",
        _ => "no sound file of a known kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_forms_are_named_with_a_way_out() {
        for (head, word) in [
            (&b"ID3\x04\0\0\0\0\0\0\0\0"[..], "MP3"),
            (b"fLaC\0\0\0\x22\x10\0\x10\0", "FLAC"),
            (b"\0\0\0\x20ftypM4A ", "M4A"),
            (b"RIFF\0\0\0\0AVI ", "RIFF"),
            (b"riff\x2E\x91\xCF\x11\xA5\xD6", "Wave64"),
            (b"caff\0\x01\0\0desc", "CAF"),
            (b"wvpk\xFE\0\0\0\x10\x04", "WavPack"),
            (b"x", "no sound file"),
        ] {
            let message = sniff(&mut &head[..], "clip")
                .map(|_| ())
                .map_err(|e| e.to_string());
            let message = message.err().unwrap_or_default();
            assert!(
                message.contains(word) && message.contains("ffmpeg"),
                "{message}"
            );
        }
    }

    #[test]
    fn nothing_at_all_is_told_apart() {
        assert!(matches!(
            sniff(&mut &b""[..], "clip"),
            Err(CaptureError::Empty { .. })
        ));
    }
}
