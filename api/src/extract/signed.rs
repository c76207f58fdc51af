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
    http::{Method, request::Parts, uri::PathAndQuery},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use mediamill_shared::{
    cache::CachePort,
    config::SignatureMode,
    operators::{self, BodyMac},
    services::Services,
};
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
        let mut signature = Signature::of(state, &operator, &parts)?;
        let body = whole(state, body).await?;
        signature.update(&body);
        signature.fits().await?;
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

/// A request's signature while its body arrives: begun with the head, told every piece in order, and then asked.
pub(crate) struct Signature {
    services: Services,
    /// `None`: this installation asks for none.
    wanted: Option<Wanted>,
}

struct Wanted {
    /// Over the body.
    of_body: Option<String>,
    mac: BodyMac,
    /// Over all of it.
    full: Option<Full>,
    sha256: Sha256,
    operator: i64,
}

/// A full signature, and what it covers apart from the body.
struct Full {
    signature: String,
    method: Method,
    target: String,
    time: i64,
    nonce: String,
}

fn wrong(detail: &str) -> Problem {
    Problem::new(Cause::WrongSignature, detail)
}

impl Signature {
    /// As the request's head has it.
    ///
    /// # Errors
    /// When one is missing, or cannot be one: nobody need read the body.
    pub(crate) fn of(state: &State, operator: &Operator, parts: &Parts) -> Result<Self, Problem> {
        let (services, config) = (state.services.clone(), &state.services.config);
        let secrets = &config.tenants_api_request_secret;
        if secrets.is_empty() {
            return Ok(Self { services, wanted: None });
        }
        let of_body = single(&parts.headers, "x-signature")?.map(str::to_owned);
        let full = Full::of(parts)?;
        let missing = |name| Problem::new(Cause::MissingSignature, format!("the request must be signed by {name}"));
        match (config.tenants_api_signature, &of_body, &full) {
            // A full one covers the body too: whoever sends it need not send the other.
            (_, _, Some(_)) | (SignatureMode::Body, Some(_), None) => {}
            (SignatureMode::Full, _, None) => return Err(missing("X-Signature-Full")),
            (SignatureMode::Body, None, None) => {
                return Err(missing("X-Signature, over an empty text where there is no body"));
            }
        }
        let wanted = Wanted {
            of_body,
            mac: secrets.body_mac(),
            full,
            sha256: Sha256::new(),
            operator: operator.key,
        };
        let wanted = Some(wanted);
        Ok(Self { services, wanted })
    }

    /// Takes a piece of the body.
    pub(crate) fn update(&mut self, piece: &[u8]) {
        if let Some(wanted) = &mut self.wanted {
            wanted.mac.update(piece);
            wanted.sha256.update(piece);
        }
    }

    /// Goes on when the request is signed as it must be, and was not answered before.
    pub(crate) async fn fits(self) -> Result<(), Problem> {
        let Some(wanted) = self.wanted else { return Ok(()) };
        let fits = wanted.of_body.is_none_or(|signature| wanted.mac.fits(&signature));
        if !fits {
            return Err(wrong("X-Signature is not one over this body"));
        }
        match wanted.full {
            Some(full) => {
                full.fits(&self.services, wanted.sha256.finalize().into(), wanted.operator)
                    .await
            }
            None => Ok(()),
        }
    }
}

impl Full {
    /// `None`: the request has none.
    fn of(parts: &Parts) -> Result<Option<Self>, Problem> {
        let Some(signature) = single(&parts.headers, "x-signature-full")? else {
            return Ok(None);
        };
        let with = |name| {
            let missing = move || Problem::new(Cause::MissingSignature, format!("with X-Signature-Full goes {name}"));
            single(&parts.headers, name)?.ok_or_else(missing)
        };
        let time = with("x-signature-time")?.parse();
        Ok(Some(Self {
            signature: signature.to_owned(),
            method: parts.method.clone(),
            target: parts.uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned(),
            time: time.map_err(|_| wrong("X-Signature-Time is whole seconds since 1970"))?,
            nonce: with("x-signature-nonce")?.to_owned(),
        }))
    }

    /// Goes on when it is one over this request, of now, and the first with its nonce.
    async fn fits(&self, services: &Services, body_sha256: [u8; 32], operator: i64) -> Result<(), Problem> {
        let signed = operators::Signed {
            method: self.method.as_str(),
            target: &self.target,
            time: self.time,
            nonce: &self.nonce,
            body_sha256,
        };
        if !signed.has_nonce() {
            return Err(wrong(
                "X-Signature-Nonce is 16 to 64 characters of 0-9, A-Z, a-z, - and _",
            ));
        }
        let secrets = &services.config.tenants_api_request_secret;
        if !secrets.signed_full(&signed, &self.signature) {
            return Err(wrong("X-Signature-Full is not one over this request"));
        }
        if !signed.is_fresh(services.clock.now()) {
            return Err(wrong("X-Signature-Time is more than five minutes from our time"));
        }
        let seen = format!("nonce:{operator}:{}", self.nonce);
        let first = services.cache.seed(&seen, 1, operators::Signed::REMEMBERED).await;
        // Who cannot remember cannot refuse what comes again.
        let first =
            first.map_err(|error| Problem::unavailable("answering 503: a nonce cannot be remembered", &error))?;
        if first {
            return Ok(());
        }
        let detail = "a request with this nonce was answered before";
        Err(Problem::new(Cause::RequestReplayed, detail))
    }
}
