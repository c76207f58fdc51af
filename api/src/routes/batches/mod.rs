//! `/v1/tenants/batches`: tenants in bulk, for operators.

mod receive;
mod result;
#[cfg(test)]
mod tests;
mod views;

pub(crate) use receive::{__path_receive, receive};
pub(crate) use result::{__path_result, result};

use self::views::{BatchPage, BatchView, RowPage, RowView};
use super::views::id;
use crate::{
    extract::Signed,
    problem::{Cause, Problem},
    state::State,
};
use axum::{
    Json,
    extract::{Path, Query, State as Shared, rejection::QueryRejection},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use mediamill_shared::{
    control::batches::{self, BatchState, RowState, Step},
    ids::BatchId,
    operators::Scope,
    tenancy::BatchError,
};
use serde::Deserialize;
use std::{convert::Infallible, time::Duration};

/// Between two looks at a batch that is followed.
const LOOK: Duration = Duration::from_secs(1);
/// A comment so often keeps proxies from ending a quiet connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Batches or rows of a page, unless asked otherwise.
const PAGE: i64 = 100;
/// At most.
const LARGEST_PAGE: i64 = 1_000;

impl From<BatchError> for Problem {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Missing { id } => Self::new(Cause::NotFound, format!("there is no batch {id}")),
            error @ BatchError::NotReceiving { .. } => Self::new(Cause::BatchState, error.to_string()),
            error @ BatchError::KeyReused => Self::new(Cause::IdempotencyKeyReused, error.to_string()),
            BatchError::Db(error) => error.into(),
            BatchError::MasterKeys(error) => {
                Self::unavailable("answering 503: the master keys are not this installation's", &error)
            }
        }
    }
}

fn limit(asked: Option<i64>) -> Result<i64, Problem> {
    let limit = asked.unwrap_or(PAGE);
    if (1..=LARGEST_PAGE).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::new(Cause::BadRequest, format!("limit is 1 to {LARGEST_PAGE}")))
    }
}

fn understood<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    let Query(query) = query.map_err(|error| Problem::new(Cause::BadRequest, error.body_text()))?;
    Ok(query)
}

async fn view(state: &State, batch: &BatchId) -> Result<BatchView, Problem> {
    let batches = &state.services.batches;
    let (batch, counts) = batches.standing(batch).await?;
    Ok(BatchView::of(&batch, &counts, batches.first_keys(&batch)))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Batches older than this one; `next_cursor` of the page before.
    cursor: Option<String>,
    /// At most so many, 1 to 1000; 100 unless said.
    limit: Option<i64>,
}

/// Lists batches, the newest first.
#[utoipa::path(get, path = "/v1/tenants/batches", tag = "tenants", params(ListQuery), responses((status = 200, body = BatchPage)),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    query: Result<Query<ListQuery>, QueryRejection>,
    Signed { operator, .. }: Signed,
) -> Result<Json<BatchPage>, Problem> {
    operator.may(Scope::Read)?;
    let query = understood(query)?;
    let limit = limit(query.limit)?;
    let cursor: Option<BatchId> = query
        .cursor
        .map(|text| text.parse())
        .transpose()
        .map_err(|_| Problem::new(Cause::BadRequest, "cursor is none of ours"))?;
    let services = &state.services;
    let mut page = batches::page(&services.control, cursor.as_ref(), limit.saturating_add(1)).await?;
    let more = i64::try_from(page.len()).unwrap_or(i64::MAX) > limit;
    page.truncate(usize::try_from(limit).unwrap_or(0));
    let next_cursor = page.last().filter(|_| more).map(|batch| batch.id.to_string());
    let mut views = Vec::with_capacity(page.len());
    for batch in &page {
        let counts = batches::counts(&services.control, &batch.id).await?;
        views.push(BatchView::of(batch, &counts, services.batches.first_keys(batch)));
    }
    Ok(Json(BatchPage {
        batches: views,
        next_cursor,
    }))
}

/// Shows a batch: where it stands, and how many of its rows are where.
#[utoipa::path(get, path = "/v1/tenants/batches/{id}", tag = "tenants", params(("id" = String, Path)),
    responses((status = 200, body = BatchView), (status = 404, description = "not-found")), security(("operator" = [], "signature" = [])))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Path(text): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Json<BatchView>, Problem> {
    operator.may(Scope::Read)?;
    Ok(Json(view(&state, &id(&text)?).await?))
}

