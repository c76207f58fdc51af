//! Variants that stand still, option by option.

use crate::pictures::{self, cells, close, decoded, jpeg, orientation_block, png};
use image::{DynamicImage, Rgba, RgbaImage};
use mediamill_media::{Fit, Format, Gravity, Output, Rendered, Rgb, Settings, Variant, process};

fn settings(variants: Vec<Variant>) -> Settings {
    Settings {
        variants,
        ..Settings::default()
    }
}

fn made(bytes: &[u8], variant: Variant) -> Rendered {
    let processed = process(bytes, &settings(vec![variant]), &|| false).unwrap();
    processed.variants.into_iter().next().unwrap()
}

fn boxed(fit: Fit, width: u32, height: u32) -> Variant {
    Variant::new("v", Some(width), Some(height), fit)
}

/// What a camera held that way stores of the same scene.
fn stored(scene: &DynamicImage, orientation: u8) -> Vec<u8> {
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
    jpeg(&stored.to_rgb8(), Some(&orientation_block(orientation)))
}

#[test]
fn a_cut_holds_its_point_in_every_orientation() {
    // Four by three cells; what a gravity keeps is told by the cells in its corners.
    let scene = cells(800, 600);
    for orientation in 1..=8 {
        let bytes = stored(&scene, orientation);
        for (gravity, width, height, above_left, below_right) in [
            ("west", 150, 600, (0, 0), (0, 2)),
            ("east", 150, 600, (3, 0), (3, 2)),
            ("north", 800, 150, (0, 0), (3, 0)),
            ("south", 800, 150, (0, 2), (3, 2)),
            ("southeast", 150, 600, (3, 0), (3, 2)),
            ("375:0", 150, 600, (1, 0), (1, 2)),
            ("0:500", 800, 150, (0, 1), (3, 1)),
            ("centre", 300, 600, (1, 0), (2, 2)),
        ] {
            let mut variant = boxed(Fit::Cover, width, height);
            variant.gravity = gravity.parse().unwrap();
            let made = made(&bytes, variant);
            assert_eq!((made.width, made.height), (width, height));
            let image = decoded(&made);
            for (x, y, cell) in [(8, 8, above_left), (width - 9, height - 9, below_right)] {
                let seen = image.get_pixel(x, y);
                assert!(
                    close(*seen, pictures::cell(cell.0, cell.1)),
                    "orientation {orientation}, {gravity}: {seen:?} at {x}, {y}"
                );
            }
        }
    }
}

#[test]
fn a_contained_picture_is_whole_and_stands_where_gravity_says() {
    let scene = cells(800, 600);
    let night = Rgb([10, 10, 60]);
    for orientation in 1..=8 {
        let bytes = stored(&scene, orientation);
        for (gravity, top) in [("north", 0), ("centre", 50), ("south", 100)] {
            let mut variant = boxed(Fit::Contain, 400, 400);
            variant.gravity = gravity.parse().unwrap();
            variant.background = Some(night);
            let made = made(&bytes, variant);
            assert_eq!((made.width, made.height, made.format), (400, 400, Format::Jpeg));
            let image = decoded(&made);
            for (x, y, cell) in [
                (20, 20, (0, 0)),
                (380, 20, (3, 0)),
                (20, 280, (0, 2)),
                (380, 280, (3, 2)),
            ] {
                let seen = image.get_pixel(x, top + y);
                assert!(
                    close(*seen, pictures::cell(cell.0, cell.1)),
                    "orientation {orientation}, {gravity}: {seen:?}"
                );
            }
            let beside = if top == 0 { 390 } else { top / 2 };
            assert!(
                close(*image.get_pixel(200, beside), Rgba([10, 10, 60, 255])),
                "{orientation} {gravity}"
            );
        }
    }
}

