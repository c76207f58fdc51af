//! Directories, written: entries in the order of their tags, values that do not fit an entry behind it.

use super::{Entry, Order};
use std::borrow::Cow;

/// An entry to be written.
#[derive(Debug, Clone)]
pub(crate) struct Field<'a> {
    pub(crate) tag: u16,
    pub(crate) kind: u16,
    pub(crate) count: u32,
    pub(crate) value: Cow<'a, [u8]>,
}

impl<'a> From<Entry<'a>> for Field<'a> {
    fn from(entry: Entry<'a>) -> Self {
        Self {
            tag: entry.tag,
            kind: entry.kind,
            count: entry.count,
            value: Cow::Borrowed(entry.value),
        }
    }
}

impl Field<'_> {
    /// One LONG.
    pub(crate) fn long(tag: u16, number: u32, order: Order) -> Self {
        Self {
            tag,
            kind: 4,
            count: 1,
            value: Cow::Owned(order.long_bytes(number).to_vec()),
        }
    }
}

/// Writes a directory at the end of `out`, which is even; returns where it begins. Its fields get sorted; of two with
/// one tag the first stays. The offset of the next directory is 0: see [`point`].
pub(crate) fn directory(out: &mut Vec<u8>, order: Order, fields: &mut Vec<Field<'_>>) -> usize {
    fields.sort_by_key(|field| field.tag);
    fields.dedup_by_key(|field| field.tag);
    let start = out.len();
    // Directories that were read have at most a thousand entries.
    out.extend(order.short_bytes(u16::try_from(fields.len()).unwrap_or(0)));
    let mut behind = start + 2 + fields.len() * 12 + 4;
    for field in fields.iter() {
        out.extend(order.short_bytes(field.tag));
        out.extend(order.short_bytes(field.kind));
        out.extend(order.long_bytes(field.count));
        if field.value.len() <= 4 {
            out.extend(field.value.iter().copied().chain([0; 4]).take(4));
        } else {
            out.extend(order.long_bytes(offset(behind)));
            behind += even(field.value.len());
        }
    }
    out.extend([0; 4]);
    for field in fields.iter().filter(|field| field.value.len() > 4) {
        out.extend_from_slice(&field.value);
        out.resize(out.len() + field.value.len() % 2, 0);
    }
    start
}

/// Lets the entry `tag` of the directory at `start`, of these fields, say `target`; `None` is the next directory.
pub(crate) fn point(out: &mut [u8], order: Order, start: usize, fields: &[Field<'_>], tag: Option<u16>, target: usize) {
    let place = match tag {
        None => Some(start + 2 + fields.len() * 12),
        Some(tag) => fields
            .iter()
            .position(|field| field.tag == tag)
            .map(|entry| start + 2 + entry * 12 + 8),
    };
    if let Some(value) = place.and_then(|place| out.get_mut(place..place + 4)) {
        value.copy_from_slice(&order.long_bytes(offset(target)));
    }
}

const fn even(length: usize) -> usize {
    length + length % 2
}

/// Blocks that are written are shorter than those that were read, whose offsets have 32 bits.
fn offset(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
