//! Pictures that tests draw, and eyes to see what became of them.

use image::{DynamicImage, ImageEncoder, RgbImage, Rgba, RgbaImage};
use mediamill_media::Rendered;

/// The colour of a cell of [`cells`].
pub(crate) fn cell(column: u32, row: u32) -> Rgba<u8> {
    let shade = |value: u32| u8::try_from(value).unwrap();
    Rgba([shade(40 + column * 60), 128, shade(40 + row * 80), 255])
}

/// Four by three cells, each with a colour of its own.
pub(crate) fn cells(width: u32, height: u32) -> DynamicImage {
    DynamicImage::ImageRgba8(RgbaImage::from_fn(width, height, |x, y| {
        cell(x * 4 / width, y * 3 / height)
    }))
}

/// A picture that is hard to compress.
pub(crate) fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = 7_u32;
    RgbImage::from_fn(width, height, |x, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let grain = u8::try_from(state >> 26).unwrap();
        image::Rgb([u8::try_from(x % 190).unwrap() + grain, 100 + grain, 190 - grain])
    })
}

pub(crate) fn jpeg(image: &RgbImage, exif: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut out, 95);
    if let Some(exif) = exif {
        encoder.add_exif_metadata(exif).unwrap();
    }
    let side = |length: u32| u16::try_from(length).unwrap();
    encoder
        .encode(
            image.as_raw(),
            side(image.width()),
            side(image.height()),
            jpeg_encoder::ColorType::Rgb,
        )
        .unwrap();
    out
}

pub(crate) fn png(image: &DynamicImage) -> Vec<u8> {
    let mut out = Vec::new();
    image::codecs::png::PngEncoder::new(&mut out)
        .write_image(image.as_bytes(), image.width(), image.height(), image.color().into())
        .unwrap();
    out
}

pub(crate) fn orientation_block(value: u8) -> Vec<u8> {
    [
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(),
        &[value, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat()
}

pub(crate) fn decoded(variant: &Rendered) -> RgbaImage {
    let image = image::load_from_memory(&variant.bytes).unwrap().to_rgba8();
    assert_eq!((image.width(), image.height()), (variant.width, variant.height));
    image
}

pub(crate) fn close(a: Rgba<u8>, b: Rgba<u8>) -> bool {
    a.0.iter().zip(b.0).all(|(a, b)| a.abs_diff(b) < 20)
}
