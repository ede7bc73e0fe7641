//! The one thing wanted from Exif: how the camera was held.

use crate::vision::orient::Orientation;

/// Orientation's tag in the zeroth image directory.
const TAG: u16 = 0x0112;
/// TIFF's number for 16-bit values.
const SHORT: u16 = 3;
/// Bytes of a directory entry: tag, type, count, value.
const ENTRY: usize = 12;

/// The orientation stated in a TIFF structure (TIFF 6.0, section 2); upright when there is
/// none or it makes no sense.
pub(super) fn orientation(tiff: &[u8]) -> Orientation {
    find(tiff).unwrap_or_default()
}

fn find(tiff: &[u8]) -> Option<Orientation> {
    let order = match tiff.first_chunk()? {
        b"II\x2A\0" => Order::Little,
        b"MM\0\x2A" => Order::Big,
        _ => return None,
    };
    let directory = usize::try_from(order.long(tiff, 4)?).ok()?;
    let entries = tiff.get(directory.checked_add(2)?..)?;
    let count = usize::from(order.short(tiff, directory)?);
    let entry = entries
        .chunks_exact(ENTRY)
        .take(count)
        .find(|entry| order.short(entry, 0) == Some(TAG))?;
    let is_short = order.short(entry, 2)? == SHORT && order.long(entry, 4)? == 1;
    is_short.then(|| Orientation::from_exif(order.short(entry, 8)?))?
}

/// Byte order of a TIFF structure.
#[derive(Debug, Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
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
        assert_eq!(orientation(BIG), Orientation::Turned90);
        assert_eq!(orientation(LITTLE), Orientation::Turned270);
    }

    #[test]
    fn nonsense_is_upright() {
        for length in 0..LITTLE.len() {
            assert_eq!(orientation(&LITTLE[..length.min(20)]), Orientation::Upright);
        }
        // a directory that lies outside, a type that is none, a ninth orientation
        for (at, value) in [(4, 0xFF), (12, 4), (18, 9), (18, 0), (0, b'X')] {
            let mut bytes = LITTLE.to_vec();
            bytes[at] = value;
            assert_eq!(orientation(&bytes), Orientation::Upright, "{at}: {value}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_orientation(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            order in prop::sample::select(vec![&b"II\x2A\0"[..], b"MM\0\x2A", b""]),
        ) {
            let _ = orientation(&[order, &bytes].concat());
        }
    }
}
