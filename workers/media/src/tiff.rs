//! The little of TIFF that EXIF needs: finding the orientation, and writing a block that holds nothing else.

use crate::exif::{Directory, Order, tag};

/// What a JPEG's APP1 and a WebP's EXIF chunk put before the TIFF block.
pub(crate) const EXIF_HEADER: &[u8] = b"Exif\0\0";

/// The orientation in a TIFF block, 1 to 8; 1 when it says none, or nonsense.
pub(crate) fn orientation(tiff: &[u8]) -> u8 {
    find(tiff).unwrap_or(1)
}

fn find(tiff: &[u8]) -> Option<u8> {
    let order = Order::of(tiff)?;
    let directory = Directory::read(tiff, order, usize::try_from(order.long(tiff, 4)?).ok()?)?;
    let entry = directory.entries.iter().find(|entry| entry.is_orientation())?;
    let value = u8::try_from(entry.number(order)?).ok()?;
    (1..=8).contains(&value).then_some(value)
}

/// A TIFF block whose one entry is the orientation.
pub(crate) fn only_orientation(value: u8) -> Vec<u8> {
    let mut block = b"II*\0\x08\0\0\0\x01\0".to_vec();
    block.extend(tag::ORIENTATION.to_le_bytes());
    // Type 3, SHORT; one value; the value, padded to four bytes; no further directory.
    block.extend([3, 0, 1, 0, 0, 0, value, 0, 0, 0, 0, 0, 0, 0]);
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        for value in 1..=8 {
            assert_eq!(orientation(&only_orientation(value)), value);
        }
        assert_eq!(
            orientation(b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
            6
        );
        for (place, value) in [(12, 4), (14, 2)] {
            let mut block = only_orientation(6);
            block[place] = value;
            assert_eq!(orientation(&block), 1, "another type, or two values");
        }
    }

    proptest! {
        #[test]
        fn nonsense_is_upright(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), start in any::<bool>()) {
            if start && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(b"II*\0");
            }
            prop_assert!((1..=8).contains(&orientation(&bytes)));
        }
    }
}
