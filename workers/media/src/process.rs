//! One picture: cleaned once, decoded once, made into every variant.

use crate::{
    Facts, Fit, Format, Limits, MediaError, Policy, Probe, Removed, Variant, animate, colour, orientation,
    pixels::{decoded, probed},
    render,
    strip::{self, Stripped},
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
    let (probed, stripped) = read(bytes, settings, settings.policy)?;
    if let Some(reason) = stripped.not_lossless {
        return Err(MediaError::Unsupported {
            format: probed.format.name(),
            problem: format!("it cannot be cleaned: {reason}"),
        });
    }
    let mut facts = stripped.facts;
    let (variants, orientation) = render(
        &probed,
        &stripped.bytes,
        stripped.orientation,
        settings,
        &mut facts,
        cancel,
    )?;
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
        variants,
        facts,
    })
}

/// Makes variants, and nothing else, of an original that [`process`] has cleaned before: for those that nobody had asked
/// for then. `cancel` is asked between steps.
///
/// # Errors
/// When the bytes are no picture that may be kept, or `cancel` says so.
pub fn variants(bytes: &[u8], settings: &Settings, cancel: &dyn Fn() -> bool) -> Result<Vec<Rendered>, MediaError> {
    let (probed, read) = read(bytes, settings, Policy::Keep)?;
    let mut facts = read.facts;
    let (variants, _) = render(&probed, &read.bytes, read.orientation, settings, &mut facts, cancel)?;
    Ok(variants)
}

/// What the picture is, and what `policy` leaves of its file.
fn read(bytes: &[u8], settings: &Settings, policy: Policy) -> Result<(Probe, Stripped), MediaError> {
    let probed = probed(bytes)?;
    probed.check(&settings.limits)?;
    let stripped = strip::strip(probed.format, bytes, policy)?;
    settings.limits.check_motion(&stripped.facts)?;
    Ok((probed, stripped))
}

/// Every variant, in the order of the settings, and the orientation that the picture turned out to have.
fn render(
    probed: &Probe,
    bytes: &[u8],
    mut orientation: u8,
    settings: &Settings,
    facts: &mut Facts,
    cancel: &dyn Fn() -> bool,
) -> Result<(Vec<Rendered>, u8), MediaError> {
    let go_on = || if cancel() { Err(MediaError::Cancelled) } else { Ok(()) };
    go_on()?;
    let mut wanted: Vec<render::Wanted<'_>> = settings.variants.iter().enumerate().collect();
    let input = animate::Input {
        format: probed.format,
        bytes,
        size: (probed.width, probed.height),
        orientation,
        memory: probed.frames_bytes(),
        cancel,
    };
    let mut variants = animate::render(&input, &wanted, &settings.limits, facts, &go_on)?;
    wanted.retain(|(place, _)| variants.iter().all(|(made, _)| made != place));
    // Where all of them move there is no still to be made.
    if !wanted.is_empty() || variants.is_empty() {
        let size = (probed.width, probed.height);
        let eighths = render::eighths(&wanted, &settings.limits, size, orientation);
        let decoded = decoded(probed, bytes, eighths, cancel)?;
        // Where the container itself turns the picture, metadata has no say.
        orientation = decoded.turned.unwrap_or(orientation);
        let numbers = decoded.cicp;
        let (image, profile) = decoded.into_light();
        let profile = profile.or_else(|| colour::by_numbers(numbers?));
        go_on()?;
        let mut chain = render::Chain::new(&image, profile.as_deref(), orientation);
        let stills = render::stills(&mut chain, &image, &wanted, &settings.limits, facts, &go_on)?;
        variants.extend(stills);
    }
    variants.sort_by_key(|(place, _)| *place);
    Ok((variants.into_iter().map(|(_, variant)| variant).collect(), orientation))
}
