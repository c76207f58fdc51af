//! One picture: cleaned once, decoded once, made into every variant.

use crate::{
    Facts, Fit, Format, Limits, MediaError, Policy, ProbeError, Removed, Variant, decode, encode, orientation, probe,
    resize, strip,
};
use fast_image_resize::Resizer;
use image::DynamicImage;
use serde::{Deserialize, Serialize};

/// What is wanted of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What is decoded at all.
    pub limits: Limits,
    /// What happens to metadata.
    pub policy: Policy,
    /// Which variants are made.
    pub variants: Vec<Variant>,
}

impl Default for Settings {
    /// `thumb` 320 × 320, `medium` 500 wide, `large` 1600 wide.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            policy: Policy::default(),
            variants: vec![
                Variant::new("thumb", Some(320), Some(320), Fit::Cover),
                Variant::new("medium", Some(500), None, Fit::Inside),
                Variant::new("large", Some(1_600), None, Fit::Inside),
            ],
        }
    }
}

/// The original without what it gave away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its format, that of the upload.
    pub format: Format,
    /// Pixels across, as displayed.
    pub width: u32,
    /// Pixels down, as displayed.
    pub height: u32,
    /// What is gone.
    pub removed: Vec<Removed>,
}

/// A variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Its name.
    pub name: String,
    /// The file, without metadata.
    pub bytes: Vec<u8>,
    /// Its format.
    pub format: Format,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// What became of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processed {
    /// The original, cleaned losslessly.
    pub original: Cleaned,
    /// Variants, in the order of the settings.
    pub variants: Vec<Rendered>,
    /// What its metadata told.
    pub facts: Facts,
}

/// Cleans `bytes` and makes the variants. `cancel` is asked between steps.
///
/// # Errors
/// When the bytes are no picture that may be kept, or `cancel` says so.
pub fn process(bytes: &[u8], settings: &Settings, cancel: &dyn Fn() -> bool) -> Result<Processed, MediaError> {
    let go_on = || if cancel() { Err(MediaError::Cancelled) } else { Ok(()) };
    let probed = probe(bytes).map_err(|error| match error {
        ProbeError::NeedMore => MediaError::Truncated,
        ProbeError::Media(error) => error,
    })?;
    probed.check(&settings.limits)?;
    let stripped = strip::strip(probed.format, bytes, settings.policy)?;
    go_on()?;
    let memory = probed.memory_bytes(0, settings);
    let decoded = decode::decode(probed.format, &stripped.bytes, memory)?;
    if (decoded.image.width(), decoded.image.height()) != (probed.width, probed.height) {
        return Err(MediaError::corrupt("its size is not what its header says"));
    }
    go_on()?;
    let variants = render(&decoded, stripped.orientation, settings, &go_on)?;
    let (width, height) = orientation::displayed(probed.width, probed.height, stripped.orientation);
    let original = Cleaned {
        bytes: stripped.bytes,
        format: probed.format,
        width,
        height,
        removed: stripped.removed,
    };
    Ok(Processed {
        original,
        variants,
        facts: stripped.facts,
    })
}

/// The largest first, each from the smallest one before it that has enough pixels: most of the work is done once.
/// Pictures are turned upright when they are small.
fn render(
    decoded: &decode::Decoded,
    orientation: u8,
    settings: &Settings,
    go_on: &dyn Fn() -> Result<(), MediaError>,
) -> Result<Vec<Rendered>, MediaError> {
    let (width, height) = orientation::displayed(decoded.image.width(), decoded.image.height(), orientation);
    let mut wanted: Vec<(usize, &Variant, resize::Plan)> = settings
        .variants
        .iter()
        .enumerate()
        .map(|(place, variant)| {
            let plan = variant.plan(width, height);
            (
                place,
                variant,
                if orientation::turned(orientation) {
                    plan.swapped()
                } else {
                    plan
                },
            )
        })
        .collect();
    wanted.sort_by_key(|(_, _, plan)| std::cmp::Reverse(u64::from(plan.scaled.0) * u64::from(plan.scaled.1)));
    let mut resizer = Resizer::new();
    // Whole pictures made so far, ever smaller.
    let mut steps: Vec<DynamicImage> = Vec::new();
    let mut rendered: Vec<(usize, Rendered)> = Vec::with_capacity(wanted.len());
    for (place, variant, plan) in wanted {
        go_on()?;
        let source = steps
            .iter()
            .rev()
            .find(|step| plan.fits_in(step))
            .unwrap_or(&decoded.image);
        let image = resize::resize(&mut resizer, source, plan)?;
        let upright = if orientation == 1 {
            None
        } else {
            Some(orientation::upright(image.clone(), orientation))
        };
        let shown = upright.as_ref().unwrap_or(&image);
        let (format, bytes) = encode::encode(shown, variant.quality, decoded.profile.as_deref())?;
        let (width, height) = (shown.width(), shown.height());
        rendered.push((
            place,
            Rendered {
                name: variant.name.clone(),
                bytes,
                format,
                width,
                height,
            },
        ));
        if plan.cut == plan.scaled {
            steps.push(image);
        }
    }
    rendered.sort_by_key(|(place, _)| *place);
    Ok(rendered.into_iter().map(|(_, rendered)| rendered).collect())
}
