//! `/_/api/4/dead`: jobs that used up their attempts, for those who repair what stopped them. A request that does something to
//! many does it to a stated number and says where the next one goes on.

mod views;
mod wanted;

use super::{bodies::Nothing, listing, query};
use crate::{
    extract::{Signed, SignedJson},
    problem::{Cause, Problem},
    state::State,
};
use axum::{
    Json,
    extract::{Path, Query, State as Shared, rejection::QueryRejection},
};
use mediamill_shared::{
    control::jobs,
    dead::{self, Pace, Purge},
    ids::JobId,
    operators::Scope,
};
use views::{DeadView, DoneView, GroupView, ListView, OneDeadView, SummaryView};
use wanted::{Cursor, ListQuery, Many, SummaryQuery};

/// Jobs of a page without `limit`.
const PAGE: i64 = 100;
/// Jobs that one request purges at most: each may take some requests to stores.
const MOST_PURGED: i64 = 50;

fn missing(id: &str) -> Problem {
    Problem::new(Cause::NotFound, format!("there is no dead job {id}"))
}

fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|_| missing(text))
}

/// Why nothing was done to a job.
async fn not_dead(state: &State, id: &JobId) -> Problem {
    match jobs::get(&state.services.control, id).await {
        Ok(Some(row)) => Problem::new(Cause::Conflict, format!("job {id} is {}, not dead", row.state))
            .with("state", row.state.as_str()),
        Ok(None) => missing(id.as_str()),
        Err(error) => error.into(),
    }
}

/// Lists dead jobs, in the order in which they were accepted.
#[utoipa::path(get, path = "/_/api/4/dead", tag = "tenants-api", params(ListQuery),
    responses((status = 200, body = ListView), (status = 400, description = "bad-request")), security(("operator" = [], "signature" = [])))]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    wanted: Result<Query<ListQuery>, QueryRejection>,
    Signed { operator, .. }: Signed,
) -> Result<Json<ListView>, Problem> {
    operator.may(Scope::Read)?;
    let (wanted, services) = (query(wanted)?, &state.services);
    let limit = listing::size(wanted.limit.unwrap_or(PAGE))?;
    let filter = wanted.filter(services.clock.now());
    let one_more = limit.saturating_add(1);
    let rows = jobs::dead(&services.control, &filter, wanted.cursor.as_ref(), one_more).await?;
    let (rows, next_cursor) = listing::cut(rows, limit, |row| row.id.to_string());
    let jobs: Vec<DeadView> = rows.into_iter().map(Into::into).collect();
    Ok(Json(ListView { jobs, next_cursor }))
}

/// Counts dead jobs by kind and cause.
#[utoipa::path(get, path = "/_/api/4/dead/summary", tag = "tenants-api", params(SummaryQuery),
    responses((status = 200, body = SummaryView), (status = 400, description = "bad-request")), security(("operator" = [], "signature" = [])))]
pub(crate) async fn summary(
    Shared(state): Shared<State>,
    wanted: Result<Query<SummaryQuery>, QueryRejection>,
    Signed { operator, .. }: Signed,
) -> Result<Json<SummaryView>, Problem> {
    operator.may(Scope::Read)?;
    let filter = query(wanted)?.filter(state.services.clock.now());
    let groups = jobs::dead_groups(&state.services.control, &filter).await?;
    let groups: Vec<GroupView> = groups.into_iter().map(Into::into).collect();
    Ok(Json(SummaryView { groups }))
}