#[test]
fn what_is_beside_a_contained_picture_is_clear_where_it_can_be() {
    let photo = jpeg(&cells(200, 100).to_rgb8(), None);
    let corner = |output: Output, background: Option<Rgb>| {
        let mut variant = boxed(Fit::Contain, 100, 100);
        variant.output = output;
        variant.background = background;
        let made = made(&photo, variant);
        (*decoded(&made).get_pixel(2, 2), made.format)
    };
    let white = Rgba([255; 4]);
    assert_eq!(corner(Output::Auto, None), (white, Format::Jpeg));
    assert_eq!(corner(Output::Jpeg, None), (white, Format::Jpeg));
    for (output, format) in [
        (Output::Png, Format::Png),
        (Output::Webp, Format::WebP),
        (Output::WebpLossless, Format::WebP),
        (Output::Gif, Format::Gif),
    ] {
        let (seen, made) = corner(output, None);
        assert_eq!((seen.0[3], made), (0, format));
        let (seen, _) = corner(output, Some(Rgb([200, 30, 30])));
        assert!(close(seen, Rgba([200, 30, 30, 255])), "{output:?} {seen:?}");
    }
    // A grey picture on a coloured background is not grey any more.
    let grey = png(&DynamicImage::ImageLuma8(cells(200, 100).to_luma8()));
    let mut variant = boxed(Fit::Contain, 100, 100);
    variant.background = Some(Rgb([200, 30, 30]));
    assert!(close(
        *decoded(&made(&grey, variant)).get_pixel(2, 2),
        Rgba([200, 30, 30, 255])
    ));
    let on_white = made(&grey, boxed(Fit::Contain, 100, 100));
    assert_eq!(
        image::load_from_memory(&on_white.bytes).unwrap().color(),
        image::ColorType::L8
    );
}

#[test]
fn every_output_is_what_it_says_and_shows_the_picture() {
    let photo = jpeg(&cells(400, 300).to_rgb8(), None);
    for (output, format) in [
        (Output::Auto, Format::Jpeg),
        (Output::Jpeg, Format::Jpeg),
        (Output::Png, Format::Png),
        (Output::Webp, Format::WebP),
        (Output::WebpLossless, Format::WebP),
        (Output::Gif, Format::Gif),
    ] {
        let mut variant = Variant::new("v", Some(200), None, Fit::Inside);
        variant.output = output;
        let made = made(&photo, variant);
        assert_eq!((made.format, made.width, made.height), (format, 200, 150));
        assert_eq!(Format::sniff(&made.bytes), Some(format));
        let image = decoded(&made);
        for (column, row) in [(0, 0), (3, 0), (0, 2), (3, 2), (1, 1)] {
            let seen = image.get_pixel(column * 50 + 25, row * 50 + 25);
            assert!(close(*seen, pictures::cell(column, row)), "{output:?}: {seen:?}");
        }
    }
}

#[cfg(feature = "avif-encode")]
#[test]
fn avif_is_written_with_its_size_and_alpha() {
    let has = |made: &Rendered, part: &[u8]| memchr::memmem::find(&made.bytes, part).is_some();
    let mut variant = Variant::new("v", Some(120), None, Fit::Inside);
    variant.output = Output::Avif;
    let opaque = made(&jpeg(&cells(240, 180).to_rgb8(), None), variant.clone());
    assert_eq!((opaque.format, opaque.width, opaque.height), (Format::Avif, 120, 90));
    assert_eq!(&opaque.bytes[4..12], b"ftypavif");
    assert!(has(&opaque, b"ispe\0\0\0\0\0\0\0\x78\0\0\0\x5a"));
    assert!(!has(&opaque, b"auxC"));
    let clear = DynamicImage::ImageRgba8(RgbaImage::from_fn(240, 180, |x, _| {
        Rgba([10, 200, 30, if x < 120 { 0 } else { 255 }])
    }));
    assert!(has(&made(&png(&clear), variant.clone()), b"auxC"));
    variant.quality = 20;
    let rough = made(&jpeg(&pictures::noise(240, 180), None), variant.clone());
    variant.quality = 95;
    let fine = made(&jpeg(&pictures::noise(240, 180), None), variant);
    assert!(rough.bytes.len() * 2 < fine.bytes.len());
}

#[test]
fn quality_costs_bytes() {
    let photo = jpeg(&pictures::noise(300, 200), None);
    for output in [Output::Jpeg, Output::Webp] {
        let size = |quality: u8| {
            let mut variant = Variant::new("v", None, None, Fit::Inside);
            (variant.output, variant.quality) = (output, quality);
            made(&photo, variant).bytes.len()
        };
        assert!(size(20) * 2 < size(90), "{output:?}: {} and {}", size(20), size(90));
        // Out of range is the nearest that is in it.
        assert_eq!(size(0), size(1));
        assert_eq!(size(u8::MAX), size(100));
    }
}

