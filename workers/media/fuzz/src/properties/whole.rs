//! The engine as a whole: headers, frames, and everything that is made of a picture.

use super::{LIMITS, mended::mended, peak};
use mediamill_media::{
    Fit, Format, Gravity, Limits, MediaError, Output, Policy, Probe, ProbeError, Processed, Rgb, Settings, Variant,
    frames, pixels, probe, process, strip,
};
use std::cell::Cell;

/// Frames that are read.
const FRAMES: u32 = 20;

/// Headers of a part of a file never contradict those of the whole.
pub(super) fn probed(bytes: &[u8]) {
    let whole = probe(bytes);
    if let Ok(probe) = &whole {
        assert!(probe.width > 0 && probe.height > 0, "it has no pixels");
        let settings = Settings::default();
        for input in [0, u64::MAX] {
            assert!(
                probe.memory_bytes(input, &settings) >= probe.decoder_bytes,
                "{input} bytes of file"
            );
        }
        assert!(probe.frames_bytes() >= probe.decoder_bytes);
    }
    for end in [bytes.len() / 4, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let head = bytes.get(..end).unwrap_or_default();
        match probe(head) {
            Err(ProbeError::NeedMore) => {}
            Err(ProbeError::Media(MediaError::NotAnImage)) if head.is_empty() => {}
            told => assert_eq!(told, whole, "the first {end} bytes say something else"),
        }
    }
}

/// Every frame has the size that the headers say, and takes no more memory than they say.
pub(super) fn moving(bytes: &[u8]) {
    let Ok(probe) = probe(bytes) else { return };
    if probe.format == Format::Avif {
        return;
    }
    let ((), most) = peak(|| {
        let Ok(frames) = frames(bytes, &LIMITS, &|| false) else {
            return;
        };
        for (number, frame) in (0..FRAMES).zip(frames) {
            let Ok(frame) = frame else { break };
            let size = frame.image.dimensions();
            // Of a picture that does not move the caller sees to it.
            assert!(
                size == (probe.width, probe.height) || number == 0,
                "frame {number} is {size:?}"
            );
        }
    });
    if probe.check(&LIMITS).is_ok() {
        held(
            &probe,
            most,
            probe.frames_bytes().saturating_add(length(bytes)),
            "reading frames",
        );
    }
}