/// Follows a batch by server-sent events.
///
/// The event `batch` carries the batch, first as it is, then at every change; the stream ends when the batch is done or
/// cancelled and none of its tenants is being made any more.
#[utoipa::path(get, path = "/v1/tenants/batches/{id}/events", tag = "tenants", params(("id" = String, Path)),
    responses((status = 200, description = "Server-sent events.", content_type = "text/event-stream"), (status = 404, description = "not-found")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn events(
    Shared(state): Shared<State>,
    Path(text): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Response, Problem> {
    operator.may(Scope::Read)?;
    let batch: BatchId = id(&text)?;
    state.services.batches.standing(&batch).await?;
    let first = (state, batch, None, false);
    let events = stream::unfold(first, |(state, batch, mut seen, over)| async move {
        if over {
            return None;
        }
        loop {
            let batches = &state.services.batches;
            let (row, counts) = batches.standing(&batch).await.ok()?;
            let now = Some((row.state, counts));
            if seen != now {
                seen = now;
                let over = match row.state {
                    BatchState::Done => true,
                    BatchState::Cancelled => counts.of(RowState::Queued) == 0,
                    BatchState::Receiving | BatchState::Running | BatchState::Paused => false,
                };
                let view = BatchView::of(&row, &counts, batches.first_keys(&row));
                let event = Event::default().event("batch").json_data(view).ok()?;
                return Some((Ok::<Event, Infallible>(event), (state, batch, seen, over)));
            }
            tokio::select! {
                () = state.services.clock.sleep(LOOK) => {}
                () = state.services.shutdown.soft() => return None,
            }
        }
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response())
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RowsQuery {
    /// Rows in this state only: `waiting`, `queued`, `done`, `unchanged`, `bad`, `failed` or `cancelled`.
    state: Option<String>,
    /// Rows after this line; `next_after` of the page before.
    after: Option<i64>,
    /// At most so many, 1 to 1000; 100 unless said.
    limit: Option<i64>,
}

/// Lists a batch's rows in the order of their lines.
#[utoipa::path(get, path = "/v1/tenants/batches/{id}/rows", tag = "tenants", params(("id" = String, Path), RowsQuery),
    responses((status = 200, body = RowPage), (status = 404, description = "not-found")), security(("operator" = [], "signature" = [])))]
pub(crate) async fn rows(
    Shared(state): Shared<State>,
    Path(text): Path<String>,
    query: Result<Query<RowsQuery>, QueryRejection>,
    Signed { operator, .. }: Signed,
) -> Result<Json<RowPage>, Problem> {
    operator.may(Scope::Read)?;
    let query = understood(query)?;
    let limit = limit(query.limit)?;
    let wanted: Option<RowState> = query
        .state
        .map(|text| text.parse())
        .transpose()
        .map_err(|error| Problem::new(Cause::BadRequest, format!("{error}")))?;
    let batch: BatchId = id(&text)?;
    let services = &state.services;
    if batches::get(&services.control, &batch).await?.is_none() {
        return Err(BatchError::Missing { id: batch }.into());
    }
    let after = query.after.unwrap_or(0);
    let mut page = batches::rows(&services.control, &batch, wanted, after, limit.saturating_add(1)).await?;
    let more = i64::try_from(page.len()).unwrap_or(i64::MAX) > limit;
    page.truncate(usize::try_from(limit).unwrap_or(0));
    let next_after = page.last().filter(|_| more).map(|row| row.line);
    Ok(Json(RowPage {
        rows: page.into_iter().map(RowView::of).collect(),
        next_after,
    }))
}

async fn go(state: &State, text: &str, step: Step) -> Result<Json<BatchView>, Problem> {
    let batch: BatchId = id(text)?;
    let done = state.services.batches.step(&batch, step).await?;
    let view = view(state, &batch).await?;
    // Asked for twice, the second time finds it there.
    if done || view.stands_as_after(step) {
        return Ok(Json(view));
    }
    Err(Problem::new(
        Cause::BatchState,
        format!("batch {batch} is {}, which does not allow this", view.state()),
    ))
}

/// Pauses a running batch: no more rows are fed, what is queued is made.
#[utoipa::path(post, path = "/v1/tenants/batches/{id}/pause", tag = "tenants", params(("id" = String, Path)),
    responses((status = 200, body = BatchView), (status = 404, description = "not-found"), (status = 409, description = "batch-state")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn pause(
    Shared(state): Shared<State>,
    Path(text): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Json<BatchView>, Problem> {
    operator.may(Scope::Tenants)?;
    go(&state, &text, Step::Pause).await
}

/// Lets a paused batch run again.
#[utoipa::path(post, path = "/v1/tenants/batches/{id}/resume", tag = "tenants", params(("id" = String, Path)),
    responses((status = 200, body = BatchView), (status = 404, description = "not-found"), (status = 409, description = "batch-state")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn resume(
    Shared(state): Shared<State>,
    Path(text): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Json<BatchView>, Problem> {
    operator.may(Scope::Tenants)?;
    go(&state, &text, Step::Resume).await
}

/// Cancels a batch: what was not fed will not be, what is queued is made.
#[utoipa::path(post, path = "/v1/tenants/batches/{id}/cancel", tag = "tenants", params(("id" = String, Path)),
    responses((status = 200, body = BatchView), (status = 404, description = "not-found"), (status = 409, description = "batch-state")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn cancel(
    Shared(state): Shared<State>,
    Path(text): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Json<BatchView>, Problem> {
    operator.may(Scope::Tenants)?;
    go(&state, &text, Step::Cancel).await
}

/// Feeds a batch's failed and cancelled rows again.
#[utoipa::path(post, path = "/v1/tenants/batches/{id}/retry", tag = "tenants", params(("id" = String, Path)),
    responses((status = 200, body = BatchView), (status = 404, description = "not-found"), (status = 409, description = "batch-state")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn retry(
    Shared(state): Shared<State>,
    Path(text): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Json<BatchView>, Problem> {
    operator.may(Scope::Tenants)?;
    let batch: BatchId = id(&text)?;
    let retried = state.services.batches.retry(&batch).await?;
    let view = view(&state, &batch).await?;
    match retried {
        Some(_) => Ok(Json(view)),
        None => Err(Problem::new(
            Cause::BatchState,
            format!("batch {batch} is {}, which does not allow this", view.state()),
        )),
    }
}
