//! An operator's request with its whole body, signed as the installation asks for.
//!
//! `X-Signature` covers the body, as Chevereto's clients send it; `X-Signature-Full` covers what makes a request what it is,
//! and can be sent once. Without `tenants_api_request_secret` neither is looked at.

use super::{Operator, host::single};
use crate::{
    problem::{Cause, Problem},
    state::State,
};
use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
    http::request::Parts,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use mediamill_shared::{cache::CachePort, config::SignatureMode, operators};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// Longest body.
const LONGEST: usize = 1 << 20;

/// A request whose signature is right.
pub(crate) struct Signed {
    /// Who asks.
    pub(crate) operator: Operator,
    /// The body as it arrived.
    pub(crate) body: Bytes,
}

/// The same with a JSON body. An empty one is an empty object.
pub(crate) struct SignedJson<T> {
    /// Who asks.
    pub(crate) operator: Operator,
    /// The body as it arrived.
    pub(crate) body: Bytes,
    /// What it says.
    pub(crate) value: T,
}

impl FromRequest<State> for Signed {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let operator = Operator::from_request_parts(&mut parts, state).await?;
        let body = whole(state, body).await?;
        check(state, &operator, &parts, &body).await?;
        Ok(Self { operator, body })
    }
}

impl<T: DeserializeOwned> FromRequest<State> for SignedJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let Signed { operator, body } = Signed::from_request(request, state).await?;
        let text = if body.is_empty() { b"{}" } else { body.as_ref() };
        let value = serde_json::from_slice(text).map_err(|error| {
            Problem::new(
                Cause::BadRequest,
                format!("the body is not what this route takes: {error}"),
            )
        })?;
        Ok(Self { operator, body, value })
    }
}

/// The whole body, when it is short enough and comes in time.
async fn whole(state: &State, body: Body) -> Result<Bytes, Problem> {
    let time = state.services.config.body_timeout;
    let read = async {
        let (mut chunks, mut whole) = (body.into_data_stream(), BytesMut::new());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Problem::new(Cause::BadRequest, "the body broke off"))?;
            if whole.len().saturating_add(chunk.len()) > LONGEST {
                return Err(Problem::new(
                    Cause::BodyTooLong,
                    format!("a body has {LONGEST} bytes at most"),
                ));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    };
    let late = |_| {
        let detail = format!("the body did not arrive within {} s", time.as_secs());
        Problem::new(Cause::BodyTimeout, detail)
    };
    tokio::time::timeout(time, read).await.map_err(late)?
}

/// Goes on when the request is signed as it must be.
async fn check(state: &State, operator: &Operator, parts: &Parts, body: &[u8]) -> Result<(), Problem> {
    let config = &state.services.config;
    let secrets = &config.tenants_api_request_secret;
    if secrets.is_empty() {
        return Ok(());
    }
    let wrong = || Problem::new(Cause::WrongSignature, "X-Signature is not one over this body");
    let of_body = single(&parts.headers, "x-signature")?;
    if of_body.is_some_and(|signature| !secrets.signed_body(body, signature)) {
        return Err(wrong());
    }
    // A full one covers the body too: whoever sends it need not send the other.
    if let Some(signature) = single(&parts.headers, "x-signature-full")? {
        return check_full(state, operator, parts, body, signature).await;
    }
    let missing = |name| Problem::new(Cause::MissingSignature, format!("the request must be signed by {name}"));
    match (config.tenants_api_signature, of_body) {
        (SignatureMode::Full, _) => Err(missing("X-Signature-Full")),
        (SignatureMode::Body, None) => Err(missing("X-Signature, over an empty text where there is no body")),
        (SignatureMode::Body, Some(_)) => Ok(()),
    }
}

async fn check_full(
    state: &State,
    operator: &Operator,
    parts: &Parts,
    body: &[u8],
    signature: &str,
) -> Result<(), Problem> {
    let services = &state.services;
    let wrong = |detail| Problem::new(Cause::WrongSignature, detail);
    let with = |name| {
        let missing = move || Problem::new(Cause::MissingSignature, format!("with X-Signature-Full goes {name}"));
        single(&parts.headers, name)?.ok_or_else(missing)
    };
    let time = with("x-signature-time")?.parse();
    let signed = operators::Signed {
        method: parts.method.as_str(),
        target: parts.uri.path_and_query().map_or("/", |target| target.as_str()),
        time: time.map_err(|_| wrong("X-Signature-Time is whole seconds since 1970"))?,
        nonce: with("x-signature-nonce")?,
        body_sha256: Sha256::digest(body).into(),
    };
    if !signed.has_nonce() {
        return Err(wrong(
            "X-Signature-Nonce is 16 to 64 characters of 0-9, A-Z, a-z, - and _",
        ));
    }
    if !services
        .config
        .tenants_api_request_secret
        .signed_full(&signed, signature)
    {
        return Err(wrong("X-Signature-Full is not one over this request"));
    }
    if !signed.is_fresh(services.clock.now()) {
        return Err(wrong("X-Signature-Time is more than five minutes from our time"));
    }
    let seen = format!("nonce:{}:{}", operator.key, signed.nonce);
    let first = services.cache.seed(&seen, 1, operators::Signed::REMEMBERED).await;
    // Who cannot remember cannot refuse what comes again.
    let first = first.map_err(|error| Problem::unavailable("answering 503: a nonce cannot be remembered", &error))?;
    if !first {
        let detail = "a request with this nonce was answered before";
        return Err(Problem::new(Cause::RequestReplayed, detail));
    }
    Ok(())
}
