//! What variants are made of: a decoded picture, in whichever way its decoder left it.

use crate::{
    MediaError,
    geometry::Plan,
    planes::{Light, Planes},
    resize::Scaler,
};
use image::{ColorType, DynamicImage};
use std::borrow::Cow;

/// A decoded picture, grey, RGB or RGBA, 8 bits a sample.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Pixel by pixel.
    Image(DynamicImage),
    /// Component by component, and perhaps no larger than it has to be.
    Planes(Planes),
}

impl Source {
    /// Pixels across and down that the picture has.
    pub(crate) fn size(&self) -> (u32, u32) {
        match self {
            Self::Image(image) => (image.width(), image.height()),
            Self::Planes(planes) => planes.size(),
        }
    }

    /// Whether it has samples of its own for `size` pixels.
    pub(crate) fn has(&self, size: (u32, u32)) -> bool {
        match self {
            Self::Image(image) => image.width() >= size.0 && image.height() >= size.1,
            Self::Planes(planes) => planes.have(size),
        }
    }

    /// The samples of its pixels.
    pub(crate) fn colours(&self) -> ColorType {
        match self {
            Self::Image(image) => image.color(),
            Self::Planes(planes) if planes.light() == Light::Grey => ColorType::L8,
            Self::Planes(_) => ColorType::Rgb8,
        }
    }

    /// All its pixels.
    pub(crate) fn whole(&self) -> Result<Cow<'_, DynamicImage>, MediaError> {
        match self {
            Self::Image(image) => Ok(Cow::Borrowed(image)),
            Self::Planes(planes) => planes.whole().map(Cow::Owned),
        }
    }

    /// All its pixels.
    pub(crate) fn into_image(self) -> Result<DynamicImage, MediaError> {
        match self {
            Self::Image(image) => Ok(image),
            Self::Planes(planes) => planes.whole(),
        }
    }

    /// Scaled and cut as `plan` says.
    pub(crate) fn scaled_image(
        &self,
        scaler: &mut Scaler,
        plan: Plan,
        linear: bool,
    ) -> Result<DynamicImage, MediaError> {
        match self {
            Self::Planes(planes) if !linear => scaler.scale_together(planes, plan),
            _ => scaler.scale(&*self.whole()?, plan, linear),
        }
    }

    /// Averaged to a size that is much smaller.
    pub(crate) fn average(&self, scaler: &mut Scaler, size: (u32, u32)) -> Result<DynamicImage, MediaError> {
        match self {
            Self::Image(image) => scaler.average(image, size),
            Self::Planes(planes) => scaler.average_planes(planes, size),
        }
    }
}
