//! Pixels alone: for tools, benches and tests, and the first steps of all that is made of a picture.

use crate::{
    Limits, MediaError, Probe, ProbeError,
    decode::{self, Decoded, Frames},
    probe,
};
use image::DynamicImage;

/// The picture's pixels, 8 bits a sample, as stored: nothing is removed, turned or made; of an animation its first
/// frame. Inks are turned into light by their profile.
///
/// # Errors
/// When the bytes are no picture that may be decoded, or `cancel` says so.
pub fn pixels(bytes: &[u8], limits: &Limits, cancel: &dyn Fn() -> bool) -> Result<DynamicImage, MediaError> {
    let probed = probed(bytes)?;
    probed.check(limits)?;
    decoded(&probed, bytes, 8, cancel)?.into_light().0.into_image()
}

/// The picture's frames as they are shown, one after another; one of a picture that does not move.
///
/// # Errors
/// When the bytes are no picture that may be decoded, or `cancel` says so.
pub fn frames<'a>(bytes: &'a [u8], limits: &Limits, cancel: &'a dyn Fn() -> bool) -> Result<Frames<'a>, MediaError> {
    let probed = probed(bytes)?;
    probed.check(limits)?;
    decode::frames(probed.format, bytes, probed.frames_bytes(), cancel)
}

/// What the headers of a whole file tell.
pub(crate) fn probed(bytes: &[u8]) -> Result<Probe, MediaError> {
    probe(bytes).map_err(|error| match error {
        ProbeError::NeedMore => MediaError::Truncated,
        ProbeError::Media(error) => error,
    })
}

/// The picture of a file that was probed; at so many eighths of its size, where that is easier.
pub(crate) fn decoded(
    probed: &Probe,
    bytes: &[u8],
    eighths: u8,
    cancel: &dyn Fn() -> bool,
) -> Result<Decoded, MediaError> {
    let decoded = decode::decode(probed.format, bytes, probed.decoder_bytes, eighths, cancel)?;
    if decoded.size() != (probed.width, probed.height) {
        return Err(MediaError::corrupt("its size is not what its header says"));
    }
    Ok(decoded)
}
