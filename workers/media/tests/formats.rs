//! Every kind of every format: what it is decoded to, or why it is refused.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

#[expect(dead_code, reason = "each test takes what it needs")]
mod drawn;

use drawn::{Png, QUARTERS, bmp, quarters, tiff};
use image::{DynamicImage, GenericImageView, codecs::tiff::TiffEncoder};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use mediamill_media::{Fit, Format, Limits, MediaError, ProbeError, Settings, Variant, pixels, probe, process};
use proptest::prelude::*;

fn decoded(bytes: &[u8]) -> DynamicImage {
    pixels(bytes, &Limits::default(), &|| false).unwrap()
}

fn refusal(bytes: &[u8]) -> MediaError {
    pixels(bytes, &Limits::default(), &|| false).unwrap_err()
}

/// The middles of the four quarters, and how far their colours may be off.
fn assert_quarters(image: &DynamicImage, within: u8, what: &str) {
    let (width, height) = image.dimensions();
    for (number, colour) in QUARTERS.iter().enumerate() {
        let number = u32::try_from(number).unwrap();
        let x = width / 4 + number % 2 * (width / 2);
        let y = height / 4 + number / 2 * (height / 2);
        let found = image.get_pixel(x, y).0;
        let far = found.iter().zip(colour).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(far <= within, "{what}: quarter {number} is {found:?}, not {colour:?}");
    }
}

fn jpeg(
    width: u16,
    height: u16,
    colours: ColorType,
    samples: &[u8],
    adapt: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, 95);
    adapt(&mut encoder);
    encoder.encode(samples, width, height, colours).unwrap();
    out
}

#[test]
fn jpegs_of_every_sampling_are_decoded() {
    for (width, height) in [(64, 48), (67, 45), (9, 7)] {
        let image = quarters(width.into(), height.into());
        for sampling in [
            SamplingFactor::R_4_4_4,
            SamplingFactor::R_4_4_0,
            SamplingFactor::R_4_2_2,
            SamplingFactor::R_4_2_0,
            // Written with a scan for each component where they are not progressive.
            SamplingFactor::R_4_4_1,
            SamplingFactor::R_4_2_1,
            SamplingFactor::R_4_1_1,
            SamplingFactor::R_4_1_0,
        ] {
            for (progressive, restart, optimised) in [
                (false, 0, false),
                (false, 3, false),
                (true, 0, false),
                (true, 3, false),
                (false, 0, true),
            ] {
                let bytes = jpeg(width, height, ColorType::Rgb, &image, |encoder| {
                    encoder.set_sampling_factor(sampling);
                    encoder.set_progressive(progressive);
                    encoder.set_restart_interval(restart);
                    // Tables made for the picture come with a scan for each component.
                    encoder.set_optimized_huffman_tables(optimised);
                });
                let what = format!(
                    "{width} × {height} {sampling:?} progressive {progressive} restart {restart} optimised {optimised}"
                );
                let within = if width < 10 { 90 } else { 12 };
                assert_quarters(&decoded(&bytes), within, &what);
            }
        }
    }
    for (what, bytes) in [
        ("4:1:1", &include_bytes!("files/interleaved-411.jpg")[..]),
        ("4:4:0", include_bytes!("files/interleaved-440.jpg")),
    ] {
        assert_quarters(&decoded(bytes), 12, what);
    }
}

/// Waves, in all directions and of every length: no two blocks are alike.
fn waves(width: u32, height: u32) -> image::RgbImage {
    image::RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (f64::from(x), f64::from(y));
        let level = |wave: f64| 128.0 + 100.0 * wave.sin();
        let colours = [
            level(x * x / 400.0 + y / 9.0),
            level(x / 7.0 - y * y / 300.0),
            level(x * y / 900.0),
        ];
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "28 to 228")]
        image::Rgb(colours.map(|colour| colour as u8))
    })
}

/// How many of a thousand samples are off by more than six from what another decoder makes of them, and how far all are in
/// the mean. Decoders differ in how they enlarge colours at the picture's edge.
fn off(bytes: &[u8]) -> (usize, f64) {
    let (ours, theirs) = (
        decoded(bytes).into_rgb8(),
        image::load_from_memory(bytes).unwrap().into_rgb8(),
    );
    assert_eq!(ours.dimensions(), theirs.dimensions());
    let differences = || ours.as_raw().iter().zip(theirs.as_raw()).map(|(a, b)| a.abs_diff(*b));
    let sum: u32 = differences().map(u32::from).sum();
    (
        differences().filter(|difference| *difference > 6).count() * 1_000 / ours.as_raw().len(),
        f64::from(sum) / ours.as_raw().len() as f64,
    )
}

