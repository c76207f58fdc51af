//! From pixels to a file: JPEG, or PNG where there is transparency.

use crate::{Format, MediaError};
use image::{
    DynamicImage, ImageEncoder,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};
use jpeg_encoder::{ColorType, Encoder};

/// JPEG's largest side.
const JPEG_SIDE: u32 = 65_535;

/// Encodes `image`, with the profile its colours are meant in.
pub(crate) fn encode(
    image: &DynamicImage,
    quality: u8,
    profile: Option<&[u8]>,
) -> Result<(Format, Vec<u8>), MediaError> {
    if image.color().has_alpha() || image.width().max(image.height()) > JPEG_SIDE {
        return Ok((Format::Png, png(image, profile)?));
    }
    Ok((Format::Jpeg, jpeg(image, quality, profile)?))
}

fn png(image: &DynamicImage, profile: Option<&[u8]>) -> Result<Vec<u8>, MediaError> {
    let failed = |error: image::ImageError| MediaError::corrupt(format!("it cannot be encoded: {error}"));
    let mut out = Vec::new();
    let mut encoder = PngEncoder::new_with_quality(&mut out, CompressionType::Default, FilterType::Adaptive);
    if let Some(profile) = profile {
        encoder
            .set_icc_profile(profile.to_vec())
            .map_err(|error| failed(image::ImageError::Unsupported(error)))?;
    }
    encoder
        .write_image(image.as_bytes(), image.width(), image.height(), image.color().into())
        .map_err(failed)?;
    Ok(out)
}

fn jpeg(image: &DynamicImage, quality: u8, profile: Option<&[u8]>) -> Result<Vec<u8>, MediaError> {
    let failed = |problem: String| MediaError::corrupt(format!("it cannot be encoded: {problem}"));
    let side = |length: u32| u16::try_from(length).map_err(|error| failed(error.to_string()));
    let colours = if image.color().has_color() {
        ColorType::Rgb
    } else {
        ColorType::Luma
    };
    let mut out = Vec::with_capacity(image.as_bytes().len() / 8);
    let mut encoder = Encoder::new(&mut out, quality.clamp(1, 100));
    if let Some(profile) = profile {
        encoder
            .add_icc_profile(profile)
            .map_err(|error| failed(error.to_string()))?;
    }
    let (width, height) = (side(image.width())?, side(image.height())?);
    encoder
        .encode(image.as_bytes(), width, height, colours)
        .map_err(|error| failed(error.to_string()))?;
    Ok(out)
}
