//! Metadata removed: nothing of the picture changes, and what is clean stays as it is.

use super::LIMITS;
use mediamill_media::{Format, Policy, Probe, Stripped, frames, pixels, probe, strip};

/// Frames that are compared.
const FRAMES: usize = 8;

/// Every policy, on a file that may be of any kind.
pub(super) fn clean(format: Format, bytes: &[u8]) {
    for policy in [Policy::Strip, Policy::StripLocation, Policy::Keep] {
        if let Ok(stripped) = strip(format, bytes, policy) {
            cleaned(format, bytes, policy, &stripped);
        }
    }
}

fn cleaned(format: Format, bytes: &[u8], policy: Policy, stripped: &Stripped) {
    if policy == Policy::Keep || stripped.not_lossless.is_some() {
        assert!(
            stripped.bytes == bytes,
            "{policy:?}: what is kept as it came has changed"
        );
        return;
    }
    let most = match (format, policy) {
        // An orientation that has to be written, with its header.
        (Format::Jpeg | Format::Png | Format::WebP | Format::Gif, Policy::Strip) => bytes.len() + 64,
        // A palette of 256 colours that reaches into the pixels.
        (Format::Bmp, _) => bytes.len() + 1_024,
        // Parts that lie over one another are written one by one.
        _ => 2 * bytes.len() + 1_000,
    };
    assert!(
        stripped.bytes.len() <= most,
        "{policy:?}: {} bytes out of {}",
        stripped.bytes.len(),
        bytes.len()
    );
    let again = strip(format, &stripped.bytes, policy);
    let again = again.unwrap_or_else(|error| panic!("{policy:?}: what was cleaned is refused: {error}"));
    assert_eq!(again.removed, [], "{policy:?}: what was cleaned is found dirty");
    assert!(
        again.bytes == stripped.bytes,
        "{policy:?}: what was cleaned changes once more"
    );
    assert_eq!(
        again.orientation, stripped.orientation,
        "{policy:?}: it is turned another way"
    );
    assert_eq!(
        again.not_lossless, None,
        "{policy:?}: what was cleaned cannot be cleaned"
    );
    let motion = |stripped: &Stripped| (stripped.facts.frames, stripped.facts.duration_ms);
    assert_eq!(motion(&again), motion(stripped), "{policy:?}: it moves another way");
    if let Ok(before) = probe(bytes)
        && before.format == format
    {
        looks_the_same(&before, bytes, &stripped.bytes, policy);
    }
}

fn looks_the_same(before: &Probe, bytes: &[u8], stripped: &[u8], policy: Policy) {
    let after = probe(stripped);
    let after = after.unwrap_or_else(|error| panic!("{policy:?}: what was cleaned has no header: {error}"));
    let told = |probe: &Probe| (probe.format, probe.width, probe.height);
    assert_eq!(told(&after), told(before), "{policy:?}: it has become another picture");
    assert!(
        after.decoder_bytes <= before.decoder_bytes,
        "{policy:?}: it takes more memory to decode"
    );
    // A panic within the AV1 decoder ends the process: its pixels have a target of their own.
    if before.check(&LIMITS).is_err() || before.format == Format::Avif {
        return;
    }
    if !scans_are_whole(before.format, bytes, stripped) {
        return;
    }
    if let Ok(pixels_before) = pixels(bytes, &LIMITS, &|| false) {
        let pixels_after = pixels(stripped, &LIMITS, &|| false);
        let pixels_after = pixels_after.unwrap_or_else(|error| panic!("{policy:?}: its pixels are broken: {error}"));
        assert!(pixels_after == pixels_before, "{policy:?}: its pixels have changed");
    }
    if matches!(before.format, Format::Gif | Format::Png | Format::WebP) {
        let (Some((plays_before, before)), after) = (shown(bytes), shown(stripped)) else {
            return;
        };
        let (plays_after, after) = after.unwrap_or_else(|| panic!("{policy:?}: its frames are broken"));
        assert_eq!(plays_after, plays_before, "{policy:?}: it is shown more or less often");
        // Where one of them is damaged the other may be read further.
        assert!(
            before.iter().zip(&after).all(|(a, b)| a == b),
            "{policy:?}: its frames have changed"
        );
    }
}

/// A frame's time and pixels.
type Shown = (u32, Vec<u8>);

/// How often its frames are shown, and these as far as they can be decoded.
fn shown(bytes: &[u8]) -> Option<(Option<u32>, Vec<Shown>)> {
    let frames = frames(bytes, &LIMITS, &|| false).ok()?;
    let plays = frames.plays;
    let frames = frames.map_while(Result::ok).take(FRAMES);
    Some((
        plays,
        frames.map(|frame| (frame.delay_ms, frame.image.into_raw())).collect(),
    ))
}

/// Whether nothing was taken out behind the beginning of a JPEG's first scan. Damaged pixels run into what follows them,
/// and what a decoder makes of that is its own affair.
fn scans_are_whole(format: Format, bytes: &[u8], stripped: &[u8]) -> bool {
    let scans = memchr::memmem::find(stripped, b"\xff\xda").and_then(|start| stripped.get(start..));
    format != Format::Jpeg || scans.is_some_and(|scans| memchr::memmem::find(bytes, scans).is_some())
}
