//! `/_/api/4/tenants`: listed, made, shown, changed, removed.

use super::{
    BASE,
    bodies::{CreateTenant, DeleteTenant, EditQuery, EditTenant},
    change, isolation,
    listing::{self, Around, CHUNK, Page},
    query, server, tenant,
    views::{self, TenantView, moment},
};
use crate::{
    extract::{IdempotencyKey, IfMatch, Operator, Signed, SignedJson, etag},
    problem::{Cause, Problem},
    routes::upload::finished,
    state::State,
};
use axum::{
    Json,
    extract::{Path, Query, State as Shared, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mediamill_shared::{
    control::{
        accept::operators_keys,
        changes::{Change, Refused},
        tenants::{self, Filter, TenantRow},
    },
    ids::{JobId, TenantId},
    operators::Scope,
    secrets::{Env, SealedFor},
    services::Services,
    tenancy::{AcceptedOnce, LifecycleError, MadeBefore, NewTenant, TenantState, normal_host, normal_hosts},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::time::Duration;
use utoipa::IntoParams;

/// How long a client waits for its tenant to be made: less than what proxies allow.
const MADE: Duration = Duration::from_secs(25);

/// Which tenants are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Tenants of a page, 1 to 500. Without, the whole list is answered.
    limit: Option<i64>,
    /// From the `Link` of the page before.
    cursor: Option<String>,
    /// `provisioning`, `active`, `suspended`, `leaving` or `deleting`.
    state: Option<String>,
    /// Of this plan.
    plan_id: Option<String>,
    /// On this server.
    server: Option<String>,
    /// Served at this host.
    hostname: Option<String>,
}

/// Lists tenants in the order of their creation.
///
/// Chevereto's clients get the whole list, which is written as it is read. With `limit` it is a page, and `Link` leads to
/// the next.
#[utoipa::path(get, path = "/_/api/4/tenants", tag = "tenants-api", params(ListQuery),
    responses((status = 200, body = Vec<TenantView>), (status = 401, description = "missing-key, wrong-key, missing-signature, wrong-signature, request-replayed"),
        (status = 403, description = "address-not-allowed, missing-scope"), (status = 429, description = "too-many-wrong-keys")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    wanted: Result<Query<ListQuery>, QueryRejection>,
    Signed { operator, .. }: Signed,
) -> Result<Response, Problem> {
    operator.may(Scope::Read)?;
    let wanted = query(wanted)?;
    let text = wanted.state.as_deref();
    let bad = |error: &dyn std::fmt::Display| Problem::new(Cause::BadRequest, error.to_string());
    let filter = Filter {
        state: text.map(|text| text.parse().map_err(|error| bad(&error))).transpose()?,
        plan: wanted.plan_id.clone(),
        server: wanted.server.clone(),
    };
    let clear = operator.scopes.allow(Scope::Tenants);
    if let Some(host) = &wanted.hostname {
        let found = served_at(&state, host, &filter).await?;
        return Ok(Json(views::tenants(&state, found.into_iter().collect(), clear).await?).into_response());
    }
    if let Some(limit) = wanted.limit {
        let limit = listing::size(limit)?;
        let page = page(&state, &filter, wanted.cursor.as_deref(), limit, clear).await?;
        let query = [
            ("state", text),
            ("plan_id", wanted.plan_id.as_deref()),
            ("server", wanted.server.as_deref()),
        ];
        return Ok(listing::page(page, &format!("{BASE}/tenants"), limit, &query));
    }
    let more = move |cursor: Option<String>| {
        let (state, filter, from) = (state.clone(), filter.clone(), cursor.or(wanted.cursor.clone()));
        async move { Ok(page(&state, &filter, from.as_deref(), CHUNK, clear).await?.written()) }
    };
    listing::whole(Around::array(), more).await
}

async fn page(
    state: &State,
    filter: &Filter,
    after: Option<&str>,
    limit: i64,
    clear: bool,
) -> Result<Page<TenantView>, Problem> {
    let rows = tenants::page(&state.services.control, filter, after, limit.saturating_add(1)).await?;
    let (rows, next) = listing::cut(rows, limit, |row| row.serial.clone());
    let items = views::tenants(state, rows, clear).await?;
    Ok(Page { items, next })
}

/// The tenant with this very host, if the filter wants it.
async fn served_at(state: &State, host: &str, filter: &Filter) -> Result<Option<TenantRow>, Problem> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let Some(name) = normal_host(name) else { return Ok(None) };
    let host = if host.starts_with("*.") {
        format!("*.{name}")
    } else {
        name
    };
    let Some(row) = tenants::with_host(&state.services.control, &host).await? else {
        return Ok(None);
    };
    let wanted = filter.state.is_none_or(|state| state == row.state)
        && filter.plan.as_ref().is_none_or(|plan| Some(plan) == row.plan.as_ref())
        && filter
            .server
            .as_ref()
            .is_none_or(|server| server == row.place.server.as_str());
    Ok(wanted.then_some(row))
}

/// Makes a tenant.
///
/// Waits up to 25 s for it; what takes longer is answered with the state `provisioning`. With an `Idempotency-Key` it is made
/// once: the same request again is answered again, with `Idempotent-Replayed: true`.
#[utoipa::path(post, path = "/_/api/4/tenants", tag = "tenants-api", request_body = CreateTenant,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters.")),
    responses((status = 201, body = TenantView), (status = 400, description = "bad-request"), (status = 401, description = "missing-key, wrong-key, missing-signature, wrong-signature, request-replayed"),
        (status = 403, description = "address-not-allowed, missing-scope, over-quota"), (status = 409, description = "conflict: the id or a host is taken"),
        (status = 422, description = "idempotency-key-reused")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn create(
    Shared(state): Shared<State>,
    once: Result<IdempotencyKey, Problem>,
    SignedJson { operator, body, value }: SignedJson<CreateTenant>,
) -> Result<Response, Problem> {
    operator.may(Scope::Tenants)?;
    let new = new_tenant(&state, value)?;
    let (id, actor, lifecycle) = (new.id.clone(), operator.actor(), &state.services.lifecycle);
    let Some(name) = once?.0 else {
        let job = lifecycle.accept(new, &actor).await?;
        return made(&state, &operator, &id, &job, false).await;
    };
    let hash = hex::encode(Sha256::digest(&body));
    match lifecycle
        .accept_once(new, &actor, &operators_keys(operator.key), &name, hash)
        .await?
    {
        AcceptedOnce::New(job) => made(&state, &operator, &id, &job, false).await,
        AcceptedOnce::Replayed(MadeBefore { id, job }) => made(&state, &operator, &id, &job, true).await,
        AcceptedOnce::KeyReused => {
            let detail = "the idempotency key was used for another request before";
            Err(Problem::new(Cause::IdempotencyKeyReused, detail))
        }
    }
}

fn new_tenant(state: &State, asked: CreateTenant) -> Result<NewTenant, Problem> {
    let bad = |error: &dyn std::fmt::Display| Problem::new(Cause::BadRequest, error.to_string()).with("member", "id");
    let id: TenantId = asked.id.parse().map_err(|error| bad(&error))?;
    let hosts: Vec<String> = std::iter::once(asked.hostname)
        .chain(asked.hosts.unwrap_or_default())
        .collect();
    let services = &state.services;
    let env = asked.env.unwrap_or_default();
    Ok(NewTenant {
        hosts: normal_hosts(&hosts)?,
        plan: asked.plan_id.filter(|plan| !plan.is_empty()),
        limits: asked.limits.unwrap_or_default(),
        pictures: asked.pictures.unwrap_or_default(),
        env: services
            .secrets
            .seal_env(&SealedFor::TenantEnv(id.clone()), &env, &services.entropy)?,
        trial_until: asked.trial_until.as_deref().map(moment).transpose()?,
        isolation: isolation(asked.isolation.as_deref())?,
        server: server(state, asked.server.as_deref())?,
        enabled: asked.is_enabled.0,
        admin: None,
        id,
    })
}

/// 201 with the tenant as soon as it is made, or as it is when the wait is over.
async fn made(
    state: &State,
    operator: &Operator,
    id: &TenantId,
    job: &JobId,
    replayed: bool,
) -> Result<Response, Problem> {
    let jobs = finished(state, std::slice::from_ref(job), MADE).await?;
    let Some(row) = tenants::get(&state.services.control, id).await? else {
        let cause = jobs.and_then(|rows| rows.into_iter().next()?.cause);
        let detail = match cause {
            Some(cause) => format!("tenant {id} could not be made: {cause}"),
            None => format!("tenant {id} is gone again"),
        };
        return Err(Problem::new(Cause::Conflict, detail));
    };
    let location = [(header::LOCATION, format!("{BASE}/tenants/{id}"))];
    let mut response = (StatusCode::CREATED, location, shown(state, operator, row).await?).into_response();
    if replayed {
        let headers = response.headers_mut();
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// A tenant with its version.
async fn shown(state: &State, operator: &Operator, row: TenantRow) -> Result<Response, Problem> {
    let version = [(header::ETAG, etag(row.version))];
    let views = views::tenants(state, vec![row], operator.scopes.allow(Scope::Tenants)).await?;
    Ok((version, Json(views.into_iter().next())).into_response())
}

/// Shows a tenant.
#[utoipa::path(get, path = "/_/api/4/tenants/{id}", tag = "tenants-api", params(("id" = String, Path)),
    responses((status = 200, body = TenantView, headers(("ETag" = String, description = "Its version."))), (status = 404, description = "not-found")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Response, Problem> {
    operator.may(Scope::Read)?;
    let row = tenant(&state, &id).await?;
    shown(&state, &operator, row).await
}

/// Changes a tenant.
///
/// `limits`, `env` and `pictures` replace those that are there; with `merge=true` they are laid over them.
#[utoipa::path(patch, path = "/_/api/4/tenants/{id}", tag = "tenants-api", request_body = EditTenant,
    params(("id" = String, Path), EditQuery, ("If-Match" = Option<String>, Header, description = "Only at this version.")),
    responses((status = 204, description = "Changed."), (status = 400, description = "bad-request"), (status = 404, description = "not-found"),
        (status = 409, description = "conflict: the host is taken, or its state does not allow it"), (status = 412, description = "version-changed")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn edit(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    how: Result<Query<EditQuery>, QueryRejection>,
    condition: Result<IfMatch, Problem>,
    SignedJson { operator, value, .. }: SignedJson<EditTenant>,
) -> Result<StatusCode, Problem> {
    operator.may(Scope::Tenants)?;
    let merge = query(how)?.merge.unwrap_or(false);
    let edited = |row: &TenantRow| edited(&state.services, row, &value, merge);
    change(&state, &operator, &id, &condition?, edited).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn edited(services: &Services, row: &TenantRow, asked: &EditTenant, merge: bool) -> Result<Option<Change>, Problem> {
    let mut change = Change::default();
    let mut any = false;
    if let Some(flag) = asked.is_enabled {
        change.state = Some(match (flag.0, row.state) {
            (true, _) => TenantState::Active,
            (false, TenantState::Active) => TenantState::Suspended,
            // It is not served as it is.
            (false, state) => state,
        });
        any = true;
    }
    if let Some(plan) = &asked.plan_id {
        change.plan = Some(Some(plan.clone()).filter(|plan| !plan.is_empty()));
        any = true;
    }
    if let Some(host) = &asked.hostname {
        let hosts = normal_hosts(std::slice::from_ref(host))?;
        if row.host != hosts.first().cloned() {
            change.main_host = hosts.first().cloned();
            change.add_hosts = hosts;
            change.remove_hosts = row.host.iter().cloned().collect();
            any = true;
        }
    }
    if let Some(limits) = &asked.limits {
        change.limits = Some(if merge {
            row.limits.clone().merge(limits)
        } else {
            limits.clone()
        });
        any = true;
    }
    if let Some(pictures) = &asked.pictures {
        change.pictures = Some(if merge {
            row.pictures.merge(pictures)
        } else {
            pictures.clone()
        });
        any = true;
    }
    if let Some(env) = &asked.env {
        let of = SealedFor::TenantEnv(row.id.clone());
        change.env = Some(env_of(services, &of, row.env.as_deref(), env, merge)?);
        any = true;
    }
    Ok(any.then_some(change))
}

/// An env as it is to be stored: `given`, or what is there with `given` laid over it.
pub(super) fn env_of(
    services: &Services,
    of: &SealedFor,
    present: Option<&str>,
    given: &Env,
    merge: bool,
) -> Result<Option<String>, Problem> {
    if !merge {
        return Ok(services.secrets.seal_env(of, given, &services.entropy)?);
    }
    let merged = services.secrets.open_env(of, present)?.merge(given);
    // Each of the two fits; both together may not.
    let merged = Env::from_json(merged.to_json().reveal())
        .map_err(|error| Problem::new(Cause::BadRequest, error.to_string()).with("member", "env"))?;
    Ok(services.secrets.seal_env(of, &merged, &services.entropy)?)
}

/// Removes a tenant.
///
/// Without `drop_tables` it leaves: it is not served any more, keeps its id and hosts, and can be restored until its grace period is
/// over. With it, it is removed now, pictures and all.
#[utoipa::path(delete, path = "/_/api/4/tenants/{id}", tag = "tenants-api", request_body = DeleteTenant,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Only at this version.")),
    responses((status = 204, description = "It leaves, or is being removed."), (status = 404, description = "not-found"),
        (status = 409, description = "conflict: it is being made or moved"), (status = 412, description = "version-changed")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn delete(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    condition: Result<IfMatch, Problem>,
    SignedJson { operator, value, .. }: SignedJson<DeleteTenant>,
) -> Result<StatusCode, Problem> {
    operator.may(Scope::Tenants)?;
    if value.drop_tables.is_some_and(|flag| flag.0) {
        purge(&state, &operator, &id, &condition?).await?;
    } else {
        leave(&state, &operator, &id, &condition?).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a tenant leave. One that leaves already goes when it was to go.
async fn leave(state: &State, operator: &Operator, id: &str, condition: &IfMatch) -> Result<(), Problem> {
    let purge_at = state.services.clock.now().after(state.services.lifecycle.grace());
    let leaves = |row: &TenantRow| {
        Ok(match row.state {
            TenantState::Leaving | TenantState::Deleting => None,
            // One that is being made says no.
            TenantState::Provisioning | TenantState::Active | TenantState::Suspended => Some(Change {
                state: Some(TenantState::Leaving),
                purge_at: Some(purge_at),
                ..Change::default()
            }),
        })
    };
    change(state, operator, id, condition, leaves).await
}

/// Begins to remove a tenant for good. Returns its job; `None` when it had begun already.
pub(super) async fn purge(
    state: &State,
    operator: &Operator,
    id: &str,
    condition: &IfMatch,
) -> Result<Option<JobId>, Problem> {
    // The condition is held by the same statement that stops the tenant's service: whatever changes it after that changes
    // a tenant that leaves.
    if *condition != IfMatch::Any {
        leave(state, operator, id, condition).await?;
    }
    let row = tenant(state, id).await?;
    match state.services.lifecycle.begin_purge(&row.id, &operator.actor()).await {
        // It went between our look and our word.
        Err(LifecycleError::Refused(Refused::Missing { .. })) => Ok(None),
        begun => Ok(begun?),
    }
}
