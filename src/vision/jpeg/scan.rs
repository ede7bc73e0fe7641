//! The marker structure of JPEG (ITU-T T.81, Annex B), followed byte by byte.
//!
//! Lengths are obeyed and stuffed bytes skipped, so that a thumbnail inside an application
//! segment is never taken for the picture, nor `FF D9` inside a comment for its end.

/// Marker codes that mean something here; the byte after `FF`.
mod code {
    pub const TEM: u8 = 0x01;
    pub const SOF0: u8 = 0xC0;
    pub const SOF15: u8 = 0xCF;
    pub const DHT: u8 = 0xC4;
    pub const JPG: u8 = 0xC8;
    pub const DAC: u8 = 0xCC;
    pub const RST0: u8 = 0xD0;
    pub const RST7: u8 = 0xD7;
    pub const SOI: u8 = 0xD8;
    pub const EOI: u8 = 0xD9;
    pub const SOS: u8 = 0xDA;
    pub const APP1: u8 = 0xE1;
    pub const APP14: u8 = 0xEE;
}

/// What a [`Scanner`] came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// All bytes were taken and the picture goes on.
    More,
    /// A segment with this marker; `length` bytes of content follow.
    Segment { marker: u8, length: usize },
    /// The end of the picture.
    End,
    /// The start of another picture, before this one has ended.
    Restart,
    /// Bytes that cannot be here.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Wants the first byte of SOI, then the second.
    Begin,
    BeginCode,
    /// Wants the `FF` of a marker, then its code.
    Marker,
    Code,
    /// Wants the first byte of a segment's length, then the second.
    Length(u8),
    LengthLow(u8, u8),
    /// So many bytes of a segment are left.
    Body {
        left: usize,
        scan: bool,
    },
    /// Entropy-coded data, and an `FF` in them.
    Entropy,
    EntropyCode,
}

/// Follows one picture through pieces of any size.
#[derive(Debug)]
pub(crate) struct Scanner(State);

impl Scanner {
    pub(crate) fn new() -> Self {
        Self(State::Begin)
    }

    /// Takes bytes up to the next event; returns how many, and the event. After
    /// [`Step::Restart`] the new picture's SOI is taken and its rest may follow; after
    /// [`Step::End`] and [`Step::Broken`] a new scanner is needed.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> (usize, Step) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let rest = bytes.len() - at;
            match self.0 {
                State::Body { left, scan } if left > 0 => {
                    let taken = left.min(rest);
                    let left = left - taken;
                    self.0 = State::Body { left, scan };
                    at += taken;
                    continue;
                }
                State::Body { scan, .. } => {
                    self.0 = if scan { State::Entropy } else { State::Marker };
                    continue;
                }
                State::Entropy => {
                    let plain = bytes[at..].iter().position(|b| *b == 0xFF);
                    at += plain.unwrap_or(rest);
                    if plain.is_some() {
                        self.0 = State::EntropyCode;
                        at += 1;
                    }
                    continue;
                }
                _ => at += 1,
            }
            if let Some(step) = self.take(byte) {
                return (at, step);
            }
        }
        (at, Step::More)
    }

    /// One byte outside of segments' contents and entropy-coded data.
    fn take(&mut self, byte: u8) -> Option<Step> {
        self.0 = match (self.0, byte) {
            (State::Begin, 0xFF) => State::BeginCode,
            (State::BeginCode, code::SOI) | (State::Code, code::TEM) => State::Marker,
            (State::Marker, 0xFF) => State::Code,
            (State::Code | State::EntropyCode, 0xFF) => return None,
            (State::EntropyCode, 0x00 | code::RST0..=code::RST7) => State::Entropy,
            (State::Code | State::EntropyCode, code::EOI) => return Some(Step::End),
            (State::Code | State::EntropyCode, code::SOI) => {
                self.0 = State::Marker;
                return Some(Step::Restart);
            }
            (State::Code, code::RST0..=code::RST7) => return Some(Step::Broken),
            (State::Code | State::EntropyCode, 0xC0..) => State::Length(byte),
            (State::Length(marker), high) => State::LengthLow(marker, high),
            (State::LengthLow(marker, high), low) => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some(length) = length.checked_sub(2) else {
                    return Some(Step::Broken);
                };
                let scan = marker == code::SOS;
                self.0 = State::Body { left: length, scan };
                return Some(Step::Segment { marker, length });
            }
            _ => return Some(Step::Broken),
        };
        None
    }
}

/// The JPEG file in a camera's buffer, up to the picture's end, for drivers pad it. `None`
/// when it has no end or does not look like JPEG.
#[cfg(any(feature = "v4l", test))]
pub(crate) fn whole(buffer: &[u8]) -> Option<&[u8]> {
    let (mut scanner, mut at) = (Scanner::new(), 0);
    loop {
        let (taken, step) = scanner.advance(buffer.get(at..)?);
        at += taken;
        match step {
            Step::Segment { .. } => {}
            Step::End => return buffer.get(..at),
            Step::More | Step::Restart | Step::Broken => return None,
        }
    }
}

/// A frame header (B.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The SOF marker's code: which process made the picture.
    pub process: u8,
    /// Bits per sample.
    pub precision: u8,
    pub width: u16,
    pub height: u16,
    pub components: u8,
}

/// How a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With the end of its picture; what follows is ignored.
    Whole,
    /// Before the end of its picture.
    Cut,
    /// At this byte it stops being JPEG.
    Broken(usize),
}

