//! `/v1/storages`: a tenant's own storages, in its own hands.
//!
//! Only what is the tenant's is there: the provider's storages, and others', are as little there as none. What is connected to is
//! the tenant's to say, so it is guarded ([`mediamill_shared::placement::Editor::tenant`]), and how often is bounded
//! ([`crate::storages::Trials`]).

use super::json;
use crate::{
    extract::{Administrator, IfMatch},
    problem::Problem,
    state::State,
    storages::{self as managed, AddOwnStorage, EditStorage, TaskBody},
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State as Shared},
    http::StatusCode,
    response::Response,
};
use mediamill_shared::{
    control::storages::{self, StorageRow},
    ids::TenantId,
    placement::Editor,
};
use serde_json::{Value, json};

impl Administrator {
    fn tenant(&self) -> &TenantId {
        self.0.site.tenant.id()
    }

    fn editor(&self) -> Editor {
        Editor::tenant(self.actor())
    }

    /// One of the tenant's storages.
    async fn storage(&self, state: &State, id: &str) -> Result<StorageRow, Problem> {
        let id = managed::storage_id(id)?;
        Ok(state.services.storages.own_row(self.tenant(), &id).await?)
    }
}

/// Lists the tenant's own storages.
#[utoipa::path(get, path = "/v1/storages", tag = "storages",
    responses((status = 200, description = "`{storages: […]}`."), (status = 403, description = "missing-scope: not an administrator's key")),
    security(("key" = [])))]
pub(crate) async fn list(Shared(state): Shared<State>, administrator: Administrator) -> Result<Json<Value>, Problem> {
    let rows = storages::of(&state.services.control, Some(administrator.tenant())).await?;
    let all = managed::views(&state, &rows).await?;
    Ok(Json(json!({ "storages": all })))
}

/// Adds a storage of the tenant's own, once it is known to work.
#[utoipa::path(post, path = "/v1/storages", tag = "storages", request_body = AddOwnStorage,
    responses((status = 201, description = "Added."), (status = 400, description = "bad-request"),
        (status = 403, description = "over-quota, switched-off, missing-scope"),
        (status = 422, description = "storage-broken: what is wrong, step by step; storage-address-refused"),
        (status = 429, description = "too-many-trials")),
    security(("key" = [])))]
pub(crate) async fn add(
    Shared(state): Shared<State>,
    administrator: Administrator,
    body: Body,
) -> Result<Response, Problem> {
    let value: AddOwnStorage = json::read(&state, body).await?;
    let tenant = administrator.tenant();
    let value = value.of(tenant.clone());
    let _trial = if value.unchecked {
        None
    } else {
        Some(state.trials.begin(tenant).await?)
    };
    managed::add(&state, value, &administrator.editor()).await
}

/// Shows a storage, and how far its task has come.
#[utoipa::path(get, path = "/v1/storages/{id}", tag = "storages", params(("id" = String, Path)),
    responses((status = 200, description = "The storage."), (status = 403, description = "missing-scope"), (status = 404, description = "not-found")),
    security(("key" = [])))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    administrator: Administrator,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let row = administrator.storage(&state, &id).await?;
    managed::answer(&state, StatusCode::OK, &row).await
}

/// Changes a storage; another place or another key is tried first.
#[utoipa::path(patch, path = "/v1/storages/{id}", tag = "storages", params(("id" = String, Path)), request_body = EditStorage,
    responses((status = 200, description = "Changed."), (status = 403, description = "switched-off, missing-scope"), (status = 404, description = "not-found"),
        (status = 409, description = "conflict: too few would be active"), (status = 412, description = "version-changed"),
        (status = 422, description = "storage-broken, storage-address-refused"), (status = 429, description = "too-many-trials")),
    security(("key" = [])))]
pub(crate) async fn edit(
    Shared(state): Shared<State>,
    administrator: Administrator,
    Path(id): Path<String>,
    condition: IfMatch,
    body: Body,
) -> Result<Response, Problem> {
    let present = administrator.storage(&state, &id).await?;
    let value: EditStorage = json::read(&state, body).await?;
    let _trial = if value.is_tried() {
        Some(state.trials.begin(administrator.tenant()).await?)
    } else {
        None
    };
    managed::edit(&state, &present, &condition, value, &administrator.editor()).await
}

/// Removes a storage that is off and holds nothing.
#[utoipa::path(delete, path = "/v1/storages/{id}", tag = "storages", params(("id" = String, Path)),
    responses((status = 204, description = "Removed."), (status = 403, description = "missing-scope"), (status = 404, description = "not-found"),
        (status = 409, description = "conflict: it is in use")),
    security(("key" = [])))]
pub(crate) async fn remove(
    Shared(state): Shared<State>,
    administrator: Administrator,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let row = administrator.storage(&state, &id).await?;
    managed::remove(&state, &row, &administrator.editor()).await
}

/// Tries everything that is ever asked of a storage.
#[utoipa::path(post, path = "/v1/storages/{id}/check", tag = "storages", params(("id" = String, Path)),
    responses((status = 200, description = "`{works, steps: [{step, problem}]}`."), (status = 403, description = "missing-scope"),
        (status = 404, description = "not-found"), (status = 429, description = "too-many-trials")),
    security(("key" = [])))]
pub(crate) async fn check(
    Shared(state): Shared<State>,
    administrator: Administrator,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let row = administrator.storage(&state, &id).await?;
    let _trial = state.trials.begin(administrator.tenant()).await?;
    managed::check(&state, &row).await
}

/// Begins to empty, move or verify a storage, in the place of what it did before.
///
/// `to` is another one of the tenant's own; without, files go where its placement says.
#[utoipa::path(post, path = "/v1/storages/{id}/task", tag = "storages", params(("id" = String, Path)), request_body = TaskBody,
    responses((status = 202, description = "Begun; its storage shows how far it is."), (status = 400, description = "bad-request"),
        (status = 403, description = "missing-scope"), (status = 404, description = "not-found"),
        (status = 409, description = "conflict: too few would be active"), (status = 429, description = "too-many-trials")),
    security(("key" = [])))]
pub(crate) async fn begin(
    Shared(state): Shared<State>,
    administrator: Administrator,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let row = administrator.storage(&state, &id).await?;
    let value: TaskBody = json::read(&state, body).await?;
    if let Some(to) = value.to() {
        administrator.storage(&state, to).await?;
    }
    // It tries nothing by itself, and each one goes through everything from the beginning.
    let _trial = state.trials.begin(administrator.tenant()).await?;
    managed::begin(&state, Some(&row), value, &administrator.editor()).await
}

/// Shows how far a storage's task is.
#[utoipa::path(get, path = "/v1/storages/{id}/task", tag = "storages", params(("id" = String, Path)),
    responses((status = 200, description = "`{task}`; null where there was none."), (status = 403, description = "missing-scope"),
        (status = 404, description = "not-found")),
    security(("key" = [])))]
pub(crate) async fn task(
    Shared(state): Shared<State>,
    administrator: Administrator,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let row = administrator.storage(&state, &id).await?;
    managed::task(&state, Some(&row)).await
}

/// Stops a storage's task; jobs that are accepted go on.
#[utoipa::path(delete, path = "/v1/storages/{id}/task", tag = "storages", params(("id" = String, Path)),
    responses((status = 204, description = "Nothing runs any more."), (status = 403, description = "missing-scope"), (status = 404, description = "not-found")),
    security(("key" = [])))]
pub(crate) async fn stop(
    Shared(state): Shared<State>,
    administrator: Administrator,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let row = administrator.storage(&state, &id).await?;
    managed::stop(&state, Some(&row), &administrator.editor()).await
}
