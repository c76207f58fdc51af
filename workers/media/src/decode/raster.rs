//! PNG, GIF, WebP, BMP and TIFF, through the decoders of the crate `image`.

use super::{Cicp, Decoded, Pixels, eight_bits, refused, watched::Watched};
use crate::{Format, MediaError, probe};
use image::{
    DynamicImage, ImageDecoder, ImageResult, Limits,
    codecs::{bmp::BmpDecoder, gif::GifDecoder, png::PngDecoder, tiff::TiffDecoder, webp::WebPDecoder},
};

/// For pictures; of the memory something is left for what decoders do not count.
pub(super) fn limits(memory: u64) -> Limits {
    const UNCOUNTED: u64 = 512 * 1024;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(memory.saturating_sub(UNCOUNTED));
    limits
}

pub(super) fn png(bytes: &[u8], memory: u64, cancel: &dyn Fn() -> bool) -> Result<Decoded, MediaError> {
    let decoder = PngDecoder::with_limits(Watched::new(bytes, cancel), limits(memory));
    let mut found = read(Format::Png, decoder, memory)?;
    if found.profile.is_none() {
        found.cicp = cicp(bytes);
    }
    Ok(found)
}

pub(super) fn gif(bytes: &[u8], memory: u64, cancel: &dyn Fn() -> bool) -> Result<Decoded, MediaError> {
    // The frame's own buffer; the screen is counted by nobody.
    let screen = probe(bytes).map_or(0, |probed| u64::from(probed.width) * u64::from(probed.height) * 4);
    let decoder = GifDecoder::new(Watched::new(bytes, cancel));
    read(Format::Gif, decoder, memory.saturating_sub(screen))
}

pub(super) fn webp(bytes: &[u8], memory: u64, cancel: &dyn Fn() -> bool) -> Result<Decoded, MediaError> {
    read(Format::WebP, WebPDecoder::new(Watched::new(bytes, cancel)), memory)
}

pub(super) fn bmp(bytes: &[u8], memory: u64, cancel: &dyn Fn() -> bool) -> Result<Decoded, MediaError> {
    read(Format::Bmp, BmpDecoder::new(Watched::new(bytes, cancel)), memory)
}

pub(super) fn tiff(bytes: &[u8], memory: u64, cancel: &dyn Fn() -> bool) -> Result<Decoded, MediaError> {
    let file = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    // The decoder counts a strip as it is in the file, too.
    let decoder = TiffDecoder::new(Watched::new(bytes, cancel));
    let mut image = image(Format::Tiff, decoder, memory.saturating_add(file))?.0;
    // Read here: the decoder keeps 32 bytes of memory for each byte of a profile, and its limit is the picture's size.
    let directory = probe::tiff::Directory::first(bytes).ok();
    let profile = directory
        .as_ref()
        .and_then(probe::tiff::Directory::profile)
        .map(<[u8]>::to_vec);
    if directory.is_some_and(|directory| directory.premultiplied()) {
        divide_by_alpha(&mut image);
    }
    Ok(Decoded::new(Pixels::Light(image), profile))
}

/// Colours as they are before they were multiplied by their opacity.
fn divide_by_alpha(image: &mut DynamicImage) {
    let DynamicImage::ImageRgba8(image) = image else { return };
    for pixel in image.pixels_mut() {
        let [colours @ .., alpha] = &mut pixel.0;
        let alpha = u16::from(*alpha);
        for sample in colours {
            // Where there is no opacity there is no colour to be had.
            if let Some(whole) = (u16::from(*sample) * 255 + alpha / 2).checked_div(alpha) {
                *sample = u8::try_from(whole).unwrap_or(u8::MAX);
            }
        }
    }
}

fn read<D: ImageDecoder>(format: Format, decoder: ImageResult<D>, memory: u64) -> Result<Decoded, MediaError> {
    let (image, profile) = image(format, decoder, memory)?;
    Ok(Decoded::new(Pixels::Light(image), profile))
}

fn image<D: ImageDecoder>(
    format: Format,
    decoder: ImageResult<D>,
    memory: u64,
) -> Result<(DynamicImage, Option<Vec<u8>>), MediaError> {
    let all = || {
        let mut decoder = decoder?;
        decoder.set_limits(limits(memory))?;
        let profile = if format == Format::Tiff {
            None
        } else {
            decoder.icc_profile()?
        };
        Ok((eight_bits(DynamicImage::from_decoder(decoder)?), profile))
    };
    all().map_err(|error| refused(format.name(), &error))
}

/// PNG's cICP chunk (W3C PNG, third edition, 11.3.2.6), which stands before the pixels.
pub(super) fn cicp(bytes: &[u8]) -> Option<Cicp> {
    let mut rest = bytes.get(8..)?;
    loop {
        let length = usize::try_from(u32::from_be_bytes(rest.get(..4)?.try_into().ok()?)).ok()?;
        match rest.get(4..8)? {
            b"cICP" => {
                let numbers = rest.get(8..12).filter(|_| length == 4)?;
                return Some(Cicp {
                    primaries: *numbers.first()?,
                    transfer: *numbers.get(1)?,
                });
            }
            b"IDAT" => return None,
            _ => rest = rest.get(length.checked_add(12)?..)?,
        }
    }
}
