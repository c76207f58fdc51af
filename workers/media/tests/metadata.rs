//! Metadata in every container, under every policy.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

mod dirty;

use dirty::{dirty, exif, photoshop, plain, png_chunk, raw_profile, xmp};
use image::ImageFormat;
use mediamill_media::{Format, Limits, Policy, RemovedKind, Settings, Stripped, process, strip};
use proptest::prelude::*;

/// Words that only places have; `SECRET` without it may stay when places go.
const PLACE: &[u8] = b"PLACE-";
const SECRET: &[u8] = b"SECRET-";

const FORMATS: [(Format, ImageFormat); 4] = [
    (Format::Jpeg, ImageFormat::Jpeg),
    (Format::Png, ImageFormat::Png),
    (Format::WebP, ImageFormat::WebP),
    (Format::Gif, ImageFormat::Gif),
];

fn has(bytes: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(bytes, needle).is_some()
}

fn pixels(bytes: &[u8], format: ImageFormat) -> Vec<u8> {
    image::load_from_memory_with_format(bytes, format)
        .unwrap()
        .into_rgba8()
        .into_raw()
}

fn kinds(stripped: &Stripped) -> Vec<RemovedKind> {
    stripped.removed.iter().map(|removed| removed.what).collect()
}

#[test]
fn stripped_files_tell_nothing_and_look_the_same() {
    for (format, coded) in FORMATS {
        let dirty = dirty(format);
        assert!(
            has(&dirty, SECRET) && has(&dirty, PLACE),
            "{format:?}: the test is blind"
        );
        let stripped = strip(format, &dirty, Policy::Strip).unwrap();
        assert!(
            !has(&stripped.bytes, SECRET) && !has(&stripped.bytes, PLACE),
            "{format:?}"
        );
        assert_eq!(pixels(&stripped.bytes, coded), pixels(&dirty, coded), "{format:?}");
        let turned = if format == Format::Gif { 1 } else { 6 };
        assert_eq!(
            (stripped.orientation, stripped.not_lossless),
            (turned, None),
            "{format:?}"
        );
        let kinds = kinds(&stripped);
        for kind in [
            RemovedKind::Xmp,
            RemovedKind::PlaceName,
            RemovedKind::Software,
            RemovedKind::Trailing,
        ] {
            assert!(kinds.contains(&kind), "{format:?}: {kind} is not named, only {kinds:?}");
        }
        if format != Format::Gif {
            assert!(kinds.contains(&RemovedKind::GpsPosition) && kinds.contains(&RemovedKind::MakerNote));
            assert_eq!(stripped.facts.camera_model.as_deref(), Some("SECRET-CAMERA 1"));
            assert_eq!(stripped.facts.taken_at.as_deref(), Some("2026-03-14 18:22:05"));
        }
        let again = strip(format, &stripped.bytes, Policy::Strip).unwrap();
        assert_eq!((again.bytes, again.removed), (stripped.bytes, vec![]), "{format:?}");
        assert_eq!(again.orientation, turned);
    }
}

#[test]
fn where_places_go_the_rest_stays() {
    for (format, coded) in FORMATS {
        let dirty = dirty(format);
        let stripped = strip(format, &dirty, Policy::StripLocation).unwrap();
        assert!(!has(&stripped.bytes, PLACE), "{format:?}");
        assert!(has(&stripped.bytes, b"SECRET-TOOL"), "{format:?}: the rest of XMP");
        assert_eq!(pixels(&stripped.bytes, coded), pixels(&dirty, coded), "{format:?}");
        if format != Format::Gif {
            assert!(has(&stripped.bytes, b"SECRET-CAMERA 1"), "{format:?}: the camera");
            let kinds = kinds(&stripped);
            for kind in [RemovedKind::GpsPosition, RemovedKind::MakerNote, RemovedKind::PlaceName] {
                assert!(kinds.contains(&kind), "{format:?}: {kind} is not named, only {kinds:?}");
            }
        }
        let again = strip(format, &stripped.bytes, Policy::StripLocation).unwrap();
        assert_eq!(
            (again.bytes, again.removed),
            (stripped.bytes.clone(), vec![]),
            "{format:?}"
        );
        // What is left is still read, and still goes where all of it has to.
        let all = strip(format, &stripped.bytes, Policy::Strip).unwrap();
        assert!(!has(&all.bytes, SECRET), "{format:?}");
        if format != Format::Gif {
            assert_eq!(all.facts.camera_model.as_deref(), Some("SECRET-CAMERA 1"));
            assert_eq!(all.orientation, 6, "{format:?}");
        }
    }
    let stays = |format, what: &[u8]| {
        has(
            &strip(format, &dirty(format), Policy::StripLocation).unwrap().bytes,
            what,
        )
    };
    assert!(stays(Format::Jpeg, b"SECRET-BYLINE") && stays(Format::Jpeg, b"SECRET-COMMENT"));
    assert!(stays(Format::Png, b"SECRET-AUTHOR") && stays(Format::Png, b"tIME"));
    assert!(stays(Format::Gif, b"SECRET-COMMENT"));
}

