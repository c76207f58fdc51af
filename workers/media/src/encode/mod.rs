//! From pixels to a file. Files carry no metadata and no profile: their colours are sRGB.

#[cfg(feature = "avif-encode")]
mod avif;
mod gif;
mod jpeg;
mod png;
mod webp;

pub(crate) use gif::GifAnimation;
pub(crate) use webp::WebpAnimation;

use crate::{Format, MediaError, Output, planes::Planes};
use image::DynamicImage;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a file is written: an [`Output`] once everything is known that `Auto` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Jpeg,
    Png,
    Webp,
    WebpLossless,
    Avif,
    Gif,
}

/// JPEG's largest side.
const JPEG_SIDE: u32 = 65_535;

fn failed(problem: impl std::fmt::Display) -> MediaError {
    MediaError::corrupt(format!("it cannot be encoded: {problem}"))
}

/// An encoder's bug is the picture's end, not the worker's.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, MediaError>) -> Result<T, MediaError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(failed("the encoder gave up on it")))
}

impl Codec {
    /// For a picture that does not move.
    pub(crate) fn still(output: Output, transparent: bool, longest: u32) -> Self {
        match output {
            Output::Auto if transparent || longest > JPEG_SIDE => Self::Png,
            Output::Auto | Output::Jpeg => Self::Jpeg,
            Output::Png => Self::Png,
            Output::Webp => Self::Webp,
            Output::WebpLossless => Self::WebpLossless,
            Output::Avif => Self::Avif,
            Output::Gif => Self::Gif,
        }
    }

    /// For a picture that moves; `None` where the format cannot, or not here.
    pub(crate) const fn moving(output: Output) -> Option<Self> {
        match output {
            Output::Auto | Output::Webp => Some(Self::Webp),
            Output::WebpLossless => Some(Self::WebpLossless),
            Output::Gif => Some(Self::Gif),
            Output::Jpeg | Output::Png | Output::Avif => None,
        }
    }

    pub(crate) const fn format(self) -> Format {
        match self {
            Self::Jpeg => Format::Jpeg,
            Self::Png => Format::Png,
            Self::Webp | Self::WebpLossless => Format::WebP,
            Self::Avif => Format::Avif,
            Self::Gif => Format::Gif,
        }
    }

    /// Whether its files can be transparent.
    pub(crate) const fn transparent(self) -> bool {
        !matches!(self, Self::Jpeg)
    }

    /// Bytes of memory that encoding a pixel takes at most, beside the pixel: the encoder's copies and tables, and the
    /// file while it grows.
    pub(crate) const fn pixel_bytes(self) -> u64 {
        match self {
            Self::Jpeg => 8,
            Self::Png | Self::Gif => 16,
            Self::Webp | Self::WebpLossless => 32,
            // Measured: 40 for photographs, 100 for noise.
            Self::Avif => 160,
        }
    }

    /// Whether colours that have half of the resolution are all that it codes.
    pub(crate) const fn takes_planes(self, quality: u8) -> bool {
        matches!(self, Self::Jpeg) && jpeg::halves(quality)
    }

    /// Encodes a picture whose components lie apart, as what [`Self::takes_planes`].
    pub(crate) fn encode_planes(planes: &Planes, quality: u8) -> Result<Vec<u8>, MediaError> {
        guarded(|| jpeg::encode_planes(planes, quality.clamp(1, 100)))
    }

    /// Encodes a picture that does not move. `quality` is 1 to 100, for lossy formats.
    pub(crate) fn encode(self, image: &DynamicImage, quality: u8) -> Result<Vec<u8>, MediaError> {
        let quality = quality.clamp(1, 100);
        guarded(|| match self {
            Self::Jpeg => jpeg::encode(image, quality),
            Self::Png => png::encode(image),
            Self::Webp => webp::lossy(image, quality),
            Self::WebpLossless => webp::lossless(image),
            Self::Avif => avif(image, quality),
            Self::Gif => gif::encode(image),
        })
    }
}

impl Output {
    /// The longest side and the most pixels that its files can have, whether they move or not.
    pub(crate) const fn largest(self, moves: bool) -> (u32, u64) {
        match self {
            Self::Auto if moves => (webp::SIDE, u64::MAX),
            Self::Auto | Self::Png => (i32::MAX.unsigned_abs(), u64::MAX),
            Self::Webp | Self::WebpLossless => (webp::SIDE, u64::MAX),
            Self::Jpeg => (JPEG_SIDE, u64::MAX),
            Self::Gif => (gif::SIDE, u64::MAX),
            Self::Avif => (JPEG_SIDE, AVIF_PIXELS),
        }
    }
}

/// AVIF is bounded by what it costs: some seconds of a core, and half a gigabyte.
const AVIF_PIXELS: u64 = 4_200_000;

#[cfg(feature = "avif-encode")]
fn avif(image: &DynamicImage, quality: u8) -> Result<Vec<u8>, MediaError> {
    avif::encode(image, quality)
}

#[cfg(not(feature = "avif-encode"))]
fn avif(_: &DynamicImage, _: u8) -> Result<Vec<u8>, MediaError> {
    Err(MediaError::Unsupported {
        format: Format::Avif.name(),
        problem: "this program was built without its encoder".to_owned(),
    })
}
