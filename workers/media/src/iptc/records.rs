//! IPTC's records: each says its record, its number, its size.

use crate::strip::{Removed, RemovedKind};

/// What every record begins with.
pub(super) const MARKER: u8 = 0x1c;
/// Records that are told of.
const MOST_TOLD: usize = 100;

struct Record<'a> {
    group: u8,
    number: u8,
    whole: &'a [u8],
    data: &'a [u8],
}

/// The next record; none where it does not parse. Zeros may follow the last.
fn next<'a>(rest: &mut &'a [u8]) -> Option<Record<'a>> {
    let &[marker, group, number, high, low] = rest.first_chunk::<5>()?;
    // An extended size says in how many bytes it stands; real records are short.
    if marker != MARKER || high & 0x80 != 0 {
        return None;
    }
    let end = 5 + usize::from(u16::from_be_bytes([high, low]));
    let whole = rest.get(..end)?;
    let data = rest.get(5..end)?;
    *rest = rest.get(end..)?;
    Some(Record {
        group,
        number,
        whole,
        data,
    })
}

/// IIM 4.2, record 2: content location (26, 27), city, sublocation, province, country code and name.
const fn is_place(group: u8, number: u8) -> bool {
    group == 2 && matches!(number, 26 | 27 | 90 | 92 | 95 | 100 | 101)
}

const fn meaning(group: u8, number: u8) -> Option<RemovedKind> {
    if is_place(group, number) {
        return Some(RemovedKind::PlaceName);
    }
    match (group, number) {
        (2, 80 | 110 | 122) => Some(RemovedKind::Owner),
        (2, 116) => Some(RemovedKind::Copyright),
        (2, 55) => Some(RemovedKind::TakenAt),
        (2, 65) => Some(RemovedKind::Software),
        (2, 25) => Some(RemovedKind::Keywords),
        (2, 5 | 105 | 120) => Some(RemovedKind::Comment),
        _ => None,
    }
}

fn part(record: &Record<'_>, what: RemovedKind) -> Removed {
    Removed::part(what, &String::from_utf8_lossy(record.data))
}

/// What records tell, as far as they can be read.
pub(super) fn told(mut rest: &[u8]) -> Vec<Removed> {
    let mut told = Vec::new();
    while told.len() < MOST_TOLD
        && let Some(record) = next(&mut rest)
    {
        told.extend(meaning(record.group, record.number).map(|what| part(&record, what)));
    }
    told
}

/// Records without places, and what is gone; none where one does not parse.
pub(super) fn without_places(mut rest: &[u8]) -> Option<(Vec<u8>, Vec<Removed>)> {
    let mut out = Vec::with_capacity(rest.len());
    let mut removed = Vec::new();
    while rest.iter().any(|byte| *byte != 0) {
        let record = next(&mut rest)?;
        if is_place(record.group, record.number) {
            if removed.len() < MOST_TOLD {
                removed.push(part(&record, RemovedKind::PlaceName));
            }
        } else {
            out.extend_from_slice(record.whole);
        }
    }
    Some((out, removed))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn record(record: u8, number: u8, data: &[u8]) -> Vec<u8> {
        let size = u16::try_from(data.len()).unwrap().to_be_bytes();
        [&[MARKER, record, number], &size[..], data].concat()
    }

    #[test]
    fn a_record_that_lies_about_its_size_is_not_edited() {
        let good = [record(2, 90, b"City"), record(2, 120, b"Caption"), vec![0]].concat();
        let (kept, removed) = without_places(&good).unwrap();
        assert_eq!((kept, removed.len()), (record(2, 120, b"Caption"), 1));
        assert!(without_places(&good[..12]).is_none());
        assert!(without_places(&[MARKER, 2, 90, 0x80, 4, 0, 0, 0, 1, 65]).is_none());
        assert!(without_places(b"text").is_none());
    }
}
