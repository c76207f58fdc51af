//! How far the pass over all tenants has come.

use crate::{
    control::jobs::optional,
    db::{Bounded, Db, DbError, During, sql},
    ids::TenantId,
    units::Millis,
};
use sqlx::Row;

sql! {
    GET = "SELECT NULLIF(after_tenant, ''), began_at, ended_at FROM enforcement_passes WHERE id = 1";
    PUT = "INSERT INTO enforcement_passes (id, after_tenant, began_at, ended_at) VALUES (1, $1, $2, $3) \
        ON CONFLICT (id) DO UPDATE SET after_tenant = excluded.after_tenant, began_at = excluded.began_at, ended_at = excluded.ended_at";
}

/// A pass over all tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The last tenant that was looked at.
    pub after: Option<TenantId>,
    /// When it began.
    pub began_at: Millis,
    /// When it came to its end; `None`: it has not.
    pub ended_at: Option<Millis>,
}

impl Pass {
    /// One that begins.
    #[must_use]
    pub const fn new(now: Millis) -> Self {
        Self {
            after: None,
            began_at: now,
            ended_at: None,
        }
    }

    /// The last one. `None`: there was none yet.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn last(db: &Db) -> Result<Option<Self>, DbError> {
        const WHAT: &str = "read how far a pass is";
        let row = GET.query().fetch_optional(db.read()).bounded(WHAT).await?;
        row.map(|row| {
            Ok(Self {
                after: optional(&row, 0)?,
                began_at: Millis::new(row.try_get(1).during(WHAT)?),
                ended_at: row.try_get::<Option<i64>, _>(2).during(WHAT)?.map(Millis::new),
            })
        })
        .transpose()
    }

    /// Keeps how far it is.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn keep(&self, db: &Db) -> Result<(), DbError> {
        let query = PUT
            .query()
            .bind(self.after.as_ref().map_or_else(String::new, TenantId::to_string))
            .bind(self.began_at.get())
            .bind(self.ended_at.map(Millis::get));
        let done = query.execute(db.write()).bounded("note how far a pass is");
        done.await.map(drop)
    }
}
