//! No decoder takes more memory than was said before it began.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

mod drawn;

use drawn::{ApngFrame, GifFrame, Png, WebpFrame, apng, bmp, gif, quarters, tiff, webp};
use image::{DynamicImage, ImageFormat};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use mediamill_media::{Fit, Limits, Output, Settings, Variant, frames, pixels, probe, process};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The most that was held at one time beside what was held before.
fn peak<T>(work: impl FnOnce() -> T) -> (T, u64) {
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let result = work();
    (result, u64::try_from(HEAP.peak_usage().saturating_sub(before)).unwrap())
}

const WIDTH: u16 = 1_001;
const HEIGHT: u16 = 803;

/// Grain, so that files have a size that is like a photograph's.
fn noisy() -> image::RgbImage {
    let mut seed = 1_u32;
    let mut image = quarters(WIDTH.into(), HEIGHT.into());
    for sample in image.iter_mut() {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *sample = sample.saturating_add(u8::try_from(seed >> 28).unwrap());
    }
    image
}

fn jpegs(image: &image::RgbImage) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut add = |name: String, colours, samples: &[u8], adapt: &dyn Fn(&mut Encoder<&mut Vec<u8>>)| {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, 90);
        adapt(&mut encoder);
        encoder.encode(samples, WIDTH, HEIGHT, colours).unwrap();
        files.push((name, out));
    };
    for sampling in [
        SamplingFactor::R_4_4_4,
        SamplingFactor::R_4_2_2,
        SamplingFactor::R_4_2_0,
        SamplingFactor::R_4_4_0,
        SamplingFactor::R_4_1_1,
        SamplingFactor::R_4_1_0,
        SamplingFactor::R_4_2_1,
    ] {
        for progressive in [false, true] {
            add(
                format!("JPEG {sampling:?} {progressive}"),
                ColorType::Rgb,
                image,
                &|encoder| {
                    encoder.set_sampling_factor(sampling);
                    encoder.set_progressive(progressive);
                },
            );
        }
    }
    let grey = DynamicImage::ImageRgb8(image.clone()).into_luma8();
    add("JPEG grey".to_owned(), ColorType::Luma, &grey, &|encoder| {
        encoder.set_progressive(true);
    });
    add("JPEG with a profile".to_owned(), ColorType::Rgb, image, &|encoder| {
        encoder.add_icc_profile(&vec![7; 3_000_000]).unwrap();
    });
    add("JPEG scanned apart".to_owned(), ColorType::Rgb, image, &|encoder| {
        encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
        encoder.set_optimized_huffman_tables(true);
    });
    let inks: Vec<u8> = image.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2], 200]).collect();
    for progressive in [false, true] {
        add(
            format!("JPEG inks {progressive}"),
            ColorType::CmykAsYcck,
            &inks,
            &|encoder| {
                encoder.set_progressive(progressive);
            },
        );
    }
    files
}

