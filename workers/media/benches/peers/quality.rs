//! How close a variant is to what it could be.

use image::{DynamicImage, RgbImage, imageops::FilterType};
use std::{borrow::Cow, error::Error, path::Path};

/// The picture itself, and scaled from all of its pixels.
pub(crate) struct Reference {
    full: DynamicImage,
    pub(crate) large: RgbImage,
    pub(crate) medium: RgbImage,
}

/// PSNR in dB, SSIM from 0 to 1.
pub(crate) struct Quality {
    pub(crate) psnr: f64,
    pub(crate) ssim: f64,
}

/// On white, as a JPEG of it is.
fn flat(image: &DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.to_rgb8();
    }
    let rgba = image.to_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [red, green, blue, alpha] = rgba.get_pixel(x, y).0.map(u32::from);
        let mixed = [red, green, blue].map(|value| (value * alpha + 255 * (255 - alpha) + 127) / 255);
        image::Rgb(mixed.map(|value| u8::try_from(value).unwrap_or(u8::MAX)))
    })
}

pub(crate) fn reference(file: &Path) -> Result<Reference, Box<dyn Error>> {
    let full = image::ImageReader::open(file)?.with_guessed_format()?.decode()?;
    let scaled = |width: u32| {
        let width = width.min(full.width());
        let height = (f64::from(full.height()) * f64::from(width) / f64::from(full.width())).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a side of a picture"
        )]
        let height = (height as u32).max(1);
        flat(&full.resize_exact(width, height, FilterType::Lanczos3))
    };
    let (large, medium) = (scaled(1_600), scaled(500));
    Ok(Reference { full, large, medium })
}

/// Of an encoded variant. One that scales while it decodes may round a side the other way: it is compared with its like.
pub(crate) fn compare(
    Reference { full, .. }: &Reference,
    scaled: &RgbImage,
    encoded: &[u8],
) -> Result<Quality, Box<dyn Error>> {
    let found = flat(&image::load_from_memory(encoded)?);
    let ((width, height), (right, down)) = (found.dimensions(), scaled.dimensions());
    if width.abs_diff(right) > 1 || height.abs_diff(down) > 1 {
        return Err(format!("{:?} instead of {:?}", found.dimensions(), scaled.dimensions()).into());
    }
    let reference = if (width, height) == (right, down) {
        Cow::Borrowed(scaled)
    } else {
        Cow::Owned(flat(&full.resize_exact(width, height, FilterType::Lanczos3)))
    };
    let error: f64 = reference
        .as_raw()
        .iter()
        .zip(found.as_raw())
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2))
        .sum();
    let mean = error / reference.as_raw().len() as f64;
    Ok(Quality {
        psnr: 10.0 * (255.0_f64.powi(2) / mean.max(1e-9)).log10(),
        ssim: ssim(&luma(&reference), &luma(&found), reference.width() as usize),
    })
}

fn luma(image: &RgbImage) -> Vec<f64> {
    let weigh = |pixel: &image::Rgb<u8>| {
        let [red, green, blue] = pixel.0.map(f64::from);
        0.299 * red + 0.587 * green + 0.114 * blue
    };
    image.pixels().map(weigh).collect()
}

/// Wang et al. 2004, over blocks of 8 × 8 that do not overlap.
fn ssim(a: &[f64], b: &[f64], width: usize) -> f64 {
    const SIDE: usize = 8;
    let (c1, c2) = ((0.01 * 255.0_f64).powi(2), (0.03 * 255.0_f64).powi(2));
    let (mut sum, mut blocks) = (0.0, 0.0);
    for top in (0..(a.len() / width).saturating_sub(SIDE - 1)).step_by(SIDE) {
        for left in (0..width.saturating_sub(SIDE - 1)).step_by(SIDE) {
            let places = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (top + y) * width + left + x));
            let (mut ma, mut mb, mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for place in places {
                let (p, q) = (a[place], b[place]);
                ma += p;
                mb += q;
                aa += p * p;
                bb += q * q;
                ab += p * q;
            }
            let count = (SIDE * SIDE) as f64;
            let (ma, mb) = (ma / count, mb / count);
            let (va, vb, cov) = (aa / count - ma * ma, bb / count - mb * mb, ab / count - ma * mb);
            sum += (2.0 * ma * mb + c1) * (2.0 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
            blocks += 1.0;
        }
    }
    if blocks > 0.0 { sum / blocks } else { 1.0 }
}
