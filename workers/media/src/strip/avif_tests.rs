//! AVIF files made of boxes: no encoder is in the tree, and no pixel is looked at here.

use crate::{
    Format, MediaError, Policy, RemovedKind, Stripped,
    isobmff::{boxed, boxes},
    strip as strip_any,
};
use proptest::prelude::*;

fn strip(bytes: &[u8]) -> Result<Stripped, MediaError> {
    strip_any(Format::Avif, bytes, Policy::Strip)
}

fn full(kind: [u8; 4], version: u8, body: &[u8]) -> Vec<u8> {
    boxed(kind, &[&[version, 0, 0, 0], body].concat())
}

fn short(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap().to_be_bytes()
}

fn long(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap().to_be_bytes()
}

const COLOUR: &[u8] = b"colour-as-coded";
const ALPHA: &[u8] = b"alpha-as-coded";

/// Number, kind, what its entry says behind the kind, its data.
type Item = (u16, &'static [u8; 4], &'static [u8], Vec<u8>);

fn items() -> Vec<Item> {
    let exif = [
        &[0, 0, 0, 0][..],
        b"II*\0\x08\0\0\0\x01\0\x10\x01\x02\0\x0e\0\0\0\x1a\0\0\0\0\0\0\0SECRET-CAMERA\0",
    ]
    .concat();
    vec![
        (1, b"av01", b"SECRET-NAME\0", COLOUR.to_vec()),
        (2, b"av01", b"Alpha\0", ALPHA.to_vec()),
        (3, b"Exif", b"\0", exif),
        (
            4,
            b"mime",
            b"\0application/rdf+xml\0",
            b"<a City='SECRET-CITY'/>".to_vec(),
        ),
        (5, b"av01", b"\0", b"SECRET-THUMBNAIL".to_vec()),
    ]
}

fn meta(start: usize) -> Vec<u8> {
    let all = items();
    let mut place = start;
    let mut locations = vec![0x44, 0];
    locations.extend(short(all.len()));
    let mut infos = short(all.len()).to_vec();
    for (id, kind, more, data) in &all {
        locations.extend([&id.to_be_bytes()[..], &[0, 0, 0, 1], &long(place), &long(data.len())].concat());
        infos.extend(full(
            *b"infe",
            2,
            &[&id.to_be_bytes(), &[0, 0], &kind[..], more].concat(),
        ));
        place += data.len();
    }
    let reference = |kind: [u8; 4], from: u8| boxed(kind, &[0, from, 0, 1, 0, 1]);
    let references = [
        reference(*b"auxl", 2),
        reference(*b"cdsc", 3),
        reference(*b"cdsc", 4),
        reference(*b"thmb", 5),
    ]
    .concat();
    let properties = boxed(
        *b"ipco",
        &[
            boxed(*b"colr", b"profICC"),
            boxed(*b"irot", &[1]),
            boxed(*b"udes", b"SECRET-WORDS"),
        ]
        .concat(),
    );
    let associations = full(*b"ipma", 0, &[0, 0, 0, 3, 0, 1, 3, 1, 0x82, 3, 0, 2, 1, 1, 0, 5, 1, 1]);
    full(
        *b"meta",
        0,
        &[
            full(*b"hdlr", 0, b"\0\0\0\0pict\0\0\0\0\0\0\0\0\0\0\0\0SECRET-TOOL\0"),
            full(*b"pitm", 0, &[0, 1]),
            full(*b"iloc", 0, &locations),
            full(*b"iinf", 0, &infos),
            full(*b"iref", 0, &references),
            boxed(*b"iprp", &[properties, associations].concat()),
        ]
        .concat(),
    )
}

fn data() -> Vec<u8> {
    let all: Vec<u8> = items().into_iter().flat_map(|(.., data)| data).collect();
    boxed(*b"mdat", &[&all[..], b"SECRET-GAP"].concat())
}

/// A still picture, or with a movie of one track.
fn dirty(movie: bool) -> Vec<u8> {
    let head = [
        boxed(*b"ftyp", b"avif\0\0\0\0avifmif1"),
        boxed(*b"uuid", b"SECRET-SIXTEEN-BYTES"),
    ]
    .concat();
    let movie = if movie { track() } else { Vec::new() };
    let start = head.len() + meta(0).len() + movie.len() + 8;
    let tail = [boxed(*b"free", b"SECRET-FREE"), b"SECRET-TAIL".to_vec()].concat();
    [head, meta(start), movie, data(), tail].concat()
}