fn others(image: &image::RgbImage) -> Vec<(String, Vec<u8>)> {
    let (width, height) = (u32::from(WIDTH), u32::from(HEIGHT));
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (colour, depth) in [
        (0, 1),
        (0, 8),
        (0, 16),
        (2, 8),
        (2, 16),
        (3, 8),
        (4, 8),
        (4, 16),
        (6, 8),
        (6, 16),
    ] {
        for interlaced in [false, true] {
            for transparent in [false, true] {
                let mut png = Png::new(501, 403, depth, colour);
                png.interlaced = interlaced;
                if colour == 3 {
                    png.chunks.push((*b"PLTE", vec![10, 20, 30, 200, 210, 220]));
                }
                match (transparent, colour) {
                    (true, 0) => png.chunks.push((*b"tRNS", vec![0, 0])),
                    (true, 2) => png.chunks.push((*b"tRNS", vec![0; 6])),
                    (true, 3) => png.chunks.push((*b"tRNS", vec![255, 128])),
                    _ => {}
                }
                let opaque = !transparent;
                let bytes = png.file(&|x, y, channel| {
                    if opaque && matches!((colour, channel), (4, 1) | (6, 3)) {
                        u16::MAX >> (16 - depth)
                    } else {
                        u16::try_from((x ^ y) & 1).unwrap()
                    }
                });
                files.push((format!("PNG {colour} {depth} {interlaced} {transparent}"), bytes));
            }
        }
    }
    let mut with_alpha = DynamicImage::ImageRgb8(image.clone()).into_rgba8();
    with_alpha.get_pixel_mut(3, 3).0[3] = 9;
    for (name, image) in [
        ("opaque", DynamicImage::ImageRgb8(image.clone())),
        ("alpha", with_alpha.into()),
    ] {
        for format in [ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::Tiff] {
            let mut bytes = std::io::Cursor::new(Vec::new());
            image.write_to(&mut bytes, format).unwrap();
            files.push((format!("{format:?} {name}"), bytes.into_inner()));
        }
    }
    files.push(("BMP core".to_owned(), bmp(12, false, image)));
    let count = usize::from(WIDTH) * usize::from(HEIGHT);
    for (bits, samples, photometric) in [(8, 1, 1), (16, 1, 0), (16, 3, 2), (16, 4, 2), (8, 4, 5), (16, 4, 5)] {
        let pixels = vec![40; count * usize::from(samples * bits / 8)];
        let bytes = tiff(width, height, bits, samples, photometric, &pixels);
        files.push((format!("TIFF {bits} {samples} {photometric}"), bytes));
    }
    let small = GifFrame {
        place: [70, 90, WIDTH - 100, HEIGHT - 100],
        delay: 4,
        dispose: 1,
        colour: 1,
    };
    files.push(("GIF offset".to_owned(), gif(WIDTH, HEIGHT, Some(0), &[small])));
    for (name, bytes) in [
        ("WebP lossy", &include_bytes!("files/large-lossy.webp")[..]),
        ("WebP lossy alpha", include_bytes!("files/large-lossy-alpha.webp")),
        ("AVIF alpha", include_bytes!("files/large-alpha.avif")),
        ("AVIF 10 bits", include_bytes!("files/large-10-bit-444.avif")),
        ("AVIF small", include_bytes!("files/alpha.avif")),
    ] {
        files.push((name.to_owned(), bytes.to_vec()));
    }
    files
}

fn moving() -> Vec<(&'static str, Vec<u8>)> {
    let (width, height) = (WIDTH, HEIGHT);
    let gif_frames = [
        GifFrame {
            place: [0, 0, width, height],
            delay: 4,
            dispose: 1,
            colour: 1,
        },
        GifFrame {
            place: [5, 7, width - 9, height - 9],
            delay: 4,
            dispose: 3,
            colour: 2,
        },
        GifFrame {
            place: [0, 0, 40, 30],
            delay: 4,
            dispose: 2,
            colour: 3,
        },
    ];
    let (width, height) = (u32::from(WIDTH), u32::from(HEIGHT));
    let png_frames = [
        ApngFrame {
            place: [0, 0, width, height],
            delay: 4,
            dispose: 0,
            blend: 0,
            colour: [9, 9, 9, 255],
        },
        ApngFrame {
            place: [5, 7, width - 9, height - 9],
            delay: 4,
            dispose: 2,
            blend: 1,
            colour: [9, 99, 9, 100],
        },
        ApngFrame {
            place: [0, 0, 40, 30],
            delay: 4,
            dispose: 1,
            blend: 0,
            colour: [9, 9, 200, 255],
        },
    ];
    let webp_frames = [
        WebpFrame {
            place: [0, 0, width, height],
            delay: 4,
            blend: false,
            clear: false,
            colour: [9, 9, 9, 255],
        },
        WebpFrame {
            place: [6, 8, width - 9, height - 9],
            delay: 4,
            blend: true,
            clear: true,
            colour: [9, 99, 9, 100],
        },
    ];
    vec![
        ("GIF", gif(WIDTH, HEIGHT, Some(0), &gif_frames)),
        ("APNG", apng(width, height, 0, &png_frames)),
        ("WebP", webp(width, height, 0, &webp_frames)),
        ("JPEG", jpegs(&noisy()).swap_remove(0).1),
    ]
}

