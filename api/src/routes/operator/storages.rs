//! `/_/api/4/storages`: where files are kept beside the installation's own store.

use super::{bodies::Nothing, problems::broken, query};
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
    control::storages::{self, StorageError, StorageRole, StorageRow, StorageState, tasks},
    ids::{StorageId, TenantId},
    operators::Scope,
    placement::{
        ChangeError, Credentials, NewStorage, OpenError, Spot, StorageChange, StorageSettings, storage_view, task_view,
    },
    secrets::SecretsError,
    tenancy::{Limit, Tenant},
    units::ByteCount,
};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

/// Storages of a page.
const PAGE: i64 = 500;

/// What opens a storage.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CredentialsBody {
    /// Access key id.
    access_key: String,
    /// Secret access key; kept sealed, never answered.
    #[schema(value_type = String)]
    secret_key: super::bodies::Secret,
}

impl From<CredentialsBody> for Credentials {
    fn from(body: CredentialsBody) -> Self {
        Self {
            access_key: body.access_key,
            secret_key: body.secret_key.0,
        }
    }
}

/// A storage to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddStorage {
    /// Whose; the provider's without.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// 1 to 100 characters.
    name: String,
    /// `{"kind": "s3", "bucket": …}` or, of the provider, `{"kind": "directory", "path": …}`: see docs/storages.md.
    #[schema(value_type = Object)]
    settings: Value,
    /// A tenant's storage has some.
    credentials: Option<CredentialsBody>,
    /// `originals`, `variants` or `both`.
    #[schema(value_type = Option<String>)]
    role: Option<StorageRole>,
    /// Bytes that it may hold; 0 is no bound.
    #[schema(value_type = Option<i64>)]
    capacity: Option<ByteCount>,
    /// How often it is chosen, 1 to 1,000.
    weight: Option<i64>,
    /// Adds it switched off, without trying it.
    #[serde(default)]
    unchecked: bool,
}

/// What is to be another way.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EditStorage {
    /// 1 to 100 characters.
    name: Option<String>,
    /// All of its settings.
    #[schema(value_type = Option<Object>)]
    settings: Option<Value>,
    /// What opens it from now on.
    credentials: Option<CredentialsBody>,
    /// `originals`, `variants` or `both`.
    #[schema(value_type = Option<String>)]
    role: Option<StorageRole>,
    /// `active`, `read-only`, `draining` or `off`.
    #[schema(value_type = Option<String>)]
    state: Option<StorageState>,
    /// Bytes that it may hold; 0 is no bound.
    #[schema(value_type = Option<i64>)]
    capacity: Option<ByteCount>,
    /// How often it is chosen, 1 to 1,000.
    weight: Option<i64>,
}

/// What is to be done with everything in a storage.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum TaskBody {
    /// Nothing more comes in, and everything goes out.
    Drain {
        /// Into this one; `-` is the installation's own store. Without, where each tenant's placement says.
        to: Option<String>,
    },
    /// Everything that is in it now goes out.
    Move {
        /// As of a drain.
        to: Option<String>,
    },
    /// It is read again.
    Verify {
        /// Of so many pictures one.
        sample: Option<i64>,
    },
}

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

fn settings(value: &Value) -> Result<StorageSettings, Problem> {
    StorageSettings::from_json(&value.to_string()).map_err(|error| StorageError::from(error).into())
}

async fn row(state: &State, id: &str) -> Result<StorageRow, Problem> {
    let missing = || Problem::new(Cause::NotFound, format!("there is no storage {id:?}"));
    let id: StorageId = id.parse().map_err(|_| missing())?;
    Ok(state.services.storages.row(&id).await?)
}

async fn owner(state: &State, id: Option<&TenantId>) -> Result<Option<Tenant>, Problem> {
    let Some(id) = id else { return Ok(None) };
    let tenant = state.services.resolver.refresh(id).await?;
    tenant.map(Some).ok_or_else(|| super::no_tenant(id.as_str()))
}

async fn view(state: &State, row: &StorageRow) -> Result<Value, Problem> {
    let task = tasks::get(&state.services.control, &Spot::Storage(row.id.clone())).await?;
    Ok(storage_view(row, task.as_ref()))
}

