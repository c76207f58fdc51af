//! Where a picture goes in a variant: sizes and places, no pixels.

use crate::{Fit, Gravity, Limits, Variant, limits::MOST_PIXELS, orientation};

/// What a picture is scaled to, what is kept of that, and what it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Size that the whole picture is scaled to.
    pub(crate) scaled: (u32, u32),
    /// Size of the part that is kept, never larger.
    pub(crate) cut: (u32, u32),
    /// The point that the part holds, and where the part stands on the canvas.
    pub(crate) gravity: Gravity,
    /// Size of the result, never smaller than the part.
    pub(crate) canvas: (u32, u32),
}

/// How large a result may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    side: u32,
    pixels: u64,
}

/// Longest side of a result where nothing else says.
const LONGEST_SIDE: u32 = 65_535;

impl Bounds {
    /// For a picture of `width` × `height`, which is within `limits` itself, in a file that takes sides and pixels up to
    /// `largest`.
    pub(crate) fn new(limits: &Limits, width: u32, height: u32, largest: (u32, u64)) -> Self {
        let side = match limits.max_side {
            0 => LONGEST_SIDE.max(width).max(height),
            limit => limit,
        };
        let pixels = match limits.max_pixels {
            0 => MOST_PIXELS.max(u64::from(width) * u64::from(height)),
            limit => limit,
        };
        Self {
            side: side.min(largest.0).max(1),
            pixels: pixels.min(largest.1).max(1),
        }
    }

    /// How much a canvas has to shrink.
    fn shrink(self, (width, height): (u64, u64)) -> f64 {
        let side = f64::from(self.side) / width.max(height) as f64;
        let pixels = (self.pixels as f64 / (width as f64 * height as f64)).sqrt();
        side.min(pixels).min(1.0)
    }
}

fn ratio(length: u64, numerator: u64, denominator: u64) -> u64 {
    let exact = u128::from(length) * u128::from(numerator);
    let rounded = (exact + u128::from(denominator) / 2) / u128::from(denominator.max(1));
    u64::try_from(rounded).unwrap_or(u64::MAX).max(1)
}

fn side(length: u64) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX).max(1)
}

/// `length` × `factor`, which is at most one.
fn times(length: u64, factor: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between nothing and what it was"
    )]
    let shrunk = (length as f64 * factor) as u64;
    shrunk.clamp(1, length)
}

impl Plan {
    /// For a picture of `width` × `height`, as displayed.
    pub(crate) fn new(variant: &Variant, width: u32, height: u32, bounds: Bounds) -> Self {
        let (width, height) = (u64::from(width.max(1)), u64::from(height.max(1)));
        let wanted = |side: Option<u32>| side.map(|length| u64::from(length.max(1)));
        let (across, down) = (wanted(variant.width), wanted(variant.height));
        let at_most = |length: u64, original: u64| {
            if variant.enlarge { length } else { length.min(original) }
        };
        let by_width = |across: u64| {
            let new = at_most(across, width);
            (new, ratio(height, new, width))
        };
        let by_height = |down: u64| {
            let new = at_most(down, height);
            (ratio(width, new, height), new)
        };
        let scaled = match (across, down) {
            (None, None) => (width, height),
            (Some(across), None) => by_width(across),
            (None, Some(down)) => by_height(down),
            (Some(across), Some(down)) => {
                let wider = u128::from(width) * u128::from(down) >= u128::from(across) * u128::from(height);
                if wider == (variant.fit == Fit::Cover) {
                    by_height(down)
                } else {
                    by_width(across)
                }
            }
        };
        let canvas = match (variant.fit, across, down) {
            (Fit::Cover, Some(across), Some(down)) => (scaled.0.min(across), scaled.1.min(down)),
            (Fit::Contain, Some(across), Some(down)) => (across, down),
            (Fit::Inside | Fit::Cover | Fit::Contain, ..) => scaled,
        };
        Self::bounded(variant, scaled, canvas, bounds)
    }

    fn bounded(variant: &Variant, scaled: (u64, u64), canvas: (u64, u64), bounds: Bounds) -> Self {
        let factor = bounds.shrink(canvas);
        let small = |size: (u64, u64)| (side(times(size.0, factor)), side(times(size.1, factor)));
        let canvas = small(canvas);
        // A side that cannot be less than one may leave too many pixels to the other.
        let across = u64::from(canvas.0);
        let canvas = (canvas.0, canvas.1.min(side(bounds.pixels / across)));
        let (scaled, cut) = match variant.fit {
            Fit::Inside => (canvas, canvas),
            Fit::Cover => {
                let scaled = small(scaled);
                ((scaled.0.max(canvas.0), scaled.1.max(canvas.1)), canvas)
            }
            Fit::Contain => {
                let scaled = small(scaled);
                let within = (scaled.0.min(canvas.0), scaled.1.min(canvas.1));
                (within, within)
            }
        };
        Self {
            scaled,
            cut,
            gravity: variant.gravity,
            canvas,
        }
    }

