//! Planes of luma and chroma to RGB (ITU-T H.273, 8.3), chroma brought to full size by linear interpolation.

use crate::MediaError;

/// A plane: rows of samples, one byte each for 8 bits, else two in the machine's order.
pub(super) struct Plane {
    /// Bytes from row to row.
    pub(super) stride: usize,
    /// At least so many rows.
    pub(super) bytes: Box<dyn AsRef<[u8]>>,
}

/// A decoded frame.
pub(super) struct Planes {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Bits of a sample, 8 to 12.
    pub(super) depth: u8,
    /// Whether samples use all their values.
    pub(super) full_range: bool,
    /// Whether chroma has half as many samples across.
    pub(super) halved_across: bool,
    /// Whether chroma has half as many rows.
    pub(super) halved_down: bool,
    pub(super) luma: Plane,
    /// Blue and red; none where it is grey.
    pub(super) chroma: Option<[Plane; 2]>,
}

/// RGB, 8 bits a sample; with a fourth sample of 255 where `alpha_follows`.
///
/// # Errors
/// When `matrix` is one that needs more than a matrix, the planes are shorter than they say, or `cancel` says so.
pub(super) fn to_rgb(
    planes: &Planes,
    matrix: u16,
    alpha_follows: bool,
    cancel: &dyn Fn() -> bool,
) -> Result<Vec<u8>, MediaError> {
    // What has no chroma is grey, whatever its matrix would make of it.
    let convert = match planes.chroma {
        Some(_) => Matrix::new(matrix)?,
        None => Matrix::GREY,
    };
    let (width, samples) = (planes.width, if alpha_follows { 4 } else { 3 });
    let mut out = vec![255; width.saturating_mul(planes.height).saturating_mul(samples)];
    let identity = convert == Matrix::Identity;
    let mut luma = vec![0.0; width];
    let mut chroma = [vec![0.0; width], vec![0.0; width]];
    let mut scratch = Vec::new();
    for (row, pixels) in out.chunks_exact_mut((width * samples).max(1)).enumerate() {
        if row % 64 == 0 && cancel() {
            return Err(MediaError::Cancelled);
        }
        planes.read(&planes.luma, row, &mut luma, Scale::Luma)?;
        if let Some(sources) = &planes.chroma {
            let scale = if identity { Scale::Luma } else { Scale::Chroma };
            for (plane, target) in sources.iter().zip(&mut chroma) {
                planes.chroma_row(plane, row, target, scale, &mut scratch)?;
            }
        }
        let [blue, red] = &chroma;
        for (((pixel, luma), blue), red) in pixels.chunks_exact_mut(samples).zip(&luma).zip(blue).zip(red) {
            for (sample, value) in pixel.iter_mut().zip(convert.apply(*luma, *blue, *red)) {
                *sample = byte(value);
            }
        }
    }
    Ok(out)
}

/// Puts the luma of `planes` into the fourth sample of each pixel, and divides colours by it if they were multiplied.
///
/// # Errors
/// When its plane is shorter than it says, or `cancel` says so.
pub(super) fn add_alpha(
    rgba: &mut [u8],
    planes: &Planes,
    premultiplied: bool,
    cancel: &dyn Fn() -> bool,
) -> Result<(), MediaError> {
    let mut row_of_alpha = vec![0.0; planes.width];
    for (row, pixels) in rgba.chunks_exact_mut((planes.width * 4).max(1)).enumerate() {
        if row % 64 == 0 && cancel() {
            return Err(MediaError::Cancelled);
        }
        planes.read(&planes.luma, row, &mut row_of_alpha, Scale::Luma)?;
        for (pixel, alpha) in pixels.as_chunks_mut::<4>().0.iter_mut().zip(&row_of_alpha) {
            pixel[3] = byte(*alpha);
            if premultiplied && *alpha > 0.0 {
                for sample in &mut pixel[..3] {
                    *sample = byte(f32::from(*sample) / 255.0 / alpha);
                }
            }
        }
    }
    Ok(())
}

/// 0 to 1 as 0 to 255.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "such casts stop at the ends of a byte"
)]
fn byte(value: f32) -> u8 {
    (value * 255.0 + 0.5) as u8
}

/// What a sample's numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// 0 to 1.
    Luma,
    /// -0.5 to 0.5.
    Chroma,
}

