//! The marker structure of JPEG (ITU-T T.81, Annex B), followed byte by byte.
//!
//! Lengths are obeyed and stuffed bytes skipped, so that a thumbnail inside an application
//! segment is never taken for the picture, nor `FF D9` inside a comment for its end. Bytes
//! between segments that belong to none are forbidden by T.81 and written all the same; as
//! every reader does, we pass over them, and over `FF 00` and restart markers there. A marker
//! that means nothing (`FF 02` to `FF BF`) is refused, as libjpeg does.

/// Marker codes that mean something here; the byte after `FF`.
mod code {
    pub const TEM: u8 = 0x01;
    pub const SOF0: u8 = 0xC0;
    pub const SOF2: u8 = 0xC2;
    pub const SOF15: u8 = 0xCF;
    pub const DHT: u8 = 0xC4;
    pub const JPG: u8 = 0xC8;
    pub const DAC: u8 = 0xCC;
    pub const RST0: u8 = 0xD0;
    pub const RST7: u8 = 0xD7;
    pub const SOI: u8 = 0xD8;
    pub const EOI: u8 = 0xD9;
    pub const SOS: u8 = super::SOS;
    pub const DQT: u8 = 0xDB;
    pub const DNL: u8 = 0xDC;
    pub const DRI: u8 = 0xDD;
    pub const APP1: u8 = 0xE1;
    pub const APP2: u8 = super::APP2;
    pub const APP14: u8 = 0xEE;
}

/// The marker of a scan, behind whose header the pixels begin.
pub(crate) const SOS: u8 = 0xDA;
/// The marker of a segment that may hold an index of several pictures.
pub(crate) const APP2: u8 = 0xE2;

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
pub(crate) struct Scanner {
    state: State,
    strays: usize,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Begin,
            strays: 0,
        }
    }

    /// Bytes between segments that were passed over.
    pub(crate) fn strays(&self) -> usize {
        self.strays
    }

    /// Takes bytes up to the next event; returns how many, and the event. After
    /// [`Step::Restart`] the new picture's SOI is taken and its rest may follow; after
    /// [`Step::End`] and [`Step::Broken`] a new scanner is needed.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> (usize, Step) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let rest = bytes.len() - at;
            match self.state {
                State::Body { left, scan } if left > 0 => {
                    let taken = left.min(rest);
                    let left = left - taken;
                    self.state = State::Body { left, scan };
                    at += taken;
                    continue;
                }
                State::Body { scan, .. } => {
                    self.state = if scan { State::Entropy } else { State::Marker };
                    continue;
                }
                State::Entropy => {
                    let plain = bytes[at..].iter().position(|b| *b == 0xFF);
                    at += plain.unwrap_or(rest);
                    if plain.is_some() {
                        self.state = State::EntropyCode;
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
        self.state = match (self.state, byte) {
            (State::Begin, 0xFF) => State::BeginCode,
            (State::BeginCode, code::SOI) | (State::Code, code::TEM) => State::Marker,
            (State::Marker, 0xFF) => State::Code,
            (State::Marker, _) => {
                self.strays += 1;
                State::Marker
            }
            (State::Code, 0x00 | code::RST0..=code::RST7) => {
                self.strays += 2;
                State::Marker
            }
            (State::Code | State::EntropyCode, 0xFF) => return None,
            (State::EntropyCode, 0x00 | code::RST0..=code::RST7) => State::Entropy,
            (State::Code | State::EntropyCode, code::EOI) => return Some(Step::End),
            (State::Code | State::EntropyCode, code::SOI) => {
                self.state = State::Marker;
                return Some(Step::Restart);
            }
            (State::Code | State::EntropyCode, 0xC0..) => State::Length(byte),
            (State::Length(marker), high) => State::LengthLow(marker, high),
            (State::LengthLow(marker, high), low) => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some(length) = length.checked_sub(2) else {
                    return Some(Step::Broken);
                };
                let scan = marker == code::SOS;
                self.state = State::Body { left: length, scan };
                return Some(Step::Segment { marker, length });
            }
            _ => return Some(Step::Broken),
        };
        None
    }
}

