//! The tenant, by `Host`.

use crate::{
    problem::{Cause, Problem},
    state::State,
};
use axum::{
    extract::FromRequestParts,
    http::{Version, header, request::Parts},
};
use mediamill_shared::tenancy::{Tenant, TenantDb, normal_host};

/// The tenant that is served at the request's host, and its tables.
pub(crate) struct Site {
    pub(crate) tenant: Tenant,
    pub(crate) db: TenantDb,
    /// The host as the client wrote it, with its port: what URLs in answers begin with.
    pub(crate) host: String,
}

/// The one host that the request names. HTTP/2 has it in its URI, and so has a request to a proxy (RFC 9112, 3.2.2): two that
/// differ are refused, since whoever stands before this process may have read the other one.
fn host(parts: &Parts) -> Result<String, Problem> {
    let bad = |problem: &str| Problem::new(Cause::BadRequest, problem);
    let mut headers = parts.headers.get_all(header::HOST).iter();
    let header = match (headers.next(), headers.next()) {
        (_, Some(_)) => return Err(bad("the request has more than one Host")),
        (Some(value), None) => Some(value.to_str().map_err(|_| bad("the request's Host is no text"))?),
        (None, None) => None,
    };
    match (header, parts.uri.authority()) {
        (Some(header), Some(authority)) if normal_host(header) != normal_host(authority.as_str()) => {
            Err(bad("the request's Host is not the host of its URI"))
        }
        (Some(host), _) => Ok(host.to_owned()),
        (None, Some(authority)) if parts.version >= Version::HTTP_2 => Ok(authority.as_str().to_owned()),
        (None, Some(_) | None) => Err(bad("the request has no Host")),
    }
}

impl FromRequestParts<State> for Site {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let host = host(parts)?;
        let unknown = || Problem::new(Cause::UnknownHost, format!("nobody is served at {host:?}"));
        let tenant = state.services.resolver.by_host(&host).await?.ok_or_else(unknown)?;
        tracing::Span::current().record("tenant.id", tenant.id().as_str());
        let db = tenant
            .db()
            .map_err(|refused| Problem::new(Cause::TenantSuspended, refused.to_string()))?;
        Ok(Self { tenant, db, host })
    }
}