impl Planes {
    /// A row of a plane, as numbers.
    fn read(&self, plane: &Plane, row: usize, target: &mut [f32], scale: Scale) -> Result<(), MediaError> {
        let short = || MediaError::corrupt("its frame is smaller than it says");
        let bytes = (*plane.bytes).as_ref();
        let rows = bytes.get(row.saturating_mul(plane.stride)..).ok_or_else(short)?;
        let deep = self.depth > 8;
        let needed = target.len() * if deep { 2 } else { 1 };
        let samples = rows.get(..needed).ok_or_else(short)?;
        let (factor, offset) = self.scale(scale);
        if deep {
            for (value, pair) in target.iter_mut().zip(samples.as_chunks::<2>().0) {
                *value = f32::from(u16::from_ne_bytes(*pair)) * factor - offset;
            }
        } else {
            for (value, sample) in target.iter_mut().zip(samples) {
                *value = f32::from(*sample) * factor - offset;
            }
        }
        Ok(())
    }

    /// What to multiply a sample with, and what to take away then (H.273, equations 20 to 25).
    fn scale(&self, scale: Scale) -> (f32, f32) {
        let step = f32::from(1_u16 << self.depth.saturating_sub(8).min(7));
        let most = step * 256.0 - 1.0;
        match (self.full_range, scale) {
            (true, Scale::Luma) => (1.0 / most, 0.0),
            (true, Scale::Chroma) => (1.0 / most, 128.0 * step / most),
            (false, Scale::Luma) => (1.0 / (219.0 * step), 16.0 / 219.0),
            (false, Scale::Chroma) => (1.0 / (224.0 * step), 128.0 / 224.0),
        }
    }

    /// A row of chroma at full size: three parts of the nearest sample and one of the next, across and down.
    fn chroma_row(
        &self,
        plane: &Plane,
        row: usize,
        target: &mut [f32],
        scale: Scale,
        scratch: &mut Vec<f32>,
    ) -> Result<(), MediaError> {
        let across = if self.halved_across {
            self.width.div_ceil(2)
        } else {
            self.width
        };
        let down = if self.halved_down {
            self.height.div_ceil(2)
        } else {
            self.height
        };
        if !self.halved_across && !self.halved_down {
            return self.read(plane, row, target, scale);
        }
        scratch.resize(across * 2, 0.0);
        let (near, far) = scratch.split_at_mut(across);
        let (nearest, next) = neighbours(row, down, self.halved_down);
        self.read(plane, nearest, near, scale)?;
        if next != nearest {
            self.read(plane, next, far, scale)?;
            for (near, far) in near.iter_mut().zip(far) {
                *near = *near * 0.75 + *far * 0.25;
            }
        }
        for (column, value) in target.iter_mut().enumerate() {
            let (nearest, next) = neighbours(column, across, self.halved_across);
            *value = if nearest == next {
                near[nearest]
            } else {
                near[nearest] * 0.75 + near[next] * 0.25
            };
        }
        Ok(())
    }
}

/// The chroma sample that is nearest to a place, and the one on its other side; the same at the edges.
fn neighbours(place: usize, count: usize, halved: bool) -> (usize, usize) {
    let last = count.saturating_sub(1);
    if !halved {
        return (place.min(last), place.min(last));
    }
    let nearest = place / 2;
    let next = if place.is_multiple_of(2) {
        nearest.saturating_sub(1)
    } else {
        nearest + 1
    };
    (nearest.min(last), next.min(last))
}

/// How luma and chroma become colours.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Matrix {
    /// They are green, blue and red.
    Identity,
    /// Shares of red and blue in luma.
    Shares { red: f32, blue: f32 },
    /// Y, Cg and Co.
    Greenish,
}

impl Matrix {
    /// Any shares do where there is no chroma.
    const GREY: Self = Self::Shares {
        red: 0.299,
        blue: 0.114,
    };

