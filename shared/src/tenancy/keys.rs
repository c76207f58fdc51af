//! API keys: `mm_<id>_<secret>`. The secret is 256 random bits, shown once; only its SHA-256 is stored, which is
//! enough for a secret that nobody can guess.

use crate::{
    clock::{Clock, Entropy},
    ids::{KeyId, UserId},
};
use sha2::{Digest, Sha256};
use std::str::FromStr;
use subtle::ConstantTimeEq;

/// A key as its holder has it. Its text is never logged: no `Display`, and `Debug` shows the id alone.
pub struct KeyText {
    id: KeyId,
    secret: String,
}

/// A text is no key of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an api key reads mm_ID_SECRET")]
pub struct KeyTextError;

/// A key as it is stored.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub user: UserId,
    pub(super) hash: Vec<u8>,
    pub(super) expires_at: Option<crate::units::Millis>,
    pub(super) revoked: bool,
}

impl KeyText {
    /// A new key.
    #[must_use]
    pub fn generate(clock: &Clock, entropy: &Entropy) -> Self {
        let mut bytes = [0_u8; 32];
        entropy.fill(&mut bytes);
        Self {
            id: KeyId::generate(clock, entropy),
            secret: hex::encode(bytes),
        }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// The whole text, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("mm_{}_{}", self.id, self.secret)
    }

    pub(super) fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.secret.as_bytes()).to_vec()
    }
}

impl std::fmt::Debug for KeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyText({})", self.id)
    }
}

impl FromStr for KeyText {
    type Err = KeyTextError;
    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        let (id, secret) = text
            .strip_prefix("mm_")
            .and_then(|rest| rest.split_once('_'))
            .ok_or(KeyTextError)?;
        let fits = secret.len() == 64 && secret.bytes().all(|b| b.is_ascii_hexdigit());
        let id = id.parse().map_err(|_| KeyTextError)?;
        if fits {
            Ok(Self {
                id,
                secret: secret.to_owned(),
            })
        } else {
            Err(KeyTextError)
        }
    }
}

impl ApiKey {
    /// Whether `text` opens what this key opens, at `now`. Takes the same time for every wrong secret.
    #[must_use]
    pub fn opens(&self, text: &KeyText, now: crate::units::Millis) -> bool {
        let same: bool = self.hash.ct_eq(&text.hash()).into();
        same && self.id == text.id && !self.revoked && self.expires_at.is_none_or(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Millis;

    #[test]
    fn a_key_opens_itself_and_nothing_else() {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let (key, other) = (KeyText::generate(&clock, &entropy), KeyText::generate(&clock, &entropy));
        let stored = ApiKey {
            user: UserId::generate(&Clock::system(), &Entropy::system()),
            id: key.id().clone(),
            hash: key.hash(),
            expires_at: Some(Millis::new(10)),
            revoked: false,
        };
        let read_back: KeyText = key.reveal().parse().unwrap();
        assert!(stored.opens(&read_back, Millis::new(9)));
        assert!(!stored.opens(&read_back, Millis::new(10)));
        assert!(!stored.opens(&other, Millis::new(9)));
        assert!(
            !ApiKey {
                revoked: true,
                ..stored
            }
            .opens(&read_back, Millis::new(9))
        );
    }

    #[test]
    fn other_texts_are_no_keys() {
        for bad in [
            "",
            "mm_",
            "mm_a_b",
            "chv_1_x",
            &format!("mm_{}_{}", "0".repeat(26), "g".repeat(64)),
        ] {
            assert!(bad.parse::<KeyText>().is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_does_not_tell_the_secret() {
        let key = KeyText::generate(&Clock::system(), &Entropy::system());
        assert!(!format!("{key:?}").contains(&key.secret));
    }
}
