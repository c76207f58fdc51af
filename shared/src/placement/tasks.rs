//! Emptying, moving and verifying whole storages: begun here, gone on with by the scheduler and by jobs.

use super::{ChangeError, Spot, StorageChange, Storages, settings::wrong};
use crate::{
    control::{
        audit::{Actor, Entry},
        storages::{
            self, StorageError, StorageRow, StorageState,
            tasks::{self, Task, TaskKind},
        },
    },
    ids::StorageId,
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

    /// Begins to move everything out of a storage that takes nothing any more from now on.
    ///
    /// # Errors
    /// When it may not be emptied, or the database is away.
    pub async fn drain(
        &self,
        storage: &StorageRow,
        tenant: Option<&Tenant>,
        to: Option<&Spot>,
        actor: &Actor,
    ) -> Result<(), ChangeError> {
        let change = StorageChange {
            state: Some(StorageState::Draining),
            ..StorageChange::default()
        };
        if storage.state != StorageState::Draining {
            self.edit(storage, tenant, change, actor).await?;
        }
        self.begin_move(&Spot::Storage(storage.id.clone()), to, actor).await
    }

    /// Begins to move everything out of a place; what comes in meanwhile is moved too.
    ///
    /// # Errors
    /// When it cannot go there, or the database is away.
    pub async fn begin_move(&self, from: &Spot, to: Option<&Spot>, actor: &Actor) -> Result<(), ChangeError> {
        let owner = |row: &StorageRow| row.tenant.clone();
        let here = match from {
            Spot::Main => None,
            Spot::Storage(id) => owner(&self.row(id).await?),
        };
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
        self.begin(from, TaskKind::Move, to, 1, actor).await
    }

    /// Begins to read a place's files again: those of one picture in `sample`.
    ///
    /// # Errors
    /// When there is no such storage, or the database is away.
    pub async fn begin_verify(&self, storage: &Spot, sample: i64, actor: &Actor) -> Result<(), ChangeError> {
        if let Spot::Storage(id) = storage {
            self.row(id).await?;
        }
        if !(1..=1_000_000).contains(&sample) {
            return Err(wrong("sample", "a sample is of 1 to 1000000 pictures").into());
        }
        self.begin(storage, TaskKind::Verify, None, sample, actor).await
    }

    async fn begin(
        &self,
        storage: &Spot,
        kind: TaskKind,
        to: Option<&Spot>,
        sample: i64,
        actor: &Actor,
    ) -> Result<(), ChangeError> {
        let action = format!("storage.{kind}");
        let entry = Entry::new(&self.0.clock, &self.0.entropy, actor, &action, None).with(json!({
            "storage": storage.to_string(), "to": to.map(ToString::to_string), "sample": sample,
        }));
        Ok(tasks::start(&self.0.control, storage, kind, to, sample, &entry).await?)
    }
}

/// A storage as people and programs are told of it: no secrets.
#[must_use]
pub fn storage_view(row: &StorageRow, task: Option<&Task>) -> Value {
    json!({
        "id": row.id, "tenant": row.tenant, "name": row.name, "settings": row.settings, "has_credentials": row.secret.is_some(),
        "role": row.role, "state": row.state, "capacity": row.capacity, "used": row.used, "objects": row.objects,
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
