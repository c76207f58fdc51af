//! The tenant, by the host that the client asked for.

use super::host::host;
use crate::{
    problem::{Cause, Problem},
    state::State,
};
use axum::{extract::FromRequestParts, http::request::Parts};
use mediamill_shared::tenancy::{Tenant, TenantDb};

/// The tenant that is served at the request's host, and its tables.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) tenant: Tenant,
    pub(crate) db: TenantDb,
    /// The host as the client wrote it, with its port: what URLs in answers begin with.
    pub(crate) host: String,
}

impl FromRequestParts<State> for Site {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let host = host(parts, state)?.ok_or_else(|| Problem::new(Cause::BadRequest, "the request has no Host"))?;
        let unknown = || Problem::new(Cause::UnknownHost, format!("nobody is served at {host:?}"));
        let tenant = state.services.resolver.by_host(&host).await?.ok_or_else(unknown)?;
        tracing::Span::current().record("tenant.id", tenant.id().as_str());
        let db = tenant
            .db()
            .map_err(|refused| Problem::new(Cause::TenantSuspended, refused.to_string()))?;
        Ok(Self { tenant, db, host })
    }
}
