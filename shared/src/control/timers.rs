//! Records of the scheduler's runs.

use crate::{
    db::{Bounded, Db, DbError, During, sql},
    units::Millis,
};
use sqlx::Row;

sql! {
    START = "INSERT INTO timer_runs (id, name, holder, fence, started_at) VALUES ($1, $2, $3, $4, $5)";
    END = "UPDATE timer_runs SET ended_at = $1, changed = $2, error = $3 WHERE id = $4";
    LAST = "SELECT MAX(started_at) FROM timer_runs WHERE name = $1";
    PRUNE = "DELETE FROM timer_runs WHERE started_at < $1";
}

/// A run that begins.
#[derive(Debug, Clone)]
pub struct TimerRun {
    /// Its id.
    pub id: String,
    /// The timer.
    pub name: &'static str,
    /// The process that runs it.
    pub holder: String,
    /// Fence of the leadership it runs under.
    pub fence: i64,
}

/// Records that a run began.
///
/// # Errors
/// When the database is away.
pub async fn started(db: &Db, run: &TimerRun, now: Millis) -> Result<(), DbError> {
    let query = START
        .query()
        .bind(run.id.clone())
        .bind(run.name)
        .bind(run.holder.clone())
        .bind(run.fence)
        .bind(now.get());
    query
        .execute(db.write())
        .bounded("record a timer's start")
        .await
        .map(|_| ())
}

/// Records how a run ended: what it changed, or the error's whole chain.
///
/// # Errors
/// When the database is away.
pub async fn ended(db: &Db, id: &str, outcome: Result<i64, String>, now: Millis) -> Result<(), DbError> {
    let (changed, error) = match outcome {
        Ok(changed) => (Some(changed), None),
        Err(error) => (None, Some(error)),
    };
    let query = END
        .query()
        .bind(now.get())
        .bind(changed)
        .bind(error)
        .bind(id.to_owned());
    query
        .execute(db.write())
        .bounded("record a timer's end")
        .await
        .map(|_| ())
}

/// When a timer last began.
///
/// # Errors
/// When the database is away.
pub async fn last_start(db: &Db, name: &str) -> Result<Option<Millis>, DbError> {
    let row = LAST
        .query()
        .bind(name.to_owned())
        .fetch_one(db.read())
        .bounded("look up a timer's last run")
        .await?;
    Ok(row
        .try_get::<Option<i64>, _>(0)
        .during("look up a timer's last run")?
        .map(Millis::new))
}

/// Forgets runs that began before `before`.
///
/// # Errors
/// When the database is away.
pub async fn prune(db: &Db, before: Millis) -> Result<u64, DbError> {
    let query = PRUNE.query().bind(before.get());
    query
        .execute(db.write())
        .bounded("forget timer runs")
        .await
        .map(|done| done.rows_affected())
}
