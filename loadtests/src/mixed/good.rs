//! Pictures that there is nothing wrong with: every format that comes in, from 64 × 64 to 12 MP.

use super::containers::{apng, marked};
use anyhow::{Context, ensure};
use image::{
    Delay, DynamicImage, ImageFormat, Rgba, RgbaImage,
    codecs::gif::{GifEncoder, Repeat},
};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use mediamill_media::{Fit, Format, Output, Settings, Variant, process};

/// Small sizes: most of what is uploaded.
const SMALL: [(u16, u16); 4] = [(64, 64), (97, 161), (200, 150), (320, 240)];
const MIDDLE: (u16, u16) = (800, 600);
const LARGE: (u16, u16) = (2_000, 1_500);
/// 12 MP.
const LARGEST: (u16, u16) = (4_000, 3_000);
/// Frames of what moves.
const FRAMES: u16 = 6;

/// A picture that many are made of.
#[derive(Debug)]
pub(super) struct Original {
    pub(super) kind: &'static str,
    pub(super) format: Format,
    pub(super) bytes: Vec<u8>,
    /// How often it comes beside the others.
    share: u32,
}

/// All originals; the largest only where `large` says so.
#[derive(Debug)]
pub(super) struct Originals {
    all: Vec<Original>,
    shares: u32,
}

impl Originals {
    pub(super) fn draw(large: bool) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for size in SMALL {
            all.extend(of_size(size, 100, true)?);
        }
        all.extend(of_size(MIDDLE, 40, false)?);
        if large {
            all.extend(large_ones(LARGE, 20)?);
            all.extend(large_ones(LARGEST, 5)?);
        }
        let shares = all.iter().map(|original| original.share).sum();
        Ok(Self { all, shares })
    }

    /// The original that picture `number` is made of.
    pub(super) fn of(&self, number: u32) -> anyhow::Result<&Original> {
        // A step that has no factor with the sum in common would visit all; this one is spread well enough.
        let mut place = number.wrapping_mul(2_654_435_761) % self.shares.max(1);
        for original in &self.all {
            if place < original.share {
                return Ok(original);
            }
            place -= original.share;
        }
        self.all.last().context("there are no originals")
    }
}

impl Original {
    /// It, unlike every other.
    pub(super) fn picture(&self, number: u32) -> Vec<u8> {
        marked(self.format, &self.bytes, number)
    }
}

/// Sky, ground, a few shapes and grain; `step` moves them.
fn scene(width: u16, height: u16, step: u16) -> RgbaImage {
    let (across, down) = (u32::from(width).max(1), u32::from(height).max(1));
    let mut noise = u32::from(step) + 1;
    RgbaImage::from_fn(across, down, |x, y| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let grain = noise >> 29;
        let (x, y) = (x * 255 / across, y * 255 / down);
        let ball = (x.abs_diff(90 + u32::from(step) * 9)).pow(2) + (y.abs_diff(100)).pow(2) < 2_500;
        let shade = |value: u32| u8::try_from((value + grain).min(255)).unwrap_or(u8::MAX);
        if ball {
            Rgba([shade(230), shade(140), shade(20 + y / 4), 255])
        } else if y < 140 {
            Rgba([shade(90 + y / 2), shade(140 + y / 3), shade(200 + x / 8), 255])
        } else {
            Rgba([shade(x / 3), shade(90 + x / 4), shade(y / 5), 255])
        }
    })
}

fn jpeg(
    image: &DynamicImage,
    colours: ColorType,
    quality: u8,
    adapt: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
) -> anyhow::Result<Vec<u8>> {
    let (width, height) = (u16::try_from(image.width())?, u16::try_from(image.height())?);
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, quality);
    adapt(&mut encoder);
    match colours {
        ColorType::Luma => encoder.encode(&image.to_luma8(), width, height, colours)?,
        ColorType::Cmyk => encoder.encode(&image.to_rgba8(), width, height, colours)?,
        _ => encoder.encode(&image.to_rgb8(), width, height, colours)?,
    }
    Ok(out)
}

fn written(image: &DynamicImage, format: ImageFormat) -> anyhow::Result<Vec<u8>> {
    let mut out = std::io::Cursor::new(Vec::new());
    image.write_to(&mut out, format)?;
    Ok(out.into_inner())
}

/// By the engine itself: `source` in another format, as large as it is.
fn turned(source: &[u8], output: Output, animated: bool) -> anyhow::Result<Vec<u8>> {
    let variant = Variant {
        output,
        animated,
        ..Variant::new("one", None, None, Fit::Inside)
    };
    let settings = Settings {
        variants: vec![variant],
        ..Settings::default()
    };
    let made = process(source, &settings, &|| false)?.variants.pop();
    Ok(made.context("a variant was asked for")?.bytes)
}

