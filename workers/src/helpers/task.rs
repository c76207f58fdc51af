//! What a helper is asked to make of a picture.

use mediamill_media::{Cleaned, Facts, MediaError, Processed, Rendered, Settings, process, variants};

/// What is made of a picture: all of it, or variants alone.
pub trait Task: 'static {
    /// What comes of it.
    type Made: Send + 'static;

    /// Whether the cleaned original is part of it.
    const ORIGINAL: bool;

    /// Makes it here.
    ///
    /// # Errors
    /// When the bytes are no picture that may be kept, or `cancel` says so.
    fn here(bytes: &[u8], settings: &Settings, cancel: &dyn Fn() -> bool) -> Result<Self::Made, MediaError>;

    /// Size of its files, bytes.
    fn bytes(made: &Self::Made) -> u64;

    /// From the parts that a helper made. `None`: they are others than this task has.
    fn of(original: Option<Cleaned>, variants: Vec<Rendered>, facts: Facts) -> Option<Self::Made>;
}

/// The original is cleaned, and variants are made.
#[derive(Debug)]
pub struct Everything;

/// The original is clean: more variants are made of it.
#[derive(Debug)]
pub struct VariantsAlone;

impl Task for Everything {
    type Made = Processed;

    const ORIGINAL: bool = true;

    fn here(bytes: &[u8], settings: &Settings, cancel: &dyn Fn() -> bool) -> Result<Processed, MediaError> {
        process(bytes, settings, cancel)
    }

    fn bytes(made: &Processed) -> u64 {
        sum(&made.variants).saturating_add(size(&made.original.bytes))
    }

    fn of(original: Option<Cleaned>, variants: Vec<Rendered>, facts: Facts) -> Option<Processed> {
        Some(Processed {
            original: original?,
            variants,
            facts,
        })
    }
}

impl Task for VariantsAlone {
    type Made = Vec<Rendered>;

    const ORIGINAL: bool = false;

    fn here(bytes: &[u8], settings: &Settings, cancel: &dyn Fn() -> bool) -> Result<Vec<Rendered>, MediaError> {
        variants(bytes, settings, cancel)
    }

    fn bytes(made: &Vec<Rendered>) -> u64 {
        sum(made)
    }

    fn of(original: Option<Cleaned>, variants: Vec<Rendered>, _: Facts) -> Option<Vec<Rendered>> {
        original.is_none().then_some(variants)
    }
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn sum(variants: &[Rendered]) -> u64 {
    let sizes = variants.iter().map(|variant| size(&variant.bytes));
    sizes.fold(0, u64::saturating_add)
}
