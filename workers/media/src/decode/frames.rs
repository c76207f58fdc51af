//! The frames of an animation, one after another, each as it is shown: composed on the whole canvas.
//!
//! Holds the canvas, what disposal needs of it, and one frame: at most [`crate::Probe::frames_bytes`], beside the frame
//! that was handed out.

use super::{
    COLOURS, Cicp, decode, fits, guarded,
    raster::{cicp, limits},
    refused,
    watched::Watched,
};
use crate::{Format, MediaError};
use image::{
    AnimationDecoder, ImageDecoder, ImageResult, Rgba, RgbaImage,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
    metadata::LoopCount,
};

/// A frame as it is shown.
#[derive(Debug)]
pub struct Frame {
    /// The whole canvas.
    pub image: RgbaImage,
    /// How long it is shown, milliseconds, as the file says: 0 in many, which viewers take for 100.
    pub delay_ms: u32,
}

/// The frames of a picture, one after another. Ends after its first error.
pub struct Frames<'a> {
    format: Format,
    cancel: &'a dyn Fn() -> bool,
    source: Source<'a>,
    /// How often they are shown; `None` is for ever.
    pub plays: Option<u32>,
    /// The ICC profile their colours are meant in.
    pub(crate) profile: Option<Vec<u8>>,
    /// Their primaries and transfer function, where the file tells them in numbers and has no profile.
    pub(crate) cicp: Option<Cicp>,
}

enum Source<'a> {
    Moving(image::Frames<'a>),
    /// A picture that does not move: its only frame.
    Still(&'a [u8], u64),
    Over,
}

struct Opened<'a> {
    source: Source<'a>,
    plays: Option<u32>,
    profile: Option<Vec<u8>>,
    cicp: Option<Cicp>,
}

impl Frames<'_> {
    /// Whether the picture's format says that it moves; it may still have one frame alone.
    pub(crate) const fn moves(&self) -> bool {
        matches!(self.source, Source::Moving(_))
    }
}

/// The frames of a picture, in at most `memory` bytes; a picture that does not move has one.
///
/// # Errors
/// When its headers are damaged. The iterator ends after its first error.
pub(crate) fn frames<'a>(
    format: Format,
    bytes: &'a [u8],
    memory: u64,
    cancel: &'a dyn Fn() -> bool,
) -> Result<Frames<'a>, MediaError> {
    let opened = guarded(cancel, || {
        open(format, bytes, memory, cancel).map_err(|error| refused(format.name(), &error))
    })?;
    Ok(Frames {
        format,
        cancel,
        source: opened.source,
        plays: opened.plays,
        // Frames are composed in colour, whatever the file has.
        profile: opened.profile.filter(|profile| fits(profile, COLOURS)),
        cicp: opened.cicp,
    })
}

fn open<'a>(format: Format, bytes: &'a [u8], memory: u64, cancel: &'a dyn Fn() -> bool) -> ImageResult<Opened<'a>> {
    let still = Opened {
        source: Source::Still(bytes, memory),
        plays: Some(1),
        profile: None,
        cicp: None,
    };
    let input = Watched::new(bytes, cancel);
    Ok(match format {
        Format::Gif => {
            let mut decoder = GifDecoder::new(input)?;
            decoder.set_limits(limits(memory))?;
            moving(decoder, None)
        }
        Format::Png => {
            let mut decoder = PngDecoder::with_limits(input, limits(memory))?;
            // Frames of 16 bits are composed by nobody: the default image stands for them.
            let deep = decoder.color_type().bytes_per_pixel() > decoder.color_type().channel_count();
            if deep || !decoder.is_apng()? {
                return Ok(still);
            }
            let profile = decoder.icc_profile()?;
            let cicp = if profile.is_none() { cicp(bytes) } else { None };
            Opened {
                cicp,
                ..moving(decoder.apng()?, profile)
            }
        }
        Format::WebP => {
            let mut decoder = WebPDecoder::new(input)?;
            if !decoder.has_animation() {
                return Ok(still);
            }
            // Without a colour to clear with, nothing is cleared; the file's own is not used by viewers.
            decoder.set_background_color(Rgba([0; 4]))?;
            let profile = decoder.icc_profile()?;
            moving(decoder, profile)
        }
        Format::Jpeg | Format::Avif | Format::Bmp | Format::Tiff => still,
    })
}

fn moving<'a>(decoder: impl AnimationDecoder<'a>, profile: Option<Vec<u8>>) -> Opened<'a> {
    let plays = match decoder.loop_count() {
        LoopCount::Infinite => None,
        LoopCount::Finite(count) => Some(count.get()),
    };
    Opened {
        source: Source::Moving(decoder.into_frames()),
        plays,
        profile,
        cicp: None,
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame, MediaError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (format, cancel) = (self.format, self.cancel);
        let next = match &mut self.source {
            Source::Over => return None,
            Source::Moving(frames) => guarded(cancel, || {
                let next = frames.next().transpose();
                next.map_err(|error| refused(format.name(), &error))
            })
            .map(|next| next.map(shown)),
            Source::Still(bytes, memory) => decode(format, bytes, *memory, 8, cancel)
                .and_then(|decoded| decoded.into_light().0.into_image())
                .map(|image| {
                    Some(Frame {
                        image: image.into_rgba8(),
                        delay_ms: 0,
                    })
                }),
        };
        if !matches!((&next, &self.source), (Ok(Some(_)), Source::Moving(_))) {
            self.source = Source::Over;
        }
        next.transpose()
    }
}

fn shown(frame: image::Frame) -> Frame {
    let (numerator, denominator) = frame.delay().numer_denom_ms();
    Frame {
        delay_ms: numerator / denominator.max(1),
        image: frame.into_buffer(),
    }
}
