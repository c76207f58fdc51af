//! Files that give away everything that their format can, and the parts that do.
//!
//! Places are called `PLACE-…`, what is no place `SECRET-…`.

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use mediamill_media::Format;
use std::io::Cursor;

/// A TIFF block: camera, position, maker note, comment, orientation 6.
pub(crate) fn exif() -> Vec<u8> {
    let mut out = b"II*\0\x08\0\0\0".to_vec();
    let entry = |tag: u16, kind: u16, count: u32, value: u32| {
        [
            &tag.to_le_bytes()[..],
            &kind.to_le_bytes(),
            &count.to_le_bytes(),
            &value.to_le_bytes(),
        ]
        .concat()
    };
    // Four entries, then two, then two; texts behind them.
    let (exif, gps) = (8 + 2 + 4 * 12 + 4, 8 + 2 + 4 * 12 + 4 + 2 + 2 * 12 + 4);
    let texts = gps + 2 + 2 * 12 + 4;
    out.extend(4_u16.to_le_bytes());
    out.extend(entry(0x0110, 2, 16, texts));
    out.extend(entry(0x0112, 3, 1, 6));
    out.extend(entry(0x8769, 4, 1, exif));
    out.extend(entry(0x8825, 4, 1, gps));
    out.extend([0; 4]);
    out.extend(2_u16.to_le_bytes());
    out.extend(entry(0x9003, 2, 20, texts + 16));
    out.extend(entry(0x927c, 7, 16, texts + 36));
    out.extend([0; 4]);
    out.extend(2_u16.to_le_bytes());
    out.extend(entry(0x001b, 7, 16, texts + 52));
    out.extend(entry(0x001d, 2, 11, texts + 68));
    out.extend([0; 4]);
    out.extend(b"SECRET-CAMERA 1\0");
    out.extend(b"2026:03:14 18:22:05\0");
    out.extend(b"PLACE-MAKERNOTE!");
    out.extend(b"PLACE-PROCESSING");
    out.extend(b"PLACE-DATE\0");
    out
}

pub(crate) fn xmp() -> &'static str {
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>\
     <rdf:Description xmlns:p='http://ns.adobe.com/photoshop/1.0/' p:City='PLACE-XMP' \
     xmlns:xmp='http://ns.adobe.com/xap/1.0/' xmp:CreatorTool='SECRET-TOOL'/></rdf:RDF></x:xmpmeta>"
}

pub(crate) fn photoshop() -> Vec<u8> {
    let record = |number: u8, text: &[u8]| {
        let size = u16::try_from(text.len()).unwrap().to_be_bytes();
        [&[0x1c, 2, number], &size[..], text].concat()
    };
    let records = [record(90, b"PLACE-IPTC"), record(80, b"SECRET-BYLINE")].concat();
    let size = u32::try_from(records.len()).unwrap().to_be_bytes();
    let mut out = [b"8BIM\x04\x04\0\0", &size[..], &records].concat();
    out.resize(out.len() + records.len() % 2, 0);
    out
}

pub(crate) fn picture() -> RgbImage {
    RgbImage::from_fn(24, 16, |x, y| {
        Rgb([x, y, x ^ y].map(|part| part.to_le_bytes()[0].wrapping_mul(9)))
    })
}

pub(crate) fn plain(format: ImageFormat) -> Vec<u8> {
    let mut out = Vec::new();
    DynamicImage::ImageRgb8(picture())
        .write_to(&mut Cursor::new(&mut out), format)
        .unwrap();
    out
}

/// The picture with everything that its format can give away.
pub(crate) fn dirty(format: Format) -> Vec<u8> {
    match format {
        Format::Jpeg => jpeg(),
        Format::Png => png(),
        Format::WebP => webp(),
        _ => gif(),
    }
}

