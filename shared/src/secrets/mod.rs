//! Secrets: how they are held in memory, sealed at rest, and handed to whom they belong.
//!
//! Promises: what is sealed here opens only with the key that sealed it and only for the owner it was sealed for; a secret
//! is wiped when it is dropped and no `Debug`, `Display` or error tells it; [`SecretText::reveal`] and
//! [`SecretBytes::reveal`] are the only ways to it. Never touches a database: that is `control::secrets`.

mod env;
mod error;
mod handle;
mod key_file;
mod keyring;
mod owner;
mod recipient;
mod secret;

pub use env::{Env, EnvError};
pub use error::SecretsError;
pub use handle::Secrets;
pub use key_file::KeyFileError;
pub use keyring::{Keyring, KeyringError, key_id_of};
pub use owner::{MasterKeyId, MasterKeyIdError, SealedFor};
pub use recipient::{Recipient, RecipientError};
pub use secret::{SecretBytes, SecretText};

pub(crate) use keyring::sealed_prefix;
