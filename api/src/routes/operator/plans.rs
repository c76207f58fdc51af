//! `/_/api/4/tenants-plans`: what tenants inherit.

use super::{
    ATTEMPTS, BASE,
    bodies::{CreatePlan, EditPlan, EditQuery, Nothing},
    contended, isolation,
    listing::{self, Around, CHUNK, Page},
    query, server,
    tenants::env_of,
    views::{OverView, PlanView},
};
use crate::{
    extract::{IfMatch, Signed, SignedJson, etag},
    problem::{Cause, Problem},
    state::State,
};
use axum::{
    Json,
    extract::{Path, Query, State as Shared, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use mediamill_shared::{
    control::plans::{self, Plan},
    operators::Scope,
    secrets::SealedFor,
    tenancy::LimitOverrides,
};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Tenants looked at between two writes of a preview: each is a look into its database.
const LOOKED_AT: i64 = 50;
/// Longest name of a plan.
const LONGEST_NAME: usize = 200;

fn no_plan(id: &str) -> Problem {
    Problem::new(Cause::NotFound, format!("there is no plan {id:?}"))
}

async fn plan(state: &State, id: &str) -> Result<Plan, Problem> {
    plans::get(&state.services.control, id)
        .await?
        .ok_or_else(|| no_plan(id))
}

fn bad(member: &str, detail: impl Into<String>) -> Problem {
    Problem::new(Cause::BadRequest, detail).with("member", member)
}

fn name(text: String) -> Result<String, Problem> {
    if (1..=LONGEST_NAME).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(bad(
        "name",
        format!("a name has 1 to {LONGEST_NAME} characters, none of them a control character"),
    ))
}

/// Which plans are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PlansQuery {
    /// Plans of a page, 1 to 500. Without, the whole list is answered.
    limit: Option<i64>,
    /// From the `Link` of the page before.
    cursor: Option<String>,
}

/// Lists plans, by their ids.
#[utoipa::path(get, path = "/_/api/4/tenants-plans", tag = "tenants-api", params(PlansQuery),
    responses((status = 200, body = Vec<PlanView>)), security(("operator" = [], "signature" = [])))]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    wanted: Result<Query<PlansQuery>, QueryRejection>,
    Signed { operator, .. }: Signed,
) -> Result<Response, Problem> {
    operator.may(Scope::Read)?;
    let wanted = query(wanted)?;
    let clear = operator.scopes.allow(Scope::Plans);
    if let Some(limit) = wanted.limit {
        let limit = listing::size(limit)?;
        let page = page(&state, wanted.cursor.as_deref(), limit, clear).await?;
        return Ok(listing::page(page, &format!("{BASE}/tenants-plans"), limit, &[]));
    }
    let more = move |cursor: Option<String>| {
        let (state, from) = (state.clone(), cursor.or(wanted.cursor.clone()));
        async move { Ok(page(&state, from.as_deref(), CHUNK, clear).await?.written()) }
    };
    listing::whole(Around::array(), more).await
}

async fn page(state: &State, after: Option<&str>, limit: i64, clear: bool) -> Result<Page<PlanView>, Problem> {
    let rows = plans::page(
        &state.services.control,
        after.unwrap_or_default(),
        limit.saturating_add(1),
    )
    .await?;
    let (rows, next) = listing::cut(rows, limit, |plan| plan.id.clone());
    let items = rows
        .into_iter()
        .map(|plan| PlanView::of(state, plan, clear))
        .collect::<Result<_, _>>()?;
    Ok(Page { items, next })
}

