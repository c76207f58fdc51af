//! Where tenants' objects are not what their rows say: found by listing storages, kept until a later look finds them well.

use super::jobs::text;
use crate::{
    db::{Bounded, Db, DbError, During, Sql, sql},
    ids::TenantId,
    placement::Spot,
    units::Millis,
};
use sqlx::{AnyConnection, Row};
use std::{fmt, str::FromStr};

sql! {
    NOTE = "INSERT INTO object_findings (tenant, storage, object, problem, since, seen_at) VALUES ($1, $2, $3, $4, $5, $5) \
        ON CONFLICT (tenant, storage, object) DO NOTHING RETURNING object";
    SEE = "UPDATE object_findings SET problem = $4, seen_at = CASE WHEN seen_at > $5 THEN seen_at ELSE $5 END \
        WHERE tenant = $1 AND storage = $2 AND object = $3";
    FORGET_UNSEEN = "DELETE FROM object_findings WHERE tenant = $1 AND storage = $2 AND seen_at < $3";
    FORGET_TENANT = "DELETE FROM object_findings WHERE tenant = $1";
    LIST = "SELECT tenant, storage, object, problem, since FROM object_findings \
        WHERE (CAST($1 AS TEXT) IS NULL OR tenant = $1) AND (tenant, storage, object) > ($2, $3, $4) ORDER BY tenant, storage, object LIMIT $5";
    COUNT = "SELECT problem, CAST(COUNT(*) AS BIGINT) FROM object_findings GROUP BY problem";
}

/// What is wrong with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectProblem {
    /// A row has it, the storage has not.
    Missing,
    /// The storage has it with another size than the row.
    Size,
    /// Nothing that a release ever wrote has such a name. It is left alone.
    Foreign,
}

impl ObjectProblem {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Missing, Self::Size, Self::Foreign];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Size => "size",
            Self::Foreign => "foreign",
        }
    }
}

impl fmt::Display for ObjectProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text is no problem of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no problem of an object")]
pub struct ObjectProblemError(String);

impl FromStr for ObjectProblem {
    type Err = ObjectProblemError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|problem| problem.as_str() == text);
        found.ok_or_else(|| ObjectProblemError(text.to_owned()))
    }
}

/// An object that is not what the rows say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFinding {
    /// Whose.
    pub tenant: TenantId,
    /// Where.
    pub storage: Spot,
    /// Its key, as the storage or the row has it.
    pub object: String,
    /// What is wrong.
    pub problem: ObjectProblem,
    /// When it was found first.
    pub since: Millis,
}

/// Notes a finding of the look that began at its `since`. Returns whether it is new.
///
/// # Errors
/// When the database is away.
pub async fn note(db: &Db, finding: &ObjectFinding) -> Result<bool, DbError> {
    const WHAT: &str = "note what is wrong with an object";
    let bound = |sql: Sql| {
        sql.query()
            .bind(finding.tenant.to_string())
            .bind(finding.storage.to_string())
            .bind(finding.object.clone())
            .bind(finding.problem.as_str())
            .bind(finding.since.get())
    };
    let row = bound(NOTE).fetch_optional(db.write()).bounded(WHAT).await?;
    if row.is_some() {
        return Ok(true);
    }
    bound(SEE).execute(db.write()).bounded(WHAT).await?;
    Ok(false)
}

/// Forgets what a look that began at `began` at a tenant's objects in one storage did not find again.
///
/// # Errors
/// When the database is away.
pub async fn forget_unseen(db: &Db, tenant: &TenantId, storage: &Spot, began: Millis) -> Result<u64, DbError> {
    let query = FORGET_UNSEEN
        .query()
        .bind(tenant.to_string())
        .bind(storage.to_string())
        .bind(began.get());
    let done = query.execute(db.write()).bounded("forget what is well again");
    done.await.map(|done| done.rows_affected())
}

/// Forgets a tenant's, which leaves.
pub(crate) async fn forget_tenant(connection: &mut AnyConnection, tenant: &TenantId) -> Result<(), DbError> {
    let query = FORGET_TENANT.query().bind(tenant.to_string());
    let done = query
        .execute(connection)
        .bounded("forget what is wrong with a tenant's objects");
    done.await.map(drop)
}

/// Findings after `after`, of one tenant or of all, in order of tenant, storage and key, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn page(
    db: &Db,
    tenant: Option<&TenantId>,
    after: Option<&ObjectFinding>,
    limit: i64,
) -> Result<Vec<ObjectFinding>, DbError> {
    const WHAT: &str = "list what is wrong with objects";
    let query = LIST
        .query()
        .bind(tenant.map(ToString::to_string))
        .bind(after.map_or_else(String::new, |after| after.tenant.to_string()))
        .bind(after.map_or_else(String::new, |after| after.storage.to_string()))
        .bind(after.map_or_else(String::new, |after| after.object.clone()))
        .bind(limit);
    let rows = query.fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter()
        .map(|row| {
            Ok(ObjectFinding {
                tenant: text(row, 0)?,
                storage: text(row, 1)?,
                object: row.try_get(2).during(WHAT)?,
                problem: text(row, 3)?,
                since: Millis::new(row.try_get(4).during(WHAT)?),
            })
        })
        .collect()
}

/// How many findings there are of each problem, none left out.
///
/// # Errors
/// When the database is away.
pub async fn counts(db: &Db) -> Result<[(ObjectProblem, i64); 3], DbError> {
    const WHAT: &str = "count what is wrong with objects";
    let rows = COUNT.query().fetch_all(db.read()).bounded(WHAT).await?;
    let mut counts = ObjectProblem::ALL.map(|problem| (problem, 0));
    for row in &rows {
        let (problem, found): (ObjectProblem, i64) = (text(row, 0)?, row.try_get(1).during(WHAT)?);
        for count in counts.iter_mut().filter(|(one, _)| *one == problem) {
            count.1 = found;
        }
    }
    Ok(counts)
}