#[test]
fn profiles_hidden_in_texts_are_named() {
    let plain = plain(ImageFormat::Png);
    let (head, tail) = plain.split_at(33);
    for name in ["exif", "APP1"] {
        let hidden = [head, &raw_profile(name, &[b"Exif\0\0", &exif()[..]].concat()), tail].concat();
        let stripped = strip(Format::Png, &hidden, Policy::Strip).unwrap();
        assert!(kinds(&stripped).contains(&RemovedKind::GpsPosition), "{name}");
        assert_eq!(stripped.facts.camera_model.as_deref(), Some("SECRET-CAMERA 1"));
        assert_eq!(stripped.bytes, plain);
        let places = strip(Format::Png, &hidden, Policy::StripLocation).unwrap();
        assert!(kinds(&places).contains(&RemovedKind::GpsPosition), "{name}");
        let rest = strip(Format::Png, &places.bytes, Policy::Strip).unwrap();
        assert_eq!(rest.facts.camera_model.as_deref(), Some("SECRET-CAMERA 1"));
        assert!(!kinds(&rest).contains(&RemovedKind::GpsPosition), "{name}");
    }
    let hidden = [
        head,
        &raw_profile("iptc", &photoshop()),
        &raw_profile("xmp", xmp().as_bytes()),
        tail,
    ]
    .concat();
    let told = strip(Format::Png, &hidden, Policy::Strip).unwrap().removed;
    for (kind, said) in [
        (RemovedKind::PlaceName, "PLACE-IPTC"),
        (RemovedKind::Owner, "SECRET-BYLINE"),
        (RemovedKind::PlaceName, "PLACE-XMP"),
        (RemovedKind::Software, "SECRET-TOOL"),
    ] {
        assert!(
            told.iter().any(|told| told.what == kind && told.detail == said),
            "{said}: {told:?}"
        );
    }
}

#[test]
fn kept_files_stay_byte_for_byte_and_are_walked_all_the_same() {
    let settings = Settings {
        policy: Policy::Keep,
        ..Settings::default()
    };
    for (format, _) in FORMATS {
        let dirty = dirty(format);
        let kept = strip(format, &dirty, Policy::Keep).unwrap();
        assert_eq!((kept.bytes, kept.removed), (dirty.clone(), vec![]), "{format:?}");
        let short = &dirty[..dirty.len() - b"PLACE-TRAILING".len() - 1];
        assert!(strip(format, short, Policy::Keep).is_err(), "{format:?}: cut off");
        let processed = process(&dirty, &settings, &|| false).unwrap();
        assert_eq!(processed.original.bytes, dirty);
        for variant in processed.variants {
            assert!(
                !has(&variant.bytes, SECRET) && !has(&variant.bytes, PLACE),
                "{format:?}"
            );
        }
    }
}

fn moving_gif(frames: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut out);
    for shade in 0..frames {
        let colour = image::Rgba([shade.to_le_bytes()[0] * 40, 30, 40, 255]);
        let frame = image::RgbaImage::from_pixel(8, 6, colour);
        let delay = image::Delay::from_numer_denom_ms(120, 1);
        encoder
            .encode_frame(image::Frame::from_parts(frame, 0, 0, delay))
            .unwrap();
    }
    drop(encoder);
    out
}

/// A still picture with the chunks of an animation: two frames of 0.25 s each.
fn moving_png() -> Vec<u8> {
    let plain = plain(ImageFormat::Png);
    let (head, tail) = plain.split_at(33);
    let control = |number: u8| {
        let sizes = [24_u32, 16, 0, 0].map(u32::to_be_bytes).concat();
        png_chunk(
            *b"fcTL",
            &[&[0, 0, 0, number][..], &sizes, &[0, 1, 0, 4, 0, 0]].concat(),
        )
    };
    let (pixels, end) = tail.split_at(tail.len() - 12);
    let frame = [&[0, 0, 0, 2][..], &pixels[8..pixels.len() - 4]].concat();
    [
        head,
        &png_chunk(*b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]),
        &control(0),
        pixels,
        &control(1),
        &png_chunk(*b"fdAT", &frame),
        end,
    ]
    .concat()
}

