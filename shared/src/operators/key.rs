//! Keys of the Tenants API.

use super::signature::hmac;
use crate::{clock::Entropy, config::SecretList, jobs::UnknownName};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fmt, str::FromStr};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A key as its holder has it. Its text is never logged: no `Display`, and `Debug` shows the number alone.
pub struct OperatorKeyText {
    number: i64,
    secret: Zeroizing<String>,
}

/// A text is no key of the Tenants API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an operator's key reads chv_NUMBER_SECRET")]
pub struct OperatorKeyTextError;

impl OperatorKeyText {
    const SECRET: std::ops::RangeInclusive<usize> = 32..=256;

    /// A new key: 256 random bits.
    #[must_use]
    pub fn generate(number: i64, entropy: &Entropy) -> Self {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        entropy.fill(bytes.as_mut());
        Self {
            number,
            secret: Zeroizing::new(hex::encode(bytes.as_ref())),
        }
    }

    /// Its number, which names it.
    #[must_use]
    pub const fn number(&self) -> i64 {
        self.number
    }

    /// The whole text, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("chv_{}_{}", self.number, *self.secret)
    }

    /// What is stored of it: keyed with the present one of `secrets`, or plain where there is none.
    #[must_use]
    pub fn hash(&self, secrets: &SecretList) -> Vec<u8> {
        let text = Zeroizing::new(self.reveal());
        match secrets.all().first() {
            Some(secret) => hmac(secret, text.as_bytes()),
            None => Sha256::digest(text.as_bytes()).to_vec(),
        }
    }

    /// Whether `stored` is a hash of it under any of `secrets`. A key that was minted without one opens nothing once there is
    /// one. Takes the same time for every wrong key.
    #[must_use]
    pub fn opens(&self, stored: &[u8], secrets: &SecretList) -> bool {
        let text = Zeroizing::new(self.reveal());
        if secrets.is_empty() {
            return Sha256::digest(text.as_bytes()).as_slice().ct_eq(stored).into();
        }
        let mut found = subtle::Choice::from(0);
        for secret in secrets.all() {
            found |= hmac(secret, text.as_bytes()).as_slice().ct_eq(stored);
        }
        found.into()
    }
}

impl fmt::Debug for OperatorKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorKeyText({})", self.number)
    }
}

impl FromStr for OperatorKeyText {
    type Err = OperatorKeyTextError;
    fn from_str(text: &str) -> Result<Self, OperatorKeyTextError> {
        let rest = text.strip_prefix("chv_").ok_or(OperatorKeyTextError)?;
        let (number, secret) = rest.split_once('_').ok_or(OperatorKeyTextError)?;
        // One text for each key: no sign, no leading zero.
        let plain =
            (1..=18).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
        let fits = Self::SECRET.contains(&secret.len()) && secret.bytes().all(|b| b.is_ascii_alphanumeric());
        match number.parse() {
            Ok(number) if plain && fits => Ok(Self {
                number,
                secret: Zeroizing::new(secret.to_owned()),
            }),
            Ok(_) | Err(_) => Err(OperatorKeyTextError),
        }
    }
}

crate::jobs::names!(
    /// Something that a key of the Tenants API allows.
    Scope, "scope" {
        /// Reading tenants, plans, batches, figures, and which jobs are dead.
        Read = "read",
        /// Making, changing, moving and removing tenants, and batches of them.
        Tenants = "tenants",
        /// Making, changing and removing plans.
        Plans = "plans",
        /// Adding, changing, moving and removing storages.
        Storages = "storages",
        /// Looking at payloads of dead jobs, retrying and purging them.
        Jobs = "jobs",
        /// Installing first administrators and resetting passwords.
        People = "people",
    }
);

/// What a key allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

/// A text names no scopes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopesError {
    /// One is unknown.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// There is none.
    #[error("a key allows something: name scopes, or all")]
    None,
}

impl Scopes {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self(Scope::ALL.iter().copied().collect())
    }

    /// Whether `scope` is among them.
    #[must_use]
    pub fn allow(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }
}

impl FromStr for Scopes {
    type Err = ScopesError;
    /// `all`, or names separated by commas or white space.
    fn from_str(text: &str) -> Result<Self, ScopesError> {
        if text == "all" {
            return Ok(Self::all());
        }
        let words = text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty());
        let scopes: BTreeSet<Scope> = words.map(str::parse).collect::<Result<_, _>>()?;
        if scopes.is_empty() {
            return Err(ScopesError::None);
        }
        Ok(Self(scopes))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|scope| scope.as_str()).collect();
        f.write_str(&names.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_opens_its_own_hash_under_either_live_secret() {
        let (old, both, new) = (
            SecretList::of(&["0123456789abcdef"]),
            SecretList::of(&["fedcba9876543210", "0123456789abcdef"]),
            SecretList::of(&["fedcba9876543210"]),
        );
        let key = OperatorKeyText::generate(7, &Entropy::system());
        let other = OperatorKeyText::generate(7, &Entropy::system());
        let stored = key.hash(&old);
        assert!(key.opens(&stored, &old) && key.opens(&stored, &both));
        assert!(!key.opens(&stored, &new) && !other.opens(&stored, &old));
        assert!(
            !key.opens(&key.hash(&SecretList::default()), &old),
            "minted without the secret"
        );
        assert!(key.opens(&key.hash(&SecretList::default()), &SecretList::default()));
    }

    #[test]
    fn keys_read_back_and_their_secrets_are_not_told() {
        let key = OperatorKeyText::generate(12, &Entropy::system());
        let read: OperatorKeyText = key.reveal().parse().unwrap();
        assert_eq!(read.reveal(), key.reveal());
        assert_eq!(format!("{key:?}"), "OperatorKeyText(12)");
        let secret = "a".repeat(64);
        for bad in [
            "",
            "chv_",
            "chv_1_",
            &format!("chv_01_{secret}"),
            &format!("chv_0_{secret}"),
            &format!("chv_-1_{secret}"),
        ] {
            assert!(bad.parse::<OperatorKeyText>().is_err(), "{bad}");
        }
    }

    #[test]
    fn scopes_are_named_or_all() {
        let some: Scopes = "read, plans".parse().unwrap();
        assert!(some.allow(Scope::Plans) && !some.allow(Scope::Tenants));
        assert_eq!(some.to_string().parse(), Ok(some));
        assert_eq!("all".parse(), Ok(Scopes::all()));
        assert!("".parse::<Scopes>().is_err() && "root".parse::<Scopes>().is_err());
    }

    proptest! {
        #[test]
        fn what_reads_as_a_key_reads_as_one_text_alone(text in "chv_[0-9]{1,20}_[a-zA-Z0-9]{0,80}") {
            if let Ok(key) = text.parse::<OperatorKeyText>() {
                prop_assert_eq!(key.reveal(), text);
            }
        }
    }
}
