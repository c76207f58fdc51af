//! Pictures to measure with, drawn where nobody gives any: noise of several octaves, which codes like a photograph.

use image::{DynamicImage, Frame, ImageEncoder, RgbImage, Rgba, RgbaImage, codecs::gif::GifEncoder};
use std::{
    error::Error,
    path::{Path, PathBuf},
};

/// JPEGs of 1, 4, 12, 24 and 50 megapixels, and a PNG with alpha, a WebP and an animated GIF.
pub(crate) fn all(folder: &Path, largest: u32) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for (megapixels, width, height) in [
        (1, 1_224, 816),
        (4, 2_448, 1_632),
        (12, 4_240, 2_832),
        (24, 6_000, 4_000),
        (50, 8_660, 5_774),
    ] {
        if megapixels > largest {
            continue;
        }
        let path = folder.join(format!("{megapixels} MP.jpg"));
        std::fs::write(&path, jpeg(&scene(width, height, 0))?)?;
        files.push(path);
    }
    let path = folder.join("4 MP alpha.png");
    std::fs::write(&path, png(2_448, 1_632)?)?;
    files.push(path);
    let path = folder.join("1 MP lossless.webp");
    DynamicImage::ImageRgb8(scene(1_224, 816, 0)).save(&path)?;
    files.push(path);
    let path = folder.join("animated.gif");
    std::fs::write(&path, gif(640, 480)?)?;
    files.push(path);
    Ok(files)
}

fn jpeg(image: &RgbImage) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut out = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut out, 90);
    // What cameras write.
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    let (width, height) = (u16::try_from(image.width())?, u16::try_from(image.height())?);
    encoder.encode(image.as_raw(), width, height, jpeg_encoder::ColorType::Rgb)?;
    Ok(out)
}

fn png(width: u32, height: u32) -> Result<Vec<u8>, Box<dyn Error>> {
    let opaque = scene(width, height, 0);
    let middle = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    let image = RgbaImage::from_fn(width, height, |x, y| {
        let [red, green, blue] = opaque.get_pixel(x, y).0;
        let far = (f64::from(x) - middle.0).hypot(f64::from(y) - middle.1) / middle.1;
        Rgba([red, green, blue, level((1.2 - far) * 2.0)])
    });
    let mut out = Vec::new();
    image::codecs::png::PngEncoder::new(&mut out).write_image(
        &image,
        width,
        height,
        image::ExtendedColorType::Rgba8,
    )?;
    Ok(out)
}

fn gif(width: u32, height: u32) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut out = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut out, 20);
    for step in 0..12 {
        let image = DynamicImage::ImageRgb8(scene(width, height, step * 8)).into_rgba8();
        encoder.encode_frame(Frame::new(image))?;
    }
    drop(encoder);
    Ok(out)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a byte"
)]
fn level(value: f64) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// Noise at a grid's point, 0 to 1, the same every time.
fn grain(x: u32, y: u32, octave: u32) -> f64 {
    let mut n = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77) ^ octave.wrapping_mul(0xc2b2_ae3d);
    n = (n ^ (n >> 15)).wrapping_mul(0x2c1b_3c6d);
    n = (n ^ (n >> 12)).wrapping_mul(0x297a_2d39);
    f64::from(n ^ (n >> 15)) / f64::from(u32::MAX)
}

fn scene(width: u32, height: u32, moved: u32) -> RgbImage {
    // A row of each octave at a time: neighbours share it.
    let octaves: [(u32, f64); 7] = [
        (512, 0.34),
        (256, 0.22),
        (128, 0.15),
        (32, 0.12),
        (8, 0.08),
        (3, 0.05),
        (1, 0.04),
    ];
    let value = |x: u32, y: u32| -> f64 {
        octaves
            .iter()
            .map(|(size, weight)| {
                let (gx, gy) = (x / size, y / size);
                let (fx, fy) = (
                    f64::from(x % size) / f64::from(*size),
                    f64::from(y % size) / f64::from(*size),
                );
                let corner = |dx, dy| grain(gx + dx, gy + dy, *size);
                let above = corner(0, 0) * (1.0 - fx) + corner(1, 0) * fx;
                let below = corner(0, 1) * (1.0 - fx) + corner(1, 1) * fx;
                weight * (above * (1.0 - fy) + below * fy)
            })
            .sum()
    };
    RgbImage::from_fn(width, height, |x, y| {
        let light = value(x + moved, y);
        let tint = grain(x / 700, y / 700, 9) * 0.1;
        image::Rgb([
            level(light * 1.3 - 0.2),
            level(light * 1.2 - 0.1 - tint),
            level(light * 1.1 + tint - 0.1),
        ])
    })
}