/// What is known of a JPEG file without decoding it.
#[derive(Debug)]
pub(super) struct Outline<'a> {
    pub header: Option<Header>,
    /// The TIFF structure inside the Exif segment.
    pub exif: Option<&'a [u8]>,
    /// The colour transform that Adobe's segment states, and where that segment begins.
    pub adobe: Option<(u8, usize)>,
    /// Whether it brings Huffman tables. Some cameras leave them out.
    pub has_tables: bool,
    pub ending: Ending,
}

impl<'a> Outline<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let mut outline = Self {
            header: None,
            exif: None,
            adobe: None,
            has_tables: false,
            ending: Ending::Cut,
        };
        let mut scanner = Scanner::new();
        let mut at = 0;
        outline.ending = loop {
            let (taken, step) = scanner.advance(&bytes[at..]);
            at += taken;
            match step {
                Step::More => break Ending::Cut,
                Step::End => break Ending::Whole,
                Step::Restart | Step::Broken => break Ending::Broken(at),
                Step::Segment { marker, length } => {
                    if let Some(body) = bytes.get(at..at + length) {
                        outline.note(marker, body, at);
                    }
                }
            }
        };
        outline
    }

    fn note(&mut self, marker: u8, body: &'a [u8], at: usize) {
        match (marker, body) {
            (code::DHT, _) => self.has_tables = true,
            (code::JPG | code::DAC, _) => {}
            (code::SOF0..=code::SOF15, &[precision, h1, h0, w1, w0, components, ..])
                if self.header.is_none() =>
            {
                self.header = Some(Header {
                    process: marker,
                    precision,
                    width: u16::from_be_bytes([w1, w0]),
                    height: u16::from_be_bytes([h1, h0]),
                    components,
                });
            }
            (code::APP1, [b'E', b'x', b'i', b'f', 0, _, tiff @ ..]) => {
                self.exif.get_or_insert(tiff);
            }
            (
                code::APP14,
                &[
                    b'A',
                    b'd',
                    b'o',
                    b'b',
                    b'e',
                    _,
                    _,
                    _,
                    _,
                    _,
                    _,
                    transform,
                    ..,
                ],
            ) => {
                self.adobe.get_or_insert((transform, at));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture's structure with a thumbnail in its APP1, an `FF D9` in its comment and
    /// stuffing, fill bytes and a restart in its data.
    const TRICKY: &[u8] = &[
        0xFF, 0xD8, 0xFF, 0xE1, 0, 8, 0xFF, 0xD8, 0xFF, 0xD9, 1, 2, 0xFF, 0xFE, 0, 4, 0xFF, 0xD9,
        0xFF, 0xC0, 0, 11, 8, 0, 5, 0, 7, 1, 1, 0x11, 0, 0xFF, 0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0,
        0x12, 0xFF, 0, 0x34, 0xFF, 0xD3, 0x56, 0xFF, 0xFF, 0xD9,
    ];

    #[test]
    fn lengths_are_obeyed_in_pieces_of_any_size() {
        for size in 1..=TRICKY.len() {
            let (mut scanner, mut segments, mut ended) = (Scanner::new(), Vec::new(), None);
            let mut seen = 0;
            for piece in TRICKY.chunks(size) {
                let mut rest = piece;
                while !rest.is_empty() {
                    let (taken, step) = scanner.advance(rest);
                    rest = &rest[taken..];
                    seen += taken;
                    match step {
                        Step::Segment { marker, .. } => segments.push(marker),
                        Step::End => ended = Some(seen),
                        Step::More => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
            assert_eq!(segments, [0xE1, 0xFE, 0xC0, 0xDA], "pieces of {size}");
            assert_eq!(ended, Some(TRICKY.len()));
        }
    }

    #[test]
    fn an_outline_tells_size_and_ending() {
        let outline = Outline::of(TRICKY);
        let header = outline.header.unwrap();
        assert_eq!((header.width, header.height, header.components), (7, 5, 1));
        assert_eq!(outline.ending, Ending::Whole);
        for length in 0..TRICKY.len() {
            assert_eq!(
                Outline::of(&TRICKY[..length]).ending,
                Ending::Cut,
                "{length}"
            );
        }
    }

    const PLAIN: &[u8] = include_bytes!("../../../tests/data/pictures/plain.jpg");

    #[test]
    fn a_buffer_is_taken_up_to_the_pictures_end() {
        let padded = [PLAIN, &[0; 100]].concat();
        assert_eq!(whole(&padded), Some(PLAIN));
        assert_eq!(whole(PLAIN), Some(PLAIN));
        for cut in [0, 1, 2, 100, PLAIN.len() - 1] {
            assert_eq!(whole(&PLAIN[..cut]), None);
        }
        assert_eq!(
            whole(&[PLAIN[..700].to_vec(), PLAIN.to_vec()].concat()),
            None
        );
    }

    #[test]
    fn what_cannot_be_is_broken() {
        for bytes in [
            &[0x12][..],
            &[0xFF, 0xD8, 0x00],
            &[0xFF, 0xD8, 0xFF, 0x02],
            &[0xFF, 0xD8, 0xFF, 0xE0, 0, 1],
            &[0xFF, 0xD8, 0xFF, 0xD0],
            &[0xFF, 0xD8, 0xFF, 0xDA, 0, 2, 7, 0xFF, 0x10],
        ] {
            assert_eq!(Outline::of(bytes).ending, Ending::Broken(bytes.len()));
        }
    }
}
