//! Object keys: parsed once, so that no key leaves its store or its tenant.

use crate::ids::{JobId, MediaId, TenantId};
use std::{fmt, str::FromStr, sync::Arc};

/// A text is no object key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an object key is 1 to 8 segments of 1 to 100 characters of 0-9, a-z, A-Z, -, _ and . that do not begin with a dot, joined by /"
)]
pub struct KeyError;

/// Where an object lies in its store: segments of plain characters, never `.`, `..` or hidden names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// First segment of everything staged.
    pub const STAGED: &'static str = "staged";
    /// First segment of everything placed.
    pub const MEDIA: &'static str = "media";

    /// Where the bytes of an accepted upload wait for its worker.
    #[must_use]
    pub fn staged(tenant: &TenantId, job: &JobId) -> Self {
        Self(format!("{}/{tenant}/{job}", Self::STAGED).into())
    }

    /// Where a file of a picture lies. Derived from ids alone, so that a repeated placement meets itself, and no two
    /// variants' files meet.
    ///
    /// # Errors
    /// When `variant` or `extension` hold other characters than segments may, or `extension` a dot.
    pub fn placed(tenant: &TenantId, media: &MediaId, variant: &str, extension: &str) -> Result<Self, KeyError> {
        if variant.contains('/') || extension.contains(['/', '.']) || extension.is_empty() {
            return Err(KeyError);
        }
        format!("{}/{tenant}/{media}/{variant}.{extension}", Self::MEDIA).parse()
    }

    /// Whether it is a file that a link asked for, made after the picture: those have names that nobody can set.
    #[must_use]
    pub fn is_on_demand(&self) -> bool {
        self.0.rsplit('/').next().is_some_and(|name| name.starts_with('_'))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let fits = |segment: &str| {
            (1..=100).contains(&segment.len()) && !segment.starts_with('.') && segment.bytes().all(plain)
        };
        if text.split('/').count() <= 8 && text.split('/').all(fits) {
            Ok(Self(text.into()))
        } else {
            Err(KeyError)
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectKey({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_their_store() {
        for bad in [
            "",
            "/",
            "a//b",
            "../a",
            "a/..",
            ".",
            "a/.hidden",
            "a b",
            "ä",
            "a\0",
            "/a",
            "a/",
        ] {
            assert_eq!(bad.parse::<ObjectKey>(), Err(KeyError), "{bad:?}");
        }
        assert_eq!(
            "media/t/1/a.b.jpg".parse::<ObjectKey>().unwrap().as_str(),
            "media/t/1/a.b.jpg"
        );
    }
}