    /// By its number in H.273, table 4. Unspecified is taken for BT.601, as everybody does.
    fn new(number: u16) -> Result<Self, MediaError> {
        let (red, blue) = match number {
            0 => return Ok(Self::Identity),
            8 => return Ok(Self::Greenish),
            1 => (0.2126, 0.0722),
            4 => (0.30, 0.11),
            2 | 3 | 5 | 6 => (0.299, 0.114),
            7 => (0.212, 0.087),
            9 => (0.2627, 0.0593),
            other => {
                return Err(MediaError::Unsupported {
                    format: "AVIF",
                    problem: format!("colours coded with matrix {other}: export it in RGB or BT.709"),
                });
            }
        };
        Ok(Self::Shares { red, blue })
    }

    fn apply(self, luma: f32, blue_off: f32, red_off: f32) -> [f32; 3] {
        match self {
            Self::Identity => [red_off, luma, blue_off],
            Self::Shares { red, blue } => {
                let (r, b) = (luma + 2.0 * (1.0 - red) * red_off, luma + 2.0 * (1.0 - blue) * blue_off);
                [r, (luma - red * r - blue * b) / (1.0 - red - blue), b]
            }
            Self::Greenish => {
                let less = luma - blue_off;
                [less + red_off, luma + blue_off, less - red_off]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planes(depth: u8, full_range: bool, samples: [u16; 3]) -> Planes {
        let plane = |sample: u16| Plane {
            stride: if depth > 8 { 2 } else { 1 },
            bytes: if depth > 8 {
                Box::new(sample.to_ne_bytes())
            } else {
                Box::new([u8::try_from(sample).unwrap()])
            },
        };
        let [luma, blue, red] = samples.map(plane);
        Planes {
            width: 1,
            height: 1,
            depth,
            full_range,
            halved_across: false,
            halved_down: false,
            luma,
            chroma: Some([blue, red]),
        }
    }

    #[test]
    fn matrices_ranges_and_depths_give_the_same_red() {
        // Red by the equations of H.273 for each matrix, range and depth.
        for (depth, full_range, matrix, samples) in [
            (8, true, 6, [76, 85, 255]),
            (8, true, 1, [54, 99, 255]),
            (8, false, 1, [63, 102, 240]),
            (8, false, 6, [81, 90, 240]),
            (10, false, 9, [294, 387, 960]),
            (12, true, 1, [871, 1_579, 4_095]),
            (8, true, 0, [0, 0, 255]),
            (10, true, 0, [0, 0, 1_023]),
            (8, true, 8, [64, 64, 255]),
        ] {
            let rgb = to_rgb(&planes(depth, full_range, samples), matrix, false, &|| false).unwrap();
            let far = rgb.iter().zip([255, 0, 0]).any(|(a, b)| a.abs_diff(b) > 2);
            assert!(!far, "{depth} bits, matrix {matrix}, full {full_range}: {rgb:?}");
        }
    }

    #[test]
    fn matrices_that_are_none_are_refused() {
        let error = to_rgb(&planes(8, true, [0; 3]), 14, false, &|| false).unwrap_err();
        assert!(error.to_string().contains("matrix 14"), "{error}");
    }

    #[test]
    fn chroma_is_interpolated_and_held_at_the_edges() {
        let found: Vec<_> = (0..5).map(|place| neighbours(place, 3, true)).collect();
        assert_eq!(found, [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1)]);
        assert_eq!(neighbours(4, 5, false), (4, 4));
    }

    #[test]
    fn a_frame_that_is_shorter_than_it_says_is_damaged() {
        let mut short = planes(8, true, [0; 3]);
        short.height = 2;
        assert_eq!(to_rgb(&short, 1, false, &|| false).unwrap_err().code(), "corrupt");
    }

    #[test]
    fn what_has_no_chroma_is_grey_whatever_its_matrix() {
        for matrix in [0, 1, 8, 14] {
            let mut grey = planes(8, true, [100, 0, 0]);
            grey.chroma = None;
            assert_eq!(to_rgb(&grey, matrix, false, &|| false).unwrap(), [100; 3], "{matrix}");
        }
    }

    #[test]
    fn alpha_that_is_shorter_than_it_says_is_damaged() {
        let mut short = planes(8, true, [100, 0, 0]);
        short.height = 2;
        let mut rgba = [255; 8];
        let error = add_alpha(&mut rgba, &short, false, &|| false).unwrap_err();
        assert_eq!(error.code(), "corrupt");
        assert_eq!(
            add_alpha(&mut rgba, &short, false, &|| true).unwrap_err(),
            MediaError::Cancelled
        );
    }
}
