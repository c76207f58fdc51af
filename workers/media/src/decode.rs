//! From cleaned bytes to pixels: memory-safe decoders, under limits of their own beside those that headers were held to.

use crate::{Format, MediaError};
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageResult, Limits as DecoderLimits,
    codecs::{gif::GifDecoder, jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder},
    error::LimitErrorKind,
};
use std::{
    io::{Cursor, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
};

/// An ICC profile larger than this is no profile.
const LARGEST_PROFILE: usize = 4 * 1024 * 1024;

/// A picture with 8 bits a sample, and the profile its colours are meant in.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) image: DynamicImage,
    pub(crate) profile: Option<Vec<u8>>,
}

/// Decodes the picture, or the first frame of an animation, in at most `memory` bytes beside the result.
pub(crate) fn decode(format: Format, bytes: &[u8], memory: u64) -> Result<Decoded, MediaError> {
    // A decoder's bug is the picture's end, not the worker's.
    let result = catch_unwind(AssertUnwindSafe(|| read(format, bytes, memory)));
    match result {
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(MediaError::corrupt("the decoder gave up on it")),
    }
}

fn read(format: Format, bytes: &[u8], memory: u64) -> ImageResult<Decoded> {
    let input = Cursor::new(bytes);
    match format {
        Format::Jpeg => pixels(JpegDecoder::new(input)?, memory),
        Format::Png => pixels(PngDecoder::new(input)?, memory),
        Format::Gif => pixels(GifDecoder::new(input)?, memory),
        Format::WebP => pixels(WebPDecoder::new(input)?, memory),
        Format::Avif | Format::Bmp | Format::Tiff => Err(ImageError::IoError(ErrorKind::Unsupported.into())),
    }
}

fn pixels<D: ImageDecoder>(mut decoder: D, memory: u64) -> ImageResult<Decoded> {
    let mut limits = DecoderLimits::no_limits();
    limits.max_alloc = Some(memory);
    decoder.set_limits(limits)?;
    let profile = decoder
        .icc_profile()?
        .filter(|profile| profile.len() <= LARGEST_PROFILE);
    Ok(Decoded {
        image: eight_bits(DynamicImage::from_decoder(decoder)?),
        profile,
    })
}

/// Grey, RGB or RGBA, 8 bits a sample; an alpha channel that says nothing is left out.
fn eight_bits(image: DynamicImage) -> DynamicImage {
    let grey = !image.color().has_color();
    let image = if image.color().has_alpha() {
        let rgba = image.into_rgba8();
        if rgba.pixels().any(|pixel| pixel.0[3] != 255) {
            return DynamicImage::ImageRgba8(rgba);
        }
        DynamicImage::ImageRgba8(rgba)
    } else {
        image
    };
    if grey {
        DynamicImage::ImageLuma8(image.into_luma8())
    } else {
        DynamicImage::ImageRgb8(image.into_rgb8())
    }
}

fn refused(error: &ImageError) -> MediaError {
    match error {
        ImageError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => MediaError::Truncated,
        ImageError::Limits(limit) => match limit.kind() {
            LimitErrorKind::InsufficientMemory => {
                MediaError::corrupt("decoding it takes more memory than its size allows")
            }
            _ => MediaError::corrupt("it is larger than its header says"),
        },
        other => MediaError::corrupt(other.to_string()),
    }
}
