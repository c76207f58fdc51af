//! Object keys: parsed once, so that no key leaves its store or its tenant.

use crate::{
    ids::{JobId, MediaId, TenantId, UploadId},
    units::ByteCount,
};
use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// A text is no object key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an object key is 1 to 8 segments of 1 to 100 characters of 0-9, a-z, A-Z, -, _ and . that do not begin with a dot, joined by /"
)]
pub struct KeyError;

/// Where an object lies in its store: segments of plain characters, never `.`, `..` or hidden names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// First segment of everything staged.
    pub const STAGED: &'static str = "staged";
    /// Third segment of everything staged that comes in pieces.
    const RESUMABLE: &'static str = "resumable";
    /// First segment of everything placed.
    pub const MEDIA: &'static str = "media";

    /// Where the bytes of an accepted upload wait for its worker.
    #[must_use]
    pub fn staged(tenant: &TenantId, job: &JobId) -> Self {
        Self(format!("{}/{tenant}/{job}", Self::STAGED).into())
    }

    /// What the keys of everything that is staged for a tenant begin with.
    #[must_use]
    pub fn all_staged(tenant: &TenantId) -> String {
        format!("{}/{tenant}", Self::STAGED)
    }

    /// Where the bytes from `start` on of an upload that comes in pieces wait for the rest. `chance` keeps writers apart that
    /// go on at the same place. Its last segment is no job's id: the sweeper of accepted uploads passes it over.
    #[must_use]
    pub fn piece(tenant: &TenantId, upload: &UploadId, start: ByteCount, chance: u64) -> Self {
        let start = start.unsigned();
        Self(format!("{}{start:016x}-{chance:016x}", Self::pieces(tenant, upload)).into())
    }

    /// What the keys of all pieces of an upload begin with.
    #[must_use]
    pub fn pieces(tenant: &TenantId, upload: &UploadId) -> String {
        format!("{}/{tenant}/{}/{upload}/", Self::STAGED, Self::RESUMABLE)
    }

    /// Whose piece it is, if it is one.
    #[must_use]
    pub fn upload(&self) -> Option<(TenantId, UploadId)> {
        let mut segments = self.0.split('/');
        let (staged, tenant, resumable) = (segments.next()?, segments.next()?, segments.next()?);
        let upload = segments.next()?;
        (staged == Self::STAGED && resumable == Self::RESUMABLE)
            .then(|| Some((tenant.parse().ok()?, upload.parse().ok()?)))?
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

    /// What the keys of all files of a tenant's pictures begin with.
    #[must_use]
    pub fn pictures(tenant: &TenantId) -> String {
        format!("{}/{tenant}", Self::MEDIA)
    }

    /// What the keys of all files of one picture begin with.
    #[must_use]
    pub fn files(tenant: &TenantId, media: &MediaId) -> String {
        format!("{}/{media}", Self::pictures(tenant))
    }

    /// A key behind every file of a picture, and before every other picture's of a larger id: where a listing goes on.
    #[must_use]
    pub fn behind(tenant: &TenantId, media: &MediaId) -> Self {
        // No character of a key is greater, and no segment is longer.
        let last = "z".repeat(100);
        Self(format!("{}/{tenant}/{media}/{last}", Self::MEDIA).into())
    }

    /// The picture whose file it is, if it is one's.
    #[must_use]
    pub fn picture(&self) -> Option<MediaId> {
        let mut segments = self.0.split('/');
        let (first, _, media, _) = (segments.next()?, segments.next()?, segments.next()?, segments.next()?);
        (first == Self::MEDIA && segments.next().is_none()).then(|| media.parse().ok())?
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

impl<'de> Deserialize<'de> for ObjectKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
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

    #[test]
    fn files_tell_their_picture_and_end_before_the_next() {
        let (clock, entropy) = (crate::clock::Clock::system(), crate::clock::Entropy::system());
        let tenant: TenantId = "t".parse().unwrap();
        let [one, two] = std::array::from_fn(|_| MediaId::generate(&clock, &entropy));
        let (one, two) = if one < two { (one, two) } else { (two, one) };
        let file = |media, name| ObjectKey::placed(&tenant, media, name, "jpg").unwrap();
        let longest = "z".repeat(96);
        let behind = ObjectKey::behind(&tenant, &one);
        assert!(file(&one, &longest) < behind && behind < file(&two, "a"));
        assert_eq!(behind.as_str().parse::<ObjectKey>(), Ok(behind));
        assert_eq!(file(&one, "thumb").picture(), Some(one));
        for other in ["media/t/x/a.jpg", "media/t/a.jpg", "staged/t/x/y"] {
            assert_eq!(other.parse::<ObjectKey>().unwrap().picture(), None, "{other}");
        }
        let deeper = format!("media/t/{two}/a/b.jpg");
        assert_eq!(deeper.parse::<ObjectKey>().unwrap().picture(), None);
    }

    #[test]
    fn pieces_lie_in_order_and_are_no_jobs() {
        let (clock, entropy) = (crate::clock::Clock::system(), crate::clock::Entropy::system());
        let (tenant, upload): (TenantId, _) = ("t".parse().unwrap(), UploadId::generate(&clock, &entropy));
        let piece = |start| ObjectKey::piece(&tenant, &upload, ByteCount::new(start), 7);
        assert!(piece(0) < piece(9) && piece(9) < piece(1_000_000_000_000));
        for start in [0, i64::MAX] {
            let key = piece(start);
            assert_eq!(key.as_str().parse::<ObjectKey>(), Ok(key.clone()));
            assert_eq!(key.upload(), Some((tenant.clone(), upload.clone())));
            assert!(key.as_str().rsplit('/').next().unwrap().parse::<JobId>().is_err());
        }
        let job = JobId::generate(&clock, &entropy);
        assert_eq!(ObjectKey::staged(&tenant, &job).upload(), None);
    }
}
