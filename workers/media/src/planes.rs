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

    /// Samples across and down of each plane, those that fill up its blocks included.
    #[cfg(test)]
    pub(crate) fn samples(&self) -> Vec<(usize, usize)> {
        let of = |plane: &Plane| (plane.stride, plane.samples.len() / plane.stride);
        self.planes.iter().map(of).collect()
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
                let mut samples = vec![0; self.size.0 as usize * self.size.1 as usize * 3];
                let mut target = samples.chunks_exact_mut(self.size.0 as usize * 3);
                self.rows(|rows: [&[u8]; 3]| {
                    if let Some(target) = target.next() {
                        self.put_together(target, rows);
                    }
                })?;
                samples
            }
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
            .planes
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

/// The rows of a plane at the size of its picture.
struct Enlarged<'a> {
    plane: &'a Plane,
    size: (u32, u32),
    /// How it is brought there.
    way: Way,
    row: Vec<u8>,
    /// Rows that are done, and the first one's number.
    strip: (u32, Vec<u8>),
    resizer: Resizer,
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It has as many samples.
    Same,
    /// It has half of them across, and down if so: each new one is nearer to one of its neighbours, which has three quarters
    /// of the say.
    Halves { down: bool },
    /// However it fits.
    Any,
}

impl<'a> Enlarged<'a> {
    fn new(plane: &'a Plane, size: (u32, u32)) -> Self {
        let (width, height) = (f64::from(size.0), f64::from(size.1));
        let is = |one: f64, other: f64| (one - other).abs() < f64::EPSILON;
        let way = if is(plane.size.0, width) && is(plane.size.1, height) {
            Way::Same
        } else if is(plane.size.0 * 2.0, width) && (is(plane.size.1, height) || is(plane.size.1 * 2.0, height)) {
            Way::Halves {
                down: !is(plane.size.1, height),
            }
        } else {
            Way::Any
        };
        let length = if way == Way::Same { 0 } else { size.0 as usize };
        Self {
            plane,
            size,
            way,
            row: vec![0; length],
            strip: (0, Vec::new()),
            resizer: Resizer::new(),
            at: 0,
        }
    }

    fn source(&self, row: usize) -> &'a [u8] {
        let width = self.plane.whole().0 as usize;
        let row = self.plane.samples.chunks_exact(self.plane.stride.max(1)).nth(row);
        row.and_then(|row| row.get(..width)).unwrap_or_default()
    }

    fn go_to(&mut self, row: u32) -> Result<(), MediaError> {
        self.at = row as usize;
        match self.way {
            Way::Same => {}
            Way::Halves { down: false } => {
                let source = self.source(self.at);
                doubled(&mut self.row, source, source);
            }
            Way::Halves { down: true } => {
                let near = self.at / 2;
                let last = (self.plane.whole().1 as usize).saturating_sub(1);
                let far = if self.at % 2 == 0 {
                    near.saturating_sub(1)
                } else {
                    (near + 1).min(last)
                };
                let (near, far) = (self.source(near), self.source(far));
                doubled(&mut self.row, near, far);
            }
            Way::Any => {
                let (start, strip) = &self.strip;
                let place = (row - start) as usize * self.size.0 as usize;
                if place >= strip.len() {
                    let rows = STRIP.min(self.size.1 - row);
                    let height = f64::from(self.size.1);
                    let part = [0.0, f64::from(row) / height, 1.0, f64::from(rows) / height];
                    let strip = self.plane.scaled(&mut self.resizer, part, (self.size.0, rows), SOFT)?;
                    self.strip = (row, strip);
                }
            }
        }
        Ok(())
    }

    fn row(&self) -> &[u8] {
        match self.way {
            Way::Same => self.source(self.at),
            Way::Halves { .. } => &self.row,
            Way::Any => {
                let rows = self.strip.1.chunks_exact((self.size.0 as usize).max(1));
                let (start, mut rows) = (self.strip.0 as usize, rows);
                rows.nth(self.at.saturating_sub(start)).unwrap_or_default()
            }
        }
    }
}

/// Twice as many samples across as the rows have: of `near`, which counts three times, and `far`.
fn doubled(target: &mut [u8], near: &[u8], far: &[u8]) {
    let column = |place: usize| match (near.get(place), far.get(place)) {
        (Some(near), Some(far)) => 3 * u16::from(*near) + u16::from(*far),
        _ => 0,
    };
    let last = near.len().saturating_sub(1);
    let low = |sum: u16| u8::try_from(sum >> 4).unwrap_or(u8::MAX);
    let (pairs, odd) = target.as_chunks_mut::<2>();
    // Between the first and the last, neighbours are there on both sides.
    let inner = near.windows(3).zip(far.windows(3));
    for (pair, (near, far)) in pairs.iter_mut().skip(1).zip(inner) {
        if let ([a, b, c], [d, e, f]) = (near, far) {
            let sum = |near: u8, far: u8| 3 * u16::from(near) + u16::from(far);
            let (before, here, after) = (sum(*a, *d), sum(*b, *e), sum(*c, *f));
            *pair = [low(3 * here + before + 8), low(3 * here + after + 7)];
        }
    }
    let edge = |place: usize| {
        let here = column(place);
        let (before, after) = (column(place.saturating_sub(1)), column((place + 1).min(last)));
        [low(3 * here + before + 8), low(3 * here + after + 7)]
    };
    if let Some(first) = pairs.first_mut() {
        *first = edge(0);
    }
    if let Some(end) = pairs.get_mut(last) {
        *end = edge(last);
    }
    if let [end] = odd {
        *end = edge(last)[0];
    }
}