pub(crate) fn jpeg() -> Vec<u8> {
    let plain = plain(ImageFormat::Jpeg);
    let mut out = vec![0xff, 0xd8];
    // Digest, size of the whole, place in it.
    let extension = [
        &b"http://ns.adobe.com/xmp/extension/\0"[..],
        b"0123456789ABCDEF0123456789ABCDEF\0\0\0\x0f\0\0\0\0",
        b"PLACE-EXTENSION",
    ]
    .concat();
    for (code, data) in [
        (0xe1, [b"Exif\0\0", &exif()[..]].concat()),
        (0xe1, [b"http://ns.adobe.com/xap/1.0/\0", xmp().as_bytes()].concat()),
        (0xe1, extension),
        (0xe2, b"MPF\0PLACE-MPF".to_vec()),
        (0xe2, b"ICC_PROFILE\0\x01\x01a profile".to_vec()),
        (0xeb, b"JP PLACE-C2PA".to_vec()),
        (0xed, [b"Photoshop 3.0\0", &photoshop()[..]].concat()),
        (0xe6, b"GoPro\0PLACE-STREAM".to_vec()),
        (0xfe, b"SECRET-COMMENT".to_vec()),
    ] {
        out.extend([0xff, code]);
        out.extend(u16::try_from(data.len() + 2).unwrap().to_be_bytes());
        out.extend(data);
    }
    out.extend_from_slice(&plain[2..]);
    out.extend(b"PLACE-TRAILING");
    out
}

pub(crate) fn png_chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&kind, data].concat();
    let size = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&size[..], &body, &crc32fast::hash(&body).to_be_bytes()].concat()
}

/// As `ImageMagick` hides a profile.
pub(crate) fn raw_profile(name: &str, profile: &[u8]) -> Vec<u8> {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap();
    let digits: String = profile
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect();
    let text = format!("\n{name}\n{:8}\n{digits}\n", profile.len());
    let packed = miniz_oxide::deflate::compress_to_vec_zlib(text.as_bytes(), 6);
    let keyword = format!("Raw profile type {name}\0\0");
    png_chunk(*b"zTXt", &[keyword.as_bytes(), &packed].concat())
}

pub(crate) fn png() -> Vec<u8> {
    let plain = plain(ImageFormat::Png);
    let (head, tail) = plain.split_at(33);
    [
        head,
        &png_chunk(*b"gAMA", &45_455_u32.to_be_bytes()),
        &png_chunk(*b"eXIf", &exif()),
        &png_chunk(*b"iTXt", &[b"XML:com.adobe.xmp\0\0\0\0\0", xmp().as_bytes()].concat()),
        &png_chunk(*b"tEXt", b"Author\0SECRET-AUTHOR"),
        &png_chunk(*b"tEXt", b"exif:GPSInfo\0PLACE-TEXT"),
        &raw_profile("iptc", &photoshop()),
        &png_chunk(*b"tIME", &[7, 234, 3, 14, 18, 22, 5]),
        &png_chunk(*b"prVt", b"PLACE-PRIVATE"),
        tail,
        b"PLACE-TRAILING",
    ]
    .concat()
}

pub(crate) fn webp() -> Vec<u8> {
    let mut body = b"WEBPVP8X\x0a\0\0\0\x0c\0\0\0\x17\0\0\x0f\0\0".to_vec();
    body.extend_from_slice(&plain(ImageFormat::WebP)[12..]);
    for (kind, data) in [
        (b"EXIF", &exif()[..]),
        (b"XMP ", xmp().as_bytes()),
        (b"prVt", b"PLACE-PRIVATE"),
    ] {
        body.extend(kind);
        body.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        body.extend(data);
        body.resize(body.len() + data.len() % 2, 0);
    }
    let size = u32::try_from(body.len()).unwrap().to_le_bytes();
    [b"RIFF", &size[..], &body, b"PLACE-TRAILING"].concat()
}

pub(crate) fn gif() -> Vec<u8> {
    let plain = plain(ImageFormat::Gif);
    let body = &plain[..plain.len() - 1];
    let trailer: Vec<u8> = [1].into_iter().chain((0..=255).rev()).chain([0]).collect();
    [
        body,
        b"\x21\xfe\x0eSECRET-COMMENT\0",
        b"\x21\xff\x0bXMP DataXMP",
        xmp().as_bytes(),
        &trailer,
        b"\x21\xff\x0bPRIVATE 1.0\x0dPLACE-PRIVATE\0;PLACE-TRAILING",
    ]
    .concat()
}
