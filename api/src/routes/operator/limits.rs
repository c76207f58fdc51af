//! What a tenant may, and who changed what of it.

use super::{
    BASE,
    listing::{self, Page},
    no_tenant, query, tenant, tenant_id,
    views::{AuditView, LimitView},
};
use crate::{
    extract::Signed,
    problem::{Cause, Problem},
    state::State,
};
use axum::{
    Json,
    extract::{Path, Query, State as Shared, rejection::QueryRejection},
    response::Response,
};
use mediamill_shared::{control::audit, ids::AuditId, operators::Scope};
use serde::Deserialize;
use utoipa::IntoParams;

/// Lines of a page where nobody says.
const LINES: i64 = 100;

/// Shows every limit in force for a tenant, and where its value comes from.
#[utoipa::path(get, path = "/_/api/4/tenants/{id}/limits", tag = "tenants-api", params(("id" = String, Path)),
    responses((status = 200, body = Vec<LimitView>), (status = 404, description = "not-found")), security(("operator" = [], "signature" = [])))]
pub(crate) async fn effective(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Json<Vec<LimitView>>, Problem> {
    operator.may(Scope::Read)?;
    let row = tenant(&state, &id).await?;
    let effective = state.services.lifecycle.explain(&row.id).await?;
    Ok(Json(effective.into_iter().map(LimitView::explained).collect()))
}

/// Which lines are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Lines of a page, 1 to 500; 100 without.
    limit: Option<i64>,
    /// From the `Link` of the page before.
    cursor: Option<String>,
}

/// Lists what was done to a tenant, the latest first. A tenant that is gone keeps its lines.
#[utoipa::path(get, path = "/_/api/4/tenants/{id}/audit", tag = "tenants-api", params(("id" = String, Path), AuditQuery),
    responses((status = 200, body = Vec<AuditView>), (status = 404, description = "not-found")), security(("operator" = [], "signature" = [])))]
pub(crate) async fn history(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    wanted: Result<Query<AuditQuery>, QueryRejection>,
    Signed { operator, .. }: Signed,
) -> Result<Response, Problem> {
    operator.may(Scope::Read)?;
    let (wanted, tenant) = (query(wanted)?, tenant_id(&id)?);
    let limit = listing::size(wanted.limit.unwrap_or(LINES))?;
    let cursor = wanted.cursor.as_deref().map(str::parse::<AuditId>).transpose();
    let cursor = cursor.map_err(|_| Problem::new(Cause::BadRequest, "cursor is none of ours"))?;
    let lines = audit::page(
        &state.services.control,
        Some(&tenant),
        cursor.as_ref(),
        limit.saturating_add(1),
    )
    .await?;
    if lines.is_empty() && cursor.is_none() {
        return Err(no_tenant(&id));
    }
    let (lines, next) = listing::cut(lines, limit, |line| line.id.to_string());
    let items: Vec<AuditView> = lines.into_iter().map(Into::into).collect();
    Ok(listing::page(
        Page { items, next },
        &format!("{BASE}/tenants/{tenant}/audit"),
        limit,
        &[],
    ))
}
