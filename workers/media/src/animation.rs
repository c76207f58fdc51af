//! What changes from one frame of a picture that moves to the next.

use image::DynamicImage;

/// What changed from one frame to the next of the same size: a rectangle, never empty.
pub(crate) struct Changed<'a> {
    /// The frame.
    pub(crate) whole: &'a DynamicImage,
    before: Option<&'a DynamicImage>,
    pub(crate) left: u32,
    pub(crate) top: u32,
    right: u32,
    bottom: u32,
}

impl<'a> Changed<'a> {
    /// All of it where there is nothing before, one pixel where nothing changed.
    pub(crate) fn between(before: Option<&'a DynamicImage>, whole: &'a DynamicImage) -> Self {
        let all = Self {
            whole,
            before,
            left: 0,
            top: 0,
            right: whole.width(),
            bottom: whole.height(),
        };
        let Some(before) = before.filter(|before| before.color() == whole.color()) else {
            return all;
        };
        let pixel = usize::from(whole.color().bytes_per_pixel());
        let row = whole.width() as usize * pixel;
        let mut bounds: Option<(usize, usize, usize, usize)> = None;
        let rows = before
            .as_bytes()
            .chunks_exact(row)
            .zip(whole.as_bytes().chunks_exact(row));
        for (y, (old, new)) in rows.enumerate().filter(|(_, (old, new))| old != new) {
            let differs = |(old, new): (&[u8], &[u8])| old != new;
            let mut pixels = old.chunks_exact(pixel).zip(new.chunks_exact(pixel));
            let first = pixels.clone().position(differs).unwrap_or(0);
            let last = pixels.rposition(differs).unwrap_or(first);
            bounds = Some(bounds.map_or((first, y, last, y), |(left, top, right, _)| {
                (left.min(first), top, right.max(last), y)
            }));
        }
        let side = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let (left, top, right, bottom) = bounds.unwrap_or((0, 0, 0, 0));
        Self {
            left: side(left),
            top: side(top),
            right: side(right + 1),
            bottom: side(bottom + 1),
            ..all
        }
    }

    /// The same, beginning at multiples of `step`.
    pub(crate) const fn aligned(&self, step: u32) -> Self {
        Self {
            whole: self.whole,
            before: self.before,
            left: self.left - self.left % step,
            top: self.top - self.top % step,
            right: self.right,
            bottom: self.bottom,
        }
    }

    /// The pixels that changed.
    pub(crate) fn part(&self) -> DynamicImage {
        let (width, height) = (self.right - self.left, self.bottom - self.top);
        self.whole.crop_imm(self.left, self.top, width, height)
    }

    /// Whether something that was seen is transparent now.
    pub(crate) fn uncovers(&self) -> bool {
        let (Some(before), Some(now)) = (self.before.and_then(DynamicImage::as_rgba8), self.whole.as_rgba8()) else {
            return false;
        };
        before
            .pixels()
            .zip(now.pixels())
            .any(|(before, now)| before.0[3] >= 128 && now.0[3] < 128)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgba, RgbaImage};

    #[test]
    fn the_part_that_changed_is_found() {
        let before = DynamicImage::ImageRgba8(RgbaImage::from_pixel(20, 10, Rgba([1, 2, 3, 255])));
        let mut now = before.to_rgba8();
        now.put_pixel(5, 3, Rgba([9, 2, 3, 255]));
        now.put_pixel(11, 8, Rgba([1, 2, 3, 0]));
        let now = DynamicImage::ImageRgba8(now);
        let changed = Changed::between(Some(&before), &now);
        let part = changed.part();
        assert_eq!((changed.left, changed.top, part.width(), part.height()), (5, 3, 7, 6));
        let even = changed.aligned(2);
        assert_eq!(
            (even.left, even.top, even.part().width(), even.part().height()),
            (4, 2, 8, 7)
        );
        assert!(changed.uncovers());
        let same = Changed::between(Some(&before), &before);
        assert_eq!(
            (same.part().width(), same.part().height(), same.uncovers()),
            (1, 1, false)
        );
        assert_eq!(Changed::between(None, &before).part(), before);
    }
}
