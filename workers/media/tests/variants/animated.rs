//! Variants of pictures that move.

use crate::pictures::{close, png};
use image::{
    AnimationDecoder, Delay, DynamicImage, Frame, ImageDecoder, Rgba, RgbaImage,
    codecs::{gif::GifDecoder, gif::GifEncoder, webp::WebPDecoder},
};
use mediamill_media::{Fit, Format, Limits, Output, Processed, Rendered, Rgb, Settings, Variant, process};
use std::io::Cursor;

const DELAYS: [u32; 5] = [100, 200, 50, 70, 300];

/// A square that walks over a ground, or over nothing.
fn walk(step: u32, ground: [u8; 4]) -> RgbaImage {
    RgbaImage::from_fn(120, 60, |x, y| {
        let within = (step * 20..step * 20 + 20).contains(&x) && (20..40).contains(&y);
        Rgba(if within { [220, 30, 30, 255] } else { ground })
    })
}

fn gif(ground: [u8; 4]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = GifEncoder::new(&mut out);
    encoder.set_repeat(image::codecs::gif::Repeat::Infinite).unwrap();
    for (step, delay) in (0..).zip(DELAYS) {
        let delay = Delay::from_numer_denom_ms(delay, 1);
        encoder
            .encode_frame(Frame::from_parts(walk(step, ground), 0, 0, delay))
            .unwrap();
    }
    drop(encoder);
    out
}

fn moving(output: Output) -> Variant {
    let mut variant = Variant::new("v", Some(60), None, Fit::Inside);
    (variant.output, variant.animated) = (output, true);
    variant
}

fn run(bytes: &[u8], variants: Vec<Variant>, limits: Limits) -> Processed {
    let settings = Settings {
        limits,
        variants,
        ..Settings::default()
    };
    process(bytes, &settings, &|| false).unwrap()
}

fn made(bytes: &[u8], variant: Variant) -> Rendered {
    run(bytes, vec![variant], Limits::default()).variants.remove(0)
}

/// Every frame as shown, with its milliseconds.
fn shown(variant: &Rendered) -> Vec<(RgbaImage, u32)> {
    let bytes = Cursor::new(variant.bytes.as_slice());
    let frames = match variant.format {
        Format::Gif => GifDecoder::new(bytes).unwrap().into_frames(),
        Format::WebP => {
            let decoder = WebPDecoder::new(bytes).unwrap();
            assert!(decoder.has_animation());
            assert_eq!(decoder.dimensions(), (variant.width, variant.height));
            decoder.into_frames()
        }
        other => panic!("{other:?} does not move"),
    };
    let frames = frames.collect_frames().unwrap();
    frames
        .into_iter()
        .map(|frame| {
            let (milliseconds, parts) = frame.delay().numer_denom_ms();
            (frame.into_buffer(), milliseconds / parts)
        })
        .collect()
}

fn assert_walks(variant: &Rendered, ground: [u8; 4]) {
    let frames = shown(variant);
    assert_eq!(frames.iter().map(|(_, delay)| *delay).collect::<Vec<_>>(), DELAYS);
    let scale = variant.width / 60;
    for (step, (image, _)) in (0_u32..).zip(&frames) {
        for place in 0..6 {
            let seen = *image.get_pixel((place * 10 + 5) * scale, 15 * scale);
            if place == step {
                assert!(
                    close(seen, Rgba([220, 30, 30, 255])),
                    "{:?} {step}: {seen:?}",
                    variant.format
                );
            } else if ground[3] == 0 {
                assert_eq!(
                    seen.0[3], 0,
                    "{:?} frame {step}, place {place}: {seen:?}",
                    variant.format
                );
            } else {
                assert!(
                    close(seen, Rgba(ground)),
                    "{:?} frame {step}, place {place}: {seen:?}",
                    variant.format
                );
            }
        }
    }
}

#[test]
fn every_frame_and_delay_is_there() {
    for ground in [[20, 60, 200, 255], [0, 0, 0, 0]] {
        let bytes = gif(ground);
        for (output, format) in [
            (Output::Auto, Format::WebP),
            (Output::Webp, Format::WebP),
            (Output::WebpLossless, Format::WebP),
            (Output::Gif, Format::Gif),
        ] {
            let made = made(&bytes, moving(output));
            assert_eq!((made.format, made.width, made.height), (format, 60, 30), "{output:?}");
            assert_walks(&made, ground);
        }
        // And again from what came out.
        let webp = made(&bytes, moving(Output::WebpLossless));
        let mut whole = moving(Output::Gif);
        whole.width = None;
        assert_walks(&made(&webp.bytes, whole), ground);
    }
}

