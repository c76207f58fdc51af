//! The same scene, stored in each of the eight ways and in every container that tells which: all look alike.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use mediamill_media::{Fit, Format, Output, Settings, Variant, process};

const WIDTH: u32 = 96;
const HEIGHT: u32 = 64;

/// Another colour in each quarter.
fn scene() -> DynamicImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| match (x < WIDTH / 2, y < HEIGHT / 2) {
        (true, true) => Rgb([220, 30, 30]),
        (false, true) => Rgb([30, 200, 40]),
        (true, false) => Rgb([40, 50, 210]),
        (false, false) => Rgb([230, 220, 210]),
    })
    .into()
}

/// What a camera held that way stores of it.
fn stored(orientation: u8) -> DynamicImage {
    let scene = scene();
    match orientation {
        2 => scene.fliph(),
        3 => scene.rotate180(),
        4 => scene.flipv(),
        5 => scene.rotate270().flipv(),
        6 => scene.rotate270(),
        7 => scene.rotate270().fliph(),
        8 => scene.rotate90(),
        _ => scene,
    }
}

/// A TIFF block that tells the orientation alone.
fn block(orientation: u8) -> Vec<u8> {
    let head = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0";
    [head.as_slice(), &[orientation, 0, 0, 0, 0, 0, 0, 0]].concat()
}

fn file(format: Format, orientation: u8) -> Vec<u8> {
    let image = stored(orientation);
    let (width, height) = (image.width(), image.height());
    let written = |format| {
        let mut out = std::io::Cursor::new(Vec::new());
        image.write_to(&mut out, format).unwrap();
        out.into_inner()
    };
    let block = block(orientation);
    match format {
        Format::Jpeg => {
            let mut out = written(ImageFormat::Jpeg);
            let exif = [b"Exif\0\0".as_slice(), &block].concat();
            let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
            out.splice(2..2, [&[0xff, 0xe1][..], &length, &exif].concat());
            out
        }
        Format::Png => {
            let mut out = written(ImageFormat::Png);
            let body = [b"eXIf".as_slice(), &block].concat();
            let length = u32::try_from(block.len()).unwrap().to_be_bytes();
            let sum = crc32fast::hash(&body).to_be_bytes();
            out.splice(33..33, [&length[..], &body, &sum].concat());
            out
        }
        Format::WebP => {
            let chunk = |kind: &[u8; 4], data: &[u8]| {
                let mut out = [&kind[..], &u32::try_from(data.len()).unwrap().to_le_bytes(), data].concat();
                out.resize(out.len().next_multiple_of(2), 0);
                out
            };
            let short = |value: u32| value.to_le_bytes()[..3].to_vec();
            // Flag 8: there is EXIF.
            let canvas = [vec![8, 0, 0, 0], short(width - 1), short(height - 1)].concat();
            let still = written(ImageFormat::WebP);
            let body = [
                b"WEBP".to_vec(),
                chunk(b"VP8X", &canvas),
                still[12..].to_vec(),
                chunk(b"EXIF", &block),
            ];
            chunk(b"RIFF", &body.concat())
        }
        Format::Tiff => {
            let mut out = written(ImageFormat::Tiff);
            let start = usize::try_from(u32::from_le_bytes(out[4..8].try_into().unwrap())).unwrap();
            // A copy of the directory behind the file, with one entry more where its number says.
            let count = usize::from(u16::from_le_bytes(out[start..start + 2].try_into().unwrap()));
            let mut entries: Vec<[u8; 12]> = out[start + 2..start + 2 + count * 12].as_chunks().0.to_vec();
            entries.push([0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]);
            entries.sort_by_key(|entry| u16::from_le_bytes([entry[0], entry[1]]));
            out.resize(out.len().next_multiple_of(2), 0);
            let place = u32::try_from(out.len()).unwrap().to_le_bytes();
            out[4..8].copy_from_slice(&place);
            out.extend(u16::try_from(entries.len()).unwrap().to_le_bytes());
            out.extend(entries.concat());
            out.extend([0; 4]);
            out
        }
        Format::Gif | Format::Avif | Format::Bmp => panic!("{format:?} tells none in this way"),
    }
}

/// Colours in the middle of the quarters.
fn quarters(image: &DynamicImage) -> [[u8; 3]; 4] {
    let image = image.to_rgb8();
    let (x, y) = (image.width() / 4, image.height() / 4);
    [(x, y), (3 * x, y), (x, 3 * y), (3 * x, 3 * y)].map(|(x, y)| image.get_pixel(x, y).0)
}

#[test]
fn all_eight_look_alike_in_every_container() {
    let variant = |name: &str, width, height, fit| Variant {
        output: Output::Png,
        ..Variant::new(name, width, height, fit)
    };
    let settings = Settings {
        variants: vec![
            variant("whole", None, None, Fit::Inside),
            variant("half", Some(WIDTH / 2), None, Fit::Inside),
            variant("cover", Some(40), Some(40), Fit::Cover),
            variant("contain", Some(WIDTH), Some(HEIGHT), Fit::Contain),
        ],
        ..Settings::default()
    };
    let meant = quarters(&scene());
    for format in [Format::Jpeg, Format::Png, Format::WebP, Format::Tiff] {
        for orientation in 1..=8 {
            let what = format!("{format:?}, {orientation}");
            let bytes = file(format, orientation);
            // The cleaned original says the same once more.
            let first = process(&bytes, &settings, &|| false).unwrap();
            let again = process(&first.original.bytes, &settings, &|| false).unwrap();
            for made in [&first, &again] {
                let size = (made.original.width, made.original.height);
                assert_eq!((size, made.original.format), ((WIDTH, HEIGHT), format), "{what}");
                for variant in &made.variants {
                    let seen = quarters(&image::load_from_memory(&variant.bytes).unwrap());
                    for (seen, meant) in seen.iter().zip(meant) {
                        let off = seen.iter().zip(meant).map(|(a, b)| a.abs_diff(b)).max().unwrap();
                        assert!(off < 16, "{what}, {}: {seen:?} for {meant:?}", variant.name);
                    }
                }
            }
        }
    }
}
