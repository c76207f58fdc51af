//! Identifiers. Parsed once at the border, then carried as types.
//!
//! Generated ids are UUIDv7 (RFC 9562) written as 26 characters of Crockford's base 32 in lower case: they sort by
//! creation time, on every engine and collation, and are safe in URLs, object keys and file names.

use crate::clock::{Clock, Entropy};
use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of a generated id.
pub const ID_LENGTH: usize = 26;

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A generated id has exactly 26 characters of Crockford's base 32 in lower case.
    #[error("an id is 26 characters of 0-9 and a-z without i, l, o and u")]
    Generated,
    /// A tenant id is chosen by the provider.
    #[error("a tenant id is 1 to 16 characters of 0-9, a-z, - and _, and begins with a letter or digit")]
    Tenant,
}

fn encode(bits: u128) -> String {
    (0..ID_LENGTH)
        .rev()
        .map(|place| {
            let digit = (bits >> (5 * place)) & 31;
            char::from(
                ALPHABET
                    .get(usize::try_from(digit).unwrap_or(0))
                    .copied()
                    .unwrap_or(b'0'),
            )
        })
        .collect()
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != ID_LENGTH || text.as_bytes().first()? > &b'7' {
        return None;
    }
    text.bytes().try_fold(0_u128, |bits, byte| {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
        Some((bits << 5) | u128::try_from(digit).ok()?)
    })
}

fn uuid_v7(clock: &Clock, entropy: &Entropy) -> u128 {
    let millis = u64::try_from(clock.now().get()).unwrap_or(0);
    let mut random = [0_u8; 10];
    entropy.fill(&mut random);
    uuid::Builder::from_unix_timestamp_millis(millis, &random)
        .into_uuid()
        .as_u128()
}

macro_rules! generated_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A new id, later in order than every one made before this millisecond.
            #[must_use]
            pub fn generate(clock: &Clock, entropy: &Entropy) -> Self {
                Self(encode(uuid_v7(clock, entropy)).into())
            }

            /// When it was made: a UUIDv7's first 48 bits.
            #[must_use]
            pub fn created_at(&self) -> crate::units::Millis {
                let millis = decode(&self.0).unwrap_or(0) >> 80;
                crate::units::Millis::new(i64::try_from(millis).unwrap_or(i64::MAX))
            }

            /// The 26 characters.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                decode(text).map(|_| Self(text.into())).ok_or(IdError::Generated)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

generated_id!(
    /// A picture of a tenant.
    MediaId
);
generated_id!(
    /// A job.
    JobId
);
generated_id!(
    /// A user of a tenant.
    UserId
);
generated_id!(
    /// An API key; not the secret.
    KeyId
);
generated_id!(
    /// A key that links are signed with; not the secret.
    LinkKeyId
);
generated_id!(
    /// An upload that comes in pieces.
    UploadId
);
generated_id!(
    /// A trace through api, queue and worker.
    TraceId
);
generated_id!(
    /// A running process.
    ProcessId
);
generated_id!(
    /// A batch of tenants.
    BatchId
);
generated_id!(
    /// A line of the audit log.
    AuditId
);
generated_id!(
    /// A storage: of the provider, or of a tenant.
    StorageId
);

/// A tenant: 1 to 16 characters of `0-9a-z-_`, chosen by the provider. Object keys and log lines hold it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits = (1..=16).contains(&text.len())
            && text.bytes().all(|b| letter(b) || b == b'-' || b == b'_')
            && text.bytes().next().is_some_and(letter);
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(IdError::Tenant)
        }
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A new table prefix: `t`, ten characters of the time in milliseconds, five of chance. Sorts by creation time.
pub(crate) fn table_prefix_text(clock: &Clock, entropy: &Entropy) -> String {
    let id = encode(uuid_v7(clock, entropy));
    // A UUIDv7's first 48 bits are the time; its last characters are random.
    let time = encode(u128::from(u64::try_from(clock.now().get()).unwrap_or(0)));
    let (_, time) = time.split_at(ID_LENGTH - 10);
    let (_, chance) = id.split_at(ID_LENGTH - 5);
    format!("t{time}{chance}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Millis;
    use proptest::prelude::*;

    #[test]
    fn ids_sort_by_creation_time() {
        let clock = Clock::manual(Millis::new(1_700_000_000_000));
        let entropy = Entropy::system();
        let first = JobId::generate(&clock, &entropy);
        clock.advance(std::time::Duration::from_millis(1));
        let second = JobId::generate(&clock, &entropy);
        assert!(first < second);
        assert_eq!(second.created_at(), clock.now());
    }

    #[test]
    fn tenant_ids_are_checked() {
        for good in ["1", "t1", "my-site", "a_b", "0123456789abcdef"] {
            assert_eq!(good.parse::<TenantId>().unwrap().as_str(), good);
        }
        for bad in ["", "0123456789abcdefg", "A", "a/b", "a.b", "-a", "_a", "a b", "ä"] {
            assert_eq!(bad.parse::<TenantId>(), Err(IdError::Tenant), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_number_survives_the_text(bits: u128) {
            prop_assert_eq!(decode(&encode(bits)), Some(bits));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            if let Ok(id) = text.parse::<MediaId>() {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
