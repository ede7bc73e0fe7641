//! Operands of 16 bits, for a level without products of bytes: twice the size, so only what a
//! core works on at the moment is widened, where it lies in the first or second cache.

use super::Codes;
use super::pack::Line;
use super::tile::Tile;

/// Codes to words, two bytes after the other; both are as long as the shorter one allows.
#[inline(always)]
pub(super) fn codes(bytes: &[u8], words: &mut [u8]) {
    for (word, code) in words.as_chunks_mut().0.iter_mut().zip(bytes) {
        *word = u16::from(*code).to_le_bytes();
    }
}

/// `depth` codes of each row to words, into `words`, which grows to hold them.
#[inline(always)]
pub(super) fn rows<'a>(rows: Codes<'_>, depth: usize, words: &'a mut Vec<u8>) -> Codes<'a> {
    let stride = 2 * depth;
    words.resize(words.len().max(rows.rows * stride), 0);
    for (row, words) in words.chunks_exact_mut(stride).take(rows.rows).enumerate() {
        codes(&rows.from_row(row)[..depth], words);
    }
    Codes {
        bytes: words,
        rows: rows.rows,
        stride,
    }
}

/// Lines of bytes to twice as many of words, into `words`, which grows to hold them: packed in
/// [pairs](super::pack::Packing::Pairs), they are in order.
#[inline(always)]
pub(super) fn lines<L: Tile>(lanes: L, bytes: &[Line], words: &mut Vec<Line>) {
    words.resize(words.len().max(2 * bytes.len()), Line::ZERO);
    for (words, bytes) in words.as_chunks_mut().0.iter_mut().zip(bytes) {
        lanes.widen(bytes, words);
    }
}

/// A line of bytes to two of words, in order.
#[inline(always)]
pub(super) fn line(bytes: &Line, words: &mut [Line; 2]) {
    for (words, bytes) in words.iter_mut().zip(bytes.0.as_chunks::<32>().0) {
        for (word, byte) in words.0.as_chunks_mut().0.iter_mut().zip(bytes) {
            *word = i16::from(*byte).to_le_bytes().map(|b| b as i8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_becomes_the_same_number_in_two() {
        let bytes = Line(std::array::from_fn(|i| (i * 37 % 256) as u8 as i8));
        let mut words = [Line::ZERO; 2];
        line(&bytes, &mut words);
        for (i, byte) in bytes.0.into_iter().enumerate() {
            let word = &words[i / 32].0[i % 32 * 2..][..2];
            let word = i16::from_le_bytes([word[0] as u8, word[1] as u8]);
            assert_eq!(word, i16::from(byte), "byte {i}");
        }
        let mut wide = [1; 8];
        codes(&[0, 127, 128, 255], &mut wide);
        assert_eq!(wide, [0, 0, 127, 0, 128, 0, 255, 0]);
    }
}
