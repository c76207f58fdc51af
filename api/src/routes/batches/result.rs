//! `GET /v1/tenants/batches/{id}/result`: what became of every row, and the keys, streamed.

use super::super::views::id;
use crate::{extract::Signed, problem::Problem, state::State};
use axum::{
    body::Body,
    extract::{Path, State as Shared},
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use mediamill_shared::{
    control::batches::Batch,
    ids::BatchId,
    operators::Scope,
    services::Services,
    tenancy::{BatchError, RowResult},
};
use serde::Serialize;

/// Rows of one look.
const PAGE: i64 = 500;

/// A row, as a line of the result.
#[derive(Serialize)]
struct Told<'a> {
    /// The line that it began on.
    line: i64,
    /// Its tenant.
    tenant: Option<&'a str>,
    /// Where it stands.
    state: &'static str,
    /// Why it is bad or failed.
    cause: Option<&'a str>,
    /// The first key: it is shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    /// The first key, sealed to the batch's recipient.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed_key: Option<&'a str>,
}

/// Downloads a batch's result.
///
/// A JSON object a line, in the order of the rows: `line`, `tenant`, `state`, `cause`, and for a served tenant with an
/// administrator `key`, which is forgotten once it was sent, or `sealed_key`, which can be fetched again.
#[utoipa::path(get, path = "/v1/tenants/batches/{id}/result", tag = "tenants", params(("id" = String, Path)),
    responses((status = 200, description = "The rows.", content_type = "application/x-ndjson"), (status = 404, description = "not-found")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn result(
    Shared(state): Shared<State>,
    Path(text): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Response, Problem> {
    operator.may(Scope::Tenants)?;
    let batch: BatchId = id(&text)?;
    let (batch, _) = state.services.batches.standing(&batch).await?;
    let first = (state.services.clone(), batch, Vec::new());
    let pages = stream::try_unfold(first, |(services, batch, before)| async move {
        next(services, batch, before).await.inspect_err(|error| {
            tracing::warn!(error = error as &dyn std::error::Error, "a batch's result broke off");
        })
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(pages)).into_response())
}

type Pages = (Services, Batch, Vec<RowResult>);

/// The page after `before`. That it is asked for says that the one before has been sent: its keys are forgotten.
async fn next(services: Services, batch: Batch, before: Vec<RowResult>) -> Result<Option<(Bytes, Pages)>, BatchError> {
    services.batches.shown(&batch, &before).await?;
    let after = before.last().map_or(0, |row| row.line);
    let rows = services.batches.results(&batch, after, PAGE).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut text = Vec::new();
    for row in &rows {
        let told = Told {
            line: row.line,
            tenant: row.tenant.as_ref().map(mediamill_shared::ids::TenantId::as_str),
            state: row.state.as_str(),
            cause: row.cause.as_deref(),
            key: row.key.as_ref().map(mediamill_shared::secrets::SecretText::reveal),
            sealed_key: row.sealed_key.as_deref(),
        };
        // Texts and numbers written to memory have no way to fail.
        let _ = serde_json::to_writer(&mut text, &told);
        text.push(b'\n');
    }
    Ok(Some((text.into(), (services, batch, rows))))
}
