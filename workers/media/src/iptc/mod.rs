//! Photoshop's image resources (Adobe Photoshop File Formats, "Image Resource Blocks") and the IPTC records in them (IIM
//! 4.2): what they tell, and both without places.

mod records;

use crate::{
    strip::{Removed, RemovedKind},
    xmp,
};

/// Real files have about thirty.
const MOST_RESOURCES: usize = 2_000;

const IPTC: u16 = 0x0404;
const EXIF: [u16; 2] = [0x0422, 0x0423];
const XMP: u16 = 0x0424;
/// MD5 of the IPTC records, which no longer holds for edited ones.
const DIGEST: u16 = 0x0425;
const THUMBNAILS: [u16; 2] = [0x0409, 0x040c];

#[derive(Debug)]
struct Resource<'a> {
    id: u16,
    /// Signature, number and name, padded.
    head: &'a [u8],
    data: &'a [u8],
}

/// The resources, each even; none where they do not parse.
fn resources(mut rest: &[u8]) -> Option<Vec<Resource<'_>>> {
    let mut found = Vec::new();
    // Some writers pad the last one with more than a byte.
    while rest.iter().any(|byte| *byte != 0) {
        if !matches!(rest.get(..4)?, b"8BIM" | b"PHUT" | b"AgHg" | b"DCSR" | b"MeSa") || found.len() >= MOST_RESOURCES {
            return None;
        }
        let id = u16::from_be_bytes(rest.get(4..6)?.try_into().ok()?);
        // A Pascal string; with its length it is padded to an even size.
        let name = 1 + usize::from(*rest.get(6)?);
        let head = 6 + name + name % 2;
        let size = usize::try_from(u32::from_be_bytes(rest.get(head..head + 4)?.try_into().ok()?)).ok()?;
        let end = (head + 4).checked_add(size)?;
        found.push(Resource {
            id,
            head: rest.get(..head)?,
            data: rest.get(head + 4..end)?,
        });
        rest = rest.get(end + size % 2..).unwrap_or_default();
    }
    Some(found)
}

/// Records alone, without resources around them.
fn bare(bytes: &[u8]) -> bool {
    bytes.first() == Some(&records::MARKER)
}

/// What resources, or records alone, tell. What does not parse tells nothing that is known.
pub(crate) fn told(bytes: &[u8]) -> Vec<Removed> {
    if bare(bytes) {
        return records::told(bytes);
    }
    let mut told = Vec::new();
    for resource in resources(bytes).unwrap_or_default() {
        match resource.id {
            IPTC => told.extend(records::told(resource.data)),
            XMP => told.extend(xmp::read(resource.data).map(xmp::Told::everything).unwrap_or_default()),
            id if EXIF.contains(&id) => told.extend(crate::facts::read(resource.data).1),
            id if THUMBNAILS.contains(&id) => told.push(Removed::part(RemovedKind::Thumbnail, "")),
            _ => {}
        }
    }
    told
}

/// Resources, or records alone, without places, and what is gone. None where they do not parse: then they go whole.
///
/// A copy of EXIF goes whole, so do the records' digest, when records went, and XMP that cannot be edited.
pub(crate) fn without_places(bytes: &[u8]) -> Option<(Vec<u8>, Vec<Removed>)> {
    if bare(bytes) {
        return records::without_places(bytes);
    }
    let resources = resources(bytes)?;
    let mut out = Vec::with_capacity(bytes.len());
    let mut removed = Vec::new();
    let mut edited = false;
    for resource in &resources {
        if resource.id == IPTC {
            if let Some((kept, gone)) = records::without_places(resource.data) {
                edited |= !gone.is_empty();
                removed.extend(gone);
                write(&mut out, resource, &kept);
            } else {
                edited = true;
                removed.push(Removed::part(RemovedKind::Iptc, "records that cannot be read"));
            }
        } else if resource.id == XMP {
            match xmp::read(resource.data) {
                Some(told) => {
                    removed.extend(told.places());
                    write(&mut out, resource, &told.without_places(resource.data));
                }
                None => removed.push(Removed::part(RemovedKind::Xmp, "cannot be read")),
            }
        } else if EXIF.contains(&resource.id) {
            removed.push(Removed::part(RemovedKind::Exif, "a copy for the image editor"));
        } else if resource.id != DIGEST {
            write(&mut out, resource, resource.data);
        }
    }
    if !edited && let Some(digest) = resources.iter().find(|resource| resource.id == DIGEST) {
        write(&mut out, digest, digest.data);
    }
    Some((out, removed))
}

fn write(out: &mut Vec<u8>, resource: &Resource<'_>, data: &[u8]) {
    out.extend_from_slice(resource.head);
    out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(data);
    out.resize(out.len() + data.len() % 2, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resource(id: u16, name: &[u8], data: &[u8]) -> Vec<u8> {
        let mut out = [
            b"8BIM",
            &id.to_be_bytes()[..],
            &[u8::try_from(name.len()).unwrap()],
            name,
        ]
        .concat();
        out.resize(out.len() + (name.len() + 1) % 2, 0);
        out.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        out.extend_from_slice(data);
        out.resize(out.len() + data.len() % 2, 0);
        out
    }

    fn all() -> Vec<u8> {
        let record = records::tests::record;
        [
            resource(0x03ed, b"", &[0; 16]),
            resource(
                IPTC,
                b"abc",
                &[
                    record(2, 90, b"SECRETVILLE"),
                    record(2, 80, b"A. Person"),
                    record(2, 101, b"SECRETLAND"),
                ]
                .concat(),
            ),
            resource(0x0422, b"", b"II*\0SECRET"),
            resource(XMP, b"", b"<a City='SECRET' b='stays'/>"),
            resource(DIGEST, b"", &[7; 16]),
        ]
        .concat()
    }

    #[test]
    fn places_go_and_the_rest_stays_even() {
        let (kept, removed) = without_places(&all()).unwrap();
        assert!(memchr::memmem::find(&kept, b"SECRET").is_none());
        let left: Vec<_> = resources(&kept).unwrap().iter().map(|resource| resource.id).collect();
        assert_eq!(left, [0x03ed, IPTC, XMP], "the digest of edited records goes");
        assert!(memchr::memmem::find(&kept, b"A. Person").is_some());
        assert!(memchr::memmem::find(&kept, b"<a b='stays'/>").is_some());
        assert_eq!(kept.len() % 2, 0);
        assert_eq!(
            removed
                .iter()
                .filter(|gone| gone.what == RemovedKind::PlaceName)
                .count(),
            3
        );
        assert_eq!(without_places(&kept).unwrap(), (kept, vec![]));
        let told: Vec<_> = told(&all()).into_iter().map(|told| (told.what, told.detail)).collect();
        assert!(told.contains(&(RemovedKind::Owner, "A. Person".into())), "{told:?}");
        assert!(
            told.contains(&(RemovedKind::PlaceName, "SECRETLAND".into())),
            "{told:?}"
        );
    }

    proptest! {
        #[test]
        fn damage_never_panics(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut bytes = all();
            for (place, value) in changes {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            told(&bytes);
            if let Some((kept, _)) = without_places(&bytes) {
                prop_assert_eq!(without_places(&kept).map(|(again, _)| again), Some(kept));
            }
        }
    }
}
