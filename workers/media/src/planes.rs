//! A picture whose components lie apart, and each at a size of its own: as JPEG codes it. Scaling them before they are put
//! together spares most of what either costs.

use crate::MediaError;
use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{CroppedImage, Image, ImageRef},
};
use image::{DynamicImage, GrayImage, RgbImage};

/// One component's samples, 8 bits each.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plane {
    samples: Vec<u8>,
    stride: usize,
    /// So many samples across and down are the picture's; the last may be so in part.
    size: (f64, f64),
}

/// What three components are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Light {
    Grey,
    YCbCr,
    Rgb,
}

/// Components of a picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Planes {
    /// Pixels across and down that the picture has, whatever the planes have.
    size: (u32, u32),
    planes: Vec<Plane>,
    light: Light,
}

/// How all components are scaled, and how the first is enlarged; others, which may have fewer samples, are so without ringing.
const SHARP: [FilterType; 2] = [FilterType::Lanczos3; 2];
const SOFT: [FilterType; 2] = [FilterType::Lanczos3, FilterType::Bilinear];
/// All that lies under a sample counts alike.
const AVERAGE: [FilterType; 2] = [FilterType::Box; 2];

/// Rows that are put together at a time.
const STRIP: u32 = 64;

fn failed(error: impl std::fmt::Display) -> MediaError {
    MediaError::corrupt(format!("it cannot be scaled: {error}"))
}

impl Plane {
    /// Of rows `stride` samples long, the first `size` of which count.
    pub(crate) const fn new(stride: usize, size: (f64, f64), samples: Vec<u8>) -> Self {
        Self { samples, stride, size }
    }

    /// Whole samples across and down, the last of which may count in part.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides of a JPEG, which are at most 2^16"
    )]
    const fn whole(&self) -> (u32, u32) {
        (self.size.0.ceil() as u32, self.size.1.ceil() as u32)
    }

    /// The `part` of it, in shares of its size (left, top, across, down), as `width` × `height` samples; `enlarge`: by which
    /// filter, where it has fewer.
    fn scaled(
        &self,
        resizer: &mut Resizer,
        part: [f64; 4],
        (width, height): (u32, u32),
        [filter, enlarge]: [FilterType; 2],
    ) -> Result<Vec<u8>, MediaError> {
        let [left, top, across, down] = part;
        let (across, down) = (across * self.size.0, down * self.size.1);
        let fewer = f64::from(width) > across || f64::from(height) > down;
        let filter = if fewer { enlarge } else { filter };
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(
            left * self.size.0,
            top * self.size.1,
            across,
            down,
        );
        let rows = self.samples.len().checked_div(self.stride).unwrap_or(0);
        let side = |length: usize| u32::try_from(length).map_err(failed);
        let source = ImageRef::new(side(self.stride)?, side(rows)?, &self.samples, PixelType::U8).map_err(failed)?;
        let whole = self.whole();
        let source = CroppedImage::new(&source, 0, 0, whole.0, whole.1).map_err(failed)?;
        let mut target = Image::new(width, height, PixelType::U8);
        resizer.resize(&source, &mut target, &options).map_err(failed)?;
        Ok(target.into_vec())
    }
}

impl Planes {
    pub(crate) const fn new(size: (u32, u32), planes: Vec<Plane>, light: Light) -> Self {
        Self { size, planes, light }
    }

    /// Pixels across and down.
    pub(crate) const fn size(&self) -> (u32, u32) {
        self.size
    }

    pub(crate) const fn light(&self) -> Light {
        self.light
    }