/// Pixels whose colours are made in one go.
const LANES: usize = 16;

/// RGB of luma and two colours, a row of each.
fn colours(target: &mut [u8], [luma, blue, red]: [&[u8]; 3]) {
    let (lumas, luma) = luma.as_chunks::<LANES>();
    let (blues, blue) = blue.as_chunks::<LANES>();
    let (reds, red) = red.as_chunks::<LANES>();
    let mut target = target.as_chunks_mut::<3>().0.iter_mut();
    for ((luma, blue), red) in lumas.iter().zip(blues).zip(reds) {
        let (mut reds, mut greens, mut blues) = ([0; LANES], [0; LANES], [0; LANES]);
        for lane in 0..LANES {
            [reds[lane], greens[lane], blues[lane]] = rgb(luma[lane], blue[lane], red[lane]);
        }
        for (lane, pixel) in target.by_ref().take(LANES).enumerate() {
            *pixel = [reds[lane], greens[lane], blues[lane]];
        }
    }
    for (pixel, ((luma, blue), red)) in target.zip(luma.iter().zip(blue).zip(red)) {
        *pixel = rgb(*luma, *blue, *red);
    }
}

/// JFIF's matrix (ITU-T T.871, 7), in 16 bits with four places after the point: 1.402, 0.344136, 0.714136 and 1.772, of each
/// what is less than a half.
#[inline]
pub(crate) fn rgb(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the upper half of a product of two numbers of 16 bits"
    )]
    const fn times(value: i16, part: i16) -> i16 {
        ((value as i32 * part as i32) >> 16) as i16
    }
    let luma = (i16::from(luma) << 4) + 8;
    let (blue, red) = ((i16::from(blue) - 128) << 4, (i16::from(red) - 128) << 4);
    #[expect(clippy::cast_sign_loss, reason = "clamped to a byte")]
    let byte = |value: i16| (value >> 4).clamp(0, 255) as u8;
    [
        byte(luma + red + times(red, 26_345)),
        byte(luma - times(blue, 22_553) - red + times(red, 18_734)),
        byte(luma + 2 * blue - times(blue, 14_942)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_the_matrix() {
        let step = [0_u8, 1, 31, 64, 100, 127, 128, 129, 180, 200, 254, 255];
        for luma in step {
            for blue in step {
                for red in step {
                    let (y, cb, cr) = (f64::from(luma), f64::from(blue) - 128.0, f64::from(red) - 128.0);
                    let exact = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
                    for (exact, made) in exact.into_iter().zip(rgb(luma, blue, red)) {
                        assert!(
                            (exact.clamp(0.0, 255.0) - f64::from(made)).abs() < 0.75,
                            "{luma} {blue} {red}"
                        );
                    }
                }
            }
        }
    }

    fn ramp(width: u32, height: u32) -> Vec<u8> {
        let level = |x: u32, y: u32| u8::try_from(x * 5 + y * 3).unwrap();
        (0..height).flat_map(|y| (0..width).map(move |x| level(x, y))).collect()
    }

    /// Samples between others lie between them, whatever the way.
    #[test]
    fn planes_with_fewer_samples_are_enlarged() {
        for (width, height) in [(32, 24), (33, 23), (31, 24), (1, 1), (2, 3), (3, 1)] {
            for (across, down) in [(1, 1), (2, 1), (2, 2), (1, 2), (4, 1)] {
                let size = (
                    f64::from(width) / f64::from(across),
                    f64::from(height) / f64::from(down),
                );
                let (columns, rows) = (width.div_ceil(across), height.div_ceil(down));
                let plane = Plane::new(columns as usize, size, ramp(columns, rows));
                let planes = Planes::new((width, height), vec![plane], Light::Grey);
                let whole = planes.whole().unwrap().into_luma8();
                assert_eq!(whole.dimensions(), (width, height));
                for (x, y, pixel) in whole.enumerate_pixels() {
                    // A sample's middle is at a half.
                    let place = |at: u32, times: u32, count: u32| {
                        let place = (f64::from(at) + 0.5) / f64::from(times) - 0.5;
                        place.clamp(0.0, f64::from(count - 1))
                    };
                    let exact = place(x, across, columns) * 5.0 + place(y, down, rows) * 3.0;
                    let made = f64::from(pixel.0[0]);
                    assert!(
                        (exact - made).abs() <= 1.0,
                        "{width} × {height} {across} {down}: {x} {y} {exact} {made}"
                    );
                }
            }
        }
    }
}
