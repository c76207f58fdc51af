//! The id that a request's spans, its answer and its jobs are found by.

use crate::state::State;
use axum::{
    extract::FromRequestParts,
    http::{Extensions, request::Parts},
};
use mediamill_shared::ids::TraceId;
use std::convert::Infallible;

/// The request's trace id.
pub(crate) struct Traced(pub(crate) TraceId);

impl Traced {
    /// Of a request that is taken apart already.
    pub(crate) fn of(state: &State, extensions: &Extensions) -> Self {
        let trace = extensions.get::<TraceId>().cloned();
        Self(trace.unwrap_or_else(|| TraceId::generate(&state.services.clock, &state.services.entropy)))
    }
}

impl FromRequestParts<State> for Traced {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Infallible> {
        Ok(Self::of(state, &parts.extensions))
    }
}