fn answer(status: StatusCode, row: &StorageRow, view: Value) -> Response {
    (status, [(header::ETAG, etag(row.version))], Json(view)).into_response()
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
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        all.push(view(&state, row).await?);
    }
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
    let tenant = owner(&state, value.tenant.as_ref()).await?;
    let new = NewStorage {
        name: value.name,
        settings: settings(&value.settings)?,
        credentials: value.credentials.map(Into::into),
        role: value.role.unwrap_or(StorageRole::Both),
        capacity: value.capacity.unwrap_or(ByteCount::ZERO),
        weight: value.weight.unwrap_or(1),
    };
    let storages = &state.services.storages;
    let row = storages
        .add(tenant.as_ref(), new, value.unchecked, &operator.actor())
        .await?;
    let view = view(&state, &row).await?;
    Ok(answer(StatusCode::CREATED, &row, view))
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
    let view = view(&state, &row).await?;
    Ok(answer(StatusCode::OK, &row, view))
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
    condition.admit(present.version)?;
    let tenant = owner(&state, present.tenant.as_ref()).await?;
    let change = StorageChange {
        name: value.name,
        settings: value.settings.as_ref().map(settings).transpose()?,
        credentials: value.credentials.map(Into::into),
        role: value.role,
        state: value.state,
        capacity: value.capacity,
        weight: value.weight,
    };
    let storages = &state.services.storages;
    let row = storages
        .edit(&present, tenant.as_ref(), change, &operator.actor())
        .await?;
    let view = view(&state, &row).await?;
    Ok(answer(StatusCode::OK, &row, view))
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
    state.services.storages.remove(&row, &operator.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
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
    let findings = state.services.storages.check(&row).await.map_err(ChangeError::from)?;
    let works = findings.iter().all(|finding| finding.problem.is_none());
    Ok(Json(json!({ "works": works, "steps": steps(&findings) })))
}

fn steps(findings: &[mediamill_shared::placement::Finding]) -> Vec<Value> {
    let step =
        |finding: &mediamill_shared::placement::Finding| json!({ "step": finding.step, "problem": finding.problem });
    findings.iter().map(step).collect()
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
    let spot = spot(&state, &id).await?;
    let (all, actor) = (&state.services.storages, operator.actor());
    match value {
        TaskBody::Drain { to } => {
            let to = other(to)?;
            let Spot::Storage(_) = &spot else {
                return Err(Problem::new(
                    Cause::BadRequest,
                    "the installation's own store is moved, not drained",
                ));
            };
            let row = row(&state, &id).await?;
            let tenant = owner(&state, row.tenant.as_ref()).await?;
            all.drain(&row, tenant.as_ref(), to.as_ref(), &actor).await?;
        }
        TaskBody::Move { to } => all.begin_move(&spot, other(to)?.as_ref(), &actor).await?,
        TaskBody::Verify { sample } => all.begin_verify(&spot, sample.unwrap_or(1), &actor).await?,
    }
    let task = tasks::get(&state.services.control, &spot).await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(json!({ "task": task.as_ref().map(task_view) })),
    )
        .into_response())
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
    let task = tasks::get(&state.services.control, &spot(&state, &id).await?).await?;
    Ok(Json(json!({ "task": task.as_ref().map(task_view) })))
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
    let spot = spot(&state, &id).await?;
    tasks::stop(&state.services.control, &spot, state.services.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn spot(state: &State, text: &str) -> Result<Spot, Problem> {
    if text == "-" {
        return Ok(Spot::Main);
    }
    Ok(Spot::Storage(row(state, text).await?.id))
}

fn other(to: Option<String>) -> Result<Option<Spot>, Problem> {
    let bad = |_| Problem::new(Cause::BadRequest, "to is a storage's id, or -").with("member", "to");
    to.map(|to| to.parse().map_err(bad)).transpose()
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        let detail = error.to_string();
        match error {
            StorageError::Missing { .. } => Self::new(Cause::NotFound, detail),
            StorageError::TooMany { has, limit } => Self::new(Cause::OverQuota, detail)
                .with("limit_name", Limit::Storages.as_str())
                .with("limit", limit)
                .with("used", has)
                .with("asked", 1),
            StorageError::NotAllowed => {
                Self::new(Cause::SwitchedOff, detail).with("limit_name", Limit::ExternalStorage.as_str())
            }
            StorageError::TooFewActive { least, .. } => Self::new(Cause::Conflict, detail)
                .with("limit_name", Limit::MinActiveStorages.as_str())
                .with("limit", least),
            StorageError::Outdated { .. } => Self::new(Cause::VersionChanged, detail),
            StorageError::InUse { .. } => Self::new(Cause::Conflict, detail),
            StorageError::Settings(_) => Self::new(Cause::BadRequest, detail).with("member", "settings"),
            StorageError::MasterKey(error) => broken("a storage's credentials cannot be sealed", &error),
            StorageError::Db(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Storage(error) => error.into(),
            ChangeError::Check(findings) => {
                let problem = Self::new(Cause::StorageBroken, ChangeError::Check(findings.clone()).to_string());
                problem.with("steps", steps(&findings))
            }
            ChangeError::Open(OpenError::Objects { source, .. }) => {
                Self::new(Cause::BadRequest, source.to_string()).with("member", "settings")
            }
            ChangeError::Open(error @ (OpenError::Settings { .. } | OpenError::NoCredentials { .. })) => {
                Self::new(Cause::BadRequest, error.to_string()).with("member", "settings")
            }
            ChangeError::Open(error @ OpenError::Secrets { .. }) => {
                broken("a storage's credentials do not open", &error)
            }
            ChangeError::Secrets(SecretsError::NoMasterKey) => Self::new(
                Cause::SwitchedOff,
                "credentials are kept sealed, and this installation has no master key: its provider can give it one",
            ),
            ChangeError::Secrets(error) => error.into(),
        }
    }
}
