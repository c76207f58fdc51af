//! What requests of the tus protocol say in their headers, read once.

use crate::{
    problem::{Cause, Problem},
    stay::{self, Stay},
};
use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mediamill_shared::{
    ids::UploadId,
    jobs::{Lane, UnknownName},
    units::ByteCount,
};
use std::collections::BTreeMap;

/// Longest `Upload-Metadata`.
const LONGEST_METADATA: usize = 4_096;
/// Most parts of a final upload.
const MOST_PARTS: usize = 1_000;

fn refuse(detail: impl Into<String>) -> Problem {
    Problem::new(Cause::BadRequest, detail)
}

/// A header's text, if it is there.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value
        .to_str()
        .map_err(|_| refuse(format!("{name} holds more than ASCII")))?;
    Ok(Some(text.trim()))
}

/// A header's number of bytes, if it is there.
pub(crate) fn number(headers: &HeaderMap, name: &str) -> Result<Option<ByteCount>, Problem> {
    let Some(text) = text(headers, name)? else {
        return Ok(None);
    };
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = plain.then(|| text.parse::<i64>().ok()).flatten();
    // As far as the database counts.
    let number = number.filter(|number| *number <= 9_000_000_000_000_000_000);
    let number = number.ok_or_else(|| refuse(format!("{name} is a number of bytes, not {text:?}")))?;
    Ok(Some(ByteCount::new(number)))
}

/// `Content-Type` without its parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim())
}

/// `Upload-Metadata`: names, each with a value in Base64.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    /// As it was sent.
    pub(crate) text: String,
    values: BTreeMap<String, Vec<u8>>,
}

impl Metadata {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > LONGEST_METADATA {
            return Err(refuse(format!(
                "Upload-Metadata has at most {LONGEST_METADATA} characters"
            )));
        }
        let mut values = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            // A value may be empty, and then its space may be left out.
            let (name, encoded) = pair.split_once(' ').unwrap_or((pair, ""));
            let value = STANDARD
                .decode(encoded.trim())
                .map_err(|_| refuse(format!("Upload-Metadata: the value of {name:?} is no Base64")))?;
            if values.insert(name.to_owned(), value).is_some() {
                return Err(refuse(format!("Upload-Metadata: {name:?} stands there twice")));
            }
        }
        let text = text.to_owned();
        Ok(Self { text, values })
    }

    /// Metadata of these names and values.
    pub(crate) fn of(pairs: &[(&str, Option<&str>)]) -> Result<Self, Problem> {
        let given = pairs.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        let pairs: Vec<String> = given
            .map(|(name, value)| format!("{name} {}", STANDARD.encode(value)))
            .collect();
        Self::parse(&pairs.join(","))
    }

    /// How long the picture is to stay, by `expires_at` or `expiration`.
    pub(crate) fn stay(&self) -> Result<Option<Stay>, Problem> {
        let text = |name: &str| self.values.get(name).map(|value| String::from_utf8_lossy(value));
        stay::read(text("expires_at").as_deref(), text("expiration").as_deref())
    }

    /// Whether somebody waits for the picture, by `lane`.
    pub(crate) fn lane(&self) -> Result<Option<Lane>, Problem> {
        let lane = self
            .values
            .get("lane")
            .map(|value| String::from_utf8_lossy(value).parse());
        lane.transpose().map_err(|error: UnknownName| refuse(error.to_string()))
    }

    /// What the client calls the file.
    pub(crate) fn file_name(&self) -> Option<String> {
        // Uppy says `name` too, other clients say only that.
        let value = self.values.get("filename").or_else(|| self.values.get("name"))?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

/// `Upload-Concat`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Concat {
    /// The upload is a part.
    Partial,
    /// The upload is made of these.
    Final(Vec<UploadId>),
}

impl Concat {
    /// Reads `partial`, or `final;` and the URLs of parts with spaces between, whole or without their beginnings.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        if text == "partial" {
            return Ok(Self::Partial);
        }
        let urls = text
            .strip_prefix("final;")
            .ok_or_else(|| refuse("Upload-Concat is `partial`, or `final;` and URLs"))?;
        let parts = urls.split_whitespace().map(part).collect::<Result<Vec<_>, _>>()?;
        if (1..=MOST_PARTS).contains(&parts.len()) {
            Ok(Self::Final(parts))
        } else {
            Err(refuse(format!("a final upload has 1 to {MOST_PARTS} parts")))
        }
    }
}

/// The id at the end of a part's URL. Whose it is, is asked of the database, by the request's tenant.
fn part(url: &str) -> Result<UploadId, Problem> {
    let id = url.rsplit_once("/v1/tus/").map_or("", |(_, id)| id);
    id.parse()
        .map_err(|_| refuse(format!("Upload-Concat: {url:?} is the URL of no upload here")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_names_with_values_in_base64() {
        let metadata = Metadata::parse("filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential").unwrap();
        assert_eq!(metadata.file_name().unwrap(), "world_domination_plan.pdf");
        assert_eq!(metadata.values["is_confidential"], b"");
        assert_eq!(Metadata::parse("name YQ==").unwrap().file_name().unwrap(), "a");
        assert_eq!(Metadata::parse("").unwrap().file_name(), None);
        for bad in ["a !", "a YQ==,a YQ==", &"a".repeat(5_000)] {
            assert_eq!(Metadata::parse(bad).unwrap_err().cause(), Cause::BadRequest, "{bad:?}");
        }
    }

    #[test]
    fn parts_are_named_by_urls_of_any_form() {
        let id = "01hzzzzzzzzzzzzzzzzzzzzzzz";
        let text = format!("final;/v1/tus/{id} https://a.example:8080/v1/tus/{id}");
        let parsed: UploadId = id.parse().unwrap();
        assert_eq!(
            Concat::parse(&text).unwrap(),
            Concat::Final(vec![parsed.clone(), parsed])
        );
        assert_eq!(Concat::parse("partial").unwrap(), Concat::Partial);
        for bad in [
            "",
            "final",
            "final;",
            "whole",
            "final;/v1/tus/x",
            &format!("final;/elsewhere/{id}"),
        ] {
            assert_eq!(Concat::parse(bad).unwrap_err().cause(), Cause::BadRequest, "{bad:?}");
        }
    }

    #[test]
    fn numbers_are_plain() {
        let mut headers = HeaderMap::new();
        assert_eq!(number(&headers, "upload-offset").unwrap(), None);
        for (given, read) in [
            ("0", Some(0)),
            ("12", Some(12)),
            ("-1", None),
            ("+1", None),
            ("1.0", None),
            ("", None),
            ("9000000000000000001", None),
            ("99999999999999999999", None),
        ] {
            headers.insert("upload-offset", given.parse().unwrap());
            let number = number(&headers, "upload-offset");
            assert_eq!(number.ok().flatten().map(ByteCount::get), read, "{given:?}");
        }
    }
}
