//! What becomes of a tenant beyond Chevereto's routes: suspended, resumed, restored, purged, moved; its hosts, trial, figures, jobs.

use super::{
    bodies::{AddHost, Move, Nothing, Trial},
    change, isolation, no_tenant, server, tenant,
    tenants::purge,
    views::{TenantJobView, moment},
};
use crate::{
    extract::{IfMatch, Operator, Signed, SignedJson},
    problem::{Cause, Problem},
    routes::views::id,
    state::State,
};
use axum::{
    Json,
    extract::{Path, State as Shared},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mediamill_shared::{
    control::{
        changes::{Change, Refused},
        jobs,
        tenants::TenantRow,
    },
    ids::JobId,
    operators::Scope,
    tenancy::{Stats, TenantState, normal_hosts},
};

/// Goes to `to` from one of `from`; a tenant that is there stays.
async fn go(
    state: &State,
    operator: &Operator,
    id: &str,
    condition: &IfMatch,
    from: &[TenantState],
    to: TenantState,
) -> Result<StatusCode, Problem> {
    operator.may(Scope::Tenants)?;
    let goes = |row: &TenantRow| {
        if row.state == to {
            return Ok(None);
        }
        if !from.contains(&row.state) {
            let (id, state) = (row.id.clone(), row.state);
            return Err(Refused::NotNow { id, state }.into());
        }
        Ok(Some(Change {
            state: Some(to),
            ..Change::default()
        }))
    };
    change(state, operator, id, condition, goes).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops serving a tenant. Nothing is removed.
#[utoipa::path(post, path = "/_/api/4/tenants/{id}/suspend", tag = "tenants-api",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Only at this version.")),
    responses((status = 204, description = "It is suspended."), (status = 404, description = "not-found"), (status = 409, description = "conflict"), (status = 412, description = "version-changed")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn suspend(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    condition: Result<IfMatch, Problem>,
    SignedJson { operator, .. }: SignedJson<Nothing>,
) -> Result<StatusCode, Problem> {
    go(
        &state,
        &operator,
        &id,
        &condition?,
        &[TenantState::Active],
        TenantState::Suspended,
    )
    .await
}

/// Serves a suspended tenant again.
#[utoipa::path(post, path = "/_/api/4/tenants/{id}/resume", tag = "tenants-api",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Only at this version.")),
    responses((status = 204, description = "It is served."), (status = 404, description = "not-found"), (status = 409, description = "conflict"), (status = 412, description = "version-changed")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn resume(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    condition: Result<IfMatch, Problem>,
    SignedJson { operator, .. }: SignedJson<Nothing>,
) -> Result<StatusCode, Problem> {
    go(
        &state,
        &operator,
        &id,
        &condition?,
        &[TenantState::Suspended],
        TenantState::Active,
    )
    .await
}

/// Takes back a tenant that leaves, while its grace period lasts.
#[utoipa::path(post, path = "/_/api/4/tenants/{id}/restore", tag = "tenants-api",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Only at this version.")),
    responses((status = 204, description = "It is served."), (status = 404, description = "not-found"), (status = 409, description = "conflict"), (status = 412, description = "version-changed")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn restore(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    condition: Result<IfMatch, Problem>,
    SignedJson { operator, .. }: SignedJson<Nothing>,
) -> Result<StatusCode, Problem> {
    go(
        &state,
        &operator,
        &id,
        &condition?,
        &[TenantState::Leaving],
        TenantState::Active,
    )
    .await
}

/// Removes a tenant for good, now.
#[utoipa::path(post, path = "/_/api/4/tenants/{id}/purge", tag = "tenants-api",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Only at this version.")),
    responses((status = 202, body = TenantJobView), (status = 404, description = "not-found"), (status = 409, description = "conflict"), (status = 412, description = "version-changed")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn purge_now(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    condition: Result<IfMatch, Problem>,
    SignedJson { operator, .. }: SignedJson<Nothing>,
) -> Result<Response, Problem> {
    operator.may(Scope::Tenants)?;
    let row = tenant(&state, &id).await?;
    let begun = purge(&state, &operator, &id, &condition?).await?;
    let control = &state.services.control;
    let job = match begun {
        Some(job) => jobs::get(control, &job).await?,
        // Somebody else began it.
        None => jobs::latest_about(control, &row.id, &format!("tenant:{}", row.id)).await?,
    };
    Ok(accepted(TenantJobView::of(job.ok_or_else(|| no_tenant(&id))?)))
}

/// Moves a tenant to another server or mode, while it is served.
#[utoipa::path(post, path = "/_/api/4/tenants/{id}/move", tag = "tenants-api", request_body = Move, params(("id" = String, Path)),
    responses((status = 202, body = TenantJobView), (status = 400, description = "bad-request"), (status = 404, description = "not-found"),
        (status = 409, description = "conflict: it is there, or comes, goes or moves already")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn move_there(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    SignedJson { operator, value, .. }: SignedJson<Move>,
) -> Result<Response, Problem> {
    operator.may(Scope::Tenants)?;
    let (to, server) = (
        isolation(Some(&value.isolation))?,
        server(&state, value.server.as_deref())?,
    );
    let row = tenant(&state, &id).await?;
    let to = to.unwrap_or(row.place.isolation);
    let services = &state.services;
    let job = services
        .lifecycle
        .begin_move(&row.id, to, server, &operator.actor())
        .await?;
    let job = jobs::get(&services.control, &job).await?;
    Ok(accepted(TenantJobView::of(job.ok_or_else(|| no_tenant(&id))?)))
}

fn accepted(job: TenantJobView) -> Response {
    let location = HeaderValue::try_from(job.url());
    let mut response = (StatusCode::ACCEPTED, Json(job)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Shows a job about a tenant.
#[utoipa::path(get, path = "/_/api/4/jobs/{id}", tag = "tenants-api", params(("id" = String, Path)),
    responses((status = 200, body = TenantJobView), (status = 404, description = "not-found")), security(("operator" = [], "signature" = [])))]
pub(crate) async fn job(
    Shared(state): Shared<State>,
    Path(text): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Json<TenantJobView>, Problem> {
    operator.may(Scope::Read)?;
    let job: JobId = id(&text)?;
    let row = jobs::get(&state.services.control, &job).await?;
    // Jobs about tenants' pictures are the tenants' own.
    let about = row.filter(|row| {
        row.subject
            .as_ref()
            .is_some_and(|subject| subject.starts_with("tenant:"))
    });
    let missing = || Problem::new(Cause::NotFound, format!("there is no job {job} about a tenant"));
    about.map(|row| Json(TenantJobView::of(row))).ok_or_else(missing)
}

/// Gives a tenant another host.
#[utoipa::path(post, path = "/_/api/4/tenants/{id}/hosts", tag = "tenants-api", request_body = AddHost,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Only at this version.")),
    responses((status = 204, description = "It is served there."), (status = 400, description = "bad-request"), (status = 403, description = "over-quota"),
        (status = 404, description = "not-found"), (status = 409, description = "conflict: the host is taken"), (status = 412, description = "version-changed")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn add_host(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    condition: Result<IfMatch, Problem>,
    SignedJson { operator, value, .. }: SignedJson<AddHost>,
) -> Result<StatusCode, Problem> {
    operator.may(Scope::Tenants)?;
    let added = |row: &TenantRow| {
        // Behind the main host, so that a wildcard may be given.
        let given: Vec<&str> = row
            .host
            .as_deref()
            .into_iter()
            .chain([value.hostname.as_str()])
            .collect();
        Ok(Some(Change {
            add_hosts: normal_hosts(&given)?
                .into_iter()
                .filter(|host| Some(host) != row.host.as_ref())
                .collect(),
            ..Change::default()
        }))
    };
    change(&state, &operator, &id, &condition?, added).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a host away from a tenant, not its last one.
#[utoipa::path(delete, path = "/_/api/4/tenants/{id}/hosts/{host}", tag = "tenants-api",
    params(("id" = String, Path), ("host" = String, Path), ("If-Match" = Option<String>, Header, description = "Only at this version.")),
    responses((status = 204, description = "It is not served there any more."), (status = 404, description = "not-found"),
        (status = 409, description = "conflict: it would have no host left"), (status = 412, description = "version-changed")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn remove_host(
    Shared(state): Shared<State>,
    Path((id, host)): Path<(String, String)>,
    condition: Result<IfMatch, Problem>,
    SignedJson { operator, .. }: SignedJson<Nothing>,
) -> Result<StatusCode, Problem> {
    operator.may(Scope::Tenants)?;
    let removed = |_: &TenantRow| {
        Ok(Some(Change {
            remove_hosts: vec![host.to_ascii_lowercase()],
            ..Change::default()
        }))
    };
    change(&state, &operator, &id, &condition?, removed).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets or ends a tenant's trial.
///
/// While it lasts, the trial twins of limits stand before the plain ones.
#[utoipa::path(post, path = "/_/api/4/tenants/{id}/trial", tag = "tenants-api", request_body = Trial,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Only at this version.")),
    responses((status = 204, description = "Set."), (status = 400, description = "bad-request"), (status = 404, description = "not-found"), (status = 412, description = "version-changed")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn trial(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    condition: Result<IfMatch, Problem>,
    SignedJson { operator, value, .. }: SignedJson<Trial>,
) -> Result<StatusCode, Problem> {
    operator.may(Scope::Tenants)?;
    let until = value.until.as_deref().map(moment).transpose()?;
    let set = |_: &TenantRow| {
        Ok(Some(Change {
            trial_until: Some(until),
            ..Change::default()
        }))
    };
    change(&state, &operator, &id, &condition?, set).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Counts a tenant's figures anew.
#[utoipa::path(post, path = "/_/api/4/tenants/{id}/stats", tag = "tenants-api", params(("id" = String, Path)),
    responses((status = 200, description = "The sixteen figures."), (status = 404, description = "not-found")), security(("operator" = [], "signature" = [])))]
pub(crate) async fn refresh_stats(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    SignedJson { operator, .. }: SignedJson<Nothing>,
) -> Result<Json<Stats>, Problem> {
    operator.may(Scope::Tenants)?;
    let row = tenant(&state, &id).await?;
    Ok(Json(state.services.lifecycle.refresh_stats(&row.id).await?))
}
