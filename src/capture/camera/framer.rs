//! Pictures in a row, told apart by their own marks: JPEGs as cameras send them, and PNGs.

use crate::vision::MAX_PICTURE_BYTES;
use crate::vision::jpeg::scan::{Scanner, Step};
use crate::vision::png::{self, SIGNATURE};
use crate::vision::{self, jpeg};

/// A JPEG's first two bytes, and the first of what must follow: the next marker.
const START: [u8; 3] = [0xFF, 0xD8, 0xFF];
/// What most JPEGs begin with, and nothing else does.
const JFIF: [u8; 11] = *b"\xFF\xD8\xFF\xE0\0\x10JFIF\0";
/// No JPEG with its tables is shorter.
const LEAST_THUMBNAIL: usize = 128;
/// How often the bytes of a stream may be looked at again behind damage, on average.
const AGAIN: usize = 64;
/// Longest header of a part of a multipart stream.
const MOST_HEADER: usize = 1 << 10;

/// Cuts a stream of bytes into JPEG and PNG files.
///
/// Bytes between pictures are passed over: headers of multipart streams, indexes of AVI files,
/// noise. So are pictures that belong to the one before, as the second eye and the gain map of
/// a photograph (CIPA DC-007).
///
/// A picture that stops making sense or that another one interrupts is counted and given up,
/// unless its pixels are all there and nothing but its end is missing. The search then goes on
/// behind the last segment that was in order: a length that lies may have swallowed whole
/// pictures.
#[derive(Debug)]
pub(in crate::capture) struct Framer {
    /// What is not done with.
    bytes: Vec<u8>,
    /// Where the picture begins that we are in, or may be.
    from: usize,
    /// Up to here the bytes have been followed.
    at: usize,
    /// `None` between pictures.
    inside: Option<Inside>,
    damaged: u64,
    garbage: usize,
    /// Bytes that may be looked at again.
    again: usize,
    /// Bytes that belong to the picture before.
    attached: usize,
    /// The first picture that was given up, until a whole one is found.
    spoilt: Option<Vec<u8>>,
    any: bool,
    /// Nothing was followed yet: a JPEG is known here by two bytes already.
    fresh: bool,
}

/// A picture that has begun.
#[derive(Debug)]
struct Inside {
    form: Scan,
    /// Up to here everything was in order.
    sound: usize,
    /// Up to here another beginning was looked for.
    looked: usize,
    /// A segment was cut, and another picture stands in its place.
    is_pieced: bool,
    /// Its size is known.
    has_frame: bool,
    /// Pixels have begun.
    has_pixels: bool,
    /// Something may be attached to it.
    has_index: bool,
}

#[derive(Debug)]
enum Scan {
    Jpeg(Scanner),
    Png,
}

/// What became of a picture.
enum Turn {
    /// It goes on behind the bytes that there are.
    More,
    /// It ends here.
    End,
    /// The next one begins here, and it has not ended.
    Restart(usize),
    /// This cannot be.
    Broken,
}