#[test]
fn jpegs_are_decoded_as_others_decode_them() {
    for (width, height) in [(150, 110), (67, 45), (16, 8)] {
        let image = waves(width.into(), height.into());
        for sampling in [
            SamplingFactor::R_4_4_4,
            SamplingFactor::R_4_2_2,
            SamplingFactor::R_4_2_0,
        ] {
            for (progressive, restart) in [(false, 0), (false, 2), (true, 0), (true, 5)] {
                let bytes = jpeg(width, height, ColorType::Rgb, &image, |encoder| {
                    encoder.set_sampling_factor(sampling);
                    encoder.set_progressive(progressive);
                    encoder.set_restart_interval(restart);
                });
                let (far, mean) = off(&bytes);
                let what = format!("{width} × {height} {sampling:?} {progressive} {restart}");
                assert!(far <= 10 && mean < 1.0, "{what}: {far} {mean}");
            }
        }
        let grey = image::DynamicImage::from(image).into_luma8();
        let bytes = jpeg(width, height, ColorType::Luma, &grey, |_| ());
        let (far, mean) = off(&bytes);
        assert!(far == 0 && mean < 0.1, "{width} × {height} grey: {far} {mean}");
    }
    // With bits that come in later scans, as libjpeg's own script has them.
    let (far, mean) = off(include_bytes!("files/progressive-refined.jpg"));
    assert!(far <= 10 && mean < 0.6, "refined: {far} {mean}");
}

#[test]
fn every_part_of_a_jpeg_can_be_cut_out() {
    // Sizes at which shares of the picture, rounded, ended beyond it.
    for (width, height) in [(840, 630), (1_120, 840), (1_968, 1_476)] {
        let image = waves(width.into(), height.into());
        let bytes = jpeg(width, height, ColorType::Rgb, &image, |encoder| {
            encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
        });
        for gravity in ["east", "south", "southeast", "1000:333"] {
            let mut variant = Variant::new("v", Some(320), Some(320), Fit::Cover);
            variant.gravity = gravity.parse().unwrap();
            let settings = Settings {
                variants: vec![variant],
                ..Settings::default()
            };
            let made = process(&bytes, &settings, &|| false).unwrap();
            assert_eq!((made.variants[0].width, made.variants[0].height), (320, 320));
        }
    }
}

#[test]
fn jpegs_that_make_no_sense_are_refused() {
    let image = waves(64, 64);
    let whole = jpeg(64, 64, ColorType::Rgb, &image, |encoder| {
        encoder.set_restart_interval(4);
    });
    let scan = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    let restart = whole.windows(2).position(|pair| pair == [0xff, 0xd0]).unwrap();
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        refusal(&bytes).to_string()
    };
    // Ones are no code.
    let ones = broken(&|bytes| drop(bytes.splice(scan + 40..scan + 52, [0xff, 0x00].repeat(6))));
    assert!(ones.contains("make no sense"), "{ones}");
    let missing = broken(&|bytes| bytes[restart + 1] = 0xfe);
    assert!(missing.contains("restart marker is missing"), "{missing}");
    let early = broken(&|bytes| drop(bytes.drain(restart - 30..restart)));
    assert!(early.contains("make no sense"), "{early}");
    for (marker, what) in [
        (0xc4, "Huffman table is missing"),
        (0xdb, "quantisation table is missing"),
    ] {
        let gone = broken(&|bytes| {
            while let Some(place) = bytes.windows(2).position(|pair| pair == [0xff, marker]) {
                let length = usize::from(bytes[place + 2]) << 8 | usize::from(bytes[place + 3]);
                bytes.drain(place..place + 2 + length);
            }
        });
        assert!(gone.contains(what), "{gone}");
    }
}

