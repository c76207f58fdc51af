//! Boxes of ISO/IEC 14496-12, as much as rewriting an AVIF takes.

use crate::MediaError;
use std::ops::Range;

/// Boxes beside one another; real files have a few dozens.
const MOST_BOXES: usize = 4_096;

/// A box and where it stands in what it was read from.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    pub(super) kind: [u8; 4],
    pub(super) whole: Range<usize>,
    pub(super) body: &'a [u8],
}

impl Found<'_> {
    /// Where its body begins.
    pub(super) const fn body_start(&self) -> usize {
        self.whole.end - self.body.len()
    }
}

/// The boxes that `bytes` consists of.
pub(super) fn boxes(bytes: &[u8]) -> Result<Vec<Found<'_>>, MediaError> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let rest = bytes.get(start..).ok_or(MediaError::Truncated)?;
        let mut reader = Reader(rest);
        let size = reader.long()?;
        let kind = reader.array()?;
        let size = match size {
            // To the end of the file.
            0 => rest.len(),
            1 => usize::try_from(u64::from_be_bytes(reader.array()?)).unwrap_or(usize::MAX),
            size => usize::try_from(size).unwrap_or(usize::MAX),
        };
        let header = rest.len() - reader.0.len();
        if size < header {
            return Err(MediaError::corrupt("a box is shorter than its own header"));
        }
        let body = rest.get(header..size).ok_or(MediaError::Truncated)?;
        if found.len() >= MOST_BOXES {
            return Err(MediaError::corrupt(format!(
                "it has more than {MOST_BOXES} boxes in a row"
            )));
        }
        found.push(Found {
            kind,
            whole: start..start + size,
            body,
        });
        start += size;
    }
    Ok(found)
}

/// A box with this body.
pub(super) fn boxed(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    // Bodies that are written are no larger than those that were read, whose sizes were checked.
    let size = u32::try_from(body.len() + 8).unwrap_or(u32::MAX);
    [&size.to_be_bytes()[..], &kind, body].concat()
}

/// A run of bytes, read from its start; big endian.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], MediaError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(MediaError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], MediaError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(MediaError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, MediaError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn short(&mut self) -> Result<u16, MediaError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Result<u32, MediaError> {
        self.array().map(u32::from_be_bytes)
    }

    /// An identifier of 16 or 32 bits.
    pub(super) fn id(&mut self, wide: bool) -> Result<u32, MediaError> {
        if wide { self.long() } else { self.short().map(u32::from) }
    }

    /// A number of 0, 4 or 8 bytes.
    pub(super) fn sized(&mut self, bytes: u8) -> Result<usize, MediaError> {
        let number = match bytes {
            0 => 0,
            4 => self.long()?.into(),
            8 => u64::from_be_bytes(self.array()?),
            other => return Err(MediaError::corrupt(format!("it has offsets of {other} bytes"))),
        };
        usize::try_from(number).map_err(|_| MediaError::Truncated)
    }

    /// Version and flags of a full box.
    pub(super) fn full(&mut self) -> Result<(u8, u32), MediaError> {
        let [version, flags @ ..] = self.array::<4>()?;
        let [high, middle, low] = flags;
        Ok((version, u32::from_be_bytes([0, high, middle, low])))
    }
}

/// Appends an identifier of 16 or 32 bits.
pub(super) fn put_id(out: &mut Vec<u8>, id: u32, wide: bool) {
    let bytes = id.to_be_bytes();
    out.extend_from_slice(if wide { &bytes } else { &bytes[2..] });
}
