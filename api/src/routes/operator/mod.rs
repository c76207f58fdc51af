//! The Tenants API: what a provider's own systems ask for, under `/_/api/4`, as Chevereto's clients ask for it.
//!
//! Paths, members and statuses that Chevereto documents are as it documents them; what it leaves open is in
//! `docs/tenants-api.md`. Every route but one asks for [`crate::extract::Signed`], which knows the operator; a handler's first
//! line says which scope it needs.

pub(crate) mod auth;
pub(crate) mod bodies;
pub(crate) mod dead;
pub(crate) mod install;
pub(crate) mod limits;
mod listing;
pub(crate) mod plans;
pub(crate) mod problems;
pub(crate) mod states;
pub(crate) mod storages;
pub(crate) mod tenants;
pub(crate) mod traefik;
pub(crate) mod usage;
pub(crate) mod views;

use crate::{
    extract::{IfMatch, Operator},
    problem::{self, Cause, Problem},
    state::State,
};
use axum::{extract::Request, extract::rejection::QueryRejection, middleware::Next, response::Response};
use mediamill_shared::{
    control::{
        changes::{Change, Refused},
        tenants::TenantRow,
    },
    ids::TenantId,
    tenancy::{Isolation, LifecycleError, ServerName},
};

/// Where it all is.
pub(crate) const BASE: &str = "/_/api/4";
/// A change that meets others so often is given back.
const ATTEMPTS: usize = 5;

/// Adds what API v1's clients read to the problems that are answered here.
pub(crate) async fn envelope(request: Request, next: Next) -> Response {
    let ours = request.uri().path().starts_with(BASE);
    let response = next.run(request).await;
    if ours { problem::enveloped(response) } else { response }
}

fn query<T>(query: Result<axum::extract::Query<T>, QueryRejection>) -> Result<T, Problem> {
    let bad = |error: QueryRejection| Problem::new(Cause::BadRequest, error.body_text());
    query.map(|query| query.0).map_err(bad)
}

/// A tenant's id in a path. What is none names a tenant that is not there.
fn tenant_id(text: &str) -> Result<TenantId, Problem> {
    text.parse().map_err(|_| no_tenant(text))
}

fn no_tenant(id: &str) -> Problem {
    Problem::new(Cause::NotFound, format!("there is no tenant {id}"))
}

/// The tenant that a path names.
async fn tenant(state: &State, text: &str) -> Result<TenantRow, Problem> {
    let id = tenant_id(text)?;
    let row = mediamill_shared::control::tenants::get(&state.services.control, &id).await?;
    row.ok_or_else(|| no_tenant(text))
}

/// Changes the tenant that a path names by what `change` makes of it as it is. `None`: there is nothing to change. Whoever
/// changes it in between is not overwritten: `change` looks again, or the request's condition fails.
async fn change(
    state: &State,
    operator: &Operator,
    id: &str,
    condition: &IfMatch,
    change: impl Fn(&TenantRow) -> Result<Option<Change>, Problem>,
) -> Result<(), Problem> {
    for _ in 0..ATTEMPTS {
        let row = tenant(state, id).await?;
        condition.admit(row.version)?;
        let Some(mut change) = change(&row)? else { return Ok(()) };
        change.if_version = Some(row.version);
        match state
            .services
            .lifecycle
            .change(&row.id, &change, &operator.actor())
            .await
        {
            Err(LifecycleError::Refused(Refused::Outdated { .. })) => {}
            other => return other.map(|_| ()).map_err(Into::into),
        }
    }
    Err(contended())
}

/// Others change the same thing all the time.
fn contended() -> Problem {
    Problem::new(
        Cause::Unavailable,
        "it is being changed by others; try again in a moment",
    )
}

/// An isolation mode as it was given.
fn isolation(text: Option<&str>) -> Result<Option<Isolation>, Problem> {
    let bad =
        |error: &dyn std::fmt::Display| Problem::new(Cause::BadRequest, error.to_string()).with("member", "isolation");
    text.map(|text| Isolation::parse(text).map_err(|error| bad(&error)))
        .transpose()
}

/// A server of this installation as it was given.
fn server(state: &State, text: Option<&str>) -> Result<Option<ServerName>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let known = state
        .services
        .databases
        .servers()
        .find(|server| server.name.as_str() == text);
    let unknown = || {
        let detail = format!("there is no database server {text:?} here");
        Problem::new(Cause::BadRequest, detail).with("member", "server")
    };
    known.map(|server| Some(server.name.clone())).ok_or_else(unknown)
}
