//! What holds a secret in memory: wiped when dropped, told by `reveal` alone, compared in constant time.

use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Stands where a secret would.
pub(crate) const HIDDEN: &str = "***";

/// A secret text. `Debug` shows `***`; there is no `Display` and no serialization.
#[derive(Clone, Default)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes a text over. Other copies of it are the caller's to wipe.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl PartialEq for SecretText {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretText {}

/// Secret bytes. `Debug` shows `***`.
#[derive(Clone, Default)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes bytes over. Other copies of them are the caller's to wipe.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// The same as text, nothing copied. `None`: they are no UTF-8, and gone.
    #[must_use]
    pub fn into_text(mut self) -> Option<SecretText> {
        String::from_utf8(std::mem::take(&mut *self.0))
            // The error holds the bytes: they are wiped, not only freed.
            .map_err(|error| Self::new(error.into_bytes()))
            .ok()
            .map(SecretText::new)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretBytes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_tell_a_secret() {
        let text = SecretText::new("hush".into());
        let bytes = SecretBytes::new(b"hush".to_vec());
        assert_eq!(format!("{:?} {:?}", Some(&text), [&bytes]), "Some(***) [***]");
        assert_eq!((text.reveal(), bytes.reveal()), ("hush", b"hush".as_slice()));
    }

    #[test]
    fn secrets_are_compared_by_what_they_hold() {
        assert_eq!(SecretText::new("a".into()), SecretText::new("a".into()));
        assert_ne!(SecretText::new("a".into()), SecretText::new("ab".into()));
        assert_ne!(SecretBytes::new(vec![1]), SecretBytes::new(vec![2]));
    }

    #[test]
    fn bytes_that_are_text_become_text() {
        assert_eq!(SecretBytes::new(b"hush".to_vec()).into_text().unwrap().reveal(), "hush");
        assert!(SecretBytes::new(vec![0xff]).into_text().is_none());
    }
}
