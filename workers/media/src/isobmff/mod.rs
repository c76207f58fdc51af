//! The ISO base media file format (ISO/IEC 14496-12), as far as pictures need it: boxes, and in [`meta`] the items.
//!
//! Promises: reads only what lies within the bytes it was given, holds slices of them and no copies, and refuses counts
//! that no picture has. Places are counted from the file's first byte, so that a writer can mend offsets.

mod meta;

pub(crate) use meta::{Extent, Item, Meta};

use crate::MediaError;
use std::ops::Range;

/// A box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IsoBox<'a> {
    /// Its type, four characters.
    pub(crate) kind: [u8; 4],
    /// Where its header begins in the file.
    pub(crate) start: usize,
    /// Where its body begins in the file.
    pub(crate) body_start: usize,
    /// What follows its header.
    pub(crate) body: &'a [u8],
    /// Whether it goes to the end of what holds it, wherever that is.
    pub(crate) open: bool,
}

/// Why there is no next box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BoxError {
    /// It ends behind the bytes at hand: a head that is too short, or a file that is cut off.
    Beyond {
        /// Its type, where that is still within the bytes.
        kind: Option<[u8; 4]>,
    },
    /// Its size contradicts itself.
    Damaged,
}

impl BoxError {
    /// For boxes within a box, and for whole files: there are no further bytes to ask for.
    pub(crate) fn within(self, place: &str) -> MediaError {
        match self {
            Self::Beyond { .. } => MediaError::corrupt(format!("a box in its {place} is longer than that")),
            Self::Damaged => MediaError::corrupt(format!("a box in its {place} has an impossible size")),
        }
    }
}

impl<'a> IsoBox<'a> {
    /// One past its last byte in the file.
    pub(crate) const fn end(&self) -> usize {
        self.body_start.saturating_add(self.body.len())
    }

    /// Where it lies in the file, its header included.
    pub(crate) const fn range(&self) -> Range<usize> {
        self.start..self.end()
    }

    /// Version and flags of a full box, and a reader of what follows them.
    pub(crate) fn full(&self) -> Result<(u8, u32, Fields<'a>), MediaError> {
        let mut fields = Fields::new(self.kind, self.body);
        let word = fields.u32()?;
        Ok(((word >> 24) as u8, word & 0x00ff_ffff, fields))
    }

    /// A reader of its body.
    pub(crate) const fn fields(&self) -> Fields<'a> {
        Fields::new(self.kind, self.body)
    }
}

/// The boxes one after another in `bytes`, which begin at `start` of the file. Stops after the first error.
pub(crate) const fn boxes(bytes: &[u8], start: usize) -> Boxes<'_> {
    Boxes { bytes, start, at: 0 }
}

/// All of the boxes that `bytes`, a part of the file's `place`, consist of.
///
/// # Errors
/// When they do not fit, or are more than any picture has.
pub(crate) fn all<'a>(bytes: &'a [u8], start: usize, place: &str) -> Result<Vec<IsoBox<'a>>, MediaError> {
    let mut found = Vec::new();
    for next in boxes(bytes, start) {
        meta::bounded(found.len() + 1)?;
        found.push(next.map_err(|error| error.within(place))?);
    }
    Ok(found)
}

/// See [`boxes`].
#[derive(Debug, Clone)]
pub(crate) struct Boxes<'a> {
    bytes: &'a [u8],
    start: usize,
    at: usize,
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<IsoBox<'a>, BoxError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let found = one(rest, self.start.saturating_add(self.at));
        self.at = match &found {
            Ok(found) => found.end().saturating_sub(self.start),
            Err(_) => self.bytes.len(),
        };
        Some(found)
    }
}

