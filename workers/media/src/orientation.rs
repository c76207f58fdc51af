//! EXIF orientation, applied to pixels.

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

/// Turns and mirrors `image` upright.
pub(crate) fn upright(mut image: DynamicImage, orientation: u8) -> DynamicImage {
    if let Some(orientation) = Orientation::from_exif(orientation) {
        image.apply_orientation(orientation);
    }
    image
}
