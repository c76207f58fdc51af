//! `mediamill storages`: where files are kept beside the installation's own store.

use crate::{
    batches::bar,
    cli::{StorageFields, Storages, Where},
    input, operator, output,
};
use mediamill_shared::{
    config::redacted,
    control::{
        audit::Actor,
        storages::{
            self, StorageRole, StorageRow,
            tasks::{self, Task, TaskKind, TaskState},
        },
    },
    ids::{StorageId, TenantId},
    placement::{
        Credentials, DirectorySettings, Editor, NewStorage, S3Settings, Spot, StorageChange, StorageSettings,
        storage_view, task_view,
    },
    services::Services,
    tenancy::Tenant,
    units::ByteCount,
};
use serde_json::json;
use std::{fmt::Write as _, process::ExitCode, time::Duration};

/// Storages read at a time.
const PAGE: i64 = 500;
/// Between two looks at a task.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) async fn run(services: &Services, command: Storages, json: bool) -> anyhow::Result<ExitCode> {
    let all = &services.storages;
    let by = Editor::operator(Actor::cli());
    match command {
        Storages::List { tenant } => list(services, tenant.as_ref(), json).await?,
        Storages::Show { id } => show(services, &all.row(&id).await?, json).await?,
        Storages::Add {
            name,
            place,
            tenant,
            fields,
            unchecked,
        } => {
            let tenant = owner(services, tenant.as_ref()).await?;
            let settings = settings(&place)?;
            let settings =
                settings.ok_or_else(|| anyhow::anyhow!("say where it is: --s3 BUCKET, or --directory PATH"))?;
            let new = NewStorage {
                name,
                settings,
                credentials: credentials(&place)?,
                role: fields.role.unwrap_or(StorageRole::Both),
                capacity: fields.capacity.unwrap_or(ByteCount::ZERO),
                weight: fields.weight.unwrap_or(1),
            };
            show(services, &all.add(tenant.as_ref(), new, unchecked, &by).await?, json).await?;
        }
        Storages::Check { id } => return check(services, &id, json).await,
        Storages::Edit {
            id,
            name,
            place,
            fields: StorageFields { role, capacity, weight },
            state,
        } => {
            let row = all.row(&id).await?;
            let tenant = owner(services, row.tenant.as_ref()).await?;
            let change = StorageChange {
                name,
                settings: settings(&place)?,
                credentials: credentials(&place)?,
                role,
                state,
                capacity,
                weight,
            };
            show(services, &all.edit(&row, tenant.as_ref(), change, &by).await?, json).await?;
        }
        Storages::Drain { id, to, watch } => {
            let row = all.row(&id).await?;
            let tenant = owner(services, row.tenant.as_ref()).await?;
            all.drain(&row, tenant.as_ref(), to.as_ref(), &by).await?;
            return begun(services, &Spot::Storage(id), watch, json).await;
        }
        Storages::Move { from, to, watch } => {
            all.begin_move(&from, to.as_ref(), &by).await?;
            return begun(services, &from, watch, json).await;
        }
        Storages::Verify { id, sample, watch } => {
            all.begin_verify(&id, sample, &by).await?;
            return begun(services, &id, watch, json).await;
        }
        Storages::Watch { id } => return begun(services, &id, true, json).await,
        Storages::Stop { id } => {
            let stopped = all.stop_task(&id, &by).await?;
            let words = if stopped { "stopped" } else { "nothing was running" };
            output::done(json, &json!({ "stopped": stopped }), words)?;
        }
        Storages::Remove { id } => {
            all.remove(&all.row(&id).await?, &by).await?;
            output::done(json, &json!({ "removed": id }), "removed")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn owner(services: &Services, id: Option<&TenantId>) -> anyhow::Result<Option<Tenant>> {
    match id {
        Some(id) => operator::refreshed(services, id).await.map(Some),
        None => Ok(None),
    }
}

fn settings(place: &Where) -> anyhow::Result<Option<StorageSettings>> {
    let settings = if let Some(bucket) = &place.s3 {
        StorageSettings::S3(S3Settings {
            bucket: bucket.clone(),
            prefix: place.prefix.clone(),
            endpoint: place.endpoint.clone(),
            region: place.region.clone(),
            path_style: place.path_style,
            delivery: place.delivery.map(Into::into).unwrap_or_default(),
            public_url: place.public_url.clone(),
            ca: place.ca.clone(),
        })
    } else if let Some(path) = &place.directory {
        StorageSettings::Directory(DirectorySettings { path: path.clone() })
    } else {
        return Ok(None);
    };
    settings.check()?;
    Ok(Some(settings))
}

fn credentials(place: &Where) -> anyhow::Result<Option<Credentials>> {
    let Some(access_key) = &place.access_key else {
        return Ok(None);
    };
    Ok(Some(Credentials {
        access_key: access_key.clone(),
        secret_key: input::value(place.secret_key_file.as_deref())?,
    }))
}

async fn list(services: &Services, tenant: Option<&TenantId>, json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    if let Some(tenant) = tenant {
        rows = storages::of(&services.control, Some(tenant)).await?;
    } else {
        let mut after = None;
        loop {
            let page = storages::page(&services.control, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            rows.extend(page);
        }
    }
    if json {
        for row in &rows {
            let task = tasks::get(&services.control, &Spot::Storage(row.id.clone())).await?;
            output::json(&storage_view(row, task.as_ref()))?;
        }
        return Ok(());
    }
    if rows.is_empty() {
        output::remark(format!("none: files go to {}", redacted(&services.config.objects_url)));
        return Ok(());
    }
    let cells: Vec<[String; 9]> = rows.iter().map(cells).collect();
    output::line(output::table(
        [
            "id", "owner", "name", "kind", "role", "state", "used", "capacity", "objects",
        ],
        &cells,
    ));
    Ok(())
}

fn cells(row: &StorageRow) -> [String; 9] {
    let kind = match &row.settings {
        StorageSettings::S3(_) => "s3",
        StorageSettings::Directory(_) => "directory",
    };
    [
        row.id.to_string(),
        row.tenant
            .as_ref()
            .map_or_else(|| "provider".to_owned(), ToString::to_string),
        row.name.clone(),
        kind.to_owned(),
        row.role.to_string(),
        row.state.to_string(),
        row.used.to_string(),
        row.free().map_or_else(|| "-".to_owned(), |_| row.capacity.to_string()),
        row.objects.to_string(),
    ]
}

async fn show(services: &Services, row: &StorageRow, json: bool) -> anyhow::Result<()> {
    let task = tasks::get(&services.control, &Spot::Storage(row.id.clone())).await?;
    let view = storage_view(row, task.as_ref());
    if json {
        return output::json(&view);
    }
    let object = view.as_object().into_iter().flatten();
    let rows: Vec<[String; 2]> = object
        .map(|(name, value)| {
            [
                name.clone(),
                value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            ]
        })
        .collect();
    output::line(output::table(["member", "value"], &rows));
    Ok(())
}

async fn check(services: &Services, id: &StorageId, json: bool) -> anyhow::Result<ExitCode> {
    let row = services.storages.row(id).await?;
    let findings = services.storages.check(&row).await?;
    let well = findings.iter().all(|finding| finding.problem.is_none());
    if json {
        let steps = findings.iter();
        let steps = steps.map(|one| json!({ "step": one.step, "problem": one.problem }));
        output::json(&json!({ "storage": id, "works": well, "steps": steps.collect::<Vec<_>>() }))?;
    } else {
        for finding in &findings {
            output::line(format!(
                "{:12} {}",
                finding.step.as_str(),
                finding
                    .problem
                    .as_ref()
                    .map_or_else(|| "ok".to_owned(), ToString::to_string)
            ));
        }
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A task was begun: how to see it, or how far it is until it is over.
async fn begun(services: &Services, spot: &Spot, watch: bool, json: bool) -> anyhow::Result<ExitCode> {
    let Some(task) = tasks::get(&services.control, spot).await? else {
        anyhow::bail!("{spot} has no task");
    };
    if !watch {
        output::done(
            json,
            &task_view(&task),
            format!("begun; `mediamill storages watch {spot}` shows how far it is, a scheduler and workers do it"),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let task = follow(services, spot, task).await?;
    let Task { found, .. } = &task;
    let mut words = format!(
        "{}: {} files done, {} mended, {} damaged",
        task.state, found.done, found.mended, found.damaged
    );
    let mut view = task_view(&task);
    if task.kind == TaskKind::Verify {
        let failed = tasks::failed_jobs(&services.control, &task).await?;
        view["failed_jobs"] = failed.into();
        if failed > 0 {
            let _ = write!(words, "; {}", unread(failed));
        }
    }
    output::done(json, &view, words)?;
    let well = task.state == TaskState::Done && found.damaged == 0;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What jobs that failed mean for a verification.
fn unread(failed: i64) -> String {
    let jobs = if failed == 1 { "job" } else { "jobs" };
    format!(
        "{failed} {jobs} failed, so not everything was read: workers' logs say why, and `mediamill dead list` has those that can be \
         tried again"
    )
}

/// Shows a bar until the task is over. Of a storage that is emptied its length is what is in it.
async fn follow(services: &Services, spot: &Spot, mut task: Task) -> anyhow::Result<Task> {
    let length = async || match spot {
        Spot::Main => Ok::<_, anyhow::Error>(None),
        Spot::Storage(id) => Ok(Some(services.storages.row(id).await?.objects)),
    };
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    let begun_with = length().await?;
    let total = begun_with.map(|left| unsigned(left.saturating_add(task.found.done)));
    let bar = bar(
        total,
        "{msg:10} {bar:40.cyan/dim} {pos}/{len} files {per_sec} {eta}",
        "files",
    )?;
    while task.state == TaskState::Running {
        services.clock.sleep(LOOK).await;
        let Some(now) = tasks::get(&services.control, spot).await? else {
            break;
        };
        task = now;
        if let Some(bar) = &bar {
            let found = task.found;
            bar.set_position(unsigned(
                found.done.saturating_add(found.mended).saturating_add(found.damaged),
            ));
            // Uploads may come into what is only moved; a storage that is emptied only loses.
            if task.kind == TaskKind::Move
                && let Some(left) = length().await?
            {
                bar.set_length(unsigned(left.saturating_add(found.done)));
            }
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(task)
}