#[test]
fn transparency_is_kept_filled_or_white() {
    let clear = png(&DynamicImage::ImageRgba8(RgbaImage::from_fn(80, 40, |x, _| {
        Rgba([0, 0, 200, if x < 40 { 0 } else { 255 }])
    })));
    let left = |output: Output, background: Option<Rgb>| {
        let mut variant = Variant::new("v", Some(40), None, Fit::Inside);
        (variant.output, variant.background) = (output, background);
        let made = made(&clear, variant);
        (*decoded(&made).get_pixel(5, 5), made.format)
    };
    for (output, format) in [
        (Output::Auto, Format::Png),
        (Output::Webp, Format::WebP),
        (Output::WebpLossless, Format::WebP),
        (Output::Gif, Format::Gif),
    ] {
        let (seen, made) = left(output, None);
        assert_eq!((seen.0[3], made), (0, format), "{output:?}");
    }
    assert_eq!(left(Output::Jpeg, None), (Rgba([255; 4]), Format::Jpeg));
    let (seen, format) = left(Output::Auto, Some(Rgb([250, 120, 0])));
    assert!(close(seen, Rgba([250, 120, 0, 255])) && format == Format::Jpeg);
    let (seen, format) = left(Output::Png, Some(Rgb([250, 120, 0])));
    assert_eq!((seen, format), (Rgba([250, 120, 0, 255]), Format::Png));
}

#[test]
fn only_who_asks_gets_more_pixels() {
    let small = jpeg(&cells(80, 60).to_rgb8(), None);
    for fit in [Fit::Inside, Fit::Cover] {
        let mut variant = boxed(fit, 320, 240);
        let kept = made(&small, variant.clone());
        assert_eq!((kept.width, kept.height), (80, 60));
        variant.enlarge = true;
        let larger = made(&small, variant);
        assert_eq!((larger.width, larger.height), (320, 240));
        assert!(close(*decoded(&larger).get_pixel(280, 200), pictures::cell(3, 2)));
    }
    let whole = made(&small, Variant::new("v", None, None, Fit::Inside));
    assert_eq!((whole.width, whole.height), (80, 60));
    let tall = made(&small, Variant::new("v", None, Some(30), Fit::Inside));
    assert_eq!((tall.width, tall.height), (40, 30));
}

#[test]
fn sharpening_steepens_edges_and_leaves_the_even_alone() {
    let edge = png(&DynamicImage::ImageRgb8(image::RgbImage::from_fn(200, 20, |x, _| {
        image::Rgb(if x < 100 { [80; 3] } else { [160; 3] })
    })));
    let across = |sharpen: u8| {
        let mut variant = Variant::new("v", Some(100), None, Fit::Inside);
        (variant.sharpen, variant.output) = (sharpen, Output::Png);
        let image = decoded(&made(&edge, variant));
        [10, 49, 50, 90].map(|x| image.get_pixel(x, 5).0[0])
    };
    let ([even_a, dark, bright, even_b], [sharp_a, darker, brighter, sharp_b]) = (across(0), across(100));
    assert_eq!((even_a, even_b), (sharp_a, sharp_b));
    assert!(
        darker + 8 < dark && brighter > bright + 8,
        "{dark} {bright}: {darker} {brighter}"
    );
}

#[test]
fn linear_light_keeps_brightness() {
    let stripes = png(&DynamicImage::ImageRgb8(image::RgbImage::from_fn(200, 200, |x, _| {
        image::Rgb(if x % 2 == 0 { [0; 3] } else { [255; 3] })
    })));
    let grey = |linear: bool| {
        let mut variant = Variant::new("v", Some(50), None, Fit::Inside);
        (variant.linear, variant.output) = (linear, Output::Png);
        decoded(&made(&stripes, variant)).get_pixel(25, 25).0[0]
    };
    assert!(grey(false).abs_diff(128) < 4, "{}", grey(false));
    assert!(grey(true).abs_diff(188) < 4, "{}", grey(true));
}

