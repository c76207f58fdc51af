//! JPEG, baseline.

use super::failed;
use crate::MediaError;
use image::DynamicImage;
use jpeg_encoder::{ColorType, Encoder, EncodingError};

/// Colours at half the resolution below quality 90, which is the encoder's default and everybody's.
pub(super) fn encode(image: &DynamicImage, quality: u8) -> Result<Vec<u8>, MediaError> {
    let (width, height) = (side(image.width())?, side(image.height())?);
    let mut out = Vec::with_capacity(image.as_bytes().len() / 8);
    let encoder = Encoder::new(&mut out, quality);
    let encode = |encoder: Encoder<_>, bytes: &[u8], colours| -> Result<(), EncodingError> {
        encoder.encode(bytes, width, height, colours)
    };
    match image {
        DynamicImage::ImageLuma8(grey) => encode(encoder, grey, ColorType::Luma),
        DynamicImage::ImageRgb8(rgb) => encode(encoder, rgb, ColorType::Rgb),
        other => encode(encoder, &other.to_rgb8(), ColorType::Rgb),
    }
    .map_err(failed)?;
    Ok(out)
}

fn side(length: u32) -> Result<u16, MediaError> {
    u16::try_from(length).map_err(failed)
}
