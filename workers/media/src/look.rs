//! What a picture looks like, in a few bytes: its colour, a blurred picture of it, and a hash that lookalikes share.

use crate::{
    Facts, MediaError, Rgb,
    finish::{WHITE, flatten},
    resize::Scaler,
    source::Source,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use image::DynamicImage;
use std::f32::consts::PI;

/// Longest side of the picture that all of it is read from; what `ThumbHash` takes.
const SIDE: u32 = 100;
/// Sides of the grey picture that is hashed.
const HASHED: usize = 32;
/// Frequencies of it that are looked at, in either direction.
const FREQUENCIES: usize = 8;

/// Whether a picture of this size is large enough to be looked at.
pub(crate) const fn enough(width: u32, height: u32) -> bool {
    width >= SIDE || height >= SIDE
}

/// The size that a picture is looked at in.
pub(crate) fn size(width: u32, height: u32) -> (u32, u32) {
    let longest = width.max(height);
    let side = |length: u32| {
        let share = u64::from(length) * u64::from(SIDE.min(longest)) / u64::from(longest.max(1));
        u32::try_from(share).unwrap_or(SIDE).max(1)
    };
    (side(width), side(height))
}

/// Fills in what `picture`, whole, upright and in sRGB, looks like.
pub(crate) fn look(scaler: &mut Scaler, picture: &Source, facts: &mut Facts) -> Result<(), MediaError> {
    let (width, height) = picture.size();
    let small = picture.average(scaler, size(width, height))?;
    let rgba = small.to_rgba8();
    facts.dominant_colour = dominant(rgba.as_raw());
    let hash = thumbhash::rgba_to_thumb_hash(rgba.width() as usize, rgba.height() as usize, rgba.as_raw());
    facts.placeholder = Some(STANDARD.encode(hash));
    // What is transparent is hashed as it is seen on white.
    let seen = if small.color().has_alpha() {
        flatten(&small, WHITE)
    } else {
        small
    };
    let grey = DynamicImage::ImageLuma8(seen.to_luma8());
    let square = u32::try_from(HASHED).unwrap_or(SIDE);
    let grey = scaler.average(&grey, (square, square))?;
    facts.perceptual_hash = Some(perceptual(grey.as_bytes()));
    Ok(())
}

/// The mean of the fullest of 512 boxes of colours; `None` when nothing is to be seen.
fn dominant(rgba: &[u8]) -> Option<Rgb> {
    // Pixels, and the sums of their colours.
    let mut boxes = vec![[0_u32; 4]; 512];
    for [red, green, blue, alpha] in rgba.as_chunks::<4>().0 {
        if *alpha < 128 {
            continue;
        }
        let place = usize::from(red >> 5) << 6 | usize::from(green >> 5) << 3 | usize::from(blue >> 5);
        if let Some([count, sums @ ..]) = boxes.get_mut(place) {
            *count += 1;
            for (sum, colour) in sums.iter_mut().zip([red, green, blue]) {
                *sum += u32::from(*colour);
            }
        }
    }
    let [count, sums @ ..] = boxes.into_iter().max_by_key(|[count, ..]| *count)?;
    let mean = |sum: u32| sum.checked_div(count).map(|mean| u8::try_from(mean).unwrap_or(u8::MAX));
    let [red, green, blue] = sums;
    Some(Rgb([mean(red)?, mean(green)?, mean(blue)?]))
}

/// One bit for each of the lowest 64 frequencies of a discrete cosine transform, the constant ones left out: whether it
/// is above the median. What pHash does.
fn perceptual(grey: &[u8]) -> u64 {
    let wave = |frequency: usize, place: usize| {
        let phase = PI / HASHED as f32 * frequency as f32 * (place as f32 + 0.5);
        phase.cos()
    };
    let waves: Vec<Vec<f32>> = (1..=FREQUENCIES)
        .map(|frequency| (0..HASHED).map(|place| wave(frequency, place)).collect())
        .collect();
    // Along rows first, then down.
    let rows: Vec<Vec<f32>> = grey
        .chunks_exact(HASHED)
        .map(|row| {
            waves
                .iter()
                .map(|wave| along(row.iter().map(|sample| f32::from(*sample)), wave))
                .collect()
        })
        .collect();
    let coefficients: Vec<f32> = waves
        .iter()
        .flat_map(|wave| {
            let rows = &rows;
            (0..FREQUENCIES).map(move |column| along(rows.iter().filter_map(|row| row.get(column).copied()), wave))
        })
        .collect();
    let mut sorted = coefficients.clone();
    sorted.sort_by(f32::total_cmp);
    let middle = sorted.len() / 2;
    let median = sorted
        .get(middle.saturating_sub(1)..=middle)
        .map_or(0.0, |pair| pair.iter().sum::<f32>() / 2.0);
    coefficients
        .iter()
        .fold(0, |hash, coefficient| hash << 1 | u64::from(*coefficient > median))
}

fn along(samples: impl Iterator<Item = f32>, wave: &[f32]) -> f32 {
    samples.zip(wave).map(|(sample, wave)| sample * wave).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgba, RgbaImage};

    fn looked(image: &DynamicImage) -> Facts {
        let mut facts = Facts::default();
        look(&mut Scaler::default(), &Source::Image(image.clone()), &mut facts).unwrap();
        facts
    }

    fn scene(width: u32, height: u32, shift: u8) -> DynamicImage {
        let (across, down) = (width as f32, height as f32);
        DynamicImage::ImageRgba8(RgbaImage::from_fn(width, height, |x, y| {
            let (x, y) = (x as f32 / across, y as f32 / down);
            let wave = (x * 9.0).sin() * (y * 5.0 + x * 3.0).cos();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 20 and 220"
            )]
            let light = (120.0 + wave * 100.0) as u8;
            Rgba([light.saturating_add(shift), light / 2, 255 - light, 255])
        }))
    }

    #[test]
    fn lookalikes_share_most_bits_and_others_do_not() {
        let hash = |image: &DynamicImage| looked(image).perceptual_hash.unwrap();
        let original = hash(&scene(640, 480, 0));
        for alike in [scene(320, 240, 0), scene(641, 479, 12), scene(64, 48, 0)] {
            assert!((original ^ hash(&alike)).count_ones() <= 6);
        }
        for other in [scene(640, 480, 0).fliph(), scene(640, 480, 0).rotate90()] {
            assert!((original ^ hash(&other)).count_ones() >= 16);
        }
    }

    #[test]
    fn the_placeholder_shows_the_picture() {
        let facts = looked(&scene(640, 480, 0));
        let hash = STANDARD.decode(facts.placeholder.unwrap()).unwrap();
        assert!(hash.len() < 30, "{} bytes", hash.len());
        let (red, _, blue, _) = thumbhash::thumb_hash_to_average_rgba(&hash).unwrap();
        assert!((0.3..0.7).contains(&red) && (0.3..0.7).contains(&blue), "{red} {blue}");
    }

    #[test]
    fn most_of_it_gives_the_colour() {
        let image = RgbaImage::from_fn(200, 50, |x, _| match x {
            0..60 => Rgba([250, 250, 250, 255]),
            60..130 => Rgba([10, 200, 30, 255]),
            _ => Rgba([0, 0, 0, 0]),
        });
        let facts = looked(&DynamicImage::ImageRgba8(image));
        let Rgb([red, green, blue]) = facts.dominant_colour.unwrap();
        assert!(
            red < 20 && green.abs_diff(200) < 10 && blue < 40,
            "{red} {green} {blue}"
        );
        let nothing = looked(&DynamicImage::ImageRgba8(RgbaImage::new(1, 1)));
        assert_eq!(nothing.dominant_colour, None);
    }
}