#[test]
fn jpegs_of_grey_and_of_inks_are_decoded() {
    let grey: Vec<u8> = (0..64 * 64)
        .map(|place| if place % 64 < 32 { 40 } else { 200 })
        .collect();
    for progressive in [false, true] {
        let bytes = jpeg(64, 64, ColorType::Luma, &grey, |encoder| {
            encoder.set_progressive(progressive);
        });
        let image = decoded(&bytes);
        assert!(!image.color().has_color());
        assert!(image.as_bytes()[8].abs_diff(40) < 3 && image.as_bytes()[56].abs_diff(200) < 3);
        // The encoder writes inks as Adobe does: 255 is none.
        let image = quarters(64, 64);
        let inks: Vec<u8> = image
            .pixels()
            .flat_map(|pixel| {
                let [red, green, blue] = pixel.0;
                let most = red.max(green).max(blue);
                let left = |sample: u8| u8::try_from(u16::from(sample) * 255 / u16::from(most)).unwrap();
                [left(red), left(green), left(blue), most].map(|kept| 255 - kept)
            })
            .collect();
        for colours in [ColorType::Cmyk, ColorType::CmykAsYcck] {
            let bytes = jpeg(64, 64, colours, &inks, |encoder| encoder.set_progressive(progressive));
            assert_quarters(&decoded(&bytes), 8, &format!("{colours:?}"));
        }
    }
}

#[test]
fn pngs_of_every_colour_type_and_depth_are_decoded() {
    for (colour, depths) in [
        (0, &[1, 2, 4, 8, 16][..]),
        (2, &[8, 16]),
        (3, &[1, 2, 4, 8]),
        (4, &[8, 16]),
        (6, &[8, 16]),
    ] {
        for &depth in depths {
            for interlaced in [false, true] {
                for (width, height) in [(33, 21), (3, 2), (1, 1)] {
                    let mut png = Png::new(width, height, depth, colour);
                    png.interlaced = interlaced;
                    if colour == 3 {
                        png.chunks.push((*b"PLTE", vec![10, 20, 30, 200, 210, 220]));
                        png.chunks.push((*b"tRNS", vec![255, 128]));
                    }
                    let most = if colour == 3 { 1 } else { u16::MAX >> (16 - depth) };
                    let bytes = png.file(&|x, y, channel| {
                        if (x + y) % 2 == 1 || (channel == 3 && x == 0) {
                            most
                        } else {
                            0
                        }
                    });
                    let image = decoded(&bytes);
                    let what = format!("colour type {colour}, {depth} bits, interlaced {interlaced}, {width} wide");
                    assert_eq!(image.dimensions(), (width, height), "{what}");
                    if width == 1 {
                        continue;
                    }
                    let (dark, bright) = match colour {
                        3 => ([10, 20, 30, 255], [200, 210, 220, 128]),
                        0 | 2 => ([0, 0, 0, 255], [255; 4]),
                        _ => ([0, 0, 0, 0], [255; 4]),
                    };
                    assert_eq!(image.get_pixel(2, 0).0, dark, "{what}");
                    assert_eq!(image.get_pixel(1, 0).0, bright, "{what}");
                    assert_eq!(image.get_pixel(0, 1).0, bright, "{what}");
                }
            }
        }
    }
}

#[test]
fn one_transparent_colour_of_a_png_is_transparent() {
    let mut png = Png::new(4, 4, 8, 2);
    png.chunks.push((*b"tRNS", vec![0, 9, 0, 8, 0, 7]));
    let image = decoded(&png.file(&|x, _, channel| {
        if x == 0 {
            9 - u16::try_from(channel).unwrap()
        } else {
            50
        }
    }));
    assert_eq!(image.get_pixel(0, 0).0, [9, 8, 7, 0]);
    assert_eq!(image.get_pixel(1, 0).0, [50, 50, 50, 255]);
    let mut grey = Png::new(4, 4, 16, 0);
    grey.chunks.push((*b"tRNS", vec![1, 2]));
    let image = decoded(&grey.file(&|x, _, _| if x == 0 { 0x0102 } else { 0x0103 }));
    assert_eq!(image.get_pixel(0, 0).0[3], 0);
    assert_eq!(image.get_pixel(1, 0).0[3], 255);
}

#[test]
fn lossy_webps_are_decoded() {
    let image = decoded(include_bytes!("files/lossy.webp"));
    assert!(!image.color().has_alpha());
    assert_quarters(&image, 8, "lossy");
    let image = decoded(include_bytes!("files/lossy-alpha.webp"));
    assert_eq!([4, 28].map(|x| image.get_pixel(x, 4).0[3]), [0, 255]);
    assert_quarters(&opaque(&image), 8, "lossy with alpha");
}

