//! `/_/api/4/storages`: where files are kept beside the installation's own store.

use super::{bodies::Nothing, query};
use crate::{
    extract::{IfMatch, Signed, SignedJson},
    problem::Problem,
    state::State,
    storages::{self as managed, AddStorage, EditStorage, TaskBody},
};
use axum::{
    Json,
    extract::{Path, Query, State as Shared, rejection::QueryRejection},
    http::StatusCode,
    response::Response,
};
use mediamill_shared::{
    control::storages::{self, StorageRow},
    ids::{StorageId, TenantId},
    operators::Scope,
    placement::Editor,
};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

/// Storages of a page.
const PAGE: i64 = 500;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// This tenant's alone.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<StorageId>,
}

async fn row(state: &State, id: &str) -> Result<StorageRow, Problem> {
    let id = managed::storage_id(id)?;
    Ok(state.services.storages.row(&id).await?)
}

/// `None` is the installation's own store.
async fn place(state: &State, text: &str) -> Result<Option<StorageRow>, Problem> {
    if text == "-" {
        return Ok(None);
    }
    row(state, text).await.map(Some)
}

/// Lists storages: the provider's and all tenants', or one tenant's.
#[utoipa::path(get, path = "/_/api/4/storages", tag = "tenants-api", params(ListQuery),
    responses((status = 200, description = "`{storages: […], next_cursor}`.")), security(("operator" = [], "signature" = [])))]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    wanted: Result<Query<ListQuery>, QueryRejection>,
    Signed { operator, .. }: Signed,
) -> Result<Json<Value>, Problem> {
    operator.may(Scope::Read)?;
    let wanted = query(wanted)?;
    let control = &state.services.control;
    let (rows, next) = if let Some(tenant) = &wanted.tenant {
        (storages::of(control, Some(tenant)).await?, None)
    } else {
        let rows = storages::page(control, wanted.cursor.as_ref(), PAGE).await?;
        let more = i64::try_from(rows.len()).unwrap_or(0) == PAGE;
        let next = rows.last().filter(|_| more).map(|row| row.id.clone());
        (rows, next)
    };
    let all = managed::views(&state, &rows).await?;
    Ok(Json(json!({ "storages": all, "next_cursor": next })))
}

/// Adds a storage, once it is known to work.
#[utoipa::path(post, path = "/_/api/4/storages", tag = "tenants-api", request_body = AddStorage,
    responses((status = 201, description = "Added."), (status = 400, description = "bad-request"), (status = 403, description = "over-quota, switched-off"),
        (status = 422, description = "storage-broken: what is wrong, step by step")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn add(
    Shared(state): Shared<State>,
    SignedJson { operator, value, .. }: SignedJson<AddStorage>,
) -> Result<Response, Problem> {
    operator.may(Scope::Storages)?;
    managed::add(&state, value, &Editor::operator(operator.actor())).await
}

/// Shows a storage, and how far its task has come.
#[utoipa::path(get, path = "/_/api/4/storages/{id}", tag = "tenants-api", params(("id" = String, Path)),
    responses((status = 200, description = "The storage."), (status = 404, description = "not-found")), security(("operator" = [], "signature" = [])))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Response, Problem> {
    operator.may(Scope::Read)?;
    let row = row(&state, &id).await?;
    managed::answer(&state, StatusCode::OK, &row).await
}

/// Changes a storage; another place or another key is tried first.
#[utoipa::path(patch, path = "/_/api/4/storages/{id}", tag = "tenants-api", params(("id" = String, Path)), request_body = EditStorage,
    responses((status = 200, description = "Changed."), (status = 404, description = "not-found"), (status = 409, description = "conflict: too few would be active"),
        (status = 412, description = "version-changed"), (status = 422, description = "storage-broken")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn edit(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    condition: IfMatch,
    SignedJson { operator, value, .. }: SignedJson<EditStorage>,
) -> Result<Response, Problem> {
    operator.may(Scope::Storages)?;
    let present = row(&state, &id).await?;
    let by = Editor::operator(operator.actor());
    managed::edit(&state, &present, &condition, value, &by).await
}

/// Removes a storage that is off and holds nothing.
#[utoipa::path(delete, path = "/_/api/4/storages/{id}", tag = "tenants-api", params(("id" = String, Path)),
    responses((status = 204, description = "Removed."), (status = 404, description = "not-found"), (status = 409, description = "conflict: it is in use")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn remove(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<StatusCode, Problem> {
    operator.may(Scope::Storages)?;
    let row = row(&state, &id).await?;
    managed::remove(&state, &row, &Editor::operator(operator.actor())).await
}

/// Tries everything that is ever asked of a storage.
#[utoipa::path(post, path = "/_/api/4/storages/{id}/check", tag = "tenants-api", params(("id" = String, Path)),
    responses((status = 200, description = "`{works, steps: [{step, problem}]}`."), (status = 404, description = "not-found")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn check(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    SignedJson { operator, .. }: SignedJson<Nothing>,
) -> Result<Json<Value>, Problem> {
    operator.may(Scope::Storages)?;
    let row = row(&state, &id).await?;
    managed::check(&state, &row).await
}

/// Begins to empty, move or verify a storage, in the place of what it did before.
#[utoipa::path(post, path = "/_/api/4/storages/{id}/task", tag = "tenants-api",
    params(("id" = String, Path, description = "`-` is the installation's own store")), request_body = TaskBody,
    responses((status = 202, description = "Begun; its storage shows how far it is."), (status = 400, description = "bad-request"), (status = 404, description = "not-found")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn begin(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    SignedJson { operator, value, .. }: SignedJson<TaskBody>,
) -> Result<Response, Problem> {
    operator.may(Scope::Storages)?;
    let place = place(&state, &id).await?;
    managed::begin(&state, place.as_ref(), value, &Editor::operator(operator.actor())).await
}

/// Shows how far a storage's task is.
#[utoipa::path(get, path = "/_/api/4/storages/{id}/task", tag = "tenants-api",
    params(("id" = String, Path, description = "`-` is the installation's own store")),
    responses((status = 200, description = "`{task}`; null where there was none."), (status = 404, description = "not-found")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn task(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<Json<Value>, Problem> {
    operator.may(Scope::Read)?;
    let place = place(&state, &id).await?;
    managed::task(&state, place.as_ref()).await
}

/// Stops a storage's task; jobs that are accepted go on.
#[utoipa::path(delete, path = "/_/api/4/storages/{id}/task", tag = "tenants-api",
    params(("id" = String, Path, description = "`-` is the installation's own store")),
    responses((status = 204, description = "Nothing runs any more."), (status = 404, description = "not-found")),
    security(("operator" = [], "signature" = [])))]
pub(crate) async fn stop(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Signed { operator, .. }: Signed,
) -> Result<StatusCode, Problem> {
    operator.may(Scope::Storages)?;
    let place = place(&state, &id).await?;
    managed::stop(&state, place.as_ref(), &Editor::operator(operator.actor())).await
}