fn track() -> Vec<u8> {
    let times = full(*b"stts", 0, &[long(1), long(3), long(40)].concat());
    let media = [
        full(
            *b"mdhd",
            0,
            &[long(77), long(78), long(1_000), long(120), long(0)].concat(),
        ),
        full(*b"hdlr", 0, b"\0\0\0\0pict\0\0\0\0\0\0\0\0\0\0\0\0SECRET-TOOL\0"),
        boxed(*b"minf", &boxed(*b"stbl", &times)),
    ]
    .concat();
    let track = [
        full(*b"tkhd", 0, &[1; 80]),
        boxed(*b"mdia", &media),
        boxed(*b"udta", b"SECRET-TRACK"),
    ]
    .concat();
    boxed(
        *b"moov",
        &[
            full(*b"mvhd", 0, &[0; 96]),
            boxed(*b"trak", &track),
            boxed(*b"udta", b"SECRET-MOVIE"),
            boxed(*b"meta", b"SECRET-META"),
        ]
        .concat(),
    )
}

fn has(bytes: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(bytes, needle).is_some()
}

fn told(stripped: &Stripped) -> Vec<RemovedKind> {
    stripped.removed.iter().map(|removed| removed.what).collect()
}

#[test]
fn a_still_picture_is_left_with_what_it_needs() {
    let stripped = strip(&dirty(false)).unwrap();
    assert_eq!(stripped.not_lossless, None);
    assert!(
        !has(&stripped.bytes, b"SECRET"),
        "{}",
        String::from_utf8_lossy(&stripped.bytes)
    );
    assert!(has(&stripped.bytes, b"profICC") && has(&stripped.bytes, b"irot"));
    assert_eq!(stripped.facts.camera_model.as_deref(), Some("SECRET-CAMERA"));
    let told = told(&stripped);
    for kind in [
        RemovedKind::Exif,
        RemovedKind::Xmp,
        RemovedKind::PlaceName,
        RemovedKind::Camera,
        RemovedKind::Thumbnail,
        RemovedKind::Private,
        RemovedKind::Unused,
        RemovedKind::Trailing,
    ] {
        assert!(told.contains(&kind), "{kind}: {told:?}");
    }
    // Items lie where they are said to.
    let mut top = boxes(&stripped.bytes, 0).map(Result::unwrap);
    let meta = top.find(|found| &found.kind == b"meta").unwrap();
    let items = super::items::Items::read(&meta).unwrap_or_else(|_| panic!("its items are not read"));
    let data: Vec<&[u8]> = items
        .all
        .iter()
        .map(|item| &stripped.bytes[item.extents[0].clone()])
        .collect();
    assert_eq!(data, [COLOUR, ALPHA]);
    let again = strip(&stripped.bytes).unwrap();
    assert_eq!((again.bytes, again.removed), (stripped.bytes, vec![]));
}

#[test]
fn a_sequence_keeps_its_layout_and_loses_what_it_tells() {
    let dirty = dirty(true);
    let stripped = strip(&dirty).unwrap();
    assert_eq!(
        stripped.not_lossless,
        Some("its movie may share the data of its further pictures")
    );
    // Without the thumbnail: its entry says that it is somebody's own item.
    let thumbnail = memchr::memmem::rfind(&dirty, b"av01").unwrap();
    let mut dirty = dirty;
    dirty[thumbnail..thumbnail + 4].copy_from_slice(b"mine");
    let stripped = strip(&dirty).unwrap();
    assert_eq!(stripped.not_lossless, None);
    let place = |bytes: &[u8]| memchr::memmem::find(bytes, COLOUR);
    assert_eq!(place(&stripped.bytes), place(&dirty));
    // Bytes that no item names may be a track's.
    let left: Vec<usize> = memchr::memmem::find_iter(&stripped.bytes, b"SECRET").collect();
    assert_eq!(left, [memchr::memmem::find(&dirty, b"SECRET-GAP").unwrap()]);
    assert_eq!(
        (stripped.facts.frames, stripped.facts.duration_ms),
        (Some(3), Some(120))
    );
    assert!(told(&stripped).contains(&RemovedKind::TakenAt));
    let again = strip(&stripped.bytes).unwrap();
    assert_eq!((again.bytes, again.removed), (stripped.bytes, vec![]));
}

#[test]
fn every_cut_is_noticed() {
    let clean = strip(&dirty(false)).unwrap().bytes;
    for end in 0..clean.len() {
        assert!(strip(&clean[..end]).is_err(), "cut at {end} of {}", clean.len());
    }
}

proptest! {
    #[test]
    fn damage_never_panics_and_once_is_enough(
        movie in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = dirty(movie);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Ok(stripped) = strip(&bytes) && stripped.not_lossless.is_none() {
            let again = strip(&stripped.bytes).unwrap();
            prop_assert_eq!((again.bytes, again.removed), (stripped.bytes, vec![]));
        }
    }
}
