//! PNG.

use super::failed;
use crate::MediaError;
use image::{
    DynamicImage, ImageEncoder,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};

/// A file of more than this part of its samples is one of a photograph: nothing in it repeats, and searching for what does
/// makes it smaller by a hundredth, in fifty times the time. Drawings and screenshots halve by it.
const PHOTOGRAPH: usize = 3;

pub(super) fn encode(image: &DynamicImage) -> Result<Vec<u8>, MediaError> {
    let quick = written(image, CompressionType::Fast)?;
    if quick.len() > image.as_bytes().len() / PHOTOGRAPH {
        return Ok(quick);
    }
    let searched = written(image, CompressionType::Default)?;
    Ok(if searched.len() < quick.len() { searched } else { quick })
}

fn written(image: &DynamicImage, compression: CompressionType) -> Result<Vec<u8>, MediaError> {
    let mut out = Vec::new();
    PngEncoder::new_with_quality(&mut out, compression, FilterType::Adaptive)
        .write_image(image.as_bytes(), image.width(), image.height(), image.color().into())
        .map_err(failed)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    #[test]
    fn drawings_are_searched_for_what_repeats() {
        let drawing = RgbImage::from_fn(320, 240, |x, y| {
            Rgb(if (x / 8 * 31 + y / 8 * 17) % 7 < 3 {
                [20, 40, 60]
            } else {
                [250; 3]
            })
        });
        let drawing = DynamicImage::from(drawing);
        let quick = written(&drawing, CompressionType::Fast).unwrap();
        let made = encode(&drawing).unwrap();
        assert!(made.len() < quick.len(), "{} {}", made.len(), quick.len());
        assert_eq!(image::load_from_memory(&made).unwrap(), drawing);
    }

    #[test]
    fn photographs_are_not() {
        let grain = |x: u32, y: u32| x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77);
        let photograph = RgbImage::from_fn(320, 240, |x, y| {
            let [a, b, c, _] = grain(x, y).wrapping_mul(0x2c1b_3c6d).to_be_bytes();
            Rgb([100 + a % 32, 90 + b % 32, 80 + c % 32])
        });
        let photograph = DynamicImage::from(photograph);
        let made = encode(&photograph).unwrap();
        assert_eq!(made, written(&photograph, CompressionType::Fast).unwrap());
        assert_eq!(image::load_from_memory(&made).unwrap(), photograph);
    }
}