/// Two frames of 300 ms, one with a chunk of somebody's own.
fn moving_webp() -> Vec<u8> {
    let mut body = b"WEBPVP8X\x0a\0\0\0\x02\0\0\0\x17\0\0\x0f\0\0ANIM\x06\0\0\0\0\0\0\0\0\0".to_vec();
    let picture = &plain(ImageFormat::WebP)[12..];
    for more in [&b""[..], b"prVt\x0d\0\0\0PLACE-PRIVATE\0"] {
        let frame = [b"\0\0\0\0\0\0\x17\0\0\x0f\0\0\x2c\x01\0\0", picture, more].concat();
        body.extend(b"ANMF");
        body.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
        body.extend(frame);
    }
    [b"RIFF", &u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
}

#[test]
fn frames_and_their_time_are_counted_and_held_to_limits() {
    for (format, bytes, frames, duration) in [
        (Format::Gif, moving_gif(3), 3, 360),
        (Format::Png, moving_png(), 2, 500),
        (Format::WebP, moving_webp(), 2, 600),
    ] {
        let stripped = strip(format, &bytes, Policy::Strip).unwrap();
        assert_eq!(
            (stripped.facts.frames, stripped.facts.duration_ms),
            (Some(frames), Some(duration)),
            "{format:?}"
        );
        assert!(!has(&stripped.bytes, PLACE), "{format:?}");
        let code = |max_frames, max_duration_ms| {
            let limits = Limits {
                max_frames,
                max_duration_ms,
                ..Limits::default()
            };
            let settings = Settings {
                limits,
                ..Settings::default()
            };
            process(&bytes, &settings, &|| false).err().map(|error| error.code())
        };
        assert_eq!(code(frames - 1, 0), Some("too-many-frames"), "{format:?}");
        assert_eq!(code(0, duration - 1), Some("too-long"), "{format:?}");
        assert_eq!(code(frames, duration), None, "{format:?}");
        assert_eq!(code(0, 0), None, "{format:?}");
    }
    // Chunks of frames without the one that announces them.
    let plain = moving_png();
    let silent = [&plain[..33], &plain[33 + 20..]].concat();
    let stripped = strip(Format::Png, &silent, Policy::Strip).unwrap();
    assert!(kinds(&stripped).contains(&RemovedKind::OtherPictures));
    assert_eq!(stripped.facts.frames, None);
}

#[test]
fn a_simple_webp_is_not_turned_by_exif_that_readers_pass_over() {
    let plain = plain(ImageFormat::WebP);
    let exif = exif();
    let mut bytes = plain.clone();
    bytes.extend(b"EXIF");
    bytes.extend(u32::try_from(exif.len()).unwrap().to_le_bytes());
    bytes.extend(&exif);
    let size = u32::try_from(bytes.len() - 8).unwrap();
    bytes[4..8].copy_from_slice(&size.to_le_bytes());
    for policy in [Policy::Strip, Policy::StripLocation] {
        let stripped = strip(Format::WebP, &bytes, policy).unwrap();
        assert_eq!((stripped.bytes, stripped.orientation), (plain.clone(), 1));
        assert_eq!(stripped.facts.camera_model.as_deref(), Some("SECRET-CAMERA 1"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_containers_never_panic_and_once_is_enough(
        format in 0_usize..4,
        moving in any::<bool>(),
        places in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let format = FORMATS[format].0;
        let mut bytes = match (moving, format) {
            (true, Format::Gif) => moving_gif(2),
            (true, Format::Png) => moving_png(),
            (true, Format::WebP) => moving_webp(),
            _ => dirty(format),
        };
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let policy = if places { Policy::StripLocation } else { Policy::Strip };
        let kept = strip(format, &bytes, Policy::Keep);
        if let Ok(stripped) = strip(format, &bytes, policy) {
            prop_assert_eq!(kept.map(|kept| kept.bytes), Ok(bytes));
            let again = strip(format, &stripped.bytes, policy).unwrap();
            prop_assert_eq!((again.bytes, again.removed), (stripped.bytes, vec![]));
        }
    }
}
