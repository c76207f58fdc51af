//! The audit log: who changed what of which tenant. Append only; written in the transaction of the change.

use crate::{
    clock::{Clock, Entropy},
    db::{Bounded, Db, DbError, During, halving, sql},
    ids::{AuditId, TenantId},
    units::Millis,
};
use sqlx::{AnyConnection, Row};

sql! {
    APPEND (6) = "INSERT INTO audit_log (id, at, actor, action, tenant, detail) VALUES {rows}";
    OF_TENANT = "SELECT id, at, actor, action, tenant, detail FROM audit_log WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
    ALL = "SELECT id, at, actor, action, tenant, detail FROM audit_log WHERE id < $1 ORDER BY id DESC LIMIT $2";
}

/// Who does something: an operator's key, the command line, a batch, a timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(String);

impl Actor {
    /// The command line.
    #[must_use]
    pub fn cli() -> Self {
        Self("cli".to_owned())
    }

    /// The scheduler.
    #[must_use]
    pub fn scheduler() -> Self {
        Self("scheduler".to_owned())
    }

    /// A key of the Tenants API, by its number.
    #[must_use]
    pub fn operator_key(id: i64) -> Self {
        Self(format!("key:{id}"))
    }

    /// A tenant's own API key.
    #[must_use]
    pub fn tenant_key(id: &crate::ids::KeyId) -> Self {
        Self(format!("tenant-key:{id}"))
    }

    /// A job.
    #[must_use]
    pub fn job(id: &crate::ids::JobId) -> Self {
        Self(format!("job:{id}"))
    }

    /// A batch.
    #[must_use]
    pub fn batch(id: &crate::ids::BatchId) -> Self {
        Self(format!("batch:{id}"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A line to be written.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its id: lines sort by it.
    pub id: AuditId,
    /// When.
    pub at: Millis,
    /// Who.
    pub actor: String,
    /// `tenant.create`, `plan.edit`, …
    pub action: String,
    /// Which tenant, if it is about one.
    pub tenant: Option<TenantId>,
    /// What else, JSON; no secrets.
    pub detail: serde_json::Value,
}

impl Entry {
    /// A line of now.
    #[must_use]
    pub fn new(clock: &Clock, entropy: &Entropy, actor: &Actor, action: &str, tenant: Option<&TenantId>) -> Self {
        Self {
            id: AuditId::generate(clock, entropy),
            at: clock.now(),
            actor: actor.0.clone(),
            action: action.to_owned(),
            tenant: tenant.cloned(),
            detail: serde_json::json!({}),
        }
    }

    /// The same with details.
    #[must_use]
    pub fn with(mut self, detail: serde_json::Value) -> Self {
        self.detail = detail;
        self
    }
}

pub(crate) async fn append(connection: &mut AnyConnection, entry: &Entry) -> Result<(), DbError> {
    append_all(connection, &[entry]).await
}

/// Writes a line by itself: about something that nobody changed.
///
/// # Errors
/// When the database is away.
pub async fn write(db: &Db, entry: &Entry) -> Result<(), DbError> {
    append(&mut *db.writer().await?, entry).await
}

pub(crate) async fn append_all(connection: &mut AnyConnection, entries: &[&Entry]) -> Result<(), DbError> {
    let mut rest = entries;
    while !rest.is_empty() {
        let (these, others) = rest.split_at(halving(rest.len().min(1_024)));
        rest = others;
        let mut query = APPEND.rows(1, these.len(), 6);
        for entry in these {
            query = query
                .bind(entry.id.as_str().to_owned())
                .bind(entry.at.get())
                .bind(entry.actor.clone())
                .bind(entry.action.clone())
                .bind(entry.tenant.as_ref().map(|id| id.as_str().to_owned()))
                .bind(entry.detail.to_string());
        }
        query.execute(&mut *connection).bounded("write the audit log").await?;
    }
    Ok(())
}

/// Lines older than `before`, or the newest, newest first, of one tenant or of all, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn page(
    db: &Db,
    tenant: Option<&TenantId>,
    before: Option<&AuditId>,
    limit: i64,
) -> Result<Vec<Entry>, DbError> {
    const WHAT: &str = "read the audit log";
    // "~" sorts after every character of an id.
    let before = before.map_or_else(|| "~".to_owned(), |id| id.as_str().to_owned());
    let query = match tenant {
        Some(tenant) => OF_TENANT.query().bind(tenant.as_str().to_owned()).bind(before),
        None => ALL.query().bind(before),
    };
    let rows = query.bind(limit).fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| {
            let detail: String = row.try_get(5).during(WHAT)?;
            Ok(Entry {
                id: super::jobs::text(row, 0)?,
                at: Millis::new(row.try_get(1).during(WHAT)?),
                actor: row.try_get(2).during(WHAT)?,
                action: row.try_get(3).during(WHAT)?,
                tenant: super::jobs::optional(row, 4)?,
                detail: serde_json::from_str(&detail).map_err(|error| DbError::unreadable(WHAT, error))?,
            })
        })
        .collect()
}
