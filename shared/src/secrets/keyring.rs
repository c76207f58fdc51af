//! Master keys: the first seals, all open.
//!
//! A sealed text reads `1.<key id>.<base64url of nonce, ciphertext and tag>`. Its cipher is ChaCha20-Poly1305 (RFC 8439)
//! under a key that HKDF-SHA256 (RFC 5869) derives from the master key and the owner, with the owner as associated data.
//! A key of its own for each owner keeps the random 96-bit nonces far from the 2³² texts at which they might repeat.

use super::{MasterKeyId, SealedFor, SecretBytes, SecretText, SecretsError};
use crate::clock::Entropy;
use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Prk, Salt},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of a master key.
const KEY: usize = 32;
/// What 44 characters of base64 may hold before the padding is looked at.
const DECODED: usize = 33;
/// The format's number.
const VERSION: &str = "1";

/// Why a text is no keyring. Tells positions and ids, never a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// There is nothing in it.
    #[error("no master key is given; `mediamill secrets generate` prints one")]
    Empty,
    /// An entry is none.
    #[error("master key number {position}: {problem}; a key reads ID:BASE64, 32 bytes in standard base64")]
    Entry {
        /// Which, from 1.
        position: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two keys of one name.
    #[error("master key {id} is given twice")]
    Duplicate {
        /// The name.
        id: MasterKeyId,
    },
}

#[derive(Clone)]
struct Key {
    id: MasterKeyId,
    /// What the owners' keys are derived from; wiped when dropped.
    root: Prk,
}

/// Master keys. Cloning shares them; `Debug` shows their ids.
#[derive(Clone)]
pub struct Keyring {
    first: Key,
    others: Vec<Key>,
}

impl Keyring {
    /// From `ID:BASE64KEY` entries between spaces, line ends or commas: the first seals, all open.
    ///
    /// # Errors
    /// When there is no entry, one is malformed, or an id comes twice.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let mut keys: Vec<Key> = Vec::new();
        let entries = text
            .split(|c: char| c.is_ascii_whitespace() || c == ',')
            .filter(|entry| !entry.is_empty());
        for (before, entry) in entries.enumerate() {
            let key = Key::parse(entry).map_err(|problem| KeyringError::Entry {
                position: before.saturating_add(1),
                problem,
            })?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(KeyringError::Duplicate { id: key.id });
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(KeyringError::Empty)?;
        Ok(Self {
            first,
            others: keys.collect(),
        })
    }

    /// A new key as [`Keyring::parse`] reads it, under a name that nobody else has.
    #[must_use]
    pub fn generate(entropy: &Entropy) -> SecretText {
        let mut id = [0_u8; 4];
        entropy.fill(&mut id);
        let mut key = Zeroizing::new([0_u8; KEY]);
        entropy.fill(key.as_mut_slice());
        // Room for all of it: a text that grows leaves copies behind.
        let mut text = String::with_capacity(64);
        text.push_str(&hex::encode(id));
        text.push(':');
        STANDARD.encode_string(key.as_slice(), &mut text);
        SecretText::new(text)
    }

    /// The key that seals.
    #[must_use]
    pub const fn primary(&self) -> &MasterKeyId {
        &self.first.id
    }

    /// All keys' ids, the one that seals first.
    pub fn ids(&self) -> impl Iterator<Item = &MasterKeyId> {
        self.keys().map(|key| &key.id)
    }

    /// Seals `plain` for `of` under the first key. Sealed twice it is another text.
    ///
    /// # Errors
    /// [`SecretsError::Cipher`].
    pub fn seal(&self, of: &SealedFor, plain: &[u8], entropy: &Entropy) -> Result<String, SecretsError> {
        let sealed = self
            .first
            .seal(of, plain, entropy)
            .map_err(|Unspecified| SecretsError::Cipher { of: of.clone() })?;
        let mut text = sealed_prefix(&self.first.id);
        URL_SAFE_NO_PAD.encode_string(sealed.as_slice(), &mut text);
        Ok(text)
    }

    /// Opens what any of the keys sealed for `of`.
    ///
    /// # Errors
    /// When the key is not here, the text is none, or it was sealed otherwise.
    pub fn open(&self, of: &SealedFor, sealed: &str) -> Result<SecretBytes, SecretsError> {
        let malformed = || SecretsError::Malformed { of: of.clone() };
        let (id, body) = split(sealed).ok_or_else(malformed)?;
        let Some(key) = self.keys().find(|key| key.id == id) else {
            return Err(SecretsError::UnknownKey {
                of: of.clone(),
                id,
                configured: names(self.ids()),
            });
        };
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| malformed())?;
        if body.len() < NONCE_LEN.saturating_add(MAX_TAG_LEN) {
            return Err(malformed());
        }
        key.open(of, body)
            .map_err(|Unspecified| SecretsError::Refused { of: of.clone(), id })
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({})", names(self.ids()))
    }
}