    /// The same for the picture as stored: sizes and point as they are before `orientation` is applied.
    pub(crate) fn stored(self, orientation: u8) -> Self {
        let turn = |(width, height): (u32, u32)| {
            if orientation::turned(orientation) {
                (height, width)
            } else {
                (width, height)
            }
        };
        Self {
            scaled: turn(self.scaled),
            cut: turn(self.cut),
            gravity: orientation::stored(self.gravity, orientation),
            canvas: turn(self.canvas),
        }
    }

    /// Whether it is the whole picture.
    pub(crate) fn whole(self) -> bool {
        self.cut == self.scaled
    }

    /// Whether a whole picture of `width` × `height` has enough pixels for it.
    pub(crate) const fn fits_in(self, width: u32, height: u32) -> bool {
        self.scaled.0 <= width && self.scaled.1 <= height
    }

    /// The part of a whole picture of `width` × `height` that is kept: left, top, width, height.
    pub(crate) fn part(self, width: u32, height: u32) -> [f64; 4] {
        let along = |cut: u32, scaled: u32, whole: u32, point: u16| {
            let (cut, whole) = (f64::from(cut) / f64::from(scaled.max(1)), f64::from(whole));
            let part = (cut * whole).min(whole);
            let start = f64::from(point) / 1_000.0 * whole - part / 2.0;
            // Where nothing is scaled, a part begins at a pixel.
            let start = if self.scaled == (width, height) {
                start.round()
            } else {
                start
            };
            (start.clamp(0.0, whole - part), part)
        };
        let (left, across) = along(self.cut.0, self.scaled.0, width, self.gravity.x);
        let (top, down) = along(self.cut.1, self.scaled.1, height, self.gravity.y);
        [left, top, across, down]
    }

    /// Where the part stands on the canvas: left and top.
    pub(crate) fn place(self) -> (u32, u32) {
        let along = |room: u32, point: u16| side_share(room, point);
        (
            along(self.canvas.0.saturating_sub(self.cut.0), self.gravity.x),
            along(self.canvas.1.saturating_sub(self.cut.1), self.gravity.y),
        )
    }
}

