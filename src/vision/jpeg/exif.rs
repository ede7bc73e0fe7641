//! The one thing wanted from Exif and XMP: how the camera was held.

use crate::vision::orient::Orientation;

/// Orientation's tag in the zeroth image directory.
const TAG: u16 = 0x0112;
/// Bytes of a directory entry: tag, type, count, value.
const ENTRY: usize = 12;
/// What some put before the TIFF structure even where it stands alone.
const PREFIX: &[u8] = b"Exif\0\0";

/// The orientation stated in a TIFF structure (TIFF 6.0, section 2); `None` when there is
/// none or it makes no sense.
///
/// The standard wants one 16-bit number. Telephones write others: any type of whole number
/// counts, and of several the first, as in exiftool. Directories are not followed, so that
/// none can lead in a circle.
pub(in crate::vision) fn orientation(tiff: &[u8]) -> Option<Orientation> {
    let tiff = tiff.strip_prefix(PREFIX).unwrap_or(tiff);
    let order = Order::of(tiff)?;
    let entry = order.entry(tiff, TAG)?;
    let number = Number::of(order.short(entry, 2)?)?;
    let count = usize::try_from(order.long(entry, 4)?).ok()?;
    let bytes = match count.checked_mul(number.bytes())? {
        0 => return None,
        1..=4 => entry.get(8..)?,
        // what does not fit stands elsewhere
        _ => tiff.get(usize::try_from(order.long(entry, 8)?).ok()?..)?,
    };
    let value = match number {
        Number::Byte => u32::from(*bytes.first()?),
        Number::Short => u32::from(order.short(bytes, 0)?),
        Number::Long => order.long(bytes, 0)?,
    };
    Orientation::from_exif(u16::try_from(value).ok()?)
}

/// Where the last of the pictures ends that an index of several lists (CIPA DC-007), counted
/// from the beginning of the index's TIFF structure.
pub(super) fn end_of_all(tiff: &[u8]) -> Option<usize> {
    /// The tag of the list, and the bytes of one picture in it.
    const LIST: u16 = 0xB002;
    const LISTED: usize = 16;
    let order = Order::of(tiff)?;
    let entry = order.entry(tiff, LIST)?;
    let bytes = usize::try_from(order.long(entry, 4)?).ok()?;
    let list = tiff.get(usize::try_from(order.long(entry, 8)?).ok()?..)?;
    let (list, _) = list.get(..bytes)?.as_chunks::<LISTED>();
    let end = |picture: &[u8; LISTED]| {
        let (size, at) = (order.long(picture, 4)?, order.long(picture, 8)?);
        // the first picture, in which the index lies, is at 0
        usize::try_from(size)
            .ok()?
            .checked_add(usize::try_from(at).ok().filter(|at| *at > 0)?)
    };
    list.iter().filter_map(end).max()
}

/// The orientation stated in an XMP packet, as an attribute or an element.
pub(in crate::vision) fn orientation_in_xmp(xmp: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = xmp.windows(NAME.len()).position(|part| part == NAME)?;
    let value = match xmp.get(at + NAME.len()..)? {
        [b'=', b'"' | b'\'', digit, ..] | [b'>', digit, ..] => digit.checked_sub(b'0')?,
        _ => return None,
    };
    Orientation::from_exif(value.into())
}

/// TIFF's whole numbers, with sign or without: here they are small and positive.
#[derive(Debug, Clone, Copy)]
enum Number {
    Byte,
    Short,
    Long,
}

impl Number {
    /// The type with this number in TIFF.
    fn of(kind: u16) -> Option<Self> {
        Some(match kind {
            // 7 is "undefined": bytes
            1 | 6 | 7 => Self::Byte,
            3 | 8 => Self::Short,
            4 | 9 | 13 => Self::Long,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Short => 2,
            Self::Long => 4,
        }
    }
}

/// Byte order of a TIFF structure.
#[derive(Debug, Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    /// The order that a structure states, if it is one.
    fn of(tiff: &[u8]) -> Option<Self> {
        match tiff.first_chunk()? {
            b"II\x2A\0" => Some(Self::Little),
            b"MM\0\x2A" => Some(Self::Big),
            _ => None,
        }
    }

