//! What a tenant uses, counted from its own tables, and the figures that the Tenants API shows of it.

use super::{Lifecycle, LifecycleError};
use crate::{
    control::{
        changes::Refused,
        stats,
        tenants::{self, TenantRow},
    },
    db::DbError,
    ids::TenantId,
    tenancy::{Isolation, Limit, TenantDb, TenantState, schemas},
    units::Millis,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The figures of a tenant, named as Chevereto's Tenants API names them. What this pipeline has no notion of stays 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Distinct tags.
    pub tags: i64,
    /// Stored pictures.
    pub files: i64,
    /// Custom pages.
    pub pages: i64,
    /// Users.
    pub users: i64,
    /// Users who administer.
    pub admins: i64,
    /// Albums.
    pub albums: i64,
    /// Users who manage.
    pub managers: i64,
    /// Storages.
    pub storages: i64,
    /// When its background work ran last, seconds since the epoch.
    pub cron_time: i64,
    /// Categories.
    pub categories: i64,
    /// Likes of files.
    pub file_likes: i64,
    /// Views of files.
    pub file_views: i64,
    /// Likes of albums.
    pub album_likes: i64,
    /// Views of albums.
    pub album_views: i64,
    /// Stored bytes, originals and variants.
    pub storage_used: i64,
    /// Login providers.
    pub login_providers: i64,
}

impl Lifecycle {
    /// A tenant's tables whatever its state; `None` while they are not there or not ours to read.
    fn tables_of(&self, row: &TenantRow) -> Option<TenantDb> {
        match row.state {
            TenantState::Active | TenantState::Suspended | TenantState::Leaving => {}
            TenantState::Provisioning | TenantState::Deleting => return None,
        }
        if row.schema_version > crate::tenancy::TENANT_SCHEMA_VERSION {
            return None;
        }
        Some(TenantDb::new(
            self.databases.clone(),
            row.place.clone(),
            row.moving.is_some(),
        ))
    }

    /// The tables of a tenant that is being removed, as long as they are there and ours to read.
    pub(super) async fn tables_left(&self, row: &TenantRow) -> Result<Option<TenantDb>, DbError> {
        if row.place.isolation == Isolation::Database && !self.databases.has_database(&row.place).await? {
            return Ok(None);
        }
        if !row.place.server.is_main() || row.place.isolation == Isolation::Database {
            // Whoever made the place may not have come as far as this.
            schemas::make(&mut *self.databases.reader(&row.place).await?).await?;
        }
        let db = TenantDb::new(self.databases.clone(), row.place.clone(), false);
        match db.begin().await {
            Ok(_) => Ok(Some(db)),
            Err(DbError::Gone { .. } | DbError::NewerSchema { .. } | DbError::Moving { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How much a tenant uses of what has a limit and is counted in its tables.
    pub(super) async fn used(&self, row: &TenantRow) -> Result<Option<Vec<(Limit, i64)>>, DbError> {
        let Some(db) = self.tables_of(row) else { return Ok(None) };
        let (usage, people, keys) = (db.usage().await?, db.user_counts().await?, db.key_count().await?);
        let hosts = tenants::hosts(&self.control, &row.id).await?.len();
        Ok(Some(vec![
            (Limit::Media, usage.media),
            (Limit::StoredBytes, usage.bytes.get()),
            (Limit::Users, people.users),
            (Limit::Admins, people.admins),
            (Limit::Managers, people.managers),
            (Limit::ApiKeys, keys),
            (Limit::Hosts, i64::try_from(hosts).unwrap_or(i64::MAX)),
        ]))
    }

    /// Counts a tenant's figures anew and keeps them.
    ///
    /// # Errors
    /// When there is no such tenant, or a database is away.
    pub async fn refresh_stats(&self, id: &TenantId) -> Result<Stats, LifecycleError> {
        let Some(row) = tenants::get(&self.control, id).await? else {
            return Err(Refused::Missing { id: id.clone() }.into());
        };
        let mut figures = Stats {
            cron_time: row.last_job_at.unwrap_or_default().get() / 1_000,
            ..Stats::default()
        };
        if let Some(db) = self.tables_of(&row) {
            let (usage, people) = (db.usage().await?, db.user_counts().await?);
            figures.files = usage.media;
            figures.storage_used = usage.bytes.get();
            figures.users = people.users;
            figures.admins = people.admins;
            figures.managers = people.managers;
        }
        let text = serde_json::to_string(&figures)?;
        stats::put(&self.control, id, &text, self.clock.now()).await?;
        Ok(figures)
    }

    /// The figures as they were counted last, and when. `None`: never.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn stats(&self, id: &TenantId) -> Result<Option<(Stats, Millis)>, DbError> {
        let Some((text, at)) = stats::get(&self.control, id).await? else {
            return Ok(None);
        };
        let figures =
            serde_json::from_str(&text).map_err(|error| DbError::unreadable("read a tenant's figures", error))?;
        Ok(Some((figures, at)))
    }

    /// The figures of several tenants as they were counted last, of those that were.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn stats_of(&self, ids: &[TenantId]) -> Result<HashMap<TenantId, Stats>, DbError> {
        let texts = stats::of(&self.control, ids).await?;
        let read = |(id, text): (TenantId, String)| {
            let figures = serde_json::from_str(&text);
            Ok((
                id,
                figures.map_err(|error| DbError::unreadable("read tenants' figures", error))?,
            ))
        };
        texts.into_iter().map(read).collect()
    }
}
