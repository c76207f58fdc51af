//! A component that has fewer samples than its picture, row by row as if it had as many.

use super::{Plane, SOFT};
use crate::MediaError;
use fast_image_resize::Resizer;

/// Rows that are enlarged at a time, where there is no short way.
const STRIP: u32 = 64;

/// The rows of a plane at the size of its picture.
pub(super) struct Enlarged<'a> {
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
    pub(super) fn new(plane: &'a Plane, size: (u32, u32)) -> Self {
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

    pub(super) fn go_to(&mut self, row: u32) -> Result<(), MediaError> {
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
                let far = if self.at.is_multiple_of(2) {
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
                    // The one before goes first.
                    self.strip = (row, Vec::new());
                    let strip = self.plane.scaled(&mut self.resizer, part, (self.size.0, rows), SOFT)?;
                    self.strip = (row, strip);
                }
            }
        }
        Ok(())
    }

    pub(super) fn row(&self) -> &[u8] {
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

#[cfg(test)]
mod tests {
    use crate::planes::{Light, Plane, Planes};

    fn ramp(width: u32, height: u32) -> Vec<u8> {
        let level = |x: u32, y: u32| u8::try_from(x * 5 + y * 3).unwrap();
        (0..height).flat_map(|y| (0..width).map(move |x| level(x, y))).collect()
    }

    /// Samples between others lie between them, whatever the way.
    #[test]
    fn planes_with_fewer_samples_are_enlarged() {
        for (width, height) in [
            (32_u32, 24_u32),
            (33, 23),
            (31, 24),
            (1, 1),
            (2, 3),
            (3, 1),
            (9, 66),
            (6, 75),
        ] {
            for (across, down) in [(1_u32, 1_u32), (2, 1), (2, 2), (1, 2), (4, 1), (1, 3), (3, 3)] {
                let size = (
                    f64::from(width) / f64::from(across),
                    f64::from(height) / f64::from(down),
                );
                let (columns, rows) = (width.div_ceil(across), height.div_ceil(down));
                let plane = Plane::new(columns as usize, size, (1.0, 1.0), ramp(columns, rows));
                let planes = Planes::new((width, height), vec![plane], Light::Grey);
                let whole = planes.whole().unwrap().into_luma8();
                assert_eq!(whole.dimensions(), (width, height));
                for (x, y, pixel) in whole.enumerate_pixels() {
                    // A sample's middle is at a half.
                    let middle = |at: u32, times: u32, count: u32| {
                        let middle = (f64::from(at) + 0.5) / f64::from(times) - 0.5;
                        middle.clamp(0.0, f64::from(count - 1))
                    };
                    let exact = middle(x, across, columns) * 5.0 + middle(y, down, rows) * 3.0;
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