/// A picture and its variants, or a reason; in the memory that was said.
pub(super) fn processed(data: &[u8]) {
    let (bytes, settings, patience) = settings(data);
    let bytes = &*mended(bytes);
    let Ok(probe) = probe(bytes) else { return };
    if probe.format == Format::Avif {
        return;
    }
    let asked = Cell::new(0_u32);
    let cancel = || {
        asked.set(asked.get().saturating_add(1));
        patience.is_some_and(|patience| asked.get() > patience)
    };
    let (result, most) = peak(|| process(bytes, &settings, &cancel));
    let stopped = patience.is_some_and(|patience| asked.get() > patience);
    match result {
        Ok(processed) => {
            assert!(!stopped, "it was stopped, and went on");
            made(&probe, bytes, &settings, &processed);
        }
        Err(MediaError::Cancelled) => assert!(stopped, "nobody stopped it"),
        Err(_) => {}
    }
    // The file is the caller's.
    let said = probe.memory_bytes(length(bytes), &settings);
    held(&probe, most.saturating_add(length(bytes)), said, "processing");
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn held(probe: &Probe, most: u64, said: u64, what: &str) {
    // Headers do not tell the tables of a lossless WebP: `Probe::memory_bytes` says so.
    assert!(
        most <= said || probe.format == Format::WebP,
        "{what} took {most} bytes, {said} were said"
    );
}

fn made(before: &Probe, bytes: &[u8], settings: &Settings, processed: &Processed) {
    let original = &processed.original;
    assert_eq!(original.format, before.format);
    let stripped = strip(before.format, bytes, settings.policy);
    assert!(
        stripped.is_ok_and(|stripped| stripped.bytes == original.bytes),
        "the original is another one"
    );
    let size = (original.width, original.height);
    let turned = (before.height, before.width);
    assert!(
        size == (before.width, before.height) || size == turned,
        "it is {size:?}"
    );
    let names = processed.variants.iter().map(|made| &made.name);
    assert!(
        names.eq(settings.variants.iter().map(|wanted| &wanted.name)),
        "a variant is missing"
    );
    for made in &processed.variants {
        let found = probe(&made.bytes);
        let found = found.unwrap_or_else(|error| panic!("variant {} has no header: {error}", made.name));
        assert_eq!(
            (found.format, found.width, found.height),
            (made.format, made.width, made.height)
        );
        let pixels = pixels(&made.bytes, &Limits::default(), &|| false);
        assert!(
            pixels.is_ok(),
            "variant {} cannot be decoded: {:?}",
            made.name,
            pixels.err()
        );
        let stripped = strip(made.format, &made.bytes, Policy::Strip);
        let told = stripped
            .unwrap_or_else(|error| panic!("variant {} is refused: {error}", made.name))
            .removed;
        assert_eq!(told, [], "variant {} has metadata", made.name);
    }
}

/// The AV1 decoder, which ends the process where it panics.
pub(super) fn avif_pixels(bytes: &[u8]) {
    if Format::sniff(bytes) == Some(Format::Avif)
        && let Ok(picture) = pixels(bytes, &LIMITS, &|| false)
    {
        let probe = probe(bytes);
        let probe = probe.unwrap_or_else(|error| panic!("it was decoded without a header: {error}"));
        assert_eq!((picture.width(), picture.height()), (probe.width, probe.height));
    }
}

/// Bytes that say what one variant is to be.
const VARIANT: usize = 10;
/// Bytes that say the rest: policy and number of variants; when to stop.
const REST: usize = 2;

/// A file, what is wanted of it, and how often it may be asked whether to go on. The last bytes of `data` say the latter
/// two, so that a file is an input as it is; zeros are what is usual.
fn settings(data: &[u8]) -> (&[u8], Settings, Option<u32>) {
    let mut settings = Settings {
        limits: LIMITS,
        policy: Policy::Strip,
        variants: Vec::new(),
    };
    let Some((mut file, &[general, patience])) = data.split_last_chunk::<REST>() else {
        return (data, settings, None);
    };
    settings.policy = match general & 3 {
        0 | 1 => Policy::Strip,
        2 => Policy::StripLocation,
        _ => Policy::Keep,
    };
    for number in 0..=(general >> 2 & 1) {
        let Some((rest, options)) = file.split_last_chunk::<VARIANT>() else {
            break;
        };
        file = rest;
        settings.variants.push(variant(&number.to_string(), *options));
    }
    // Now and then.
    let patience = (general >> 3 == 1).then(|| u32::from(patience));
    (file, settings, patience)
}

fn variant(name: &str, options: [u8; VARIANT]) -> Variant {
    let [flags, form, width, height, x, y, quality, red, green, sharpen] = options;
    let side = |side: u8| (side > 0).then(|| u32::from(side) * if flags & 1 == 0 { 1 } else { 8 });
    let mut variant = Variant::new(name, side(width), side(height), Fit::Inside);
    variant.enlarge = flags & 2 != 0;
    variant.linear = flags & 4 != 0;
    variant.animated = flags & 8 != 0;
    variant.background = (flags & 16 != 0).then_some(Rgb([red, green, 7]));
    variant.gravity = Gravity {
        x: (u16::from(x) * 4).min(1_000),
        y: (u16::from(y) * 4).min(1_000),
    };
    variant.fit = match form & 3 {
        0 | 1 => Fit::Inside,
        2 => Fit::Cover,
        _ => Fit::Contain,
    };
    // No AVIF: its encoder is not built.
    variant.output = match form >> 2 & 7 {
        0 | 1 => Output::Auto,
        2 => Output::Jpeg,
        3 => Output::Png,
        4 => Output::Webp,
        5 => Output::WebpLossless,
        _ => Output::Gif,
    };
    if quality > 0 {
        variant.quality = quality;
    }
    variant.sharpen = sharpen;
    variant
}
