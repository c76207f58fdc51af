//! How far timers have come with what is too much for one run: the next goes on where it was, whoever leads.

use crate::{
    db::{Bounded, Db, DbError, During, Sql, sql},
    units::Millis,
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::Row;

sql! {
    GET = "SELECT progress, began_at, ended_at FROM timer_passes WHERE timer = $1";
    UNDER_WAY = "SELECT progress, began_at, ended_at FROM timer_passes WHERE timer = $1 AND ended_at IS NULL";
    PUT = "INSERT INTO timer_passes (timer, progress, began_at, ended_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (timer) DO UPDATE SET progress = excluded.progress, began_at = excluded.began_at, ended_at = excluded.ended_at";
}

/// A timer's pass over all that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass<P> {
    /// Where it is, and what it has added up.
    pub progress: P,
    /// When it began.
    pub began_at: Millis,
    /// When it came to its end; `None`: it has not.
    pub ended_at: Option<Millis>,
}

impl<P: Default + Serialize + DeserializeOwned> Pass<P> {
    /// One that begins.
    #[must_use]
    pub fn new(now: Millis) -> Self {
        Self {
            progress: P::default(),
            began_at: now,
            ended_at: None,
        }
    }

    /// The last one of the timer `timer`. `None`: there was none yet. One that another release has kept, and that this one does not
    /// understand, is at its beginning.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn last(db: &Db, timer: &str) -> Result<Option<Self>, DbError> {
        Self::read(db, GET, timer).await
    }

    /// The last one, if it has not come to its end.
    ///
    /// # Errors
    /// As [`Self::last`].
    pub async fn under_way(db: &Db, timer: &str) -> Result<Option<Self>, DbError> {
        Self::read(db, UNDER_WAY, timer).await
    }

    async fn read(db: &Db, sql: Sql, timer: &str) -> Result<Option<Self>, DbError> {
        const WHAT: &str = "read how far a pass is";
        let query = sql.query().bind(timer.to_owned());
        let Some(row) = query.fetch_optional(db.read()).bounded(WHAT).await? else {
            return Ok(None);
        };
        let progress: String = row.try_get(0).during(WHAT)?;
        let progress = serde_json::from_str(&progress).unwrap_or_else(|error| {
            tracing::warn!(timer, progress, %error, "a timer's pass is begun anew: how far it was is not understood");
            P::default()
        });
        Ok(Some(Self {
            progress,
            began_at: Millis::new(row.try_get(1).during(WHAT)?),
            ended_at: row.try_get::<Option<i64>, _>(2).during(WHAT)?.map(Millis::new),
        }))
    }

    /// Keeps how far it is.
    ///
    /// # Errors
    /// When the database is away, or the progress is nothing that JSON can say.
    pub async fn keep(&self, db: &Db, timer: &str) -> Result<(), DbError> {
        const WHAT: &str = "note how far a pass is";
        let progress = serde_json::to_string(&self.progress).map_err(|error| DbError::unreadable(WHAT, error))?;
        let query = PUT
            .query()
            .bind(timer.to_owned())
            .bind(progress)
            .bind(self.began_at.get())
            .bind(self.ended_at.map(Millis::get));
        query.execute(db.write()).bounded(WHAT).await.map(drop)
    }
}

/// Whether a pass of the timer `timer` has not come to its end.
///
/// # Errors
/// When the database is away.
pub async fn is_under_way(db: &Db, timer: &str) -> Result<bool, DbError> {
    let query = UNDER_WAY.query().bind(timer.to_owned());
    let row = query.fetch_optional(db.read()).bounded("look for a pass");
    Ok(row.await?.is_some())
}