#[test]
fn apng_moves_too() {
    let ground = [20, 60, 200, 255];
    let mut out = Vec::new();
    let mut number = 0_u32;
    let chunk = |out: &mut Vec<u8>, name: &[u8; 4], data: &[u8]| {
        out.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        let body = [name.as_slice(), data].concat();
        out.extend(&body);
        out.extend(crc32fast::hash(&body).to_be_bytes());
    };
    for (step, delay) in (0_u32..).zip(DELAYS) {
        let file = png(&DynamicImage::ImageRgba8(walk(step, ground)));
        if step == 0 {
            // Signature and header.
            out.extend(&file[..33]);
            let frames = u32::try_from(DELAYS.len()).unwrap();
            chunk(&mut out, b"acTL", &[frames.to_be_bytes(), [0; 4]].concat());
        }
        let mut control = Vec::new();
        for value in [number, 120, 60, 0, 0] {
            control.extend(value.to_be_bytes());
        }
        number += 1;
        control.extend(u16::try_from(delay).unwrap().to_be_bytes());
        control.extend([1_000_u16.to_be_bytes(), [0, 0]].concat());
        chunk(&mut out, b"fcTL", &control);
        let mut place = 33;
        while place < file.len() {
            let length = u32::from_be_bytes(file[place..place + 4].try_into().unwrap()) as usize;
            let data = &file[place + 8..place + 8 + length];
            if &file[place + 4..place + 8] == b"IDAT" {
                if step == 0 {
                    chunk(&mut out, b"IDAT", data);
                } else {
                    chunk(&mut out, b"fdAT", &[&number.to_be_bytes(), data].concat());
                    number += 1;
                }
            }
            place += 12 + length;
        }
    }
    chunk(&mut out, b"IEND", &[]);
    let processed = run(&out, vec![moving(Output::Auto)], Limits::default());
    assert_walks(&processed.variants[0], ground);
    assert_eq!(
        (processed.facts.frames, processed.facts.duration_ms),
        (Some(5), Some(720))
    );
}

#[test]
fn frames_are_cut_contained_and_filled_like_stills() {
    let bytes = gif([0, 0, 0, 0]);
    let mut contained = moving(Output::Gif);
    (contained.height, contained.fit) = (Some(60), Fit::Contain);
    contained.background = Some(Rgb([250, 250, 0]));
    let made = made(&bytes, contained);
    assert_eq!((made.width, made.height), (60, 60));
    for (step, (image, _)) in (0_u32..).zip(shown(&made)) {
        assert!(close(*image.get_pixel(30, 4), Rgba([250, 250, 0, 255])));
        assert!(close(*image.get_pixel(step * 10 + 5, 30), Rgba([220, 30, 30, 255])));
    }
}

#[test]
fn what_does_not_move_stands_still() {
    let bytes = gif([20, 60, 200, 255]);
    let still = |output: Output| made(&bytes, moving(output));
    assert_eq!(still(Output::Jpeg).format, Format::Jpeg);
    assert_eq!(still(Output::Png).format, Format::Png);
    let unasked = Variant::new("v", Some(60), None, Fit::Inside);
    assert_eq!(made(&bytes, unasked).format, Format::Jpeg);
    let picture = png(&DynamicImage::ImageRgba8(walk(0, [9, 9, 9, 255])));
    assert_eq!(made(&picture, moving(Output::Auto)).format, Format::Jpeg);
    let mut single = Vec::new();
    GifEncoder::new(&mut single)
        .encode_frame(Frame::new(walk(0, [9, 9, 9, 255])))
        .unwrap();
    assert_eq!(made(&single, moving(Output::Auto)).format, Format::Jpeg);
}

#[test]
fn where_every_variant_moves_the_picture_is_looked_at_all_the_same() {
    let bytes = gif([200, 200, 40, 255]);
    let all = run(&bytes, vec![moving(Output::Webp)], Limits::default());
    let still = Variant::new("still", Some(60), None, Fit::Inside);
    let some = run(&bytes, vec![moving(Output::Webp), still], Limits::default());
    assert!(all.facts.dominant_colour.is_some() && all.facts.placeholder.is_some());
    assert_eq!(all.facts.perceptual_hash, some.facts.perceptual_hash);
    assert_eq!(
        (all.facts.frames, all.facts.duration_ms),
        (some.facts.frames, some.facts.duration_ms)
    );
    assert_eq!(all.original, some.original);
    // Beyond its limits nothing moves, and the first frame is read by itself.
    let limits = Limits {
        max_pixels: 120 * 60,
        ..Limits::default()
    };
    let none = run(&bytes, vec![moving(Output::Webp)], limits);
    assert_eq!(none.facts.perceptual_hash, all.facts.perceptual_hash);
}

#[test]
fn beyond_its_limits_a_variant_stands_still() {
    let bytes = gif([20, 60, 200, 255]);
    let format = |limits: Limits| run(&bytes, vec![moving(Output::Auto)], limits).variants[0].format;
    let limits = Limits::default();
    assert_eq!(format(limits.clone()), Format::WebP);
    // All frames of the variant together; one of the original is 7,200.
    let narrow = Limits {
        max_pixels: 8_000,
        ..limits.clone()
    };
    assert_eq!(format(narrow), Format::Jpeg);
    // The original itself is held to the limits of what moves.
    for (code, limits) in [
        (
            "too-many-frames",
            Limits {
                max_frames: 4,
                ..limits.clone()
            },
        ),
        (
            "too-long",
            Limits {
                max_duration_ms: 719,
                ..limits.clone()
            },
        ),
    ] {
        let settings = Settings {
            limits,
            ..Settings::default()
        };
        assert_eq!(process(&bytes, &settings, &|| false).unwrap_err().code(), code);
    }
    // One variant's end is not another's.
    let mut small = moving(Output::Gif);
    small.width = Some(20);
    let both = run(
        &bytes,
        vec![moving(Output::Auto), small],
        Limits {
            max_pixels: 8_000,
            ..limits
        },
    );
    assert_eq!(
        both.variants.iter().map(|v| v.format).collect::<Vec<_>>(),
        [Format::Jpeg, Format::Gif]
    );
}

#[test]
fn a_frame_that_is_cut_off_says_so() {
    let bytes = gif([20, 60, 200, 255]);
    let settings = Settings {
        variants: vec![moving(Output::Auto)],
        ..Settings::default()
    };
    for end in [bytes.len() / 2, bytes.len() - 20] {
        let error = process(&bytes[..end], &settings, &|| false).unwrap_err();
        assert!(["truncated", "corrupt"].contains(&error.code()), "{error}");
    }
}
