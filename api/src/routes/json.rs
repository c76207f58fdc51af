//! Short bodies in JSON.

use crate::{
    problem::{Cause, Problem},
    state::State,
};
use axum::body::{Body, to_bytes};
use serde::de::DeserializeOwned;

/// Longest body: a URL, and a few words about it.
const LONGEST_BODY: usize = 16 * 1024;

/// Reads a body, whatever type it says it has.
pub(super) async fn read<T: DeserializeOwned>(state: &State, body: Body) -> Result<T, Problem> {
    let bytes = tokio::time::timeout(state.services.config.body_timeout, to_bytes(body, LONGEST_BODY)).await;
    let bytes = bytes.map_err(|_| Problem::new(Cause::BodyTimeout, "the body did not arrive in time"))?;
    let bytes = bytes.map_err(|_| {
        let detail = format!("the body broke off, or has more than {LONGEST_BODY} bytes");
        Problem::new(Cause::BodyTooLong, detail)
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Problem::new(Cause::BadRequest, format!("the body is not what is asked for: {error}")))
}
