//! Signatures over requests to the Tenants API.
//!
//! Chevereto's covers the body alone: `X-Signature: hex(HMAC-SHA256(secret, body))`. Ours covers what makes a request what
//! it is, so that it can be neither moved to another path nor sent twice:
//! `X-Signature-Full: hex(HMAC-SHA256(secret, "v1\n" METHOD "\n" PATH?QUERY "\n" TIME "\n" NONCE "\n" hex(SHA-256(body))))`.

use crate::{config::SecretList, secrets::SecretText, units::Millis};
use aws_lc_rs::hmac;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// How far a request's time may be from ours.
const WINDOW: Duration = Duration::from_secs(300);

pub(super) fn hmac(secret: &SecretText, message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
    hmac::sign(&key, message).as_ref().to_vec()
}

/// HMAC-SHA256 in lower-case hexadecimal.
#[must_use]
pub fn hex_hmac(secret: &SecretText, message: &[u8]) -> String {
    hex::encode(hmac(secret, message))
}

/// What a full signature covers.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// `POST`, …
    pub method: &'a str,
    /// Path and query as they were sent.
    pub target: &'a str,
    /// The sender's time, seconds since the epoch.
    pub time: i64,
    /// 16 to 64 characters of `0-9A-Za-z-_`, never used twice.
    pub nonce: &'a str,
    /// SHA-256 of the body.
    pub body_sha256: [u8; 32],
}

fn any(secrets: &SecretList, message: &[u8], signature: &str) -> bool {
    let Ok(given) = hex::decode(signature) else {
        return false;
    };
    let mut found = subtle::Choice::from(0);
    for secret in secrets.all() {
        found |= hmac(secret, message).ct_eq(&given);
    }
    found.into()
}

/// Signatures over a body that arrives in pieces, one under each live secret.
pub struct BodyMac(Vec<hmac::Context>);

impl BodyMac {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        for context in &mut self.0 {
            context.update(piece);
        }
    }

    /// Whether `signature` is one over all pieces.
    #[must_use]
    pub fn fits(self, signature: &str) -> bool {
        let Ok(given) = hex::decode(signature) else {
            return false;
        };
        let mut found = subtle::Choice::from(0);
        for context in self.0 {
            found |= context.sign().as_ref().ct_eq(&given);
        }
        found.into()
    }
}

impl SecretList {
    /// Begins to sign a body that arrives in pieces.
    #[must_use]
    pub fn body_mac(&self) -> BodyMac {
        let key = |secret: &SecretText| hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
        let contexts = self.all().iter().map(|secret| hmac::Context::with_key(&key(secret)));
        BodyMac(contexts.collect())
    }

    /// Whether `signature` is one over `body` by any of these.
    #[must_use]
    pub fn signed_body(&self, body: &[u8], signature: &str) -> bool {
        any(self, body, signature)
    }

    /// Whether `signature` is one over all of `signed` by any of these. Time and nonce are the caller's to judge.
    #[must_use]
    pub fn signed_full(&self, signed: &Signed<'_>, signature: &str) -> bool {
        any(self, &signed.message(), signature)
    }
}

impl Signed<'_> {
    /// How long a nonce must be remembered: nothing older is believed.
    pub const REMEMBERED: Duration = Duration::from_secs(2 * WINDOW.as_secs());

    /// What is signed.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let Self {
            method,
            target,
            time,
            nonce,
            body_sha256,
        } = self;
        format!("v1\n{method}\n{target}\n{time}\n{nonce}\n{}", hex::encode(body_sha256)).into_bytes()
    }

    /// Whether its time is near enough to `now`.
    #[must_use]
    pub fn is_fresh(&self, now: Millis) -> bool {
        let sent = Millis::new(self.time.saturating_mul(1_000));
        sent.since(now).max(now.since(sent)) <= WINDOW
    }

    /// Whether its nonce is one.
    #[must_use]
    pub fn has_nonce(&self) -> bool {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (16..=64).contains(&self.nonce.len()) && self.nonce.bytes().all(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn a_body_is_signed_as_the_other_products_clients_do() {
        // RFC 4231, test case 2 has a short key; this is case 6's shape with our own: openssl dgst -sha256 -hmac.
        let secrets = SecretList::of(&["0123456789abcdef"]);
        let signature = hex_hmac(&secrets.all()[0], b"{\"id\":\"t1\"}");
        assert!(secrets.signed_body(b"{\"id\":\"t1\"}", &signature));
        assert!(!secrets.signed_body(b"{\"id\":\"t2\"}", &signature));
        assert!(!secrets.signed_body(b"", "nonsense") && !SecretList::default().signed_body(b"", ""));
    }

    #[test]
    fn a_body_in_pieces_is_signed_as_the_whole() {
        let secrets = SecretList::of(&["0123456789abcdef", "fedcba9876543210"]);
        for secret in secrets.all() {
            let signature = hex_hmac(secret, b"one two");
            let mut mac = secrets.body_mac();
            mac.update(b"one ");
            mac.update(b"two");
            assert!(mac.fits(&signature));
            assert!(!secrets.body_mac().fits(&signature));
        }
        assert!(!SecretList::default().body_mac().fits(""));
    }

    #[test]
    fn the_hmac_is_the_standards() {
        // RFC 4231, test case 2.
        let jefe = SecretText::new("Jefe".to_owned());
        assert_eq!(
            hex_hmac(&jefe, b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_full_signature_holds_for_one_request_alone() {
        let secrets = SecretList::of(&["0123456789abcdef"]);
        let signed = Signed {
            method: "PATCH",
            target: "/_/api/4/tenants/t1",
            time: 1_800_000_000,
            nonce: "abcdefghijklmnop",
            body_sha256: Sha256::digest(b"{}").into(),
        };
        let signature = hex_hmac(&secrets.all()[0], &signed.message());
        assert!(secrets.signed_full(&signed, &signature) && signed.has_nonce());
        let moved = Signed {
            target: "/_/api/4/tenants/t2",
            ..signed
        };
        assert!(!secrets.signed_full(&moved, &signature));
        assert!(signed.is_fresh(Millis::new(1_800_000_299_000)) && !signed.is_fresh(Millis::new(1_800_000_301_000)));
        assert!(!signed.is_fresh(Millis::new(1_799_999_699_000)));
    }
}
