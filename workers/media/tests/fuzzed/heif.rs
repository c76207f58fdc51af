//! AVIF files made of boxes, whose pixels nobody looks at.

fn boxed(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 8).unwrap().to_be_bytes();
    [&size[..], &kind, body].concat()
}

fn full(kind: [u8; 4], version: u8, body: &[u8]) -> Vec<u8> {
    boxed(kind, &[&[version, 0, 0, 0], body].concat())
}

fn long(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap().to_be_bytes()
}

const BRAND: &[u8] = b"\0\0\0\x14ftypavif\0\0\0\0avif";
/// Behind the head of a block of EXIF: a model.
const EXIF: &[u8] = b"\0\0\0\0II*\0\x08\0\0\0\x01\0\x10\x01\x02\0\x0e\0\0\0\x1a\0\0\0\0\0\0\0SECRET-CAMERA\0";

/// Number, kind, what its entry says behind the kind, its data.
type Item = (u8, &'static [u8; 4], &'static [u8], &'static [u8]);

const ITEMS: [Item; 5] = [
    (1, b"av01", b"SECRET-NAME\0", b"colour-as-coded"),
    (2, b"av01", b"\0", b"alpha-as-coded"),
    (3, b"Exif", b"\0", EXIF),
    (4, b"mime", b"\0application/rdf+xml\0", b"<a City='SECRET'/>"),
    (5, b"av01", b"\0", b"SECRET-THUMB"),
];

fn data() -> Vec<u8> {
    ITEMS.iter().flat_map(|(.., data)| data.to_vec()).collect()
}

/// What a meta box holds behind its version: items whose data begins at `start` of the file, or lies `inside`.
pub(crate) fn items(inside: bool, start: usize) -> Vec<u8> {
    let mut place = if inside { 0 } else { start };
    let mut locations = vec![0x44, 0, 0, 5];
    let mut infos = vec![0, 5];
    for (id, kind, more, data) in ITEMS {
        locations.extend(
            [
                &[0, id, 0, u8::from(inside), 0, 0, 0, 1][..],
                &long(place),
                &long(data.len()),
            ]
            .concat(),
        );
        infos.extend(full(*b"infe", 2, &[&[0, id, 0, 0], &kind[..], more].concat()));
        place += data.len();
    }
    let reference = |kind: [u8; 4], from: u8| boxed(kind, &[0, from, 0, 1, 0, 1]);
    let references =
        [(*b"auxl", 2), (*b"cdsc", 3), (*b"cdsc", 4), (*b"thmb", 5)].map(|(kind, from)| reference(kind, from));
    let properties = [
        full(*b"ispe", 0, &[0, 0, 0, 4, 0, 0, 0, 3]),
        boxed(*b"av1C", &[0x81, 0, 0x0c, 0]),
        boxed(*b"colr", b"profan ICC profile"),
        boxed(*b"irot", &[1]),
        full(*b"auxC", 0, b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"),
        boxed(*b"udes", b"SECRET-WORDS"),
    ]
    .concat();
    let associations = [0, 0, 0, 2, 0, 1, 5, 0x81, 0x82, 3, 0x84, 6, 0, 2, 3, 0x81, 0x82, 0x85];
    let links = [boxed(*b"ipco", &properties), full(*b"ipma", 0, &associations)].concat();
    let mut boxes = [
        full(*b"hdlr", 0, b"\0\0\0\0pict\0\0\0\0\0\0\0\0\0\0\0\0SECRET-TOOL\0"),
        full(*b"pitm", 0, &[0, 1]),
        full(*b"iloc", 1, &locations),
        full(*b"iinf", 0, &infos),
        full(*b"iref", 0, &references.concat()),
        boxed(*b"iprp", &links),
    ]
    .concat();
    if inside {
        boxes.extend(boxed(*b"idat", &data()));
    }
    boxes
}

/// A still picture, or one with a movie of one track.
pub(crate) fn file(movie: bool) -> Vec<u8> {
    let head = [BRAND, &boxed(*b"uuid", b"SECRET-SIXTEEN-BYTES")].concat();
    let movie = if movie { track() } else { Vec::new() };
    let start = head.len() + items(false, 0).len() + 12 + movie.len() + 8;
    let meta = full(*b"meta", 0, &items(false, start));
    let data = boxed(*b"mdat", &[&data()[..], b"SECRET-GAP"].concat());
    [
        &head[..],
        &meta,
        &movie,
        &data,
        &boxed(*b"free", b"SECRET-FREE"),
        b"SECRET-TAIL",
    ]
    .concat()
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
    ];
    let track = [
        full(*b"tkhd", 0, &[1; 80]),
        boxed(*b"mdia", &media.concat()),
        boxed(*b"udta", b"SECRET-TRACK"),
    ];
    let movie = [
        full(*b"mvhd", 0, &[0; 96]),
        boxed(*b"trak", &track.concat()),
        boxed(*b"udta", b"SECRET-MOVIE"),
    ];
    boxed(*b"moov", &movie.concat())
}
