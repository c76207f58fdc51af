//! What may be asked of a variant.

#![expect(clippy::unwrap_used, reason = "tests: a failure is the message")]

mod animated;
mod pictures;
mod stills;