/// Every kind at one size. `all`: also those that take long to make.
fn of_size((width, height): (u16, u16), share: u32, all: bool) -> anyhow::Result<Vec<Original>> {
    let solid = DynamicImage::ImageRgb8(DynamicImage::ImageRgba8(scene(width, height, 0)).to_rgb8());
    let mut clear = scene(width, height, 1);
    for (x, _, pixel) in clear.enumerate_pixels_mut() {
        pixel.0[3] = u8::try_from(x % 256).unwrap_or(255);
    }
    let clear = DynamicImage::ImageRgba8(clear);
    let mut made = Vec::new();
    let mut add = |kind, format, bytes: Vec<u8>, share| {
        made.push(Original {
            kind,
            format,
            bytes,
            share,
        });
    };
    let photo = |quality, sampling, progressive| {
        jpeg(&solid, ColorType::Rgb, quality, |encoder| {
            encoder.set_sampling_factor(sampling);
            encoder.set_progressive(progressive);
        })
    };
    add(
        "JPEG 4:2:0",
        Format::Jpeg,
        photo(85, SamplingFactor::R_4_2_0, false)?,
        6 * share,
    );
    add(
        "JPEG 4:4:4",
        Format::Jpeg,
        photo(92, SamplingFactor::R_4_4_4, false)?,
        share,
    );
    add(
        "JPEG 4:2:2",
        Format::Jpeg,
        photo(80, SamplingFactor::R_4_2_2, false)?,
        share,
    );
    add(
        "JPEG progressive",
        Format::Jpeg,
        photo(85, SamplingFactor::R_4_2_0, true)?,
        2 * share,
    );
    add(
        "JPEG grey",
        Format::Jpeg,
        jpeg(&solid, ColorType::Luma, 80, |_| {})?,
        share,
    );
    add(
        "JPEG inks",
        Format::Jpeg,
        jpeg(&solid, ColorType::Cmyk, 80, |_| {})?,
        share,
    );
    for (kind, image, format, own) in [
        ("PNG", &solid, ImageFormat::Png, Format::Png),
        ("PNG alpha", &clear, ImageFormat::Png, Format::Png),
        ("WebP lossless", &solid, ImageFormat::WebP, Format::WebP),
        ("WebP lossless alpha", &clear, ImageFormat::WebP, Format::WebP),
        ("BMP", &solid, ImageFormat::Bmp, Format::Bmp),
        ("TIFF", &solid, ImageFormat::Tiff, Format::Tiff),
    ] {
        add(kind, own, written(image, format)?, share);
    }
    let deep = DynamicImage::ImageRgba16(clear.to_rgba16());
    add("PNG 16 bit", Format::Png, written(&deep, ImageFormat::Png)?, share);
    let deep = DynamicImage::ImageRgb16(solid.to_rgb16());
    add("TIFF 16 bit", Format::Tiff, written(&deep, ImageFormat::Tiff)?, share);
    let grey = DynamicImage::ImageLuma8(solid.to_luma8());
    add("PNG grey", Format::Png, written(&grey, ImageFormat::Png)?, share);
    let png = written(&solid, ImageFormat::Png)?;
    add(
        "WebP lossy",
        Format::WebP,
        turned(&png, Output::Webp, false)?,
        2 * share,
    );
    add("GIF", Format::Gif, turned(&png, Output::Gif, false)?, share);
    if all {
        let avif = turned(&png, Output::Avif, false)?;
        add("AVIF", Format::Avif, avif, share);
        let frames: Vec<RgbaImage> = (0..FRAMES).map(|step| scene(width, height, step)).collect();
        let moving = moving_gif(&frames)?;
        add("WebP moving", Format::WebP, turned(&moving, Output::Webp, true)?, share);
        add("GIF moving", Format::Gif, moving, share);
        let frames: Vec<Vec<u8>> = frames
            .into_iter()
            .map(|frame| written(&frame.into(), ImageFormat::Png))
            .collect::<Result<_, _>>()?;
        add("APNG", Format::Png, apng(width.into(), height.into(), &frames), share);
    }
    Ok(made)
}

fn moving_gif(frames: &[RgbaImage]) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut out, 30);
    encoder.set_repeat(Repeat::Infinite)?;
    for frame in frames {
        let delay = Delay::from_numer_denom_ms(40, 1);
        encoder.encode_frame(image::Frame::from_parts(frame.clone(), 0, 0, delay))?;
    }
    drop(encoder);
    ensure!(!out.is_empty(), "a GIF of nothing");
    Ok(out)
}

/// What cameras and screens make.
fn large_ones((width, height): (u16, u16), share: u32) -> anyhow::Result<Vec<Original>> {
    let image = DynamicImage::ImageRgb8(DynamicImage::ImageRgba8(scene(width, height, 2)).to_rgb8());
    let photo = |progressive| {
        jpeg(&image, ColorType::Rgb, 85, |encoder| {
            encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
            encoder.set_progressive(progressive);
        })
    };
    let mut made = Vec::new();
    for (kind, format, bytes, share) in [
        ("large JPEG", Format::Jpeg, photo(false)?, 4 * share),
        ("large JPEG progressive", Format::Jpeg, photo(true)?, 2 * share),
        ("large PNG", Format::Png, written(&image, ImageFormat::Png)?, share),
        ("large WebP", Format::WebP, written(&image, ImageFormat::WebP)?, share),
    ] {
        made.push(Original {
            kind,
            format,
            bytes,
            share,
        });
    }
    if width < LARGEST.0 {
        let deep = DynamicImage::ImageRgb16(image.to_rgb16());
        made.push(Original {
            kind: "large PNG 16 bit",
            format: Format::Png,
            bytes: written(&deep, ImageFormat::Png)?,
            share,
        });
    }
    Ok(made)
}