impl Key {
    fn parse(entry: &str) -> Result<Self, &'static str> {
        let (id, key) = entry.split_once(':').ok_or("it has no colon")?;
        let id = id
            .parse()
            .map_err(|_| "its id is not 1 to 16 characters of 0-9, a-z and -")?;
        let mut bytes = Zeroizing::new([0_u8; DECODED]);
        let length = STANDARD
            .decode_slice(key, bytes.as_mut_slice())
            .map_err(|_| "its key is no base64 of 32 bytes")?;
        match bytes.get(..length) {
            Some(key) if length == KEY => Ok(Self {
                id,
                root: Salt::new(HKDF_SHA256, b"mediamill/1").extract(key),
            }),
            Some(_) | None => Err("its key is not 32 bytes long"),
        }
    }

    /// The key of one owner.
    fn derived(&self, associated: &str) -> Result<LessSafeKey, Unspecified> {
        let info = [associated.as_bytes()];
        let okm = self.root.expand(&info, &CHACHA20_POLY1305)?;
        Ok(LessSafeKey::new(UnboundKey::from(okm)))
    }

    /// Nonce, ciphertext, tag.
    fn seal(&self, of: &SealedFor, plain: &[u8], entropy: &Entropy) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        let mut nonce = [0_u8; NONCE_LEN];
        entropy.fill(&mut nonce);
        let associated = of.associated_data();
        let length = NONCE_LEN.saturating_add(plain.len()).saturating_add(MAX_TAG_LEN);
        // With room for all of it the plain text is never moved, and wiped if the cipher fails.
        let mut buffer = Zeroizing::new(Vec::with_capacity(length));
        buffer.extend_from_slice(&nonce);
        buffer.extend_from_slice(plain);
        let body = buffer.get_mut(NONCE_LEN..).ok_or(Unspecified)?;
        let tag = self.derived(&associated)?.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(associated.as_bytes()),
            body,
        )?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(buffer)
    }

    fn open(&self, of: &SealedFor, body: Vec<u8>) -> Result<SecretBytes, Unspecified> {
        let mut buffer = Zeroizing::new(body);
        let nonce = Nonce::try_assume_unique_for_key(buffer.get(..NONCE_LEN).ok_or(Unspecified)?)?;
        let associated = of.associated_data();
        let length = self
            .derived(&associated)?
            .open_within(nonce, Aad::from(associated.as_bytes()), &mut buffer, NONCE_LEN..)?
            .len();
        buffer.truncate(length);
        Ok(SecretBytes::new(std::mem::take(&mut *buffer)))
    }
}

/// Which key sealed this text. `None`: it is no sealed text.
#[must_use]
pub fn key_id_of(sealed: &str) -> Option<MasterKeyId> {
    split(sealed).map(|(id, _)| id)
}

/// How every text begins that `id` sealed.
pub(crate) fn sealed_prefix(id: &MasterKeyId) -> String {
    format!("{VERSION}.{id}.")
}

fn split(sealed: &str) -> Option<(MasterKeyId, &str)> {
    let (version, rest) = sealed.split_once('.')?;
    let (id, body) = rest.split_once('.')?;
    (version == VERSION).then_some((id.parse().ok()?, body))
}

