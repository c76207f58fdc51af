//! A picture whose components lie apart, and each at a size of its own: as JPEG codes it. Scaling them before they are put
//! together spares most of what either costs.

mod colours;
mod enlarge;

pub(crate) use colours::rgb;

use crate::{MediaError, orientation};
use colours::colours;
use enlarge::Enlarged;
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
    /// How many samples across and down it has by its sampling for each pixel.
    sampling: (f64, f64),
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
    components: Vec<Plane>,
    light: Light,
}

/// How all components are scaled, and how the first is enlarged; others, which may have fewer samples, are so without ringing.
const SHARP: [FilterType; 2] = [FilterType::Lanczos3; 2];
const SOFT: [FilterType; 2] = [FilterType::Lanczos3, FilterType::Bilinear];
/// All that lies under a sample counts alike.
const AVERAGE: [FilterType; 2] = [FilterType::Box; 2];

fn failed(error: impl std::fmt::Display) -> MediaError {
    MediaError::corrupt(format!("it cannot be scaled: {error}"))
}

/// A part of `whole`, its start and its length: rounded it must not end beyond.
fn within(start: f64, length: f64, whole: f64) -> (f64, f64) {
    let start = start.min(whole);
    let mut length = length.min(whole - start);
    while start + length > whole {
        length = length.next_down();
    }
    (start, length)
}

/// Rows of `from.0` samples as `to.1` rows of `to.0`: where there are more, the last ones again.
fn padded(samples: Vec<u8>, from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
    if from == to {
        return samples;
    }
    let mut out = Vec::with_capacity(to.0 as usize * to.1 as usize);
    let rows = samples.chunks_exact((from.0 as usize).max(1));
    let last = rows.clone().last().unwrap_or_default();
    for row in rows.chain(std::iter::repeat(last)).take(to.1 as usize) {
        out.extend_from_slice(row);
        let beyond = to.0.saturating_sub(from.0) as usize;
        out.extend(std::iter::repeat_n(row.last().copied().unwrap_or(0), beyond));
    }
    out
}

