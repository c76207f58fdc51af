//! Colours that are meant in another space than sRGB, converted to it by their ICC profile (ICC.1:2022).
//!
//! A profile that is broken, that belongs to other pixels, or that is sRGB itself changes nothing: the picture is then
//! shown as every viewer shows one without a profile.

use crate::decode::Cicp;
use image::{ColorType, DynamicImage, RgbImage};
use moxcms::{
    ColorProfile, DataColorSpace, Layout, ParsingOptions, RenderingIntent, Transform8BitExecutor, TransformOptions,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// A profile larger than this is ignored; those of printing processes have up to 3 MB.
pub(crate) const LARGEST_PROFILE: usize = 3 * 1024 * 1024;
/// Samples that differ by no more than this cannot be told apart.
const NEAR: u8 = 2;

/// An upper bound of what converting takes, for a file of `input` bytes; `packed`: whether its profile is compressed.
///
/// The profile, its parsed copy, its table in floating point (four bytes for one), and the transform's own tables.
pub(crate) fn memory_bytes(input: u64, packed: bool) -> u64 {
    const TABLES: u64 = 2 * 1024 * 1024;
    // Deflate's best.
    let profile = input.saturating_mul(if packed { 1_032 } else { 1 });
    profile.min(LARGEST_PROFILE as u64) * 7 + if input == 0 { 0 } else { TABLES }
}

/// The profile of colours that a file tells by number (ITU-T H.273), where they are wider than sRGB. What is brighter than
/// a screen's white (PQ, HLG) is left as it is: nothing here maps it.
pub(crate) fn by_numbers(numbers: Cicp) -> Option<Vec<u8>> {
    let profile = match (numbers.primaries, numbers.transfer) {
        (12, 13) => ColorProfile::new_display_p3(),
        (9, 1 | 6 | 14 | 15) => ColorProfile::new_bt2020(),
        _ => return None,
    };
    profile.encode().ok()
}

/// A conversion to sRGB.
pub(crate) enum ToSrgb {
    /// A curve, for greys.
    Curve(Box<[u8; 256]>),
    /// Everything else.
    Colours(Arc<Transform8BitExecutor>, Layout),
}

fn options(intent: RenderingIntent) -> TransformOptions {
    TransformOptions {
        rendering_intent: intent,
        prefer_fixed_point: false,
        ..TransformOptions::default()
    }
}

/// A profile whose bytes are trusted with nothing: a parser's bug is the profile's end.
fn guarded<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok().flatten()
}

fn parse(profile: &[u8]) -> Option<ColorProfile> {
    let limits = ParsingOptions {
        max_profile_size: LARGEST_PROFILE,
        max_allowed_clut_size: LARGEST_PROFILE,
        ..ParsingOptions::default()
    };
    ColorProfile::new_from_slice_with_options(profile, limits).ok()
}

/// The transform for the profile's own intent, or for one that its tables have.
fn transform(profile: &ColorProfile, from: Layout, to: Layout) -> Option<Arc<Transform8BitExecutor>> {
    let srgb = ColorProfile::new_srgb();
    [
        profile.rendering_intent,
        RenderingIntent::Perceptual,
        RenderingIntent::RelativeColorimetric,
    ]
    .into_iter()
    .find_map(|intent| profile.create_transform_8bit(from, &srgb, to, options(intent)).ok())
}

impl ToSrgb {
    /// For pictures of such samples with `profile`; `None` when there is nothing to convert.
    pub(crate) fn new(profile: &[u8], samples: ColorType) -> Option<Self> {
        guarded(|| {
            let profile = parse(profile)?;
            match (profile.color_space, samples) {
                (DataColorSpace::Gray, ColorType::L8 | ColorType::Rgba8) => {
                    let greys: Vec<u8> = (0..=u8::MAX).collect();
                    Self::curve(&*transform(&profile, Layout::Gray, Layout::Rgb)?, &greys)
                }
                (DataColorSpace::Rgb, ColorType::L8) => {
                    let greys: Vec<u8> = (0..=u8::MAX).flat_map(|grey| [grey; 3]).collect();
                    Self::curve(&*transform(&profile, Layout::Rgb, Layout::Rgb)?, &greys)
                }
                (DataColorSpace::Rgb, ColorType::Rgb8) => Self::colours(&profile, Layout::Rgb),
                (DataColorSpace::Rgb, ColorType::Rgba8) => Self::colours(&profile, Layout::Rgba),
                _ => None,
            }
        })
    }

