//! What handlers ask of a request: its tenant, its key, its idempotency key.

mod caller;
mod idempotency;
mod operator;
mod tenant;

pub(crate) use caller::Caller;
pub(crate) use idempotency::IdempotencyKey;
pub(crate) use operator::{Operator, StreamedSignature};
pub(crate) use tenant::Site;
