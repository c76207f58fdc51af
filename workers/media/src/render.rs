//! Variants of one picture: scaled from each other, the largest first, finished and encoded.

use crate::{
    Facts, Limits, MediaError, Rendered, Settings, Variant, animate,
    colour::ToSrgb,
    encode::Codec,
    finish::finish,
    geometry::{Bounds, Plan},
    look, orientation,
    resize::Scaler,
    source::Source,
};
use image::DynamicImage;
use std::borrow::Cow;

/// A source and the pictures that were made of it so far.
pub(crate) struct Chain {
    scaler: Scaler,
    orientation: u8,
    colours: Option<ToSrgb>,
    /// Whole pictures, upright and in sRGB, ever smaller, and whether they were scaled in linear light.
    steps: Vec<(Source, bool)>,
}

impl Chain {
    /// For sources like this one, stored in `orientation`, their colours meant in `profile`.
    pub(crate) fn new(source: &Source, profile: Option<&[u8]>, orientation: u8) -> Self {
        Self {
            scaler: Scaler::default(),
            orientation,
            colours: profile.and_then(|profile| ToSrgb::new(profile, source.colours())),
            steps: Vec::new(),
        }
    }

    /// Forgets what was made: the next picture is made of another source.
    pub(crate) fn restart(&mut self) {
        self.steps.clear();
    }

    /// `source` as `plan` says, without canvas: made of the smallest picture that has enough pixels. Colours are
    /// converted and pictures are turned when they are small. `apart`: components may stay apart, where there is nothing to
    /// convert.
    pub(crate) fn picture<'a>(
        &'a mut self,
        source: &'a Source,
        plan: Plan,
        linear: bool,
        apart: bool,
    ) -> Result<Cow<'a, Source>, MediaError> {
        let place = self.steps.iter().rposition(|(step, light)| {
            let (width, height) = step.size();
            // Colours of a step that is coded as it is may be fewer than this one wants of the source.
            let enough = apart || step.has(plan.scaled);
            *light == linear && enough && plan.fits_in(width, height)
        });
        let made = match place.and_then(|place| self.steps.get(place)) {
            Some((step, _)) if plan.whole() && plan.scaled == step.size() => None,
            Some((step, _)) => Some(scaled(&mut self.scaler, step, plan, linear, apart)?),
            None => {
                let plan = plan.stored(self.orientation);
                let unscaled = plan.whole() && plan.scaled == source.size();
                let apart = apart && self.colours.is_none();
                if unscaled
                    && self.orientation == 1
                    && (apart || matches!(source, Source::Image(_)))
                    && self.colours.is_none()
                {
                    return Ok(Cow::Borrowed(source));
                }
                let made = if unscaled {
                    Source::Image(source.whole()?.into_owned())
                } else {
                    scaled(&mut self.scaler, source, plan, linear, apart)?
                };
                Some(self.displayed(made)?)
            }
        };
        let place = match (made, place) {
            (Some(made), _) if !plan.whole() => return Ok(Cow::Owned(made)),
            (Some(made), _) => {
                self.steps.push((made, linear));
                self.steps.len() - 1
            }
            (None, place) => place.unwrap_or(0),
        };
        let step = self.steps.get(place).map(|(step, _)| Cow::Borrowed(step));
        step.ok_or_else(|| MediaError::corrupt("it has no picture"))
    }

    /// In sRGB and upright.
    fn displayed(&self, picture: Source) -> Result<Source, MediaError> {
        Ok(match picture {
            Source::Image(mut image) => {
                if let Some(colours) = &self.colours {
                    colours.convert(&mut image);
                }
                Source::Image(orientation::upright(image, self.orientation))
            }
            Source::Planes(planes) => Source::Planes(planes.upright(self.orientation)?),
        })
    }

    /// Fills in what the picture looks like.
    fn look(&mut self, source: &Source, facts: &mut Facts) -> Result<(), MediaError> {
        let small = self.steps.iter().rev().find(|(step, _)| {
            let (width, height) = step.size();
            look::enough(width, height)
        });
        if let Some((step, _)) = small {
            return look::look(&mut self.scaler, step, facts);
        }
        let (width, height) = source.size();
        let small = source.average(&mut self.scaler, look::size(width, height))?;
        let small = self.displayed(Source::Image(small))?;
        look::look(&mut self.scaler, &small, facts)
    }
}

fn scaled(scaler: &mut Scaler, source: &Source, plan: Plan, linear: bool, apart: bool) -> Result<Source, MediaError> {
    Ok(match source {
        Source::Planes(planes) if apart && !linear && planes.common() => {
            Source::Planes(scaler.scale_planes(planes, plan)?)
        }
        _ => Source::Image(source.scaled_image(scaler, plan, linear)?),
    })
}

/// Pixel by pixel.
pub(crate) fn together(picture: Cow<'_, Source>) -> Result<Cow<'_, DynamicImage>, MediaError> {
    match picture {
        Cow::Borrowed(source) => source.whole(),
        Cow::Owned(source) => source.into_image().map(Cow::Owned),
    }
}

/// A variant that is wanted, with its place among the settings.
pub(crate) type Wanted<'a> = (usize, &'a Variant);