    fn curve(transform: &Transform8BitExecutor, greys: &[u8]) -> Option<Self> {
        let mut converted = [0; 256 * 3];
        transform.transform(greys, &mut converted).ok()?;
        let mut curve = Box::new([0; 256]);
        for (target, [_, green, _]) in curve.iter_mut().zip(converted.as_chunks::<3>().0) {
            *target = *green;
        }
        let near = (0..=u8::MAX)
            .zip(curve.iter())
            .all(|(grey, to)| grey.abs_diff(*to) <= NEAR);
        (!near).then_some(Self::Curve(curve))
    }

    fn colours(profile: &ColorProfile, layout: Layout) -> Option<Self> {
        let executor = transform(profile, layout, layout)?;
        // Nine steps of each colour: what leaves all of these alone is sRGB.
        let step = |number: usize| u8::try_from((number % 9) * 255 / 8).unwrap_or(u8::MAX);
        let probes: Vec<u8> = (0..9 * 9 * 9)
            .flat_map(|number| {
                let colour = [step(number / 81), step(number / 9), step(number), u8::MAX];
                colour.into_iter().take(layout.channels())
            })
            .collect();
        let mut converted = vec![0; probes.len()];
        executor.transform(&probes, &mut converted).ok()?;
        let near = probes
            .iter()
            .zip(&converted)
            .all(|(from, to)| from.abs_diff(*to) <= NEAR);
        (!near).then_some(Self::Colours(executor, layout))
    }

    /// `image` in sRGB; transparency stays as it is.
    pub(crate) fn convert(&self, image: &mut DynamicImage) {
        match (self, image) {
            (Self::Curve(curve), DynamicImage::ImageLuma8(pixels)) => {
                for pixel in pixels.pixels_mut() {
                    pixel.0 = pixel.0.map(|grey| bent(curve, grey));
                }
            }
            (Self::Curve(curve), DynamicImage::ImageRgba8(pixels)) => {
                for pixel in pixels.pixels_mut() {
                    let [red, green, blue, alpha] = pixel.0;
                    let [red, green, blue] = [red, green, blue].map(|grey| bent(curve, grey));
                    pixel.0 = [red, green, blue, alpha];
                }
            }
            (Self::Colours(executor, Layout::Rgb), DynamicImage::ImageRgb8(pixels)) => {
                let row = pixels.width() as usize * 3;
                rows(&**executor, pixels.as_mut(), row);
            }
            (Self::Colours(executor, Layout::Rgba), DynamicImage::ImageRgba8(pixels)) => {
                let row = pixels.width() as usize * 4;
                rows(&**executor, pixels.as_mut(), row);
            }
            // It was made for another layout: every picture of a chain has that of its source.
            (Self::Curve(_) | Self::Colours(..), _) => {}
        }
    }
}

fn bent(curve: &[u8; 256], grey: u8) -> u8 {
    curve.get(usize::from(grey)).copied().unwrap_or(grey)
}

fn rows(executor: &Transform8BitExecutor, pixels: &mut [u8], row: usize) {
    let mut source = vec![0; row];
    for line in pixels.chunks_exact_mut(row.max(1)) {
        source.copy_from_slice(line);
        // Lengths match, which is all it asks for.
        let _ = executor.transform(&source, line);
    }
}

/// Inks of `width` × `height` pixels, four bytes each, 0 no ink and 255 full, in sRGB. `None` where the profile is broken or
/// none for inks, or there are fewer bytes than pixels.
pub(crate) fn to_srgb_cmyk(cmyk: &[u8], width: u32, height: u32, profile: &[u8]) -> Option<RgbImage> {
    let row = width as usize;
    if row == 0 || cmyk.len() < row.checked_mul(4)?.checked_mul(height as usize)? {
        return None;
    }
    let executor = guarded(|| {
        let profile = parse(profile).filter(|profile| profile.color_space == DataColorSpace::Cmyk)?;
        transform(&profile, Layout::Rgba, Layout::Rgb)
    })?;
    let mut image = RgbImage::new(width, height);
    for (target, inks) in image.chunks_exact_mut(row * 3).zip(cmyk.chunks_exact(row * 4)) {
        executor.transform(inks, target).ok()?;
    }
    Some(image)
}

#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
