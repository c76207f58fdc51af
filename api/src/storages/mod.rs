//! Managing storages: the same for an operator and for a tenant, once it is known who asks and whose they are.

mod bodies;
mod problems;
mod trials;

pub(crate) use bodies::{AddOwnStorage, AddStorage, EditStorage, TaskBody};
pub(crate) use trials::Trials;

use crate::{
    extract::{IfMatch, etag},
    problem::{Cause, Problem},
    state::State,
};
use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use mediamill_shared::{
    control::storages::{StorageRow, tasks},
    ids::{StorageId, TenantId},
    placement::{ChangeError, Editor, Finding, Spot, storage_view, task_view},
    tenancy::Tenant,
};
use serde_json::{Value, json};

/// A storage's id in a path. What is none names a storage that is not there.
pub(crate) fn storage_id(text: &str) -> Result<StorageId, Problem> {
    text.parse()
        .map_err(|_| Problem::new(Cause::NotFound, format!("there is no storage {text:?}")))
}

/// The tenant whose storages are changed, as it is now.
pub(crate) async fn owner(state: &State, id: Option<&TenantId>) -> Result<Option<Tenant>, Problem> {
    let Some(id) = id else { return Ok(None) };
    let tenant = state.services.resolver.refresh(id).await?;
    let missing = || Problem::new(Cause::NotFound, format!("there is no tenant {id}"));
    tenant.map(Some).ok_or_else(missing)
}

/// Storages as a list shows them.
pub(crate) async fn views(state: &State, rows: &[StorageRow]) -> Result<Vec<Value>, Problem> {
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        views.push(view(state, row).await?);
    }
    Ok(views)
}

async fn view(state: &State, row: &StorageRow) -> Result<Value, Problem> {
    let task = tasks::get(&state.services.control, &Spot::Storage(row.id.clone())).await?;
    Ok(storage_view(row, task.as_ref()))
}

/// A storage, and how far its task has come.
pub(crate) async fn answer(state: &State, status: StatusCode, row: &StorageRow) -> Result<Response, Problem> {
    let view = view(state, row).await?;
    Ok((status, [(header::ETAG, etag(row.version))], Json(view)).into_response())
}

/// Adds one.
pub(crate) async fn add(state: &State, value: AddStorage, by: &Editor) -> Result<Response, Problem> {
    let tenant = owner(state, value.tenant.as_ref()).await?;
    let unchecked = value.unchecked;
    let new = value.into_new()?;
    let storages = &state.services.storages;
    let row = storages.add(tenant.as_ref(), new, unchecked, by).await?;
    answer(state, StatusCode::CREATED, &row).await
}

/// Changes one that is as the condition wants it.
pub(crate) async fn edit(
    state: &State,
    present: &StorageRow,
    condition: &IfMatch,
    value: EditStorage,
    by: &Editor,
) -> Result<Response, Problem> {
    condition.admit(present.version)?;
    let tenant = owner(state, present.tenant.as_ref()).await?;
    let change = value.into_change()?;
    let storages = &state.services.storages;
    let row = storages.edit(present, tenant.as_ref(), change, by).await?;
    answer(state, StatusCode::OK, &row).await
}

/// Removes one.
pub(crate) async fn remove(state: &State, row: &StorageRow, by: &Editor) -> Result<StatusCode, Problem> {
    state.services.storages.remove(row, by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries everything that is ever asked of one.
pub(crate) async fn check(state: &State, row: &StorageRow) -> Result<Json<Value>, Problem> {
    let findings = state.services.storages.check(row).await.map_err(ChangeError::from)?;
    let works = findings.iter().all(|finding| finding.problem.is_none());
    Ok(Json(json!({ "works": works, "steps": steps(&findings) })))
}

fn steps(findings: &[Finding]) -> Vec<Value> {
    let step = |finding: &Finding| json!({ "step": finding.step, "problem": finding.problem });
    findings.iter().map(step).collect()
}

/// Where something is: in a storage, or in the installation's own store.
fn spot(row: Option<&StorageRow>) -> Spot {
    row.map_or(Spot::Main, |row| Spot::Storage(row.id.clone()))
}

/// Begins a task of a storage, or of the installation's own store.
pub(crate) async fn begin(
    state: &State,
    row: Option<&StorageRow>,
    value: TaskBody,
    by: &Editor,
) -> Result<Response, Problem> {
    let bad = |_| Problem::new(Cause::BadRequest, "to is a storage's id, or -").with("member", "to");
    let to: Option<Spot> = value.to().map(|to| to.parse().map_err(bad)).transpose()?;
    let (all, spot) = (&state.services.storages, spot(row));
    match (value, row) {
        (TaskBody::Drain { .. }, Some(row)) => {
            let tenant = owner(state, row.tenant.as_ref()).await?;
            all.drain(row, tenant.as_ref(), to.as_ref(), by).await?;
        }
        (TaskBody::Drain { .. }, None) => {
            let detail = "the installation's own store is moved, not drained";
            return Err(Problem::new(Cause::BadRequest, detail));
        }
        (TaskBody::Move { .. }, _) => all.begin_move(&spot, to.as_ref(), by).await?,
        (TaskBody::Verify { sample }, _) => all.begin_verify(&spot, sample.unwrap_or(1), by).await?,
    }
    let begun = task(state, row).await?;
    Ok((StatusCode::ACCEPTED, begun).into_response())
}

/// How far a task is.
pub(crate) async fn task(state: &State, row: Option<&StorageRow>) -> Result<Json<Value>, Problem> {
    let task = tasks::get(&state.services.control, &spot(row)).await?;
    Ok(Json(json!({ "task": task.as_ref().map(task_view) })))
}

/// Stops a task.
pub(crate) async fn stop(state: &State, row: Option<&StorageRow>, by: &Editor) -> Result<StatusCode, Problem> {
    state.services.storages.stop_task(&spot(row), by).await?;
    Ok(StatusCode::NO_CONTENT)
}