impl Plane {
    /// Of rows `stride` samples long, the first `size` of which count, `sampling` of them for each pixel.
    pub(crate) const fn new(stride: usize, size: (f64, f64), sampling: (f64, f64), samples: Vec<u8>) -> Self {
        Self {
            samples,
            stride,
            size,
            sampling,
        }
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

    /// Samples across and down that count whole; one at least.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides of a JPEG, which are at most 2^16"
    )]
    const fn complete(&self) -> (u32, u32) {
        (self.size.0.max(1.0).floor() as u32, self.size.1.max(1.0).floor() as u32)
    }

    /// Whether it has `width` × `height` samples at least.
    fn has(&self, (width, height): (u32, u32)) -> bool {
        self.size.0 >= f64::from(width) && self.size.1 >= f64::from(height)
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
        let (left, across) = within(left * self.size.0, across * self.size.0, self.size.0);
        let (top, down) = within(top * self.size.1, down * self.size.1, self.size.1);
        let fewer = f64::from(width) > across || f64::from(height) > down;
        let filter = if fewer { enlarge } else { filter };
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(filter))
            .crop(left, top, across, down);
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
    pub(crate) const fn new(size: (u32, u32), components: Vec<Plane>, light: Light) -> Self {
        Self {
            size,
            components,
            light,
        }
    }

    /// Pixels across and down.
    pub(crate) const fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Samples across and down of each plane, those that fill up its blocks included.
    #[cfg(test)]
    pub(crate) fn samples(&self) -> Vec<(usize, usize)> {
        let of = |plane: &Plane| (plane.stride, plane.samples.len() / plane.stride);
        self.components.iter().map(of).collect()
    }

    pub(crate) const fn light(&self) -> Light {
        self.light
    }

    /// A part of it in its pixels (left, top, across, down), in shares of its size.
    fn share(&self, [left, top, across, down]: [f64; 4]) -> [f64; 4] {
        let (width, height) = (f64::from(self.size.0), f64::from(self.size.1));
        [left / width, top / height, across / width, down / height]
    }

    /// The `part` of it, in its pixels (left, top, across, down), as `size` pixels of which each component has as many samples
    /// as it has of these.
    pub(crate) fn scaled(&self, resizer: &mut Resizer, part: [f64; 4], size: (u32, u32)) -> Result<Self, MediaError> {
        let part = self.share(part);
        let mut planes = Vec::with_capacity(self.components.len());
        for (number, plane) in self.components.iter().enumerate() {
            let filters = if number == 0 { SHARP } else { SOFT };
            let (across, down) = (
                f64::from(size.0) * plane.sampling.0,
                f64::from(size.1) * plane.sampling.1,
            );
            let scaled = Plane::new(0, (across, down), plane.sampling, Vec::new());
            let whole = scaled.whole();
            // A last sample of which the picture has but a part is the one before it again: were all of them spread over the
            // picture, none would lie where it belongs.
            let full = scaled.complete();
            let [left, top, wide, high] = part;
            let inner = [
                left,
                top,
                wide * f64::from(full.0) / across,
                high * f64::from(full.1) / down,
            ];
            let samples = plane.scaled(resizer, inner, full, filters)?;
            planes.push(Plane {
                samples: padded(samples, full, whole),
                stride: whole.0 as usize,
                ..scaled
            });
        }
        Ok(Self::new(size, planes, self.light))
    }

    /// The same, pixel by pixel; `average`: all that lies under a pixel counts alike.
    pub(crate) fn scaled_image(
        &self,
        resizer: &mut Resizer,
        part: [f64; 4],
        size: (u32, u32),
        average: bool,
    ) -> Result<DynamicImage, MediaError> {
        let part = self.share(part);
        let mut scaled = self
            .components
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
        let image = if self.components.len() == 1 {
            GrayImage::from_raw(width, height, samples).map(DynamicImage::from)
        } else {
            RgbImage::from_raw(width, height, samples).map(DynamicImage::from)
        };
        image.ok_or_else(|| MediaError::corrupt("it has other components than its colours"))
    }

    /// Turned and mirrored upright, from rows without padding.
    pub(crate) fn upright(self, orientation: u8) -> Result<Self, MediaError> {
        let turned = |(across, down): (f64, f64)| {
            if orientation::turned(orientation) {
                (down, across)
            } else {
                (across, down)
            }
        };
        let mut planes = Vec::with_capacity(self.components.len());
        for plane in self.components {
            let (width, height) = plane.whole();
            let image = GrayImage::from_raw(width, height, plane.samples)
                .ok_or_else(|| MediaError::corrupt("it has fewer samples than its size asks for"))?;
            let image = orientation::upright(image.into(), orientation);
            planes.push(Plane::new(
                image.width() as usize,
                turned(plane.size),
                turned(plane.sampling),
                image.into_bytes(),
            ));
        }
        let size = orientation::displayed(self.size.0, self.size.1, orientation);
        Ok(Self::new(size, planes, self.light))
    }

    /// Of each component the sample that the pixel at the start of every square of four has: of colours with half of the
    /// resolution all there is. Row by row, each as long as the picture is wide.
    pub(crate) fn nearest(&self, row: u32, targets: &mut [Vec<u8>]) {
        let width = self.size.0 as usize;
        for (plane, target) in self.components.iter().zip(targets) {
            let from = |place: u32, sampling: f64| if sampling < 1.0 { place / 2 } else { place } as usize;
            let rows = plane.samples.chunks_exact(plane.stride.max(1));
            let last = rows.len().saturating_sub(1);
            let source = plane
                .samples
                .get(from(row, plane.sampling.1).min(last) * plane.stride..)
                .unwrap_or_default();
            if plane.sampling.0 < 1.0 {
                let doubled = source.iter().flat_map(|sample| [*sample; 2]).take(width);
                target.extend(doubled);
            } else {
                target.extend_from_slice(source.get(..width).unwrap_or_default());
            }
        }
    }

    /// Whether colours have half of the samples across and down.
    pub(crate) fn sampled_less(&self) -> bool {
        let less = |plane: &Plane| plane.sampling.0 < 1.0 && plane.sampling.1 < 1.0;
        self.components.iter().skip(1).all(less)
    }

    /// Whether they are luma and two colours, these with as many samples or with half of them: what every JPEG can be.
    pub(crate) fn common(&self) -> bool {
        let is = |one: f64, other: f64| (one - other).abs() < f64::EPSILON;
        let usual = |sampling: f64| is(sampling, 0.5) || is(sampling, 1.0);
        let plane = |plane: &Plane| usual(plane.sampling.0) && usual(plane.sampling.1);
        let luma = |plane: &Plane| is(plane.sampling.0, 1.0) && is(plane.sampling.1, 1.0);
        self.light == Light::YCbCr && self.components.iter().all(plane) && self.components.first().is_some_and(luma)
    }

    /// Whether each has `size` samples at least.
    pub(crate) fn have(&self, size: (u32, u32)) -> bool {
        self.components.iter().all(|plane| plane.has(size))
    }

    /// Whether each has all the samples that its sampling says, and not fewer.
    pub(crate) fn full(&self) -> bool {
        let (width, height) = (f64::from(self.size.0), f64::from(self.size.1));
        let all = |plane: &Plane| plane.size == (width * plane.sampling.0, height * plane.sampling.1);
        self.components.iter().all(all)
    }

    /// At its own size.
    pub(crate) fn whole(&self) -> Result<DynamicImage, MediaError> {
        let samples = if self.components.len() == 1 {
            self.interleaved::<1>()?
        } else {
            let mut samples = vec![0; self.size.0 as usize * self.size.1 as usize * 3];
            let mut target = samples.chunks_exact_mut(self.size.0 as usize * 3);
            self.rows(|rows: [&[u8]; 3]| {
                if let Some(target) = target.next() {
                    self.put_together(target, rows);
                }
            })?;
            samples
        };
        self.image(self.size, samples)
    }

    /// Samples of `N` components side by side, at the picture's size, as they are coded.
    pub(crate) fn interleaved<const N: usize>(&self) -> Result<Vec<u8>, MediaError> {
        let mut samples = vec![0; self.size.0 as usize * self.size.1 as usize * N];
        let mut pixels = samples.as_chunks_mut::<N>().0.iter_mut();
        self.rows(|rows: [&[u8]; N]| {
            for (place, pixel) in pixels.by_ref().take(self.size.0 as usize).enumerate() {
                *pixel = rows.map(|row| row.get(place).copied().unwrap_or(0));
            }
        })?;
        Ok(samples)
    }

    /// Shows every row of the picture, from the first, its components at its size.
    fn rows<const N: usize>(&self, mut show: impl FnMut([&[u8]; N])) -> Result<(), MediaError> {
        let planes: &[Plane; N] = self
            .components
            .as_slice()
            .try_into()
            .map_err(|_| MediaError::corrupt("it has other components than its colours"))?;
        let mut enlarged = planes.each_ref().map(|plane| Enlarged::new(plane, self.size));
        for row in 0..self.size.1 {
            for enlarged in &mut enlarged {
                enlarged.go_to(row)?;
            }
            show(enlarged.each_ref().map(Enlarged::row));
        }
        Ok(())
    }

    /// RGB of components of one size.
    fn put_together(&self, target: &mut [u8], components: [&[u8]; 3]) {
        let [first, second, third] = components;
        if self.light == Light::YCbCr {
            return colours(target, components);
        }
        let pixels = target.as_chunks_mut::<3>().0.iter_mut();
        for (target, ((red, green), blue)) in pixels.zip(first.iter().zip(second).zip(third)) {
            *target = [*red, *green, *blue];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(size: (u32, u32), samplings: [(u32, u32); 3], level: impl Fn(u32, u32) -> u32) -> Planes {
        let plane = |(across, down): (u32, u32)| {
            let (width, height) = (size.0.div_ceil(across), size.1.div_ceil(down));
            let samples = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
            let samples = samples.map(|(x, y)| u8::try_from(level(x, y)).unwrap()).collect();
            let share = (1.0 / f64::from(across), 1.0 / f64::from(down));
            let counts = (f64::from(size.0) * share.0, f64::from(size.1) * share.1);
            Plane::new(width as usize, counts, share, samples)
        };
        Planes::new(size, samplings.map(plane).into(), Light::YCbCr)
    }

    #[test]
    fn colours_stay_where_they_are_however_odd_the_sides() {
        let planes = picture((400, 300), [(1, 1), (2, 2), (2, 2)], |_, y| y.min(149));
        for (width, height) in [(100, 75), (101, 76), (133, 99)] {
            let scaled = planes
                .scaled(&mut Resizer::new(), [0.0, 0.0, 400.0, 300.0], (width, height))
                .unwrap();
            let colours = &scaled.components[1];
            assert_eq!(colours.whole(), (width.div_ceil(2), height.div_ceil(2)));
            let step = 150.0 / (f64::from(height) / 2.0);
            for (row, samples) in colours
                .samples
                .chunks(colours.stride)
                .enumerate()
                .take(height as usize / 2)
                .skip(2)
            {
                let exact = (row as f64 + 0.5) * step - 0.5;
                let off = (f64::from(samples[7]) - exact).abs();
                assert!(
                    off < 1.2,
                    "{width} × {height}: row {row} is {} and should be {exact}",
                    samples[7]
                );
            }
        }
    }

    #[test]
    fn a_part_ends_where_the_whole_ends() {
        let planes = picture((735, 551), [(1, 1), (2, 2), (2, 2)], |x, _| x % 200);
        // As shares of a picture of 840 × 630, of which seven eighths were decoded.
        let planes = Planes::new((840, 630), planes.components, Light::YCbCr);
        for across in 1..840 {
            let part = [f64::from(840 - across), 0.0, f64::from(across), 630.0];
            planes.scaled(&mut Resizer::new(), part, (8, 8)).unwrap();
        }
    }

    #[test]
    fn what_has_less_light_than_colours_is_no_common_jpeg() {
        let level = |x, _| x;
        assert!(picture((16, 16), [(1, 1), (2, 2), (2, 2)], level).common());
        assert!(picture((16, 16), [(1, 1), (1, 1), (1, 1)], level).common());
        assert!(!picture((16, 16), [(2, 2), (1, 1), (1, 1)], level).common());
        assert!(!picture((16, 16), [(1, 1), (4, 1), (4, 1)], level).common());
    }
}
