//! Values of limits: read as people and machines write them, and shown to people.

use super::{FormatSet, ImageFormat, Limit, LimitsError, Unit};
use crate::{config::values::size, units::ByteCount};
use serde_json::Value;

/// Bytes of a carried text: more than any setting needs, less than a row minds.
const LONGEST_CARRIED: usize = 4_096;

/// Reads what stands under `name`, which means `limit`.
pub(super) fn read(limit: Limit, name: &str, value: &Value) -> Result<i64, LimitsError> {
    let unit = limit.unit();
    let read = match unit {
        Unit::Count | Unit::Pixels | Unit::Seconds | Unit::PerHour => whole(value),
        Unit::Bytes | Unit::BytesPerMonth => whole(value).or_else(|problem| match value {
            Value::String(text) => size(text).map(|bytes| i128::from(bytes.get())),
            _ => Err(problem),
        }),
        Unit::Toggle => toggle(value),
        Unit::Formats => formats(value),
    };
    let number = read.map_err(|problem| LimitsError::Value {
        name: name.to_owned(),
        problem,
    })?;
    i64::try_from(number)
        .ok()
        .filter(|value| (0..=unit.most()).contains(value))
        .ok_or_else(|| LimitsError::Range {
            name: name.to_owned(),
            value: number.to_string(),
            most: unit.most(),
        })
}

/// Reads what stands under a carried `name`: any text; what is no text becomes one.
pub(super) fn read_carried(name: &str, value: &Value) -> Result<String, LimitsError> {
    let refuse = |problem: String| LimitsError::Value {
        name: name.to_owned(),
        problem,
    };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(on) => i64::from(*on).to_string(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
        Value::Null => return Err(refuse("null is no value: leave the name out".to_owned())),
    };
    if text.len() > LONGEST_CARRIED {
        return Err(refuse(format!("a value may have {LONGEST_CARRIED} bytes")));
    }
    Ok(text)
}

fn whole(value: &Value) -> Result<i128, String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    text.parse()
        .map_err(|_| format!("{value} is no whole number: write one such as 1000, 0 for no limit"))
}

fn toggle(value: &Value) -> Result<i128, String> {
    if let Value::Bool(on) = value {
        return Ok(i128::from(*on));
    }
    match value.as_str().map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        Some("true" | "on" | "yes") => Ok(1),
        Some("false" | "off" | "no") => Ok(0),
        _ => whole(value).map_err(|_| format!("{value} is neither on nor off: write true or false, 1 or 0")),
    }
}

/// A list of names, that list as a text, names with commas between, or the stored integer.
fn formats(value: &Value) -> Result<i128, String> {
    let refuse = || format!("{value} is no list of formats: write [\"JPEG\", \"PNG\"] or \"JPEG,PNG\"");
    let bits = |names: &[&str]| -> Result<i128, String> {
        let set: FormatSet = names
            .iter()
            .map(|name| name.parse::<ImageFormat>())
            .collect::<Result<_, _>>()?;
        Ok(i128::from(set.bits()))
    };
    match value {
        Value::Number(_) => whole(value).map_err(|_| refuse()),
        Value::Array(names) => {
            let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
            bits(&names.ok_or_else(refuse)?)
        }
        Value::String(text) if text.trim_start().starts_with('[') => {
            let names: Vec<String> = serde_json::from_str(text).map_err(|_| refuse())?;
            bits(&names.iter().map(String::as_str).collect::<Vec<_>>())
        }
        Value::String(text) if text.trim().is_empty() => Err(refuse()),
        Value::String(text) => whole(value).or_else(|_| bits(&text.split(',').collect::<Vec<_>>())),
        Value::Null | Value::Bool(_) | Value::Object(_) => Err(refuse()),
    }
}

/// A value as Chevereto's API has it: digits, or for formats the text of a JSON array.
pub(super) fn to_chevereto(limit: Limit, value: i64) -> String {
    match limit.unit() {
        Unit::Formats => {
            let names: Vec<Value> = FormatSet::from_bits(value)
                .iter()
                .map(|format| Value::from(format.as_str()))
                .collect();
            Value::from(names).to_string()
        }
        Unit::Count
        | Unit::Bytes
        | Unit::Pixels
        | Unit::Seconds
        | Unit::PerHour
        | Unit::BytesPerMonth
        | Unit::Toggle => value.to_string(),
    }
}

