//! JPEG pictures in a row, told apart by their own markers.

use crate::capture::limits;
use crate::vision::jpeg::scan::{Scanner, Step};

/// A picture's first two bytes, and what must follow: the next marker.
const START: [u8; 2] = [0xFF, 0xD8];

/// Cuts a stream of bytes into JPEG files.
///
/// Bytes between pictures are passed over. A picture that stops making sense or that another
/// one interrupts is counted and given up; the search goes on behind the damage.
#[derive(Debug)]
pub(in crate::capture) struct Framer {
    /// The picture so far, or up to two bytes that may begin one.
    bytes: Vec<u8>,
    /// `None` between pictures.
    scanner: Option<Scanner>,
    damaged: u64,
    garbage: usize,
}

impl Framer {
    pub(in crate::capture) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            scanner: None,
            damaged: 0,
            garbage: 0,
        }
    }

    /// Takes the stream's next bytes and hands over the pictures that they complete.
    pub(in crate::capture) fn push(&mut self, mut bytes: &[u8], mut whole: impl FnMut(Vec<u8>)) {
        while !bytes.is_empty() {
            let taken = match self.scanner.take() {
                None => self.search(bytes),
                Some(scanner) => self.follow(scanner, bytes, &mut whole),
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// Pictures that were cut or damaged since this was last asked.
    pub(in crate::capture) fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }

    /// Bytes passed over since the last whole picture.
    pub(in crate::capture) fn garbage(&self) -> usize {
        self.garbage
    }

    /// Whether the stream, if it ends here, ends inside a picture.
    pub(in crate::capture) fn is_inside(&self) -> bool {
        self.scanner.is_some()
    }

    /// Looks for `FF D8 FF`; returns how many bytes are done with.
    fn search(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match (self.bytes.as_slice(), byte) {
                ([0xFF, 0xD8], 0xFF) => {
                    let mut scanner = Scanner::new();
                    scanner.advance(&START);
                    self.scanner = Some(scanner);
                    // The scanner sees this byte again.
                    return at;
                }
                ([0xFF], 0xD8) => self.bytes.push(*byte),
                (held, _) => {
                    self.garbage += held.len() + usize::from(*byte != 0xFF);
                    self.bytes.clear();
                    if *byte == 0xFF {
                        self.bytes.push(*byte);
                    }
                }
            }
        }
        bytes.len()
    }

    /// Follows the picture that has begun; returns how many bytes are done with.
    fn follow(
        &mut self,
        mut scanner: Scanner,
        bytes: &[u8],
        whole: &mut impl FnMut(Vec<u8>),
    ) -> usize {
        let (taken, step) = scanner.advance(bytes);
        self.bytes
            .extend_from_slice(bytes.get(..taken).unwrap_or_default());
        match step {
            Step::End => {
                self.garbage = 0;
                // The next one will be about as long.
                let room = Vec::with_capacity(self.bytes.len());
                whole(std::mem::replace(&mut self.bytes, room));
                self.bytes.clear();
            }
            Step::Restart => {
                self.give_up();
                self.bytes.extend_from_slice(&START);
                self.scanner = Some(scanner);
            }
            Step::Broken => self.give_up(),
            Step::More | Step::Segment { .. } if self.bytes.len() > limits::MAX_PICTURE_BYTES => {
                self.give_up();
            }
            Step::More | Step::Segment { .. } => self.scanner = Some(scanner),
        }
        taken
    }

    fn give_up(&mut self) {
        self.damaged += 1;
        self.garbage += self.bytes.len();
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A picture's structure: an APP segment with a thumbnail in it, data with stuffing.
    fn picture(number: u8) -> Vec<u8> {
        let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, 7, 0xFF, 0xD8, 0xFF, 0xD9, number];
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
        (whole, framer.take_damaged(), framer.garbage())
    }

    #[test]
    fn pictures_are_told_apart_in_pieces_of_any_size() {
        let (one, two) = (picture(1), picture(2));
        let between = [0, 0xFF, 0xFF, 0xD8, 0xD8, 0xFF, 0xD9, 7];
        let stream = [&between[..], &one, &between, &two, &two, &[0, 0, 0]].concat();
        for size in 1..=stream.len() {
            let (whole, damaged, garbage) = cut(&stream, size);
            assert_eq!(whole, [one.clone(), two.clone(), two.clone()], "{size}");
            assert_eq!((damaged, garbage), (0, 3));
        }
    }

    #[test]
    fn a_cut_picture_is_counted_and_the_next_one_found() {
        let (one, two) = (picture(1), picture(2));
        // A cut length may jump over whatever comes in the next 64 KiB, but not further.
        let many = two.repeat((64 << 10) / two.len() + 2);
        for length in 4..one.len() - 1 {
            let stream = [&one[..length], &many, &one].concat();
            let (whole, _, _) = cut(&stream, 4096);
            assert_eq!(whole.last(), Some(&one), "cut at {length}");
        }
        // inside its data, where nothing is jumped over, only the cut one is lost
        let stream = [&one[..one.len() - 4], &two].concat();
        assert_eq!(cut(&stream, 3), (vec![two], 1, 0));
    }

    #[test]
    fn an_endless_picture_is_given_up() {
        let mut framer = Framer::new();
        framer.push(&picture(1)[..18], |_| panic!("it has not ended"));
        let data = vec![0x55; 1 << 20];
        for _ in 0..=limits::MAX_PICTURE_BYTES >> 20 {
            framer.push(&data, |_| panic!("it has not ended"));
        }
        assert_eq!(framer.take_damaged(), 1);
        assert!(!framer.is_inside() && framer.garbage() > limits::MAX_PICTURE_BYTES);
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
                prop_assert!(whole.starts_with(&[0xFF, 0xD8, 0xFF]) && whole.ends_with(&[0xFF, 0xD9]));
            }
        }
    }
}
