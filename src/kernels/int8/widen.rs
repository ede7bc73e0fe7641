//! Operands of 16 bits, for a level without products of bytes: twice the size, so only what a
//! core works on at the moment is widened, where it lies in the first or second cache.

use super::pack::Line;

/// Codes of a row to 16 bits each, two bytes after the other.
#[inline(always)]
pub(super) fn codes(bytes: &[u8], words: &mut [u8]) {
    for (word, code) in words.as_chunks_mut().0.iter_mut().zip(bytes) {
        *word = u16::from(*code).to_le_bytes();
    }
}

/// Lines of sixteen columns by four bytes to twice as many of sixteen columns by two words.
#[inline(always)]
pub(super) fn lines(bytes: &[Line], words: &mut [Line]) {
    for (pair, line) in words.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        let [first, second] = pair;
        let columns = line.0.as_chunks::<4>().0;
        let (first, second) = (first.0.as_chunks_mut().0, second.0.as_chunks_mut().0);
        for ((four, first), second) in columns.iter().zip(first).zip(second) {
            let four = i32::from_le_bytes(four.map(|w| w as u8));
            // sign and all: the upper word of each pair keeps its place, the lower is shifted there
            let first_pair = (four << 24 >> 24 & 0xffff) | (four << 16 >> 24 << 16);
            let second_pair = (four << 8 >> 24 & 0xffff) | (four >> 24 << 16);
            *first = first_pair.to_le_bytes().map(|w| w as i8);
            *second = second_pair.to_le_bytes().map(|w| w as i8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_becomes_the_same_number_in_two() {
        let line = |from: usize| Line(std::array::from_fn(|i| ((from + i) * 37 % 256) as u8 as i8));
        let bytes = [line(0), line(64)];
        let mut words = [Line::ZERO; 4];
        lines(&bytes, &mut words);
        for k in 0..8 {
            for c in 0..16 {
                let byte = bytes[k / 4].0[c * 4 + k % 4];
                let at = c * 4 + k % 2 * 2;
                let word = [words[k / 2].0[at] as u8, words[k / 2].0[at + 1] as u8];
                assert_eq!(i16::from_le_bytes(word), i16::from(byte), "{k} {c}");
            }
        }
        let mut wide = [1; 8];
        codes(&[0, 127, 128, 255], &mut wide);
        assert_eq!(wide, [0, 0, 127, 0, 128, 0, 255, 0]);
    }
}
