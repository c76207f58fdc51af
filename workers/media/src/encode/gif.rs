//! GIF 89a: 256 colours a frame, transparency that is there or not.

use super::failed;
use crate::{MediaError, animation::Changed};
use gif::{DisposalMethod, Encoder, Frame, Repeat};
use image::DynamicImage;
use std::time::Duration;

/// GIF's largest side.
pub(super) const SIDE: u32 = 65_535;
/// Of 1, slow and exact, to 30: how closely `NeuQuant` looks for 256 colours.
const SPEED: i32 = 10;

fn short(length: u32) -> Result<u16, MediaError> {
    u16::try_from(length).map_err(failed)
}

pub(super) fn encode(image: &DynamicImage) -> Result<Vec<u8>, MediaError> {
    let (width, height) = (short(image.width())?, short(image.height())?);
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, width, height, &[]).map_err(failed)?;
    encoder.write_frame(&frame(image)?).map_err(failed)?;
    drop(encoder);
    Ok(out)
}

/// 256 colours; half of transparency is all of it, or nothing.
fn frame(image: &DynamicImage) -> Result<Frame<'static>, MediaError> {
    let mut rgba = image.to_rgba8();
    for pixel in rgba.pixels_mut() {
        let [.., alpha] = &mut pixel.0;
        *alpha = if *alpha < 128 { 0 } else { u8::MAX };
    }
    let (width, height) = (short(rgba.width())?, short(rgba.height())?);
    Ok(Frame::from_rgba_speed(width, height, &mut rgba, SPEED))
}

/// An animation, written frame by frame: each is the part that changed. Where something became transparent, all of the
/// frame before it is cleared first, the only way that GIF has.
pub(crate) struct GifAnimation {
    encoder: Encoder<Vec<u8>>,
    /// The frame that was added last: how it is disposed of depends on the next one.
    held: Option<Held>,
    /// Time that was shown, and how much of it is written, hundredths of a second: rounding does not add up.
    elapsed: Duration,
    written: u128,
}

struct Held {
    whole: DynamicImage,
    part: (DynamicImage, u32, u32),
    delay: Duration,
}

impl GifAnimation {
    /// Of `size`; `loops` is 0 for ever.
    pub(crate) fn new((width, height): (u32, u32), loops: u16) -> Result<Self, MediaError> {
        let mut encoder = Encoder::new(Vec::new(), short(width)?, short(height)?, &[]).map_err(failed)?;
        let repeat = match loops {
            0 => Repeat::Infinite,
            times => Repeat::Finite(times),
        };
        encoder.set_repeat(repeat).map_err(failed)?;
        Ok(Self {
            encoder,
            held: None,
            elapsed: Duration::ZERO,
            written: 0,
        })
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.encoder.get_ref().len()
    }

    /// The next frame: what changed since the one before, shown for `delay`.
    pub(crate) fn add(&mut self, changed: &Changed<'_>, delay: Duration) -> Result<(), MediaError> {
        let clear = changed.uncovers();
        let cleared = self.flush(clear)?;
        let part = if cleared {
            (changed.whole.clone(), 0, 0)
        } else {
            (changed.part(), changed.left, changed.top)
        };
        self.held = Some(Held {
            whole: changed.whole.clone(),
            part,
            delay,
        });
        Ok(())
    }

    /// Writes the frame that is held, to be cleared away after its time or not; whether there is nothing under the next.
    fn flush(&mut self, clear: bool) -> Result<bool, MediaError> {
        let Some(held) = self.held.take() else {
            return Ok(true);
        };
        let (image, left, top) = if clear { (held.whole, 0, 0) } else { held.part };
        let mut frame = frame(&image)?;
        (frame.left, frame.top) = (short(left)?, short(top)?);
        frame.dispose = if clear {
            DisposalMethod::Background
        } else {
            DisposalMethod::Keep
        };
        self.elapsed = self.elapsed.saturating_add(held.delay);
        let due = (self.elapsed.as_millis() + 5) / 10;
        frame.delay = u16::try_from(due - self.written).unwrap_or(u16::MAX);
        self.written += u128::from(frame.delay);
        self.encoder.write_frame(&frame).map_err(failed)?;
        Ok(clear)
    }

    /// The file.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, MediaError> {
        self.flush(false)?;
        self.encoder.into_inner().map_err(failed)
    }
}
