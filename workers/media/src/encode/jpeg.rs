//! JPEG, baseline.

use super::failed;
use crate::{MediaError, planes::Planes};
use image::DynamicImage;
use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, EncodingError, ImageBuffer, JpegColorType};

/// Whether colours have half of the resolution: below quality 90, which is the encoder's default and everybody's.
pub(super) const fn halves(quality: u8) -> bool {
    quality < 90
}

/// A picture that is luma and two colours already.
struct Apart<'a>(&'a Planes, u16, u16);

impl ImageBuffer for Apart<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.1
    }

    fn height(&self) -> u16 {
        self.2
    }

    fn fill_buffers(&self, row: u16, buffers: &mut [Vec<u8>; 4]) {
        self.0.nearest(row.into(), buffers);
    }
}

/// Of components that lie apart, those of colours with as many samples as the file has of them, or twice as many.
pub(super) fn encode_planes(planes: &Planes, quality: u8) -> Result<Vec<u8>, MediaError> {
    let (width, height) = planes.size();
    let mut out = Vec::with_capacity(width as usize * height as usize / 4);
    let mut encoder = Encoder::new(&mut out, quality);
    encoder.set_chroma_subsampling_method(if planes.sampled_less() {
        ChromaSubsamplingMethod::Nearest
    } else {
        ChromaSubsamplingMethod::Average
    });
    encoder
        .encode_image(Apart(planes, side(width)?, side(height)?))
        .map_err(failed)?;
    Ok(out)
}

pub(super) fn encode(image: &DynamicImage, quality: u8) -> Result<Vec<u8>, MediaError> {
    let (width, height) = (side(image.width())?, side(image.height())?);
    let mut out = Vec::with_capacity(image.as_bytes().len() / 8);
    let mut encoder = Encoder::new(&mut out, quality);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
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
