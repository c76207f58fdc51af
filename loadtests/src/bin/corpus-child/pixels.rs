//! Whether two files show the same: as the engine decodes them, and as the crate `image` does where it can.

use mediamill_media::{Format, Limits, frames, pixels};

/// How `cleaned` differs from `source`, a line for each who sees it.
pub(crate) fn differences(format: Format, source: &[u8], cleaned: &[u8]) -> Vec<String> {
    [engine(format, source, cleaned), image(format, source, cleaned)]
        .into_iter()
        .flatten()
        .collect()
}

fn engine(format: Format, source: &[u8], cleaned: &[u8]) -> Option<String> {
    let (limits, go_on) = (Limits::default(), || false);
    match format {
        Format::Jpeg | Format::Avif | Format::Bmp | Format::Tiff => {
            let decoded = |bytes| pixels(bytes, &limits, &go_on);
            match (decoded(source), decoded(cleaned)) {
                (Ok(one), Ok(other)) if one == other => None,
                (Ok(_), Ok(_)) => Some("the engine decodes other pixels".to_owned()),
                // What was cleaned may be better than it was.
                (Err(_), _) => None,
                (Ok(_), Err(error)) => Some(format!("the engine decodes the source and not the cleaned: {error}")),
            }
        }
        Format::Png | Format::WebP | Format::Gif => {
            let mut one = frames(source, &limits, &go_on).ok()?;
            let Ok(mut other) = frames(cleaned, &limits, &go_on) else {
                return Some("the engine reads frames of the source and not of the cleaned".to_owned());
            };
            for number in 0_u32.. {
                match (one.next(), other.next()) {
                    (Some(Ok(one)), Some(Ok(other))) if one.image == other.image && one.delay_ms == other.delay_ms => {}
                    // Both are over; and what was cleaned may be better than it was.
                    (None, None) | (Some(Err(_)), _) => return None,
                    _ => return Some(format!("the engine decodes another frame {number}")),
                }
            }
            None
        }
    }
}

fn image(format: Format, source: &[u8], cleaned: &[u8]) -> Option<String> {
    let format = match format {
        Format::Jpeg => image::ImageFormat::Jpeg,
        Format::Png => image::ImageFormat::Png,
        Format::WebP => image::ImageFormat::WebP,
        Format::Gif => image::ImageFormat::Gif,
        Format::Bmp => image::ImageFormat::Bmp,
        Format::Tiff => image::ImageFormat::Tiff,
        // It has no decoder for these here.
        Format::Avif => return None,
    };
    // What it does not decode, or what makes it panic, is no witness.
    let decoded = |bytes| {
        std::panic::catch_unwind(|| image::load_from_memory_with_format(bytes, format))
            .ok()?
            .ok()
    };
    let source = decoded(source)?;
    match decoded(cleaned) {
        Some(cleaned) if cleaned == source => None,
        Some(_) => Some("the crate image decodes other pixels".to_owned()),
        None => Some("the crate image decodes the source and not the cleaned".to_owned()),
    }
}