/// One variant for each option that takes memory of its own.
fn options() -> Vec<(&'static str, Settings)> {
    let with = |change: &dyn Fn(&mut Variant)| {
        let mut variant = Variant::new("v", Some(400), None, Fit::Inside);
        change(&mut variant);
        Settings {
            variants: vec![variant],
            ..Settings::default()
        }
    };
    let output = |output: Output| with(&|variant| variant.output = output);
    vec![
        ("enlarged", with(&|v| (v.width, v.enlarge) = (Some(1_500), true))),
        ("linear", with(&|v| v.linear = true)),
        ("sharpened", with(&|v| v.sharpen = 60)),
        ("contained", with(&|v| (v.height, v.fit) = (Some(900), Fit::Contain))),
        ("PNG", output(Output::Png)),
        ("WebP", output(Output::Webp)),
        ("lossless", output(Output::WebpLossless)),
        ("AVIF", output(Output::Avif)),
        ("GIF", output(Output::Gif)),
        ("moving", with(&|v| v.animated = true)),
        ("mov. GIF", with(&|v| (v.output, v.animated) = (Output::Gif, true))),
        (
            "mov. WebP",
            with(&|v| (v.output, v.animated) = (Output::WebpLossless, true)),
        ),
    ]
}

/// One test, because the allocator counts for the whole program.
#[test]
fn memory_stays_within_what_was_said() {
    let image = noisy();
    let mut over = Vec::new();
    let mut hold = |name: &str, what: &str, peak: u64, said: u64| {
        #[expect(clippy::print_stdout, reason = "figures, for who asks for them")]
        let () = println!(
            "{name:32} {what:9} peak {peak:>10} of {said:>10}, {} %",
            peak * 100 / said
        );
        if peak > said {
            over.push(format!("{name} {what}: {peak} of {said}"));
        }
    };
    for (name, bytes) in jpegs(&image).into_iter().chain(others(&image)).chain(
        moving()
            .into_iter()
            .map(|(name, bytes)| (format!("moving {name}"), bytes)),
    ) {
        let input = u64::try_from(bytes.len()).unwrap();
        let probed = probe(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (decoded, most) = peak(|| pixels(&bytes, &Limits::default(), &|| false));
        drop(decoded.unwrap_or_else(|error| panic!("{name}: {error}")));
        hold(&name, "decoding", most, probed.decoder_bytes + input);
        let settings = Settings::default();
        let (processed, most) = peak(|| process(&bytes, &settings, &|| false));
        if let Err(error) = processed {
            panic!("{name}: {error}");
        }
        // The file itself is the caller's.
        hold(&name, "processing", most + input, probed.memory_bytes(input, &settings));
    }
    let transparent = others(&image).into_iter().filter(|(name, _)| name.starts_with("PNG"));
    let still = jpegs(&image).into_iter().take(1).chain(transparent);
    for (name, bytes) in still.chain(
        moving()
            .into_iter()
            .map(|(name, bytes)| (format!("moving {name}"), bytes)),
    ) {
        let input = u64::try_from(bytes.len()).unwrap();
        let probed = probe(&bytes).unwrap();
        for (option, settings) in options() {
            let (processed, most) = peak(|| process(&bytes, &settings, &|| false));
            if let Err(error) = processed {
                panic!("{name}, {option}: {error}");
            }
            hold(&name, option, most + input, probed.memory_bytes(input, &settings));
        }
    }
    for (name, bytes) in moving() {
        let input = u64::try_from(bytes.len()).unwrap();
        let probed = probe(&bytes).unwrap();
        let (count, most) = peak(|| {
            frames(&bytes, &Limits::default(), &|| false)
                .unwrap()
                .filter(|frame| frame.as_ref().unwrap().image.width() > 0)
                .count()
        });
        assert!(count > 0, "{name}");
        hold(name, "frames", most, probed.frames_bytes() + input);
    }
    assert!(over.is_empty(), "{over:#?}");
}
