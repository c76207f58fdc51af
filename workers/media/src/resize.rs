//! Variants: what is wanted, and the pixels of it.

use crate::{Fit, MediaError, Variant};
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::DynamicImage;

/// A size to scale the whole picture to, and how much of its middle is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) scaled: (u32, u32),
    pub(crate) cut: (u32, u32),
}

fn scaled(length: u32, numerator: u32, denominator: u32) -> u32 {
    let exact = u64::from(length) * u64::from(numerator);
    let rounded = (exact + u64::from(denominator) / 2) / u64::from(denominator.max(1));
    u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
}

impl Variant {
    /// For a picture of `width` × `height`, as displayed.
    pub(crate) fn plan(&self, width: u32, height: u32) -> Plan {
        let (box_width, box_height) = (
            self.width.unwrap_or(u32::MAX).max(1),
            self.height.map(|height| height.max(1)),
        );
        // Whether the width decides: the box is narrower than the picture (inside), or wider (cover).
        let wider =
            |box_height: u32| u64::from(width) * u64::from(box_height) >= u64::from(box_width) * u64::from(height);
        let by_width = match (self.fit, box_height) {
            (_, None) => true,
            (Fit::Inside | Fit::Contain, Some(box_height)) => wider(box_height),
            (Fit::Cover, Some(box_height)) => !wider(box_height),
        };
        let size = match box_height {
            Some(box_height) if !by_width => {
                let new = box_height.min(height);
                (scaled(width, new, height), new)
            }
            _ => {
                let new = box_width.min(width);
                (new, scaled(height, new, width))
            }
        };
        let cut = match self.fit {
            Fit::Inside | Fit::Contain => size,
            Fit::Cover => (size.0.min(box_width), size.1.min(box_height.unwrap_or(size.1))),
        };
        Plan { scaled: size, cut }
    }

    /// The most pixels it takes, for pictures of `width` × `height` in either orientation.
    pub(crate) fn largest(&self, width: u32, height: u32) -> (u32, u32) {
        let (a, b) = (self.plan(width, height).scaled, self.plan(height, width).scaled);
        (a.0.max(b.0), a.1.max(b.1))
    }
}

impl Plan {
    /// The same for the picture as stored, when displaying swaps width and height.
    pub(crate) const fn swapped(self) -> Self {
        Self {
            scaled: (self.scaled.1, self.scaled.0),
            cut: (self.cut.1, self.cut.0),
        }
    }

    /// Whether `image`, uncut, has enough pixels for it.
    pub(crate) fn fits_in(self, image: &DynamicImage) -> bool {
        self.scaled.0 <= image.width() && self.scaled.1 <= image.height()
    }
}

/// `source` scaled and cut. Alpha is multiplied in before and taken out after, so that transparent colours do not bleed.
pub(crate) fn resize(resizer: &mut Resizer, source: &DynamicImage, plan: Plan) -> Result<DynamicImage, MediaError> {
    let (width, height) = plan.cut;
    let mut target = DynamicImage::new(width, height, source.color());
    let share = |cut: u32, scaled: u32, whole: u32| f64::from(cut) / f64::from(scaled.max(1)) * f64::from(whole);
    let part_width = share(width, plan.scaled.0, source.width());
    let part_height = share(height, plan.scaled.1, source.height());
    let left = (f64::from(source.width()) - part_width) / 2.0;
    let top = (f64::from(source.height()) - part_height) / 2.0;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .crop(left.max(0.0), top.max(0.0), part_width, part_height);
    resizer
        .resize(source, &mut target, &options)
        .map_err(|error| MediaError::corrupt(format!("it cannot be scaled: {error}")))?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variant(width: u32, height: Option<u32>, fit: Fit) -> Variant {
        Variant::new("v", Some(width), height, fit)
    }

    #[test]
    fn boxes_are_met() {
        for (fit, height, source, scaled, cut) in [
            (Fit::Inside, None, (4000, 3000), (500, 375), (500, 375)),
            (Fit::Inside, Some(500), (3000, 4000), (375, 500), (375, 500)),
            (Fit::Inside, None, (300, 200), (300, 200), (300, 200)),
            (Fit::Cover, Some(500), (4000, 3000), (667, 500), (500, 500)),
            (Fit::Cover, Some(500), (3000, 4000), (500, 667), (500, 500)),
            (Fit::Cover, Some(500), (400, 300), (400, 300), (400, 300)),
            (Fit::Cover, Some(500), (4000, 300), (4000, 300), (500, 300)),
        ] {
            let plan = variant(500, height, fit).plan(source.0, source.1);
            assert_eq!(plan, Plan { scaled, cut }, "{fit:?} {source:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_enlarged_or_empty(w in 1_u32..70_000, h in 1_u32..70_000, bw in 1_u32..5_000, bh in proptest::option::of(1_u32..5_000), cover: bool) {
            let plan = variant(bw, bh, if cover { Fit::Cover } else { Fit::Inside }).plan(w, h);
            prop_assert!(plan.scaled.0 <= w && plan.scaled.1 <= h);
            prop_assert!(plan.cut.0 >= 1 && plan.cut.1 >= 1 && plan.cut.0 <= bw);
            prop_assert!(plan.cut.0 <= plan.scaled.0 && plan.cut.1 <= plan.scaled.1);
        }
    }
}