/// Shows a dead job: what it was to do, what it holds, and what a retry and a purge would do. A payload may hold what opens
/// something, such as a URL, so this takes more than reading does.
#[utoipa::path(get, path = "/_/api/4/dead/{id}", tag = "tenants-api", params(("id" = String, Path)),
    responses((status = 200, body = OneDeadView), (status = 404, description = "not-found"), (status = 409, description = "conflict: it is not dead")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Json<OneDeadView>, Problem> {
    operator.may(Scope::Jobs)?;
    let id = job_id(&id)?;
    match jobs::dead_one(&state.services.control, &id).await? {
        Some(job) => Ok(Json(job.into())),
        None => Err(not_dead(&state, &id).await),
    }
}

/// Gives a dead job all its attempts again.
#[utoipa::path(post, path = "/_/api/4/dead/{id}/retry", tag = "tenants-api", params(("id" = String, Path)),
    responses((status = 200, body = DoneView), (status = 404, description = "not-found"), (status = 409, description = "conflict: it is not dead")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn retry(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    SignedJson { operator, .. }: SignedJson<Nothing>,
) -> Result<Json<DoneView>, Problem> {
    operator.may(Scope::Jobs)?;
    let (id, services) = (job_id(&id)?, &state.services);
    let mut pace = Pace::new(None, services.clock.now());
    if services.dead.retry(&id, &mut pace, &operator.actor()).await? {
        return Ok(Json(DoneView::one(&id, None)));
    }
    Err(not_dead(&state, &id).await)
}

/// Removes a dead job for good, with everything that it keeps alive.
#[utoipa::path(delete, path = "/_/api/4/dead/{id}", tag = "tenants-api", params(("id" = String, Path)),
    responses((status = 200, body = DoneView), (status = 404, description = "not-found"), (status = 409, description = "conflict: it is not dead")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn purge(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    SignedJson { operator, .. }: SignedJson<Nothing>,
) -> Result<Json<DoneView>, Problem> {
    operator.may(Scope::Jobs)?;
    let id = job_id(&id)?;
    match state.services.dead.purge(&id, &operator.actor()).await? {
        Purge::Gone => Ok(Json(DoneView::one(&id, None))),
        Purge::Left(error) => Ok(Json(DoneView::one(&id, Some(&error)))),
        Purge::NotDead => Err(not_dead(&state, &id).await),
    }
}

/// Gives the next 500 of many dead jobs all their attempts again.
#[utoipa::path(post, path = "/_/api/4/dead/retry", tag = "tenants-api", request_body = Many,
    responses((status = 200, body = DoneView), (status = 400, description = "bad-request: nothing says which")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn retry_many(
    Shared(state): Shared<State>,
    SignedJson { operator, value, .. }: SignedJson<Many>,
) -> Result<Json<DoneView>, Problem> {
    operator.may(Scope::Jobs)?;
    let (dead, actor, now) = (&state.services.dead, operator.actor(), state.services.clock.now());
    let (filter, mut pace) = (value.filter(now)?, value.pace(now));
    let part = dead
        .retry_part(&filter, value.after(), dead::PAGE, &mut pace, &actor)
        .await?;
    let next = part.last.clone().map(|after| Cursor {
        after,
        from: pace.due(),
    });
    Ok(Json(DoneView::part(&part, next.map(|next| next.to_string()))))
}

/// Removes the next 50 of many dead jobs for good, with everything that they keep alive.
#[utoipa::path(post, path = "/_/api/4/dead/purge", tag = "tenants-api", request_body = Many,
    responses((status = 200, body = DoneView), (status = 400, description = "bad-request: nothing says which, or a rate")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn purge_many(
    Shared(state): Shared<State>,
    SignedJson { operator, value, .. }: SignedJson<Many>,
) -> Result<Json<DoneView>, Problem> {
    operator.may(Scope::Jobs)?;
    if value.rate.is_some() {
        return Err(Problem::new(Cause::BadRequest, "a purge has no rate").with("member", "rate"));
    }
    let (dead, actor, now) = (&state.services.dead, operator.actor(), state.services.clock.now());
    let filter = value.filter(now)?;
    let part = dead.purge_part(&filter, value.after(), MOST_PURGED, &actor).await?;
    let next = part.last.clone().map(|after| Cursor { after, from: now });
    Ok(Json(DoneView::part(&part, next.map(|next| next.to_string()))))
}
