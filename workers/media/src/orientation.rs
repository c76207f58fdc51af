//! EXIF orientation, applied to pixels.

use crate::Gravity;
use image::{DynamicImage, metadata::Orientation};

/// Width and height as displayed.
pub(crate) const fn displayed(width: u32, height: u32, orientation: u8) -> (u32, u32) {
    if turned(orientation) {
        (height, width)
    } else {
        (width, height)
    }
}

/// Whether displaying swaps width and height.
pub(crate) const fn turned(orientation: u8) -> bool {
    matches!(orientation, 5..=8)
}

/// Where a point of the picture as displayed is in the picture as stored.
pub(crate) fn stored(point: Gravity, orientation: u8) -> Gravity {
    let Gravity { x, y } = point;
    let back = |along: u16| 1_000_u16.saturating_sub(along);
    let (x, y) = match orientation {
        2 => (back(x), y),
        3 => (back(x), back(y)),
        4 => (x, back(y)),
        5 => (y, x),
        6 => (y, back(x)),
        7 => (back(y), back(x)),
        8 => (back(y), x),
        _ => (x, y),
    };
    Gravity { x, y }
}

/// Turns and mirrors `image` upright.
pub(crate) fn upright(mut image: DynamicImage, orientation: u8) -> DynamicImage {
    if let Some(orientation) = Orientation::from_exif(orientation) {
        image.apply_orientation(orientation);
    }
    image
}