fn opaque(image: &DynamicImage) -> DynamicImage {
    let mut image = image.to_rgba8();
    for pixel in image.pixels_mut() {
        pixel.0[3] = 255;
    }
    image.into()
}

#[test]
fn bmps_of_every_header_are_decoded() {
    let image = quarters(33, 21);
    for size in [12, 40, 52, 56, 108, 124] {
        for top_down in [false, true] {
            if size == 12 && top_down {
                continue;
            }
            let bytes = bmp(size, top_down, &image);
            assert_eq!(probe(&bytes).unwrap().format, Format::Bmp);
            assert_eq!(
                decoded(&bytes).as_bytes(),
                image.as_raw().as_slice(),
                "{size} {top_down}"
            );
        }
    }
}

#[test]
fn tiffs_are_decoded_or_refused_by_what_they_are() {
    let image = quarters(33, 21);
    let mut written = std::io::Cursor::new(Vec::new());
    image.write_with_encoder(TiffEncoder::new(&mut written)).unwrap();
    assert_eq!(decoded(written.get_ref()).as_bytes(), image.as_raw().as_slice());
    let deep: Vec<u8> = image
        .iter()
        .flat_map(|sample| (u16::from(*sample) * 257 + 100).to_le_bytes())
        .collect();
    assert_eq!(
        decoded(&tiff(33, 21, 16, 3, 2, &deep)).as_bytes(),
        image.as_raw().as_slice()
    );
    let inks: Vec<u8> = image
        .pixels()
        .flat_map(|p| [255 - p.0[0], 255 - p.0[1], 255 - p.0[2], 0])
        .collect();
    assert_quarters(&decoded(&tiff(33, 21, 8, 4, 5, &inks)), 1, "inks");
    let grey = vec![77; 33 * 21];
    assert_eq!(decoded(&tiff(33, 21, 8, 1, 1, &grey)).as_bytes(), grey);
    // White is 0.
    assert_eq!(decoded(&tiff(33, 21, 8, 1, 0, &grey)).as_bytes()[0], 255 - 77);
    let bits = vec![0b1010_1010; 5 * 21];
    assert_eq!(decoded(&tiff(33, 21, 1, 1, 1, &bits)).as_bytes()[..2], [255, 0]);
    assert_eq!(refusal(&tiff(33, 21, 8, 1, 3, &grey)).code(), "unsupported-picture");
    assert!(
        refusal(b"II+\0\x08\0\0\0\0\0\0\0\0\0\0\0")
            .to_string()
            .contains("BigTIFF")
    );
}

#[test]
fn colours_of_a_tiff_are_divided_by_their_opacity_where_it_says_so() {
    // 200, 100, 50 at half the opacity.
    let stored = [100, 50, 25, 128].repeat(64);
    let plain = tiff(8, 8, 8, 4, 2, &stored);
    let mut associated = plain.clone();
    // The entry of its extra sample: 2 is unassociated, 1 associated.
    let entry = [0x52, 1, 3, 0, 1, 0, 0, 0, 2];
    let place = associated.windows(entry.len()).position(|part| part == entry).unwrap();
    associated[place + 8] = 1;
    assert_eq!(decoded(&plain).to_rgba8().get_pixel(3, 3).0, [100, 50, 25, 128]);
    assert_eq!(decoded(&associated).to_rgba8().get_pixel(3, 3).0, [199, 100, 50, 128]);
}

#[test]
fn avifs_of_every_coding_are_decoded() {
    let files: [(&str, &[u8]); 7] = [
        ("8 bits 4:2:0", include_bytes!("files/8-bit-420.avif")),
        ("8 bits 4:2:0 limited", include_bytes!("files/8-bit-420-limited.avif")),
        ("8 bits 4:2:2", include_bytes!("files/8-bit-422.avif")),
        ("8 bits identity", include_bytes!("files/8-bit-identity.avif")),
        ("10 bits BT.2020", include_bytes!("files/10-bit-444-bt2020.avif")),
        ("10 bits 4:2:0", include_bytes!("files/10-bit-420.avif")),
        ("12 bits 4:2:2", include_bytes!("files/12-bit-422.avif")),
    ];
    for (what, bytes) in files {
        let image = decoded(bytes);
        assert_eq!(image.dimensions(), (33, 21), "{what}");
        assert!(!image.color().has_alpha(), "{what}");
        assert_quarters(&image, 8, what);
    }
    let grey = decoded(include_bytes!("files/8-bit-grey-limited.avif"));
    for (place, [red, green, blue]) in [(4, QUARTERS[0]), (28, QUARTERS[1])] {
        let luma = (u32::from(red) * 299 + u32::from(green) * 587 + u32::from(blue) * 114) / 1_000;
        let found = grey.get_pixel(place, 4).0;
        assert!(
            found[..3].iter().all(|sample| u32::from(*sample).abs_diff(luma) < 6),
            "{found:?} {luma}"
        );
    }
}

