//! Sizes and durations as people write them.

use crate::units::ByteCount;
use std::time::Duration;

fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let number: f64 = number.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some((number, unit.trim()))
}

/// A size as people write it: `20M`, `20 MB` (decimal), `64 MiB` (binary), `1024`.
///
/// # Errors
/// What to write instead, in words.
pub fn size(text: &str) -> Result<ByteCount, String> {
    let refuse = || format!("{text:?} is no size: write 20M, 20 MB, 64 MiB or a number of bytes");
    let (number, unit) = split(text).ok_or_else(refuse)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" | "ki" => 1024.0,
        "mib" | "mi" => 1_048_576.0,
        "gib" | "gi" => 1_073_741_824.0,
        "tib" | "ti" => 1_099_511_627_776.0,
        _ => return Err(refuse()),
    };
    let bytes = number * factor;
    if bytes > 9e18 {
        return Err(refuse());
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within range just before")]
    Ok(ByteCount::new(bytes.round() as i64))
}

/// `500ms`, `30s`, `5m`, `2h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("{text:?} is no duration: write 500ms, 30s, 5m, 2h or 7d");
    let (number, unit) = split(text).ok_or_else(refuse)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(refuse()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_decimal_unless_they_say_otherwise() {
        for (text, bytes) in [
            ("20M", 20_000_000),
            ("20 MB", 20_000_000),
            ("64 MiB", 67_108_864),
            ("1.5k", 1_500),
            ("0", 0),
            ("7b", 7),
        ] {
            assert_eq!(size(text), Ok(ByteCount::new(bytes)), "{text}");
        }
        for bad in ["", "M", "-1", "1 parsec", "1e9", "99999 TB TB", "9999999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_need_their_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert!(duration("30").is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,20}") {
            let _ = (size(&text), duration(&text));
        }
    }
}
