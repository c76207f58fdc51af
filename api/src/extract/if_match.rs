//! `If-Match`, RFC 9110 13.1.1: a change that is made only to the version that its maker has seen.

use super::host::single;
use crate::{
    problem::{Cause, Problem},
    state::State,
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, request::Parts},
};

/// What a request wants of the version that it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// Nothing.
    Any,
    /// One of these. Tags that are none of ours match nothing, and are not kept.
    OneOf(Vec<i64>),
}

/// A version as an entity tag.
pub(crate) fn etag(version: i64) -> HeaderValue {
    // Digits between quotes always are a header's value.
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

impl IfMatch {
    fn read(text: &str) -> Self {
        if text.trim() == "*" {
            // Whatever is changed must be there anyway.
            return Self::Any;
        }
        let tag = |tag: &str| tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok();
        Self::OneOf(text.split(',').filter_map(tag).collect())
    }

    /// Goes on when `version` is wanted.
    pub(crate) fn admit(&self, version: i64) -> Result<(), Problem> {
        match self {
            Self::Any => Ok(()),
            Self::OneOf(versions) if versions.contains(&version) => Ok(()),
            Self::OneOf(_) => {
                let detail = format!("it has changed since: it is at version {version}");
                Err(Problem::new(Cause::VersionChanged, detail).with("version", version))
            }
        }
    }
}

impl FromRequestParts<State> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        Ok(single(&parts.headers, "if-match")?.map_or(Self::Any, Self::read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_versions_that_are_named_are_admitted() {
        assert!(IfMatch::read("*").admit(7).is_ok());
        assert!(IfMatch::read("\"7\"").admit(7).is_ok());
        assert!(IfMatch::read("\"6\", \"7\"").admit(7).is_ok());
        for no in ["\"6\"", "7", "W/\"7\"", "", "\"x\""] {
            let refused = IfMatch::read(no).admit(7).unwrap_err();
            assert_eq!(refused.cause(), Cause::VersionChanged, "{no}");
        }
        assert_eq!(etag(7), "\"7\"");
    }
}