#[test]
fn variants_of_wide_originals_are_srgb_without_a_profile() {
    let profile = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    // What sRGB's red is in Display P3.
    let red = image::RgbImage::from_pixel(400, 300, image::Rgb([234, 51, 35]));
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 95);
    encoder.add_icc_profile(&profile).unwrap();
    encoder.encode(&red, 400, 300, jpeg_encoder::ColorType::Rgb).unwrap();
    let mut lossless = Variant::new("w", Some(100), None, Fit::Inside);
    lossless.output = Output::WebpLossless;
    let wanted = settings(vec![Variant::new("v", Some(200), None, Fit::Inside), lossless]);
    let processed = process(&bytes, &wanted, &|| false).unwrap();
    for variant in &processed.variants {
        let seen = *decoded(variant).get_pixel(50, 50);
        assert!(seen.0[0] > 250 && seen.0[1] < 14 && seen.0[2] < 14, "{seen:?}");
        assert!(memchr::memmem::find(&variant.bytes, b"ICC").is_none());
    }
    assert!(memchr::memmem::find(&processed.original.bytes, b"ICC_PROFILE").is_some());
    assert_eq!(
        processed.facts.dominant_colour.map(|Rgb([red, ..])| red > 250),
        Some(true)
    );
}

#[test]
fn what_pixels_look_like_is_told_in_every_orientation() {
    let scene = cells(800, 600);
    let looked = |orientation| {
        let bytes = stored(&scene, orientation);
        process(&bytes, &Settings::default(), &|| false).unwrap().facts
    };
    let upright = looked(1);
    assert!(upright.placeholder.is_some() && upright.dominant_colour.is_some());
    for orientation in 2..=8 {
        let turned = looked(orientation);
        let differ = (upright.perceptual_hash.unwrap() ^ turned.perceptual_hash.unwrap()).count_ones();
        assert!(differ <= 4, "orientation {orientation}: {differ} bits");
    }
    // Without any variant, it is looked at itself.
    let bare = process(&stored(&scene, 6), &settings(Vec::new()), &|| false).unwrap();
    assert!((bare.facts.perceptual_hash.unwrap() ^ upright.perceptual_hash.unwrap()).count_ones() <= 6);
}

#[test]
fn hostile_boxes_are_clamped_and_counted() {
    let photo = jpeg(&cells(64, 48).to_rgb8(), None);
    let limits = mediamill_media::Limits {
        max_pixels: 250_000,
        max_side: 2_000,
        ..mediamill_media::Limits::default()
    };
    let sides = [None, Some(0), Some(1), Some(u32::MAX)];
    for fit in [Fit::Cover, Fit::Contain, Fit::Inside] {
        for output in [Output::Auto, Output::Png, Output::Webp, Output::Gif] {
            let variants = sides
                .iter()
                .flat_map(|width| sides.iter().map(move |height| (*width, *height)))
                .map(|(width, height)| Variant {
                    fit,
                    output,
                    enlarge: true,
                    animated: true,
                    quality: 1,
                    gravity: Gravity { x: u16::MAX, y: 3 },
                    ..Variant::new("v", width, height, fit)
                })
                .collect();
            let settings = Settings {
                limits: limits.clone(),
                ..settings(variants)
            };
            let probed = mediamill_media::probe(&photo).unwrap();
            let memory = probed.memory_bytes(photo.len() as u64, &settings);
            let processed = process(&photo, &settings, &|| false).unwrap();
            let mut bytes = 0;
            for variant in &processed.variants {
                let pixels = u64::from(variant.width) * u64::from(variant.height);
                assert!((1..=250_000).contains(&pixels) && variant.width.max(variant.height) <= 2_000);
                bytes += variant.bytes.len() as u64 + pixels * 4;
            }
            assert!(bytes < memory, "{bytes} of {memory}");
        }
    }
    let mut whole = boxed(Fit::Cover, u32::MAX, u32::MAX);
    whole.enlarge = true;
    let unlimited = Settings {
        limits: mediamill_media::Limits {
            max_pixels: 0,
            max_side: 0,
            ..limits
        },
        ..settings(vec![whole])
    };
    let memory = mediamill_media::probe(&photo).unwrap().memory_bytes(0, &unlimited);
    assert!((1_000_000_000..20_000_000_000).contains(&memory), "{memory}");
}