#[test]
fn an_avif_has_its_transparency() {
    let image = decoded(include_bytes!("files/alpha.avif"));
    assert_eq!([4, 28].map(|x| image.get_pixel(x, 4).0[3]), [0, 255]);
    assert_quarters(&opaque(&image), 8, "alpha");
    let image = decoded(include_bytes!("files/alpha-premultiplied.avif"));
    assert_eq!([4, 28].map(|x| image.get_pixel(x, 4).0[3]), [0, 255]);
    assert!(image.get_pixel(28, 4).0[1].abs_diff(QUARTERS[1][1]) < 8);
}

#[test]
fn cut_off_and_damaged_avifs_end_well() {
    let whole = include_bytes!("files/alpha.avif");
    for end in 0..whole.len() {
        let error = pixels(&whole[..end], &Limits::default(), &|| false).unwrap_err();
        assert!(
            ["truncated", "corrupt", "not-an-image"].contains(&error.code()),
            "{end}: {error}"
        );
    }
}

#[test]
fn heic_is_refused_by_its_name() {
    for head in [
        &b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..],
        b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix",
    ] {
        let Err(ProbeError::Media(error)) = probe(head) else {
            panic!("{head:?} is taken");
        };
        assert!(
            error.to_string().contains("HEIC") && error.to_string().contains("JPEG or AVIF"),
            "{error}"
        );
    }
    // A film is no picture.
    let film = probe(b"\0\0\0\x18ftypisom\0\0\0\0isommp42\0\0\0\0").unwrap_err();
    assert_eq!(film, ProbeError::Media(MediaError::NotAnImage));
}

#[test]
fn a_decoder_stops_when_it_is_told() {
    let image = quarters(1_500, 1_000);
    let rgba = DynamicImage::ImageRgb8(image.clone());
    let mut files = vec![
        jpeg(1_500, 1_000, ColorType::Rgb, &image, |_| {}),
        jpeg(1_500, 1_000, ColorType::Rgb, &image, |encoder| {
            encoder.set_progressive(true);
        }),
        bmp(40, false, &image),
        include_bytes!("files/large-alpha.avif").to_vec(),
    ];
    for format in [
        image::ImageFormat::Png,
        image::ImageFormat::Tiff,
        image::ImageFormat::WebP,
        image::ImageFormat::Gif,
    ] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        rgba.write_to(&mut bytes, format).unwrap();
        files.push(bytes.into_inner());
    }
    for bytes in files {
        let format = probe(&bytes).unwrap().format;
        let stopped = pixels(&bytes, &Limits::default(), &|| true).unwrap_err();
        assert_eq!(stopped, MediaError::Cancelled, "{format:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_files_never_panic(
        file in 0_usize..7,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let image = quarters(33, 21);
        let mut bytes = match file {
            0 => include_bytes!("files/alpha.avif").to_vec(),
            1 => include_bytes!("files/10-bit-420.avif").to_vec(),
            2 => bmp(40, true, &image),
            3 => tiff(33, 21, 8, 3, 2, &image),
            4 => tiff(33, 21, 16, 4, 5, &[50; 33 * 21 * 8]),
            5 => include_bytes!("files/lossy-alpha.webp").to_vec(),
            _ => include_bytes!("files/interleaved-411.jpg").to_vec(),
        };
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let small = Limits { max_pixels: 1_000_000, ..Limits::default() };
        if let Ok(image) = pixels(&bytes, &small, &|| false) {
            let probed = probe(&bytes).unwrap();
            prop_assert_eq!((image.width(), image.height()), (probed.width, probed.height));
        }
    }
}
