//! Sealing to somebody's public key: we can write it and cannot read it again.
//!
//! The format is libsodium's sealed box (X25519, XSalsa20-Poly1305), which every language can open:
//! <https://doc.libsodium.org/public-key_cryptography/sealed_boxes>.

use super::SecretsError;
use crate::clock::Entropy;
use aws_lc_rs::{
    agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral},
    rand::SystemRandom,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use crypto_box::{
    KEY_SIZE, PublicKey,
    aead::rand_core::{self, CryptoRng, RngCore},
};
use std::{fmt, str::FromStr};

/// Whom secrets are sealed to: an X25519 public key, 32 bytes in standard base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient(PublicKey);

/// A text is no public key that can be sealed to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// It is something else.
    #[error("a recipient is an X25519 public key: 32 bytes in standard base64")]
    Malformed,
    /// It is one of the few points that make the same secret with every key.
    #[error("the recipient's public key is of small order: anybody could read what is sealed to it")]
    Weak,
}

impl Recipient {
    /// Seals `plain`; the answer is standard base64. Only the holder of the private key reads it.
    ///
    /// # Errors
    /// [`SecretsError::Recipient`].
    pub fn seal_to(&self, plain: &[u8], entropy: &Entropy) -> Result<String, SecretsError> {
        self.0
            .seal(&mut Source(entropy), plain)
            .map(|sealed| STANDARD.encode(sealed))
            .map_err(|_| SecretsError::Recipient)
    }
}

impl FromStr for Recipient {
    type Err = RecipientError;
    fn from_str(text: &str) -> Result<Self, RecipientError> {
        let bytes = STANDARD.decode(text).map_err(|_| RecipientError::Malformed)?;
        let bytes = <[u8; KEY_SIZE]>::try_from(bytes).map_err(|_| RecipientError::Malformed)?;
        // An agreement with a point of small order is all zeroes, which aws-lc refuses and crypto_box does not.
        EphemeralPrivateKey::generate(&X25519, &SystemRandom::new())
            .and_then(|ours| {
                let theirs = UnparsedPublicKey::new(&X25519, bytes);
                agree_ephemeral(ours, theirs, aws_lc_rs::error::Unspecified, |_| Ok(()))
            })
            .map_err(|_| RecipientError::Weak)?;
        Ok(Self(PublicKey::from_bytes(bytes)))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

/// Our entropy as `crypto_box` asks for it.
struct Source<'a>(&'a Entropy);

impl RngCore for Source<'_> {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0_u8; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0_u8; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl CryptoRng for Source<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto_box::SecretKey;

    #[test]
    fn the_holder_of_the_private_key_reads_it() {
        let entropy = Entropy::system();
        let (private, other) = (
            SecretKey::generate(&mut Source(&entropy)),
            SecretKey::generate(&mut Source(&entropy)),
        );
        let recipient: Recipient = STANDARD.encode(private.public_key().as_bytes()).parse().unwrap();
        let sealed = STANDARD
            .decode(recipient.seal_to(b"mm_1_hush", &entropy).unwrap())
            .unwrap();
        assert_eq!(private.unseal(&sealed).unwrap(), b"mm_1_hush");
        assert!(other.unseal(&sealed).is_err());
        assert_ne!(recipient.seal_to(b"x", &entropy), recipient.seal_to(b"x", &entropy));
    }

    #[test]
    fn a_recipient_is_shown_as_it_was_given() {
        let text = STANDARD.encode(
            SecretKey::generate(&mut Source(&Entropy::system()))
                .public_key()
                .as_bytes(),
        );
        assert_eq!(text.parse::<Recipient>().unwrap().to_string(), text);
    }

    #[test]
    fn other_texts_are_no_recipients() {
        for bad in ["", "hush", &STANDARD.encode([9_u8; 31]), &STANDARD.encode([9_u8; 33])] {
            assert_eq!(bad.parse::<Recipient>(), Err(RecipientError::Malformed), "{bad}");
        }
        let mut one = [0_u8; 32];
        one[0] = 1;
        for weak in [[0_u8; 32], one] {
            assert_eq!(STANDARD.encode(weak).parse::<Recipient>(), Err(RecipientError::Weak));
        }
    }
}