/// Makes a plan.
#[utoipa::path(post, path = "/_/api/4/tenants-plans", tag = "tenants-api", request_body = CreatePlan,
    responses((status = 201, body = PlanView), (status = 400, description = "bad-request"), (status = 409, description = "conflict: the id is taken")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn create(
    Shared(state): Shared<State>,
    SignedJson { operator, value, .. }: SignedJson<CreatePlan>,
) -> Result<Response, Problem> {
    operator.may(Scope::Plans)?;
    if !plans::is_id(&value.id) {
        return Err(bad(
            "id",
            "a plan's id is 1 to 64 characters of 0-9, A-Z, a-z, -, _ and .",
        ));
    }
    let services = &state.services;
    let mut new = Plan::new(value.id, services.clock.now());
    if let Some(text) = value.name {
        new.name = name(text)?;
    }
    new.limits = value.limits.unwrap_or_default();
    new.pictures = value.pictures.unwrap_or_default();
    let of = SealedFor::PlanEnv(new.id.clone());
    new.env = env_of(services, &of, None, &value.env.unwrap_or_default(), false)?;
    new.isolation = isolation(value.isolation.as_deref())?;
    new.server = server(&state, value.server.as_deref())?;
    if !services.lifecycle.create_plan(&new, &operator.actor()).await? {
        let problem = Problem::new(Cause::Conflict, format!("there is a plan {} already", new.id));
        return Err(problem.with("member", "id").with("value", new.id));
    }
    let location = [(header::LOCATION, format!("{BASE}/tenants-plans/{}", new.id))];
    Ok((StatusCode::CREATED, location, shown(&state, new, true)?).into_response())
}

fn shown(state: &State, plan: Plan, clear: bool) -> Result<Response, Problem> {
    let version = [(header::ETAG, etag(plan.version))];
    Ok((version, Json(PlanView::of(state, plan, clear)?)).into_response())
}

/// Shows a plan.
#[utoipa::path(get, path = "/_/api/4/tenants-plans/{id}", tag = "tenants-api", params(("id" = String, Path)),
    responses((status = 200, body = PlanView, headers(("ETag" = String, description = "Its version."))), (status = 404, description = "not-found")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Response, Problem> {
    operator.may(Scope::Read)?;
    let plan = plan(&state, &id).await?;
    shown(&state, plan, operator.scopes.allow(Scope::Plans))
}

/// Changes a plan; its tenants follow at once.
///
/// `limits`, `env` and `pictures` replace those that are there; with `merge=true` they are laid over them.
#[utoipa::path(patch, path = "/_/api/4/tenants-plans/{id}", tag = "tenants-api", request_body = EditPlan,
    params(("id" = String, Path), EditQuery, ("If-Match" = Option<String>, Header, description = "Only at this version.")),
    responses((status = 204, description = "Changed."), (status = 400, description = "bad-request"), (status = 404, description = "not-found"), (status = 412, description = "version-changed")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn edit(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    how: Result<Query<EditQuery>, QueryRejection>,
    condition: Result<IfMatch, Problem>,
    SignedJson { operator, value, .. }: SignedJson<EditPlan>,
) -> Result<StatusCode, Problem> {
    operator.may(Scope::Plans)?;
    let (merge, condition) = (query(how)?.merge.unwrap_or(false), condition?);
    for _ in 0..ATTEMPTS {
        let present = plan(&state, &id).await?;
        condition.admit(present.version)?;
        let wanted = edited(&state, &present, &value, merge)?;
        // Whoever changed it since our look is not overwritten.
        let write = |plan: &mut Plan| {
            let same = plan.version == present.version;
            if same {
                *plan = wanted.clone();
            }
            same
        };
        let done = state
            .services
            .lifecycle
            .edit_plan(&id, write, &operator.actor())
            .await?;
        if done.is_some() {
            return Ok(StatusCode::NO_CONTENT);
        }
    }
    Err(contended())
}

fn edited(state: &State, present: &Plan, asked: &EditPlan, merge: bool) -> Result<Plan, Problem> {
    let mut plan = present.clone();
    if let Some(limits) = &asked.limits {
        plan.limits = if merge {
            plan.limits.merge(limits)
        } else {
            limits.clone()
        };
    }
    if let Some(pictures) = &asked.pictures {
        plan.pictures = if merge {
            plan.pictures.merge(pictures)
        } else {
            pictures.clone()
        };
    }
    if let Some(env) = &asked.env {
        let of = SealedFor::PlanEnv(plan.id.clone());
        plan.env = env_of(&state.services, &of, present.env.as_deref(), env, merge)?;
    }
    if let Some(text) = &asked.name {
        plan.name = name(text.clone())?;
    }
    if let Some(text) = &asked.isolation {
        plan.isolation = isolation(Some(text.as_str()).filter(|text| !text.is_empty()))?;
    }
    if let Some(text) = &asked.server {
        plan.server = server(state, Some(text.as_str()).filter(|text| !text.is_empty()))?;
    }
    Ok(plan)
}

/// Removes a plan. Its tenants stay, without what they inherited.
#[utoipa::path(delete, path = "/_/api/4/tenants-plans/{id}", tag = "tenants-api",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Only at this version; a change at this very moment may be missed.")),
    responses((status = 204, description = "Removed."), (status = 404, description = "not-found"), (status = 412, description = "version-changed")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn delete(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    condition: Result<IfMatch, Problem>,
    SignedJson { operator, .. }: SignedJson<Nothing>,
) -> Result<StatusCode, Problem> {
    operator.may(Scope::Plans)?;
    condition?.admit(plan(&state, &id).await?.version)?;
    if state.services.lifecycle.delete_plan(&id, &operator.actor()).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(no_plan(&id))
}

/// What is tried.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PreviewQuery {
    /// The plan's limits as they would be, a JSON object; without, as they are.
    limits: Option<String>,
}

/// Lists which of a plan's tenants would use more than they may, if these were its limits.
///
/// Every tenant's use is counted for it, and written as it is known: a large plan takes its time.
#[utoipa::path(get, path = "/_/api/4/tenants-plans/{id}/preview", tag = "tenants-api", params(("id" = String, Path), PreviewQuery),
    responses((status = 200, body = Vec<OverView>), (status = 400, description = "bad-request"), (status = 404, description = "not-found")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn preview(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    wanted: Result<Query<PreviewQuery>, QueryRejection>,
    Signed { operator, .. }: Signed,
) -> Result<Response, Problem> {
    operator.may(Scope::Read)?;
    let present = plan(&state, &id).await?;
    let limits = match query(wanted)?.limits {
        Some(text) => LimitOverrides::from_json(&text).map_err(|error| bad("limits", error.to_string()))?,
        None => present.limits,
    };
    let (id, limits) = (Arc::new(id), Arc::new(limits));
    let more = move |cursor: Option<String>| {
        let (state, id, limits) = (state.clone(), Arc::clone(&id), Arc::clone(&limits));
        async move {
            let lifecycle = &state.services.lifecycle;
            let (looked_at, next) = lifecycle
                .preview_page(&id, &limits, cursor.as_deref(), LOOKED_AT)
                .await?;
            let items: Vec<OverView> = looked_at
                .into_iter()
                .flat_map(|(_, over)| over)
                .map(Into::into)
                .collect();
            Ok(Page { items, next }.written())
        }
    };
    listing::whole(Around::array(), more).await
}
