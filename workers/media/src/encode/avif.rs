//! AVIF, still: AV1 with full-resolution colours and ten bits, which looks best at the same size.

use super::failed;
use crate::MediaError;
use image::DynamicImage;
use ravif::{Encoder, Img};
use rgb::FromSlice;

/// Of 1, which takes minutes, to 10. Two million pixels take two seconds of a core, and up to eight when they are noise.
const SPEED: u8 = 9;
/// Quality beyond this makes files, and takes memory, several times as large, and nobody sees it.
const BEST: u8 = 90;
/// For larger pictures: twice as fast.
const LARGE_SPEED: u8 = 10;
/// Pixels of a picture that is not large.
const SMALL: u64 = 2_000_000;

pub(super) fn encode(image: &DynamicImage, quality: u8) -> Result<Vec<u8>, MediaError> {
    let quality = f32::from(quality.min(BEST));
    let large = u64::from(image.width()) * u64::from(image.height()) > SMALL;
    let encoder = Encoder::new()
        .with_quality(quality)
        .with_alpha_quality(quality)
        .with_speed(if large { LARGE_SPEED } else { SPEED })
        .with_num_threads(Some(1));
    let (width, height) = (image.width() as usize, image.height() as usize);
    let file = match image {
        DynamicImage::ImageRgb8(rgb) => encoder.encode_rgb(Img::new(rgb.as_rgb(), width, height)),
        DynamicImage::ImageRgba8(rgba) => encoder.encode_rgba(Img::new(rgba.as_rgba(), width, height)),
        other => encoder.encode_rgb(Img::new(other.to_rgb8().as_rgb(), width, height)),
    };
    file.map(|file| file.avif_file).map_err(failed)
}
