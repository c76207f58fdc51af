//! Emptying, moving and verifying whole storages: begun here, gone on with by the scheduler and by jobs.

use super::{ChangeError, Editor, Spot, StorageChange, Storages, settings::wrong};
use crate::{
    control::{
        audit::Entry,
        storages::{
            self, StorageError, StorageRow, StorageState,
            tasks::{self, Task, TaskKind},
        },
    },
    ids::{StorageId, TenantId},
    tenancy::Tenant,
};
use serde_json::{Value, json};

impl Storages {
    /// One of them.
    ///
    /// # Errors
    /// When there is none, or the database is away.
    pub async fn row(&self, id: &StorageId) -> Result<StorageRow, StorageError> {
        let row = storages::get(&self.0.control, id).await?;
        row.ok_or_else(|| StorageError::Missing { id: id.clone() })
    }

    /// One of a tenant's own: others are not there.
    ///
    /// # Errors
    /// When it has none of this id, or the database is away.
    pub async fn own_row(&self, tenant: &TenantId, id: &StorageId) -> Result<StorageRow, StorageError> {
        let row = self.row(id).await?;
        if row.tenant.as_ref() == Some(tenant) {
            return Ok(row);
        }
        Err(StorageError::Missing { id: id.clone() })
    }

    /// Begins to move everything out of a storage that takes nothing any more from now on.
    ///
    /// # Errors
    /// When it may not be emptied, or the database is away.
    pub async fn drain(
        &self,
        storage: &StorageRow,
        tenant: Option<&Tenant>,
        to: Option<&Spot>,
        by: &Editor,
    ) -> Result<(), ChangeError> {
        let change = StorageChange {
            state: Some(StorageState::Draining),
            ..StorageChange::default()
        };
        if storage.state != StorageState::Draining {
            self.edit(storage, tenant, change, by).await?;
        }
        self.begin_move(&Spot::Storage(storage.id.clone()), to, by).await
    }

    /// Begins to move everything out of a place; what comes in meanwhile is moved too.
    ///
    /// # Errors
    /// When it cannot go there, or the database is away.
    pub async fn begin_move(&self, from: &Spot, to: Option<&Spot>, by: &Editor) -> Result<(), ChangeError> {
        let here = self.owner(from).await?;
        if let Some(Spot::Storage(id)) = to {
            let there = self.row(id).await?;
            if there.state != StorageState::Active {
                return Err(wrong("to", "it has to be active").into());
            }
            if there.tenant.is_some() && there.tenant != here {
                return Err(wrong("to", "a tenant's storage takes that tenant's files alone").into());
            }
        }
        if to == Some(from) {
            return Err(wrong("to", "it is where everything is").into());
        }
        self.begin(from, here.as_ref(), TaskKind::Move, to, 1, by).await
    }

    /// Begins to read a place's files again: those of one picture in `sample`.
    ///
    /// # Errors
    /// When there is no such storage, it is off, or the database is away.
    pub async fn begin_verify(&self, storage: &Spot, sample: i64, by: &Editor) -> Result<(), ChangeError> {
        let owner = match storage {
            Spot::Main => None,
            Spot::Storage(id) => {
                let row = self.row(id).await?;
                if !row.state.is_read() {
                    return Err(StorageError::NotRead { id: row.id }.into());
                }
                row.tenant
            }
        };
        if !(1..=1_000_000).contains(&sample) {
            return Err(wrong("sample", "a sample is of 1 to 1000000 pictures").into());
        }
        self.begin(storage, owner.as_ref(), TaskKind::Verify, None, sample, by)
            .await
    }

    /// Stops a place's task; jobs that are accepted go on. Returns whether it ran.
    ///
    /// # Errors
    /// When there is no such storage, or the database is away.
    pub async fn stop_task(&self, storage: &Spot, by: &Editor) -> Result<bool, ChangeError> {
        let owner = self.owner(storage).await?;
        let entry = self.task_entry(by, "storage.stop", owner.as_ref());
        let entry = entry.with(json!({ "storage": storage.to_string() }));
        Ok(tasks::stop(&self.0.control, storage, &entry).await?)
    }

    async fn begin(
        &self,
        storage: &Spot,
        owner: Option<&TenantId>,
        kind: TaskKind,
        to: Option<&Spot>,
        sample: i64,
        by: &Editor,
    ) -> Result<(), ChangeError> {
        let action = format!("storage.{kind}");
        let entry = self.task_entry(by, &action, owner).with(json!({
            "storage": storage.to_string(), "to": to.map(ToString::to_string), "sample": sample,
        }));
        Ok(tasks::start(&self.0.control, storage, kind, to, sample, &entry).await?)
    }

    fn task_entry(&self, by: &Editor, action: &str, owner: Option<&TenantId>) -> Entry {
        Entry::new(&self.0.clock, &self.0.entropy, by.actor(), action, owner)
    }

    /// Whose a place is. `None`: the provider's.
    async fn owner(&self, place: &Spot) -> Result<Option<TenantId>, StorageError> {
        match place {
            Spot::Main => Ok(None),
            Spot::Storage(id) => Ok(self.row(id).await?.tenant),
        }
    }
}

/// A storage as people and programs are told of it: no secrets.
#[must_use]
pub fn storage_view(row: &StorageRow, task: Option<&Task>) -> Value {
    json!({
        "id": row.id, "tenant": row.tenant, "name": row.name, "settings": row.settings, "guarded": row.guarded,
        "has_credentials": row.secret.is_some(), "role": row.role, "state": row.state, "capacity": row.capacity, "used": row.used, "objects": row.objects,
        "weight": row.weight, "version": row.version, "created_at": row.created_at, "updated_at": row.updated_at,
        "task": task.map(task_view),
    })
}

/// A storage's task as people and programs are told of it.
#[must_use]
pub fn task_view(task: &Task) -> Value {
    json!({
        "kind": task.kind, "state": task.state, "to": task.target.as_ref().map(ToString::to_string), "sample": task.sample,
        "pictures": task.cursor.fed, "done": task.found.done, "mended": task.found.mended, "damaged": task.found.damaged,
        "started_at": task.started_at, "updated_at": task.updated_at,
    })
}
