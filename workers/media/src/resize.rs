//! Pixels of another size.

use crate::{MediaError, geometry::Plan, planes::Planes};
use fast_image_resize::{FilterType, PixelComponentMapper, ResizeAlg, ResizeOptions, Resizer, create_srgb_mapper};
use image::{ColorType, DynamicImage};
use std::sync::LazyLock;

/// The curve of sRGB, to 16 bits of light and back.
static LIGHT: LazyLock<PixelComponentMapper> = LazyLock::new(create_srgb_mapper);

/// Scales pictures with Lanczos3, one after the other in the same buffers.
#[derive(Default)]
pub(crate) struct Scaler {
    resizer: Resizer,
}

fn failed(error: impl std::fmt::Display) -> MediaError {
    MediaError::corrupt(format!("it cannot be scaled: {error}"))
}

impl Scaler {
    /// `source`, whole, scaled and cut. Alpha is multiplied in before and taken out after, so that transparent colours
    /// do not bleed. In `linear` light the curve is that of sRGB, whatever the colours are meant in.
    pub(crate) fn scale(
        &mut self,
        source: &DynamicImage,
        plan: Plan,
        linear: bool,
    ) -> Result<DynamicImage, MediaError> {
        let [left, top, width, height] = plan.part(source.width(), source.height());
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
            .crop(left, top, width, height);
        let (across, down) = plan.cut;
        let mut target = DynamicImage::new(across, down, source.color());
        let light = deep(source.color()).filter(|_| linear && plan.scaled != (source.width(), source.height()));
        let Some(light) = light else {
            self.resizer.resize(source, &mut target, &options).map_err(failed)?;
            return Ok(target);
        };
        let mut bright = DynamicImage::new(source.width(), source.height(), light);
        LIGHT.forward_map(source, &mut bright).map_err(failed)?;
        let mut scaled = DynamicImage::new(across, down, light);
        self.resizer.resize(&bright, &mut scaled, &options).map_err(failed)?;
        drop(bright);
        LIGHT.backward_map(&scaled, &mut target).map_err(failed)?;
        Ok(target)
    }

    /// The same of components that lie apart.
    pub(crate) fn scale_planes(&mut self, source: &Planes, plan: Plan) -> Result<Planes, MediaError> {
        let (width, height) = source.size();
        source.scaled(&mut self.resizer, plan.part(width, height), plan.cut)
    }

    /// The same of components that lie apart, put together.
    pub(crate) fn scale_together(&mut self, source: &Planes, plan: Plan) -> Result<DynamicImage, MediaError> {
        let (width, height) = source.size();
        source.scaled_image(&mut self.resizer, plan.part(width, height), plan.cut, false)
    }

    /// The same as [`Self::average`], of components that lie apart.
    pub(crate) fn average_planes(&mut self, source: &Planes, size: (u32, u32)) -> Result<DynamicImage, MediaError> {
        let (width, height) = source.size();
        let whole = [0.0, 0.0, width.into(), height.into()];
        source.scaled_image(&mut self.resizer, whole, size, true)
    }

    /// `source`, whole, averaged to a size that is much smaller.
    pub(crate) fn average(&mut self, source: &DynamicImage, size: (u32, u32)) -> Result<DynamicImage, MediaError> {
        let mut target = DynamicImage::new(size.0, size.1, source.color());
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Box));
        self.resizer.resize(source, &mut target, &options).map_err(failed)?;
        Ok(target)
    }
}

/// The same samples with 16 bits.
const fn deep(colours: ColorType) -> Option<ColorType> {
    match colours {
        ColorType::L8 => Some(ColorType::L16),
        ColorType::La8 => Some(ColorType::La16),
        ColorType::Rgb8 => Some(ColorType::Rgb16),
        ColorType::Rgba8 => Some(ColorType::Rgba16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fit, Limits, Variant, geometry::Bounds};
    use image::{GrayImage, Luma, Rgba, RgbaImage};

    fn half(source: &DynamicImage, linear: bool) -> DynamicImage {
        let (width, height) = (source.width(), source.height());
        let bounds = Bounds::new(&Limits::default(), width, height, (u32::MAX, u64::MAX));
        let plan = Plan::new(
            &Variant::new("v", Some(width / 2), None, Fit::Inside),
            width,
            height,
            bounds,
        );
        Scaler::default().scale(source, plan, linear).unwrap()
    }

    #[test]
    fn transparent_colours_do_not_bleed() {
        for linear in [false, true] {
            let clear = RgbaImage::from_fn(64, 64, |x, _| {
                if x < 33 {
                    Rgba([255, 0, 0, 0])
                } else {
                    Rgba([0, 0, 255, 255])
                }
            });
            let scaled = half(&DynamicImage::ImageRgba8(clear), linear).into_rgba8();
            for pixel in scaled.pixels().filter(|pixel| pixel.0[3] > 8) {
                let [red, green, blue, _] = pixel.0;
                assert!(red < 3 && green < 3 && blue > 250, "linear {linear}: {pixel:?}");
            }
        }
    }

    #[test]
    fn light_is_averaged_where_it_is_asked_for() {
        // Black and white in equal parts: half of the light is 188 in sRGB.
        let stripes = GrayImage::from_fn(64, 64, |x, _| Luma([if x % 2 == 0 { 0 } else { 255 }]));
        let stripes = DynamicImage::ImageLuma8(stripes);
        let middle = |linear| half(&stripes, linear).into_luma8().get_pixel(16, 16).0[0];
        assert!(middle(false).abs_diff(128) < 3, "{}", middle(false));
        assert!(middle(true).abs_diff(188) < 3, "{}", middle(true));
    }
}
