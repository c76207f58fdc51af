//! The engine as its users see it.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

use image::{DynamicImage, ImageEncoder, Rgb, RgbImage, Rgba, RgbaImage};
use mediamill_media::{Format, Limits, Processed, RemovedKind, Settings, probe, process, sample};
use proptest::prelude::*;

fn run(bytes: &[u8]) -> Result<Processed, mediamill_media::MediaError> {
    process(bytes, &Settings::default(), &|| false)
}

/// Red above left, green above right, blue below left, white below right.
fn quarters(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| match (x < width / 2, y < height / 2) {
        (true, true) => Rgb([220, 20, 20]),
        (false, true) => Rgb([20, 200, 20]),
        (true, false) => Rgb([20, 20, 220]),
        (false, false) => Rgb([240, 240, 240]),
    })
}

fn jpeg(image: &RgbImage, exif: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut out, 95);
    if let Some(exif) = exif {
        encoder.add_exif_metadata(exif).unwrap();
    }
    let (width, height) = (
        u16::try_from(image.width()).unwrap(),
        u16::try_from(image.height()).unwrap(),
    );
    encoder
        .encode(image.as_raw(), width, height, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    out
}

fn orientation_block(value: u8) -> Vec<u8> {
    [
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(),
        &[value, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat()
}

fn close(a: Rgb<u8>, b: Rgb<u8>) -> bool {
    a.0.iter().zip(b.0).all(|(a, b)| a.abs_diff(b) < 40)
}

fn corners(image: &DynamicImage) -> [Rgb<u8>; 4] {
    let rgb = image.to_rgb8();
    let (right, low) = (rgb.width() - 5, rgb.height() - 5);
    [(4, 4), (right, 4), (4, low), (right, low)].map(|(x, y)| *rgb.get_pixel(x, y))
}

#[test]
fn every_orientation_ends_upright() {
    for orientation in 1..=8_u8 {
        // What a camera held that way stores of the same scene.
        let scene = DynamicImage::ImageRgb8(quarters(800, 600));
        let stored = match orientation {
            2 => scene.fliph(),
            3 => scene.rotate180(),
            4 => scene.flipv(),
            5 => scene.rotate270().flipv(),
            6 => scene.rotate270(),
            7 => scene.rotate270().fliph(),
            8 => scene.rotate90(),
            _ => scene.clone(),
        };
        let bytes = jpeg(&stored.to_rgb8(), Some(&orientation_block(orientation)));
        let processed = run(&bytes).unwrap();
        assert_eq!(
            (processed.original.width, processed.original.height),
            (800, 600),
            "orientation {orientation}"
        );
        for variant in &processed.variants {
            let image = image::load_from_memory(&variant.bytes).unwrap();
            assert_eq!((image.width(), image.height()), (variant.width, variant.height));
            for (seen, meant) in corners(&image).into_iter().zip(corners(&scene)) {
                assert!(
                    close(seen, meant),
                    "orientation {orientation}, {}: {seen:?} for {meant:?}",
                    variant.name
                );
            }
        }
        // The original says itself how it is to be turned.
        let again = run(&processed.original.bytes).unwrap();
        assert_eq!(again.original.bytes, processed.original.bytes);
        assert_eq!((again.original.width, again.original.height), (800, 600));
    }
}

#[test]
fn variants_have_their_sizes_and_are_never_enlarged() {
    let sizes = |width, height| -> Vec<(String, u32, u32)> {
        let processed = run(&jpeg(&quarters(width, height), None)).unwrap();
        processed
            .variants
            .into_iter()
            .map(|v| (v.name, v.width, v.height))
            .collect()
    };
    let named = |thumb: (u32, u32), medium: (u32, u32), large: (u32, u32)| {
        vec![
            ("thumb".into(), thumb.0, thumb.1),
            ("medium".into(), medium.0, medium.1),
            ("large".into(), large.0, large.1),
        ]
    };
    assert_eq!(sizes(2_400, 1_600), named((320, 320), (500, 333), (1_600, 1_067)));
    assert_eq!(sizes(100, 60), named((100, 60), (100, 60), (100, 60)));
    assert_eq!(sizes(1, 1), named((1, 1), (1, 1), (1, 1)));
}

#[test]
fn the_samples_give_much_away_and_their_cleaned_files_nothing() {
    for sample in sample::photographs() {
        let processed = run(&sample.bytes).unwrap();
        let kinds: Vec<RemovedKind> = processed.original.removed.iter().map(|removed| removed.what).collect();
        for kind in [
            RemovedKind::GpsPosition,
            RemovedKind::Camera,
            RemovedKind::CameraSerial,
            RemovedKind::TakenAt,
            RemovedKind::Thumbnail,
            RemovedKind::Comment,
        ] {
            assert!(
                kinds.contains(&kind),
                "{}: {kind} is not reported, only {kinds:?}",
                sample.name
            );
        }
        assert_eq!(processed.facts.camera_model.as_deref(), Some("Drawing Camera 1"));
        let files = processed
            .variants
            .iter()
            .map(|v| &v.bytes)
            .chain([&processed.original.bytes]);
        for file in files {
            for secret in [&b"Drawing Camera"[..], b"SN-0042", b"Nobody", b"not taken by anybody"] {
                assert!(memchr::memmem::find(file, secret).is_none(), "{}", sample.name);
            }
        }
    }
}

#[test]
fn transparency_survives_and_opaque_pictures_become_jpeg() {
    let png = |image: &RgbaImage| {
        let mut out = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut out);
        encoder
            .write_image(image, image.width(), image.height(), image::ExtendedColorType::Rgba8)
            .unwrap();
        out
    };
    let clear = RgbaImage::from_fn(700, 500, |x, _| {
        if x < 350 {
            Rgba([255, 0, 0, 0])
        } else {
            Rgba([0, 0, 255, 255])
        }
    });
    let processed = run(&png(&clear)).unwrap();
    let medium = &processed.variants[1];
    assert_eq!(medium.format, Format::Png);
    let image = image::load_from_memory(&medium.bytes).unwrap().to_rgba8();
    assert_eq!(image.get_pixel(10, 10).0[3], 0);
    // The transparent red does not bleed into the blue.
    assert!(
        image
            .pixels()
            .filter(|pixel| pixel.0[3] > 0)
            .all(|pixel| pixel.0[0] < 40),
        "colour bled in"
    );
    let opaque = RgbaImage::from_pixel(700, 500, Rgba([9, 9, 9, 255]));
    assert_eq!(run(&png(&opaque)).unwrap().variants[1].format, Format::Jpeg);
}

#[test]
fn limits_hold_before_anything_is_decoded() {
    let bytes = jpeg(&quarters(400, 300), None);
    let settings = Settings {
        limits: Limits {
            max_pixels: 100_000,
            max_side: 0,
            ..Limits::default()
        },
        ..Settings::default()
    };
    assert_eq!(
        process(&bytes, &settings, &|| false).unwrap_err().code(),
        "too-many-pixels"
    );
    let settings = Settings {
        limits: Limits {
            max_pixels: 0,
            max_side: 399,
            ..Limits::default()
        },
        ..Settings::default()
    };
    assert_eq!(
        process(&bytes, &settings, &|| false).unwrap_err().code(),
        "side-too-long"
    );
    assert_eq!(
        process(&bytes, &Settings::default(), &|| true).unwrap_err().code(),
        "cancelled"
    );
}

#[test]
fn cut_off_pictures_say_so() {
    let bytes = jpeg(&quarters(400, 300), None);
    for end in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        assert_eq!(run(&bytes[..end]).unwrap_err().code(), "truncated", "cut at {end}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_bytes_never_panic_and_what_passes_is_clean(
        format in 0_usize..4,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let image = DynamicImage::ImageRgb8(quarters(48, 32));
        let mut bytes = Vec::new();
        let formats = [image::ImageFormat::Jpeg, image::ImageFormat::Png, image::ImageFormat::Gif, image::ImageFormat::WebP];
        image.write_to(&mut std::io::Cursor::new(&mut bytes), formats[format]).unwrap();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let small = Settings { limits: Limits { max_pixels: 1_000_000, max_side: 0, ..Limits::default() }, ..Settings::default() };
        if probe(&bytes).is_ok() && let Ok(processed) = process(&bytes, &small, &|| false) {
            let again = process(&processed.original.bytes, &small, &|| false).unwrap();
            prop_assert_eq!(again.original.bytes, processed.original.bytes);
        }
    }
}
