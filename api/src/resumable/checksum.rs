//! `Upload-Checksum`: a body that must arrive as it was sent, or not at all.

use crate::problem::{Cause, Problem};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

/// `Tus-Checksum-Algorithm`.
pub(crate) const ALGORITHMS: &str = "sha1,sha256,sha512";

enum Hash {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

/// A checksum on its way, and what it has to come to.
pub(crate) struct Checksum {
    hash: Hash,
    expected: Vec<u8>,
}

impl Checksum {
    /// Reads `sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=`.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let refuse = |detail: String| Problem::new(Cause::BadRequest, detail);
        let (algorithm, encoded) = text
            .split_once(' ')
            .ok_or_else(|| refuse("Upload-Checksum is an algorithm, a space, and the checksum in Base64".into()))?;
        let (hash, length) = match algorithm {
            "sha1" => (Hash::Sha1(Sha1::new()), 20),
            "sha256" => (Hash::Sha256(Sha256::new()), 32),
            "sha512" => (Hash::Sha512(Sha512::new()), 64),
            other => {
                return Err(refuse(format!(
                    "there is no checksum {other:?} here; known: {ALGORITHMS}"
                )));
            }
        };
        match STANDARD.decode(encoded.trim()) {
            Ok(expected) if expected.len() == length => Ok(Self { hash, expected }),
            Ok(_) | Err(_) => Err(refuse(format!("Upload-Checksum is no {algorithm} in Base64"))),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match &mut self.hash {
            Hash::Sha1(hash) => hash.update(bytes),
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(super) fn fits(self) -> bool {
        match self.hash {
            Hash::Sha1(hash) => hash.finalize().as_slice() == self.expected,
            Hash::Sha256(hash) => hash.finalize().as_slice() == self.expected,
            Hash::Sha512(hash) => hash.finalize().as_slice() == self.expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_of_what_was_sent() {
        for text in [
            "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=",
            "sha256 LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
            "sha512 m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==",
        ] {
            let mut checksum = Checksum::parse(text).unwrap();
            checksum.update(b"hel");
            checksum.update(b"lo");
            assert!(checksum.fits(), "{text}");
            assert!(!Checksum::parse(text).unwrap().fits(), "{text} of nothing");
        }
    }

    #[test]
    fn what_cannot_be_checked_is_refused() {
        for text in [
            "",
            "sha1",
            "md5 XUFAKrxLKna5cZ2REBfFkg==",
            "sha1 !",
            "sha256 qvTGHdzF6KLavt4PO0gs2a6pQ00=",
        ] {
            assert_eq!(
                Checksum::parse(text).err().unwrap().cause(),
                Cause::BadRequest,
                "{text:?}"
            );
        }
    }
}