impl Framer {
    pub(in crate::capture) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            from: 0,
            at: 0,
            inside: None,
            damaged: 0,
            garbage: 0,
            again: 0,
            attached: 0,
            spoilt: None,
            any: false,
            fresh: true,
        }
    }

    /// Takes the stream's next bytes and hands over the pictures that they complete.
    pub(in crate::capture) fn push(&mut self, bytes: &[u8], mut whole: impl FnMut(Vec<u8>)) {
        let skipped = self.attached.min(bytes.len());
        self.attached -= skipped;
        let bytes = bytes.get(skipped..).unwrap_or_default();
        self.bytes.extend_from_slice(bytes);
        self.again = self.again.saturating_add(bytes.len() * AGAIN);
        self.go_on(&mut whole);
        self.bytes.drain(..self.from);
        self.at -= self.from;
        if let Some(inside) = &mut self.inside {
            inside.sound -= self.from;
            inside.looked -= self.from;
        }
        self.from = 0;
    }

    /// Ends the stream: a picture that lacks its end alone is handed over. Returns the first
    /// one that was given up if there was no whole one.
    pub(in crate::capture) fn finish(&mut self, mut whole: impl FnMut(Vec<u8>)) -> Option<Vec<u8>> {
        while let Some(inside) = self.inside.take() {
            self.at = self.bytes.len();
            self.end_early(&inside, self.at, &mut whole);
            self.go_on(&mut whole);
        }
        self.spoilt.take()
    }

    /// Pictures that were cut or damaged since this was last asked.
    pub(in crate::capture) fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }

    /// Bytes passed over since the last whole picture.
    pub(in crate::capture) fn garbage(&self) -> usize {
        self.garbage
    }

    /// Whether there was a whole picture.
    pub(in crate::capture) fn has_any(&self) -> bool {
        self.any
    }

    fn go_on(&mut self, whole: &mut impl FnMut(Vec<u8>)) {
        loop {
            let Some(mut inside) = self.inside.take() else {
                if self.search() {
                    continue;
                }
                return;
            };
            match self.follow(&mut inside) {
                Turn::More if self.at - self.from > MAX_PICTURE_BYTES => {
                    self.give_up(&inside, self.at);
                }
                Turn::More => {
                    self.inside = Some(inside);
                    return;
                }
                Turn::End => self.end(&inside, whole),
                Turn::Restart(next) => self.end_early(&inside, next, whole),
                Turn::Broken => self.give_up(&inside, self.at),
            }
        }
    }

    /// Looks for the next picture; `false` when there is none in the bytes that are there.
    fn search(&mut self) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if self.fresh && rest.len() < START.len() {
            return false;
        }
        let marks = if self.fresh {
            START.len() - 1
        } else {
            START.len()
        };
        self.fresh = false;
        let mut starts = rest
            .iter()
            .enumerate()
            .filter(|(_, byte)| matches!(byte, 0xFF | 0x89))
            .map(|(at, _)| (at, rest.get(at..).unwrap_or_default()))
            .filter_map(|(at, rest)| {
                let marks = if at == 0 { marks } else { START.len() };
                Some((at, begins(rest, START.get(..marks)?)?))
            });
        let (passed, form) = match starts.next() {
            Some((at, form)) => (at, form),
            None => (rest.len(), None),
        };
        self.garbage += passed;
        self.from = self.at + passed;
        self.at = self.from;
        let Some(form) = form else { return false };
        self.at += match form {
            // the scanner sees the next marker's first byte again
            Scan::Jpeg(_) => START.len() - 1,
            Scan::Png => SIGNATURE.len(),
        };
        self.inside = Some(Inside {
            form,
            sound: self.at,
            looked: self.at,
            is_pieced: false,
            has_frame: false,
            has_pixels: false,
            has_index: false,
        });
        true
    }

    /// Follows the picture that has begun through the bytes that are there.
    fn follow(&mut self, inside: &mut Inside) -> Turn {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let (taken, turn) = match &mut inside.form {
                Scan::Jpeg(scanner) => {
                    let (taken, step) = scanner.advance(rest);
                    let turn = match step {
                        Step::Segment { marker, .. } => {
                            let begins = self.at + taken - 4;
                            let before = self.bytes.get(inside.sound..begins).unwrap_or_default();
                            inside.is_pieced |= is_pieced(before, inside.has_pixels);
                            if matches!(marker, 0xC0..=0xC2)
                                && std::mem::replace(&mut inside.has_frame, true)
                            {
                                // the next picture began where nobody looks for it
                                inside.is_pieced = true;
                                inside.sound = self.from + START.len() - 1;
                            }
                            inside.has_pixels |= marker == jpeg::scan::SOS;
                            inside.has_index |= marker == jpeg::scan::APP2;
                            if scanner.strays() == 0 && !inside.is_pieced {
                                inside.sound = begins;
                            }
                            None
                        }
                        Step::More => Some(Turn::More),
                        Step::End => Some(Turn::End),
                        Step::Restart => Some(Turn::Restart(self.at + taken - 2)),
                        Step::Broken => Some(Turn::Broken),
                    };
                    (taken, turn)
                }
                Scan::Png => match png::chunk(rest) {
                    None => (0, Some(Turn::More)),
                    Some((length, name)) if !png::is_chunk(length, name) => (0, Some(Turn::Broken)),
                    Some((length, name)) => {
                        inside.sound = self.at;
                        let length = length as usize + png::AROUND;
                        if length > MAX_PICTURE_BYTES {
                            (0, Some(Turn::Broken))
                        } else if rest.len() < length {
                            // a length that lies would make us wait for very long
                            let from = inside.looked.max(self.at);
                            let new = self.bytes.get(from..).unwrap_or_default();
                            inside.looked = self.bytes.len().saturating_sub(JFIF.len()).max(from);
                            let next = new.windows(JFIF.len()).position(is_certain);
                            (
                                0,
                                Some(next.map_or(Turn::More, |at| Turn::Restart(from + at))),
                            )
                        } else {
                            inside.has_pixels |= name == *b"IDAT";
                            (length, (name == *b"IEND").then_some(Turn::End))
                        }
                    }
                },
            };
            self.at += taken;
            if let Some(turn) = turn {
                return turn;
            }
        }
    }

    /// A picture that has ended. One with stray bytes in it may be two pieces of others: it
    /// must be decoded to prove that it is none. That does not tell whether a table was cut
    /// and goes on in the next picture, so none may begin inside of one.
    fn end(&mut self, inside: &Inside, whole: &mut impl FnMut(Vec<u8>)) {
        let picture = self.bytes.get(self.from..self.at).unwrap_or_default();
        let is_doubtful = match &inside.form {
            Scan::Jpeg(scanner) => scanner.strays() > 0 || !inside.has_pixels,
            Scan::Png => !inside.has_pixels,
        };
        let last = self.bytes.get(inside.sound..self.at).unwrap_or_default();
        let pieced = inside.is_pieced
            || (matches!(inside.form, Scan::Jpeg(_)) && is_pieced(last, inside.has_pixels));
        if pieced || (is_doubtful && vision::decode(picture, "").is_err()) {
            return self.give_up(inside, self.at);
        }
        let picture = picture.to_vec();
        if inside.has_index
            && let Some(end) = jpeg::attached(&picture)
        {
            let attached = end.saturating_sub(picture.len());
            let here = attached.min(self.bytes.len() - self.at);
            self.at += here;
            self.attached = attached - here;
        }
        self.hand_over(picture, whole);
        self.from = self.at;
    }

    /// A picture that has not ended before `end`, where the next one begins or the stream
    /// stops.
    fn end_early(&mut self, inside: &Inside, end: usize, whole: &mut impl FnMut(Vec<u8>)) {
        let picture = self.bytes.get(self.from..end).unwrap_or_default();
        let picture = without_header(picture);
        if inside.has_pixels && !inside.is_pieced && vision::decode(picture, "").is_ok() {
            let picture = picture.to_vec();
            self.hand_over(picture, whole);
            self.from = end;
            self.at = end;
        } else {
            self.give_up(inside, end);
        }
    }

    fn hand_over(&mut self, picture: Vec<u8>, whole: &mut impl FnMut(Vec<u8>)) {
        self.garbage = 0;
        self.any = true;
        self.spoilt = None;
        whole(picture);
    }

    /// Gives up a picture whose bytes up to `end` are known, and searches it once more.
    fn give_up(&mut self, inside: &Inside, end: usize) {
        // what never got as far as a second mark was noise
        let marks = match inside.form {
            Scan::Jpeg(_) => START.len() - 1,
            Scan::Png => SIGNATURE.len(),
        };
        if inside.has_pixels || inside.sound > self.from + marks {
            self.damaged += 1;
            if !self.any && self.spoilt.is_none() {
                let bytes = self.bytes.get(self.from..end).unwrap_or_default();
                self.spoilt = Some(bytes.to_vec());
            }
        }
        let behind = (self.from + 1).max(inside.sound).min(end);
        let twice = end - behind;
        let at = match self.again.checked_sub(twice) {
            Some(left) => {
                self.again = left;
                behind
            }
            None => end,
        };
        self.garbage += at - self.from;
        self.from = at;
        self.at = at;
    }
}