    /// The entry with this tag in the zeroth directory.
    fn entry(self, tiff: &[u8], tag: u16) -> Option<&[u8]> {
        let directory = usize::try_from(self.long(tiff, 4)?).ok()?;
        let entries = tiff.get(directory.checked_add(2)?..)?;
        let count = usize::from(self.short(tiff, directory)?);
        let mut entries = entries.chunks_exact(ENTRY).take(count);
        entries.find(|entry| self.short(entry, 0) == Some(tag))
    }

    fn short(self, bytes: &[u8], at: usize) -> Option<u16> {
        let value = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(value),
            Self::Big => u16::from_be_bytes(value),
        })
    }

    fn long(self, bytes: &[u8], at: usize) -> Option<u32> {
        let value = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(value),
            Self::Big => u32::from_be_bytes(value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BIG: &[u8] = b"MM\0\x2A\0\0\0\x08\0\x02\
        \x01\x0F\0\x02\0\0\0\x04ABC\0\
        \x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    const LITTLE: &[u8] = b"II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0";

    #[test]
    fn both_byte_orders_are_read() {
        assert_eq!(orientation(BIG), Some(Orientation::Turned90));
        assert_eq!(orientation(LITTLE), Some(Orientation::Turned270));
        let prefixed = [PREFIX, BIG].concat();
        assert_eq!(orientation(&prefixed), Some(Orientation::Turned90));
    }

    /// A directory with orientation 6 in this form, `extra` behind it.
    fn form(kind: u8, count: u8, value: [u8; 4], extra: &[u8]) -> Vec<u8> {
        let head = b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0";
        let next = [0; 4];
        [head, &[kind, 0, 0, 0, count][..], &value, &next, extra].concat()
    }

    #[test]
    fn every_form_of_a_whole_number_counts() {
        let behind = [0, 0, 0, 26];
        for tiff in [
            form(3, 1, [0, 6, 0, 0], &[]),
            form(3, 2, [0, 6, 0, 1], &[]),
            form(3, 3, behind, &[0, 6, 0, 1, 0, 1]),
            form(8, 1, [0, 6, 0, 0], &[]),
            form(4, 1, [0, 0, 0, 6], &[]),
            form(9, 1, [0, 0, 0, 6], &[]),
            form(4, 2, behind, &[0, 0, 0, 6, 0, 0, 0, 1]),
            form(1, 1, [6, 0, 0, 0], &[]),
            form(7, 4, [6, 0, 0, 0], &[]),
            form(1, 5, behind, &[6, 0, 0, 0, 0]),
        ] {
            assert_eq!(orientation(&tiff), Some(Orientation::Turned90), "{tiff:?}");
        }
        for tiff in [
            form(3, 0, [0, 6, 0, 0], &[]),
            form(2, 1, [6, 0, 0, 0], &[]),
            form(4, 1, [0, 6, 0, 0], &[]),
            form(4, 2, [0, 0, 0, 27], &[0, 0, 0, 6]),
            form(4, 2, [0xFF; 4], &[]),
            form(3, 1, [0, 9, 0, 0], &[]),
        ] {
            assert_eq!(orientation(&tiff), None, "{tiff:?}");
        }
    }

    #[test]
    fn a_packet_of_xmp_is_read_too() {
        for xmp in [
            "<rdf:Description tiff:Orientation=\"6\" x=\"1\">",
            "<tiff:Orientation>6</tiff:Orientation>",
        ] {
            let found = orientation_in_xmp(xmp.as_bytes());
            assert_eq!(found, Some(Orientation::Turned90));
        }
        for xmp in [
            "",
            "tiff:Orientation",
            "tiff:Orientation=\"",
            "tiff:Orientation=\"0\"",
        ] {
            assert_eq!(orientation_in_xmp(xmp.as_bytes()), None);
        }
    }

    #[test]
    fn nonsense_is_none() {
        for length in 0..LITTLE.len() {
            assert_eq!(orientation(&LITTLE[..length.min(18)]), None);
        }
        // a directory that lies outside, a ninth orientation
        for (at, value) in [(4, 0xFF), (18, 9), (18, 0), (0, b'X')] {
            let mut bytes = LITTLE.to_vec();
            bytes[at] = value;
            assert_eq!(orientation(&bytes), None, "{at}: {value}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            order in prop::sample::select(vec![&b"II\x2A\0"[..], b"MM\0\x2A", b""]),
        ) {
            let _ = orientation(&[order, &bytes].concat());
            let _ = orientation_in_xmp(&[b"tiff:Orientation".as_slice(), &bytes].concat());
        }
    }
}