fn names<'a>(ids: impl Iterator<Item = &'a MasterKeyId>) -> String {
    ids.map(MasterKeyId::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TenantId;
    use proptest::prelude::*;

    const A: &str = "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const B: &str = "b:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

    fn ring(keys: &[&str]) -> Keyring {
        Keyring::parse(&keys.join(" ")).unwrap()
    }

    fn env(tenant: &str) -> SealedFor {
        SealedFor::TenantEnv(tenant.parse::<TenantId>().unwrap())
    }

    #[test]
    fn what_is_sealed_opens_for_its_owner_alone() {
        let keys = ring(&[A]);
        let sealed = keys.seal(&env("t"), b"hush", &Entropy::system()).unwrap();
        assert_eq!(keys.open(&env("t"), &sealed).unwrap().reveal(), b"hush");
        let tenant = "t".parse().unwrap();
        for other in [env("u"), SealedFor::PlanEnv("t".into()), SealedFor::FirstKey(tenant)] {
            let error = keys.open(&other, &sealed).unwrap_err();
            assert!(matches!(error, SecretsError::Refused { .. }), "{error}");
        }
    }

    #[test]
    fn the_same_secret_is_never_the_same_text() {
        let (keys, entropy) = (ring(&[A]), Entropy::system());
        let sealed = |_| keys.seal(&env("t"), b"hush", &entropy).unwrap();
        let texts: std::collections::BTreeSet<String> = (0..50).map(sealed).collect();
        assert_eq!(texts.len(), 50);
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let keys = ring(&[A]);
        let sealed = keys.seal(&env("t"), b"hush", &Entropy::seeded(1)).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(keys.open(&env("t"), &changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let old = ring(&[A]).seal(&env("t"), b"hush", &Entropy::system()).unwrap();
        let both = ring(&[B, A]);
        assert_eq!(both.open(&env("t"), &old).unwrap().reveal(), b"hush");
        let new = both.seal(&env("t"), b"hush", &Entropy::system()).unwrap();
        assert_eq!((key_id_of(&old), key_id_of(&new)), ("a".parse().ok(), "b".parse().ok()));
        let error = ring(&[B]).open(&env("t"), &old).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the env of tenant t is sealed under master key a, and this process has b: add that key to MEDIAMILL_MASTER_KEYS"
        );
    }

    #[test]
    fn another_key_of_the_same_name_opens_nothing() {
        let sealed = ring(&[A]).seal(&env("t"), b"hush", &Entropy::system()).unwrap();
        let error = ring(&[&B.replace("b:", "a:")]).open(&env("t"), &sealed).unwrap_err();
        assert!(matches!(error, SecretsError::Refused { .. }), "{error}");
    }

    /// Texts of released versions open for ever. Checked against another implementation of RFC 5869 and RFC 8439.
    #[test]
    fn a_stored_text_of_version_1_opens() {
        let kept = "1.a.ZGVmZ2hpamtsbW5vQxb2XD5lFjiGDkrnZJ9ET_z-m40";
        assert_eq!(ring(&[A]).open(&env("t"), kept).unwrap().reveal(), b"hush");
    }

    #[test]
    fn other_texts_are_no_sealed_texts() {
        for bad in [
            "", "1", "1.a", "1.a.", "1.a.AAAA", "2.a.AAAA", "1.A.AAAA", "1.a.!!!!", "hush",
        ] {
            let error = ring(&[A]).open(&env("t"), bad).unwrap_err();
            assert_eq!(error, SecretsError::Malformed { of: env("t") }, "{bad}");
        }
    }

    #[test]
    fn a_generated_key_is_a_keyring() {
        let (one, other) = (
            Keyring::generate(&Entropy::system()),
            Keyring::generate(&Entropy::system()),
        );
        let keys = Keyring::parse(&format!("{},{}\n", one.reveal(), other.reveal())).unwrap();
        assert_eq!(keys.ids().count(), 2);
    }

    #[test]
    fn what_is_no_keyring_is_refused_without_being_told() {
        let short = STANDARD.encode([7_u8; 31]);
        let long = STANDARD.encode([7_u8; 33]);
        for (text, told) in [
            ("", "no master key is given"),
            (" , \n", "no master key is given"),
            (&format!("{A} {B} {A}"), "master key a is given twice"),
            (&format!("{A} hush"), "master key number 2: it has no colon"),
            (&A.replace("a:", "A:"), "master key number 1: its id"),
            ("a:hush!", "master key number 1: its key is no base64"),
            (&format!("a:{short}"), "master key number 1: its key is not 32 bytes"),
            (&format!("a:{long}"), "master key number 1: its key is not 32 bytes"),
        ] {
            let error = Keyring::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(told) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn debug_shows_ids_alone() {
        assert_eq!(format!("{:?}", ring(&[B, A])), "Keyring(b, a)");
    }

    proptest! {
        #[test]
        fn every_secret_survives(plain: Vec<u8>, plan in ".{0,20}") {
            let (keys, of) = (ring(&[A]), SealedFor::PlanEnv(plan));
            let sealed = keys.seal(&of, &plain, &Entropy::system()).unwrap();
            let opened = keys.open(&of, &sealed).unwrap();
            prop_assert_eq!(opened.reveal(), plain.as_slice());
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            prop_assert!(ring(&[A]).open(&env("t"), &text).is_err());
            prop_assert!(Keyring::parse(&text).is_err());
        }
    }
}