/// Whether a picture begins inside of the segment at the beginning of these bytes, and that is
/// none of those that may hold a thumbnail: they stand before the pixels.
fn is_pieced(bytes: &[u8], has_pixels: bool) -> bool {
    let [0xFF, marker, high, low, rest @ ..] = bytes else {
        return false;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let content = rest.get(..length).unwrap_or(rest);
    let is_note = matches!(marker, 0xE0..=0xEF | 0xFE) && length > LEAST_THUMBNAIL;
    (has_pixels || !is_note) && content.windows(START.len()).any(|part| part == START)
}

/// Whether these bytes are a picture's first ones beyond doubt.
fn is_certain(bytes: &[u8]) -> bool {
    bytes == JFIF || bytes.starts_with(&SIGNATURE)
}

/// Whether a picture begins here, a JPEG with `start`: `Some(None)` when more bytes must tell.
fn begins(bytes: &[u8], start: &[u8]) -> Option<Option<Scan>> {
    let of = |mark: &[u8]| bytes.starts_with(mark) || mark.starts_with(bytes);
    if of(start) {
        let is_one = bytes.len() >= start.len();
        return Some(is_one.then(|| {
            let mut scanner = Scanner::new();
            scanner.advance(&START[..2]);
            Scan::Jpeg(scanner)
        }));
    }
    of(&SIGNATURE).then(|| (bytes.len() >= SIGNATURE.len()).then_some(Scan::Png))
}

/// The bytes without the header of the next part of a multipart stream at their end: lines of
/// text, the first of which begins with two hyphens.
fn without_header(bytes: &[u8]) -> &[u8] {
    let reach = bytes.len().saturating_sub(MOST_HEADER);
    let is_text = |byte: &u8| matches!(byte, b'\r' | b'\n' | b'\t' | b' '..=b'~');
    let text = bytes
        .iter()
        .skip(reach)
        .rev()
        .take_while(|byte| is_text(byte));
    let reach = bytes.len() - text.count();
    let tail = bytes.get(reach..).unwrap_or_default();
    let at = tail.windows(3).position(|part| part == b"\n--");
    let Some(at) = at.map(|at| reach + at) else {
        return bytes;
    };
    let header = bytes.get(..at).unwrap_or(bytes);
    header.strip_suffix(b"\r").unwrap_or(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A picture's structure: an APP segment with a thumbnail in it, data with stuffing.
    fn picture(number: u8) -> Vec<u8> {
        let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, 7, 0xFF, 0xD8, 0, 0xD9, number];
        bytes.extend([
            0xFF, 0xDA, 0, 3, 1, number, 0xFF, 0, 0xFF, 0xD0, 7, 0xFF, 0xD9,
        ]);
        bytes
    }

    /// The pictures in `stream` given in pieces, how many were damaged, and what was garbage
    /// behind the last.
    fn cut(stream: &[u8], size: usize) -> (Vec<Vec<u8>>, u64, usize) {
        let (mut framer, mut whole) = (Framer::new(), Vec::new());
        for piece in stream.chunks(size) {
            framer.push(piece, |picture| whole.push(picture));
        }
        framer.finish(|picture| whole.push(picture));
        (whole, framer.take_damaged(), framer.garbage())
    }

    #[test]
    fn pictures_are_told_apart_in_pieces_of_any_size() {
        let (one, two) = (picture(1), picture(2));
        let between = [0, 0xFF, 0xFF, 0xD8, 0xD8, 0xFF, 0xD9, 7];
        let stream = [&between[..], &one, &between, &two, PNG, &two, &[0, 0, 0]].concat();
        for size in 1..=stream.len() {
            let (whole, damaged, garbage) = cut(&stream, size);
            assert_eq!(whole, [&one[..], &two, PNG, &two], "{size}");
            assert_eq!((damaged, garbage), (0, 3));
        }
    }

    const PLAIN: &[u8] = include_bytes!("../../../tests/data/pictures/plain.jpg");
    const PNG: &[u8] = include_bytes!("../../../tests/data/pictures/plain.png");

    #[test]
    fn a_cut_picture_is_counted_and_the_next_one_found() {
        let two = picture(2);
        for (whole, step) in [(PLAIN, 1), (PNG, 7)] {
            for length in (3..whole.len() - 12).step_by(step) {
                // a length that was cut may have swallowed what follows, but not for good
                let stream = [&whole[..length], &two, PLAIN, PNG, PLAIN].concat();
                let (found, _, _) = cut(&stream, 4096);
                let good = found.iter().rev().take(3).eq([PLAIN, PNG, PLAIN].iter());
                assert!(good, "cut at {length}: {} pictures", found.len());
            }
        }
        // inside its data, where nothing is jumped over, only the cut one is lost
        let stream = [&picture(1)[..18], &two].concat();
        assert_eq!(cut(&stream, 3), (vec![two], 1, 0));
    }

    #[test]
    fn a_picture_that_lacks_only_its_end_is_whole() {
        let open = &PLAIN[..PLAIN.len() - 2];
        let header = b"\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 1024\r\n\r\n";
        for between in [&b""[..], header, b"\n--x\n\n"] {
            let stream = [open, between, open, between, PLAIN, between, open, between].concat();
            for size in [1, 1000, usize::MAX] {
                let (found, damaged, _) = cut(&stream, size);
                assert_eq!(damaged, 0);
                assert_eq!(found, [open, open, PLAIN, open]);
            }
        }
        // one that lacks more is not
        let short = &PLAIN[..PLAIN.len() - 12];
        let stream = [short, header, PLAIN].concat();
        assert_eq!(cut(&stream, 500), (vec![PLAIN.to_vec()], 1, 0));
    }

    #[test]
    fn stray_bytes_are_allowed_where_the_picture_proves_whole() {
        let littered = [
            &PLAIN[..2],
            &[0, 0],
            &PLAIN[2..20],
            &[0xFF, 0, 7],
            &PLAIN[20..],
        ]
        .concat();
        for size in [1, 700, usize::MAX] {
            let stream = [&littered[..], &littered, PLAIN].concat();
            let (found, damaged, _) = cut(&stream, size);
            // the stream begins with the first of them, so that its two bytes are enough
            assert_eq!(found.first(), Some(&littered), "{size}");
            assert_eq!(found.last().map(Vec::as_slice), Some(PLAIN));
            assert_eq!(damaged, 0);
        }
    }

    /// A picture with an index of another one that follows it.
    fn with_index(size: u32) -> Vec<u8> {
        let mut index =
            b"MPF\0MM\0\x2A\0\0\0\x08\0\x01\xB0\x02\0\x07\0\0\0\x20\0\0\0\x1A\0\0\0\0".to_vec();
        index.extend([0; 16]);
        index.extend([0; 4]);
        index.extend(size.to_be_bytes());
        // counted from the byte order, which stands 10 bytes behind the start of the file
        let length = 4 + index.len() + 8;
        let whole = PLAIN.len() + length;
        index.extend((whole as u32 - 10).to_be_bytes());
        index.extend([0; 4]);
        let head = [0xFF, 0xE2, 0, 2 + index.len() as u8];
        [&PLAIN[..2], &head, &index, &PLAIN[2..]].concat()
    }

    #[test]
    fn what_is_attached_to_a_picture_is_no_picture_of_its_own() {
        let two = picture(2);
        let first = with_index(two.len() as u32);
        let stream = [&first[..], &two, &two, &first, &two, PNG].concat();
        for size in [1, 100, usize::MAX] {
            let (found, damaged, _) = cut(&stream, size);
            assert_eq!(found, [&first[..], &two, &first, PNG], "{size}");
            assert_eq!(damaged, 0);
        }
    }

    #[test]
    fn bytes_are_not_looked_at_for_ever() {
        // each of these begins a picture and claims 64 KiB
        let stream = b"\xFF\xD8\xFF\xE0\xFF\xFF".repeat(200_000);
        let begun = std::time::Instant::now();
        let (found, _, _) = cut(&stream, 64 << 10);
        assert!(found.is_empty());
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }

    #[test]
    fn an_endless_picture_is_given_up() {
        let mut framer = Framer::new();
        framer.push(&picture(1)[..18], |_| panic!("it has not ended"));
        let data = vec![0x55; 1 << 20];
        for _ in 0..=MAX_PICTURE_BYTES >> 20 {
            framer.push(&data, |_| panic!("it has not ended"));
        }
        assert_eq!(framer.take_damaged(), 1);
        assert!(framer.garbage() > MAX_PICTURE_BYTES);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(prop::sample::select(vec![0u8, 0xFF, 0xD8, 0xD9, 0xDA, 2]), 0..9),
                    any::<u8>().prop_map(picture),
                    (any::<u8>(), 2usize..23).prop_map(|(n, end)| picture(n)[..end].to_vec()),
                ],
                0..12,
            ),
            size in 1usize..40,
        ) {
            let stream = parts.concat();
            prop_assert_eq!(cut(&stream, size), cut(&stream, usize::MAX));
            for whole in cut(&stream, size).0 {
                prop_assert!(whole.starts_with(&[0xFF, 0xD8]) && whole.ends_with(&[0xFF, 0xD9]));
            }
        }
    }
}
