//! `POST /v1/tenants/batches`: rows are put on record while they arrive, and fed once all of them did.

use super::{BatchView, understood, view};
use crate::{
    extract::{IdempotencyKey, Operator, Signature},
    problem::{Cause, Problem},
    routes::upload::in_time,
    state::State,
};
use axum::{
    body::Body,
    extract::{Query, Request, State as Shared, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use mediamill_shared::{
    control::batches::{BatchState, Step},
    ids::BatchId,
    operators::Scope,
    rows::Format,
    secrets::Recipient,
    tenancy::Received,
};
use serde::Deserialize;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReceiveQuery {
    /// An X25519 public key in standard base64: first keys are sealed to it (libsodium's sealed box) instead of being shown
    /// once.
    recipient: Option<String>,
}

/// A tenant a line: `id`, `host` or `hosts`, `plan`, `limits`, `env`, `isolation`, `server`, `trial_until`, `enabled`,
/// `admin` with `name` and `email`.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String)]
#[expect(dead_code, reason = "described in the OpenAPI document, read as a stream")]
pub(crate) struct Rows(String);

/// Takes tenants in bulk.
///
/// The body is NDJSON, or CSV with a header, of any length. Every row is judged by itself: bad ones are reported with their
/// line and cause, the others are made. The same rows again change nothing. With an `Idempotency-Key`, what was broken off
/// is gone on with by sending all of it again, and what was taken is not taken twice.
#[utoipa::path(
    post, path = "/v1/tenants/batches", tag = "tenants",
    params(
        ReceiveQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "The same key is the same batch.")),
    request_body(content((Rows = "application/x-ndjson"), (Rows = "text/csv"))),
    responses(
        (status = 202, body = BatchView, description = "Taken: every row is on record. `Location` is the batch."),
        (status = 401, description = "missing-key, wrong-key"),
        (status = 409, description = "batch-state: it was cancelled while it arrived"),
        (status = 415, description = "unsupported-media-type"),
        (status = 422, description = "idempotency-key-reused")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn receive(
    Shared(state): Shared<State>,
    operator: Operator,
    IdempotencyKey(once): IdempotencyKey,
    query: Result<Query<ReceiveQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    operator.may(Scope::Tenants)?;
    let query = understood(query)?;
    let recipient: Option<Recipient> = query
        .recipient
        .map(|text| text.parse())
        .transpose()
        .map_err(|error| Problem::new(Cause::BadRequest, format!("{error}")))?;
    let (parts, body) = request.into_parts();
    let signature = Signature::of(&state, &operator, &parts)?;
    let format = format(&parts.headers)?;
    let batches = &state.services.batches;
    let actor = operator.actor();
    let opened = batches.open(format, recipient.as_ref(), &actor, once.as_deref());
    let (batch, new) = opened.await?;
    if !new {
        let (row, _) = batches.standing(&batch).await?;
        if row.state != BatchState::Receiving {
            // Only whoever can sign is told of it again.
            signed(&state, signature, body).await?;
            return taken(&state, &batch, true).await;
        }
    }
    match rows(&state, &batch, format, signature, body).await {
        Ok(()) => taken(&state, &batch, !new).await,
        Err(Stopped { problem, for_good }) => {
            // What broke off under a name of the sender's can be gone on with; otherwise nobody will.
            if for_good || once.is_none() {
                batches.step(&batch, Step::Cancel).await?;
            }
            Err(problem)
        }
    }
}

fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.and_then(Format::of_media_type).ok_or_else(|| {
        let detail = "send rows as application/x-ndjson or text/csv";
        Problem::new(Cause::UnsupportedMediaType, detail)
    })
}

/// Why a batch does not run.
struct Stopped {
    problem: Problem,
    /// The same request again would end the same way.
    for_good: bool,
}

impl<E: Into<Problem>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self {
            problem: error.into(),
            for_good: false,
        }
    }
}

/// Puts the body's rows on record, and lets the batch run when the request is signed as it must be.
async fn rows(
    state: &State,
    batch: &BatchId,
    format: Format,
    mut signature: Signature,
    body: Body,
) -> Result<(), Stopped> {
    let batches = &state.services.batches;
    let for_good = |problem| Stopped {
        problem,
        for_good: true,
    };
    let mut receiving = batches.receive(batch, format);
    let mut pieces = in_time(state, body.into_data_stream());
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        signature.update(&piece);
        receiving.push(&piece).await?;
    }
    let received = receiving.finish().await?;
    signature.fits().await.map_err(for_good)?;
    if received == Received::default() {
        return Err(for_good(Problem::new(Cause::BadRequest, "the body has no rows")));
    }
    batches.step(batch, Step::Close).await?;
    Ok(())
}

/// Reads a body for its signature alone.
async fn signed(state: &State, mut signature: Signature, body: Body) -> Result<(), Problem> {
    let mut pieces = in_time(state, body.into_data_stream());
    while let Some(piece) = pieces.next().await {
        signature.update(&piece?);
    }
    signature.fits().await
}

async fn taken(state: &State, batch: &BatchId, replayed: bool) -> Result<Response, Problem> {
    let body = axum::Json(view(state, batch).await?);
    let location = format!("/v1/tenants/batches/{batch}");
    let mut response = (StatusCode::ACCEPTED, [(header::LOCATION, location)], body).into_response();
    if replayed {
        let headers = response.headers_mut();
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}
