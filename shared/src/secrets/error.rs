//! Why a secret is not sealed or not opened. No variant holds any of it.

use super::{MasterKeyId, SealedFor};

/// A secret was not sealed, or not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// This process has no key.
    #[error("there is no master key: set MEDIAMILL_MASTER_KEYS; `mediamill secrets generate` prints one")]
    NoMasterKey,
    /// It is sealed under a key that this process does not have.
    #[error(
        "{of} is sealed under master key {id}, and this process has {configured}: add that key to MEDIAMILL_MASTER_KEYS"
    )]
    UnknownKey {
        /// Whose.
        of: SealedFor,
        /// The key that is missing.
        id: MasterKeyId,
        /// The ids of those that are there.
        configured: String,
    },
    /// The text was changed, or sealed for another owner, or the key is another one under the same id.
    #[error("{of} does not open under master key {id}: another key, another owner, or a changed text")]
    Refused {
        /// Whose it should be.
        of: SealedFor,
        /// The key that was tried.
        id: MasterKeyId,
    },
    /// It is no sealed text of this release.
    #[error("{of} is no sealed text")]
    Malformed {
        /// Whose.
        of: SealedFor,
    },
    /// What was sealed is not what this release seals there.
    #[error("{of} opens, but does not hold what it should")]
    Content {
        /// Whose.
        of: SealedFor,
    },
    /// The cipher refused to work: a bug, or far too much at once.
    #[error("the cipher failed to seal {of}")]
    Cipher {
        /// Whose.
        of: SealedFor,
    },
    /// The cipher refused to seal to a recipient: a bug, or far too much at once.
    #[error("the cipher failed to seal to the recipient")]
    Recipient,
}
