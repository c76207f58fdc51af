//! Records of the scheduler's runs.

use crate::{
    db::{Bounded, Db, DbError, During, sql},
    units::Millis,
};
use sqlx::{
    Any, Row,
    any::{AnyArguments, AnyRow},
    query::Query,
};

sql! {
    KEEP = "INSERT INTO timer_runs (id, name, holder, fence, started_at, ended_at, changed, error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    NOTE = "INSERT INTO timer_states (name, holder, fence, started_at, ended_at, changed, error, unfinished) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = excluded.fence, started_at = excluded.started_at, \
        ended_at = excluded.ended_at, changed = excluded.changed, error = excluded.error, unfinished = excluded.unfinished \
        WHERE timer_states.started_at <= excluded.started_at";
    LIST = "SELECT name, holder, fence, started_at, ended_at, changed, error, unfinished FROM timer_states ORDER BY name";
    STATE = "SELECT name, holder, fence, started_at, ended_at, changed, error, unfinished FROM timer_states WHERE name = $1";
    PRUNE = "DELETE FROM timer_runs WHERE id IN (SELECT id FROM timer_runs WHERE started_at < $1 LIMIT $2)";
}

/// A timer's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerState {
    /// The timer.
    pub name: String,
    /// The process that ran it.
    pub holder: String,
    /// Fence of the leadership it ran under; 0 without one.
    pub fence: i64,
    /// When it began.
    pub started_at: Millis,
    /// When it ended.
    pub ended_at: Millis,
    /// What it changed, if it did not fail.
    pub changed: Option<i64>,
    /// Why it failed.
    pub error: Option<String>,
    /// It left something for the next.
    pub unfinished: bool,
}

/// Notes a run as its timer's last one, unless a later one is noted, and keeps it under `id` where there is one.
///
/// # Errors
/// When the database is away.
pub async fn record(db: &Db, run: &TimerState, id: Option<&str>) -> Result<(), DbError> {
    const WHAT: &str = "record a timer's run";
    let mut tx = db.begin_write().await?;
    let note = NOTE.query().bind(run.name.clone());
    let note = bind(note, run).bind(i64::from(run.unfinished));
    note.execute(&mut *tx).bounded(WHAT).await?;
    if let Some(id) = id {
        let keep = KEEP.query().bind(id.to_owned()).bind(run.name.clone());
        bind(keep, run).execute(&mut *tx).bounded(WHAT).await?;
    }
    tx.commit().bounded(WHAT).await
}

/// What both tables have of a run beside its name, in their columns' order.
fn bind<'q>(query: Query<'q, Any, AnyArguments>, run: &TimerState) -> Query<'q, Any, AnyArguments> {
    query
        .bind(run.holder.clone())
        .bind(run.fence)
        .bind(run.started_at.get())
        .bind(run.ended_at.get())
        .bind(run.changed)
        .bind(run.error.clone())
}

/// The last run of each timer that has ever run, by name.
///
/// # Errors
/// When the database is away.
pub async fn states(db: &Db) -> Result<Vec<TimerState>, DbError> {
    const WHAT: &str = "list timers";
    let rows = LIST.query().fetch_all(db.read()).bounded(WHAT).await?;
    rows.iter().map(read).collect()
}

/// The last run of one timer. `None`: it has never run.
///
/// # Errors
/// When the database is away.
pub async fn state(db: &Db, name: &str) -> Result<Option<TimerState>, DbError> {
    let query = STATE.query().bind(name.to_owned());
    let row = query.fetch_optional(db.read()).bounded("look up a timer's last run");
    row.await?.as_ref().map(read).transpose()
}

fn read(row: &AnyRow) -> Result<TimerState, DbError> {
    const WHAT: &str = "read a timer's last run";
    Ok(TimerState {
        name: row.try_get(0).during(WHAT)?,
        holder: row.try_get(1).during(WHAT)?,
        fence: row.try_get(2).during(WHAT)?,
        started_at: Millis::new(row.try_get(3).during(WHAT)?),
        ended_at: Millis::new(row.try_get(4).during(WHAT)?),
        changed: row.try_get(5).during(WHAT)?,
        error: row.try_get(6).during(WHAT)?,
        unfinished: row.try_get::<i64, _>(7).during(WHAT)? != 0,
    })
}

/// Forgets runs that began before `before`, at most `most`. Returns how many.
///
/// # Errors
/// When the database is away.
pub async fn prune(db: &Db, before: Millis, most: i64) -> Result<u64, DbError> {
    let query = PRUNE.query().bind(before.get()).bind(most);
    query
        .execute(db.write())
        .bounded("forget timer runs")
        .await
        .map(|done| done.rows_affected())
}
