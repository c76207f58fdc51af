//! The little of TIFF that EXIF needs: finding the orientation, and writing a block that holds nothing else.

/// What a JPEG's APP1 and a WebP's EXIF chunk put before the TIFF block.
pub(crate) const EXIF_HEADER: &[u8] = b"Exif\0\0";
const ORIENTATION: u16 = 0x0112;

/// The orientation in a TIFF block, 1 to 8; 1 when it says none, or nonsense.
pub(crate) fn orientation(tiff: &[u8]) -> u8 {
    find(tiff).unwrap_or(1)
}

fn find(tiff: &[u8]) -> Option<u8> {
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |place: usize| {
        let bytes: [u8; 2] = tiff.get(place..place.checked_add(2)?)?.try_into().ok()?;
        Some(if little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    };
    let long = |place: usize| {
        let bytes: [u8; 4] = tiff.get(place..place.checked_add(4)?)?.try_into().ok()?;
        Some(if little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    };
    let ifd = usize::try_from(long(4)?).ok()?;
    let entries = usize::from(short(ifd)?);
    for entry in 0..entries {
        let place = ifd.checked_add(2 + entry * 12)?;
        if short(place)? == ORIENTATION {
            let value = short(place.checked_add(8)?)?;
            return u8::try_from(value).ok().filter(|value| (1..=8).contains(value));
        }
    }
    None
}

/// A TIFF block whose one entry is the orientation.
pub(crate) fn only_orientation(value: u8) -> Vec<u8> {
    let mut block = b"II*\0\x08\0\0\0\x01\0".to_vec();
    block.extend(ORIENTATION.to_le_bytes());
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
