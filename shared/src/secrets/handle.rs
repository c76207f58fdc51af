//! What a process can do with secrets: all, or nothing when it has no key.

use super::{Env, Keyring, SealedFor, SecretBytes, SecretsError};
use crate::clock::Entropy;

/// The process's master keys, if it has any. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Option<Keyring>);

impl Secrets {
    /// With these keys; `None` answers [`SecretsError::NoMasterKey`] to whatever needs one.
    #[must_use]
    pub const fn new(keyring: Option<Keyring>) -> Self {
        Self(keyring)
    }

    /// The keys.
    ///
    /// # Errors
    /// When there are none.
    pub fn keyring(&self) -> Result<&Keyring, SecretsError> {
        self.0.as_ref().ok_or(SecretsError::NoMasterKey)
    }

    /// As [`Keyring::seal`].
    ///
    /// # Errors
    /// When there is no key, or the cipher fails.
    pub fn seal(&self, of: &SealedFor, plain: &[u8], entropy: &Entropy) -> Result<String, SecretsError> {
        self.keyring()?.seal(of, plain, entropy)
    }

    /// As [`Keyring::open`].
    ///
    /// # Errors
    /// When there is no key, or the text does not open.
    pub fn open(&self, of: &SealedFor, sealed: &str) -> Result<SecretBytes, SecretsError> {
        self.keyring()?.open(of, sealed)
    }

    /// An env as it is stored. An empty one is `None` and needs no key.
    ///
    /// # Errors
    /// When there is no key, or the cipher fails.
    pub fn seal_env(&self, of: &SealedFor, env: &Env, entropy: &Entropy) -> Result<Option<String>, SecretsError> {
        if env.is_empty() {
            return Ok(None);
        }
        self.seal(of, env.to_json().reveal().as_bytes(), entropy).map(Some)
    }

    /// An env from how it is stored. `None` is an empty one and needs no key.
    ///
    /// # Errors
    /// When there is no key, the text does not open, or it holds no env.
    pub fn open_env(&self, of: &SealedFor, sealed: Option<&str>) -> Result<Env, SecretsError> {
        let Some(sealed) = sealed else {
            return Ok(Env::default());
        };
        let content = || SecretsError::Content { of: of.clone() };
        let text = self.open(of, sealed)?.into_text().ok_or_else(content)?;
        Env::from_json(text.reveal()).map_err(|_| content())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> SealedFor {
        SealedFor::PlanEnv("gold".into())
    }

    #[test]
    fn without_a_key_the_answer_says_what_to_set() {
        let error = Secrets::default()
            .seal(&plan(), b"hush", &Entropy::system())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no master key: set MEDIAMILL_MASTER_KEYS; `mediamill secrets generate` prints one"
        );
        assert_eq!(
            Secrets::default().open(&plan(), "1.a.AAAA"),
            Err(SecretsError::NoMasterKey)
        );
    }

    #[test]
    fn an_empty_env_needs_no_key() {
        let none = Secrets::default();
        let sealed = none.seal_env(&plan(), &Env::default(), &Entropy::system()).unwrap();
        assert_eq!(sealed, None);
        assert!(none.open_env(&plan(), None).unwrap().is_empty());
    }

    #[test]
    fn an_env_comes_back_as_it_was() {
        let key = Keyring::generate(&Entropy::system());
        let secrets = Secrets::new(Some(Keyring::parse(key.reveal()).unwrap()));
        let env = Env::from_json(r#"{"SMTP_PASSWORD": "hush"}"#).unwrap();
        let sealed = secrets.seal_env(&plan(), &env, &Entropy::system()).unwrap().unwrap();
        assert_eq!(secrets.open_env(&plan(), Some(&sealed)).unwrap(), env);
        let other = secrets.seal(&plan(), b"[]", &Entropy::system()).unwrap();
        let error = secrets.open_env(&plan(), Some(&other)).unwrap_err();
        assert_eq!(error, SecretsError::Content { of: plan() });
    }
}
