//! JPEG (ITU-T T.81, and Adobe's ways with four components), through zune-jpeg.
//!
//! Except for sequential pictures whose components do not share a scan: zune-jpeg 0.5 makes wrong colours of them, without
//! a word, when rows are sampled differently or there are restarts. They are rare, and go through the slower jpeg-decoder.

use super::{
    Cmyk, Decoded, Pixels, light,
    watched::{Ending, Watched},
};
use crate::{MediaError, probe, strip::MOST_SCANS};
use zune_core::{colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::{JpegDecoder, errors::DecodeErrors};

pub(super) fn decode(bytes: &[u8], cancel: &dyn Fn() -> bool) -> Result<Decoded, MediaError> {
    if probe::jpeg::apart(bytes) {
        return scanned_apart(bytes, cancel);
    }
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_max_scans(MOST_SCANS as usize);
    let mut decoder = JpegDecoder::new_with_options(Ending::new(bytes, cancel), options);
    decoder.decode_headers().map_err(|error| refused(&error))?;
    let (Some(info), Some(coded)) = (decoder.info(), decoder.input_colorspace()) else {
        return Err(MediaError::corrupt("it has no frame header"));
    };
    let wanted = match (info.components, coded) {
        (1, _) => ColorSpace::Luma,
        (4, ColorSpace::YCCK) => ColorSpace::YCCK,
        (4, _) => ColorSpace::CMYK,
        _ => ColorSpace::RGB,
    };
    decoder.set_options(options.jpeg_set_out_colorspace(wanted));
    let profile = decoder.icc_profile();
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let size = decoder.output_buffer_size().unwrap_or(0);
    let mut samples = vec![0; size];
    decoder.decode_into(&mut samples).map_err(|error| refused(&error))?;
    drop(decoder);
    let pixels = match wanted {
        ColorSpace::Luma => Pixels::Light(light(width, height, samples, image::GrayImage::from_raw)),
        ColorSpace::RGB => Pixels::Light(light(width, height, samples, image::RgbImage::from_raw)),
        _ => {
            inks(&mut samples, wanted == ColorSpace::YCCK);
            Pixels::Ink(Cmyk { width, height, samples })
        }
    };
    Ok(Decoded::new(pixels, profile))
}

fn scanned_apart(bytes: &[u8], cancel: &dyn Fn() -> bool) -> Result<Decoded, MediaError> {
    let mut decoder = jpeg_decoder::Decoder::new(Watched::new(bytes, cancel));
    let samples = decoder.decode().map_err(|error| match error {
        jpeg_decoder::Error::Io(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => MediaError::Truncated,
        other => MediaError::corrupt(other.to_string()),
    })?;
    let info = decoder
        .info()
        .ok_or_else(|| MediaError::corrupt("it has no frame header"))?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let image = match info.pixel_format {
        jpeg_decoder::PixelFormat::L8 => light(width, height, samples, image::GrayImage::from_raw),
        jpeg_decoder::PixelFormat::RGB24 => light(width, height, samples, image::RgbImage::from_raw),
        jpeg_decoder::PixelFormat::L16 | jpeg_decoder::PixelFormat::CMYK32 => {
            return Err(MediaError::corrupt("its components are not what its header says"));
        }
    };
    Ok(Decoded::new(Pixels::Light(image), decoder.icc_profile()))
}

/// Inks, 0 none, from what the file has: Adobe writes them the other way round, and everybody after it, with its marker
/// or without. YCCK is CMYK whose first three, taken for RGB, were turned into `YCbCr`.
fn inks(samples: &mut [u8], ycck: bool) {
    for pixel in samples.as_chunks_mut::<4>().0 {
        let [first, second, third, black] = *pixel;
        let [cyan, magenta, yellow] = if ycck {
            rgb(first, second, third)
        } else {
            [255 - first, 255 - second, 255 - third]
        };
        *pixel = [cyan, magenta, yellow, 255 - black];
    }
}

/// JFIF's matrix (ITU-T T.871, 7), in 16 binary places.
fn rgb(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (luma, blue, red) = (i32::from(luma) << 16, i32::from(blue) - 128, i32::from(red) - 128);
    let byte = |value: i32| u8::try_from(((value + HALF) >> 16).clamp(0, 255)).unwrap_or(0);
    [
        byte(luma + 91_881 * red),
        byte(luma - 22_554 * blue - 46_802 * red),
        byte(luma + 116_130 * blue),
    ]
}

fn refused(error: &DecodeErrors) -> MediaError {
    match error {
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => MediaError::Truncated,
        other => MediaError::corrupt(format!("{other:?}")),
    }
}
