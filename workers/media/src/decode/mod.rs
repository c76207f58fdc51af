//! From cleaned bytes to pixels: memory-safe decoders, under limits of their own beside those that headers were held to.
//!
//! Promises: holds at most what [`crate::Probe::decoder_bytes`] said (but for the WebP that [`crate::Probe::memory_bytes`]
//! tells of), ends with a [`MediaError`] whatever the bytes are,
//! and gives up soon after `cancel` says so where the decoder lets it. JPEG, PNG, GIF, BMP and TIFF ask at every part of
//! the file they read; a WebP frame and an AVIF picture are decoded in one go, and are bounded by the caller's process
//! alone.

mod avif;
mod frames;
mod jpeg;
mod raster;
mod watched;
mod yuv;

pub(crate) use frames::frames;
pub use frames::{Frame, Frames};

use crate::{
    Format, MediaError,
    colour::{self, LARGEST_PROFILE},
    planes::{Light, Planes},
    source::Source,
};
use image::{DynamicImage, ImageError, error::LimitErrorKind};
use std::{
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What profiles of colour pictures say that their data is.
const COLOURS: &[u8; 4] = b"RGB ";

/// Whether a profile can be one for pixels of `space`: ICC.1, 7.2: its header has 128 bytes, the space of its data stands
/// at 16.
fn fits(profile: &[u8], space: &[u8]) -> bool {
    (128..=LARGEST_PROFILE).contains(&profile.len()) && profile.get(16..20) == Some(space)
}

/// A picture with 8 bits a sample, and what its colours mean.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// Its samples.
    pub(crate) pixels: Pixels,
    /// The ICC profile they are meant in. Always one for as many channels as they have.
    pub(crate) profile: Option<Vec<u8>>,
    /// Their primaries and transfer function, where the file tells them in numbers and has no profile.
    pub(crate) cicp: Option<Cicp>,
    /// How the container turns them for display, an EXIF orientation; `None` where it does not.
    pub(crate) turned: Option<u8>,
}

/// Samples, 8 bits each.
#[derive(Debug)]
pub(crate) enum Pixels {
    /// Grey, RGB or RGBA.
    Light(DynamicImage),
    /// Grey, YCbCr or RGB, each component for itself.
    Planes(Planes),
    /// CMYK, of which only a profile tells what it looks like.
    Ink(Cmyk),
}

/// Four inks, 0 none to 255 full, row by row.
#[derive(Debug)]
pub(crate) struct Cmyk {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) samples: Vec<u8>,
}

/// Colours by number (ITU-T H.273).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cicp {
    pub(crate) primaries: u8,
    pub(crate) transfer: u8,
}

/// Decodes the picture, or the first frame of an animation, in at most `memory` bytes. With no more pixels than `eighths` of its
/// sides have, 1 to 8, where its format lets it.
///
/// # Errors
/// When the bytes are damaged, of a kind that is not taken, need more memory than that, or `cancel` says so.
pub(crate) fn decode(
    format: Format,
    bytes: &[u8],
    memory: u64,
    eighths: u8,
    cancel: &dyn Fn() -> bool,
) -> Result<Decoded, MediaError> {
    guarded(cancel, || match format {
        Format::Jpeg => jpeg::decode(bytes, eighths, cancel),
        Format::Avif => avif::decode(bytes, cancel),
        Format::Png => raster::png(bytes, memory, cancel),
        Format::Gif => raster::gif(bytes, memory, cancel),
        Format::WebP => raster::webp(bytes, memory, cancel),
        Format::Bmp => raster::bmp(bytes, memory, cancel),
        Format::Tiff => raster::tiff(bytes, memory, cancel),
    })
}

/// A decoder's bug is the picture's end, not the worker's; and whatever it says after it was stopped is that.
fn guarded<T>(cancel: &dyn Fn() -> bool, work: impl FnOnce() -> Result<T, MediaError>) -> Result<T, MediaError> {
    let result = catch_unwind(AssertUnwindSafe(work));
    if cancel() {
        return Err(MediaError::Cancelled);
    }
    result.unwrap_or_else(|_| Err(MediaError::corrupt("the decoder gave up on it")))
}

