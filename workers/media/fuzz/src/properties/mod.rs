//! What holds for every input, by the name of its fuzz target.
//!
//! Each target takes the bytes of a file, with the exceptions that `check` says. To add one: a name in [`TARGETS`], a line
//! in [`check`], a file in `fuzz_targets/` with its `[[bin]]`, and seeds in `tests/fuzzed/seeds.rs`.

mod cleaning;
mod mended;
mod planted;
mod whole;
mod wrapped;

use mediamill_media::{Format, Limits};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// All targets.
pub(crate) const TARGETS: [&str; 15] = [
    "jpeg",
    "png",
    "webp",
    "gif",
    "avif",
    "tiff",
    "bmp",
    "exif",
    "xmp",
    "iptc",
    "items",
    "probe",
    "process",
    "frames",
    "avif_pixels",
];

/// Holds `target`'s properties to an input.
///
/// # Panics
/// When one is broken.
pub(crate) fn check(target: &str, data: &[u8]) {
    match target {
        "jpeg" => file(Format::Jpeg, data),
        "png" => file(Format::Png, &mended::mended(data)),
        "webp" => file(Format::WebP, data),
        "gif" => file(Format::Gif, data),
        "avif" => file(Format::Avif, data),
        "tiff" => file(Format::Tiff, data),
        "bmp" => file(Format::Bmp, data),
        // A TIFF block.
        "exif" => wrapped::exif(data),
        // A packet.
        "xmp" => wrapped::xmp(data),
        // Image resources, or records alone.
        "iptc" => wrapped::iptc(data),
        // The boxes within a meta box.
        "items" => wrapped::items(data),
        "probe" => whole::probed(data),
        // A file, and behind it options: see `whole::settings`.
        "process" => whole::processed(data),
        "frames" => whole::moving(&mended::mended(data)),
        "avif_pixels" => whole::avif_pixels(data),
        other => panic!("{other} is no fuzz target"),
    }
}

/// Removing metadata from the file of a format.
fn file(format: Format, data: &[u8]) {
    cleaning::clean(format, data);
    planted::gone(format, data);
}

/// Small, so that an input costs little.
const LIMITS: Limits = Limits {
    max_pixels: 1 << 14,
    max_side: 1 << 11,
    max_frames: 20,
    max_duration_ms: 60_000,
};

/// The most that was held at one time beside what was held before, bytes.
fn peak<T>(work: impl FnOnce() -> T) -> (T, u64) {
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let result = work();
    let peak = HEAP.peak_usage().saturating_sub(before);
    (result, u64::try_from(peak).unwrap_or(u64::MAX))
}