/// Where a file's picture ends; `None` when it has no end or does not look like JPEG.
#[cfg(any(feature = "v4l", test))]
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    let mut walk = Walk::new(bytes);
    walk.by_ref().for_each(drop);
    (walk.ending == Some(Ending::Whole)).then_some(walk.at)
}

/// A segment of a file.
#[derive(Debug, Clone, Copy)]
struct Part<'a> {
    marker: u8,
    /// Where it begins in the file.
    at: usize,
    /// From its `FF` to its last byte.
    whole: &'a [u8],
    /// The entropy-coded data behind it, if it is the header of a scan.
    data: &'a [u8],
}

impl<'a> Part<'a> {
    fn content(&self) -> &'a [u8] {
        self.whole.get(4..).unwrap_or_default()
    }
}

/// Goes through the segments of a file.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    scanner: Scanner,
    /// The last segment: its marker, beginning and end.
    last: Option<(u8, usize, usize)>,
    /// How the file ends, once it has been gone through.
    ending: Option<Ending>,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            scanner: Scanner::new(),
            last: None,
            ending: None,
        }
    }

    /// The last segment, whose data end right before `end`.
    fn part(&mut self, end: usize) -> Option<Part<'a>> {
        let (marker, from, to) = self.last.take()?;
        let data = match marker {
            code::SOS => self.bytes.get(to..end).unwrap_or_default(),
            _ => &[],
        };
        // markers may be preceded by any number of `FF`; no data end with one
        let filled = data.iter().rev().take_while(|byte| **byte == 0xFF).count();
        Some(Part {
            marker,
            at: from,
            whole: self.bytes.get(from..to)?,
            data: data.get(..data.len() - filled).unwrap_or_default(),
        })
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        while self.ending.is_none() {
            let (taken, step) = self.scanner.advance(self.bytes.get(self.at..)?);
            self.at += taken;
            let (ending, end) = match step {
                Step::Segment { marker, length } => {
                    let before = self.part(self.at - 4);
                    self.last = Some((marker, self.at - 4, self.at + length));
                    match before {
                        Some(_) => return before,
                        None => continue,
                    }
                }
                Step::More => (Ending::Cut, self.at),
                Step::End => (Ending::Whole, self.at - 2),
                Step::Restart => (Ending::Cut, self.at - 2),
                Step::Broken => (Ending::Broken(self.at), self.at),
            };
            self.ending = Some(ending);
            return self.part(end);
        }
        None
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
    /// 0 when it is told behind the first scan.
    pub height: u16,
    pub components: u8,
    /// Samples of each component in a unit of the picture, across and down; of components
    /// that are not there 1 × 1.
    pub sampling: [(u8, u8); 4],
}

impl Header {
    fn of(process: u8, content: &[u8]) -> Option<Self> {
        let &[precision, h1, h0, w1, w0, components, ref rest @ ..] = content else {
            return None;
        };
        let mut sampling = [(1, 1); 4];
        let (each, _) = rest.as_chunks::<3>();
        for (to, [_, factors, _]) in sampling.iter_mut().zip(each).take(components.into()) {
            *to = (factors >> 4, factors & 15);
        }
        Some(Self {
            process,
            precision,
            width: u16::from_be_bytes([w1, w0]),
            height: u16::from_be_bytes([h1, h0]),
            components,
            sampling,
        })
    }

    /// Whether the picture comes in several passes, each finer than the one before.
    pub(super) fn is_progressive(&self) -> bool {
        self.process == code::SOF2
    }
}