impl Decoded {
    /// With a profile only if it is one for the pixels: a profile of inks says nothing of light.
    fn new(pixels: Pixels, profile: Option<Vec<u8>>) -> Self {
        let space: &[u8] = match &pixels {
            Pixels::Ink(_) => b"CMYK",
            Pixels::Light(image) if image.color().has_color() => COLOURS,
            Pixels::Planes(planes) if planes.light() != Light::Grey => COLOURS,
            Pixels::Light(_) | Pixels::Planes(_) => b"GRAY",
        };
        let fits = |profile: &Vec<u8>| fits(profile, space);
        Self {
            pixels,
            profile: profile.filter(fits),
            cicp: None,
            turned: None,
        }
    }

    /// Pixels across and down, as stored.
    pub(crate) fn size(&self) -> (u32, u32) {
        match &self.pixels {
            Pixels::Light(image) => (image.width(), image.height()),
            Pixels::Planes(planes) => planes.size(),
            Pixels::Ink(inks) => (inks.width, inks.height),
        }
    }

    /// Light, whatever it was: inks as their profile says, which is left out then.
    pub(crate) fn into_light(self) -> (Source, Option<Vec<u8>>) {
        let inks = match self.pixels {
            Pixels::Light(image) => return (Source::Image(image), self.profile),
            Pixels::Planes(planes) => return (Source::Planes(planes), self.profile),
            Pixels::Ink(inks) => inks,
        };
        let shown = self.profile.and_then(|profile| {
            colour::to_srgb_cmyk(&inks.samples, inks.width, inks.height, &profile).map(DynamicImage::from)
        });
        (Source::Image(shown.unwrap_or_else(|| inks.into_light())), None)
    }
}

impl Cmyk {
    /// What is left of white by each ink and then by black, in the same buffer.
    fn into_light(self) -> DynamicImage {
        let mut samples = self.samples;
        let product = |ink: u8, black: u8| -> u8 {
            let left = u16::from(255 - ink) * u16::from(255 - black);
            u8::try_from((left + 127) / 255).unwrap_or(u8::MAX)
        };
        narrow::<4, 3>(&mut samples, |[cyan, magenta, yellow, black]| {
            [product(cyan, black), product(magenta, black), product(yellow, black)]
        });
        light(self.width, self.height, samples, image::RgbImage::from_raw)
    }
}

/// Turns pixels of `FROM` samples into fewer, `TO`, where they lie.
fn narrow<const FROM: usize, const TO: usize>(samples: &mut Vec<u8>, turn: impl Fn([u8; FROM]) -> [u8; TO]) {
    let count = samples.len() / FROM;
    for pixel in 0..count {
        let mut from = [0; FROM];
        from.copy_from_slice(&samples[pixel * FROM..(pixel + 1) * FROM]);
        samples[pixel * TO..(pixel + 1) * TO].copy_from_slice(&turn(from));
    }
    samples.truncate(count * TO);
}

/// A picture of samples; an empty one if there are too few, which [`crate::process`] then refuses by its size.
fn light<B>(
    width: u32,
    height: u32,
    samples: Vec<u8>,
    build: impl FnOnce(u32, u32, Vec<u8>) -> Option<B>,
) -> DynamicImage
where
    DynamicImage: From<B>,
{
    build(width, height, samples).map_or_else(|| DynamicImage::new_rgb8(0, 0), DynamicImage::from)
}

