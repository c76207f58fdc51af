//! WebP (RFC 9649): lossy by libwebp, lossless by image-webp, and animations put together from the frames of either.

use super::failed;
use crate::{MediaError, animation::Changed};
use image::{DynamicImage, codecs::webp::WebPEncoder};
use std::time::Duration;

/// VP8's largest side.
pub(super) const SIDE: u32 = 16_383;

pub(super) fn lossy(image: &DynamicImage, quality: u8) -> Result<Vec<u8>, MediaError> {
    let (width, height) = (image.width(), image.height());
    if width.max(height) > SIDE {
        return Err(failed("a side is too long for WebP"));
    }
    let encode = |encoder: webp::Encoder<'_>| {
        encoder
            .encode_simple(false, f32::from(quality))
            .map(|encoded| encoded.to_vec())
            .map_err(|error| failed(format!("{error:?}")))
    };
    match image {
        DynamicImage::ImageRgb8(rgb) => encode(webp::Encoder::from_rgb(rgb, width, height)),
        DynamicImage::ImageRgba8(rgba) => encode(webp::Encoder::from_rgba(rgba, width, height)),
        other => encode(webp::Encoder::from_rgb(&other.to_rgb8(), width, height)),
    }
}

pub(super) fn lossless(image: &DynamicImage) -> Result<Vec<u8>, MediaError> {
    let mut out = Vec::new();
    WebPEncoder::new_lossless(&mut out)
        .encode(image.as_bytes(), image.width(), image.height(), image.color().into())
        .map_err(failed)?;
    Ok(out)
}

/// How a frame is put over what is there: not blended, not disposed of.
const OVERWRITE: &[u8] = &[0b10];

/// A chunk's header and data, padded to an even length.
fn chunk(out: &mut Vec<u8>, name: [u8; 4], data: &[&[u8]]) -> Result<(), MediaError> {
    let length: usize = data.iter().map(|part| part.len()).sum();
    out.extend(name);
    out.extend(u32::try_from(length).map_err(failed)?.to_le_bytes());
    for part in data {
        out.extend_from_slice(part);
    }
    if length % 2 == 1 {
        out.push(0);
    }
    Ok(())
}

/// The 24 bits that sizes, places and durations have.
fn bits24(number: u32) -> [u8; 3] {
    let [low, middle, high, _] = number.min(0x00ff_ffff).to_le_bytes();
    [low, middle, high]
}

/// An animation, written frame by frame: each is the part that changed, put over what is there without blending.
pub(crate) struct WebpAnimation {
    size: (u32, u32),
    loops: u16,
    lossless: bool,
    quality: u8,
    transparent: bool,
    frames: Vec<u8>,
}

impl WebpAnimation {
    /// Of `size`, which is at most [`SIDE`]; `loops` is 0 for ever.
    pub(crate) const fn new(size: (u32, u32), loops: u16, lossless: bool, quality: u8) -> Self {
        Self {
            size,
            loops,
            lossless,
            quality,
            transparent: false,
            frames: Vec::new(),
        }
    }

    /// Bytes so far.
    pub(crate) const fn len(&self) -> usize {
        self.frames.len()
    }

    /// The next frame: what changed since the one before, shown for `delay`.
    pub(crate) fn add(&mut self, changed: &Changed<'_>, delay: Duration) -> Result<(), MediaError> {
        // Parts begin at even places.
        let changed = changed.aligned(2);
        let part = changed.part();
        let file = if self.lossless {
            lossless(&part)?
        } else {
            lossy(&part, self.quality)?
        };
        self.transparent |= part.color().has_alpha();
        let milliseconds = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
        let header = [
            bits24(changed.left / 2),
            bits24(changed.top / 2),
            bits24(part.width() - 1),
            bits24(part.height() - 1),
            bits24(milliseconds),
        ]
        .concat();
        chunk(&mut self.frames, *b"ANMF", &[&header, OVERWRITE, &frame_data(&file)?])
    }

    /// The file.
    pub(crate) fn finish(self) -> Result<Vec<u8>, MediaError> {
        let mut body = b"WEBP".to_vec();
        let flags = 0b10 | if self.transparent { 0b1_0000 } else { 0 };
        let (width, height) = (bits24(self.size.0 - 1), bits24(self.size.1 - 1));
        chunk(&mut body, *b"VP8X", &[&[flags, 0, 0, 0], &width, &height])?;
        chunk(&mut body, *b"ANIM", &[&[0; 4], &self.loops.to_le_bytes()])?;
        let mut out = Vec::with_capacity(body.len() + self.frames.len() + 8);
        out.extend(b"RIFF");
        let length = u32::try_from(body.len() + self.frames.len()).map_err(failed)?;
        out.extend(length.to_le_bytes());
        out.extend(body);
        out.extend(self.frames);
        Ok(out)
    }
}

/// The chunks of a still file that a frame consists of: its pixels and, for VP8, its alpha.
fn frame_data(file: &[u8]) -> Result<Vec<u8>, MediaError> {
    let mut data = Vec::with_capacity(file.len());
    let mut rest = file.get(12..).unwrap_or_default();
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, length @ ..] = *header;
        let length = u32::from_le_bytes(length) as usize;
        let body = after
            .get(..length + length % 2)
            .ok_or_else(|| failed("a chunk of the encoder's file is cut off"))?;
        if matches!(&[a, b, c, d], b"ALPH" | b"VP8 " | b"VP8L") {
            data.extend(header);
            data.extend(body);
        }
        rest = after.get(body.len()..).unwrap_or_default();
    }
    Ok(data)
}