/// How a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With the end of its picture; what follows is ignored.
    Whole,
    /// Before the end of its picture, or with the start of another one.
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
    /// The text of the XMP segment.
    pub xmp: Option<&'a [u8]>,
    /// The TIFF structure that is the index of several pictures in one file, and where it
    /// begins.
    pub index: Option<(usize, &'a [u8])>,
    /// The colour transform that Adobe's segment states.
    pub adobe: Option<u8>,
    /// Whether it brings Huffman tables. Some cameras leave them out.
    pub has_tables: bool,
    /// Whether the number of rows comes behind the first scan.
    pub has_late_height: bool,
    /// Whether its components come in scans of their own.
    pub comes_apart: bool,
    /// Whether every coefficient has come, as finely as it will.
    pub is_complete: bool,
    pub ending: Ending,
}

impl<'a> Outline<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let mut outline = Self {
            header: None,
            exif: None,
            xmp: None,
            index: None,
            adobe: None,
            has_tables: false,
            has_late_height: false,
            comes_apart: false,
            is_complete: false,
            ending: Ending::Cut,
        };
        let mut walk = Walk::new(bytes);
        let mut passes = Passes::default();
        for part in walk.by_ref() {
            outline.note(&part, &mut passes);
        }
        outline.is_complete = passes.are_all();
        outline.ending = walk.ending.unwrap_or(Ending::Cut);
        outline
    }

    fn note(&mut self, part: &Part<'a>, passes: &mut Passes) {
        match (part.marker, part.content()) {
            (code::DHT, _) => self.has_tables = true,
            (code::DNL, _) => self.has_late_height = true,
            (code::JPG | code::DAC, _) => {}
            (code::SOF0..=code::SOF15, content) if self.header.is_none() => {
                self.header = Header::of(part.marker, content);
                passes.begin(content);
            }
            (code::SOS, content) if !part.data.is_empty() => {
                let all = self.header.map(|header| header.components);
                self.comes_apart |= content.first().copied() < all;
                passes.note(content);
            }
            (code::APP1, [b'E', b'x', b'i', b'f', 0, _, tiff @ ..]) => {
                self.exif.get_or_insert(tiff);
            }
            (code::APP1, content) => {
                if let Some(xmp) = content.strip_prefix(XMP) {
                    self.xmp.get_or_insert(xmp);
                }
            }
            (code::APP2, [b'M', b'P', b'F', 0, tiff @ ..]) => {
                self.index
                    .get_or_insert((part.at + part.whole.len() - tiff.len(), tiff));
            }
            (code::APP14, content) => {
                if let (Some(b"Adobe"), Some(transform)) = (content.get(..5), content.get(11)) {
                    self.adobe.get_or_insert(*transform);
                }
            }
            _ => {}
        }
    }
}

/// What an APP1 segment with XMP begins with.
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// How finely the coefficients of each component have come so far: the number of low bits
/// that are missing, or [`NONE`](Passes::NONE).
struct Passes {
    names: Vec<u8>,
    missing: [[u8; 64]; 4],
}

impl Default for Passes {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            missing: [[Self::NONE; 64]; 4],
        }
    }
}

impl Passes {
    const NONE: u8 = u8::MAX;

    /// Takes the components' names from a frame header.
    fn begin(&mut self, content: &[u8]) {
        let (each, _) = content.get(6..).unwrap_or_default().as_chunks::<3>();
        self.names = each.iter().take(4).map(|[name, _, _]| *name).collect();
    }

    /// Takes a scan's header (B.2.3).
    fn note(&mut self, content: &[u8]) {
        let Some((&count, rest)) = content.split_first() else {
            return;
        };
        let (each, rest) = rest.split_at(rest.len().min(2 * usize::from(count)));
        let &[first, last, bits, ..] = rest else {
            return;
        };
        for name in each.iter().step_by(2) {
            let component = self.names.iter().position(|other| other == name);
            let missing = component.and_then(|at| self.missing.get_mut(at));
            let band = missing.and_then(|all| all.get_mut(first.into()..=last.into()));
            if let Some(band) = band {
                band.fill(bits & 15);
            }
        }
    }