/// Grey, RGB or RGBA, 8 bits a sample; an alpha channel that says nothing is left out.
fn eight_bits(image: DynamicImage) -> DynamicImage {
    let (width, height) = (image.width(), image.height());
    match image {
        DynamicImage::ImageLuma8(_) | DynamicImage::ImageRgb8(_) => image,
        DynamicImage::ImageRgba8(rgba) => {
            if rgba.pixels().any(|pixel| pixel.0[3] != 255) {
                return DynamicImage::ImageRgba8(rgba);
            }
            let mut samples = rgba.into_raw();
            narrow::<4, 3>(&mut samples, |[red, green, blue, _]| [red, green, blue]);
            light(width, height, samples, image::RgbImage::from_raw)
        }
        DynamicImage::ImageLumaA8(grey) => {
            if grey.pixels().any(|pixel| pixel.0[1] != 255) {
                return DynamicImage::ImageRgba8(DynamicImage::ImageLumaA8(grey).into_rgba8());
            }
            let mut samples = grey.into_raw();
            narrow::<2, 1>(&mut samples, |[grey, _]| [grey]);
            light(width, height, samples, image::GrayImage::from_raw)
        }
        // Each sample to the nearest of 8 bits: `image` divides by 257 and rounds.
        DynamicImage::ImageLuma16(_) => DynamicImage::ImageLuma8(image.into_luma8()),
        DynamicImage::ImageLumaA16(grey) => {
            if grey.pixels().all(|pixel| pixel.0[1] == u16::MAX) {
                return DynamicImage::ImageLuma8(DynamicImage::ImageLumaA16(grey).into_luma8());
            }
            DynamicImage::ImageRgba8(DynamicImage::ImageLumaA16(grey).into_rgba8())
        }
        DynamicImage::ImageRgb16(_) | DynamicImage::ImageRgb32F(_) => DynamicImage::ImageRgb8(image.into_rgb8()),
        other => eight_bits(DynamicImage::ImageRgba8(other.into_rgba8())),
    }
}

/// What a decoder of the crate `image` says, in our words.
fn refused(format: &'static str, error: &ImageError) -> MediaError {
    match error {
        ImageError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => MediaError::Truncated,
        ImageError::Limits(limit) => match limit.kind() {
            LimitErrorKind::InsufficientMemory => {
                MediaError::corrupt("decoding it takes more memory than its size allows")
            }
            _ => MediaError::corrupt("it is larger than its header says"),
        },
        ImageError::Unsupported(kind) => MediaError::Unsupported {
            format,
            problem: kind.to_string(),
        },
        other => MediaError::corrupt(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inks_without_a_profile_take_their_part_of_white() {
        let inks = Cmyk {
            width: 4,
            height: 1,
            samples: vec![0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255, 0, 128, 255, 51],
        };
        let (source, _) = Decoded::new(Pixels::Ink(inks), None).into_light();
        let image = source.into_image().unwrap();
        let expected = [255, 255, 255, 0, 255, 255, 0, 0, 0, 204, 102, 0];
        assert_eq!(image.as_bytes(), expected);
    }

    #[test]
    fn a_profile_for_other_channels_is_none() {
        let profile = |space: &[u8; 4]| {
            let mut profile = vec![0; 200];
            profile[16..20].copy_from_slice(space);
            profile
        };
        let kept = |image: DynamicImage, space| {
            Decoded::new(Pixels::Light(image), Some(profile(space)))
                .profile
                .is_some()
        };
        assert!(kept(DynamicImage::new_rgb8(1, 1), b"RGB "));
        assert!(kept(DynamicImage::new_rgba8(1, 1), b"RGB "));
        assert!(kept(DynamicImage::new_luma8(1, 1), b"GRAY"));
        assert!(!kept(DynamicImage::new_rgb8(1, 1), b"CMYK"));
        assert!(!kept(DynamicImage::new_luma8(1, 1), b"RGB "));
    }

    #[test]
    fn sixteen_bits_are_rounded_to_the_nearest_eight() {
        let samples: Vec<u16> = (0..=u16::MAX).collect();
        let image = image::ImageBuffer::from_raw(256, 256, samples).unwrap();
        let turned = eight_bits(DynamicImage::ImageLuma16(image));
        for (deep, eight) in (0..=u16::MAX).zip(turned.as_bytes()) {
            let nearest = (f64::from(deep) / 257.0).round();
            assert!((nearest - f64::from(*eight)).abs() < f64::EPSILON, "{deep}");
        }
    }

    #[test]
    fn a_decoder_that_panics_costs_its_picture_alone() {
        let result = guarded(&|| false, || -> Result<(), MediaError> { panic!("a bug") });
        assert_eq!(result.unwrap_err().code(), "corrupt");
        let stopped = guarded(&|| true, || Ok(()));
        assert_eq!(stopped.unwrap_err(), MediaError::Cancelled);
    }
}