    /// The `part` of it, in its pixels (left, top, across, down), as `width` × `height` of them; `average`: all that lies under
    /// a pixel counts alike.
    pub(crate) fn scaled(
        &self,
        resizer: &mut Resizer,
        part: [f64; 4],
        size: (u32, u32),
        average: bool,
    ) -> Result<DynamicImage, MediaError> {
        let (width, height) = (f64::from(self.size.0), f64::from(self.size.1));
        let [left, top, across, down] = part;
        let part = [left / width, top / height, across / width, down / height];
        let mut scaled = self
            .planes
            .iter()
            .enumerate()
            .map(|(number, plane)| {
                let filters = match (average, number) {
                    (true, _) => AVERAGE,
                    (false, 0) => SHARP,
                    (false, _) => SOFT,
                };
                plane.scaled(resizer, part, size, filters)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let samples = match scaled.as_mut_slice() {
            [grey] => std::mem::take(grey),
            [first, second, third] => {
                let mut samples = vec![0; first.len() * 3];
                self.put_together(&mut samples, [first, second, third]);
                samples
            }
            _ => Vec::new(),
        };
        self.image(size, samples)
    }

    fn image(&self, (width, height): (u32, u32), samples: Vec<u8>) -> Result<DynamicImage, MediaError> {
        let image = if self.planes.len() == 1 {
            GrayImage::from_raw(width, height, samples).map(DynamicImage::from)
        } else {
            RgbImage::from_raw(width, height, samples).map(DynamicImage::from)
        };
        image.ok_or_else(|| MediaError::corrupt("it has other components than its colours"))
    }

    /// At its own size.
    pub(crate) fn whole(&self) -> Result<DynamicImage, MediaError> {
        let samples = match self.planes.len() {
            1 => self.interleaved::<1>()?,
            _ => {
                let mut samples = self.interleaved::<3>()?;
                if self.light == Light::YCbCr {
                    for pixel in samples.as_chunks_mut::<3>().0 {
                        let [luma, blue, red] = *pixel;
                        *pixel = rgb(luma, blue, red);
                    }
                }
                samples
            }
        };
        self.image(self.size, samples)
    }

    /// Samples of `N` components side by side, at the picture's size, as they are coded; black where there are fewer.
    pub(crate) fn interleaved<const N: usize>(&self) -> Result<Vec<u8>, MediaError> {
        let (width, height) = self.size;
        let row = width as usize;
        let mut samples = vec![0; row * height as usize * N];
        let mut resizer = Resizer::new();
        let full = (f64::from(width), f64::from(height));
        for (number, plane) in self.planes.iter().enumerate().take(N) {
            let mut start = 0;
            while start < height {
                let rows = STRIP.min(height - start);
                let strip = samples.chunks_mut(row * N).skip(start as usize).take(rows as usize);
                if plane.size == full {
                    let source = plane.samples.chunks(plane.stride).skip(start as usize);
                    strip
                        .zip(source)
                        .for_each(|(target, source)| spread::<N>(target, number, source));
                } else {
                    let part = [0.0, f64::from(start) / full.1, 1.0, f64::from(rows) / full.1];
                    let scaled = plane.scaled(&mut resizer, part, (width, rows), SOFT)?;
                    strip
                        .zip(scaled.chunks(row))
                        .for_each(|(target, source)| spread::<N>(target, number, source));
                }
                start += rows;
            }
        }
        Ok(samples)
    }

    /// RGB of components of one size.
    fn put_together(&self, target: &mut [u8], components: [&[u8]; 3]) {
        let [first, second, third] = components;
        let pixels = target
            .as_chunks_mut::<3>()
            .0
            .iter_mut()
            .zip(first.iter().zip(second).zip(third));
        if self.light == Light::Rgb {
            for (target, ((red, green), blue)) in pixels {
                *target = [*red, *green, *blue];
            }
        } else {
            for (target, ((luma, blue), red)) in pixels {
                *target = rgb(*luma, *blue, *red);
            }
        }
    }
}

fn spread<const N: usize>(target: &mut [u8], number: usize, source: &[u8]) {
    for (pixel, sample) in target.as_chunks_mut::<N>().0.iter_mut().zip(source) {
        if let Some(target) = pixel.get_mut(number) {
            *target = *sample;
        }
    }
}

/// JFIF's matrix (ITU-T T.871, 7), in 14 binary places.
#[inline]
pub(crate) fn rgb(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 13;
    let (luma, blue, red) = (
        (i32::from(luma) << 14) + HALF,
        i32::from(blue) - 128,
        i32::from(red) - 128,
    );
    let byte = |value: i32| u8::try_from((value >> 14).clamp(0, 255)).unwrap_or(0);
    [
        byte(luma + 22_970 * red),
        byte(luma - 5_638 * blue - 11_700 * red),
        byte(luma + 29_032 * blue),
    ]
}
