//! PLACEHOLDER, to be replaced by the operator's extractor with keys, addresses and signatures. Until then nobody is one,
//! except in this crate's own tests.

use crate::{
    problem::{Cause, Problem},
    state::State,
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use mediamill_shared::control::audit::Actor;

/// A request with a key of the Tenants API.
pub(crate) struct Operator {
    /// The key's number.
    pub(crate) key: i64,
}

impl Operator {
    /// Who is written into the audit log.
    pub(crate) fn actor(&self) -> Actor {
        Actor::operator_key(self.key)
    }
}

impl FromRequestParts<State> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        let key = parts.headers.get("x-api-key");
        let key = key.ok_or_else(|| Problem::new(Cause::MissingKey, "send an operator's key as X-API-Key"))?;
        if cfg!(test) && key == "chv_1_test" {
            return Ok(Self { key: 1 });
        }
        Err(Problem::new(Cause::WrongKey, "the key opens nothing here"))
    }
}

/// PLACEHOLDER: the signature over a body that streams. The route tells it every piece in order, and lets the request
/// have its effect only when `fits` says so.
pub(crate) struct StreamedSignature {
    refused: bool,
}

impl StreamedSignature {
    /// As the request's head has it.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let refused = cfg!(test) && headers.get("x-signature").is_some_and(|text| text == "wrong");
        Self { refused }
    }

    /// Takes a piece of the body.
    #[expect(clippy::unused_self, reason = "the placeholder looks at nothing")]
    pub(crate) fn update(&mut self, _piece: &[u8]) {}

    /// Goes on when the signature is one over this body.
    pub(crate) fn fits(self) -> Result<(), Problem> {
        if self.refused {
            return Err(Problem::new(Cause::WrongKey, "X-Signature is not one over this body"));
        }
        Ok(())
    }
}