fn side_share(room: u32, thousandths: u16) -> u32 {
    let share = (u64::from(room) * u64::from(thousandths) + 500) / 1_000;
    u32::try_from(share).unwrap_or(room).min(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(variant: &Variant, width: u32, height: u32) -> Plan {
        let bounds = Bounds::new(&Limits::default(), width, height, (u32::MAX, u64::MAX));
        Plan::new(variant, width, height, bounds)
    }

    fn variant(fit: Fit, width: Option<u32>, height: Option<u32>) -> Variant {
        Variant::new("v", width, height, fit)
    }

    #[test]
    fn boxes_are_met() {
        let half = Some(500);
        for (fit, across, down, source, scaled, cut, canvas) in [
            (
                Fit::Inside,
                half,
                None,
                (4000, 3000),
                (500, 375),
                (500, 375),
                (500, 375),
            ),
            (
                Fit::Inside,
                None,
                half,
                (4000, 3000),
                (667, 500),
                (667, 500),
                (667, 500),
            ),
            (Fit::Inside, None, None, (400, 300), (400, 300), (400, 300), (400, 300)),
            (
                Fit::Inside,
                half,
                half,
                (3000, 4000),
                (375, 500),
                (375, 500),
                (375, 500),
            ),
            (Fit::Inside, half, None, (300, 200), (300, 200), (300, 200), (300, 200)),
            (Fit::Cover, half, half, (4000, 3000), (667, 500), (500, 500), (500, 500)),
            (Fit::Cover, half, half, (3000, 4000), (500, 667), (500, 500), (500, 500)),
            (Fit::Cover, half, half, (400, 300), (400, 300), (400, 300), (400, 300)),
            (Fit::Cover, half, half, (4000, 300), (4000, 300), (500, 300), (500, 300)),
            (Fit::Cover, half, None, (4000, 3000), (500, 375), (500, 375), (500, 375)),
            (
                Fit::Contain,
                half,
                half,
                (4000, 3000),
                (500, 375),
                (500, 375),
                (500, 500),
            ),
            (Fit::Contain, half, half, (400, 300), (400, 300), (400, 300), (500, 500)),
            (
                Fit::Contain,
                None,
                half,
                (4000, 3000),
                (667, 500),
                (667, 500),
                (667, 500),
            ),
        ] {
            let plan = plan(&variant(fit, across, down), source.0, source.1);
            assert_eq!(
                (plan.scaled, plan.cut, plan.canvas),
                (scaled, cut, canvas),
                "{fit:?} {source:?}"
            );
        }
    }

    #[test]
    fn only_who_asks_is_enlarged_and_within_bounds() {
        let mut asked = variant(Fit::Inside, Some(800), None);
        asked.enlarge = true;
        assert_eq!(plan(&asked, 400, 300).canvas, (800, 600));
        asked.fit = Fit::Cover;
        asked.height = Some(800);
        assert_eq!(plan(&asked, 400, 300).scaled, (1_067, 800));
        assert_eq!(plan(&asked, 400, 300).canvas, (800, 800));
        (asked.width, asked.height) = (Some(u32::MAX), Some(u32::MAX));
        for fit in [Fit::Cover, Fit::Contain, Fit::Inside] {
            asked.fit = fit;
            let canvas = plan(&asked, 400, 300).canvas;
            let pixels = u64::from(canvas.0) * u64::from(canvas.1);
            assert!((190_000_000..=200_000_000).contains(&pixels), "{fit:?} {canvas:?}");
        }
    }

    #[test]
    fn the_part_holds_the_point() {
        let mut cover = variant(Fit::Cover, Some(100), Some(100));
        let corner = |plan: Plan, width: u32, height: u32| {
            let [left, top, ..] = plan.part(width, height);
            format!("{left} {top}")
        };
        cover.gravity = Gravity { x: 250, y: 0 };
        assert_eq!(corner(plan(&cover, 400, 100), 400, 100), "50 0");
        cover.gravity = Gravity { x: 1_000, y: 0 };
        assert_eq!(corner(plan(&cover, 400, 100), 400, 100), "300 0");
        // Seen turned by a quarter, what is on the right stands below.
        assert_eq!(corner(plan(&cover, 400, 100).stored(6), 100, 400), "0 0");
        assert_eq!(corner(plan(&cover, 400, 100).stored(8), 100, 400), "0 300");
    }

    fn any_variant() -> impl Strategy<Value = Variant> {
        let side = || {
            prop_oneof![
                Just(None),
                Just(Some(0)),
                Just(Some(u32::MAX)),
                (1_u32..5_000).prop_map(Some)
            ]
        };
        let fit = prop_oneof![Just(Fit::Cover), Just(Fit::Contain), Just(Fit::Inside)];
        (side(), side(), fit, any::<bool>(), 0_u16..=1_000, 0_u16..=1_000).prop_map(
            |(width, height, fit, enlarge, x, y)| {
                let mut variant = variant(fit, width, height);
                variant.enlarge = enlarge;
                variant.gravity = Gravity { x, y };
                variant
            },
        )
    }

    proptest! {
        #[test]
        fn plans_are_within_bounds(
            variant in any_variant(),
            (width, height) in (1_u32..70_000, 1_u32..70_000),
            (max_side, max_pixels) in (0_u32..10_000, 0_u64..1_000_000),
            orientation in 1_u8..=8,
        ) {
            let limits = Limits { max_pixels, max_side, ..Limits::default() };
            let bounds = Bounds::new(&limits, width, height, (65_535, u64::MAX));
            let plan = Plan::new(&variant, width, height, bounds);
            prop_assert!(plan.cut.0 >= 1 && plan.cut.1 >= 1);
            prop_assert!(plan.cut.0 <= plan.scaled.0 && plan.cut.1 <= plan.scaled.1);
            prop_assert!(plan.cut.0 <= plan.canvas.0 && plan.cut.1 <= plan.canvas.1);
            prop_assert!(plan.canvas.0 <= bounds.side && plan.canvas.1 <= bounds.side);
            prop_assert!(u64::from(plan.canvas.0) * u64::from(plan.canvas.1) <= bounds.pixels.max(bounds.side.into()));
            if !variant.enlarge {
                prop_assert!(plan.scaled.0 <= width && plan.scaled.1 <= height);
            }
            let (left, top) = plan.place();
            prop_assert!(left + plan.cut.0 <= plan.canvas.0 && top + plan.cut.1 <= plan.canvas.1);
            let (across, down) = orientation::displayed(width, height, orientation);
            let [left, top, part_width, part_height] = plan.stored(orientation).part(across, down);
            prop_assert!(left >= 0.0 && top >= 0.0 && part_width > 0.0 && part_height > 0.0);
            prop_assert!(left + part_width <= f64::from(across) + 1e-6 && top + part_height <= f64::from(down) + 1e-6);
        }
    }
}