/// Makes the variants of a picture that does not move, and looks at it.
pub(crate) fn stills(
    chain: &mut Chain,
    source: &Source,
    wanted: &[Wanted<'_>],
    limits: &Limits,
    facts: &mut Facts,
    go_on: &dyn Fn() -> Result<(), MediaError>,
) -> Result<Vec<(usize, Rendered)>, MediaError> {
    let (width, height) = source.size();
    let (width, height) = orientation::displayed(width, height, chain.orientation);
    let mut planned: Vec<(usize, &Variant, Plan)> = wanted
        .iter()
        .map(|(place, variant)| {
            let bounds = Bounds::new(limits, width, height, variant.output.largest(false));
            (*place, *variant, Plan::new(variant, width, height, bounds))
        })
        .collect();
    planned.sort_by_key(|(_, _, plan)| std::cmp::Reverse(pixels(plan.scaled)));
    let mut rendered = Vec::with_capacity(planned.len());
    for (place, variant, plan) in planned {
        go_on()?;
        let transparent = source.colours().has_alpha() && variant.background.is_none();
        let codec = Codec::still(variant.output, transparent, plan.canvas.0.max(plan.canvas.1));
        let untouched = variant.sharpen == 0 && plan.canvas == plan.cut;
        let apart = untouched && codec.takes_planes(variant.quality);
        let picture = chain.picture(source, plan, variant.linear, apart)?;
        let (bytes, (width, height)) = match &*picture {
            Source::Planes(planes) if apart && planes.common() && planes.full() => {
                (Codec::encode_planes(planes, variant.quality)?, planes.size())
            }
            _ => {
                let finished = finish(together(picture)?, variant, plan, codec.transparent());
                let size = (finished.width(), finished.height());
                (codec.encode(&finished, variant.quality)?, size)
            }
        };
        rendered.push((
            place,
            Rendered {
                name: variant.name.clone(),
                bytes,
                format: codec.format(),
                width,
                height,
            },
        ));
    }
    go_on()?;
    chain.look(source, facts)?;
    Ok(rendered)
}

/// A decoder's picture has at least so many times the pixels of what is made of it, across and down: scaled from there it is
/// as sharp as from all of them.
const MARGIN: f64 = 1.5;

/// The same for all variants of a picture that is stored upright.
pub(crate) fn eighths_of(settings: &Settings, size: (u32, u32)) -> u8 {
    let wanted: Vec<Wanted<'_>> = settings.variants.iter().enumerate().collect();
    eighths(&wanted, &settings.limits, size, 1)
}

/// How many eighths of the sides of a picture of `size`, as stored, are enough for all that is made of it.
pub(crate) fn eighths(wanted: &[Wanted<'_>], limits: &Limits, size: (u32, u32), orientation: u8) -> u8 {
    let share = |part: (u32, u32)| {
        let along = |part: u32, whole: u32| f64::from(part) / f64::from(whole.max(1));
        along(part.0, size.0).max(along(part.1, size.1))
    };
    let (width, height) = orientation::displayed(size.0, size.1, orientation);
    let shares = wanted.iter().map(|(_, variant)| {
        if variant.linear {
            // Light is to be averaged, of all pixels.
            return 1.0;
        }
        let bounds = Bounds::new(limits, width, height, variant.output.largest(false));
        share(Plan::new(variant, width, height, bounds).stored(orientation).scaled)
    });
    let most = shares.fold(share(look::size(size.0, size.1)), f64::max);
    (1..8)
        .find(|eighths| f64::from(*eighths) >= 8.0 * MARGIN * most)
        .unwrap_or(8)
}

pub(crate) fn pixels((width, height): (u32, u32)) -> u64 {
    u64::from(width) * u64::from(height)
}

/// An upper bound of what the variants of a picture of `width` × `height`, in either orientation, take beside it;
/// `moves`: whether its format can.
pub(crate) fn memory_bytes(settings: &Settings, width: u32, height: u32, moves: bool) -> u64 {
    // What stays: the step that smaller ones are made of, and the file.
    const STEP: u64 = 4;
    const FILE: u64 = 5;
    // What goes before the next variant is made: a copy while it is turned or cut, and those of finishing.
    const COPY: u64 = 4;
    let (mut kept, mut working) = (0_u64, 0_u64);
    for variant in &settings.variants {
        let moves = moves && variant.animated;
        let size = |width: u32, height: u32| {
            let bounds = Bounds::new(&settings.limits, width, height, variant.output.largest(false));
            let plan = Plan::new(variant, width, height, bounds);
            (pixels(plan.canvas), pixels(plan.cut))
        };
        let (upright, turned) = (size(width, height), size(height, width));
        let canvas = upright.0.max(turned.0);
        let cut = upright.1.max(turned.1);
        let codec = Codec::still(variant.output, true, u32::MAX).pixel_bytes().max(
            Codec::moving(variant.output)
                .filter(|_| moves)
                .map_or(0, Codec::pixel_bytes),
        );
        kept = kept
            .saturating_add(cut.saturating_mul(STEP))
            .saturating_add(canvas.saturating_mul(FILE));
        let mut transient = canvas.saturating_mul(COPY * 3 + codec);
        if variant.linear {
            // The source in sixteen bits, and the result.
            let deep = u64::from(width) * u64::from(height);
            transient = transient.saturating_add(deep.saturating_add(cut).saturating_mul(8));
        }
        working = working.max(transient);
        if moves {
            kept = kept.saturating_add(animate::memory_bytes(canvas));
        }
    }
    kept.saturating_add(working)
}
