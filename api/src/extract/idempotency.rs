//! `Idempotency-Key`: 1 to 255 visible ASCII characters.

use crate::{
    problem::{Cause, Problem},
    state::State,
};
use axum::{extract::FromRequestParts, http::request::Parts};

/// The request's idempotency key, if it has one.
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

impl FromRequestParts<State> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("idempotency-key") else {
            return Ok(Self(None));
        };
        let bytes = value.as_bytes();
        if (1..=255).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic) {
            Ok(Self(Some(String::from_utf8_lossy(bytes).into_owned())))
        } else {
            Err(Problem::new(
                Cause::BadRequest,
                "an idempotency key is 1 to 255 visible ASCII characters",
            ))
        }
    }
}
