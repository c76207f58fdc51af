//! Checksums put right: a fuzzer that changes a byte of a PNG would never get past them.

use std::borrow::Cow;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A PNG as far as its chunks can be read, each with its right checksum; anything else as it is.
pub(super) fn mended(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.starts_with(SIGNATURE) {
        return Cow::Borrowed(bytes);
    }
    let mut out = bytes.to_vec();
    let mut place = SIGNATURE.len();
    while let Some(end) = mend(&mut out, place) {
        place = end;
    }
    Cow::Owned(out)
}

/// Mends the chunk at `place`; returns where it ends.
fn mend(bytes: &mut [u8], place: usize) -> Option<usize> {
    let length = usize::try_from(u32::from_be_bytes(*bytes.get(place..)?.first_chunk()?)).ok()?;
    let end = place.checked_add(8)?.checked_add(length)?;
    let sum = crc32fast::hash(bytes.get(place + 4..end)?).to_be_bytes();
    bytes.get_mut(end..end + 4)?.copy_from_slice(&sum);
    Some(end + 4)
}
