//! Variants that move: every frame of the original scaled, finished and added to files that grow.
//!
//! Frames are decoded once, for all variants. What would become too long or too large stands still instead.

use crate::{
    Facts, Format, Limits, MediaError, Rendered, Variant,
    animation::Changed,
    colour,
    decode::{self, Frames},
    encode::{Codec, GifAnimation, WebpAnimation, guarded},
    finish::finish,
    geometry::{Bounds, Plan},
    limits::MOST_PIXELS,
    orientation,
    render::{Chain, Wanted, pixels, stills, together},
    source::Source,
};
use image::DynamicImage;
use std::time::Duration;

/// A moving variant's file is no larger.
const LARGEST_FILE: usize = 16 * 1024 * 1024;

/// What an animation of `canvas` pixels a frame keeps: two frames and another one for GIF, and its file while it grows.
pub(crate) const fn memory_bytes(canvas: u64) -> u64 {
    canvas.saturating_mul(16).saturating_add(3 * LARGEST_FILE as u64)
}

/// The original.
pub(crate) struct Input<'a> {
    pub(crate) format: Format,
    pub(crate) bytes: &'a [u8],
    /// Pixels as stored.
    pub(crate) size: (u32, u32),
    pub(crate) orientation: u8,
    /// Bytes that decoding may take.
    pub(crate) memory: u64,
    /// Whether to stop.
    pub(crate) cancel: &'a dyn Fn() -> bool,
}

enum Writer {
    Webp(WebpAnimation),
    Gif(GifAnimation),
}

/// A variant on its way.
struct Track<'a> {
    place: usize,
    variant: &'a Variant,
    plan: Plan,
    codec: Codec,
    writer: Writer,
    /// The last frame as it was added.
    last: Option<DynamicImage>,
    pixels: u64,
}

