//! Who may use the Tenants API: keys, what they allow, and signatures over requests.
//!
//! Keys read `chv_<number>_<secret>`, as the clients of Chevereto's Tenants API send them. Secrets are shown once; what is
//! stored is a hash, keyed with the installation's own secret where it has one.

mod key;
mod signature;

pub use key::{OperatorKeyText, OperatorKeyTextError, Scope, Scopes, ScopesError};
pub use signature::{BodyMac, Signed, hex_hmac};
