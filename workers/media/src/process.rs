//! One picture: cleaned once, decoded once, made into every variant.

use crate::{
    Facts, Fit, Format, Limits, MediaError, Policy, Removed, Variant, animate, colour, orientation,
    pixels::{decoded, probed},
    render, strip,
};
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
    /// The file, without metadata. Its checksum is the store's, which has to have one anyway.
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
    /// What its metadata told and its pixels look like.
    pub facts: Facts,
}

/// Cleans `bytes` and makes the variants. `cancel` is asked between steps.
///
/// # Errors
/// When the bytes are no picture that may be kept, or `cancel` says so.
pub fn process(bytes: &[u8], settings: &Settings, cancel: &dyn Fn() -> bool) -> Result<Processed, MediaError> {
    let go_on = || if cancel() { Err(MediaError::Cancelled) } else { Ok(()) };
    let probed = probed(bytes)?;
    probed.check(&settings.limits)?;
    let stripped = strip::strip(probed.format, bytes, settings.policy)?;
    settings.limits.check_motion(&stripped.facts)?;
    if let Some(reason) = stripped.not_lossless {
        return Err(MediaError::Unsupported {
            format: probed.format.name(),
            problem: format!("it cannot be cleaned: {reason}"),
        });
    }
    go_on()?;
    let mut facts = stripped.facts;
    let mut wanted: Vec<render::Wanted<'_>> = settings.variants.iter().enumerate().collect();
    let input = animate::Input {
        format: probed.format,
        bytes: &stripped.bytes,
        size: (probed.width, probed.height),
        orientation: stripped.orientation,
        memory: probed.frames_bytes(),
        cancel,
    };
    let mut variants = animate::render(&input, &wanted, &settings.limits, &mut facts, &go_on)?;
    wanted.retain(|(place, _)| variants.iter().all(|(made, _)| made != place));
    let mut orientation = stripped.orientation;
    // Where all of them move there is no still to be made.
    if !wanted.is_empty() || variants.is_empty() {
        let size = (probed.width, probed.height);
        let eighths = render::eighths(&wanted, &settings.limits, size, orientation);
        let decoded = decoded(&probed, &stripped.bytes, eighths, cancel)?;
        // Where the container itself turns the picture, metadata has no say.
        orientation = decoded.turned.unwrap_or(orientation);
        let numbers = decoded.cicp;
        let (image, profile) = decoded.into_light();
        let profile = profile.or_else(|| colour::by_numbers(numbers?));
        go_on()?;
        let mut chain = render::Chain::new(&image, profile.as_deref(), orientation);
        let stills = render::stills(&mut chain, &image, &wanted, &settings.limits, &mut facts, &go_on)?;
        variants.extend(stills);
    }
    variants.sort_by_key(|(place, _)| *place);
    let (width, height) = orientation::displayed(probed.width, probed.height, orientation);
    let original = Cleaned {
        bytes: stripped.bytes,
        format: probed.format,
        width,
        height,
        removed: stripped.removed,
    };
    Ok(Processed {
        original,
        variants: variants.into_iter().map(|(_, variant)| variant).collect(),
        facts,
    })
}
