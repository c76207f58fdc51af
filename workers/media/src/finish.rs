//! What is done to a scaled picture before it is encoded: sharpening, background, padding.

use crate::{Rgb, Variant, geometry::Plan};
use image::{DynamicImage, GenericImage, Pixel, Rgba, RgbaImage};
use std::borrow::Cow;

/// Behind transparency, where nobody says and a format has none.
pub(crate) const WHITE: Rgb = Rgb([255; 3]);

/// `image` as it is encoded; `transparent` says whether its format can be.
pub(crate) fn finish<'a>(
    mut image: Cow<'a, DynamicImage>,
    variant: &Variant,
    plan: Plan,
    transparent: bool,
) -> Cow<'a, DynamicImage> {
    if variant.sharpen > 0 {
        sharpen(image.to_mut(), variant.sharpen.min(100));
    }
    let background = match variant.background {
        Some(colour) => Some(colour),
        None if transparent => None,
        None => Some(WHITE),
    };
    if let Some(colour) = background
        && image.color().has_alpha()
    {
        image = Cow::Owned(flatten(&image, colour));
    }
    if plan.canvas == plan.cut {
        image
    } else {
        Cow::Owned(stand(&image, plan, background))
    }
}

/// On `background`.
pub(crate) fn flatten(image: &DynamicImage, Rgb(background): Rgb) -> DynamicImage {
    let mut flat = image::RgbImage::new(image.width(), image.height());
    let rgba = image
        .as_rgba8()
        .map_or_else(|| Cow::Owned(image.to_rgba8()), Cow::Borrowed);
    for (target, Rgba([red, green, blue, alpha])) in flat.pixels_mut().zip(rgba.pixels()) {
        let alpha = u32::from(*alpha);
        for (target, (over, under)) in target.0.iter_mut().zip([red, green, blue].into_iter().zip(background)) {
            let mixed = u32::from(*over) * alpha + u32::from(under) * (255 - alpha);
            *target = u8::try_from((mixed + 127) / 255).unwrap_or(u8::MAX);
        }
    }
    DynamicImage::ImageRgb8(flat)
}

/// Padded to the canvas, with the background or with nothing.
fn stand(image: &DynamicImage, plan: Plan, background: Option<Rgb>) -> DynamicImage {
    let (width, height) = plan.canvas;
    let (left, top) = plan.place();
    match (background, image) {
        (Some(Rgb([red, green, blue])), DynamicImage::ImageLuma8(grey)) if red == green && green == blue => {
            DynamicImage::ImageLuma8(on(
                grey,
                image::GrayImage::from_pixel(width, height, [red].into()),
                left,
                top,
            ))
        }
        (Some(Rgb(colour)), _) => {
            let canvas = image::RgbImage::from_pixel(width, height, colour.into());
            match image {
                DynamicImage::ImageRgb8(rgb) => DynamicImage::ImageRgb8(on(rgb, canvas, left, top)),
                other => DynamicImage::ImageRgb8(on(&other.to_rgb8(), canvas, left, top)),
            }
        }
        (None, _) => {
            let canvas = RgbaImage::new(width, height);
            match image {
                DynamicImage::ImageRgba8(rgba) => DynamicImage::ImageRgba8(on(rgba, canvas, left, top)),
                other => DynamicImage::ImageRgba8(on(&other.to_rgba8(), canvas, left, top)),
            }
        }
    }
}

fn on<P: Pixel<Subpixel = u8>>(
    image: &image::ImageBuffer<P, Vec<u8>>,
    mut canvas: image::ImageBuffer<P, Vec<u8>>,
    left: u32,
    top: u32,
) -> image::ImageBuffer<P, Vec<u8>> {
    // The plan keeps it within; what would stand out would be left out, not written elsewhere.
    let _ = canvas.copy_from(image, left, top);
    canvas
}

/// Unsharp mask with a kernel of 1 2 1 in both directions; `percent` of the difference to the blurred picture is added.
/// Pixels beside transparency are left alone: what lies there is no colour.
fn sharpen(image: &mut DynamicImage, percent: u8) {
    let (width, height) = (image.width() as usize, image.height() as usize);
    match image {
        DynamicImage::ImageLuma8(pixels) => sharpen_samples::<1>(pixels.as_mut(), width, height, percent),
        DynamicImage::ImageRgb8(pixels) => sharpen_samples::<3>(pixels.as_mut(), width, height, percent),
        DynamicImage::ImageRgba8(pixels) => sharpen_samples::<4>(pixels.as_mut(), width, height, percent),
        // Pictures have one of these three layouts.
        _ => {}
    }
}

fn sharpen_samples<const CHANNELS: usize>(samples: &mut [u8], width: usize, height: usize, percent: u8) {
    let row = width * CHANNELS;
    if width < 2 || height < 2 {
        return;
    }
    // Rows as they were: the one above and this one, which are overwritten before they are needed last.
    let mut above: Vec<u8> = samples.iter().take(row).copied().collect();
    let mut here = above.clone();
    let mut following = Vec::with_capacity(row);
    // Sums down, at most 4 × 255.
    let mut sums = vec![0_i32; row];
    for y in 0..height {
        let (start, next) = (y * row, (y + 1) * row);
        following.clear();
        following.extend_from_slice(samples.get(next..next + row).unwrap_or(&here));
        for (sum, ((a, b), c)) in sums.iter_mut().zip(above.iter().zip(&here).zip(&following)) {
            *sum = i32::from(*a) + 2 * i32::from(*b) + i32::from(*c);
        }
        if let Some(target) = samples.get_mut(start..next) {
            sharpen_row::<CHANNELS>(target, &sums, width, i32::from(percent));
        }
        std::mem::swap(&mut above, &mut here);
        std::mem::swap(&mut here, &mut following);
    }
}

fn sharpen_row<const CHANNELS: usize>(target: &mut [u8], sums: &[i32], width: usize, percent: i32) {
    const OPAQUE: i32 = 16 * 255;
    let at = |x: usize, channel: usize| sums.get(x * CHANNELS + channel).copied().unwrap_or(0);
    for (x, pixel) in target.chunks_exact_mut(CHANNELS).enumerate() {
        let (left, right) = (x.saturating_sub(1), (x + 1).min(width - 1));
        let blurred = |channel: usize| at(left, channel) + 2 * at(x, channel) + at(right, channel);
        if CHANNELS == 4 && blurred(3) != OPAQUE {
            continue;
        }
        for (channel, sample) in pixel.iter_mut().enumerate().take(3) {
            let value = i32::from(*sample);
            let sharper = value + (16 * value - blurred(channel)) * percent / 1_600;
            *sample = u8::try_from(sharper.clamp(0, 255)).unwrap_or(*sample);
        }
    }
}