/// Makes those of `wanted` that are to move, when the original does. The others, and those beyond `limits`, are left. Where
/// all of `wanted` are to move, what the first frame looks like is filled in, too.
pub(crate) fn render(
    input: &Input<'_>,
    wanted: &[Wanted<'_>],
    limits: &Limits,
    facts: &mut Facts,
    go_on: &dyn Fn() -> Result<(), MediaError>,
) -> Result<Vec<(usize, Rendered)>, MediaError> {
    let moving: Vec<(usize, &Variant, Codec)> = wanted
        .iter()
        .filter(|(_, variant)| variant.animated)
        .filter_map(|(place, variant)| Some((*place, *variant, Codec::moving(variant.output)?)))
        .collect();
    if moving.is_empty() {
        return Ok(Vec::new());
    }
    let frames = decode::frames(input.format, input.bytes, input.memory, input.cancel)?;
    if !frames.moves() {
        return Ok(Vec::new());
    }
    // 0 is for ever.
    let loops = frames.plays.map_or(0, |plays| u16::try_from(plays).unwrap_or(u16::MAX));
    let (width, height) = orientation::displayed(input.size.0, input.size.1, input.orientation);
    let mut tracks: Vec<Track<'_>> = moving
        .into_iter()
        .map(|(place, variant, codec)| {
            let bounds = Bounds::new(limits, width, height, variant.output.largest(true));
            let plan = Plan::new(variant, width, height, bounds);
            Track::new(place, variant, plan, codec, loops)
        })
        .collect::<Result<_, _>>()?;
    tracks.sort_by_key(|track| std::cmp::Reverse(pixels(track.plan.scaled)));
    let looked_at = (tracks.len() == wanted.len()).then_some(&mut *facts);
    let Some((count, duration)) = feed(input, frames, &mut tracks, limits, looked_at, go_on)? else {
        return Ok(Vec::new());
    };
    facts.frames.get_or_insert(count);
    facts
        .duration_ms
        .get_or_insert(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    tracks.into_iter().map(Track::finish).collect()
}

/// Shows every frame to every track that is not beyond its limits; how many there were and how long they took. `None`
/// when there is one, or when there are too many.
fn feed(
    input: &Input<'_>,
    mut frames: Frames<'_>,
    tracks: &mut Vec<Track<'_>>,
    limits: &Limits,
    mut looked_at: Option<&mut Facts>,
    go_on: &dyn Fn() -> Result<(), MediaError>,
) -> Result<Option<(u32, Duration)>, MediaError> {
    let numbers = frames.cicp;
    let profile = frames.profile.take().or_else(|| colour::by_numbers(numbers?));
    let mut chain: Option<Chain> = None;
    let (mut count, mut duration) = (0_u32, Duration::ZERO);
    while let Some(frame) = frames.next().transpose()? {
        go_on()?;
        let delay = Duration::from_millis(frame.delay_ms.into());
        let frame = Source::Image(DynamicImage::ImageRgba8(frame.image));
        if frame.size() != input.size {
            return Err(MediaError::corrupt("a frame's size is not what its header says"));
        }
        count += 1;
        duration = duration.saturating_add(delay);
        let many = limits.max_frames > 0 && count > limits.max_frames;
        let long = limits.max_duration_ms > 0 && duration.as_millis() > limits.max_duration_ms.into();
        if many || long {
            return Ok(None);
        }
        let chain = chain.get_or_insert_with(|| Chain::new(&frame, profile.as_deref(), input.orientation));
        chain.restart();
        tracks.retain(|track| track.goes_on(limits));
        for track in tracks.iter_mut() {
            track.add(chain, &frame, delay)?;
        }
        if let Some(facts) = looked_at.take() {
            stills(chain, &frame, &[], limits, facts, go_on)?;
        }
        if tracks.is_empty() {
            return Ok(None);
        }
    }
    tracks.retain(|track| track.goes_on(limits));
    Ok((count > 1).then_some((count, duration)))
}

impl<'a> Track<'a> {
    fn new(place: usize, variant: &'a Variant, plan: Plan, codec: Codec, loops: u16) -> Result<Self, MediaError> {
        let writer = if codec == Codec::Gif {
            Writer::Gif(GifAnimation::new(plan.canvas, loops)?)
        } else {
            let lossless = codec == Codec::WebpLossless;
            let quality = variant.quality.clamp(1, 100);
            Writer::Webp(WebpAnimation::new(plan.canvas, loops, lossless, quality))
        };
        Ok(Self {
            place,
            variant,
            plan,
            codec,
            writer,
            last: None,
            pixels: 0,
        })
    }

    /// Whether it is within its limits so far.
    fn goes_on(&self, limits: &Limits) -> bool {
        let most = if limits.max_pixels == 0 {
            MOST_PIXELS
        } else {
            limits.max_pixels
        };
        let length = match &self.writer {
            Writer::Webp(writer) => writer.len(),
            Writer::Gif(writer) => writer.len(),
        };
        self.pixels <= most && length <= LARGEST_FILE
    }

    fn add(&mut self, chain: &mut Chain, frame: &Source, delay: Duration) -> Result<(), MediaError> {
        let picture = chain.picture(frame, self.plan, self.variant.linear, false)?;
        let finished = finish(together(picture)?, self.variant, self.plan, self.codec.transparent()).into_owned();
        let changed = Changed::between(self.last.as_ref(), &finished);
        guarded(|| match &mut self.writer {
            Writer::Webp(writer) => writer.add(&changed, delay),
            Writer::Gif(writer) => writer.add(&changed, delay),
        })?;
        self.pixels = self.pixels.saturating_add(pixels(self.plan.canvas));
        self.last = Some(finished);
        Ok(())
    }

    fn finish(self) -> Result<(usize, Rendered), MediaError> {
        let bytes = guarded(|| match self.writer {
            Writer::Webp(writer) => writer.finish(),
            Writer::Gif(writer) => writer.finish(),
        })?;
        let (width, height) = self.plan.canvas;
        let rendered = Rendered {
            name: self.variant.name.clone(),
            bytes,
            format: self.codec.format(),
            width,
            height,
        };
        Ok((self.place, rendered))
    }
}