    fn are_all(&self) -> bool {
        let of = |missing: &[u8; 64]| missing.iter().all(|bits| *bits == 0);
        !self.names.is_empty() && self.missing.iter().take(self.names.len()).all(of)
    }
}

/// The file with nothing in it but what makes its pixels, as T.81 wants it: no stray bytes,
/// no notes, profiles and thumbnails. `before` stands at its beginning, and `end` at its end.
pub(super) fn bare(bytes: &[u8], before: &[u8], end: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + before.len() + end.len());
    out.extend([0xFF, code::SOI]);
    out.extend_from_slice(before);
    for part in Walk::new(bytes) {
        let is_needed = match part.marker {
            code::JPG | code::DAC => false,
            code::SOF0..=code::SOF15 => true,
            code::SOS | code::DQT | code::DNL | code::DRI => true,
            _ => false,
        };
        if is_needed {
            out.extend_from_slice(part.whole);
            out.extend_from_slice(part.data);
        }
    }
    out.extend_from_slice(end);
    out.extend([0xFF, code::EOI]);
    out
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

    /// `TRICKY` with strays, a stuffed zero, a restart and fill bytes between its segments.
    fn littered() -> Vec<u8> {
        let litter = &[0x00, 0x12, 0xFF, 0x00, 0x7F, 0xFF, 0xD5, 0x33, 0xFF];
        [
            &TRICKY[..2],
            litter,
            &TRICKY[2..12],
            litter,
            &TRICKY[12..18],
            litter,
            &TRICKY[18..],
        ]
        .concat()
    }

    #[test]
    fn bytes_between_segments_are_passed_over_and_left_out() {
        let littered = littered();
        let outline = Outline::of(&littered);
        assert_eq!(outline.header, Outline::of(TRICKY).header);
        assert_eq!(outline.ending, Ending::Whole);
        let mut scanner = Scanner::new();
        let mut at = 0;
        while at < littered.len() {
            at += scanner.advance(&littered[at..]).0;
        }
        assert_eq!(scanner.strays(), 3 * 8);
        // what makes the pixels is the same, and nothing else is left
        let bare = |bytes: &[u8]| super::bare(bytes, &[], &[]);
        assert_eq!(bare(&littered), bare(TRICKY));
        let wanted = [
            &TRICKY[..2],
            &TRICKY[18..31],
            &TRICKY[32..TRICKY.len() - 3],
            &[0xFF, 0xD9],
        ];
        assert_eq!(bare(TRICKY), wanted.concat());
    }

    #[test]
    fn passes_are_complete_when_nothing_is_missing() {
        let mut passes = Passes::default();
        assert!(!passes.are_all());
        passes.begin(&[8, 0, 5, 0, 7, 2, 1, 0x11, 0, 9, 0x11, 0]);
        passes.note(&[2, 1, 0, 9, 0, 0, 0, 0x01]);
        passes.note(&[1, 1, 0, 1, 63, 0x00]);
        passes.note(&[1, 9, 0, 1, 63, 0x02]);
        passes.note(&[2, 1, 0, 9, 0, 0, 0, 0x10]);
        assert!(!passes.are_all(), "two bits are missing");
        passes.note(&[1, 9, 0, 1, 63, 0x20]);
        assert!(passes.are_all());
        // nonsense is not followed
        passes.note(&[]);
        passes.note(&[200, 1, 0]);
        passes.note(&[1, 7, 0, 63, 0, 0xFF]);
        assert!(passes.are_all());
    }

    #[test]
    fn what_cannot_be_is_broken() {
        for bytes in [
            &[0x12][..],
            &[0xFF, 0xD8, 0xFF, 0x02],
            &[0xFF, 0xD8, 0xFF, 0xE0, 0, 1],
            &[0xFF, 0xD8, 0xFF, 0xDA, 0, 2, 7, 0xFF, 0x10],
        ] {
            assert_eq!(Outline::of(bytes).ending, Ending::Broken(bytes.len()));
        }
    }
}
