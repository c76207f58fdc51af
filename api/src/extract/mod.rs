//! What handlers ask of a request: its tenant, its key, its operator, its conditions.

mod administrator;
mod caller;
mod host;
mod idempotency;
mod if_match;
mod operator;
mod signed;
mod tenant;
mod traced;
mod wrong_keys;

pub(crate) use administrator::Administrator;
pub(crate) use caller::Caller;
pub(crate) use idempotency::IdempotencyKey;
pub(crate) use if_match::{IfMatch, etag};
pub(crate) use operator::Operator;
pub(crate) use signed::{Signature, Signed, SignedJson};
pub(crate) use tenant::Site;
pub(crate) use traced::Traced;
pub(crate) use wrong_keys::WrongKeys;