/// A value for people: `unlimited`, `20.0 MB`, `on`, `JPEG, PNG`.
#[must_use]
pub fn shown(limit: Limit, value: i64) -> String {
    let bytes = ByteCount::new(value);
    match limit.unit() {
        Unit::Toggle => if value == 0 { "off" } else { "on" }.to_owned(),
        Unit::Formats => FormatSet::from_bits(value).to_string(),
        // A least, and a time that passes: 0 of them is none.
        Unit::Count | Unit::Seconds
            if matches!(limit, Limit::MinActiveStorages | Limit::GraceSeconds) && value == 0 =>
        {
            "none".to_owned()
        }
        Unit::Count | Unit::Bytes | Unit::Pixels | Unit::Seconds | Unit::PerHour | Unit::BytesPerMonth
            if value == 0 =>
        {
            "unlimited".to_owned()
        }
        Unit::Count => value.to_string(),
        Unit::Bytes => bytes.to_string(),
        Unit::BytesPerMonth => format!("{bytes} a month"),
        Unit::Pixels => format!("{value} pixels"),
        Unit::Seconds => format!("{value} s"),
        Unit::PerHour => format!("{value} an hour"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn numbers_and_sizes_read_as_people_write_them() {
        for (limit, value, number) in [
            (Limit::Media, json!(5), 5),
            (Limit::Media, json!(" 500 "), 500),
            (Limit::UploadBytes, json!("20M"), 20_000_000),
            (Limit::UploadBytes, json!("64 MiB"), 67_108_864),
            (Limit::BytesOutMonth, json!("1 TB"), 1_000_000_000_000),
            // Beyond what a floating number holds exactly.
            (
                Limit::StoredBytes,
                json!("8999999999999999999"),
                8_999_999_999_999_999_999,
            ),
        ] {
            assert_eq!(read(limit, "n", &value), Ok(number), "{value}");
        }
        for (limit, value, text) in [
            (
                Limit::Media,
                json!(-1),
                "limit n: -1 is not between 0 and 9000000000000000000",
            ),
            (
                Limit::Media,
                json!(u64::MAX),
                "limit n: 18446744073709551615 is not between 0 and 9000000000000000000",
            ),
            (
                Limit::Media,
                json!(1.5),
                "limit n: 1.5 is no whole number: write one such as 1000, 0 for no limit",
            ),
            (
                Limit::Media,
                json!("20M"),
                "limit n: \"20M\" is no whole number: write one such as 1000, 0 for no limit",
            ),
            (
                Limit::Media,
                json!(true),
                "limit n: true is no whole number: write one such as 1000, 0 for no limit",
            ),
            (
                Limit::UploadBytes,
                json!(null),
                "limit n: null is no whole number: write one such as 1000, 0 for no limit",
            ),
            (
                Limit::UploadBytes,
                json!("big"),
                "limit n: \"big\" is no size: write 20M, 20 MB, 64 MiB or a number of bytes",
            ),
        ] {
            assert_eq!(read(limit, "n", &value).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn toggles_are_on_or_off_and_nothing_between() {
        for on in [json!(true), json!(1), json!("1"), json!("true"), json!("On")] {
            assert_eq!(read(Limit::Cdn, "cdn", &on), Ok(1), "{on}");
        }
        for off in [json!(false), json!(0), json!("0"), json!("off")] {
            assert_eq!(read(Limit::Cdn, "cdn", &off), Ok(0), "{off}");
        }
        assert_eq!(
            read(Limit::Cdn, "cdn", &json!(2)).unwrap_err().to_string(),
            "limit cdn: 2 is not between 0 and 1"
        );
        assert_eq!(
            read(Limit::Cdn, "cdn", &json!("maybe")).unwrap_err().to_string(),
            "limit cdn: \"maybe\" is neither on nor off: write true or false, 1 or 0"
        );
    }

    #[test]
    fn formats_are_a_list_its_text_or_the_stored_integer() {
        for value in [
            json!(["JPEG", "PNG"]),
            json!("[\"JPEG\",\"PNG\"]"),
            json!("jpg, png"),
            json!(6),
            json!("6"),
        ] {
            assert_eq!(read(Limit::ImageFormats, "f", &value), Ok(6), "{value}");
        }
        assert_eq!(read(Limit::ImageFormats, "f", &json!([])), Ok(0));
        for bad in [
            json!(""),
            json!("HEIC"),
            json!([1]),
            json!({}),
            json!(128),
            json!("[\"JPEG\""),
            json!(1.5),
        ] {
            assert!(read(Limit::ImageFormats, "f", &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn carried_values_become_texts() {
        for (value, text) in [
            (json!("a b"), "a b"),
            (json!(true), "1"),
            (json!(7), "7"),
            (json!(["x"]), "[\"x\"]"),
        ] {
            assert_eq!(read_carried("CHEVERETO_X", &value).as_deref(), Ok(text));
        }
        assert!(read_carried("CHEVERETO_X", &json!(null)).is_err());
        assert!(read_carried("CHEVERETO_X", &json!("x".repeat(4_097))).is_err());
    }

    #[test]
    fn people_are_shown_words_and_units() {
        for (limit, value, text) in [
            (Limit::Media, 0, "unlimited"),
            (Limit::Media, 5, "5"),
            (Limit::UploadBytes, 20_000_000, "20.0 MB"),
            (Limit::BytesOutMonth, 1_000_000_000, "1.0 GB a month"),
            (Limit::Pixels, 100, "100 pixels"),
            (Limit::CacheSeconds, 60, "60 s"),
            (Limit::UploadsHour, 9, "9 an hour"),
            (Limit::Cdn, 1, "on"),
            (Limit::Cdn, 0, "off"),
            (Limit::ImageFormats, 6, "JPEG, PNG"),
            (Limit::MinActiveStorages, 0, "none"),
        ] {
            assert_eq!(shown(limit, value), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,30}") {
            for limit in Limit::ALL.iter().copied() {
                let _ = read(limit, "n", &json!(text));
            }
        }
    }
}