fn one(bytes: &[u8], start: usize) -> Result<IsoBox<'_>, BoxError> {
    let beyond = BoxError::Beyond { kind: None };
    let word = |at: usize| -> Option<[u8; 4]> { bytes.get(at..at + 4)?.try_into().ok() };
    let (Some(size), Some(kind)) = (word(0), word(4)) else {
        return Err(beyond);
    };
    let beyond = BoxError::Beyond { kind: Some(kind) };
    let open = size == [0; 4];
    let (header, size) = match u32::from_be_bytes(size) {
        0 => (8, bytes.len()),
        1 => {
            let (Some(high), Some(low)) = (word(8), word(12)) else {
                return Err(beyond);
            };
            let size = u64::from(u32::from_be_bytes(high)) << 32 | u64::from(u32::from_be_bytes(low));
            (16, usize::try_from(size).map_err(|_| BoxError::Damaged)?)
        }
        size => (8, usize::try_from(size).map_err(|_| BoxError::Damaged)?),
    };
    let header = if &kind == b"uuid" { header + 16 } else { header };
    if size < header {
        return Err(BoxError::Damaged);
    }
    Ok(IsoBox {
        kind,
        start,
        body_start: start.saturating_add(header),
        body: bytes.get(header..size).ok_or(beyond)?,
        open,
    })
}

/// A box with this body.
pub(crate) fn boxed(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    // Bodies that are written are no larger than those that were read, whose sizes were checked.
    let size = u32::try_from(body.len() + 8).unwrap_or(u32::MAX);
    [&size.to_be_bytes()[..], &kind, body].concat()
}

/// A reader of the fields of a box, each behind the one before it.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    kind: [u8; 4],
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(kind: [u8; 4], rest: &'a [u8]) -> Self {
        Self { kind, rest }
    }

    /// What has not been read.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], MediaError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            let kind = String::from_utf8_lossy(&self.kind);
            return Err(MediaError::corrupt(format!("its {kind} box ends within a field")));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MediaError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, MediaError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, MediaError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, MediaError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Four characters.
    pub(crate) fn kind(&mut self) -> Result<[u8; 4], MediaError> {
        self.array()
    }

    /// A number of `length` bytes, 0 to 8; of no bytes it is 0.
    pub(crate) fn number(&mut self, length: u8) -> Result<u64, MediaError> {
        if length > 8 {
            return Err(MediaError::corrupt("a number in its boxes is longer than any may be"));
        }
        let bytes = self.take(usize::from(length))?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A text that ends with a zero, or with the box.
    pub(crate) fn text(&mut self) -> &'a [u8] {
        let length = memchr::memchr(0, self.rest).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
        self.rest = rest.get(1..).unwrap_or(&[]);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_of_every_kind_are_read() {
        let file = [
            &b"\0\0\0\x0cftypavif"[..],
            b"\0\0\0\x01free\0\0\0\0\0\0\0\x12ab",
            b"\0\0\0\0mdatrest",
        ]
        .concat();
        let found: Vec<IsoBox<'_>> = boxes(&file, 100).map(Result::unwrap).collect();
        let told: Vec<(&[u8], usize, usize, &[u8])> = found
            .iter()
            .map(|found| (&found.kind[..], found.start, found.end(), found.body))
            .collect();
        assert_eq!(
            told,
            [
                (&b"ftyp"[..], 100, 112, &b"avif"[..]),
                (b"free", 112, 130, b"ab"),
                (b"mdat", 130, 142, b"rest")
            ]
        );
    }

    #[test]
    fn boxes_that_do_not_fit_are_told_from_impossible_ones() {
        let first = |bytes| boxes(bytes, 0).next().unwrap();
        let beyond = |kind: Option<&[u8; 4]>| Err(BoxError::Beyond { kind: kind.copied() });
        assert_eq!(first(b"\0\0\0\x20meta"), beyond(Some(b"meta")));
        assert_eq!(first(b"\0\0"), beyond(None));
        assert_eq!(first(b"\0\0\0\x07meta"), Err(BoxError::Damaged));
        assert_eq!(boxes(b"\0\0\0\x07meta\0\0\0\x08free", 0).count(), 1);
    }

    proptest! {
        #[test]
        fn boxes_never_reach_beyond_their_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..100), start in 0_usize..100) {
            for found in boxes(&bytes, start).flatten() {
                prop_assert!(found.start >= start && found.end() <= start + bytes.len());
            }
        }
    }
}
